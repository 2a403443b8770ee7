import ast
import importlib
import inspect
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import mecpart
from mecpart import own_methods
from mecpart.cli import main
from mecpart.documentation import write_documentation
from mecpart.experiments import EXPERIMENTS
from mecpart.locations import docs_folder
from mecpart.runs import METHODS

HOW_TOS = sorted(docs_folder().glob("*.md"))
PUBLIC = ["mecpart", "mecpart.agents", "mecpart.comparison"]


class Page(HTMLParser):
    """What a page links to, loads, names and says."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.loaded, self.names, self.text = [], [], set(), ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.names.add(attributes.get("id"))
        if tag == "a":
            self.links.append(attributes.get("href", ""))
        elif "src" in attributes or tag == "link":
            self.loaded.append(attributes.get("src", attributes.get("href", "")))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    assert write_documentation(folder) == folder / "docs" / "index.html"
    return {path: Page(path) for path in folder.rglob("*.html")}


def page(site, path):
    (found,) = [page for file, page in site.items() if file.as_posix().endswith(f"docs/{path}.html")]
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
            if target not in site or (parts.fragment and unquote(parts.fragment) not in site[target].names):
                broken.append(f"{path.name}: {link}")
    assert not broken


def test_nothing_is_loaded_from_elsewhere(site):
    assert {source for found in site.values() for source in found.loaded} <= {"data:,"}


def test_a_page_for_every_public_name_and_from_the_first_page_to_each(site):
    expected = {
        f"names/{module}.{name}"
        for module in PUBLIC
        for name in importlib.import_module(module).__all__
        if not inspect.ismodule(getattr(importlib.import_module(module), name))
    }
    linked = {link.removesuffix(".html") for link in page(site, "index").links}
    assert expected <= linked
    assert len({link for link in linked if link.startswith("scenarios/")}) == len(mecpart.SCENARIOS)
    assert len({link for link in linked if link.startswith("methods/")}) == len(METHODS)
    assert {f"experiments/{name}" for name in EXPERIMENTS} <= linked
    assert {f"how-to/{path.stem}" for path in HOW_TOS} <= linked


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_explained(site, module):
    """By a docstring with a first sentence, or a comment at its definition."""
    for name in importlib.import_module(module).__all__:
        if inspect.ismodule(getattr(importlib.import_module(module), name)):
            continue
        text = page(site, f"names/{module}.{name}").text.partition(f"{module}.{name}\u00b6")[2]
        assert re.search(r"[A-Z(][\w ,'()-]{10,}", text), f"{module}.{name} says {text[:200]!r}"


def test_signatures_as_written_and_links_to_other_names(site):
    found = page(site, "names/mecpart.evaluate_plan")
    assert "check: bool=False" in found.text
    assert "../../docs/names/mecpart.sample_slot.html" in found.links
    assert "Eqs. 3-9, 13, 14" in found.text


def test_a_method_has_its_settings_and_an_experiment_what_it_sweeps(site):
    proposed = page(site, "methods/proposed").text
    assert str(mecpart.agents.AGENTS["Proposed"].learning_rate) in proposed
    assert "entropy_weight" in proposed
    fig10 = page(site, "experiments/fig10").text
    assert "release_rate" in fig10
    assert "30, 40, 50, 60, 70, 80, 90, 100, 110" in fig10
    assert "num_servers = 4" in fig10


def test_links_to_the_results_of_a_report(tmp_path):
    write_documentation(tmp_path, {"fig11": [("loaded", "loaded/fig11.html")]})
    for name in ("fig11a", "fig11b", "fig11c"):
        assert "../../loaded/fig11.html" in Page(tmp_path / "docs" / "experiments" / f"{name}.html").links
    assert "../index.html" in Page(tmp_path / "docs" / "index.html").links


def test_command(tmp_path, capsys):
    assert main(["docs", "--output", str(tmp_path)]) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "build" / "docs" / "index.html"
    assert (tmp_path / "build" / "docs" / "index.html").exists()


def code_blocks(path):
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", HOW_TOS, ids=lambda path: path.stem)
def test_how_tos_name_what_there_is(path):
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


@pytest.mark.parametrize("name", ["own_experiment", "own_network", "own_policy"])
def test_how_tos_run(name, monkeypatch, tmp_path):
    """As written, but with one seed and a single setting."""
    monkeypatch.chdir(tmp_path)
    before = set(EXPERIMENTS)
    for at, experiment in list(EXPERIMENTS.items()):
        monkeypatch.setitem(EXPERIMENTS, at, replace(experiment, xs=experiment.xs[:1]))
    monkeypatch.setattr(own_methods, "_registered", {})
    run = mecpart.run_experiment
    monkeypatch.setattr(mecpart, "run_experiment", lambda *a, **b: run(*a, **{**b, "seeds": 1, "processes": 1}))
    namespace = {}
    for block in code_blocks(docs_folder() / f"{name}.md"):
        exec(block, namespace)
    assert len(namespace["results"]) > 1
    for added in set(EXPERIMENTS) - before:
        del EXPERIMENTS[added]
