from dataclasses import fields, replace

import chex
import equations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instances import instance, instances, padded, permuted, plans, random_instances, round_problem
from jax.experimental import checkify

from mecpart.model.delay import PlanCost, backlog_after, evaluate_plan, keeps_up, plan_cost, utilisation

few = settings(derandomize=True, deadline=None, max_examples=50)
by_any_rules = instances() | instances(name="loaded")
PER_BLOCK = ("block_delay", "transmission_delay", "waiting_delay", "computation_delay")
SCALARS = ("total_delay", "edge_delay", "local_delay", "energy", "reward")
DELAYS = (*PER_BLOCK, "total_delay", "edge_delay", "local_delay")


def node_plan(*nodes):
    return np.array(nodes, np.int32)


def busy(problem):
    """The same with at least four tasks for each device: a quarter of them still leaves no device without one."""
    scenario, slot = problem
    rate = scenario.release_rate + 4 * scenario.network.num_devices
    return replace(scenario, release_rate=np.float32(rate)), slot


def assert_same_cost(found, expected, *, names=(*PER_BLOCK, *SCALARS), rtol=2e-5, factor=1.0):
    """`found` is `factor` times `expected` (anything with the fields of `PlanCost`), up to rounding of the total."""
    total = factor * np.asarray(expected.total_delay)
    rounding = rtol * np.max(total, where=np.isfinite(total), initial=1)
    for name in names:
        wanted = factor * np.asarray(getattr(expected, name))
        np.testing.assert_allclose(getattr(found, name), wanted, rtol=rtol, atol=rounding, err_msg=name)


