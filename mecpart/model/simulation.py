"""The schedule of plans, event by event: who works on what, from when to when.

It shares with `mecpart.model.delay` how long each operation takes, and nothing of how waiting follows from that; so the
one checks the other.
"""

import heapq
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from mecpart.model.delay import checked_plan, computation_delay, return_delay, transmission_delay
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.slots import check_slot, check_slots
from mecpart.validation import check_shape, is_concrete, shown

#: What works: ("node", n), or what carries from node i to node j: ("link", i, j).
Resource = tuple[str | int, ...]


@dataclass(frozen=True)
class Operation:
    """What one resource does for one block, from `start` to `end` (s; infinite where it never ends).

    - `slot`: whose tasks it is for, from 0. - `tasks`: the range of those tasks that it is for; None: all, as one lump.
    - `block`: from 0. - `kind`: "computation", "transmission" (of the block's input) or "return" (of the result).
    - `resource`: ("node", n), or ("link", i, j) from node i to node j.
    """

    slot: int
    tasks: range | None
    block: int
    kind: str
    resource: Resource
    start: float
    end: float


@dataclass(frozen=True, repr=False)
class Schedule:
    """What happens under the plans of one or more slots; times in s from the beginning of the first.

    - `operations`: all that takes time and begins at all, by its start.
    - `begins`, `ends`: of each slot, when its tasks arrive and when the last of them is done.
    """

    operations: tuple[Operation, ...]
    begins: tuple[float, ...]
    ends: tuple[float, ...]

    def __repr__(self) -> str:
        counts = f"{len(self.operations)} operations, {len(self.ends)} slots"
        return f"Schedule({counts}, end={self.end:g} s, total_delay={self.total_delay:g} s)"

    @property
    def end(self) -> float:
        """When all is done."""
        return max(self.ends)

    @property
    def total_delay(self) -> float:
        """From when the tasks of a slot arrive until the last is done, summed over the slots."""
        return sum(end - begin for begin, end in zip(self.begins, self.ends, strict=True))


def simulate(scenario: Scenario, slot: Slot, plan: Int[Array, "*slots blocks"]) -> Schedule:
    """Run a slot by a plan, or an episode by many, event by event, in double precision.

    The tasks of a slot move as one lump. A block begins when its input has arrived and its node is free; with queues a
    node serves slots in their order, and within its turn it waits for what is still on its way. Links never make
    anything wait. Where slots do not couple, each has the nodes for itself.

    `evaluate_plan` says the same of one slot by a recursion, and `rollout` of an episode, but for rounding.

    **Arguments:**

    - `slot`: one slot; or those of an episode, every array with a leading axis [T]. With queues only the backlog of the
      first counts.
    - `plan`: [M], or for an episode [T, M], nodes 0..N.

    **Returns:** a `Schedule`. An operation on a node or link of speed 0 never ends, and what would follow it in its
    slot is left out; no node waits for that.

    **Raises:** `ValueError` as `evaluate_plan`, and for traced values.
    """
    if not is_concrete(scenario, slot, plan):
        raise ValueError(f"scenario, slot and plan must be known values to simulate; got {shown(plan)} (under jit)")
    check_shape("plan", plan)
    if np.ndim(plan) == 2:
        plans = checked_plan(scenario, plan, leading=(check_slots(scenario, slot, "slot"),))
        slots = slot
    else:
        check_slot(scenario, slot)
        plans = checked_plan(scenario, plan)[None]
        slots = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], slot)
    chains = _chains(scenario, slots, plans)
    length = float(scenario.slot_seconds)
    begins = [number * length for number in range(len(chains))]
    free = np.asarray(jax.vmap(scenario.backlog_in)(slots)).astype(float)
    if scenario.rules.queues:
        times = _serve(chains, begins, _nodes(free[0]))
    else:
        alone = zip(chains, begins, free, strict=True)
        times = [_serve([chain], [begin], _nodes(begin + until))[0] for chain, begin, until in alone]
    operations = [
        Operation(number, None, step.block, step.kind, step.resource, start, end)
        for number, (chain, run) in enumerate(zip(chains, times, strict=True))
        for step, (start, end) in zip(chain, run, strict=False)  # what never begins has no times
    ]
    return Schedule(
        operations=tuple(sorted(operations, key=lambda operation: operation.start)),
        begins=tuple(begins),
        ends=tuple(run[-1][1] for run in times),
    )


