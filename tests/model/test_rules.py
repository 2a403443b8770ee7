from dataclasses import asdict, fields, replace

import equations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from instances import by_any_mixture, instance, random_instances, round_problem

from mecpart.adapters.spaces import observation_bounds
from mecpart.dnn.workload import Workload
from mecpart.model.delay import PlanCost, evaluate_plan, plan_cost
from mecpart.model.environment import PartitionEnv, observe, read_observation, rollout
from mecpart.model.network import make_network
from mecpart.model.rules import AS_PRINTED, LOADED, PIPELINED, RULES, Rules
from mecpart.model.scenario import check_scenario
from mecpart.model.scenarios import SCENARIOS

NETWORK = make_network([3e9, 6e9])
WORKLOAD = Workload(*np.ones((3, 2), np.float32), np.float32(1), ("first", "second"), "mine")
NAMES = [rule.name for rule in fields(Rules)][1:]


class TestRules:
    def test_the_paper_adds_nothing_and_the_others_either_queues_or_streams(self):
        assert asdict(AS_PRINTED) == {"name": "as_printed", **dict.fromkeys(NAMES, False)}
        assert asdict(LOADED) == {"name": "loaded", **dict.fromkeys(NAMES, True), "streams": False}
        assert asdict(PIPELINED) == {"name": "pipelined", **dict.fromkeys(NAMES, True), "queues": False}

    def test_every_scenario_has_some(self):
        assert RULES.keys() == SCENARIOS.keys()
        assert {name: build(WORKLOAD, NETWORK).rules for name, build in SCENARIOS.items()} == RULES

    @pytest.mark.parametrize("scenario", SCENARIOS)
    @pytest.mark.parametrize("rule", NAMES)
    def test_a_single_one_can_be_switched(self, scenario, rule):
        both = {scenario, rule} in ({"loaded", "streams"}, {"pipelined", "queues"})  # which is refused
        for value in (np.bool_(False), False) if both else (True, False, np.bool_(True), np.bool_(False)):
            switched = SCENARIOS[scenario](WORKLOAD, NETWORK, **{rule: value})
            assert switched.name == scenario
            assert switched.rules == replace(RULES[scenario], **{rule: bool(value)})
            assert hash(switched.rules) == hash(replace(RULES[scenario], **{rule: bool(value)}))

    def test_slots_couple_where_there_are_queues(self):
        assert [replace(LOADED, queues=queues).slots_couple for queues in (False, True)] == [False, True]

    def test_queues_and_streams_together_are_refused(self, refused):
        for scenario, rule in (("loaded", "streams"), ("pipelined", "queues")):
            with refused("queues", "streams", "both"):
                SCENARIOS[scenario](WORKLOAD, NETWORK, **{rule: True})

    @pytest.mark.parametrize("rule", NAMES)
    def test_what_is_neither_true_nor_false_is_refused(self, refused, rule):
        for build in SCENARIOS.values():
            with refused(rule, "True or False", "'yes'"):
                build(WORKLOAD, NETWORK, **{rule: "yes"})
            with refused(rule, "before anything is compiled", "bool"):
                jax.jit(lambda value, build=build: build(WORKLOAD, NETWORK, **{rule: value}))(True)

    def test_rules_of_no_scenario_are_refused(self, refused):
        scenario = SCENARIOS["loaded"](WORKLOAD, NETWORK)
        with refused("scenario.rules.name", "'mine'", "'as_printed', 'loaded', 'pipelined'"):
            check_scenario(replace(scenario, rules=replace(LOADED, name="mine")))
        with refused("scenario.rules must be a mecpart.Rules", "'loaded'"):
            check_scenario(replace(scenario, rules="loaded"))


