"""The documentation as Sphinx makes it, and its blocks of code. Building it takes about 20 s."""

import ast
import importlib
import inspect
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from chromium import CHROMIUM, OFFLINE, in_browser
from playwright.sync_api import sync_playwright

import mecpart
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.locations import default_output
from mecpart.methods import register
from mecpart.methods.register import METHODS

DOCS = default_output() / "docs"
GUIDES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
#: Guides whose code other tests run: it needs other libraries, or a cluster.
RUN_ELSEWHERE = {"own_agent", "cluster"}
PUBLIC = ("mecpart", "mecpart.agents", "mecpart.comparison", "mecpart.adapters.gymnasium", "mecpart.adapters.gymnax")
SAVING_AND_SHOWING = {
    "plotting": [
        "plot_plan",
        "figures.plot_sweep",
        "figures.plot_convergence",
        "figures.plot_headline",
    ],
    "tables": ["tables.to_latex", "tables.to_html"],
    "explorer": ["figures.explorer.Explorer"],
    "saving": ["figures.save_figure", "tables.write_table", "tables.read_results"],
}


class Page(HTMLParser):
    """What a page links to, loads, names and says; `following` are the pages before and after it."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.loaded, self.names, self.text, self.following = [], [], set(), "", set()
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.names.add(attributes.get("id"))
        if tag == "a":
            self.links.append(attributes.get("href", ""))
        elif tag == "link" and attributes["rel"] in ("next", "prev"):
            self.following.add(attributes["rel"])
        elif "src" in attributes or tag == "link":
            self.loaded.append(attributes.get("src", attributes.get("href", "")))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the site, made as `make docs` makes it, from a copy that its generated pages may be written to."""
    folder = tmp_path_factory.mktemp("documentation")
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("reference", "__pycache__"))
    (folder / "figures").symlink_to(DOCS.parent / "figures")
    build(folder)
    return folder


def build(folder):
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--doctree-dir", "trees"]
    told = subprocess.run([*command, "docs", "site"], cwd=folder, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr
    return told.stdout


@pytest.fixture(scope="module")
def site(built):
    return {path: Page(path) for path in (built / "site").rglob("*.html")}


def page(site, path):
    (found,) = [page for file, page in site.items() if file.as_posix().endswith(f"/site/{path}.html")]
    return found


def test_every_link_leads_somewhere(site):
    broken = []
    for path, found in site.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme == "https"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target in site:
                if parts.fragment and unquote(parts.fragment) not in site[target].names:
                    broken.append(f"{path.name}: {link}")
            elif not target.is_file():
                broken.append(f"{path.name}: {link}")
    assert not broken


def test_nothing_is_loaded_from_elsewhere(built, site):
    loaded = {(path.parent / unquote(source.partition("?")[0]), source) for path, found in site.items()
              for source in found.loaded if not source.startswith(("data:", "#"))}  # fmt: skip
    assert [source for path, source in loaded if urlsplit(source).scheme or not path.is_file()] == []
    assert len(loaded) > 5
    styles = "".join(path.read_text(encoding="utf-8") for path in (built / "site").rglob("*.css"))
    assert [at for at in re.findall(r"url\(['\"]?([^)]*)|@import", styles) if not at.startswith("data:")] == []


@pytest.mark.parametrize(
    ("kind", "names"), [("scenarios", mecpart.SCENARIOS), ("methods", METHODS), ("experiments", EXPERIMENTS)]
)
def test_each_has_a_page_of_its_own(site, kind, names):
    listed = page(site, f"reference/{kind}").links
    texts = set()
    for name in names:
        path = f"{kind}/{re.sub(r'[^a-z0-9_]+', '-', name.lower())}"
        found = page(site, f"reference/{path}")
        assert f"{path}.html" in listed
        assert {"next", "prev"} <= found.following
        texts.add(re.search(rf"<h1>{re.escape(name)}.*</article>", found.source, re.DOTALL)[0].replace(name, ""))
    assert len(texts) == len(names)


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_explained_in_one_place(site, module):
    """By a docstring with a first sentence, or a comment at its definition."""
    for name in (module := importlib.import_module(module)).__all__:
        full = f"{module.__name__}.{name}"
        if inspect.ismodule(getattr(module, name)) or full == "mecpart.comparison.published":  # mecpart.published
            continue
        places = [found for found in site.values() if full in found.names]
        assert len(places) == 1, full
        text = places[0].source.partition(f'id="{full}"')[2].partition("</dt>\n<dd>")[2][:1000]
        assert re.search(r"[A-Z(][\w ,'()-]{4,}", re.sub(r"<[^>]*>", "", text)), f"{full} says {text[:300]!r}"


@pytest.mark.parametrize("topic", SAVING_AND_SHOWING)
def test_what_shows_and_saves_has_a_page(site, topic):
    assert {f"mecpart.{name}" for name in SAVING_AND_SHOWING[topic]} <= page(site, f"reference/{topic}").names


def test_no_page_shows_what_python_says_about_its_own_types(site):
    types = (dict, tuple, list, str, int, float, object, type, partial)
    said = {inspect.getdoc(value).splitlines()[0] for kind in types for value in (kind, kind.__init__)}
    said |= {"Alias for field number", "Create new instance of", "Create and return a new object"}
    assert [(path.name, text) for path, found in site.items() for text in said if text in found.text] == []
    assert [path.name for path, found in site.items() if re.search(r"at 0x[0-9a-f]{6}", found.text)] == []


def test_signatures_link_to_types_and_text_to_names(site):
    explorer = page(site, "reference/explorer").text.partition("figures.explorer.Explorer(")[2]
    assert explorer.split()[:4] == ["scenario:", "Scenario", "|", "str"]
    found = page(site, "reference/costs")
    assert "plan: Int[Array, 'blocks']" in " ".join(found.text.split())
    assert "problems.html#mecpart.Scenario" in found.links
    assert "Eqs. 3-9, 13, 14" in found.text
    assert "problems.html#mecpart.sample_slot" in found.links
    assert "reference/costs.html#mecpart.evaluate_plan" in page(site, "own_policy").links


def test_a_method_has_its_settings_and_an_experiment_what_it_sweeps(site):
    proposed = page(site, "reference/methods/proposed").text
    assert str(mecpart.agents.AGENTS["Proposed"].learning_rate) in proposed
    assert "entropy_weight" in proposed
    fig10 = page(site, "reference/experiments/fig10").text
    assert "30, 40, 50, 60, 70, 80, 90, 100, 110" in fig10
    assert "num_servers = 4" in fig10


def test_formulas_are_mathml(site):
    limits = page(site, "limits")
    assert limits.source.count("<math") > 1
    assert "$" not in limits.text
    assert "frac" not in limits.text


def test_the_search_knows_every_page(built, site):
    index = (built / "site" / "searchindex.js").read_text(encoding="utf-8")
    named = set(re.search(r'"docnames":\[([^]]*)]', index)[1].replace('"', "").split(","))
    pages = {path.relative_to(built / "site").with_suffix("").as_posix() for path in site}
    assert named == pages - {"genindex", "py-modindex", "search"}


def test_code_may_break_on_pages_and_is_whole_in_the_search(built, site):
    assert "mecpart.<wbr>adapters.<wbr>gymnasium.<wbr>make" in page(site, "reference/names").source
    assert "mecpart.adapters.gymnasium.make" in page(site, "reference/names").text
    assert "on_<wbr>host=<wbr>True" in page(site, "own_policy").source
    assert "on_host" in (built / "site" / "searchindex.js").read_text(encoding="utf-8")


def test_a_second_build_makes_nothing_again(built):
    before = {path: path.stat().st_mtime_ns for path in (built / "site").rglob("*.html")}
    assert "0 added, 0 changed, 0 removed" in build(built)
    again = {path.name for path, at in before.items() if path.stat().st_mtime_ns != at}
    assert again <= {"genindex.html", "py-modindex.html", "search.html"}


@in_browser
def test_pages_fit_a_phone_ask_nothing_of_a_network_and_can_be_searched(built, site):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OFFLINE)
        tab = browser.new_page(viewport={"width": 400, "height": 800})
        asked, errors = [], []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        widths = {}
        for path in site:
            tab.goto(path.as_uri())
            widths[path.name] = tab.evaluate("document.scrollingElement.scrollWidth")
        assert max(widths.values()) == 400, widths
        tab.goto(f"{(built / 'site' / 'search.html').as_uri()}?q=certified+lower+bound")
        tab.wait_for_selector("#search-results li")
        assert "The best plan, and bounds" in tab.inner_text("#search-results")
        browser.close()
    assert {address.partition(":")[0] for address in asked} <= {"file", "data"}
    assert errors == []


