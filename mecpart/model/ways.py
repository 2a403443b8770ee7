"""Which nodes a block can go to: on measured devices some blocks cannot run, and some links do not exist."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from mecpart.model.durations import computing_everywhere, moving_everywhere
from mecpart.model.scenario import Scenario, Slot


def possible_ways(scenario: Scenario, slot: Slot) -> Bool[Array, "blocks nodes nodes"]:
    """Whether block m can follow on node j when the one before ran on node i, and all blocks after it somewhere.

    A block that cannot run, or a link that there is not, leaves some nodes without a way on. Where there is no plan at
    all every way to a node that exists is as good as any other.
    """
    moving, back = moving_everywhere(scenario, slot)
    steps = jnp.isfinite(moving) & jnp.isfinite(computing_everywhere(scenario, slot))[:, None]

    def before(on, step):
        way = step & on
        return jnp.any(way, axis=1), way

    at_all, ways = jax.lax.scan(before, jnp.isfinite(back), steps & scenario.network.available, reverse=True)
    return (ways | ~at_all[0]) & scenario.network.available


def allowed_nodes(scenario: Scenario) -> Bool[Array, " nodes"] | Bool[Array, "blocks nodes nodes"]:
    """What one chooses from who does not know the delays: the nodes that exist, or on measured devices `possible_ways`.

    Where only times are measured the links are taken to be there, as they are but for single blocks of a slot.
    """
    return possible_ways(scenario, Slot(jnp.float32(1))) if scenario.measured else scenario.network.available