class TestByHand:
    """Numbers of `round_problem`: work 16, 32, 64 cycles; data 32, 16, 8 bytes; speeds 8, 16, 32 cycles/s."""

    def cost(self, *nodes, backlog=(0, 0, 0), name="as_printed", **changes):
        scenario, slot = round_problem(name, **changes)
        return evaluate_plan(scenario, replace(slot, backlog=np.array(backlog, np.float32)), node_plan(*nodes))

    def check(self, cost, *, transmission, computation, energy, local, waiting=(0, 0, 0)):
        transmission, waiting, computation = (np.array(part) for part in (transmission, waiting, computation))
        block = transmission + waiting + computation
        np.testing.assert_array_equal(cost.transmission_delay, transmission)
        np.testing.assert_array_equal(cost.waiting_delay, waiting)
        np.testing.assert_array_equal(cost.computation_delay, computation)
        np.testing.assert_array_equal(cost.block_delay, block)
        assert cost.total_delay == block.sum()
        assert cost.local_delay == local
        assert cost.edge_delay == block.sum() - local
        assert cost.energy == energy
        assert cost.reward == -block.sum()  # no block is later than 100 s

    def test_all_on_the_devices(self):  # Eqs. 3 and 4
        seconds = [16 / 8, 32 / 8, 64 / 8]
        joules = 0.25 * 4**2 * (16 + 32 + 64)
        self.check(self.cost(0, 0, 0), transmission=[0, 0, 0], computation=seconds, energy=joules, local=14)

    def test_all_on_one_server(self):  # Eqs. 5 (two devices of 1 byte/s each send the image), 6, 7, 8
        seconds = [16 / 16, 32 / 16, 64 / 16]
        self.check(self.cost(1, 1, 1), transmission=[32 / (2 * 1), 0, 0], computation=seconds, energy=3 * 16, local=0)

    def test_from_server_to_server(self):  # Eq. 5 over the wire, at 16 bytes/s
        self.check(
            self.cost(1, 2, 1),
            transmission=[32 / (2 * 1), 16 / 16, 8 / 16],
            computation=[16 / 16, 32 / 32, 64 / 16],
            energy=3 * (16 + 1 + 0.5),
            local=0,
        )

    def test_one_task_uses_one_device(self):  # of the two: 4 cycles/s, and a link of 1 byte/s
        one = self.cost(0, 0, 0, release_rate=1)  # work 4, 8, 16 cycles
        self.check(one, transmission=[0, 0, 0], computation=[4 / 4, 8 / 4, 16 / 4], energy=4 * 28, local=7)
        sent = self.cost(1, 1, 2, release_rate=1)  # data 8, 4, 2 bytes
        self.check(
            sent, transmission=[8 / 1, 0, 2 / 16], computation=[4 / 16, 8 / 16, 16 / 32], energy=3 * 8.125, local=0
        )
        back = self.cost(0, 0, 1, release_rate=1, name="loaded")  # to server 1: 2 bytes at 4; the result: 1 byte at 4
        self.check(back, transmission=[0, 0, 2 / 4 + 1 / 4], computation=[1, 2, 1], energy=4 * 12 + 3 * 0.75, local=3)

    def test_a_mean_of_less_than_one_task_takes_as_long_as_one(self):
        half, one = self.cost(0, 0, 1, release_rate=0.5), self.cost(0, 0, 1, release_rate=1)
        np.testing.assert_array_equal(half.block_delay, [1, 2, 0.5 + 0.5])
        np.testing.assert_array_equal(one.block_delay, [1, 2, 0.5 + 1])  # a server's time goes with the work

    @pytest.mark.parametrize("nodes", [(0, 0, 0), (1, 2, 0), (2, 2, 2)])
    def test_a_slot_without_tasks_costs_nothing(self, nodes):
        for name in ("as_printed", "loaded"):
            cost = self.cost(*nodes, release_rate=0, name=name)
            assert not any(np.any(np.asarray(getattr(cost, field))) for field in (*PER_BLOCK, *SCALARS))

    def test_the_tasks_of_the_slot_count_not_their_mean(self):
        scenario, slot = round_problem("loaded")  # a mean of four
        one = evaluate_plan(scenario, replace(slot, tasks=np.float32(1)), node_plan(0, 0, 0))
        np.testing.assert_array_equal(one.block_delay, [1, 2, 4])

    def test_the_uplink_of_a_later_block(self):  # the rate is that of the block that is sent, and of its server
        self.check(
            self.cost(0, 0, 2),
            transmission=[0, 0, 8 / (2 * 8)],
            computation=[16 / 8, 32 / 8, 64 / 32],
            energy=4 * (16 + 32) + 3 * 0.5,
            local=6,
        )

    def test_back_to_the_devices_is_free(self):  # Eq. 9 as it reads
        self.check(
            self.cost(1, 0, 2),
            transmission=[32 / (2 * 1), 0, 8 / (2 * 8)],
            computation=[16 / 16, 32 / 8, 64 / 32],
            energy=4 * 32 + 3 * 16.5,
            local=4,
        )

    def test_waiting_for_a_queue(self):
        # Server 1 is busy until 20 s, server 2 until 30 s. Block 1 arrives at 16 s and runs from 20 to 21; block 2
        # follows at once, to 23; block 3 is on server 2 at 23.5 and runs from 30 to 32.
        cost = self.cost(1, 1, 2, backlog=(0, 20, 30))
        self.check(
            cost, transmission=[16, 0, 0.5], waiting=[4, 0, 6.5], computation=[1, 2, 2], energy=3 * 16.5, local=0
        )
        np.testing.assert_array_equal(np.cumsum(cost.block_delay), [21, 23, 32])

    def test_waiting_on_the_devices(self):
        # Busy until 5 s: block 1 waits for all of it, the next ones do not wait again.
        cost = self.cost(0, 0, 0, backlog=(5, 0, 0))
        self.check(cost, transmission=[0, 0, 0], waiting=[5, 0, 0], computation=[2, 4, 8], energy=4 * 112, local=14)

    def test_a_queue_worked_off_before_the_block_arrives(self):
        cost = self.cost(1, 1, 1, backlog=(1000, 16, 1000))
        self.check(cost, transmission=[16, 0, 0], computation=[1, 2, 4], energy=48, local=0)

    def test_reward(self):  # Eqs. 13 and 14; the blocks take 17, 2 and 4 s
        assert self.cost(1, 1, 1, deadline=3).reward == -(23 + 0.5 * (14 + 0 + 1))
        assert self.cost(1, 1, 1, deadline=[16, 0, 5]).reward == -(23 + 0.5 * (1 + 2 + 0))
        assert self.cost(1, 1, 1, deadline=[16, 0, 5], penalty=4).reward == -(23 + 4 * (1 + 2 + 0))
        assert self.cost(1, 1, 1, deadline=[17, 2, 4]).reward == -23  # in time to the second
        assert self.cost(1, 1, 1, deadline=0, penalty=0).reward == -23

    def test_reward_counts_waiting(self):  # block 1 takes 21 s with its queue
        assert self.cost(1, 1, 1, deadline=20, backlog=(0, 20, 0)).reward == -(27 + 0.5 * 1)


