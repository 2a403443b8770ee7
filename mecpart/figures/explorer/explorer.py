"""The explorer itself: what is shown of the setting that its controls stand for."""

import base64
import html
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import ipywidgets as widgets
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from mecpart.dnn.workload import workload
from mecpart.figures.explorer.controls import MOST_SERVERS, Controls
from mecpart.figures.explorer.costs import costs_table
from mecpart.figures.explorer.painter import Painter
from mecpart.figures.plans.gantt import plot_plan
from mecpart.figures.plans.times import plan_times
from mecpart.ledger import LEDGER
from mecpart.methods.register import BY_HAND, methods_in
from mecpart.model.delay import checked_plan
from mecpart.model.environment import EnvState
from mecpart.model.network import sample_network
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.scenarios import SCENARIOS, as_printed
from mecpart.model.slots import sample_slot
from mecpart.planning.optimum import optimal_plan
from mecpart.validation import check_choice, check_number

_sampled = jax.jit(sample_slot)


@partial(jax.jit, static_argnums=0)
def _plan(method: Any, scenario: Scenario, slot: Slot, key: jax.Array) -> jax.Array:
    return method.plan(scenario, EnvState(slot, scenario.energy_budget, jnp.int32(0)), key)


@jax.jit
def _best_plan(scenario: Scenario, slot: Slot) -> jax.Array:
    return optimal_plan(scenario, slot).plan


class Explorer(widgets.HBox):
    """One slot under sliders: the plan of a method or one's own, and the best one, drawn anew at every move.

    A column of buttons for each block shows the node where it runs; to press another changes the plan there. The plan
    is then kept by hand, until a method is chosen again.

    A slider or a button changes values, never shapes, so nothing is compiled while it moves; that happens only where a
    method, a number of blocks or a scenario is chosen for the first time. Where there is no kernel, as in the report,
    the picture stands in for the controls.

    **Arguments:**

    - `scenario`: a key of `SCENARIOS`, with the ledger's values to begin with; or a `Scenario` of one's own, whose
      workload, network and constants then are. Tasks arrive at the release rate, and one deadline holds for all blocks.
    - `method`: the name of the method to begin with. There are those that do not learn, and those that have been
      registered by `register_policy` and `register_agent`. An agent fits as many servers as it was trained for: the
      number of a `Scenario` of one's own.

    **Attributes:**

    - `scenario`, `slot`, `plans`: what is shown, to go on with in other cells. `plans` maps names to plans, the best
      one last. Networks are padded with servers of speed 0.
    - `controls`: menus and sliders by name; `speeds` and `queues`: the sliders of each node; `nodes`: the buttons of
      each block.
    - `picture`, `numbers`: what they change.

    **Raises:** `ValueError` for a name that there is not, or a link without any rate (of measured ones, where the first
    node has none).
    """

    def __init__(self, scenario: Scenario | str = "as_printed", method: str = "Greedy"):
        if not isinstance(scenario, Scenario):
            check_choice("scenario", scenario, SCENARIOS)
        rules = scenario.name if isinstance(scenario, Scenario) else scenario
        self._methods = {rules: _methods_in(rules) for rules in SCENARIOS}
        check_choice("method", method, self._methods[rules])
        if isinstance(scenario, Scenario):
            rates = np.asarray(scenario.network.device_rate_range)
            # Of measured links some may not exist: then one that does is enough for the slider of their mean.
            check_number("network.device_rate_range", rates if scenario.links is None else rates[1], exclusive=True)
            base, own = scenario, f"{scenario.workload.name} (given)"
            servers = int(np.flatnonzero(scenario.network.speed)[-1])
        else:
            # A server of a larger network has the speed that it has in a smaller one.
            network = sample_network(jax.random.key(0), MOST_SERVERS)
            base, own = as_printed(workload(LEDGER.default("network")), network), ""
            servers = LEDGER.default("num_servers")
        offered = {name: [*methods, BY_HAND] for name, methods in self._methods.items()}
        self._controls = Controls(base, own, rules, servers, method, offered, self._changed)
        self.controls, self.nodes = self._controls.by_name, self._controls.nodes
        self.speeds, self.queues = self._controls.speeds, self._controls.queues
        self._painter = Painter()
        self.numbers = widgets.HTML()
        self.picture = widgets.Image(format="png", layout={"width": "100%", "max_width": "880px"})
        result = widgets.VBox([self.numbers, self.picture], layout={"flex": "1 1 760px", "overflow": "hidden"})
        super().__init__(
            [*self._controls.panels, result], layout={"flex_flow": "row wrap", "align_items": "flex-start"}
        )
        self._show()
        self._controls.watch()

    def figure(self) -> Figure:
        """What is shown as a figure of its own, to be saved or changed."""
        return plot_plan(self.scenario, self.slot, self.plans)

    def _repr_mimebundle_(self, **options) -> dict:
        shown = super()._repr_mimebundle_(**options)
        return {**shown, "image/png": base64.b64encode(self.picture.value).decode(), "text/plain": "Explorer"}

    def _changed(self, change: Mapping) -> None:
        if change["owner"] in self.nodes:
            self._controls.choose_method(BY_HAND)
        try:
            if change["owner"] in (self.controls[name] for name in ("scenario", "network", "servers")):
                self._controls.offer_choices()
            self._show()
        except Exception as error:  # a method of one's own; nobody would see it
            self.picture.value = b""
            self.numbers.value = f"<b>{html.escape(f'{type(error).__name__}: {error}')}</b>"

    def _show(self) -> None:
        self.scenario = jax.device_put(self._controls.scenario())
        rules = self.scenario.rules
        key = jax.random.key(self.controls["draw"].value)
        queue = self._controls.queue_delay() * rules.queues
        self.slot = replace(_sampled(key, self.scenario), backlog=jnp.asarray(queue))

        method, best = self.controls["method"].value, "Myopic" if rules.slots_couple else "Optimal"
        if method == BY_HAND:
            self._controls.offer_nodes()
            plan = self._controls.plan()
        else:
            plan = np.asarray(_plan(self._methods[rules.name][method], self.scenario, self.slot, key))
        checked = checked_plan(self.scenario, plan)  # that of a method of one's own may name any node
        found = [plan_times(self.scenario, self.slot, each) for each in (checked, _best_plan(self.scenario, self.slot))]
        times = dict(zip((method, best), found, strict=True))
        self.plans = {name: each.plan for name, each in times.items()}
        picture = self._painter.draw(self.scenario, times)
        self.numbers.value, self.picture.value = costs_table(self.scenario, times), picture
        self._controls.offer_nodes(self.plans[method])


def _methods_in(rules: str) -> dict[str, Any]:
    """The methods to choose from in a scenario: all that need no training."""
    return {name: method for name, method in methods_in(rules).items() if not method.learns}
