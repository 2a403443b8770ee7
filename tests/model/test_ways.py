from dataclasses import replace

import jax
import numpy as np
import pytest
from instances import padded, round_problem
from measured_devices import INF, NODES, PLANS, by_hand, drawn, followed

import mecpart
from mecpart.model.rules import RULES
from mecpart.model.ways import allowed_nodes, possible_ways


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("seed", range(6))
def test_ways_lead_to_all_plans_that_are_possible_and_to_no_others(name, seed):
    scenario = drawn(seed, rules=name)
    possible = np.isfinite([by_hand(scenario, np.zeros(NODES), plan)[0] for plan in PLANS])
    ways = jax.jit(allowed_nodes)(scenario)
    np.testing.assert_array_equal(followed(ways, PLANS), possible)
    slot = mecpart.sample_slot(jax.random.key(0), scenario)
    np.testing.assert_array_equal(possible_ways(scenario, slot), ways)
    # Who keeps to the ways never comes to an end from which there is none.
    reached = {0}
    for way in np.asarray(ways):
        assert way[sorted(reached)].any(axis=1).all()
        reached = set(np.flatnonzero(way[sorted(reached)].any(axis=0)).tolist())


def test_servers_that_do_not_exist_are_no_way():
    """Node 2 is only there as padding, though times stand for it; where no plan is left it still is none."""
    scenario = drawn(1)
    network = replace(scenario.network, speed=np.float32([*scenario.network.speed[:2], 0]))
    scenario = replace(scenario, network=network)
    possible = np.isfinite([by_hand(scenario, np.zeros(NODES), plan)[0] for plan in PLANS])
    ways = allowed_nodes(scenario)
    np.testing.assert_array_equal(followed(ways, PLANS), possible & (PLANS < 2).all(axis=1))
    nowhere = np.array(scenario.times.seconds)
    nowhere[1] = INF
    ways = allowed_nodes(replace(scenario, times=replace(scenario.times, seconds=nowhere)))
    np.testing.assert_array_equal(ways, np.broadcast_to([True, True, False], ways.shape))


def test_without_measurements_the_nodes_that_exist():
    scenario, slot = round_problem()
    scenario, _ = padded(scenario, slot, 2)
    np.testing.assert_array_equal(allowed_nodes(scenario), [True, True, True, False, False])