class TestLoadedByHand:
    """The same in `loaded`: the result of 4 bytes takes 4 / (2 * 4) s from server 1, 4 / (2 * 8) s from server 2."""

    check = TestByHand.check

    def cost(self, *nodes, **changes):
        return TestByHand().cost(*nodes, name="loaded", **changes)

    def test_on_the_devices_nothing_is_added(self):
        seconds = [16 / 8, 32 / 8, 64 / 8]
        self.check(self.cost(0, 0, 0), transmission=[0, 0, 0], computation=seconds, energy=4 * 112, local=14)

    def test_the_result_returns(self):
        self.check(self.cost(1, 1, 1), transmission=[16, 0, 0.5], computation=[1, 2, 4], energy=3 * 16.5, local=0)
        self.check(
            self.cost(0, 0, 2),
            transmission=[0, 0, 0.5 + 0.25],
            computation=[2, 4, 2],
            energy=4 * 48 + 3 * 0.75,
            local=6,
        )

    def test_a_local_block_after_an_edge_block_pays(self):  # by the link of the server that it comes from
        self.check(
            self.cost(1, 0, 2),
            transmission=[32 / (2 * 1), 16 / (2 * 2), 8 / (2 * 8) + 0.25],
            computation=[16 / 16, 32 / 8, 64 / 32],
            energy=4 * 32 + 3 * 20.75,
            local=4,
        )
        self.check(
            self.cost(2, 2, 0),  # and then there is nothing to bring back
            transmission=[32 / (2 * 2), 0, 8 / (2 * 8)],
            computation=[16 / 32, 32 / 32, 64 / 8],
            energy=4 * 64 + 3 * 8.5,
            local=8,
        )

    def test_between_servers_still_by_wire(self):
        self.check(self.cost(1, 2, 1), transmission=[16, 1, 0.5 + 0.5], computation=[1, 1, 4], energy=3 * 18, local=0)

    def test_waiting(self):
        # Block 1 arrives at 8 s and runs from 10 to 10.5 on server 2; block 2 is back at 10.5 + 16 / (2 * 4) = 12.5 s
        # and runs from 20 to 24; block 3 is on server 1 at 24 + 8 / (2 * 4) = 25 s and runs from 40 to 44.
        self.check(
            self.cost(2, 0, 1, backlog=(20, 40, 10)),
            transmission=[8, 2, 1 + 0.5],
            waiting=[2, 7.5, 15],
            computation=[0.5, 4, 4],
            energy=4 * 32 + 3 * 11.5,
            local=4,
        )

    def test_the_deadline_of_the_last_block_is_that_of_the_result(self):  # the blocks take 17, 2 and 4.5 s
        assert self.cost(1, 1, 1, deadline=[17, 2, 4.5]).reward == -23.5
        assert self.cost(1, 1, 1, deadline=[17, 2, 4]).reward == -(23.5 + 0.5 * 0.5)

    def test_tasks_of_the_slot(self):
        """Half of the tasks: half of all times and energies, but for the queue."""
        scenario, slot = round_problem("loaded")
        slot = replace(slot, tasks=np.float32(2), backlog=np.array([0, 0, 5], np.float32))
        self.check(
            evaluate_plan(scenario, slot, node_plan(1, 0, 2)),
            transmission=[8, 2, 0.375],
            computation=[0.5, 2, 1],
            energy=2 * 32 + 3 * 10.375,
            local=2,
        )
        cost = evaluate_plan(scenario, slot, node_plan(2, 2, 2))  # from 5 s, not from 4
        np.testing.assert_array_equal(cost.waiting_delay, [1, 0, 0])

    def test_a_link_that_is_down(self):
        """Counts on the way back too: of block 2 to return from server 1, of block 3 to bring the result from it."""
        scenario, slot = round_problem("loaded")
        down = replace(slot, device_rate=slot.device_rate * np.float32([[1, 1], [0, 1], [1, 1]]))
        assert evaluate_plan(scenario, down, node_plan(1, 0, 0)).total_delay == np.inf
        assert evaluate_plan(scenario, down, node_plan(1, 1, 1)).total_delay == 23.5
        down = replace(slot, device_rate=slot.device_rate * np.float32([[1, 1], [1, 1], [0, 1]]))
        cost = evaluate_plan(scenario, down, node_plan(1, 1, 1))
        assert (cost.total_delay, cost.edge_delay, cost.local_delay, cost.reward) == (np.inf, np.inf, 0, -np.inf)
        assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(cost))


class TestKeepsUp:
    def test_by_hand(self):
        """Eight slots: 3 s in the second quarter; the last may take 4.5 s, whatever the first and the third take."""
        delays = [
            (0, 0, 2, 4, 9, 9, 4, 5),
            (9, 9, 2, 4, 0, 0, 4, 5.1),
            (1, 1, 1, 1, 1, 1, 1, 1),
            (0, 0, 0, 0, 0, 0, 0, 0),
            (0, 1, 2, 3, 4, 5, 6, 7),  # from 2.5 to 6.5
            (1, 1, 1, 1, 1, 1, 1, np.inf),
            (1, 1, np.inf, 1, 1, 1, 1, np.inf),
        ]
        assert keeps_up(np.array(delays)).tolist() == [True, False, True, True, False, False, False]
        assert keeps_up(np.array(delays)[0])

    def test_a_queue_that_grows_steadily_does_not(self):
        """Whatever a slot takes by itself, once that is less than what an episode adds."""
        grows = np.arange(600.0)
        assert not keeps_up(grows)
        assert not keeps_up(20 + 0.1 * grows)
        assert keeps_up(20 + 0 * grows)

    @pytest.mark.parametrize("delays", [3.0, np.ones(3), np.ones((4, 0))])
    def test_refuses_less_than_four_slots(self, refused, delays):
        with refused("total_delay", "at least four slots"):
            keeps_up(delays)

    def test_refuses_what_is_no_delay(self, refused):
        with refused("total_delay", "nan"):
            keeps_up([1.0, 2.0, np.nan, 1.0])


