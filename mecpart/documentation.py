"""The documentation as pages of the same site as the report: how-tos, and a page for every public name.

What a page says is taken from where it is said anyway: docstrings, the experiments as data, the ledger, and the how-tos
in `docs/`. The pages need no results and no network.
"""

import ast
import functools
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import mecpart
from mecpart.agents import AGENTS
from mecpart.experiments import EXPERIMENTS, WORLDS, Experiment
from mecpart.locations import docs_folder
from mecpart.pages import templates, to_html, write_page
from mecpart.policies import ONLY_IN, POLICIES
from mecpart.runs import METHODS, methods_in
from mecpart.scenario import SCENARIOS

#: Modules whose public names have a page each, and the optional ones, which are left out where they cannot be imported.
_MODULES = ("mecpart", "mecpart.agents", "mecpart.comparison")
_OPTIONAL = ("mecpart.adapters.gymnasium", "mecpart.adapters.gymnax", "mecpart.adapters.stable_baselines3")


@dataclass(frozen=True)
class _Page:
    """`path` below the folder of the documentation, without its suffix; `summary` for lists of pages."""

    path: str
    title: str
    summary: str
    body: str


def write_documentation(site: Path, report: Mapping[str, Sequence[tuple[str, str]]] | None = None) -> Path:
    """Write the documentation into the folder `docs` of a site.

    **Arguments:** `report`: pages of the report in the same site, by the name of the notebook: (scenario, path below
    `site`).

    **Returns:** the path of its first page.
    """
    report = {} if report is None else report
    parts = {
        "How to": list(_how_tos()),
        "Scenarios": list(_scenarios()),
        "Methods": list(_methods()),
        "Experiments": list(_experiments(report)),
        "Public names": list(_public_names()),
    }
    links = {page.title: page.path for pages in parts.values() for page in pages}
    given = templates({"documentation": _DOCUMENTATION, "contents": _CONTENTS}, parts=parts, has_report=bool(report))
    given.filters["markdown"] = lambda text: to_html(text).strip().removeprefix("<p>").removesuffix("</p>")
    folder = site / "docs"
    for part, pages in parts.items():
        for page in pages:
            root = "../" * (page.path.count("/") + 1)
            body = _linked(page.body, links, root + "docs/", page.path)
            shown = given.get_template("documentation").render(page=page, part=part, body=body, root=root)
            write_page(folder / f"{page.path}.html", shown)
    write_page(folder / "index.html", given.get_template("contents").render(root="../"))
    return folder / "index.html"


def _linked(body: str, links: Mapping[str, str], root: str, own: str) -> str:
    """Every name in code that has a page of its own becomes a link to it."""

    def link(found: re.Match) -> str:
        name = found[1].removesuffix("()")
        target = links.get(name) or links.get(f"mecpart.{name}")
        if target is None or target == own:
            return found[0]
        return f'<a href="{root}{target}.html">{found[0]}</a>'

    # Not within links, titles and blocks of code.
    pieces = re.split(r"(<a .*?</a>|<h1.*?</h1>|<pre.*?</pre>)", body, flags=re.DOTALL)
    pattern = r"<code>([\w. -]+(?:\(\))?)</code>"
    return "".join(piece if at % 2 else re.sub(pattern, link, piece) for at, piece in enumerate(pieces))


# What there is -------------------------------------------------------------------------------------------------


def _how_tos() -> Iterator[_Page]:
    """The Markdown files of `docs/`: the title is the first heading, the summary the first paragraph."""
    for path in sorted(docs_folder().glob("*.md")):
        text = path.read_text(encoding="utf-8")
        title, _, rest = text.removeprefix("# ").partition("\n")
        summary = rest.strip().split("\n\n")[0].replace("\n", " ")
        body = re.sub(r"\]\((\w+)\.md", r"](\1.html", text)  # links between how-tos
        yield _Page(f"how-to/{path.stem}", title.strip(), summary, to_html(body))


def _scenarios() -> Iterator[_Page]:
    for name, build in SCENARIOS.items():
        only = [method for method in methods_in(name) if ONLY_IN.get(method) == name]
        said = f"\n\nMethods that there are in this scenario only: {', '.join(f'`{method}`' for method in only)}."
        ledger = "\n\n## Constants\n\nThe defaults of every argument, with source and reason.\n\n"
        body = f"# {name}\n\n" + _signature(build) + _documented(build) + said + ledger
        yield _Page(f"scenarios/{name}", name, _first_line(build), to_html(body) + _ledger())


