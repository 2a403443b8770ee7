"""A scenario: which tasks arrive where, and by which rules their delay is counted."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mecpart.ledger import LEDGER
from mecpart.network import Network, check_network
from mecpart.sampling import uniform
from mecpart.validation import check_choice, check_count, check_number, check_shape
from mecpart.workload import Workload, check_workload


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Scenario:
    """A workload on a network, and the rules of one time slot (a pytree; SI units).

    - `release_rate`: lambda, tasks per slot; all tasks of a slot follow one plan.
    - `deadline`: tau_m, s; one value or one for each block.
    - `penalty`: beta of Eq. 14, the weight of the seconds beyond a deadline.
    - `cycles_per_mac`: CPU cycles per multiply-accumulate.
    - `slot_seconds`: length of a slot, s.
    - `energy_budget`: E^max of an episode, J.
    - `num_slots`: T, slots of an episode (static).
    - `name`: the rules, a key of `SCENARIOS` (static).
    - `arrivals`: how many tasks arrive in a slot, one of `ARRIVALS` (static).
    """

    workload: Workload
    network: Network
    release_rate: Float[Array, ""]
    deadline: Float[Array, "*blocks"]
    penalty: Float[Array, ""]
    cycles_per_mac: Float[Array, ""]
    slot_seconds: Float[Array, ""]
    energy_budget: Float[Array, ""]
    num_slots: int = field(metadata={"static": True})
    name: str = field(metadata={"static": True})
    arrivals: str = field(default="constant", metadata={"static": True})

    @property
    def loaded(self) -> bool:
        """Whether the rules of `loaded` hold: work left over stays, and what returns to the devices is charged."""
        return self.name == "loaded"

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
        """q_n of `slot` at every node, cycles."""
        return jnp.zeros(self.num_nodes) if slot.backlog is None else slot.backlog

    def complete(self, slot: "Slot") -> "Slot":
        """`slot` with every rate and every queue written out."""
        return replace(slot, device_rate=self.device_rate_in(slot), backlog=self.backlog_in(slot))

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
    - `backlog`: q_n, [N + 1], cycles that wait at each node when the slot begins; None stands for none anywhere.
    - `tasks`: that arrive; None stands for the scenario's release rate.

    Slots of an episode are one `Slot`, every array of which has a leading axis [T]: [T, M, N] or [T, N] or [T] rates.
    """

    device_rate: Float[Array, "blocks servers"] | Float[Array, " servers"] | Float[Array, ""]
    backlog: Float[Array, " nodes"] | None = None
    tasks: Float[Array, ""] | None = None


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
) -> Scenario:
    """The paper's Eqs. 3-9 with nothing added.

    Every slot starts with empty queues, a local block after an edge block pays no transmission (Eq. 9 as it reads),
    and the result returns to the device for free.

    **Arguments:** as in `Scenario`; `energy_budget=None` stands for the energy of an episode computed on the devices.

    **Raises:** `ValueError` for a value that is negative, NaN or infinite, in the arguments or in `workload` and
    `network`, before anything is compiled. Traced values are assumed to be finite and non-negative.
    """
    check_workload(workload)
    check_network(network)
    scalars = {
        "release_rate": release_rate,
        "penalty": penalty,
        "cycles_per_mac": cycles_per_mac,
        "slot_seconds": slot_seconds,
    }
    for constant, value in scalars.items():
        check_shape(constant, value, ())
        check_number(constant, value, exclusive=constant == "slot_seconds")
    check_number("deadline", deadline)
    check_shape("deadline", deadline, (), (workload.num_blocks,))
    num_slots = check_count("num_slots", num_slots)
    if energy_budget is None:
        cycles = release_rate * jnp.sum(workload.macs) * cycles_per_mac
        budget = num_slots * network.energy_coefficient * network.device_frequency**2 * cycles
    else:
        check_shape("energy_budget", energy_budget, ())
        check_number("energy_budget", energy_budget)
        budget = jnp.asarray(energy_budget)
    return Scenario(
        workload=workload,
        network=network,
        deadline=jnp.asarray(deadline, jnp.float32),
        energy_budget=budget.astype(jnp.float32),
        num_slots=num_slots,
        name="as_printed",
        **{constant: jnp.float32(value) for constant, value in scalars.items()},
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
) -> Scenario:
    """The same with what the paper's equations leave out: queues, and the way back to the devices.

    What differs from `as_printed`:

    - Work that a node cannot finish within a slot waits there, before the work of the next slots:
      q_n(t + 1) = max(0, q_n(t) + work given to n - F_n * slot_seconds). An episode starts with empty queues.
    - A local block after an edge block pays the transmission of its input, as Eq. 5 says.
    - The result returns to the device over the last block's link, and counts as transmission of the last block.
    - `arrivals`: "constant", or "poisson" with mean `release_rate`. A slot that draws no task at all still counts the
      wait for its nodes.

    A node that is given more than it can finish falls behind without limit: nothing is clipped.

    **Arguments** and **Raises:** as `as_printed`, and `ValueError` for unknown `arrivals`.
    """
    check_choice("arrivals", arrivals, ARRIVALS)
    without_queues = as_printed(
        workload,
        network,
        release_rate,
        deadline,
        penalty=penalty,
        cycles_per_mac=cycles_per_mac,
        slot_seconds=slot_seconds,
        energy_budget=energy_budget,
        num_slots=num_slots,
    )
    return replace(without_queues, name="loaded", arrivals=arrivals)


