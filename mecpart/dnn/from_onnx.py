"""An ONNX file as a layer table.

The file is read as data: nothing in it is run, no other file is opened on its behalf, and of its weights only the
shapes are used.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mecpart.dnn.graph import ModelGraph, Operator, Tensor, common_path
from mecpart.dnn.onnx_counts import COUNTED, QUANTISED, WEIGHTS, macs_of, no_weights, pooling_operations
from mecpart.dnn.onnx_file import (
    attribute,
    bits_of,
    check_shape,
    check_text,
    floating,
    kind_of,
    naming,
    read_model,
    standard,
    type_of,
)
from mecpart.dnn.onnx_walk import Walk
from mecpart.dnn.workload import LayerTable, Workload
from mecpart.validation import check_choice, check_count, check_flag, check_path, shown
from mecpart.validation import check_text as check_name

if TYPE_CHECKING:
    import onnx
    import pandas as pd

# Operators that make a tensor of one value, or at random: weights, where a file leaves the values out.
_FILLS = ("ConstantOfShape", "Expand", "EyeLike", "RandomNormal", "RandomNormalLike", "RandomUniform",
          "RandomUniformLike", "Tile")  # fmt: skip
# Operators whose first operand they hand on in another form.
_FORMS = ("Cast", "CastLike", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze",
          "Transpose", "Unsqueeze")  # fmt: skip
_LONGEST_PATH = 64  # of modules inside each other


def layers_from_onnx(
    path: str | os.PathLike,
    *,
    name: str | None = None,
    input_shape: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    pooling: bool = False,
    count_as_zero: Sequence[str] = (),
) -> LayerTable:
    """The finest table of layers of a model in an ONNX file, between which it may be cut (`ModelGraph.layers`).

    Needs the package onnx (`pip install mecpart[onnx]`), which also infers the shapes.

    **Arguments:**

    - `path`: of a file of at most 2 GiB. Weights that it keeps in other files are not looked for; their shapes stand
      in this one.
    - `name`: of the network; by default the file's, without its ending.
    - `input_shape`: of the model's input, or of several by name, in place of what the file says; with a batch axis
      of one. Needed where the file leaves open more than the first axis, which is taken for the batch.
    - `pooling`: whether each value that a pooling window takes in counts as a multiply-accumulate. Published totals
      leave pooling out, and so does `layers_from_module`.
    - `count_as_zero`: types of operators that may count as no multiply-accumulates: those outside the standard
      ("domain.Type"), whose outputs' shapes must be in the file, and those of it for which published totals have no
      rule (DFT, Det, STFT).

    **Returns:** layers named after the modules that the file's names tell of. Multiply-accumulates are those of
    convolutions (also transposed, deformable, quantised), matrix products (Gemm, MatMul, Einsum two by two from the
    left, Attention) and recurrent cells; `onnx_operators` names what counts as zero. Parameters are the floating-point
    and quantised tensors of the file that an operator works with, at the size at which they are stored, and weights
    that it has made by filling a shape; but not single values without an axis, scales and zero points, states in which
    recurrent cells start, and the running statistics of a batch normalisation. They may be fewer than the original
    model's (exporters merge batch normalisations into convolutions, and tensors that are equal, all the zero biases of
    an untrained model, into one) or more (a tied weight that is written twice, a mask or table of positions that is no
    parameter).

    **Raises:** `ImportError` without the package onnx. `ValueError` that names the file: if it is too large,
    truncated or not a valid model; for an input whose shape is not known (naming the axis) or with another batch axis
    than one; for control flow whose condition is not known beforehand, sparse weights, or operators that neither the
    standard nor `count_as_zero` says the cost of.
    """
    _check_arguments(path, name, input_shape, count_as_zero)
    check_flag("pooling", pooling)
    with naming(path):
        layers = _read(path, input_shape, count_as_zero).graph(pooling).layers()
    return LayerTable(Path(path).stem if name is None else name, layers)


def workload_from_onnx(
    path: str | os.PathLike,
    blocks: int | None = None,
    *,
    name: str | None = None,
    input_shape: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    pooling: bool = False,
    count_as_zero: Sequence[str] = (),
) -> Workload:
    """A model in an ONNX file cut into blocks: `layers_from_onnx(...).workload(blocks)`.

    **Arguments:** `blocks` as in `LayerTable.workload`, all others as in `layers_from_onnx`.

    **Raises:** `ValueError` as there; for `blocks`, with the most that the model allows.
    """
    if blocks is not None:
        check_count("blocks", blocks)
    table = layers_from_onnx(
        path, name=name, input_shape=input_shape, pooling=pooling, count_as_zero=count_as_zero
    )  # fmt: skip
    return table.workload(blocks)


def onnx_operators(
    path: str | os.PathLike,
    *,
    input_shape: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    count_as_zero: Sequence[str] = (),
) -> "pd.DataFrame":
    """What `layers_from_onnx` makes of each type of operator in a file, above all which count as zero.

    **Arguments:** as in `layers_from_onnx`.

    **Returns:** a DataFrame, one row per type, the dearest first:

    - `operator`: its type, "domain.Type" outside the standard; `number`: of operators of this type;
    - `macs`: their multiply-accumulates; `counted`: whether they have any, False for what counts as zero;
    - `pooling_operations`: values that pooling windows take in, which `pooling=True` counts.

    **Raises:** as `layers_from_onnx`.
    """
    import pandas as pd

    _check_arguments(path, None, input_shape, count_as_zero)
    with naming(path):
        model = _read(path, input_shape, count_as_zero)
        rows: dict[str, dict[str, Any]] = {}
        for kind in model.walk.kinds:
            row = {"operator": kind, "number": 0, "macs": 0, "counted": kind in COUNTED}
            rows.setdefault(kind, row | {"pooling_operations": 0})["number"] += 1
        for step in model.walk.steps:
            rows[step.kind]["macs"] += macs_of(step.node, model.shape)
            rows[step.kind]["pooling_operations"] += pooling_operations(step.node, model.shape)
    table = pd.DataFrame([row | {"counted": row["counted"] or row["macs"] > 0} for row in rows.values()])
    return table.sort_values(
        ["macs", "pooling_operations", "operator"], ascending=[False, False, True], ignore_index=True
    )


def _check_arguments(path, name, input_shape, count_as_zero) -> None:
    """Raise `ValueError` for arguments that no file can make right."""
    check_path("path", path)
    if name is not None:
        check_name("name", name)
    if isinstance(count_as_zero, str | bytes) or not isinstance(count_as_zero, Sequence):
        raise ValueError(f"count_as_zero must be types of operators, in a list; got {shown(count_as_zero)}")
    for kind in count_as_zero:
        check_name("each type in count_as_zero", kind)
    if input_shape is not None:
        for shape in input_shape.values() if isinstance(input_shape, Mapping) else (input_shape,):
            if isinstance(shape, str | bytes) or not isinstance(shape, Sequence):
                raise ValueError(f"input_shape must be a shape, or shapes by name; got {shown(input_shape)}")
            for axis in shape:
                check_count("each axis of input_shape", axis)


@dataclass(frozen=True)
class _Model:
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


def _read(
    path: str | os.PathLike,
    input_shape: Sequence[int] | Mapping[str, Sequence[int]] | None,
    count_as_zero: Sequence[str],
) -> _Model:
    model = read_model(path)
    graph = model.graph
    if not graph.node:
        raise ValueError("the file must hold a model with at least one operator; got none")
    check_text(entry.name for entry in (*graph.input, *graph.value_info, *graph.output))
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in constants]
    declared = _fix_shapes(model, inputs, input_shape)
    walk = Walk(model, inputs, declared, count_as_zero)
    return _Model(walk, [entry.name for entry in inputs])


def _fix_shapes(
    model: "onnx.ModelProto",
    inputs: Sequence["onnx.ValueInfoProto"],
    input_shape: Sequence[int] | Mapping[str, Sequence[int]] | None,
) -> dict[str, "onnx.TypeProto"]:
    """Give every input a shape, and say which types the file declares for other tensors that then hold."""
    names = [entry.name for entry in inputs]
    given = input_shape if isinstance(input_shape, Mapping) else {}
    if input_shape is not None and not isinstance(input_shape, Mapping):
        if len(names) != 1:
            raise ValueError(f"input_shape must give shapes by name, for inputs {names}; got {input_shape!r}")
        given = {names[0]: input_shape}
    for name in given:
        check_choice("input_shape", name, names)
    symbols: dict[str, int] = {}
    as_declared = True
    for entry in inputs:
        if not entry.type.HasField("tensor_type"):
            raise ValueError(f"every input must be a tensor; got {entry.name!r} of another type")
        check_shape(entry.name, (1,) * len(entry.type.tensor_type.shape.dim))
        if entry.name in given:
            as_declared &= _give(entry, given[entry.name], symbols)
    shared = {
        entry.name for entry in inputs for axis in entry.type.tensor_type.shape.dim[:1] if axis.dim_param in symbols
    }
    for entry in inputs:
        axes = entry.type.tensor_type.shape.dim
        _substitute(axes, symbols)
        if axes and axes[0].dim_value <= 0:  # the batch
            symbols |= {axes[0].dim_param: 1} if axes[0].dim_param else {}
            axes[0].dim_value = 1
    for entry in inputs:
        axes = entry.type.tensor_type.shape.dim
        _substitute(axes, symbols)
        unknown = [f"{at} ({axis.dim_param or 'unnamed'})" for at, axis in enumerate(axes) if axis.dim_value <= 0]
        if unknown or not entry.type.tensor_type.HasField("shape"):
            axis = f"axis {', '.join(unknown)}" if unknown else "the number of axes"
            raise ValueError(f"input {entry.name!r} must have a known shape; {axis} is not: give input_shape")
        sizes = check_shape(entry.name, tuple(axis.dim_value for axis in axes))
        if axes and sizes[0] != 1 and entry.name not in shared.union(given):
            raise ValueError(
                f"input {entry.name!r} must have a batch axis of one; got shape {sizes}: give input_shape, or export "
                "the model with a batch of one"
            )
    made_elsewhere = {name for node in model.graph.node if not standard(node) for name in node.output}
    declared = {
        entry.name: entry.type
        for entry in (*model.graph.value_info, *model.graph.output)
        if as_declared or entry.name in made_elsewhere
    }
    for kind in declared.values():
        if kind.HasField("tensor_type") and kind.tensor_type.HasField("shape"):
            _substitute(kind.tensor_type.shape.dim, symbols)
    return declared


def _give(entry: "onnx.ValueInfoProto", shape: Sequence[int], symbols: dict[str, int]) -> bool:
    """Give an input a shape, learn what its symbols mean, and say whether it agrees with the one in the file."""
    kind = entry.type.tensor_type
    sizes = [check_count("each axis of input_shape", axis) for axis in shape]
    axes = list(kind.shape.dim)
    if kind.HasField("shape") and len(sizes) != len(axes):
        raise ValueError(f"input_shape of {entry.name!r} must have {len(axes)} axes; got {tuple(sizes)}")
    for axis, size in zip(axes, sizes, strict=False):
        if axis.dim_param and symbols.setdefault(axis.dim_param, size) != size:
            raise ValueError(
                f"input_shape must give axis {axis.dim_param!r} one size; got {symbols[axis.dim_param]} and {size}"
            )
    agrees = all(axis.dim_value in (0, size) for axis, size in zip(axes, sizes, strict=False))
    del kind.shape.dim[:]
    for size in sizes:
        kind.shape.dim.add().dim_value = size
    return agrees


def _substitute(axes, symbols: Mapping[str, int]) -> None:
    for axis in axes:
        if axis.dim_param in symbols:
            axis.dim_value = symbols[axis.dim_param]
