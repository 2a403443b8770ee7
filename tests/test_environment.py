from dataclasses import fields, replace
from functools import partial

import chex
import equations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from instances import instance, padded, round_problem

from mecpart.delay import PlanCost, evaluate_plan
from mecpart.environment import EnvState, PartitionEnv, observe, rollout
from mecpart.network import sample_network
from mecpart.policies import POLICIES
from mecpart.scenario import Slot, as_printed, sample_slot, sample_slots
from mecpart.workload import workload

ENV = PartitionEnv()
STEP, STEP_ENV, RESET = jax.jit(ENV.step), jax.jit(ENV.step_env), jax.jit(ENV.reset)
ROLLOUT = jax.jit(rollout, static_argnums=3)
KEY = jax.random.key(0)
LOCAL = np.zeros(3, np.int32)  # 4 J/cycle * (16 + 32 + 64) = 448 J in each slot of `round_problem`
ON_SERVERS = np.array([1, 2, 1], np.int32)


def short_episode(num_slots=3, **changes):
    """`round_problem` with few slots to an episode."""
    scenario, _ = round_problem(**changes)
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

    def test_of_order_one_at_the_defaults(self):
        scenario = as_printed(workload("vgg16"), sample_network(KEY))
        found, _ = RESET(KEY, scenario)
        assert found.shape == (6 * (4 + 2) + 1,)
        assert ((found >= 0) & (found <= 1)).all()
        parts = np.split(np.asarray(found), [6, 12, 36])
        assert [part.max() > 0.1 for part in parts] == [True] * 4
        assert parts[1].sum() == pytest.approx(1)
        assert (parts[2] >= 0.4 * (1 - 1e-6)).all()  # 0.8 of 2 MB/s


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
