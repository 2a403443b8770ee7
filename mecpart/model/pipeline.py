"""Tasks that follow each other through the blocks (`Rules.streams`): what each of them needs, and how long all take.

A plan is a chain of operations on resources: on the nodes, on the radio links of each device to each server (one each
way), and on the wires between the servers (one for each two of them, whichever way they send). A resource serves one
task after the other. Alone, a task needs the `path`, the sum of all its operations. Where `load_r` of that is on
resource r, `head_r` before it and `tail_r` after it, and n_r tasks have to pass it, all tasks need at least

    total = max(path, max_r (head_r + n_r load_r + tail_r))

since r cannot begin before head_r, has n_r load_r to do, and the last task still has tail_r to go. No schedule takes
less, and first come, first served takes as much or a few per cent more (`mecpart.simulate`). With one task it is the
latency of a cut; with many it is about n_r times the bottleneck's load, which is what PipeDream (Narayanan et al.
2019) and PipeEdge (Hu et al. 2022) minimise.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mecpart.fields import short_repr
from mecpart.model.scenario import Scenario, Slot


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Chain:
    """What one task needs under a plan, operation after operation (a pytree).

    There are K = 2 M + 1 of them: the input of block 1 moves, block 1 is computed, ..., the result moves back.

    - `resource`: that does each, [K]: node n is n, and the link from i to j is (N + 1) (i + 1) + j, where a wire has
      i < j. What takes no time occupies none: staying on a node, and what the rules do not charge.
    - `seconds`: that each takes, [K].
    - `latency`: how much of that comes after the resource is free again, [K], as on measured links; None: nothing.
    - `tasks`: n_r, how many tasks its resource serves in the slot, [K]: all of them; of what every device has for
      itself, itself and its radio links, max(1, tasks / D).
    """

    resource: Int[Array, " operations"]
    seconds: Float[Array, " operations"]
    tasks: Float[Array, " operations"]
    latency: Float[Array, " operations"] | None = None

    __repr__ = short_repr


def one_task(scenario: Scenario, slot: Slot) -> Slot:
    """`slot` with one task, so that the delays of a lump are those of a task alone; without any where it has none."""
    return replace(slot, tasks=jnp.sign(scenario.tasks_in(slot)))


def chain_of(scenario: Scenario, slot: Slot, plan: Int[Array, " blocks"], moving, computing, latency=None) -> Chain:
    """The operations of one task: each block's input and the result on their way, `moving` [M + 1], of which `latency`
    [M + 1] or None holds up no link, and each block computed, `computing` [M], by turns, s."""
    home, nodes = jnp.zeros(1, plan.dtype), scenario.num_nodes
    source, destination = jnp.concatenate([home, plan]), jnp.concatenate([plan, home])
    wired = (source > 0) & (destination > 0)
    begin = jnp.where(wired, jnp.minimum(source, destination), source)
    end = jnp.where(wired, jnp.maximum(source, destination), destination)
    tasks = scenario.tasks_in(slot)
    of_device = tasks / scenario.devices_for(tasks)
    return Chain(
        resource=_by_turns(nodes * (begin + 1) + end, plan),
        seconds=_by_turns(moving, computing),
        tasks=_by_turns(jnp.where(wired, tasks, of_device), jnp.where(plan > 0, tasks, of_device)),
        latency=None if latency is None else _by_turns(latency, jnp.zeros_like(computing)),
    )


def _by_turns(moves, blocks) -> Array:
    """[M + 1] and [M] values as the [2 M + 1] of a chain."""
    return jnp.concatenate([jnp.stack([moves[:-1], blocks], axis=1).ravel(), moves[-1:]])


def waiting_in_stream(scenario: Scenario, chain: Chain) -> Float[Array, " operations"]:
    """What all tasks take longer than one alone, total - path, s: at the operations of the resource that attains the
    maximum, in proportion to their part of its load; 0 throughout where one alone never ends.

    Since head_r and tail_r are the path without the span from the beginning of the first operation of r to the end of
    its last, total - path = max(0, max_r (n_r load_r - span_r)).
    """
    ends = jnp.isfinite(chain.seconds)
    seconds = jnp.where(ends, chain.seconds, 0)
    finished = jnp.cumsum(seconds)
    began, released, held = finished - seconds, finished, seconds
    if chain.latency is not None:
        latency = jnp.where(ends, chain.latency, 0)
        released, held = finished - latency, seconds - latency
    needed = held > 0  # what takes no time, as what is free, does not occupy its resource
    # One entry for each resource there is, not a comparison of each operation with each: the time goes with M.
    each = jnp.zeros((scenario.num_nodes + 1) * scenario.num_nodes)
    load = each.at[chain.resource].add(held)[chain.resource]
    begin = (each + jnp.inf).at[chain.resource].min(jnp.where(needed, began, jnp.inf))[chain.resource]
    end = each.at[chain.resource].max(jnp.where(needed, released, 0))[chain.resource]
    longer = jnp.where(needed, chain.tasks * load - (end - begin), 0)
    bottleneck = jnp.argmax(longer)
    wait = jnp.where(jnp.all(ends), jnp.maximum(longer[bottleneck], 0), 0)
    share = held / jnp.where(needed, load, 1)
    return wait * jnp.where(chain.resource == chain.resource[bottleneck], share, 0)
