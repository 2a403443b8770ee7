import inspect

import jax
import jax.numpy as jnp
import pytest

from mecpart.experiments.setting import Setting
from mecpart.ledger import LEDGER, Constant, Ledger
from mecpart.model.delay import keeps_up, utilisation
from mecpart.model.environment import rollout
from mecpart.model.network import make_network, sample_network
from mecpart.model.scenarios import as_printed
from mecpart.model.slots import sample_slots
from mecpart.planning.optimum import optimal_plan

# Section 6 of the definition of the model: value and status.
DEFINED = {
    "num_servers": (4, "stated"),
    "num_blocks": (6, "stated"),
    "release_rate": (60, "stated"),
    "network": ("vgg16", "stated"),
    "device_rate_range": ((0.8e6, 2e6), "stated"),
    "num_slots": (600, "stated"),
    "episodes": (3000, "stated"),
    "t_max": (32, "stated"),
    "learning_rate": (0.01, "stated"),
    "critic_learning_rate": (0.01, "stated"),
    "discount": (0.95, "stated"),
    "exploration": ((1.0, 0.01), "stated"),
    "exploration_fraction": (0.3, "chosen"),
    "workers": (8, "stated"),
    "energy_coefficient": (1e-26, "stated"),
    "server_speed_range": ((3e9, 9e9), "cited"),
    "device_frequency": (0.34e9, "derived"),
    "num_devices": (10, "chosen"),
    "cycles_per_mac": (4, "chosen"),
    "wired_rate": (125e6, "chosen"),
    "transmit_power": (1.25, "cited"),
    "slot_seconds": (7, "chosen"),
    "deadline": (5, "chosen"),
    "penalty": (1, "chosen"),
    "energy_budget": (None, "chosen"),
    "hidden": ((64, 64), "chosen"),
    "rmsprop_decay": (0.99, "chosen"),
    "rmsprop_epsilon": (1e-5, "chosen"),
    "entropy_weight": (0.01, "chosen"),
    "sharing_weight": (1e-3, "chosen"),
}


@pytest.mark.parametrize("name", DEFINED)
def test_constant_as_defined(name):
    assert (LEDGER[name].value, LEDGER[name].status) == DEFINED[name]
    assert LEDGER.default(name) == DEFINED[name][0]


def test_every_constant_has_a_status_and_a_reason():
    for name, constant in LEDGER.items():
        assert constant.name == name
        assert constant.status in ("stated", "derived", "cited", "chosen")
        assert constant.reason.strip()
    assert set(DEFINED) <= set(LEDGER)


@pytest.mark.parametrize("function", [make_network, sample_network, as_printed], ids=lambda f: f.__name__)
def test_functions_default_to_the_ledger(function):
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name in LEDGER and parameter.default is not inspect.Parameter.empty
    }
    assert defaults
    assert defaults == {name: LEDGER.default(name) for name in defaults}


def test_reasons_that_arithmetic_can_check():
    vgg16 = 313.73e6  # multiply-accumulates, from the published table
    low, high = LEDGER.default("server_speed_range")
    tier = LEDGER.default("num_devices") * LEDGER.default("device_frequency")
    assert low <= tier <= high, "the IoT tier is as fast as a slow server"
    published_watts = 4.04  # energy over local delay of APDI at 90 tasks per slot, the least there is
    power = LEDGER.default("energy_coefficient") * LEDGER.default("device_frequency") ** 2 * tier
    assert 0.95 * published_watts < power < published_watts
    cycles_per_task = vgg16 * LEDGER.default("cycles_per_mac")
    assert 60 * cycles_per_task > LEDGER.default("slot_seconds") * high, "too much for any one server"


def test_the_length_of_a_slot_leaves_a_problem_that_can_be_solved():
    """As its reason says: on ten networks the myopic plan keeps up, and one server alone does not."""

    def run(scenario):
        slots = sample_slots(jax.random.key(0), scenario, scenario.num_slots)

        def myopic(states, noise):
            return jax.vmap(lambda slot: optimal_plan(scenario, slot).plan)(states.slot)

        _, plans, cost = rollout(scenario, None, slots, myopic, jnp.zeros(scenario.num_slots))
        return keeps_up(cost.total_delay), jnp.mean(utilisation(scenario, slots, plans))

    def on_ten_networks(rate):
        scenarios = [Setting(release_rate=rate).build("loaded", seed) for seed in range(10)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *scenarios)

    run = jax.jit(jax.vmap(run))
    keeps, busy = run(on_ten_networks(60.0))
    assert (keeps.sum(), round(float(busy.mean()), 2)) == (10, 0.30)
    keeps, busy = run(on_ten_networks(110.0))
    assert (keeps.sum(), round(float(busy.mean()), 2)) == (9, 0.66)

    work = 60 * 4 * 313_725_952.0  # cycles
    alone = work / on_ten_networks(60.0).network.speed[:, 1:].max(axis=1) / 7
    assert [round(float(load), 1) for load in (alone.min(), alone.max())] == [1.2, 2.2]


class TestLedger:
    LEDGER = Ledger(
        Constant("b", "beta", 1.5, "s", "chosen", "because"), Constant("a", "alpha", (1, 2), "1", "stated", "Eq. 1")
    )

    def test_is_an_ordered_read_only_mapping(self):
        assert list(self.LEDGER) == ["b", "a"]
        assert len(self.LEDGER) == 2
        assert "a" in self.LEDGER
        assert "c" not in self.LEDGER
        with pytest.raises(TypeError):
            self.LEDGER["b"] = 2
        with pytest.raises(AttributeError):
            self.LEDGER["b"].value = 2

    def test_answers_an_unknown_name_with_those_there_are(self):
        with pytest.raises(KeyError, match=r"'c'.*b, a"):
            self.LEDGER.default("c")

    def test_as_a_table(self):
        table = self.LEDGER.to_frame()
        assert list(table.columns) == ["name", "symbol", "value", "unit", "status", "reason"]
        assert table.values.tolist() == [
            ["b", "beta", 1.5, "s", "chosen", "because"],
            ["a", "alpha", (1, 2), "1", "stated", "Eq. 1"],
        ]

    def test_prints_every_row(self):
        assert repr(self.LEDGER) == str(self.LEDGER)
        heading, first, second = str(self.LEDGER).splitlines()
        assert heading.split() == ["name", "symbol", "value", "unit", "status", "reason"]
        assert first.split() == ["b", "beta", "1.5", "s", "chosen", "because"]
        assert second.split() == ["a", "alpha", "1", "x", "2", "1", "stated", "Eq.", "1"]
        assert all(text in self.LEDGER._repr_html_() for text in ("<table", "alpha", "because"))

    def test_prints_the_whole_of_the_real_one(self):
        printed = str(LEDGER)
        assert all(constant.reason in printed for constant in LEDGER.values())
