"""A model in an ONNX file cut for real: a file for each part of it that a plan puts on one node."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mecpart.dnn.from_onnx import check_arguments, walked
from mecpart.dnn.onnx_file import naming, refusing
from mecpart.dnn.onnx_graph import OnnxModel
from mecpart.dnn.workload import balanced_cut, checked_starts
from mecpart.files import write_folder_atomically
from mecpart.validation import check_count, check_flag, check_path, shown

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Piece:
    """A part of a network as an ONNX file of its own: `blocks`, by number, that follow each other on one `node`."""

    path: Path
    node: int
    blocks: tuple[int, ...]


def write_pieces(
    path: str | os.PathLike,
    plan: Sequence[int],
    folder: str | os.PathLike,
    *,
    starts: Sequence[int] | None = None,
    input_shape: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    pooling: bool = False,
    count_as_zero: Sequence[str] = (),
) -> tuple[Piece, ...]:
    """Cut the model in an ONNX file as a plan says, into ONNX files that run one after the other.

    What a piece returns is the input of the next; the last returns what the whole model does. Each holds its own
    weights, and is of a batch of one. What the model computes from shapes alone is worked out beforehand.

    **Arguments:**

    - `plan`: [M] the node of each block of `workload_from_onnx(path, blocks=M)`. Blocks that follow each other on one
      node are one piece; `range(M)` makes each block a piece.
    - `folder`: for `piece_1_node_0.onnx` and so on; new or empty. It is there when all pieces are, or not at all.
    - `starts`: the index of the first layer of each block, for other blocks than those.
    - all others as in `layers_from_onnx`. Weights that the model keeps in other files are read from there.

    **Returns:** the pieces, in the order in which they run.

    **Raises:** `ValueError` as `layers_from_onnx`; for a plan that is not of whole numbers of at least 0, or of more
    blocks than the model allows; for a cut inside a function of the file; for a folder that holds something.
    """
    check_arguments(path, None, input_shape, count_as_zero)
    check_flag("pooling", pooling)
    check_path("folder", folder)
    nodes = _whole_numbers("plan", plan)
    if starts is not None and len(_whole_numbers("starts", starts)) != len(nodes):
        raise ValueError(f"starts must be of the {len(nodes)} blocks in plan; got {shown(starts)}")
    with naming(path):
        model = walked(path, input_shape, count_as_zero)
        graph = model.graph(pooling)
        layers = graph.layers()
        starts = balanced_cut(layers, len(nodes)) if starts is None else checked_starts(starts, len(layers))
        crossings = [graph.crossings()[start - 1] for start in starts[1:]]
        whole = _flat(path, model)
        _check_made(whole, crossings)
    runs = [tuple(run) for _, run in groupby(range(len(nodes)), key=lambda block: nodes[block])]
    pieces = []
    with write_folder_atomically(Path(folder)) as unfinished, naming(path):
        for number, blocks in enumerate(runs, start=1):
            name = f"piece_{number}_node_{nodes[blocks[0]]}.onnx"
            reads = crossings[blocks[0] - 1 : blocks[0]] if blocks[0] else model.inputs
            makes = crossings[blocks[-1] : blocks[-1] + 1] or [entry.name for entry in whole.graph.output]
            _write_part(whole, reads, makes, unfinished / name)
            pieces.append(Piece(Path(folder) / name, nodes[blocks[0]], blocks))
    return tuple(pieces)


def _whole_numbers(name: str, values: Sequence[int]) -> list[int]:
    """One for each block."""
    numbers = values.tolist() if hasattr(values, "tolist") else values  # of an array of NumPy or JAX
    if isinstance(numbers, str | bytes) or not isinstance(numbers, Sequence) or not numbers:
        raise ValueError(f"{name} must be whole numbers of at least 0, one for each block; got {shown(values)}")
    return [check_count(f"each number in {name}", number, minimum=0) for number in numbers]


def _flat(path: str | os.PathLike, model: OnnxModel) -> "onnx.ModelProto":
    """The model with its weights and the shapes of all its tensors, without the operators that work on shapes alone.

    Those that are left of the latter would reach over cuts, back to the tensors whose shapes they read.
    """
    import onnx

    with refusing("the file must be an ONNX model, whole and valid"):
        whole = onnx.load(path)
    tensors = model.walk.tensors

    def known(node: "onnx.NodeProto") -> bool:
        made = [name for name in node.output if name]
        return all(isinstance(tensors.values.get(name), np.ndarray) for name in made)

    graph = whole.graph
    kept = [node for node in graph.node if not known(node)]
    made = [name for node in graph.node if known(node) for name in node.output if name]
    constants = [onnx.numpy_helper.from_array(tensors.values[name], name) for name in made]
    shapes = [
        onnx.helper.make_value_info(name, tensors.types[name])
        for node in kept
        for name in node.output
        if name in tensors.types
    ]
    # A result of a branch has another name in the walk.
    known_as = {entry.name: entry.name for entry in graph.input}
    known_as |= {entry.name: name for entry, name in zip(graph.output, model.walk.outputs, strict=True)}
    for entry in (*graph.input, *graph.output):
        entry.type.CopyFrom(tensors.types[known_as[entry.name]])
    for part, entries in ((graph.node, kept), (graph.value_info, shapes)):
        del part[:]
        part.extend(entries)
    graph.initializer.extend(constants)
    return whole


def _check_made(whole: "onnx.ModelProto", crossings: Sequence[str]) -> None:
    made = {name for node in whole.graph.node for name in node.output}
    if inside := [name for name in crossings if name not in made]:
        raise ValueError(
            f"every cut must be between operators of the file itself; got one at {inside[0]!r}, inside of a function "
            "or a branch: choose another number of blocks, or inline them (onnx.inliner)"
        )


def _write_part(whole: "onnx.ModelProto", reads: Sequence[str], makes: Sequence[str], path: Path) -> None:
    """Write what makes some tensors of some others."""
    import onnx
    from onnx.utils import Extractor  # what extract_model calls after it has read the file

    with refusing("the model must fall into pieces that are ONNX models, whole and valid"):
        part = Extractor(whole).extract_model([*reads], [*makes])
        onnx.save(part, path)
        onnx.checker.check_model(path)
