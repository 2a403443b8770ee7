import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mecpart
from mecpart.agents.learning import (
    REWARD_KNEE,
    Policy,
    channel_key,
    episode_rounds,
    episode_slots,
    evaluate_policy,
    learning_reward,
    run_episode,
    sum_costs,
    training_keys,
)
from mecpart.agents.networks import PartitionNetwork
from mecpart.model.environment import observe


@pytest.fixture(scope="module")
def slots(scenario):
    return episode_slots(jax.random.key(5), scenario, 3)


class TestEpisodes:
    def test_a_slot_more_than_the_episode_has(self, scenario, slots):
        assert slots.device_rate.shape == (scenario.num_slots + 1, 3, 3)
        assert not slots.backlog.any()

    def test_every_episode_and_every_seed_has_its_own_channels(self, scenario, slots):
        for key, episode in ((jax.random.key(5), 4), (jax.random.key(6), 3)):
            other = episode_slots(key, scenario, episode)
            assert not np.any(np.asarray(other.device_rate) == np.asarray(slots.device_rate))

    @pytest.mark.parametrize("t_max", [1, 3, 4, 5, 10, 11, 32])
    def test_rounds_are_the_episode_cut_up(self, scenario, slots, t_max):
        """Each round ends with the first slot of the next; the last is filled up with the slot after the episode."""
        start, rounds = episode_rounds(jax.random.key(5), scenario, 3, t_max)
        rate, whole = np.asarray(rounds.device_rate), np.asarray(slots.device_rate)
        assert rate.shape[:2] == (int(np.ceil(10 / t_max)), t_max + 1)
        np.testing.assert_array_equal(rate[:, :-1].reshape(-1, 3, 3)[:10], whole[:10])
        np.testing.assert_array_equal(rate[:-1, -1], rate[1:, 0])
        np.testing.assert_array_equal(rate[-1, -1], whole[10])
        np.testing.assert_array_equal(start.slot.device_rate, whole[0])
        assert float(start.remaining_energy) == float(scenario.energy_budget)
        assert int(start.time) == 0

    def test_the_channels_of_a_run_do_not_depend_on_the_length_of_a_rollout(self, scenario):
        key = channel_key(jax.random.key(1))
        for t_max in (4, 7):
            _, rounds = episode_rounds(key, scenario, 2, t_max)
            rate = np.asarray(rounds.device_rate)[:, :-1].reshape(-1, 3, 3)[:10]
            np.testing.assert_array_equal(rate, episode_slots(key, scenario, 2).device_rate[:10])

    def test_the_three_keys_of_a_run_differ(self):
        keys = jax.random.key_data(training_keys(jax.random.key(1)))
        assert len(np.unique(keys, axis=0)) == 3
        np.testing.assert_array_equal(jax.random.key_data(channel_key(jax.random.key(1))), keys[0])


class TestCosts:
    def test_sums_over_the_slots_that_are_run(self, scenario, slots):
        """Against a loop over `evaluate_plan`; the share of late blocks counts all blocks of the episode."""
        tight = mecpart.as_printed(scenario.workload, scenario.network, deadline=[0.1, 0.05, 0.2], num_slots=10)
        plans = np.array([[0, 1, 1], [3, 3, 0], [1, 1, 3], [0, 0, 0]] * 3)[:10]
        costs = [
            mecpart.evaluate_plan(tight, jax.tree.map(lambda leaf, t=t: leaf[t], slots), plans[t]) for t in range(10)
        ]
        active = np.array([True] * 7 + [False] * 3)
        batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *costs)
        total = sum_costs(tight, batch, jnp.asarray(active))
        for name in ("total_delay", "edge_delay", "local_delay", "energy", "reward"):
            expected = sum(float(getattr(cost, name)) for cost in costs[:7])
            np.testing.assert_allclose(getattr(total, name), expected, rtol=1e-5)
        late = sum(
            float(delay) > deadline
            for cost in costs[:7]
            for delay, deadline in zip(cost.block_delay, [0.1, 0.05, 0.2], strict=True)
        )
        assert 0 < late < 7 * 3
        np.testing.assert_allclose(total.deadline_violation_rate, late / 30, rtol=1e-5)

    def test_an_episode_of_a_fixed_policy_against_the_environment(self, scenario, slots):
        """The sums are those of stepping through `PartitionEnv`'s dynamics on the same slots."""
        plans = jax.random.choice(jax.random.key(0), jnp.array([0, 1, 3]), (10, 3))
        cost = run_episode(jax.random.key(5), scenario, 3, lambda state, plan: plan, plans)
        step = jax.jit(mecpart.evaluate_plan)
        stepped = [step(scenario, jax.tree.map(lambda leaf, t=t: leaf[t], slots), plans[t]) for t in range(10)]
        for name in ("total_delay", "edge_delay", "local_delay", "energy", "reward"):
            expected = sum(float(getattr(slot, name)) for slot in stepped)
            np.testing.assert_allclose(getattr(cost, name), expected, rtol=1e-5)

    def test_rewards_are_scaled_by_an_all_local_slot(self, scenario):
        """Then an all-local slot within its deadlines earns -1, whatever the release rate."""
        for release_rate in (10.0, 60.0):
            other = mecpart.as_printed(scenario.workload, scenario.network, release_rate, deadline=1e3, num_slots=10)
            slot = mecpart.sample_slot(jax.random.key(0), other)
            reward = mecpart.evaluate_plan(other, slot, np.zeros(3, int)).reward
            np.testing.assert_allclose(float(learning_reward(other, reward)), -1, rtol=1e-5)


