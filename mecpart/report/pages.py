"""How the pages of the report are made: templates, a style sheet and a script (in the folder `templates`).

The site lies in one folder that can be zipped and sent. Formulas are MathML, pictures lie inside or beside the pages,
and a content security policy keeps every page from asking anything of a network.
"""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

import jinja2
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from mecpart.report.formulas import formula


def template(name: str) -> str:
    """The text of a file of the folder `templates`."""
    return (files("mecpart.report") / "templates" / name).read_text(encoding="utf-8")


def templates(**shared: object) -> jinja2.Environment:
    """The templates of the folder; `shared` values are known to all of them."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    script = template("script.js")
    environment.globals |= {
        "style": template("style.css") + HtmlFormatter(style="default").get_style_defs(".highlight"),
        "script": script,
        # Only this script may run, whatever the output of a notebook holds.
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
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
