"""The scenarios there are: the paper's equations as printed, with queues, as a pipeline, and on measured devices."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mecpart.dnn.workload import Workload, check_workload
from mecpart.fields import check_values
from mecpart.ledger import LEDGER
from mecpart.model.delay import most_energy
from mecpart.model.devices import BlockTimes, Links, check_devices, check_links, check_times, within_memory
from mecpart.model.network import Network, check_network
from mecpart.model.rules import AS_PRINTED, LOADED, PIPELINED, RULES, Rules
from mecpart.model.scenario import ARRIVALS, Scenario, Slot, check_mean, check_products
from mecpart.validation import check_choice, check_count, check_number, is_concrete


def as_printed(
    workload: Workload,
    network: Network,
    release_rate: float = LEDGER.default("release_rate"),
    deadline: float = LEDGER.default("deadline"),
    *,
    penalty: float = LEDGER.default("penalty"),
    cycles_per_mac: float = LEDGER.default("cycles_per_mac"),
    slot_seconds: float = LEDGER.default("slot_seconds"),
    energy_budget: float | None = LEDGER.default("energy_budget"),
    num_slots: int = LEDGER.default("num_slots"),
    queues: bool = AS_PRINTED.queues,
    return_charged: bool = AS_PRINTED.return_charged,
    local_input_charged: bool = AS_PRINTED.local_input_charged,
    streams: bool = AS_PRINTED.streams,
    times: BlockTimes | None = None,
    links: Links | None = None,
) -> Scenario:
    """The paper's Eqs. 3-9 with nothing added.

    Every slot starts with empty queues, a local block after an edge block pays no transmission (Eq. 9 as it reads),
    and the result returns to the device for free.

    **Arguments:** as in `Scenario`; `energy_budget=None` stands for the energy of an episode computed on the devices.
    `queues`, `return_charged`, `local_input_charged` and `streams` switch a single one of its `Rules`. `times` and
    `links`: measured, of the workload's blocks and the network's nodes (`measured` needs no network).

    **Raises:** `ValueError` for a value that is negative, NaN or infinite, in the arguments or in `workload` and
    `network`, or rules that `Rules` refuses, before anything is compiled. Traced values are assumed to be
    finite and non-negative.
    """
    return _scenario(
        Rules(AS_PRINTED.name, queues, return_charged, local_input_charged, streams),
        workload,
        network,
        release_rate=release_rate,
        deadline=deadline,
        penalty=penalty,
        cycles_per_mac=cycles_per_mac,
        slot_seconds=slot_seconds,
        energy_budget=energy_budget,
        num_slots=num_slots,
        times=times,
        links=links,
    )


def loaded(
    workload: Workload,
    network: Network,
    release_rate: float = LEDGER.default("release_rate"),
    deadline: float = LEDGER.default("deadline"),
    *,
    arrivals: str = LEDGER.default("arrivals"),
    penalty: float = LEDGER.default("penalty"),
    cycles_per_mac: float = LEDGER.default("cycles_per_mac"),
    slot_seconds: float = LEDGER.default("slot_seconds"),
    energy_budget: float | None = LEDGER.default("energy_budget"),
    num_slots: int = LEDGER.default("num_slots"),
    queues: bool = LOADED.queues,
    return_charged: bool = LOADED.return_charged,
    local_input_charged: bool = LOADED.local_input_charged,
    streams: bool = LOADED.streams,
    times: BlockTimes | None = None,
    links: Links | None = None,
) -> Scenario:
    """The same with what the paper's equations leave out: queues, and the way back to the devices.

    What differs from `as_printed`:

    - Nodes serve slots first in, first out: a node is free only when all that was given to it in earlier slots is done,
      and works on nothing that has not arrived. An episode starts with all nodes free.
    - A local block after an edge block pays the transmission of its input, as Eq. 5 says.
    - The result returns to the device over the last block's link, and counts as transmission of the last block.
    - `arrivals`: "constant", or "poisson" with mean `release_rate`. A slot that draws no task at all still counts the
      wait for its nodes.

    A node that is given more than it can finish falls behind without limit: nothing is clipped.

    **Arguments** and **Raises:** as `as_printed`, and `ValueError` for unknown `arrivals`.
    """
    return _scenario(
        Rules(LOADED.name, queues, return_charged, local_input_charged, streams),
        workload,
        network,
        release_rate=release_rate,
        deadline=deadline,
        arrivals=arrivals,
        penalty=penalty,
        cycles_per_mac=cycles_per_mac,
        slot_seconds=slot_seconds,
        energy_budget=energy_budget,
        num_slots=num_slots,
        times=times,
        links=links,
    )


def pipelined(
    workload: Workload,
    network: Network,
    release_rate: float = LEDGER.default("release_rate"),
    deadline: float = LEDGER.default("deadline"),
    *,
    arrivals: str = LEDGER.default("arrivals"),
    penalty: float = LEDGER.default("penalty"),
    cycles_per_mac: float = LEDGER.default("cycles_per_mac"),
    slot_seconds: float = LEDGER.default("slot_seconds"),
    energy_budget: float | None = LEDGER.default("energy_budget"),
    num_slots: int = LEDGER.default("num_slots"),
    queues: bool = PIPELINED.queues,
    return_charged: bool = PIPELINED.return_charged,
    local_input_charged: bool = PIPELINED.local_input_charged,
    streams: bool = PIPELINED.streams,
    times: BlockTimes | None = None,
    links: Links | None = None,
) -> Scenario:
    """Tasks follow each other through the blocks: block m works on one task while block m + 1 works on the one before.

    What differs from `as_printed`:

    - Nodes and links are resources that serve one task after the other, and work at the same time on different tasks.
      Only then do many nodes together do more than one alone, and is cutting finely worth something.
    - A local block after an edge block pays the transmission of its input, as Eq. 5 says.
    - The result returns to the device over the last block's link, and counts as transmission of the last block.
    - `arrivals`: "constant", or "poisson" with mean `release_rate`. A slot that draws no task at all takes no time.

    How long the tasks of a slot take is said in `mecpart.evaluate_plan`. No slot waits for another.

    **Arguments** and **Raises:** as `as_printed`, and `ValueError` for unknown `arrivals`.
    """
    return _scenario(
        Rules(PIPELINED.name, queues, return_charged, local_input_charged, streams),
        workload,
        network,
        release_rate=release_rate,
        deadline=deadline,
        arrivals=arrivals,
        penalty=penalty,
        cycles_per_mac=cycles_per_mac,
        slot_seconds=slot_seconds,
        energy_budget=energy_budget,
        num_slots=num_slots,
        times=times,
        links=links,
    )


def measured(
    times: BlockTimes,
    links: Links,
    rules: str | Rules = AS_PRINTED,
    release_rate: float = 1.0,
    deadline: float = LEDGER.default("deadline"),
    *,
    memory: Float[Array, " nodes"] | None = None,
    transmit_power: float = 0.0,
    arrivals: str = LEDGER.default("arrivals"),
    penalty: float = LEDGER.default("penalty"),
    slot_seconds: float = LEDGER.default("slot_seconds"),
    energy_budget: float | None = None,
    num_slots: int = LEDGER.default("num_slots"),
) -> Scenario:
    """Measured devices: seconds of each block on each node, and latency and rate of each transfer, as a scenario.

    A task's block m takes `times.seconds[m, n]` on node n, and a transfer from node i to j latency + bytes / rate of
    `links`; tasks, queues and streams are as the rules say. Each node is one device, node 0 too, where the input is and
    where the result returns to. A plan with a block that cannot run, or over a link that there is not, takes for ever;
    its reward counts each such block as more than the slowest plan that is possible takes (`mecpart.evaluate_plan`).

    Energy is `times.watts` of each node while it computes, where known, and `transmit_power` for each second that data
    are on the way; 0 where neither is given.

    **Arguments:** as in `Scenario`, and:

    - `rules`: "as_printed", "loaded" or "pipelined", or `Rules` with single ones switched.
    - `memory`: [N + 1] bytes of each node: a block that takes more by itself cannot run there. That the blocks of a
      plan fit together is respected where a memory is given, by `optimal_plan`, `pareto_front` and `optimal_pipeline`.
    - `transmit_power`: W.
    - `energy_budget`: J; None: of an episode all of whose blocks run where they take most, sent over the slowest links.

    The scenario's network is made to fit: a node's speed is such that all blocks that it can run take it as long as
    measured, by the ledger's cycles per multiply-accumulate, or where these are not known by the times of the node that
    is fastest at each block, taken for 1 GHz.

    **Raises:** `ValueError` for times and links of different nodes, a value of wrong shape or range, unknown rules, or
    a block that fits nowhere.
    """
    if not isinstance(rules, Rules):
        check_choice("rules", rules, RULES)
        rules = RULES[rules]
    check_number("transmit_power", transmit_power, shapes=((),))
    check_times(times)
    check_links(links)
    check_devices(times.num_blocks, times.num_nodes, times, links)
    if memory is not None:
        times = within_memory(times, memory)
    times, links = jax.tree.map(_single, (times, links))
    scenario = _scenario(
        rules,
        times.workload,
        _network_of(times, links, transmit_power),
        release_rate=release_rate,
        deadline=deadline,
        arrivals=arrivals,
        penalty=penalty,
        cycles_per_mac=LEDGER.default("cycles_per_mac"),
        slot_seconds=slot_seconds,
        energy_budget=0.0 if energy_budget is None else energy_budget,
        num_slots=num_slots,
        times=times,
        links=links,
    )
    if energy_budget is not None:
        return scenario
    return replace(scenario, energy_budget=num_slots * most_energy(scenario, Slot(jnp.float32(0))))


def _network_of(times: BlockTimes, links: Links, transmit_power) -> Network:
    """The `Network` that says of measured nodes and links what it can."""
    given = times.seconds, times.workload.macs, links.rate
    xp: Any = np if is_concrete(given) else jnp  # nothing is compiled before all is checked
    measured, macs, rate = (xp.asarray(values) for values in given)
    possible = xp.isfinite(measured)
    cycles = macs * LEDGER.default("cycles_per_mac")
    cycles = xp.where(xp.any(cycles > 0), cycles, 1e9 * xp.min(measured, axis=1))
    done = xp.sum(xp.where(possible, cycles[:, None], 0), axis=0)
    busy = xp.sum(xp.where(possible, measured, 0), axis=0)
    speed = xp.where(busy > 0, done / xp.where(busy > 0, busy, 1), 0)
    # No speed follows of no time at all, nor of a device that can run no block: such are as fast as the fastest.
    unknown = (xp.any(possible, axis=0) | (xp.arange(times.num_nodes) == 0)) & (speed <= 0)
    speed = _single(xp.where(unknown, xp.maximum(xp.max(speed), 1), speed))
    rate = xp.where(np.eye(times.num_nodes, dtype=bool), 0, rate)
    wired = xp.max(rate[1:, 1:])
    return Network(
        speed=speed,
        num_devices=_single(1),
        device_frequency=_single(np.asarray(speed)[0]) if xp is np else speed[0],
        device_rate_range=_single(xp.stack([xp.min(rate[0, 1:]), xp.max(rate[0, 1:])])),
        wired_rate=_single(xp.where(wired > 0, wired, LEDGER.default("wired_rate"))),
        transmit_power=_single(transmit_power),
        energy_coefficient=_single(0),
    )


def _single(values) -> Array:
    """`values` as float32, without compiling anything where they are known."""
    return jax.device_put(np.asarray(values, np.float32)) if is_concrete(values) else jnp.asarray(values, jnp.float32)


def _scenario(
    rules: Rules,
    workload: Workload,
    network: Network,
    *,
    deadline,
    energy_budget,
    num_slots,
    arrivals="constant",
    times=None,
    links=None,
    **scalars,
) -> Scenario:
    """The scenario of some rules, from plain numbers, checked; `scalars`: all that is one number."""
    check_choice("arrivals", arrivals, ARRIVALS)
    check_workload(workload)
    check_network(network)
    budget = {} if energy_budget is None else {"energy_budget": energy_budget}
    check_values(Scenario, scalars | budget | {"deadline": deadline}, blocks=workload.num_blocks)
    num_slots = check_count("num_slots", num_slots)
    check_devices(workload.num_blocks, network.num_nodes, times, links)
    values = scalars["release_rate"], scalars["cycles_per_mac"], scalars["slot_seconds"], num_slots
    check_products(workload, network, *values)
    if arrivals == "poisson":
        check_mean("release_rate", scalars["release_rate"])
    constants = {name: jnp.float32(value) for name, value in scalars.items()}
    joules: Any = energy_budget
    if joules is None:
        cycles = constants["release_rate"] * jnp.sum(workload.macs) * constants["cycles_per_mac"]
        joules = num_slots * network.energy_coefficient * network.device_frequency**2 * cycles
    return Scenario(
        workload=workload,
        network=network,
        deadline=jnp.asarray(deadline, jnp.float32),
        energy_budget=jnp.asarray(joules, jnp.float32),
        num_slots=num_slots,
        rules=rules,
        arrivals=arrivals,
        times=times,
        links=links,
        **constants,
    )


#: The scenarios there are, by name.
SCENARIOS: dict[str, Callable[..., Scenario]] = {
    "as_printed": as_printed,
    "loaded": loaded,
    "pipelined": pipelined,
}
