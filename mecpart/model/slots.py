"""Slots: drawn from what a scenario says of its links and arrivals, or given and then checked to fit it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from mecpart.fields import check_record
from mecpart.model.scenario import Scenario, Slot, check_scenario
from mecpart.sampling import uniform
from mecpart.validation import check_count, check_finite_product, check_key, check_type, is_concrete, shown


def sample_slot(key: PRNGKeyArray, scenario: Scenario) -> Slot:
    """Draw one slot: every R_m^n uniform in the network's `device_rate_range`, no backlog; tasks if they are Poisson.
    Where links are measured they have the measured rates.

    **Returns:** a `Slot` with `device_rate` [M, N] in bytes/s and `backlog` [N + 1] in s.
    """
    slots = sample_slots(key, scenario, 1)
    return jax.tree.map(lambda leaf: leaf[0], slots)


def sample_slots(key: PRNGKeyArray, scenario: Scenario, count: int) -> Slot:
    """Draw `count` slots in one call, as `sample_slot` does; every array gets a leading axis [count].

    The draws for server n do not depend on how many servers there are, so padding never changes them.
    """
    check_key("key", key)
    check_scenario(scenario)
    count = check_count("count", count)
    poisson = scenario.arrivals == "poisson"
    if poisson and jax.random.key_impl(key) != "threefry2x32":  # of which alone JAX draws Poisson numbers
        raise ValueError(f"key must be a 'threefry2x32' where arrivals are 'poisson'; got {shown(key)}")
    blocks, servers = scenario.num_blocks, scenario.network.num_servers
    if scenario.links is None:
        low, high = scenario.network.device_rate_range[0], scenario.network.device_rate_range[1]
        drawn = uniform(key, (servers, count, blocks))  # servers first: see above
        rate = low + (high - low) * jnp.moveaxis(drawn, 0, -1)
    else:
        rate = jnp.broadcast_to(jnp.asarray(scenario.links.rate)[0, 1:], (count, blocks, servers))
    tasks = None
    if poisson:
        tasks = jax.random.poisson(jax.random.fold_in(key, 1), scenario.release_rate, (count,)).astype(jnp.float32)
    return Slot(device_rate=rate, backlog=jnp.zeros((count, scenario.num_nodes)), tasks=tasks)


def check_slot(scenario: Scenario, slot: Slot, name: str = "slot", leading: tuple[int, ...] = ()) -> None:
    """Raise `ValueError` where `scenario` or `slot` is none or holds a bad value, or `slot` does not fit `scenario`.

    A backlog that is traced does not count where tasks stream.

    `leading`: axes that every array of `slot` has before its own.
    """
    check_scenario(scenario)
    sizes = {"blocks": scenario.num_blocks, "nodes": scenario.num_nodes, "servers": scenario.num_nodes - 1}
    check_record(name, slot, Slot, how="from mecpart.sample_slot", leading=leading, **sizes)
    # As NumPy's arrays: operations on JAX's are traced where a `jit` is under way, even if all that they take is known.
    if scenario.rules.streams and slot.backlog is not None and is_concrete(slot.backlog):
        backlog = np.asarray(slot.backlog)
        if backlog.any():
            raise ValueError(
                f"{name}.backlog must be 0 where tasks stream, as no slot waits for another; got {backlog}"
            )
    if slot.tasks is not None:
        most = np.max(np.asarray(slot.tasks)) if is_concrete(slot.tasks) else slot.tasks
        work = scenario.num_blocks, most, scenario.workload.macs, scenario.cycles_per_mac
        check_finite_product(f"{name}.tasks * macs * cycles_per_mac", *work)


def check_slots(scenario: Scenario, slots: Slot, name: str = "slots") -> int:
    """The number of slots in `slots`, every array of which has a leading axis [T]; checked as `check_slot` does."""
    check_type(name, slots, Slot, "from mecpart.sample_slots")
    shape = np.shape(slots.device_rate)
    if not shape or not shape[0]:
        raise ValueError(f"{name}.device_rate must have a leading axis of at least one slot; got shape {shape}")
    check_slot(scenario, slots, name, shape[:1])
    return shape[0]