class TestLearningReward:
    """In `loaded`, in units of what a slot's tasks take on the devices."""

    @pytest.fixture
    def rule(self, scenario):
        loaded = mecpart.loaded(scenario.workload, scenario.network)
        unit = float(jnp.sum(loaded.work) / loaded.network.speed[0])
        return lambda units: learning_reward(loaded, unit * jnp.float32(units))

    def test_as_it_is_above_the_knee(self, rule):
        units = np.linspace(-REWARD_KNEE, 1, 50)
        np.testing.assert_allclose(rule(units), units, rtol=1e-5, atol=1e-6)

    def test_by_its_logarithm_below(self, rule):
        for units, expected in [(-2 * np.e, -4), (-2 * np.e**3, -8), (-2 * np.exp(10), -22)]:
            np.testing.assert_allclose(float(rule(units)), expected, rtol=1e-5)

    def test_keeps_the_order_and_has_no_step_and_no_kink(self, rule):
        units = -np.geomspace(0.1, 1e9, 400)
        assert (np.diff(rule(units)) < 0).all()
        left, right = rule(-REWARD_KNEE - 1e-3), rule(-REWARD_KNEE + 1e-3)
        np.testing.assert_allclose([float(left), float(right)], [-REWARD_KNEE - 1e-3, -REWARD_KNEE + 1e-3], rtol=1e-5)
        slope = jax.vmap(jax.grad(lambda units: rule(units)))
        np.testing.assert_allclose(slope(jnp.array([-1.9, -2.002, -20.0])), [1, 2 / 2.002, 2 / 20], rtol=1e-4)

    def test_of_huge_costs_finite_and_small(self, rule):
        found = rule([-1e10, -1e25])
        assert np.isfinite(found).all()
        assert (found > -150).all()

    def test_in_as_printed_never_bent(self, scenario):
        unit = float(jnp.sum(scenario.work) / scenario.network.speed[0])
        np.testing.assert_allclose(float(learning_reward(scenario, -1e6 * unit)), -1e6, rtol=1e-5)


@pytest.fixture(scope="module", params=["branches", "sequential", "joint"])
def policy(request, scenario):
    network = PartitionNetwork(3, 4, (16,), request.param, "soft")
    shapes = jax.eval_shape(network.initialise, jax.random.key(0), jnp.zeros(16))
    draw = np.random.default_rng(3)
    parameters = jax.tree.map(lambda leaf: jnp.asarray(draw.normal(size=leaf.shape), jnp.float32), shapes)
    return Policy(parameters, scenario.network.available, network)


