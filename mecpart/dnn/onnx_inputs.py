"""The inputs of an ONNX model: each gets a shape, by the file or by who reads it, with a batch of one."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mecpart.dnn.onnx_file import check_shape, standard
from mecpart.validation import check_choice, check_count

if TYPE_CHECKING:
    import onnx


def fix_shapes(
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
