"""Certified bounds: what no policy can go below, in one slot or over an episode.

Where slots do not couple the optimum of each is known, and so is that of all. With queues it is not; but with a
price on the time of each node, one slot after the other bounds all policies together (`priced_bound`).
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mecpart.ledger import LEDGER
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.slots import check_slot, check_slots
from mecpart.planning.optimum import checked_prices, optimal_plan, priced_path
from mecpart.validation import check_count, check_fraction, check_number, shown


def lower_bound(scenario: Scenario, slot: Slot) -> Float[Array, ""]:
    """A certified lower bound on the total delay of any plan in this slot, s: the optimum with empty queues.

    Without backlog the bound is attained, unless more than two million plans stream (`OptimalPlan.bound`). Summed over
    the slots of an episode it bounds every schedule, since the work of other slots never makes a block finish sooner;
    `episode_bound` is tighter.
    """
    check_slot(scenario, slot)
    return optimal_plan(scenario, replace(slot, backlog=None)).bound


def episode_bound(scenario: Scenario, slots: Slot, price: Float[Array, " nodes"] | None = None) -> Float[Array, ""]:
    """A certified lower bound on the total delay that any policy can have in an episode from empty queues, s.

    Where slots do not couple the optimum itself. With queues the largest of three bounds: the sum of `lower_bound`,
    `priced_bound`, and `pooled_bound`. It holds for policies that know all draws in advance, and whatever the order in
    which nodes serve slots, as long as they serve one at a time and nothing that has not arrived; first in, first out
    is one such order. It holds up to the rounding of float32 (about one part in a million).

    **Arguments:**

    - `slots`: what the slots of the episode draw, every array with a leading axis [T]; their backlog does not count.
    - `price`: of `priced_bound`; by default `bound_prices`, which take a hundred times as long as the rest.

    **Raises:** `ValueError` for slots that do not fit or hold negative or NaN values, or prices that do. Traced slots
    are assumed not to; a traced price that is negative or NaN counts as 0.
    """
    check_slots(scenario, slots)
    if price is not None:
        price = checked_prices(scenario, price)
    alone = jnp.sum(jax.vmap(lambda slot: lower_bound(scenario, slot))(slots))
    if not scenario.rules.slots_couple:
        return alone
    priced = priced_bound(scenario, slots, bound_prices(scenario, slots) if price is None else price)
    return jnp.maximum(jnp.maximum(alone, priced), pooled_bound(scenario, slots))


def priced_bound(scenario: Scenario, slots: Slot, price: Float[Array, " nodes"]) -> Float[Array, ""]:
    """A lower bound on the total delay of an episode with queues, whatever the prices: the Lagrangian of capacity.

    Let V_t be the least delay plus price of slot t = 0, 1, ... from empty queues, d the length of a slot, and
    H = max_t (t d + V_t). Call a slot late if its delay is more than V_t. The work of all other slots is done by H, and
    no node works longer than from 0 to H, so they compute on node n for at most H seconds in all: what they pay for it
    is at most price_n H. The delay of such a slot is at least V_t minus what it pays, since waiting only adds to it;
    that of a late slot is more than V_t. Hence

        sum_t delay_t >= sum_t V_t - H sum_n price_n

    which is the Lagrangian of "no node computes for longer than the episode", but for H - T d, what may be left undone
    at its end; that does not grow with T. Only what a node can do within a time is used of the queues, so the bound
    holds for every order of service.

    **Arguments** and **Raises:** `slots`, `price` [N + 1] as in `episode_bound`.
    """
    check_slots(scenario, slots)
    return _priced_bound(scenario, slots, checked_prices(scenario, price))


@jax.jit
def _priced_bound(scenario: Scenario, slots: Slot, price) -> Float[Array, ""]:
    price = jnp.where(scenario.network.available & (price >= 0) & jnp.isfinite(price), price, 0)
    value = jax.vmap(lambda slot: priced_path(scenario, replace(slot, backlog=None), price)[0])(slots)
    horizon = jnp.max(jnp.arange(value.shape[0]) * scenario.slot_seconds + value)
    return jnp.sum(value - horizon * jnp.sum(price) / value.shape[0])


def bound_prices(
    scenario: Scenario,
    slots: Slot,
    steps: int = LEDGER.default("bound_steps"),
    step_range: tuple[float, float] = LEDGER.default("bound_step_range"),
    momentum: float = LEDGER.default("bound_momentum"),
) -> Float[Array, " nodes"]:
    """Prices under which `priced_bound` is large; but for what H is more than T d, it is concave in them.

    Subgradient ascent from zero by `steps` steps; the best prices on the way are returned.

    **Arguments:** `step_range`: length of the first step and of the last; `momentum`: part of the direction of the step
    before that each keeps.

    **Raises:** `ValueError` for slots as in `episode_bound`, a number of steps below 1, lengths that are not a pair
    above 0, or a momentum that is not from 0 to 1.
    """
    check_slots(scenario, slots)
    if not isinstance(step_range, tuple) or len(step_range) != 2:
        raise ValueError(f"step_range must be a pair (first, last); got {shown(step_range)}")
    for length in step_range:
        check_number("step_range", length, exclusive=True, shapes=((),))
    check_fraction("momentum", momentum)
    return _bound_prices(scenario, slots, check_count("steps", steps), step_range, momentum)


@partial(jax.jit, static_argnames=("steps", "step_range", "kept"))
def _bound_prices(scenario: Scenario, slots: Slot, steps: int, step_range, kept: float) -> Float[Array, " nodes"]:
    first, last = step_range
    bound_and_slope = jax.value_and_grad(lambda price: _priced_bound(scenario, slots, price))

    def step(search, length):
        price, slope, best_price, best = search
        bound, new = bound_and_slope(price)
        slope = kept * slope + (1 - kept) * new / (scenario.num_slots * scenario.slot_seconds)
        best_price, best = jnp.where(bound > best, price, best_price), jnp.maximum(bound, best)
        price = jnp.maximum(price + length * slope / jnp.maximum(jnp.linalg.norm(slope), 1e-9), 0)
        return (price, slope, best_price, best), None

    zero = jnp.zeros(scenario.num_nodes)
    (_, _, best_price, _), _ = jax.lax.scan(step, (zero, zero, zero, -jnp.inf), jnp.geomspace(first, last, steps))
    return best_price


def pooled_bound(scenario: Scenario, slots: Slot) -> Float[Array, ""]:
    """A lower bound on the total delay of an episode with queues: all nodes pooled into one, s.

    The tasks of a slot are not done before their work is. Were every node to work on whatever has arrived, the work
    done by any time would be at most that of one node as fast as all together; and there, serving what has least work
    left first makes the sum of all completion times the least possible (Schrage 1968). Tight only where the network
    is overloaded, which is where the other bounds are not.

    **Arguments** and **Raises:** `slots` as in `episode_bound`.
    """
    check_slots(scenario, slots)
    return _pooled_bound(scenario, slots)


@jax.jit
def _pooled_bound(scenario: Scenario, slots: Slot) -> Float[Array, ""]:
    work = jnp.sum(jax.vmap(scenario.work_in)(slots), axis=1)
    slot_cycles = scenario.slot_seconds * jnp.sum(scenario.network.speed)
    number = jnp.arange(work.shape[0])

    def serve(left, until):
        """Serve `until` cycles: what is left, and the sum over tasks that are done of the cycles served until then."""
        order = jnp.argsort(left)
        served = jnp.cumsum(left[order])
        done = (served <= until) & (left[order] > 0)
        after = jnp.clip(served - until, 0, left[order])
        return left.at[order].set(after), jnp.sum(jnp.where(done, served, 0))

    def pass_slot(left, slot):
        number, work = slot
        left, cycles = serve(left.at[number].set(work), slot_cycles)
        # Delays are added up, not times of day: in each slot that tasks are not done they wait one slot more.
        return left, cycles + slot_cycles * jnp.sum((left > 0) & (jnp.arange(left.shape[0]) <= number))

    left, cycles = jax.lax.scan(pass_slot, jnp.zeros(work.shape[0]), (number, work))
    _, last_cycles = serve(left, jnp.inf)
    return (jnp.sum(cycles) + last_cycles) * scenario.slot_seconds / slot_cycles
