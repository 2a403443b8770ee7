"""What a batch left for the report: the notebooks that ran to their end, with their records, tables and figures.

The done-records say what belongs to it: files that are not as recorded are not shown.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import nbformat
import pandas as pd

from mecpart import comparison
from mecpart.comparison import DELAY_FIGURES
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.experiments.progress import duration
from mecpart.experiments.runner import COLUMNS
from mecpart.locations import data_folder
from mecpart.reproduction.execution import read_notebook
from mecpart.reproduction.record import holds, read_record
from mecpart.reproduction.reference import Agreement, compare_with_reference

_TABLE_FORMATS = {"csv": "CSV", "tex": "LaTeX"}
_FIGURE_FORMATS = {"svg": "SVG", "pdf": "PDF", "png": "PNG"}
# A reader begins with the model and the answer; the figures follow in their order.
_READ_FIRST = ("introduction", "headline")


@dataclass(frozen=True)
class Artifact:
    """A table or figure of the site in all its formats: words for the format -> path below the site."""

    name: str
    paths: dict[str, str]


@dataclass(frozen=True)
class Page:
    """A notebook that ran to its end, with the record of its run and what it wrote."""

    name: str
    scenario: str
    title: str
    notebook: nbformat.NotebookNode
    record: dict[str, Any]
    tables: tuple[Artifact, ...]
    figures: tuple[Artifact, ...]

    @property
    def path(self) -> str:
        return f"{self.scenario}/{self.name}.html"

    @property
    def taken(self) -> str:
        return duration(self.record["seconds"])


@dataclass(frozen=True)
class Section:
    """What the first page shows of one scenario; `missing` maps notebooks without a result to the reason."""

    scenario: str
    pages: tuple[Page, ...]
    missing: dict[str, str]
    facts: pd.DataFrame | None
    claims: pd.DataFrame | None
    headline: pd.DataFrame | None
    bars: list[str]
    agreement: list[Agreement]


def collect(output: Path, profile: str) -> list[Section]:
    """One section for each scenario in which a notebook has run, in the order of their names."""
    executed = output / "build" / "notebooks" / profile
    folders = sorted(path for path in executed.glob("*") if path.is_dir())
    sections = [_section(output, profile, folder) for folder in folders]
    if not any(section.pages for section in sections):
        raise ValueError(
            f"there is nothing to report: no notebook that ran to its end in {executed}; "
            f"run mecpart reproduce --profile {profile} first, with the same --output if one is given"
        )
    return [section for section in sections if section.pages or section.missing]


def _section(output: Path, profile: str, folder: Path) -> Section:
    pages, missing, written = [], {}, set()
    for name in sorted({path.name.partition(".")[0] for path in folder.glob("[!.]*.*")}, key=reading_order):
        executed, failed = folder / f"{name}.ipynb", folder / f"{name}.failed.ipynb"
        record = read_record(folder / f"{name}.record.json")
        if record is not None and holds(record, output):
            notebook = read_notebook(executed)
            written |= record["outputs"].keys()
            pages.append(
                Page(
                    name=name,
                    scenario=folder.name,
                    title=notebook.metadata.get("mecpart", {}).get("title") or name,
                    notebook=notebook,
                    record=record,
                    tables=_artifacts(record, f"data/results/{profile}/", "tables", _TABLE_FORMATS),
                    figures=_artifacts(record, f"figures/{profile}/", "figures", _FIGURE_FORMATS),
                )
            )
        elif failed.exists():
            missing[name] = f"failed: {Places(output).hide(_error(failed))}"
        elif executed.exists() or record is not None:
            missing[name] = "its files are not as they were recorded when it ran"

    def table(name: str) -> pd.DataFrame | None:
        path = f"data/results/{profile}/{folder.name}/{name}.csv"
        return pd.read_csv(output / path) if path in written else None

    shown = {name: table(name) for name in ("facts", "claims", "headline")}
    found = {name: frame for name in EXPERIMENTS if (frame := table(name)) is not None and set(frame) >= set(COLUMNS)}
    # What the headline notebook tells, of what has been run, where it has not run itself.
    if found:
        several = [frame for name in found if (frame := table(f"{name}-rules")) is not None]
        rules = pd.concat(several) if several else None
        for name, tell in (("facts", comparison.facts), ("claims", comparison.claims)):
            if shown[name] is None:
                told = tell(pd.concat(found.values()), rules=rules)
                shown[name] = told[told["verdict"] != "not run"]
    worlds = table("sensitivity-facts")
    if shown["facts"] is not None and worlds is not None:
        shown["facts"] = comparison.depending(shown["facts"], worlds)
    if shown["headline"] is None and set(DELAY_FIGURES) & set(found):
        shown["headline"] = comparison.beside_published(comparison.headline_table(pd.concat(found.values())))
    results = output / "data" / "results" / profile / folder.name
    of_ledger = not any("world" in page.record["identity"] for page in pages)  # of which the reference is
    agreement = compare_with_reference(results, profile, folder.name, found) if of_ledger else []
    together = pd.concat(found.values()) if found else None
    bars = [] if together is None else comparison.bars(together) + comparison.kept_up(together)
    return Section(folder.name, tuple(pages), missing, bars=bars, agreement=agreement, **shown)


def reading_order(name: str) -> tuple:
    """Sorts what is read first to the front, then naturally: fig6 before fig10."""
    place = _READ_FIRST.index(name) if name in _READ_FIRST else len(_READ_FIRST)
    return place, [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def _artifacts(record: dict[str, Any], folder: str, target: str, formats: dict[str, str]) -> tuple[Artifact, ...]:
    """The files below `folder` that a run wrote, those that differ in the suffix only as one."""
    found: dict[str, dict[str, str]] = {}
    for path in record["outputs"]:
        if path.startswith(folder):
            place = PurePosixPath(target) / path.removeprefix(folder)
            if place.suffix[1:] in formats:
                found.setdefault(str(place.with_suffix("")), {})[place.suffix[1:]] = str(place)
    return tuple(
        Artifact(PurePosixPath(stem).name, {formats[suffix]: paths[suffix] for suffix in formats if suffix in paths})
        for stem, paths in sorted(found.items(), key=lambda item: reading_order(item[0]))
    )


def _error(path: Path) -> str:
    """The error that a notebook ended with, in one line."""
    try:
        cells = read_notebook(path).cells
    except ValueError as error:
        return str(error)
    errors = [output for cell in cells for output in cell.get("outputs", ()) if output.output_type == "error"]
    if not errors:
        return "none of its cells shows an error; mecpart reproduce says why"
    said = errors[-1].evalue.strip().partition("\n")[0]
    return f"{errors[-1].ename}: {said}" if said else errors[-1].ename


class Places:
    """The folders of this machine, which are nobody's business where the report is read."""

    def __init__(self, output: Path) -> None:
        places = {output, data_folder().parent, Path(sys.prefix), Path.home()} - {Path("/"), Path("/usr")}
        # The longest first: one may lie in another.
        self.prefixes = sorted((f"{place}/" for place in places), key=len, reverse=True)

    def hide(self, text: str) -> str:
        for prefix in self.prefixes:
            text = text.replace(prefix, "")
        return text
