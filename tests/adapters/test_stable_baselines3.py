"""The Gymnasium adapter in the hands of Stable-Baselines3."""

import pickle

import numpy as np
import pytest
from measured_devices import drawn

from mecpart import SCENARIOS
from mecpart.adapters import gymnasium

pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is missing: install with make clients")

import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common import env_util
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import SubprocVecEnv, VecMonitor, VecNormalize

from mecpart.adapters.stable_baselines3 import make_vec_env

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def model_of(algorithm, env, **settings):
    return algorithm("MlpPolicy", env, gamma=0.9, seed=0, device="cpu", **settings)


@pytest.mark.parametrize("rules", SCENARIOS)
def test_passes_its_checker_without_a_warning(small, rules):
    check_env(gymnasium.make(small(rules)))


class TestVecEnv:
    def test_equals_its_own_over_the_single_environment(self, small):
        """Over two ends of episodes: observations, rewards, dones, and infos with the final observations."""
        scenario = small("loaded", num_slots=3)
        ours = make_vec_env(scenario, 3, seed=4)
        theirs = env_util.make_vec_env(lambda: gymnasium.make(scenario), 3, seed=4)
        assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
        np.testing.assert_allclose(ours.reset(), theirs.reset(), rtol=1e-6)
        rng = np.random.default_rng(0)
        for t in range(7):
            plans = rng.integers(0, 4, (3, 4))
            (observations, rewards, dones, infos), expected = ours.step(plans), theirs.step(plans)
            np.testing.assert_allclose(observations, expected[0], rtol=1e-5)
            np.testing.assert_allclose(rewards, expected[1], rtol=1e-5)
            assert rewards.dtype == expected[1].dtype
            np.testing.assert_array_equal(dones, expected[2])
            assert dones.all() == (t in (2, 5))
            for told, other in zip(infos, expected[3], strict=True):
                other.pop("episode", None)  # of the Monitor that theirs is wrapped in
                assert told.keys() == other.keys()
                for name, value in told.items():
                    np.testing.assert_allclose(value, other[name], rtol=1e-5, atol=1e-6, err_msg=name)
                assert bool(told["TimeLimit.truncated"]) == dones.all()

    def test_measured_devices(self):
        """Nodes that no plan can use are masked by the convention of sb3-contrib; without, learning stays finite."""
        scenario = drawn(1, rules="loaded", num_slots=4)
        env = make_vec_env(scenario, 3, seed=0)
        mask = gymnasium.make(scenario).action_masks()
        assert not mask.all()
        np.testing.assert_array_equal(env.env_method("action_masks", indices=[2, 0]), [mask] * 2)
        assert env.has_attr("action_masks")
        with pytest.raises(AttributeError, match="render"):
            env.env_method("render")
        model = model_of(A2C, env, n_steps=4).learn(96)
        assert all(torch.isfinite(leaf).all() for leaf in model.policy.parameters())

    def test_a_seed_is_used_once(self, small):
        env = make_vec_env(small(num_slots=3), 2, seed=1)
        first, second = env.reset(), env.reset()
        assert (first[:, 8:20] != second[:, 8:20]).all()
        env.seed(1)
        np.testing.assert_array_equal(env.reset(), first)

    def test_a_pickled_copy_goes_on_in_the_same_way(self, small):
        env = make_vec_env(small(num_slots=2), 2, seed=1)
        env.reset()
        twin = pickle.loads(pickle.dumps(env))
        for _ in range(3):
            for one, other in zip(
                env.step(np.zeros((2, 4), int))[:3], twin.step(np.zeros((2, 4), int))[:3], strict=True
            ):
                np.testing.assert_array_equal(one, other)

    def test_equals_the_environments_in_processes_of_their_own(self, small):
        scenario = small(num_slots=2)
        ours, theirs = make_vec_env(scenario, 1, seed=1), SubprocVecEnv([lambda: gymnasium.make(scenario)], "spawn")
        try:
            theirs.seed(1)
            np.testing.assert_allclose(ours.reset(), theirs.reset(), rtol=1e-6)
        finally:
            theirs.close()

    def test_under_its_monitor(self, small):
        env = VecMonitor(make_vec_env(small(num_slots=3), 2, seed=1))
        env.reset()
        rewards, infos = 0, None
        for _ in range(3):
            _, reward, _, infos = env.step(np.zeros((2, 4), int))
            rewards += reward
        for i in range(2):
            assert infos[i]["episode"]["r"] == pytest.approx(rewards[i], rel=1e-5)
            assert infos[i]["episode"]["l"] == 3

    def test_what_it_cannot_do_is_refused(self, small, refused):
        env = make_vec_env(small(), 2)
        assert env.get_attr("num_envs") == [2, 2]
        assert env.env_is_wrapped(VecMonitor, indices=[0]) == [False]
        for call in (lambda: env.set_attr("speed", 1), lambda: env.env_method("render")):
            with pytest.raises(AttributeError, match="stepped as one"):
                call()
        env.set_options({"speed": 1})
        with refused("options must be empty", "{'speed': 1}"):
            env.reset()


def test_the_value_beyond_the_time_limit_is_bootstrapped(small):
    """Stable-Baselines3's own rollout adds the discounted value of the final observation, not of the next episode's."""
    scenario = small("loaded", num_slots=5)
    env = make_vec_env(scenario, 2, seed=0)
    model = model_of(A2C, env, n_steps=8)
    _, callback = model._setup_learn(16, callback=None)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, n_rollout_steps=8)
    plans = model.rollout_buffer.actions.reshape(8, 2, 4).astype(int)

    again = gymnasium.make_vec(scenario, 2, autoreset_mode="SameStep")
    again.reset(seed=0)
    for t in range(8):
        _, expected, _, truncations, infos = again.step(plans[t])
        assert truncations.all() == (t == 4)
        if truncations.all():
            with torch.no_grad():
                final = torch.as_tensor(np.stack(infos["final_obs"]))
                value = model.policy.predict_values(final).numpy()[:, 0]
            assert (np.abs(value) > 1e-4).all()
            expected = expected + 0.9 * value
        np.testing.assert_allclose(model.rollout_buffer.rewards[t], expected, rtol=1e-5)


def test_learns_a_plan_with_less_delay_than_rpdi(small, episode_delays):
    """PPO: in every one of the episodes, and on average by a quarter at least."""
    scenario = small("loaded")
    env = VecNormalize(make_vec_env(scenario, 8, seed=0), norm_obs=False, gamma=0.9)
    model = model_of(PPO, env, n_steps=64, batch_size=128, n_epochs=4, learning_rate=1e-3)
    model.learn(8192)
    learned = episode_delays(scenario, lambda observation: model.predict(observation, deterministic=True)[0])
    random, myopic = episode_delays(scenario, "RPDI"), episode_delays(scenario, "Optimal")
    assert (learned < random).all()
    assert learned.mean() < 0.75 * random.mean()
    assert learned.mean() >= myopic.mean() * 0.9, "not from other episodes"