class TestQueues:
    """Of `round_problem`: nodes of 8, 16 and 32 cycles/s, blocks of 16, 32 and 64 cycles, slots of 1 s."""

    def test_utilisation(self):
        """A slot of 1 s: nodes of 8, 16, 32 cycles/s get (16, 0, 96), then (0, 112, 0), then nothing.

        A single task has only one of the two devices compute: 4 s for the first block of it, not 2.
        """
        scenario, slot = round_problem("loaded")
        slots = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), replace(slot, tasks=np.float32(4)))
        slots = replace(slots, tasks=jnp.array([4.0, 4.0, 0.0]))
        found = utilisation(scenario, slots, jnp.array([[0, 2, 2], [1, 1, 1], [2, 0, 1]]))
        np.testing.assert_allclose(found, [16 / 24, 112 / 48, 96 / 96], rtol=1e-6)
        gone = replace(scenario, network=replace(scenario.network, speed=np.array([8, 16, 0], np.float32)))
        assert utilisation(gone, slots, jnp.zeros((3, 3), int))[2] == 0
        alone = replace(slots, tasks=jnp.ones(3))
        np.testing.assert_allclose(utilisation(scenario, alone, jnp.zeros((3, 3), int))[0], 112 / 4 / 4, rtol=1e-6)

    def test_what_is_left_over(self):
        scenario, slot = round_problem("loaded")

        def left_over(scenario, backlog, nodes, tasks):
            busy = replace(slot, backlog=np.float32(backlog), tasks=np.float32(tasks))
            return backlog_after(scenario, busy, node_plan(*nodes))

        # Of (0, 2, 2): block 1 until 2 s, block 2 sent until 4 s and done at 5 s, block 3 at 7 s.
        # Of (1, 0, 1): block 1 arrives at 16 s, done at 17 s; block 2 is back at 21 s, done at 25 s; block 3 sent until
        # 26 s, done at 30 s: until then server 1 is held, also while the devices compute.
        for backlog, nodes, tasks, left in [
            ((0, 0, 0), (0, 2, 2), 4, (1, 0, 6)),
            ((0, 40, 0.5), (0, 2, 2), 4, (1, 39, 6)),  # server 2 is free before anything arrives: no wait
            ((0.5, 40, 10), (0, 2, 2), 4, (1.5, 39, 12)),  # 0.5 s later on the devices, 10 to 13 s on server 2
            ((0, 0, 20), (1, 0, 1), 4, (24, 29, 19)),
            ((8, 16, 0.5), (2, 2, 2), 0, (7, 15, 0)),  # no task
        ]:
            np.testing.assert_array_equal(left_over(scenario, backlog, nodes, tasks), left)
        longer = replace(scenario, slot_seconds=np.float32(2))
        np.testing.assert_array_equal(left_over(longer, (0, 1, 10), (0, 2, 2), 4), [0, 0, 11])

    def test_what_never_arrives_holds_no_node(self):
        """Server 1 does not exist: block 2 on it is never done, and block 3 never gets to server 2."""
        scenario, slot = round_problem("loaded")
        gone = replace(scenario, network=replace(scenario.network, speed=np.array([8, 0, 32], np.float32)))
        busy = replace(slot, backlog=np.array([0, 3, 5], np.float32))
        np.testing.assert_array_equal(backlog_after(gone, busy, node_plan(0, 1, 2)), [1, 2, 4])
        down = replace(busy, device_rate=slot.device_rate * np.float32([[1, 1], [1, 0], [1, 1]]))
        np.testing.assert_array_equal(backlog_after(scenario, down, node_plan(0, 2, 1)), [1, 2, 4])

    def test_an_overload_is_never_clipped(self):
        """From the second slot on block 1 begins when the devices are free, 1 s later in each slot than in the last.

        Block 2 is there 2 s after it, sooner than server 2 is free, which is 2 s later in each slot.
        """
        scenario, slot = jax.tree.map(jnp.asarray, round_problem("loaded"))
        plan = jnp.array([0, 2, 2])

        def pass_slot(backlog, _):
            return backlog_after(scenario, replace(slot, backlog=backlog), plan), None

        last, _ = jax.lax.scan(pass_slot, slot.backlog, length=4096)
        np.testing.assert_array_equal(last, [4096, 0, 4096 * 2 + 4])
        cost = evaluate_plan(scenario, replace(slot, backlog=last), node_plan(0, 2, 2))
        np.testing.assert_array_equal(np.cumsum(cost.block_delay), [4096 + 2, 8196 + 1, 8196 + 3.25])

    def test_nothing_is_left_over_in_as_printed(self):
        scenario, slot = round_problem()
        overloaded = replace(slot, backlog=np.ones(3, np.float32), tasks=np.float32(1e6))
        np.testing.assert_array_equal(backlog_after(scenario, overloaded, node_plan(0, 1, 2)), [0, 0, 0])

    def test_against_the_equations(self):
        problems = random_instances(5, 100, blocks=3, servers=2, backlog=True, name="loaded", tasks=True)
        every = equations.all_plans(3, 3)
        found = jax.jit(jax.vmap(jax.vmap(backlog_after, (None, None, 0)), (0, 0, None)))(*problems, every)
        expected = np.stack([equations.backlog_after(*instance(problems, i), every) for i in range(100)])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
        assert 0.2 < (expected == 0).mean() < 0.8


