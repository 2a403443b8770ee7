from dataclasses import replace
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from instances import round_problem
from scipy import stats

from mecpart.dnn.workload import Workload
from mecpart.model.delay import evaluate_plan
from mecpart.model.environment import EnvState, PartitionEnv, observe
from mecpart.model.network import Network, make_network, sample_network, shannon_rate
from mecpart.model.rules import AS_PRINTED, LOADED
from mecpart.model.scenario import ARRIVALS, Scenario, Slot
from mecpart.model.scenarios import SCENARIOS, as_printed, loaded, pipelined
from mecpart.model.slots import check_slot, sample_slot, sample_slots
from mecpart.planning.bounds import episode_bound, lower_bound
from mecpart.planning.optimum import optimal_plan, priced_plan
from mecpart.planning.policies import POLICIES

KEY = jax.random.key(0)
BAD = [(-1.0, "-1"), (float("nan"), "nan"), (float("inf"), "inf"), ("60", "'60'"), (None, "None")]


def table(blocks=3):
    """A workload of whole numbers."""
    block = np.arange(1, blocks + 1, dtype=np.float32)
    return Workload(block, 2 * block, 3 * block, np.float32(1), tuple(map(str, range(blocks))), "table")


NETWORK = make_network([1.0, 2.0], num_devices=2, device_frequency=3, energy_coefficient=0.5, device_rate_range=(2, 5))


