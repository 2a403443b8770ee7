from dataclasses import fields, replace
from functools import partial

import chex
import equations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from instances import instance, padded, random_instances, round_problem

from mecpart.dnn.workload import workload
from mecpart.model.delay import PlanCost, evaluate_plan
from mecpart.model.environment import EnvState, PartitionEnv, observe, read_observation, rollout
from mecpart.model.network import sample_network
from mecpart.model.scenario import Slot
from mecpart.model.scenarios import SCENARIOS, as_printed, loaded
from mecpart.model.slots import sample_slot, sample_slots
from mecpart.planning.policies import POLICIES

ENV = PartitionEnv()
STEP, STEP_ENV, RESET = jax.jit(ENV.step), jax.jit(ENV.step_env), jax.jit(ENV.reset)
ROLLOUT = jax.jit(rollout, static_argnums=3)
KEY = jax.random.key(0)
LOCAL = np.zeros(3, np.int32)  # 4 J/cycle * (16 + 32 + 64) = 448 J in each slot of `round_problem`
ON_SERVERS = np.array([1, 2, 1], np.int32)


def short_episode(num_slots=3, name="as_printed", **changes):
    """`round_problem` with few slots to an episode."""
    scenario, _ = round_problem(name, **changes)
    return replace(jax.tree.map(jnp.asarray, scenario), num_slots=num_slots)


class TestObserve:
    def observation(self, scenario, slot, energy=250):
        state = EnvState(jax.tree.map(jnp.asarray, slot), jnp.float32(energy), jnp.int32(0))
        return np.asarray(observe(scenario, state))

    def test_order_and_scale(self):
        expected = [
            *(16 / 8, 32 / 8, 64 / 8),  # what the devices compute in a slot of 1 s is 8 cycles
            *(1 / 8, 2 / 8, 5 / 8),  # shares of the 8 bytes of parameters
            *(1 / 4, 2 / 4, 2 / 4, 4 / 4, 4 / 4, 8 / 4),  # rates by block, then server; the range ends at 4 bytes/s
            250 / 1000,
        ]
        found = self.observation(*round_problem())
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.float32

    def test_the_rate_to_a_server_that_does_not_exist_is_zero(self):
        found = self.observation(*padded(*round_problem(), 1))
        np.testing.assert_array_equal(found[6:-1], [1 / 4, 2 / 4, 0, 2 / 4, 4 / 4, 0, 4 / 4, 8 / 4, 0])

    def test_stays_finite_without_parameters_and_without_a_budget(self):
        scenario, slot = round_problem(energy_budget=0)
        bare = replace(scenario, workload=replace(scenario.workload, parameter_bytes=np.zeros(3, np.float32)))
        found = self.observation(bare, slot, energy=0)
        assert np.isfinite(found).all()
        assert (found[3:6] == 0).all()
        assert found[-1] == 0

    def test_the_queues_come_last(self):
        """x slots become log(1 + 10 x) / log 11; these are 1, 2 and 30 slots of 2 s."""
        scenario, slot = round_problem("loaded", slot_seconds=2)
        slot = replace(slot, backlog=np.float32([2, 4, 60]))
        found = self.observation(scenario, slot)
        without = self.observation(*round_problem(slot_seconds=2))
        np.testing.assert_array_equal(found[:-3], without)
        np.testing.assert_allclose(found[-3:], [1, np.log(21) / np.log(11), np.log(301) / np.log(11)], rtol=1e-6)
        assert found.shape == (ENV.observation_size(scenario),) == (16,)
        np.testing.assert_array_equal(self.observation(*round_problem("loaded"))[-3:], [0, 0, 0])

    def test_the_queue_of_a_server_that_does_not_exist_is_zero(self):
        scenario, slot = padded(*round_problem("loaded"), 1)
        found = self.observation(scenario, replace(slot, backlog=np.float32([1, 0, 1, 0])))
        np.testing.assert_allclose(found[-4:], [1, 0, 1, 0], rtol=1e-6)

    def test_the_work_is_that_of_the_tasks_of_the_slot(self):
        scenario, slot = round_problem("loaded")
        found = self.observation(scenario, replace(slot, tasks=np.float32(2)))
        np.testing.assert_array_equal(found[:3], [8 / 8, 16 / 8, 32 / 8])

    def test_of_order_one_at_the_defaults(self):
        scenario = as_printed(workload("vgg16"), sample_network(KEY))
        found, _ = RESET(KEY, scenario)
        assert found.shape == (6 * (4 + 2) + 1,)
        assert ((found >= 0) & (found <= 1)).all()
        parts = np.split(np.asarray(found), [6, 12, 36])
        assert [part.max() > 0.1 for part in parts] == [True] * 4
        assert parts[1].sum() == pytest.approx(1)
        assert (parts[2] >= 0.4 * (1 - 1e-6)).all()  # 0.8 of 2 MB/s


