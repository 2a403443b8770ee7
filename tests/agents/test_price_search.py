from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mecpart
from mecpart.agents import PricePolicy, PriceSearchConfig, agent_config, make_train
from mecpart.agents.learning import channel_key, episode_slots, evaluate_policy, run_episode
from mecpart.environment import EnvState, observe, observe_all
from mecpart.optimum import optimal_plan
from mecpart.runs import Setting

KEY = jax.random.key(0)
TINY = {"episodes": 8, "workers": 4}


@pytest.fixture(scope="module")
def loaded(scenario):
    return mecpart.loaded(scenario.workload, scenario.network, num_slots=10)


def states_of(scenario, count=40):
    """States with all kinds of queues, none at the server that does not exist."""
    slots = mecpart.scenario.sample_slots(KEY, scenario, count)
    length = jnp.asarray(
        np.random.default_rng(0).choice([0, 0.02, 0.05, 0.1], (count, scenario.num_nodes)), jnp.float32
    )
    slots = replace(slots, backlog=length * scenario.network.speed * scenario.slot_seconds)
    return EnvState(slots, jnp.full(count, scenario.energy_budget), jnp.arange(count))


class TestPolicy:
    WEIGHTS = jnp.array([0.5, 0.1, 9, -0.4, 3, 7, 9, 10.0])

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

    def test_a_price_is_not_negative_and_grows_with_the_queue(self, loaded):
        """By `priced_plan` at max(0, fixed + growing * queue in slots)."""
        slots, speed = states_of(loaded).slot, loaded.network.speed
        length = np.where(speed > 0, slots.backlog / np.where(speed > 0, speed * loaded.slot_seconds, 1), 0)
        prices = np.maximum(self.WEIGHTS[:4] + self.WEIGHTS[4:] * length, 0)
        expected = jax.jit(jax.vmap(mecpart.optimum.priced_plan, (None, 0, 0)))(loaded, slots, prices)
        plans = jax.jit(jax.vmap(PricePolicy(self.WEIGHTS, loaded).plan))(slots)
        np.testing.assert_array_equal(plans, expected)


class TestTraining:
    def test_a_function_of_the_key(self, loaded):
        train = jax.jit(make_train("Learned prices", **TINY))
        result, again, other = train(KEY, loaded), train(KEY, loaded), train(jax.random.key(1), loaded)
        np.testing.assert_array_equal(result.policy.weights, again.policy.weights)
        np.testing.assert_array_equal(result.episode_reward, again.episode_reward)
        assert (result.policy.weights != other.policy.weights).all()
        assert result.episode_reward.shape == (8,)
        assert result.policy.weights.shape == (8,)
        keys = jnp.stack([KEY, jax.random.key(1)])
        many = jax.jit(jax.vmap(make_train("Learned prices", **TINY), (0, None)))(keys, loaded)
        np.testing.assert_allclose(many.policy.weights, [result.policy.weights, other.policy.weights], rtol=1e-4)

    def test_the_candidates_of_a_round_see_one_episode_and_the_next_round_another(self, loaded):
        """With no spread to speak of, all of them are the myopic plan."""
        found = jax.jit(make_train("Learned prices", **TINY, spread=1e-9))(KEY, loaded).episode_cost.total_delay
        rounds = np.reshape(found, (2, 4))

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

    def test_in_as_printed_near_the_optimum(self, scenario):
        policy = jax.jit(make_train("Learned prices", episodes=160))(KEY, scenario).policy
        slots = episode_slots(jax.random.key(7), scenario, 0)
        best = jnp.sum(jax.vmap(lambda slot: optimal_plan(scenario, slot).total_delay)(slots)[:-1])
        found = jax.jit(evaluate_policy)(jax.random.key(7), scenario, policy).total_delay
        assert best * (1 - 1e-5) <= found <= 1.01 * best
        seen = observe(scenario, EnvState(mecpart.sample_slot(KEY, scenario), scenario.energy_budget, jnp.int32(0)))
        assert policy(seen).shape == (3,)


class TestConfig:
    @pytest.mark.parametrize(
        ("changes", "got", "allowed"),
        [
            ({"workers": 3, "episodes": 9}, "workers must be an even number; got 3", ""),
            ({"workers": 4, "episodes": 10}, "episodes", "multiple of workers (4); got 10"),
            ({"workers": 0}, "workers", "got 0"),
            ({"episodes": 8.0}, "episodes", "got 8.0"),
            ({"spread": 0}, "spread", "above 0; got 0"),
            ({"spread": float("nan")}, "spread", "got nan"),
        ],
    )
    def test_refuses_a_bad_value(self, refused, changes, got, allowed):
        with refused(got, allowed):
            make_train("Learned prices", **changes)
        with refused(got, allowed):
            PriceSearchConfig(**changes)

    def test_refuses_an_unknown_setting(self, refused):
        with refused("setting of Learned prices", "got 'learning_rate'", "'spread'"):
            agent_config("Learned prices", learning_rate=0.1)

    def test_defaults_are_the_ledgers(self):
        config = agent_config("Learned prices")
        assert (config.episodes, config.workers, config.spread) == (3000, 8, 0.3)
