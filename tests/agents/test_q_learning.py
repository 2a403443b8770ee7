import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from jax.flatten_util import ravel_pytree
from measured_devices import PLANS, drawn, followed

import mecpart
from mecpart.agents import QLearningConfig, agent_config, make_train
from mecpart.agents.learning import channel_key, episode_slots, reward_scale, training_keys
from mecpart.agents.networks import PartitionNetwork
from mecpart.agents.q_learning import Transition, q_learning_loss, q_learning_targets, q_values, random_plans
from mecpart.model.environment import observe
from mecpart.model.ways import allowed_nodes
from mecpart.sampling import uniform

NODES, SLOTS, FEATURES = 4, 6, 16
AVAILABLE = np.array([True, True, False, True])
THERE = np.flatnonzero(AVAILABLE)
#: Episodes of ten slots in rounds of four fill a memory of two rounds three times over.
TINY = {
    "hidden": (8,), "workers": 2, "t_max": 4, "episodes": 8, "updates_per_round": 3, "batch": 5, "replay_size": 15,
    "target_period": 4, "exploration": (1.0, 0.2), "exploration_fraction": 0.5, "learning_rate": 0.02,
    "discount": 0.8, "max_gradient_norm": 1.0, "rmsprop_decay": 0.9,
}  # fmt: skip


def build(blocks):
    network = PartitionNetwork(blocks, NODES, (6, 5), critic=False)
    shapes = jax.eval_shape(network.initialise, jax.random.key(0), jnp.zeros(FEATURES))
    draw = np.random.default_rng(blocks)
    return network, [
        jax.tree.map(lambda leaf: draw.normal(scale=0.7, size=leaf.shape).astype(np.float32), shapes) for _ in "12"
    ]


def batch_of(blocks, active=SLOTS):
    draw = np.random.default_rng(2)
    return Transition(
        observation=draw.normal(size=(SLOTS, FEATURES)).astype(np.float32),
        plan=draw.choice(THERE, size=(SLOTS, blocks)).astype(np.int32),
        reward=draw.normal(size=SLOTS).astype(np.float32),
        next_observation=draw.normal(size=(SLOTS, FEATURES)).astype(np.float32),
        active=np.arange(SLOTS) < active,
    )


class TestTargets:
    def test_by_hand(self):
        """Best values 3 and 7 (the 9 is of a node that does not exist): 1 + 0.5 * (3 + 7) / 2."""
        values = jnp.array([[3.0, 1.0, 9.0, 2.0], [-1.0, 7.0, 9.0, 0.0]])
        target = q_learning_targets(jnp.float32(1), values, jnp.asarray(AVAILABLE), 0.5)
        assert float(target) == 3.5

    def test_one_target_for_each_slot(self):
        values = jnp.arange(24.0).reshape(3, 2, 4)
        target = q_learning_targets(jnp.zeros(3), values, jnp.ones(4, bool), 1.0)
        np.testing.assert_allclose(target, [5.0, 13.0, 21.0])

    def test_the_best_existing_node_counts_even_where_all_values_are_negative(self):
        values = jnp.array([[-3.0, -1.0, -0.5, -2.0]])
        assert float(q_learning_targets(jnp.float32(0), values, jnp.asarray(AVAILABLE), 1.0)) == -1


