"""Distributed DQN: one Q-branch of N + 1 nodes per block, several actors, one replay memory (Lin et al. 2019)."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from mecpart.agents.learning import (
    Policy,
    TrainResult,
    check_learner,
    episode_rounds,
    learning_reward,
    sum_costs,
    training_keys,
)
from mecpart.agents.networks import PartitionNetwork, most_likely
from mecpart.ledger import LEDGER
from mecpart.model.environment import observe, observe_all, rollout
from mecpart.model.scenario import Scenario
from mecpart.sampling import uniform
from mecpart.validation import check_count, check_fraction


@dataclass(frozen=True)
class QLearningConfig:
    """Plain values that define a Distributed DQN; the defaults are the ledger's.

    A round: each of `workers` actors runs `t_max` slots, then `updates_per_round` minibatches of `batch` slots are
    learned from. By default these are as many updates, of as many slots, as the actor-critic makes in a round.

    - `exploration`: probability of a random plan in the first episode and from `exploration_fraction` of the
      episodes on, linear between.
    - `replay_size`: slots that the replay memory holds, rounded up to whole rounds.
    - `target_period`: updates between two copies of the parameters to the target network.
    """

    name: str = "Distributed DQN"
    hidden: tuple[int, ...] = LEDGER.default("hidden")
    episodes: int = LEDGER.default("episodes")
    workers: int = LEDGER.default("workers")
    t_max: int = LEDGER.default("t_max")
    updates_per_round: int = LEDGER.default("workers")
    batch: int = LEDGER.default("replay_batch")
    replay_size: int = LEDGER.default("replay_size")
    target_period: int = LEDGER.default("target_period")
    exploration: tuple[float, float] = LEDGER.default("exploration")
    exploration_fraction: float = LEDGER.default("exploration_fraction")
    discount: float = LEDGER.default("discount")
    learning_rate: float = LEDGER.default("learning_rate")
    rmsprop_decay: float = LEDGER.default("rmsprop_decay")
    rmsprop_epsilon: float = LEDGER.default("rmsprop_epsilon")
    max_gradient_norm: float = LEDGER.default("max_gradient_norm")

    def __post_init__(self):
        check_learner(self)
        for name in ("updates_per_round", "batch", "replay_size", "target_period"):
            check_count(name, getattr(self, name))
        check_fraction("exploration_fraction", self.exploration_fraction)
        if not isinstance(self.exploration, tuple) or len(self.exploration) != 2:
            raise ValueError(f"exploration must be a pair of probabilities (first, last); got {self.exploration!r}")
        for probability in self.exploration:
            check_fraction("exploration", probability)
        if self.exploration[0] < self.exploration[1]:
            raise ValueError(f"exploration must not rise from first to last; got {self.exploration!r}")

    def network(self, scenario: Scenario) -> PartitionNetwork:
        """The Q-network for the blocks and nodes of `scenario`."""
        return PartitionNetwork(scenario.num_blocks, scenario.num_nodes, self.hidden, critic=False)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Transition:
    """What the replay memory holds (a pytree); `active` is False for slots after the end of an episode."""

    observation: Float[Array, "*slots features"]
    plan: Int[Array, "*slots blocks"]
    reward: Float[Array, "*slots"]
    next_observation: Float[Array, "*slots features"]
    active: Bool[Array, "*slots"]


def q_values(network: PartitionNetwork, parameters, observation) -> Float[Array, "*slots blocks nodes"]:
    """Q_m(s, node) of every branch."""
    return network.apply(parameters, observation)[0]


def q_learning_targets(
    reward: Float[Array, "*slots"],
    next_values: Float[Array, "*slots blocks nodes"],
    available: Bool[Array, " nodes"],
    discount: float,
) -> Float[Array, "*slots"]:
    """r + discount * mean over the branches of max_node Q_m(s', node): one target for all branches.

    The mean over branches is that of branching Q-learning (Tavakoli et al. 2018). An episode ends by truncation only,
    so the value of the next state always counts.
    """
    best = jnp.max(jnp.where(available, next_values, -jnp.inf), axis=-1)
    return reward + discount * jnp.mean(best, axis=-1)


def q_learning_loss(
    config: QLearningConfig, network: PartitionNetwork, available, parameters, target_parameters, batch: Transition
) -> Float[Array, ""]:
    """Mean squared error of the chosen nodes' values, over branches and slots."""
    values = q_values(network, parameters, batch.observation)
    next_values = q_values(network, target_parameters, batch.next_observation)
    target = jax.lax.stop_gradient(q_learning_targets(batch.reward, next_values, available, config.discount))
    chosen = jnp.sum(jax.nn.one_hot(batch.plan, values.shape[-1]) * values, axis=-1)
    error = jnp.mean((target[..., None] - chosen) ** 2, axis=-1)
    return jnp.sum(jnp.where(batch.active, error, 0)) / jnp.maximum(jnp.sum(batch.active), 1)


def make_train(config: QLearningConfig) -> Callable[[Array, Scenario], TrainResult]:
    """A function `train(key, scenario) -> TrainResult`, a function of the key alone; `jit` and `vmap` it at will."""

    def train(key: Array, scenario: Scenario) -> TrainResult:
        network = config.network(scenario)
        available = scenario.network.available
        nodes_in_order = jnp.argsort(~available, stable=True)
        channel_key, action_key, first_key = training_keys(key)
        per_round = config.workers * config.t_max
        rounds = -(-scenario.num_slots // config.t_max)
        capacity = -(-config.replay_size // per_round)  # rounds that the memory holds
        optimiser = optax.chain(
            optax.clip_by_global_norm(config.max_gradient_norm),
            optax.scale_by_rms(config.rmsprop_decay, config.rmsprop_epsilon, eps_in_sqrt=True),
        )

        start, _ = episode_rounds(channel_key, scenario, 0, config.t_max)
        first = network.initialise(first_key, observe(scenario, start))
        parameters, unravel = ravel_pytree(first)

        def collect(parameters, explore, state, slots, noise):
            def choose_plans(states, noise):
                explores, noise = noise[:, :1] < explore, noise[:, 1:]
                greedy = network.decide(parameters, observe_all(scenario, states), available, most_likely, noise)
                drawn = nodes_in_order[(noise * jnp.sum(available)).astype(jnp.int32)]
                return jnp.where(explores, drawn, greedy).astype(jnp.int32)

            states, plans, cost = rollout(scenario, state, slots, choose_plans, noise)
            observations = observe_all(scenario, states)
            active = states.time[:-1] < scenario.num_slots
            reward = learning_reward(scenario, cost.reward)
            seen = Transition(observations[:-1], plans, reward, observations[1:], active)
            return jax.tree.map(lambda leaf: leaf[-1], states), seen, sum_costs(scenario, cost, active)

        def learn(memory, filled):
            def update(carry, drawn):
                parameters, target, optimiser_state, updates = carry
                index = jnp.minimum((drawn * filled).astype(jnp.int32), filled - 1)
                batch = jax.tree.map(lambda leaf: leaf[index], memory)
                gradient = jax.grad(
                    lambda flat: q_learning_loss(config, network, available, unravel(flat), unravel(target), batch)
                )(parameters)
                change, optimiser_state = optimiser.update(gradient, optimiser_state)
                parameters = parameters - config.learning_rate * change
                updates = updates + 1
                target = jnp.where(updates % config.target_period == 0, parameters, target)
                return (parameters, target, optimiser_state, updates), None

            return update

        def one_round(carry, inputs):
            learner, memory, round_number, states, explore = carry
            slots, noise, drawn = inputs
            parameters = unravel(learner[0])
            states, seen, costs = jax.vmap(collect, (None, 0, 0, 0, 0))(parameters, explore, states, slots, noise)
            seen = jax.tree.map(lambda leaf: leaf.reshape(per_round, *leaf.shape[2:]), seen)
            place = (round_number % capacity) * per_round
            memory = jax.tree.map(
                lambda held, new: jax.lax.dynamic_update_slice_in_dim(held, new, place, axis=0), memory, seen
            )
            filled = jnp.minimum(round_number + 1, capacity) * per_round
            learner, _ = jax.lax.scan(learn(memory, filled), learner, drawn)
            return (learner, memory, round_number + 1, states, explore), costs

        def one_batch_of_episodes(carry, first_episode):
            episodes = first_episode + jnp.arange(config.workers)
            fallen = episodes / jnp.maximum(config.exploration_fraction * config.episodes, 1)
            explore = jnp.interp(fallen, jnp.array([0.0, 1.0]), jnp.array(config.exploration))
            keys = jax.vmap(lambda episode: jax.random.fold_in(action_key, episode))(episodes)
            states, slots = jax.vmap(lambda episode: episode_rounds(channel_key, scenario, episode, config.t_max))(
                episodes
            )
            noise = jax.vmap(lambda key: uniform(key, (rounds, config.t_max, network.num_decisions + 1)))(keys)
            draw_key = jax.random.fold_in(keys[0], config.episodes)
            drawn = uniform(draw_key, (rounds, config.updates_per_round, config.batch))
            slots, noise = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), (slots, noise))
            learner, memory, round_number = carry
            carry = (learner, memory, round_number, states, explore)
            (learner, memory, round_number, _, _), costs = jax.lax.scan(one_round, carry, (slots, noise, drawn))
            return (learner, memory, round_number), jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), costs)

        size, features = capacity * per_round, observe(scenario, start).shape[0]
        memory = Transition(
            observation=jnp.zeros((size, features)),
            plan=jnp.zeros((size, scenario.num_blocks), jnp.int32),
            reward=jnp.zeros(size),
            next_observation=jnp.zeros((size, features)),
            active=jnp.zeros(size, bool),
        )
        learner = (parameters, parameters, optimiser.init(parameters), jnp.int32(0))
        batches = jnp.arange(0, config.episodes, config.workers)
        (learner, _, _), costs = jax.lax.scan(one_batch_of_episodes, (learner, memory, jnp.int32(0)), batches)
        return TrainResult(Policy(unravel(learner[0]), available, network), jax.tree.map(jnp.ravel, costs))

    return train
