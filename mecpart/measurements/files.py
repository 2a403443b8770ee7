"""Block times and links as CSV files, and what all readers of measurements make of what they read."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from mecpart.dnn.workload import Workload
from mecpart.fields import quantity, short_repr
from mecpart.files import write_atomically
from mecpart.measurements.entries import Entry, csv_entries, csv_text
from mecpart.model.devices import BlockTimes, Links, check_links, check_times
from mecpart.validation import check_choice, check_count, check_number, check_path, check_text, shown

#: The block that is none: its row has the bytes of the input.
INPUT = "input"

_BLOCK_COLUMNS = ("network", "block", "node", "seconds", "output_bytes")
_OF_BLOCKS = ("output_bytes", "macs", "parameter_bytes", "memory_bytes")
_OPTIONAL = ("spread", *_OF_BLOCKS[1:], "watts", "batch", "source")
_LINK_COLUMNS = ("source_node", "destination_node", "latency_s", "rate_bytes_per_s")


@dataclass(frozen=True, eq=False)
class Measurements:
    """What was measured, the arguments of `mecpart.measured`: `times, links, memory = measurements` takes it apart.

    - `times`: of the blocks of one network on each node.
    - `links`: between the nodes; None where the source has none.
    - `memory`: of each node, bytes; None where the source has none.
    """

    times: BlockTimes
    links: Links | None = None
    memory: Float[Array, " nodes"] | None = field(default=None, metadata=quantity("bytes"))

    __repr__ = short_repr

    def __iter__(self) -> Iterator:
        return iter((self.times, self.links, self.memory))


def times_from_csv(
    path: str | os.PathLike, *, network: str | None = None, input_bytes: float | None = None
) -> BlockTimes:
    """The block times of a network, from a CSV file with a row for each block and node.

    **Arguments:**

    - `path`: of the file. Its columns, in any order:

        - `network`, `block`, `node`: names. Blocks run in the order in which they first come, and the node that comes
          first has the input;
        - `seconds`: of one task of the block on the node; `inf` where it cannot run;
        - `output_bytes`: that leave the block;
        - if wanted, `spread`: the standard deviation of the seconds; `macs`, `parameter_bytes` and `memory_bytes` of
          the block; `watts` of the node while it computes; `batch`: inputs in a task; and `source`: whatever it says.

      The bytes of the input stand in a row with the block `input`, their `output_bytes`, and nothing else but its
      network and source.
    - `network`: one of those in the file; needed where there are several.
    - `input_bytes`: of the input; needed where there is no such row, and taken in its place.

    **Raises:** `ValueError` that names the file, and the line and column of what is missing, there twice, superfluous
    or not allowed, in whatever network.
    """
    check_path("path", path)
    check_network(network)
    if input_bytes is not None:
        check_number("input_bytes", input_bytes, shapes=((),))
    tables = read_tables(path)
    name = chosen_network(network, tables, path)
    return tables[name].times(name, input_bytes)


def read_tables(path: str | os.PathLike) -> "dict[str, NetworkTable]":
    """The rows of each network in a file of block times, checked."""
    tables: dict[str, NetworkTable] = {}
    for row in csv_entries(path, _BLOCK_COLUMNS, _OPTIONAL):
        tables.setdefault(row["network"].text(), NetworkTable()).add(row)
    for table in tables.values():
        table.check()
    return tables


class NetworkTable:
    """The rows of one network."""

    def __init__(self) -> None:
        self.input: Entry | None = None
        self.rows: dict[tuple[str, str], Entry] = {}
        self.of_blocks: dict[str, Entry] = {}
        self.of_nodes: dict[str, Entry] = {}
        self.last: Entry

    def add(self, row: Entry) -> None:
        self.last = row
        if row["block"].value == INPUT and not row["node"].value:
            others = [column for column in row.items() if column not in ("network", "block", "output_bytes", "source")]
            if self.input is not None or any(row[column].value for column in others):
                raise ValueError(f"{row.where} must be the only one of block {INPUT!r}, with output_bytes alone")
            self.input = row["output_bytes"]
            self.input.number()
            return
        block, node = row["block"].text(), row["node"].text()
        if (block, node) in self.rows:
            raise ValueError(f"{row.where} must be of another block or node; got {block!r} on {node!r} again")
        self.rows[block, node] = row
        row["seconds"].number(infinite=True)
        self._same(row, self.of_blocks.setdefault(block, row), _OF_BLOCKS)
        self._same(row, self.of_nodes.setdefault(node, row), ("watts",))
        first = next(iter(self.rows.values()))
        self._same(row, first, ("batch",))
        if (row.get("spread") is None) != (first.get("spread") is None):
            raise row["spread"].refused("empty in all rows of a network, or in none")
        if (spread := row.get("spread")) is not None:
            spread.number(infinite=True)

    def _same(self, row: Entry, first: Entry, columns: Sequence[str]) -> None:
        """Refuse a number that is not that of an earlier row of the same thing."""
        for column in columns:
            if column not in row.items():
                continue
            given, earlier = (each.get(column) for each in (row, first))
            if column == "output_bytes":
                given = row[column]
            if given is not None:
                given.number()
            if (given is None) != (earlier is None) or (given and earlier and given.number() != earlier.number()):
                raise row[column].refused(f"the {first[column].value!r} of {first.where}")

    def check(self) -> None:
        """Refuse a table with gaps: what is missing may have been lost."""
        for block, row in self.of_blocks.items():
            for node in self.of_nodes:
                if (block, node) not in self.rows:
                    raise ValueError(f"{row.where} must have a row beside it for node {node!r}; got none of {block!r}")
            if all(self.rows[block, node]["seconds"].number(infinite=True) == np.inf for node in self.of_nodes):
                raise ValueError(f"{row.where} and those of other nodes must be finite once; got inf for {block!r}")
        if not self.of_nodes:
            raise ValueError(f"{self.last.where} must have rows of blocks beside it; got none")

    def times(self, network: str, input_bytes: float | None = None) -> BlockTimes:
        if input_bytes is None and self.input is None:
            first = next(iter(self.rows.values()))
            raise ValueError(
                f"input_bytes must be given, or a row with the block {INPUT!r} stand above {first.where}; got neither"
            )
        blocks, nodes = list(self.of_blocks.values()), list(self.of_nodes.values())

        def grid(column: str) -> np.ndarray:
            found = [
                [self.rows[block, node][column].number(infinite=True) for node in self.of_nodes]
                for block in self.of_blocks
            ]
            return np.array(found)

        return block_times(
            grid("seconds"),
            network=network,
            blocks=self.of_blocks,
            names=self.of_nodes,
            input_bytes=self.input.number() if input_bytes is None and self.input else input_bytes,
            output_bytes=[row["output_bytes"].number() for row in blocks],
            spread=None if blocks[0].get("spread") is None else grid("spread"),
            macs=_column(blocks, "macs"),
            parameter_bytes=_column(blocks, "parameter_bytes"),
            memory_bytes=_column(blocks, "memory_bytes"),
            watts=_column(nodes, "watts"),
        )


def _column(rows: Sequence[Entry], column: str) -> list[float] | None:
    """Numbers of the blocks or nodes, 0 where a row has none; None where no row has one."""
    entries = [row.get(column) for row in rows]
    return [0.0 if entry is None else entry.number() for entry in entries] if any(entries) else None


def block_times(
    seconds: np.ndarray,
    *,
    network: str,
    blocks: Iterable[str],
    names: Iterable[str],
    input_bytes,
    output_bytes: Sequence[float] | np.ndarray,
    spread=None,
    macs=None,
    parameter_bytes=None,
    memory_bytes=None,
    watts=None,
) -> BlockTimes:
    """`BlockTimes` from plain numbers, checked: bytes of the input and out of each block; macs and parameters are 0
    where they are not known."""
    nothing = np.zeros(len(output_bytes))
    workload = Workload(
        macs=as_array(nothing if macs is None else macs),
        input_bytes=as_array([input_bytes, *output_bytes[:-1]]),
        parameter_bytes=as_array(nothing if parameter_bytes is None else parameter_bytes),
        output_bytes=as_array(output_bytes[-1]),
        block_names=tuple(blocks),
        name=network,
    )
    times = BlockTimes(
        as_array(seconds), workload, tuple(names), as_array(spread), as_array(memory_bytes), as_array(watts)
    )
    check_times(times)
    return times


def as_array(values):
    """Numbers as an array of float32, made without compiling anything; None stays None."""
    return None if values is None else jax.device_put(np.asarray(values, np.float32))


def check_network(network: str | None) -> None:
    """Raise `ValueError` unless `network` is None or a text."""
    if network is not None:
        check_text("network", network)


def chosen_network(network: str | None, names: Iterable[str], path) -> str:
    """The network that is asked for, or the only one there is."""
    names = list(names)
    if network is None and len(names) != 1:
        raise ValueError(f"network must be one of those in {path}; got None of {shown(names)}")
    check_choice("network", names[0] if network is None else network, names)
    return names[0] if network is None else network


def times_to_csv(
    path: str | os.PathLike,
    times: BlockTimes | Sequence[BlockTimes],
    *,
    batch: int | None = None,
    source: str = "",
) -> Path:
    """Write block times, of one network or of several, so that `times_from_csv` reads the same numbers.

    **Arguments:** `path`: of the file; `times`: as they are to stand in it; `batch`: inputs in a task; `source`: where
    the numbers come from, written into every row.

    **Raises:** `ValueError` for times that are none, two of one network, or names that no table can hold.
    """
    check_path("path", path)
    if batch is not None:
        check_count("batch", batch)
    if not isinstance(source, str):
        raise ValueError(f"source must be a text; got {shown(source)}")
    given = [times] if isinstance(times, BlockTimes) else times
    if not isinstance(given, list | tuple) or not given:
        raise ValueError(f"times must be a mecpart.BlockTimes, or several in a list; got {shown(times)}")
    rows = [row for each in given for row in block_rows(each, batch, source)]
    if len({each.workload.name for each in given}) < len(given):
        raise ValueError(f"times must be of different networks; got {shown([each.workload.name for each in given])}")
    return write_block_rows(path, rows)


def block_rows(times: BlockTimes, batch: int | None, source: str) -> list[dict[str, Any]]:
    """The rows of a file with block times, of one network; what is not known is empty."""
    check_times(times)
    workload = times.workload
    _check_names("times", [workload.name, *workload.block_names, *times.names])
    row = {"network": workload.name, "block": INPUT, "output_bytes": np.float32(workload.input_bytes[0])}
    rows = [row | {"source": source}]
    of_blocks = {
        "output_bytes": np.asarray([*workload.input_bytes[1:], workload.output_bytes], np.float32),
        "macs": _known(workload.macs, times.num_blocks),
        "parameter_bytes": _known(workload.parameter_bytes, times.num_blocks),
        "memory_bytes": _known(times.memory_bytes, times.num_blocks, zero=True),
    }
    seconds, watts = np.asarray(times.seconds), _known(times.watts, times.num_nodes, zero=True)
    spread = None if times.spread is None else np.asarray(times.spread)
    for m, block in enumerate(workload.block_names):
        of_block = {name: values[m] for name, values in of_blocks.items()}
        for n, node in enumerate(times.names):
            row = {"network": workload.name, "block": block, "node": node, "seconds": seconds[m, n], **of_block}
            spread_here = None if spread is None else spread[m, n]
            rows.append(row | {"spread": spread_here, "watts": watts[n], "batch": batch, "source": source})
    return rows


def read_block_rows(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The rows of a file with block times as they stand in it, as texts; only their columns are checked."""
    entries = csv_entries(path, _BLOCK_COLUMNS, _OPTIONAL)
    return [{column: cell.value for column, cell in row.items().items()} for row in entries]


