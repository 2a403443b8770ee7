"""Distributed DQN: one Q-branch of N + 1 nodes per block, several actors, one replay memory (Lin et al. 2019)."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mecpart.agents.learning import (
    EpisodeCost,
    Policy,
    batch_costs,
    batch_rounds,
    check_learner,
    learning_reward,
    rounds_of,
    traced,
    training_keys,
)
from mecpart.agents.networks import Allowed, PartitionNetwork, choose_in_order, most_likely, sampled
from mecpart.ledger import LEDGER
from mecpart.model.delay import PlanCost
from mecpart.model.environment import EnvState, PartitionEnv, observe_all, rollout
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.ways import allowed_nodes
from mecpart.sampling import uniform
from mecpart.validation import check_count, check_fraction, is_concrete


@traced(
    "episodes", "target_period", "exploration", "exploration_fraction", "discount", "learning_rate", "rmsprop_decay",
    "rmsprop_epsilon", "max_gradient_norm", "queue_price", "initial_scale",
)  # fmt: skip
@dataclass(frozen=True)
class QLearningConfig:
    """Plain values that define a Distributed DQN; the defaults are the ledger's.

    A round: each of `workers` actors runs `t_max` slots, then `updates_per_round` minibatches of `batch` slots are
    learned from. By default these are as many updates, of as many slots, as the actor-critic makes in a round.

    - `exploration`: probability of a random plan in the first episode and from `exploration_fraction` of the
      episodes on, linear between.
    - `queue_price`, `initial_scale`: as in `ActorCriticConfig`.
    - `replay_size`: slots that the replay memory holds, rounded up to whole rounds.
    - `target_period`: updates between two copies of the parameters to the target network.
    """

    name: str = "Distributed DQN"
    hidden: tuple[int, ...] = LEDGER.default("hidden")
    episodes: int = LEDGER.default("episodes")
    workers: int = LEDGER.default("workers")
    t_max: int = LEDGER.default("t_max")
    updates_per_round: int = LEDGER.default("workers")
    batch: int = LEDGER.default("batch")
    replay_size: int = LEDGER.default("replay_size")
    target_period: int = LEDGER.default("target_period")
    exploration: tuple[float, float] = LEDGER.default("exploration")
    exploration_fraction: float = LEDGER.default("exploration_fraction")
    discount: float = LEDGER.default("discount")
    learning_rate: float = LEDGER.default("learning_rate")
    rmsprop_decay: float = LEDGER.default("rmsprop_decay")
    rmsprop_epsilon: float = LEDGER.default("rmsprop_epsilon")
    max_gradient_norm: float = LEDGER.default("max_gradient_norm")
    queue_price: float = LEDGER.default("queue_price")
    initial_scale: float = LEDGER.default("initial_scale")

    def __post_init__(self):
        check_learner(self)
        for name in ("updates_per_round", "batch", "replay_size", "target_period"):
            check_count(name, getattr(self, name))
        check_fraction("exploration_fraction", self.exploration_fraction)
        if not isinstance(self.exploration, tuple) or len(self.exploration) != 2:
            raise ValueError(f"exploration must be a pair of probabilities (first, last); got {self.exploration!r}")
        for probability in self.exploration:
            check_fraction("exploration", probability)
        if is_concrete(self.exploration) and self.exploration[0] < self.exploration[1]:
            raise ValueError(f"exploration must not rise from first to last; got {self.exploration!r}")

    @property
    def unused(self) -> tuple[str, ...]:
        """The names of settings that make no difference."""
        return ()

    @property
    def memory_rounds(self) -> int:
        """Rounds that the replay memory holds."""
        return -(-self.replay_size // (self.workers * self.t_max))

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


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class QLearningState:
    """What is held between two batches of episodes (a pytree).

    - `channel_key`, `action_key`: what the slots and the plans of all episodes are drawn by.
    - `parameters`: by layers; `target`: those of the target network, and `optimiser`, on a flat vector.
    - `memory`: the replay memory, [slots, ...] in the order of the rounds that fill it.
    """

    channel_key: PRNGKeyArray
    action_key: PRNGKeyArray
    parameters: dict
    target: Float[Array, " parameters"]
    optimiser: optax.OptState
    memory: Transition


def init(config: QLearningConfig, key: PRNGKeyArray, scenario: Scenario) -> QLearningState:
    """The first state, its memory empty."""
    channel_key, action_key, first_key = training_keys(key)
    features = PartitionEnv().observation_size(scenario)
    parameters = config.network(scenario).initialise(first_key, jnp.zeros(features), config.initial_scale)
    flat, _ = ravel_pytree(parameters)
    size = config.memory_rounds * config.workers * config.t_max
    memory = Transition(
        observation=jnp.zeros((size, features)),
        plan=jnp.zeros((size, scenario.num_blocks), jnp.int32),
        reward=jnp.zeros(size),
        next_observation=jnp.zeros((size, features)),
        active=jnp.zeros(size, bool),
    )
    return QLearningState(channel_key, action_key, parameters, flat, _optimiser(config).init(flat), memory)


def draw(
    config: QLearningConfig, state: QLearningState, scenario: Scenario, batch: Int[Array, ""]
) -> tuple[EnvState, Slot, Float[Array, "rounds workers slots 1+decisions"], Float[Array, "rounds updates batch"]]:
    """What a batch draws: first states [workers], slots by rounds, the noise of the plans and of what is replayed."""
    episodes = batch * config.workers + jnp.arange(config.workers)
    states, slots = batch_rounds(state.channel_key, scenario, episodes, config.t_max)
    keys = jax.vmap(partial(jax.random.fold_in, state.action_key))(episodes)
    rounds, decisions = rounds_of(scenario, config.t_max), config.network(scenario).num_decisions
    noise = jax.vmap(lambda key: uniform(key, (rounds, config.t_max, 1 + decisions)))(keys)
    replay_key = jax.random.fold_in(keys[0], config.episodes)
    return (
        states,
        slots,
        jnp.swapaxes(noise, 0, 1),
        uniform(replay_key, (rounds, config.updates_per_round, config.batch)),
    )


def step(
    config: QLearningConfig, state: QLearningState, scenario: Scenario, batch: Int[Array, ""]
) -> tuple[QLearningState, EpisodeCost]:
    """Batch number `batch`: an episode of each of W workers; the state after it, and what the episodes cost [W].

    A round: each worker runs `t_max` slots of its own episode by the same parameters, into the memory that all share;
    then `updates_per_round` minibatches are drawn from it and learned from, one after the other.
    """
    network, available = config.network(scenario), allowed_nodes(scenario)
    states, *drawn = draw(config, state, scenario, batch)
    explore = exploration(config, batch * config.workers + jnp.arange(config.workers))
    parameters, unravel = ravel_pytree(state.parameters)
    per_round = config.workers * config.t_max

    def one_round(carry, inputs):
        learner, memory, states = carry
        slots, noise, replayed, number = inputs
        run = jax.vmap(partial(collect, config, scenario, network, available, unravel(learner[0])))
        states, seen, costs = run(explore, states, slots, noise)
        place = (number % config.memory_rounds) * per_round
        memory = jax.tree.map(
            lambda held, new: jax.lax.dynamic_update_slice_in_dim(held, new, place, axis=0),
            memory,
            jax.tree.map(lambda leaf: leaf.reshape(per_round, *leaf.shape[2:]), seen),
        )
        filled = jnp.minimum(number + 1, config.memory_rounds) * per_round

        def loss(parameters, target, minibatch):
            parameters, target = unravel(parameters), unravel(target)
            return q_learning_loss(config, network, available, parameters, target, minibatch)

        def update(learner, inputs):
            parameters, target, optimiser = learner
            chosen, updates = inputs
            index = jnp.minimum((chosen * filled).astype(jnp.int32), filled - 1)
            gradient = jax.grad(loss)(parameters, target, jax.tree.map(lambda leaf: leaf[index], memory))
            direction, optimiser = _optimiser(config).update(gradient, optimiser)
            parameters = parameters - config.learning_rate * direction
            target = jnp.where(updates % config.target_period == 0, parameters, target)
            return (parameters, target, optimiser), None

        updates = number * config.updates_per_round + 1 + jnp.arange(config.updates_per_round)
        learner, _ = jax.lax.scan(update, learner, (replayed, updates))
        return (learner, memory, states), (seen.plan, costs)

    rounds = rounds_of(scenario, config.t_max)
    carry = (parameters, state.target, state.optimiser), state.memory, states
    inputs = *drawn, batch * rounds + jnp.arange(rounds)
    ((parameters, target, optimiser), memory, _), (plans, costs) = jax.lax.scan(one_round, carry, inputs)
    after = replace(state, parameters=unravel(parameters), target=target, optimiser=optimiser, memory=memory)
    return after, batch_costs(scenario, plans, costs)


def policy(config: QLearningConfig, state: QLearningState, scenario: Scenario) -> Policy:
    """The greedy policy."""
    return Policy(state.parameters, allowed_nodes(scenario), config.network(scenario))


def exploration(config: QLearningConfig, episodes: Int[Array, " workers"]) -> Float[Array, " workers"]:
    """The probability of a random plan in each of the episodes."""
    fallen = episodes / jnp.maximum(config.exploration_fraction * config.episodes, 1)
    return jnp.interp(fallen, jnp.array([0.0, 1.0]), jnp.array(config.exploration))


def collect(
    config: QLearningConfig,
    scenario: Scenario,
    network: PartitionNetwork,
    available: Allowed,
    parameters,
    explore: Float[Array, ""],
    start: EnvState,
    slots,
    noise,
) -> tuple[EnvState, Transition, PlanCost]:
    """Run one worker for `t_max` slots: the state after them, what it saw, and what each cost."""
    explored = jnp.where(noise[:, :1] < explore, random_plans(available, noise[:, 1:]), -1)

    def choose_plans(states, explored):
        greedy = network.decide(parameters, observe_all(scenario, states), available, most_likely, explored)
        return jnp.where(explored < 0, greedy, explored).astype(jnp.int32)

    states, plans, cost = rollout(scenario, start, slots, choose_plans, explored)
    observations = observe_all(scenario, states)
    active = states.time[:-1] < scenario.num_slots
    seen = Transition(
        observations[:-1], plans, learning_reward(config, scenario, states, cost.reward), observations[1:], active
    )
    return jax.tree.map(lambda leaf: leaf[-1], states), seen, cost


def random_plans(available: Allowed, noise: Float[Array, "slots blocks"]) -> Int[Array, "slots blocks"]:
    """Plans with every allowed node of a block equally likely, given the node before; `noise` uniform in [0, 1)."""
    if available.ndim > 1:
        return choose_in_order(jnp.zeros((*available.shape[:2], 1)), available, sampled, noise)
    nodes_in_order = jnp.argsort(~available, stable=True)
    return nodes_in_order[(noise * jnp.sum(available)).astype(jnp.int32)]


def q_values(network: PartitionNetwork, parameters, observation) -> Float[Array, "*slots blocks nodes"]:
    """Q_m(s, node) of every branch."""
    return network.apply(parameters, observation)[0]


def q_learning_targets(
    reward: Float[Array, "*slots"],
    next_values: Float[Array, "*slots blocks nodes"],
    available: Allowed,
    discount: float,
) -> Float[Array, "*slots"]:
    """r + discount * mean over the branches of max_node Q_m(s', node): one target for all branches.

    The mean over branches is that of branching Q-learning (Tavakoli et al. 2018). An episode ends by truncation only,
    so the value of the next state always counts. On measured devices, where not all nodes can follow each other, the
    values are those of the greedy plan, as `PartitionNetwork.decide` makes it block by block.
    """
    if available.ndim > 1:
        values = jnp.moveaxis(next_values.reshape(-1, *next_values.shape[-2:]), 0, -1)
        plans = choose_in_order(values, available, most_likely, jnp.zeros((values.shape[-1], values.shape[0])))
        chosen = plans.reshape(*next_values.shape[:-1], 1)
        best = jnp.take_along_axis(next_values, chosen, axis=-1)[..., 0]
    else:
        best = jnp.max(jnp.where(available, next_values, -jnp.inf), axis=-1)
    return reward + discount * jnp.mean(best, axis=-1)


def q_learning_loss(
    config: QLearningConfig,
    network: PartitionNetwork,
    available: Allowed,
    parameters,
    target_parameters,
    batch: Transition,
) -> Float[Array, ""]:
    """Mean squared error of the chosen nodes' values, over branches and slots."""
    values = q_values(network, parameters, batch.observation)
    next_values = q_values(network, target_parameters, batch.next_observation)
    target = jax.lax.stop_gradient(q_learning_targets(batch.reward, next_values, available, config.discount))
    chosen = jnp.sum(jax.nn.one_hot(batch.plan, values.shape[-1]) * values, axis=-1)
    error = jnp.mean((target[..., None] - chosen) ** 2, axis=-1)
    return jnp.sum(jnp.where(batch.active, error, 0)) / jnp.maximum(jnp.sum(batch.active), 1)


def _optimiser(config: QLearningConfig) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(config.max_gradient_norm),
        optax.scale_by_rms(config.rmsprop_decay, config.rmsprop_epsilon, eps_in_sqrt=True),
    )
