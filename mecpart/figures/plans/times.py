"""When what happens under a plan: each block on its way, waiting and computed, and what that adds up to."""

import math
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mecpart.model.delay import PlanCost, plan_cost
from mecpart.model.durations import return_delay, transmission_delay
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.simulation import Operation, simulate

#: The parts of the total delay, in words.
PARTS = {
    "transmission": "transmission",
    "waiting": "waiting",
    "on devices": "computing on devices",
    "on servers": "computing on servers",
}
#: So many tasks of a stream are told apart.
FIRST_TASKS = 4
#: What travels back, among the numbers of blocks.
RESULT = 0


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PlanTimes:
    """What a picture of a plan shows (a pytree; s).

    - `plan`, `cost`: [M] nodes, and their `PlanCost`.
    - `input_delay`: [M], to bring each block's input to its node.
    - `return_delay`: to bring the result back; with `input_delay` it makes the transmission of the cost.
    - `queue_delay`: [N + 1], until each node is done with earlier slots.
    """

    plan: Int[Array, " blocks"]
    cost: PlanCost
    input_delay: Float[Array, " blocks"]
    return_delay: Float[Array, ""]
    queue_delay: Float[Array, " nodes"]
    devices: Float[Array, ""]
    stream: tuple[Operation, ...] = field(default=(), metadata={"static": True})

    @property
    def total_delay(self) -> float:
        """Of the plan, s."""
        return float(self.cost.total_delay)

    @property
    def parts(self) -> dict[str, float]:
        """What the total delay is the sum of, s, by the keys of `PARTS`."""
        cost, local = self.cost, self.plan == 0
        lengths = (
            cost.transmission_delay.sum(),
            cost.waiting_delay.sum(),
            cost.computation_delay[local].sum(),
            cost.computation_delay[~local].sum(),
        )
        return dict(zip(PARTS, map(float, lengths), strict=True))


def plan_times(scenario: Scenario, slot: Slot, plan: Int[Array, " blocks"]) -> PlanTimes:
    """The times of a plan that is known to be valid, as NumPy arrays."""
    times = jax.tree.map(np.asarray, _plan_times(scenario, slot, plan))
    return replace(times, stream=simulate(scenario, slot, plan).operations) if scenario.rules.streams else times


@jax.jit
def _plan_times(scenario: Scenario, slot: Slot, plan: Int[Array, " blocks"]) -> PlanTimes:
    source = jnp.concatenate([jnp.zeros(1, plan.dtype), plan[:-1]])
    return PlanTimes(
        plan=plan,
        cost=plan_cost(scenario, slot, plan),
        input_delay=transmission_delay(scenario, slot, jnp.arange(scenario.num_blocks), source, plan),
        return_delay=return_delay(scenario, slot, plan[-1]),
        queue_delay=scenario.backlog_in(slot),
        devices=scenario.network.num_devices,
    )


@dataclass(frozen=True)
class Bar:
    """Something of block number `block` that lasts from `start` for `length`, s; infinite ones run to the edge.

    - `arriving`: whether it is on its way to `node` or waits for it; otherwise it is computed there.
    - `line`: (which, of how many) lines, one above the other, it has for itself.
    """

    kind: str
    node: int
    block: int
    start: float
    length: float
    arriving: bool
    line: tuple[int, int] = (0, 1)

    @property
    def end(self) -> float:
        return self.start + self.length


def bars_of(times: PlanTimes) -> list[Bar]:
    """What happens in a slot, in its order; what comes after something that never ends does not happen."""
    if times.stream:
        return [_bar_of_task(times, operation) for operation in times.stream]
    bars: list[Bar] = []
    now = 0.0

    def happen(kind: str, node: int, block: int, length: float) -> None:
        nonlocal now
        if length > 0 and math.isfinite(now):
            bars.append(Bar(kind, node, block, now, length, arriving=kind in ("transmission", "waiting")))
        now += length

    lengths = zip(
        times.plan.tolist(),
        times.input_delay.tolist(),
        times.cost.waiting_delay.tolist(),
        times.cost.computation_delay.tolist(),
        strict=True,
    )
    for block, (node, transmission, waiting, computation) in enumerate(lengths, start=1):
        happen("transmission", node, block, transmission)
        happen("waiting", node, block, waiting)
        happen("on servers" if node else "on devices", node, block, computation)
    happen("transmission", 0, RESULT, float(times.return_delay))
    return bars


def _bar_of_task(times: PlanTimes, operation: Operation) -> Bar:
    """What is done for one task of a stream; each device has a line of its own."""
    assert operation.tasks is not None  # only a lump has none
    task, devices = operation.tasks[0], max(int(times.devices), 1)
    node = 0 if operation.kind == "return" else int(times.plan[operation.block])
    of_device = 0 in operation.resource[1:3]
    return Bar(
        kind=f"task {task + 1}" if task < FIRST_TASKS else ("even task", "odd task")[task % 2],
        node=node,
        block=operation.block + 1,
        start=operation.start,
        length=operation.end - operation.start,
        arriving=operation.kind != "computation",
        line=(task % devices, devices) if of_device else (0, 1),
    )


def moves_of(times: PlanTimes) -> list[tuple[float, int, int]]:
    """(time, s; node where a block ended; another node, of the next block or of the result); none of a stream."""
    if times.stream:
        return []
    moves, node, now = [], 0, 0.0
    for destination, delay in zip(times.plan.tolist(), times.cost.block_delay.tolist(), strict=True):
        if destination != node and math.isfinite(now):
            moves.append((now, node, destination))
        node, now = destination, now + delay
    return moves + [(bar.start, node, 0) for bar in bars_of(times) if bar.block == RESULT]