class TestPolicy:
    def test_plan_for_one_observation_and_for_many(self, policy):
        observations = jax.random.normal(jax.random.key(1), (30, 16))
        many = jax.jit(jax.vmap(policy))(observations)
        assert many.shape == (30, 3)
        assert many.dtype == jnp.int32
        one = jax.jit(lambda policy, observation: policy(observation))  # a policy is a pytree: an argument of `jit`
        for observation, plan in zip(observations[:5], many[:5], strict=True):
            np.testing.assert_array_equal(one(policy, observation), plan)
        assert len(np.unique(many, axis=0)) > 1
        assert 2 not in np.asarray(many)

    def test_policies_can_be_stacked(self, policy):
        """As training vectorised over seeds returns them."""
        zeros = jax.tree.map(jnp.zeros_like, policy.parameters)
        other = Policy(zeros, policy.available, policy.network)
        both = jax.tree.map(lambda *leaves: jnp.stack(leaves), policy, other)
        plans = jax.jit(jax.vmap(lambda policy, observation: policy(observation), (0, None)))(both, jnp.ones(16))
        np.testing.assert_array_equal(plans[0], jax.jit(policy)(jnp.ones(16)))
        np.testing.assert_array_equal(plans[1], [0, 0, 0])  # ties go to the lower node

    def test_evaluation_follows_the_greedy_plans_slot_by_slot(self, policy, scenario, slots):
        """With the energy that the plans before have left, as in a loop over the environment."""
        cost = jax.jit(evaluate_policy)(jax.random.key(5), scenario, policy, 3)

        @jax.jit
        def step(energy, slot, time):
            state = mecpart.EnvState(slot, energy, time)
            return mecpart.evaluate_plan(scenario, slot, policy(observe(scenario, state)))

        energy, total = scenario.energy_budget, 0.0
        for t in range(10):
            slot_cost = step(energy, jax.tree.map(lambda leaf, t=t: leaf[t], slots), t)
            energy, total = energy - slot_cost.energy, total + float(slot_cost.total_delay)
        np.testing.assert_allclose(cost.total_delay, total, rtol=1e-5)
        np.testing.assert_allclose(cost.energy, scenario.energy_budget - energy, rtol=1e-5)

    def test_drawn_plans_have_the_probabilities_that_training_gives_them(self, policy):
        count, network = 20_000, policy.network
        observations = jnp.tile(jax.random.normal(jax.random.key(4), (16,)) / 10, (count, 1))
        noise = jax.random.uniform(jax.random.key(2), (count, network.num_decisions))
        plans, times = np.unique(policy.sample(observations, noise), axis=0, return_counts=True)
        log_probabilities, choices, _ = network.assess(
            policy.parameters, observations[: len(plans)], plans, policy.available
        )
        chosen = jnp.take_along_axis(log_probabilities, choices[:, None], axis=1)
        expected = np.asarray(jnp.exp(jnp.sum(chosen, axis=(0, 1))))
        assert (np.abs(times / count - expected) < 5 * np.sqrt(expected / count) + 1e-3).all()
        assert 2 not in plans


class TestEvaluationInLoaded:
    """A network of zeros gives every node the same value and the same probability."""

    @pytest.fixture
    def loaded(self, scenario):
        return mecpart.loaded(scenario.workload, scenario.network, 5.0, num_slots=10)

    def evaluate(self, loaded, **options):
        network = PartitionNetwork(loaded.num_blocks, loaded.num_nodes, (16,), **options)
        features = mecpart.PartitionEnv().observation_size(loaded)
        parameters = network.initialise(jax.random.key(0), jnp.zeros(features))
        policy = Policy(jax.tree.map(jnp.zeros_like, parameters), loaded.network.available, network)
        return jax.jit(jax.vmap(lambda key: evaluate_policy(key, loaded, policy).total_delay))(
            jax.random.split(jax.random.key(1), 300)
        )

    def episodes_of(self, loaded, name):
        def cost(key):
            keys = jax.random.split(jax.random.fold_in(key, 9), loaded.num_slots)
            plans = jax.vmap(lambda state, key: mecpart.POLICIES[name](loaded, state.slot, key))
            return run_episode(key, loaded, 0, plans, keys).total_delay

        return jax.jit(jax.vmap(cost))(jax.random.split(jax.random.key(1), 300))

    def test_an_actor_critic_draws_its_plans(self, loaded):
        """All nodes alike: that is random placement."""
        found, expected = self.evaluate(loaded), self.episodes_of(loaded, "RPDI")
        spread = float(jnp.std(expected)) / np.sqrt(300)
        assert abs(float(jnp.mean(found) - jnp.mean(expected))) < 5 * spread
        assert float(jnp.std(found)) > 0.5 * float(jnp.std(expected))

    def test_a_value_network_takes_the_best(self, loaded):
        """All nodes alike: that is the first, the devices."""
        np.testing.assert_allclose(
            self.evaluate(loaded, critic=False), self.episodes_of(loaded, "Local only"), rtol=1e-5
        )
