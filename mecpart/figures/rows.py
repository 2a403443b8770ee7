"""One estimate in a row: what a change is worth, and methods on one scenario."""

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mecpart.comparison import bootstrap_interval
from mecpart.comparison.curves import require
from mecpart.figures.axes import (
    LEAST_GAP,
    LOG_ABOVE,
    height_of_rows,
    log_where_spread,
    number_ticks,
    panels,
    row_names,
)
from mecpart.figures.style import BLACK, STYLE, VERMILION, styles


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
    names = row_names(map(str, table[label]))
    with plt.style.context(STYLE):
        figure, axes = panels(1, 1, 0.8 + height_of_rows(names))
        panel = axes[0, 0]
        if table["value"].abs().max() > LOG_ABOVE * max(table["value"].abs().median(), 1.0):
            panel.set_xscale("symlog", linthresh=10.0)
            number_ticks(panel.xaxis)
        if expected is not None:
            panel.axvline(expected, color="0.3", linewidth=0.8)
        for at, row in enumerate(rows):
            if math.isfinite(row.low):
                panel.plot([row.low, row.high], [at, at], color=VERMILION, linewidth=2.2, alpha=0.5)
                panel.plot(row.value, at, color=VERMILION, marker="o", linestyle="")
            else:
                panel.barh(at, row.value - (expected or 0), left=expected or 0, color=VERMILION, height=0.6)
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
    methods = means.sort_values("total_delay_s", kind="stable").index.tolist()
    names, drawn, best = row_names(methods), styles(table["method"]), table["gap_to"].iloc[0]
    with plt.style.context(STYLE):
        figure, axes = panels(1, 2, 0.9 + height_of_rows(names), sharey=True)
        for panel, metric in zip(axes[0], ("total_delay_s", "gap_percent"), strict=True):
            values = table.pivot(index="seed", columns="method", values=metric)[methods].to_numpy()
            low, high = bootstrap_interval(values)
            for at, method in enumerate(methods):
                color, marker = drawn[method].color, drawn[method].marker or "o"
                panel.plot(values[:, at], [at] * len(values), ".", color=color, alpha=0.35, markersize=3)
                panel.plot([low[at], high[at]], [at, at], color=color, linewidth=2.2, alpha=0.5)
                panel.plot(values[:, at].mean(), at, color=color, marker=marker, linestyle="", zorder=3)
        left, right = axes[0]
        log_where_spread(left, "x", means["total_delay_s"].to_numpy())
        log_where_spread(right, "x", np.append(means["gap_percent"], 0.0), LEAST_GAP)
        left.axvline(table["optimal_total_delay_s"].mean(), color=BLACK, linestyle=(0, (4, 2)), linewidth=1)
        right.axvline(0, color=BLACK, linestyle=(0, (4, 2)), linewidth=1)
        left.set_yticks(range(len(methods)), names, parse_math=False)
        left.set_ylim(len(methods) - 0.4, -0.6)
        left.set_xlabel(f"total delay of an episode [s] (line: {best})")
        right.set_xlabel(f"gap to the {best} [%]")
    return figure
