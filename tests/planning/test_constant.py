from dataclasses import replace
from functools import partial

import equations
import jax
import numpy as np
import pytest
from instances import MIXTURES, instance, random_instances

from mecpart.model.rules import RULES
from mecpart.planning.constant import best_constant_plan

COUNT, LENGTH, BLOCKS, SERVERS = 40, 6, 4, 2
EVERY = equations.all_plans(BLOCKS, SERVERS + 1)


def episodes(rules, seed=3):
    """Random scenarios by `rules`, each with the slots of an episode; [COUNT] and [COUNT, LENGTH].

    Where plans are searched for no link is down: in so short episodes that leaves one or two plans, which no search
    could find.
    """
    size = {"blocks": BLOCKS, "servers": SERVERS, "name": "loaded", "tasks": True}
    scenario, _ = random_instances(seed, COUNT, **size)
    drawn = random_instances(seed + 1, COUNT * LENGTH, backlog=True, **size)[1]
    slots = jax.tree.map(lambda leaf: leaf.reshape(COUNT, LENGTH, *leaf.shape[1:]), drawn)
    if rules.slots_couple or rules.streams:
        slots = replace(slots, device_rate=np.maximum(slots.device_rate, 0.125))
    return replace(scenario, rules=rules, num_slots=LENGTH), slots


def delays(scenario, slots, plans):
    """By NumPy: the total delay of an episode from empty queues under each plan in all slots."""
    queues, total = np.zeros((len(plans), len(scenario.network.speed))), 0.0
    for t in range(LENGTH):
        slot = replace(instance(slots, t), backlog=queues)
        total = total + equations.cost_of(scenario, slot, plans).total_delay
        queues = equations.backlog_after(scenario, slot, plans)
    return total


def excess(rules, count=COUNT, **options):
    """By how much the plan that is chosen takes longer than the best of all, as a share, in each episode."""
    scenarios, slots = jax.tree.map(lambda leaf: leaf[:count], episodes(rules))
    plans = jax.jit(jax.vmap(partial(best_constant_plan, **options)))(scenarios, slots)
    found = []
    for i, plan in enumerate(np.asarray(plans)):
        each = delays(instance(scenarios, i), instance(slots, i), EVERY)
        found.append(each[np.ravel_multi_index(tuple(plan), (SERVERS + 1,) * BLOCKS)] / each.min() - 1)
    return np.array(found)


class TestBestConstantPlan:
    @pytest.mark.parametrize(
        "rules", [rules for rules in MIXTURES if not rules.slots_couple], ids=lambda rules: str(rules.return_charged)
    )
    def test_exact_where_slots_do_not_couple(self, rules):
        np.testing.assert_allclose(excess(rules), 0, atol=1e-5)

    def test_with_queues_the_best_of_all_plans_in_small_episodes(self):
        np.testing.assert_allclose(excess(RULES["loaded"]), 0, atol=1e-5)

    def test_of_streams_too(self):
        np.testing.assert_allclose(excess(RULES["pipelined"], count=10), 0, atol=1e-5)

    def test_a_beam_of_one_is_a_descent_that_gets_stuck(self):
        found = excess(RULES["loaded"], beam=1)
        assert (found > -1e-5).all()
        assert 0 < (found > 0.01).sum() < COUNT / 4

    def test_spreads_the_work_only_where_queues_make_it_wait(self):
        """Two blocks of 1 s, on either of two servers; in slots of 1 s one server alone falls behind by 1 s a slot.

        The two blocks after them have no work and can be anywhere.
        """
        scenarios, slots = episodes(RULES["as_printed"])
        scenario, slots = instance(scenarios, 0), instance(slots, 0)
        same = {"macs": np.float32([4, 4, 0, 0]), "input_bytes": np.zeros(4, np.float32)}
        devices = "num_devices", "device_frequency"
        scenario = replace(
            scenario,
            workload=replace(scenario.workload, output_bytes=np.float32(0), **same),
            network=replace(scenario.network, speed=np.float32([1, 4, 4]), **dict.fromkeys(devices, np.float32(1))),
            cycles_per_mac=np.float32(1),
            slot_seconds=np.float32(1),
        )
        slots = replace(slots, device_rate=np.ones_like(slots.device_rate), tasks=np.ones(LENGTH, np.float32))
        assert best_constant_plan(scenario, slots)[:2].tolist() == [1, 1]
        spread = best_constant_plan(replace(scenario, rules=RULES["loaded"]), slots)
        assert set(spread[:2].tolist()) == {1, 2}

    def test_refuses_a_beam_of_nothing(self, refused):
        scenarios, slots = episodes(RULES["loaded"])
        with refused("beam", "got 0"):
            best_constant_plan(instance(scenarios, 0), instance(slots, 0), beam=0)