class TestAgainstTheEquations:
    @few
    @given(instances(), plans())
    def test_any_plan(self, problem, plan):
        assert_same_cost(evaluate_plan(*problem, plan), equations.cost_of(*problem, plan))

    @few
    @given(instances(name="loaded", tasks=True), plans())
    def test_any_plan_in_loaded(self, problem, plan):
        assert_same_cost(evaluate_plan(*problem, plan), equations.cost_of(*problem, plan))

    @pytest.mark.parametrize(("name", "tasks"), [("as_printed", False), ("loaded", False), ("loaded", True)])
    def test_all_plans_of_random_instances(self, name, tasks):
        scenarios, slots = random_instances(0, 100, blocks=3, servers=2, backlog=True, name=name, tasks=tasks)
        every = equations.all_plans(3, 3)
        found = jax.jit(jax.vmap(jax.vmap(plan_cost, (None, None, 0)), (0, 0, None)))(scenarios, slots, every)
        found = jax.tree.map(np.asarray, found)
        infinite = 0
        for i in range(100):
            cost, ours = equations.cost_of(*instance((scenarios, slots), i), every), instance(found, i)
            assert_same_cost(ours, cost, names=(*DELAYS, "reward"))
            reachable = np.isfinite(cost.total_delay)
            np.testing.assert_allclose(ours.energy[reachable], cost.energy[reachable], rtol=2e-5)
            infinite += (~reachable).sum()
        assert 100 < infinite < 2000, "some, not most, of the plans use a server or a link that does not exist"


