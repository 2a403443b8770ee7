"""How figures look: one style for each method, and the paper's values beside ours.

Bands and bars are 95 % bootstrap intervals over seeds (see `mecpart.comparison`); reference lines have
none. Published values are drawn in the same colours, always in panels or with markers of their own, never
as lines among ours.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from mecpart.comparison import METRIC_WORDS, as_curves, bootstrap_interval, relative_delays, summary
from mecpart.experiments import EXPERIMENTS
from mecpart.files import write_atomically
from mecpart.tables import heading

STYLE = "mecpart.mecpart"
COLUMN_WIDTH = 7.16  # inches; the text width of a two-column IEEE page
LOG_ABOVE = 20.0  # a value above this multiple of the median means that some method overloads a node

_BLACK, _ORANGE, _SKY, _GREEN, _YELLOW, _BLUE, _VERMILION, _PURPLE = plt.color_sequences["okabe_ito"]


@dataclass(frozen=True)
class Style:
    """How a method is drawn; reference lines have no marker."""

    color: Any  # of the types that matplotlib takes
    marker: str
    linestyle: Any
    zorder: float = 2.0


STYLES: dict[str, Style] = {
    "Proposed": Style(_VERMILION, "o", "-", 3.0),
    "A3C": Style(_BLUE, "s", "--", 2.8),
    "Distributed DQN": Style(_GREEN, "^", "-.", 2.6),
    "Learned prices": Style(_YELLOW, "*", (0, (8, 1)), 3.1),
    "Greedy": Style(_ORANGE, "D", (0, (5, 1))),
    "APDI": Style(_SKY, "v", (0, (3, 1, 1, 1, 1, 1))),
    "RPDI": Style(_PURPLE, "X", ":"),
    "Optimal": Style(_BLACK, "", (0, (4, 2)), 3.2),
    "Myopic": Style(_BLACK, "", (0, (4, 2)), 3.2),
    "Look-ahead": Style("0.2", "", "-", 1.5),
    "Drift-plus-penalty": Style("0.3", "", (0, (3, 1, 1, 1)), 1.5),
    "Single cut": Style("0.35", "", (0, (1, 1)), 1.5),
    "One ES": Style("0.5", "", (0, (6, 2, 1, 2)), 1.5),
    "Local only": Style("0.65", "", (0, (2, 2)), 1.5),
}
REFERENCE_LINES = tuple(method for method, style in STYLES.items() if not style.marker)
_OWN_MARKERS = ("P", "h", "<", ">", "p", "d")
_SETTINGS = (
    Style(_VERMILION, "o", "-", 3.0), Style(_BLUE, "s", "--", 2.8), Style(_GREEN, "^", "-.", 2.6),
    Style(_PURPLE, "D", ":", 2.4),
)  # fmt: skip


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """The style of each method, in drawing order; methods of one's own are black with a marker each.

    Where there is no known method at all the names are settings of one method, each in a colour.
    """
    present = list(dict.fromkeys(methods))
    own = [method for method in present if method not in STYLES]
    ours = {method: STYLES[method] for method in STYLES if method in present}
    if not ours:
        return {name: _SETTINGS[at % len(_SETTINGS)] for at, name in enumerate(own)}
    return ours | {
        method: Style(_BLACK, _OWN_MARKERS[at % len(_OWN_MARKERS)], "-", 3.1) for at, method in enumerate(own)
    }


def _legend(figure: Figure, drawn: dict[str, Style], extra: Sequence[Line2D] = ()) -> None:
    handles = [
        Line2D([], [], color=style.color, marker=style.marker, linestyle=style.linestyle, label=method)
        for method, style in drawn.items()
    ]
    handles += extra
    for columns in range(min(6, math.ceil(len(handles) / 2)), 0, -1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()  # too wide: the names at its ends would be cut off


def _panels(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure that is not kept by pyplot, so that it is shown once in a notebook and freed afterwards."""
    figure, axes = plt.subplots(rows, columns, figsize=(COLUMN_WIDTH, height), squeeze=False, **options)
    plt.close(figure)
    return figure, axes


