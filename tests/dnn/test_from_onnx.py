"""Layer tables of ONNX files: against published totals, an exporter's own file, by hand, and against broken files."""

import mmap
import os
import random
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import FILES, PUBLISHED, Graph, check_totals, write
from onnx import TensorProto, helper

from mecpart.dnn import from_onnx, onnx_walk
from mecpart.dnn.from_onnx import layers_from_onnx, onnx_operators, workload_from_onnx
from mecpart.dnn.layer import Layer
from mecpart.dnn.workload import check_workload

# Written by torch.onnx.export (PyTorch 2.13, opset 20, the exporter of TorchScript), all parameters drawn at random and
# the batch left open, of a model of 1461 parameters on 3x8x8 images:
#   stem = Sequential(Conv2d(3, 8, 3, padding=1, bias=False), BatchNorm2d(8), ReLU(), MaxPool2d(2)), then flattened to
#   16 tokens of 8; x + MultiheadAttention(8, 2)(x); x + up(LayerNorm(8)(x)), where up = Linear(8, 16), GELU,
#   Linear(16, 8); head = Linear(128, 5).
PYTORCH = Path(__file__).parents[1] / "data" / "pytorch.onnx"


@pytest.fixture
def table_of(tmp_path):
    """The layer table of an ONNX model."""

    def read(model, **how):
        path = tmp_path / "own.onnx"
        path.write_bytes(model.SerializeToString())
        return layers_from_onnx(path, **how)

    return read


def macs(table):
    return [layer.macs for layer in table.layers]


class TestPublished:
    @pytest.mark.parametrize("name", PUBLISHED)
    def test_totals(self, tmp_path, name):
        """The files leave the batch open, and their weights are in another file, which does not exist."""
        table = layers_from_onnx(write(name, tmp_path))
        check_totals(name, table)
        assert table.name == name
        assert table.layers[0].input_bytes == 4 * 224 * 224 * 3
        assert table.layers[-1].output_bytes == 4000
        assert len(table.layers) == {"resnet50": 20, "mobilenet_v2": 34, "vgg16": 21, "vit_b_16": 27}[name]

    def test_as_a_workload(self, tmp_path):
        path = write("resnet50", tmp_path)
        task = workload_from_onnx(path, blocks=4, name="mine")
        check_workload(task)
        assert (task.name, task.num_blocks) == ("mine", 4)
        np.testing.assert_allclose(
            np.asarray(task.macs, np.float64).sum(), sum(macs(layers_from_onnx(path))), rtol=1e-6
        )
        assert workload_from_onnx(path).num_blocks == 6

    @pytest.mark.parametrize("name", ["resnet50", "vgg19"])
    def test_files_whose_weights_are_made_by_operators(self, name):
        """Of onnx's own tests: they fill their weights, so that a file of 512 bytes holds VGG19."""
        path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
        parameters = sum(layer.parameter_bytes for layer in layers_from_onnx(path).layers) // 4
        assert parameters == {"resnet50": 25_557_032, "vgg19": 143_667_240}[name]


class TestExported:
    def test_by_hand(self):
        """Where a tensor's shape is worked out from the shapes of others, which onnx alone cannot follow."""
        tokens, width = 16, 8
        attention = tokens * width * 4 * width + 2 * tokens * tokens * width
        assert layers_from_onnx(PYTORCH).layers == (
            # The exporter has merged the normalisation's 16 parameters into 8 biases.
            Layer("stem.0", 64 * 8 * 27, 768, 2048, 4 * (8 * 27 + 8)),
            Layer("stem.3", 0, 2048, 512, 0),
            Layer("attn", attention, 512, 512, 4 * 4 * (width * width + width)),
            Layer("up", 2 * tokens * width * 16, 512, 512, 4 * (2 * width + 2 * width * 16 + 24)),
            Layer("head", 128 * 5, 512, 20, 4 * (128 * 5 + 5)),
        )
        assert sum(layer.parameter_bytes for layer in layers_from_onnx(PYTORCH).layers) == 4 * (1461 - 8)

    def test_what_counts_as_zero_is_named(self):
        table = onnx_operators(PYTORCH).set_index("operator")
        assert list(table.index[table.counted]) == ["Conv", "MatMul", "Gemm"]
        # Every operator of the file is in the table, by what the file itself says.
        kinds = [node.op_type for node in onnx.load(PYTORCH).graph.node]
        assert dict(table.number) == {kind: kinds.count(kind) for kind in kinds}
        assert table.macs.sum() == sum(macs(layers_from_onnx(PYTORCH)))
        assert table.pooling_operations["MaxPool"] == 4 * 4 * 8 * 4
        assert table.pooling_operations.sum() == table.pooling_operations["MaxPool"]

    def test_pooling_counts_where_it_is_asked_for(self):
        plain, pooled = layers_from_onnx(PYTORCH), layers_from_onnx(PYTORCH, pooling=True)
        assert [b - a for a, b in zip(macs(plain), macs(pooled), strict=True)] == [0, 512, 0, 0, 0]


