"""A DNN task as the chain of blocks that a plan places on nodes, and the cutting of layers into blocks."""

import html
import itertools
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mecpart.dnn.layer import Layer, check_layers
from mecpart.fields import LABEL, check_record, integers_to_floats, quantity, register_labelled, short_repr
from mecpart.files import read_csv
from mecpart.ledger import LEDGER
from mecpart.validation import check_choice, check_count, check_path, check_text, check_type, shown


@register_labelled
@dataclass(frozen=True, eq=False)
class Workload:
    """One task: M blocks, each fed by the one before it (a pytree; quantities of a single task).

    - `macs`: multiply-accumulates of each block; c_m is release_rate * macs * cycles_per_mac.
    - `input_bytes`: what enters each block, the raw image first (I_m, in bytes).
    - `parameter_bytes`: trainable parameters of each block (d_m).
    - `output_bytes`: what leaves the last block.
    - `block_names`: M names.
    - `name`: of the network.

    What is compiled for one workload serves every other of as many blocks. So the names are not known inside of a JAX
    transformation, and what comes out of one has empty names.

    Use `workload` or `workload_from_layers` to make one; `check_workload` checks one made by hand.
    """

    macs: Float[Array, " blocks"]
    input_bytes: Float[Array, " blocks"] = field(metadata=quantity("bytes"))
    parameter_bytes: Float[Array, " blocks"] = field(metadata=quantity("bytes"))
    output_bytes: Float[Array, ""] = field(metadata=quantity("bytes"))
    block_names: tuple[str, ...] = field(metadata=LABEL)
    name: str = field(metadata=LABEL)

    __repr__ = short_repr

    def __post_init__(self):
        integers_to_floats(self)

    @property
    def num_blocks(self) -> int:
        """M."""
        return len(self.block_names)

    def _repr_html_(self) -> str | None:
        if jnp.ndim(self.macs) != 1:
            return None  # a batch of workloads has no single table
        columns = zip(self.block_names, self.macs, self.input_bytes, self.parameter_bytes, strict=True)
        rows = "".join(
            f"<tr><td>{number}</td><td>{html.escape(name)}</td><td>{float(macs) / 1e6:,.2f}</td>"
            f"<td>{float(entering) / 1e3:,.1f}</td><td>{float(parameters) / 1e3:,.1f}</td></tr>"
            for number, (name, macs, entering, parameters) in enumerate(columns, start=1)
        )
        return (
            "<table><tr><th>block</th><th>layers</th><th>multiply-accumulates (M)</th>"
            f"<th>input (kB)</th><th>parameters (kB)</th></tr>{rows}</table>"
            f"<p>{html.escape(self.name)}: {float(jnp.sum(self.macs)) / 1e6:,.2f} M multiply-accumulates, "
            f"{float(jnp.sum(self.parameter_bytes)) / 1e3:,.1f} kB of parameters and "
            f"{float(self.output_bytes):g} bytes of output for one task</p>"
        )


def check_workload(workload: Workload, name: str = "workload") -> None:
    """Raise `ValueError` where `workload` is none, or holds a value of wrong shape or type, negative or not finite.

    Under `jit` only shapes are checked; values are then assumed to be finite and at least 0.
    """
    check_type(name, workload, Workload, "from mecpart.dnn.workload or workload_from_...")
    names = workload.block_names
    if not isinstance(names, tuple) or not names or not all(isinstance(each, str) for each in names):
        raise ValueError(f"{name}.block_names must name at least one block, in a tuple; got {shown(names)}")
    if not isinstance(workload.name, str):
        raise ValueError(f"{name}.name must be a text; got {shown(workload.name)}")
    check_record(name, workload, Workload, blocks=len(names))


PAPER_CUTS: dict[tuple[str, int], tuple[str, ...]] = {
    ("vgg16", 6): ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1", "fc1"),
}
"""The cuts stated in the paper (Sec. 5.1): the first layer of each block, by network and number of blocks."""


@dataclass(frozen=True)
class LayerTable:
    """A network of one's own: layers in the order in which they run, between any two of which it may be cut.

    - `layers`: each fed by the one before it.
    - `name`: of the network.

    Plain values, so that it can be compared, hashed, sent to another process and be part of a kept run's identity:
    `workload` and the field `network` of `mecpart.Setting` take one wherever they take a name.

    **Raises:** `ValueError` for an empty name or table, two layers of one name, or a layer whose input is not as large
    as the output of the layer before it.
    """

    name: str
    layers: tuple[Layer, ...]

    __repr__ = short_repr

    def __post_init__(self):
        check_text("name", self.name)
        if not isinstance(self.layers, list | tuple):
            raise ValueError(f"layers must be a tuple of Layer; got {shown(self.layers)}")
        object.__setattr__(self, "layers", tuple(self.layers))
        check_layers(self.layers)

    def workload(self, blocks: int | None = None) -> Workload:
        """The network cut into blocks by `balanced_cut`.

        - `blocks`: M, from 1 to the number of layers; by default the ledger's, or all layers where there are fewer.

        **Raises:** `ValueError` for another number of blocks.
        """
        if blocks is None:
            blocks = min(LEDGER.default("num_blocks"), len(self.layers))
        return workload_from_layers(self.layers, balanced_cut(self.layers, blocks), name=self.name)

    def to_frame(self):
        """The table as a pandas DataFrame, one row per layer."""
        import pandas as pd

        return pd.DataFrame([astuple(layer) for layer in self.layers], columns=[entry.name for entry in fields(Layer)])

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(index=False, justify="left")


