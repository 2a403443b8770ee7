"""The gymnax adapter against gymnax's interface, `PartitionEnv` and the equations, and in the hands of its clients."""

import copy
from dataclasses import fields, replace
from functools import partial

import equations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import environment, spaces
from gymnax.wrappers import LogWrapper
from measured_devices import drawn
from rejax import PPO

import mecpart
from mecpart.adapters import gymnax as adapter
from mecpart.model.environment import PartitionEnv, read_observation

KEY = jax.random.key(0)
COSTS = [field.name for field in fields(mecpart.PlanCost)]
STEP_ENV = jax.jit(PartitionEnv().step_env)
each_form = pytest.mark.parametrize("actions", adapter.ACTIONS)


def play(env, params, steps, key=KEY, action=None):
    """What `env` returns over some steps of random actions, every array with a leading axis [steps]; then states."""

    def step(carry, key):
        state, key_action = carry, jax.random.fold_in(key, 1)
        chosen = env.action_space(params).sample(key_action) if action is None else jnp.asarray(action)
        told = env.step(key, state, chosen, params)
        return told[1], (told[0], chosen, *told[2:], told[1])

    _, state = env.reset(key, params)
    return jax.jit(lambda state: jax.lax.scan(step, state, jax.random.split(key, steps))[1])(state)


class TestEveryForm:
    @each_form
    def test_is_a_gymnax_environment(self, small, actions):
        env, params = adapter.make(small("loaded"), actions)
        assert isinstance(env, environment.Environment)
        observation, state = env.reset(KEY, params)
        space = env.observation_space(params)
        assert observation.shape == space.shape
        assert observation.dtype == space.dtype
        assert space.contains(observation)
        action = env.action_space(params).sample(KEY)
        assert env.action_space(params).contains(action)
        told = env.step(KEY, state, action, params)
        assert len(told) == 6
        observation, _, _, terminated, truncated, info = told
        assert space.contains(observation)
        assert (terminated.dtype, truncated.dtype) == (bool, bool)
        assert set(info) >= {*COSTS, "terminated", "truncated", "final_observation"}
        # The scenario that it was made for is the default.
        np.testing.assert_allclose(env.step(KEY, state, action)[0], observation, rtol=1e-6)
        np.testing.assert_allclose(env.reset(KEY)[0], env.reset(KEY, params)[0], rtol=1e-6)

    @each_form
    def test_measured_devices_have_finite_observations_and_rewards_whatever_is_done(self, actions):
        env, params = adapter.make(drawn(1, rules="loaded", num_slots=5), actions)
        observations, _, rewards, _, _, info, _ = play(env, params, 24)
        space = env.observation_space(params)
        assert ((space.low <= observations) & (observations <= space.high)).all()
        assert np.isfinite(rewards).all()
        assert np.isinf(info["total_delay"]).any()

    @each_form
    def test_a_time_limit_truncates_and_never_terminates(self, small, actions):
        env, params = adapter.make(small("loaded", num_slots=3), actions)
        limit = params.max_steps_in_episode
        assert limit == 3 * env.steps_per_slot
        observation, _, _, terminated, truncated, info, state = play(env, params, 2 * limit)
        assert not terminated.any()
        np.testing.assert_array_equal(truncated, np.arange(1, 2 * limit + 1) % limit == 0)
        np.testing.assert_array_equal(info["truncated"], truncated)
        # The final observation is that of the episode; the one returned is the first of the next.
        queues = 4 + (4 * 5 if actions == "block" else 0)
        energy, final = observation[:, -1 - queues], info["final_observation"][:, -1 - queues]
        np.testing.assert_array_equal(energy[truncated], 1)
        assert (final[truncated] < 1).all()
        other = ~np.asarray(truncated)
        np.testing.assert_array_equal(observation[other], info["final_observation"][other])
        np.testing.assert_array_equal(state.time[truncated], 0)

    def test_the_time_limit_is_a_parameter(self, small):
        env, params = adapter.make(small(num_slots=20))
        truncated = play(env, params.replace(max_steps_in_episode=4), 8)[4]
        np.testing.assert_array_equal(truncated, [False, False, False, True] * 2)

    @each_form
    def test_under_vmap_and_gymnax_s_own_wrapper(self, small, actions):
        env, params = adapter.make(small(num_slots=3), actions)
        logged = LogWrapper(env)
        steps = params.max_steps_in_episode
        told = jax.vmap(lambda key: play(logged, params, steps, key))(jax.random.split(KEY, 2))
        reward, info = told[2], told[5]
        np.testing.assert_allclose(info["returned_episode_returns"][:, -1], reward.sum(axis=1), rtol=1e-5)
        np.testing.assert_array_equal(info["returned_episode_lengths"][:, -1], steps)

    def test_servers_that_pad_the_network_are_left_out(self, small):
        network = mecpart.sample_network(KEY, 2, pad_to=4)
        for actions, choices in (("plan", 3), ("joint", 3**4), ("block", 3)):
            env, params = adapter.make(small(network=network), actions)
            assert params.scenario.num_nodes == 3
            assert env.num_actions == choices

    def test_bad_arguments_are_refused(self, small, refused):
        with refused("actions must be one of 'plan', 'joint', 'block'", "'plans'"):
            adapter.make(small(), "plans")
        with refused("step must be one of 'six', 'five', 'endless'", "'legacy'"):
            adapter.make(small(), step="legacy")
        big = mecpart.as_printed(mecpart.workload("vgg16", blocks=6), mecpart.make_network([3e9] * 5))
        with refused("actions='joint' needs (N + 1)^M <= 20000", "6^6 = 46656"):
            adapter.make(big, "joint")
        with refused("scenario must be one of", "'printed'"):
            adapter.make("printed")


