"""A plan as a Gantt picture: when each node receives, waits for and computes which block, and what that adds up to."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D, Transform

from mecpart.figures.plots import COLUMN_WIDTH, STYLE
from mecpart.model.delay import PlanCost, checked_plan, plan_cost, queue_delay, return_delay, transmission_delay
from mecpart.model.scenario import Scenario, Slot, check_slot
from mecpart.tables import format_number

_BLACK, _ORANGE, _SKY, _GREEN, _YELLOW, _BLUE, _VERMILION, _PURPLE = plt.color_sequences["okabe_ito"]

# How a bar looks: in grey they differ by lightness or hatching.
_LOOKS: dict[str, dict[str, Any]] = {
    "transmission": {"facecolor": "white", "edgecolor": _GREEN, "hatch": "//////"},
    "waiting": {"facecolor": "white", "edgecolor": "0.3", "hatch": "|||||"},
    "on devices": {"facecolor": _ORANGE, "edgecolor": "0.15"},
    "on servers": {"facecolor": _BLUE, "edgecolor": "white"},
    "backlog": {"facecolor": "0.82", "edgecolor": "0.6"},
    "late": {"facecolor": _VERMILION, "edgecolor": "0.5"},
    "odd": {"facecolor": "0.95", "edgecolor": "0.5"},
    "even": {"facecolor": "0.88", "edgecolor": "0.5"},
}
# What the legend says of them.
_EXPLAINED = {
    "transmission": "on its way to the node",
    "waiting": "waiting for the node",
    "on devices": "computed on the devices",
    "on servers": "computed on an edge server",
    "backlog": "work left from earlier slots",
    "late": "beyond the block's deadline",
}
# What the total delay is the sum of, in words.
_PARTS = {
    "transmission": "transmission",
    "waiting": "waiting",
    "on devices": "computing on devices",
    "on servers": "computing on servers",
}

# Inches. A panel's y axis is in inches too, so that labels can be fitted to bars without asking a renderer.
_LEFT, _RIGHT, _TITLE, _GAP, _AXIS, _LEGEND_ROW = 1.2, 0.15, 0.36, 0.1, 0.42, 0.17
_STRIP = 0.19  # the rows above and below the nodes: the delay of each block, and the sum
_LABEL = 6.5  # points


_RESULT = 0  # what travels back, among the numbers of blocks


@dataclass(frozen=True)
class _Bar:
    """Something of block number `block` that lasts from `start` for `length`, s; infinite ones run to the edge."""

    kind: str
    node: int
    block: int
    start: float
    length: float

    @property
    def end(self) -> float:
        return self.start + self.length


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PlanTimes:
    """What a picture of a plan shows (a pytree; s).

    - `plan`, `cost`: [M] nodes, and their `PlanCost`.
    - `input_delay`: [M], to bring each block's input to its node.
    - `return_delay`: to bring the result back; with `input_delay` it makes the transmission of the cost.
    - `queue_delay`: [N + 1], until each node has worked off its backlog.
    """

    plan: Int[Array, " blocks"]
    cost: PlanCost
    input_delay: Float[Array, " blocks"]
    return_delay: Float[Array, ""]
    queue_delay: Float[Array, " nodes"]


def plan_times(scenario: Scenario, slot: Slot, plan: Int[Array, " blocks"]) -> PlanTimes:
    """The times of a plan that is known to be valid; a pure function, to be compiled by who calls it."""
    source = jnp.concatenate([jnp.zeros(1, plan.dtype), plan[:-1]])
    return PlanTimes(
        plan=plan,
        cost=plan_cost(scenario, slot, plan),
        input_delay=transmission_delay(scenario, slot, jnp.arange(scenario.num_blocks), source, plan),
        return_delay=return_delay(scenario, slot, plan[-1]),
        queue_delay=queue_delay(scenario, slot, jnp.arange(scenario.num_nodes)),
    )


_compiled_times = jax.jit(plan_times)


def plot_plan(
    scenario: Scenario, slot: Slot, plan: Int[Array, " blocks"] | Mapping[str, Int[Array, " blocks"]]
) -> Figure:
    """One slot under a plan as a Gantt picture: the nodes from top to bottom, time from left to right.

    Each node has two lanes. On the lower, wide one it computes: a bar for each block, grey for work left from earlier
    slots. On the upper one is what comes to it: an arrow from the node where the block before ran, the block's input on
    its way (hatched), and its wait until the node is free (upright lines). In `loaded` the result comes back to the
    devices in the same way. The strip above the nodes is the delay L_m of each block, with what is beyond its deadline
    marked; the strip below is the total delay as the sum of its parts. Labels that do not fit are left out.

    ```python
    best = mecpart.optimal_plan(scenario, slot)
    mecpart.plot_plan(scenario, slot, {"mine": plan, "best": best.plan})
    ```

    **Arguments:**

    - `slot`: from `sample_slot`.
    - `plan`: node of each block, [M] integers in 0..N. Or several plans by name: drawn one beneath the other on one
      time axis, each with its delay as a multiple of that of the last.

    **Returns:** a matplotlib figure as wide as a page of two columns. Servers that do not exist are left out; what
    never ends runs to the edge.

    **Raises:** `ValueError` as `evaluate_plan` does, and for a mapping that holds no plan.
    """
    plans = dict(plan) if isinstance(plan, Mapping) else {"": plan}
    if not plans:
        raise ValueError("plan must be a plan, or at least one by name; got {}")
    check_slot(scenario, slot)
    plans = {name: checked_plan(scenario, given) for name, given in plans.items()}
    times = {name: jax.tree.map(np.asarray, _compiled_times(scenario, slot, given)) for name, given in plans.items()}
    frame = Frame.around(scenario, times.values())
    with plt.style.context(STYLE):
        figure = plt.figure()
        plt.close(figure)  # shown once in a notebook, and not kept
        # Not `layout="none"`: a figure without any engine gets the style's when it is saved.
        figure.set_layout_engine("none")
        frame.draw(figure)
        draw_plans(figure, frame, scenario, times)
    return figure


@dataclass(frozen=True)
class Frame:
    """What stays on a picture while the plans on it change: rows, time axis and legend.

    - `panels`: how many plans there are, one beneath the other.
    - `nodes`: that have a row.
    - `until`: where the time axis ends, s.
    - `queues`: whether there may be any.
    """

    panels: int
    nodes: tuple[int, ...]
    until: float
    queues: bool

    @classmethod
    def around(cls, scenario: Scenario, times: Collection[PlanTimes]) -> "Frame":
        """The frame that fits some plans."""
        speed = np.asarray(scenario.network.speed)
        used = {node for found in times for node in found.plan.tolist()}
        ends = [bar.end for found in times for bar in _bars(found)]
        return cls(
            panels=len(times),
            nodes=tuple(node for node in range(len(speed)) if node == 0 or speed[node] > 0 or node in used),
            until=1.09 * max((end for end in ends if math.isfinite(end)), default=0.0) or 1.0,
            queues=scenario.rules.queues or any((found.queue_delay > 0).any() for found in times),
        )

    @property
    def row(self) -> float:
        """The height of the row of a node, inches."""
        return 0.3 if len(self.nodes) <= 7 else 0.25

    def draw(self, figure: Figure) -> None:
        """Draw it on an empty figure, which gets the size for it: with axes for each plan."""
        kinds = [kind for kind in _EXPLAINED if self.queues or kind not in ("waiting", "backlog")]
        inner = _STRIP + len(self.nodes) * self.row + _STRIP
        below = _AXIS + _LEGEND_ROW * math.ceil(len(kinds) / 3)
        height = self.panels * (_TITLE + inner) + (self.panels - 1) * _GAP + below
        width = COLUMN_WIDTH - _LEFT - _RIGHT
        figure.set_size_inches(COLUMN_WIDTH, height)
        for number in range(self.panels):
            bottom = height - (number + 1) * (_TITLE + inner) - number * _GAP
            panel = figure.add_axes(
                (_LEFT / COLUMN_WIDTH, bottom / height, width / COLUMN_WIDTH, inner / height),
                xlim=(0, self.until),
                ylim=(inner, 0),
            )
            panel.yaxis.set_visible(False)
            panel.spines["left"].set_visible(False)
            for every_other in range(0, len(self.nodes), 2):
                top = _STRIP + every_other * self.row
                panel.axhspan(top, top + self.row, facecolor="0.97", linewidth=0, zorder=0.1)
            for y in (_STRIP, inner - _STRIP):
                panel.axhline(y, color="0.6", linewidth=0.5)
            panel.tick_params(axis="x", labelbottom=number == self.panels - 1)
        panel.set_xlabel("time since the slot began [s]")
        handles = [Patch(label=_EXPLAINED[kind], linewidth=0.5, **_LOOKS[kind]) for kind in kinds]
        figure.legend(handles=handles, loc="lower center", ncols=3, borderpad=0, borderaxespad=0.2, labelspacing=0.3)


def draw_plans(
    figure: Figure, frame: Frame, scenario: Scenario, times: Mapping[str, PlanTimes]
) -> list[tuple[Axes, Artist]]:
    """Draw plans, by name, on a figure with a frame; returns what was drawn, and where."""
    last, reference = list(times.items())[-1]
    drawn: list[tuple[Axes, Artist]] = []
    for axes, (name, found) in zip(figure.axes, times.items(), strict=True):
        panel = _Panel(axes, frame, found, figure.dpi_scale_trans)
        panel.draw(scenario)
        panel.entitle(*_words(name, found, last, reference))
        drawn += [(axes, artist) for artist in panel.drawn]
    return drawn


def _bars(times: PlanTimes) -> list[_Bar]:
    """What happens in a slot, in its order; what comes after something that never ends does not happen."""
    bars, now = [], 0.0

    def happen(kind: str, node: int, block: int, length: float) -> None:
        nonlocal now
        if length > 0 and math.isfinite(now):
            bars.append(_Bar(kind, node, block, now, length))
        now += length

    lengths = zip(
        times.plan.tolist(),
        times.input_delay.tolist(),
        times.cost.waiting_delay.tolist(),
        times.cost.computation_delay.tolist(),
        strict=True,
    )
    for block, (node, transmission, waiting, computation) in enumerate(lengths, start=1):
        happen("transmission", node, block, transmission)
        happen("waiting", node, block, waiting)
        happen("on servers" if node else "on devices", node, block, computation)
    happen("transmission", 0, _RESULT, float(times.return_delay))
    return bars


def _words(name: str, times: PlanTimes, last: str, reference: PlanTimes) -> tuple[str, str]:
    """The title of a panel: the plan's total delay, and its parts."""
    total, least = float(times.cost.total_delay), float(reference.cost.total_delay)
    title = f"{_short(name)}: {_seconds(total)}" if name else f"Total delay {_seconds(total)}"
    if name != last and 0 < least < math.inf:
        ratio = format_number(round(total / least, 3))
        title += f", as {_short(last)}" if ratio == "1" else f", {ratio} times {_short(last)}"
    if math.isinf(total):
        return f"{_short(name) or 'This plan'} never ends", "a node that it uses has no speed, or a link no rate"
    parts = [(_PARTS[kind], length) for kind, length in _sum_of(times).items() if length]
    told = [f"{words} {_seconds(length)}" for words, length in parts]
    return title, " + ".join(told) if told else "there is nothing to do"


