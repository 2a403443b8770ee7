"""A local search for plans, where no recursion finds the best: the best few of all changes, until none is better."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mecpart.model.scenario import Scenario


def on_one_node(scenario: Scenario, beam: int) -> Int[Array, "beam blocks"]:
    """Plans with all blocks on one node, each node in turn: where a search can begin."""
    nodes = jnp.arange(beam, dtype=jnp.int32) % scenario.num_nodes
    return jnp.repeat(nodes[:, None], scenario.num_blocks, axis=1)


def local_search(
    scenario: Scenario, plans: Int[Array, "beam blocks"], delays: Callable[[Array], Float[Array, " plans"]]
) -> Int[Array, "beam blocks"]:
    """The best plans on from `plans`, as many and no two equal, with the least of them first; `delays` is minimised.

    In each round the best so far are changed in every way that moves a part of a run of blocks on one node, from its
    first block on or up to its last, to another node, or that exchanges the nodes of two blocks. The search ends when
    the best are the same as before.
    """
    beam = len(plans)

    def go_on(search):
        plans, reached, _ = search
        tried = jax.vmap(partial(_neighbours, scenario))(plans).reshape(-1, scenario.num_blocks)
        delay = delays(tried)
        order = jnp.argsort(delay)
        tried, delay = tried[order], delay[order]
        again = jnp.all(tried[1:] == tried[:-1], axis=1)  # a plan is reached by several ways
        delay = delay.at[1:].set(jnp.where(again, jnp.inf, delay[1:]))
        best = jnp.argsort(delay)[:beam]
        return tried[best], delay[best], jnp.any(delay[best] < reached)

    start = plans, jnp.full(beam, jnp.inf), jnp.bool_(True)
    return jax.lax.while_loop(lambda search: search[2], go_on, start)[0]


def _neighbours(scenario: Scenario, plan) -> Int[Array, "plans blocks"]:
    """`plan`, with a head or tail of one of its runs moved to any node, or with the nodes of two blocks exchanged."""
    block, nodes = jnp.arange(scenario.num_blocks), jnp.arange(scenario.num_nodes, dtype=jnp.int32)
    run = jnp.cumsum(plan != jnp.concatenate([plan[:1], plan[:-1]]))
    in_run, before = run[:, None] == run, block[:, None] >= block
    part = jnp.concatenate([in_run & before, in_run & before.T])
    moved = jnp.where(part[:, None], nodes[:, None], plan).reshape(-1, scenario.num_blocks)
    one, other = np.triu_indices(scenario.num_blocks, 1)
    pair = jnp.arange(len(one))
    exchanged = jnp.tile(plan, (len(one), 1)).at[pair, one].set(plan[other]).at[pair, other].set(plan[one])
    return jnp.concatenate([moved, exchanged])
