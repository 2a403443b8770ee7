"""The best plan of a slot, exactly: of least delay, largest reward, least energy, or least delay plus price.

Without queues the delay of block m depends only on the nodes of blocks m - 1 and m. A plan is then a path through M
stages of N + 1 nodes, and the best plan a shortest path: found exactly by dynamic programming (Viterbi 1967) in
O(M (N + 1)^2). Slots do not couple, so this is the optimum of the paper's problem (10), which the paper calls NP-hard.

Queues couple the slots. The same recursion then gives the plan that is best for one slot, which is myopic. Where tasks
stream the best plan is no shortest path: see `mecpart.planning.pipelines`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mecpart.fields import quantity, short_repr
from mecpart.model.delay import block_energy, penalised_delay, plan_cost
from mecpart.model.durations import computation_delay, finite, return_delay, transmission_delay, without_latency
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.slots import check_slot
from mecpart.planning.label_setting import Arcs, undominated_paths
from mecpart.planning.pipelines import MOST_PLANS, all_in_order, best_in_stream
from mecpart.validation import check_choice, check_number, check_shape, is_concrete

OBJECTIVES = ("delay", "reward", "deadline", "energy")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class OptimalPlan:
    """The best plan of a slot (a pytree).

    - `plan`: [M] nodes; -1 throughout where no plan is feasible.
    - `total_delay`: its total delay, s; infinite where no plan is feasible.
    - `value`: what was minimised: the delay or minus the reward, s; or the energy, J.
    - `bound`: what no plan has a smaller value than: `value` itself, unless there are too many plans to be sure.
    - `feasible`: whether there is a plan at all (deadlines, memory, and links that are down can rule all out).
    """

    plan: Int[Array, " blocks"]
    total_delay: Float[Array, ""] = field(metadata=quantity("s"))
    value: Float[Array, ""] = field(metadata=quantity("s"))
    bound: Float[Array, ""] = field(metadata=quantity("s"))
    feasible: Bool[Array, ""]

    __repr__ = short_repr


def optimal_plan(
    scenario: Scenario, slot: Slot, objective: str = "delay", *, memory: Float[Array, " nodes"] | None = None
) -> OptimalPlan:
    """The best of all (N + 1)^M plans of a slot, exactly.

    Where tasks stream and there are more than `MOST_PLANS` plans, 2 million, it is the best plan of a beam search for
    the least delay, with a certified `bound`: no plan is more than value / bound - 1 better.

    **Arguments:**

    - `objective`:

        - `"delay"`: least total delay. Exact for any backlog: first in, first out means that finishing a block earlier
          never delays the next, so the earliest completion on each node is all that has to be remembered.
        - `"reward"`: largest reward of Eq. 14 (delay plus penalty).
        - `"deadline"`: least total delay among the plans with L_m <= tau_m for every block: problem (10).
        - `"energy"`: least energy of the devices (Eqs. 4, 7) of all plans that come to an end, whatever the backlog.

    - `memory`: [N + 1] bytes of each node, `memory[0]` of one device: of the blocks placed on a node the
      `parameter_bytes` (or measured `memory_bytes`) add up to at most that. By default there is no limit. With a limit
      it is a knapsack problem, and the time can grow as (N + 1)^M; computed on the host by label setting, not under
      `jit`.

    **Returns:** an `OptimalPlan`. Without `memory` ties go to the lower node, unless tasks stream.

    **Raises:** `ValueError` for an unknown objective, a slot of wrong shape or with negative or NaN values,
    a backlog with `"reward"` or `"deadline"`, for which the recursion is exact only with empty queues (traced values
    are assumed to keep to this), or a `memory` that is not [N + 1] numbers of at least 0, is given under `jit`, or
    leaves too many partial plans to compare; for `"reward"`, `"deadline"` or a `memory` where more than `MOST_PLANS`
    plans stream.
    """
    check_choice("objective", objective, OBJECTIVES)
    check_slot(scenario, slot)
    queues = objective in ("reward", "deadline") and slot.backlog is not None and is_concrete(slot.backlog)
    if queues and np.any(np.asarray(slot.backlog) > 0):
        raise ValueError(
            f"objective={objective!r} is exact only for an empty slot.backlog; got {np.asarray(slot.backlog)}; "
            "with a backlog only objective='delay' and objective='energy' are allowed"
        )
    if scenario.rules.streams and objective != "energy":  # which adds up all the same
        limit = None if memory is None else _checked_memory(scenario, slot, memory)
        if not (all_in_order(scenario) or (objective == "delay" and memory is None)):
            raise ValueError(
                f"objective must be 'delay', without memory, where more than {MOST_PLANS} plans stream; got "
                f"{objective!r} with {scenario.num_nodes}^{scenario.num_blocks} plans"
            )
        return _optimal_stream(scenario, slot, objective, limit)
    if memory is None:
        return _optimal_plan(scenario, slot, objective)
    values, plans = undominated_plans(scenario, slot, (objective,), memory)
    if not len(plans):
        return _found(jnp.zeros(scenario.num_blocks, jnp.int32), jnp.float32(jnp.inf), jnp.inf)
    plan = jnp.asarray(plans[0], jnp.int32)
    return _found(plan, jnp.float32(values[0, 0]), plan_cost(scenario, slot, plan).total_delay)


def optimum_is_known(scenario: Scenario) -> bool:
    """Whether `optimal_plan` is for certain the least total delay of whole episodes; the shapes of `scenario` tell."""
    return not scenario.rules.slots_couple and (not scenario.rules.streams or all_in_order(scenario))


@partial(jax.jit, static_argnames="objective")
def _optimal_stream(scenario: Scenario, slot: Slot, objective: str, memory) -> OptimalPlan:
    plan, value, others = best_in_stream(scenario, slot, objective, memory)
    total_delay = plan_cost(scenario, slot, plan).total_delay
    found = _found(plan, total_delay if objective == "delay" else value, total_delay)
    return replace(found, bound=jnp.minimum(found.value, others))


def _found(plan: Int[Array, " blocks"], value, total_delay) -> OptimalPlan:
    """The best plan; of an infinite value there is none."""
    feasible = jnp.isfinite(value)
    return OptimalPlan(
        plan=jnp.where(feasible, plan, -1),
        total_delay=jnp.where(feasible, total_delay, jnp.inf),
        value=value,
        bound=value,
        feasible=feasible,
    )


@partial(jax.jit, static_argnames="objective")
def _optimal_plan(scenario: Scenario, slot: Slot, objective: str) -> OptimalPlan:
    value, plan = shortest_path(scenario, partial(block_arcs, scenario, slot, objective))
    return _found(plan, value, value if objective == "delay" else plan_cost(scenario, slot, plan).total_delay)


def shortest_path(scenario: Scenario, arcs: Callable) -> tuple[Float[Array, ""], Int[Array, " blocks"]]:
    """The least value of a path through blocks and nodes, and its plan; `arcs` of a block are as in `block_arcs`."""

    def extend(best, block):
        before, floor, after = arcs(block)
        reached = jnp.maximum(best[:, None] + before, floor) + after
        return jnp.min(reached, axis=0), jnp.argmin(reached, axis=0)

    # best[j]: least cost of the blocks so far with the last of them on node j; the image starts on node 0.
    start = jnp.where(jnp.arange(scenario.num_nodes) == 0, 0.0, jnp.inf)
    best, came_from = jax.lax.scan(extend, start, jnp.arange(scenario.num_blocks))
    return jnp.min(best), _plan_to(jnp.argmin(best), came_from)


def block_arcs(scenario: Scenario, slot: Slot, objective: str, block):
    """What `block` adds to `objective`: from a value v on node i to max(v + before[i, j], floor[j]) + after[j] on j.

    The delay waits for node j to be free; the other objectives add up.
    """
    nodes = jnp.arange(scenario.num_nodes)
    source, destination = nodes[:, None], nodes[None, :]
    transmission = transmission_delay(scenario, slot, block, source, destination)
    # The result's way back is part of the delay of the last block.
    back = jnp.where(block == scenario.num_blocks - 1, return_delay(scenario, slot, nodes), 0)
    after = computation_delay(scenario, slot, block, nodes) + back
    if objective == "delay":
        return transmission, scenario.backlog_in(slot), after
    delay = transmission + after
    deadline = jnp.broadcast_to(scenario.deadline, (scenario.num_blocks,))[block]
    if objective == "reward":
        cost = penalised_delay(scenario, delay, deadline)
    elif objective == "deadline":
        cost = jnp.where(delay <= deadline, delay, jnp.inf)
    else:
        if scenario.links is not None:
            sent = without_latency(scenario)
            transmission = transmission_delay(sent, slot, block, source, destination)
            back = jnp.where(block == scenario.num_blocks - 1, return_delay(sent, slot, nodes), 0)
        energy = block_energy(scenario, slot, block, destination, transmission + back)
        cost = jnp.where(jnp.isfinite(delay), energy, jnp.inf)
    return cost, jnp.full(scenario.num_nodes, -jnp.inf), jnp.zeros(scenario.num_nodes)


def _plan_to(last, came_from) -> Int[Array, " blocks"]:
    """The plan that ends on node `last`, where `came_from` [M, N + 1] names the best node before each."""
    _, plan = jax.lax.scan(lambda node, previous: (previous[node], node), last, came_from, reverse=True)
    return plan.astype(jnp.int32)


def undominated_plans(scenario: Scenario, slot: Slot, objectives: tuple[str, ...], memory):
    """`undominated_paths` by some objectives: float64 values [K, objectives] and plans [K, M]."""
    limit = _checked_memory(scenario, slot, memory)
    size = np.asarray(scenario.memory_bytes, np.float64)
    with jax.ensure_compile_time_eval():  # also where a `jit` is under way
        arcs = [Arcs(*(np.asarray(part, np.float64) for part in _all_arcs(scenario, slot, by))) for by in objectives]
    return undominated_paths(arcs, size, limit)


def _checked_memory(scenario: Scenario, slot: Slot, memory) -> Float[np.ndarray, " nodes"]:
    """`memory` as an array, infinite where there is no limit; checked as `optimal_plan` says."""
    if not is_concrete(scenario, slot, memory):
        raise ValueError("scenario, slot and memory must be known values where memory is limited; got traced ones")
    if memory is None:
        return np.full(scenario.num_nodes, np.inf)
    check_shape("memory", memory, (scenario.num_nodes,))
    check_number("memory", memory, infinite=True)
    return np.asarray(memory, np.float64)


@partial(jax.jit, static_argnames="objective")
def _all_arcs(scenario: Scenario, slot: Slot, objective: str):
    """`block_arcs` of every block, as `mecpart.planning.label_setting.Arcs` holds them."""
    before, floor, after = jax.vmap(partial(block_arcs, scenario, slot, objective))(jnp.arange(scenario.num_blocks))
    return before, floor[0], after


def priced_plan(scenario: Scenario, slot: Slot, price: Float[Array, " nodes"]) -> Int[Array, " blocks"]:
    """A plan of small total delay plus price, where a second of computing on node n costs `price[n]` seconds more.

    With empty queues it is the best such plan, exactly. With a backlog each node remembers only the path to it with the
    least sum of completion time and price so far, though a dearer one could end earlier: then it is a heuristic, and
    exact again where all prices are equal to zero. Where tasks stream it is the best such plan of the slot's tasks as
    one lump, a heuristic too: what many tasks need of the bottleneck is for the prices to say.

    **Arguments:** `price`: [N + 1], not negative, dimensionless.

    **Raises:** `ValueError` for a slot that does not fit, or prices that are negative, NaN or not [N + 1]. Traced
    values are assumed to keep to this.
    """
    check_slot(scenario, slot)
    return priced_path(scenario, slot, checked_prices(scenario, price))[1]


@jax.jit
def priced_path(scenario: Scenario, slot: Slot, price) -> tuple[Float[Array, ""], Int[Array, " blocks"]]:
    """The least delay plus price that `priced_plan` finds, s, and the plan."""
    nodes = jnp.arange(scenario.num_nodes)
    free, back = scenario.backlog_in(slot), return_delay(scenario, slot, nodes)

    def extend(reached, block):
        finished, paid = reached
        transmission = transmission_delay(scenario, slot, block, nodes[:, None], nodes[None, :])
        computation = computation_delay(scenario, slot, block, nodes)
        finished = jnp.maximum(finished[:, None] + transmission, free) + computation
        finished += jnp.where(block == scenario.num_blocks - 1, back, 0)
        paid = paid[:, None] + price * finite(computation)
        best = jnp.argmin(finished + paid, axis=0)
        return (finished[best, nodes], paid[best, nodes]), best

    start = jnp.where(nodes == 0, 0.0, jnp.inf), jnp.zeros(scenario.num_nodes)
    (finished, paid), came_from = jax.lax.scan(extend, start, jnp.arange(scenario.num_blocks))
    last = jnp.argmin(finished + paid)
    return (finished + paid)[last], _plan_to(last, came_from)


def checked_prices(scenario: Scenario, price) -> Float[Array, " nodes"]:
    """`price` as an array, checked as `priced_plan` says."""
    check_number("price", price, shapes=((scenario.num_nodes,),))
    return jnp.asarray(price, float)
