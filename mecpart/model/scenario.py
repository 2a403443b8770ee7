"""A scenario: which tasks arrive where, and by which rules their delay is counted."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakSet

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mecpart.dnn.workload import Workload, check_workload
from mecpart.fields import check_record, check_values, integers_to_floats, lists_to_arrays, quantity, short_repr
from mecpart.ledger import LEDGER
from mecpart.model.network import Network, check_network
from mecpart.model.rules import AS_PRINTED, LOADED, PIPELINED, RULES, Rules
from mecpart.validation import check_choice, check_count, check_finite_product, check_type, is_concrete


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Scenario:
    """A workload on a network, the tasks of a slot, and the rules that they are served by (a pytree; SI units).

    - `release_rate`: lambda, tasks per slot; all tasks of a slot follow one plan.
    - `deadline`: tau_m, s; one value or one for each block.
    - `penalty`: beta of Eq. 14, the weight of the seconds beyond a deadline.
    - `cycles_per_mac`: CPU cycles per multiply-accumulate.
    - `slot_seconds`: length of a slot, s.
    - `energy_budget`: E^max of an episode, J.
    - `num_slots`: T, slots of an episode (static).
    - `rules`: how tasks are served and what they are charged (static).
    - `arrivals`: how many tasks arrive in a slot, one of `ARRIVALS` (static).
    """

    workload: Workload
    network: Network
    release_rate: Float[Array, ""] = field(metadata=quantity("tasks/slot"))
    deadline: Float[Array, "*blocks"] = field(metadata=quantity("s"))
    penalty: Float[Array, ""]
    cycles_per_mac: Float[Array, ""]
    slot_seconds: Float[Array, ""] = field(metadata=quantity("s", exclusive=True))
    energy_budget: Float[Array, ""] = field(metadata=quantity("J"))
    num_slots: int = field(metadata={"static": True})
    rules: Rules = field(metadata={"static": True})
    arrivals: str = field(default="constant", metadata={"static": True})

    __repr__ = short_repr

    def __post_init__(self):
        integers_to_floats(self)

    @property
    def name(self) -> str:
        """The scenario's name in tables, a key of `SCENARIOS`."""
        return self.rules.name

    @property
    def work(self) -> Float[Array, " blocks"]:
        """c_m of the tasks of a mean slot, cycles."""
        return self.release_rate * self.workload.macs * self.cycles_per_mac

    @property
    def data(self) -> Float[Array, " blocks"]:
        """I_m of the tasks of a mean slot, bytes."""
        return self.release_rate * self.workload.input_bytes

    def tasks_in(self, slot: "Slot") -> Float[Array, ""]:
        """The tasks that arrive in `slot`."""
        return self.release_rate if slot.tasks is None else slot.tasks

    def work_in(self, slot: "Slot") -> Float[Array, " blocks"]:
        """c_m of all tasks of `slot`, cycles."""
        return self.tasks_in(slot) * self.workload.macs * self.cycles_per_mac

    def data_in(self, slot: "Slot") -> Float[Array, " blocks"]:
        """I_m of all tasks of `slot`, bytes."""
        return self.tasks_in(slot) * self.workload.input_bytes

    def device_rate_in(self, slot: "Slot") -> Float[Array, "blocks servers"]:
        """R_m^n of `slot` for every block and server, bytes/s."""
        return jnp.broadcast_to(jnp.asarray(slot.device_rate), (self.num_blocks, self.network.num_servers))

    def backlog_in(self, slot: "Slot") -> Float[Array, " nodes"]:
        """free_n of `slot` at every node, s: when it is done with what earlier slots gave it."""
        return jnp.zeros(self.num_nodes) if slot.backlog is None else jnp.asarray(slot.backlog, float)

    def complete(self, slot: "Slot") -> "Slot":
        """`slot` with every rate and every queue written out."""
        return replace(slot, device_rate=self.device_rate_in(slot), backlog=self.backlog_in(slot))

    def devices_for(self, tasks) -> Float[Array, "*slots"]:
        """How many devices work on `tasks` of one slot, and send their data: min(D, tasks), as a task uses only one.

        A mean may be below 1; that takes as long as one task. A slot without any task has no work, which takes no time
        on any number of devices: on all of them, so that nothing is divided by 0.
        """
        devices = self.network.num_devices
        return jnp.where(tasks > 0, jnp.minimum(devices, tasks), devices)

    @property
    def num_blocks(self) -> int:
        """M."""
        return self.workload.num_blocks

    @property
    def num_nodes(self) -> int:
        """N + 1, padding included."""
        return self.network.num_nodes


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Slot:
    """What one time slot draws (a pytree): `Slot(device_rate)` is enough wherever a slot is taken.

    - `device_rate`: R_m^n, bytes/s between one device and each server while block m's input is sent: [M, N]; or [N],
      the same for all blocks; or one value for all links.
    - `backlog`: free_n, [N + 1], s from the beginning of the slot until each node has done all that earlier slots gave
      it; None stands for 0 everywhere.
    - `tasks`: that arrive; None stands for the scenario's release rate.

    Slots of an episode are one `Slot`, every array of which has a leading axis [T]: [T, M, N] or [T, N] or [T] rates.
    """

    device_rate: Float[Array, "blocks servers"] | Float[Array, " servers"] | Float[Array, ""] = field(
        metadata=quantity("bytes/s")
    )
    backlog: Float[Array, " nodes"] | None = field(default=None, metadata=quantity("s"))
    tasks: Float[Array, ""] | None = None

    __repr__ = short_repr

    def __post_init__(self):
        lists_to_arrays(self)
        integers_to_floats(self)


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
) -> Scenario:
    """The paper's Eqs. 3-9 with nothing added.

    Every slot starts with empty queues, a local block after an edge block pays no transmission (Eq. 9 as it reads),
    and the result returns to the device for free.

    **Arguments:** as in `Scenario`; `energy_budget=None` stands for the energy of an episode computed on the devices.
    `queues`, `return_charged`, `local_input_charged` and `streams` switch a single one of its `Rules`.

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
    )


def _scenario(
    rules: Rules,
    workload: Workload,
    network: Network,
    *,
    deadline,
    energy_budget,
    num_slots,
    arrivals="constant",
    **scalars,
) -> Scenario:
    """The scenario of some rules, from plain numbers, checked; `scalars`: all that is one number."""
    check_choice("arrivals", arrivals, ARRIVALS)
    check_workload(workload)
    check_network(network)
    budget = {} if energy_budget is None else {"energy_budget": energy_budget}
    check_values(Scenario, scalars | budget | {"deadline": deadline}, blocks=workload.num_blocks)
    num_slots = check_count("num_slots", num_slots)
    values = scalars["release_rate"], scalars["cycles_per_mac"], scalars["slot_seconds"], num_slots
    _check_products(workload, network, *values)
    if arrivals == "poisson":
        _check_mean("release_rate", scalars["release_rate"])
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
        **constants,
    )


def check_scenario(scenario: Scenario, name: str = "scenario") -> None:
    """Raise `ValueError` where `scenario` is none, or holds a value of wrong shape, type or range."""
    check_type(name, scenario, Scenario, "from mecpart.as_printed, loaded or pipelined")
    if scenario in _SOUND:
        return
    check_workload(scenario.workload, f"{name}.workload")
    check_network(scenario.network, f"{name}.network")
    check_type(f"{name}.rules", scenario.rules, Rules)
    check_choice(f"{name}.rules.name", scenario.rules.name, RULES)
    check_choice(f"{name}.arrivals", scenario.arrivals, ARRIVALS)
    check_count(f"{name}.num_slots", scenario.num_slots)
    check_record(name, scenario, Scenario, blocks=scenario.num_blocks)
    values = scenario.release_rate, scenario.cycles_per_mac, scenario.slot_seconds, scenario.num_slots
    _check_products(scenario.workload, scenario.network, *values)
    if scenario.arrivals == "poisson":
        _check_mean(f"{name}.release_rate", scenario.release_rate)
    if is_concrete(scenario) and all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(scenario)):
        _SOUND.add(scenario)  # nothing in it can be changed any more


#: Scenarios that have been checked, so that a loop over slots does not check the same one again.
_SOUND: WeakSet[Scenario] = WeakSet()


def _check_mean(name: str, release_rate) -> None:
    """Raise `ValueError` for a mean of which `jax.random.poisson` would return numbers that are too small."""
    if is_concrete(release_rate) and release_rate > 1e9:
        raise ValueError(f"{name} must be at most 1e+09 where arrivals are 'poisson'; got {float(release_rate):g}")


def _check_products(workload, network, release_rate, cycles_per_mac, slot_seconds, num_slots) -> None:
    """Raise `ValueError` where what is computed of these is too large for float32."""
    work = workload.num_blocks, release_rate, workload.macs, cycles_per_mac
    check_finite_product("release_rate * macs * cycles_per_mac", *work)
    check_finite_product("release_rate * input_bytes", release_rate, workload.input_bytes)
    check_finite_product("speed * slot_seconds", network.speed, slot_seconds)
    energy = "num_slots * energy_coefficient * device_frequency^2 * release_rate * macs * cycles_per_mac"
    frequency = network.device_frequency
    check_finite_product(energy, num_slots, network.energy_coefficient, frequency, frequency, *work)


#: How many tasks arrive in a slot: always the release rate, or a Poisson number with that mean.
ARRIVALS = ("constant", "poisson")

#: The scenarios there are, by name.
SCENARIOS: dict[str, Callable[..., Scenario]] = {
    "as_printed": as_printed,
    "loaded": loaded,
    "pipelined": pipelined,
}