@by_any_mixture
class TestMixtures:
    """Each combination of rules, by hand and against the equations."""

    def test_by_hand(self, rules):
        """Block 1 on server 1: 16 s and 1 s; block 2 on the devices: 4 s; block 3 on server 2: 0.5 s and 2 s."""
        scenario, slot = round_problem("loaded")
        cost = evaluate_plan(replace(scenario, rules=rules), slot, np.array([1, 0, 2]))
        image, back = 4 * rules.local_input_charged, 0.25 * rules.return_charged  # 16 bytes at 4, 4 bytes at 16
        np.testing.assert_array_equal(cost.transmission_delay, [16, image, 0.5 + back])
        np.testing.assert_array_equal(cost.computation_delay, [1, 4, 2])
        assert cost.total_delay == 23.5 + image + back
        assert (cost.local_delay, cost.edge_delay) == (4, 19.5 + image + back)
        assert cost.energy == 4 * 32 + 3 * (16.5 + image + back)

    def test_every_plan(self, rules):
        problems = random_instances(1, 30, blocks=3, servers=2, backlog=True, name="loaded", tasks=True)
        problems = replace(problems[0], rules=rules), problems[1]
        every = equations.all_plans(3, 3)
        found = jax.jit(jax.vmap(jax.vmap(plan_cost, (None, None, 0)), (0, 0, None)))(*problems, every)
        for i in range(30):
            expected = equations.cost_of(*instance(problems, i), every)
            for entry in fields(PlanCost):
                values = getattr(found, entry.name)[i]
                np.testing.assert_allclose(
                    values, getattr(expected, entry.name), rtol=1e-4, atol=1e-4, err_msg=entry.name
                )

    def test_an_episode(self, rules):
        """Fixed plans over six slots: the queues before each, what it costs, and the energy that is left."""
        scenario, slot = round_problem("loaded")
        scenario, plans = replace(scenario, rules=rules), jnp.array([[1, 0, 2], [0, 2, 2], [2, 2, 2]] * 2)
        slots = jax.tree.map(lambda leaf: jnp.stack([leaf] * 6), slot)
        states, _, cost = jax.jit(lambda plans: rollout(scenario, None, slots, lambda states, noise: noise, plans))(
            plans
        )
        backlog, energy = np.zeros(3), 1000.0
        for t, plan in enumerate(np.asarray(plans)):
            np.testing.assert_array_equal(states.slot.backlog[t], backlog)
            np.testing.assert_allclose(states.remaining_energy[t], energy, rtol=1e-6)
            expected = equations.cost_of(scenario, replace(slot, backlog=backlog), plan)
            np.testing.assert_allclose(cost.total_delay[t], expected.total_delay, rtol=1e-6)
            backlog = equations.backlog_after(scenario, replace(slot, backlog=backlog), plan)
            energy -= expected.energy
        assert backlog.any() == rules.queues

    def test_queues_are_observed_where_there_are_any(self, rules):
        scenario, env = replace(round_problem("loaded")[0], rules=rules), PartitionEnv()
        observation, state = env.reset(jax.random.key(0), scenario)
        assert observation.shape == (env.observation_size(scenario),) == (3 * 4 + 1 + 3 * rules.queues,)
        busy = replace(state, slot=replace(state.slot, backlog=jnp.array([8.0, 0.0, 32.0])))
        seen = read_observation(scenario, observe(scenario, busy))
        np.testing.assert_allclose(seen.backlog, busy.slot.backlog * rules.queues, rtol=1e-6)
        np.testing.assert_allclose(seen.device_rate, state.slot.device_rate, rtol=1e-6)

    def test_observations_keep_within_their_bounds(self, rules):
        """In the worst case of every plan, repeated ten times at the slowest rates."""
        scenario, slot = round_problem("loaded")
        scenario, every = replace(scenario, rules=rules), equations.all_plans(3, 3)
        low, high = observation_bounds(scenario)
        size = 3 * 4 + 1
        assert low.shape == high.shape == (size + 3 * rules.queues,)
        slowest = replace(slot, device_rate=np.full((3, 2), 1 / 8, np.float32))
        worst = equations.cost_of(scenario, slowest, every).energy.max()
        assert low[size - 1] <= (1000 - 10 * worst) / 1000
        if rules.queues:
            backlog = np.zeros((len(every), 3))
            for _ in range(10):
                backlog = equations.backlog_after(scenario, replace(slowest, backlog=backlog), every)
            assert (np.log1p(10 * backlog.max()) / np.log(11) <= high[-3:]).all()
