"""The controls of the explorer: menus, sliders and buttons, what they offer, and the scenario that they stand for."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import ipywidgets as widgets
import numpy as np

from mecpart.dnn.workload import workload
from mecpart.dnn.zoo import NETWORKS, layer_table
from mecpart.ledger import LEDGER
from mecpart.model.rules import RULES
from mecpart.model.scenario import Scenario
from mecpart.model.scenarios import SCENARIOS

#: The most servers that there are to choose from, unless a network of one's own has more.
MOST_SERVERS = 9

_MENUS = ("scenario", "network", "blocks", "servers", "method", "draw")
_WIDE: dict[str, Any] = {"style": {"description_width": "110px"}, "layout": {"width": "300px", "margin": "1px"}}
_SLIDER: dict[str, Any] = {"style": {"description_width": "170px"}, "layout": {"width": "420px", "margin": "1px"}}
_UPRIGHT: dict[str, Any] = {
    "orientation": "vertical",
    "step": 0.1,
    "readout_format": ".1f",
    "layout": {"width": "40px", "height": "160px", "margin": "0"},
}
_BUTTONS: dict[str, Any] = {"style": {"button_width": "54px"}, "layout": {"width": "60px", "margin": "0"}}
_PANEL = {"margin": "0 12px 4px 0"}

_workload = cache(workload)


class Controls:
    """Menus and sliders by name, a slider for the speed and the queue of each node, buttons for each block.

    - `base`: what they begin with, and what stays; `own`: what the menu of networks calls its workload if that is
      none of `NETWORKS`, else "".
    - `rules`, `servers`, `method`: what is chosen to begin with.
    - `methods`: the names to choose from, by scenario.
    - `changed`: called with the change of every choice, once `watch` has been.
    """

    def __init__(
        self,
        base: Scenario,
        own: str,
        rules: str,
        servers: int,
        method: str,
        methods: Mapping[str, Sequence[str]],
        changed: Callable[[Mapping], None],
    ):
        self._base, self._own, self._methods, self._tell = base, own, methods, changed
        self._filling = False
        self._blocks = 0  # that have buttons on the page
        names = _node_names(base.network.num_servers)
        speed = np.asarray(base.network.speed, float) / 1e9
        fastest = max(12, 2 * speed.max())
        self.by_name = {**self._menus(rules, servers), **_sliders(base)}
        self.speeds = [
            widgets.FloatSlider(value, min=0 if node else 0.1, max=fastest, description=names[node], **_UPRIGHT)
            for node, value in enumerate(speed)
        ]
        self.queues = [widgets.FloatSlider(0, min=0, max=30, description=name, **_UPRIGHT) for name in names]
        self.nodes: list[widgets.ToggleButtons] = []
        sliders = [slider for name, slider in self.by_name.items() if name not in _MENUS]
        self._given = {slider: slider.value for slider in (*sliders, *self.speeds)}
        self._waiting = _titled("busy with earlier slots [s]", self.queues)
        self._choices = widgets.HBox(layout={"flex_flow": "row wrap"})
        self.panels = [
            widgets.VBox([self.by_name[name] for name in _MENUS], layout=_PANEL),
            widgets.VBox(sliders, layout=_PANEL),
            _titled("speed [GHz]; IoT: of all devices together", self.speeds),
            self._waiting,
            widgets.VBox([widgets.HTML("node of each block: press to change the plan"), self._choices], layout=_PANEL),
        ]
        self.offer_choices()
        self.choose_method(method)

    def _menus(self, rules: str, servers: int) -> dict[str, widgets.ValueWidget]:
        networks = [self._own] * bool(self._own) + list(NETWORKS)
        network = self._own or LEDGER.default("network")
        most = self._base.network.num_servers
        menu = widgets.Dropdown
        return {
            "scenario": menu(options=list(SCENARIOS), value=rules, description="scenario", **_WIDE),
            "network": menu(options=networks, value=network, description="network", **_WIDE),
            "blocks": menu(options=[self._base.num_blocks], description="blocks M", **_WIDE),
            "servers": menu(options=range(1, most + 1), value=servers, description="edge servers N", **_WIDE),
            "method": menu(options=[], description="method", **_WIDE),
            "draw": widgets.BoundedIntText(0, min=0, max=10**6, description="draw of links", **_WIDE),
        }

    def watch(self) -> None:
        """From now on every choice is told."""
        for control in (*self.by_name.values(), *self.speeds, *self.queues):
            control.observe(self._changed, "value")

    def _changed(self, change: Mapping) -> None:
        if self._filling:
            return
        self._tell(change)

    @contextmanager
    def _filled(self) -> Iterator[None]:
        """Menus and buttons are being filled, which is no choice."""
        self._filling = True
        try:
            yield
        finally:
            self._filling = False

    # What they offer

    def offer_choices(self) -> None:
        """Offer what goes with the scenario, the network and the number of servers, and keep what was chosen."""
        chosen = {name: control.value for name, control in self.by_name.items()}
        own = chosen["network"] == self._own
        largest = self._base.num_blocks if own else _most_blocks(chosen["network"])
        blocks = [largest] if own else list(range(1, largest + 1))
        offered = (("method", self._methods[chosen["scenario"]], "Greedy"), ("blocks", blocks, largest))
        with self._filled():
            for name, options, otherwise in offered:
                menu = self.by_name[name]
                value = menu.value if menu.value in options else otherwise
                menu.options, menu.value = options, value
        self._waiting.layout.display = None if self._rules(chosen["scenario"]).queues else "none"
        for node, (speed, queue) in enumerate(zip(self.speeds, self.queues, strict=True)):
            speed.layout.display = queue.layout.display = None if node <= chosen["servers"] else "none"

    def offer_nodes(self, plan: Sequence[int] | None = None) -> None:
        """Buttons for the blocks and nodes that there are, which show `plan`, or keep what was chosen if it can be.

        Blocks that are new run where the one before them does; what ran on a server that is gone runs on the devices.
        """
        blocks, names = self.by_name["blocks"].value, _node_names(self.by_name["servers"].value)
        kept = [button.value for button in self.nodes] or [0]
        with self._filled():
            for block in range(len(self.nodes), blocks):
                self.nodes.append(
                    widgets.ToggleButtons(tooltips=[f"block {block + 1}"] * (MOST_SERVERS + 1), **_BUTTONS)
                )
                self.nodes[-1].observe(self._changed, "value")
            for block, button in enumerate(self.nodes[:blocks]):
                chosen = kept[min(block, self._blocks - 1)] if plan is None else int(plan[block])
                if len(button.options) != len(names):
                    button.options = [(name, node) for node, name in enumerate(names)]
                button.value = chosen if chosen < len(names) else 0
            if blocks != self._blocks:
                self._blocks = blocks
                columns = enumerate(self.nodes[:blocks], start=1)
                self._choices.children = [widgets.VBox([widgets.HTML(f"{m}"), button]) for m, button in columns]

    def choose_method(self, method: str) -> None:
        """Set the menu of methods, which is told to nobody."""
        with self._filled():
            self.by_name["method"].value = method

    # What they stand for

    def scenario(self) -> Scenario:
        """The scenario that is chosen, in NumPy: with JAX it would take long to make."""
        chosen = {name: self._exact(control) for name, control in self.by_name.items()}
        speed = np.array([self._exact(slider) * 1e9 for slider in self.speeds], np.float32)
        speed[chosen["servers"] + 1 :] = 0
        rates = np.asarray(self._base.network.device_rate_range)
        of_network: dict[str, Any] = {
            "speed": speed,
            "device_frequency": speed[0] / np.float32(self._base.network.num_devices),
            "device_rate_range": (rates * (chosen["uplink"] * 1e6 / rates.mean())).astype(np.float32),
        }
        values: dict[str, Any] = {name: np.float32(chosen[name]) for name in ("release_rate", "deadline")}
        own = chosen["network"] == self._own
        times, links = self._base.times if own else None, self._base.links
        if times is not None:  # a node of twice the speed takes half as long
            runs = np.isfinite(times.seconds) & (speed > 0)
            slower = np.divide(self._base.network.speed, speed, out=np.ones_like(speed), where=speed > 0)
            seconds: Any = np.where(runs, np.where(runs, times.seconds, 0) * slower, np.inf)
            times = replace(times, seconds=seconds)
        if links is not None:
            rate: Any = np.array(links.rate)
            rate[0] *= chosen["uplink"] * 1e6 / rates.mean()
            links = replace(links, rate=rate)
        return replace(
            self._base,
            times=times,
            links=links,
            rules=self._rules(chosen["scenario"]),
            arrivals="constant",
            workload=self._base.workload if own else _workload(chosen["network"], chosen["blocks"]),
            network=replace(self._base.network, **of_network),
            **values,
        )

    def queue_delay(self) -> np.ndarray:
        """[N + 1], how long each node is busy with earlier slots, s."""
        return np.array([slider.value for slider in self.queues], np.float32)

    def plan(self) -> np.ndarray:
        """[M], the nodes that the buttons say."""
        return np.array([button.value for button in self.nodes[: self._blocks]], np.int32)

    def _rules(self, scenario: str) -> Any:
        return self._base.rules if scenario == self._base.name else RULES[scenario]

    def _exact(self, control: widgets.ValueWidget) -> Any:
        """The value of a control. A page shows a slider at the nearest step, and says so; the value given stays."""
        value, given = control.value, self._given.get(control)
        if given is None:
            return value
        apart = math.log10(value / given) if isinstance(control, widgets.FloatLogSlider) else value - given
        return given if abs(apart) <= 0.51 * control.step else value


def _sliders(base: Scenario) -> dict[str, widgets.ValueWidget]:
    release, deadline = float(base.release_rate), float(np.mean(base.deadline))
    uplink = float(np.mean(base.network.device_rate_range)) / 1e6
    return {
        "uplink": widgets.FloatLogSlider(
            uplink, min=min(-2, math.log10(uplink) - 1), max=max(2, math.log10(uplink) + 1), step=0.02,
            readout_format=".3g", description="mean uplink [MB/s]", **_SLIDER,
        ),
        "release_rate": widgets.FloatSlider(
            release, min=0, max=max(200, 2 * release), step=1, readout_format=".0f",
            description="release rate [tasks/slot]", **_SLIDER,
        ),
        "deadline": widgets.FloatSlider(
            deadline, min=0, max=max(10, 2 * deadline), step=0.1, readout_format=".1f",
            description="deadline of a block [s]", **_SLIDER,
        ),
    }  # fmt: skip


def _titled(words: str, sliders: Sequence[widgets.Widget]) -> widgets.Widget:
    row = widgets.HBox(sliders, layout={"overflow": "visible"})
    return widgets.VBox([widgets.HTML(words), row], layout=_PANEL)


def _node_names(servers: int) -> list[str]:
    return ["IoT", *(f"ES {node}" for node in range(1, servers + 1))]


@cache
def _most_blocks(network: str) -> int:
    return len(layer_table(NETWORKS[network]()))
