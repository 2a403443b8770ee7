"""Learned prices: the exact recursion plans, and what is learned is a price on the time of each node.

Not the paper's: what one can do on the same budget with the model at hand. A slot's best plan is known exactly
(`mecpart.optimum`), but it is blind to the queues that it leaves to later slots. A price on each node's time makes the
recursion see them, and the best prices are those under which whole episodes take least. They are searched for directly:
no gradient, no value function, and since only the order of episodes counts, an overload spoils nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mecpart.agents.learning import TrainResult, run_episode, training_keys
from mecpart.delay import queue_delay
from mecpart.environment import read_observation
from mecpart.ledger import LEDGER
from mecpart.optimum import priced_plan
from mecpart.scenario import Scenario, Slot
from mecpart.validation import check_count, check_number


@dataclass(frozen=True)
class PriceSearchConfig:
    """Plain values that define the search for prices.

    - `episodes`: of training, over all workers together.
    - `workers`: candidates that are compared on the same episode; an even number, since they come in opposite pairs.
    - `spread`: standard deviation of the first candidates.
    """

    name: str = "Learned prices"
    episodes: int = LEDGER.default("episodes")
    workers: int = LEDGER.default("workers")
    spread: float = LEDGER.default("price_spread")

    def __post_init__(self):
        for name in ("episodes", "workers"):
            check_count(name, getattr(self, name))
        check_number("spread", self.spread, exclusive=True)
        if self.workers % 2:
            raise ValueError(f"workers must be an even number; got {self.workers}")
        if self.episodes % self.workers:
            raise ValueError(f"episodes must be a multiple of workers ({self.workers}); got {self.episodes}")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PricePolicy:
    """Plans by `priced_plan`, for observations of `scenario` (a pytree).

    - `weights`: [2 (N + 1)]. The price of node n is max(0, weights[n] + weights[N + 1 + n] * its queue in slots).
    """

    weights: Float[Array, " weights"]
    scenario: Scenario

    def __call__(self, observation: Float[Array, "*slots features"]) -> Int[Array, "*slots blocks"]:
        """The plan for one observation of `PartitionEnv` or for many."""
        observations = observation.reshape(-1, observation.shape[-1])
        plans = jax.vmap(lambda seen: self.plan(read_observation(self.scenario, seen)))(observations)
        return plans.reshape(*observation.shape[:-1], self.scenario.num_blocks)

    def plan(self, slot: Slot) -> Int[Array, " blocks"]:
        """The plan for a slot."""
        nodes = jnp.arange(self.scenario.num_nodes)
        queue = jnp.where(self.scenario.network.available, queue_delay(self.scenario, slot, nodes), 0)
        fixed, growing = jnp.split(self.weights, 2)
        price = fixed + growing * queue / self.scenario.slot_seconds
        return priced_plan(self.scenario, slot, jnp.maximum(price, 0))


def make_train(config: PriceSearchConfig) -> Callable[[Array, Scenario], TrainResult]:
    """A function `train(key, scenario) -> TrainResult`, a function of the key alone; `jit` and `vmap` it at will.

    Separable natural evolution strategies (Schaul, Glasmachers and Schmidhuber 2011), with opposite pairs: each round
    draws `workers` candidates around the mean, runs all of them on one episode, and moves mean and spread towards
    those that took least. The mean starts at zero, the myopic plan, and is what is returned.
    """

    def train(key: Array, scenario: Scenario) -> TrainResult:
        channel_key, candidate_key, _ = training_keys(key)
        count, size = config.workers, 2 * scenario.num_nodes
        utility = jnp.maximum(jnp.log(count / 2 + 1) - jnp.log(jnp.arange(1, count + 1)), 0)
        utility = utility / jnp.sum(utility) - 1 / count
        spread_rate = (3 + jnp.log(size)) / (5 * jnp.sqrt(size)) / 2  # half the usual, for so few candidates

        def one_round(search, number):
            mean, spread = search
            draw = jax.random.normal(jax.random.fold_in(candidate_key, number), (count // 2, size))
            draw = jnp.concatenate([draw, -draw])
            cost = jax.vmap(lambda weights: _episode(channel_key, scenario, number * count, weights))(
                mean + spread * draw
            )
            weight = utility[jnp.argsort(jnp.argsort(cost.total_delay))]
            mean = mean + spread * (weight @ draw)
            spread = spread * jnp.exp(spread_rate / 2 * (weight @ (draw**2 - 1)))
            return (mean, spread), cost

        first = jnp.zeros(size), jnp.full(size, config.spread)
        (mean, _), costs = jax.lax.scan(one_round, first, jnp.arange(config.episodes // count))
        return TrainResult(PricePolicy(mean, scenario), jax.tree.map(jnp.ravel, costs))

    return train


def _episode(channel_key, scenario: Scenario, episode, weights):
    policy = PricePolicy(weights, scenario)

    def choose_plans(states, noise):
        return jax.vmap(policy.plan)(states.slot)

    return run_episode(channel_key, scenario, episode, choose_plans, jnp.zeros((scenario.num_slots, 0)))
