"""Small problems for the tests: one with round numbers, to be worked by hand, and random ones.

All arrays are NumPy float32, so making an instance compiles nothing.
"""

import itertools
from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mecpart.dnn.workload import Workload
from mecpart.model.network import Network
from mecpart.model.rules import RULES, Rules
from mecpart.model.scenario import Scenario, Slot

# Quantity: (shape, least, most), everything of order one.
QUANTITIES = {
    "macs": ("M", 0.125, 4),
    "input_bytes": ("M", 0, 4),
    "parameter_bytes": ("M", 0, 4),
    "speed": ("N", 0.5, 8),
    "num_devices": ("", 1, 4),
    "device_frequency": ("", 0.5, 2),
    "wired_rate": ("", 0.5, 8),
    "transmit_power": ("", 0, 2),
    "energy_coefficient": ("", 0, 1),
    "release_rate": ("", 0.5, 4),
    "deadline": ("M", 0, 4),
    "penalty": ("", 0, 2),
    "cycles_per_mac": ("", 0.5, 2),
    "device_rate": ("MN", 0.125, 4),
    "backlog": ("N+1", 0, 8),
}
# What `as_printed` makes no use of; `tasks` only where they are asked for.
OF_OTHERS = {"output_bytes": ("", 0.125, 4), "slot_seconds": ("", 0.25, 4)}
TASKS = {"tasks": ("", 0.25, 8)}
MIXTURES = [Rules("as_printed", *switched) for switched in itertools.product((False, True), repeat=3)]
by_any_mixture = pytest.mark.parametrize(
    "rules", MIXTURES, ids=lambda rules: "-".join(name for name, on in vars(rules).items() if on is True) or "none"
)


def round_problem(name: str = "as_printed", **changes) -> tuple[Scenario, Slot]:
    """Three blocks, the IoT tier and two servers, in powers of two, so that hand arithmetic is exact in float32.

    work is 4 tasks * 2 cycles * (2, 4, 8) = (16, 32, 64) cycles; data is 4 tasks * (8, 4, 2) = (32, 16, 8) bytes; the
    nodes compute 2 devices * 4 Hz = 8, 16 and 32 cycles/s; from the 2 devices to the servers it is 2 and 4 bytes/s
    for block 1, 4 and 8 for block 2, 8 and 16 for block 3; 16 bytes/s between servers; a local cycle takes
    1/4 * 4^2 = 4 J, a second of transmission 3 J. A slot takes 1 s. The result, unless as
    printed, is 4 tasks * 1 = 4 bytes.
    `changes` replaces fields of the scenario.
    """
    scenario, slot = assemble(
        name=name,
        output_bytes=name != "as_printed",
        macs=[2, 4, 8],
        input_bytes=[8, 4, 2],
        parameter_bytes=[1, 2, 5],
        speed=[16, 32],
        num_devices=2,
        device_frequency=4,
        wired_rate=16,
        transmit_power=3,
        energy_coefficient=0.25,
        release_rate=4,
        deadline=100,
        penalty=0.5,
        cycles_per_mac=2,
        device_rate=[[1, 2], [2, 4], [4, 8]],
        backlog=[0, 0, 0],
    )
    return replace(scenario, **{name: np.asarray(value, np.float32) for name, value in changes.items()}), slot


def random_instances(
    seed: int,
    count: int,
    *,
    blocks: int,
    servers: int,
    backlog: bool = False,
    round_values: bool = False,
    name: str = "as_printed",
    tasks: bool = False,
) -> tuple[Scenario, Slot]:
    """`count` random instances, every array with a leading axis [count].

    One server in eight does not exist (speed 0), one link in sixteen is down (rate 0). With `round_values` everything
    is a power of two: equal nodes, ties and block delays equal to their deadline are then common, and exact. `tasks`:
    whether each slot has a number of tasks of its own.
    """
    rng = np.random.default_rng(seed)

    def draw(quantities):
        for quantity, (dimensions, low, high) in quantities.items():
            shape = (count, *shape_of(dimensions, blocks, servers))
            values[quantity] = rng.uniform(low, high, shape)
            if round_values:
                values[quantity] = 2.0 ** rng.integers(-1, 3, shape)

    values = {}
    draw(QUANTITIES)
    values["speed"] *= rng.random(values["speed"].shape) > 1 / 8
    values["device_rate"] *= rng.random(values["device_rate"].shape) > 1 / 16
    values["penalty"] *= rng.random(count) > 1 / 4
    values["backlog"] *= (rng.random(values["backlog"].shape) > 1 / 3) & backlog
    draw(({} if name == "as_printed" else OF_OTHERS) | (TASKS if tasks else {}))
    return assemble(**values, name=name)