class TestAsPrinted:
    def test_work_and_data_of_a_slot(self):
        scenario = as_printed(table(), NETWORK, release_rate=10, cycles_per_mac=4)
        np.testing.assert_array_equal(scenario.work, [40, 80, 120])  # 10 tasks * 4 cycles * (1, 2, 3)
        np.testing.assert_array_equal(scenario.data, [20, 40, 60])  # 10 tasks * (2, 4, 6) bytes
        assert (scenario.num_blocks, scenario.num_nodes, scenario.name) == (3, 3, "as_printed")

    def test_the_energy_budget_is_that_of_an_episode_on_the_devices(self):
        scenario = as_printed(table(), NETWORK, release_rate=10, cycles_per_mac=4, num_slots=7)
        assert scenario.energy_budget == 7 * 0.5 * 3**2 * (40 + 80 + 120)  # T kappa (f^l)^2 sum c_m
        assert as_printed(table(), NETWORK, energy_budget=12).energy_budget == 12

    def test_defaults(self):
        scenario = as_printed(table(), NETWORK)
        names = ("release_rate", "deadline", "penalty", "cycles_per_mac", "slot_seconds")
        assert [float(getattr(scenario, name)) for name in names] == [60, 5, 1, 4, 7]
        assert scenario.num_slots == 600

    def test_every_value_can_be_given(self):
        given = {"penalty": 2, "cycles_per_mac": 3, "slot_seconds": 4, "energy_budget": 5, "num_slots": 6}
        scenario = as_printed(table(), NETWORK, 7, 8, **given)
        assert {name: float(getattr(scenario, name)) for name in given} == given
        assert (scenario.release_rate, scenario.deadline) == (7, 8)
        np.testing.assert_array_equal(as_printed(table(), NETWORK, deadline=[1, 2, 3]).deadline, [1, 2, 3])

    def test_all_arrays_are_float32(self):
        scenario = as_printed(table(), NETWORK, release_rate=60, deadline=[1, 2, 3], penalty=1, energy_budget=3)
        assert {leaf.dtype for leaf in jax.tree.leaves(scenario)} == {np.dtype(np.float32)}

    def test_compiles_once_for_all_values(self):
        @jax.jit
        @chex.assert_max_traces(1)
        def load(scenario):
            return scenario.work.sum() * scenario.release_rate

        rates = (1.0, 2.0, 5.0)
        found = [float(load(as_printed(table(), NETWORK, rate, cycles_per_mac=1))) for rate in rates]
        assert found == [6 * rate**2 for rate in rates]

    def test_can_be_made_inside_a_transformation(self):
        def work(rate, speed):
            network = make_network(speed, num_devices=2, device_frequency=3, energy_coefficient=0.5)
            scenario = as_printed(table(), network, rate, cycles_per_mac=1, num_slots=1)
            return scenario.work, scenario.energy_budget

        work_, budget = jax.jit(jax.vmap(work))(jnp.array([1.0, 2.0]), jnp.ones((2, 2)))
        np.testing.assert_array_equal(work_, [[1, 2, 3], [2, 4, 6]])
        np.testing.assert_array_equal(budget, [4.5 * 6, 4.5 * 12])

    def test_is_in_the_list_of_scenarios(self):
        assert SCENARIOS["as_printed"] is as_printed

    @pytest.mark.parametrize(
        "name", ["release_rate", "deadline", "penalty", "cycles_per_mac", "slot_seconds", "energy_budget"]
    )
    @pytest.mark.parametrize(("value", "got"), BAD, ids=repr)
    def test_refuses_a_bad_value(self, refused, name, value, got):
        if (name, value) == ("energy_budget", None):
            return  # stands for the energy of an episode on the devices
        with refused(name, f"got {got}", "finite and above 0" if name == "slot_seconds" else "finite and at least 0"):
            as_printed(table(7), NETWORK, **{name: value})

    @pytest.mark.parametrize("name", ["release_rate", "penalty", "cycles_per_mac", "slot_seconds", "energy_budget"])
    def test_refuses_several_values_where_one_is_meant(self, refused, name):
        with refused(name, "got (7,)", "()"):
            as_printed(table(7), NETWORK, **{name: np.ones(7)})

    @pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "600"], ids=repr)
    def test_refuses_a_bad_number_of_slots(self, refused, value):
        with refused("num_slots", f"got {value!r}", "a whole number of at least 1"):
            as_printed(table(7), NETWORK, num_slots=value)

    def test_refuses_a_slot_without_length(self, refused):
        with refused("slot_seconds", "got 0", "above 0"):
            as_printed(table(7), NETWORK, slot_seconds=0)

    def test_refuses_deadlines_for_another_number_of_blocks(self, refused):
        with refused("deadline", "got (2,)", "() or (7,)"):
            as_printed(table(7), NETWORK, deadline=[1.0, 2.0])
        with refused("deadline", "got (1,)", "() or (7,)"):  # also where values are unknown
            jax.jit(lambda deadline: as_printed(table(7), NETWORK, deadline=deadline).deadline)(np.ones(1))

    @pytest.mark.parametrize("name", ["macs", "input_bytes", "parameter_bytes", "output_bytes"])
    def test_refuses_a_bad_workload(self, refused, name):
        bad = np.full(np.shape(getattr(table(7), name)), np.nan, np.float32)
        with refused(f"workload.{name}", "got nan", "finite and at least 0"):
            as_printed(replace(table(7), **{name: bad}), NETWORK)
        with refused(f"workload.{name}", "got (2,)", "must have shape"):
            as_printed(replace(table(7), **{name: np.ones(2)}), NETWORK)

    def test_refuses_a_bad_network(self, refused):
        with refused("network.speed", "got -1", "at least 0"):
            as_printed(table(7), replace(NETWORK, speed=np.array([1.0, -1.0], np.float32)))


