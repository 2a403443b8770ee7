"""Exact optimal plans, and certified bounds on what any policy can reach in an episode.

Without queues the delay of block m depends only on the nodes of blocks m - 1 and m. A plan is then a path through M
stages of N + 1 nodes, and the best plan a shortest path: found exactly by dynamic programming (Viterbi 1967) in
O(M (N + 1)^2). Slots do not couple, so this is the optimum of the paper's problem (10), which the paper calls NP-hard.

In `loaded` the queues couple the slots. The same recursion gives the plan that is best for one slot, which is myopic;
and with a price on the time of each node, a bound on all policies (`priced_bound`).
"""

from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mecpart.fields import quantity, short_repr
from mecpart.model.delay import (
    block_energy,
    computation_delay,
    occupation,
    penalised_delay,
    plan_cost,
    queue_delay,
    return_delay,
    transmission_delay,
)
from mecpart.model.scenario import Scenario, Slot, check_slot, check_slots
from mecpart.planning.label_setting import Arcs, undominated_paths
from mecpart.validation import check_choice, check_count, check_number, check_shape, is_concrete

OBJECTIVES = ("delay", "reward", "deadline", "energy")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class OptimalPlan:
    """The best plan of a slot (a pytree).

    - `plan`: [M] nodes; -1 throughout where no plan is feasible.
    - `total_delay`: its total delay, s; infinite where no plan is feasible.
    - `value`: what was minimised: the delay or minus the reward, s; or the energy, J.
    - `feasible`: whether there is a plan at all (deadlines, memory, and links that are down can rule all out).
    """

    plan: Int[Array, " blocks"]
    total_delay: Float[Array, ""] = field(metadata=quantity("s"))
    value: Float[Array, ""] = field(metadata=quantity("s"))
    feasible: Bool[Array, ""]

    __repr__ = short_repr


def optimal_plan(
    scenario: Scenario, slot: Slot, objective: str = "delay", *, memory: Float[Array, " nodes"] | None = None
) -> OptimalPlan:
    """The best of all (N + 1)^M plans of a slot, exactly.

    **Arguments:**

    - `objective`:

        - `"delay"`: least total delay. Exact for any backlog: first in, first out means that finishing a block earlier
          never delays the next, so the earliest completion on each node is all that has to be remembered.
        - `"reward"`: largest reward of Eq. 14 (delay plus penalty).
        - `"deadline"`: least total delay among the plans with L_m <= tau_m for every block: problem (10).
        - `"energy"`: least energy of the devices (Eqs. 4, 7) of all plans that come to an end, whatever the backlog.

    - `memory`: [N + 1] bytes of each node, `memory[0]` of one device: of the blocks placed on a node the
      `parameter_bytes` add up to at most that. By default there is no limit. With a limit it is a knapsack problem, and
      the time can grow as (N + 1)^M; computed on the host by label setting, not under `jit`.

    **Returns:** an `OptimalPlan`. Without `memory` ties go to the lower node.

    **Raises:** `ValueError` for an unknown objective, a slot of wrong shape or with negative or NaN values,
    a backlog with `"reward"` or `"deadline"`, for which the recursion is exact only with empty queues (traced values
    are assumed to keep to this), or a `memory` that is not [N + 1] numbers of at least 0, is given under `jit`, or
    leaves too many partial plans to compare.
    """
    check_choice("objective", objective, OBJECTIVES)
    check_slot(scenario, slot)
    queues = objective in ("reward", "deadline") and slot.backlog is not None and is_concrete(slot.backlog)
    if queues and np.any(np.asarray(slot.backlog) > 0):
        raise ValueError(
            f"objective={objective!r} is exact only for an empty slot.backlog; got {np.asarray(slot.backlog)}; "
            "with a backlog only objective='delay' and objective='energy' are allowed"
        )
    if memory is None:
        return _optimal_plan(scenario, slot, objective)
    values, plans = undominated_plans(scenario, slot, (objective,), memory)
    if not len(plans):
        nothing = jnp.full(scenario.num_blocks, -1, jnp.int32)
        return OptimalPlan(nothing, jnp.float32(jnp.inf), jnp.float32(jnp.inf), jnp.bool_(False))
    plan = jnp.asarray(plans[0], jnp.int32)
    return OptimalPlan(
        plan=plan,
        total_delay=plan_cost(scenario, slot, plan).total_delay,
        value=jnp.float32(values[0, 0]),
        feasible=jnp.bool_(True),
    )


