"""A slot to play with in a notebook: sliders for the setting, and the picture of a plan, a method's or one's own."""

import base64
import html
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import ipywidgets as widgets
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from mecpart.dnn.workload import Workload, workload
from mecpart.dnn.zoo import NETWORKS, layer_table
from mecpart.figures.plans.frame import Frame
from mecpart.figures.plans.gantt import draw_plans, plot_plan
from mecpart.figures.plans.times import PlanTimes, plan_times
from mecpart.figures.style import STYLE
from mecpart.ledger import LEDGER
from mecpart.methods import OwnMethod, own_methods
from mecpart.model.delay import checked_plan
from mecpart.model.environment import EnvState
from mecpart.model.network import sample_network
from mecpart.model.rules import RULES
from mecpart.model.scenario import SCENARIOS, Scenario, Slot, as_printed, sample_slot
from mecpart.planning.optimum import optimal_plan
from mecpart.planning.policies import BY_HAND, ONLY_IN, POLICIES
from mecpart.tables import format_number
from mecpart.validation import check_choice, check_number

#: A method as in `mecpart.POLICIES`: `plan = policy(scenario, slot, key)`, of functions that JAX can trace.
Policy = Callable[[Scenario, Slot, jax.Array], jax.Array]

_DPI = 120
_MOST_SERVERS = 9
# The time axis ends at one of these times a power of ten, so that it keeps still while a slider moves a little.
_ENDS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)

_sampled = jax.jit(sample_slot)
_times = jax.jit(plan_times)