def code_blocks(path):
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_guides_name_what_there_is(path):
    """Every dotted name of the package, in text and code, exists; every block of code can be read."""
    text = path.read_text(encoding="utf-8")
    for block in code_blocks(path):
        ast.parse(block)
    for dotted in set(re.findall(r"\bmecpart(?:\.[A-Za-z_]\w*)+", re.sub(r"pip install \S+", "", text))):
        value = mecpart
        for at, name in enumerate(parts := dotted.split(".")[1:], start=1):
            if not hasattr(value, name):
                try:
                    value = importlib.import_module(".".join(["mecpart", *parts[:at]]))
                except ModuleNotFoundError as error:
                    if (error.name or "").startswith("mecpart"):
                        pytest.fail(f"{path.name} names {dotted}, which does not exist")
                    break  # an optional library that is not installed
            else:
                value = getattr(value, name)


@pytest.mark.parametrize(
    "path", [p for p in GUIDES if code_blocks(p) and p.stem not in RUN_ELSEWHERE], ids=lambda path: path.stem
)
def test_guides_run(path, monkeypatch, tmp_path):
    """As written, but with one seed, a single setting, and no learner where all methods are meant."""
    monkeypatch.chdir(tmp_path)
    before = set(EXPERIMENTS)
    for at, experiment in list(EXPERIMENTS.items()):
        monkeypatch.setitem(EXPERIMENTS, at, replace(experiment, xs=experiment.xs[:1]))
    monkeypatch.setattr(register, "_registered", {})
    run, compare = mecpart.run_experiment, mecpart.compare

    def briefly(name, **given):
        methods = EXPERIMENTS[name].methods or ("Greedy", "RPDI")
        return run(name, **{"methods": methods, **given, "seeds": 1, "processes": 1})

    monkeypatch.setattr(mecpart, "run_experiment", briefly)
    monkeypatch.setattr(mecpart, "compare", lambda *a, **given: compare(*a, **{**given, "seeds": 1, "processes": 1}))
    namespace = {}
    for block in code_blocks(path):
        exec(block, namespace)
    assert "results" not in namespace or len(namespace["results"]) > 1
    for added in set(EXPERIMENTS) - before:
        del EXPERIMENTS[added]
