"""Pictures of plans that are drawn anew at every move of a slider."""

import io
import math
from collections.abc import Mapping
from dataclasses import replace

import matplotlib.pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from mecpart.figures.plans.frame import Frame
from mecpart.figures.plans.gantt import draw_plans
from mecpart.figures.plans.times import PlanTimes
from mecpart.figures.style import STYLE
from mecpart.model.scenario import Scenario

_DPI = 120
# The time axis ends at one of these times a power of ten, so that it keeps still while a slider moves a little.
_ENDS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


class Painter:
    """Draws plans as PNG: what stays from one move to the next is drawn once, and copied."""

    def __init__(self) -> None:
        self._figure = Figure(dpi=_DPI)
        self._figure.set_layout_engine("none")
        self._canvas = FigureCanvasAgg(self._figure)
        self._frame: Frame | None = None

    def draw(self, scenario: Scenario, times: Mapping[str, PlanTimes]) -> bytes:
        """The picture of plans, by name."""
        frame = Frame.around(scenario, times.values())
        frame = replace(frame, until=_round_up(frame.until))
        with plt.style.context(STYLE):
            if frame != self._frame:
                self._figure.clear()
                frame.draw(self._figure)
                self._frame = frame
                self._canvas.draw()
                self._empty = self._canvas.copy_from_bbox(self._figure.bbox)
            self._canvas.restore_region(self._empty)
            drawn = draw_plans(self._figure, frame, scenario, times)
            for axes, artist in sorted(drawn, key=lambda place: place[1].get_zorder()):
                axes.draw_artist(artist)
                artist.remove()
        png = io.BytesIO()
        imsave(png, self._canvas.buffer_rgba(), format="png", pil_kwargs={"compress_level": 1})
        return png.getvalue()


def _round_up(until: float) -> float:
    power = 10.0 ** math.floor(math.log10(until))
    return next(end * power for end in _ENDS if end * power >= until)
