"""How figures look: one style for each method, and the paper's values beside ours.

Bands and bars are 95 % bootstrap intervals over seeds (see `mecpart.comparison`); reference lines have
none. Published values are drawn in the same colours and the same unit, always in panels or with markers of
their own, never as lines among ours. Names are shown as they are, without any markup.
"""

import math
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, DrawingArea, HPacker, TextArea
from matplotlib.textpath import TextPath
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import ScaledTranslation
from scipy.optimize import isotonic_regression

from mecpart.comparison import METRIC_WORDS, as_curves, bootstrap_interval, by_setting, relative_delays
from mecpart.comparison.curves import require
from mecpart.experiments.runner import EXPERIMENTS
from mecpart.experiments.runs import methods_in
from mecpart.files import write_atomically
from mecpart.tables import heading
from mecpart.validation import check_choice

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
# Methods and settings of one's own: colours that are free, and markers that no method of the package has.
_OWN_COLORS = (_VERMILION, _BLUE, _GREEN, _PURPLE, _ORANGE, _SKY)
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
    colors: Sequence[Any] = [color for color in _OWN_COLORS if to_hex(color) not in taken] or [_BLACK]
    markers = _OWN_MARKERS if known else (*_SETTING_MARKERS, *_OWN_MARKERS)
    for at, method in enumerate(own):
        line = _LINES[(at + at // len(markers)) % len(_LINES)]
        known[method] = Style(colors[at % len(colors)], markers[at % len(markers)], line, 3.1 - at / 100)
    return known


def _legend(figure: Figure, drawn: Mapping[str, Style], extra: Sequence[Line2D] = ()) -> None:
    handles = [
        Line2D([], [], color=style.color, marker=style.marker, linestyle=style.linestyle, label=method)
        for method, style in drawn.items()
    ]
    handles += extra
    for columns in range(min(6, math.ceil(len(handles) / 2)), 0, -1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        for text in legend.get_texts():
            text.set_parse_math(False)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()  # too wide: the names at its ends would be cut off


# Inches: a y axis with its label; the way to a name beside a panel, with a sample of the line; the height of a name.
_Y_AXIS, _TO_NAME, _NAME_HEIGHT, _PANEL_HEIGHT = 0.55, 0.6, 0.12, 1.6


def _width_of_names(drawn: Mapping[str, Style]) -> float:
    """The width that names take beside a panel, inches."""
    paths = [TextPath((0, 0), name.replace("$", r"\$"), size=7.5) for name in drawn if name.strip()]
    return _TO_NAME + max((path.get_extents().x1 for path in paths), default=0.0) / 72


def _fit_beside(drawn: Mapping[str, Style]) -> bool:
    """Whether the names of curves fit beside a panel."""
    return len(drawn) * _NAME_HEIGHT <= _PANEL_HEIGHT and _width_of_names(drawn) <= 0.4 * COLUMN_WIDTH


def _name_ends(panel: Axes, right: Axes, table: pd.DataFrame, drawn: Mapping[str, Style]) -> None:
    """Name the curves of a panel at their ends, on the empty axes to its right: so one sees which coincide.

    Names stand as near to the ends as they can without overlapping (least squares), each joined to its own.
    """
    ends = {
        str(method): line.sort_values("x")[["x", "mean"]].iloc[-1].to_numpy()
        for method, line in table[np.isfinite(table["mean"])].groupby("method")
    }
    names = sorted(ends, key=lambda name: (ends[name][1], -list(drawn).index(name)))
    panel.get_ylim()  # or the limits would not be known yet
    on_panel = panel.transLimits.transform(panel.transScale.transform([ends[name] for name in names]))
    steps = _NAME_HEIGHT / _PANEL_HEIGHT * np.arange(len(names))
    heights = np.clip(isotonic_regression(on_panel[:, 1] - steps).x, 0, 1 - steps[-1]) + steps
    place = right.transAxes + ScaledTranslation(0.15, 0, panel.figure.dpi_scale_trans)
    for name, height in zip(names, heights, strict=True):
        style, sample = drawn[name], DrawingArea(22, 5)
        look: dict[str, Any] = {"color": style.color, "marker": style.marker, "linestyle": style.linestyle}
        sample.add_artist(Line2D([0, 11, 22], [2.5] * 3, markevery=[1], **look))
        label = HPacker(children=[sample, TextArea(name, textprops={"size": 7.5, "parse_math": False})], pad=0, sep=4)
        joined = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "relpos": (0, 0.5), "shrinkB": 4}
        named = AnnotationBbox(
            label, ends[name], (0, height), panel.transData, place,
            box_alignment=(0, 0.5), frameon=False, pad=0, arrowprops=joined,
        )  # fmt: skip
        named.set_in_layout(False)
        right.add_artist(named)


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
        _log(panel, axis, values, typical / LOG_ABOVE)


def _log_where_spread(panel: Axes, which: Literal["x", "y"], values: np.ndarray, least: float = 0.0) -> None:
    """A logarithmic axis if the largest value is far above the smallest that is more than `least`."""
    sizes = values[values > least]
    if len(sizes) and sizes.max() > LOG_ABOVE * sizes.min():
        _log(panel, which, values[np.isfinite(values)].clip(min=0), max(sizes.min() / 2, least))


def _log(panel: Axes, which: Literal["x", "y"], values: np.ndarray, least: float) -> None:
    """A logarithmic axis; where values are not above `least`, linear from about there to zero and beyond."""
    scale, axis = (panel.set_xscale, panel.xaxis) if which == "x" else (panel.set_yscale, panel.yaxis)
    if values.min() > least:
        scale("log")
        if values.max() < 100 * values.min():
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        scale("symlog", linthresh=(linear := 10 ** math.floor(math.log10(least))))
        if values.min() == 0:  # room for markers there
            panel.set(**{f"{which}lim": (-0.3 * linear, None)})
    _number_ticks(axis)


def _number_ticks(axis: Axis, unit: float = 1.0) -> None:
    """Write the ticks of an axis as plain numbers, in multiples of `unit`."""

    def written(value: float, _: object) -> str:
        return f"{value / unit:,.10g}".replace("-", "\N{MINUS SIGN}").replace(",", "\N{NARROW NO-BREAK SPACE}")

    axis.set_major_formatter(written)
    axis.set_minor_formatter(NullFormatter())


def _rows(names: Sequence[str]) -> list[str]:
    """Names as they stand before the rows of a panel: long ones on several lines, so that the panel keeps its width."""
    return [textwrap.fill(name, 34) for name in names]


def _height(rows: Sequence[str]) -> float:
    """The height that rows with such names take, inches."""
    return len(rows) * max(0.19, 0.05 + _NAME_HEIGHT * max((name.count("\n") + 1 for name in rows), default=1))


def _means(results: pd.DataFrame, metric: str, reference: str | None = None) -> pd.DataFrame:
    """The mean over seeds of each method at each x, with its interval; or its share of that of a reference."""
    if reference is not None:
        shares = relative_delays(results, None, metric, reference)
        return shares.rename(columns={"measured": "mean", "low": "mean_low", "high": "mean_high"})
    block = as_curves(results, metric)
    low, high = bootstrap_interval(block.values)
    table = pd.MultiIndex.from_product([block.methods, block.xs], names=["method", "x"]).to_frame(index=False)
    return table.assign(mean=block.values.mean(axis=0).ravel(), mean_low=low.ravel(), mean_high=high.ravel())


def _draw(
    axes: Axes,
    table: pd.DataFrame,
    columns: tuple[str, str | None, str | None],
    drawn: Mapping[str, Style],
    *,
    bands: bool = False,
) -> None:
    """One line for each method, with its intervals where there are any: bars, or for curves of many points bands.

    Lines with bars stand side by side, a little apart, so that those that coincide are seen to, and so are their bars.
    """
    middle, low, high = columns
    lines = {
        method: line.sort_values("x")
        for method, line in table[table[middle].notna()].groupby("method")
        if method in drawn
    }
    marked = [method for method in drawn if method in lines and drawn[method].marker]
    apart = 0.0 if low is None or bands else min(2.4, 110 / max(table["x"].nunique() * len(marked), 1))  # points
    for method in (method for method in drawn if method in lines):
        line, style = lines[method], drawn[method]
        look: dict[str, Any] = {"color": style.color, "zorder": style.zorder}
        artists: list[Artist] = [*axes.plot(
            line["x"], line[middle], marker=style.marker, linestyle=style.linestyle,
            markeredgecolor="white", markeredgewidth=0.5, **look,
        )]  # fmt: skip
        if low is not None and line[low].notna().any() and method not in REFERENCE_LINES:
            look["zorder"] -= 1
            if bands:
                axes.fill_between(line["x"], line[low], line[high], alpha=0.08, linewidth=0, **look)
                axes.plot(line["x"], line[[low, high]], linewidth=0.5, alpha=0.6, **look)
            else:
                artists.append(axes.vlines(line["x"], line[low], line[high], linewidth=1, alpha=0.6, **look))
        if method in marked and apart:
            aside = (marked.index(method) - (len(marked) - 1) / 2) * apart / 72
            for artist in artists:
                artist.set_transform(axes.transData + ScaledTranslation(aside, 0, axes.figure.dpi_scale_trans))


def _x_axis(axes: Axes, results: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Label the x axis of a sweep; returns `table` with numbers for x, which are positions where x are names."""
    experiment = EXPERIMENTS.get(results["figure"].iloc[0])
    label = experiment.x_label if experiment else heading(results["x_name"].iloc[0])
    axes.set_xlabel(label, parse_math=False)
    xs = list(dict.fromkeys(table["x"]))
    if not pd.api.types.is_numeric_dtype(table["x"]):
        axes.set_xticks(range(len(xs)), list(map(str, xs)), parse_math=False)
        return table.assign(x=table["x"].map(xs.index))
    if len(xs) > 2 and xs[0] > 0 and xs[-1] > LOG_ABOVE * xs[0]:
        axes.set_xscale("log")
    if len(xs) <= 10:
        axes.set_xticks(xs)
    _number_ticks(axes.xaxis)
    return table


def _thousands(*values: Iterable[float]) -> tuple[float, str]:
    """What panels that show such values have in common: their unit as a multiple, and in words before its name."""
    largest = max((abs(value) for each in values for value in each if math.isfinite(value)), default=0.0)
    return (1000.0, "1000 ") if largest >= 1e4 else (1.0, "")


_UNIT = {
    "total_delay_s": "s",
    "edge_delay_s": "s",
    "local_delay_s": "s",
    "energy_j": "J",
    "reward": "",
    "deadline_violation_rate": "share of blocks",
    "gap_percent": "%",
}
_WORDS = {"reward": "reward", "deadline_violation_rate": "deadlines missed", "gap_percent": "gap to the"}
_INTERVAL = ("mean", "mean_low", "mean_high")
_LEAST_GAP = 0.01  # percent; what is closer to the optimum is drawn as if it were at it


def plot_sweep(
    results: pd.DataFrame,
    published: pd.DataFrame | None = None,
    y: str | Sequence[str] | None = None,
    *,
    relative: bool = False,
    reference: str = "RPDI",
) -> Figure:
    """Each method along a sweep, mean over seeds with 95 % intervals; beside it, where there are any, published values.

    With published values there is a row for each `y`, ours on the left, the paper's on the right in the same unit.
    Methods stand side by side, a little apart, so that those that coincide are seen to; the gap to the optimum or bound
    tells them apart.

    ```python
    figure = plots.plot_sweep(mecpart.run_experiment("mine"))
    plots.save_figure(figure, "mine")
    ```

    **Arguments:**

    - `results`: tidy results of one experiment and scenario; with `series`, each is a curve of its own.
    - `published`: the paper's values of the same sweep, for an experiment of one's own None.
    - `y`: one or more of `total_delay_s`, `edge_delay_s`, `local_delay_s`, `energy_j`, `reward`,
      `deadline_violation_rate` and `gap_percent`; with published values of those that they have, and `gap_percent`.
      By default the total delay, and its gap where `results` have it.
    - `relative`: show each method as a share of `reference` at the same x, on one axis for both, rather
      than absolute values. Points whose reference is zero are left out. Needs published values.

    **Returns:** the figure; y is logarithmic where a value is more than 20 times the median, as when a method
    overloads a node.

    **Raises:** `ValueError` if `y` names a column that is not there, or `results` mixes figures or scenarios.
    """
    require(results, ("figure", "scenario", "method", "seed", "x_name", "x"))
    tables = {f"Reproduced ({_told(results)})": by_setting(results)}
    if published is not None:
        require(published, ("figure", "method", "x"), "published")
        tables["Published"] = by_setting(published)
    metrics = _metrics(list(tables.values()), y, relative)
    curves = {
        (metric, title): _means(table, metric, reference if relative else None)
        for metric in metrics
        for title, table in tables.items()
        if metric in table
    }
    drawn = styles(next(iter(curves.values()))["method"])
    columns = min(2, len(metrics) * len(tables))
    rows = math.ceil(len(metrics) * len(tables) / columns)
    room = [_width_of_names(drawn)] if published is None and _fit_beside(drawn) else []
    widths = [(COLUMN_WIDTH - sum(room)) / columns - _Y_AXIS] * columns + room
    with plt.style.context(STYLE):
        figure, axes = _panels(rows, len(widths), 0.7 + 1.75 * rows, width_ratios=widths)
        places = iter(axes[:, :columns].flat)
        panels = {(metric, title): next(places) for metric in metrics for title in tables}
        shown: dict[Axes, pd.DataFrame] = {}
        for place, table in curves.items():
            panel = panels[place]
            shown[panel] = _x_axis(panel, results, table)
            _draw(panel, shown[panel], ("mean", None, None) if place[1] == "Published" else _INTERVAL, drawn)
        for metric in metrics:
            row = {panels[place]: table["mean"] for place, table in curves.items() if place[0] == metric}
            _y_axes(row, metric, results, reference if relative else None)
        for column in axes.T:
            for panel in [panel for panel in column if panel in shown][:-1]:
                panel.set_xlabel("")
                panel.tick_params(labelbottom=False)
        if published is None:
            experiment = EXPERIMENTS.get(results["figure"].iloc[0])
            title = f"{experiment.title} ({_told(results)})" if experiment else _told(results)
            figure.suptitle(title, x=0.01, ha="left", fontsize="medium", weight="bold", parse_math=False)
        else:
            for panel, title in zip(axes[0], tables, strict=True):
                panel.set_title(title, parse_math=False)
        bare = [panel for panel in axes.flat if panel not in shown]
        for panel in bare:
            panel.set_axis_off()
        beside = {panel: right for row in axes for panel, right in pairwise(row) if panel in shown and right in bare}
        ends = [set(table.loc[np.isfinite(table["mean"]), "method"]) for table in (shown[panel] for panel in beside)]
        if beside and _fit_beside(drawn) and all(set(drawn) == named for named in ends):
            for panel, right in beside.items():
                _name_ends(panel, right, shown[panel], drawn)
        else:
            _legend(figure, drawn)
    return figure


def _metrics(tables: Sequence[pd.DataFrame], y: str | Sequence[str] | None, relative: bool) -> list[str]:
    """The columns to show: those asked for, if all tables have them."""
    known = [metric for metric in _UNIT if all(metric in table and table[metric].notna().any() for table in tables)]
    if relative:
        known = [metric for metric in known if _UNIT[metric] in ("s", "J")]
    elif "gap_percent" in tables[0] and tables[0]["gap_percent"].notna().any():
        known.append("gap_percent")  # which no paper has
    if y is None:
        y = [metric for metric in ("total_delay_s", "gap_percent") if metric in known]
    metrics = list(dict.fromkeys([y] if isinstance(y, str) else y))
    unknown = [metric for metric in metrics if metric not in known]
    if unknown or not metrics:
        known = list(dict.fromkeys(known))
        raise ValueError(f"y must be among {', '.join(known)}; got {', '.join(map(str, unknown)) or 'nothing'}")
    return metrics


def _told(results: pd.DataFrame) -> str:
    seeds = results["seed"].nunique()
    return f"{results['scenario'].iloc[0]}, {seeds} seed{'s' if seeds > 1 else ''}"


def _y_axes(row: Mapping[Axes, pd.Series], metric: str, results: pd.DataFrame, reference: str | None) -> None:
    """Scale and label the panels of one quantity, in one unit."""
    words, unit = _WORDS.get(metric) or METRIC_WORDS[metric], _UNIT[metric]
    size, prefix = _thousands(*row.values()) if unit != "%" and reference is None else (1.0, "")
    if metric == "gap_percent":
        words += " optimum" if "Optimal" in methods_in(results["scenario"].iloc[0]) else " bound"
    for panel, values in row.items():
        if reference is not None:
            _log_where_overloaded([panel], pd.concat(list(row.values())))
        elif metric == "gap_percent":
            _log_where_spread(panel, "y", values.to_numpy(), _LEAST_GAP)
        else:
            _log_where_overloaded([panel], values)
        _number_ticks(panel.yaxis, size)
        label = f"{words} [{prefix}{unit}]" if prefix + unit else words
        panel.set_ylabel(label if reference is None else f"{words} / {reference}'s", parse_math=False)
    first, *others = row
    if reference is not None:
        for panel in others:
            panel.sharey(first)
        first.autoscale(axis="y")


def plot_convergence(results: pd.DataFrame, published: pd.DataFrame, reference: str = "RPDI") -> Figure:
    """Learning curves, the paper's final levels, and both final levels as a share of the reference's.

    **Arguments:** results of a convergence experiment in one scenario, and the paper's final rewards.

    **Returns:** the figure; learners have bands. The share is of final costs (negative rewards): less is better.

    **Raises:** `ValueError` if a table lacks a column, `results` mixes figures or scenarios, or `reference` is not in
    both.
    """
    require(results, ("figure", "scenario", "method", "seed", "x_name", "x", "reward", "env_steps"))
    require(published, ("method", "reward"), "published")
    results, published = by_setting(results), by_setting(published)
    for table in (results, published):
        check_choice("reference", reference, dict.fromkeys(table["method"]))
    drawn = styles(results["method"])
    told = published.set_index("method")["reward"]
    block = as_curves(results, "reward")
    with plt.style.context(STYLE):
        figure, axes = _panels(1, 3, 3.3, gridspec_kw={"width_ratios": [2.3, 1, 1.5]})
        curves, levels, shares = axes[0]

        ours = _means(results, "reward")
        ours.loc[~ours["method"].isin(_learners(results)), ["mean_low", "mean_high"]] = math.nan
        _draw(curves, _x_axis(curves, results, ours), _INTERVAL, _unmarked(drawn), bands=True)
        _log_where_overloaded([curves], ours["mean"])
        size, prefix = _thousands(ours["mean"], told)
        unit = f" [{prefix.strip()}]" if prefix else ""
        curves.set(title=f"Reproduced ({_told(results)})", ylabel=f"mean reward per episode{unit}", xscale="linear")
        curves.xaxis.set_major_locator(MaxNLocator(5, integer=True))

        for method in (method for method in drawn if method in told):
            style = drawn[method]
            levels.axhline(told[method], color=style.color, linestyle=style.linestyle, zorder=style.zorder)
            levels.plot(0.5, told[method], color=style.color, marker=style.marker, zorder=4, markeredgecolor="white")
        levels.set(title="Published", xlim=(0, 1), xticks=[], xlabel="at episode 3000", ylabel=f"final reward{unit}")
        for panel in (curves, levels):
            _number_ticks(panel.yaxis, size)
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
        shares.set_yticks(range(len(names)), _rows(names), parse_math=False)
        shares.set(title="Final cost", ylim=(-0.6, len(names) - 0.4))
        shares.set_xlabel(f"share of that of\n{reference}", parse_math=False)
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

    **Raises:** `ValueError` if a table lacks a column, or `measured` mixes scenarios.
    """
    columns = ("scenario", "figure", "metric", "baseline", "averaging", "reduction_percent")
    require(measured, (*columns, "abstract_percent", "attainable_percent", "low", "high"), "measured")
    require(published, columns, "published")
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
        axes[0, 0].set_yticks(range(len(rows)), _rows([names.get(row, row) for row in rows]), parse_math=False)
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

    **Raises:** `ValueError` if `table` lacks one of the columns.
    """
    require(table, (label, "value", "low", "high"), "table")
    rows: list[Any] = list(table.itertuples())
    names = _rows(list(map(str, table[label])))
    with plt.style.context(STYLE):
        figure, axes = _panels(1, 1, 0.8 + _height(names))
        panel = axes[0, 0]
        if table["value"].abs().max() > LOG_ABOVE * max(table["value"].abs().median(), 1.0):
            panel.set_xscale("symlog", linthresh=10.0)
            _number_ticks(panel.xaxis)
        if expected is not None:
            panel.axvline(expected, color="0.3", linewidth=0.8)
        for at, row in enumerate(rows):
            if math.isfinite(row.low):
                panel.plot([row.low, row.high], [at, at], color=_VERMILION, linewidth=2.2, alpha=0.5)
                panel.plot(row.value, at, color=_VERMILION, marker="o", linestyle="")
            else:
                panel.barh(at, row.value - (expected or 0), left=expected or 0, color=_VERMILION, height=0.6)
        panel.set_yticks(range(len(rows)), names, parse_math=False)
        panel.set_ylim(len(rows) - 0.4, -0.6)
        panel.set_xlabel(axis, parse_math=False)
    return figure


def plot_comparison(table: pd.DataFrame) -> Figure:
    """Methods on one scenario, the quickest on top: their total delay on the left, their gap to the best on the right.

    **Arguments:** `table`: of `mecpart.compare`.

    **Returns:** the figure: a marker for the mean over seeds with its interval, a dot for each seed; the mean of the
    optimum or bound is a line. An axis is logarithmic where the largest value is more than 20 times the smallest.

    **Raises:** `ValueError` if `table` lacks a column of `mecpart.compare`.
    """
    columns = ["method", "seed", "total_delay_s", "optimal_total_delay_s", "gap_percent", "gap_to"]
    if missing := [column for column in columns if not isinstance(table, pd.DataFrame) or column not in table]:
        raise ValueError(f"table must have the columns of mecpart.compare; got none named {', '.join(missing)}")
    means = table.groupby("method")[["total_delay_s", "gap_percent"]].mean()
    names = means.sort_values("total_delay_s", kind="stable").index.tolist()
    drawn, best = styles(table["method"]), table["gap_to"].iloc[0]
    with plt.style.context(STYLE):
        figure, axes = _panels(1, 2, 0.9 + _height(_rows(names)), sharey=True)
        for panel, metric in zip(axes[0], ("total_delay_s", "gap_percent"), strict=True):
            values = table.pivot(index="seed", columns="method", values=metric)[names].to_numpy()
            low, high = bootstrap_interval(values)
            for at, name in enumerate(names):
                color, marker = drawn[name].color, drawn[name].marker or "o"
                panel.plot(values[:, at], [at] * len(values), ".", color=color, alpha=0.35, markersize=3)
                panel.plot([low[at], high[at]], [at, at], color=color, linewidth=2.2, alpha=0.5)
                panel.plot(values[:, at].mean(), at, color=color, marker=marker, linestyle="", zorder=3)
        left, right = axes[0]
        _log_where_spread(left, "x", means["total_delay_s"].to_numpy())
        _log_where_spread(right, "x", np.append(means["gap_percent"], 0.0), _LEAST_GAP)
        left.axvline(table["optimal_total_delay_s"].mean(), color=_BLACK, linestyle=(0, (4, 2)), linewidth=1)
        right.axvline(0, color=_BLACK, linestyle=(0, (4, 2)), linewidth=1)
        left.set_yticks(range(len(names)), _rows(names), parse_math=False)
        left.set_ylim(len(names) - 0.4, -0.6)
        left.set_xlabel(f"total delay of an episode [s] (line: {best})")
        right.set_xlabel(f"gap to the {best} [%]")
    return figure


def save_figure(figure: Figure, stem: str | Path) -> tuple[Path, ...]:
    """Write `figure` as SVG, PDF and PNG; the same figure gives the same bytes, for no date is written.

    **Arguments:** `stem`: path without a suffix; its folder is created.

    **Returns:** the three paths.

    **Raises:** `ValueError` if `figure` is none of matplotlib's, or `stem` no path or one that ends in one of the
    suffixes.
    """
    if not isinstance(figure, Figure):
        raise ValueError(f"figure must be a matplotlib Figure; got {type(figure).__name__}")
    if not isinstance(stem, str | os.PathLike):
        raise ValueError(f"stem must be a path; got {stem!r}")
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
