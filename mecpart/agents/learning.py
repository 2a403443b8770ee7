"""What the learning methods share: their result, their policy, and the episodes they learn from.

All methods learn from the same draws: the channels of episode e depend on the seed and on e alone, not on the method,
the number of workers or the length of a rollout.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mecpart.agents.networks import Allowed, PartitionNetwork, most_likely, sampled
from mecpart.fields import short_repr
from mecpart.model.delay import QUARTERS, PlanCost, keeps_up
from mecpart.model.environment import EnvState, observe_all, rollout
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.slots import sample_slots
from mecpart.sampling import uniform
from mecpart.validation import check_count, check_fraction, check_number, check_text


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Policy:
    """A trained policy: call it with observations for its greedy plans. A pytree; `vmap` it at will.

    - `available`: which nodes exist; on measured devices which can follow a node (`mecpart.model.ways`).
    - `greedy`: that it is to be evaluated by these plans, although it is a distribution.
    """

    parameters: dict
    available: Allowed
    network: PartitionNetwork = field(metadata={"static": True})
    greedy: bool = field(default=False, metadata={"static": True})

    __repr__ = short_repr

    def __call__(self, observation: Float[Array, "*slots features"]) -> Int[Array, "*slots blocks"]:
        """The most likely (or most valued) node of every block, for one observation of `PartitionEnv` or many."""
        observations = observation.reshape(-1, observation.shape[-1])
        no_noise = jnp.zeros((observations.shape[0], self.network.num_decisions))
        plans = self.network.decide(self.parameters, observations, self.available, most_likely, no_noise)
        return plans.reshape(*observation.shape[:-1], self.network.num_blocks)

    @property
    def stochastic(self) -> bool:
        """Whether plans are to be drawn from it: an actor-critic's is a distribution, that of a Q-network is not."""
        return self.network.critic and not self.greedy

    def sample(
        self, observations: Float[Array, "slots features"], noise: Float[Array, "slots decisions"]
    ) -> Int[Array, "slots blocks"]:
        """Plans drawn from the distribution that an actor-critic has learned, by `noise` uniform in [0, 1)."""
        return self.network.decide(self.parameters, observations, self.available, sampled, noise)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class EpisodeCost:
    """What an episode cost (a pytree): sums over its slots of delays in s, energy in J and rewards, and

    - `deadline_violation_rate`: the share of blocks that were late.
    - `keeps_up`: 1 if it keeps up with what arrives (`mecpart.keeps_up`), else 0; NaN where no slot waits for another.
    - `busiest_share`: the share of blocks that went to the node which was given most of them.
    """

    total_delay: Float[Array, "*episodes"]
    edge_delay: Float[Array, "*episodes"]
    local_delay: Float[Array, "*episodes"]
    energy: Float[Array, "*episodes"]
    reward: Float[Array, "*episodes"]
    deadline_violation_rate: Float[Array, "*episodes"]
    keeps_up: Float[Array, "*episodes"]
    busiest_share: Float[Array, "*episodes"]

    __repr__ = short_repr


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class TrainResult:
    """What training returns (a pytree).

    - `policy`: a function (observation) -> plan; for the methods of this package a `Policy` or a `PricePolicy`.
    - `episode_cost`: `EpisodeCost` of each training episode, [episodes].
    """

    policy: Callable[[Float[Array, "*slots features"]], Int[Array, "*slots blocks"]]
    episode_cost: EpisodeCost

    __repr__ = short_repr

    @property
    def episode_reward(self) -> Float[Array, " episodes"]:
        """[episodes], the sum of the rewards of each training episode, exploration included."""
        return self.episode_cost.reward


@dataclass(frozen=True)
class Stages:
    """A learner as pure functions, each to be compiled by itself and called in a loop, with a state between them.

    - `init`: (config, key, scenario) -> the state before training.
    - `step`: (config, state, scenario, batch) -> (state, `EpisodeCost` [workers]): one episode of each worker. Those of
      batch number b are the episodes b * workers and following.
    - `policy`: (config, state, scenario) -> what has been learned, for `evaluate_policy`.

    They are the same for every configuration of a kind. Its numbers are traced, so that one program serves all of them;
    only what says how many of something there are, or of which kind, is part of what is compiled.
    """

    init: Callable
    step: Callable
    policy: Callable