def _log_where_overloaded(axes: Iterable[Axes], values: Iterable[float], axis: Literal["x", "y"] = "y") -> None:
    """A logarithmic axis if the largest magnitude is far above the median one; linear well below that median."""
    values = np.array([value for value in values if math.isfinite(value)])
    sizes = np.abs(values[values != 0])
    if not len(sizes) or sizes.max() <= LOG_ABOVE * (typical := np.median(sizes)):
        return
    for panel in axes:
        scale = panel.set_xscale if axis == "x" else panel.set_yscale
        if values.min() > typical / LOG_ABOVE:
            scale("log")
        else:
            scale("symlog", linthresh=10 ** math.floor(math.log10(typical / LOG_ABOVE)))


def _draw(
    axes: Axes, table: pd.DataFrame, columns: tuple[str, str | None, str | None], drawn: dict[str, Style]
) -> None:
    """One line per method, with its band where there is one."""
    middle, low, high = columns
    for method, style in drawn.items():
        line = table[table["method"] == method].sort_values("x")
        if line[middle].isna().all():
            continue
        axes.plot(
            line["x"],
            line[middle],
            color=style.color,
            marker=style.marker,
            linestyle=style.linestyle,
            zorder=style.zorder,
            markeredgecolor="white",
            markeredgewidth=0.5,
        )
        if low is not None and line[low].notna().any() and method not in REFERENCE_LINES:
            axes.fill_between(
                line["x"],
                line[low],
                line[high],
                color=style.color,
                alpha=0.13,
                linewidth=0,
                zorder=style.zorder - 1,
            )


def _x_axis(axes: Axes, results: pd.DataFrame, xs: Sequence[float] | np.ndarray) -> None:
    experiment = EXPERIMENTS.get(results["figure"].iloc[0])
    axes.set_xlabel(experiment.x_label if experiment else heading(results["x_name"].iloc[0]))
    if len(xs) <= 10:
        axes.set_xticks(sorted(xs))


