"""Exact plans by label setting: delay against energy, and memory limits, each against every plan there is."""

from dataclasses import replace
from functools import cache

import equations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from instances import instance, random_instances, round_problem

from mecpart.dnn.workload import workload
from mecpart.model.delay import evaluate_plan
from mecpart.model.network import make_network
from mecpart.model.scenario import Slot
from mecpart.model.scenarios import as_printed, loaded
from mecpart.planning import label_setting
from mecpart.planning.optimum import OBJECTIVES, optimal_plan
from mecpart.planning.pareto import ROUNDING, pareto_front

COUNT, BLOCKS, NODES = 20, 4, 3
# Rules, backlog, round values (with many ties).
FAMILIES = [(rules, backlog, even) for rules in ("as_printed", "loaded") for backlog in (0, 1) for even in (0, 1)]
EVERY = equations.all_plans(BLOCKS, NODES)
LIMITED = (False, True)


@cache
def problems(rules, backlog, even):
    """Random instances, the cost of each of their plans by NumPy, what each plan places on each node, and a limit."""
    batch = random_instances(
        7, COUNT, blocks=BLOCKS, servers=NODES - 1, backlog=bool(backlog), round_values=bool(even), name=rules
    )
    rng, found = np.random.default_rng(1), []
    for i in range(COUNT):
        scenario, slot = instance(batch, i)
        network = scenario.network
        devices = max(network.num_devices, np.float32(1))  # half a device is refused
        speed = np.concatenate([[devices * network.device_frequency], network.speed[1:]])
        network = replace(network, num_devices=devices, speed=speed)
        scenario = replace(scenario, deadline=4 * scenario.deadline, network=network)
        size = np.float64(scenario.workload.parameter_bytes)
        placed = ((EVERY[:, :, None] == np.arange(NODES)) * size[:, None]).sum(axis=1)
        memory = np.float32(rng.uniform(0.1, 1, NODES) * size.sum())
        found.append((scenario, slot, equations.cost_of(scenario, slot, EVERY), (placed <= memory).all(axis=1), memory))
    return found


def front(delay, energy):
    """The pairs that no other beats in both, where equal up to rounding counts as equal; by comparing all with all."""
    pairs = np.stack([delay, energy], axis=1)
    keep = [
        not any((other < pair * (1 + ROUNDING)).all() and (other < pair * (1 - ROUNDING)).any() for other in pairs)
        for pair in pairs
    ]
    ordered = sorted(pairs[keep].tolist())
    return np.array([b for a, b in zip([[-1, -1], *ordered], ordered, strict=False) if b[0] > a[0] * (1 + ROUNDING)])


@pytest.mark.parametrize("limited", LIMITED)
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_the_front_is_that_of_all_plans(family, limited):
    lengths = []
    for scenario, slot, cost, fits, memory in problems(*family):
        possible = np.isfinite(cost.total_delay) & (fits | (not limited))
        expected = front(cost.total_delay[possible], cost.energy[possible])
        found = pareto_front(scenario, slot, memory=memory if limited else None)
        values = np.stack([found.total_delay, found.energy], axis=1)
        np.testing.assert_allclose(values, expected.reshape(-1, 2), rtol=1e-5)
        lengths.append(len(values))
        if len(values):
            index = np.ravel_multi_index(tuple(np.asarray(found.plan).T), (NODES,) * BLOCKS)
            assert possible[index].all()
            np.testing.assert_allclose(cost.total_delay[index], found.total_delay, rtol=1e-5)
            np.testing.assert_allclose(cost.energy[index], found.energy, rtol=1e-5)
    assert max(lengths) > 2, "there is something to trade off"
    assert (min(lengths) == 0) == limited


@pytest.mark.parametrize("limited", LIMITED)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_best_plan_is_that_of_all_plans(objective, limited):
    differs = 0
    for family in FAMILIES:
        if family[1] and objective in ("reward", "deadline"):
            continue
        for scenario, slot, cost, fits, memory in problems(*family):
            value = {
                "delay": cost.total_delay,
                "reward": -cost.reward,
                "deadline": np.where(cost.in_time, cost.total_delay, np.inf),
                "energy": np.where(np.isfinite(cost.total_delay), cost.energy, np.inf),
            }[objective]
            allowed = np.where(fits, value, np.inf) if limited else value
            best = optimal_plan(scenario, slot, objective, memory=memory if limited else None)
            np.testing.assert_allclose(best.value, allowed.min(), rtol=1e-5)
            assert best.feasible == np.isfinite(allowed.min())
            if best.feasible:
                index = np.ravel_multi_index(tuple(np.asarray(best.plan)), (NODES,) * BLOCKS)
                np.testing.assert_allclose(allowed[index], allowed.min(), rtol=1e-5)
                np.testing.assert_allclose(best.total_delay, cost.total_delay[index], rtol=1e-5)
            else:
                np.testing.assert_array_equal(best.plan, [-1] * BLOCKS)
            differs += allowed.min() > value.min() * 1.01
    assert (differs > 20) == limited, "the memory makes a difference"