#: How many tasks arrive in a slot: always the release rate, or a Poisson number with that mean.
ARRIVALS = ("constant", "poisson")

#: The scenarios there are, by name.
SCENARIOS: dict[str, Callable[..., Scenario]] = {"as_printed": as_printed, "loaded": loaded}


def sample_slot(key: PRNGKeyArray, scenario: Scenario) -> Slot:
    """Draw one slot: every R_m^n uniform in the network's `device_rate_range`, no backlog; tasks if they are Poisson.

    **Returns:** a `Slot` with `device_rate` [M, N] in bytes/s and `backlog` [N + 1] in cycles.
    """
    slots = sample_slots(key, scenario, 1)
    return jax.tree.map(lambda leaf: leaf[0], slots)


def sample_slots(key: PRNGKeyArray, scenario: Scenario, count: int) -> Slot:
    """Draw `count` slots in one call, as `sample_slot` does; every array gets a leading axis [count].

    The draws for server n do not depend on how many servers there are, so padding never changes them.
    """
    count = check_count("count", count)
    blocks, servers = scenario.num_blocks, scenario.network.num_servers
    low, high = scenario.network.device_rate_range[0], scenario.network.device_rate_range[1]
    drawn = uniform(key, (servers, count, blocks))  # servers first: see above
    rate = low + (high - low) * jnp.moveaxis(drawn, 0, -1)
    tasks = None
    if scenario.arrivals == "poisson":
        tasks = jax.random.poisson(jax.random.fold_in(key, 1), scenario.release_rate, (count,)).astype(jnp.float32)
    return Slot(device_rate=rate, backlog=jnp.zeros((count, scenario.num_nodes)), tasks=tasks)


def check_slot(scenario: Scenario, slot: Slot) -> None:
    """Raise `ValueError` where `slot` does not fit `scenario` or holds a negative, NaN or infinite value."""
    servers = scenario.network.num_servers
    check_shape("slot.device_rate", slot.device_rate, (scenario.num_blocks, servers), (servers,), ())
    check_number("slot.device_rate", slot.device_rate)
    if slot.backlog is not None:
        check_shape("slot.backlog", slot.backlog, (scenario.num_nodes,))
        check_number("slot.backlog", slot.backlog)
    if slot.tasks is not None:
        check_shape("slot.tasks", slot.tasks, ())
        check_number("slot.tasks", slot.tasks)