@partial(jax.jit, static_argnums=0)
def _plan(policy: Policy, scenario: Scenario, slot: Slot, key: jax.Array) -> jax.Array:
    return policy(scenario, slot, key)


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

    **Raises:** `ValueError` for a name that there is not, or a link without any rate.
    """

    def __init__(self, scenario: Scenario | str = "as_printed", method: str = "Greedy"):
        if not isinstance(scenario, Scenario):
            check_choice("scenario", scenario, SCENARIOS)
        rules = scenario.name if isinstance(scenario, Scenario) else scenario
        self._methods = {rules: _methods_in(rules) for rules in SCENARIOS}
        check_choice("method", method, self._methods[rules])
        if isinstance(scenario, Scenario):
            check_number("network.device_rate_range", scenario.network.device_rate_range, exclusive=True)
            self._base, self._own = scenario, f"{scenario.workload.name} (given)"
            servers = int(np.sum(np.asarray(scenario.network.speed[1:]) > 0))
        else:
            # A server of a larger network has the speed that it has in a smaller one.
            network = sample_network(jax.random.key(0), _MOST_SERVERS)
            self._base, self._own = as_printed(workload(LEDGER.default("network")), network), ""
            servers = LEDGER.default("num_servers")
        self._made: tuple[str, int] | None = None  # the workload that was used last
        self._blocks = 0  # that have buttons on the page
        self._painter = _Painter()
        self.numbers = widgets.HTML()
        self.picture = widgets.Image(format="png", layout={"width": "100%", "max_width": "880px"})
        result = widgets.VBox([self.numbers, self.picture], layout={"flex": "1 1 760px", "overflow": "hidden"})
        self._make_controls(rules, servers)
        self.nodes: list[widgets.ToggleButtons] = []
        super().__init__([*self._panels(), result], layout={"flex_flow": "row wrap", "align_items": "flex-start"})
        self._offer_choices()
        self.controls["method"].value = method
        self._show()
        for control in (*self.controls.values(), *self.speeds, *self.queues):
            control.observe(self._changed, "value")

    def figure(self) -> Figure:
        """What is shown as a figure of its own, to be saved or changed."""
        return plot_plan(self.scenario, self.slot, self.plans)

    def _repr_mimebundle_(self, **options) -> dict:
        shown = super()._repr_mimebundle_(**options)
        return {**shown, "image/png": base64.b64encode(self.picture.value).decode(), "text/plain": "Explorer"}

    # Controls

    def _make_controls(self, rules: str, servers: int) -> None:
        base = self._base
        wide = {"style": {"description_width": "110px"}, "layout": {"width": "300px", "margin": "1px"}}
        slider = {"style": {"description_width": "170px"}, "layout": {"width": "420px", "margin": "1px"}}
        names = [self._own] * bool(self._own) + list(NETWORKS)
        most = base.network.num_servers
        network = self._own or LEDGER.default("network")
        release, deadline = float(base.release_rate), float(np.mean(base.deadline))
        uplink = float(np.mean(base.network.device_rate_range)) / 1e6
        self.controls: dict[str, widgets.ValueWidget] = {
            "scenario": widgets.Dropdown(options=list(SCENARIOS), value=rules, description="scenario", **wide),
            "network": widgets.Dropdown(options=names, value=network, description="network", **wide),
            "blocks": widgets.Dropdown(options=[base.num_blocks], description="blocks M", **wide),
            "servers": widgets.Dropdown(
                options=range(1, most + 1), value=servers, description="edge servers N", **wide
            ),
            "method": widgets.Dropdown(options=[], description="method", **wide),
            "draw": widgets.BoundedIntText(0, min=0, max=10**6, description="draw of links", **wide),
            "uplink": widgets.FloatLogSlider(
                uplink, min=min(-2, math.log10(uplink) - 1), max=max(2, math.log10(uplink) + 1), step=0.02,
                readout_format=".3g",
                description="mean uplink [MB/s]", **slider,
            ),
            "release_rate": widgets.FloatSlider(
                release, min=0, max=max(200, 2 * release), step=1, readout_format=".0f",
                description="release rate [tasks/slot]", **slider,
            ),
            "deadline": widgets.FloatSlider(
                deadline, min=0, max=max(10, 2 * deadline), step=0.1, readout_format=".1f",
                description="deadline of a block [s]", **slider,
            ),
        }  # fmt: skip
        speed = np.asarray(base.network.speed, float) / 1e9
        fastest = max(12, 2 * speed.max())
        upright = {
            "orientation": "vertical",
            "step": 0.1,
            "readout_format": ".1f",
            "layout": {"width": "40px", "height": "160px", "margin": "0"},
        }
        nodes = _node_names(most)
        self.speeds = [
            widgets.FloatSlider(value, min=0 if node else 0.1, max=fastest, description=nodes[node], **upright)
            for node, value in enumerate(speed)
        ]
        self.queues = [widgets.FloatSlider(0, min=0, max=30, description=name, **upright) for name in nodes]
        sliders = [self.controls[name] for name in ("uplink", "release_rate", "deadline")]
        self._given = {slider: slider.value for slider in (*sliders, *self.speeds)}

    def _panels(self) -> list[widgets.Widget]:
        menus = ("scenario", "network", "blocks", "servers", "method", "draw")
        layout = {"margin": "0 12px 4px 0"}

        def titled(words: str, sliders: Sequence[widgets.Widget]) -> widgets.Widget:
            row = widgets.HBox(sliders, layout={"overflow": "visible"})
            return widgets.VBox([widgets.HTML(words), row], layout=layout)

        self._waiting = titled("busy with earlier slots [s]", self.queues)
        self._choices = widgets.HBox(layout={"flex_flow": "row wrap"})
        return [
            widgets.VBox([self.controls[name] for name in menus], layout=layout),
            widgets.VBox([control for name, control in self.controls.items() if name not in menus], layout=layout),
            titled("speed [GHz]; IoT: of all devices together", self.speeds),
            self._waiting,
            widgets.VBox([widgets.HTML("node of each block: press to change the plan"), self._choices], layout=layout),
        ]

    def _offer_choices(self) -> None:
        """Offer what goes with the scenario, the network and the number of servers, and keep what was chosen."""
        chosen = self.controls
        methods = [*self._methods[chosen["scenario"].value], BY_HAND]
        own = chosen["network"].value == self._own
        largest = self._base.num_blocks if own else _most_blocks(chosen["network"].value)
        blocks = [largest] if own else list(range(1, largest + 1))
        self._offering = True
        for name, options, otherwise in (("method", methods, "Greedy"), ("blocks", blocks, largest)):
            menu = chosen[name]
            value = menu.value if menu.value in options else otherwise
            menu.options, menu.value = options, value
        self._offering = False
        self._waiting.layout.display = None if chosen["scenario"].value == "loaded" else "none"
        for node, (speed, queue) in enumerate(zip(self.speeds, self.queues, strict=True)):
            speed.layout.display = queue.layout.display = None if node <= chosen["servers"].value else "none"

    def _offer_nodes(self, plan: Sequence[int] | None = None) -> None:
        """Buttons for the blocks and nodes that there are, which show `plan`, or keep what was chosen if it can be.

        Blocks that are new run where the one before them does; what ran on a server that is gone runs on the devices.
        """
        blocks, names = self.controls["blocks"].value, _node_names(self.controls["servers"].value)
        kept = [button.value for button in self.nodes] or [0]
        self._offering = True
        for block in range(len(self.nodes), blocks):
            look: dict[str, Any] = {"style": {"button_width": "54px"}, "layout": {"width": "60px", "margin": "0"}}
            self.nodes.append(widgets.ToggleButtons(tooltips=[f"block {block + 1}"] * (_MOST_SERVERS + 1), **look))
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
        self._offering = False

    def _changed(self, change: Mapping) -> None:
        if self._offering:  # the menus are being filled, which is no choice
            return
        if change["owner"] in self.nodes:
            self._offering = True
            self.controls["method"].value = BY_HAND
            self._offering = False
        try:
            if change["owner"] in (self.controls[name] for name in ("scenario", "network", "servers")):
                self._offer_choices()
            self._show()
        except Exception as error:  # a method of one's own; nobody would see it
            self.picture.value = b""
            self.numbers.value = f"<b>{html.escape(f'{type(error).__name__}: {error}')}</b>"

    # What is shown

    def _show(self) -> None:
        self.scenario = jax.device_put(self._chosen_scenario())
        key = jax.random.key(self.controls["draw"].value)
        queue = np.array([slider.value for slider in self.queues], np.float32) * self.scenario.rules.queues
        drawn = _sampled(key, self.scenario)
        self.slot = replace(drawn, backlog=jnp.asarray(queue * np.asarray(self.scenario.network.speed)))

        method, best = self.controls["method"].value, "Myopic" if self.scenario.rules.slots_couple else "Optimal"
        if method == BY_HAND:
            self._offer_nodes()
            plan = np.array([button.value for button in self.nodes[: self.scenario.num_blocks]], np.int32)
        else:
            plan = np.asarray(_plan(self._methods[self.scenario.name][method], self.scenario, self.slot, key))
        checked = checked_plan(self.scenario, plan)  # that of a method of one's own may name any node
        found = [_times(self.scenario, self.slot, each) for each in (checked, _best_plan(self.scenario, self.slot))]
        times = dict(zip((method, best), jax.device_get(found), strict=True))
        self.plans = {name: each.plan for name, each in times.items()}
        picture = self._painter.draw(self.scenario, times)
        self.numbers.value, self.picture.value = _table(times, self.scenario), picture
        self._offer_nodes(self.plans[method])

    def _chosen_scenario(self) -> Scenario:
        """What the controls stand for, in NumPy: with JAX it would take long to make."""
        chosen = {name: self._exact(control) for name, control in self.controls.items()}
        speed = np.array([self._exact(slider) * 1e9 for slider in self.speeds], np.float32)
        speed[chosen["servers"] + 1 :] = 0
        rates = np.asarray(self._base.network.device_rate_range)
        of_network: dict[str, Any] = {
            "speed": speed,
            "device_frequency": speed[0] / np.float32(self._base.network.num_devices),
            "device_rate_range": (rates * (chosen["uplink"] * 1e6 / rates.mean())).astype(np.float32),
        }
        values: dict[str, Any] = {name: np.float32(chosen[name]) for name in ("release_rate", "deadline")}
        return replace(
            self._base,
            rules=RULES[chosen["scenario"]] if chosen["scenario"] != self._base.name else self._base.rules,
            arrivals="constant",
            workload=self._workload(chosen["network"], chosen["blocks"]),
            network=replace(self._base.network, **of_network),
            **values,
        )

    def _exact(self, control: widgets.ValueWidget) -> Any:
        """The value of a control. A page shows a slider at the nearest step, and says so; the value given stays."""
        value, given = control.value, self._given.get(control)
        if given is None:
            return value
        apart = math.log10(value / given) if isinstance(control, widgets.FloatLogSlider) else value - given
        return given if abs(apart) <= 0.51 * control.step else value

    def _workload(self, network: str, blocks: int) -> Workload:
        if (network, blocks) != self._made:
            self._made = network, blocks
            self._last_workload = self._base.workload if network == self._own else workload(network, blocks)
        return self._last_workload


class _Painter:
    """Draws plans as PNG: what stays from one move to the next is drawn once, and copied."""

    def __init__(self) -> None:
        self._figure = Figure(dpi=_DPI)
        self._figure.set_layout_engine("none")
        self._canvas = FigureCanvasAgg(self._figure)
        self._frame: Frame | None = None

    def draw(self, scenario: Scenario, times: Mapping[str, PlanTimes]) -> bytes:
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


@cache
def _most_blocks(network: str) -> int:
    return len(layer_table(NETWORKS[network]()))


def _methods_in(rules: str) -> dict[str, Policy]:
    """The methods to choose from in a scenario: all that need no training."""
    methods: dict[str, Policy] = {
        name: policy for name, policy in POLICIES.items() if ONLY_IN.get(name, rules) == rules
    }
    for name, own in own_methods().items():
        if own.kind != "learner" and rules in own.scenarios:
            methods[name] = partial(_own_plan, own)
    return methods


def _own_plan(own: OwnMethod, scenario: Scenario, slot: Slot, key: jax.Array) -> jax.Array:
    return own.plan(scenario, EnvState(slot, scenario.energy_budget, jnp.int32(0)), key)


_COLUMNS = (
    "total [s]", "gap [%]", "transmission [s]", "waiting [s]", "on the devices [s]", "on edge servers [s]",
    "late blocks", "energy [J]", "reward",
)  # fmt: skip


def _node_names(servers: int) -> list[str]:
    return ["IoT", *(f"ES {node}" for node in range(1, servers + 1))]


def _table(times: Mapping[str, PlanTimes], scenario: Scenario) -> str:
    """The costs of plans, a row for each, and the gap of each to the last."""
    rows = []
    least = float(list(times.values())[-1].cost.total_delay)
    for name, found in times.items():
        cost = found.cost
        values = (
            cost.total_delay,
            100 * (float(cost.total_delay) / least - 1) if 0 < least < math.inf else math.nan,
            cost.transmission_delay.sum(),
            cost.waiting_delay.sum(),
            cost.local_delay,
            cost.computation_delay[found.plan > 0].sum(),
            (cost.block_delay > np.asarray(scenario.deadline)).sum(),
            cost.energy,
            cost.reward,
        )
        cells = "".join(f"<td>{format_number(float(value))}</td>" for value in values)
        rows.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    head = "".join(f"<th>{column}</th>" for column in ("", *_COLUMNS))
    return (
        "<style>.mecpart-numbers td, .mecpart-numbers th { padding: 0 8px; text-align: right }"
        ".mecpart-numbers th:first-child { white-space: nowrap }</style>"
        f'<table class="mecpart-numbers"><tr>{head}</tr>{"".join(rows)}</table>'
    )
