from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from instances import assemble

import mecpart
from mecpart.agents import ActorCriticConfig, QLearningConfig
from mecpart.agents.learning import (
    Policy,
    batch_costs,
    channel_key,
    episode_rounds,
    episode_slots,
    evaluate_policy,
    learning_reward,
    reward_scale,
    run_episode,
    sum_costs,
    training_keys,
)
from mecpart.agents.networks import PartitionNetwork
from mecpart.model.environment import observe, rollout


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
    def test_sums_over_the_slots(self, scenario, slots):
        """Against a loop over `evaluate_plan`, whole and in rounds of 4 slots, of which the last two are not run."""
        tight = mecpart.as_printed(scenario.workload, scenario.network, deadline=[0.1, 0.05, 0.2], num_slots=10)
        plans = np.array([[0, 1, 1], [3, 3, 0], [1, 1, 3], [0, 0, 0]] * 3)[:10]
        costs = [
            mecpart.evaluate_plan(tight, jax.tree.map(lambda leaf, t=t: leaf[t], slots), plans[t]) for t in range(10)
        ]
        batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *costs)
        rounds = jax.tree.map(
            lambda leaf: jnp.pad(leaf, [(0, 2)] + [(0, 0)] * (leaf.ndim - 1), constant_values=99).reshape(
                3, 1, 4, *leaf.shape[1:]
            ),
            (jnp.asarray(plans), batch),
        )
        in_rounds = jax.tree.map(lambda leaf: leaf[0], batch_costs(tight, *rounds))
        late = sum(
            float(delay) > deadline
            for cost in costs
            for delay, deadline in zip(cost.block_delay, [0.1, 0.05, 0.2], strict=True)
        )
        assert 0 < late < 30
        for total in (sum_costs(tight, plans, batch), in_rounds):
            for name in ("total_delay", "edge_delay", "local_delay", "energy", "reward"):
                expected = sum(float(getattr(cost, name)) for cost in costs)
                np.testing.assert_allclose(getattr(total, name), expected, rtol=1e-5)
            np.testing.assert_allclose(total.deadline_violation_rate, late / 30, rtol=1e-5)
            np.testing.assert_allclose(total.busiest_share, np.bincount(plans.ravel()).max() / 30, rtol=1e-6)
            assert np.isnan(total.keeps_up)

    @pytest.mark.parametrize(("last", "kept_up"), [(1.5, 1.0), (1.6, 0.0)])
    def test_whether_an_episode_keeps_up_is_told_where_slots_couple(self, scenario, slots, last, kept_up):
        """By the last of its quarters against the second."""
        cost = rollout(scenario, None, slots, lambda states, plans: plans, jnp.zeros((10, 3), int))[2]
        grown = replace(cost, total_delay=jnp.array([9.0, 9.0, 2.0, 2.0, 5.0, 5.0, 5.0, 5.0, 2 * last, 2 * last]))
        told = {
            queues: sum_costs(
                mecpart.as_printed(scenario.workload, scenario.network, num_slots=10, queues=queues),
                jnp.zeros((10, 3), int),
                grown,
            ).keeps_up
            for queues in (True, False)
        }
        assert told[True] == kept_up
        assert np.isnan(told[False])

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
            np.testing.assert_allclose(float(reward_scale(other) * reward), -1, rtol=1e-5)


def states_of(free):
    """States with these times [slots, nodes] until nodes are free, s."""
    free, count = jnp.asarray(free, float), len(free)
    return mecpart.EnvState(mecpart.Slot(jnp.zeros(count), free), jnp.zeros(count), jnp.arange(count))


