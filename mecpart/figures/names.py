"""Which curve is whose: names at the ends of curves where there is room, else a legend below."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, DrawingArea, HPacker, TextArea
from matplotlib.textpath import TextPath
from matplotlib.transforms import ScaledTranslation
from scipy.optimize import isotonic_regression

from mecpart.figures.axes import NAME_HEIGHT
from mecpart.figures.style import COLUMN_WIDTH, Style

_TO_NAME, _PANEL_HEIGHT = 0.6, 1.6  # inches; from a panel to a name, with a sample of the line; of a panel
_SIZE = 7.5  # points


def legend(figure: Figure, drawn: Mapping[str, Style], extra: Sequence[Line2D] = ()) -> None:
    """Name what is drawn below the panels, in as many columns as the figure is wide enough for."""
    handles = [
        Line2D([], [], color=style.color, marker=style.marker, linestyle=style.linestyle, label=method)
        for method, style in drawn.items()
    ]
    handles += extra
    for columns in range(min(6, math.ceil(len(handles) / 2)), 0, -1):
        box = figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        for text in box.get_texts():
            text.set_parse_math(False)
        if columns == 1 or box.get_window_extent().width <= figure.bbox.width:
            break
        box.remove()  # too wide: the names at its ends would be cut off


def fit_beside(drawn: Mapping[str, Style]) -> bool:
    """Whether the names of curves fit beside a panel."""
    return len(drawn) * NAME_HEIGHT <= _PANEL_HEIGHT and width_of_names(drawn) <= 0.4 * COLUMN_WIDTH


def width_of_names(drawn: Mapping[str, Style]) -> float:
    """The width that names take beside a panel, inches."""
    paths = [TextPath((0, 0), name.replace("$", r"\$"), size=_SIZE) for name in drawn if name.strip()]
    return _TO_NAME + max((path.get_extents().x1 for path in paths), default=0.0) / 72


def name_ends(panel: Axes, right: Axes, table: pd.DataFrame, drawn: Mapping[str, Style]) -> None:
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
    steps = NAME_HEIGHT / _PANEL_HEIGHT * np.arange(len(names))
    heights = np.clip(isotonic_regression(on_panel[:, 1] - steps).x, 0, 1 - steps[-1]) + steps
    place = right.transAxes + ScaledTranslation(0.15, 0, panel.figure.dpi_scale_trans)
    joined = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "relpos": (0, 0.5), "shrinkB": 4}
    for name, height in zip(names, heights, strict=True):
        named = AnnotationBbox(
            _sample_and_name(name, drawn[name]), ends[name], (0, height), panel.transData, place,
            box_alignment=(0, 0.5), frameon=False, pad=0, arrowprops=joined,
        )  # fmt: skip
        named.set_in_layout(False)
        right.add_artist(named)


def _sample_and_name(name: str, style: Style) -> HPacker:
    look: dict[str, Any] = {"color": style.color, "marker": style.marker, "linestyle": style.linestyle}
    sample = DrawingArea(22, 5)
    sample.add_artist(Line2D([0, 11, 22], [2.5] * 3, markevery=[1], **look))
    return HPacker(children=[sample, TextArea(name, textprops={"size": _SIZE, "parse_math": False})], pad=0, sep=4)
