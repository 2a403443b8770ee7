"""The measurements of others that come with the package, in `data/measured/`."""

from functools import cache
from pathlib import Path
from typing import Any

from mecpart.locations import data_folder
from mecpart.measurements.entries import csv_entries
from mecpart.measurements.files import Measurements, NetworkTable, as_array, chosen_network, links_from_csv, read_tables
from mecpart.model.devices import Links
from mecpart.validation import check_choice

_TIMES, _LINKS, _MEMORY = "_blocks.csv", "_links.csv", "_memory.csv"


def measured_data(name: str | None = None, network: str | None = None, *, links: str | None = None) -> Any:
    """Measurements of others by name, or what there is.

    **Arguments:**

    - `name`: of the measurements; without one a table of all names and networks is returned.
    - `network`: one of theirs; needed where there are several.
    - `links`: of several settings of the links one that is not the usual, such as `wired` of `scission`.

    **Returns:** times, links and memory, as far as the source has them: `mecpart.measured(m.times, m.links)` is a
    scenario of them. Or a DataFrame with `name`, `network`, `blocks`, `nodes`, `links` and `source`.

    **Raises:** `ValueError` for a name, a network or a setting that does not exist.
    """
    files = {path.name.removesuffix(_TIMES): path for path in sorted(_folder().glob(f"*{_TIMES}"))}
    if name is None:
        if network is not None or links is not None:
            raise ValueError(f"name must be given for one network or links; got None of {', '.join(files)}")
        return _listed(files)
    check_choice("name", name, files)
    settings = _settings(name)
    if links is not None:
        check_choice("links", links, settings)
    return _measurements(name, chosen_network(network, _tables(files[name]), files[name]), links)


# All files are part of the package, so that reading them once is enough.


@cache
def _measurements(name: str, network: str, links: str | None) -> Measurements:
    times = _tables(_folder() / f"{name}{_TIMES}")[network].times(network)
    path = _folder() / f"{name}{_LINKS if links is None else f'_links_{links}.csv'}"
    between = _links(path).select(times.names) if path.exists() else None
    memory, path = None, _folder() / f"{name}{_MEMORY}"
    if path.exists():
        of_nodes = {row["node"].text(): row for row in csv_entries(path, ("node", "memory_bytes", "source"))}
        memory = as_array([of_nodes[node]["memory_bytes"].number() for node in times.names])
    return Measurements(times, between, memory)


@cache
def _tables(path: Path) -> dict[str, NetworkTable]:
    return read_tables(path)


@cache
def _links(path: Path) -> Links:
    return links_from_csv(path)


def _folder() -> Path:
    return data_folder() / "measured"


def _settings(name: str) -> list[str]:
    return sorted(path.stem.removeprefix(f"{name}_links_") for path in _folder().glob(f"{name}_links_*.csv"))


def _listed(files: dict[str, Path]):
    import pandas as pd  # takes long to import

    rows = []
    for name, path in files.items():
        usual = ["usual"] if (_folder() / f"{name}{_LINKS}").exists() else []
        settings = ", ".join(usual + _settings(name))
        for network, table in _tables(path).items():
            source = next(iter(table.rows.values()))["source"].text()
            nodes = ", ".join(table.of_nodes)
            rows.append((name, network, len(table.of_blocks), nodes, settings, source))
    return pd.DataFrame(rows, columns=["name", "network", "blocks", "nodes", "links", "source"])
