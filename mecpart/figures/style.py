"""How methods look: a colour, a marker and a line each, the same in all figures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.colors import to_hex

#: The style sheet of all figures: `with plt.style.context(figures.STYLE): ...`.
STYLE = "mecpart.figures.paper"
#: Inches; the text width of a two-column IEEE page.
COLUMN_WIDTH = 7.16

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = plt.color_sequences["okabe_ito"]


@dataclass(frozen=True)
class Style:
    """How a method is drawn; reference lines have no marker."""

    color: Any  # of the types that matplotlib takes
    marker: str
    linestyle: Any
    zorder: float = 2.0


#: The styles of the package's methods, in the order in which they are drawn.
STYLES: dict[str, Style] = {
    "Proposed": Style(VERMILION, "o", "-", 3.0),
    "A3C": Style(BLUE, "s", "--", 2.8),
    "Distributed DQN": Style(GREEN, "^", "-.", 2.6),
    "Learned prices": Style(YELLOW, "*", (0, (8, 1)), 3.1),
    "Greedy": Style(ORANGE, "D", (0, (5, 1))),
    "APDI": Style(SKY, "v", (0, (3, 1, 1, 1, 1, 1))),
    "RPDI": Style(PURPLE, "X", ":"),
    "Optimal": Style(BLACK, "", (0, (4, 2)), 3.2),
    "Myopic": Style(BLACK, "", (0, (4, 2)), 3.2),
    "Look-ahead": Style("0.2", "", "-", 1.5),
    "Drift-plus-penalty": Style("0.3", "", (0, (3, 1, 1, 1)), 1.5),
    "Earliest finish": Style("0.2", "", (0, (8, 2)), 1.6),
    "Best constant plan": Style("0.4", "", (0, (8, 2, 1, 2, 1, 2)), 1.6),
    "Single cut": Style("0.35", "", (0, (1, 1)), 1.5),
    "One ES": Style("0.5", "", (0, (6, 2, 1, 2)), 1.5),
    "Local only": Style("0.65", "", (0, (2, 2)), 1.5),
}
#: The methods that are drawn as lines without markers and intervals: what others are measured against.
REFERENCE_LINES = tuple(method for method, style in STYLES.items() if not style.marker)

# Methods and settings of one's own: colours that are free, and markers that no method of the package has.
_OWN_COLORS = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY)
_OWN_MARKERS = ("P", "h", "<", ">", "p", "d")
_SETTING_MARKERS = ("o", "s", "^", "D", "v", "X")
_LINES = ("-", "--", "-.", ":")


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """The style of each method, in drawing order.

    Methods of one's own have a marker each, in the colours that the others leave, else in black. Where there is no
    known method at all the names are settings of one method, each in a colour.
    """
    present = list(dict.fromkeys(methods))
    own = [method for method in present if method not in STYLES]
    known = {method: STYLES[method] for method in STYLES if method in present}
    taken = {to_hex(style.color) for style in known.values()}
    colors: Sequence[Any] = [color for color in _OWN_COLORS if to_hex(color) not in taken] or [BLACK]
    markers = _OWN_MARKERS if known else (*_SETTING_MARKERS, *_OWN_MARKERS)
    for at, method in enumerate(own):
        line = _LINES[(at + at // len(markers)) % len(_LINES)]
        known[method] = Style(colors[at % len(colors)], markers[at % len(markers)], line, 3.1 - at / 100)
    return known