class TestPlans:
    @pytest.mark.parametrize("name", mecpart.SCENARIOS)
    def test_steps_as_partition_env_does(self, small, name):
        env, params = adapter.make(small(name))
        _, state = env.reset(KEY, params)
        for t, key in enumerate(jax.random.split(KEY, 4)):
            plan = np.array([t, 3 - t, 1, 2])
            told = env.step_env(key, state, plan, params)
            expected = STEP_ENV(key, state, plan, params.scenario)
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), told, expected)
            as_tuple = env.step_env(key, state, tuple(plan), params)
            jax.tree.map(np.testing.assert_array_equal, told, as_tuple)
            state = told[1]

    def test_space(self, small):
        env, params = adapter.make(small())
        space = env.action_space(params)
        plans = jax.vmap(space.sample)(jax.random.split(KEY, 2000))
        assert plans.shape == (2000, 4)
        assert plans.dtype == space.dtype == jnp.int32
        for node in range(4):
            np.testing.assert_allclose((plans == node).mean(axis=0), 1 / 4, atol=0.05)
        assert space.contains(plans[0])
        assert not space.contains(plans[0].at[2].set(4))
        converted = spaces.gymnax_space_to_gym_space(space)
        assert tuple(choice.n for choice in converted.spaces) == space.nvec == (4, 4, 4, 4)

    def test_a_plan_that_does_not_exist_is_refused_where_it_can_be(self, small):
        env, params = adapter.make(small())
        _, state = env.reset(KEY, params)
        with pytest.raises(ValueError, match="action must be 4 integers from 0 to 3; got node 4 for block 2"):
            env.step_env(KEY, state, np.array([0, 0, 4, 0]), params)


class TestJointPlans:
    def test_every_number_is_a_plan_of_its_own(self, small):
        (env, params), (plans, _) = adapter.make(small("loaded"), "joint"), adapter.make(small("loaded"))
        assert env.num_actions == 4**4
        _, state = env.reset(KEY, params)
        rewards = jax.vmap(lambda i: env.step(KEY, state, i, params)[2])(jnp.arange(4**4))
        all_plans = equations.all_plans(4, 4)  # in the order of their digits
        expected = jax.vmap(lambda plan: plans.step(KEY, state, plan, params)[2])(all_plans)
        np.testing.assert_array_equal(rewards, expected)


