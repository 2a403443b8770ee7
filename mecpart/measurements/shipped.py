"""The measurements of others that come with the package, in `data/measured/`."""

from functools import cache
from pathlib import Path
from typing import Any

from mecpart.locations import data_folder
from mecpart.measurements.entries import csv_entries
from mecpart.measurements.files import Measurements, NetworkTable, as_array, chosen_network, links_from_csv, read_tables
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
    tables = _tables(files[name])
    network = chosen_network(network, tables, files[name])
    times = tables[network].times(network)
    path = _folder() / f"{name}{_LINKS if links is None else f'_links_{links}.csv'}"
    between = links_from_csv(path).select(times.names) if path.exists() else None
    memory, path = None, _folder() / f"{name}{_MEMORY}"
    if path.exists():
        of_nodes = {row["node"].text(): row for row in csv_entries(path, ("node", "memory_bytes", "source"))}
        memory = as_array([of_nodes[node]["memory_bytes"].number() for node in times.names])
    return Measurements(times, between, memory)


@cache
def _tables(path: Path) -> dict[str, NetworkTable]:
    """What a file holds; it is part of the package, so that reading it once is enough."""
    return read_tables(path)


def _folder() -> Path:
    return data_folder() / "measured"


def _settings(name: str) -> list[str]:
    return sorted(path.stem.removeprefix(f"{name}_links_") for path in _folder().glob(f"{name}_links_*.csv"))


def _listed(files: dict[str, Path]):
    import pandas as pd  # takes long to import

    tables = []
    for name, path in files.items():
        # Texts as they are: some nodes have numbers for names.
        table = pd.read_csv(path, dtype=str).dropna(subset="node")
        usual = ["usual"] if (_folder() / f"{name}{_LINKS}").exists() else []
        found = table.groupby("network", sort=False).agg(
            blocks=("block", "nunique"), nodes=("node", "unique"), source=("source", "first")
        )
        found.insert(2, "links", ", ".join(usual + _settings(name)))
        tables.append(found.assign(nodes=found["nodes"].map(", ".join)).reset_index().assign(name=name))
    listed = pd.concat(tables, ignore_index=True)
    return listed[["name", *listed.columns.drop("name")]]