def _thousands(axes: Axes, values: Iterable[float]) -> str:
    """Show thousands on a linear axis of large values; returns the prefix of the unit."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest < 1e4 or axes.get_yscale() != "linear":
        return ""
    axes.yaxis.set_major_formatter(lambda value, _: f"{value / 1e3:g}".replace("-", "\N{MINUS SIGN}"))
    return "1000 "


_UNIT = {"total_delay_s": "s", "edge_delay_s": "s", "local_delay_s": "s", "energy_j": "J"}


def plot_sweep(
    results: pd.DataFrame,
    published: pd.DataFrame,
    y: str | Sequence[str] = "total_delay_s",
    *,
    relative: bool = False,
    reference: str = "RPDI",
) -> Figure:
    """Ours on the left, the paper's on the right: each method along the sweep, a row of panels for each `y`.

    **Arguments:**

    - `results`: tidy results of one figure and scenario.
    - `published`: the paper's values of the same sweep.
    - `y`: one or more columns that both have.
    - `relative`: show each method as a share of `reference` at the same x, on one axis for both, rather
      than absolute values on axes of their own. Points whose reference is zero are left out.

    **Returns:** the figure; y is logarithmic where a value is more than 20 times the median, as when a method
    overloads a node.

    **Raises:** `ValueError` if `y` names a column that is not there, or `results` mixes figures or scenarios.
    """
    metrics = [y] if isinstance(y, str) else list(y)
    unknown = [metric for metric in metrics if metric not in _UNIT or metric not in results or metric not in published]
    if unknown or not metrics:
        known = [metric for metric in _UNIT if metric in results and metric in published]
        raise ValueError(f"y must be among {', '.join(known)}; got {', '.join(map(str, unknown)) or 'nothing'}")
    drawn = styles(results["method"])
    with plt.style.context(STYLE):
        figure, axes = _panels(len(metrics), 2, 0.75 + 1.95 * len(metrics), sharex="col")
        for row, metric in zip(axes, metrics, strict=True):
            if relative:
                _relative_row(row, results, published, metric, reference, drawn)
            else:
                _absolute_row(row, results, published, metric, drawn)
        for panel, table in zip(axes[-1], (results, published), strict=True):
            _x_axis(panel, results, np.unique(table["x"]))
        axes[0, 0].set_title(f"Reproduced ({_told(results)})")
        axes[0, 1].set_title("Published")
        _legend(figure, drawn)
    return figure


def _told(results: pd.DataFrame) -> str:
    seeds = results["seed"].nunique()
    return f"{results['scenario'].iloc[0]}, {seeds} seed{'s' if seeds > 1 else ''}"


def _absolute_row(
    row: Sequence[Axes], results: pd.DataFrame, published: pd.DataFrame, metric: str, drawn: dict[str, Style]
) -> None:
    ours = summary(results, [metric])
    for panel, table, columns in (
        (row[0], ours, ("mean", "mean_low", "mean_high")),
        (row[1], published, (metric, None, None)),
    ):
        _draw(panel, table, columns, drawn)
        _log_where_overloaded([panel], table[columns[0]])
        prefix = _thousands(panel, table[columns[0]])
        panel.set_ylabel(f"{METRIC_WORDS[metric]} [{prefix}{_UNIT[metric]}]")


def _relative_row(
    row: Sequence[Axes],
    results: pd.DataFrame,
    published: pd.DataFrame,
    metric: str,
    reference: str,
    drawn: dict[str, Style],
) -> None:
    ours = relative_delays(results, published, metric, reference)
    paper = as_curves(published, metric)
    theirs = published[["method", "x"]].copy()
    against = dict(zip(paper.xs, paper.of(reference)[0], strict=True))
    theirs["share"] = published[metric] / published["x"].map(against)
    _draw(row[0], ours, ("measured", "low", "high"), drawn)
    _draw(row[1], theirs, ("share", None, None), drawn)
    _log_where_overloaded(row, [*ours["measured"], *theirs["share"]])
    row[1].sharey(row[0])
    row[0].autoscale(axis="y")
    for panel in row:
        panel.set_ylabel(f"{METRIC_WORDS[metric]} / {reference}'s")


def plot_convergence(results: pd.DataFrame, published: pd.DataFrame, reference: str = "RPDI") -> Figure:
    """Learning curves, the paper's final levels, and both final levels as a share of the reference's.

    **Arguments:** results of a convergence experiment in one scenario, and the paper's final rewards.

    **Returns:** the figure; learners have bands. The share is of final costs (negative rewards): less is better.
    """
    drawn = styles(results["method"])
    told = published.set_index("method")["reward"]
    block = as_curves(results, "reward")
    with plt.style.context(STYLE):
        figure, axes = _panels(1, 3, 3.3, gridspec_kw={"width_ratios": [2.3, 1, 1.5]})
        curves, levels, shares = axes[0]

        ours = summary(results, ["reward"])
        ours.loc[~ours["method"].isin(_learners(results)), ["mean_low", "mean_high"]] = math.nan
        _draw(curves, ours, ("mean", "mean_low", "mean_high"), _unmarked(drawn))
        _log_where_overloaded([curves], ours["mean"])
        prefix = _thousands(curves, ours["mean"])
        curves.set_ylabel(f"mean reward per episode{f' [{prefix.strip()}]' if prefix else ''}")
        curves.set_title(f"Reproduced ({_told(results)})")
        _x_axis(curves, results, block.xs)
        curves.xaxis.set_major_locator(MaxNLocator(5, integer=True))

        for method in (method for method in drawn if method in told):
            style = drawn[method]
            levels.axhline(told[method], color=style.color, linestyle=style.linestyle, zorder=style.zorder)
            levels.plot(0.5, told[method], color=style.color, marker=style.marker, zorder=4, markeredgecolor="white")
        prefix = _thousands(levels, told)
        levels.set_ylabel(f"final reward{f' [{prefix.strip()}]' if prefix else ''}")
        levels.set(title="Published", xlim=(0, 1), xticks=[], xlabel="at episode 3000")
        levels.grid(axis="x", visible=False)

        final = block.values[:, :, -1] / block.of(reference)[:, [-1]]
        low, high = bootstrap_interval(final)
        names = [method for method in drawn if method in block.methods][::-1]
        for at, method in enumerate(names):
            column, style = block.methods.index(method), drawn[method]
            if math.isfinite(low[column]):
                shares.plot([low[column], high[column]], [at, at], color=style.color, linewidth=2.2, alpha=0.5)
            shares.plot(final[:, column].mean(), at, color=style.color, marker=style.marker or "|", linestyle="")
            if method in told:
                shares.plot(
                    told[method] / told[reference],
                    at,
                    color=style.color,
                    marker="o",
                    mfc="none",
                    linestyle="",
                )
        _log_where_overloaded([shares], final.mean(axis=0), axis="x")
        shares.set_yticks(range(len(names)), names)
        shares.set(title="Final cost", xlabel=f"share of that of\n{reference}", ylim=(-0.6, len(names) - 0.4))
        open_circle: dict[str, Any] = {"color": "0.3", "marker": "o", "mfc": "none", "linestyle": ""}
        _legend(figure, drawn, [Line2D([], [], **open_circle, label="published final cost")])
    return figure


def _learners(results: pd.DataFrame) -> set[str]:
    """The methods that took training steps; the others' flat lines need no bands."""
    return set(results.loc[results["env_steps"] > 0, "method"])


