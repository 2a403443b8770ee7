"""What stays on the picture of a slot while the plans on it change: rows of nodes, time axis and legend."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from mecpart.figures.plans.times import FIRST_TASKS, PlanTimes, bars_of
from mecpart.figures.style import BLACK, BLUE, COLUMN_WIDTH, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW
from mecpart.model.scenario import Scenario

# How a bar looks: in grey they differ by lightness or hatching.
LOOKS: dict[str, dict[str, Any]] = {
    "transmission": {"facecolor": "white", "edgecolor": GREEN, "hatch": "//////"},
    "waiting": {"facecolor": "white", "edgecolor": "0.3", "hatch": "|||||"},
    "on devices": {"facecolor": ORANGE, "edgecolor": "0.15"},
    "on servers": {"facecolor": BLUE, "edgecolor": "white"},
    "backlog": {"facecolor": "0.82", "edgecolor": "0.6"},
    "late": {"facecolor": VERMILION, "edgecolor": "0.5"},
    "odd": {"facecolor": "0.95", "edgecolor": "0.5"},
    "even": {"facecolor": "0.88", "edgecolor": "0.5"},
    # The lines of single devices are too thin for edges.
    **{
        f"task {task}": {"facecolor": color, "edgecolor": "none"}
        for task, color in enumerate((BLACK, SKY, PURPLE, YELLOW), start=1)
    },
    "even task": {"facecolor": "0.65", "edgecolor": "none"},
    "odd task": {"facecolor": "0.8", "edgecolor": "none"},
}
# What the legend says of them.
_EXPLAINED = {
    "transmission": "on its way to the node",
    "waiting": "waiting for the node",
    "on devices": "computed on the devices",
    "on servers": "computed on an edge server",
    "backlog": "work left from earlier slots",
    "late": "beyond the block's deadline",
    **{f"task {task}": f"task {task}" for task in range(1, FIRST_TASKS + 1)},
    "even task": "another task",
}
_OF_QUEUES = ("waiting", "backlog")
_OF_STREAMS = ("waiting", *(kind for kind in _EXPLAINED if "task" in kind))

# Inches. A panel's y axis is in inches too, so that labels can be fitted to bars without asking a renderer.
LEFT, RIGHT = 1.2, 0.15
STRIP = 0.19  # the rows above and below the nodes: the delay of each block, and the sum
WIDTH = COLUMN_WIDTH - LEFT - RIGHT
_TITLE, _GAP, _AXIS, _LEGEND_ROW = 0.36, 0.1, 0.42, 0.17


@dataclass(frozen=True)
class Frame:
    """What stays on a picture while the plans on it change: rows, time axis and legend.

    - `panels`: how many plans there are, one beneath the other.
    - `nodes`: that have a row.
    - `until`: where the time axis ends, s.
    - `kinds`: of bars that there may be, for the legend.
    """

    panels: int
    nodes: tuple[int, ...]
    until: float
    kinds: tuple[str, ...]

    @classmethod
    def around(cls, scenario: Scenario, times: Collection[PlanTimes]) -> "Frame":
        """The frame that fits some plans."""
        speed = np.asarray(scenario.network.speed)
        used = {node for found in times for node in found.plan.tolist()}
        ends = [bar.end for found in times for bar in bars_of(found)] + [found.total_delay for found in times]
        queues = scenario.rules.queues or any((found.queue_delay > 0).any() for found in times)
        there = (_OF_QUEUES if queues else ()) + (_OF_STREAMS if scenario.rules.streams else ())
        return cls(
            panels=len(times),
            nodes=tuple(node for node in range(len(speed)) if node == 0 or speed[node] > 0 or node in used),
            until=1.09 * max((end for end in ends if math.isfinite(end)), default=0.0) or 1.0,
            kinds=tuple(kind for kind in _EXPLAINED if kind in there or kind not in (*_OF_QUEUES, *_OF_STREAMS)),
        )

    @property
    def row_height(self) -> float:
        """Of the row of a node, inches."""
        return 0.3 if len(self.nodes) <= 7 else 0.25

    @property
    def below(self) -> float:
        """Where the strip of the sum begins, below the nodes."""
        return STRIP + len(self.nodes) * self.row_height

    # Where things of a node are: (top, bottom), inches

    def row(self, node: int) -> tuple[float, float]:
        """All of them."""
        top = STRIP + self.nodes.index(node) * self.row_height
        return top, top + self.row_height

    def arriving(self, node: int, line: tuple[int, int] = (0, 1)) -> tuple[float, float]:
        """What is on its way to it, or waits for it; `line`: which of how many lines."""
        top, bottom = self.row(node)
        return _line(top + 0.02, top + 0.36 * (bottom - top), *line)

    def computing(self, node: int, line: tuple[int, int] = (0, 1)) -> tuple[float, float]:
        """What it computes; `line`: which of how many lines."""
        top, bottom = self.row(node)
        return _line(top + 0.4 * (bottom - top), bottom - 0.02, *line)

    def draw(self, figure: Figure) -> None:
        """Draw it on an empty figure, which gets the size for it: with axes for each plan."""
        inner = self.below + STRIP
        below = _AXIS + _LEGEND_ROW * math.ceil(len(self.kinds) / 3)
        height = self.panels * (_TITLE + inner) + (self.panels - 1) * _GAP + below
        figure.set_size_inches(COLUMN_WIDTH, height)
        # What crops to a tight box, as notebooks do, does not see collections of glyphs: so it leaves the page whole.
        figure.add_artist(Rectangle((0, 0), 1, 1, fill=False, linewidth=0))
        for number in range(self.panels):
            bottom = height - (number + 1) * (_TITLE + inner) - number * _GAP
            panel = figure.add_axes(
                (LEFT / COLUMN_WIDTH, bottom / height, WIDTH / COLUMN_WIDTH, inner / height),
                xlim=(0, self.until),
                ylim=(inner, 0),
            )
            panel.yaxis.set_visible(False)
            panel.spines["left"].set_visible(False)
            for every_other in self.nodes[::2]:
                panel.axhspan(*self.row(every_other), facecolor="0.97", linewidth=0, zorder=0.1)
            for y in (STRIP, self.below):
                panel.axhline(y, color="0.6", linewidth=0.5)
            panel.tick_params(axis="x", labelbottom=number == self.panels - 1)
        panel.set_xlabel("time since the slot began [s]")
        handles = [Patch(label=_EXPLAINED[kind], linewidth=0.5, **LOOKS[kind]) for kind in self.kinds]
        figure.legend(handles=handles, loc="lower center", ncols=3, borderpad=0, borderaxespad=0.2, labelspacing=0.3)


def _line(top: float, bottom: float, which: int, count: int) -> tuple[float, float]:
    height = (bottom - top) / count
    return top + which * height, top + (which + 1) * height