def _ledger() -> str:
    return f'<div class="output_html">{mecpart.LEDGER._repr_html_()}</div>'


def _methods() -> Iterator[_Page]:
    for name in METHODS:
        where = ONLY_IN.get(name)
        scenarios = f"Only in `{where}`." if where else "In every scenario."
        if name in POLICIES:
            function = POLICIES[name]
            kind, summary = "It does not learn.", _first_line(function)
            body = _signature(function) + _documented(function)
        else:
            config = AGENTS[name]
            module = importlib.import_module(type(config).__module__)
            kind, summary = "It learns.", (module.__doc__ or "").partition("\n")[0]
            rows = "\n".join(f"| `{entry.name}` | `{getattr(config, entry.name)!r}` |" for entry in fields(config))
            settings = f"\n\n## Settings\n\n{inspect.getdoc(type(config))}\n\n| setting | value |\n|---|---|\n{rows}"
            body = f"{module.__doc__}\n\n## Training\n\n{inspect.getdoc(module.make_train)}{settings}"
        body = f"# {name}\n\n{kind} {scenarios}\n\n{body}"
        yield _Page(f"methods/{_slug(name)}", name, summary, to_html(body))


def _experiments(report: Mapping[str, Sequence[tuple[str, str]]]) -> Iterator[_Page]:
    for name, experiment in EXPERIMENTS.items():
        notebook = re.sub(r"(?<=\d)[a-c]$", "", name)
        lines = [f"# {name}", experiment.title + ".", _swept(experiment), "## Running it"]
        lines += [f"    mecpart reproduce --only {notebook}", "or in Python, as a tidy DataFrame:"]
        lines += [f'    mecpart.run_experiment("{name}")']
        if notebook in report:
            lines += ["## Results in this report"]
            lines += ["\n".join(f"* [{scenario}](../../{path})" for scenario, path in report[notebook])]
        yield _Page(f"experiments/{name}", name, experiment.title, to_html("\n\n".join(lines)))


def _swept(experiment: Experiment) -> str:
    """What an experiment sweeps, fixes and compares, as a table."""
    usual = type(experiment.fixed)()
    fixed = {
        entry.name: getattr(experiment.fixed, entry.name)
        for entry in fields(usual)
        if entry.name != experiment.x_name and getattr(experiment.fixed, entry.name) not in (None, ())
    }
    rows = [
        ("swept", "training episodes" if experiment.convergence else f"`{experiment.x_name}`: {experiment.x_label}")
    ]
    if experiment.xs:
        rows.append(("values", ", ".join(f"{x:g}" for x in experiment.xs)))
    rows.append(("fixed", ", ".join(f"`{name}` = {_value(value)}" for name, value in fixed.items())))
    if experiment.series:
        rows.append(("curves", ", ".join(experiment.series)))
    if experiment.series.keys() >= {"ledger"}:
        rows.append(("varied", ", ".join(f"`{name}`" for name in WORLDS)))
    methods = experiment.methods or ("all that the scenario has",)
    rows.append(("methods", ", ".join(f"`{name}`" if name in METHODS else name for name in methods)))
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {text} |" for name, text in rows)


def _value(value: object) -> str:
    return " to ".join(f"{part:g}" for part in value) if isinstance(value, tuple) else f"{value}"


def _public_names() -> Iterator[_Page]:
    seen = set()
    for module in _importable():
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            title = f"{module.__name__}.{name}"
            if inspect.ismodule(value) or title in seen:
                continue
            seen.add(title)
            yield _Page(f"names/{title}", title, *_described(module, name, value))


def _importable() -> Iterator[ModuleType]:
    for name in (*_MODULES, *_OPTIONAL):
        try:
            yield importlib.import_module(name)
        except ImportError:
            if name not in _OPTIONAL:
                raise


def _described(module: ModuleType, name: str, value: Any) -> tuple[str, str]:
    """(summary, HTML) of a public name."""
    heading = f"# {module.__name__}.{name}\n\n"
    if inspect.isclass(value) or inspect.isfunction(value) or hasattr(value, "__wrapped__"):
        value = inspect.unwrap(value)
        text = heading + _signature(value) + _documented(value)
        if inspect.isclass(value):
            text += _members(value)
        return _first_line(value), to_html(text)
    said = _comments().get(name) or inspect.getdoc(type(value)) or ""
    shown = value._repr_html_() if hasattr(value, "_repr_html_") else to_html(_constant(value))
    return said.partition("\n")[0], to_html(heading + said) + f'<div class="output_html">{shown}</div>'