@st.composite
def instances(
    draw, blocks: int = 4, servers: int = 3, backlog: bool = True, name: str = "as_printed", tasks: bool = False
) -> tuple[Scenario, Slot]:
    """One instance on a grid of eighths, where zeros and ties are common."""
    values = {}
    quantities = QUANTITIES | ({} if name == "as_printed" else OF_OTHERS) | (TASKS if tasks else {})
    for quantity, (dimensions, low, high) in quantities.items():
        grid = st.integers(int(low * 8), int(high * 8))
        values[quantity] = draw(hnp.arrays(np.int32, shape_of(dimensions, blocks, servers), elements=grid)) / 8
    values["backlog"] = values["backlog"] * backlog
    return assemble(**values, name=name)


def plans(blocks: int = 4, servers: int = 3):
    """Plans without any preference."""
    return hnp.arrays(np.int32, blocks, elements=st.integers(0, servers))


def instance(batch, i: int):
    """Instance `i` of a batch."""
    return jax.tree.map(lambda leaf: leaf[i], batch)


def assemble(
    *, speed, device_rate, backlog, name="as_printed", output_bytes=0.0, slot_seconds=1.0, tasks=None, **values
) -> tuple[Scenario, Slot]:
    """Scenario and slot from plain numbers; `speed` is that of the servers, and `name` that of the rules."""
    given = {name: np.asarray(value, np.float32) for name, value in values.items()}
    blocks = given["macs"].shape[-1]
    tier = given["num_devices"] * given["device_frequency"]
    workload = Workload(
        **{name: given.pop(name) for name in ("macs", "input_bytes", "parameter_bytes")},
        output_bytes=(output_bytes + 0 * tier).astype(np.float32),
        block_names=tuple(f"b{m}" for m in range(1, blocks + 1)),
        name="test",
    )
    constants = ("num_devices", "device_frequency", "wired_rate", "transmit_power", "energy_coefficient")
    network = Network(
        speed=np.concatenate([tier[..., None], np.asarray(speed, np.float32)], axis=-1),
        device_rate_range=np.stack([0.125 + 0 * tier, 4 + 0 * tier], axis=-1).astype(np.float32),
        **{name: given.pop(name) for name in constants},
    )
    scenario = Scenario(
        workload=workload,
        network=network,
        slot_seconds=(slot_seconds + 0 * tier).astype(np.float32),
        energy_budget=np.full_like(tier, 1000),
        num_slots=10,
        rules=RULES[name],
        arrivals="constant" if tasks is None else "poisson",
        **given,
    )
    tasks = None if tasks is None else np.asarray(tasks, np.float32)
    return scenario, Slot(np.asarray(device_rate, np.float32), np.asarray(backlog, np.float32), tasks)


def padded(scenario: Scenario, slot: Slot, extra: int) -> tuple[Scenario, Slot]:
    """The same instance with `extra` servers that do not exist (speed 0), though links to them do."""
    network = scenario.network
    speed = np.concatenate([network.speed, np.zeros(extra, np.float32)])
    links = np.ones((scenario.num_blocks, extra), np.float32)
    return (
        replace(scenario, network=replace(network, speed=speed)),
        replace(
            slot,
            device_rate=np.concatenate([slot.device_rate, links], axis=1),
            backlog=np.concatenate([slot.backlog, np.zeros(extra, np.float32)]),
        ),
    )


def permuted(scenario: Scenario, slot: Slot, order) -> tuple[Scenario, Slot]:
    """The same instance with its servers renumbered: server n of the result was server order[n - 1] (1..N)."""
    order = np.asarray(order)
    nodes = np.concatenate([[0], order])
    return (
        replace(scenario, network=replace(scenario.network, speed=scenario.network.speed[nodes])),
        replace(slot, device_rate=slot.device_rate[:, order - 1], backlog=slot.backlog[nodes]),
    )


def shape_of(dimensions: str, blocks: int, servers: int) -> tuple[int, ...]:
    return {"": (), "M": (blocks,), "N": (servers,), "MN": (blocks, servers), "N+1": (servers + 1,)}[dimensions]
