"""Results for figures to show, and what is read back from a figure."""

import numpy as np
import pandas as pd
from made_up import METHODS, results
from matplotlib.colors import to_hex
from matplotlib.offsetbox import AnnotationBbox
from matplotlib.text import Text

from mecpart import comparison, figures

XS = (2.0, 4.0, 6.0)
PAPER = comparison.published("fig8")
#: That a reader of markup would take for some.
NAMES = ("_hidden", "cost $x$ and $y$", "$\\frac", "<b>bold</b>")


def sweep(level: dict[str, float] | None = None, local_share: float = 0.25) -> pd.DataFrame:
    """Results of three seeds: total delay is the method's level times a factor of the seed, less with x."""
    level = level or {method: 1 + at / 10 for at, method in enumerate(METHODS)}
    return results(level, seeds=3, xs=XS, local_share=local_share)


def own() -> pd.DataFrame:
    """A sweep that nobody has published."""
    frame = sweep(dict(zip(NAMES, (1.0, 2.0, 3.0, 4.0), strict=True)))
    return frame.assign(figure="mine", x_name="num_cats", gap_percent=frame["total_delay_s"] / 100)


def learning() -> pd.DataFrame:
    """Training, which the first two methods took."""
    frame = sweep().assign(figure="fig6", x_name="episode")
    return frame.assign(env_steps=frame["x"].where(frame["method"].isin(METHODS[:2]), 0))


def drawn(axes, method: str) -> np.ndarray:
    """The y values of the line that has a method's colour and marker."""
    style = figures.STYLES[method]
    (line,) = (
        line
        for line in axes.get_lines()
        if to_hex(line.get_color()) == to_hex(style.color) and line.get_marker() == style.marker
    )
    return np.asarray(line.get_ydata())


def words(figure) -> list[tuple[str, bool]]:
    """All that is written on a figure, and whether it is taken for mathematics."""
    return [(text.get_text(), text.get_parse_math()) for text in figure.findobj(Text) if text.get_text()]


def named_ends(axes) -> dict[str, tuple[float, float]]:
    """The names beside a panel from top to bottom, each with the point that it is joined to."""
    boxes = [artist for artist in axes.get_children() if isinstance(artist, AnnotationBbox)]
    boxes.sort(key=lambda box: -box.xyann[1])
    return {box.findobj(Text)[0].get_text(): tuple(box.xy) for box in boxes}


def heights(axes) -> np.ndarray:
    """Where names stand beside a panel, from top to bottom, as shares of its height."""
    return np.sort([box.xyann[1] for box in axes.get_children() if isinstance(box, AnnotationBbox)])[::-1]
