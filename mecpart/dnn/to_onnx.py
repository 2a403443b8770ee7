"""The paper's networks as ONNX files, so that other runtimes than JAX run them."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mecpart.dnn import zoo
from mecpart.files import write_atomically
from mecpart.validation import check_choice, check_path

if TYPE_CHECKING:
    import onnx

# What ONNX Runtime has known for long; none of the operators here needs a later version.
_OPSET, _IR = 17, 8


def write_onnx(network: str, path: str | os.PathLike) -> Path:
    """Write one of the paper's networks, with weights at random, as an ONNX file.

    Its layers are those of `workload(network)`: the image enters as 8-bit pixels, channels last, all else is float32.

    **Arguments:** `network`: "alexnet", "nin", "resnet32" or "vgg16"; `path`: of the file.

    **Raises:** `ValueError` for an unknown name; `ImportError` without the package onnx.
    """
    check_choice("network", network, zoo.NETWORKS)
    check_path("path", path)
    chain = zoo.NETWORKS[network]()
    model = onnx_model(chain, zoo.chain_variables(chain, zoo.IMAGE), network)
    return write_atomically(Path(path), lambda file: file.write_bytes(model.SerializeToString()))


def onnx_model(chain: zoo.Chain, variables: dict[str, Any], name: str) -> "onnx.ModelProto":
    """A chain with the variables of its layers, by name, as an ONNX model."""
    try:
        from onnx import TensorProto, helper
    except ImportError as error:
        raise ImportError("writing an ONNX file needs the package onnx: pip install 'mecpart[onnx]'") from error
    graph = _Graph()
    x = graph("Transpose", graph("Cast", "image", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    for layer_name, layer in chain.layers.items():
        graph.layer = layer_name
        x = graph.add(layer, variables[layer_name], x)
    graph.nodes[-1].output[0] = "scores"
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            name,
            [helper.make_tensor_value_info("image", TensorProto.UINT8, zoo.IMAGE.shape)],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, "classes"))],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
    )


class _Graph:
    """Operators and weights, of one `layer` after the other.

    `maps`: whether what they make are still feature maps, which have their channels first, and not yet vectors.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.layer, self.maps = "image", True

    def __call__(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator, and say what it makes."""
        from onnx import helper

        name = f"/{self.layer}/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}.out"], name, **attributes))
        return f"{name}.out"

    def weight(self, values) -> str:
        from onnx import numpy_helper

        name = f"{self.layer}.weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, layer: Any, variables: dict[str, Any], x: str) -> str:
        """Add a layer, and say what it makes."""
        match layer:
            case zoo.Convolution():
                return self._convolution(layer, variables, x)
            case zoo.ResidualUnit():
                return self._residual_unit(layer, variables, x)
            case zoo.MaxPool() | zoo.AveragePool():
                how: dict[str, Any] = {"count_include_pad": 1} if isinstance(layer, zoo.AveragePool) else {}
                kind, window = type(layer).__name__, [layer.window] * 2
                return self(kind, x, kernel_shape=window, strides=[2, 2], pads=[layer.padding] * 4, **how)
            case zoo.GlobalAveragePool():
                self.maps = False
                return self("Flatten", self("GlobalAveragePool", x))
            case zoo.FullyConnected():
                return self._fully_connected(layer, variables, x)
        raise ValueError(f"layers must be of mecpart.dnn.zoo; got {layer!r}")

    def _convolution(self, layer: zoo.Convolution, variables: dict[str, Any], x: str) -> str:
        weights = variables["params"]["Conv_0"]
        operands = [self.weight(weights["kernel"].transpose(3, 2, 0, 1))]
        operands += [self.weight(weights["bias"])] if layer.bias else []
        x = self("Conv", x, *operands, strides=[layer.stride] * 2, pads=[layer.kernel // 2] * 4)
        if layer.batch_norm:
            learned, running = variables["params"]["BatchNorm_0"], variables["batch_stats"]["BatchNorm_0"]
            moments = learned["scale"], learned["bias"], running["mean"], running["var"]
            x = self("BatchNormalization", x, *map(self.weight, moments), epsilon=1e-5)
        return self("Relu", x) if layer.activation else x

    def _residual_unit(self, layer: zoo.ResidualUnit, variables: dict[str, Any], x: str) -> str:
        def inside(at: int) -> dict[str, Any]:
            return {collection: held[f"Convolution_{at}"] for collection, held in variables.items()}

        convolution = partial(zoo.Convolution, layer.features, bias=False, batch_norm=True)
        y = self._convolution(convolution(stride=layer.stride), inside(0), x)
        y = self._convolution(convolution(activation=False), inside(1), y)
        if "Convolution_2" in variables["params"]:
            x = self._convolution(convolution(kernel=1, stride=layer.stride, activation=False), inside(2), x)
        return self("Relu", self("Add", x, y))

    def _fully_connected(self, layer: zoo.FullyConnected, variables: dict[str, Any], x: str) -> str:
        weights = variables["params"]["Dense_0"]
        if self.maps:
            x = self("Flatten", self("Transpose", x, perm=[0, 2, 3, 1]))  # in the order of channels last
            self.maps = False
        x = self("Gemm", x, self.weight(weights["kernel"]), self.weight(weights["bias"]))
        return self("Relu", x) if layer.activation else x
