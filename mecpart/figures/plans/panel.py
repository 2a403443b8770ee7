"""One plan as a Gantt picture, on axes of a frame: bars, moves between nodes, delays of blocks, and the sum."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D, Transform

from mecpart.figures.plans.frame import LEFT, LOOKS, STRIP, WIDTH, Frame
from mecpart.figures.plans.times import Bar, PlanTimes, bars_of, moves_of
from mecpart.model.scenario import Scenario
from mecpart.tables import format_number

_LABEL = 6.5  # points


class Panel:
    """One plan on axes of its own."""

    def __init__(self, axes: Axes, frame: Frame, times: PlanTimes, inch: Transform):
        self.axes, self.frame, self.times = axes, frame, times
        self.points = Affine2D().scale(1 / 72) + inch
        self.drawn: list[Artist] = []
        self.bars = bars_of(times)
        self.inches_per_second = WIDTH / frame.until
        self.labels: dict[tuple[str, str], list[tuple[Path, tuple[float, float]]]] = {}  # by colour and halo

    def draw(self, scenario: Scenario) -> None:
        self._draw_delays(np.asarray(scenario.deadline, float))
        self._draw_backlogs()
        for kind in LOOKS:
            self._rectangles(kind, [(bar.start, bar.length, *self._lane(bar)) for bar in self.bars if bar.kind == kind])
        self._draw_moves()
        self._draw_sum()
        self._name_blocks(scenario.workload.block_names)
        self._name_rows(scenario)
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

    # What is drawn

    def _lane(self, bar: Bar) -> tuple[float, float]:
        lane = self.frame.arriving if bar.arriving else self.frame.computing
        return lane(bar.node, bar.line)

    def _draw_delays(self, deadline: np.ndarray) -> None:
        """The strip of the blocks' delays, with what is beyond a deadline."""
        delays = np.asarray(self.times.cost.block_delay, float)
        deadline = np.broadcast_to(deadline, delays.shape)
        ends = np.cumsum(delays)
        starts = np.concatenate([[0.0], ends[:-1]])
        shown = [m for m in range(len(delays)) if math.isfinite(starts[m]) and delays[m] > 0]
        late = [m for m in shown if delays[m] > deadline[m]]
        strip = 0.02, STRIP - 0.04
        for parity, kind in enumerate(("odd", "even")):
            self._rectangles(kind, [(starts[m], delays[m], *strip) for m in shown if m % 2 == parity])
        self._rectangles("late", [(starts[m] + deadline[m], delays[m] - deadline[m], *strip) for m in late])
        for m in shown:
            until = starts[m] + min(delays[m], deadline[m])
            self._write(str(m + 1), starts[m], until, strip)
            if m in late and math.isfinite(delays[m]):
                self._write(f"+{seconds(delays[m] - deadline[m])}", until, ends[m], strip, "white")

    def _draw_backlogs(self) -> None:
        queue = np.asarray(self.times.queue_delay, float)
        busy = [node for node in self.frame.nodes if queue[node] > 0]
        self._rectangles("backlog", [(0.0, queue[node], *self.frame.computing(node)) for node in busy])
        for node in busy:
            words = f"busy for {seconds(queue[node])}"
            self._write(words, 0.0, queue[node], self.frame.computing(node), align="left", halo="0.82")

    def _draw_moves(self) -> None:
        """Arrows from the node where a block ended to that of the next one, at that time."""
        lines: list[list[tuple[float, float]]] = []
        heads: dict[str, list[tuple[float, float]]] = {"v": [], "^": []}
        for time, source, destination in moves_of(self.times):
            down = destination > source
            end = self.frame.arriving(destination)[0 if down else 1]
            lines.append([(time, sum(self.frame.computing(source)) / 2), (time, end)])
            heads["v" if down else "^"].append((time, end + (-0.03 if down else 0.03)))
        look: dict[str, Any] = {"color": "0.15", "clip_on": False, "zorder": 4}
        self._add(LineCollection(lines, linewidth=0.8, **look))
        for marker, places in {**heads, "o": [line[0] for line in lines]}.items():
            if places:
                size = 2 if marker == "o" else 3.5
                x, y = zip(*places, strict=True)
                self.drawn += self.axes.plot(x, y, marker, markersize=size, markeredgewidth=0, **look)

    def _draw_sum(self) -> None:
        at, strip = 0.0, (self.frame.below + 0.04, self.frame.below + STRIP - 0.02)
        for kind, length in self.times.parts.items():
            if length > 0 and math.isfinite(at):
                self._rectangles(kind, [(at, length, *strip)], "in total")
                at += length
        if math.isfinite(at):
            end = self.axes.axvline(at, color="0.15", linewidth=1, linestyle=(0, (4, 2)), zorder=0.9)
            self.drawn.append(end)
            self._write(seconds(at), at, self.frame.until, strip, align="left")

    def _name_blocks(self, block_names: Sequence[str]) -> None:
        """Number and name on each bar, or the number; above a row of bars too short for it, which blocks these are."""
        rows: list[list[Bar]] = []
        for bar in self.bars:
            if bar.kind not in ("on devices", "on servers"):
                continue
            if rows and rows[-1][-1].node == bar.node and rows[-1][-1].end == bar.start:
                rows[-1].append(bar)
            else:
                rows.append([bar])
        for row in rows:
            lane, color = self.frame.computing(row[0].node), "white" if row[0].node else "black"
            named = [
                any(
                    self._write(words, bar.start, bar.end, lane, color)
                    for words in (f"{bar.block}: {block_names[bar.block - 1]}", str(bar.block))
                )
                for bar in row
            ]
            if len(row) > 1 and not all(named):
                words = f"{row[0].block}\N{EN DASH}{row[-1].block}"
                self._write(words, row[0].start, row[-1].end, self.frame.arriving(row[0].node))

    def _name_rows(self, scenario: Scenario) -> None:
        speed = np.asarray(scenario.network.speed)
        measured = scenario.times.names if scenario.times is not None else ("",) * len(speed)
        rows = {"delay of block": (0.0, STRIP), "in total": (self.frame.below, self.frame.below + STRIP)}
        for node in self.frame.nodes:
            name = f"{f'ES {node}' if node else 'IoT devices'}, {speed[node] / 1e9:.3g} GHz"
            rows[measured[node] or name] = self.frame.row(node)
        left, right = -LEFT / self.inches_per_second, -0.03 / self.inches_per_second
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
        self._add(PolyCollection(corners, linewidth=0.5, label=label, **LOOKS[kind]))

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


def seconds(value: float) -> str:
    """A time as it is written on the picture."""
    return f"{format_number(value)} s"