class TestLoaded:
    def test_differs_from_as_printed_in_its_rules_alone(self):
        values = {"penalty": 2, "cycles_per_mac": 3, "slot_seconds": 4, "energy_budget": 5, "num_slots": 6}
        for given in ({}, values, values | {"energy_budget": None}):
            one, other = as_printed(table(), NETWORK, 7, 8, **given), loaded(table(), NETWORK, 7, 8, **given)
            assert (one.name, one.rules, other.name, other.rules) == ("as_printed", AS_PRINTED, "loaded", LOADED)
            assert one.arrivals == other.arrivals == "constant"
            chex.assert_trees_all_equal(replace(other, rules=AS_PRINTED), one)
        chex.assert_trees_all_equal(replace(loaded(table(), NETWORK), rules=AS_PRINTED), as_printed(table(), NETWORK))

    def test_is_in_the_list_of_scenarios(self):
        assert {"as_printed": as_printed, "loaded": loaded, "pipelined": pipelined} == SCENARIOS

    @pytest.mark.parametrize("arrivals", ARRIVALS)
    def test_arrivals(self, arrivals):
        scenario = loaded(table(), NETWORK, 10, cycles_per_mac=4, num_slots=7, arrivals=arrivals)
        assert scenario.arrivals == arrivals
        np.testing.assert_array_equal(scenario.work, [40, 80, 120])  # of a mean slot
        assert scenario.energy_budget == 7 * 0.5 * 3**2 * (40 + 80 + 120)

    @pytest.mark.parametrize("arrivals", ["Poisson", "uniform", "", None, 3], ids=repr)
    def test_refuses_other_arrivals(self, refused, arrivals):
        with refused("arrivals", f"got {arrivals!r}", "'constant', 'poisson'"):
            loaded(table(7), NETWORK, arrivals=arrivals)

    @pytest.mark.parametrize("name", ["release_rate", "deadline", "slot_seconds", "energy_budget"])
    def test_refuses_a_bad_value(self, refused, name):
        for value, got in BAD[:4]:
            with refused(name, f"got {got}", "finite and a"):
                loaded(table(7), NETWORK, **{name: value})
        with refused("workload.macs", "got (2,)", "must have shape"):
            loaded(replace(table(7), macs=np.ones(2)), NETWORK)

    def test_work_and_data_of_a_slot_with_tasks_of_its_own(self):
        scenario, (_, slot) = loaded(table(), NETWORK, 10, cycles_per_mac=4), round_problem()
        assert (scenario.tasks_in(slot), scenario.tasks_in(replace(slot, tasks=np.float32(2)))) == (10, 2)
        np.testing.assert_array_equal(scenario.work_in(slot), scenario.work)
        np.testing.assert_array_equal(scenario.data_in(slot), scenario.data)
        two = replace(slot, tasks=np.float32(2))
        np.testing.assert_array_equal(scenario.work_in(two), [8, 16, 24])  # 2 tasks * 4 cycles * (1, 2, 3)
        np.testing.assert_array_equal(scenario.data_in(two), [4, 8, 12])


class TestPoissonArrivals:
    SCENARIO = loaded(table(), NETWORK, 7, arrivals="poisson")
    COUNT = 4000

    def test_mean_variance_and_independence(self):
        tasks = np.asarray(sample_slots(KEY, self.SCENARIO, self.COUNT).tasks)
        assert (tasks.shape, tasks.dtype) == ((self.COUNT,), np.float32)
        np.testing.assert_array_equal(tasks, np.round(tasks))
        assert abs(tasks.mean() - 7) < 4 * np.sqrt(7 / self.COUNT)
        assert abs(tasks.var() - 7) < 4 * np.sqrt((2 * 7**2 + 7) / self.COUNT)  # the variance of a variance
        assert abs(np.corrcoef(tasks[1:], tasks[:-1])[0, 1]) < 4 / np.sqrt(self.COUNT)
        others = np.asarray(sample_slots(jax.random.key(1), self.SCENARIO, self.COUNT).tasks)
        assert abs(np.corrcoef(tasks, others)[0, 1]) < 4 / np.sqrt(self.COUNT)

    def test_change_no_rate(self):
        """Constant arrivals see the same channels, and a network with more servers the same tasks."""
        drawn = sample_slots(KEY, self.SCENARIO, 50)
        constant = sample_slots(KEY, replace(self.SCENARIO, arrivals="constant"), 50)
        np.testing.assert_array_equal(drawn.device_rate, constant.device_rate)
        assert constant.tasks is None
        wide = replace(NETWORK, speed=np.array([6, 1, 2, 0, 0], np.float32))
        more = sample_slots(KEY, replace(self.SCENARIO, network=wide), 50)
        np.testing.assert_array_equal(more.tasks, drawn.tasks)

    def test_one_slot(self):
        slot = sample_slot(KEY, self.SCENARIO)
        assert slot.tasks.shape == ()
        check_slot(self.SCENARIO, slot)

    def test_only_in_loaded(self):
        assert as_printed(table(), NETWORK).arrivals == "constant"
        assert sample_slots(KEY, as_printed(table(), NETWORK), 3).tasks is None
        with pytest.raises(TypeError, match="arrivals"):
            as_printed(table(), NETWORK, arrivals="poisson")


