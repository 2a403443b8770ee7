"""One self-contained HTML site of what a batch left: claims, headline and figures, then each notebook.

The site lies in one folder that can be zipped and sent. Formulas are MathML, pictures lie inside or beside the
pages, and a content security policy keeps every page from asking anything of a network. The done-records say
what belongs to the site: files that are not as recorded are not shown.
"""

import copy
import re
import shutil
import sys
import tempfile
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
import nbformat
import pandas as pd
from nbconvert.exporters import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from traitlets.config import Config

from mecpart import comparison
from mecpart.comparison import DELAY_FIGURES, METRIC_WORDS, Agreement
from mecpart.comparison.headline import main_figures
from mecpart.comparison.reference import made_from
from mecpart.comparison.rule import FEWEST_SEEDS
from mecpart.comparison.words import GLOSSARY, figure_words
from mecpart.execution import read_notebook
from mecpart.experiments import COLUMNS, EXPERIMENTS, PROFILES
from mecpart.files import naming
from mecpart.locations import built_docs, data_folder, output_folder
from mecpart.pages import templates, to_html, write_page
from mecpart.records import holds, read_record
from mecpart.tables import UNDEFINED, format_number, heading

VERDICTS = ("reproduced", "not reproduced", "undecided", "not run")

_TABLE_FORMATS = {"csv": "CSV", "tex": "LaTeX"}
_FIGURE_FORMATS = {"svg": "SVG", "pdf": "PDF", "png": "PNG"}
# A reader begins with the model and the answer; the figures follow in their order.
_READ_FIRST = ("introduction", "headline")


@dataclass(frozen=True)
class _Artifact:
    """A table or figure of the site in all its formats: words for the format -> path below the site."""

    name: str
    paths: dict[str, str]


@dataclass(frozen=True)
class _Page:
    """A notebook that ran to its end, with the record of its run and what it wrote."""

    name: str
    scenario: str
    title: str
    notebook: nbformat.NotebookNode
    record: dict[str, Any]
    tables: tuple[_Artifact, ...]
    figures: tuple[_Artifact, ...]

    @property
    def path(self) -> str:
        return f"{self.scenario}/{self.name}.html"

    @property
    def taken(self) -> str:
        return _duration(self.record["seconds"])


@dataclass(frozen=True)
class _Section:
    """What the first page shows of one scenario; `missing` maps notebooks without a result to the reason."""

    scenario: str
    pages: tuple[_Page, ...]
    missing: dict[str, str]
    claims: pd.DataFrame | None
    headline: pd.DataFrame | None
    agreement: list[Agreement]


