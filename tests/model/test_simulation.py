import itertools
from dataclasses import replace

import equations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from instances import instance, padded, random_instances, round_problem

from mecpart.model.delay import evaluate_plan
from mecpart.model.environment import EnvState, rollout
from mecpart.model.rules import LOADED
from mecpart.model.simulation import Operation, simulate


def told(schedule):
    """(slot, block, first letter of the kind, resource, start, end) of every operation."""
    return [
        (each.slot, each.block, each.kind[0], *each.resource[1:], each.start, each.end) for each in schedule.operations
    ]


def episode_of(slot, length):
    return jax.tree.map(lambda leaf: np.stack([leaf] * length), slot)


class TestByHand:
    def test_a_slot(self):
        """See `round_problem`: server 1 is busy until 20 s, the devices until 27 s."""
        scenario, slot = round_problem("loaded")
        schedule = simulate(scenario, replace(slot, backlog=np.float32([27, 20, 0])), [1, 0, 1])
        assert told(schedule) == [
            (0, 0, "t", 0, 1, 0, 16),
            (0, 0, "c", 1, 20, 21),
            (0, 1, "t", 1, 0, 21, 25),
            (0, 1, "c", 0, 27, 31),
            (0, 2, "t", 0, 1, 31, 32),
            (0, 2, "c", 1, 32, 36),
            (0, 2, "r", 1, 0, 36, 36.5),
        ]
        assert (schedule.begins, schedule.ends, schedule.end, schedule.total_delay) == ((0,), (36.5,), 36.5, 36.5)
        assert schedule.operations[0] == Operation(0, None, 0, "transmission", ("link", 0, 1), 0, 16)
        assert repr(schedule) == "Schedule(7 operations, 1 slots, end=36.5 s, total_delay=36.5 s)"

    def test_a_later_slot_never_overtakes(self):
        """Server 2 waits for block 3 of the first slot, which comes by server 1, and could serve the second meanwhile.

        First slot: block 1 by 2 s on the devices, sent by 6 s, block 2 by 8 s on server 1, sent by 8.5 s, block 3 from
        8.5 to 10.5 s. The second slot begins at 1 s, is at server 2 by 1 + 8 s, and waits until 10.5 s.
        """
        scenario, slot = round_problem("loaded")
        schedule = simulate(scenario, episode_of(slot, 2), [[0, 1, 2], [2, 2, 2]])
        computing = [each for each in told(schedule) if each[2] == "c"]
        assert computing == [
            (0, 0, "c", 0, 0, 2),
            (0, 1, "c", 1, 6, 8),
            (0, 2, "c", 2, 8.5, 10.5),
            (1, 0, "c", 2, 10.5, 11),
            (1, 1, "c", 2, 11, 12),
            (1, 2, "c", 2, 12, 14),
        ]
        assert schedule.begins == (0, 1)
        assert schedule.ends == (10.75, 14.25)
        assert schedule.total_delay == 10.75 + 13.25

    def test_without_queues_each_slot_has_the_nodes_for_itself(self):
        scenario, slot = round_problem()
        slots = episode_of(slot, 2)
        slots = replace(slots, backlog=np.float32([[0, 0, 0], [3, 0, 0]]))
        schedule = simulate(scenario, slots, [[0, 0, 0], [0, 0, 0]])
        assert schedule.ends == (14, 1 + 3 + 14)
        starts = [each.start for each in schedule.operations]
        assert starts == [0, 2, 4, 6, 6, 10]

    def test_what_never_ends_holds_no_node(self):
        scenario, slot = padded(*round_problem("loaded"), 1)
        schedule = simulate(scenario, episode_of(slot, 2), [[0, 3, 2], [0, 2, 2]])
        first = [each for each in told(schedule) if each[0] == 0]
        assert first == [(0, 0, "c", 0, 0, 2), (0, 1, "t", 0, 3, 2, 10), (0, 1, "c", 3, 10, np.inf)]
        assert schedule.ends == (np.inf, 9.25)  # block 1 from 2 s, block 2 from 6 s, block 3 until 9 s
        assert schedule.end == schedule.total_delay == np.inf


def random_episodes(name, count, length, blocks=4, servers=3):
    """Scenarios, slots [count, length], and plans [count, length, blocks]; of servers, some do not exist."""
    drawn = {"blocks": blocks, "servers": servers, "name": name}
    scenario, _ = random_instances(1, count, **drawn)
    slots = random_instances(2, count * length, **drawn, backlog=True, tasks=name == "loaded")[1]
    slots = jax.tree.map(lambda leaf: leaf.reshape(count, length, *leaf.shape[1:]), slots)
    plans = np.random.default_rng(3).integers(0, servers + 1, (count, length, blocks))
    there = np.take_along_axis(scenario.network.speed[:, None], plans, axis=-1) > 0
    often = np.random.default_rng(4).random((count, length, 1)) > 1 / 10  # else also on servers that do not exist
    return replace(scenario, num_slots=length), slots, np.where(there | ~often, plans, 0)