class TestSampling:
    SCENARIO = as_printed(table(), NETWORK)

    def test_a_slot(self):
        slot = sample_slot(KEY, self.SCENARIO)
        assert slot.device_rate.shape == (3, 2)
        assert slot.device_rate.dtype == slot.backlog.dtype == np.float32
        np.testing.assert_array_equal(slot.backlog, np.zeros(3))
        check_slot(self.SCENARIO, slot)

    def test_rates_are_uniform_in_the_range_and_independent(self):
        rate = np.asarray(sample_slots(KEY, self.SCENARIO, 1000).device_rate)
        assert rate.shape == (1000, 3, 2)
        assert rate.min() >= 2
        assert rate.max() <= 5
        assert stats.kstest(rate.ravel(), stats.uniform(2, 3).cdf).pvalue > 0.01
        between_links = np.corrcoef(rate.reshape(1000, -1), rowvar=False)
        between_slots = np.corrcoef(rate[1:].ravel(), rate[:-1].ravel())[0, 1]
        assert abs(between_links[np.triu_indices(6, 1)]).max() < 4 / np.sqrt(1000)
        assert abs(between_slots) < 4 / np.sqrt(6000)

    def test_one_slot_and_many_are_drawn_alike(self):
        one, many = sample_slot(KEY, self.SCENARIO), sample_slots(KEY, self.SCENARIO, 1)
        np.testing.assert_array_equal(one.device_rate, many.device_rate[0])
        assert many.backlog.shape == (1, 3)

    def test_padding_changes_no_draw(self):
        wide = replace(NETWORK, speed=np.array([6, 1, 2, 0, 0], np.float32))
        rate = sample_slots(KEY, replace(self.SCENARIO, network=wide), 4).device_rate
        assert rate.shape == (4, 3, 4)
        np.testing.assert_array_equal(rate[..., :2], sample_slots(KEY, self.SCENARIO, 4).device_rate)

    def test_a_range_of_one_value(self):
        fixed = replace(NETWORK, device_rate_range=np.array([3, 3], np.float32))
        assert (sample_slot(KEY, replace(self.SCENARIO, network=fixed)).device_rate == 3).all()

    @pytest.mark.parametrize("count", [0, -1, 2.0, "3", None], ids=repr)
    def test_refuses_a_bad_number_of_slots(self, refused, count):
        with refused("count", f"got {count!r}", "a whole number of at least 1"):
            sample_slots(KEY, self.SCENARIO, count)


class TestCheckSlot:
    def test_refuses_another_shape(self, refused):
        scenario, slot = round_problem()
        with refused("slot.device_rate", "got (2, 3)", "(3, 2)"):
            check_slot(scenario, replace(slot, device_rate=np.ones((2, 3))))
        with refused("slot.backlog", "got (2,)", "(3,)"):
            check_slot(scenario, replace(slot, backlog=np.ones(2)))

    @pytest.mark.parametrize("name", ["device_rate", "backlog"])
    @pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
    def test_refuses_a_bad_value(self, refused, name, value):
        scenario, slot = round_problem()
        bad = np.ones_like(getattr(slot, name))
        bad[-1] = value
        with refused(f"slot.{name}", f"got {value:g}", "finite and at least 0"):
            check_slot(scenario, replace(slot, **{name: bad}))

    def test_refuses_bad_tasks(self, refused):
        scenario, slot = round_problem("loaded")
        check_slot(scenario, replace(slot, tasks=np.float32(0)))
        for value in (-1.0, np.nan, np.inf):
            with refused("slot.tasks", f"got {value:g}", "finite and at least 0"):
                check_slot(scenario, replace(slot, tasks=np.float32(value)))
        with refused("slot.tasks", "got (2,)", "()"):
            check_slot(scenario, replace(slot, tasks=np.ones(2)))

    def test_under_jit_shapes_alone(self, refused):
        scenario, _ = round_problem()

        def checked(rate):
            check_slot(scenario, Slot(rate, np.zeros(3)))
            return rate

        assert np.isnan(jax.jit(checked)(np.full((3, 2), np.nan))).all()
        with refused("slot.device_rate", "got (3, 3)", "(3, 2)"):
            jax.jit(checked)(np.ones((3, 3)))


