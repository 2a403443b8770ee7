"""The report on small batches made by hand: what it holds, what it leaves out, and how a browser takes it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
from chromium import CHROMIUM, OFFLINE, in_browser
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import sync_playwright

from mecpart import tables
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.experiments.runner import COLUMNS
from mecpart.locations import data_folder, notebooks_folder
from mecpart.methods.register import METHODS
from mecpart.report import site as site_module
from mecpart.report.site import write_report

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20" fill="#07b"/></svg>'
ELSEWHERE = "https://elsewhere.invalid"
FORMULA = r"$$T_m = \begin{cases} 0 & \text{if } a < b\\[1ex] \frac{c_m}{F_n} & \text{else} \end{cases}$$"


def row(claim, verdict, notebook="fig8", reason="", measured=4.5678, **given):
    return {
        "claim": claim,
        "where": "Fig. 8a",
        "test": "reduction [%]: above 0",
        "published": 4.76,
        "measured": measured,
        "low": measured - 1,
        "high": measured + 1,
        "verdict": verdict,
        "notebook": notebook,
        "smallest_detectable": 1234.5678,
        "num_seeds": 5,
        "reason": reason,
        "scenario": "as_printed",
    } | given


CLAIMS = [
    row("Proposed has less delay than <b>A3C</b> & others", "reproduced"),
    row("Delay of Proposed falls", "not reproduced", measured=-2.0),
    row("Edge delay is lower", "undecided", "headline", "a delay is 0", float("nan")),
    row("Energy is lower", "not run", "fig13", "not run: fig11b", float("nan")),
]


def fact(sentence, verdict, **given):
    told = {"where": "Fig. 8a", "test": "% of RPDI's value, above 0", "published": 12.5, "measured": 28.25, "low": 11.0}
    told |= {"high": 44.0, "level": 0.0025, "sign": "reproduced", "size": "not reproduced", "rows": "12 of 12"}
    return {
        "fact": sentence,
        **told,
        "verdict": verdict,
        "num_seeds": 5,
        "reason": "",
        "scenario": "as_printed",
    } | given


FACTS = [
    fact("Proposed has less delay than the <rules>", "reproduced"),
    fact("Proposed has less delay than A3C", "undecided"),
    fact("Total delay falls", "cannot hold", sign="", reason="it must not"),
]


def reductions(figure, baseline="learned", value=2.2222):
    for metric in ("total_delay_s", "edge_delay_s"):
        for averaging in ("mean of ratios", "ratio of means"):
            defined = metric == "total_delay_s"
            yield {
                "scenario": "as_printed",
                "metric": metric,
                "figure": figure,
                "baseline": baseline,
                "averaging": averaging,
                "reduction_percent": value if defined else float("nan"),
                "low": 1.2 if defined else float("nan"),
                "high": 3.7 if defined else float("nan"),
                "attainable_percent": 3.14159,
                "abstract_percent": 4.76,
                "num_seeds": 5,
                "reason": "" if defined else "edge delay of A3C is 0",
                "published_curves_percent": 4.0555,
            }


class Batch:
    """An output folder as `mecpart reproduce` leaves it."""

    def __init__(self, output, profile="smoke", scenario="as_printed"):
        self.output, self.profile, self.scenario = output, profile, scenario

    def beside(self, name):
        return self.output / "build" / "notebooks" / self.profile / self.scenario / name

    def write(self, path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def run(
        self, name, *cells, title="", results=(), drawn=(), commit="c0ffee" * 6, started="2026-11-25T04:00:00+00:00"
    ):
        """A notebook that ran to its end; `results` maps names of tables to frames, `drawn` names figures."""
        for table, frame in dict(results).items():
            stem = self.output / "data" / "results" / self.profile / self.scenario / table
            tables.write_table(pd.DataFrame(frame), stem)
        for figure in drawn:
            for suffix, content in {"svg": SVG, "pdf": b"%PDF-1.4", "png": PNG}.items():
                self.write(self.output / "figures" / self.profile / self.scenario / f"{figure}.{suffix}", content)
        self.write(self.beside(f"{name}.ipynb"), nbformat.writes(built(title, cells)))
        written = [
            *(path for table in dict(results) for path in (self.output / "data").rglob(f"{table}.*")),
            *(path for figure in drawn for path in (self.output / "figures").rglob(f"{figure}.*")),
            self.beside(f"{name}.ipynb"),
        ]
        record = {
            "identity": {"versions": {"python": "3.11.7", "jax": "0.10.2"}},
            "outputs": {
                path.relative_to(self.output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in written
                if self.scenario in path.parts
            },
            "started": started,
            "seconds": 149.2,
            "commit": commit,
            "device": {"processor": "A processor", "cores": 2, "accelerators": ["A card"], "system": "Linux"},
        }
        self.write(self.beside(f"{name}.record.json"), json.dumps(record))

    def fail(self, name, said):
        cell = new_code_cell("1 / 0", outputs=[new_output("error", ename="KeyError", evalue=said, traceback=[])])
        self.write(self.beside(f"{name}.failed.ipynb"), nbformat.writes(built("A failure", [cell])))


def built(title, cells):
    return new_notebook(cells=list(cells), metadata={"mecpart": {"title": title}} if title else {})


def image():
    return new_output("display_data", {"image/png": base64.b64encode(PNG).decode(), "text/plain": "<Figure>"})


def widget_with_picture():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "0"}, "text/plain": "widget"}
    return new_output("execute_result", {**image().data, **view}, execution_count=1)


def shown(content, kind="text/html"):
    return new_code_cell("show()", outputs=[new_output("execute_result", {kind: content}, execution_count=1)])


def fill(output):
    """A batch with one of everything."""
    batch = Batch(output)
    batch.run(
        "fig8",
        new_markdown_cell(f"# Delay\n\nWith $M = 6$ blocks:\n\n{FORMULA}\n\nSee ![far]({ELSEWHERE}/a.png)."),
        new_code_cell('profile = "quick"', metadata={"tags": ["parameters"]}),
        new_code_cell(
            "run()",
            outputs=[new_output("stream", name="stdout", text="1 of 2 < 3\n"), new_output("stream", text="2 of 2\n")],
        ),
        new_code_cell("figure", outputs=[image()]),
        shown("<style scoped>\n.dataframe {color: red}\n</style><table><tr><td>7.5</td></tr></table>"),
        shown("* a finding about $x^2$", "text/markdown"),
        shown(f"at {output}/data/results/fig8.csv", "text/plain"),
        title="Delay & <servers>",
        results={"fig8": {"x": [1]}, "fig8-trends-of-every-method": {"delay_s": [1.5]}},
        drawn=["fig8", "fig8-relative"],
    )
    batch.run(
        "fig10",
        shown({"model_id": "0"}, "application/vnd.jupyter.widget-view+json"),
        new_code_cell("controls", outputs=[widget_with_picture()]),
        title="Delay against load",
        started="2026-11-26T04:00:00+00:00",
    )
    results = {"facts": FACTS, "claims": CLAIMS, "headline": [*reductions("fig8"), *reductions("fig8", "A3C", 77.0)]}
    batch.run("headline", new_markdown_cell("# Headline"), title="The headline", results=results)
    return batch


@pytest.fixture(scope="module", autouse=True)
def docs(tmp_path_factory):
    """What `make docs` leaves, which may be there or not where the tests run."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site_module, "built_docs", lambda: folder if (folder / "index.html").exists() else None)
        yield folder


