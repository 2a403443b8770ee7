"""Traces: measured link rates over time, run as an episode."""

import math
import os
import re
from collections.abc import Sequence
from itertools import pairwise

import jax.numpy as jnp
import numpy as np

from mecpart.files import read_csv
from mecpart.model.scenario import Slot
from mecpart.validation import check_number, check_path

#: Slots that a trace can make, at most.
MOST_SLOTS = 1_000_000

_SERVER = re.compile(r"server_([1-9]\d*)_bytes_per_s")


def trace_from_csv(path: str | os.PathLike, *, slot_seconds: float | None = None) -> Slot:
    """Rates between a device and each server over time, from a CSV file: the slots of an episode.

    **Arguments:**

    - `path`: of the file. Its columns, in any order:

        - `slot`: whole numbers that rise by one from row to row; or `time_s`: s, rising;
        - either `server_1_bytes_per_s`, `server_2_bytes_per_s` and so on: rates of one device, bytes/s, a row for each
          slot; or `server` (1, 2, ...) and `bytes_per_s`, a row for each slot and server;
        - `tasks`, if wanted, with `slot` and a row for each: how many arrive.

    - `slot_seconds`: of the scenario; needed with `time_s`, and only there. A slot then has the rate that was measured
      last when it begins, the first at the first time.

    **Returns:** a `Slot` with `device_rate` [T, N], the same for all blocks, and `tasks` [T] or None: the `slots` that
    `compare` and `rollout` take.

    **Raises:** `ValueError` that names the file, and the row (the first below the header is 1) and column of what is
    missing, superfluous or not allowed.
    """
    check_path("path", path)
    if slot_seconds is not None:
        check_number("slot_seconds", slot_seconds, exclusive=True, shapes=((),))
    header, rows = read_csv(path)
    clock = "time_s" if "time_s" in header else "slot"
    wide = [f"server_{n}_bytes_per_s" for n in range(1, 1 + sum(bool(_SERVER.fullmatch(name)) for name in header))]
    columns = [clock, *wide] if wide else [clock, "server", "bytes_per_s"]
    columns += ["tasks"] * (bool(wide) and clock == "slot" and "tasks" in header)
    if sorted(header) != sorted(columns):
        raise ValueError(
            f"{path} must have a column slot or time_s, and server_1_bytes_per_s, server_2_bytes_per_s, ... (with slot "
            f"also tasks) or server and bytes_per_s, each once; got {', '.join(header) or 'no header'}"
        )
    if not rows:
        raise ValueError(f"{path} must have rows below its header; got none")
    if (slot_seconds is None) == (clock == "time_s"):
        raise ValueError(f"slot_seconds must be given for times, and for nothing else; got {slot_seconds} for {path}")
    table = []
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ValueError(f"row {number} of {path} must have {len(header)} columns; got {len(row)}: {row}")
        given = dict(zip(header, row, strict=True))
        table.append([_number(f"column {name!r} in row {number} of {path}", name, given[name]) for name in columns])
    values = np.array(table)
    if not wide:
        values = _side_by_side(path, values)
    _check_clock(path, clock, values[:, 0])
    if slot_seconds is not None:
        values = values[_slots_at(path, values[:, 0], slot_seconds)]
    rates, tasks = values[:, 1:], None
    if "tasks" in columns:
        rates, tasks = values[:, 1:-1], jnp.asarray(values[:, -1], jnp.float32)
    return Slot(jnp.asarray(rates, jnp.float32), tasks=tasks)


def _number(where: str, column: str, entry: str) -> float:
    """A finite number of at least 0, also as float32; whole where the column counts something."""
    try:
        number = float(entry)
    except ValueError:
        number = math.nan
    whole = column in ("slot", "server")
    least = int(column == "server")
    if not (least <= number <= float(np.finfo(np.float32).max)) or (whole and number != int(number)):
        kind = "a whole number" if whole else "a finite number"
        raise ValueError(f"{where} must be {kind} of at least {least}; got {entry!r}")
    return number


def _side_by_side(path, rows: np.ndarray) -> np.ndarray:
    """Rows of (time, server, rate) as rows of (time, rate of each server)."""
    servers = int(rows[:, 1].max())
    if servers > len(rows):
        raise ValueError(f"column 'server' of {path} must name servers 1, 2, ... without a gap; got {servers}")
    found: dict[float, dict[int, float]] = {}
    for number, (time, server, rate) in enumerate(rows.tolist(), start=1):
        of_time = found.setdefault(time, {})
        if int(server) in of_time:
            raise ValueError(
                f"row {number} of {path} must be of another time or server; got {time:g} and {server:g} again"
            )
        of_time[int(server)] = rate
    for time, of_time in found.items():
        for server in range(1, servers + 1):
            if server not in of_time:
                raise ValueError(
                    f"{path} must have a rate of each of {servers} servers at {time:g}; got none of {server}"
                )
    return np.array([[time, *(of_time[n] for n in range(1, servers + 1))] for time, of_time in found.items()])


def _check_clock(path, clock: str, times: Sequence[float] | np.ndarray) -> None:
    for before, after in pairwise(times):
        if after <= before or (clock == "slot" and after != before + 1):
            allowed = "rise by one from slot to slot" if clock == "slot" else "rise"
            raise ValueError(f"column {clock!r} of {path} must {allowed}; got {after:.15g} after {before:.15g}")


def _slots_at(path, times: np.ndarray, slot_seconds: float) -> np.ndarray:
    """Which row is the last one when each slot begins."""
    check_number("slot_seconds", slot_seconds, exclusive=True, shapes=((),))
    count = (times[-1] - times[0]) / slot_seconds
    if not count < MOST_SLOTS:
        raise ValueError(f"{path} must make at most {MOST_SLOTS} slots of {slot_seconds:g} s; got {count:g}")
    begins = times[0] + slot_seconds * np.arange(int(count * (1 + 1e-12)) + 1)
    return np.searchsorted(times, begins * (1 + 1e-12), side="right") - 1
