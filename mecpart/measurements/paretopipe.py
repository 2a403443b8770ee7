"""What ParetoPipe measured, in the tables that SplitRL has: the two parts of a network at each place to cut it.

R. Shrestha, "Learning Optimal Split Points: Reinforcement Learning for DNN Partitioning", University of Texas at San
Antonio, 2024, github.com/riwaj666/SplitRL_V1.
"""

import os
from collections.abc import Sequence

import numpy as np

from mecpart.measurements.entries import Entry, csv_entries
from mecpart.measurements.files import Measurements, block_times, check_network, chosen_network, links_between
from mecpart.validation import check_number, check_path, shown

_SPLITS = (
    "Model name",
    "Split point",
    "Partition 1 exec time (s)",
    "Partition 2 exec time (s)",
    "Network Transfer Time (s)",
)
_METRICS = ("Block", "FLOPs (G)", "Param Memory (MB)", "Activation Size (MB)")


def from_paretopipe(
    path: str | os.PathLike,
    network: str | None = None,
    *,
    metrics: str | os.PathLike | None = None,
    names: Sequence[str] = ("first", "second"),
    rate: float = 125e6,
) -> Measurements:
    """Block times of two devices, from the time that both parts of a network take at each split.

    Of K splits, K + 1 blocks. A block takes what the first part takes longer with it than without it, and the second
    part less long; where noise makes such a difference negative, the parts are replaced by the nearest that only rise
    (isotonic regression), and what they were moved by is the spread of the blocks on both sides. The first block was
    never run on the second device, nor the last on the first: they cannot run there.

    **Arguments:**

    - `path`: of a table with the columns `Model name`, `Split point`, `Partition 1 exec time (s)`, `Partition 2 exec
      time (s)` and `Network Transfer Time (s)`.
    - `network`: one of those in the file; needed where there are several.
    - `metrics`: of the table of the network's blocks, with the columns `Block`, `FLOPs (G)`, `Param Memory (MB)` and
      `Activation Size (MB)`: the first two give macs (half the FLOPs) and bytes of parameters (2^20 in a MB). Blocks
      that the table does not have, such as classifiers, have none.
    - `names`: of the two devices.
    - `rate`: bytes/s of the link. What was measured of transfers is their time, which is no function of the bytes; so
      the bytes of a block are those that take this time at this rate.

    **Returns:** times of a batch of images, and a link from the first device to the second.

    **Raises:** `ValueError` that names the file and the line of what is missing or not allowed.
    """
    check_path("path", path)
    check_network(network)
    if metrics is not None:
        check_path("metrics", metrics)
    check_number("rate", rate, exclusive=True, shapes=((),))
    texts = isinstance(names, list | tuple) and all(isinstance(each, str) and each for each in names)
    if not texts or len(names) != 2 or names[0] == names[1]:
        raise ValueError(f"names must be two different texts; got {shown(names)}")
    tables: dict[str, list[Entry]] = {}
    for row in csv_entries(path, _SPLITS):
        tables.setdefault(row["Model name"].text(), []).append(row)
        for column in _SPLITS[2:]:
            row[column].number()
    for table in tables.values():
        _check_splits(table)
    network = chosen_network(network, tables, path)
    rows = sorted(tables[network], key=lambda row: row["Split point"].whole())
    first, second, transfer = (np.array([row[column].number() for row in rows]) for column in _SPLITS[2:])
    before, moved_before = _differences(first)
    after, moved_after = (values[::-1] for values in _differences(second[::-1]))
    macs = parameters = None
    if metrics is not None:
        macs, parameters = _metrics(metrics, len(rows) + 1)
    times = block_times(
        np.column_stack([[*before, np.inf], [np.inf, *after]]),
        network=network,
        blocks=[f"block {number}" for number in range(1, len(rows) + 2)],
        names=names,
        input_bytes=0,  # the first block is where the input is
        output_bytes=[*(transfer * rate), 0],
        spread=np.column_stack([[*moved_before, 0], [0, *moved_after]]),
        macs=macs,
        parameter_bytes=parameters,
    )
    return Measurements(times, links_between(tuple(names), {(names[0], names[1]): (rows[0], 0.0, float(rate), None)}))


def _check_splits(rows: list[Entry]) -> None:
    """Refuse splits that are not 1, 2 and so on, each once."""
    seen: dict[int, Entry] = {}
    for row in rows:
        split = row["Split point"].whole(minimum=1)
        if split in seen or split > len(rows):
            raise row["Split point"].refused(f"one of 1 to {len(rows)}, each once for a network of as many rows")
        seen[split] = row


def _differences(rising: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each place adds to times that should rise from 0, at least 0, and by how far noise may have moved it."""
    from scipy.optimize import isotonic_regression  # takes long to import, and few need it

    fitted = isotonic_regression(rising).x
    moved = np.abs(rising - fitted)
    return np.diff(fitted, prepend=0), np.hypot(moved, np.concatenate([[0], moved[:-1]]))


def _metrics(path: str | os.PathLike, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Multiply-accumulates and bytes of parameters of the blocks; 0 of those that the table does not have."""
    rows = csv_entries(path, _METRICS)
    found = np.zeros((2, blocks))
    for number, row in enumerate(rows):
        if row["Block"].whole() != number or number >= blocks:
            raise row["Block"].refused(f"{number}, and below {blocks}, the number of blocks")
        found[:, number] = row["FLOPs (G)"].number() * 1e9 / 2, row["Param Memory (MB)"].number() * 2**20
    return found[0], found[1]
