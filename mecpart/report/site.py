"""One self-contained HTML site of what a batch left: claims, headline and figures, then each notebook.

The site lies in one folder that can be zipped and sent. Formulas are MathML, pictures lie inside or beside the
pages, and a content security policy keeps every page from asking anything of a network. The done-records say
what belongs to the site: files that are not as recorded are not shown.
"""

import copy
import re
import shutil
import tempfile
from collections.abc import Hashable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jinja2
import nbformat
import pandas as pd
from nbconvert.exporters import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from traitlets.config import Config

from mecpart import comparison
from mecpart.comparison import METRIC_WORDS
from mecpart.comparison.facts import VERDICTS
from mecpart.comparison.headline import main_figures
from mecpart.comparison.rule import FEWEST_SEEDS
from mecpart.comparison.words import GLOSSARY, figure_words
from mecpart.experiments.progress import duration
from mecpart.experiments.runner import PROFILES
from mecpart.files import naming
from mecpart.locations import built_docs, output_folder
from mecpart.report.contents import Places, Section, collect, reading_order
from mecpart.report.pages import template, templates, to_html, write_page
from mecpart.reproduction.reference import made_from
from mecpart.tables import UNDEFINED, format_number, heading

OF_CLAIMS = ("reproduced", "not reproduced", "undecided", "not run")