class TestAgainstTheRecursion:
    """The schedule and the recursion have only the length of the operations in common."""

    @pytest.mark.parametrize("name", ["as_printed", "loaded"])
    def test_of_single_slots(self, name):
        scenarios, slots, plans = random_episodes(name, 300, 1)
        found, expected = [], []
        for i in range(300):
            scenario, slot, plan = instance((scenarios, slots, plans), i)
            slot, plan = instance((slot, plan), 0)
            found.append(simulate(scenario, slot, plan).total_delay)
            expected.append(equations.cost_of(scenario, slot, plan).total_delay)
            if i < 20:
                np.testing.assert_allclose(evaluate_plan(scenario, slot, plan).total_delay, expected[-1], rtol=1e-5)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert 0.05 < np.isinf(found).mean() < 0.5

    @pytest.mark.parametrize("name", ["as_printed", "loaded"])
    def test_of_whole_episodes(self, name):
        """With queues only the backlog of the first slot counts."""
        episodes = random_episodes(name, 300, 8)

        @jax.jit
        @jax.vmap
        def delays(scenario, slots, plans):
            start = EnvState(jax.tree.map(lambda leaf: leaf[0], slots), jnp.float32(1), jnp.int32(0))
            return rollout(scenario, start, slots, lambda states, noise: noise, plans)[2].total_delay

        expected = np.asarray(delays(*episodes))
        for i in range(300):
            schedule = simulate(*instance(episodes, i))
            found = np.subtract(schedule.ends, schedule.begins)
            np.testing.assert_allclose(found, expected[i], rtol=1e-5)
            assert schedule.total_delay == pytest.approx(expected[i].sum(), rel=1e-5)
        assert 0.05 < np.isinf(expected).mean() < 0.5

    def test_of_a_crowd_by_the_equations(self):
        """Every slot leaves something to the next, so that an error would add up."""
        scenarios, slots, plans = random_episodes("loaded", 20, 100)
        scenarios = replace(scenarios, slot_seconds=np.full(20, 0.1, np.float32))
        for i in range(20):
            scenario, episode, chosen = instance((scenarios, slots, plans), i)
            schedule, backlog = simulate(scenario, episode, chosen), episode.backlog[0]
            for t in range(100):
                slot = replace(instance(episode, t), backlog=backlog)
                delay = schedule.ends[t] - schedule.begins[t]
                np.testing.assert_allclose(delay, equations.cost_of(scenario, slot, chosen[t]).total_delay, rtol=1e-5)
                backlog = equations.backlog_after(scenario, slot, chosen[t])
            assert backlog.max() > 10 * 0.1


class TestSchedule:
    @pytest.mark.parametrize("rules", ["queues", "none"])
    def test_nothing_happens_twice_or_too_early(self, rules):
        scenarios, slots, plans = random_episodes("loaded", 30, 6)
        scenarios = replace(scenarios, rules=LOADED if rules == "queues" else replace(LOADED, queues=False))
        overlaps = 0
        for i in range(30):
            scenario, episode, chosen = instance((scenarios, slots, plans), i)
            schedule = simulate(scenario, episode, chosen)
            starts = [each.start for each in schedule.operations]
            assert starts == sorted(starts)
            for t, plan in enumerate(chosen):
                mine = [each for each in schedule.operations if each.slot == t]
                assert mine[0].start >= schedule.begins[t]
                assert mine[-1].end == schedule.ends[t]
                assert all(one.end <= other.start for one, other in itertools.pairwise(mine))
                nodes = [each.resource[1] for each in mine if each.kind == "computation"]
                assert nodes == plan.tolist()[: len(nodes)]
                assert np.isinf(schedule.ends[t]) or len(nodes) == 4
            for node in range(4):
                runs = [each for each in schedule.operations if each.resource == ("node", node)]
                ended = [each for each in runs if np.isfinite(each.end)]
                crossed = [one.end > other.start for one, other in itertools.pairwise(ended)]
                in_order = [one.slot <= other.slot for one, other in itertools.pairwise(ended)]
                if rules == "queues":
                    assert not any(crossed)
                    assert all(in_order)
                overlaps += any(crossed)
        assert (overlaps > 0) == (rules == "none")

    def test_no_task_takes_no_time_but_its_turn(self):
        scenario, slot = round_problem("loaded")
        schedule = simulate(scenario, replace(slot, tasks=np.float32(0), backlog=np.float32([0, 0, 5])), [1, 2, 1])
        assert told(schedule) == [(0, 0, "c", 1, 0, 0), (0, 1, "c", 2, 5, 5), (0, 2, "c", 1, 5, 5)]


class TestBadInput:
    def test_refuses_traced_values(self, refused):
        scenario, slot = round_problem("loaded")
        with refused("plan must be known values", "under jit"):
            jax.jit(lambda plan: simulate(scenario, slot, plan).total_delay)(np.zeros(3, int))

    def test_refuses_plans_that_do_not_fit(self, refused):
        scenario, slot = round_problem("loaded")
        with refused("plan", "got node 3 for block 1", "0 to 2"):
            simulate(scenario, slot, [0, 3, 0])
        with refused("plan must have shape (2, 3)", "got (3, 3)"):
            simulate(scenario, episode_of(slot, 2), np.zeros((3, 3), int))
        with refused("plan must have shape (3,)", "got (4,)"):
            simulate(scenario, slot, [0, 0, 0, 0])
        with refused("slot.device_rate must have shape", "got (2, 3, 2)"):
            simulate(scenario, episode_of(slot, 2), [0, 0, 0])
