"""Exact optimal plans and certified bounds.

Without queues the delay of block m depends only on the nodes of blocks m - 1 and m. A plan is then a path through M
stages of N + 1 nodes, and the best plan a shortest path: found exactly by dynamic programming (Viterbi 1967) in
O(M (N + 1)^2). Slots do not couple, so this is the optimum of the paper's problem (10), which the paper calls NP-hard.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mecpart.delay import computation_delay, penalised_delay, plan_cost, queue_delay, transmission_delay
from mecpart.scenario import Scenario, Slot, check_slot
from mecpart.validation import check_choice, is_concrete

OBJECTIVES = ("delay", "reward", "deadline")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class OptimalPlan:
    """The best plan of a slot (a pytree).

    - `plan`: [M] nodes; -1 throughout where no plan is feasible.
    - `total_delay`: its total delay, s; infinite where no plan is feasible.
    - `value`: what was minimised, s: the delay, or minus the reward.
    - `feasible`: whether there is a plan at all (only the deadlines can rule all out).
    """

    plan: Int[Array, " blocks"]
    total_delay: Float[Array, ""]
    value: Float[Array, ""]
    feasible: Bool[Array, ""]


def optimal_plan(scenario: Scenario, slot: Slot, objective: str = "delay") -> OptimalPlan:
    """The best of all (N + 1)^M plans of a slot, exactly.

    **Arguments:** `objective`:

    - `"delay"`: least total delay. Exact for any backlog: first in, first out means that finishing a block earlier
      never delays the next, so the earliest completion on each node is all that has to be remembered.
    - `"reward"`: largest reward of Eq. 14 (delay plus penalty).
    - `"deadline"`: least total delay among the plans with L_m <= tau_m for every block: problem (10).

    **Returns:** an `OptimalPlan`. Ties go to the lower node.

    **Raises:** `ValueError` for an unknown objective, a slot of wrong shape or with negative or NaN values, or
    a backlog with `"reward"` or `"deadline"`, for which the recursion is exact only with empty queues. Traced values
    are assumed to keep to this.
    """
    check_choice("objective", objective, OBJECTIVES)
    check_slot(scenario, slot)
    if objective != "delay" and is_concrete(slot.backlog) and np.any(np.asarray(slot.backlog) > 0):
        raise ValueError(
            f"objective={objective!r} is exact only for an empty slot.backlog; got {np.asarray(slot.backlog)}; "
            "with a backlog only objective='delay' is allowed"
        )
    return _optimal_plan(scenario, slot, objective)


def lower_bound(scenario: Scenario, slot: Slot) -> Float[Array, ""]:
    """A certified lower bound on the total delay of any plan in this slot, s: the optimum with empty queues.

    Without backlog the bound is attained. Summed over the slots of an episode it bounds every policy, since work left
    over from earlier slots never makes a block finish sooner.
    """
    check_slot(scenario, slot)
    empty = Slot(device_rate=slot.device_rate, backlog=jnp.zeros_like(slot.backlog))
    return _optimal_plan(scenario, empty, "delay").total_delay


@partial(jax.jit, static_argnames="objective")
def _optimal_plan(scenario: Scenario, slot: Slot, objective: str) -> OptimalPlan:
    nodes = jnp.arange(scenario.num_nodes)
    source, destination = nodes[:, None], nodes[None, :]
    deadline = jnp.broadcast_to(scenario.deadline, (scenario.num_blocks,))
    queue = queue_delay(scenario, slot, nodes)

    def extend(best, inputs):
        block, deadline = inputs
        transmission = transmission_delay(scenario, slot, block, source, destination)
        computation = computation_delay(scenario, block, nodes)
        if objective == "delay":
            reached = jnp.maximum(best[:, None] + transmission, queue) + computation
        else:
            delay = transmission + computation
            if objective == "reward":
                cost = penalised_delay(scenario, delay, deadline)
            else:
                cost = jnp.where(delay <= deadline, delay, jnp.inf)
            reached = best[:, None] + cost
        return jnp.min(reached, axis=0), jnp.argmin(reached, axis=0)

    # best[j]: least cost of the blocks so far with the last of them on node j; the image starts on node 0.
    start = jnp.where(nodes == 0, 0.0, jnp.inf)
    best, came_from = jax.lax.scan(extend, start, (jnp.arange(scenario.num_blocks), deadline))
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
