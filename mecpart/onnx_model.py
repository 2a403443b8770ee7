"""An ONNX file as a layer table.

The file is read as data: nothing in it is run, no other file is opened on its behalf, and of its weights only the
shapes are used.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mecpart.model_graph import ModelGraph, Operator, Tensor, common_path
from mecpart.validation import check_choice, check_count
from mecpart.workload import LayerTable, Workload

if TYPE_CHECKING:
    import onnx
    import pandas as pd

#: The largest file that is read, in bytes: what its format allows.
LARGEST_FILE = 2**31 - 1

# So that a bit flipped in a shape does not lead to numbers that no float32 holds.
_LARGEST_TENSOR = 2**48
# Constants of up to so many values may belong to a file's arithmetic with shapes; whatever is larger is a weight.
_LARGEST_SHAPE = 64

_MULTIPLY = ("Attention", "Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN")
_POOL = ("AveragePool", "LpPool", "MaxPool")
_POOL_ALL = ("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool")
_QUANTISED = (
    "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul",
    "QuantizeLinear",
)  # fmt: skip
# Inputs that are no weights, by position: running statistics, and settings that are given as tensors.
_NO_WEIGHTS = {
    "BatchNormalization": (3, 4), "Clip": (1, 2), "Dropout": (1,), "Pad": (2,), "Pow": (1,), "Resize": (1, 2),
    "Upsample": (1,),
}  # fmt: skip


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
    - `count_as_zero`: types of operators outside the standard ("domain.Type") that may count as no
      multiply-accumulates. Their output's shape must be in the file.

    **Returns:** layers named after the modules that the file's names tell of. Multiply-accumulates are those of
    convolutions (also transposed), matrix products (Gemm, MatMul, Einsum of two operands, Attention) and recurrent
    cells; `onnx_operators` names what counts as zero. Parameters are the floating-point tensors of the file that an
    operator works with, at the size at which they are stored, but for single values without an axis and the running
    statistics of a batch normalisation. They may be fewer than the original model's: exporters merge batch
    normalisations into convolutions, and tensors that are equal (all the zero biases of an untrained model) into one.

    **Raises:** `ImportError` without the package onnx. `ValueError` that names the file: if it is too large,
    truncated or not a valid model; for an input whose shape is not known (naming the axis) or with another batch axis
    than one; for control flow, functions, quantised operators, sparse weights, or operators outside the standard that
    `count_as_zero` does not name.
    """
    with _naming(path):
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

    with _naming(path):
        model = _read(path, input_shape, count_as_zero)
        rows: dict[str, dict[str, Any]] = {
            kind: {"operator": kind, "number": 0, "macs": 0, "counted": kind in _MULTIPLY, "pooling_operations": 0}
            for kind in model.kinds
        }
        for kind in model.kinds:
            rows[kind]["number"] += 1
        for node in model.nodes:
            rows[_kind(node)]["macs"] += model.macs(node)
            rows[_kind(node)]["pooling_operations"] += model.pooling_operations(node)
    table = pd.DataFrame(list(rows.values()))
    return table.sort_values(
        ["macs", "pooling_operations", "operator"], ascending=[False, False, True], ignore_index=True
    )


@contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
    """Whatever is wrong is wrong with this file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


# --- What a file says ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Model:
    """A model whose arithmetic with shapes is done.

    - `kinds`: the type of every operator in the file; `nodes`: those that are left.
    - `shapes`, `item_bytes`: of every tensor of which they are known; `parameters`: the trainable among them.
    """

    kinds: list[str]
    nodes: list["onnx.NodeProto"]
    shapes: dict[str, tuple[int, ...]]
    item_bytes: dict[str, int]
    parameters: frozenset[str]
    inputs: list[str]
    outputs: list[str]

    def graph(self, pooling: bool) -> ModelGraph:
        """The model as a dataflow graph."""
        tensors = {
            name: Tensor(math.prod(shape), math.prod(shape) * self.item_bytes[name])
            for name, shape in self.shapes.items()
        }
        operators = []
        for node in self.nodes:
            no_weights = _NO_WEIGHTS.get(node.op_type, ())
            reads = [name for at, name in enumerate(node.input) if name and at not in no_weights]
            operators.append(
                Operator(
                    kind=_kind(node),
                    path=_module(node, [name for name in reads if name in self.parameters]),
                    macs=self.macs(node) + (self.pooling_operations(node) if pooling else 0),
                    reads=tuple(reads),
                    makes=tuple(filter(None, node.output)),
                    lookup=node.op_type == "Gather" and node.input[0] in self.parameters,
                    static=node.op_type in ("Shape", "Size"),
                )
            )
        return ModelGraph(
            operators=operators,
            tensors=tensors,
            parameters={name: tensors[name].bytes for name in self.parameters},
            inputs=self.inputs,
            outputs=self.outputs,
            separator="/" if any("/" in node.name for node in self.nodes) else ".",
        )

    def macs(self, node: "onnx.NodeProto") -> int:
        """The multiply-accumulates of an operator."""
        if node.op_type not in _MULTIPLY or not _standard(node):
            return 0
        try:
            return self._macs(node)
        except (LookupError, TypeError) as error:  # onnx lets some of them pass
            raise ValueError(
                f"{node.op_type} {node.name!r} must have operands with as many axes as the standard asks for; "
                f"got {[self.shapes.get(name) for name in node.input]}"
            ) from error

    def _macs(self, node: "onnx.NodeProto") -> int:
        first, second = self._shape(node.input[0]), self._shape(node.input[1]) if len(node.input) > 1 else ()
        output = math.prod(self._shape(next(filter(None, node.output))))
        match node.op_type:
            case "Conv":
                self._check_channels(node, first[1], second[1] * _attribute(node, "group", 1))
                return output * math.prod(second[1:])
            case "ConvTranspose":  # each value that enters meets each weight of its channel
                self._check_channels(node, first[1], second[0])
                return math.prod(first) * math.prod(second[1:])
            case "Gemm":
                return output * first[0 if _attribute(node, "transA", 0) else 1]
            case "MatMul":
                return output * first[-1]
            case "Einsum":
                return output * _contracted(_attribute(node, "equation"), [self._shape(name) for name in node.input])
            case "Attention":  # queries with keys, then weights with values
                past = self._shape(node.input[4])[-2] if len(node.input) > 4 and node.input[4] else 0
                return (math.prod(first) + output) * (second[-2] + past)
            case _:  # a recurrent cell: weights for what enters and for its state, in each step
                return first[0] * first[1] * (math.prod(second) + math.prod(self._shape(node.input[2])))

    def pooling_operations(self, node: "onnx.NodeProto") -> int:
        """The values that an operator's pooling windows take in."""
        if node.op_type in _POOL and _standard(node):
            return math.prod(self._shape(node.output[0])) * math.prod(_attribute(node, "kernel_shape"))
        return math.prod(self._shape(node.input[0])) if node.op_type in _POOL_ALL and _standard(node) else 0

    def _shape(self, tensor: str) -> tuple[int, ...]:
        if tensor not in self.shapes:
            made_by = ", ".join(_kind(node) for node in self.nodes if tensor in node.output)
            raise ValueError(f"every tensor must have a known shape; got none for {tensor!r}, made by {made_by}")
        return self.shapes[tensor]

    def _check_channels(self, node: "onnx.NodeProto", channels: int, allowed: int) -> None:
        """What onnx does not check."""
        if channels != allowed:
            raise ValueError(f"{node.input[0]!r} must have {allowed} channels, as {node.op_type} takes; got {channels}")


def _standard(node: "onnx.NodeProto") -> bool:
    return node.domain in ("", "ai.onnx")


def _kind(node: "onnx.NodeProto") -> str:
    return node.op_type if _standard(node) else f"{node.domain}.{node.op_type}"