@pytest.fixture
def filled(tmp_path):
    return fill(tmp_path / "output {braces} & more")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    output = tmp_path_factory.mktemp("output {braces} & more")
    batch = fill(output)
    # The formulas of the package's own notebooks, and one that failed.
    for path in notebooks_folder().glob("*.ipynb"):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if "$" in cell.source]
        if cells and not batch.beside(path.name).exists():
            batch.run(path.stem, *cells)
    batch.fail("fig99", f"'lost' in {output}/data/here\nand more")
    return write_report("smoke", output).parent


class Page(HTMLParser):
    """What is to be seen of a page: its text, links, and what it would load."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.links, self.resources, self.images, self.rows = [], [], [], []
        self.text, self.hidden = "", None
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in ("script", "style"):
            self.hidden = tag
        elif tag == "img":
            self.images.append(given)
        elif tag == "tr":
            self.rows.append("")
        if tag != "a":
            self.resources += [given[name] for name in ("src", "href", "srcset", "data") if given.get(name)]

    def handle_endtag(self, tag):
        if tag == self.hidden:
            self.hidden = None
        elif tag == "table":
            self.rows.append("")

    def handle_data(self, data):
        if self.hidden is None:
            self.text += data
            if self.rows:
                self.rows[-1] += f" {data.strip()}"

    @property
    def words(self):
        return " ".join(self.text.split())

    def row(self, beginning):
        found = [" ".join(row.split()) for row in self.rows]
        return next(row for row in found if row.startswith(beginning))


def test_site_stands_by_itself(site):
    pages = sorted(site.rglob("*.html"))
    assert {"index.html", "fig8.html", "fig10.html", "headline.html"} <= {path.name for path in pages}
    for path in pages:
        page = Page(path)
        for address in page.resources:
            assert address.startswith("data:") or (path.parent / unquote(address)).is_file(), address
        for address in page.links:
            target = unquote(address.partition("#")[0])
            assert address.startswith("https://") or not target or (path.parent / target).is_file(), address
        assert not re.search(r"url\(|@import|<iframe|<object|<embed", page.source)
        assert "default-src 'none'" in page.source
        # Nothing tells where it was made.
        for place in (site.parents[2], Path.home(), Path(site_module.__file__).parents[1]):
            assert f"{place}/" not in page.source
        assert all(given["alt"] for given in page.images)


def test_documentation_is_carried_along_where_it_has_been_built(filled, docs):
    filled.run("fig8", new_markdown_cell("# Delay"))
    first = write_report("smoke", filled.output)
    assert "make docs" in Page(first).words
    assert not (first.parent / "docs").exists()
    (docs / "index.html").write_text("the documentation")
    try:
        write_report("smoke", filled.output)
    finally:
        (docs / "index.html").unlink()
    assert (first.parent / "docs" / "index.html").read_text() == "the documentation"
    assert "docs/index.html" in Page(first).links
    assert "../docs/index.html" in Page(first.parent / "as_printed" / "fig8.html").links


def test_first_page_tells_what_this_is(site):
    page = Page(site / "index.html")
    assert "doi 10.1109/TMC.2024.3357874" in page.words
    assert "with 2 seeds and 24 training episodes" in page.words
    assert "A trial, no evidence" in page.words
    assert "2026-11-25 04:00 to 2026-11-26 04:02 (UTC)" in page.words
    assert page.words.count("c0ffee" * 6) == 1
    assert "A processor, 2 cores, A card, Linux" in page.words
    assert "python 3.11.7, jax 0.10.2" in page.words


def test_first_page_counts_facts_and_shows_each_with_its_verdicts(site):
    page = Page(site / "index.html")
    tally = "1 reproduced 1 cannot hold 1 undecided"
    assert f"Of 3 facts that the paper\N{RIGHT SINGLE QUOTATION MARK}s sentences come down to: {tally}" in page.words
    assert page.row("Proposed has less delay than the <rules>") == (
        "Proposed has less delay than the <rules> Fig. 8a; % of RPDI's value, above 0 reproduced reproduced "
        "not reproduced 12.5 28.25 (11 to 44) 12 of 12 rows, 5 seeds"
    )
    assert page.row("Total delay falls") == (
        "Total delay falls Fig. 8a; % of RPDI's value, above 0 it must not cannot hold not reproduced 12.5 28.25 "
        "(11 to 44) 12 of 12 rows, 5 seeds"
    )
    assert "claims of the paper" not in page.words


def test_a_fact_that_depends_on_a_constant_is_said_so_where_sensitivity_has_run(filled):
    worlds = [
        {"fact": FACTS[0]["fact"], "world": world, "verdict": verdict, "scenario": "as_printed"}
        for world, verdict in (("ledger", "reproduced"), ("num_devices=5", "not reproduced"))
    ]
    filled.run("sensitivity", title="What depends", results={"sensitivity-facts": worlds})
    page = Page(write_report("smoke", filled.output))
    assert "1 depends on an unstated constant 1 cannot hold 1 undecided" in page.words
    assert "reproduced with the ledger's values; not reproduced with num devices 5" in page.row(FACTS[0]["fact"])


def test_first_page_shows_every_claim_with_its_verdict(site):
    page = Page(site / "index.html")
    assert page.row("Proposed has less delay than <b>A3C</b> & others") == (
        "Proposed has less delay than <b>A3C</b> & others reduction [%]: above 0 Fig. 8a reproduced 4.76 "
        "4.568 (3.568 to 5.568) 1 235"
    )
    assert page.row("Delay of Proposed falls").endswith(
        "not reproduced 4.76 \N{MINUS SIGN}2 (\N{MINUS SIGN}3 to \N{MINUS SIGN}1) 1 235"
    )
    assert page.row("Edge delay").endswith("a delay is 0 Fig. 8a undecided 4.76 \N{EN DASH} 1 235")
    assert '<a href="as_printed/fig8.html">Delay of Proposed falls</a>' in page.source
    assert '<a href="as_printed/headline.html">Edge delay is lower</a>' in page.source
    assert '<td data-label="Claim">Energy is lower<' in page.source  # no such page, no link
    assert page.source.count('class="verdict not-reproduced"') == 4  # the row, and the sizes of three facts


def test_first_page_shows_the_headline_against_the_learned_baselines(site):
    page = Page(site / "index.html")
    rows = [
        row for row in (" ".join(row.split()) for row in page.rows) if row.startswith(("total delay", "edge delay"))
    ]
    assert rows == [
        "total delay mean of ratios 4.76 4.056 2.222 (1.2 to 3.7) 3.142",
        "total delay ratio of means 4.76 4.056 2.222 (1.2 to 3.7) 3.142",
        "edge delay mean of ratios undefined: edge delay of A3C is 0 4.76 4.056 \N{EN DASH} 3.142",
        "edge delay ratio of means undefined: edge delay of A3C is 0 4.76 4.056 \N{EN DASH} 3.142",
    ]
    assert "averaged in two ways over Fig. 8." in page.words


#: Four methods of Fig. 8 on five seeds: Proposed between A3C and Distributed DQN, the best possible close to all.
LEVELS = {"Proposed": 1.02, "A3C": 1.01, "Distributed DQN": 1.04, "Greedy": 2.0, "APDI": 2.5, "RPDI": 3.0}
LEVELS["Earliest finish"] = 1.005


def sweep(figure="fig8", scenario="as_printed"):
    return [
        dict.fromkeys(COLUMNS, 0.0)
        | {"figure": figure, "scenario": scenario, "method": method, "seed": seed, "x_name": "num_servers", "x": x}
        | {"total_delay_s": delay, "edge_delay_s": 0.8 * delay, "local_delay_s": 0.2 * delay, "energy_j": delay}
        | {"optimal_total_delay_s": 1000.0 + seed}
        for method, level in LEVELS.items()
        for x in EXPERIMENTS["fig8"].xs
        for seed in range(5)
        for delay in [level * (1000.0 + seed)]
    ]


@pytest.fixture(scope="module")
def only_fig8(tmp_path_factory):
    """The first page of a batch of Fig. 8 alone, without the headline notebook."""
    batch = Batch(tmp_path_factory.mktemp("only"), "quick")
    batch.run("fig8", title="Delay", results={"fig8": sweep(), "fig8-trends": {"delay_s": [1.5]}})
    return Page(write_report("quick", batch.output))


def test_the_first_sentence_answers_after_one_figure_alone(only_fig8):
    body = only_fig8.words.partition("state of the art? ")[2]
    assert body.startswith(
        "The paper says that its method, Proposed, has 4.76 % less total delay than the state of the art; by its "
        "equations as printed, it has 0.99 % more (95 % interval 0.99 to 0.99) than A3C and 1.92 % less (95 % interval "
        "1.92 to 1.92) than Distributed DQN, because A3C and Distributed DQN are so close to the best possible that no "
        "method could have had more than 0.99 % and 3.85 % less. That it has less total delay than the state of the "
        "art is not reproduced against A3C, reproduced against Distributed DQN and not reproduced against the better"
    )


def test_the_bars_that_a_learner_has_to_pass_begin_the_headline(only_fig8):
    percent = [100 * (1 - LEVELS["Earliest finish"] / LEVELS[name]) for name in ("Proposed", "A3C", "Distributed DQN")]
    first, second, third = (f"{value:.2f} % less (95 % interval {value:.2f} to {value:.2f})" for value in percent)
    told = f"takes {first} than Proposed, {second} than A3C and {third} than Distributed DQN in total delay"
    beats = "it beats Proposed, A3C and Distributed DQN."
    headline = only_fig8.words.partition(" The headline ")[2].partition("How much less delay")[0]
    assert f"Earliest finish, which learns nothing, {told}: {beats}" in headline
    tally = only_fig8.words.partition("sentences come down to: ")[2].partition(" The headline")[0]
    assert "not reproduced" in tally
    assert "not run" not in tally  # what was not run is no finding
    minus = "\N{MINUS SIGN}"
    reading = f"total delay 4.76 {minus}0.9901 ({minus}0.9901 to {minus}0.9901) 0.9901 not reproduced not reproduced"
    assert only_fig8.row("A3C total") == f"A3C {reading}"
    assert only_fig8.row("the better of the two total") == f"the better of the two {reading}"
    assert only_fig8.row("Distributed DQN total").endswith(" 3.846 reproduced not reproduced")


def test_no_prose_of_the_first_page_has_the_name_of_a_column(only_fig8):
    """But for names of files and of scenarios, which are code."""
    body = only_fig8.source.partition("<body>")[2]
    prose = re.sub(r"<code.*?</code>|<a\b.*?</a>|<h3>Notebooks.*?</table>", "", body, flags=re.DOTALL)
    told = re.sub(r"<script.*|<[^>]+>", " ", prose, flags=re.DOTALL)
    assert not re.search(r"\w+_\w+|\bfig\d", told)


def test_without_a_figure_of_delays_the_answer_is_said_to_need_one(tmp_path):
    Batch(tmp_path).run("fig6", title="Convergence")
    page = Page(write_report("smoke", tmp_path))
    assert "The answer needs one of Figs. 8, 9, 10 and 12: mecpart reproduce --profile smoke --only fig8" in page.words


def test_words_and_methods_are_explained(only_fig8):
    assert "One plan holds for all tasks of a slot." in only_fig8.words
    assert "Each task has one device" in only_fig8.words
    assert only_fig8.row("Learned prices").startswith("Learned prices yes yes this project's")
    assert {row.split(" yes ")[0].split(" no ")[0].strip() for row in only_fig8.rows} >= set(METHODS)


def test_agreement_with_the_reference_is_said(tmp_path, only_fig8):
    """Of the package's own reference: the same results agree, others do not, and smoke has none."""
    told = pd.read_csv(data_folder() / "reference/quick/as_printed/fig13.csv")
    batch = Batch(tmp_path, "quick")
    batch.run("fig13", title="Networks", results={"fig13": told})
    page = Page(write_report("quick", tmp_path))
    assert "1 of 1 experiments agree with the reference results of this repository (commit " in page.words
    assert "Fig. 13: agrees (60 of 60 means are the same)" in page.words
    batch.run("fig13", title="Networks", results={"fig13": told.assign(total_delay_s=1.1 * told["total_delay_s"])})
    page = Page(write_report("quick", tmp_path))
    assert "0 of 1 experiments agree" in page.words
    assert "Fig. 13: DIFFERS in 20 of 60 means: total delay of Proposed" in page.words
    assert "Fig. 8: not compared, the results lack methods" in only_fig8.words