class TestSlotsInShort:
    """`Slot(device_rate)` is the slot with every rate and an empty queue everywhere written out."""

    @pytest.mark.parametrize("rate", [2, [2, 4], [[2, 4], [1, 2], [4, 8]]], ids=str)
    def test_costs_the_same(self, rate):
        scenario, _ = round_problem("loaded")
        whole = Slot(np.broadcast_to(np.float32(rate), (3, 2)), np.zeros(3, np.float32))
        for slot in (whole, Slot(rate), Slot(np.float32(rate)), Slot(np.float64(rate))):
            cost = evaluate_plan(scenario, slot, [0, 2, 1])
            np.testing.assert_array_equal(cost.block_delay, evaluate_plan(scenario, whole, [0, 2, 1]).block_delay)

    @pytest.mark.parametrize("rules", SCENARIOS)
    def test_is_enough_wherever_a_slot_is_taken(self, rules):
        scenario, _ = round_problem(rules)
        plan, names = np.array([0, 2, 1]), ["Greedy", "One ES"] + ["Look-ahead"] * (rules == "loaded")

        @jax.jit
        def results(scenario, slot):
            plans = [POLICIES[name](scenario, slot, KEY) for name in names]
            episode = jax.tree.map(lambda leaf: leaf[None], slot)
            bounds = lower_bound(scenario, slot), episode_bound(scenario, episode, jnp.zeros(3))
            state = EnvState(slot, jnp.float32(1), jnp.int32(0))
            stepped = PartitionEnv().step(KEY, state, plan, scenario)[1:3]
            best = (
                priced_plan(scenario, slot, jnp.ones(3)),
                *([] if rules == "pipelined" else [optimal_plan(scenario, slot)]),
            )
            return plans, bounds, observe(scenario, state), stepped, best

        whole = Slot(np.broadcast_to(np.float32([2, 4]), (3, 2)), np.zeros(3, np.float32))
        chex.assert_trees_all_equal(results(scenario, Slot(np.float32([2, 4]))), results(scenario, whole))

    def test_is_a_pytree(self):
        doubled = jax.tree.map(lambda leaf: 2 * leaf, Slot(np.float32([1, 2])))
        assert doubled.backlog is doubled.tasks is None
        np.testing.assert_array_equal(doubled.device_rate, [2, 4])
        scenario, _ = round_problem()
        delay = jax.vmap(lambda slot: evaluate_plan(scenario, slot, [0, 2, 2]).total_delay)
        each = [evaluate_plan(scenario, Slot(np.float32(rate)), [0, 2, 2]).total_delay for rate in (1, 2, 4)]
        np.testing.assert_array_equal(delay(Slot(jnp.array([1.0, 2, 4]))), each)

    def test_is_checked_by_name(self, refused):
        scenario, _ = round_problem()
        with refused("slot.device_rate", "(3, 2) or (2,) or ()", "got (3,)"):
            evaluate_plan(scenario, Slot(np.ones(3)), [0, 0, 0])
        with refused("slot.device_rate", "got -1", "at least 0"):
            evaluate_plan(scenario, Slot(-1.0), [0, 0, 0])
        for ragged in ([[1, 2], [3]], ["1", "2"], [None, 2]):
            with refused("slot.device_rate"):
                evaluate_plan(scenario, Slot(ragged), [0, 0, 0])


def test_poisson_numbers_need_a_key_that_jax_draws_them_of(refused):
    key = jax.random.key(0, impl="rbg")
    assert sample_slot(key, loaded(table(), NETWORK)).tasks is None
    with refused("key must be a 'threefry2x32' where arrivals are 'poisson'", "rbg"):
        sample_slot(key, loaded(table(), NETWORK, arrivals="poisson"))


