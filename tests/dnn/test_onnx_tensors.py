"""What exporters write around shapes, by hand; and that no file takes more memory or time than its size allows."""

import subprocess
import sys
import time

import numpy as np
import pytest
from models import Graph
from onnx import TensorProto, helper, numpy_helper

from mecpart.dnn.from_onnx import layers_from_onnx


@pytest.fixture
def macs_of(tmp_path):
    """The multiply-accumulates of a model, a number for each layer."""

    def read(model, **how):
        path = tmp_path / "own.onnx"
        path.write_bytes(model.SerializeToString())
        return [layer.macs for layer in layers_from_onnx(path, **how).layers]

    return read


class Exported(Graph):
    """Also with tensors of any type."""

    def tensor(self, values, dtype=np.int64):
        self.constants.append(numpy_helper.from_array(np.array(values, dtype), f"c{len(self.constants)}"))
        return self.constants[-1].name


class TestExporters:
    IMAGE = (1, 3, 6, 6)

    def test_padding_of_pytorch(self, macs_of):
        """torch.onnx for F.pad: pairs of the last axis first, turned round. 6x6 is padded by one to 8x8."""
        graph = Exported()
        zeros = graph("ConstantOfShape", graph.tensor([4]), value=helper.make_tensor("", TensorProto.INT64, [1], [0]))
        pairs = graph("Reshape", graph("Concat", graph.tensor([1, 1, 1, 1]), zeros, axis=0), graph.tensor([-1, 2]))
        back = graph("Slice", pairs, *(graph.tensor([value]) for value in (-1, 1 - 2**63, 0, -1)))
        pads = graph("Reshape", graph("Transpose", back, perm=[1, 0]), graph.tensor([-1]))
        x = graph("Pad", "image", graph("Cast", pads, to=TensorProto.INT64), mode="reflect")
        model = graph.model(graph.conv(x, 3, 4, 3, pads=[0] * 4), self.IMAGE)
        assert macs_of(model) == [36 * 4 * 27]

    def test_same_padding_of_timm(self, macs_of):
        """max((ceil(7 / 2) - 1) * 2 + 3 - 7, 0) = 2: 7 rows are padded to 9, of which a kernel of 3 makes 4."""
        graph = Exported()
        rows = graph("Gather", graph("Shape", "image"), graph.tensor(2))
        half = graph("Ceil", graph("Div", graph("Cast", rows, to=TensorProto.FLOAT), graph.tensor(2, np.float32)))
        steps = graph("Sub", graph("Cast", half, to=TensorProto.INT64), graph.tensor(1))
        wanted = graph("Sub", graph("Add", graph("Mul", steps, graph.tensor(2)), graph.tensor(3)), rows)
        pad = graph("Unsqueeze", graph("Clip", wanted, graph.tensor(0)), graph.tensor([0]))
        x = graph("Pad", "image", graph("Concat", graph.tensor([0, 0]), pad, graph.tensor([0] * 5), axis=0))
        x = graph("Conv", x, graph.weight(4, 3, 3, 1), strides=[2, 1])
        assert macs_of(graph.model(x, (1, 3, "rows", 8)), input_shape=(1, 3, 7, 8)) == [4 * 8 * 4 * 9]

    def test_tensordot_of_keras(self, macs_of):
        graph = Exported()
        shape = graph("Shape", "image")
        free, summed = graph("Gather", shape, graph.tensor([0, 1])), graph("Gather", shape, graph.tensor([2]))
        flat = graph("Concat", *(graph("ReduceProd", axes, keepdims=1) for axes in (free, summed)), axis=0)
        x = graph("MatMul", graph("Reshape", "image", flat), graph.weight(16, 5))
        x = graph("Reshape", x, graph("Concat", free, graph.tensor([5]), axis=0))
        assert macs_of(graph.model(x, ("batch", 12, 16))) == [12 * 16 * 5]

    def test_positions_counted_by_vectors_of_one(self, macs_of):
        """The standard asks a Range for numbers without an axis; runtimes take these too."""
        graph = Exported()
        length = graph("Shape", "image", start=1, end=2)
        positions = graph("Range", graph.tensor([0]), length, graph.tensor([1]))
        table = graph("Gather", graph.weight(16, 6), positions)
        x = graph("MatMul", graph("Add", "image", table), graph.weight(6, 5))
        assert macs_of(graph.model(x, ("batch", 7, 6))) == [7 * 6 * 5]

    def test_interpolation_by_a_factor(self, macs_of):
        """The factor is stored as a weight would be, and is none."""
        graph = Exported()
        shape = graph("Shape", "image")
        size = graph("Cast", graph("Slice", shape, graph.tensor([2]), graph.tensor([4])), to=TensorProto.FLOAT)
        size = graph("Floor", graph("Mul", size, graph.tensor([2, 2], np.float32)))
        before = graph("Slice", shape, graph.tensor([0]), graph.tensor([2]))
        sizes = graph("Concat", before, graph("Cast", size, to=TensorProto.INT64), axis=0)
        x = graph.conv(graph("Resize", "image", "", "", sizes, mode="nearest"), 3, 5, 1, bias=False)
        model = graph.model(x, self.IMAGE)
        assert macs_of(model) == [144 * 15]

    @pytest.mark.parametrize(
        "constant",
        [{"value_floats": [1.0, 1.0, 2.0, 2.0]},
         {"value": helper.make_tensor("", TensorProto.FLOAT, [4], [1.0, 1.0, 2.0, 2.0])}],
        ids=["value_floats", "value"],
    )  # fmt: skip
    def test_constants_in_all_forms(self, macs_of, constant):
        graph = Exported()
        x = graph("Reshape", "image", graph("Constant", value_ints=[1, 3, 4, 9]))
        x = graph("Gather", x, graph("Constant", value_int=0), axis=0)
        x = graph("Unsqueeze", x, graph("Constant", value_ints=[0]))
        x = graph("Resize", x, "", graph("Constant", **constant), mode="nearest")
        graph("Constant", value_strings=["a", "b"])
        graph("Constant", value_string="a")
        assert macs_of(graph.model(graph.conv(x, 3, 5, 1), self.IMAGE)) == [8 * 18 * 15]