def undominated_plans(scenario: Scenario, slot: Slot, objectives: tuple[str, ...], memory):
    """`undominated_paths` by some objectives: float64 values [K, objectives] and plans [K, M]."""
    if not is_concrete(scenario, slot, memory):
        raise ValueError(
            "scenario, slot and memory must be known values for label setting; got traced ones (under jit)"
        )
    limit = np.full(scenario.num_nodes, np.inf)
    if memory is not None:
        check_shape("memory", memory, (scenario.num_nodes,))
        given = np.asarray(memory)
        finite = np.where(given == np.inf, 0, given) if given.dtype.kind == "f" else given  # infinite: no limit
        check_number("memory", finite, shapes=((scenario.num_nodes,),))
        limit = given.astype(np.float64)
    size = np.asarray(scenario.workload.parameter_bytes, np.float64)
    arcs = [Arcs(*(np.asarray(part, np.float64) for part in _all_arcs(scenario, slot, by))) for by in objectives]
    return undominated_paths(arcs, size, limit)


def lower_bound(scenario: Scenario, slot: Slot) -> Float[Array, ""]:
    """A certified lower bound on the total delay of any plan in this slot, s: the optimum with empty queues.

    Without backlog the bound is attained. Summed over the slots of an episode it bounds every policy, since work left
    over from earlier slots never makes a block finish sooner; `episode_bound` is tighter.
    """
    check_slot(scenario, slot)
    return _optimal_plan(scenario, replace(slot, backlog=None), "delay").total_delay


def priced_plan(scenario: Scenario, slot: Slot, price: Float[Array, " nodes"]) -> Int[Array, " blocks"]:
    """A plan of small total delay plus price, where a second of the whole of node n costs `price[n]` seconds more.

    With empty queues it is the best such plan, exactly. With a backlog each node remembers only the path to it with the
    least sum of completion time and price so far, though a dearer one could end earlier: then it is a heuristic, and
    exact again where all prices are equal to zero.

    **Arguments:** `price`: [N + 1], not negative, dimensionless.

    **Raises:** `ValueError` for a slot that does not fit, or prices that are negative, NaN or not [N + 1]. Traced
    values are assumed to keep to this.
    """
    check_slot(scenario, slot)
    return _priced_plan(scenario, slot, _checked_prices(scenario, price))


@jax.jit
def _priced_plan(scenario: Scenario, slot: Slot, price) -> Int[Array, " blocks"]:
    queue = queue_delay(scenario, slot, jnp.arange(scenario.num_nodes))
    _, plan = _priced_path(scenario, slot, price, queue)
    return plan


@jax.jit
def _priced_path(scenario: Scenario, slot: Slot, price, queue) -> tuple[Float[Array, ""], Int[Array, " blocks"]]:
    """(delay plus price, plan) of the path that `priced_plan` describes, given the time that each node is busy."""
    nodes = jnp.arange(scenario.num_nodes)
    back = return_delay(scenario, slot, nodes)

    def extend(reached, block):
        finished, paid = reached
        transmission = transmission_delay(scenario, slot, block, nodes[:, None], nodes[None, :])
        computation = computation_delay(scenario, slot, block, nodes)
        finished = jnp.maximum(finished[:, None] + transmission, queue) + computation
        finished += jnp.where(block == scenario.num_blocks - 1, back, 0)
        taken = occupation(scenario, slot, block, nodes)
        paid = paid[:, None] + price * jnp.where(scenario.network.available, taken, 0)
        best = jnp.argmin(finished + paid, axis=0)
        return (finished[best, nodes], paid[best, nodes]), best

    start = jnp.where(nodes == 0, 0.0, jnp.inf), jnp.zeros(scenario.num_nodes)
    (finished, paid), came_from = jax.lax.scan(extend, start, jnp.arange(scenario.num_blocks))
    last = jnp.argmin(finished + paid)
    _, plan = jax.lax.scan(lambda node, previous: (previous[node], node), last, came_from, reverse=True)
    return (finished + paid)[last], plan.astype(jnp.int32)


