"""Asynchronous advantage actor-critic with any head and any sharing: `Proposed` and `A3C` are two of its cells.

Read `make_train` from top to bottom beside Algorithm 1 of the paper.
"""

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
from mecpart.agents.networks import HEADS, MAX_JOINT_PLANS, SHARING, PartitionNetwork, sampled, trunk_distance
from mecpart.ledger import LEDGER
from mecpart.model.environment import observe, observe_all, rollout
from mecpart.model.scenario import Scenario
from mecpart.sampling import uniform
from mecpart.validation import check_choice, check_count, check_flag, check_number


@dataclass(frozen=True)
class ActorCriticConfig:
    """Plain values that define an actor-critic; the defaults are the ledger's and make the paper's method.

    - `heads`, `sharing`: see `mecpart.agents.networks`.
    - `asynchronous`: W workers with stale copies of the parameters (A3C); False averages their gradients (A2C).
    - `episodes`: of training, over all workers together.
    - `t_max`: slots of a rollout, the k of the k-step return (Eq. 16).
    - `replay_rollouts`: if not 0, gradients are taken on one rollout drawn from the last so many of the worker's own,
      as Algorithm 1 of the paper has it, rather than on the one just made.
    """

    name: str = "Proposed"
    heads: str = "branches"
    sharing: str = "soft"
    sharing_weight: float = LEDGER.default("sharing_weight")
    hidden: tuple[int, ...] = LEDGER.default("hidden")
    episodes: int = LEDGER.default("episodes")
    workers: int = LEDGER.default("workers")
    asynchronous: bool = True
    t_max: int = LEDGER.default("t_max")
    replay_rollouts: int = 0
    discount: float = LEDGER.default("discount")
    learning_rate: float = LEDGER.default("learning_rate")
    critic_learning_rate: float = LEDGER.default("critic_learning_rate")
    entropy_weight: float = LEDGER.default("entropy_weight")
    rmsprop_decay: float = LEDGER.default("rmsprop_decay")
    rmsprop_epsilon: float = LEDGER.default("rmsprop_epsilon")
    max_gradient_norm: float = LEDGER.default("max_gradient_norm")

    def __post_init__(self):
        check_choice("heads", self.heads, HEADS)
        check_choice("sharing", self.sharing, SHARING)
        check_learner(self)
        check_count("replay_rollouts", self.replay_rollouts, minimum=0)
        for name in ("sharing_weight", "critic_learning_rate", "entropy_weight"):
            check_number(name, getattr(self, name), shapes=((),))
        check_flag("asynchronous", self.asynchronous)

    def network(self, scenario: Scenario) -> PartitionNetwork:
        """The network for the blocks and nodes of `scenario`."""
        plans = scenario.num_nodes**scenario.num_blocks
        if self.heads == "joint" and plans > MAX_JOINT_PLANS:
            raise ValueError(
                f"heads='joint' needs (N + 1)^M <= {MAX_JOINT_PLANS} plans; got "
                f"{scenario.num_nodes}^{scenario.num_blocks} = {plans}"
            )
        return PartitionNetwork(scenario.num_blocks, scenario.num_nodes, self.hidden, self.heads, self.sharing)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Rollout:
    """What one worker saw in t_max slots (a pytree); after the end of the episode `active` is False.

    `observation` has one entry more, for the state in which the rollout ends: its value is bootstrapped.
    """

    observation: Float[Array, "slots+1 features"]
    plan: Int[Array, "slots blocks"]
    reward: Float[Array, " slots"]
    active: Bool[Array, " slots"]


def k_step_returns(
    reward: Float[Array, " slots"], active: Bool[Array, " slots"], bootstrap: Float[Array, ""], discount: float
) -> Float[Array, " slots"]:
    """R_t = r_t + discount * R_{t+1}, from `bootstrap` after the last active slot (Eq. 16)."""

    def step(later, slot):
        reward, active = slot
        later = jnp.where(active, reward + discount * later, later)
        return later, later

    return jax.lax.scan(step, bootstrap, (reward, active), reverse=True)[1]


