"""A plan as a Gantt picture: when each node receives, waits for and computes which block, and what that adds up to."""

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
from jaxtyping import Array, Int
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mecpart.figures.plans.frame import Frame
from mecpart.figures.plans.panel import Panel, seconds
from mecpart.figures.plans.times import PARTS, PlanTimes, plan_times
from mecpart.figures.style import STYLE
from mecpart.model.delay import checked_plan
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.slots import check_slot
from mecpart.tables import format_number


def plot_plan(
    scenario: Scenario, slot: Slot, plan: Int[Array, " blocks"] | Mapping[str, Int[Array, " blocks"]]
) -> Figure:
    """One slot under a plan as a Gantt picture: the nodes from top to bottom, time from left to right.

    Each node has two lanes. On the lower, wide one it computes: a bar for each block, grey for work left from earlier
    slots. On the upper one is what comes to it: an arrow from the node where the block before ran, the block's input on
    its way (hatched), and its wait until the node is free (upright lines). In `loaded` the result comes back to the
    devices in the same way. The strip above the nodes is the delay L_m of each block, with what is beyond its deadline
    marked; the strip below is the total delay as the sum of its parts. Labels that do not fit are left out.

    Where tasks stream it is the schedule of `simulate`: a bar for what is done for each task, the first few of them in
    colours of their own, and in the row of the devices a line for each device. The strips are those of `evaluate_plan`;
    the last task may be done a little later than the total delay.

    ```python
    best = mecpart.optimal_plan(scenario, slot)
    mecpart.plot_plan(scenario, slot, {"mine": plan, "best": best.plan})
    ```

    **Arguments:**

    - `slot`: from `sample_slot`.
    - `plan`: node of each block, [M] integers in 0..N. Or several plans by name: drawn one beneath the other on one
      time axis, each with its delay as a multiple of that of the last.

    **Returns:** a matplotlib figure as wide as a page of two columns. Servers that do not exist are left out; what
    never ends runs to the edge.

    **Raises:** `ValueError` as `evaluate_plan` does, and for a mapping that holds no plan.
    """
    plans = dict(plan) if isinstance(plan, Mapping) else {"": plan}
    if not plans:
        raise ValueError("plan must be a plan, or at least one by name; got {}")
    check_slot(scenario, slot)
    plans = {name: checked_plan(scenario, given) for name, given in plans.items()}
    times = {name: plan_times(scenario, slot, given) for name, given in plans.items()}
    frame = Frame.around(scenario, times.values())
    with plt.style.context(STYLE):
        figure = plt.figure()
        plt.close(figure)  # shown once in a notebook, and not kept
        # Not `layout="none"`: a figure without any engine gets the style's when it is saved.
        figure.set_layout_engine("none")
        frame.draw(figure)
        draw_plans(figure, frame, scenario, times)
    return figure


def draw_plans(
    figure: Figure, frame: Frame, scenario: Scenario, times: Mapping[str, PlanTimes]
) -> list[tuple[Axes, Artist]]:
    """Draw plans, by name, on a figure with a frame; returns what was drawn, and where."""
    last, reference = list(times.items())[-1]
    drawn: list[tuple[Axes, Artist]] = []
    for axes, (name, found) in zip(figure.axes, times.items(), strict=True):
        panel = Panel(axes, frame, found, figure.dpi_scale_trans)
        panel.draw(scenario)
        panel.entitle(*_words(name, found, last, reference))
        drawn += [(axes, artist) for artist in panel.drawn]
    return drawn


def _words(name: str, times: PlanTimes, last: str, reference: PlanTimes) -> tuple[str, str]:
    """The title of a panel: the plan's total delay, and its parts."""
    total, least = times.total_delay, reference.total_delay
    title = f"{_short(name)}: {seconds(total)}" if name else f"Total delay {seconds(total)}"
    if name != last and 0 < least < math.inf:
        ratio = format_number(round(total / least, 3))
        title += f", as {_short(last)}" if ratio == "1" else f", {ratio} times {_short(last)}"
    if math.isinf(total):
        return f"{_short(name) or 'This plan'} never ends", "a block cannot run on its node, or cannot be sent there"
    parts = [(PARTS[kind], length) for kind, length in times.parts.items() if length]
    told = [f"{words} {seconds(length)}" for words, length in parts]
    return title, " + ".join(told) if told else "there is nothing to do"


def _short(name: str) -> str:
    """A name of which a title of one line has room for two."""
    return name if len(name) <= 28 else f"{name[:27]}\N{HORIZONTAL ELLIPSIS}"