def write_block_rows(path: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a file with block times; columns without any entry are left out."""
    columns = [*_BLOCK_COLUMNS, *_OPTIONAL]
    text = csv_text(columns, [[row.get(column) for column in columns] for row in rows])
    return write_atomically(Path(path), lambda file: file.write_text(text, encoding="utf-8"))


def _known(values, length: int, *, zero: bool = False) -> np.ndarray:
    """The numbers of a column, empty where they are not known; 0 is unknown, unless it may be a number."""
    known = values is not None and (zero or np.any(np.asarray(values)))
    return np.asarray(values) if known else np.array([""] * length)


def _check_names(name: str, texts: Iterable[str]) -> None:
    for text in texts:
        Entry(text, f"each name in {name}").text()


def links_from_csv(path: str | os.PathLike) -> Links:
    """The links between nodes, from a CSV file with a row for each pair.

    **Arguments:** `path`: of the file. Its columns, in any order:

    - `source_node`, `destination_node`: names, in the order in which they first come;
    - `latency_s`: s of each transfer, whatever its size;
    - `rate_bytes_per_s`: 0, or no row, where there is no link; a row is for one direction;
    - if wanted, `spread`: the standard deviation of a transfer, s; and `source`: whatever it says.

    **Returns:** links that know their names: `links.select(times.names)` has them in the order of block times.

    **Raises:** `ValueError` that names the file, and the line and column of what is missing, there twice, superfluous
    or not allowed.
    """
    found: dict[tuple[str, str], tuple] = {}
    names: dict[str, None] = {}
    rows = csv_entries(path, _LINK_COLUMNS, ("spread", "source"))
    for row in rows:
        pair = row["source_node"].text(), row["destination_node"].text()
        if pair[0] == pair[1] or pair in found:
            raise ValueError(f"{row.where} must be of two nodes and no pair twice; got {pair[0]!r} to {pair[1]!r}")
        spread, expected = row.get("spread"), rows[0].get("spread")
        if (spread is None) != (expected is None):
            raise row["spread"].refused("empty in all rows, or in none")
        names |= dict.fromkeys(pair)
        found[pair] = (
            row,
            row["latency_s"].number(),
            row["rate_bytes_per_s"].number(),
            None if spread is None else spread.number(),
        )
    return links_between(tuple(names), found)


def links_between(names: Sequence[str], found: Mapping[tuple[str, str], tuple]) -> Links:
    """`Links` between `names`, checked: of each pair where it stands, latency, rate, and spread or None."""
    values = np.zeros((3, len(names), len(names)))
    for pair, (row, *numbers) in found.items():
        for name in pair:
            if name not in names:
                raise ValueError(f"{row.where} must be of nodes among {', '.join(names)}; got {name!r}")
        at = names.index(pair[0]), names.index(pair[1])
        values[:, *at] = [number or 0 for number in numbers]
    has_spread = any(numbers[-1] is not None for numbers in found.values())
    latency, rate, spread = map(as_array, values)
    links = Links(latency, rate, spread if has_spread else None, tuple(names))
    check_links(links)
    return links


def links_to_csv(path: str | os.PathLike, links: Links, *, source: str = "") -> Path:
    """Write links so that `links_from_csv` reads the same numbers; those of a node to itself do not count.

    **Arguments:** `path`: of the file; `links`: which know the names of their nodes; `source`: where the numbers come
    from, written into every row.

    **Raises:** `ValueError` for links that are none, without names, or with names that no table can hold.
    """
    check_path("path", path)
    if not isinstance(source, str):
        raise ValueError(f"source must be a text; got {shown(source)}")
    check_links(links)
    if not links.names:
        raise ValueError("links.names must have the name of each node; got none")
    _check_names("links", links.names)
    latency, rate = np.asarray(links.latency), np.asarray(links.rate)
    spread = None if links.spread is None else np.asarray(links.spread)
    rows = [
        (start, end, latency[a, b], rate[a, b], "" if spread is None else spread[a, b], source)
        for a, start in enumerate(links.names)
        for b, end in enumerate(links.names)
        if a != b
    ]
    text = csv_text([*_LINK_COLUMNS, "spread", "source"], rows)
    return write_atomically(Path(path), lambda file: file.write_text(text, encoding="utf-8"))
