"""One harness for all relatives: does the state matter, what do rules reach, and what does learning add?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jaxtyping import Array, Float, Int

from mecpart.agents.networks import PartitionNetwork, most_likely, sampled
from mecpart.compilation import compiled
from mecpart.ledger import LEDGER
from mecpart.validation import check_count, check_type

State = Any  # a pytree of arrays: what a frame draws


@dataclass(frozen=True)
class Relative:
    """A problem whose frames do not couple: a state is drawn, a plan chosen, a cost paid.

    - `name`; `cost_name`: what the cost is, with its unit.
    - `plans`: [plans, decisions], every plan there is; each decision takes a value from 0 on.
    - `draw`: (noise [draws], uniform in [0, 1)) -> state, a pytree; `draws`: how many such numbers a frame takes.
    - `observe`: (state) -> what a learner sees of it, [features], of order one.
    - `cost`: (state, plan) -> a number, the less the better: above 0, or below 0 throughout where something is gained.
    - `rules`: by name, (state) -> the cost of what a rule without learning does.
    - `search`: (state, logits [decisions, choices]) -> the cost after a search that a learned policy's logits guide;
      None if the publication has no such thing.
    """

    name: str
    cost_name: str
    plans: Int[Array, "plans decisions"] = field(repr=False)
    draws: int
    draw: Callable[[Float[Array, " draws"]], State] = field(repr=False)
    observe: Callable[[State], Float[Array, " features"]] = field(repr=False)
    cost: Callable[[State, Int[Array, " decisions"]], Float[Array, ""]] = field(repr=False)
    rules: Mapping[str, Callable[[State], Float[Array, ""]]] = field(repr=False)
    search: Callable[[State, Float[Array, "decisions choices"]], Float[Array, ""]] | None = field(
        default=None, repr=False
    )


# The learner, the same for every relative.
BATCH = LEDGER.default("relatives_batch")
LEARNING_RATE = LEDGER.default("relatives_learning_rate")
ENTROPY_WEIGHT = LEDGER.default("relatives_entropy_weight")
CHECKPOINTS = 20  # how often it is looked at while it learns


def assess(relative: Relative, *, frames: int, training_frames: int, seeds: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each method reaches on the same fresh frames, and how the learner gets there.

    "Optimal" is the best of all plans in each frame; "Best constant plan" the one plan with the least mean cost over
    these very frames; "Random plan" the expectation over all plans. "Learned" has the network of `Proposed`, a branch
    for each decision, and sees the cost of the plans that it draws and no others: a policy gradient (Williams 1992)
    whose baseline is the critic, the advantages of a batch brought to mean 0 and deviation 1. It learns from the
    logarithm of the cost, by which the best plan of a state is the same.

    **Arguments:**

    - `frames`: to measure on; `training_frames`: that the learner sees, rounded up to whole batches and checkpoints.
    - `seeds`: how often learning is repeated.

    **Returns:** two tidy frames. The first has a row per method: `relative, method, cost, gap_percent, low_percent,
    high_percent, at_optimum_percent`; the gap is 100 * (mean cost - mean optimum) / |mean optimum|, low and high its
    range over seeds (undefined for what does not learn), and the last the share of frames in which nothing is better.
    The second has the gap of the learner on its way: `relative, seed, frames, gap_percent`.

    **Raises:** `ValueError` for something else than a `Relative`, or than whole numbers of at least 1.
    """
    check_type("relative", relative, Relative, "from mecpart.relatives")
    given = {"frames": frames, "training_frames": training_frames, "seeds": seeds}
    frames, training_frames, seeds = (check_count(name, value) for name, value in given.items())
    states = jax.vmap(relative.draw)(_noise("frames", 0, frames, relative.draws))
    table, of_rules = (jax.tree.map(_exact, costs) for costs in _without_learning(relative, states))
    optimum = table.min(axis=1)
    found = {"Optimal": optimum, "Best constant plan": table[:, table.mean(axis=0).argmin()]}
    found |= of_rules | {"Random plan": table.mean(axis=1)}
    batches = -(-training_frames // (BATCH * CHECKPOINTS))  # between two checkpoints
    learned, curves = _learn(relative, states, seeds, batches)
    found |= jax.tree.map(_exact, learned)

    def gap(mean_cost):
        above = 100 * (mean_cost - optimum.mean()) / abs(optimum.mean())
        return np.round(above, 4) + 0.0  # float32 tells nothing finer; and no minus zero

    rows = []
    for method, cost in found.items():
        gaps = gap(cost.mean(axis=-1, keepdims=True))
        low, high = (gaps.min(), gaps.max()) if cost.ndim > 1 else (np.nan, np.nan)
        best = np.mean(cost <= optimum + 1e-5 * np.abs(optimum))  # but for rounding
        rows.append([relative.name, method, cost.mean(), gaps.mean(), low, high, 100 * best])
    columns = ["relative", "method", "cost", "gap_percent", "low_percent", "high_percent", "at_optimum_percent"]
    on_the_way = [
        [relative.name, seed, (at + 1) * batches * BATCH, gap(cost)]
        for seed, costs in enumerate(curves)
        for at, cost in enumerate(costs)
    ]
    curve = pd.DataFrame(on_the_way, columns=["relative", "seed", "frames", "gap_percent"])
    return pd.DataFrame(rows, columns=columns), curve


def _noise(what: str, seed: int, *shape: int) -> Float[Array, "*shape"]:
    """Uniform numbers in [0, 1), drawn on the host: generators inside of programs are half the time to compile them."""
    return jnp.asarray(np.random.default_rng([*what.encode(), seed]).random(shape, np.float32))


def _exact(costs) -> np.ndarray:
    return np.asarray(costs, np.float64)  # for sums over many frames


def _without_learning(relative: Relative, states: State):
    """The cost of every plan in every state, [states, plans]; by name that of every rule, [states]."""

    def costs(states):
        every = jax.vmap(relative.cost, (None, 0))
        table = jax.lax.map(lambda state: every(state, relative.plans), states)
        return table, {name: jax.vmap(rule)(states) for name, rule in relative.rules.items()}

    return compiled(costs, "plain")(states)


def _learn(relative: Relative, states: State, seeds: int, batches: int):
    """By name the costs in `states` of what is learned [seeds, states]; their mean at checkpoints [seeds, CHECKPOINTS].

    - `batches`: between two checkpoints.
    """
    decisions, choices = relative.plans.shape[1], int(relative.plans.max()) + 1
    network = PartitionNetwork(decisions, choices, LEDGER.default("hidden"))
    available = jnp.ones(choices, bool)
    observations = jax.vmap(relative.observe)(states)
    clip = optax.clip_by_global_norm(LEDGER.default("max_gradient_norm"))
    optimiser = optax.chain(clip, optax.adam(LEARNING_RATE))

    def loss(parameters, seen, plans, reward, entropy_weight):
        log_probabilities, choice, values = network.assess(parameters, seen, plans, available)
        error = reward - values[0]
        advantage = jax.lax.stop_gradient((error - jnp.mean(error)) / (jnp.std(error) + 1e-6))
        chosen = jnp.take_along_axis(log_probabilities, choice[:, None], axis=1)[:, 0]
        entropy = -jnp.sum(jnp.exp(log_probabilities) * log_probabilities, axis=1)
        return jnp.mean(error**2) - jnp.mean(chosen * advantage + entropy_weight * entropy)

    def one_batch(learner, given):
        (parameters, memory), (noise, left) = learner, given
        drawn = jax.vmap(relative.draw)(noise[:, : relative.draws])
        seen = jax.vmap(relative.observe)(drawn)
        plans = network.decide(parameters, seen, available, sampled, noise[:, relative.draws :])
        cost = jax.vmap(relative.cost)(drawn, plans)
        reward = -jnp.sign(cost) * jnp.log(jnp.abs(cost))
        gradient = jax.grad(loss)(parameters, seen, plans, reward, ENTROPY_WEIGHT * left)
        step, memory = optimiser.update(gradient, memory)
        return (optax.apply_updates(parameters, step), memory), None

    def until_checkpoint(learner, noise, left):
        (parameters, memory), _ = jax.lax.scan(one_batch, learner, (noise, left))
        no_noise = jnp.zeros((len(observations), decisions))
        plans = network.decide(parameters, observations, available, most_likely, no_noise)
        return (parameters, memory), jax.vmap(relative.cost)(states, plans)

    learn = compiled(jax.vmap(until_checkpoint, (0, 0, None)), "plain")
    keys = jax.random.split(jax.random.key(0), seeds)
    parameters = compiled(jax.vmap(network.initialise, (0, None)), "least")(keys, observations[0])
    learner, curve = (parameters, jax.vmap(optimiser.init)(parameters)), []
    for checkpoint, left in enumerate(np.linspace(1, 0, CHECKPOINTS * batches, dtype=np.float32).reshape(-1, batches)):
        noise = _noise("training", checkpoint, seeds, batches, BATCH, relative.draws + decisions)
        learner, costs = learn(learner, noise, left)
        curve.append(_exact(costs).mean(axis=1))
    found = {"Learned": costs}
    if relative.search is not None:
        logits, _ = compiled(jax.vmap(network.apply, (0, None)), "least")(learner[0], observations)
        found["Learned, then searched"] = compiled(jax.vmap(jax.vmap(relative.search), (None, 0)), "least")(
            states, logits
        )
    return found, np.stack(curve, axis=1)
