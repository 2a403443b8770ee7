"""An ONNX file as a layer table.

The file is read as data: nothing in it is run, no other file is opened on its behalf, and of its weights only the
shapes are used.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mecpart.dnn.onnx_counts import COUNTED, macs_of, pooling_operations
from mecpart.dnn.onnx_file import check_text, naming, read_model
from mecpart.dnn.onnx_graph import OnnxModel
from mecpart.dnn.onnx_inputs import fix_shapes
from mecpart.dnn.onnx_walk import Walk
from mecpart.dnn.workload import LayerTable, Workload
from mecpart.validation import check_count, check_flag, check_path, shown
from mecpart.validation import check_text as check_name

if TYPE_CHECKING:
    import pandas as pd


def layers_from_onnx(
    path: str | os.PathLike,
    *,
    name: str | None = None,
    input_shape: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    pooling: bool = False,
    count_as_zero: Sequence[str] = (),
) -> LayerTable:
    """The finest table of layers of a model in an ONNX file, between which it may be cut (`ModelGraph.layers`).

    Needs the package onnx (`pip install 'mecpart[onnx]'`), which also infers the shapes.

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
    check_arguments(path, name, input_shape, count_as_zero)
    check_flag("pooling", pooling)
    with naming(path):
        layers = walked(path, input_shape, count_as_zero).graph(pooling).layers()
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

    check_arguments(path, None, input_shape, count_as_zero)
    with naming(path):
        model = walked(path, input_shape, count_as_zero)
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


def check_arguments(path, name, input_shape, count_as_zero) -> None:
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


def walked(
    path: str | os.PathLike,
    input_shape: Sequence[int] | Mapping[str, Sequence[int]] | None,
    count_as_zero: Sequence[str],
) -> OnnxModel:
    """A file's model, of whose tensors the shapes are known."""
    model = read_model(path)
    graph = model.graph
    if not graph.node:
        raise ValueError("the file must hold a model with at least one operator; got none")
    check_text(entry.name for entry in (*graph.input, *graph.value_info, *graph.output))
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in constants]
    declared = fix_shapes(model, inputs, input_shape)
    walk = Walk(model, inputs, declared, count_as_zero)
    return OnnxModel(walk, [entry.name for entry in inputs])