class TestOperators:
    """Multiply-accumulates by hand, for a 3 x 8 x 8 image."""

    IMAGE = ("batch", 3, 8, 8)

    def test_convolutions(self, table_of):
        graph = Graph()
        x = graph.conv("image", 3, 6, 3, stride=2)
        x = graph.conv(x, 6, 12, 3, groups=3)
        x = graph.conv(x, 12, 4, 3, pads=[2] * 4, dilations=[2, 2])
        x = graph("ConvTranspose", x, graph.weight(4, 5, 2, 2), strides=[2, 2])
        layers = table_of(graph.model(x, self.IMAGE)).layers
        assert [layer.macs for layer in layers] == [
            16 * 6 * 3 * 9, 16 * 12 * 2 * 9, 16 * 4 * 12 * 9, 16 * 4 * 5 * 4,
        ]  # fmt: skip
        assert [layer.parameter_bytes // 4 for layer in layers] == [168, 228, 436, 80]
        assert layers[-1].output_bytes == 4 * 5 * 64

    @pytest.mark.parametrize(
        ("equation", "expected"),
        [("nchw,wk->nchk", 3 * 8 * 8 * 7), ("...w, wk -> ...k", 3 * 8 * 8 * 7), ("nchw,wk", 3 * 8 * 8 * 7)],
    )
    def test_einsum(self, table_of, equation, expected):
        graph = Graph()
        x = graph("Einsum", "image", graph.weight(8, 7), equation=equation)
        assert macs(table_of(graph.model(x, self.IMAGE))) == [expected]

    def test_einsum_of_two_activations_and_of_one(self, table_of):
        graph = Graph()
        x = graph("Einsum", "image", equation="nchw->ncwh")
        x = graph("Einsum", x, "image", equation="ncwh,ncHw->nchH")
        assert macs(table_of(graph.model(x, self.IMAGE))) == [3 * 8 * 8 * 8]

    def test_einsum_two_by_two_from_the_left(self, table_of):
        """As torch counts it: (x A) B for LoRA; what nothing else has is summed first; an axis of one is repeated."""
        for equation, shapes, expected in (
            ("nchw,wk,kl->nchl", [(8, 2), (2, 6)], 24 * 8 * 2 + 24 * 2 * 6),
            ("nchw,wk->nk", [(8, 7)], 8 * 7),
            ("nchw,wk->nchk", [(1, 7)], 24 * 8 * 7),
            ("n...w,...wk->n...k", [(3, 1, 8, 7)], 24 * 8 * 7),
        ):
            graph = Graph()
            x = graph("Einsum", "image", *(graph.weight(*shape) for shape in shapes), equation=equation)
            assert macs(table_of(graph.model(x, self.IMAGE))) == [expected], equation

    def test_deformable_and_quantised_convolutions(self, table_of):
        graph = Graph()
        x = graph("DeformConv", "image", graph.weight(5, 3, 3, 3), graph.weight(1, 18, 8, 8), pads=[1] * 4)
        (layer,) = table_of(graph.model(x, self.IMAGE)).layers
        assert layer.macs == 64 * 5 * 27
        whole = {"data_type": TensorProto.INT8}
        graph = Graph()
        scale, zero = graph("Constant", value_float=0.5), graph.weight(**whole)
        x = graph("QuantizeLinear", "image", scale, zero)
        channels = graph.weight(4), graph.weight(4, **whole)  # scales and zero points: no parameters
        bias = graph.weight(4, data_type=TensorProto.INT32)
        x = graph("QLinearConv", x, scale, zero, graph.weight(4, 3, 3, 3, **whole), *channels, scale, zero, bias)
        weights = graph("Transpose", graph.weight(7, 6, **whole), perm=[1, 0])
        weights = graph("DequantizeLinear", weights, scale, zero)
        x = graph("MatMul", graph("DequantizeLinear", x, scale, zero), weights)
        assert [(layer.macs, layer.parameter_bytes) for layer in table_of(graph.model(x, self.IMAGE)).layers] == [
            (36 * 4 * 27, 4 * 27 + 4 * 4), (24 * 6 * 7, 6 * 7),
        ]  # fmt: skip

    def test_functions_count_as_what_they_are_made_of(self, table_of):
        graph = Graph()
        body = [
            helper.make_node(
                "Constant", [], ["w"], value=helper.make_tensor("", TensorProto.FLOAT, [8, 2], [0.0] * 16)
            ),
            helper.make_node("MatMul", ["a", "w"], ["b"]),
        ]
        function = helper.make_function("own", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 20)])
        model = graph.model(graph("Twice", "image", domain="own"), self.IMAGE, functions=[function])
        model.opset_import.append(helper.make_opsetid("own", 1))
        (layer,) = table_of(model).layers
        assert (layer.macs, layer.parameter_bytes) == (24 * 8 * 2, 64)

    def test_the_branch_that_runs(self, table_of):
        """As PyTorch writes `squeeze`: whether there is an axis of one is known beforehand."""
        graph = Graph()
        size = graph("Gather", graph("Shape", "image"), graph.constant(0))
        one = graph("Squeeze", graph("Equal", size, graph.constant(1)))
        branches = [
            helper.make_graph([helper.make_node(kind, ["image", *more], ["inner"])], kind, [],
                              [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)])
            for kind, more in (("Squeeze", [graph.constant(0)]), ("Identity", []))
        ]  # fmt: skip
        x = graph("If", one, then_branch=branches[0], else_branch=branches[1])
        x = graph("MatMul", x, graph.weight(3, 8, 5))
        assert macs(table_of(graph.model(x, self.IMAGE))) == [24 * 8 * 5]

    def test_gemm_of_transposed_operands(self, table_of):
        graph = Graph()
        x = graph("Reshape", "image", graph.constant(24, 8))
        x = graph("Gemm", x, graph.weight(24, 5), transA=1)
        assert macs(table_of(graph.model(x, self.IMAGE))) == [8 * 24 * 5]

    @pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
    def test_recurrent_cells(self, table_of, cell):
        gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[cell]
        graph = Graph()
        x = graph("Reshape", "image", graph.constant(24, 1, 8))
        weights = graph.weight(1, gates * 5, 8), graph.weight(1, gates * 5, 5), graph.weight(1, 2 * gates * 5)
        x = graph(cell, x, *weights, hidden_size=5)
        (layer,) = table_of(graph.model(x, self.IMAGE)).layers
        assert (layer.macs, layer.parameter_bytes) == (24 * gates * 5 * (8 + 5), 4 * gates * 5 * (8 + 5 + 2))

    @pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 8, 24)])
    def test_attention(self, table_of, shape):
        """Three heads of width eight over eight tokens, either way of writing them."""
        graph = Graph()
        x = graph("Reshape", "image", graph.constant(*shape))
        heads = {"q_num_heads": 3, "kv_num_heads": 3} if len(shape) == 3 else {}
        model = graph.model(graph("Attention", x, x, x, **heads), self.IMAGE, opset=23)
        assert macs(table_of(model)) == [2 * 3 * 8 * 8 * 8]

    def test_pooling(self, table_of):
        graph = Graph()
        x = graph("AveragePool", "image", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
        x = graph("GlobalMaxPool", x)
        model = graph.model(x, self.IMAGE)
        assert macs(table_of(model)) == [0, 0]
        assert macs(table_of(model, pooling=True)) == [3 * 16 * 9, 3 * 16]

    def test_running_statistics_and_settings_are_no_parameters(self, table_of):
        graph = Graph()
        x = graph.conv_norm("image", 3, 6, 3)
        graph.constants.append(helper.make_tensor("scales", TensorProto.FLOAT, [4], [1.0, 1.0, 2.0, 2.0]))
        graph.constants.append(helper.make_tensor("factor", TensorProto.FLOAT, [], [0.5]))
        x = graph("Mul", graph("Resize", x, "", "scales"), "factor")
        (layer,) = table_of(graph.model(x, self.IMAGE)).layers
        assert (layer.parameter_bytes // 4, layer.output_bytes) == (6 * 27 + 2 * 6, 4 * 6 * 16 * 16)

    def test_states_and_values_that_are_stored_as_weights_are_no_parameters(self, table_of):
        graph = Graph()
        x = graph("Reshape", "image", graph.constant(24, 1, 8))
        weights = graph.weight(1, 20, 8), graph.weight(1, 20, 5)
        x = graph("LSTM", x, *weights, "", "", graph.weight(1, 1, 5), graph.weight(1, 1, 5), hidden_size=5)
        (layer,) = table_of(graph.model(x, self.IMAGE)).layers
        assert layer.parameter_bytes == 4 * 20 * (8 + 5)
        graph = Graph()
        words = graph("OneHot", graph("Cast", "image", to=TensorProto.INT64), graph.constant(9), graph.weight(2))
        (layer,) = table_of(graph.model(graph("MatMul", words, graph.weight(9, 4)), (1, 7))).layers
        assert (layer.macs, layer.parameter_bytes) == (7 * 9 * 4, 4 * 9 * 4)

    @pytest.mark.parametrize(("data_type", "size"), [("INT8", 40), ("UINT4", 20), ("FLOAT16", 80), ("BOOL", 0)])
    def test_weights_that_a_cast_unpacks(self, table_of, data_type, size):
        """Quantised ones, scaled by a Mul rather than a DequantizeLinear; truth values are a mask."""
        graph = Graph()
        scale = graph("Constant", value_float=0.1)
        unpacked = graph("Cast", graph.weight(8, 5, data_type=TensorProto.DataType.Value(data_type)), to=1)
        x = graph("MatMul", "image", graph("Mul", graph("Sub", unpacked, scale), scale))
        (layer,) = table_of(graph.model(x, (1, 8), opset=21)).layers
        assert (layer.macs, layer.parameter_bytes) == (40, size)

    def test_weights_that_the_file_makes(self, table_of):
        """A file without values: also in other forms, and used twice. A mask and a state are none."""
        graph = Graph()
        x = graph("Reshape", "image", graph.constant(24, 8))
        filled = graph("ConstantOfShape", graph.constant(9, 8))
        x = graph("MatMul", x, graph("Identity", graph("Transpose", filled)))
        x = graph("Gemm", x, filled, graph("Expand", graph("Constant", value_float=0.5), graph.constant(8)))
        x = graph("MatMul", x, graph("RandomNormal", shape=[8, 4]))
        x = graph("Add", x, graph("ConstantOfShape", graph.constant(24, 4)))
        (first, second, third) = table_of(graph.model(x, self.IMAGE)).layers
        assert [layer.parameter_bytes for layer in (first, second, third)] == [4 * 72, 4 * 8, 4 * 32]
        graph = Graph()
        x = graph("Reshape", "image", graph.constant(24, 1, 8))
        state = graph("ConstantOfShape", graph.constant(1, 1, 5))
        x = graph("RNN", x, graph.weight(1, 5, 8), graph.weight(1, 5, 5), "", "", state, hidden_size=5)
        (layer,) = table_of(graph.model(x, self.IMAGE)).layers
        assert layer.parameter_bytes == 4 * (5 * 8 + 5 * 5)

    def test_weights_in_constant_nodes_and_of_other_types(self, table_of):
        graph = Graph()
        x = graph("Cast", "image", to=TensorProto.FLOAT16)
        weights = helper.make_tensor("", TensorProto.FLOAT16, [8, 9], np.zeros(72, np.float16))
        x = graph("MatMul", x, graph("Constant", value=weights))
        x = graph("Add", x, graph("Cast", graph.weight(9), to=TensorProto.FLOAT16))
        model = graph.model(x, self.IMAGE)
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
        (layer,) = table_of(model).layers
        assert (layer.macs, layer.parameter_bytes, layer.output_bytes) == (24 * 8 * 9, 2 * 72 + 4 * 9, 2 * 24 * 9)

    def test_an_embedding(self, table_of):
        graph = Graph()
        words = graph("Cast", "image", to=TensorProto.INT64)
        x = graph("MatMul", graph("Gather", graph.weight(1000, 16), words), graph.weight(16, 2))
        model = graph.model(x, ("batch", 10))
        assert [(layer.name, layer.macs, layer.parameter_bytes) for layer in table_of(model).layers] == [
            ("Gather", 0, 64_000), ("MatMul", 320, 128),
        ]  # fmt: skip

    def test_names_of_slashes_alone(self, table_of):
        graph = Graph()
        model = graph.model(graph.conv("image", 3, 4, 3, name="/"), self.IMAGE)
        assert [layer.name for layer in table_of(model).layers] == ["Conv"]

    def test_names(self, table_of):
        """Of the nodes, or else of their weights, or else of the operators."""
        graph = Graph()
        x = graph.conv("image", 3, 3, 3, name="/net/stem/Conv")
        x = graph.conv(x, 3, 3, 3, name="/net/net.1/conv/Conv_2")
        x = graph.conv(x, 3, 3, 3, name="plain")
        table = table_of(graph.model(graph.conv(x, 3, 3, 3), self.IMAGE))
        assert [layer.name for layer in table.layers] == ["net/stem", "net.1", "plain", "Conv"]
        graph = Graph()
        x = graph.conv(graph.conv("image", 3, 3, 3, bias=False), 3, 3, 3)
        model = graph.model(x, self.IMAGE)
        for at, name in enumerate(("features.0.weight", "features.1.weight", "features.1.bias")):
            old, model.graph.initializer[at].name = model.graph.initializer[at].name, name
            for node in model.graph.node:
                inputs = [name if entry == old else entry for entry in node.input]
                del node.input[:]
                node.input.extend(inputs)
        assert [layer.name for layer in table_of(model).layers] == ["features.0", "features.1"]


class TestShapes:
    def model(self, image):
        graph = Graph()
        return graph.model(graph.conv("image", 3, 4, 3), image)

    def test_the_batch_is_one(self, table_of):
        for batch in ("batch", None, 1):
            assert macs(table_of(self.model((batch, 3, 8, 8)))) == [64 * 4 * 27]

    def test_other_open_axes_are_asked_for(self, table_of):
        model = self.model(("batch", 3, "height", None))
        with pytest.raises(ValueError, match=r"'image' .* axis 2 \(height\), 3 \(unnamed\) is not: give input_shape"):
            table_of(model)
        for shape in ((1, 3, 8, 8), {"image": [1, 3, 8, 8]}):
            assert macs(table_of(model, input_shape=shape)) == [64 * 4 * 27]

    def test_a_file_for_another_batch(self, table_of):
        model = self.model((8, 3, 8, 8))
        with pytest.raises(ValueError, match=r"batch axis of one; got shape \(8, 3, 8, 8\)"):
            table_of(model)
        assert macs(table_of(model, input_shape=(1, 3, 8, 8))) == [64 * 4 * 27]

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ((1, 3, 8), r"input_shape of 'image' must have 4 axes; got \(1, 3, 8\)"),
            ((1, 3, 8, 0), r"each axis of input_shape must be a whole number of at least 1; got 0"),
            ((1, 3, 8, 8.0), r"each axis of input_shape must be a whole number of at least 1; got 8\.0"),
            ({"picture": (1, 3, 8, 8)}, r"input_shape must be one of 'image'; got 'picture'"),
            ((1, 8, 8, 3), r"'image' must have 3 channels, as Conv takes; got 8"),
        ],
    )
    def test_shapes_that_cannot_be(self, table_of, shape, message):
        with pytest.raises(ValueError, match=message):
            table_of(self.model(("batch", 3, 8, 8)), input_shape=shape)

    def test_inputs_and_outputs_whose_shape_the_file_does_not_say(self, table_of):
        model = self.model((1, 3, 8, 8))
        model.graph.output[0].type.tensor_type.ClearField("shape")
        assert macs(table_of(model)) == [64 * 4 * 27]
        model.graph.input[0].type.tensor_type.ClearField("shape")
        assert macs(table_of(model, input_shape=(1, 3, 8, 8))) == [64 * 4 * 27]
        with pytest.raises(ValueError, match="the number of axes is not: give input_shape"):
            table_of(model)

    def test_an_axis_that_two_inputs_share(self, table_of):
        """It is given for one of them; it is no batch then."""
        graph = Graph()
        x = graph("Mul", graph("MatMul", "image", graph.weight(16, 8)), graph("Unsqueeze", "mask", graph.constant(1)))
        model = graph.model(x, ("n", 16))
        model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n"]))
        for given in ({"mask": (50,)}, {"image": (50, 16)}):
            (layer,) = table_of(model, input_shape=given).layers
            assert (layer.macs, layer.input_bytes) == (50 * 16 * 8, 4 * 50 * 17)
        (layer,) = table_of(model).layers
        assert layer.macs == 16 * 8
        with pytest.raises(ValueError, match="'n' one size; got 40 and 50"):
            table_of(model, input_shape={"mask": (50,), "image": (40, 16)})

    def test_operators_in_any_order(self, table_of):
        model = self.model((1, 3, 8, 8))
        model.graph.node.append(helper.make_node("Relu", ["before"], ["after"]))
        model.graph.node.append(helper.make_node("Relu", [model.graph.output[0].name], ["before"]))
        model.graph.output[0].name = "after"
        assert macs(table_of(model)) == [64 * 4 * 27]

    def test_a_shape_that_depends_on_values_is_named(self, table_of):
        graph = Graph()
        x = graph("Cast", graph("NonZero", "image"), to=TensorProto.FLOAT)
        with pytest.raises(ValueError, match=r"known shape; got none for 't.\.0', made by (Cast|NonZero)"):
            table_of(graph.model(x, (1, 3, 8, 8)))


