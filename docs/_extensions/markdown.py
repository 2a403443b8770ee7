"""Docstrings in Markdown, links from the names that text mentions as code, and formulas without a script."""

import re
from collections.abc import Iterator

from docutils import nodes
from docutils.utils import new_document
from myst_parser.parsers.sphinx_ import MystParser
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import signature, stringify_signature
from sphinx.util.nodes import make_refnode

from mecpart.report.formulas import formula


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("markdown", Markdown)
    app.connect("autodoc-process-docstring", mark_docstring)
    app.connect("autodoc-process-signature", own_signature)
    app.add_post_transform(LinkNames)
    app.connect("html-page-context", let_code_break)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Markdown(SphinxDirective):
    """Markdown where reStructuredText is read."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        part = new_document(self.get_source_info()[0], self.state.document.settings)
        MystParser().parse("\n".join(self.content), part)
        return part.children


def mark_docstring(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Docstrings here are Markdown; autodoc takes them for reStructuredText."""
    lines[:] = [".. markdown::", "", *(f"   {line}" for line in lines), ""]


def own_signature(
    app: Sphinx, what: str, name: str, value: object, options: object, arguments: str | None, returns: str | None
) -> tuple[str, None] | None:
    """A class is made as its `__init__` says; autodoc asks the metaclass and `__new__` of its bases first."""
    if what != "class" or "__init__" not in vars(value):
        return None
    made_by = signature(value.__init__, bound_method=True)
    shown = stringify_signature(made_by, show_return_annotation=False, unqualified_typehints=True)
    return shown.replace("<factory>", "..."), None


def let_code_break(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Names and paths in code may go on in the next line after a dot and the like, else tables get too wide for phones.

    It is done to the finished page: parts of a name would come into the index of the search.
    """
    context["body"] = re.sub(
        r'(?<=<span class="pre">)[^<]+',
        lambda code: re.sub(r"(?<=[\w);][._/=(\[])(?=[^\W\d_]|&lt;|&quot;)", "<wbr>", code[0]),
        context.get("body", ""),
    )


class LinkNames(SphinxPostTransform):
    """A name in code becomes a link to where it is explained, unless it stands right there."""

    default_priority = 300

    def run(self, **arguments: object) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            around = list(_around(literal))
            docname, anchor = self._place(literal.astext())
            here = docname == self.env.docname and (not anchor or anchor in _anchors(around))
            if docname and not here and not any(isinstance(node, nodes.reference | nodes.title) for node in around):
                link = make_refnode(self.app.builder, self.env.docname, docname, anchor, literal.deepcopy())
                literal.replace_self(link)

    def _place(self, text: str) -> tuple[str, str]:
        """Page and anchor of a scenario, method, experiment or public name; empty where there is none, or several."""
        if text in self.env.named_pages:
            return self.env.named_pages[text], ""
        name, objects = text.removesuffix("()"), self.env.domains.python_domain.objects
        exact = [full for full in (name, f"mecpart.{name}") if full in objects]
        kinds = ("function", "class", "data")
        ending = [at for at, entry in objects.items() if at.endswith(f".{name}") and entry.objtype in kinds]
        ending = [at for at in ending if not objects[at].aliased]
        found = exact or ending
        # A lower-case word alone is more often the name of an argument.
        if len(found) != 1 or (name.isalpha() and name.islower() and name == text):
            return "", ""
        return objects[found[0]].docname, objects[found[0]].node_id


def _around(node: nodes.Node) -> Iterator[nodes.Node]:
    while (node := node.parent) is not None:
        yield node


def _anchors(around: list[nodes.Node]) -> set[str]:
    """The anchors of the descriptions that a node stands in."""
    signatures = (part for node in around if isinstance(node, addnodes.desc) for part in node.children)
    return {anchor for part in signatures if isinstance(part, addnodes.desc_signature) for anchor in part["ids"]}


def visit_math(translator: nodes.NodeVisitor, node: nodes.math | nodes.math_block) -> None:
    translator.body.append(formula(node.astext(), "block" if isinstance(node, nodes.math_block) else "inline"))
    raise nodes.SkipNode
