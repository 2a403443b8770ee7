"""Training: learning curves, and where they end, beside the final levels that the paper published."""

import math
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mecpart.comparison import Curves, as_curves, bootstrap_interval, by_setting
from mecpart.comparison.curves import require
from mecpart.figures.axes import log_where_overloaded, number_ticks, panels, row_names, thousands
from mecpart.figures.curves import draw, means, told, x_axis
from mecpart.figures.names import legend
from mecpart.figures.style import STYLE, Style, styles
from mecpart.validation import check_choice


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
    final = published.set_index("method")["reward"]
    ours = means(results, "reward")
    size, prefix = thousands(ours["mean"], final)
    unit = f" [{prefix.strip()}]" if prefix else ""
    with plt.style.context(STYLE):
        figure, axes = panels(1, 3, 3.3, gridspec_kw={"width_ratios": [2.3, 1, 1.5]})
        curves, levels, shares = axes[0]

        flat = ~ours["method"].isin(_learners(results))  # lines that need no bands
        ours.loc[flat, ["low", "high"]] = math.nan
        unmarked = {method: replace(style, marker="") for method, style in drawn.items()}
        draw(curves, x_axis(curves, results, ours), unmarked, bands=True)
        # Of a learner most windows may be overloads: the best ones are what the others are compared with.
        log_where_overloaded([curves], ours["mean"], usual=np.min)
        curves.set(title=f"Reproduced ({told(results)})", ylabel=f"mean reward per episode{unit}", xscale="linear")
        curves.xaxis.set_major_locator(MaxNLocator(5, integer=True))

        _draw_levels(levels, final, drawn)
        levels.set(title="Published", xlim=(0, 1), xticks=[], xlabel="at episode 3000", ylabel=f"final reward{unit}")
        for panel in (curves, levels):
            number_ticks(panel.yaxis, size)
        levels.grid(axis="x", visible=False)

        _draw_shares(shares, as_curves(results, "reward"), final, drawn, reference)
        open_circle: dict[str, Any] = {"color": "0.3", "marker": "o", "mfc": "none", "linestyle": ""}
        legend(figure, drawn, [Line2D([], [], **open_circle, label="published final cost")])
    return figure


def _learners(results: pd.DataFrame) -> set[str]:
    """The methods that took training steps."""
    return set(results.loc[results["env_steps"] > 0, "method"])


def _draw_levels(panel: Axes, final: pd.Series, drawn: dict[str, Style]) -> None:
    """The published final reward of each method, as a line."""
    for method in (method for method in drawn if method in final):
        style = drawn[method]
        panel.axhline(final[method], color=style.color, linestyle=style.linestyle, zorder=style.zorder)
        panel.plot(0.5, final[method], color=style.color, marker=style.marker, zorder=4, markeredgecolor="white")


def _draw_shares(panel: Axes, block: Curves, final: pd.Series, drawn: dict[str, Style], reference: str) -> None:
    """Final costs as shares of the reference's, a row for each method: ours with intervals, and the published ones."""
    shares = block.values[:, :, -1] / block.of(reference)[:, [-1]]
    low, high = bootstrap_interval(shares)
    names = [method for method in drawn if method in block.methods][::-1]
    for at, method in enumerate(names):
        column, style = block.methods.index(method), drawn[method]
        look: dict[str, Any] = {"color": style.color, "linestyle": ""}
        if math.isfinite(low[column]):
            panel.plot([low[column], high[column]], [at, at], color=style.color, linewidth=2.2, alpha=0.5)
        panel.plot(shares[:, column].mean(), at, marker=style.marker or "|", **look)
        if method in final:
            panel.plot(final[method] / final[reference], at, marker="o", mfc="none", **look)
    log_where_overloaded([panel], shares.mean(axis=0), axis="x")
    panel.set_yticks(range(len(names)), row_names(names), parse_math=False)
    panel.set(title="Final cost", ylim=(-0.6, len(names) - 0.4))
    panel.set_xlabel(f"share of that of\n{reference}", parse_math=False)
