from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mecpart
from mecpart.agents import PricePolicy, PriceSearchConfig, agent_config, make_train
from mecpart.agents.learning import channel_key, episode_slots, evaluate_policy, run_episode
from mecpart.experiments.setting import Setting
from mecpart.model.environment import EnvState, observe, observe_all
from mecpart.planning.optimum import optimal_plan

KEY = jax.random.key(0)
TINY = {"episodes": 8, "workers": 4}


@pytest.fixture(scope="module")
def loaded(scenario):
    return mecpart.loaded(scenario.workload, scenario.network, num_slots=10)


def states_of(scenario, count=40):
    """States with all kinds of queues, none at the server that does not exist."""
    slots = mecpart.sample_slots(KEY, scenario, count)
    length = jnp.asarray(
        np.random.default_rng(0).choice([0, 0.02, 0.05, 0.1], (count, scenario.num_nodes)), jnp.float32
    )
    slots = replace(slots, backlog=jnp.where(scenario.network.available, length, 0) * scenario.slot_seconds)
    return EnvState(slots, jnp.full(count, scenario.energy_budget), jnp.arange(count))


class TestPolicy:
    WEIGHTS = jnp.array([0.5, 0.1, 9, 0, 3, 7, 9, 10.0])

    @pytest.mark.parametrize("arrivals", ["constant", "poisson"])
    def test_of_an_observation_the_plan_of_its_slot(self, loaded, arrivals):
        loaded = replace(loaded, arrivals=arrivals)
        policy, states = PricePolicy(self.WEIGHTS, loaded), states_of(loaded)
        plans = jax.jit(jax.vmap(policy.plan))(states.slot)
        observations = jax.jit(observe_all)(loaded, states)
        seen = jax.jit(lambda policy, observation: policy(observation))  # a policy is a pytree: an argument of `jit`
        np.testing.assert_array_equal(seen(policy, observations.reshape(8, 5, -1)), plans.reshape(8, 5, 3))
        np.testing.assert_array_equal(seen(policy, observations[3]), plans[3])
        assert plans.dtype == jnp.int32
        assert set(np.unique(plans).tolist()) == {0, 1, 3}

    def test_without_weights_the_myopic_plan(self, loaded):
        policy, slots = PricePolicy(jnp.zeros(8), loaded), states_of(loaded).slot
        plans = jax.jit(jax.vmap(policy.plan))(slots)
        myopic = jax.jit(jax.vmap(optimal_plan, (None, 0)))(loaded, slots).plan
        np.testing.assert_array_equal(plans, myopic)
        others = jax.jit(jax.vmap(PricePolicy(self.WEIGHTS, loaded).plan))(slots)
        assert (np.asarray(others) != myopic).any(axis=1).sum() > 3, "weights make a difference"

    def test_a_price_grows_with_the_queue(self, loaded):
        """By `priced_plan` at fixed + growing * queue in slots."""
        slots = states_of(loaded).slot
        prices = self.WEIGHTS[:4] + self.WEIGHTS[4:] * slots.backlog / loaded.slot_seconds
        expected = jax.jit(jax.vmap(mecpart.planning.optimum.priced_plan, (None, 0, 0)))(loaded, slots, prices)
        plans = jax.jit(jax.vmap(PricePolicy(self.WEIGHTS, loaded).plan))(slots)
        np.testing.assert_array_equal(plans, expected)


@pytest.fixture(scope="module")
def crowded():
    """Queues form, and every episode is the same: nothing is drawn but the servers' speeds."""
    setting = Setting(num_servers=2, release_rate=90.0, device_rate_range=(1.2e6, 1.2e6))
    return replace(setting.build("loaded", 3, sizes=()), num_slots=30)


