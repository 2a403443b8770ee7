"""Asynchronous advantage actor-critic with any head and any sharing: `Proposed` and `A3C` are two of its cells.

Read this file from top to bottom beside Algorithm 1 of the paper: what is set, what is held between two batches of
episodes, and the stages `init`, `draw`, `step` and `policy`. Each is a pure function, to be compiled by itself.
"""

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
from mecpart.agents.networks import (
    HEADS,
    MAX_JOINT_PLANS,
    SHARING,
    Allowed,
    PartitionNetwork,
    sampled,
    trunk_distance,
)
from mecpart.ledger import LEDGER
from mecpart.model.delay import PlanCost
from mecpart.model.environment import EnvState, PartitionEnv, observe_all, rollout
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.ways import allowed_nodes
from mecpart.sampling import uniform
from mecpart.validation import check_choice, check_count, check_flag, check_fraction, check_number

#: How an actor-critic's plans are made where slots couple, once it is trained.
EVALUATIONS = ("drawn", "greedy")


@traced(
    "episodes", "sharing_weight", "discount", "learning_rate", "critic_learning_rate", "entropy_weight",
    "rmsprop_decay", "rmsprop_epsilon", "max_gradient_norm", "queue_price",
    "gae_lambda", "initial_scale",
)  # fmt: skip
@dataclass(frozen=True)
class ActorCriticConfig:
    """Plain values that define an actor-critic; the defaults are the ledger's and make the paper's method.

    - `heads`, `sharing`: see `mecpart.agents.networks`.
    - `advantage_scaling`: advantages of a rollout in units of their root mean square.
    - `separate_clipping`: `max_gradient_norm` for the critic's trunk and head, and once more for all else, rather than
      for all together, where a critic that is far off leaves next to nothing of the actor's gradient.
    - `annealed`: learning rates fall linearly to 0 over the episodes (Mnih et al. 2016) rather than stay.
    - `gae_lambda`: of generalised advantage estimation (Schulman et al. 2016), which trusts the critic the more the
      smaller it is; None is the paper's k-step return, as 1 is but for rounding.
    - `queue_price`: of the queues that a slot leaves, see `learning_reward`; 0 leaves the reward as it is.
    - `initial_scale`: variance x fan-in of the last layers, where training begins.
    - `evaluation`: by plans that are `drawn` from what was learned, where slots couple, or `greedy` ones.
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
    advantage_scaling: bool = False
    separate_clipping: bool = False
    annealed: bool = False
    gae_lambda: float | None = LEDGER.default("gae_lambda")
    discount: float = LEDGER.default("discount")
    learning_rate: float = LEDGER.default("learning_rate")
    critic_learning_rate: float = LEDGER.default("critic_learning_rate")
    entropy_weight: float = LEDGER.default("entropy_weight")
    rmsprop_decay: float = LEDGER.default("rmsprop_decay")
    rmsprop_epsilon: float = LEDGER.default("rmsprop_epsilon")
    max_gradient_norm: float = LEDGER.default("max_gradient_norm")
    queue_price: float = LEDGER.default("queue_price")
    initial_scale: float = LEDGER.default("initial_scale")
    evaluation: str = LEDGER.default("evaluation")

    def __post_init__(self):
        check_choice("heads", self.heads, HEADS)
        check_choice("sharing", self.sharing, SHARING)
        check_choice("evaluation", self.evaluation, EVALUATIONS)
        check_learner(self)
        check_count("replay_rollouts", self.replay_rollouts, minimum=0)
        for name in ("sharing_weight", "critic_learning_rate", "entropy_weight"):
            check_number(name, getattr(self, name), shapes=((),))
        if self.gae_lambda is not None:
            check_fraction("gae_lambda", self.gae_lambda)
        for name in ("asynchronous", "advantage_scaling", "separate_clipping", "annealed"):
            check_flag(name, getattr(self, name))

    @property
    def unused(self) -> tuple[str, ...]:
        """The names of settings that make no difference."""
        return () if self.sharing == "soft" else ("sharing_weight",)

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


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ActorCriticState:
    """What is held between two batches of episodes (a pytree).

    - `channel_key`, `action_key`: what the slots and the plans of all episodes are drawn by.
    - `parameters`: the global ones, by layers; `optimiser`: the one RMSProp of all workers, on a flat vector.
    - `copies`: the workers' own parameters, each a flat vector.
    - `memory`: the last rollouts [replay_rollouts, workers, ...], None without replay.
    """

    channel_key: PRNGKeyArray
    action_key: PRNGKeyArray
    parameters: dict
    optimiser: optax.OptState
    copies: Float[Array, "workers parameters"]
    memory: Rollout | None


def init(config: ActorCriticConfig, key: PRNGKeyArray, scenario: Scenario) -> ActorCriticState:
    """The first state: every worker has a copy of the first global parameters."""
    network = config.network(scenario)
    channel_key, action_key, first_key = training_keys(key)
    features = PartitionEnv().observation_size(scenario)
    parameters = network.initialise(first_key, jnp.zeros(features), config.initial_scale)
    flat, _ = ravel_pytree(parameters)
    memory = None
    if config.replay_rollouts:
        size = config.replay_rollouts, config.workers
        memory = Rollout(
            observation=jnp.zeros((*size, config.t_max + 1, features)),
            plan=jnp.zeros((*size, config.t_max, scenario.num_blocks), jnp.int32),
            reward=jnp.zeros((*size, config.t_max)),
            active=jnp.zeros((*size, config.t_max), bool),
        )
    copies = jnp.broadcast_to(flat, (config.workers, flat.size))
    return ActorCriticState(channel_key, action_key, parameters, _optimiser(config).init(flat), copies, memory)


def draw(
    config: ActorCriticConfig, state: ActorCriticState, scenario: Scenario, batch: Int[Array, ""]
) -> tuple[EnvState, Slot, Float[Array, "rounds workers slots decisions"], Float[Array, "rounds workers"]]:
    """What a batch draws: first states [workers], slots by rounds, the noise of the plans and of what is replayed."""
    episodes = batch * config.workers + jnp.arange(config.workers)
    states, slots = batch_rounds(state.channel_key, scenario, episodes, config.t_max)
    keys = jax.vmap(partial(jax.random.fold_in, state.action_key))(episodes)
    rounds, decisions = rounds_of(scenario, config.t_max), config.network(scenario).num_decisions
    noise = jax.vmap(lambda key: uniform(key, (rounds, config.t_max, decisions)))(keys)
    replayed = jax.vmap(lambda key: uniform(jax.random.fold_in(key, 1), (rounds,)))(keys)
    return states, slots, jnp.swapaxes(noise, 0, 1), jnp.swapaxes(replayed, 0, 1)


def step(
    config: ActorCriticConfig, state: ActorCriticState, scenario: Scenario, batch: Int[Array, ""]
) -> tuple[ActorCriticState, EpisodeCost]:
    """Batch number `batch`: an episode of each of W workers; the state after it, and what the episodes cost [W].

    A round: each worker runs `t_max` slots of its own episode and takes a gradient, both with its own, stale copy of
    the parameters; the gradients are applied to the global parameters one after the other by one shared RMSProp
    (Eqs. 23, 24); each worker copies the global parameters right after its own gradient.
    """
    network, available = config.network(scenario), allowed_nodes(scenario)
    states, *drawn = draw(config, state, scenario, batch)
    # One flat vector: the optimiser then is a few large operations instead of a few small ones for each layer.
    parameters, unravel = ravel_pytree(state.parameters)
    step_size, _ = ravel_pytree(_step_sizes(config, state.parameters))
    if config.annealed:
        step_size *= jnp.maximum(1 - batch * config.workers / config.episodes, 0)
    clipped = partial(_clipped, config, state.parameters)

    def one_round(carry, inputs):
        learner, copies, memory, states = carry
        slots, noise, replayed, number = inputs
        stale = jax.vmap(unravel)(copies)
        run = jax.vmap(partial(collect, config, scenario, network, available))
        states, rollouts, costs = run(stale, states, slots, noise)
        plans = rollouts.plan
        if config.replay_rollouts:
            memory, rollouts = _replay(config.replay_rollouts, memory, rollouts, replayed, number)
        gradients = jax.vmap(partial(gradient, config, network, available))(stale, rollouts)
        update = partial(_update, config, step_size)
        if config.asynchronous:
            learner, copies = jax.lax.scan(update, learner, jax.vmap(clipped)(gradients))
        else:
            learner, parameters = update(learner, clipped(jnp.mean(gradients, axis=0)))
            copies = jnp.broadcast_to(parameters, copies.shape)
        return (learner, copies, memory, states), (plans, costs)

    rounds = rounds_of(scenario, config.t_max)
    carry = (parameters, state.optimiser), state.copies, state.memory, states
    inputs = *drawn, batch * rounds + jnp.arange(rounds)
    ((parameters, optimiser), copies, memory, _), (plans, costs) = jax.lax.scan(one_round, carry, inputs)
    after = replace(state, parameters=unravel(parameters), optimiser=optimiser, copies=copies, memory=memory)
    return after, batch_costs(scenario, plans, costs)


def policy(config: ActorCriticConfig, state: ActorCriticState, scenario: Scenario) -> Policy:
    """The policy of the global parameters."""
    greedy = config.evaluation == "greedy"
    return Policy(state.parameters, allowed_nodes(scenario), config.network(scenario), greedy)


def collect(
    config: ActorCriticConfig,
    scenario: Scenario,
    network: PartitionNetwork,
    available: Allowed,
    parameters,
    start: EnvState,
    slots: Slot,
    noise,
) -> tuple[EnvState, Rollout, PlanCost]:
    """Run one worker for `t_max` slots: the state after them, what it saw, and what each cost."""

    def choose_plans(states, noise):
        return network.decide(parameters, observe_all(scenario, states), available, sampled, noise)

    states, plans, cost = rollout(scenario, start, slots, choose_plans, noise)
    active = states.time[:-1] < scenario.num_slots
    seen = Rollout(observe_all(scenario, states), plans, learning_reward(config, scenario, states, cost.reward), active)
    return jax.tree.map(lambda leaf: leaf[-1], states), seen, cost


def gradient(
    config: ActorCriticConfig, network: PartitionNetwork, available: Allowed, parameters, batch: Rollout
) -> Float[Array, " parameters"]:
    """Of `actor_critic_loss`, as one flat vector."""
    return ravel_pytree(jax.grad(partial(actor_critic_loss, config, network, available))(parameters, batch))[0]


def k_step_returns(
    reward: Float[Array, " slots"], active: Bool[Array, " slots"], bootstrap: Float[Array, ""], discount: float
) -> Float[Array, " slots"]:
    """R_t = r_t + discount * R_{t+1}, from `bootstrap` after the last active slot (Eq. 16)."""

    def step(later, slot):
        reward, active = slot
        later = jnp.where(active, reward + discount * later, later)
        return later, later

    return jax.lax.scan(step, bootstrap, (reward, active), reverse=True)[1]


def lambda_returns(
    reward: Float[Array, " slots"],
    active: Bool[Array, " slots"],
    value: Float[Array, " slots"],
    bootstrap: Float[Array, ""],
    discount: float,
    gae_lambda: float,
) -> Float[Array, " slots"]:
    """R_t = r_t + discount * ((1 - gae_lambda) * V_{t+1} + gae_lambda * R_{t+1}), both `bootstrap` at the end.

    R_t less the `value` V_t of its slot is the generalised advantage estimate.
    """

    def step(later, slot):
        reward, active, value = slot
        next_value, next_return = later
        returned = reward + discount * ((1 - gae_lambda) * next_value + gae_lambda * next_return)
        return (jnp.where(active, value, next_value), jnp.where(active, returned, next_return)), returned

    return jax.lax.scan(step, (bootstrap, bootstrap), (reward, active, value), reverse=True)[1]


def actor_critic_loss(
    config: ActorCriticConfig, network: PartitionNetwork, available: Allowed, parameters, batch: Rollout
) -> Float[Array, ""]:
    """Eq. 20: the mean over the branches of their actor losses (Eq. 18) plus the critic's (Eq. 19), mean over slots.

    The branches' loss is minus (log-probability times advantage plus `entropy_weight` times entropy); soft sharing adds
    `sharing_weight` times the squared L2 distance between the trunks. Returns and advantages are constants here. Where
    advantages are scaled, 1e-4 stands beside their root mean square, so that none stay none.
    """

    def mean(of_slots):
        return jnp.sum(jnp.where(batch.active, of_slots, 0)) / jnp.maximum(jnp.sum(batch.active), 1)

    log_probabilities, choices, values = network.assess(parameters, batch.observation[:-1], batch.plan, available)
    bootstrap = jax.lax.stop_gradient(network.first_value(parameters, batch.observation[-1]))
    if config.gae_lambda is None:
        returns = k_step_returns(batch.reward, batch.active, bootstrap, config.discount)
    else:
        first = jax.lax.stop_gradient(values[0])  # of the slot, in which nothing is decided yet
        returns = lambda_returns(batch.reward, batch.active, first, bootstrap, config.discount, config.gae_lambda)
    errors = returns - values
    advantage = jax.lax.stop_gradient(errors)
    if config.advantage_scaling:
        advantage /= jnp.sqrt(mean(jnp.mean(advantage**2, axis=0))) + 1e-4

    chosen = choices[:, None] == jnp.arange(log_probabilities.shape[1])[:, None]
    chosen_log_probability = jnp.sum(jnp.where(chosen, log_probabilities, 0), axis=1)
    entropy = -jnp.sum(jnp.exp(log_probabilities) * log_probabilities, axis=1)
    actor = -jnp.mean(chosen_log_probability * advantage + config.entropy_weight * entropy, axis=0)
    critic = jnp.mean(errors**2, axis=0)
    loss = mean(actor + critic)
    if config.sharing == "soft":
        loss += config.sharing_weight * trunk_distance(parameters)
    return loss


def _replay(capacity: int, memory: Rollout, batches: Rollout, drawn, number) -> tuple[Rollout, Rollout]:
    """Store the rollouts of round `number`; the memory [capacity, workers, ...], and one of it for each worker."""
    memory = jax.tree.map(lambda held, new: held.at[number % capacity].set(new), memory, batches)
    filled = jnp.minimum(number + 1, capacity)
    chosen = jnp.minimum((drawn * filled).astype(jnp.int32), filled - 1)
    return memory, jax.tree.map(lambda held: held[chosen, jnp.arange(len(chosen))], memory)


def _clipped(config: ActorCriticConfig, parameters, gradient: Float[Array, " parameters"]):
    """The gradient, shortened to `max_gradient_norm` where it is longer: as a whole, or the critic's part by itself."""

    def clipped(part):
        clip = optax.clip_by_global_norm(config.max_gradient_norm)
        return clip.update(part, clip.init(part))[0]

    if not config.separate_clipping:
        return clipped(gradient)
    critics = jax.tree_util.tree_map_with_path(lambda path, leaf: jnp.full(leaf.shape, _critics(path)), parameters)
    critics, _ = ravel_pytree(critics)
    return clipped(jnp.where(critics, gradient, 0)) + clipped(jnp.where(critics, 0, gradient))


def _optimiser(config: ActorCriticConfig) -> optax.GradientTransformation:
    return optax.scale_by_rms(config.rmsprop_decay, config.rmsprop_epsilon, eps_in_sqrt=True)


def _update(config: ActorCriticConfig, step_size: Float[Array, " parameters"], learner, gradient):
    """(parameters, state of RMSProp) after one gradient, and these parameters once more."""
    parameters, optimiser = learner
    direction, optimiser = _optimiser(config).update(gradient, optimiser)
    parameters = parameters - step_size * direction
    return (parameters, optimiser), parameters


def _step_sizes(config: ActorCriticConfig, parameters):
    """The learning rate of every parameter: the critic's for its trunk and head, the actor's for all else."""

    def rate(path, leaf):
        return jnp.full_like(leaf, config.critic_learning_rate if _critics(path) else config.learning_rate)

    return jax.tree_util.tree_map_with_path(rate, parameters)


def _critics(path) -> bool:
    """Whether a parameter is the critic's own."""
    layer = path[1].key
    return layer == "value" or layer.startswith("critic_")