def _constant(value: object) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"* `{key}`" for key in value)
    if isinstance(value, tuple | list):
        return "\n".join(f"* `{entry}`" for entry in value)
    return f"`{value!r}`"


def _members(kind: type) -> str:
    """The public methods and properties of a class, but not what it inherits from elsewhere."""
    text = ""
    for name, member in vars(kind).items():
        if name.startswith("_") and name != "__call__":
            continue
        function = member.fget if isinstance(member, property) else inspect.unwrap(member) if callable(member) else None
        if inspect.isfunction(function) and function.__doc__:
            what = "property" if isinstance(member, property) else "method"
            text += f"\n\n## {name} ({what})\n\n" + ("" if what == "property" else _signature(function))
            text += _documented(function)
    return text


def _first_line(value: object) -> str:
    return (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")


def _documented(value: object) -> str:
    return inspect.getdoc(value) or ""


def _signature(value: Any) -> str:
    """How it is called, as written in the source, in a block of code."""
    node: Any = ast.parse(inspect.cleandoc("\n" + inspect.getsource(value))).body[0]
    call = node
    if isinstance(node, ast.ClassDef):
        made_by = [entry for entry in node.body if getattr(entry, "name", "") == "__init__"]
        call = made_by[0] if made_by else None
    if call:
        arguments = _arguments(call.args)
        returns = f" -> {ast.unparse(call.returns)}" if call.returns else ""
        text = f"{node.name}({', '.join(arguments)}){returns}"
        if len(text) > 100:
            text = f"{node.name}(\n    " + ",\n    ".join(arguments) + f",\n){returns}"
    elif is_dataclass(value):
        entries = [ast.unparse(entry) for entry in node.body if isinstance(entry, ast.AnnAssign)]
        text = f"{node.name}(\n    " + ",\n    ".join(entries) + ",\n)"
    else:
        return ""
    return f"```python\n{text}\n```\n\n"


def _arguments(given: ast.arguments) -> list[str]:
    """Each argument as written; `*` and `/` where they stand."""
    text, depth, parts = ast.unparse(given), 0, [""]
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip() not in ("", "self")]


@functools.cache
def _comments() -> dict[str, str]:
    """What is said about each constant of the package: in `#:` lines before it, or in a text after it."""
    said: dict[str, str] = {}
    for path in sorted(Path(mecpart.__file__).parent.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        lines, body = source.splitlines(), ast.parse(source).body
        for node, after in zip(body, [*body[1:], None], strict=True):
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if not isinstance(target, ast.Name):
                continue
            start = node.lineno - 1
            while start and lines[start - 1].startswith("#:"):
                start -= 1
            comment = " ".join(line.removeprefix("#:").strip() for line in lines[start : node.lineno - 1])
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                comment = comment or inspect.cleandoc(str(after.value.value))
            if comment:
                said.setdefault(target.id, comment)
    return said


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower())


_DOCUMENTATION = """\
{% extends "page" %}
{% block title %}{{ page.title }}: mecpart{% endblock %}
{% block body %}
<nav aria-label="Pages">
{% if has_report %}<a href="{{ root }}index.html">Report</a>{% endif %}

<a class="home" href="{{ root }}docs/index.html">Documentation</a>
{% for other in parts[part] if part != "Public names" %}
<a href="{{ root }}docs/{{ other.path }}.html"{% if other.path == page.path %} aria-current="page"{% endif %}>\
{{ other.title }}</a>
{% endfor %}
</nav>
<p class="kicker">{{ part }}</p>
<main class="notebook documentation">
{{ body | safe }}
</main>
{% endblock %}
"""

_CONTENTS = """\
{% extends "page" %}
{% block title %}mecpart: documentation{% endblock %}
{% block body %}
<nav aria-label="Pages">
{% if has_report %}<a href="{{ root }}index.html">Report</a>{% endif %}

<a class="home" href="index.html" aria-current="page">Documentation</a>
</nav>
<header>
<p class="kicker">mecpart</p>
<h1>Documentation</h1>
<p class="lead">DNN partitioning in mobile edge computing networks: executable, exact and fast.</p>
</header>
<main>
{% for part, pages in parts.items() %}
<section>
<h2>{{ part }}</h2>
<table class="data contents">
{% for page in pages %}
<tr><th scope="row"><a href="{{ page.path }}.html">{{ page.title }}</a></th>\
<td>{{ page.summary | markdown | safe }}</td></tr>
{% endfor %}
</table>
</section>
{% endfor %}
</main>
{% endblock %}
"""