class TestReadObservation:
    @pytest.mark.parametrize(
        ("name", "tasks"), [("as_printed", False), ("loaded", False), ("loaded", True), ("pipelined", True)]
    )
    def test_is_the_slot_that_was_observed(self, name, tasks):
        problems = random_instances(2, 50, blocks=4, servers=3, backlog=name == "loaded", name=name, tasks=tasks)
        problems[1].backlog[problems[0].network.speed == 0] = 0  # there is no queue where there is no server

        def seen(scenario, slot):
            return read_observation(scenario, observe(scenario, EnvState(slot, jnp.float32(7), jnp.int32(0))))

        found = jax.jit(jax.vmap(seen))(*problems)
        there = problems[0].network.available[:, None, 1:]
        np.testing.assert_allclose(found.device_rate, np.where(there, problems[1].device_rate, 0), rtol=1e-6)
        np.testing.assert_allclose(found.backlog, problems[1].backlog, rtol=2e-5)
        assert (found.tasks is None) == (not tasks)
        if tasks:
            np.testing.assert_allclose(found.tasks, problems[1].tasks, rtol=1e-6)

    def test_of_an_episode_at_the_defaults(self):
        scenario = loaded(workload("vgg16"), sample_network(KEY), arrivals="poisson")
        slot = replace(sample_slot(KEY, scenario), backlog=jnp.array([0, 0.01, 1, 5, 1000]))
        found = read_observation(scenario, observe(scenario, EnvState(slot, scenario.energy_budget, jnp.int32(0))))
        chex.assert_trees_all_close(found, slot, rtol=2e-5)


class TestReset:
    def test_starts_an_episode(self):
        scenario = short_episode()
        observation, state = RESET(KEY, scenario)
        drawn = sample_slot(KEY, scenario)
        np.testing.assert_array_equal(state.slot.device_rate, drawn.device_rate)
        np.testing.assert_array_equal(state.slot.backlog, np.zeros(3))
        assert (state.remaining_energy, state.time) == (1000, 0)
        np.testing.assert_array_equal(observation, observe(scenario, state))
        assert observation.shape == (ENV.observation_size(scenario),)

    def test_sizes(self):
        scenario = short_episode()
        assert (ENV.name, ENV.plan_shape(scenario), ENV.num_actions(scenario)) == ("PartitionEnv", (3,), 3)
        assert ENV.observation_size(scenario) == 13