class TestProperties:
    @few
    @given(by_any_rules, plans())
    def test_total_is_local_and_edge(self, problem, plan):
        scenario, slot = problem
        cost = evaluate_plan(scenario, slot, plan)
        assert cost.total_delay == cost.local_delay + cost.edge_delay
        np.testing.assert_allclose(cost.total_delay, cost.block_delay.sum(), rtol=1e-5)
        np.testing.assert_allclose(cost.local_delay, cost.computation_delay[plan == 0].sum(), rtol=1e-5)
        parts = cost.transmission_delay + cost.waiting_delay + cost.computation_delay
        np.testing.assert_allclose(cost.block_delay, parts, rtol=1e-6)
        assert all((np.asarray(getattr(cost, name)) >= 0).all() for name in PER_BLOCK)
        assert cost.local_delay >= 0
        assert cost.edge_delay >= 0
        assert -cost.reward >= cost.total_delay * (1 - 1e-6)

    @few
    @given(instances(backlog=False))
    def test_nothing_on_the_edge_and_nothing_on_the_devices(self, problem):
        assert evaluate_plan(*problem, node_plan(0, 0, 0, 0)).edge_delay == 0
        assert evaluate_plan(*problem, node_plan(1, 3, 2, 2)).local_delay == 0

    @few
    @given(instances(backlog=False), plans(), st.sampled_from([0.25, 1.5, 3.0, 1000.0]))
    def test_without_queues_delay_and_energy_grow_with_the_release_rate(self, problem, plan, factor):
        scenario, slot = busy(problem)
        more = replace(scenario, release_rate=factor * scenario.release_rate)
        cost, greater = evaluate_plan(scenario, slot, plan), evaluate_plan(more, slot, plan)
        assert_same_cost(greater, cost, names=(*DELAYS, "energy"), factor=factor)
        assert (np.asarray(cost.waiting_delay) == 0).all()

    @few
    @given(by_any_rules, plans(), st.sampled_from([0.25, 1.5, 3.0, 1000.0]))
    def test_tasks_queues_and_deadlines_together_scale_all_times(self, problem, plan, factor):
        scenario, slot = busy(problem)
        factor = np.float32(factor)
        more = replace(scenario, release_rate=factor * scenario.release_rate, deadline=factor * scenario.deadline)
        greater = evaluate_plan(more, replace(slot, backlog=factor * slot.backlog), plan)
        assert_same_cost(greater, evaluate_plan(scenario, slot, plan), factor=factor)

    @few
    @given(by_any_rules, plans())
    def test_everything_twice_as_fast_takes_half_as_long(self, problem, plan):
        scenario, slot = problem
        network = scenario.network
        double = {name: 2 * getattr(network, name) for name in ("speed", "device_frequency", "wired_rate")}
        faster = replace(network, **double)
        sooner = replace(slot, device_rate=2 * slot.device_rate, backlog=slot.backlog / 2)
        fast = evaluate_plan(replace(scenario, network=faster), sooner, plan)
        assert_same_cost(fast, evaluate_plan(scenario, slot, plan), names=DELAYS, factor=0.5)

    @few
    @given(by_any_rules, plans())
    def test_a_queue_never_helps(self, problem, plan):
        scenario, slot = problem
        empty = replace(slot, backlog=np.zeros_like(slot.backlog))
        with_queue, without = evaluate_plan(scenario, slot, plan), evaluate_plan(scenario, empty, plan)
        assert with_queue.total_delay >= without.total_delay * (1 - 1e-6)
        assert with_queue.energy == without.energy

    @few
    @given(by_any_rules, plans(), st.permutations([1, 2, 3]))
    def test_renumbering_the_servers_changes_nothing(self, problem, plan, order):
        renumbered = np.concatenate([[0], np.argsort(order) + 1]).astype(np.int32)[plan]
        cost = evaluate_plan(*permuted(*problem, order), renumbered)
        assert_same_cost(cost, evaluate_plan(*problem, plan), rtol=1e-6)

    @few
    @given(by_any_rules, plans(), st.permutations([1, 2, 3]))
    def test_exchanging_equal_servers_changes_nothing(self, problem, plan, order):
        scenario, slot = problem
        speed, rate, backlog = scenario.network.speed, slot.device_rate, slot.backlog
        equal = replace(scenario, network=replace(scenario.network, speed=speed[[0, 1, 1, 1]]))
        slot = replace(slot, device_rate=rate[:, [0, 0, 0]], backlog=backlog[[0, 1, 1, 1]])
        exchanged = np.array([0, *order], np.int32)[plan]
        assert_same_cost(evaluate_plan(equal, slot, exchanged), evaluate_plan(equal, slot, plan), rtol=1e-6)

    @few
    @given(by_any_rules, plans())
    def test_servers_that_do_not_exist_change_nothing(self, problem, plan):
        assert_same_cost(evaluate_plan(*padded(*problem, 2), plan), evaluate_plan(*problem, plan), rtol=1e-6)


class TestNodesThatDoNotExist:
    @pytest.mark.parametrize("penalty", [0.0, 0.5])
    @pytest.mark.parametrize("backlog", [0.0, 7.0])
    def test_infinite_delay_and_never_nan(self, penalty, backlog):
        scenario, slot = padded(*round_problem(penalty=penalty), 1)
        slot = replace(slot, backlog=np.array([0, 0, 0, backlog], np.float32))
        for nodes in [(3, 3, 3), (0, 3, 0), (1, 3, 3), (3, 0, 3), (0, 0, 3)]:
            cost = evaluate_plan(scenario, slot, node_plan(*nodes))
            assert (cost.total_delay, cost.edge_delay, cost.reward) == (np.inf, np.inf, -np.inf)
            np.testing.assert_array_equal(np.isinf(cost.block_delay), np.array(nodes) == 3)
            assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(cost))
            assert cost.local_delay == sum(work / 8 for work, n in zip((16, 32, 64), nodes, strict=True) if n == 0)

    def test_a_link_that_is_down(self):
        scenario, slot = round_problem()
        down = replace(slot, device_rate=slot.device_rate * [[0, 1], [1, 1], [1, 1]])
        assert evaluate_plan(scenario, down, node_plan(1, 1, 1)).total_delay == np.inf
        assert evaluate_plan(scenario, down, node_plan(2, 1, 1)).total_delay == 8 + 0.5 + 1 + 2 + 4
        assert evaluate_plan(scenario, down, node_plan(0, 1, 1)).total_delay == 2 + 4 + 2 + 4