class TestMeasuredDevices:
    """Where not every node can follow every other."""

    def test_targets_by_hand(self):
        """The 9 is on a node that cannot begin; of 3 and 1 the 3 is better, after which only the 2 can follow."""
        ways = np.zeros((2, 3, 3), bool)
        ways[0, 0, [1, 2]] = ways[1, 1, 1] = ways[1, 2, [0, 2]] = True
        values = jnp.array([[[9.0, 3.0, 1.0], [8.0, 2.0, 5.0]], [[9.0, 3.0, 4.0], [8.0, 2.0, 5.0]]])
        target = q_learning_targets(jnp.ones(2), values, jnp.asarray(ways), 0.5)
        np.testing.assert_allclose(target, [1 + 0.5 * (3 + 2) / 2, 1 + 0.5 * (4 + 8) / 2])
        one = q_learning_targets(jnp.float32(1), values[0], jnp.asarray(ways), 0.5)
        assert float(one) == float(target[0])

    def test_random_plans_choose_evenly_among_what_can_follow(self):
        ways, count = np.asarray(allowed_nodes(drawn(1))), 20_000
        noise = np.random.default_rng(0).random((count, len(ways)), np.float32)
        plans = np.asarray(random_plans(jnp.asarray(ways), noise))
        before = np.pad(PLANS[:, :-1], ((0, 0), (1, 0)))
        choices = np.maximum(ways[np.arange(len(ways)), before].sum(axis=2), 1)
        probability = followed(ways, PLANS) / choices.prod(axis=1)
        assert probability.sum() == pytest.approx(1)
        seen = np.array([(plans == plan).all(axis=1).mean() for plan in PLANS])
        assert (seen[probability == 0] == 0).all()
        assert np.abs(seen - probability).max() < 5 * np.sqrt(0.25 / count)


