"""The notebooks of a batch: what each declares, which are chosen, and the order in which a reader wants them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from mecpart.locations import data_folder, notebooks_folder
from mecpart.model.scenarios import SCENARIOS
from mecpart.reproduction.execution import read_notebook

# The place in the order of those that declare none.
_LAST = 1_000


@dataclass(frozen=True)
class Notebook:
    """A notebook of the batch, and what it declares in its metadata under `mecpart`.

    - `needs`: names of the notebooks whose data it reads.
    - `inputs`: files or folders below `data/` that it reads; the published values if it says nothing.
    - `experiments`: those that it runs.
    - `order`: its place among the others; of those that say nothing, after all that do.
    - `beyond_paper`: whether it asks what the paper does not.
    """

    name: str
    path: Path
    title: str = ""
    needs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ("published",)
    experiments: tuple[str, ...] = ()
    order: int = _LAST
    beyond_paper: bool = False


@dataclass(frozen=True)
class Run:
    """A notebook at one profile and scenario."""

    notebook: Notebook
    profile: str
    scenario: str

    @property
    def parameters(self) -> dict[str, str]:
        # The kernel works in the private folder, so "." is the output folder and no temporary path is shown.
        return {"profile": self.profile, "scenario": self.scenario, "output": "."}

    def __str__(self) -> str:
        return f"{self.notebook.name} ({self.scenario})"


def find_notebooks(folder: Path | None = None) -> dict[str, Notebook]:
    """The notebooks of a folder by name, in the order that they declare, and then naturally (fig6 before fig10).

    Raises:
        ValueError: if there are none, one cannot be read, or one needs something that does not exist.
    """
    folder = notebooks_folder() if folder is None else Path(folder)
    paths = {path.stem: path for path in folder.glob("[!.]*.ipynb")}
    if not paths:
        raise ValueError(f"there are no notebooks in {folder}")
    found = [_declared(path) for path in paths.values()]
    for notebook in found:
        for need in notebook.needs:
            if need not in paths:
                raise ValueError(f"notebook {notebook.name} needs {need!r}; there are {', '.join(sorted(paths))}")
        for given in notebook.inputs:
            if not (data_folder() / given).exists():
                raise ValueError(f"notebook {notebook.name} reads {given!r}, which is not below {data_folder()}")
    try:
        TopologicalSorter({notebook.name: notebook.needs for notebook in found}).prepare()
    except CycleError as error:
        raise ValueError(f"notebooks need each other in a circle: {' -> '.join(error.args[1])}") from None
    found.sort(key=lambda notebook: (notebook.order, natural(notebook.name)))
    return {notebook.name: notebook for notebook in found}


def _declared(path: Path) -> Notebook:
    """A notebook with what its metadata say.

    **Raises:** `ValueError` if it cannot be read, or declares what there is not.
    """
    declared: dict[str, Any] = dict(read_notebook(path).metadata.get("mecpart", {}))
    declared |= {name: tuple(told) for name, told in declared.items() if isinstance(told, list)}
    try:
        return Notebook(path.stem, path, **declared)
    except TypeError:
        known = [name for name in Notebook.__dataclass_fields__ if name not in ("name", "path")]
        unknown = ", ".join(name for name in declared if name not in known)
        raise ValueError(f"notebook {path.stem} declares {unknown}; it can declare {', '.join(known)}") from None


def natural(name: str) -> list[tuple[str, int]]:
    """Sorts fig6 before fig10."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def select(notebooks: dict[str, Notebook], only: Sequence[str] | None, everything: bool) -> list[Notebook]:
    """The chosen notebooks and all that they need, in the order of `notebooks`.

    **Arguments:** `only`: names; without any, the paper's notebooks, or `everything`.

    **Raises:** `ValueError` for a name that there is not, or for none at all.
    """
    if only is None:
        pending = [name for name, notebook in notebooks.items() if everything or not notebook.beyond_paper]
    else:
        pending = [only] if isinstance(only, str) else list(only)
    if not pending:
        raise ValueError("only must name at least one notebook; got none")
    chosen = set()
    while pending:
        name = pending.pop()
        if name not in notebooks:
            raise ValueError(f"only must name notebooks out of {', '.join(notebooks)}; got {name!r}")
        chosen.add(name)
        pending += notebooks[name].needs
    return [notebook for name, notebook in notebooks.items() if name in chosen]


def in_order(notebooks: Sequence[Notebook], profile: str, scenarios: Sequence[str]) -> list[Run]:
    """The runs of some notebooks in the order of a reader: the paper's in each scenario, then what goes beyond it."""
    runs = [Run(notebook, profile, scenario) for scenario in scenarios for notebook in notebooks]
    return sorted(runs, key=lambda run: run.notebook.beyond_paper)


def scenarios_named(scenario: str) -> list[str]:
    """The scenario of that name, or all of them for "all".

    **Raises:** `ValueError` for any other name.
    """
    if scenario not in (*SCENARIOS, "all"):
        raise ValueError(f"scenario must be one of {', '.join(SCENARIOS)}, all; got {scenario!r}")
    return list(SCENARIOS) if scenario == "all" else [scenario]