def episode_bound(scenario: Scenario, slots: Slot, price: Float[Array, " nodes"] | None = None) -> Float[Array, ""]:
    """A certified lower bound on the total delay that any policy can have in an episode from empty queues, s.

    In `as_printed` the optimum itself: slots do not couple. In `loaded` the largest of three bounds: the sum of
    `lower_bound`, `priced_bound`, and `pooled_bound`. It holds for policies that know all draws in advance, and up to
    the rounding of float32 (about one part in a million).

    **Arguments:**

    - `slots`: what the slots of the episode draw, every array with a leading axis [T]; their backlog does not count.
    - `price`: of `priced_bound`; by default `bound_prices`, which take a hundred times as long as the rest.

    **Raises:** `ValueError` for slots that do not fit or hold negative or NaN values, or prices that do. Traced slots
    are assumed not to; a traced price that is negative or NaN counts as 0.
    """
    check_slots(scenario, slots)
    if price is not None:
        price = _checked_prices(scenario, price)
    alone = jnp.sum(jax.vmap(lambda slot: lower_bound(scenario, slot))(slots))
    if not scenario.rules.slots_couple:
        return alone
    priced = priced_bound(scenario, slots, bound_prices(scenario, slots) if price is None else price)
    return jnp.maximum(jnp.maximum(alone, priced), pooled_bound(scenario, slots))


def priced_bound(scenario: Scenario, slots: Slot, price: Float[Array, " nodes"]) -> Float[Array, ""]:
    """A lower bound on the total delay of an episode of `loaded`, whatever the prices: the Lagrangian of capacity.

    Let V_t(price) be the least delay plus price of slot t with empty queues, x_n the seconds of work at node n, and
    d the length of a slot. Charge the potential P(x) = sum_n price_n min(x_n, X_n) and telescope it from slot to slot:

        sum_t delay_t >= sum_t [delay_t + P(x_{t+1}) - P(x_t)] - sum_n price_n X_n

    A plan that leaves no used node above X_n raises P by at least the price of its work minus sum_n price_n d, so the
    bracket is at least V_t - d sum_n price_n. A plan that leaves a node it uses above X_n takes at least X_n + d
    seconds, for that is when the node is done, while P falls by at most d times the sum of the other nodes' prices;
    X_n = max(0, max_t V_t - (1 + price_n) d) makes that at least as much. The work of a slot with fewer tasks than
    devices takes longer on the devices than the seconds of the whole tier that it is; only these are priced. Hence

        sum_t delay_t >= sum_t V_t(price) - T d sum_n price_n - sum_n price_n X_n

    The first two terms are the Lagrangian of "no node gets more work than it can do in T slots", the third what may be
    left undone in the end, which does not grow with T.

    **Arguments** and **Raises:** `slots`, `price` [N + 1] as in `episode_bound`.
    """
    check_slots(scenario, slots)
    return _priced_bound(scenario, slots, _checked_prices(scenario, price))


@jax.jit
def _priced_bound(scenario: Scenario, slots: Slot, price) -> Float[Array, ""]:
    price = jnp.where(scenario.network.available & (price >= 0) & jnp.isfinite(price), price, 0)
    no_queue = jnp.zeros(scenario.num_nodes)
    value = jax.vmap(lambda slot: _priced_path(scenario, slot, price, no_queue)[0])(slots)
    length = scenario.slot_seconds
    left_over = jnp.maximum(jnp.max(value) - (1 + price) * length, 0)
    return jnp.sum(value - length * jnp.sum(price)) - jnp.sum(price * left_over)


def bound_prices(scenario: Scenario, slots: Slot, steps: int = 300) -> Float[Array, " nodes"]:
    """Prices under which `priced_bound` is large: its maximum over prices, which is concave but for the last term.

    Subgradient ascent from zero by `steps` steps of falling length; the best prices on the way are returned.

    **Raises:** `ValueError` for slots as in `episode_bound`, or a number of steps below 1.
    """
    check_slots(scenario, slots)
    return _bound_prices(scenario, slots, check_count("steps", steps))