def _short(name: str) -> str:
    """A name of which a title of one line has room for two."""
    return name if len(name) <= 28 else f"{name[:27]}\N{HORIZONTAL ELLIPSIS}"


def _sum_of(times: PlanTimes) -> dict[str, float]:
    cost, local = times.cost, times.plan == 0
    lengths = (
        cost.transmission_delay.sum(),
        cost.waiting_delay.sum(),
        cost.computation_delay[local].sum(),
        cost.computation_delay[~local].sum(),
    )
    return dict(zip(_PARTS, map(float, lengths), strict=True))


def _seconds(value: float) -> str:
    return f"{format_number(value)} s"


class _Panel:
    """One plan on axes of its own."""

    def __init__(self, axes: Axes, frame: Frame, times: PlanTimes, inch: Transform):
        self.axes, self.frame, self.times = axes, frame, times
        self.points = Affine2D().scale(1 / 72) + inch
        self.drawn: list[Artist] = []
        self.bars = _bars(times)
        self.below = _STRIP + len(frame.nodes) * frame.row  # where the strip of the sum begins
        self.inches_per_second = (COLUMN_WIDTH - _LEFT - _RIGHT) / frame.until
        self.labels: dict[tuple[str, str], list[tuple[Path, tuple[float, float]]]] = {}  # by colour and halo

    def draw(self, scenario: Scenario) -> None:
        self._draw_delays(np.asarray(scenario.deadline, float))
        self._draw_backlogs()
        for kind in ("transmission", "waiting", "on devices", "on servers"):
            lane = self._arriving if kind in ("transmission", "waiting") else self._computing
            self._rectangles(kind, [(bar.start, bar.length, *lane(bar.node)) for bar in self.bars if bar.kind == kind])
        self._draw_moves()
        self._draw_sum()
        self._name_blocks(scenario.workload.block_names)
        self._name_rows(np.asarray(scenario.network.speed))
        for (color, halo), labels in self.labels.items():
            glyphs, places = zip(*labels, strict=True)
            looks: list[dict[str, Any]] = [{"facecolor": color, "linewidth": 0, "zorder": 5}]
            if halo:
                looks.append({"edgecolor": halo, "linewidth": 2.5, "zorder": 4.5})
            for look in looks:
                text = PathCollection(
                    glyphs, offsets=places, offset_transform=self.axes.transData, clip_on=False, **look
                )
                text.set_transform(self.points)
                self._add(text)

    def entitle(self, title: str, parts: str) -> None:
        place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "parse_math": False}
        self.drawn.append(self.axes.annotate(title, (0, 1), (0, 15), fontsize=8.5, weight="bold", **place))
        self.drawn.append(self.axes.annotate(parts, (0, 1), (0, 4), fontsize=7.5, **place))

    # Where things are: (top, bottom) in inches

    def _row(self, node: int) -> tuple[float, float]:
        top = _STRIP + self.frame.nodes.index(node) * self.frame.row
        return top, top + self.frame.row

    def _arriving(self, node: int) -> tuple[float, float]:
        top, bottom = self._row(node)
        return top + 0.02, top + 0.36 * (bottom - top)

    def _computing(self, node: int) -> tuple[float, float]:
        top, bottom = self._row(node)
        return top + 0.4 * (bottom - top), bottom - 0.02

    # What is drawn

    def _draw_delays(self, deadline: np.ndarray) -> None:
        """The strip of the blocks' delays, with what is beyond a deadline."""
        delays = np.asarray(self.times.cost.block_delay, float)
        deadline = np.broadcast_to(deadline, delays.shape)
        ends = np.cumsum(delays)
        starts = np.concatenate([[0.0], ends[:-1]])
        shown = [m for m in range(len(delays)) if math.isfinite(starts[m]) and delays[m] > 0]
        late = [m for m in shown if delays[m] > deadline[m]]
        strip = 0.02, _STRIP - 0.04
        for parity, kind in enumerate(("odd", "even")):
            self._rectangles(kind, [(starts[m], delays[m], *strip) for m in shown if m % 2 == parity])
        self._rectangles("late", [(starts[m] + deadline[m], delays[m] - deadline[m], *strip) for m in late])
        for m in shown:
            until = starts[m] + min(delays[m], deadline[m])
            self._write(str(m + 1), starts[m], until, strip)
            if m in late and math.isfinite(delays[m]):
                self._write(f"+{_seconds(delays[m] - deadline[m])}", until, ends[m], strip, "white")

    def _draw_backlogs(self) -> None:
        queue = np.asarray(self.times.queue_delay, float)
        busy = [node for node in self.frame.nodes if queue[node] > 0]
        self._rectangles("backlog", [(0.0, queue[node], *self._computing(node)) for node in busy])
        for node in busy:
            words = f"busy for {_seconds(queue[node])}"
            self._write(words, 0.0, queue[node], self._computing(node), align="left", halo="0.82")

    def _draw_moves(self) -> None:
        """Arrows from the node where a block ended to that of the next one, at that time."""
        moves, node, now = [], 0, 0.0
        for destination, delay in zip(self.times.plan.tolist(), self.times.cost.block_delay.tolist(), strict=True):
            if destination != node and math.isfinite(now):
                moves.append((now, node, destination))
            node, now = destination, now + delay
        moves += [(bar.start, node, 0) for bar in self.bars if bar.block == _RESULT]
        lines: list[list[tuple[float, float]]] = []
        heads: dict[str, list[tuple[float, float]]] = {"v": [], "^": []}
        for time, source, destination in moves:
            down = destination > source
            end = self._arriving(destination)[0 if down else 1]
            lines.append([(time, sum(self._computing(source)) / 2), (time, end)])
            heads["v" if down else "^"].append((time, end + (-0.03 if down else 0.03)))
        look: dict[str, Any] = {"color": "0.15", "clip_on": False, "zorder": 4}
        self._add(LineCollection(lines, linewidth=0.8, **look))
        for marker, places in {**heads, "o": [line[0] for line in lines]}.items():
            if places:
                size = 2 if marker == "o" else 3.5
                x, y = zip(*places, strict=True)
                self.drawn += self.axes.plot(x, y, marker, markersize=size, markeredgewidth=0, **look)

    def _draw_sum(self) -> None:
        at, strip = 0.0, (self.below + 0.04, self.below + _STRIP - 0.02)
        for kind, length in _sum_of(self.times).items():
            if length > 0 and math.isfinite(at):
                self._rectangles(kind, [(at, length, *strip)], "in total")
                at += length
        if math.isfinite(at):
            end = self.axes.axvline(at, color="0.15", linewidth=1, linestyle=(0, (4, 2)), zorder=0.9)
            self.drawn.append(end)
            self._write(_seconds(at), at, self.frame.until, strip, align="left")

    def _name_blocks(self, block_names: Sequence[str]) -> None:
        """Number and name on each bar, or the number; above a row of bars too short for it, which blocks these are."""
        rows: list[list[_Bar]] = []
        for bar in self.bars:
            if bar.kind not in ("on devices", "on servers"):
                continue
            if rows and rows[-1][-1].node == bar.node and rows[-1][-1].end == bar.start:
                rows[-1].append(bar)
            else:
                rows.append([bar])
        for row in rows:
            lane, color = self._computing(row[0].node), "white" if row[0].node else "black"
            named = [
                any(
                    self._write(words, bar.start, bar.end, lane, color)
                    for words in (f"{bar.block}: {block_names[bar.block - 1]}", str(bar.block))
                )
                for bar in row
            ]
            if len(row) > 1 and not all(named):
                words = f"{row[0].block}\N{EN DASH}{row[-1].block}"
                self._write(words, row[0].start, row[-1].end, self._arriving(row[0].node))

    def _name_rows(self, speed: np.ndarray) -> None:
        rows = {"delay of block": (0.0, _STRIP), "in total": (self.below, self.below + _STRIP)}
        for node in self.frame.nodes:
            rows[f"{f'ES {node}' if node else 'IoT devices'}, {speed[node] / 1e9:.3g} GHz"] = self._row(node)
        left, right = -_LEFT / self.inches_per_second, -0.03 / self.inches_per_second
        for name, place in rows.items():
            self._write(name, left, right, place, "0.13", align="right", size=7.5)

    # How it is drawn

    def _rectangles(self, kind: str, places: Sequence[tuple[float, float, float, float]], part: str = "") -> None:
        """Rectangles of one look, from (start, length, top, bottom) each."""
        if not places:
            return
        corners = []
        for start, length, top, bottom in places:
            end = start + length if math.isfinite(length) else self.frame.until
            corners.append([(start, top), (end, top), (end, bottom), (start, bottom)])
        label = f"{kind} {part}".strip()
        self._add(PolyCollection(corners, linewidth=0.5, label=label, **_LOOKS[kind]))

    def _add(self, collection: LineCollection | PathCollection | PolyCollection) -> None:
        self.drawn.append(self.axes.add_collection(collection, autolim=False))

    def _write(
        self,
        words: str,
        start: float,
        end: float,
        place: tuple[float, float],
        color: str = "black",
        align: str = "center",
        size: float = _LABEL,
        halo: str = "",
    ) -> bool:
        """Write between two times, if it fits there; returns whether it does. A halo keeps lines away from it."""
        end = min(end, self.frame.until)
        glyphs, width = _glyphs(words, size, align)
        margin = 0.25 * size / 72 / self.inches_per_second
        if not (end - start) - 2 * margin >= width / 72 / self.inches_per_second:
            return False
        x = {"left": start + margin, "center": (start + end) / 2, "right": end - margin}[align]
        self.labels.setdefault((color, halo), []).append((glyphs, (x, sum(place) / 2)))
        return True


@lru_cache(maxsize=4096)
def _glyphs(words: str, size: float, align: str) -> tuple[Path, float]:
    """Words as a path in points around the place where they go, and their width.

    As texts they would take ten times as long to draw, and their width would only be known when they are.
    """
    path = TextPath((0, 0), words.replace("$", r"\$"), size=size, prop=FontProperties(family="DejaVu Sans"))
    width = path.get_extents().x1
    left = {"left": 0.0, "center": -width / 2, "right": -width}[align]
    return Path(path.vertices + np.array([left, -0.36 * size]), path.codes), width