class TestBounds:
    """In a process of its own, which may take 512 MB more than the file's size."""

    CHILD = """
import resource, sys
import mecpart, onnx.reference, onnx.shape_inference
resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))  # so that no fault takes the machine down
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        print("read", sum(layer.macs for layer in mecpart.layers_from_onnx(path).layers))
    except ValueError as error:
        print("refused", path in str(error), error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""

    def test_files_that_claim_more_than_they_hold(self, tmp_path):
        models = {}
        graph = Exported()
        graph.constants.append(TensorProto(name="axes", data_type=TensorProto.INT64, dims=[2**27], raw_data=b"0" * 24))
        models["claims"] = graph.model(graph("Slice", "image", *([graph.tensor([1])] * 2), "axes"), (1, 8))
        for kind in ("ConstantOfShape", "Expand", "Reshape"):  # whose shape has 2^27 axes
            graph = Exported()
            one = helper.make_tensor("", TensorProto.INT64, [1], [1])
            axes = graph("ConstantOfShape", graph.tensor([2**27]), value=one)
            x = graph(kind, *(["image"] if kind != "ConstantOfShape" else []), axes)
            models[kind] = graph.model(graph("Add", "image", x), (1, 8))
        for kind, values in (("ConstantOfShape", [[2**20, 2**20]]), ("Range", [0, 2**40, 1])):
            graph = Exported()
            x = graph("Cast", graph(kind, *map(graph.tensor, values)), to=TensorProto.FLOAT)
            models[f"huge {kind}"] = graph.model(graph("Add", "image", graph("ReduceSum", x, keepdims=0)), (1, 8))
        paths = [tmp_path / f"{name}.onnx" for name in models]
        for path, model in zip(paths, models.values(), strict=True):
            path.write_bytes(model.SerializeToString())
        # Parts of two bytes each, that take fifty times their room; messages inside each other.
        paths += [tmp_path / "parts.onnx", tmp_path / "deep.onnx"]
        paths[-2].write_bytes(field(7, b"\x0a\x00" * (2**20 + 1)))
        inside = b""
        for _ in range(2000):
            inside = field(5, field(6, field(1, inside)))
        paths[-1].write_bytes(field(7, field(1, inside)))
        said = subprocess.run(
            [sys.executable, "-c", self.CHILD, *map(str, paths)],
            capture_output=True, text=True, timeout=120, check=True,
        ).stdout.splitlines()  # fmt: skip
        assert [line.split()[:2] for line in said[:-1]] == [["refused", "True"]] * 4 + [["read", "0"]] * 2 + [
            ["refused", "True"]
        ] * 2, said
        assert "as many values" in said[0]
        assert "parts" in said[-3]
        assert "deep" in said[-2]
        assert int(said[-1]) < 512 * 1024

    def test_weights_are_not_read(self, tmp_path):
        """A weight of 1 GiB, of which the file holds zeros that take no room, and one that lacks a byte."""
        weight = b"\x08\x80\x80\x01\x08\x80\x80\x01\x10\x01" + field(8, b"w")  # 16384 x 16384 of float32
        entry = field(1, b"image") + field(
            2, field(1, b"\x08\x01" + field(2, field(1, b"\x08\x01") + field(1, b"\x08\x80\x80\x01")))
        )
        rest = field(1, field(1, b"image") + field(1, b"w") + field(2, b"y") + field(4, b"MatMul"))
        rest += field(11, entry) + field(12, field(1, b"y"))
        paths = []
        for size in (2**30, 2**30 - 1):
            paths.append(tmp_path / f"{size}.onnx")
            values = head(9, size)
            values = head(5, len(weight + values) + size) + weight + values
            with open(paths[-1], "wb") as file:
                file.write(b"\x08\x09" + field(8, b"\x10\x14") + head(7, len(rest + values) + size) + rest + values)
                file.truncate(file.tell() + size)
        said = subprocess.run(
            [sys.executable, "-c", self.CHILD, *map(str, paths)],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout.splitlines()
        assert said[0] == f"read {2**28}"
        assert said[1].startswith("refused True")
        assert "as many values" in said[1]
        assert int(said[-1]) < 256 * 1024

    def test_time_is_linear(self, macs_of):
        """Shapes that onnx alone cannot follow, each worked out from the one before."""

        def seconds(links):
            graph = Exported()
            x, thousand, weight = "image", graph.tensor([1000]), graph.weight(8, 8)
            for _ in range(links):
                x = graph("MatMul", graph("Reshape", x, graph("Mod", graph("Shape", x), thousand)), weight)
            model, began = graph.model(x, (1, 8)), time.process_time()
            assert sum(macs_of(model)) == 64 * links
            return time.process_time() - began

        seconds(5)
        assert seconds(200) < 8 * seconds(50)


def head(number, size):
    """The head of a field of Protocol Buffers that holds `size` bytes."""
    encoded = bytearray()
    for value in (number << 3 | 2, size):
        while value > 127:
            encoded.append(value & 127 | 128)
            value >>= 7
        encoded.append(value)
    return bytes(encoded)


def field(number, data):
    return head(number, len(data)) + data