class TestBlockByBlock:
    @pytest.mark.parametrize("name", mecpart.SCENARIOS)
    def test_the_last_block_runs_the_slot(self, small, name):
        """The costs are those of the equations for the plan placed; before, nothing is paid, drawn or spent."""
        env, params = adapter.make(small(name, num_slots=6), "block")
        scenario = params.scenario
        size = PartitionEnv().observation_size(scenario)
        first, _ = env.reset(KEY, params)
        observation, nodes, reward, _, _, info, _ = play(env, params, 5 * 4)
        plans = np.asarray(nodes).reshape(5, 4)
        assert len(np.unique(plans, axis=0)) == 5
        before = jnp.concatenate([first[None], observation[3:-1:4]])
        for t, plan in enumerate(plans):
            cost = equations.cost_of(scenario, read_observation(scenario, before[t, :size]), plan)
            for field in COSTS:
                told = np.asarray(info[field]).reshape(5, 4, *info[field].shape[1:])[t]
                np.testing.assert_allclose(told[3], getattr(cost, field), rtol=1e-3, atol=1e-4)
                np.testing.assert_array_equal(told[:3], 0)
            np.testing.assert_allclose(reward[4 * t + 3], cost.reward, rtol=1e-3)
            np.testing.assert_array_equal(reward[4 * t : 4 * t + 3], 0)
            np.testing.assert_array_equal(info["slot_ended"][4 * t : 4 * t + 4], [False, False, False, True])
            # But for rounding: the first observation is made by another program than those after it.
            seen = observation[4 * t : 4 * t + 3, :size]
            np.testing.assert_allclose(seen, np.tile(before[t, :size], (3, 1)), rtol=2**-22)

    def test_the_slots_are_those_of_whole_plans(self, small):
        """The step of the last block moves on as `PartitionEnv` does from the same state with the whole plan."""
        env, params = adapter.make(small("loaded"), "block")
        _, state = env.reset(KEY, params)
        plan = [1, 1, 3, 0]
        for node in plan[:-1]:
            before = state
            _, state, *_ = env.step_env(KEY, state, node, params)
            jax.tree.map(np.testing.assert_array_equal, state.slots, before.slots)
        _, state, reward, _, info = env.step_env(KEY, state, plan[-1], params)
        _, expected, expected_reward, _, expected_info = STEP_ENV(KEY, before.slots, np.array(plan), params.scenario)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), state.slots, expected)
        np.testing.assert_allclose(reward, expected_reward, rtol=1e-6)
        np.testing.assert_allclose(info["energy"], expected_info["energy"], rtol=1e-6)

    def test_tells_the_block_and_the_nodes_before_it(self, small):
        env, params = adapter.make(small(), "block")
        size = PartitionEnv().observation_size(params.scenario)
        observation, state = env.reset(KEY, params)
        # Block, then nodes: latest first, the device (0) last, nothing (-1) after it.
        for node, block, nodes in ((2, 0, [0, -1, -1, -1]), (3, 1, [2, 0, -1, -1]), (0, 2, [3, 2, 0, -1]),
                                   (1, 3, [0, 3, 2, 0]), (1, 0, [0, -1, -1, -1])):  # fmt: skip
            told = np.concatenate([np.arange(4) == block, np.ravel(np.array(nodes)[:, None] == np.arange(4))])
            np.testing.assert_array_equal(observation[size:], told)
            observation, state, *_ = env.step(KEY, state, node, params)

    def test_place_blocks_asks_as_the_environment_does(self, small):
        env, params = adapter.make(small("loaded"), "block")
        size = PartitionEnv().observation_size(params.scenario)

        def act(observation, key):
            """A node that depends on every entry of the observation."""
            return jnp.int32(jnp.sum(observation * jnp.arange(1, len(observation) + 1)) * 100) % 4

        observation, state = env.reset(KEY, params)
        plans = []
        for _ in range(3):
            plan = adapter.place_blocks(act, params.scenario, observation[:size], KEY)
            for node in plan:
                assert act(observation, KEY) == node
                observation, state, *_ = env.step(KEY, state, node, params)
            plans.append(tuple(plan.tolist()))
        assert len(set(plans)) > 1


class TestFiveValues:
    @pytest.mark.parametrize("actions", ["plan", "block"])
    def test_done_is_the_end_of_an_episode_or_never(self, small, actions):
        scenario = small("loaded", num_slots=2)
        six, params = adapter.make(scenario, actions)
        steps = 2 * params.max_steps_in_episode
        observation, _, reward, _, truncated, info, _ = play(six, params, steps)
        for step, done in (("five", truncated), ("endless", np.zeros(steps, bool))):
            env, _ = adapter.make(scenario, actions, step)
            told = play(env, params, steps)
            assert len(told) == 6, "observation, action, reward, done, info, state"
            np.testing.assert_array_equal(told[3], done)
            jax.tree.map(np.testing.assert_array_equal, (told[0], told[2], told[4]), (observation, reward, info))

    def test_can_be_copied(self, small):
        """As Rejax does when it is given one; gymnax's own wrapper recurses without end."""
        env, params = adapter.make(small(), "block", "five")
        twin = copy.deepcopy(env)
        np.testing.assert_array_equal(twin.reset(KEY, params)[0], env.reset(KEY, params)[0])
        assert twin.num_actions == 4
        with pytest.raises(AttributeError):
            env.no_such_name  # noqa: B018


