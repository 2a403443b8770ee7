"""Delay against energy: the plans of a slot that no other plan beats in both."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mecpart.fields import quantity, short_repr
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.slots import check_slot
from mecpart.planning.optimum import undominated_plans

#: Delays and energies that differ by less, as a share, are equal as far as float32 can tell.
ROUNDING = 1e-6


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ParetoFront:
    """The plans of a slot that no other plan beats in both delay and energy, by rising delay (a pytree).

    - `plan`: [K, M] nodes. - `total_delay`: [K] s, rising. - `energy`: [K] J, falling.
    """

    plan: Int[Array, "plans blocks"]
    total_delay: Float[Array, " plans"] = field(metadata=quantity("s"))
    energy: Float[Array, " plans"] = field(metadata=quantity("J"))

    __repr__ = short_repr


def pareto_front(scenario: Scenario, slot: Slot, *, memory: Float[Array, " nodes"] | None = None) -> ParetoFront:
    """Every trade-off between the total delay and the energy of a slot, exactly, with a plan for each.

    By label setting (Martins 1984): delay and energy of a path can only grow, and ending a block earlier never hurts
    what follows, whatever the backlog; so a path to a node that another one beats in both is never needed. The least
    delay is that of `optimal_plan`, the least energy that of its `objective="energy"`. Plans whose delay or energy
    differ by less than one part in a million, the rounding of float32, count as equal. Computed on the host, not under
    `jit`.

    **Arguments:** `memory` as in `optimal_plan`.

    **Returns:** a `ParetoFront`; empty where no plan comes to an end within the memory.

    **Raises:** `ValueError` for a bad slot, rules or `memory` as `optimal_plan`, or for traced values.
    """
    check_slot(scenario, slot)
    if scenario.rules.streams:
        raise ValueError("scenario.rules.streams must be False, since delays of streams do not add up; got True")
    values, plans = undominated_plans(scenario, slot, ("delay", "energy"), memory)
    kept: list[int] = []
    for at, (delay, energy) in enumerate(values):  # by rising delay
        if kept and energy >= values[kept[-1], 1] * (1 - ROUNDING):
            continue
        if kept and delay <= values[kept[-1], 0] * (1 + ROUNDING):
            kept.pop()
        kept.append(at)
    front = values[kept].astype(np.float32)
    return ParetoFront(jnp.asarray(plans[kept], jnp.int32), jnp.asarray(front[:, 0]), jnp.asarray(front[:, 1]))