class TestQueues:
    """Nodes of 8, 16 and 32 cycles/s, slots of 1 s; blocks of 16, 32 and 64 cycles."""

    # Block 1 is done at 2 s, block 2 arrives at 4 s and is done at 5 s, block 3 at 7 s; after that each slot finds the
    # devices busy for 1 s more than the last did, and server 2, which is free later than block 2 arrives, for 2 s more.
    SPLIT = np.array([0, 2, 2], np.int32)

    def scenario(self, num_slots):
        """Every link of every slot is of 4 bytes/s."""
        scenario = short_episode(num_slots, "loaded")
        return replace(scenario, network=replace(scenario.network, device_rate_range=jnp.array([4.0, 4.0])))

    def test_through_the_steps_of_two_episodes(self):
        scenario = self.scenario(3)
        _, state = RESET(KEY, scenario)
        seen = []
        for t, plan in enumerate([self.SPLIT, LOCAL, self.SPLIT, self.SPLIT]):
            before = state
            observation, state, reward, _, truncated, info = STEP(jax.random.key(t), before, plan, scenario)
            cost = evaluate_plan(scenario, before.slot, plan)
            assert (reward, info["total_delay"]) == (cost.reward, cost.total_delay)
            np.testing.assert_allclose(observation, observe(scenario, state), rtol=1e-6)
            seen.append([*state.slot.backlog, bool(truncated)])
            queues = info["final_observation"][-3:]
            if truncated:
                np.testing.assert_array_equal(observation[-3:], [0, 0, 0])
                slots = np.array([15, 0, 20])
                np.testing.assert_allclose(queues, np.log1p(10 * slots) / np.log(11), rtol=1e-6)
                np.testing.assert_array_equal(info["final_observation"][:12], observation[:12])
            else:
                np.testing.assert_array_equal(queues, observation[-3:])
            if t == 1:  # the devices finish the old work first
                np.testing.assert_array_equal(info["waiting_delay"], [1, 0, 0])
        # In the third slot block 1 is done at 14 + 2 s, block 2 arrives 2 s later and runs 1 s, block 3 runs 2 s.
        queues = (1, 0, 6), (14, 0, 5), (15, 0, 20)
        assert seen == [[*queues[0], False], [*queues[1], False], [0, 0, 0, True], [*queues[0], False]]

    def test_the_dynamics_alone_go_on(self):
        scenario = self.scenario(1)
        _, state = RESET(KEY, scenario)
        for t in range(1, 4):
            _, state, _, terminated, info = STEP_ENV(KEY, state, self.SPLIT, scenario)
            np.testing.assert_array_equal(state.slot.backlog, [t, 0, 2 * t + 4])
            assert not terminated
            assert info["waiting_delay"][0] == t - 1

    def test_an_episode_starts_without(self):
        scenario = short_episode(3, "loaded")
        observation, state = RESET(KEY, scenario)
        np.testing.assert_array_equal(state.slot.backlog, [0, 0, 0])
        np.testing.assert_array_equal(observation[-3:], [0, 0, 0])
        assert observation.shape == (16,)

    def test_of_poisson_arrivals(self):
        """What a slot leaves behind depends on its own tasks, and the next slot draws others."""
        scenario = replace(short_episode(100, "loaded"), arrivals="poisson")
        _, state = RESET(KEY, scenario)
        tasks, backlog = [], np.zeros(3)
        for t in range(8):
            tasks.append(float(state.slot.tasks))
            backlog = equations.backlog_after(scenario, replace(state.slot, backlog=backlog), self.SPLIT)
            _, state, *_ = STEP(jax.random.key(t), state, self.SPLIT, scenario)
            np.testing.assert_allclose(state.slot.backlog, backlog, rtol=1e-5)
        assert len(set(tasks)) > 3