class TestLoss:
    def test_one_block_is_deep_q_learning(self):
        """Value and gradient against rlax, whose td error is target - q(s, a)."""
        config = QLearningConfig(discount=0.9)
        network, (parameters, target_parameters) = build(blocks=1)
        batch = batch_of(blocks=1)

        def expected(parameters):
            now = jax.vmap(network.apply, (None, 0))(parameters, batch.observation)[0][:, 0, THERE]
            later = jax.vmap(network.apply, (None, 0))(target_parameters, batch.next_observation)[0][:, 0, THERE]
            chosen = np.searchsorted(THERE, batch.plan[:, 0])
            errors = jax.vmap(rlax.q_learning)(now, chosen, batch.reward, jnp.full(SLOTS, 0.9), later)
            return jnp.mean(errors**2)

        self.check(config, network, parameters, target_parameters, batch, expected)

    @pytest.mark.parametrize("active", [SLOTS, 2])
    def test_every_branch_learns_the_mean_of_the_branches(self, active):
        """Branch by branch against rlax, with the same value of the next state for all of them."""
        config = QLearningConfig(discount=0.9)
        network, (parameters, target_parameters) = build(blocks=3)
        batch = batch_of(3, active)

        def expected(parameters):
            now = jax.vmap(network.apply, (None, 0))(parameters, batch.observation)[0]
            later = jax.vmap(network.apply, (None, 0))(target_parameters, batch.next_observation)[0]
            value = later[..., THERE].max(axis=-1).mean(axis=-1)
            squares = [
                rlax.q_learning(now[t, m], batch.plan[t, m], batch.reward[t], 0.9, value[t : t + 1]) ** 2
                for t in range(active)
                for m in range(3)
            ]
            return sum(squares) / len(squares)

        self.check(config, network, parameters, target_parameters, batch, expected)

    def test_a_batch_from_after_the_end_of_the_episode_teaches_nothing(self):
        network, (parameters, target_parameters) = build(blocks=3)
        self.check(QLearningConfig(), network, parameters, target_parameters, batch_of(3, active=0), lambda _: 0.0)

    def test_values_of_a_batch_of_slots(self):
        network, (parameters, _) = build(blocks=3)
        batch = batch_of(3)
        values = q_values(network, parameters, batch.observation)
        assert values.shape == (SLOTS, 3, NODES)
        np.testing.assert_allclose(values[1], network.apply(parameters, batch.observation[1])[0], rtol=1e-4, atol=1e-5)

    @staticmethod
    def check(config, network, parameters, target_parameters, batch, expected):
        def loss(parameters):
            return q_learning_loss(config, network, jnp.asarray(AVAILABLE), parameters, target_parameters, batch)

        ours = jax.jit(jax.value_and_grad(loss))(parameters)
        theirs = jax.jit(jax.value_and_grad(expected))(parameters)
        for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def loop_over_slots(config, key, scenario):
    """Distributed DQN written out: a list as memory, one slot and one minibatch at a time, RMSProp by hand in NumPy.

    Shared with the package are only the draws (which key makes which number), the network and the delay model. Returns
    the parameters, the reward of each episode, the number of random plans, and the norms of all gradients.
    """
    network = config.network(scenario)
    channels, action_key, first_key = channel_key(key), *training_keys(key)[1:]
    first = network.initialise(first_key, jnp.zeros(FEATURES))
    parameters, unravel = ravel_pytree(first)
    parameters = target = np.asarray(parameters)
    scale, blocks = float(reward_scale(scenario)), scenario.num_blocks
    length, rounds = scenario.num_slots, -(-scenario.num_slots // config.t_max)
    per_round = config.workers * config.t_max
    capacity = -(-config.replay_size // per_round)  # rounds

    see = jax.jit(lambda energy, slot, time: observe(scenario, mecpart.EnvState(slot, energy, time)))
    evaluate = jax.jit(lambda slot, plan: mecpart.evaluate_plan(scenario, slot, plan))
    values_of = jax.jit(lambda parameters, seen: network.apply(unravel(parameters), seen)[0][:, THERE])

    @jax.jit
    @jax.grad
    def gradient_of(parameters, target_parameters, seen, chosen, reward, then, counts):
        now = jax.vmap(lambda seen: network.apply(unravel(parameters), seen)[0][:, THERE])(seen)
        later = jax.vmap(lambda seen: network.apply(unravel(target_parameters), seen)[0][:, THERE])(then)
        goal = reward + config.discount * later.max(axis=-1).mean(axis=-1)
        errors = goal[:, None] - jnp.take_along_axis(now, chosen[..., None], axis=-1)[..., 0]
        return jnp.sum(counts[:, None] * errors**2) / jnp.maximum(jnp.sum(counts) * blocks, 1)

    memory, mean_square = {}, np.zeros_like(parameters)  # place -> slot; None for a slot after the end of an episode
    rewards, norms, explored, updates, rounds_done = np.zeros(config.episodes), [], np.zeros(config.episodes), 0, 0
    first_value, last_value = config.exploration
    for first_episode in range(0, config.episodes, config.workers):
        workers = range(first_episode, first_episode + config.workers)
        draws, noises, energies = {}, {}, dict.fromkeys(workers, scenario.energy_budget)
        for episode in workers:
            slots = episode_slots(channels, scenario, episode)
            draws[episode] = [jax.tree.map(lambda leaf, t=t: leaf[t], slots) for t in range(length + 1)]
            noise_key = jax.random.fold_in(action_key, episode)
            noises[episode] = np.asarray(uniform(noise_key, (rounds, config.t_max, blocks + 1)))
        draw_key = jax.random.fold_in(jax.random.fold_in(action_key, first_episode), config.episodes)
        picks = np.asarray(uniform(draw_key, (rounds, config.updates_per_round, config.batch)))
        for round_number in range(rounds):
            for episode in workers:
                fallen = min(episode / (config.exploration_fraction * config.episodes), 1)
                probability = first_value + fallen * (last_value - first_value)
                for step in range(config.t_max):
                    time = round_number * config.t_max + step
                    place = rounds_done % capacity * per_round + (episode - first_episode) * config.t_max + step
                    memory[place] = None
                    if time >= length:
                        continue
                    noise = noises[episode][round_number, step]
                    before = see(energies[episode], draws[episode][time], time)
                    if noise[0] < probability:
                        plan = THERE[(noise[1:] * len(THERE)).astype(int)]
                        explored[episode] += 1
                    else:
                        plan = THERE[np.argmax(values_of(parameters, before), axis=-1)]
                    cost = evaluate(draws[episode][time], plan.astype(np.int32))
                    energies[episode] = energies[episode] - cost.energy
                    after = see(energies[episode], draws[episode][time + 1], time + 1)
                    rewards[episode] += float(cost.reward)
                    memory[place] = (before, np.searchsorted(THERE, plan), float(cost.reward) * scale, after)
            rounds_done += 1
            for pick in picks[round_number]:
                batch = [memory[int(number * np.float32(len(memory)))] for number in pick]
                counts = np.array([slot is not None for slot in batch], np.float32)
                seen, chosen, reward, then = zip(*(slot or memory[0] for slot in batch), strict=True)
                seen, chosen, reward, then = jnp.stack(seen), np.stack(chosen), np.array(reward), jnp.stack(then)
                gradient = np.asarray(gradient_of(parameters, target, seen, chosen, reward, then, counts))
                norms.append(np.linalg.norm(gradient))
                gradient = gradient * min(1, config.max_gradient_norm / max(norms[-1], 1e-30))
                mean_square = config.rmsprop_decay * mean_square + (1 - config.rmsprop_decay) * gradient**2
                step_size = config.learning_rate / np.sqrt(mean_square + config.rmsprop_epsilon)
                parameters = (parameters - step_size * gradient).astype(np.float32)
                updates += 1
                if updates % config.target_period == 0:
                    target = parameters
    return parameters, rewards, explored, np.array(norms)


@pytest.fixture(scope="module")
def config():
    return agent_config("Distributed DQN", **TINY)


@pytest.fixture(scope="module")
def lanes(scenario):
    other = mecpart.as_printed(scenario.workload, mecpart.make_network([4e9, 0.0, 8e9]), 20.0, num_slots=10)
    return [(jax.random.key(0), scenario), (jax.random.key(5), other)]


@pytest.fixture(scope="module")
def train(config):
    return jax.jit(jax.vmap(make_train(config)))


@pytest.fixture(scope="module")
def trained(train, lanes):
    return train(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes))


class TestTraining:
    @pytest.mark.parametrize("lane", [0, 1])
    def test_lanes_of_one_call_against_a_loop_over_slots(self, config, trained, lanes, lane):
        """Memory, target network, exploration and updates, on several networks at once."""
        result = jax.tree.map(lambda leaf: leaf[lane], trained)
        parameters, rewards, explored, norms = loop_over_slots(config, *lanes[lane])
        assert norms.min() < config.max_gradient_norm < norms.max()  # some gradients are clipped, some are not
        assert explored[0] == 10
        assert 0 < explored[-1] < 10
        np.testing.assert_allclose(result.episode_reward, rewards, rtol=1e-5)
        ours = ravel_pytree(result.policy.parameters)[0]
        np.testing.assert_allclose(ours, parameters, rtol=1e-3, atol=1e-4)

    def test_deterministic_given_the_key(self, train, trained, lanes):
        keys, scenarios = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes)
        again = train(keys, scenarios)
        for one, two in zip(jax.tree.leaves(trained), jax.tree.leaves(again), strict=True):
            np.testing.assert_array_equal(one, two)
        other = train(jax.random.split(keys[0]), scenarios)
        assert np.all(np.asarray(trained.episode_reward) != np.asarray(other.episode_reward))

    def test_trains_on_every_slot_of_every_episode(self, train, config, lanes):
        """Where there is no server, a slot costs what the devices need, whatever it draws."""
        alone = mecpart.as_printed(lanes[0][1].workload, mecpart.make_network([0.0, 0.0, 0.0]), num_slots=10)
        keys, scenarios = jax.tree.map(lambda *leaves: jnp.stack(leaves), (lanes[0][0], alone), (lanes[1][0], alone))
        cost = train(keys, scenarios).episode_cost
        slot_seconds = float(alone.work.sum() / alone.network.speed[0])
        np.testing.assert_allclose(cost.total_delay, np.full((2, config.episodes), 10 * slot_seconds), rtol=1e-5)

    def test_explores_and_learns_as_much_as_the_actor_critic_by_default(self):
        """From certain to 1 % over the first 30 % of the episodes; as many updates of as many slots in a round."""
        ours, theirs = agent_config("Distributed DQN"), agent_config("Proposed")
        assert (ours.exploration, ours.exploration_fraction) == ((1.0, 0.01), 0.3)
        assert (ours.updates_per_round, ours.batch) == (theirs.workers, theirs.t_max)
        for name in ("episodes", "workers", "t_max", "hidden", "discount", "learning_rate"):
            assert getattr(ours, name) == getattr(theirs, name)