def workload(name: str | LayerTable, blocks: int | None = None) -> Workload:
    """One of the paper's networks for a 32x32x3 image, or a network of one's own, cut into blocks.

    - `name`: "alexnet", "nin", "resnet32" or "vgg16"; or a layer table of one's own.
    - `blocks`: M, from 1 to the number of layers of the network (9, 12, 18 and 21); by default the ledger's.

    VGG16 in six blocks is the paper's cut; everything else is cut by `balanced_cut`. The image enters as
    8-bit pixels, all other tensors travel as float32.

    **Raises:** `ValueError` for an unknown name, or a number of blocks that the network does not allow.
    """
    if isinstance(name, LayerTable):
        return name.workload(blocks)
    layers, starts = paper_cut(name, blocks)
    return workload_from_layers(layers, starts, name=name)


def paper_cut(name: str, blocks: int | None = None) -> tuple[tuple[Layer, ...], tuple[int, ...]]:
    """The layers of one of the paper's networks, and the index of the first in each block: as `workload` cuts it."""
    from mecpart.dnn import zoo  # only here: Flax takes long to import, and a layer table needs none

    check_choice("name", name, zoo.NETWORKS)
    layers = zoo.layers_of(name)
    blocks = LEDGER.default("num_blocks") if blocks is None else blocks
    blocks = check_count("blocks", blocks, maximum=len(layers))
    if (name, blocks) in PAPER_CUTS:
        names = [layer.name for layer in layers]
        return layers, tuple(names.index(first) for first in PAPER_CUTS[name, blocks])
    return layers, balanced_cut(layers, blocks)


def workload_from_layers(layers: Sequence[Layer], starts: Sequence[int], *, name: str) -> Workload:
    """Merge a layer table into contiguous blocks.

    - `layers`: in the order in which they run, each fed by the one before it.
    - `starts`: the index of the first layer of each block, rising from 0.
    - `name`: of the network.

    **Raises:** `ValueError` for an empty table, two layers of one name, a layer whose input is not as large
    as the output of the layer before it, or indices that do not rise from 0 within the table.
    """
    layers = tuple(layers)
    check_layers(layers)
    starts = checked_starts(starts, len(layers))
    chunks = [layers[a:b] for a, b in zip(starts, (*starts[1:], len(layers)), strict=True)]

    def per_block(values):
        return jax.device_put(np.array(values, dtype=np.float32))  # unlike jnp.asarray, compiles nothing

    return Workload(
        macs=per_block([sum(layer.macs for layer in chunk) for chunk in chunks]),
        input_bytes=per_block([chunk[0].input_bytes for chunk in chunks]),
        parameter_bytes=per_block([sum(layer.parameter_bytes for layer in chunk) for chunk in chunks]),
        output_bytes=per_block(layers[-1].output_bytes),
        block_names=tuple(merged_name(chunk[0].name, chunk[-1].name) for chunk in chunks),
        name=name,
    )


def checked_starts(starts: Sequence[int], count: int) -> tuple[int, ...]:
    """The indices of the first of `count` layers in each block, checked: they rise from 0."""
    starts = tuple(check_count("each index in starts", i, minimum=0, maximum=count - 1) for i in starts)
    if not starts or starts[0] != 0 or any(a >= b for a, b in itertools.pairwise(starts)):
        raise ValueError(f"starts must rise from 0, each index once; got {starts}")
    return starts


def merged_name(first: str, last: str) -> str:
    """What a block from layer `first` to layer `last` is called."""
    return first if first == last else f"{first}-{last}"


