"""How the pages of the report look.

The site lies in one folder that can be zipped and sent. Formulas are MathML, pictures lie inside or beside the pages,
and a content security policy keeps every page from asking anything of a network.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

import jinja2
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from mecpart.report.formulas import formula


def templates(sources: Mapping[str, str], **shared: object) -> jinja2.Environment:
    """Templates, which may extend "page" and import from "macros"; `shared` values are known to all of them."""
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"macros": _MACROS, "page": _PAGE, **sources}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "style": _STYLE + HtmlFormatter(style="default").get_style_defs(".highlight"),
        "script": _SCRIPT,
        # Only this script may run, whatever the output of a notebook holds.
        "script_hash": base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode(),
        **shared,
    }
    return environment


def write_page(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def to_html(markdown: str, attachments: dict[str, dict[str, str]] | None = None) -> str:
    """Markdown as HTML, with formulas as MathML."""
    return MarkdownWithMath(_Renderer(escape=False, attachments=attachments or {})).render(markdown)


class _Renderer(IPythonRenderer):
    """Markdown with formulas as MathML, and without pictures from elsewhere."""

    def block_math(self, body: str) -> str:
        return formula(body, "block")

    def inline_math(self, body: str) -> str:
        return formula(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return formula(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return self.link(text, url, title) if "//" in url else super().image(text, url, title)


# How it looks --------------------------------------------------------------------------------------------------

_MACROS = """\
{% macro downloads(artifact, root) %}
<span class="downloads">
{% for word, path in artifact.paths.items() %}
<a href="{{ root }}{{ path | urlencode }}">{{ word }}</a>
{% endfor %}
</span>
{% endmacro %}
{% macro facts(given) %}
<dl class="facts">
{% for word, value in given.items() %}
<div><dt>{{ word }}</dt><dd>{{ value }}</dd></div>
{% endfor %}
</dl>
{% endmacro %}
{% macro value(number, interval) %}
{{ number }}{% if interval %} <span class="interval">({{ interval }})</span>{% endif %}
{% endmacro %}
"""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' file: data:; \
style-src 'unsafe-inline'; script-src 'sha256-{{ script_hash }}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{% block title %}{% endblock %}</title>
<style>
{{ style | safe }}
</style>
</head>
<body>
{% block body %}{% endblock %}
<script>{{ script | safe }}</script>
</body>
</html>
"""

_SCRIPT = """
for (const button of document.querySelectorAll("[data-show]")) {
  const section = button.closest("section");
  button.disabled = false;
  button.addEventListener("click", () => {
    for (const other of section.querySelectorAll("[data-show]")) other.ariaPressed = String(other === button);
    for (const group of section.querySelectorAll(".claims tbody")) {
      const rows = [...group.querySelectorAll("[data-verdict]")];
      for (const row of rows) row.hidden = button.dataset.show && row.dataset.verdict !== button.dataset.show;
      group.hidden = rows.every((row) => row.hidden);
    }
  });
}
for (const button of document.querySelectorAll("button.fold")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const codes = [...document.querySelectorAll("details.code")];
    const open = !codes.some((code) => code.open);
    for (const code of codes) code.open = open;
    button.textContent = open ? "Hide code" : "Show code";
  });
}
"""