class TestStep:
    def test_the_six_values(self):
        scenario = short_episode()
        _, state = RESET(KEY, scenario)
        next_key = jax.random.key(1)
        observation, after, reward, terminated, truncated, info = STEP(next_key, state, ON_SERVERS, scenario)
        cost = evaluate_plan(scenario, state.slot, ON_SERVERS)
        assert reward == cost.reward
        assert set(info) == {
            *(field.name for field in fields(PlanCost)),
            "terminated",
            "truncated",
            "final_observation",
        }
        for field in fields(PlanCost):
            np.testing.assert_array_equal(info[field.name], getattr(cost, field.name))
        assert (terminated.dtype, truncated.dtype) == (bool, bool)
        assert (bool(terminated), bool(truncated)) == (False, False)
        assert (bool(info["terminated"]), bool(info["truncated"])) == (False, False)
        assert after.time == 1
        np.testing.assert_allclose(after.remaining_energy, 1000 - cost.energy, rtol=1e-6)
        np.testing.assert_allclose(after.slot.device_rate, sample_slot(next_key, scenario).device_rate, rtol=1e-6)
        np.testing.assert_allclose(observation, observe(scenario, after), rtol=1e-6)
        np.testing.assert_array_equal(info["final_observation"], observation)

    def test_energy_of_an_episode_and_the_next(self):
        scenario = short_episode(num_slots=3)
        _, state = RESET(KEY, scenario)
        seen = []
        for t in range(7):
            observation, state, _, terminated, truncated, info = STEP(jax.random.key(t), state, LOCAL, scenario)
            assert not terminated
            assert observation[-1] == state.remaining_energy / 1000
            seen.append((int(state.time), float(state.remaining_energy), bool(truncated)))
            assert info["truncated"] == truncated
        assert seen == [
            (1, 1000 - 448, False),
            (2, 1000 - 2 * 448, False),  # a budget that is overdrawn ends nothing
            (0, 1000, True),
            (1, 1000 - 448, False),
            (2, 1000 - 2 * 448, False),
            (0, 1000, True),
            (1, 1000 - 448, False),
        ]

    def test_truncation_keeps_what_the_last_slot_led_to(self):
        scenario = short_episode(num_slots=1)
        _, state = RESET(KEY, scenario)
        observation, after, _, terminated, truncated, info = STEP(KEY, state, LOCAL, scenario)
        assert (bool(terminated), bool(truncated)) == (False, True)
        final = info["final_observation"]
        np.testing.assert_array_equal(final[:-1], observation[:-1])
        np.testing.assert_allclose(final[-1], (1000 - 448) / 1000, rtol=1e-6)
        assert observation[-1] == 1
        assert (after.time, after.remaining_energy) == (0, 1000)

    def test_the_dynamics_alone_go_on(self):
        scenario = short_episode(num_slots=1)
        _, state = RESET(KEY, scenario)
        for t in range(1, 4):
            observation, state, reward, terminated, info = STEP_ENV(KEY, state, LOCAL, scenario)
            assert (int(state.time), float(state.remaining_energy), bool(terminated)) == (t, 1000 - 448 * t, False)
            assert (float(reward), float(info["energy"])) == (-14, 448)
            np.testing.assert_allclose(observation[-1], (1000 - 448 * t) / 1000, rtol=1e-6)

    def test_under_jit_vmap_and_scan(self):
        chex.clear_trace_counter()

        @jax.jit
        @chex.assert_max_traces(1)
        def episodes(keys, scenario):
            def run(key):
                def step(state, key):
                    observation, state, *rest, _ = ENV.step(key, state, LOCAL, scenario)
                    return state, (observation, *rest)

                first, *others = jax.random.split(key, 7)
                return jax.lax.scan(step, ENV.reset(first, scenario)[1], jnp.stack(others))

            return jax.vmap(run)(keys)

        for rate in (4.0, 8.0):
            state, (observation, reward, terminated, truncated) = episodes(
                jax.random.split(KEY, 5), short_episode(num_slots=3, release_rate=rate)
            )
            assert observation.shape == (5, 6, 13)
            np.testing.assert_array_equal(state.time, [0] * 5)
            np.testing.assert_array_equal(reward, np.full((5, 6), -14 * rate / 4))
            np.testing.assert_array_equal(truncated, [[False, False, True, False, False, True]] * 5)
            assert not terminated.any()
            rates = np.asarray(observation)[:, :, 6:12].reshape(-1)
            assert len(np.unique(rates)) > 170, "every slot and every copy draws its own rates"

    def test_the_reward_has_derivatives(self):
        scenario, (_, state) = short_episode(), ENV.reset(KEY, short_episode())
        slope = jax.grad(lambda scenario: ENV.step(KEY, state, LOCAL, scenario)[2], allow_int=True)(scenario)
        chex.assert_tree_all_finite(slope)
        assert slope.release_rate == -14 / 4
        assert slope.network.speed[0] == (16 + 32 + 64) / 8**2

    def test_refuses_a_bad_plan(self, refused):
        scenario = short_episode()
        _, state = RESET(KEY, scenario)
        for plan, got, allowed in [
            (np.array([0, 1, 3]), "node 3 for block 2", "from 0 to 2"),
            (np.array([0.0, 1.0, 2.0]), "dtype float64", "integers"),
            (np.array([0, 1]), "(2,)", "shape (3,)"),
        ]:
            with refused("plan", f"got {got}", allowed):
                ENV.step(KEY, state, plan, scenario)
        with refused("plan", "got (2,)", "shape (3,)"):
            STEP(KEY, state, np.array([0, 1]), scenario)