def write_report(profile: str = "quick", output: Path | str | None = None) -> Path:
    """Write the report on one profile as HTML site `build/report/<profile>/` below the output folder.

    The site takes its place only when it is whole; until then, and if anything fails, an earlier one stays.

    **Arguments:**

    - `profile`: a key of `mecpart.experiments.PROFILES`.
    - `output`: the folder that `mecpart.reproduction.batch` wrote to. Default: the checkout, or else the current
      folder.

    **Returns:** the path of the site's first page.

    **Raises:** `ValueError`, before anything is written, for an unknown profile, or if no notebook of the
    profile has run to its end.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}; got {profile!r}")
    output = output_folder(output)
    sections = collect(output, profile)
    place = output / "build" / "report" / profile
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{profile}-", ignore_cleanup_errors=True) as private:
        site, earlier = Path(private) / "site", Path(private) / "earlier"
        site.mkdir()
        with naming(place):
            _build(site, output, profile, sections)
        if place.exists():
            place.rename(earlier)
        try:
            site.rename(place)
        except OSError:
            if earlier.exists():
                earlier.rename(place)
            raise
    return place / "index.html"


# The site ------------------------------------------------------------------------------------------------------


def _build(site: Path, output: Path, profile: str, sections: list[Section]) -> None:
    docs = built_docs()
    if docs is not None:
        shutil.copytree(docs, site / "docs")
    given = templates(label=_label, profile=profile, has_docs=docs is not None)
    write_page(
        site / "index.html",
        given.get_template("index.html.j2").render(
            sections=[_shown_section(section, sections, profile) for section in sections],
            provenance=_provenance([page.record for section in sections for page in section.pages]),
            size=PROFILES[profile],
            fewest_seeds=FEWEST_SEEDS,
            glossary=GLOSSARY,
            methods=comparison.methods_table().to_dict("split")["data"],
        ),
    )
    exporter, places = _Exporter(), Places(output)
    for section in sections:
        for at, page in enumerate(section.pages):
            content, _ = exporter.from_notebook_node(_for_show(page.notebook, places))
            shown = given.get_template("notebook.html.j2").render(
                page=page,
                pages=section.pages,
                before=section.pages[at - 1] if at else None,
                after=section.pages[at + 1] if at + 1 < len(section.pages) else None,
                content=content,
                provenance=_provenance([page.record]),
            )
            write_page(site / page.path, shown)
            for artifact in (*page.tables, *page.figures):
                for path in artifact.paths.values():
                    kind, _, rest = path.partition("/")
                    source = output / ("figures" if kind == "figures" else "data/results") / profile / rest
                    (site / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, site / path)


def _shown_section(section: Section, sections: list[Section], profile: str) -> dict[str, Any]:
    """What the template of the first page needs to know of a section, with the verdicts of all the others."""
    pages = {page.name: page for page in section.pages}
    others = {
        other.scenario: {(row.claim, row.where): row.verdict for row in other.claims.itertuples()}
        for other in sections
        if other is not section and other.claims is not None
    }
    claims = None if section.claims is None else list(_shown_claims(section.claims, others))
    written = {table.name: table for page in section.pages for table in page.tables}
    return {
        "scenario": section.scenario,
        "pages": section.pages,
        "by_name": pages,
        "missing": section.missing,
        "counts": {said: sum(row["verdict"] == said for row in claims or ()) for said in OF_CLAIMS},
        "fact_counts": {} if section.facts is None else _counts(section.facts),
        "facts": None if section.facts is None else list(_shown_facts(section.facts)),
        "others": list(others),
        "claims": None if claims is None else _by_notebook(claims),
        "headline": None if section.headline is None else list(_shown_headline(section.headline)),
        "answer": [] if section.headline is None else comparison.answer(section.headline),
        "bars": section.bars,
        "verdicts": [] if section.headline is None else list(_shown_verdicts(section.headline)),
        "agreement": [
            (one.agrees, _label(one.experiment) + str(one).removeprefix(one.experiment)) for one in section.agreement
        ],
        "reference": made_from(profile, section.scenario),
        "written": written,
    }


def _counts(facts: pd.DataFrame) -> dict[str, int]:
    """How many facts there are of each verdict, of those that there are."""
    return {said: int(count) for said in VERDICTS if (count := (facts["verdict"] == said).sum())}


def _shown_facts(facts: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in facts.to_dict("records"):
        yield {
            "fact": _text(row["fact"]),
            "where": _text(row["where"]),
            "test": _text(row["test"]),
            "published": _number(row["published"]),
            "measured": _number(row["measured"]),
            "interval": _interval(row["low"], row["high"]),
            "sign": _text(row["sign"]),
            "size": _text(row["size"]),
            "verdict": _text(row["verdict"]),
            "rows": _text(row["rows"]),
            "seeds": int(row["num_seeds"]),
            "reason": _text(row["reason"]),
        }


def _shown_claims(claims: pd.DataFrame, others: dict[str, dict[tuple[str, str], str]]) -> Iterator[dict[str, Any]]:
    for row in claims.to_dict("records"):
        yield {
            "claim": _text(row["claim"]),
            "where": _text(row["where"]),
            "test": _text(row.get("test")),
            "published": _number(row["published"]),
            "measured": _number(row["measured"]),
            "interval": _interval(row["low"], row["high"]),
            "detectable": _number(row.get("smallest_detectable")),
            "verdict": _text(row["verdict"]),
            "elsewhere": {scenario: _text(said.get((row["claim"], row["where"]))) for scenario, said in others.items()},
            "reason": _text(row.get("reason")),
            "notebook": _text(row["notebook"]),
        }


def _by_notebook(claims: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    names = sorted({row["notebook"] for row in claims}, key=reading_order)
    return [(name, [row for row in claims if row["notebook"] == name]) for name in names]


def _shown_headline(headline: pd.DataFrame) -> Iterator[dict[str, str]]:
    """The reductions against the learned baselines on average, over all figures together if there are several."""
    table = headline[headline["baseline"] == "learned"]
    for row in (main_figures(table) if len(table) else table).to_dict("records"):
        yield {
            "metric": METRIC_WORDS.get(row["metric"], heading(row["metric"])),
            "scope": "all delay figures that were run, pooled" if row["figure"] == "pooled" else _label(row["figure"]),
            "averaging": row["averaging"],
            **_shown_reduction(row),
        }


def _shown_verdicts(headline: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Each learned baseline by itself, and the better of them."""
    for row in comparison.headline_verdicts(headline).to_dict("records"):
        yield {
            "baseline": "the better of the two" if row["baseline"] == "best learned" else row["baseline"],
            "metric": METRIC_WORDS[row["metric"]],
            "less": row["less"],
            "by_this_much": row["by_this_much"],
            **_shown_reduction(row),
        }


def _shown_reduction(row: dict[Hashable, Any]) -> dict[str, str]:
    return {
        "abstract": _number(row["abstract_percent"]),
        "curves": _number(row.get("published_curves_percent")),
        "measured": _number(row["reduction_percent"]),
        "interval": _interval(row["low"], row["high"]),
        "attainable": _number(row.get("attainable_percent")),
        "reason": _text(row.get("reason")),
    }


def _label(name: str) -> str:
    """A short name for links: "fig8-relative" -> "Fig. 8 relative"."""
    experiment, *rest = name.split("-")
    label = " ".join([figure_words([experiment]), *rest])
    return label[:1].upper() + label[1:]