def _unmarked(drawn: dict[str, Style]) -> dict[str, Style]:
    return {method: Style(style.color, "", style.linestyle, style.zorder) for method, style in drawn.items()}


_AVERAGING_MARKERS = {"mean of ratios": "o", "ratio of means": "s"}
_LEAST_DRAWN = -150.0  # percent; a reduction has no lower bound where a baseline's delay is almost zero


def plot_headline(measured: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Reductions against each baseline, averaged in both ways, beside the paper's curves and its abstract.

    **Arguments:**

    - `measured`: `headline_table` of results in one scenario.
    - `published`: `headline_table` of the paper's curves of the same figures.

    **Returns:** one panel each for total, edge and local delay: ours (filled, with intervals), the same
    arithmetic on the paper's curves (open), what the exact optimum would have had (bars), the abstract's
    percentage (line). Undefined reductions are marked so.
    """
    if measured["scenario"].nunique() != 1:
        raise ValueError(f"measured must be of one scenario; got {', '.join(measured['scenario'].unique())}")
    scope = "pooled" if (measured["figure"] == "pooled").any() else measured["figure"].iloc[0]
    told_scope = "pooled" if (published["figure"] == "pooled").any() else published["figure"].iloc[0]
    ours, theirs = measured[measured["figure"] == scope], published[published["figure"] == told_scope]
    rows = list(dict.fromkeys(ours["baseline"]))[::-1]
    offsets = dict(zip(_AVERAGING_MARKERS, (0.17, -0.17), strict=True))
    with plt.style.context(STYLE):
        figure, axes = _panels(1, 3, 3.9, sharey=True)
        for panel, metric in zip(axes[0], dict.fromkeys(ours["metric"]), strict=True):
            panel.axvline(0, color="0.3", linewidth=0.8)
            stated = ours.loc[ours["metric"] == metric, "abstract_percent"].iloc[0]
            panel.axvline(stated, color=_BLACK, linestyle=(0, (4, 2)), linewidth=1)
            for table, filled in ((theirs, False), (ours, True)):
                for row in table[(table["metric"] == metric) & table["baseline"].isin(rows)].itertuples():
                    y = rows.index(row.baseline) + offsets[row.averaging]
                    _headline_point(panel, row, y, filled)
            panel.set_title(f"{METRIC_WORDS[metric].capitalize()}, stated {stated:g} %")
            if panel.texts:  # room for what is written at the left edge
                left, right = panel.get_xlim()
                panel.set_xlim(left - 0.32 * (right - left), right)
            panel.set_xlabel("reduction [%]")
            panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        names = {"learned": "learned (mean)", "best learned": "better learned at each x"}
        names |= {"all": "all five (mean)", "best": "best at each x"}
        axes[0, 0].set_yticks(range(len(rows)), [names.get(row, row) for row in rows])
        axes[0, 0].set_ylim(-0.6, len(rows) - 0.4)
        _headline_legend(figure, ours)
    return figure


def _headline_point(panel: Axes, row: Any, y: float, filled: bool) -> None:
    """One reduction; what is undefined, or too far off to draw to scale, is written at the left edge."""
    marker = _AVERAGING_MARKERS[row.averaging]
    if not row.reduction_percent >= _LEAST_DRAWN:
        if filled:
            undefined = math.isnan(row.reduction_percent)
            shown = f"{row.reduction_percent:.3g}".replace("-", "\N{MINUS SIGN}")
            text = "undefined" if undefined else f"\N{LEFTWARDS ARROW} {shown} %"
            place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center"}
            panel.annotate(text, (0.02, y), **place, fontsize=6, color="0.45" if undefined else _VERMILION)
        return
    if not filled:
        panel.plot(row.reduction_percent, y, marker=marker, color=_BLUE, mfc="none", linestyle="", zorder=2)
        return
    if math.isfinite(row.low):
        ends = [max(row.low, _LEAST_DRAWN), row.high]
        panel.plot(ends, [y, y], color=_VERMILION, linewidth=2.2, alpha=0.5, solid_capstyle="butt")
    panel.plot(row.reduction_percent, y, marker=marker, color=_VERMILION, linestyle="", zorder=3)
    if math.isfinite(row.attainable_percent):
        panel.plot(row.attainable_percent, y, marker="|", color=_BLACK, markersize=7, linestyle="", zorder=4)


def _headline_legend(figure: Figure, ours: pd.DataFrame) -> None:
    def dot(label: str, **options: Any) -> Line2D:
        return Line2D([], [], label=label, **({"linestyle": ""} | options))

    handles = [
        dot(f"reproduced, {averaging}", marker=marker, color=_VERMILION)
        for averaging, marker in _AVERAGING_MARKERS.items()
    ]
    handles += [
        dot(f"paper's curves, {averaging}", marker=marker, color=_BLUE, mfc="none")
        for averaging, marker in _AVERAGING_MARKERS.items()
    ]
    handles.append(dot("stated in the abstract", color=_BLACK, linestyle=(0, (4, 2)), linewidth=1))
    if ours["attainable_percent"].notna().any():
        handles.append(dot("the exact optimum or bound", marker="|", color=_BLACK, markersize=7))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)


def plot_estimates(table: pd.DataFrame, label: str, axis: str, expected: float | None = 0.0) -> Figure:
    """One estimate in a row, from top to bottom in the order of `table`: a dot with its interval, without one a bar.

    **Arguments:**

    - `table`: columns `label` (what each row is called), `value`, `low` and `high`; intervals may be NaN.
    - `axis`: what the values are, with the unit in brackets.
    - `expected`: where to draw a line, e.g. at no difference; None for none.
    """
    rows: list[Any] = list(table.itertuples())
    with plt.style.context(STYLE):
        figure, axes = _panels(1, 1, 0.8 + 0.19 * len(rows))
        panel = axes[0, 0]
        if table["value"].abs().max() > LOG_ABOVE * max(table["value"].abs().median(), 1.0):
            panel.set_xscale("symlog", linthresh=10.0)
        if expected is not None:
            panel.axvline(expected, color="0.3", linewidth=0.8)
        for at, row in enumerate(rows):
            if math.isfinite(row.low):
                panel.plot([row.low, row.high], [at, at], color=_VERMILION, linewidth=2.2, alpha=0.5)
                panel.plot(row.value, at, color=_VERMILION, marker="o", linestyle="")
            else:
                panel.barh(at, row.value - (expected or 0), left=expected or 0, color=_VERMILION, height=0.6)
        panel.set_yticks(range(len(rows)), list(table[label]))
        panel.set_ylim(len(rows) - 0.4, -0.6)
        panel.set_xlabel(axis)
    return figure


def save_figure(figure: Figure, stem: str | Path) -> tuple[Path, ...]:
    """Write `figure` as SVG, PDF and PNG; the same figure gives the same bytes, for no date is written.

    **Arguments:** `stem`: path without a suffix; its folder is created.

    **Returns:** the three paths.

    **Raises:** `ValueError` if `stem` ends in one of the suffixes.
    """
    stem = Path(stem)
    metadata: dict[str, dict] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
    if stem.suffix.removeprefix(".") in metadata:
        raise ValueError(f"stem must be a path without one of the suffixes svg, pdf, png; got {stem.name!r}")
    with plt.style.context(STYLE):
        return tuple(
            write_atomically(
                stem.with_name(f"{stem.name}.{kind}"),
                partial(figure.savefig, format=kind, metadata=metadata[kind]),
            )
            for kind in metadata
        )