def test_headline_pools_the_figures_if_there_are_several(filled):
    frame = [*reductions("fig8"), *reductions("fig10"), *reductions("pooled", value=9.9)]
    filled.run("headline", results={"headline": frame})
    page = Page(write_report("smoke", filled.output))
    assert page.row("total delay mean of ratios") == "total delay mean of ratios 4.76 4.056 9.9 (1.2 to 3.7) 3.142"
    assert "over all delay figures that were run, pooled" in page.words
    assert "There is no table of claims" in page.words
    assert "There is no table of facts" in page.words


def test_first_page_leads_to_figures_tables_and_notebooks(site):
    page = Page(site / "index.html")
    assert [image["src"] for image in page.images] == [f"figures/as_printed/{n}.svg" for n in ("fig8", "fig8-relative")]
    for stem in ("figures/as_printed/fig8", "figures/as_printed/fig8-relative"):
        assert {f"{stem}.{suffix}" for suffix in ("svg", "pdf", "png")} <= set(page.links)
        assert (site / f"{stem}.pdf").read_bytes() == b"%PDF-1.4"
    for table in ("claims", "headline", "fig8-trends-of-every-method"):
        assert {f"tables/as_printed/{table}.{suffix}" for suffix in ("csv", "tex")} <= set(page.links)
    assert (site / "tables/as_printed/fig8-trends-of-every-method.tex").read_text().startswith(r"\begin{tabular}")
    assert page.row("Fig. 8 Delay").startswith("Fig. 8 Delay & <servers> 2 min 29 s fig8 CSV")
    named = re.findall(r'data-label="Notebook"><a href="[^"]*">([^<]*)</a>', page.source)
    assert named[:2] == ["Introduction", "Headline"]
    assert named.index("Fig. 8") < named.index("Fig. 10")