def traced(*numbers: str) -> Callable[[type], type]:
    """Make a pytree of a configuration: `numbers` are its leaves, all else but the name is static.

    What JAX puts together again is not checked once more, and has no name: nothing is compiled anew for another one.
    """

    def register(kind: type) -> type:
        static = [entry.name for entry in fields(kind) if entry.name not in (*numbers, "name")]

        def flatten(config):
            leaves = [(jax.tree_util.GetAttrKey(name), getattr(config, name)) for name in numbers]
            return leaves, tuple(getattr(config, name) for name in static)

        def unflatten(values, leaves):
            config = object.__new__(kind)
            for name, value in zip(("name", *static, *numbers), ("", *values, *leaves), strict=True):
                object.__setattr__(config, name, value)
            return config

        jax.tree_util.register_pytree_with_keys(kind, flatten, unflatten)
        return kind

    return register


def check_learner(config) -> None:
    """Raise `ValueError` for a bad value among the settings that all learning methods have."""
    check_text("name", config.name)
    for name in ("episodes", "workers", "t_max"):
        check_count(name, getattr(config, name))
    if not isinstance(config.hidden, tuple):
        raise ValueError(f"hidden must be a tuple with the width of each layer; got {config.hidden!r}")
    for width in config.hidden:
        check_count("hidden", width)
    for name in ("discount", "rmsprop_decay"):
        check_fraction(name, getattr(config, name))
    for name in ("learning_rate", "rmsprop_epsilon", "queue_price", "initial_scale"):
        check_number(name, getattr(config, name), shapes=((),))
    check_number("max_gradient_norm", config.max_gradient_norm, exclusive=True, shapes=((),))
    if config.episodes % config.workers:
        raise ValueError(f"episodes must be a multiple of workers ({config.workers}); got {config.episodes}")


def training_keys(key):
    """Keys for the channels, the actions and the first parameters of a training run."""
    return jax.random.split(key, 3)


def channel_key(key):
    """The key of the channels that a training run with `key` sees: for running other policies on the same."""
    return training_keys(key)[0]


def episode_slots(key, scenario: Scenario, episode: Int[Array, ""] | int) -> Slot:
    """What the slots of one episode draw, and the slot after them: every array with a leading axis [T + 1]."""
    return sample_slots(jax.random.fold_in(key, episode), scenario, scenario.num_slots + 1)


def episode_start(scenario: Scenario, slots: Slot) -> EnvState:
    """The state before the first of `slots`."""
    return EnvState(jax.tree.map(lambda leaf: leaf[0], slots), scenario.energy_budget, jnp.int32(0))


def episode_rounds(key, scenario: Scenario, episode: Int[Array, ""] | int, t_max: int) -> tuple[EnvState, Slot]:
    """The first state of an episode, and its slots cut into rounds of `t_max`: [rounds, t_max + 1, ...].

    Each round ends with the first slot of the next; the last round is filled up with the slot after the episode.
    """
    slots = episode_slots(key, scenario, episode)
    window = jnp.arange(rounds_of(scenario, t_max))[:, None] * t_max + jnp.arange(t_max + 1)
    window = jnp.minimum(window, scenario.num_slots)
    return episode_start(scenario, slots), jax.tree.map(lambda leaf: leaf[window], slots)


def batch_rounds(key, scenario: Scenario, episodes: Int[Array, " workers"], t_max: int) -> tuple[EnvState, Slot]:
    """`episode_rounds` of several episodes, side by side: states [workers], slots [rounds, workers, t_max + 1, ...]."""
    states, slots = jax.vmap(lambda episode: episode_rounds(key, scenario, episode, t_max))(episodes)
    return states, jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), slots)


