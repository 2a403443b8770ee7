"""Measured devices against brute force over all plans."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from measured_devices import BLOCKS, INF, NODES, PLANS, by_hand, drawn

import mecpart
from mecpart.adapters.spaces import observation_bounds
from mecpart.measurements.shipped import measured_data
from mecpart.model.environment import read_observation
from mecpart.model.rules import RULES
from mecpart.planning import pipelines


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("seed", range(6))
class TestAgainstBruteForce:
    def test_every_plan_costs_what_it_costs_by_hand(self, name, seed):
        scenario = drawn(seed, rules=name)
        backlog = np.random.default_rng(seed).uniform(0, 3, NODES) * (name == "loaded")
        slot = replace(mecpart.sample_slot(jax.random.key(0), scenario), backlog=np.float32(backlog))
        cost = jax.vmap(mecpart.evaluate_plan, (None, None, 0))(scenario, slot, PLANS)
        totals, delays, energies = zip(*(by_hand(scenario, backlog, plan) for plan in PLANS), strict=True)
        np.testing.assert_allclose(cost.total_delay, totals, rtol=2e-6)
        possible = np.isfinite(totals)
        np.testing.assert_allclose(np.sum(cost.block_delay, axis=1)[possible], cost.total_delay[possible], rtol=2e-6)
        np.testing.assert_allclose(cost.energy[possible], np.array(energies)[possible], rtol=2e-6)
        assert np.isfinite(cost.energy).all()
        if name != "pipelined":
            late = np.maximum(np.array(delays) - np.asarray(scenario.deadline), 0)
            np.testing.assert_allclose(-cost.reward[possible], (delays + 0.5 * late).sum(1)[possible], rtol=1e-5)
            np.testing.assert_allclose(cost.block_delay[possible], np.array(delays)[possible], rtol=1e-5, atol=1e-5)
        assert np.isfinite(cost.reward).all()
        if name != "loaded" and possible.any():  # queues take as long as they do
            assert np.max(cost.reward[~possible], initial=-INF) < np.min(cost.reward[possible])

    @pytest.mark.parametrize("objective", ["delay", "reward", "deadline", "energy"])
    def test_the_best_plan_is_the_best_of_all(self, name, seed, objective):
        scenario = drawn(seed, rules=name)
        slot = mecpart.sample_slot(jax.random.key(0), scenario)
        cost = jax.vmap(mecpart.evaluate_plan, (None, None, 0))(scenario, slot, PLANS)
        total = np.array([by_hand(scenario, np.zeros(NODES), plan)[0] for plan in PLANS])
        in_time = (cost.block_delay <= scenario.deadline).all(axis=1)
        values = {
            "delay": total,
            "reward": np.where(np.isfinite(total), -cost.reward, INF),
            "deadline": np.where(in_time, total, INF),
            "energy": np.where(np.isfinite(total), cost.energy, INF),
        }
        best = mecpart.optimal_plan(scenario, slot, objective)
        np.testing.assert_allclose(best.value, min(values[objective]), rtol=5e-6)
        assert bool(best.feasible) == np.isfinite(values[objective]).any()
        if best.feasible:
            at = int(np.flatnonzero((best.plan == PLANS).all(axis=1))[0])
            np.testing.assert_allclose(total[at], best.total_delay, rtol=5e-6)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("seed", range(4))
class TestEverythingElse:
    def test_a_schedule_ends_when_the_plan_is_done_or_later(self, name, seed):
        scenario = drawn(seed, rules=name)
        slot = mecpart.sample_slot(jax.random.key(0), scenario)
        for plan in PLANS[::4]:
            total, _, _ = by_hand(scenario, np.zeros(NODES), plan)
            end = mecpart.simulate(scenario, slot, plan).end
            assert end >= total * (1 - 1e-6)
            runs = [node for node, _ in itertools.groupby(plan)]
            if len(runs) == len(set(runs)) and (0 not in runs[1:]):  # passes each node and link once
                np.testing.assert_allclose(end, total, rtol=1e-6)

    @pytest.mark.parametrize("policy", ["RPDI", "APDI", "Greedy", "Earliest finish", "Best constant plan"])
    def test_policies_find_plans_that_are_possible(self, name, seed, policy):
        scenario = drawn(seed, rules=name)
        slots = mecpart.sample_slots(jax.random.key(0), scenario, 2)
        slot = jax.tree.map(lambda leaf: leaf[0], slots)
        possible = np.isfinite([by_hand(scenario, np.zeros(NODES), plan)[0] for plan in PLANS])
        assert possible.any()
        for key in jax.random.split(jax.random.key(1), 5):
            if policy == "Best constant plan":
                plan = mecpart.best_constant_plan(scenario, slots)
            else:
                plan = mecpart.POLICIES[policy](scenario, slot, key)
            assert possible[(plan == PLANS).all(axis=1)].all()

    def test_the_bound_on_an_episode_holds_for_its_best_plans(self, name, seed):
        scenario = drawn(seed, rules=name, slot_seconds=0.5)
        slots = mecpart.sample_slots(jax.random.key(0), scenario, 3)
        bound = mecpart.episode_bound(scenario, slots)
        episodes = np.array(list(itertools.product(PLANS[:: 5 + seed], repeat=3))[:: 7 + seed])

        def delay_of(scenario, slots, plans):
            return jnp.sum(
                mecpart.rollout(scenario, None, slots, lambda _, at: plans[at], jnp.arange(3))[2].total_delay
            )

        delay = jax.jit(jax.vmap(delay_of, (None, None, 0)))(scenario, slots, episodes)
        assert 0 < bound <= np.min(delay) * (1 + 1e-5)

    def test_what_an_agent_observes_tells_the_slot(self, name, seed):
        scenario = drawn(seed, rules=name, num_slots=4, arrivals="poisson")
        env, (low, high) = mecpart.PartitionEnv(), observation_bounds(scenario)
        observation, state = env.reset(jax.random.key(seed), scenario)
        for plan in PLANS[seed :: len(PLANS) // 4]:
            assert observation.shape == (env.observation_size(scenario),)
            assert ((low <= observation) & (observation <= high)).all()
            seen = read_observation(scenario, observation)
            np.testing.assert_allclose(seen.tasks, state.slot.tasks, rtol=1e-5)
            np.testing.assert_allclose(seen.device_rate, np.tile(scenario.links.rate[0, 1:], (BLOCKS, 1)), rtol=1e-6)
            observation, state, reward, *_ = env.step(jax.random.key(seed), state, plan, scenario)
            assert np.isfinite(reward)


def test_too_many_plans_to_put_in_order_have_a_bound(monkeypatch):
    monkeypatch.setattr(pipelines, "MOST_PLANS", 0)
    monkeypatch.setattr(pipelines, "PROMISING", 4)
    monkeypatch.setattr(pipelines, "HELD", 6 * NODES**2)
    tight = 0
    for seed in range(12):
        scenario = drawn(seed, rules="pipelined")
        slot = mecpart.sample_slot(jax.random.key(0), scenario)
        best = min(by_hand(scenario, np.zeros(NODES), plan)[0] for plan in PLANS)
        search = jax.jit(lambda scenario, slot: pipelines.best_in_stream(scenario, slot, "delay", None))
        _, least, others = search(scenario, slot)
        assert min(least, others) <= best * (1 + 1e-5)
        assert best <= least * (1 + 1e-5)
        tight += min(least, others) >= 0.9 * best
    assert tight >= 6


def test_scission_finds_its_own_example():
    """Its README asks for vgg19 with the device in use (-d "!-1"), layer 10 on an edge and layer 16 on a cloud."""
    times, links, _ = measured_data("scission", "vgg19")
    there = {"0-1": ["raspi4"], "10": ["2500", "vm2Core"], "16": ["6700k(GPU)", "6700k(NoGPU)"]}
    seconds = np.array(times.seconds)
    for block, nodes in there.items():
        seconds[times.workload.block_names.index(block), [name not in nodes for name in times.names]] = INF
    scenario = mecpart.measured(replace(times, seconds=seconds), links)
    best = mecpart.optimal_plan(scenario, mecpart.sample_slot(jax.random.key(0), scenario))
    assert round(float(best.total_delay), 4) == 9.0106
    placed = dict(zip(times.workload.block_names, (times.names[node] for node in best.plan), strict=True))
    runs = [
        (node, [block for block, _ in run]) for node, run in itertools.groupby(placed.items(), lambda item: item[1])
    ]
    assert [(node, run[0], run[-1]) for node, run in runs] == [
        ("raspi4", "0-1", "6"), ("vm2Core", "7", "11"), ("6700k(GPU)", "12", "25"),
    ]  # fmt: skip