class _Step(NamedTuple):
    """One operation of a chain, before it is known when."""

    block: int
    kind: str
    resource: Resource
    seconds: float


def _chains(scenario: Scenario, slots: Slot, plans: Int[Array, "slots blocks"]) -> list[list[_Step]]:
    """What each slot has done for it, one after the other; what takes no time on its way is left out."""
    on_the_way, computing, back = (np.asarray(part).tolist() for part in _durations(scenario, slots, plans))
    chains = []
    for slot, nodes in enumerate(np.asarray(plans).tolist()):
        chain, source = [], 0
        for block, node in enumerate(nodes):
            chain.append(_Step(block, "transmission", ("link", source, node), on_the_way[slot][block]))
            chain.append(_Step(block, "computation", ("node", node), computing[slot][block]))
            source = node
        chain.append(_Step(len(nodes) - 1, "return", ("link", source, 0), back[slot]))
        chains.append([step for step in chain if step.seconds > 0 or step.kind == "computation"])
    return chains


@jax.jit
def _durations(scenario: Scenario, slots: Slot, plans: Int[Array, "slots blocks"]):
    """Transmission and computation of each block [T, M], and the return of the result [T], s."""

    def of_slot(slot, plan):
        block, source = jnp.arange(scenario.num_blocks), jnp.concatenate([jnp.zeros(1, plan.dtype), plan[:-1]])
        return (
            transmission_delay(scenario, slot, block, source, plan),
            computation_delay(scenario, slot, block, plan),
            return_delay(scenario, slot, plan[-1]),
        )

    return jax.vmap(of_slot)(slots, plans)


def _nodes(free: Sequence[float]) -> dict[Resource, float]:
    return {("node", node): float(until) for node, until in enumerate(free)}


def _serve(
    chains: Sequence[Sequence[_Step]], begins: Sequence[float], free: Mapping[Resource, float]
) -> list[list[tuple[float, float]]]:
    """(start, end) of every step of every chain that begins at all, where chain k begins at `begins[k]`.

    A resource in `free` does one thing at a time, in the order of the chains, from the time on that stands there; any
    other does any number of things at a time.
    """
    turns: dict[Resource, deque[int]] = {resource: deque() for resource in free}  # whose steps it does, in order
    for number, chain in enumerate(chains):
        for step in takewhile(lambda step: math.isfinite(step.seconds), chain):
            if step.resource in turns:
                turns[step.resource].append(number)
    idle: set[Resource] = set()
    waiting: set[int] = set()  # chains that are ready for their next step
    times: list[list[tuple[float, float]]] = [[] for _ in chains]
    # (when, which chain is ready for its next step or -1, which resource is free or ())
    events: list[tuple[float, int, Resource]] = [(until, -1, resource) for resource, until in free.items()]
    events += [(begin, number, ()) for number, begin in enumerate(begins)]
    heapq.heapify(events)
    while events:
        now, ready, freed = heapq.heappop(events)
        if freed:
            idle.add(freed)
        if ready >= 0 and len(times[ready]) < len(chains[ready]):
            waiting.add(ready)
        heads = [turns[freed][0]] if freed and turns[freed] else []
        for number in sorted(waiting.intersection([ready, *heads])):
            step = chains[number][len(times[number])]
            end = now + step.seconds
            alone = step.resource in turns and math.isfinite(end)
            if alone:
                if step.resource not in idle or turns[step.resource][0] != number:
                    continue
                turns[step.resource].popleft()
                idle.remove(step.resource)
            waiting.remove(number)
            times[number].append((now, end))
            if math.isfinite(end):
                heapq.heappush(events, (end, number, step.resource if alone else ()))
    return times