class TestTraining:
    def test_a_function_of_the_key(self, crowded):
        train = jax.jit(make_train("Learned prices", episodes=40, workers=4))
        result, again, other = train(KEY, crowded), train(KEY, crowded), train(jax.random.key(1), crowded)
        np.testing.assert_array_equal(result.policy.weights, again.policy.weights)
        np.testing.assert_array_equal(result.episode_reward, again.episode_reward)
        assert (result.policy.weights != other.policy.weights).any()
        assert result.episode_reward.shape == (40,)
        assert result.policy.weights.shape == (6,)
        assert (result.policy.weights >= 0).all()
        keys = jnp.stack([KEY, jax.random.key(1)])
        many = jax.jit(jax.vmap(make_train("Learned prices", episodes=40, workers=4), (0, None)))(keys, crowded)
        np.testing.assert_allclose(many.policy.weights, [result.policy.weights, other.policy.weights], rtol=1e-4)

    def test_the_best_of_the_new_ones_challenges_the_best_on_the_next_episode(self, crowded):
        """Seen where all episodes are the same: the best of the new ones is tried again, and stays if it is better.

        Worker 0 runs the best, worker 1 its challenger, the others new weights."""
        result = jax.jit(make_train("Learned prices", episodes=80, workers=4))(KEY, crowded)
        best, challenger, *new = np.asarray(result.episode_cost.total_delay).reshape(20, 4).T
        np.testing.assert_array_equal(best[1:], np.minimum(best, challenger)[:-1])
        np.testing.assert_array_equal(challenger[1:], np.min(new, axis=0)[:-1])
        assert len(np.unique(best)) > 1, "the best was replaced"
        assert best[0] == challenger[0], "both start as the myopic plan"
        found = float(jax.jit(evaluate_policy)(KEY, crowded, result.policy).total_delay)
        assert found == pytest.approx(min(best[-1], challenger[-1]), rel=1e-6)

    def test_the_candidates_of_a_round_see_one_episode_and_the_next_round_another(self, loaded):
        """With no step to speak of, all of them are the myopic plan."""
        train = jax.jit(make_train("Learned prices", **TINY, step_range=(1e-9, 1e-9)))
        rounds = np.reshape(train(KEY, loaded).episode_cost.total_delay, (2, 4))

        def myopic(states, _):
            return jax.vmap(lambda slot: optimal_plan(loaded, slot).plan)(states.slot)

        run = jax.jit(lambda episode: run_episode(channel_key(KEY), loaded, episode, myopic, jnp.zeros((10, 0))))
        expected = [float(run(episode).total_delay) for episode in (0, 4)]
        np.testing.assert_allclose(rounds, np.repeat(expected, 4).reshape(2, 4), rtol=1e-5)
        assert expected[0] != expected[1]

    def test_beats_the_myopic_plan_on_fresh_episodes(self):
        """Whose delay is at most about 5 % above what a lower bound allows here."""

        @jax.jit
        def compare(key, fresh, scenario):
            policy = make_train("Learned prices", episodes=160)(key, scenario).policy
            weights = jnp.stack([policy.weights, jnp.zeros_like(policy.weights)])

            def delay(weights, key):
                return evaluate_policy(key, scenario, PricePolicy(weights, scenario)).total_delay

            return jax.vmap(jax.vmap(delay, (None, 0)), (0, None))(weights, fresh)

        scenario = replace(Setting().build("loaded", 3), num_slots=100)
        found, myopic = np.asarray(compare(KEY, jax.random.split(jax.random.key(9), 4), scenario))
        assert (found < 0.98 * myopic).all()

    def test_in_as_printed_the_optimum(self, scenario):
        policy = jax.jit(make_train("Learned prices", episodes=160))(KEY, scenario).policy
        slots = episode_slots(jax.random.key(7), scenario, 0)
        best = jnp.sum(jax.vmap(lambda slot: optimal_plan(scenario, slot).total_delay)(slots)[:-1])
        found = jax.jit(evaluate_policy)(jax.random.key(7), scenario, policy).total_delay
        np.testing.assert_allclose(found, best, rtol=1e-6)
        seen = observe(scenario, EnvState(mecpart.sample_slot(KEY, scenario), scenario.energy_budget, jnp.int32(0)))
        assert policy(seen).shape == (3,)


class TestConfig:
    @pytest.mark.parametrize(
        ("changes", "got", "allowed"),
        [
            ({"workers": 2, "episodes": 10}, "workers", "at least 3; got 2"),
            ({"workers": 4, "episodes": 10}, "episodes", "multiple of workers (4); got 10"),
            ({"workers": 0}, "workers", "got 0"),
            ({"episodes": 8.0}, "episodes", "got 8.0"),
            ({"step_range": (0, 1)}, "step_range", "above 0; got 0"),
            ({"step_range": (1, 0.1)}, "step_range", "low <= high"),
            ({"step_range": 0.1}, "step_range", "pair (low, high); got 0.1"),
            ({"step_range": [0.1, 1]}, "step_range", "pair (low, high); got [0.1, 1]"),
            ({"step_range": (0.1, float("nan"))}, "step_range", "got nan"),
        ],
    )
    def test_refuses_a_bad_value(self, refused, changes, got, allowed):
        with refused(got, allowed):
            make_train("Learned prices", **changes)
        with refused(got, allowed):
            PriceSearchConfig(**changes)

    def test_refuses_an_unknown_setting(self, refused):
        with refused("setting of Learned prices", "got 'learning_rate'", "'step_range'"):
            agent_config("Learned prices", learning_rate=0.1)

    def test_defaults_are_the_ledgers(self):
        config = agent_config("Learned prices")
        assert (config.episodes, config.workers, config.step_range) == (3000, 8, (0.01, 1.0))