def test_notebook_page_shows_text_code_and_outputs(site):
    page = Page(site / "as_printed" / "fig8.html")
    assert page.source.count("<details") == 6
    assert "Parameters, as they are by default" in page.words
    assert "1 of 2 < 3 2 of 2" in page.words
    assert page.source.count("<math") == 3
    assert "$" not in page.text
    assert "[1ex]" not in page.text
    assert "7.5" in page.text
    assert "scoped" not in page.source
    assert "at data/results/fig8.csv" in page.words
    assert [given["alt"] for given in page.images] == ["Figure: Delay"]
    assert f"{ELSEWHERE}/a.png" in page.links  # a picture from elsewhere becomes a link
    assert {"../index.html", "../as_printed/headline.html", "../as_printed/fig10.html"} <= set(page.links)
    assert {"../tables/as_printed/fig8.csv", "../figures/as_printed/fig8.pdf"} <= set(page.links)
    assert "2 min 29 s" in page.words
    assert "c0ffee" * 6 in page.words
    widgets = Page(site / "as_printed" / "fig10.html")
    assert "widget" not in widgets.text
    assert "model_id" not in widgets.source
    assert len(widgets.images) == 1


@pytest.mark.parametrize("path", sorted(notebooks_folder().glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_formula_of_the_notebooks_is_translated(path):
    text = "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    assert 'class="tex"' not in site_module._Exporter().markdown2html({}, text)


def test_failures_are_named(site, filled):
    page = Page(site / "index.html")
    assert "fig99: failed: KeyError: 'lost' in data/here" in page.words
    assert "and more" not in page.text
    assert not (site / "as_printed" / "fig99.html").exists()
    filled.write(filled.beside("fig9.failed.ipynb"), nbformat.writes(built("", [])))
    page = Page(write_report("smoke", filled.output))
    assert "fig9: failed: none of its cells shows an error" in page.words


@pytest.mark.parametrize("damage", ["altered", "deleted", "notebook", "unrecorded", "garbled"])
def test_what_is_not_as_recorded_is_not_shown(filled, damage):
    match damage:
        case "altered":
            next(filled.output.rglob("fig8-trends-of-every-method.csv")).write_text("delay_s\n0\n")
        case "deleted":
            next(filled.output.rglob("fig8-relative.svg")).unlink()
        case "notebook":
            filled.write(filled.beside("fig8.ipynb"), nbformat.writes(built("Forged", [])))
        case "unrecorded":
            filled.beside("fig8.record.json").unlink()
        case "garbled":
            filled.write(filled.beside("fig8.record.json"), "{")
    index = write_report("smoke", filled.output)
    page = Page(index)
    assert "fig8: its files are not as they were recorded when it ran" in page.words
    assert not (index.parent / "as_printed" / "fig8.html").exists()
    assert not list(index.parent.rglob("fig8*.csv"))
    assert "Delay of Proposed falls" in page.words


def test_each_scenario_has_a_section(filled):
    loaded = Batch(filled.output, scenario="loaded")
    loaded.run("fig8", title="With queues", drawn=["fig8"], commit="decaf" * 8 + "-dirty")
    index = write_report("smoke", filled.output)
    page = Page(index)
    assert page.words.index("Scenario as_printed") < page.words.index("Scenario loaded")
    assert "There is no headline table" in page.words
    assert {"as_printed/fig8.html", "loaded/fig8.html", "figures/loaded/fig8.pdf"} <= set(page.links)
    assert "decaf" * 8 + " with uncommitted changes" in page.words
    assert "../as_printed/fig8.html" not in Page(index.parent / "loaded" / "fig8.html").links


def test_claims_show_the_verdict_in_every_scenario(filled):
    loaded = Batch(filled.output, scenario="loaded")
    told = [claim | {"verdict": "not reproduced"} for claim in CLAIMS[:1]]
    loaded.run("headline", title="The headline", results={"claims": told})
    page = Page(write_report("smoke", filled.output))
    assert page.words.count("In loaded") == page.words.count("In as_printed") == 1
    claim, said = CLAIMS[0]["claim"], CLAIMS[0]["verdict"]
    rows = [" ".join(row.split()) for row in page.rows if row.strip().startswith(claim)]
    assert len(rows) == 2
    assert f" {said} not reproduced " in rows[0]
    assert f" not reproduced {said} " in rows[1]


def test_same_batch_gives_the_same_site(filled):
    def contents():
        place = write_report("smoke", filled.output).parent
        return {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()}

    assert contents() == contents()


def test_a_report_that_fails_leaves_the_earlier_one(filled, monkeypatch):
    index = write_report("smoke", filled.output)
    before = index.read_bytes()
    filled.run("fig7", title="New")
    converted = site_module._Exporter.from_notebook_node
    calls = []

    def breaks(self, *given, **options):
        calls.append(given)
        if len(calls) == 2:
            raise OSError("disk full")
        return converted(self, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(site_module._Exporter, "from_notebook_node", breaks)
        with pytest.raises(OSError, match="disk full"):
            write_report("smoke", filled.output)
    assert index.read_bytes() == before
    assert [path.name for path in index.parents[1].iterdir()] == ["smoke"]
    assert "New" in Page(write_report("smoke", filled.output)).text
    assert [path.name for path in index.parents[1].iterdir()] == ["smoke"]


def test_a_first_report_that_fails_leaves_nothing(filled, monkeypatch):
    def breaks(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(site_module._Exporter, "from_notebook_node", breaks)
    with pytest.raises(KeyboardInterrupt):
        write_report("smoke", filled.output)
    assert not list((filled.output / "build" / "report").iterdir())


def test_nothing_to_report_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"profile must be one of smoke, quick, paper; got 'huge'"):
        write_report("huge", tmp_path / "none")
    Batch(tmp_path).run("fig8")
    with pytest.raises(ValueError, match=r"no notebook that ran .*quick; run mecpart reproduce --profile quick first"):
        write_report("quick", tmp_path)
    Batch(tmp_path, "quick").fail("fig8", "lost")
    with pytest.raises(ValueError, match="nothing to report"):
        write_report("quick", tmp_path)
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "build" / "report").exists()


# In a browser, with the network off ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    profile = tmp_path_factory.mktemp("chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=OFFLINE, viewport={"width": 1280, "height": 900}
        )
        yield started
        started.close()


@pytest.fixture
def tab(browser):
    """A page of the browser that keeps account of requests and complaints."""
    page = browser.new_page()
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("requestfailed", lambda request: page.complaints.append(f"{request.failure}: {request.url}"))
    page.on("pageerror", lambda error: page.complaints.append(f"error: {error}"))
    page.on(
        "console",
        lambda told: page.complaints.append(f"{told.type}: {told.text}") if told.type in ("error", "warning") else None,
    )
    yield page
    page.close()


@in_browser
def test_pages_are_whole_with_the_network_off(site, tab):
    pages = sorted(site.rglob("*.html"))
    for path in pages:
        tab.goto(path.as_uri())
        widths = tab.evaluate("[...document.images].map((image) => image.naturalWidth)")
        assert all(width > 0 for width in widths), path.name
        heights = tab.evaluate("[...document.querySelectorAll('math')].map((m) => m.getBoundingClientRect().height)")
        assert all(height > 5 for height in heights), path.name
    assert tab.complaints == []
    assert len(tab.asked) >= len(pages)
    assert {address.partition(":")[0] for address in tab.asked} <= {"file", "data"}


@in_browser
def test_pages_fit_a_phone(site, tab):
    tab.set_viewport_size({"width": 360, "height": 740})
    for path in sorted(site.rglob("*.html")):
        tab.goto(path.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, path.name


@in_browser
def test_claims_are_filtered_by_verdict(site, tab):
    tab.goto((site / "index.html").as_uri())
    rows = tab.locator("tr[data-verdict]:visible")
    assert rows.count() == 4
    tab.get_by_role("button", name="not reproduced").click()
    assert rows.count() == 1
    assert "Delay of Proposed falls" in rows.inner_text()
    assert tab.locator(".claims .group:visible").count() == 1
    tab.get_by_role("button", name="all").click()
    assert rows.count() == 4


@in_browser
def test_code_is_folded(site, tab):
    tab.goto((site / "as_printed" / "fig8.html").as_uri())
    code = tab.locator(".code pre:visible")
    assert code.count() == 0
    tab.get_by_role("button", name="Show code").click()
    assert code.count() == 6
    tab.get_by_role("button", name="Hide code").click()
    assert code.count() == 0


@in_browser
def test_no_output_of_a_notebook_reaches_out_or_runs(tmp_path, tab):
    output = (
        f'<img src="{ELSEWHERE}/b.png" alt="far"><link rel="stylesheet" href="{ELSEWHERE}/c.css">'
        f'<script src="{ELSEWHERE}/d.js"></script><script>document.title = "taken over"</script>'
    )
    Batch(tmp_path).run("fig8", shown(output), title="Reaches out")
    tab.goto((write_report("smoke", tmp_path).parent / "as_printed" / "fig8.html").as_uri())
    assert "Reaches out" in tab.title()
    refused = {told.removeprefix("csp: ") for told in tab.complaints if told.startswith("csp: ")}
    assert refused >= {f"{ELSEWHERE}/b.png"}
    assert {address.partition(":")[0] for address in set(tab.asked) - refused} <= {"file", "data"}
