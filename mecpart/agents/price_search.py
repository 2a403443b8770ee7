"""Learned prices: the best plan of each slot when time on busy nodes costs extra; how much extra is learned by trial.

Not the paper's: it knows the delay model, which the paper's learners do not, and has the same budget. The exact best
plan of a slot (`mecpart.planning.optimum`) is blind to the queues that it leaves to later slots. So a second at a node
is made to cost more than a second: by a price of the node, and by another one for each slot's worth of work that waits
there. Good prices are found by trying: whole episodes are run under slightly different ones, and those under which an
episode takes less delay, twice, are kept. With no prices it is the plan of `Optimal` or `Myopic`.

It is no method for tasks that stream: the price of a node scales the time of every block alike, so a shortest path goes
on putting all of them on one node, whatever the prices; what a stream asks for is to spread them.

Since only the order of episodes counts, an overload spoils nothing; there is no gradient and no neural network.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mecpart.agents.learning import EpisodeCost, episode_slots, run_episode, traced, training_keys
from mecpart.fields import short_repr
from mecpart.ledger import LEDGER
from mecpart.model.environment import read_observation
from mecpart.model.scenario import Scenario, Slot
from mecpart.planning.optimum import priced_plan
from mecpart.validation import check_count, check_range, check_text, shown


@traced("episodes", "step_range")
@dataclass(frozen=True)
class PriceSearchConfig:
    """Plain values that define the search for prices.

    - `episodes`: of training, over all workers together.
    - `workers`: weights that are compared on one episode, at least 3: the best so far, its challenger, and new ones.
    - `step_range`: the shortest and the longest step from the best weights to new ones.
    """

    name: str = "Learned prices"
    episodes: int = LEDGER.default("episodes")
    workers: int = LEDGER.default("workers")
    step_range: tuple[float, float] = LEDGER.default("step_range")

    def __post_init__(self):
        check_text("name", self.name)
        check_count("episodes", self.episodes)
        check_count("workers", self.workers, minimum=3)
        if not isinstance(self.step_range, tuple):
            raise ValueError(f"step_range must be a pair (low, high); got {shown(self.step_range)}")
        check_range("step_range", self.step_range, exclusive=True)
        if self.episodes % self.workers:
            raise ValueError(f"episodes must be a multiple of workers ({self.workers}); got {self.episodes}")

    @property
    def unused(self) -> tuple[str, ...]:
        """The names of settings that make no difference."""
        return ()


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PricePolicy:
    """Plans by `priced_plan`, for observations of `scenario` (a pytree).

    - `weights`: [2 (N + 1)], not negative. The price of node n is weights[n] + weights[N + 1 + n] * its queue in slots.
    """

    weights: Float[Array, " weights"]
    scenario: Scenario

    __repr__ = short_repr

    def __call__(self, observation: Float[Array, "*slots features"]) -> Int[Array, "*slots blocks"]:
        """The plan for one observation of `PartitionEnv` or for many."""
        observations = observation.reshape(-1, observation.shape[-1])
        plans = jax.vmap(lambda seen: self.plan(read_observation(self.scenario, seen)))(observations)
        return plans.reshape(*observation.shape[:-1], self.scenario.num_blocks)

    def plan(self, slot: Slot) -> Int[Array, " blocks"]:
        """The plan for a slot."""
        fixed, growing = jnp.split(self.weights, 2)
        queue = self.scenario.backlog_in(slot) / self.scenario.slot_seconds
        return priced_plan(self.scenario, slot, fixed + growing * queue)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PriceSearchState:
    """What is held between two rounds (a pytree): the keys, the best weights so far, and their challenger."""

    channel_key: PRNGKeyArray
    candidate_key: PRNGKeyArray
    best: Float[Array, " weights"]
    challenger: Float[Array, " weights"]


def init(config: PriceSearchConfig, key: PRNGKeyArray, scenario: Scenario) -> PriceSearchState:
    """The search starts at zero, the myopic plan."""
    channel_key, candidate_key, _ = training_keys(key)
    zero = jnp.zeros(2 * scenario.num_nodes)
    return PriceSearchState(channel_key, candidate_key, zero, zero)


def draw(
    config: PriceSearchConfig, state: PriceSearchState, scenario: Scenario, batch: Int[Array, ""]
) -> tuple[Slot, Float[Array, "new weights"]]:
    """What a round draws: the slots of its one episode, and a random step for each of the new weights.

    Steps of all lengths (after gradientless descent, Golovin et al. 2020), in about half of the directions.
    """
    new, size = config.workers - 2, 2 * scenario.num_nodes
    shortest, longest = config.step_range
    length_key, direction_key, step_key = jax.random.split(jax.random.fold_in(state.candidate_key, batch), 3)
    length = shortest * (longest / shortest) ** jax.random.uniform(length_key, (new, 1))
    steps = length * jax.random.normal(step_key, (new, size))
    moves = jax.random.bernoulli(direction_key, shape=(new, size))
    slots = episode_slots(state.channel_key, scenario, batch * config.workers)
    return slots, jnp.where(moves, steps, 0)


def step(
    config: PriceSearchConfig, state: PriceSearchState, scenario: Scenario, batch: Int[Array, ""]
) -> tuple[PriceSearchState, EpisodeCost]:
    """Round number `batch`: the state after it, and what the workers' episodes cost [W].

    All workers run one episode: under the best weights so far, the challenger of the round before, and new ones, a
    random step away from the best. A challenger that takes less than the best takes its place. The best of the new ones
    is the next challenger: it meets the best on another episode than the one that it was chosen by, so that luck in the
    first does not count.
    """
    slots, steps = draw(config, state, scenario, batch)
    best, challenger = state.best, state.challenger
    weights = jnp.concatenate([best[None], challenger[None], jnp.maximum(best + steps, 0)])
    cost = jax.vmap(lambda weights: _episode(scenario, slots, weights))(weights)
    of_best, of_challenger, of_new = jnp.split(cost.total_delay, [1, 2])
    best = jnp.where(of_challenger < of_best, challenger, best)
    return replace(state, best=best, challenger=weights[2 + jnp.argmin(of_new)]), cost


def policy(config: PriceSearchConfig, state: PriceSearchState, scenario: Scenario) -> PricePolicy:
    """The plans under the best weights."""
    return PricePolicy(state.best, scenario)


def _episode(scenario: Scenario, slots: Slot, weights: Float[Array, " weights"]) -> EpisodeCost:
    prices = PricePolicy(weights, scenario)

    def choose_plans(states, noise):
        return jax.vmap(prices.plan)(states.slot)

    return run_episode(None, scenario, 0, choose_plans, jnp.zeros((scenario.num_slots, 0)), slots)
