"""Networks that run block by block: in turn the blocks do what the whole does."""

import numpy as np
import onnx
import onnxruntime
import pytest
from flax import linen as nn
from models import fill, mobilenet_v2

import mecpart
from mecpart.dnn import zoo
from mecpart.measurements import engines
from mecpart.measurements.blocks import block_of

OWN = mecpart.trace_module(nn.Dense(3), np.ones((1, 4), np.float32), name="own")


def in_turn(blocks, tensors):
    """What leaves each block."""
    made = []
    for block in blocks:
        tensors = block(tensors)
        made.append(np.asarray(tensors[0]))
    return made


def loaded(network, count, engine):
    parts, entering = engines.parts_of(network, count, engine, None)
    return [block_of(part, engine, 1) for part in parts], entering


@pytest.mark.parametrize("engine", engines.ENGINES)
@pytest.mark.parametrize(("name", "count"), [("alexnet", 4), ("vgg16", 6)])
def test_blocks_of_the_paper(engine, name, count):
    """VGG16 in six blocks is the paper's own cut. Both engines have the same weights."""
    blocks, image = loaded(name, count, engine)
    made = in_turn(blocks, image)
    task = mecpart.workload(name, count)
    assert [each.nbytes for each in made] == [*np.asarray(task.input_bytes)[1:], task.output_bytes]
    chain = zoo.NETWORKS[name]()
    variables, (x,) = zoo.chain_variables(chain), image
    for layer_name, layer in chain.layers.items():
        x = layer.apply(variables[layer_name], x)
    assert np.abs(made[-1] - x).max() < 1e-4 * np.abs(x).max()


def test_blocks_of_a_file(tmp_path):
    path = tmp_path / "own.onnx"
    onnx.save(fill(mobilenet_v2(narrow=8)), path)
    blocks, (image,) = loaded(str(path), 5, "onnx")
    made = in_turn(blocks, [image])
    task = mecpart.workload_from_onnx(path, 5)
    assert [each.nbytes for each in made] == [*np.asarray(task.input_bytes)[1:], task.output_bytes]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"image": image})
    assert np.abs(made[-1] - expected).max() < 1e-5 * np.abs(expected).max()


class TestWhichEngine:
    def test_by_the_network(self):
        assert engines.engine_of("vgg16", None) == "jax"
        assert engines.engine_of("vgg16", "onnx") == "onnx"
        assert engines.engine_of("own.onnx", None) == "onnx"
        assert engines.engine_of(OWN, None) == "jax"

    def test_refused(self, monkeypatch):
        with pytest.raises(ValueError, match="engine must be one of 'jax', 'onnx'; got 'tvm'"):
            engines.engine_of("vgg16", "tvm")
        with pytest.raises(ValueError, match=r"engine must be 'onnx' for the ONNX file 'own\.onnx'; got 'jax'"):
            engines.engine_of("own.onnx", "jax")
        for network in ("vgg", "", nn.Dense(3), None, b"a.onnx"):
            with pytest.raises(ValueError, match=r"network must be one of 'alexnet', .*trace_module makes of .*; got "):
                engines.engine_of(network, None)
        with pytest.raises(ValueError, match="engine must be 'jax' for the module 'own'; got 'onnx'"):
            engines.engine_of(OWN, "onnx")
        with pytest.raises(ValueError, match="input_shape must be None unless network is an ONNX file; got"):
            engines.workload_of(OWN, 1, (1, 4))
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ImportError, match=r"pip install 'mecpart\[onnxruntime\]'"):
            engines.engine_of("own.onnx", None)
