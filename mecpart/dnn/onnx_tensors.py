"""What is known of the tensors of an ONNX model: types, shapes, and the values of small ones.

An operator is asked for the types of its results by onnx's own inference; one whose inputs are small and known is
evaluated by onnx's reference implementation, since files compute with shapes.
"""

import math
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from mecpart.dnn.onnx_counts import CONTROL, COUNTED, REFUSED, no_weights
from mecpart.dnn.onnx_file import LARGEST_SHAPE, check_shape, refusing, value_of

if TYPE_CHECKING:
    import onnx

# Operators whose results nobody knows beforehand, or that no shape is computed with.
_NOT_EVALUATED = frozenset(
    ("Bernoulli", "Dropout", "ImageDecoder", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
     "RandomUniformLike", *COUNTED, *REFUSED, *CONTROL)
)  # fmt: skip
# Operators whose results have a shape that depends on values, and hold no more than what they read.
_NOT_LARGER = frozenset(
    ("Compress", "ConcatFromSequence", "NonZero", "SequenceAt", "SequenceConstruct", "SequenceErase", "SequenceInsert",
     "SequenceLength", "SplitToSequence", "Unique")
)  # fmt: skip


class Tensors:
    """What is found out about a model's tensors, by name.

    - `types`: of every tensor of which one is known; `shapes`: of those of which all axes are; `values`: of small ones.
    - `constants`: the tensors that stand in the file; `weights`: those that can be parameters, by their shape.
    """

    def __init__(self, declared: Mapping[str, "onnx.TypeProto"], ir_version: int):
        """Types that are `declared` hold where none is inferred."""
        self.types: dict[str, onnx.TypeProto] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.values: dict[str, Any] = {}
        self.constants: dict[str, onnx.TensorProto] = {}
        self.weights: set[str] = set()
        self._data: dict[str, onnx.TensorProto] = {}  # the values, as onnx's inference takes them
        self._declared, self._ir_version = declared, ir_version

    def keep(self, name: str, tensor: "onnx.TensorProto", initializer: bool) -> None:
        """Keep a tensor that stands in the file."""
        from onnx.helper import make_tensor_type_proto

        value = value_of(tensor)
        self.learn(name, make_tensor_type_proto(tensor.data_type, tensor.dims))
        self.constants[name] = tensor
        # A single value is an epsilon or a factor, unless it is kept as the weights are.
        if len(tensor.dims) > 0 if initializer else math.prod(tensor.dims) > 1:
            self.weights.add(name)
        if value is not None and value.dtype.kind in "biuf":
            self.values[name], self._data[name] = value, tensor

    def infer(self, node: "onnx.NodeProto", schema: "onnx.defs.OpSchema | None", opsets: Mapping[str, int]) -> None:
        """Find out the types of what an operator makes, and the values if they are small and known.

        `schema`: what the standard, in the version that `opsets` says, has to say of it (None: nothing).
        """
        found = self._inferred(node, schema, opsets) if schema is not None else {}
        for name in filter(None, node.output):
            kind, said = found.get(name), self._declared.get(name)
            if _shape(kind) is None and said is not None and (kind is None or _shape(said) is not None):
                kind = said
            if kind is not None:
                self.learn(name, kind)
        if schema is not None:
            for name, value in self._evaluated(node, opsets):
                self._know(name, value)

    def _inferred(
        self, node: "onnx.NodeProto", schema: "onnx.defs.OpSchema", opsets: Mapping[str, int]
    ) -> "dict[str, onnx.TypeProto]":
        from onnx import numpy_helper, shape_inference
        from onnx.helper import make_opsetid, make_tensor_type_proto

        read = {name: self.types[name] for name in node.input if name in self.types}
        if not all(name in read for name in node.input if name):
            return {}
        for at in no_weights(node.op_type):  # onnx makes an axis of each value of a shape, even of millions
            if at < len(node.input) and math.prod(self.shapes.get(node.input[at]) or ()) > LARGEST_SHAPE:
                read[node.input[at]] = type(read[node.input[at]])()
        data = {name: self._data[name] for name in read if name in self._data}
        if node.op_type == "Range":  # runtimes take a vector of one value for a number
            for name in [name for name in read if self.shapes.get(name) == (1,)]:
                read[name] = make_tensor_type_proto(read[name].tensor_type.elem_type, ())
                if name in data:
                    data[name] = numpy_helper.from_array(self.values[name].reshape(()))
        with refusing("the shapes in the model must fit together"):
            return shape_inference.infer_node_outputs(
                schema,
                node,
                read,
                data,
                opset_imports=[make_opsetid(domain, version) for domain, version in opsets.items()],
                ir_version=self._ir_version,
            )

    def _evaluated(self, node: "onnx.NodeProto", opsets: Mapping[str, int]) -> list[tuple[str, Any]]:
        """What an operator makes of small known tensors, as far as it is small and known."""
        from onnx import TypeProto
        from onnx.helper import make_graph, make_value_info
        from onnx.reference import ReferenceEvaluator

        if node.op_type in ("Shape", "Size"):
            shape = self.shapes.get(node.input[0])
            read = {} if shape is None else {node.input[0]: np.broadcast_to(np.int8(0), shape)}
        else:
            read = {name: self.values[name] for name in node.input if name in self.values}
        made = [name for name in node.output if name]
        sizes = [self.shapes.get(name) for name in made]
        small = all(shape is not None and math.prod(shape) <= LARGEST_SHAPE for shape in sizes)
        known = all(name in read for name in node.input if name) and node.op_type not in _NOT_EVALUATED
        if not known or not (small or node.op_type in _NOT_LARGER):
            return []
        graph = make_graph(
            [node],
            "",
            [make_value_info(name, TypeProto()) for name in read],
            [make_value_info(name, TypeProto()) for name in made],
        )
        # Division by zero and the like are for whoever runs the model.
        with suppress(Exception), warnings.catch_warnings(action="ignore"), np.errstate(all="raise"):
            results = ReferenceEvaluator(graph, opsets=dict(opsets)).run(None, read)
            return list(zip(made, results, strict=True))
        return []

    def _know(self, name: str, value: Any) -> None:
        from onnx import numpy_helper
        from onnx.helper import make_tensor_type_proto

        if isinstance(value, list):  # a sequence
            self.values[name] = value
        elif np.size(value) <= LARGEST_SHAPE and np.asarray(value).dtype.kind in "biuf":
            value = np.asarray(value)
            self.values[name], self._data[name] = value, numpy_helper.from_array(value)
            self.learn(name, make_tensor_type_proto(self._data[name].data_type, value.shape))

    def learn(self, name: str, kind: "onnx.TypeProto") -> None:
        shape = _shape(kind)
        self.types[name] = kind
        if shape is not None:
            self.shapes[name] = check_shape(name, shape)


