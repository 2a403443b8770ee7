"""Sweeps: each method against what is swept, the paper's published curves beside ours."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mecpart.comparison import METRIC_WORDS, by_setting
from mecpart.comparison.curves import require
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.experiments.experiment import shown_x
from mecpart.experiments.setting import outline
from mecpart.figures.axes import LEAST_GAP, log_where_overloaded, log_where_spread, number_ticks, panels, thousands
from mecpart.figures.curves import draw, means, told, x_axis
from mecpart.figures.names import fit_beside, legend, name_ends, width_of_names
from mecpart.figures.style import COLUMN_WIDTH, STYLE, Style, styles
from mecpart.methods.register import methods_in
from mecpart.model.rules import RULES
from mecpart.planning.optimum import optimum_is_known

_UNIT = {
    "total_delay_s": "s",
    "edge_delay_s": "s",
    "local_delay_s": "s",
    "energy_j": "J",
    "reward": "",
    "deadline_violation_rate": "share of blocks",
    "gap_percent": "%",
}
_WORDS = METRIC_WORDS | {"reward": "reward", "deadline_violation_rate": "deadlines missed", "gap_percent": "gap to the"}
_Y_AXIS = 0.55  # inches; the width of a y axis with its label


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
    figure = figures.plot_sweep(mecpart.run_experiment("mine"))
    figures.save_figure(figure, "mine")
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
    tables = {f"Reproduced ({told(results)})": by_setting(results)}
    if published is not None:
        require(published, ("figure", "method", "x"), "published")
        tables["Published"] = by_setting(published)
    metrics = _metrics(list(tables.values()), y, relative)
    against = reference if relative else None
    curves = {
        (metric, title): means(table, metric, against)
        for metric in metrics
        for title, table in tables.items()
        if metric in table
    }
    drawn = styles(next(iter(curves.values()))["method"])
    with plt.style.context(STYLE):
        figure, axes, places = _grid(metrics, list(tables), drawn)
        shown: dict[Axes, pd.DataFrame] = {}
        for place, table in curves.items():
            panel = places[place]
            shown[panel] = x_axis(panel, results, table)
            draw(panel, shown[panel], drawn, intervals=place[1] != "Published")
        for metric in metrics:
            row = {places[place]: table["mean"] for place, table in curves.items() if place[0] == metric}
            _y_axes(row, metric, results, against)
        for column in axes.T:
            for panel in [panel for panel in column if panel in shown][:-1]:
                panel.set_xlabel("")
                panel.tick_params(labelbottom=False)
        if published is None:
            experiment = EXPERIMENTS.get(results["figure"].iloc[0])
            title = f"{experiment.title} ({told(results)})" if experiment else told(results)
            figure.suptitle(title, x=0.01, ha="left", fontsize="medium", weight="bold", parse_math=False)
        else:
            for panel, title in zip(axes[0], tables, strict=True):
                panel.set_title(title, parse_math=False)
        _name_curves(figure, axes, shown, drawn)
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


def _grid(
    metrics: Sequence[str], titles: Sequence[str], drawn: Mapping[str, Style]
) -> tuple[Figure, np.ndarray, dict[tuple[str, str], Axes]]:
    """A panel for each quantity of each table, in at most two columns; ours alone with room for names on the right."""
    columns = min(2, len(metrics) * len(titles))
    rows = math.ceil(len(metrics) * len(titles) / columns)
    room = [width_of_names(drawn)] if len(titles) == 1 and fit_beside(drawn) else []
    widths = [(COLUMN_WIDTH - sum(room)) / columns - _Y_AXIS] * columns + room
    figure, axes = panels(rows, len(widths), 0.7 + 1.75 * rows, width_ratios=widths)
    places = iter(axes[:, :columns].flat)
    return figure, axes, {(metric, title): next(places) for metric in metrics for title in titles}


def _y_axes(row: Mapping[Axes, pd.Series], metric: str, results: pd.DataFrame, reference: str | None) -> None:
    """Scale and label the panels of one quantity, in one unit."""
    words, unit = _WORDS[metric], _UNIT[metric]
    size, prefix = thousands(*row.values()) if unit != "%" and reference is None else (1.0, "")
    if metric == "gap_percent":
        words += f" {_reference(results)}"
    for panel, values in row.items():
        if reference is not None:
            log_where_overloaded([panel], pd.concat(list(row.values())))
        elif metric == "gap_percent":
            log_where_spread(panel, "y", values.to_numpy(), LEAST_GAP)
        else:
            log_where_overloaded([panel], values)
        number_ticks(panel.yaxis, size)
        label = f"{words} [{prefix}{unit}]" if prefix + unit else words
        panel.set_ylabel(label if reference is None else f"{words} / {reference}'s", parse_math=False)
    first, *others = row
    if reference is not None:
        for panel in others:
            panel.sharey(first)
        first.autoscale(axis="y")


def _reference(results: pd.DataFrame) -> str:
    """What the gap is measured from: the optimum where it is known, else the bound, by the settings of the sweep."""
    scenario, name = results["scenario"].iloc[0], results["figure"].iloc[0]
    if name not in EXPERIMENTS:
        exists = "Optimal" in methods_in(scenario)
        return ("optimum or bound" if RULES[scenario].streams else "optimum") if exists else "bound"
    shown = set(results["x"])
    points = [point for point in EXPERIMENTS[name].points(scenario) if shown_x(point.x) in shown]
    known = {optimum_is_known(outline(point.setting, scenario)) for point in points}
    if known == {True, False}:
        bounded = [shown_x(point.x) for point in points if not optimum_is_known(outline(point.setting, scenario))]
        return f"optimum\n(bound at {', '.join(map(str, dict.fromkeys(bounded)))})"
    return "bound" if known == {False} else "optimum"


def _name_curves(figure: Figure, axes: np.ndarray, shown: Mapping[Axes, pd.DataFrame], drawn: dict[str, Style]) -> None:
    """Name the curves on empty axes beside panels, if there all of them end and there is room; else in a legend."""
    bare = [panel for panel in axes.flat if panel not in shown]
    for panel in bare:
        panel.set_axis_off()
    beside = {panel: right for row in axes for panel, right in pairwise(row) if panel in shown and right in bare}
    ends = [set(table.loc[np.isfinite(table["mean"]), "method"]) for table in (shown[panel] for panel in beside)]
    if beside and fit_beside(drawn) and all(set(drawn) == named for named in ends):
        for panel, right in beside.items():
            name_ends(panel, right, shown[panel], drawn)
    else:
        legend(figure, drawn)