def write_report(profile: str = "quick", output: Path | str | None = None) -> Path:
    """Write the report on one profile as HTML site `build/report/<profile>/` below the output folder.

    The site takes its place only when it is whole; until then, and if anything fails, an earlier one stays.

    **Arguments:**

    - `profile`: a key of `mecpart.experiments.PROFILES`.
    - `output`: the folder that `mecpart.reproduce` wrote to. Default: the checkout, or else the current folder.

    **Returns:** the path of the site's first page.

    **Raises:** `ValueError`, before anything is written, for an unknown profile, or if no notebook of the
    profile has run to its end.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}; got {profile!r}")
    output = output_folder(output)
    sections = _collect(output, profile)
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


# What there is -------------------------------------------------------------------------------------------------


def _collect(output: Path, profile: str) -> list[_Section]:
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


def _section(output: Path, profile: str, folder: Path) -> _Section:
    pages, missing, written = [], {}, set()
    for name in sorted({path.name.partition(".")[0] for path in folder.glob("[!.]*.*")}, key=_reading_order):
        executed, failed = folder / f"{name}.ipynb", folder / f"{name}.failed.ipynb"
        record = read_record(folder / f"{name}.record.json")
        if record is not None and holds(record, output):
            notebook = read_notebook(executed)
            written |= record["outputs"].keys()
            pages.append(
                _Page(
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
            missing[name] = f"failed: {_Places(output).hide(_error(failed))}"
        elif executed.exists() or record is not None:
            missing[name] = "its files are not as they were recorded when it ran"

    def table(name: str) -> pd.DataFrame | None:
        path = f"data/results/{profile}/{folder.name}/{name}.csv"
        return pd.read_csv(output / path) if path in written else None

    shown = {name: table(name) for name in ("claims", "headline")}
    found = {name: frame for name in EXPERIMENTS if (frame := table(name)) is not None and set(COLUMNS) <= set(frame)}
    # What the headline notebook tells, of what has been run, where it has not run itself.
    if shown["claims"] is None and found:
        told = comparison.claims(pd.concat(found.values()))
        shown["claims"] = told[told["verdict"] != "not run"]
    if shown["headline"] is None and set(DELAY_FIGURES) & set(found):
        shown["headline"] = comparison.beside_published(comparison.headline_table(pd.concat(found.values())))
    results = output / "data" / "results" / profile / folder.name
    agreement = comparison.compare_with_reference(results, profile, folder.name, found)
    return _Section(folder.name, tuple(pages), missing, agreement=agreement, **shown)


def _reading_order(name: str) -> tuple:
    """Sorts what is read first to the front, then naturally: fig6 before fig10."""
    place = _READ_FIRST.index(name) if name in _READ_FIRST else len(_READ_FIRST)
    return place, [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def _artifacts(record: dict[str, Any], folder: str, target: str, formats: dict[str, str]) -> tuple[_Artifact, ...]:
    """The files below `folder` that a run wrote, those that differ in the suffix only as one."""
    found: dict[str, dict[str, str]] = {}
    for path in record["outputs"]:
        if path.startswith(folder):
            place = PurePosixPath(target) / path.removeprefix(folder)
            if place.suffix[1:] in formats:
                found.setdefault(str(place.with_suffix("")), {})[place.suffix[1:]] = str(place)
    return tuple(
        _Artifact(PurePosixPath(stem).name, {formats[suffix]: paths[suffix] for suffix in formats if suffix in paths})
        for stem, paths in sorted(found.items(), key=lambda item: _reading_order(item[0]))
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


class _Places:
    """The folders of this machine, which are nobody's business where the report is read."""

    def __init__(self, output: Path) -> None:
        places = {output, data_folder().parent, Path(sys.prefix), Path.home()} - {Path("/"), Path("/usr")}
        # The longest first: one may lie in another.
        self.prefixes = sorted((f"{place}/" for place in places), key=len, reverse=True)

    def hide(self, text: str) -> str:
        for prefix in self.prefixes:
            text = text.replace(prefix, "")
        return text


# The site ------------------------------------------------------------------------------------------------------


def _build(site: Path, output: Path, profile: str, sections: list[_Section]) -> None:
    docs = built_docs()
    if docs is not None:
        shutil.copytree(docs, site / "docs")
    given = templates(
        {"index": _INDEX, "notebook": _NOTEBOOK}, label=_label, profile=profile, has_docs=docs is not None
    )
    write_page(
        site / "index.html",
        given.get_template("index").render(
            sections=[_shown_section(section, sections, profile) for section in sections],
            provenance=_provenance([page.record for section in sections for page in section.pages]),
            size=PROFILES[profile],
            fewest_seeds=FEWEST_SEEDS,
            glossary=GLOSSARY,
            methods=comparison.methods_table().to_dict("split")["data"],
        ),
    )
    exporter, places = _Exporter(), _Places(output)
    for section in sections:
        for at, page in enumerate(section.pages):
            content, _ = exporter.from_notebook_node(_for_show(page.notebook, places))
            shown = given.get_template("notebook").render(
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


def _shown_section(section: _Section, sections: list[_Section], profile: str) -> dict[str, Any]:
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
        "counts": {verdict: sum(row["verdict"] == verdict for row in claims or ()) for verdict in VERDICTS},
        "others": list(others),
        "claims": None if claims is None else _by_notebook(claims),
        "headline": None if section.headline is None else list(_shown_headline(section.headline)),
        "answer": [] if section.headline is None else comparison.answer(section.headline),
        "verdicts": [] if section.headline is None else list(_shown_verdicts(section.headline)),
        "agreement": [
            (one.agrees, _label(one.experiment) + str(one).removeprefix(one.experiment)) for one in section.agreement
        ],
        "reference": made_from(profile, section.scenario),
        "written": written,
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
    names = sorted({row["notebook"] for row in claims}, key=_reading_order)
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


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


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
        "Computing time": _duration(sum(record["seconds"] for record in records)),
    }


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


def _for_show(notebook: nbformat.NotebookNode, places: _Places) -> nbformat.NotebookNode:
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


def _output_for_show(output: nbformat.NotebookNode, alt: str, places: _Places) -> nbformat.NotebookNode:
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
            raw_template=_CELLS,
            preprocessors=[CoalesceStreamsPreprocessor],
            exclude_input_prompt=True,
            exclude_output_prompt=True,
            require_js_url="",
            mathjax_url="",
            mermaid_js_url="",
            jquery_url="",
            jupyter_widgets_base_url="",
        )