def _shape(kind: "onnx.TypeProto | None") -> tuple[int, ...] | None:
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    axes = kind.tensor_type.shape.dim
    return tuple(axis.dim_value for axis in axes) if all(axis.HasField("dim_value") for axis in axes) else None


def constant_of(node: "onnx.NodeProto") -> "onnx.TensorProto":
    """The tensor that a Constant holds, in whatever form."""
    from onnx import TensorProto, helper, numpy_helper

    (entry,) = node.attribute if len(node.attribute) == 1 else (None,)
    value: Any = None if entry is None else helper.get_attribute_value(entry)
    match None if entry is None else entry.name, value:
        case "value", TensorProto():
            return value
        case ("value_float", float()) | ("value_floats", [*_]):
            return numpy_helper.from_array(np.array(value, np.float32))
        case ("value_int", int()) | ("value_ints", [*_]):
            return numpy_helper.from_array(np.array(value, np.int64))
        case ("value_string", bytes()) | ("value_strings", [*_]):
            return numpy_helper.from_array(np.array(value, object))
        case "sparse_value", _:
            raise ValueError(f"weights must not be sparse; got {', '.join(node.output)}")
    names = [entry.name for entry in node.attribute]
    raise ValueError(f"a Constant must hold one value, of the type that its name says; got {names}")