def _attribute(node: "onnx.NodeProto", name: str, default=None):
    from onnx.helper import get_attribute_value

    return next((get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


def _module(node: "onnx.NodeProto", parameters: list[str]) -> tuple[str, ...]:
    """The module that an operator belongs to, as far as names tell: its own, or else those of its parameters."""
    if "/" in node.name:
        *parts, last = filter(None, node.name.split("/"))
        return tuple(parts if last.rstrip("_0123456789") == node.op_type else (*parts, last))
    if parameters:
        common = common_path([tuple(name.replace("/", ".").split("."))[:-1] for name in parameters])
        if common:
            return common
    return (node.name,) if node.name else ()


def _contracted(equation: bytes, shapes: list[tuple[int, ...]]) -> int:
    """The product of the axes that the Einsum of two operands sums over; 0 for one operand, which is not multiplied."""
    if len(shapes) == 1:
        return 0
    if len(shapes) > 2:
        raise ValueError(f"an Einsum must be of at most two operands to be counted; got {equation.decode()!r}")
    operands, arrow, result = equation.decode().replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for term, shape in zip(operands.split(","), shapes, strict=True):
        before, _, after = term.partition("...")
        sizes |= dict(zip(before, shape, strict=False)) | dict(zip(after[::-1], shape[::-1], strict=False))
    summed = [label for label in sizes if (label not in result if arrow else operands.count(label) > 1)]
    return math.prod(sizes[label] for label in summed)


# --- Reading it ---------------------------------------------------------------------------------------------


def _read(
    path: str | os.PathLike,
    input_shape: Sequence[int] | Mapping[str, Sequence[int]] | None,
    count_as_zero: Sequence[str],
) -> _Model:
    try:
        import onnx
        import onnx.checker
        import onnx.shape_inference
    except ImportError as error:
        raise ImportError("reading an ONNX file needs the package onnx: pip install mecpart[onnx]") from error
    size = os.path.getsize(path)
    if size > LARGEST_FILE:
        raise ValueError(f"the file must be of at most {LARGEST_FILE} bytes; got {size}")
    model = onnx.ModelProto()
    with _refusing("the file must be an ONNX model, whole and valid"):
        model.ParseFromString(Path(path).read_bytes())
    _refuse_unreadable(model, count_as_zero)
    kinds = [_kind(node) for node in model.graph.node]
    constants, parameters = _set_weights_apart(model)
    with _refusing("the file must be an ONNX model, whole and valid"):
        onnx.checker.check_model(model)
    inputs = [entry for entry in model.graph.input if entry.name not in constants]
    _fix_shapes(model, inputs, input_shape)
    values = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name not in parameters
    }
    # What onnx cannot follow of a file's arithmetic with shapes becomes known as soon as one more shape is.
    while True:
        with _refusing("the shapes in the model must fit together"):
            inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        described = [*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output]
        types = {entry.name: entry.type.tensor_type for entry in described if entry.type.HasField("tensor_type")}
        shapes = {name: _dimensions(kind) for name, kind in types.items() if _known(kind)}
        shapes |= {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        if not _compute_shapes(model, shapes, values):
            break
    for name, shape in shapes.items():
        if min(shape, default=0) < 0 or math.prod(shape) > _LARGEST_TENSOR:
            raise ValueError(f"a tensor must have axes of 0 or more, and at most 2^48 values; got {shape} for {name!r}")
    data_types = {name: kind.elem_type for name, kind in types.items()}
    data_types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    item_bytes = {code: _numpy_type(code).itemsize for code in set(data_types.values()) if code}
    return _Model(
        kinds=kinds,
        nodes=list(model.graph.node),
        shapes={name: shape for name, shape in shapes.items() if data_types[name]},
        item_bytes={name: item_bytes[code] for name, code in data_types.items() if code},
        parameters=frozenset(parameters),
        inputs=[entry.name for entry in inputs],
        outputs=[entry.name for entry in model.graph.output],
    )


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """The package onnx and protobuf raise errors of many types."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what}; got: {' '.join(str(error).split())}") from error


def _refuse_unreadable(model: "onnx.ModelProto", count_as_zero: Sequence[str]) -> None:
    graph, nodes = model.graph, model.graph.node
    if not nodes:
        raise ValueError("the file must hold a model with at least one operator; got none")
    names = [text for node in nodes for text in (node.name, node.op_type, node.domain, *node.input, *node.output)]
    names += [
        entry.name for field in (graph.initializer, graph.input, graph.output, graph.value_info) for entry in field
    ]
    broken = [name for name in names if isinstance(name, bytes)]  # what protobuf makes of it
    if broken:
        raise ValueError(f"names must be UTF-8; got {broken[0]!r}")

    def refuse(found: set[str], allowed: str) -> None:
        if found:
            raise ValueError(f"{allowed}; got {', '.join(sorted(found))}")

    refuse(
        {function.name for function in model.functions}, "functions of a model's own must be inlined by its exporter"
    )
    with_graphs = {
        _kind(node) for node in nodes if any(entry.HasField("g") or entry.graphs for entry in node.attribute)
    }
    refuse(with_graphs, "operators must not hold graphs of their own (control flow)")
    refuse({node.op_type for node in nodes} & set(_QUANTISED), "the model must not be quantised")
    refuse({weight.values.name for weight in graph.sparse_initializer}, "weights must not be sparse")
    unknown = {_kind(node) for node in nodes if not _standard(node)} - set(count_as_zero)
    refuse(unknown, "operators must be of the ONNX standard, or named in count_as_zero")


def _set_weights_apart(model: "onnx.ModelProto") -> tuple[set[str], set[str]]:
    """Names of all constants, and of those among them that can be parameters.

    Small constants become the model's initializers; all others become inputs, without their values. So no value of a
    weight is used, copied or looked for in another file.
    """
    import onnx

    graph = model.graph
    constants, parameters, nodes = list(graph.initializer), set(), []
    # A single value is an epsilon or a factor, unless it is kept as the weights are; whole numbers are a shape.
    parameters |= {tensor.name for tensor in constants if _floating(tensor) and len(tensor.dims) > 0}
    for node in graph.node:
        value = _attribute(node, "value") if node.op_type == "Constant" and _standard(node) else None
        if isinstance(value, onnx.TensorProto) and len(node.output) == 1:
            value.name = node.output[0]
            constants.append(value)
            parameters |= {value.name} if _floating(value) and math.prod(value.dims) > 1 else set()
        else:
            nodes.append(node)
    names = {tensor.name for tensor in constants}
    entering, kept = [entry for entry in graph.input if entry.name not in names], []
    for tensor in constants:
        if any(axis < 0 for axis in tensor.dims):
            raise ValueError(f"a tensor must have axes of 0 or more; got {list(tensor.dims)} for {tensor.name!r}")
        elsewhere = tensor.data_location == onnx.TensorProto.EXTERNAL
        if elsewhere or math.prod(tensor.dims) > _LARGEST_SHAPE:
            if not elsewhere and _floating(tensor) and not _whole(tensor):
                raise ValueError(f"{tensor.name!r} must hold as many values as its shape {list(tensor.dims)} says")
            entering.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
        else:
            with _refusing(f"{tensor.name!r} must hold as many values as its shape {list(tensor.dims)} says"):
                kept.append(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    for field, entries in ((graph.node, nodes), (graph.input, entering), (graph.initializer, kept)):
        entries = [type(entry).FromString(entry.SerializeToString()) for entry in entries]
        del field[:]
        field.extend(entries)
    if 0 < model.ir_version < 4:
        model.ir_version = 4  # before, initializers had to be inputs too
    return names, parameters


def _floating(tensor: "onnx.TensorProto") -> bool:
    return "float" in _numpy_type(tensor.data_type).name


def _whole(tensor: "onnx.TensorProto") -> bool:
    """Whether a tensor of floating-point numbers holds as many as its shape says."""
    if tensor.HasField("raw_data"):
        bits = 4 if "float4" in _numpy_type(tensor.data_type).name else 8 * _numpy_type(tensor.data_type).itemsize
        return len(tensor.raw_data) == -(-math.prod(tensor.dims) * bits // 8)
    # Those of 16 bits and less stand, one or more, in whole numbers.
    return bool(tensor.int32_data) or math.prod(tensor.dims) in (len(tensor.float_data), len(tensor.double_data))


def _numpy_type(data_type: int) -> np.dtype:
    from onnx.helper import tensor_dtype_to_np_dtype

    try:
        return tensor_dtype_to_np_dtype(data_type)
    except KeyError:
        raise ValueError(f"a tensor must be of one of the types of the ONNX standard; got number {data_type}") from None


def _fix_shapes(
    model: "onnx.ModelProto",
    inputs: Sequence["onnx.ValueInfoProto"],
    input_shape: Sequence[int] | Mapping[str, Sequence[int]] | None,
) -> None:
    """Give every input a shape, and leave all others to be inferred from these."""
    names = [entry.name for entry in inputs]
    given = input_shape if isinstance(input_shape, Mapping) else {}
    if input_shape is not None and not isinstance(input_shape, Mapping):
        if len(names) != 1:
            raise ValueError(f"input_shape must give shapes by name, for inputs {names}; got {input_shape!r}")
        given = {names[0]: input_shape}
    for name in given:
        check_choice("input_shape", name, names)
    symbols: dict[str, int] = {}
    for entry in inputs:
        if not entry.type.HasField("tensor_type"):
            raise ValueError(f"every input must be a tensor; got {entry.name!r} of another type")
        axes = entry.type.tensor_type.shape.dim
        if entry.name in given:
            shape = [check_count("each axis of input_shape", axis) for axis in given[entry.name]]
            if entry.type.tensor_type.HasField("shape") and len(shape) != len(axes):
                raise ValueError(f"input_shape of {entry.name!r} must have {len(axes)} axes; got {tuple(shape)}")
            symbols |= {axis.dim_param: size for axis, size in zip(axes, shape, strict=False) if axis.dim_param}
            del axes[:]
            for size in shape:
                axes.add().dim_value = size
        elif axes and axes[0].dim_value <= 0:
            symbols |= {axes[0].dim_param: 1} if axes[0].dim_param else {}
            axes[0].dim_value = 1
    for entry in inputs:
        axes = entry.type.tensor_type.shape.dim
        _substitute(axes, symbols)
        unknown = [f"{at} ({axis.dim_param or 'unnamed'})" for at, axis in enumerate(axes) if axis.dim_value <= 0]
        if unknown or not entry.type.tensor_type.HasField("shape"):
            axis = f"axis {', '.join(unknown)}" if unknown else "the number of axes"
            raise ValueError(f"input {entry.name!r} must have a known shape; {axis} is not: give input_shape")
        if axes and axes[0].dim_value != 1 and entry.name not in given:
            sizes = tuple(axis.dim_value for axis in axes)
            raise ValueError(
                f"input {entry.name!r} must have a batch axis of one; got shape {sizes}: give input_shape, or export "
                "the model with a batch of one"
            )
    made_elsewhere = {name for node in model.graph.node if not _standard(node) for name in node.output}
    kept = [entry for entry in model.graph.value_info if entry.name in made_elsewhere]
    kept = [type(entry).FromString(entry.SerializeToString()) for entry in kept]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    for entry in (*model.graph.value_info, *model.graph.output):
        if entry.name in made_elsewhere:
            _substitute(entry.type.tensor_type.shape.dim, symbols)
        elif entry.type.HasField("tensor_type"):
            entry.type.tensor_type.ClearField("shape")


def _substitute(axes, symbols: Mapping[str, int]) -> None:
    for axis in axes:
        if axis.dim_param in symbols:
            axis.dim_value = symbols[axis.dim_param]


def _known(kind: "onnx.TypeProto.Tensor") -> bool:
    return kind.HasField("shape") and all(axis.HasField("dim_value") for axis in kind.shape.dim)


def _dimensions(kind: "onnx.TypeProto.Tensor") -> tuple[int, ...]:
    return tuple(axis.dim_value for axis in kind.shape.dim)


# --- A file's arithmetic with shapes ------------------------------------------------------------------------


def _compute_shapes(
    model: "onnx.ModelProto", shapes: Mapping[str, tuple[int, ...]], values: dict[str, np.ndarray]
) -> bool:
    """Turn operators whose results are known small constants into these; whether there were any."""
    from onnx.numpy_helper import from_array

    left = []
    for node in model.graph.node:
        result = None
        if _standard(node) and len(node.output) == 1:
            # Division by zero and the like are for whoever runs the model.
            with suppress(ArithmeticError, LookupError, TypeError, ValueError), np.errstate(all="raise"):
                result = _value(node, shapes, values)
        if result is None or result.size > _LARGEST_SHAPE:
            left.append(type(node).FromString(node.SerializeToString()))
        else:
            values[node.output[0]] = result
            model.graph.initializer.append(from_array(result, node.output[0]))
    if len(left) == len(model.graph.node):
        return False
    del model.graph.node[:]
    model.graph.node.extend(left)
    return True


def _value(
    node: "onnx.NodeProto", shapes: Mapping[str, tuple[int, ...]], values: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    """The result of an operator, if it is one of those that shapes are computed with and all that it reads is known."""
    from onnx.numpy_helper import to_array

    def attribute(name: str, default=None):
        return _attribute(node, name, default)

    if node.op_type in ("Shape", "Size"):
        shape = np.array(shapes[node.input[0]], dtype=np.int64)
        part = slice(attribute("start", 0), attribute("end"))
        return np.array(shape.prod()) if node.op_type == "Size" else shape[part]
    read: list[Any] = [values[name] if name else None for name in node.input]  # KeyError: not known
    first: Any = read[0] if read else None

    def given(at: int, name: str):
        """What older versions of the standard have as an attribute, and newer ones as an input."""
        return read[at] if len(read) > at and read[at] is not None else attribute(name)

    match node.op_type:
        case "Constant":
            known = [attribute(name) for name in ("value_int", "value_ints", "value_float")]
            known = next(value for value in known if value is not None)
            return np.array(known, dtype=np.float32 if isinstance(known, float) else np.int64)
        case "Identity":
            return first
        case "Cast":
            return first.astype(_numpy_type(attribute("to")))
        case "Ceil" | "Floor":
            return getattr(np, node.op_type.lower())(first)
        case "Add" | "Sub" | "Mul" | "Mod" | "Equal":
            names = {"Add": "add", "Sub": "subtract", "Mul": "multiply", "Mod": "mod", "Equal": "equal"}
            return getattr(np, names[node.op_type])(*read)
        case "Div":
            quotient = np.divide(*read)
            return quotient if first.dtype.kind == "f" else np.trunc(quotient).astype(first.dtype)
        case "Where":
            return np.where(*read)
        case "Concat":
            return np.concatenate(read, axis=attribute("axis"))
        case "Gather":
            return np.take(first, read[1], axis=attribute("axis", 0))
        case "Squeeze":
            axes = given(1, "axes")
            return np.squeeze(first, None if axes is None else tuple(int(axis) for axis in axes))
        case "Unsqueeze":
            return np.expand_dims(first, tuple(int(axis) for axis in given(1, "axes")))
        case "Reshape":
            return first.reshape([first.shape[at] if size == 0 else int(size) for at, size in enumerate(read[1])])
        case "Slice":
            starts, ends, axes = given(1, "starts"), given(2, "ends"), given(3, "axes")
            steps = read[4] if len(read) > 4 else np.ones(len(starts), dtype=int)
            for start, end, axis, step in zip(
                starts, ends, range(first.ndim) if axes is None else axes, steps, strict=False
            ):
                within: list[slice] = [slice(None)] * first.ndim
                at_end = step < 0 and end < -first.shape[axis]
                within[axis] = slice(int(start), None if at_end else int(end), int(step))
                first = first[tuple(within)]
            return first
        case "ConstantOfShape" if math.prod(first.tolist()) <= _LARGEST_SHAPE:
            fill = attribute("value")
            fill = np.zeros(1, np.float32) if fill is None else to_array(fill)
            return np.full(tuple(first), fill[0], fill.dtype)
    return None
