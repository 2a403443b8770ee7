"""Formulas as MathML, which browsers show without a script: for the report and the documentation."""

import html
import re
from xml.etree import ElementTree

from latex2mathml.converter import convert as convert_to_mathml

# What latex2mathml does not know, in terms of what it does: the room after a row (\\[1ex]), bounds below an
# operator in display style, and an environment by its other name.
_REWRITTEN = {
    r"\\\\\[[^\]]*\]": r"\\\\",
    r"\\(min|max|sup|inf|lim)(?=_)": r"\\\1\\limits",
    r"\\(begin|end)\{aligned\}": r"\\\1{split}",
}


def formula(tex: str, display: str) -> str:
    """A formula as MathML; as its source if it holds what cannot be translated, for that can be read too."""
    rewritten = tex
    for pattern, replacement in _REWRITTEN.items():
        if display == "block" or "limits" not in replacement:
            rewritten = re.sub(pattern, replacement, rewritten)
    try:
        mathml = convert_to_mathml(rewritten.strip(), display=display)
        letters = ElementTree.fromstring(mathml).itertext()
    except Exception:  # the library's errors have no base class of their own
        return f'<code class="tex">{html.escape(tex)}</code>'
    if any("\\" in text for text in letters):  # an unknown command comes back as a letter
        return f'<code class="tex">{html.escape(tex)}</code>'
    # Infinity and dots are no operators that keep their distance.
    return re.sub(r"<mo>(&#x(?:0221E|02026);)</mo>", r"<mi>\1</mi>", mathml)
