"""A plan as a Gantt picture: when each node receives, waits for and computes which block, and what that adds up to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mecpart.delay import PlanCost, checked_plan, plan_cost, queue_delay, return_delay, transmission_delay
from mecpart.plots import COLUMN_WIDTH, STYLE
from mecpart.scenario import Scenario, Slot, check_slot
from mecpart.tables import format_number

_BLACK, _ORANGE, _SKY, _GREEN, _YELLOW, _BLUE, _VERMILION, _PURPLE = plt.color_sequences["okabe_ito"]

# What a bar stands for, and how it looks: in grey they differ by lightness or hatching.
_LOOKS: dict[str, tuple[str, dict]] = {
    "transmission": ("on its way to the node", {"facecolor": "white", "edgecolor": _GREEN, "hatch": "//////"}),
    "waiting": ("waiting for the node", {"facecolor": "white", "edgecolor": "0.3", "hatch": "....."}),
    "on devices": ("computed on the devices", {"facecolor": _ORANGE, "edgecolor": "0.15"}),
    "on servers": ("computed on an edge server", {"facecolor": _BLUE, "edgecolor": "white"}),
    "backlog": ("work left from earlier slots", {"facecolor": "0.82", "edgecolor": "0.6"}),
    "late": ("beyond the block's deadline", {"facecolor": _VERMILION, "edgecolor": "white", "hatch": "xxxxx"}),
    "odd": ("", {"facecolor": "0.95", "edgecolor": "0.5"}),
    "even": ("", {"facecolor": "0.88", "edgecolor": "0.5"}),
}
_PARTS = {
    "transmission": "transmission",
    "waiting": "waiting",
    "on devices": "computing on the devices",
    "on servers": "computing on edge servers",
}

# Inches. A panel's y axis is in inches too, so that labels can be fitted to bars without asking a renderer.
_LEFT, _RIGHT, _TITLE, _GAP, _AXIS, _LEGEND_ROW = 1.2, 0.15, 0.36, 0.1, 0.42, 0.17
_STRIP = 0.19  # the rows above and below the nodes: the delay of each block, and the sum
_LABEL = 6.5  # points


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
    its way (hatched), and its wait until the node is free (dotted). In `loaded` the result comes back to the devices
    in the same way. The strip above the nodes is the delay L_m of each block, with what is beyond its deadline marked;
    the strip below is the total delay as the sum of its parts. Labels that do not fit are left out.

    ```python
    mecpart.plot_plan(scenario, slot, {"mine": plan, "Optimal": mecpart.optimal_plan(scenario, slot).plan})
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
    times = {name: _compiled_times(scenario, slot, given) for name, given in plans.items()}
    with plt.style.context(STYLE):
        figure = plt.figure(layout="none")
        plt.close(figure)  # shown once in a notebook, and not kept
        draw_plans(figure, scenario, times)
    return figure


def draw_plans(figure: Figure, scenario: Scenario, times: Mapping[str, PlanTimes], until: float | None = None) -> None:
    """Draw plans on an empty figure, and give it the size for it; in the style that is in force.

    **Arguments:** `times`: by the plan's name, at least one; `until`: where the time axis ends, s.
    """
    times = {name: jax.tree.map(np.asarray, found) for name, found in times.items()}
    speed = np.asarray(scenario.network.speed)
    used = {int(node) for found in times.values() for node in found.plan}
    nodes = [node for node in range(len(speed)) if node == 0 or speed[node] > 0 or node in used]
    row = 0.3 if len(nodes) <= 7 else 0.25
    rows = len(nodes) * row
    bars = {name: _bars(found) for name, found in times.items()}
    last = list(times)[-1]
    if until is None:
        until = 1.09 * max((bar.end for found in bars.values() for bar in found if math.isfinite(bar.end)), default=0)
    until = until or 1.0
    queues = scenario.loaded or any((found.queue_delay > 0).any() for found in times.values())
    kinds = [kind for kind, (words, _) in _LOOKS.items() if words and (queues or kind not in ("waiting", "backlog"))]

    inner = _STRIP + rows + _STRIP
    legend = _LEGEND_ROW * math.ceil(len(kinds) / 3)
    height = len(times) * (_TITLE + inner) + (len(times) - 1) * _GAP + _AXIS + legend
    figure.set_size_inches(COLUMN_WIDTH, height)
    width = COLUMN_WIDTH - _LEFT - _RIGHT
    for at, (name, found) in enumerate(times.items()):
        bottom = height - (at + 1) * (_TITLE + inner) - at * _GAP
        place = (_LEFT / COLUMN_WIDTH, bottom / height, width / COLUMN_WIDTH, inner / height)
        panel = _Panel(figure.add_axes(place), nodes, row, until, width / until)
        panel.draw(bars[name], found, scenario)
        panel.label(speed, above=_words(name, found, last, times[last]), time_axis=at == len(times) - 1)
    handles = [Patch(label=_LOOKS[kind][0], linewidth=0.5, **_LOOKS[kind][1]) for kind in kinds]
    figure.legend(handles=handles, loc="lower center", ncols=3, borderpad=0, borderaxespad=0.2, labelspacing=0.3)


def _bars(times: PlanTimes) -> list[_Bar]:
    """What happens in a slot, in its order; what comes after something that never ends does not happen."""
    bars, now = [], 0.0

    def happen(kind: str, node: int, block: int, length: float) -> None:
        nonlocal now
        if length > 0 and math.isfinite(now):
            bars.append(_Bar(kind, node, block, now, float(length)))
        now += float(length)

    for m, node in enumerate(times.plan.tolist()):
        happen("transmission", node, m + 1, times.input_delay[m])
        happen("waiting", node, m + 1, times.cost.waiting_delay[m])
        happen("on servers" if node else "on devices", node, m + 1, times.cost.computation_delay[m])
    happen("transmission", 0, len(times.plan), times.return_delay)
    return bars


def _words(name: str, times: PlanTimes, last: str, reference: PlanTimes) -> tuple[str, str]:
    """The title of a panel: the plan's total delay, and its parts."""
    total, least = float(times.cost.total_delay), float(reference.cost.total_delay)
    title = f"{name}: {_seconds(total)}" if name else f"Total delay {_seconds(total)}"
    if name != last and 0 < least < math.inf:
        title += f", {format_number(round(total / least, 3))} times {last}"
    if math.isinf(total):
        return f"{name or 'This plan'} never ends", "a node that it uses has no speed, or a link no rate"
    parts = _sum_of(times)
    return title, "= " + " + ".join(f"{_seconds(length)} {_PARTS[kind]}" for kind, length in parts.items() if length)


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