@partial(jax.jit, static_argnames="steps")
def _bound_prices(scenario: Scenario, slots: Slot, steps: int) -> Float[Array, " nodes"]:
    bound_and_slope = jax.value_and_grad(lambda price: _priced_bound(scenario, slots, price))

    def step(search, length):
        price, slope, best_price, best = search
        bound, new = bound_and_slope(price)
        slope = 0.8 * slope + 0.2 * new / (scenario.num_slots * scenario.slot_seconds)
        best_price, best = jnp.where(bound > best, price, best_price), jnp.maximum(bound, best)
        price = jnp.maximum(price + length * slope / jnp.maximum(jnp.linalg.norm(slope), 1e-9), 0)
        return (price, slope, best_price, best), None

    zero = jnp.zeros(scenario.num_nodes)
    (_, _, best_price, _), _ = jax.lax.scan(step, (zero, zero, zero, -jnp.inf), jnp.geomspace(0.5, 1e-3, steps))
    return best_price


def pooled_bound(scenario: Scenario, slots: Slot) -> Float[Array, ""]:
    """A lower bound on the total delay of an episode of `loaded`: all nodes pooled into one, s.

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


def _arcs(scenario: Scenario, slot: Slot, objective: str, block):
    """What `block` adds to `objective`: from a value v on node i to max(v + before[i, j], floor[j]) + after[j] on j.

    The delay waits for the backlog of node j to be worked off; the other objectives add up.
    """
    nodes = jnp.arange(scenario.num_nodes)
    source, destination = nodes[:, None], nodes[None, :]
    transmission = transmission_delay(scenario, slot, block, source, destination)
    # The result's way back is part of the delay of the last block.
    back = jnp.where(block == scenario.num_blocks - 1, return_delay(scenario, slot, nodes), 0)
    after = computation_delay(scenario, slot, block, nodes) + back
    if objective == "delay":
        return transmission, queue_delay(scenario, slot, nodes), after
    delay = transmission + after
    deadline = jnp.broadcast_to(scenario.deadline, (scenario.num_blocks,))[block]
    if objective == "reward":
        cost = penalised_delay(scenario, delay, deadline)
    elif objective == "deadline":
        cost = jnp.where(delay <= deadline, delay, jnp.inf)
    else:
        energy = block_energy(scenario, slot, block, destination, transmission + back)
        cost = jnp.where(jnp.isfinite(delay), energy, jnp.inf)
    return cost, jnp.full(scenario.num_nodes, -jnp.inf), jnp.zeros(scenario.num_nodes)


@partial(jax.jit, static_argnames="objective")
def _all_arcs(scenario: Scenario, slot: Slot, objective: str):
    """`_arcs` of every block, as `mecpart.planning.label_setting.Arcs` holds them."""
    before, floor, after = jax.vmap(partial(_arcs, scenario, slot, objective))(jnp.arange(scenario.num_blocks))
    return before, floor[0], after


def _checked_prices(scenario: Scenario, price) -> Float[Array, " nodes"]:
    check_number("price", price, shapes=((scenario.num_nodes,),))
    return jnp.asarray(price, float)


@partial(jax.jit, static_argnames="objective")
def _optimal_plan(scenario: Scenario, slot: Slot, objective: str) -> OptimalPlan:
    nodes = jnp.arange(scenario.num_nodes)

    def extend(best, block):
        before, floor, after = _arcs(scenario, slot, objective, block)
        reached = jnp.maximum(best[:, None] + before, floor) + after
        return jnp.min(reached, axis=0), jnp.argmin(reached, axis=0)

    # best[j]: least cost of the blocks so far with the last of them on node j; the image starts on node 0.
    start = jnp.where(nodes == 0, 0.0, jnp.inf)
    best, came_from = jax.lax.scan(extend, start, jnp.arange(scenario.num_blocks))
    last = jnp.argmin(best)
    _, plan = jax.lax.scan(lambda node, previous: (previous[node], node), last, came_from, reverse=True)
    plan = plan.astype(jnp.int32)
    value = jnp.min(best)
    feasible = jnp.isfinite(value)
    total_delay = value if objective == "delay" else plan_cost(scenario, slot, plan).total_delay
    return OptimalPlan(
        plan=jnp.where(feasible, plan, -1),
        total_delay=jnp.where(feasible, total_delay, jnp.inf),
        value=value,
        feasible=feasible,
    )