# How it looks --------------------------------------------------------------------------------------------------

_INDEX = """\
{% extends "page" %}
{% from "macros" import downloads, facts, value %}
{% block title %}Published beside reproduced ({{ profile }} profile){% endblock %}
{% block body %}
<header>
<p class="kicker">mecpart, {{ profile }} profile</p>
<h1>Does fine-grained model partitioning outperform the state of the art?</h1>
{% for section in sections if section.answer %}
<p class="lead answer">{{ section.answer[0] }} <small>{{ section.answer[1] }}</small></p>
{% else %}
<p class="lead absent">The answer needs one of Figs. 8, 9, 10 and 12:
<code>mecpart reproduce --profile {{ profile }} --only fig8</code> makes it.</p>
{% endfor %}
<p class="lead">mecpart computes the model of H. Li et al., “Distributed DNN Inference With
Fine-Grained Model Partitioning in Mobile Edge Computing Networks” (IEEE Transactions on
Mobile Computing, 2024, <a href="https://doi.org/10.1109/TMC.2024.3357874">doi 10.1109/TMC.2024.3357874</a>), trains
its learners, runs its baselines and finds the exact optimum. This report shows what came out with {{ size.seeds }}
seeds and {{ size.episodes }} training episodes, beside what was published. Intervals are 95&nbsp;% intervals over
seeds. What everything is, and how to use it:
{% if has_docs %}<a href="docs/index.html">documentation</a>{% else %}<code>make docs</code> shows it{% endif %}.</p>
{% if size.seeds < fewest_seeds %}
<p class="notice"><strong>A trial, no evidence:</strong> the {{ profile }} profile only proves that everything runs. No
verdict is given on fewer than {{ fewest_seeds }} seeds.</p>
{% endif %}
<details class="terms">
<summary>What the words mean, and which methods there are</summary>
<dl>
{% for word, meaning in glossary.items() %}
<dt>{{ word }}</dt><dd>{{ meaning }}</dd>
{% endfor %}
</dl>
<table class="data">
<thead><tr><th>Method</th><th>Learns</th><th>Knows the model</th><th>What it does</th><th>In scenario</th></tr></thead>
<tbody>
{% for method, learns, knows, does, where in methods %}
<tr><th scope="row" data-label="Method">{{ method }}</th><td data-label="Learns">{{ learns }}</td>
<td data-label="Knows the model">{{ knows }}</td><td data-label="What it does">{{ does }}</td>
<td data-label="In scenario"><code>{{ where }}</code></td></tr>
{% endfor %}
</tbody>
</table>
</details>
{{ facts(provenance) }}
</header>
<main>
{% for section in sections %}
<section>
<h2 class="scenario" id="{{ section.scenario }}">Scenario <code>{{ section.scenario }}</code></h2>
{% if section.missing %}
<div class="notice">
<strong>Not in this report,</strong> because there is no valid result:
<ul>
{% for name, reason in section.missing.items() %}
<li><code>{{ name }}</code>: {{ reason }}</li>
{% endfor %}
</ul>
</div>
{% endif %}

{% if section.claims is not none %}
<p class="tally"><a href="#{{ section.scenario }}-claims">Of {{ section.counts.values() | sum }} claims of the
paper</a>:
{% for verdict, count in section.counts.items() %}
<span class="verdict {{ verdict | replace(" ", "-") }}">{{ count }} {{ verdict }}</span>
{% endfor %}
</p>
{% endif %}

<h3>The headline</h3>
{% if section.headline is none %}
<p class="absent">There is no headline table: <code>mecpart reproduce --profile {{ profile }} --only headline</code>
makes it.</p>
{% elif not section.headline and not section.verdicts %}
<p class="absent">The headline table has no row for the learned baselines.</p>
{% else %}
<ul>
{% for sentence in section.answer[2:] %}
<li>{{ sentence }}</li>
{% endfor %}
</ul>
{% if section.verdicts %}
<p>How much less delay Proposed has than each learned baseline, and than the better of them in each setting, in per
cent, over {{ section.headline[0].scope if section.headline else "the figures that were run" }}. No method can do better
than what is attainable. <em>By this much</em>: between half and twice what is stated.</p>
<table class="data">
<thead><tr><th>Against</th><th>Quantity</th><th>Abstract states</th><th>Measured (interval)</th><th>Attainable</th>
<th>Less</th><th>By this much</th></tr></thead>
<tbody>
{% for row in section.verdicts %}
<tr>
<th scope="row" data-label="Against">{{ row.baseline }}</th>
<td data-label="Quantity">{{ row.metric }}</td>
<td data-label="Abstract states" class="number">{{ row.abstract }}</td>
<td data-label="Measured" class="number">{{ value(row.measured, row.interval) }}</td>
<td data-label="Attainable" class="number">{{ row.attainable }}</td>
{% for label, said in (("Less", row.less), ("By this much", row.by_this_much)) %}
<td data-label="{{ label }}"><span class="verdict {{ said | replace(" ", "-") }}">{{ said }}</span></td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
{% endif %}
{% if section.headline %}
<details>
<summary>The average over both learned baselines, as the abstract may mean it</summary>
<p>Both together, averaged in two ways over {{ section.headline[0].scope }}. An average with a weak baseline does not
show that the strong one is outperformed.</p>
<table class="data">
<thead><tr><th>Quantity</th><th>Averaging</th><th>Abstract states</th><th>Published curves give</th>
<th>Measured (interval)</th><th>Attainable</th></tr></thead>
<tbody>
{% for row in section.headline %}
<tr>
<th scope="row" data-label="Quantity">{{ row.metric }}</th>
<td data-label="Averaging">{{ row.averaging }}
{%- if row.reason %}<small>undefined: {{ row.reason }}</small>{% endif %}</td>
<td data-label="Abstract states" class="number">{{ row.abstract }}</td>
<td data-label="Published curves" class="number">{{ row.curves }}</td>
<td data-label="Measured" class="number">{{ value(row.measured, row.interval) }}</td>
<td data-label="Attainable" class="number">{{ row.attainable }}</td>
</tr>
{% endfor %}
</tbody>
</table>
</details>
{% endif %}
{% if "headline" in section.written %}
<p class="files">Every reading of it: {{ downloads(section.written.headline, "") }}</p>
{% endif %}
{% endif %}

<h3>Agreement with the reference</h3>
{% if section.agreement %}
<p>{{ section.agreement | selectattr(0) | list | length }} of {{ section.agreement | length }} experiments agree with
the reference results of this repository ({{ section.reference }}).</p>
<details{% if not section.agreement | map(attribute=0) | min %} open{% endif %}>
<summary>Each experiment</summary>
<ul>
{% for _, told in section.agreement %}
<li>{{ told }}</li>
{% endfor %}
</ul>
<p>Methods that do not learn must be the same to a ten-thousandth in every seed; training amplifies rounding, so that
learners are tested for a change within seeds, corrected for the number of tests.</p>
</details>
{% else %}
<p class="absent">There are no reference results for the {{ profile }} profile of this scenario.</p>
{% endif %}

<h3>Figures at a glance</h3>
<div class="gallery">
{% for page in section.pages %}
{% for figure in page.figures if "SVG" in figure.paths or "PNG" in figure.paths %}
<figure>
<a href="{{ page.path | urlencode }}"><img src="{{ figure.paths.get("SVG", figure.paths.get("PNG")) | urlencode }}" \
alt="{{ page.title }} ({{ figure.name }})"></a>
<figcaption><a href="{{ page.path | urlencode }}">{{ label(figure.name) }}</a> {{ downloads(figure, "") }}</figcaption>
</figure>
{% endfor %}
{% endfor %}
</div>

<h3>Notebooks</h3>
<table class="data notebooks">
<thead><tr><th>Notebook</th><th>About</th><th>Time taken</th><th>Tables</th></tr></thead>
<tbody>
{% for page in section.pages %}
<tr>
<th scope="row" data-label="Notebook"><a href="{{ page.path | urlencode }}">{{ label(page.name) }}</a></th>
<td data-label="About">{{ page.title }}</td>
<td data-label="Time taken" class="number">{{ page.taken }}</td>
<td data-label="Tables"><ul>
{% for table in page.tables %}
<li>{{ table.name }} {{ downloads(table, "") }}</li>
{% endfor %}
</ul></td>
</tr>
{% endfor %}
</tbody>
</table>

<h3 id="{{ section.scenario }}-claims">Every claim and its verdict</h3>
{% if section.claims is none %}
<p class="absent">There is no table of claims: <code>mecpart reproduce --profile {{ profile }} --only headline</code>
makes it.</p>
{% else %}
<p>A claim is <em>reproduced</em> if the whole interval lies where the claim says, <em>not reproduced</em> if the whole
interval lies elsewhere, and <em>undecided</em> if it straddles the border, if the quantity is undefined, or with fewer
than {{ fewest_seeds }} seeds. The last column is the smallest difference that this number of seeds could have
detected.</p>
<p class="filter" role="group" aria-label="Show claims by verdict">
<button type="button" data-show="" aria-pressed="true" disabled>all <b>{{ section.counts.values() | sum }}</b></button>
{% for verdict, count in section.counts.items() %}
<button type="button" data-show="{{ verdict }}" class="{{ verdict | replace(" ", "-") }}" aria-pressed="false" \
disabled>{{ verdict }} <b>{{ count }}</b></button>
{% endfor %}
</p>
<table class="data claims">
<thead><tr><th>Claim</th><th>Where</th><th>Verdict</th>
{% for other in section.others %}
<th>In <code>{{ other }}</code></th>
{% endfor %}
<th>Published</th><th>Measured (interval)</th><th>Detectable</th></tr></thead>
{% for name, rows in section.claims %}
{% set page = section.by_name.get(name) %}
<tbody>
<tr class="group"><th colspan="{{ 6 + section.others | length }}" scope="rowgroup">\
{{ label(name) }}{% if page %}: {{ page.title }}{% endif %}</th></tr>
{% for row in rows %}
<tr data-verdict="{{ row.verdict }}">
<td data-label="Claim">{% if page %}<a href="{{ page.path | urlencode }}">{{ row.claim }}</a>{% else %}{{ row.claim }}\
{% endif %}{% if row.test %}<small>{{ row.test }}</small>{% endif %}\
{% if row.reason %}<small>{{ row.reason }}</small>{% endif %}</td>
<td data-label="Where">{{ row.where }}</td>
<td data-label="Verdict"><span class="verdict {{ row.verdict | replace(" ", "-") }}">{{ row.verdict }}</span></td>
{% for other, said in row.elsewhere.items() %}
<td data-label="In {{ other }}">{% if said %}<span class="verdict {{ said | replace(" ", "-") }}">{{ said }}</span>\
{% endif %}</td>
{% endfor %}
<td data-label="Published" class="number">{{ row.published }}</td>
<td data-label="Measured" class="number">{{ value(row.measured, row.interval) }}</td>
<td data-label="Detectable" class="number">{{ row.detectable }}</td>
</tr>
{% endfor %}
</tbody>
{% endfor %}
</table>
{% if "claims" in section.written %}
<p class="files">All claims: {{ downloads(section.written.claims, "") }}</p>
{% endif %}
{% endif %}
</section>
{% endfor %}
</main>
{% endblock %}
"""