@jax.vmap
def erratic(state, noise):
    """A plan that any half joule more or less turns into another one."""
    half_joules = jnp.int32(2 * state.remaining_energy)
    return (half_joules // jnp.array([1, 3, 7]) + half_joules // 64 + noise + state.time) % 3


def erratic_by_hand(energy, time, noise):
    half_joules = int(2 * energy)
    return [(half_joules // k + half_joules // 64 + int(noise) + time) % 3 for k in (1, 3, 7)]


class TestRollout:
    """With rates and work in powers of two, energy is exact, so plans can be compared one by one."""

    LENGTH = 12

    def draws(self, seed=0):
        rng = np.random.default_rng(seed)
        rate = 2.0 ** rng.integers(-1, 4, (self.LENGTH + 1, 3, 2))
        noise = rng.integers(0, 3, self.LENGTH).astype(np.int32)
        return Slot(jnp.asarray(rate, jnp.float32), jnp.zeros((self.LENGTH + 1, 3))), jnp.asarray(noise)

    def start(self, slots, time=0, energy=5000):
        return EnvState(instance(slots, 0), jnp.float32(energy), jnp.int32(time))

    def check(self, scenario, choose, slots, noise, start, choose_by_hand):
        """`rollout` against slot after slot, with the costs of the equations, and with those of `step_env`."""
        states, plans, cost = ROLLOUT(scenario, start, slots, choose, noise)
        state, energy, time = start, float(start.remaining_energy), int(start.time)
        for t in range(self.LENGTH):
            assert (states.time[t], states.remaining_energy[t]) == (time, energy)
            np.testing.assert_array_equal(states.slot.device_rate[t], slots.device_rate[t])
            if time >= scenario.num_slots:
                continue
            plan = np.array(choose_by_hand(energy, time, noise[t]), np.int32)
            np.testing.assert_array_equal(plans[t], plan)
            state = replace(state, slot=instance(slots, t))
            _, state, reward, _, info = STEP_ENV(KEY, state, plan, scenario)
            for field in fields(PlanCost):
                np.testing.assert_allclose(getattr(cost, field.name)[t], info[field.name], rtol=1e-6)
            assert cost.reward[t] == reward
            expected = equations.cost_of(scenario, instance(slots, t), plan)
            assert (cost.total_delay[t], cost.energy[t]) == (expected.total_delay, expected.energy)
            energy, time = energy - expected.energy, time + 1
            assert (state.remaining_energy, state.time) == (energy, time)
        assert (states.time[-1], states.remaining_energy[-1]) == (time, energy)
        return np.asarray(plans)

    @pytest.mark.parametrize("seed", range(3))
    def test_is_a_run_slot_by_slot_whatever_the_policy_makes_of_the_energy(self, seed):
        slots, noise = self.draws(seed)
        plans = self.check(short_episode(20), erratic, slots, noise, self.start(slots), erratic_by_hand)
        assert len(np.unique(plans, axis=0)) > 6
        slots = replace(slots, device_rate=slots.device_rate.at[0].set(slots.device_rate[0, ::-1]))
        _, others, _ = ROLLOUT(short_episode(20), self.start(slots, energy=5000.5), slots, erratic, noise)
        assert (np.asarray(others)[1:] != plans[1:]).any(axis=1).sum() > 6, "the policy depends on the energy"

    @pytest.mark.parametrize("time", [8, 9, 13, 20])
    def test_slots_after_the_end_are_not_run(self, time):
        slots, noise = self.draws()
        start = self.start(slots, time=time)
        self.check(short_episode(20), erratic, slots, noise, start, erratic_by_hand)
        states, *_ = ROLLOUT(short_episode(20), start, slots, erratic, noise)
        np.testing.assert_array_equal(states.time, np.minimum(time + np.arange(13), 20))
        assert len(np.unique(states.remaining_energy)) == 1 + 20 - time

    def test_of_a_policy_without_memory(self):
        scenario = short_episode(20)
        slots, noise = self.draws()
        policy = partial(POLICIES["Single cut"], scenario)
        policies = jax.vmap(lambda state, _: policy(state.slot))
        _, plans, cost = ROLLOUT(scenario, self.start(slots), slots, policies, noise)
        one_by_one = [policy(instance(slots, t)) for t in range(self.LENGTH)]
        np.testing.assert_array_equal(plans, one_by_one)
        delay = [equations.cost_of(scenario, instance(slots, t), one_by_one[t]).total_delay for t in range(self.LENGTH)]
        np.testing.assert_array_equal(cost.total_delay, delay)

    def test_under_vmap_and_scan(self):
        scenario, (slots, noise) = short_episode(30), self.draws()
        starts = jax.vmap(lambda energy: replace(self.start(slots), remaining_energy=energy))(
            jnp.array([5000.0, 4321.5, 1000.0])
        )
        run = partial(rollout, scenario, slots=slots, choose_plans=erratic, noise=noise)
        _, together, _ = jax.jit(jax.vmap(run))(starts)
        one_by_one = [ROLLOUT(scenario, instance(starts, i), slots, erratic, noise)[1] for i in range(3)]
        np.testing.assert_array_equal(together, one_by_one)

        def go_on(state, _):
            states, plans, cost = run(state)
            return instance(states, -1), (plans, cost.energy)

        last, (plans, energy) = jax.jit(lambda start: jax.lax.scan(go_on, start, length=2))(instance(starts, 0))
        np.testing.assert_array_equal(plans[0], one_by_one[0])
        assert last.time == 2 * self.LENGTH
        assert last.remaining_energy == 5000 - np.float64(energy).sum()

    def test_of_slots_drawn_by_the_scenario(self):
        scenario = short_episode(5)
        slots = sample_slots(KEY, scenario, 6)
        _, start = RESET(KEY, scenario)
        states, plans, cost = ROLLOUT(scenario, start, slots, lambda states, _: jnp.tile(LOCAL, (5, 1)), jnp.zeros(5))
        np.testing.assert_array_equal(plans, np.zeros((5, 3)))
        np.testing.assert_array_equal(states.remaining_energy, 1000 - 448 * np.arange(6))
        np.testing.assert_array_equal(cost.reward, [-14] * 5)


@jax.vmap
def wary_of_queues(state, noise):
    """A plan that any quarter of a second more or less in a queue turns into another one."""
    quarters = jnp.int32(4 * state.slot.backlog)
    return (quarters[0] // jnp.array([1, 8, 3]) + quarters[1] // 5 + quarters[2] // 16 + noise + state.time) % 3


def wary_by_hand(backlog, time, noise):
    quarters = [int(4 * q) for q in backlog]
    return [(quarters[0] // k + quarters[1] // 5 + quarters[2] // 16 + int(noise) + time) % 3 for k in (1, 8, 3)]


class TestRolloutWithQueues:
    """With rates and work in powers of two, queues are exact, so plans can be compared one by one."""

    LENGTH = TestRollout.LENGTH

    def draws(self, seed, tasks=False):
        slots, noise = TestRollout().draws(seed)
        many = 2.0 ** np.random.default_rng(seed).integers(-1, 3, self.LENGTH + 1)
        return replace(slots, tasks=jnp.asarray(many, jnp.float32)) if tasks else slots, noise

    def start(self, slots, time=0, backlog=(0, 0, 0)):
        first = replace(instance(slots, 0), backlog=jnp.float32(backlog))
        return EnvState(first, jnp.float32(5000), jnp.int32(time))

    def scenario(self, num_slots, tasks=False):
        return replace(short_episode(num_slots, "loaded"), arrivals="poisson" if tasks else "constant")

    @pytest.mark.parametrize(("time", "tasks"), [(0, False), (0, True), (8, False), (13, True), (20, False)])
    def test_is_a_run_slot_by_slot(self, time, tasks):
        """Against `step_env` and the equations; slots from the twentieth on leave the state as it is."""
        scenario, (slots, noise) = self.scenario(20, tasks), self.draws(time, tasks)
        start = self.start(slots, time, backlog=(3, 70, 16))
        states, plans, cost = ROLLOUT(scenario, start, slots, wary_of_queues, noise)
        state, backlog, used = start, np.array([3.0, 70, 16]), []
        for t in range(self.LENGTH):
            np.testing.assert_array_equal(states.slot.backlog[t], backlog)
            np.testing.assert_array_equal(states.slot.device_rate[t], slots.device_rate[t])
            assert (states.time[t], states.remaining_energy[t]) == (state.time, state.remaining_energy)
            assert not tasks or states.slot.tasks[t] == slots.tasks[t]
            if state.time >= 20:
                continue
            plan = np.array(wary_by_hand(backlog, int(state.time), noise[t]), np.int32)
            np.testing.assert_array_equal(plans[t], plan)
            slot = replace(instance(slots, t), backlog=state.slot.backlog)
            expected = equations.cost_of(scenario, slot, plan)
            backlog = equations.backlog_after(scenario, slot, plan)
            _, state, _, _, info = STEP_ENV(KEY, replace(state, slot=slot), plan, scenario)
            np.testing.assert_array_equal(state.slot.backlog, backlog)
            for field in fields(PlanCost):
                np.testing.assert_allclose(getattr(cost, field.name)[t], info[field.name], rtol=1e-6)
                np.testing.assert_allclose(info[field.name], getattr(expected, field.name), rtol=1e-6)
            used.append(plan)
        assert (states.time[-1], states.remaining_energy[-1]) == (state.time, state.remaining_energy)
        np.testing.assert_array_equal(states.slot.backlog[-1], backlog)
        np.testing.assert_array_equal(states.slot.device_rate[-1], slots.device_rate[-1])
        assert len(used) == min(self.LENGTH, 20 - time)
        if time == 0:
            assert len(np.unique(used, axis=0)) > 4
            others = ROLLOUT(scenario, self.start(slots), slots, wary_of_queues, noise)[1]
            assert (np.asarray(others) != plans).any(axis=1).sum() > 3, "the policy depends on the queues"

    def test_only_the_backlog_of_the_first_slot_counts(self):
        scenario, (slots, noise) = self.scenario(20), self.draws(0)
        full = replace(slots, backlog=slots.backlog + 1000)
        found = ROLLOUT(scenario, self.start(slots), full, wary_of_queues, noise)
        chex.assert_trees_all_equal(found, ROLLOUT(scenario, self.start(slots), slots, wary_of_queues, noise))

    def test_under_vmap(self):
        scenario, (slots, noise) = self.scenario(20), self.draws(0)
        backlogs = np.float32([[0, 0, 0], [50, 3, 200], [7, 900, 1]])
        starts = jax.vmap(lambda backlog: replace(self.start(slots), slot=replace(instance(slots, 0), backlog=backlog)))
        run = partial(rollout, scenario, slots=slots, choose_plans=wary_of_queues, noise=noise)
        together = jax.jit(jax.vmap(run))(starts(backlogs))[1]
        one_by_one = [
            ROLLOUT(scenario, self.start(slots, backlog=backlog), slots, wary_of_queues, noise)[1]
            for backlog in backlogs
        ]
        np.testing.assert_array_equal(together, one_by_one)

    @pytest.mark.parametrize("rules", SCENARIOS)
    def test_a_trace_of_rates_is_an_episode_from_empty_queues(self, rules):
        """[T, N] rates for all blocks alike, no queues, no slot after the last, and no state to start from."""
        scenario, (slots, noise) = short_episode(20, rules), self.draws(0)
        rate = slots.device_rate[:, 0]
        whole = replace(slots, device_rate=jnp.broadcast_to(rate[:, None], slots.device_rate.shape))
        whole = jax.tree.map(lambda leaf: leaf.at[-1].set(leaf[-2]), whole)
        start = EnvState(instance(whole, 0), scenario.energy_budget, jnp.int32(0))
        expected = ROLLOUT(scenario, start, whole, wary_of_queues, noise)
        chex.assert_trees_all_equal(ROLLOUT(scenario, None, Slot(rate[:-1]), wary_of_queues, noise), expected)
        assert (expected[0].slot.backlog[-1] > 0).any() == (rules == "loaded")

    @pytest.mark.parametrize("short", [np.float16, jnp.bfloat16])
    def test_numbers_of_few_bits_are_carried_as_float32(self, short):
        scenario, (slots, noise) = short_episode(20, "loaded"), self.draws(0)
        start = self.start(slots, backlog=(3, 7, 16))
        few = EnvState(
            replace(start.slot, backlog=start.slot.backlog.astype(short)), jnp.asarray(5000, short), np.int8(0)
        )
        exact = replace(start, remaining_energy=jnp.float32(few.remaining_energy))
        chex.assert_trees_all_equal(
            ROLLOUT(scenario, few, slots, wary_of_queues, noise), ROLLOUT(scenario, exact, slots, wary_of_queues, noise)
        )

    def test_energy_that_is_no_number_is_refused(self, refused):
        scenario, (slots, noise) = short_episode(20, "loaded"), self.draws(0)
        start = replace(self.start(slots), remaining_energy=np.nan)
        with refused("start.remaining_energy must be a number", "nan"):
            rollout(scenario, start, slots, wary_of_queues, noise)
