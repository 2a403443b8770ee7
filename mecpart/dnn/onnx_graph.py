"""A walked ONNX model as a dataflow graph: what each operator costs, and which tensors are parameters."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mecpart.dnn.graph import ModelGraph, Operator, Tensor, common_path
from mecpart.dnn.onnx_counts import QUANTISED, WEIGHTS, macs_of, no_weights, pooling_operations
from mecpart.dnn.onnx_file import attribute, bits_of, floating, kind_of, standard, type_of
from mecpart.dnn.onnx_walk import Walk

if TYPE_CHECKING:
    import onnx

# Operators that make a tensor of one value, or at random: weights, where a file leaves the values out.
_FILLS = ("ConstantOfShape", "Expand", "EyeLike", "RandomNormal", "RandomNormalLike", "RandomUniform",
          "RandomUniformLike", "Tile")  # fmt: skip
# Operators whose first operand they hand on in another form.
_FORMS = ("Cast", "CastLike", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze",
          "Transpose", "Unsqueeze")  # fmt: skip
_LONGEST_PATH = 64  # of modules inside each other


@dataclass(frozen=True)
class OnnxModel:
    """A model of whose tensors the shapes are known: what the walk over it found, and the names of its inputs."""

    walk: Walk
    inputs: list[str]

    def graph(self, pooling: bool) -> ModelGraph:
        """The model as a dataflow graph."""
        types = {name: self.walk.tensors.types[name].tensor_type.elem_type for name in self.walk.tensors.shapes}
        tensors = {name: self._tensor(name, data_type) for name, data_type in types.items() if data_type}
        fixed, parameters = self._constants()
        operators = []
        for step in self.walk.steps:
            node = step.node
            settings = no_weights(node.op_type) if standard(node) else ()
            reads = [name for at, name in enumerate(node.input) if name and not (at in settings and name in fixed)]
            macs = macs_of(node, self.shape) + (pooling_operations(node, self.shape) if pooling else 0)
            operators.append(
                Operator(
                    kind=step.kind,
                    path=_module(node, [name for name in reads if name in parameters]),
                    macs=macs,
                    reads=tuple(reads),
                    makes=tuple(filter(None, node.output)),
                    lookup=node.op_type == "Gather" and node.input[0] in parameters,
                    static=node.op_type in ("Shape", "Size"),
                )
            )
        return ModelGraph(
            operators=operators,
            tensors=tensors,
            parameters={name: tensors[name].bytes for name in parameters},
            inputs=self.inputs,
            outputs=self.walk.outputs,
            separator="/" if any("/" in step.node.name for step in self.walk.steps) else ".",
        )

    def shape(self, tensor: str) -> tuple[int, ...]:
        shape = self.walk.tensors.shapes.get(tensor)
        if shape is None:
            made_by = ", ".join(kind_of(step.node) for step in self.walk.steps if tensor in step.node.output)
            raise ValueError(f"every tensor must have a known shape; got none for {tensor!r}, made by {made_by}")
        return shape

    def _tensor(self, name: str, data_type: int) -> Tensor:
        size = math.prod(self.shape(name))
        return Tensor(size, -(-size * bits_of(data_type) // 8))

    def _constants(self) -> tuple[set[str], set[str]]:
        """The tensors that do not depend on the input, and those among them that are parameters."""
        constants = self.walk.tensors.constants
        fixed = set(constants)
        parameters = {name for name in self.walk.tensors.weights if floating(constants[name].data_type)}
        # Of a tensor that may be a weight in some places: the one of which it is a copy in another form.
        origins = {name: name for name in self.walk.tensors.weights - parameters}
        for node in (step.node for step in self.walk.steps if standard(step.node)):
            reads = [*filter(None, node.input)]
            moving = not fixed.issuperset(reads) and node.op_type not in ("Shape", "Size")
            if not moving:
                fixed.update(filter(None, node.output))
                if node.op_type in _FORMS and reads[0] in origins:
                    origins[node.output[0]] = origins[reads[0]]
                elif (
                    node.op_type in _FILLS
                    and parameters.isdisjoint(reads)
                    and math.prod(self.walk.tensors.shapes.get(node.output[0], ())) > 1
                ):
                    origins[node.output[0]] = node.output[0]
            for at, name in enumerate(node.input):
                if name in origins and self._weight(node, at, origins[name], moving):
                    parameters.add(origins[name])
        return fixed, parameters

    def _weight(self, node: "onnx.NodeProto", at: int, origin: str, moving: bool) -> bool:
        """Whether an operator's input at position `at`, a copy of `origin`, is a weight; `moving`: it depends on the
        model's input."""
        data_type, shape = self.walk.tensors.types[origin].tensor_type.elem_type, self.walk.tensors.shapes[origin]
        if not floating(data_type):
            if node.op_type == "Gather" or (node.op_type == "Cast" and floating(attribute(node, "to"))):
                return at == 0 and type_of(data_type).kind != "b" and bits_of(data_type) <= 8
            return node.op_type in QUANTISED and at in WEIGHTS[node.op_type]
        if node.op_type in ("Add", "Mul"):  # a bias or a factor of each channel, no mask
            vector = sum(size > 1 for size in shape) == 1
            return moving and vector and (len(shape) == 1 or shape[-1] == 1)
        return at in WEIGHTS.get(node.op_type, ())


def _module(node: "onnx.NodeProto", parameters: list[str]) -> tuple[str, ...]:
    """The module that an operator belongs to, as far as names tell: its own, or else those of its parameters."""
    parts = [part for part in node.name.split("/") if part][-_LONGEST_PATH:]
    if "/" in node.name and parts:
        return tuple(parts[:-1] if parts[-1].rstrip("_0123456789") == node.op_type else parts)
    common = common_path([tuple(name.replace("/", ".").split("."))[:-1] for name in parameters] or [()])
    return common[-_LONGEST_PATH:] or tuple(parts)
