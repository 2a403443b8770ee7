"""How long a block takes on a node, and a transfer from node to node: said here for all that asks.

Operations and clock rates, bytes and rates (Eqs. 3, 5 and 6); or as measured where a scenario has times and links.
"""

from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mecpart.model.devices import Links
from mecpart.model.scenario import Scenario, Slot


def transmission_delay(scenario: Scenario, slot: Slot, block, source, destination) -> Float[Array, "*shape"]:
    """Time to move the input of `block` from node `source` to node `destination`, s; integer arrays that broadcast.

    Eq. 5: device and server by the devices' links, each task by those of one device; two servers by wire; nothing on
    the same node. Where the rules say so, a local block is charged nothing either (`Rules.local_input_charged`); but
    nothing moves over a measured link that does not exist.
    """
    taken = _seconds_between(scenario, slot, block, scenario.data_in(slot)[block], source, destination)
    if not scenario.rules.local_input_charged:
        to_device = 0 if scenario.links is None else jnp.where(jnp.isfinite(taken), 0, jnp.inf)
        taken = jnp.where(destination == 0, to_device, taken)
    return jnp.where(source == destination, 0, taken)


def return_delay(scenario: Scenario, slot: Slot, node) -> Float[Array, "*shape"]:
    """Time to bring the result from `node`, where the last block ran, to the device, s: 0 where it is free."""
    if not scenario.rules.return_charged:
        return jnp.zeros(jnp.shape(node))
    result = scenario.tasks_in(slot) * scenario.workload.output_bytes
    return jnp.where(node == 0, 0, _seconds_between(scenario, slot, -1, result, node, 0))


def move_latencies(scenario: Scenario, slot: Slot, plan: Int[Array, " blocks"]) -> Float[Array, " moves"] | None:
    """How much of moving the blocks' inputs and the result is latency, which holds up no link, [M + 1] s; or None."""
    if (links := scenario.links) is None:
        return None
    home = jnp.zeros(1, plan.dtype)
    source, destination = jnp.concatenate([home, plan]), jnp.concatenate([plan, home])
    charged = jnp.append((plan > 0) | scenario.rules.local_input_charged, scenario.rules.return_charged)
    return jnp.where((source == destination) | ~charged, 0, _latency(scenario, slot, links, source, destination))


def without_latency(scenario: Scenario) -> Scenario:
    """`scenario` with links that take bytes / rate alone, the time for which something is sent."""
    if scenario.links is None:
        return scenario
    return replace(scenario, links=replace(scenario.links, latency=jnp.zeros_like(scenario.links.latency)))


def computation_delay(scenario: Scenario, slot: Slot, block, node) -> Float[Array, "*shape"]:
    """Time to compute `block` on `node`, s (Eqs. 3 and 6), by min(D, tasks) of the devices or a whole server, as
    measured or else by its speed; integer arrays that broadcast."""
    tasks = scenario.tasks_in(slot)
    if scenario.times is not None:
        seconds = scenario.times.seconds[block, node]
        at_a_time = jnp.where(node == 0, scenario.devices_for(tasks), 1)
        return jnp.where(jnp.isfinite(seconds), finite(seconds) * tasks / at_a_time, jnp.inf)
    share = scenario.devices_for(tasks) / scenario.network.num_devices
    speed = scenario.network.speed[node] * jnp.where(node == 0, share, 1)
    return divide(scenario.work_in(slot)[block], speed)


def computing_everywhere(scenario: Scenario, slot: Slot) -> Float[Array, "blocks nodes"]:
    """`computation_delay` of each block on each node, s."""
    return computation_delay(scenario, slot, jnp.arange(scenario.num_blocks)[:, None], jnp.arange(scenario.num_nodes))


def moving_everywhere(
    scenario: Scenario, slot: Slot
) -> tuple[Float[Array, "blocks nodes nodes"], Float[Array, " nodes"]]:
    """`transmission_delay` of each block from each node to each other, and `return_delay` from each node, s."""
    blocks, nodes = jnp.arange(scenario.num_blocks), jnp.arange(scenario.num_nodes)
    moving = transmission_delay(scenario, slot, blocks[:, None, None], nodes[:, None], nodes)
    return moving, return_delay(scenario, slot, nodes)


def _seconds_between(scenario: Scenario, slot: Slot, block, amount, source, destination) -> Float[Array, "*shape"]:
    """What a transfer of `amount` bytes takes from one node to another, s: by the measured links, or else by the
    devices' links, of which min(D, tasks) are at work, or by wire."""
    radio = (source == 0) | (destination == 0)
    devices = scenario.devices_for(scenario.tasks_in(slot))
    if (links := scenario.links) is not None:
        rate = links.rate[source, destination] * jnp.where(radio, devices, 1)
        return _latency(scenario, slot, links, source, destination) + divide(amount, rate)
    link = devices * scenario.device_rate_in(slot)[block, jnp.maximum(jnp.maximum(source, destination) - 1, 0)]
    return divide(amount, jnp.where(radio, link, scenario.network.wired_rate))


def _latency(scenario: Scenario, slot: Slot, links: Links, source, destination) -> Float[Array, "*shape"]:
    """What a transfer takes by the measured links whatever its size, s: nothing where there is no task to send."""
    return jnp.where(scenario.tasks_in(slot) > 0, links.latency[source, destination], 0)


def divide(amount, rate) -> Float[Array, "*shape"]:
    """amount / rate, infinite at rate 0, with a derivative that stays finite there."""
    return jnp.where(rate > 0, amount / jnp.where(rate > 0, rate, 1), jnp.inf)


def finite(values) -> Float[Array, "*shape"]:
    """`values`, with 0 in place of what is infinite."""
    return jnp.where(jnp.isfinite(values), values, 0)