class TestByHand:
    """On `round_problem`: a local cycle takes 4 J, a second of transmission 3 J."""

    def test_energy(self):
        # All local: 4 * 112 J. Block 1 elsewhere: 8 s to server 2, then 3 * 8 J and nothing more.
        best = optimal_plan(*round_problem(), objective="energy")
        np.testing.assert_array_equal(best.plan, [2, 2, 2])
        assert (best.value, best.total_delay) == (24, 8 + 0.5 + 1 + 2)

    def test_front(self):
        found = pareto_front(*round_problem())
        np.testing.assert_array_equal(found.plan, [[0, 2, 2], [2, 2, 2]])
        np.testing.assert_array_equal(found.total_delay, [7, 11.5])
        np.testing.assert_array_equal(found.energy, [4 * 16 + 3 * 2, 24])

    def test_memory(self):
        # Of 1, 2 and 5 bytes: the best plan (0, 2, 2) needs 7 on server 2. (0, 1, 2) takes 2 + (4 + 2) + (0.5 + 2) s.
        best = optimal_plan(*round_problem(), memory=np.array([1, 6, 6]))
        np.testing.assert_array_equal(best.plan, [0, 2, 1])
        assert best.total_delay == 2 + (2 + 1) + (0.5 + 4)

    def test_what_fits_exactly_fits(self):
        scenario, slot = round_problem()
        np.testing.assert_array_equal(optimal_plan(scenario, slot, memory=np.array([1, 0, 7])).plan, [0, 2, 2])
        assert not optimal_plan(scenario, slot, memory=np.array([0.5, 0, 7])).feasible

    def test_a_link_that_is_down_costs_no_energy_of_zero(self):
        scenario, _ = round_problem()
        scenario = replace(scenario, network=replace(scenario.network, transmit_power=np.float32(0)))
        assert evaluate_plan(scenario, Slot(0.0), [1, 1, 1]).energy == np.inf
        np.testing.assert_array_equal(optimal_plan(scenario, Slot(0.0), "energy").plan, [0, 0, 0])


@pytest.mark.parametrize("rules", [as_printed, loaded])
def test_a_limit_that_never_binds_changes_nothing(rules):
    scenario = rules(workload("vgg16", blocks=12), make_network([3e9, 6e9, 9e9]))
    slot = Slot(np.linspace(1e6, 2e6, 3))
    free, limited = optimal_plan(scenario, slot), optimal_plan(scenario, slot, memory=np.full(4, 1e9))
    np.testing.assert_allclose(limited.total_delay, free.total_delay, rtol=1e-6)
    parameters = float(jnp.sum(scenario.workload.parameter_bytes))
    half = optimal_plan(scenario, slot, memory=np.full(4, 0.6 * parameters))
    assert half.total_delay > free.total_delay
    placed = [float(scenario.workload.parameter_bytes[half.plan == node].sum()) for node in range(4)]
    assert max(placed) <= 0.6 * parameters


class TestBadInput:
    def test_refuses_a_bad_memory(self, refused):
        problem = round_problem()
        for memory, texts in [
            (np.ones(2), ("(2,)", "(3,)")),
            (np.array([1, -1, np.inf]), ("got -1", "at least 0")),
            (np.array([1, np.nan, 1]), ("got nan", "at least 0")),
            (["1", "2", "3"], ("number",)),
            ([[1], [2, 3], 4], ("shape (3,)", "[[1], [2, 3], 4]")),
        ]:
            for solve in (optimal_plan, pareto_front):
                with refused("memory", *texts):
                    solve(*problem, memory=memory)

    def test_refuses_to_be_traced(self, refused):
        for solve in (lambda *problem: optimal_plan(*problem, memory=np.ones(3)), pareto_front):
            with refused("scenario, slot and memory", "known values", "traced"):
                jax.jit(solve)(*round_problem())

    def test_says_when_there_are_too_many_plans(self, monkeypatch):
        monkeypatch.setattr(label_setting, "MOST_LABELS", 3)
        with pytest.raises(ValueError, match=r"at most 3 partial ones to compare; got \d+ after block"):
            pareto_front(*round_problem())
