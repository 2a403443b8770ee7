"""What Scission leaves: a folder with a pickle for each machine, and a table of its links.

L. Lockhart, P. Harvey, P. Imai, P. Willis and B. Varghese, "Scission: Performance-driven and Context-aware Cloud-Edge
Distribution of Deep Neural Networks", UCC 2020, github.com/qub-blesson/Scission.
"""

import os
import re
from pathlib import Path

import numpy as np

from mecpart.measurements.entries import Entry, csv_entries
from mecpart.measurements.files import Measurements, block_times, check_network, chosen_network, links_between
from mecpart.measurements.pickles import pickle_entries
from mecpart.validation import check_number, check_path

_FILE = re.compile(r"(?P<tier>device|edge|cloud)-(?P<node>.+)\.dat")
_TIERS = ("device", "edge", "cloud")
_COLUMNS = ("source", "destination", "ping(ms)", "bandwidth(mbps)")


def from_scission(
    folder: str | os.PathLike,
    network: str | None = None,
    *,
    links: str | os.PathLike | None = None,
    image_bytes: float = 150_000,
) -> Measurements:
    """Block times and links from what `scission_benchmark.py` has written.

    The files are pickles; they are read as data, and nothing in them is run.

    **Arguments:**

    - `folder`: with a file `device-NAME.dat`, `edge-NAME.dat` or `cloud-NAME.dat` for each machine.
    - `network`: one of those in the files; needed where there are several.
    - `links`: the file with the columns `source`, `destination`, `ping(ms)` and `bandwidth(mbps)`, by default
      `network_stats.csv` in the folder. A mbps is 125,000 bytes/s; a pair that has no row has no link.
    - `image_bytes`: of the input, which is in none of the files; Scission's predictor takes 150,000.

    **Returns:** times and links of all machines: devices, edges and clouds, in the order of their names. Blocks have
    the names of their first and last layer, such as `6-125`. Scission measures no spread, and its bytes are those of
    the tensors as files of NumPy, 128 more than the tensors have.

    **Raises:** `ValueError` that names the file and the byte or line of what is missing or not allowed.
    """
    check_path("folder", folder)
    check_network(network)
    check_number("image_bytes", image_bytes, shapes=((),))
    if links is not None:
        check_path("links", links)
    named = {path: _FILE.fullmatch(path.name) for path in sorted(Path(folder).glob("*.dat"))}
    machines = {(m["tier"], m["node"]): path for path, m in named.items() if m}
    if len(machines) < 2:
        raise ValueError(f"folder must hold the files TIER-NAME.dat of at least two machines; got {folder}")
    order = sorted(machines, key=lambda machine: (_TIERS.index(machine[0]), machine[1]))
    measured = {node: pickle_entries(machines[tier, node], "LayerBenchmark") for tier, node in order}
    if len(measured) < len(order):
        raise ValueError(f"folder must hold each machine once; got one of {folder} in two tiers")
    first, *others = measured.values()
    name = chosen_network(network, first.items(), first.where)
    tables = [_blocks(machine[name]) for machine in measured.values()]
    blocks = tables[0]
    for table, machine in zip(tables[1:], others, strict=True):
        if table.keys() != blocks.keys():
            raise ValueError(f"{name!r} {machine.where} must have the blocks of the other machines; got others")
        for block, (_, sent) in table.items():
            if sent.whole() != blocks[block][1].whole():
                raise sent.refused(f"the {blocks[block][1].value} that it is {blocks[block][1].where}")
    times = block_times(
        np.array([[table[block][0].number() for table in tables] for block in blocks]),
        network=name,
        blocks=blocks,
        names=measured,
        input_bytes=image_bytes,
        output_bytes=[sent.whole() for _, sent in blocks.values()],
    )
    return Measurements(times, _links(Path(folder) / "network_stats.csv" if links is None else links, times.names))


def _blocks(network: Entry) -> dict[str, tuple[Entry, Entry]]:
    """Seconds and bytes of each block, by the names of its first and last layer."""
    blocks, following = {}, 0
    for record in network.entries():
        first, last = record["input_layer"].whole(), record["output_layer"].whole()
        if first != following or last < first:
            raise record["input_layer"].refused(f"{following}, the layer that follows, and not after output_layer")
        following = last + 1
        name = str(first) if first == last else f"{first}-{last}"
        blocks[name] = record["second_prediction"], record["output_size"]
    if not blocks:
        raise network.refused("a list of at least one block")
    return blocks


def _links(path: str | os.PathLike, names: tuple[str, ...]):
    found = {}
    for row in csv_entries(path, _COLUMNS):
        pair = row["source"].text(), row["destination"].text()
        if pair in found:
            raise ValueError(f"{row.where} must be of a pair that no row has before it; got {' to '.join(pair)}")
        found[pair] = row, row["ping(ms)"].number() / 1e3, row["bandwidth(mbps)"].number() * 125_000, None
    return links_between(names, found)
