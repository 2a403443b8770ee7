"""When what happens under a plan: each block on its way, waiting and computed, and what that adds up to."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mecpart.model.delay import PlanCost, plan_cost, return_delay, transmission_delay
from mecpart.model.scenario import Scenario, Slot

#: The parts of the total delay, in words.
PARTS = {
    "transmission": "transmission",
    "waiting": "waiting",
    "on devices": "computing on devices",
    "on servers": "computing on servers",
}
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
    """The times of a plan that is known to be valid; a pure function, to be compiled by who calls it."""
    source = jnp.concatenate([jnp.zeros(1, plan.dtype), plan[:-1]])
    return PlanTimes(
        plan=plan,
        cost=plan_cost(scenario, slot, plan),
        input_delay=transmission_delay(scenario, slot, jnp.arange(scenario.num_blocks), source, plan),
        return_delay=return_delay(scenario, slot, plan[-1]),
        queue_delay=scenario.backlog_in(slot),
    )


@dataclass(frozen=True)
class Bar:
    """Something of block number `block` that lasts from `start` for `length`, s; infinite ones run to the edge."""

    kind: str
    node: int
    block: int
    start: float
    length: float

    @property
    def end(self) -> float:
        return self.start + self.length


def bars_of(times: PlanTimes) -> list[Bar]:
    """What happens in a slot, in its order; what comes after something that never ends does not happen."""
    bars: list[Bar] = []
    now = 0.0

    def happen(kind: str, node: int, block: int, length: float) -> None:
        nonlocal now
        if length > 0 and math.isfinite(now):
            bars.append(Bar(kind, node, block, now, length))
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


def moves_of(times: PlanTimes) -> list[tuple[float, int, int]]:
    """(time, s; node where a block ended; another node, of the next block or of the result)."""
    moves, node, now = [], 0, 0.0
    for destination, delay in zip(times.plan.tolist(), times.cost.block_delay.tolist(), strict=True):
        if destination != node and math.isfinite(now):
            moves.append((now, node, destination))
        node, now = destination, now + delay
    return moves + [(bar.start, node, 0) for bar in bars_of(times) if bar.block == RESULT]
