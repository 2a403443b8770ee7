"""The paper's networks as ONNX files: the same layers, and in ONNX Runtime the same results as in JAX."""

import jax
import numpy as np
import onnx
import onnxruntime
import pytest

from mecpart.dnn import zoo
from mecpart.dnn.from_onnx import layers_from_onnx
from mecpart.dnn.to_onnx import onnx_model, write_onnx

#: Each kind of layer, in each of its ways, on 32 x 32 pixels.
SMALL = zoo.Chain(
    {
        "conv1": zoo.Convolution(4, kernel=5, batch_norm=True),
        "pool1": zoo.MaxPool(window=3, padding=1),
        "res1": zoo.ResidualUnit(4),
        "res2": zoo.ResidualUnit(6, stride=2),
        "pool2": zoo.AveragePool(window=3, padding=1),
        "conv2": zoo.Convolution(5, kernel=1, stride=2, activation=False),
        "fc1": zoo.FullyConnected(7, activation=True),
        "fc2": zoo.FullyConnected(3),
    }
)
POOLED = zoo.Chain({"conv": zoo.Convolution(4), "pool": zoo.GlobalAveragePool(), "fc": zoo.FullyConnected(3)})


@pytest.mark.parametrize("chain", [SMALL, POOLED], ids=["small", "pooled"])
def test_runs_as_in_jax(chain):
    variables = zoo.chain_variables(chain)
    model = onnx_model(chain, variables, "own")
    onnx.checker.check_model(model, full_check=True)
    image = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {"image": image})

    x = image
    for name, layer in chain.layers.items():
        x = layer.apply(variables[name], x)
    assert made.shape == x.shape == (1, 3)
    np.testing.assert_allclose(made, x, rtol=1e-4)


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_layers_are_those_of_the_paper(tmp_path, name):
    """As they are read back from the file, which knows nothing of this package."""
    path = write_onnx(name, tmp_path / "own.onnx")
    assert layers_from_onnx(path).layers == zoo.layers_of(name)


def test_weights_keep_values_in_range():
    """So that no time is measured with numbers that a processor takes longer for."""
    variables = zoo.chain_variables(SMALL)
    x = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8)
    for name, layer in SMALL.layers.items():
        x = layer.apply(variables[name], x)
        assert 1e-3 < np.abs(x).max() < 1e5, name
    assert jax.tree.structure(variables["fc2"]) == jax.tree.structure({"params": {"Dense_0": {"bias": 0, "kernel": 0}}})


def test_refused(tmp_path):
    with pytest.raises(ValueError, match="network must be one of 'alexnet', 'nin', 'resnet32', 'vgg16'; got 'lenet'"):
        write_onnx("lenet", tmp_path / "own.onnx")
    assert not list(tmp_path.iterdir())