def ppo(env, params, **settings):
    """Rejax's PPO, small; a discount of 0.9 per slot."""
    given = {"num_envs": 32, "num_steps": 64, "num_minibatches": 8, "num_epochs": 4, "max_grad_norm": 0.5}
    given |= {"learning_rate": 2e-3, "ent_coef": 0.003, "gamma": 0.9 ** (1 / env.steps_per_slot)}
    return PPO.create(env=env, env_params=params, skip_initial_evaluation=True, **(given | settings))


class TestRejax:
    @pytest.mark.parametrize("step", ["five", "endless"])
    def test_bootstraps_across_the_time_limit_only_where_done_does_not_hide_it(self, small, step):
        """The advantages that Rejax itself computes, in one step at the limit (lambda = 0)."""
        env, params = adapter.make(small(num_slots=5), "joint", step)
        algorithm = ppo(env, params, num_envs=2, num_steps=12, num_minibatches=1, gae_lambda=0.0)

        @jax.jit
        def collect(key):
            state, seen = algorithm.collect_trajectories(algorithm.init_state(key))
            last_value = algorithm.critic.apply(state.critic_ts.params, state.last_obs)
            return seen, algorithm.calculate_gae(seen, last_value)[0]

        seen, advantages = collect(KEY)
        beyond = 0.9 * seen.value[1:]
        if step == "five":
            beyond = beyond.at[jnp.array([4, 9])].set(0)  # of the fifth slot and the tenth
        np.testing.assert_allclose(advantages[:-1], seen.reward[:-1] + beyond - seen.value[:-1], rtol=1e-5, atol=1e-5)
        assert (jnp.abs(seen.value) > 1e-3).all()

    def test_learns_a_plan_with_less_delay_than_rpdi(self, small, episode_delays):
        """One block per step; in every one of the episodes, and on average by a quarter at least."""
        scenario = small("loaded")
        env, params = adapter.make(scenario, "block", "endless")
        algorithm = ppo(env, params, total_timesteps=16384, eval_freq=16384, normalize_rewards=True)
        trained, (lengths, _) = jax.jit(algorithm.train)(KEY)
        assert (lengths == 20 * 4).all(), "its own evaluation plays whole episodes, though `done` never comes"
        act = algorithm.make_act(trained)
        plan = jax.jit(lambda observation: adapter.place_blocks(act, params.scenario, observation, KEY))
        learned, random = episode_delays(scenario, plan), episode_delays(scenario, "RPDI")
        assert (learned < random).all()
        assert learned.mean() < 0.75 * random.mean()
        assert learned.mean() >= episode_delays(scenario, "Optimal").mean() * 0.9, "not from other episodes"


class TestJaxnasium:
    def test_its_wrapper_takes_whole_plans_and_tells_truncation_from_termination(self, small):
        wrappers = pytest.importorskip("jaxnasium.wrappers", reason="install with make clients")
        env, _ = adapter.make(small("loaded", num_slots=3))
        wrapped = wrappers.GymnaxWrapper(env)
        assert tuple(wrapped.action_space.nvec) == (4, 4, 4, 4)
        _, state = wrapped.reset(KEY)
        for t in range(1, 7):
            timestep, state = wrapped.step(jax.random.key(t), state, np.array([1, 2, 3, 0]))
            assert not timestep.terminated
            assert bool(timestep.truncated) == (t in (3, 6))


def test_params_are_a_pytree_over_which_scenarios_can_be_mapped(small):
    env, params = adapter.make(small())
    scenarios = jax.vmap(lambda rate: replace(params.scenario, release_rate=rate))(jnp.array([30.0, 60.0]))
    _, state = env.reset(KEY, params)
    axes = jax.tree.map(lambda _: None, params).replace(scenario=jax.tree.map(lambda _: 0, scenarios))
    step = jax.vmap(lambda params: env.step(KEY, state, jnp.array([3, 3, 3, 3]), params)[2], in_axes=(axes,))
    rewards = step(params.replace(scenario=scenarios))
    assert rewards[1] < rewards[0] < 0


@pytest.mark.parametrize(
    ("actions", "action"),
    [
        ("plan", np.array([0, 0, 2**32])),
        ("joint", np.int64(2**32)),
        ("joint", -1),
        ("block", np.int64(2**32)),
        ("block", 9),
    ],
    ids=str,
)
def test_an_action_that_int32_would_make_another_is_refused(actions, action):
    scenario = mecpart.as_printed(mecpart.workload("alexnet", 3), mecpart.make_network([3e9, 6e9]), num_slots=3)
    env, params = adapter.make(scenario, actions=actions)
    key = jax.random.key(0)
    _, state = env.reset(key, params)
    with pytest.raises(ValueError, match=r"action must be .* (got|2)"):
        env.step(key, state, action, params)
