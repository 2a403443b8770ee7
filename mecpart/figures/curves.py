"""Methods along a sweep or in training, one curve each, with intervals over seeds."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from mecpart.comparison import as_curves, bootstrap_interval, relative_delays
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.figures.axes import LOG_ABOVE, number_ticks
from mecpart.figures.style import REFERENCE_LINES, Style
from mecpart.tables import heading


def means(results: pd.DataFrame, metric: str, reference: str | None = None) -> pd.DataFrame:
    """The mean over seeds of each method at each x, with its interval; or its share of that of a reference.

    **Returns:** columns `method`, `x`, `mean`, `low` and `high`.
    """
    if reference is not None:
        return relative_delays(results, None, metric, reference).rename(columns={"measured": "mean"})
    block = as_curves(results, metric)
    low, high = bootstrap_interval(block.values)
    table = pd.MultiIndex.from_product([block.methods, block.xs], names=["method", "x"]).to_frame(index=False)
    return table.assign(mean=block.values.mean(axis=0).ravel(), low=low.ravel(), high=high.ravel())


def draw(
    axes: Axes, table: pd.DataFrame, drawn: Mapping[str, Style], *, intervals: bool = True, bands: bool = False
) -> None:
    """One line for each method, with its intervals where there are any: bars, or for curves of many points bands.

    Lines with bars stand side by side, a little apart, so that those that coincide are seen to, and so are their bars.
    """
    lines = {
        method: line.sort_values("x")
        for method, line in table[table["mean"].notna()].groupby("method")
        if method in drawn
    }
    marked = [method for method in drawn if method in lines and drawn[method].marker]
    apart = min(2.4, 110 / max(table["x"].nunique() * len(marked), 1)) if intervals and not bands else 0.0  # points
    for method in (method for method in drawn if method in lines):
        line, style = lines[method], drawn[method]
        look: dict[str, Any] = {"color": style.color, "zorder": style.zorder}
        artists: list[Artist] = [*axes.plot(
            line["x"], line["mean"], marker=style.marker, linestyle=style.linestyle,
            markeredgecolor="white", markeredgewidth=0.5, **look,
        )]  # fmt: skip
        if intervals and line["low"].notna().any() and method not in REFERENCE_LINES:
            look["zorder"] -= 1
            if bands:
                axes.fill_between(line["x"], line["low"], line["high"], alpha=0.08, linewidth=0, **look)
                axes.plot(line["x"], line[["low", "high"]], linewidth=0.5, alpha=0.6, **look)
            else:
                artists.append(axes.vlines(line["x"], line["low"], line["high"], linewidth=1, alpha=0.6, **look))
        if method in marked and apart:
            aside = (marked.index(method) - (len(marked) - 1) / 2) * apart / 72
            for artist in artists:
                artist.set_transform(axes.transData + ScaledTranslation(aside, 0, axes.figure.dpi_scale_trans))


def x_axis(axes: Axes, results: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
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
    number_ticks(axes.xaxis)
    return table


def told(results: pd.DataFrame) -> str:
    """Which results are shown: their scenario, and how many seeds."""
    seeds = results["seed"].nunique()
    return f"{results['scenario'].iloc[0]}, {seeds} seed{'s' if seeds > 1 else ''}"