class TestDerivatives:
    # Plan (0, 1, 2): 2 s on the devices; 16 / (2 * 2) s up and 32 / 16 s on server 1; 8 / 16 s over, 64 / 32 s there.
    PLAN = node_plan(0, 1, 2)

    def derivatives(self, scenario, slot, plan=PLAN, field="total_delay"):
        value = lambda *problem: getattr(evaluate_plan(*problem, plan), field)  # noqa: E731
        return jax.jit(jax.grad(value, argnums=(0, 1)))(scenario, slot)

    def test_of_the_delay(self):
        scenario, slot = self.derivatives(*padded(*round_problem(), 1))  # beside a server that does not exist
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((scenario, slot)))
        network, workload = scenario.network, scenario.workload
        # -work / speed^2; work = 8 * macs; data = 4 * input_bytes
        np.testing.assert_array_equal(network.speed, [-16 / 8**2, -32 / 16**2, -64 / 32**2, 0])
        np.testing.assert_array_equal(workload.macs, [8 / 8, 8 / 16, 8 / 32])
        np.testing.assert_array_equal(workload.input_bytes, [0, 4 / (2 * 2), 4 / 16])
        assert network.wired_rate == -8 / 16**2
        assert network.num_devices == -16 / (2**2 * 2)
        used = np.zeros((3, 3))
        used[1, 0] = -16 / (2 * 2**2)
        np.testing.assert_array_equal(slot.device_rate, used)
        assert scenario.release_rate == (2 + 4 + 2 + 0.5 + 2) / 4
        assert scenario.cycles_per_mac == (2 + 2 + 2) / 2
        assert (scenario.deadline, scenario.penalty) == (0, 0)

    def test_of_the_energy(self):
        scenario, _ = self.derivatives(*round_problem(), field="energy")
        assert scenario.network.energy_coefficient == 4**2 * 16
        assert scenario.network.device_frequency == 0.25 * 2 * 4 * 16
        assert scenario.network.transmit_power == 4 + 0.5
        assert scenario.workload.macs[0] == 4 * 8

    def test_of_the_reward(self):  # the blocks take 2, 6 and 2.5 s
        scenario, _ = self.derivatives(*round_problem(deadline=[1, 7, 2]), field="reward")
        np.testing.assert_array_equal(scenario.deadline, [0.5, 0, 0.5])
        assert scenario.penalty == -(1 + 0.5)
        assert scenario.workload.macs[0] == -(1 + 0.5) * 8 / 8

    def test_of_a_wait(self):  # only the queue matters until 20 s, and the transmission before it does not
        problem, slot = round_problem()
        scenario, slot = self.derivatives(
            problem, replace(slot, backlog=np.array([0, 20, 0], np.float32)), node_plan(1, 1, 1)
        )
        np.testing.assert_array_equal(slot.backlog, [0, 1, 0])
        np.testing.assert_array_equal(slot.device_rate, np.zeros((3, 2)))
        np.testing.assert_array_equal(scenario.workload.macs, [8 / 16] * 3)

    def test_stay_finite_on_a_server_that_does_not_exist(self):
        problem = padded(*round_problem(), 1)
        gradients = self.derivatives(*problem, plan=node_plan(3, 3, 0))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


class TestTransformations:
    def test_shapes_and_dtypes(self):
        cost = evaluate_plan(*round_problem(), node_plan(0, 1, 2))
        assert {name: getattr(cost, name).shape for name in (*PER_BLOCK, *SCALARS)} == {
            **dict.fromkeys(PER_BLOCK, (3,)),
            **dict.fromkeys(SCALARS, ()),
        }
        assert {leaf.dtype for leaf in jax.tree.leaves(cost)} == {np.dtype(np.float32)}
        assert {field.name for field in fields(PlanCost)} == {*PER_BLOCK, *SCALARS}

    def test_traced_once_for_all_values(self):
        @jax.jit
        @chex.assert_max_traces(1)
        def delay(scenario, slot, plan):
            return evaluate_plan(scenario, slot, plan).total_delay

        for rate, nodes, seconds in [(4, (0, 0, 0), 14), (8, (0, 0, 0), 28), (2, (1, 1, 1), 11.5)]:
            assert delay(*round_problem(release_rate=rate), node_plan(*nodes)) == seconds

    def test_vectorised_over_plans_slots_and_scenarios(self):
        scenario, slot = round_problem()
        many = jnp.array([[0, 0, 0], [1, 1, 1], [1, 2, 1]])
        by_plan = jax.jit(jax.vmap(evaluate_plan, (None, None, 0)))(scenario, slot, many)
        np.testing.assert_array_equal(by_plan.total_delay, [14, 23, 23.5])
        rates = jax.jit(jax.vmap(lambda rate: evaluate_plan(replace(scenario, release_rate=rate), slot, many[2])))
        np.testing.assert_array_equal(rates(jnp.array([4.0, 8.0])).energy, [52.5, 105])
        scanned, _ = jax.lax.scan(lambda sum, plan: (sum + evaluate_plan(scenario, slot, plan).reward, None), 0.0, many)
        assert scanned == -60.5

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint32], ids=lambda d: d.__name__)
    def test_any_integer_dtype(self, dtype):
        assert evaluate_plan(*round_problem(), np.array([1, 2, 1], dtype)).total_delay == 23.5

    def test_a_list(self):
        assert evaluate_plan(*round_problem(), [1, 2, 1]).total_delay == 23.5


