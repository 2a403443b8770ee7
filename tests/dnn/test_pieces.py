"""Models cut into ONNX files: what these return one after the other is what the whole does."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from models import Graph, fill, mobilenet_v2, resnet50, vit_b_16
from onnx import TensorProto, helper

from mecpart.dnn.from_onnx import layers_from_onnx, workload_from_onnx
from mecpart.dnn.pieces import write_pieces

PYTORCH = Path(__file__).parents[1] / "data" / "pytorch.onnx"
#: The published architectures, all layers of an eighth of the width.
NARROW = {"resnet50": resnet50, "mobilenet_v2": mobilenet_v2}


def run(path, *inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([entry.name for entry in session.get_inputs()], inputs, strict=True)))


def in_turn(pieces, x):
    """What the pieces return, each fed by the one before it; and the bytes that leave each."""
    sizes = []
    for piece in pieces:
        (x,) = run(piece.path, x)
        sizes.append(x.nbytes)
    return x, sizes


def check_same(made, expected):
    """Up to float32's rounding: a runtime may merge and reorder inside a piece."""
    assert made.shape == expected.shape
    assert np.abs(made - expected).max() < 1e-5 * np.abs(expected).max()


def image(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def saved(tmp_path):
    """The file of a model with weights at random."""

    def save(model):
        onnx.save(fill(model), tmp_path / "own.onnx")
        return tmp_path / "own.onnx"

    return save


class TestPublished:
    @pytest.mark.parametrize("name", NARROW)
    def test_every_block_a_piece(self, saved, tmp_path, name):
        """At every legal cut at once; what crosses is what the layer table says."""
        path = saved(NARROW[name](narrow=8))
        table = layers_from_onnx(path)
        pieces = write_pieces(path, range(len(table.layers)), tmp_path / "cut")
        assert len(pieces) == {"resnet50": 20, "mobilenet_v2": 34}[name]
        x = image(1, 3, 224, 224)
        made, sizes = in_turn(pieces, x)
        (expected,) = run(path, x)
        check_same(made, expected)
        assert sizes == [layer.output_bytes for layer in table.layers]

    @pytest.mark.parametrize("name", NARROW)
    def test_a_plan(self, saved, tmp_path, name):
        path = saved(NARROW[name](narrow=8))
        task = workload_from_onnx(path, blocks=6)
        pieces = write_pieces(path, np.array([0, 0, 2, 2, 2, 1]), tmp_path / "cut")
        assert [(piece.node, piece.blocks) for piece in pieces] == [(0, (0, 1)), (2, (2, 3, 4)), (1, (5,))]
        assert [piece.path.name for piece in pieces] == [
            "piece_1_node_0.onnx", "piece_2_node_2.onnx", "piece_3_node_1.onnx",
        ]  # fmt: skip
        assert sorted(entry.name for entry in (tmp_path / "cut").iterdir()) == [piece.path.name for piece in pieces]
        x = image(1, 3, 224, 224)
        made, sizes = in_turn(pieces, x)
        check_same(made, run(path, x)[0])
        assert sizes == [*np.asarray(task.input_bytes)[[2, 5]], task.output_bytes]
        # No weight is in two pieces, or in none.
        stored = [sum(np.prod(w.dims) for w in onnx.load(each.path).graph.initializer) for each in pieces]
        assert sum(stored) == sum(np.prod(w.dims) for w in onnx.load(path).graph.initializer)

    def test_blocks_of_ones_own(self, saved, tmp_path):
        path = saved(mobilenet_v2(narrow=8))
        table = layers_from_onnx(path)
        pieces = write_pieces(path, [0, 1, 2], tmp_path / "cut", starts=[0, 1, 30])
        x = image(1, 3, 224, 224)
        made, sizes = in_turn(pieces, x)
        assert sizes == [table.layers[at].output_bytes for at in (0, 29, 33)]
        check_same(made, run(path, x)[0])

    def test_one_node_runs_the_whole(self, saved, tmp_path):
        path = saved(resnet50(narrow=8))
        (piece,) = write_pieces(path, [3, 3], tmp_path / "cut")
        x = image(1, 3, 224, 224)
        check_same(run(piece.path, x)[0], run(path, x)[0])


class TestOthers:
    def test_of_an_exporter(self, tmp_path):
        """Whose file computes with the shape of its input, for which later pieces would otherwise need the image."""
        pieces = write_pieces(PYTORCH, range(5), tmp_path / "cut")
        x = image(1, 3, 8, 8)
        check_same(in_turn(pieces, x)[0], run(PYTORCH, x)[0])

    def test_the_shape_of_an_earlier_tensor(self, saved, tmp_path):
        graph = Graph()
        x = graph.conv("image", 3, 4, 3)
        x = graph.conv(graph("Relu", x), 4, 4, 3, stride=2)
        size = graph("Slice", graph("Shape", "image"), graph.constant(2), graph.constant(4))
        x = graph("Resize", x, "", "", graph("Concat", graph.constant(1, 4), size, axis=0))
        path = saved(graph.model(graph.conv(x, 4, 5, 3), ("batch", 3, "height", "width")))
        pieces = write_pieces(path, [0, 1, 2], tmp_path / "cut", input_shape=(1, 3, 8, 8))
        x = image(1, 3, 8, 8)
        made, _ = in_turn(pieces, x)
        assert made.shape == (1, 5, 8, 8)
        check_same(made, run(path, x)[0])

    def test_weights_in_another_file(self, saved, tmp_path):
        path = saved(mobilenet_v2(narrow=8))
        outside = tmp_path / "outside" / "own.onnx"
        outside.parent.mkdir()
        onnx.save(onnx.load(path), outside, save_as_external_data=True, location="weights.bin", size_threshold=0)
        assert (outside.parent / "weights.bin").stat().st_size > outside.stat().st_size
        pieces = write_pieces(outside, [0, 1], tmp_path / "cut")
        x = image(1, 3, 224, 224)
        check_same(in_turn(pieces, x)[0], run(path, x)[0])

    def test_two_inputs_enter_the_first_piece(self, saved, tmp_path):
        graph = Graph()
        x = graph("Add", graph.conv("image", 3, 4, 3), "mask")
        model = graph.model(graph.conv(graph("Relu", x), 4, 5, 3), (1, 3, 8, 8))
        model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, (1, 4, 8, 8)))
        path = saved(model)
        first, second = write_pieces(path, [0, 1], tmp_path / "cut")
        x, mask = image(1, 3, 8, 8), image(1, 4, 8, 8, seed=2)
        check_same(run(second.path, *run(first.path, x, mask))[0], run(path, x, mask)[0])