def actor_critic_loss(
    config: ActorCriticConfig, network: PartitionNetwork, available: Bool[Array, " nodes"], parameters, batch: Rollout
) -> Float[Array, ""]:
    """Eq. 20: the mean over the branches of their actor losses (Eq. 18) plus the critic's (Eq. 19), mean over slots.

    The branches' loss is minus (log-probability times advantage plus `entropy_weight` times entropy); soft sharing adds
    `sharing_weight` times the squared L2 distance between the trunks. Returns and advantages are constants here.
    """
    log_probabilities, choices, values = network.assess(parameters, batch.observation[:-1], batch.plan, available)
    # The first value of a state does not depend on the plan that follows.
    last, any_plan = batch.observation[-1:], batch.plan[-1:]
    bootstrap = network.assess(jax.lax.stop_gradient(parameters), last, any_plan, available)[2][0, 0]
    errors = k_step_returns(batch.reward, batch.active, bootstrap, config.discount) - values
    advantage = jax.lax.stop_gradient(errors)

    chosen = choices[:, None] == jnp.arange(log_probabilities.shape[1])[:, None]
    chosen_log_probability = jnp.sum(jnp.where(chosen, log_probabilities, 0), axis=1)
    entropy = -jnp.sum(jnp.exp(log_probabilities) * log_probabilities, axis=1)
    actor = -jnp.mean(chosen_log_probability * advantage + config.entropy_weight * entropy, axis=0)
    critic = jnp.mean(errors**2, axis=0)
    loss = jnp.sum(jnp.where(batch.active, actor + critic, 0)) / jnp.maximum(jnp.sum(batch.active), 1)
    if config.sharing == "soft":
        loss += config.sharing_weight * trunk_distance(parameters)
    return loss