def _number(value: Any) -> str:
    return UNDEFINED if pd.isna(value) else format_number(float(value))


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) or pd.isna(high) else f"{format_number(low)} to {format_number(high)}"


def _text(value: Any) -> str:
    """A cell of a CSV file as text; pandas reads an empty one as NaN."""
    return "" if pd.isna(value) else str(value)


def _provenance(records: list[dict[str, Any]]) -> dict[str, str]:
    """Where results come from, in words; what differs between the records is listed."""
    begun = [datetime.fromisoformat(record["started"]) for record in records]
    ended = [start + timedelta(seconds=record["seconds"]) for start, record in zip(begun, records, strict=True)]
    first, last = (f"{time:%Y-%m-%d %H:%M}" for time in (min(begun), max(ended)))
    versions = (record["identity"]["versions"] for record in records)
    return {
        "Run": f"{first} to {last if last[:10] != first[:10] else last[11:]} (UTC)",
        "Commit": _distinct(_commit(record["commit"]) for record in records),
        "Machine": _distinct(_machine(record["device"]) for record in records),
        "Versions": _distinct(", ".join(f"{name} {version}" for name, version in found.items()) for found in versions),
        "Computing time": duration(sum(record["seconds"] for record in records)),
        **_world(records),
    }


def _world(records: list[dict[str, Any]]) -> dict[str, str]:
    """By which constants, where they are not the ledger's."""
    told = _distinct(record["identity"]["world"] for record in records if "world" in record["identity"])
    return {"World": told} if told else {}


def _commit(commit: str | None) -> str:
    if commit is None:
        return "unknown (no git checkout)"
    return f"{commit.removesuffix('-dirty')} with uncommitted changes" if commit.endswith("-dirty") else commit


def _machine(device: dict[str, Any]) -> str:
    cores = f"{device['cores']} core{'' if device['cores'] == 1 else 's'}"
    return ", ".join([device["processor"], cores, *device["accelerators"], device["system"]])


def _distinct(values: Iterator[str]) -> str:
    return "; ".join(dict.fromkeys(values))


# Notebooks -----------------------------------------------------------------------------------------------------


# Outputs as they are shown, the best first; what would need scripts (widgets) is left out.
_OUTPUTS = ("text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain")


def _for_show(notebook: nbformat.NotebookNode, places: Places) -> nbformat.NotebookNode:
    """A copy whose pictures say what they show and whose outputs name no folder of this machine."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)
    under = "this notebook"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            under = [under, *re.findall(r"^#+ +(.+?) *$", cell.source, re.MULTILINE)][-1]
        if cell.cell_type == "code":
            shown = (_output_for_show(output, f"Figure: {under}", places) for output in cell.outputs)
            cell.outputs = [output for output in shown if output.get("data") != {}]
    return notebook


def _output_for_show(output: nbformat.NotebookNode, alt: str, places: Places) -> nbformat.NotebookNode:
    if "text" in output:
        output.text = places.hide(output.text)
    if "data" in output:
        output.data = nbformat.from_dict({kind: output.data[kind] for kind in _OUTPUTS if kind in output.data})
        for kind, content in output.data.items():
            if kind.startswith("text/"):
                # Despite its name, the scoped style of pandas would hold for the whole page.
                output.data[kind] = re.sub(r"<style scoped>.*?</style>", "", places.hide(content), flags=re.DOTALL)
            elif kind in ("image/png", "image/jpeg"):
                output.metadata.setdefault(kind, {}).setdefault("alt", alt)
    return output


class _Exporter(HTMLExporter):
    """The cells of a notebook as HTML: code to be folded, outputs below it, nothing that runs or is fetched."""

    @jinja2.pass_context
    def markdown2html(self, context: jinja2.runtime.Context, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        return to_html(source, attachments)

    def __init__(self) -> None:
        super().__init__(
            config=Config(NbConvertBase={"display_data_priority": list(_OUTPUTS)}),
            template_name="basic",
            raw_template=template("cells.html.j2"),
            preprocessors=[CoalesceStreamsPreprocessor],
            exclude_input_prompt=True,
            exclude_output_prompt=True,
            require_js_url="",
            mathjax_url="",
            mermaid_js_url="",
            jquery_url="",
            jupyter_widgets_base_url="",
        )