class TestRefused:
    @pytest.mark.parametrize(
        ("plan", "message"),
        [
            ([], "plan must be whole numbers of at least 0, one for each block; got"),
            (3, "plan must be whole numbers of at least 0, one for each block; got 3"),
            ([0, -1], "each number in plan must be a whole number of at least 0; got -1"),
            ([0, 0.5], "each number in plan must be a whole number of at least 0; got 0.5"),
            ([0] * 6, "own.onnx: blocks must be a whole number from 1 to 2; got 6"),
        ],
    )
    def test_plans(self, saved, tmp_path, plan, message):
        graph = Graph()
        path = saved(graph.model(graph.conv(graph.conv("image", 3, 4, 3), 4, 4, 3), (1, 3, 8, 8)))
        with pytest.raises(ValueError, match=message):
            write_pieces(path, plan, tmp_path / "cut")
        assert [entry.name for entry in tmp_path.iterdir()] == ["own.onnx"]

    @pytest.mark.parametrize(
        ("starts", "message"),
        [
            ([0], "starts must be of the 2 blocks in plan; got"),
            ([0, 2], "own.onnx: each index in starts must be a whole number from 0 to 1; got 2"),
            ([1, 0], "own.onnx: starts must rise from 0"),
        ],
    )
    def test_starts(self, saved, tmp_path, starts, message):
        graph = Graph()
        path = saved(graph.model(graph.conv(graph.conv("image", 3, 4, 3), 4, 4, 3), (1, 3, 8, 8)))
        with pytest.raises(ValueError, match=message):
            write_pieces(path, [0, 1], tmp_path / "cut", starts=starts)
        assert [entry.name for entry in tmp_path.iterdir()] == ["own.onnx"]

    def test_a_folder_that_holds_something(self, saved, tmp_path):
        graph = Graph()
        path = saved(graph.model(graph.conv("image", 3, 4, 3), (1, 3, 8, 8)))
        with pytest.raises(ValueError, match="folder must be new or empty; got"):
            write_pieces(path, [0], tmp_path)
        (tmp_path / "empty").mkdir()
        assert write_pieces(path, [0], tmp_path / "empty")[0].path.exists()

    def test_a_cut_inside_of_a_function(self, saved, tmp_path):
        graph = Graph()
        body = [helper.make_node("MatMul", ["a", "w"], ["b"]), helper.make_node("MatMul", ["b", "v"], ["c"])]
        function = helper.make_function("own", "Two", ["a", "w", "v"], ["c"], body, [helper.make_opsetid("", 20)])
        x = graph("Two", "image", graph.weight(8, 4), graph.weight(4, 8), domain="own")
        model = graph.model(graph("MatMul", x, graph.weight(8, 2)), (1, 8), functions=[function])
        model.opset_import.append(helper.make_opsetid("own", 1))
        path = saved(model)
        with pytest.raises(ValueError, match=r"own\.onnx: every cut must be between operators of the file itself; got"):
            write_pieces(path, range(3), tmp_path / "cut")
        pieces = write_pieces(path, range(1), tmp_path / "cut")
        x = image(1, 8)
        check_same(in_turn(pieces, x)[0], run(path, x)[0])

    def test_nothing_is_left_of_pieces_that_cannot_be_written(self, saved, tmp_path, monkeypatch):
        path = saved(resnet50(narrow=8))
        written, save = [], onnx.save

        def fail(model, to):
            written.append(to)
            if len(written) == 2:
                raise OSError(28, "No space left on device")
            save(model, to)

        monkeypatch.setattr(onnx, "save", fail)
        with pytest.raises((OSError, ValueError), match="No space left"):
            write_pieces(path, [0, 1, 2], tmp_path / "cut")
        assert len(written) == 2
        assert [entry.name for entry in tmp_path.iterdir()] == ["own.onnx"]

    def test_missing_weights(self, tmp_path):
        path = tmp_path / "own.onnx"
        path.write_bytes(vit_b_16().SerializeToString())
        with pytest.raises(
            ValueError, match=r"own\.onnx: the file must be an ONNX model, whole and valid; got: .*weights"
        ):
            write_pieces(path, [0, 1], tmp_path / "cut")
        assert [entry.name for entry in tmp_path.iterdir()] == ["own.onnx"]
