"""The headline: reductions of delay against each baseline, beside the paper's curves and its abstract."""

import math
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from mecpart.comparison import METRIC_WORDS
from mecpart.comparison.curves import require
from mecpart.comparison.headline import main_figures
from mecpart.comparison.words import three_digits
from mecpart.figures.axes import panels, row_names
from mecpart.figures.style import BLACK, BLUE, STYLE, VERMILION

_MARKERS = {"mean of ratios": "o", "ratio of means": "s"}
_OFFSETS = {"mean of ratios": 0.17, "ratio of means": -0.17}  # rows
_LEAST_DRAWN = -150.0  # percent; a reduction has no lower bound where a baseline's delay is almost zero
_NAMES = {
    "learned": "learned (mean)",
    "best learned": "better learned at each x",
    "all": "all five (mean)",
    "best": "best at each x",
}


def plot_headline(measured: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Reductions against each baseline, averaged in both ways, beside the paper's curves and its abstract.

    **Arguments:**

    - `measured`: `headline_table` of results in one scenario.
    - `published`: `headline_table` of the paper's curves of the same figures.

    **Returns:** one panel each for total, edge and local delay: ours (filled, with intervals), the same
    arithmetic on the paper's curves (open), what the exact optimum would have had (bars), the abstract's
    percentage (line). Undefined reductions are marked so.

    **Raises:** `ValueError` if a table lacks a column, or `measured` mixes scenarios.
    """
    columns = ("scenario", "figure", "metric", "baseline", "averaging", "reduction_percent")
    require(measured, (*columns, "abstract_percent", "attainable_percent", "low", "high"), "measured")
    require(published, columns, "published")
    if measured["scenario"].nunique() != 1:
        raise ValueError(f"measured must be of one scenario; got {', '.join(measured['scenario'].unique())}")
    ours, theirs = main_figures(measured), main_figures(published)
    rows = list(dict.fromkeys(ours["baseline"]))[::-1]
    with plt.style.context(STYLE):
        figure, axes = panels(1, 3, 3.9, sharey=True)
        for panel, metric in zip(axes[0], dict.fromkeys(ours["metric"]), strict=True):
            panel.axvline(0, color="0.3", linewidth=0.8)
            stated = ours.loc[ours["metric"] == metric, "abstract_percent"].iloc[0]
            panel.axvline(stated, color=BLACK, linestyle=(0, (4, 2)), linewidth=1)
            for table, filled in ((theirs, False), (ours, True)):
                for row in table[(table["metric"] == metric) & table["baseline"].isin(rows)].itertuples():
                    _draw_reduction(panel, row, rows.index(row.baseline) + _OFFSETS[row.averaging], filled)
            panel.set_title(f"{METRIC_WORDS[metric].capitalize()}, stated {stated:g} %")
            if panel.texts:  # room for what is written at the left edge
                left, right = panel.get_xlim()
                panel.set_xlim(left - 0.32 * (right - left), right)
            panel.set_xlabel("reduction [%]")
            panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes[0, 0].set_yticks(range(len(rows)), row_names(_NAMES.get(row, row) for row in rows), parse_math=False)
        axes[0, 0].set_ylim(-0.6, len(rows) - 0.4)
        _legend(figure, ours)
    return figure


def _draw_reduction(panel: Axes, row: Any, y: float, filled: bool) -> None:
    """One reduction; what is undefined, or too far off to draw to scale, is written at the left edge."""
    marker = _MARKERS[row.averaging]
    if not row.reduction_percent >= _LEAST_DRAWN:
        if filled:
            undefined = math.isnan(row.reduction_percent)
            shown = three_digits(row.reduction_percent).replace("-", "\N{MINUS SIGN}")
            text = "undefined" if undefined else f"\N{LEFTWARDS ARROW} {shown} %"
            place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center"}
            panel.annotate(text, (0.02, y), **place, fontsize=6, color="0.45" if undefined else VERMILION)
        return
    if not filled:
        panel.plot(row.reduction_percent, y, marker=marker, color=BLUE, mfc="none", linestyle="", zorder=2)
        return
    if math.isfinite(row.low):
        ends = [max(row.low, _LEAST_DRAWN), row.high]
        panel.plot(ends, [y, y], color=VERMILION, linewidth=2.2, alpha=0.5, solid_capstyle="butt")
    panel.plot(row.reduction_percent, y, marker=marker, color=VERMILION, linestyle="", zorder=3)
    if math.isfinite(row.attainable_percent):
        panel.plot(row.attainable_percent, y, marker="|", color=BLACK, markersize=7, linestyle="", zorder=4)


def _legend(figure: Figure, ours: pd.DataFrame) -> None:
    def sample(label: str, **look: Any) -> Line2D:
        return Line2D([], [], label=label, **({"linestyle": ""} | look))

    handles = [
        *(sample(f"reproduced, {way}", marker=marker, color=VERMILION) for way, marker in _MARKERS.items()),
        *(sample(f"paper's curves, {way}", marker=marker, color=BLUE, mfc="none") for way, marker in _MARKERS.items()),
        sample("stated in the abstract", color=BLACK, linestyle=(0, (4, 2)), linewidth=1),
    ]
    if ours["attainable_percent"].notna().any():
        handles.append(sample("the exact optimum or bound", marker="|", color=BLACK, markersize=7))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