class TestLargeIntegers:
    """Integers of any size where real numbers are meant, though JAX computes with int32, in which 2**32 + 4 is 4."""

    LARGE = 2**32 + 4
    FIELDS: ClassVar = {
        Scenario: ("release_rate", "deadline", "penalty", "cycles_per_mac", "slot_seconds", "energy_budget"),
        Network: ("speed", "num_devices", "device_frequency", "wired_rate", "transmit_power"),
        Workload: ("macs", "input_bytes", "parameter_bytes", "output_bytes"),
        Slot: ("device_rate", "backlog", "tasks"),
        EnvState: ("remaining_energy",),
    }

    @pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FIELDS.items() for name in names])
    def test_are_the_numbers_that_they_are(self, kind, name):
        scenario = loaded(table(), NETWORK, 2, 3)
        slot = Slot(np.full((3, 2), 3.0), np.float32([1, 2, 0]), np.float32(2))

        def step_with(number):
            def changed(record):
                return replace(record, **{name: number}) if isinstance(record, kind) else record

            inner = replace(scenario, workload=changed(scenario.workload), network=changed(scenario.network))
            state = EnvState(changed(slot), np.float32(1), np.int32(0))
            return jax.jit(PartitionEnv().step)(KEY, changed(state), np.array([0, 1, 2]), changed(inner))

        shape = {"speed": (3,), "device_rate": (3, 2), "backlog": (3,)}.get(name, (3,) if kind is Workload else ())
        shape = () if name == "output_bytes" else shape
        expected = step_with(np.full(shape, float(self.LARGE)))
        for large in (np.full(shape, self.LARGE), *([self.LARGE, np.int64(self.LARGE)] if not shape else [])):
            chex.assert_trees_all_equal(step_with(large), expected)

    def test_longer_floats_too(self):
        slot = Slot(np.full(2, 3.0, np.longdouble), np.zeros(3, np.longdouble))
        scenario = as_printed(table(), NETWORK, np.longdouble(2))
        assert evaluate_plan(scenario, slot, [1, 1, 1]).total_delay == pytest.approx(2 * 2 / 6 + 2 * 4 * 6 / 1)

    def test_in_the_energy_of_an_episode(self):
        given = as_printed(table(), NETWORK, self.LARGE, cycles_per_mac=self.LARGE, num_slots=7)
        assert given.energy_budget == pytest.approx(7 * 0.5 * 3**2 * 6 * self.LARGE**2)  # T kappa (f^l)^2 sum c_m

    def test_written_as_a_list(self):
        slot = Slot([4, 8], [0, self.LARGE, 0])
        cost = evaluate_plan(loaded(table(), NETWORK), slot, np.array([0, 1, 0]))
        np.testing.assert_allclose(jnp.sum(cost.waiting_delay), self.LARGE, rtol=1e-5)  # on a server of 1 cycle/s

    def test_in_arguments(self):
        price = np.array([self.LARGE, 0, 0])  # nodes 1 and 2 cost nothing
        scenario = loaded(table(), NETWORK, 2, 3)
        assert 0 not in np.asarray(priced_plan(scenario, Slot(np.full(2, 3.0)), price))
        assert shannon_rate(8 * 2**30, 1, 1, 1) == pytest.approx(1 / np.log(2) / 8)  # B log2(1 + 1 / B) is 1 / ln 2
        speed = sample_network(KEY, server_speed_range=(2**32 + 1000, 2**32 + 2000)).speed[1:]
        np.testing.assert_allclose(speed, 2**32, rtol=1e-6)

    @pytest.mark.parametrize("count", [2**31, 2**64])
    def test_where_a_number_is_counted_are_refused(self, refused, count):
        with refused(f"num_slots must be a whole number from 1 to 2147483647; got {count}"):
            as_printed(table(), NETWORK, num_slots=count)
        scenario = as_printed(table(), NETWORK)
        with refused(f"scenario.num_slots must be a whole number from 1 to 2147483647; got {count}"):
            sample_slot(KEY, replace(scenario, num_slots=count))
        with refused(f"count must be a whole number from 1 to 2147483647; got {count}"):
            sample_slots(KEY, scenario, count)
        state = EnvState(Slot(np.ones(2)), np.float32(1), np.int64(2**31))
        with refused("state.time must be finite and at least 0, and at most 2147483647; got 2147483648"):
            PartitionEnv().step(KEY, state, np.zeros(3, int), scenario)