def make_train(config: ActorCriticConfig) -> Callable[[Array, Scenario], TrainResult]:
    """A function `train(key, scenario) -> TrainResult`, to be compiled with `jax.jit` and vectorised with `jax.vmap`.

    A round: each of W workers runs `t_max` slots of its own episode and takes a gradient, both with its own, stale
    copy of the parameters; the gradients are applied to the global parameters one after the other by one shared
    RMSProp (Eqs. 23, 24); each worker copies the global parameters right after its own gradient. The result is a
    function of the key alone.
    """

    def train(key: Array, scenario: Scenario) -> TrainResult:
        network = config.network(scenario)
        available = scenario.network.available
        channel_key, action_key, first_key = training_keys(key)
        rounds = -(-scenario.num_slots // config.t_max)

        start, _ = episode_rounds(channel_key, scenario, 0, config.t_max)
        first = network.initialise(first_key, observe(scenario, start))
        parameters, unravel = ravel_pytree(first)
        # One flat vector: the optimiser then is a few large operations instead of a few small ones for each layer.
        step_size, _ = ravel_pytree(_step_sizes(config, first))
        clip = optax.clip_by_global_norm(config.max_gradient_norm)
        optimiser = optax.scale_by_rms(config.rmsprop_decay, config.rmsprop_epsilon, eps_in_sqrt=True)

        def clipped(gradient):
            return clip.update(gradient, clip.init(parameters))[0]

        def gradient(parameters, batch):
            def loss(parameters):
                return actor_critic_loss(config, network, available, parameters, batch)

            return ravel_pytree(jax.grad(loss)(parameters))[0]

        def collect(parameters, state, slots, noise):
            def choose_plans(states, noise):
                return network.decide(parameters, observe_all(scenario, states), available, sampled, noise)

            states, plans, cost = rollout(scenario, state, slots, choose_plans, noise)
            observations = observe_all(scenario, states)
            active = states.time[:-1] < scenario.num_slots
            end = jax.tree.map(lambda leaf: leaf[-1], states)
            reward = learning_reward(scenario, cost.reward)
            return end, Rollout(observations, plans, reward, active), sum_costs(scenario, cost, active)

        def empty_memory(start):
            if not config.replay_rollouts:
                return None
            features, size = observe(scenario, start).shape[0], (config.replay_rollouts, config.workers)
            return Rollout(
                observation=jnp.zeros((*size, config.t_max + 1, features)),
                plan=jnp.zeros((*size, config.t_max, scenario.num_blocks), jnp.int32),
                reward=jnp.zeros((*size, config.t_max)),
                active=jnp.zeros((*size, config.t_max), bool),
            )

        def apply(carry, gradient):
            parameters, optimiser_state = carry
            update, optimiser_state = optimiser.update(gradient, optimiser_state)
            parameters = parameters - step_size * update
            return (parameters, optimiser_state), parameters

        def one_round(carry, inputs):
            parameters, optimiser_state, copies, memory, states = carry
            slots, noise, drawn, number = inputs
            stale = jax.vmap(unravel)(copies)
            states, batches, costs = jax.vmap(collect)(stale, states, slots, noise)
            if config.replay_rollouts:
                memory, batches = _replay(config.replay_rollouts, memory, batches, drawn, number)
            gradients = jax.vmap(gradient)(stale, batches)
            learner = parameters, optimiser_state
            if config.asynchronous:
                (parameters, optimiser_state), copies = jax.lax.scan(apply, learner, jax.vmap(clipped)(gradients))
            else:
                (parameters, optimiser_state), _ = apply(learner, clipped(jnp.mean(gradients, axis=0)))
                copies = jnp.broadcast_to(parameters, copies.shape)
            return (parameters, optimiser_state, copies, memory, states), costs

        def one_batch_of_episodes(carry, first_episode):
            episodes = first_episode + jnp.arange(config.workers)
            keys = jax.vmap(lambda episode: jax.random.fold_in(action_key, episode))(episodes)
            states, slots = jax.vmap(lambda episode: episode_rounds(channel_key, scenario, episode, config.t_max))(
                episodes
            )
            noise = jax.vmap(lambda key: uniform(key, (rounds, config.t_max, network.num_decisions)))(keys)
            drawn = jax.vmap(lambda key: uniform(jax.random.fold_in(key, 1), (rounds,)))(keys)
            by_round = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), (slots, noise, drawn))
            by_round = (*by_round, first_episode // config.workers * rounds + jnp.arange(rounds))
            (*carry, _), costs = jax.lax.scan(one_round, (*carry, states), by_round)
            return tuple(carry), jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), costs)

        copies = jnp.broadcast_to(parameters, (config.workers, parameters.size))
        learner: tuple = (parameters, optimiser.init(parameters), copies, empty_memory(start))
        batches = jnp.arange(0, config.episodes, config.workers)
        (parameters, *_), costs = jax.lax.scan(one_batch_of_episodes, learner, batches)
        policy = Policy(unravel(parameters), available, network)
        return TrainResult(policy, jax.tree.map(jnp.ravel, costs))

    return train


def _replay(capacity: int, memory: Rollout, batches: Rollout, drawn, number) -> tuple[Rollout, Rollout]:
    """Store the rollouts of round `number`; the memory [capacity, workers, ...], and one of it for each worker."""
    memory = jax.tree.map(lambda held, new: held.at[number % capacity].set(new), memory, batches)
    filled = jnp.minimum(number + 1, capacity)
    chosen = jnp.minimum((drawn * filled).astype(jnp.int32), filled - 1)
    return memory, jax.tree.map(lambda held: held[chosen, jnp.arange(len(chosen))], memory)


def _step_sizes(config: ActorCriticConfig, parameters):
    """The learning rate of every parameter: the critic's for its trunk and head, the actor's for all else."""

    def rate(path, leaf):
        layer = path[1].key
        own = layer == "value" or layer.startswith("critic_")
        return jnp.full_like(leaf, config.critic_learning_rate if own else config.learning_rate)

    return jax.tree_util.tree_map_with_path(rate, parameters)