@dataclass
class _Panel:
    """One plan on axes of its own; `scale` is in inches per second."""

    axes: Axes
    nodes: Sequence[int]
    row: float
    until: float
    scale: float

    def draw(self, bars: Sequence[_Bar], times: PlanTimes, scenario: Scenario) -> None:
        panel = self.axes
        below = _STRIP + len(self.nodes) * self.row
        self._rectangles("", [(0, self.until, *self._row(node)) for node in self.nodes[::2]], {"facecolor": "0.97"})
        self._delays(times, np.asarray(scenario.deadline))
        for kind in _LOOKS:
            lane = self._arriving if kind in ("transmission", "waiting") else self._computing
            self._kind(kind, [(bar.start, bar.length, *lane(bar.node)) for bar in bars if bar.kind == kind])
        self._backlogs(times.queue_delay)
        self._arrows(bars, times)
        self._names([bar for bar in bars if bar.kind in ("on devices", "on servers")], scenario.workload.block_names)

        at = 0.0
        for kind, length in _sum_of(times).items():
            if length > 0 and math.isfinite(at):
                self._kind(kind, [(at, length, below + 0.04, below + _STRIP - 0.02)], of_sum=True)
                at += length
        panel.axhline(_STRIP, color="0.6", linewidth=0.5)
        panel.axhline(below, color="0.6", linewidth=0.5)
        if math.isfinite(total := float(times.cost.total_delay)):
            panel.axvline(total, color="0.15", linewidth=1, linestyle=(0, (4, 2)))

    def label(self, speed: np.ndarray, above: tuple[str, str], time_axis: bool) -> None:
        panel = self.axes
        panel.set_xlim(0, self.until)
        panel.set_ylim(_STRIP + len(self.nodes) * self.row + _STRIP, 0)
        middle = [sum(self._row(node)) / 2 for node in self.nodes]
        names = [f"{f'ES {node}' if node else 'IoT devices'}, {speed[node] / 1e9:.3g} GHz" for node in self.nodes]
        below = _STRIP + len(self.nodes) * self.row
        panel.set_yticks([_STRIP / 2, *middle, below + _STRIP / 2], ["delay of block", *names, "in total"])
        panel.tick_params(axis="y", length=0)
        panel.tick_params(axis="x", labelbottom=time_axis)
        panel.grid(axis="y", visible=False)
        panel.spines["left"].set_visible(False)
        title, parts = above
        panel.set_title(title, pad=15)
        panel.annotate(parts, (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=7.5)
        if time_axis:
            panel.set_xlabel("time since the slot began [s]")

    def _row(self, node: int) -> tuple[float, float]:
        top = _STRIP + self.nodes.index(node) * self.row
        return top, top + self.row

    def _arriving(self, node: int) -> tuple[float, float]:
        top, bottom = self._row(node)
        return top + 0.02, top + 0.36 * (bottom - top)

    def _computing(self, node: int) -> tuple[float, float]:
        top, bottom = self._row(node)
        return top + 0.4 * (bottom - top), bottom - 0.02

    def _kind(self, kind: str, places: Sequence[tuple[float, float, float, float]], of_sum: bool = False) -> None:
        self._rectangles(f"{kind} in total" if of_sum else kind, places, _LOOKS[kind][1])

    def _rectangles(self, label: str, places: Sequence[tuple[float, float, float, float]], look: dict) -> None:
        """Rectangles of one look, from (start, length, top, bottom) each."""
        if not places:
            return
        corners = []
        for start, length, top, bottom in places:
            end = start + length if math.isfinite(length) else self.until
            corners.append([(start, top), (end, top), (end, bottom), (start, bottom)])
        self.axes.add_collection(PolyCollection(corners, linewidth=0.5, label=label, **look), autolim=False)

    def _delays(self, times: PlanTimes, deadline: np.ndarray) -> None:
        """The strip of the blocks' delays, with what is beyond a deadline."""
        delays = times.cost.block_delay.astype(float)
        ends = np.cumsum(delays)
        starts = np.concatenate([[0.0], ends[:-1]])
        shown = [m for m in range(len(delays)) if math.isfinite(starts[m]) and delays[m] > 0]
        deadline = np.broadcast_to(deadline, delays.shape).astype(float)
        for parity, kind in enumerate(("odd", "even")):
            self._kind(kind, [(starts[m], delays[m], 0.02, _STRIP - 0.04) for m in shown if m % 2 == parity])
        late = [m for m in shown if delays[m] > deadline[m]]
        places = [(starts[m] + deadline[m], delays[m] - deadline[m], 0.02, _STRIP - 0.04) for m in late]
        self._kind("late", places)
        for m in shown:
            self._text(str(m + 1), starts[m], min(ends[m], starts[m] + deadline[m], self.until), _STRIP / 2 - 0.01)

    def _backlogs(self, queue: np.ndarray) -> None:
        busy = [node for node in self.nodes if queue[node] > 0]
        self._kind("backlog", [(0.0, float(queue[node]), *self._computing(node)) for node in busy])
        for node in busy:
            words = f"busy for {_seconds(float(queue[node]))}"
            self._text(words, 0, min(float(queue[node]), self.until), sum(self._computing(node)) / 2)

    def _arrows(self, bars: Sequence[_Bar], times: PlanTimes) -> None:
        """From the node where a block ended to that of the next, at that time."""
        moves, node, now, ends = [], 0, 0.0, np.cumsum(times.cost.block_delay.astype(float))
        for m, destination in enumerate(times.plan.tolist()):
            if destination != node and math.isfinite(now):
                moves.append((now, node, destination))
            node, now = destination, float(ends[m])
        moves += [(bar.start, node, 0) for bar in bars[-1:] if bar.kind == "transmission" and node != bar.node]
        lines, heads = [], {"v": [], "^": []}
        for time, source, destination in moves:
            down = destination > source
            start, end = sum(self._computing(source)) / 2, self._arriving(destination)[0 if down else 1]
            lines.append([(time, start), (time, end)])
            heads["v" if down else "^"].append((time, end + (-0.03 if down else 0.03)))
        self.axes.add_collection(LineCollection(lines, color="0.15", linewidth=0.8), autolim=False)
        origins = [line[0] for line in lines]
        for marker, places in {**heads, "o": origins}.items():
            if places:
                look = {"color": "0.15", "markersize": 2 if marker == "o" else 3.5, "markeredgewidth": 0}
                self.axes.plot(*zip(*places, strict=True), marker, clip_on=False, zorder=4, **look)

    def _names(self, bars: Sequence[_Bar], block_names: Sequence[str]) -> None:
        """On each bar the number and name of its block or the number; above a run of bars too short for that, which."""
        runs: list[list[_Bar]] = []
        for bar in bars:
            if runs and runs[-1][-1].node == bar.node and runs[-1][-1].end == bar.start:
                runs[-1].append(bar)
            else:
                runs.append([bar])
        for run in runs:
            middle = sum(self._computing(run[0].node)) / 2
            color = "white" if run[0].kind == "on servers" else "black"
            fitted = [
                any(
                    self._text(words, bar.start, min(bar.end, self.until), middle, color)
                    for words in (f"{bar.block}: {block_names[bar.block - 1]}", str(bar.block))
                )
                for bar in run
            ]
            if not all(fitted) and len(run) > 1:
                top, bottom = self._arriving(run[0].node)
                words = f"{run[0].block}\N{EN DASH}{run[-1].block}"
                self._text(words, run[0].start, min(run[-1].end, self.until), (top + bottom) / 2)

    def _text(self, words: str, start: float, end: float, y: float, color: str = "black") -> bool:
        """Write in the middle between two times, if it fits there; returns whether it does."""
        needed = (0.6 * len(words) + 0.5) * _LABEL / 72
        if not (end - start) * self.scale >= needed:
            return False
        place = {"ha": "center", "va": "center_baseline", "fontsize": _LABEL, "color": color}
        self.axes.text((start + end) / 2, y, words, zorder=5, **place)
        return True