class TestRefused:
    """Whatever cannot be read is a ValueError that names the file."""

    @pytest.fixture
    def refuse(self, table_of, tmp_path):
        def check(model, *texts, **how):
            with pytest.raises(ValueError, match=r"own\.onnx") as error:
                table_of(model, **how)
            assert all(text in str(error.value) for text in texts), error.value

        return check

    def model(self):
        graph = Graph()
        return graph.model(graph.conv("image", 3, 4, 3), (1, 3, 8, 8))

    def test_truncated_and_flipped_files(self, tmp_path):
        rng = random.Random(0)
        sources = [PYTORCH.read_bytes(), FILES["vit_b_16"]().SerializeToString()]
        path, refusals = tmp_path / "broken.onnx", []
        for case in range(300):
            data = bytearray(sources[case % 2])
            if case % 3 == 0:
                del data[rng.randrange(len(data)) :]
            else:
                for _ in range(rng.choice((1, 1, 10))):
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            try:
                layers_from_onnx(path)
                assert case % 3  # a flipped bit may be in a name
            except ValueError as error:
                refusals.append(str(error))
        assert all(refusal.startswith(f"{path}: ") for refusal in refusals)
        assert 150 < len(refusals) < 300

    @pytest.mark.parametrize("data", [b"", b"no model", b"\x00" * 100, b"PK\x03\x04" * 20])
    def test_files_of_another_kind(self, tmp_path, data):
        path = tmp_path / "other.onnx"
        path.write_bytes(data)
        for read in (layers_from_onnx, workload_from_onnx, onnx_operators):
            with pytest.raises(ValueError, match=r"other\.onnx: the file must"):
                read(path)

    def test_a_huge_file_is_not_read(self, tmp_path, monkeypatch):
        path = tmp_path / "huge.onnx"
        with open(path, "wb") as file:
            file.truncate(2**40)  # takes no room
        monkeypatch.setattr(mmap, "mmap", lambda *_, **__: pytest.fail("it was read"))
        with pytest.raises(
            ValueError, match=r"huge\.onnx: the file must be of at most 2147483647 bytes; got 1099511627776"
        ):
            layers_from_onnx(path)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    def test_no_other_file_is_opened(self, table_of, tmp_path, monkeypatch):
        """A weight may name any file of the machine. Here it is a pipe: whoever opens it to read waits for a writer."""
        pipe = tmp_path / "weights.bin"
        os.mkfifo(pipe)
        monkeypatch.chdir(tmp_path)
        graph = Graph()
        x = graph.conv("image", 3, 4, 3)
        # Small tensors and constants of operators too: of all others the shapes are enough.
        x = graph("Add", x, graph.weight(1, 4, 1, 1))
        x = graph("Mul", x, graph("Constant", value=graph.constants[-1]))
        found = []
        reader = threading.Thread(target=lambda: found.append(table_of(graph.model(x, (1, 3, 8, 8)))), daemon=True)
        reader.start()
        reader.join(timeout=60)
        if reader.is_alive():
            pipe.write_bytes(b"")  # sets it free
            pytest.fail("another file was opened")
        assert macs(found[0]) == [64 * 4 * 27]

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none\.onnx"):
            layers_from_onnx(tmp_path / "none.onnx")

    def test_control_flow(self, refuse):
        branch = helper.make_graph(
            [helper.make_node("Relu", ["image"], ["inner"])], "branch", [],
            [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1, 3, 8, 8])],
        )  # fmt: skip
        graph = Graph()
        condition = graph("Cast", graph("ReduceMax", "image", keepdims=0), to=TensorProto.BOOL)
        refuse(graph.model(graph("If", condition, then_branch=branch, else_branch=branch)), "control flow", "got If")

    def test_what_onnx_does_not_check(self, refuse):
        """Versions that no computer counts to, a Constant of another type, an If that lacks its parts."""

        for opset, ir_version in ((2**40, 10), (20, 2**40)):
            graph = Graph()
            model = graph.model(graph("Relu", "image"), opset=opset)
            model.ir_version = ir_version
            refuse(model, "whole and valid")
        for value in (1, [1.0], "text"):
            graph = Graph()
            refuse(graph.model(graph("Add", "image", graph("Constant", value=value))), "a Constant must hold", "value")
        for read, texts in (([], ["got If"]), (["true"], ["'choice'", "then_branch"])):
            graph = Graph()
            graph.constants.append(helper.make_tensor("true", TensorProto.BOOL, [], [True]))
            refuse(graph.model(graph("Add", "image", graph("If", *read, name="choice"))), *texts)

    def test_functions_that_never_end(self, refuse):
        """One that calls itself, and fifty each of which calls the one before it twice."""
        versions = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]

        def calls(name, *called):
            names = ["a", *(f"b{at}" for at in range(len(called)))]
            body = [
                helper.make_node(kind, [read], [made], domain="own" if kind[0] == "f" else "")
                for kind, read, made in zip(called, names, names[1:], strict=False)
            ]
            return helper.make_function("own", name, ["a"], [names[-1]], body, versions)

        doubled = [calls("f0", "Relu"), *(calls(f"f{at}", f"f{at - 1}", f"f{at - 1}") for at in range(1, 50))]
        for functions, text in (([calls("f49", "f49")], "deep"), (doubled, "at most 32768 operators")):
            graph = Graph()
            model = graph.model(graph("f49", "image", domain="own"), functions=functions)
            model.opset_import.append(helper.make_opsetid("own", 1))
            refuse(model, text)

    def test_operators_outside_the_standard(self, refuse, table_of):
        graph = Graph()
        x = graph("Fused", graph.conv("image", 3, 4, 3), domain="com.vendor")
        model = graph.model(graph.conv(x, 4, 5, 1), ("batch", 3, 8, 8))
        model.opset_import.append(helper.make_opsetid("com.vendor", 1))
        refuse(model, "count_as_zero", "got com.vendor.Fused")
        refuse(model, "known shape", "made by com.vendor.Fused", count_as_zero=["com.vendor.Fused"])
        model.graph.value_info.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, ("batch", 4, 2, 2)))
        assert macs(table_of(model, count_as_zero=["com.vendor.Fused"])) == [64 * 4 * 27, 0, 4 * 5 * 4]

    def test_sparse_weights(self, refuse):
        model = self.model()
        model.graph.sparse_initializer.add().values.name = "few"
        refuse(model, "sparse", "few")
        graph = Graph()
        values = helper.make_tensor("", TensorProto.FLOAT, [1], [1.0])
        few = helper.make_sparse_tensor(values, helper.make_tensor("", TensorProto.INT64, [1], [5]), [8, 9])
        refuse(graph.model(graph("MatMul", "image", graph("Constant", sparse_value=few))), "sparse", "t0.0")

    def test_operators_without_a_rule(self, refuse, table_of):
        graph = Graph()
        x = graph("DFT", graph("Unsqueeze", graph("Flatten", "image"), graph.constant(2)), "", graph.constant(1)[:0])
        model = graph.model(x, (1, 3, 8, 8))
        refuse(model, "count_as_zero", "got DFT")
        assert macs(table_of(model, count_as_zero=["DFT"])) == [0]

    def test_what_a_newer_onnx_has_is_refused(self, refuse, monkeypatch):
        monkeypatch.setattr(onnx_walk, "ZERO", onnx_walk.ZERO - {"Relu"})
        graph = Graph()
        refuse(graph.model(graph("Relu", "image"), (1, 3, 8, 8)), "cost is known", "got Relu")

    def test_operators_that_wait_for_each_other(self, refuse):
        model = self.model()
        model.graph.node.append(helper.make_node("Add", ["image", "b"], ["a"]))
        model.graph.node.append(helper.make_node("Relu", ["a"], ["b"]))
        refuse(model, "wait for each other", "'a', 'b'")

    def test_operators_that_the_standard_does_not_have(self, refuse):
        graph = Graph()
        refuse(graph.model(graph("Convolve", "image")), "valid", "Convolve")

    def test_weights_that_do_not_hold_what_they_say(self, refuse):
        for size in (4, 100):  # too small to be anything but a weight, and large enough
            model = self.model()
            weight = model.graph.initializer[0]
            weight.ClearField("data_location")
            weight.ClearField("external_data")
            weight.dims[0] = size
            weight.raw_data = b"\x00" * 428
            refuse(model, "as many values", weight.name)
        weight.dims[0] = -4
        refuse(model, "axes of 0 or more", "-4")

    def test_operands_of_too_few_axes(self, refuse):
        graph = Graph()
        x = graph("Conv", "image", graph.weight(4), kernel_shape=[3, 3])
        refuse(graph.model(x, (1, 3, 8, 8)), "Conv", "axes", "[(1, 3, 8, 8), (4,)]")

    def test_arithmetic_with_shapes_stays_small(self, refuse):
        """2^32 * 2^32 is 0 in whole numbers of 64 bits, and no machine has room for so many values."""
        graph = Graph()
        x = graph("ConstantOfShape", graph.constant(2**32, 2**32))
        refuse(
            graph.model(graph("Add", "image", graph("ReduceSum", x, keepdims=0)), (1, 3, 8, 8)), "at most 2^48 values"
        )

    def test_tensors_beyond_measure(self, refuse):
        graph = Graph()
        refuse(graph.model(graph("MatMul", "image", graph.weight(8, 2**50)), (1, 3, 8, 8)), "at most 2^48 values")

    def test_blocks(self, refused):
        with refused("blocks", "got 6", "from 1 to 5"):
            workload_from_onnx(PYTORCH, 6)


def test_without_the_package_onnx_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'mecpart\[onnx\]'"):
        from_onnx.layers_from_onnx(PYTORCH)