def rounds_of(scenario: Scenario, t_max: int) -> int:
    """How many rounds of `t_max` slots an episode has, the last one filled up."""
    return -(-scenario.num_slots // t_max)


def sum_costs(scenario: Scenario, plans: Int[Array, "slots blocks"], cost: PlanCost) -> EpisodeCost:
    """What a whole episode cost, from its plans and the cost of each slot, [T]."""
    can_fall_behind = scenario.rules.slots_couple and scenario.num_slots >= QUARTERS
    given = jnp.mean(plans[..., None] == jnp.arange(scenario.num_nodes), axis=(0, 1))
    return EpisodeCost(
        total_delay=jnp.sum(cost.total_delay),
        edge_delay=jnp.sum(cost.edge_delay),
        local_delay=jnp.sum(cost.local_delay),
        energy=jnp.sum(cost.energy),
        reward=jnp.sum(cost.reward),
        deadline_violation_rate=jnp.mean(cost.block_delay > scenario.deadline),
        keeps_up=keeps_up(cost.total_delay).astype(float) if can_fall_behind else jnp.full((), jnp.nan),
        busiest_share=jnp.max(given),
    )


def batch_costs(scenario: Scenario, plans: Int[Array, "rounds workers slots blocks"], cost: PlanCost) -> EpisodeCost:
    """`sum_costs` of episodes that were run side by side, in rounds as `batch_rounds` cuts them: [workers]."""
    whole = jax.tree.map(lambda leaf: jnp.concatenate(leaf, axis=1)[:, : scenario.num_slots], (plans, cost))
    return jax.vmap(partial(sum_costs, scenario))(*whole)


def run_episode(
    key, scenario: Scenario, episode: Int[Array, ""] | int, choose_plans, noise, slots: Slot | None = None
) -> EpisodeCost:
    """Run one whole episode with `choose_plans(states, noise of the slots)`, as in `rollout`, and add up its costs.

    `slots` [scenario.num_slots] are run as they are, where they are given; otherwise `key` and `episode` draw them.
    """
    slots = episode_slots(key, scenario, episode) if slots is None else slots
    _, plans, cost = rollout(scenario, None, slots, choose_plans, noise)
    return sum_costs(scenario, plans, cost)


def evaluate_policy(
    key, scenario: Scenario, policy: Callable, episode: Int[Array, ""] | int = 0, slots: Slot | None = None
) -> EpisodeCost:
    """Cost of one episode under the greedy plans of `policy`; `key` and `episode` name its draws, or `slots` are given.

    Where slots couple, an actor-critic's plans are drawn, as they were in training, unless it is `Policy.greedy`:
    spreading the work by chance is part of what it has learned; its most likely nodes can be the same ones slot after
    slot, and be given more than they are able to do.
    """
    decisions, plans = 0, lambda observations, noise: policy(observations)
    if scenario.rules.slots_couple and isinstance(policy, Policy) and policy.stochastic:
        decisions, plans = policy.network.num_decisions, policy.sample
    noise_key = jax.random.fold_in(jax.random.fold_in(key, episode), 2)  # 0 and 1 draw the slots
    noise = uniform(noise_key, (scenario.num_slots, decisions))

    def choose_plans(states, noise):
        return plans(observe_all(scenario, states), noise)

    return run_episode(key, scenario, episode, choose_plans, noise, slots)


def learning_reward(
    config, scenario: Scenario, states: EnvState, reward: Float[Array, " slots"]
) -> Float[Array, " slots"]:
    """What the learners learn from in slots between `states` [slots + 1]: the scaled reward, shaped by the queues.

    Where slots couple, the reward of a slot tells nothing of the queues that it leaves: later slots pay for them, many
    times over. Shaping by a potential P of the state (Ng, Harada and Russell 1999) adds

        discount * P(next state) - P(state),  P = -queue_price * (price of a second) * (time until all nodes are free)

    so that a queue is paid for in the slot that builds it, and earns its price when it is worked off. The sum of what
    is added depends on the first and the last state alone, whatever the plans, so the best policies stay the same. An
    episode is truncated, not over, after its last slot: its next state is the one it ends in, with its queues, whose
    value is bootstrapped. The price of a second is what later slots pay if all of them wait for it, each beyond its
    deadline: (1 + penalty) / (1 - discount), or (1 + penalty) T where the discount is nearly 1. Waiting and price then
    cancel, and deep in an overload rewards say as clearly as at its beginning whether a plan makes it better or worse.

    **Arguments:** `config`: of a learner; its `discount` and `queue_price` count.
    """
    scale = reward_scale(scenario)
    if not scenario.rules.slots_couple:
        return scale * reward
    later_slots = 1 / jnp.maximum(1 - config.discount, 1 / scenario.num_slots)
    price = config.queue_price * (1 + scenario.penalty) * later_slots
    potential = -price * jnp.max(jax.vmap(scenario.backlog_in)(states.slot), axis=-1)
    return scale * (reward + config.discount * potential[1:] - potential[:-1])


def reward_scale(scenario: Scenario) -> Float[Array, ""]:
    """What makes a reward of order one, 1/s: it counts the time that a slot's tasks take on the devices as one."""
    network, work = scenario.network, jnp.sum(scenario.work)
    speed = network.speed[0] * (scenario.devices_for(scenario.release_rate) / network.num_devices)
    return speed / jnp.where(work > 0, work, 1)  # without any work there is no delay to scale