_NOTEBOOK = """\
{% extends "page" %}
{% from "macros" import downloads, facts %}
{% block title %}{{ label(page.name) }}: {{ page.title }} ({{ profile }}, {{ page.scenario }}){% endblock %}
{% block body %}
<nav aria-label="Pages">
<a class="home" href="../index.html">Overview</a>
{% if has_docs %}<a href="../docs/index.html">Documentation</a>{% endif %}

{% for other in pages %}
<a href="../{{ other.path | urlencode }}"{% if other.name == page.name %} aria-current="page"{% endif %}>\
{{ label(other.name) }}</a>
{% endfor %}
<button type="button" class="fold" hidden>Show code</button>
</nav>
<p class="kicker">Scenario <code>{{ page.scenario }}</code>, {{ profile }} profile, {{ page.taken }}</p>
<main class="notebook">
{{ content | safe }}
</main>
<footer>
{% if page.tables or page.figures %}
<h2>Files</h2>
<ul class="artifacts">
{% for artifact in page.tables + page.figures %}
<li>{{ artifact.name }} {{ downloads(artifact, "../") }}</li>
{% endfor %}
</ul>
{% endif %}
<h2>Where this comes from</h2>
{{ facts(provenance) }}
<p class="turn">
{% if before %}<a rel="prev" href="../{{ before.path | urlencode }}">Before: {{ label(before.name) }}</a>{% endif %}

{% if after %}<a rel="next" href="../{{ after.path | urlencode }}">Next: {{ label(after.name) }}</a>{% endif %}

</p>
</footer>
{% endblock %}
"""

_CELLS = """\
{% extends "classic/base.html.j2" %}
{% block input_group %}
{% set tags = cell.metadata.get("tags", []) %}
<details class="code"><summary>{{ "Parameters, as they are by default" if "parameters" in tags else
"Parameters of this run" if "injected-parameters" in tags else "Code" }}</summary>
{{ super() }}
</details>
{% endblock %}
"""
