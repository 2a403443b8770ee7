"""What both adapters ask of a scenario: that it is whole, where blocks can run, and the bounds of its observations."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mecpart.experiments.setting import Setting
from mecpart.model.delay import most_energy, slowest_delay
from mecpart.model.durations import divide
from mecpart.model.environment import energy_scale, observed_queue, observed_work, rate_scale
from mecpart.model.scenario import Scenario, Slot, check_scenario
from mecpart.model.scenarios import SCENARIOS
from mecpart.model.ways import allowed_nodes
from mecpart.validation import check_choice, is_concrete, shown

# The most tasks that `jax.random.poisson` can return.
_MOST_TASKS = np.iinfo(np.int32).max


def playable(scenario: Scenario | str) -> Scenario:
    """`scenario` without the servers that only pad its network, so that every action names a node that exists.

    **Arguments:** `scenario`: a `Scenario`, or the name of one: that is then built from the ledger's defaults on the
    network of seed 0.

    **Raises:** `ValueError` for an unknown name, something else, a traced scenario, or one without any server.
    """
    if isinstance(scenario, str):
        check_choice("scenario", scenario, SCENARIOS)
        scenario = Setting().build(scenario, seed=0)
    if not isinstance(scenario, Scenario):
        names = ", ".join(map(repr, SCENARIOS))
        raise ValueError(f"scenario must be a Scenario or one of {names}; got {shown(scenario)}")
    if not is_concrete(scenario):
        raise ValueError("scenario must hold numbers, for it decides which actions there are; got traced values")
    shape = getattr(getattr(scenario.network, "speed", None), "shape", ())
    if len(shape) > 1:
        raise ValueError(f"scenario must be a single one (network.speed of shape (N + 1,)); got shape {shape}")
    check_scenario(scenario)
    speed = np.asarray(scenario.network.speed)
    if not (speed[1:] > 0).any():
        raise ValueError("scenario must have at least one server that exists (network.speed above 0); got none")
    if (speed > 0).all():
        return scenario
    there = np.flatnonzero(speed > 0).tolist()
    network = replace(scenario.network, speed=jnp.asarray(speed[there]))
    times = None if scenario.times is None else scenario.times.select(there)
    links = None if scenario.links is None else scenario.links.select(there)
    return replace(scenario, network=network, times=times, links=links)


def possible_nodes(scenario: Scenario) -> Bool[np.ndarray, "blocks nodes"]:
    """Whether some plan that comes to its end has the block on the node: all of them, but on measured devices."""
    allowed = np.asarray(allowed_nodes(scenario))
    if not scenario.measured:
        return np.tile(allowed, (scenario.num_blocks, 1))
    found, reached = [], np.arange(scenario.num_nodes) == 0
    for way in allowed:
        reached = way[reached].any(axis=0)
        found.append(reached)
    return np.stack(found)


@jax.jit
def observation_bounds(scenario: Scenario) -> tuple[Float[Array, " features"], Float[Array, " features"]]:
    """The least and the greatest value of every entry that `observe` returns within an episode, [features] each.

    They follow from the scenario: the work of a slot, the range of rates, and for the remaining energy and the queues
    the plan that would do worst in every slot of the episode. A Poisson number of tasks has no bound but that of its
    data type, so there the bounds are valid but far away: they are no measure of what is usual. Where a link may be
    down (rate 0), a transmission may take infinite energy.

    Values traced by a JAX transformation are fine.
    """
    network = scenario.network
    blocks, servers = scenario.num_blocks, network.num_servers
    tasks = _MOST_TASKS if scenario.arrivals == "poisson" else scenario.release_rate
    energy, slowest_plan = (_worst_measured if scenario.measured else _worst)(scenario, tasks)
    most_energy, works = scenario.num_slots * energy, observed_work(scenario, tasks)

    budget = energy_scale(scenario)
    rate = network.device_rate_range / rate_scale(network)
    low = [
        jnp.minimum(works, 0),
        jnp.zeros(blocks),
        jnp.full(blocks * servers, rate[0]),
        (scenario.energy_budget - most_energy)[None] / budget,
    ]
    high = [
        works,
        jnp.ones(blocks + blocks * servers),
        (scenario.energy_budget / budget)[None],
    ]
    if scenario.rules.queues:
        # A slot is done no later after all nodes are free than it can take at most while they are.
        slots = scenario.num_slots * jnp.maximum(slowest_plan / scenario.slot_seconds - 1, 0)
        low.append(jnp.zeros(network.num_nodes))
        high.append(jnp.full(network.num_nodes, observed_queue(slots)))
    least, most = jnp.concatenate(low), jnp.concatenate(high)
    rounding = (scenario.num_slots + 8) * float(jnp.finfo(jnp.float32).eps)
    return jnp.where(least == 0, 0, least - rounding * (1 + jnp.abs(least))), most + rounding * (1 + jnp.abs(most))


def _worst(scenario: Scenario, tasks) -> tuple[Array, Array]:
    """The most energy, J, and seconds that a slot of `tasks` can take under any plan, queues apart."""
    network, workload = scenario.network, scenario.workload
    work = tasks * workload.macs * scenario.cycles_per_mac
    slowest = scenario.devices_for(tasks) * network.device_rate_range[0]
    local = network.energy_coefficient * network.device_frequency**2 * work
    sent = divide(tasks * workload.input_bytes, jnp.minimum(slowest, network.wired_rate))
    returned = divide(tasks * workload.output_bytes, slowest) if scenario.rules.return_charged else 0
    sending = jnp.where(network.transmit_power > 0, network.transmit_power * (jnp.sum(sent) + returned), 0)
    speed = network.speed.at[0].set(scenario.devices_for(tasks) * network.device_frequency)
    seconds = jnp.sum(sent) + jnp.sum(work) / jnp.min(jnp.where(network.available, speed, jnp.inf))
    return jnp.sum(local) + sending, seconds


def _worst_measured(scenario: Scenario, tasks) -> tuple[Array, Array]:
    """`_worst` of plans that are possible; others take no more of what is observed."""
    slot = Slot(scenario.network.device_rate_range[0], tasks=jnp.asarray(tasks, jnp.float32))
    return most_energy(scenario, slot), slowest_delay(scenario, slot)
