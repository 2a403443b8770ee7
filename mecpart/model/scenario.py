"""A scenario: which tasks arrive where, and by which rules their delay is counted."""

from dataclasses import dataclass, field, replace
from weakref import WeakSet

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mecpart.dnn.workload import Workload, check_workload
from mecpart.fields import check_record, integers_to_floats, lists_to_arrays, quantity, short_repr
from mecpart.model.devices import BlockTimes, Links, check_devices
from mecpart.model.network import Network, check_network
from mecpart.model.rules import RULES, Rules
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
    - `times`: measured seconds of each block on each node; None: cycles per speed.
    - `links`: measured latency and rate of each transfer; None: the rates of the slot and of the wire.
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
    times: BlockTimes | None = None
    links: Links | None = None

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
        return self._work_of(self.release_rate)

    @property
    def data(self) -> Float[Array, " blocks"]:
        """I_m of the tasks of a mean slot, bytes."""
        return self.release_rate * self.workload.input_bytes

    def tasks_in(self, slot: "Slot") -> Float[Array, ""]:
        """The tasks that arrive in `slot`."""
        return self.release_rate if slot.tasks is None else slot.tasks

    def work_in(self, slot: "Slot") -> Float[Array, " blocks"]:
        """c_m of all tasks of `slot`, cycles."""
        return self._work_of(self.tasks_in(slot))

    def _work_of(self, tasks) -> Float[Array, " blocks"]:
        """c_m of some tasks; with measured times the least cycles at the nodes' speeds that a block takes anywhere."""
        if self.times is None:
            return tasks * self.workload.macs * self.cycles_per_mac
        speed = self.network.speed.at[..., 0].set(self.network.device_frequency)
        seconds = jnp.where(self.network.available, self.times.seconds, jnp.inf)
        return tasks * jnp.min(speed * seconds, axis=-1)

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
    def measured(self) -> bool:
        """Whether there are blocks that cannot run or links that do not exist to reckon with."""
        return self.times is not None or self.links is not None

    @property
    def memory_bytes(self) -> Float[Array, " blocks"]:
        """What each block takes of a node's memory: as measured, else its parameters."""
        return self.workload.parameter_bytes if self.times is None else self.times.block_bytes

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
    check_devices(scenario.num_blocks, scenario.num_nodes, scenario.times, scenario.links, f"{name}.")
    values = scenario.release_rate, scenario.cycles_per_mac, scenario.slot_seconds, scenario.num_slots
    check_products(scenario.workload, scenario.network, *values)
    if scenario.arrivals == "poisson":
        check_mean(f"{name}.release_rate", scenario.release_rate)
    if is_concrete(scenario) and all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(scenario)):
        _SOUND.add(scenario)  # nothing in it can be changed any more


#: Scenarios that have been checked, so that a loop over slots does not check the same one again.
_SOUND: WeakSet[Scenario] = WeakSet()


def check_mean(name: str, release_rate) -> None:
    """Raise `ValueError` for a mean of which `jax.random.poisson` would return numbers that are too small."""
    if is_concrete(release_rate) and np.asarray(release_rate) > 1e9:
        raise ValueError(f"{name} must be at most 1e+09 where arrivals are 'poisson'; got {float(release_rate):g}")


def check_products(workload, network, release_rate, cycles_per_mac, slot_seconds, num_slots) -> None:
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