class TestBadInput:
    @pytest.mark.parametrize(
        ("plan", "got"),
        [
            (np.array([0, 1, 3]), "node 3 for block 2"),
            (np.array([0, -1, 2]), "node -1 for block 1"),
            (np.array([2**32 - 1, 0, 0], np.uint32), "node 4294967295 for block 0"),
            (np.array([0.0, 1.0, 2.0]), "dtype float64"),
            (np.array([0, 1, np.nan], np.float32), "dtype float32"),
            (np.array([True, False, True]), "dtype bool"),
            (["a", "b", "c"], "dtype <U1"),
            ([0, 1, 7], "node 7 for block 2"),
        ],
        ids=repr,
    )
    def test_refuses_nodes_that_do_not_exist(self, refused, plan, got):
        with refused("plan", f"got {got}", "3 integers from 0 to 2"):
            evaluate_plan(*round_problem(), plan)

    @pytest.mark.parametrize(
        ("plan", "got"),
        [(np.zeros(2, int), "(2,)"), (np.zeros((1, 3), int), "(1, 3)"), (0, "()"), (None, "()"), ([], "(0,)")],
        ids=repr,
    )
    def test_refuses_another_length(self, refused, plan, got):
        with refused("plan", f"got {got}", "shape (3,)"):
            evaluate_plan(*round_problem(), plan)

    def test_refuses_a_slot_of_another_scenario(self, refused):
        scenario, slot = round_problem()
        with refused("slot.device_rate", "got (2, 2)", "(3, 2)"):
            evaluate_plan(scenario, replace(slot, device_rate=slot.device_rate[1:]), node_plan(0, 0, 0))
        with refused("slot.backlog", "got -1", "at least 0"):
            evaluate_plan(scenario, replace(slot, backlog=np.array([0, 0, -1.0])), node_plan(0, 0, 0))
        with refused("slot.device_rate", "got nan", "finite"):
            evaluate_plan(scenario, replace(slot, device_rate=np.full((3, 2), np.nan)), node_plan(0, 0, 0))

    def test_under_jit_shape_and_dtype_alone(self, refused):
        problem = round_problem()
        run = jax.jit(lambda plan: evaluate_plan(*problem, plan).total_delay)
        with refused("plan", "got (2,)", "shape (3,)"):
            run(np.zeros(2, np.int32))
        with refused("plan", "got dtype float32", "integers"):
            run(np.zeros(3, np.float32))
        with refused("plan", "got dtype bool", "integers"):
            run(np.zeros(3, bool))
        run(node_plan(0, 9, -4))  # assumed to be valid

    def test_checkified_under_jit(self):
        problem = round_problem()
        run = jax.jit(checkify.checkify(lambda plan: evaluate_plan(*problem, plan, check=True).total_delay))
        error, delay = run(node_plan(1, 2, 1))
        error.throw()
        assert delay == 23.5
        for plan in (node_plan(0, 3, 0), node_plan(0, 0, -1)):
            error, _ = run(plan)
            with pytest.raises(checkify.JaxRuntimeError, match=r"plan must be 3 integers from 0 to 2; got "):
                error.throw()


class TestUtilisationOfBadPlans:
    @pytest.mark.parametrize(("node", "got"), [(9, "got node 9"), (-1, "got node -1"), (2**32, "got node 4294967296")])
    def test_refuses_a_node_that_does_not_exist(self, refused, node, got):
        scenario, slot = round_problem("loaded")
        slots = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), slot)
        with refused("plans must be", "from 0 to 2", got, "block 1"):
            utilisation(scenario, slots, np.array([[0, 0, 0], [0, node, 0]]))
        with refused("plan must be", "from 0 to 2", got):
            evaluate_plan(scenario, slot, np.array([0, node, 0]))

    def test_refuses_other_numbers_of_slots(self, refused):
        scenario, slot = round_problem("loaded")
        slots = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), slot)
        with refused("plans must have shape (2, 3)", "got (3, 3)"):
            utilisation(scenario, slots, np.zeros((3, 3), int))