class TestLearningReward:
    """Shaped by what it costs later slots to wait until all nodes are free."""

    @pytest.fixture
    def loaded(self, scenario):
        return mecpart.loaded(scenario.workload, scenario.network, penalty=0.5, num_slots=10)

    def test_by_hand(self, loaded):
        """A second costs 1.5 / (1 - 0.9) = 15 s: the potentials of 2, 6 and 0 s are -30, -90 and 0."""
        config = ActorCriticConfig(discount=0.9)
        states = states_of([[2, 0, 0, 1], [6, 6, 0, 0], [0, 0, 0, 0]])
        found = learning_reward(config, loaded, states, jnp.array([-10.0, -20.0]))
        np.testing.assert_allclose(found / reward_scale(loaded), [-10 - 0.9 * 90 + 30, -20 + 90], rtol=1e-5)

    def test_later_slots_are_those_of_an_episode_at_most(self, loaded):
        for discount in (1.0, 0.999):
            config = ActorCriticConfig(discount=discount, queue_price=2.0)
            found = learning_reward(config, loaded, states_of([[0] * 4, [0, 0, 0, 3]]), jnp.zeros(1))
            np.testing.assert_allclose(found / reward_scale(loaded), [-discount * 2 * 1.5 * 10 * 3], rtol=1e-5)

    def test_without_a_price_or_queues_the_scaled_reward_alone(self, scenario, loaded):
        states, reward = states_of([[2, 0, 0, 1], [6, 6, 0, 0]]), jnp.array([-1e6])
        for config, case in ((QLearningConfig(queue_price=0.0), loaded), (ActorCriticConfig(), scenario)):
            expected = np.asarray(reward_scale(case) * reward)
            np.testing.assert_allclose(learning_reward(config, case, states, reward), expected, rtol=1e-6)

    @pytest.mark.parametrize("kind", [ActorCriticConfig, QLearningConfig])
    def test_the_return_of_an_episode_changes_by_its_ends_alone(self, loaded, kind):
        """It begins with empty queues; so whatever was done, what is added comes to the potential of the last state."""
        busy = replace(loaded, slot_seconds=jnp.float32(0.5))
        noise = jax.random.uniform(jax.random.key(3), (10, 3))

        def choose_plans(states, noise):
            return jnp.array([0, 1, 3])[(noise * 3).astype(jnp.int32)]

        states, _, cost = rollout(busy, None, episode_slots(jax.random.key(5), busy, 0), choose_plans, noise)
        left, discounts = float(states.slot.backlog[-1].max()), 0.8 ** np.arange(10)
        assert left > 1
        shaped, plain = (
            discounts @ learning_reward(kind(discount=0.8, queue_price=price), busy, states, cost.reward)
            for price in (1.0, 0.0)
        )
        expected = -(0.8**10) * float(reward_scale(busy)) * 1.5 / (1 - 0.8) * left
        np.testing.assert_allclose(shaped - plain, expected, rtol=1e-3)

    def test_the_best_plans_of_a_small_problem_stay_the_same(self):
        """Backward induction over all that five slots of one block on two nodes can lead to.

        A slot has 2 s; its tasks take the devices 4 s and the server 3 s, and nothing is sent: what waits is worked out
        by hand. The last state is worth nothing; seen from its potential, that is minus the potential.
        """
        scenario, _ = assemble(
            name="loaded", macs=[4], input_bytes=[0], parameter_bytes=[1], speed=[32 / 3], num_devices=2,
            device_frequency=4, wired_rate=1, transmit_power=1, energy_coefficient=1, release_rate=4, deadline=5,
            penalty=0.5, cycles_per_mac=2, device_rate=[[1]], backlog=[0, 0],
        )  # fmt: skip

        def values(config, free, slots):
            """What each node is worth in a state [2], and the best of it, with so many slots to go."""
            if not slots:
                return [], config.queue_price * 1.5 / (1 - 0.7) * max(free) * float(reward_scale(scenario))
            worth = []
            for node, seconds in enumerate((4, 3)):
                delay = free[node] + seconds
                after = [max(0, (delay if n == node else free[n]) - 2) for n in (0, 1)]
                reward = jnp.array([-(delay + 0.5 * max(delay - 5, 0))])
                now = learning_reward(config, scenario, states_of([free, after]), reward)
                worth.append(float(now[0]) + 0.7 * values(config, after, slots - 1)[1])
            chosen.append((tuple(free), slots, int(np.argmax(worth))))
            return worth, max(worth)

        best = []
        for price in (0.0, 1.0):
            chosen = []
            values(QLearningConfig(discount=0.7, queue_price=price), [0, 0], 5)
            best.append(chosen)
        assert len(best[0]) == 2**5 - 1
        assert {node for *_, node in best[0]} == {0, 1}
        assert best[0] == best[1]


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

    def evaluate(self, loaded, greedy=False, **options):
        network = PartitionNetwork(loaded.num_blocks, loaded.num_nodes, (16,), **options)
        features = mecpart.PartitionEnv().observation_size(loaded)
        parameters = network.initialise(jax.random.key(0), jnp.zeros(features))
        policy = Policy(jax.tree.map(jnp.zeros_like, parameters), loaded.network.available, network, greedy)
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

    @pytest.mark.parametrize("options", [{"critic": False}, {"greedy": True}])
    def test_a_value_network_takes_the_best_and_so_does_a_greedy_policy(self, loaded, options):
        """All nodes alike: that is the first, the devices."""
        np.testing.assert_allclose(self.evaluate(loaded, **options), self.episodes_of(loaded, "Local only"), rtol=1e-5)
