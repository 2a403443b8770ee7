"""Panels and their axes: which scale, which unit, how ticks are written, how much room rows of names take."""

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mecpart.figures.style import COLUMN_WIDTH

NAME_HEIGHT = 0.12  # inches; of a line of a name
LEAST_GAP = 0.01  # percent; what is closer to the optimum is drawn as if it were at it
LOG_ABOVE = 20.0  # a value above this multiple of the usual one means that some method overloads a node


def panels(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure that is not kept by pyplot, so that it is shown once in a notebook and freed afterwards."""
    figure, axes = plt.subplots(rows, columns, figsize=(COLUMN_WIDTH, height), squeeze=False, **options)
    plt.close(figure)
    return figure, axes


def log_where_overloaded(
    axes: Iterable[Axes], values: Iterable[float], axis: Literal["x", "y"] = "y", usual: Callable = np.median
) -> None:
    """A logarithmic axis if the largest magnitude is far above the `usual` one; linear well below that."""
    values = np.array([value for value in values if math.isfinite(value)])
    sizes = np.abs(values[values != 0])
    if not len(sizes) or sizes.max() <= LOG_ABOVE * (typical := usual(sizes)):
        return
    for panel in axes:
        _log(panel, axis, values, typical / LOG_ABOVE)


def log_where_spread(panel: Axes, which: Literal["x", "y"], values: np.ndarray, least: float = 0.0) -> None:
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
    number_ticks(axis)


def number_ticks(axis: Axis, unit: float = 1.0) -> None:
    """Write the ticks of an axis as plain numbers, in multiples of `unit`."""

    def written(value: float, _: object) -> str:
        return f"{value / unit:,.10g}".replace("-", "\N{MINUS SIGN}").replace(",", "\N{NARROW NO-BREAK SPACE}")

    axis.set_major_formatter(written)
    axis.set_minor_formatter(NullFormatter())


def thousands(*values: Iterable[float]) -> tuple[float, str]:
    """What panels that show such values have in common: their unit as a multiple, and in words before its name."""
    largest = max((abs(value) for each in values for value in each if math.isfinite(value)), default=0.0)
    return (1000.0, "1000 ") if largest >= 1e4 else (1.0, "")


def row_names(names: Iterable[str]) -> list[str]:
    """Names as they stand before the rows of a panel: long ones on several lines, so that the panel keeps its width."""
    return [textwrap.fill(name, 34) for name in names]


def height_of_rows(names: Sequence[str]) -> float:
    """The height that rows with such names take, inches."""
    return len(names) * max(0.19, 0.05 + NAME_HEIGHT * max((name.count("\n") + 1 for name in names), default=1))