_STYLE = """
:root { --ink: #1d2329; --soft: #5b6670; --line: #dde2e6; --wash: #f5f7f8; --link: #00558b; }
* { box-sizing: border-box; }
html { color-scheme: light; -webkit-text-size-adjust: 100%; }
body { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; color: var(--ink); background: #fff;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif; }
a { color: var(--link); text-underline-offset: .15em; text-decoration-thickness: from-font; }
h1, h2, h3, h4 { line-height: 1.25; text-wrap: balance; }
h1 { font-size: 1.75rem; margin: .2rem 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1.1rem; margin: 2.2rem 0 .5rem; }
h2.scenario { margin-top: 3rem; padding-bottom: .3rem; border-bottom: 2px solid var(--ink); }
code, pre { font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: .86em; }
math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", "TeX Gyre Termes Math",
  "DejaVu Math TeX Gyre", math; font-size: 1.05em; }
math[display=block] { margin: 1rem 0; overflow-x: auto; overflow-y: hidden; padding: .3rem 0; }
math mtable mtd { padding: .5ex .6em .5ex .15em; text-align: left; }
img { max-width: 100%; height: auto; }
small { display: block; color: var(--soft); font-size: .85em; line-height: 1.4; }
.kicker { margin: 0; color: var(--soft); font-size: .9rem; }
.lead, section > p, .notebook p, .notebook li { max-width: 50rem; }
.absent { color: var(--soft); }
.answer { font-size: 1.15rem; }
.terms dt { font-weight: 600; }
section > ul, section > details > :is(p, ul), .terms dl { max-width: 50rem; }
.notice { margin: 1rem 0; padding: .6rem 1rem; border-left: 4px solid #d39a00; background: #fff8e1; max-width: 50rem; }
.notice ul { margin: .3rem 0 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.facts { margin: 1rem 0; font-size: .85rem; }
.facts div { display: grid; grid-template-columns: 9rem 1fr; gap: .5rem; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.downloads a { margin-left: .35em; padding: 0 .4em; border: 1px solid var(--line); border-radius: .3em;
  color: var(--link); font-size: .75rem; text-decoration: none; white-space: nowrap; }
.downloads a:hover { border-color: var(--link); }
.files { font-size: .9rem; }

table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; text-align: left; vertical-align: top; }
thead th { border-bottom: 1.5px solid var(--ink); vertical-align: bottom; line-height: 1.3; }
tbody tr { border-bottom: 1px solid var(--line); }
.data { width: 100%; }
.data thead { position: sticky; top: 0; background: #fff; box-shadow: 0 1.5px var(--ink); }
.data tbody th { font-weight: 600; white-space: nowrap; }
.number, .interval { white-space: nowrap; }
.interval { color: var(--soft); }
.claims { font-size: .8125rem; line-height: 1.4; }
.claims a { color: inherit; text-decoration-color: #a9b4bd; }
.claims .group th { padding-top: 1.1rem; background: #fff; color: var(--soft); }
.claims td:first-child { min-width: 17rem; }
.notebooks ul, .artifacts { margin: 0; padding: 0; list-style: none; }
.notebooks li { white-space: nowrap; font-size: .8125rem; }
.tally { max-width: none; line-height: 2; }
.verdict, .filter button { border: 1px solid transparent; border-radius: 1em; white-space: nowrap; }
.verdict { display: inline-block; padding: 0 .6em; font-weight: 600; }
.reproduced { background: #d3efe1; color: #00543c; }
.not-reproduced { background: #fbdccb; color: #7d2c00; }
.undecided { background: #e8ebee; color: #3c464f; }
.not-run { background: #fff; color: var(--soft); border: 1px dashed #a9b4bd !important; }
.filter { display: flex; flex-wrap: wrap; gap: .5rem; }
.filter button { padding: .25em .8em; font: inherit; font-size: .875rem; cursor: pointer; }
.filter button:disabled { cursor: default; }
.filter button[data-show=""] { background: #fff; color: var(--ink); border-color: #a9b4bd; }
.filter button:enabled[aria-pressed=true] { outline: 2px solid var(--ink); outline-offset: 1px; }
[hidden] { display: none !important; }

.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem; }
.gallery figure { margin: 0; padding: .6rem; border: 1px solid var(--line); border-radius: .4rem; display: flex;
  flex-direction: column; }
.gallery figure > a { flex: 1; display: flex; align-items: center; }
.gallery img { width: 100%; max-height: 13rem; object-fit: contain; }
figcaption { margin-top: .5rem; font-size: .875rem; }

nav { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .2rem .35rem; align-items: center;
  margin: -1.5rem -1.25rem 1.5rem; padding: .5rem 1.25rem; border-bottom: 1px solid var(--line); background: #fff;
  font-size: .875rem; }
nav a, nav button { padding: .2em .6em; border-radius: .3em; text-decoration: none; }
nav a:hover { background: var(--wash); }
nav a[aria-current] { background: var(--ink); color: #fff; }
nav .home { font-weight: 600; }
nav .fold { margin-left: auto; border: 1px solid var(--line); background: #fff; color: var(--soft); font: inherit;
  cursor: pointer; }
.notebook :is(h1, h2, h3, h4) { scroll-margin-top: 4rem; }
.anchor-link { margin-left: .3em; color: var(--line); font-weight: 400; text-decoration: none; }
.anchor-link:hover { color: var(--link); }
.cell { margin: .9rem 0; }
.code summary { width: fit-content; color: var(--soft); font-size: .75rem; cursor: pointer; }
.highlight { background: var(--wash); border-radius: .3rem; }
.notebook pre { margin: 0; padding: .6rem .8rem; overflow-x: auto; line-height: 1.45; }
.output_area { margin: .6rem 0; }
.output_text pre { padding: .2rem 0; }
.output_stderr pre { padding-left: .8rem; border-left: 3px solid var(--line); color: var(--soft);
  white-space: pre-wrap; }
.output_html { overflow-x: auto; }
.output_html h4 { margin: 1.2rem 0 .3rem; }
.output_html :is(table, th, td) { border-inline: 0; }
.output_html table { border-block: 0; font-size: .8125rem; }
.output_html :is(th, td) { border-block: 0; }
.output_html thead th { border-bottom: 1.5px solid var(--ink); }
.notebook code.tex { background: var(--wash); }
footer { margin-top: 3rem; border-top: 1px solid var(--line); }
footer h2 { font-size: 1rem; margin-top: 1.5rem; }
.artifacts { columns: 20rem; font-size: .875rem; }
.turn { display: flex; justify-content: space-between; margin-top: 2rem; }

@media screen and (max-width: 50rem) {
  .facts div { grid-template-columns: 1fr; gap: 0; margin-bottom: .4rem; }
  .data thead { display: none; }
  .data, .data tbody, .data tr, .data td, .data th { display: block; width: 100%; }
  .data tr { padding: .5rem 0; }
  .data td, .data tbody th[data-label] { position: relative; padding: .1rem 0 .1rem 8.5rem; white-space: normal; }
  .data td::before, .data tbody th[data-label]::before { content: attr(data-label); position: absolute; left: 0;
    color: var(--soft); font-weight: 400; }
  .claims td:first-child { padding-left: 0; min-width: 0; font-weight: 600; }
  .claims td:first-child::before { content: none; }
  .claims small { font-weight: 400; }
  .data .group th { padding-left: 0; white-space: normal; }
  .notebooks li { white-space: normal; }
  .output_html table { width: max-content; max-width: 56rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .filter, .downloads, .turn, .anchor-link, summary { display: none !important; }
  .data thead { position: static; }
  tr, figure, .output_png { break-inside: avoid; }
  h1, h2, h3, h4, .group { break-after: avoid; }
  .notebook pre { white-space: pre-wrap; }
  .output_html table { font-size: 7pt; }
  .output_html :is(th, td) { padding: 1pt 3pt; }
  a { color: inherit; }
}
"""