def layers_from_csv(path: str | os.PathLike, *, name: str | None = None) -> LayerTable:
    """A layer table from a CSV file with a row for each block of a network, in the order in which they run.

    **Arguments:**

    - `path`: of the file. Its columns, in any order:

        - `block_name` or `name`: no two the same;
        - `macs`: multiply-accumulates;
        - `input_bytes`: of the tensor that enters; of the first row, the raw input;
        - `parameter_bytes`: of the trainable parameters;
        - `output_bytes`: of the tensor that leaves. Needed in the last row only: that of any other row is the input of
          the next, and if given must be equal to it.

      Quantities are of one task, and whole numbers of at least 0, `1.5e9` included.
    - `name`: of the network; by default the file's, without its ending.

    **Raises:** `ValueError` that names the file, and the row (the first below the header is 1) and column of what is
    missing, superfluous or not allowed.
    """
    check_path("path", path)
    if name is not None:
        check_text("name", name)
    header, rows = read_csv(path)
    columns = ["name" if column == "block_name" else column for column in header]
    known = ("name", "macs", "input_bytes", "parameter_bytes", "output_bytes")
    if sorted(columns) != sorted(known):
        allowed = "block_name, macs, input_bytes, parameter_bytes and output_bytes, each once"
        raise ValueError(f"{path} must have the columns {allowed}; got {', '.join(header) or 'no header'}")
    if not rows:
        raise ValueError(f"{path} must have a row for each block below its header; got none")
    table: list[dict] = []
    names: set[str] = set()
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise ValueError(f"row {number} of {path} must have {len(columns)} columns; got {len(row)}: {row}")
        entries: dict[str, Any] = dict(zip(columns, row, strict=True))
        last = number == len(rows)
        for column, entry in entries.items():
            where = f"column {column!r} in row {number} of {path}"
            if column == "name":
                if not entry or entry in names:
                    raise ValueError(f"{where} must be a name that no row has before it; got {entry!r}")
                names.add(entry)
            elif entry or column != "output_bytes" or last:
                entries[column] = _whole_number(where, entry)
        if table and table[-1]["output_bytes"] not in ("", entries["input_bytes"]):
            raise ValueError(
                f"column 'output_bytes' in row {number - 1} of {path} must be empty or the {entries['input_bytes']} "
                f"input_bytes of the row below; got {table[-1]['output_bytes']}"
            )
        table.append(entries)
    for earlier, later in itertools.pairwise(table):
        earlier["output_bytes"] = later["input_bytes"]
    return LayerTable(Path(path).stem if name is None else name, tuple(Layer(**entries) for entries in table))


def workload_from_csv(path: str | os.PathLike, *, name: str | None = None) -> Workload:
    """A network from a CSV file, each row of which is a block.

    **Arguments:** as in `layers_from_csv`, whose table can also be cut into fewer blocks.

    **Raises:** `ValueError` as there.
    """
    table = layers_from_csv(path, name=name)
    return table.workload(len(table.layers))


def _whole_number(where: str, entry: str) -> int:
    try:
        number = Decimal(entry)
        whole = number.is_finite() and number >= 0 and number < 2**63 and number == int(number)
    except ArithmeticError:
        whole = False
    if not whole:
        raise ValueError(f"{where} must be a whole number of at least 0, and below 2^63; got {entry!r}")
    return int(number)


def balanced_cut(layers: Sequence[Layer], blocks: int) -> tuple[int, ...]:
    """The first layer of each of `blocks` contiguous blocks whose largest is as small as possible, exactly.

    The size of a block is its multiply-accumulates. Several cuts may share the smallest possible largest
    block. Among them the least sum of squared sizes decides, so that the other blocks are even too; then the
    fewest bytes crossing the cuts, so that a pooling layer, which multiplies nothing, stays with the layer
    whose output it shrinks; then the cut that comes earliest.

    Dynamic programming over prefixes of the chain, in whole numbers: once for the smallest possible largest
    block, then for the best cut within that limit. O(blocks * layers^2).

    **Raises:** `ValueError` for layers that are no chain (see `workload_from_layers`), or a number of blocks
    that is not from 1 to the number of layers.
    """
    layers = tuple(layers)
    check_layers(layers)
    blocks = check_count("blocks", blocks, maximum=len(layers))
    length = len(layers)
    if blocks == length:
        return tuple(range(length))
    before = [0]  # before[i]: multiply-accumulates of the layers ahead of layer i
    for layer in layers:
        before.append(before[-1] + layer.macs)

    # largest[i]: the smallest possible largest block when the layers ahead of layer i make k blocks
    largest = dict(enumerate(before[1:], start=1))
    for k in range(2, blocks + 1):
        largest = {
            end: min(max(largest[start], before[end] - before[start]) for start in range(k - 1, end))
            for end in range(k, length + 1)
        }
    limit = largest[length]

    # best[i]: (sum of squares, bytes crossing, starts) of the best cut of the layers ahead of i into k blocks
    best: dict[int, tuple[int, int, tuple[int, ...]]]
    best = {end: (size**2, 0, (0,)) for end, size in enumerate(before[1:], start=1) if size <= limit}
    for k in range(2, blocks + 1):
        best = {
            end: min(candidates)
            for end in range(k, length + 1)
            if (
                candidates := [
                    (squares + size**2, crossing + layers[start].input_bytes, (*starts, start))
                    for start, (squares, crossing, starts) in best.items()
                    if start < end and (size := before[end] - before[start]) <= limit
                ]
            )
        }
    return best[length][2]
