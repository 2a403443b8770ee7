"""The schedule of plans, event by event: who works on what, from when to when.

It shares with `mecpart.model.delay` how long each operation takes (`mecpart.model.durations`), and nothing of how
waiting follows from that; so the one checks the other.
"""

import heapq
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from mecpart.model.delay import checked_plan, operations
from mecpart.model.durations import move_latencies
from mecpart.model.network import check_devices_whole
from mecpart.model.pipeline import one_task
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.slots import check_slot, check_slots
from mecpart.validation import check_shape, is_concrete, shown

#: What works, as `Operation` says.
Resource = tuple[str | int, ...]


@dataclass(frozen=True)
class Operation:
    """What one resource does for one block, from `start` to `end` (s; infinite where it never ends).

    - `slot`: whose tasks it is for, from 0. - `tasks`: the range of those tasks that it is for; None: all, as one lump.
    - `block`: from 0. - `kind`: "computation", "transmission" (of the block's input) or "return" (of the result).
    - `resource`: ("node", n), or ("link", i, j) from node i to node j. Where tasks stream, ("node", 0, d), ("link", 0,
      n, d) and ("link", n, 0, d) are those of device d, from 0, and ("wire", i, j), i < j, serves both ways.
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

    Where the tasks stream (`Rules.streams`) they are dealt out to the devices in turn, each device with a CPU and links
    of its own. Every node, link and wire serves one task at a time, first come, first served, the task of lower number
    where two come at once; what a task needs of it in a row is one service. A number of tasks that is not whole counts
    as one more. The end is never before the total delay of `evaluate_plan`, and equal where the tasks of one device
    pass each node and link once. So it is for half of all random plans at the defaults; on average these take 3 % more,
    since all devices hand on their last tasks at the same time. A transfer over a measured link ends when it has
    arrived; the link is free for the next one its latency before.

    **Arguments:**

    - `slot`: one slot; or those of an episode, every array with a leading axis [T]. With queues only the backlog of the
      first counts.
    - `plan`: [M], or for an episode [T, M], nodes 0..N.

    **Returns:** a `Schedule`. An operation on a node or link of speed 0 never ends, and what would follow it in its
    slot is left out; no node waits for that. Where tasks stream, though, those after it wait for ever.

    **Raises:** `ValueError` as `evaluate_plan`, for traced values, and where tasks stream for parts of devices.
    """
    if not is_concrete(scenario, slot, plan):
        raise ValueError(f"scenario, slot and plan must be known values to simulate; got {shown(plan)} (under jit)")
    check_shape("plan", plan)
    with jax.ensure_compile_time_eval():  # also where a `jit` is under way
        if np.ndim(plan) == 2:
            plans = checked_plan(scenario, plan, leading=(check_slots(scenario, slot, "slot"),))
            slots = slot
        else:
            check_slot(scenario, slot)
            plans = checked_plan(scenario, plan)[None]
            slots = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], slot)
        run = _stream_slots if scenario.rules.streams else _run_slots
        found, begins, ends = run(scenario, slots, plans)
    return Schedule(tuple(sorted(found, key=lambda operation: operation.start)), tuple(begins), tuple(ends))


def _run_slots(scenario: Scenario, slots: Slot, plans) -> tuple[list[Operation], list[float], list[float]]:
    """The operations of slots whose tasks move as one lump, and when each slot begins and ends."""
    chains = _chains(scenario, slots, plans)
    length = float(scenario.slot_seconds)
    begins = [number * length for number in range(len(chains))]
    free = np.asarray(jax.vmap(scenario.backlog_in)(slots)).astype(float)
    if scenario.rules.queues:
        times = _serve(chains, begins, _nodes(free[0]))
    else:
        alone = zip(chains, begins, free, strict=True)
        times = [_serve([chain], [begin], _nodes(begin + until))[0] for chain, begin, until in alone]
    found = [
        Operation(number, None, step.block, step.kind, step.resource, start, end)
        for number, (chain, run) in enumerate(zip(chains, times, strict=True))
        for step, (start, end) in zip(chain, run, strict=False)  # what never begins has no times
    ]
    return found, begins, [run[-1][1] for run in times]


def _stream_slots(scenario: Scenario, slots: Slot, plans) -> tuple[list[Operation], list[float], list[float]]:
    """The same of slots whose tasks follow each other."""
    found: list[Operation] = []
    tasks = np.broadcast_to(np.ceil(jax.vmap(scenario.tasks_in)(slots)), len(plans)).astype(int).tolist()
    check_devices_whole("scenario.network.num_devices", scenario.network.num_devices)
    devices = int(scenario.network.num_devices)
    begins = [number * float(scenario.slot_seconds) for number in range(len(plans))]
    ends = []
    for number, chain in enumerate(_chains(scenario, slots, plans)):
        done, end = _serve_stream(number, chain, tasks[number], devices, begins[number])
        found += done
        ends.append(end)
    return found, begins, ends


class _Step(NamedTuple):
    """One operation of a chain, before it is known when."""

    block: int
    kind: str
    resource: Resource
    seconds: float
    latency: float = 0.0  # the end of that, in which the resource is free again


def _chains(scenario: Scenario, slots: Slot, plans: Int[Array, "slots blocks"]) -> list[list[_Step]]:
    """What each slot has done for it, one after the other; what takes no time on its way is left out."""
    on_the_way, back, computing, latency = (np.asarray(part).tolist() for part in _durations(scenario, slots, plans))
    chains = []
    for slot, nodes in enumerate(np.asarray(plans).tolist()):
        chain, source = [], 0
        for block, node in enumerate(nodes):
            chain.append(
                _Step(block, "transmission", ("link", source, node), on_the_way[slot][block], latency[slot][block])
            )
            chain.append(_Step(block, "computation", ("node", node), computing[slot][block]))
            source = node
        chain.append(_Step(len(nodes) - 1, "return", ("link", source, 0), back[slot], latency[slot][-1]))
        chains.append([step for step in chain if step.seconds > 0 or step.kind == "computation"])
    return chains


@jax.jit
def _durations(scenario: Scenario, slots: Slot, plans: Int[Array, "slots blocks"]):
    """Of each block its transmission [T, M], the return of the result [T], and of each block its computation [T, M], s:
    of all tasks of a slot, or of one where they stream. And what of transmissions and return is latency [T, M + 1]."""

    def of_slot(slot, plan):
        slot = one_task(scenario, slot) if scenario.rules.streams else slot
        latency = move_latencies(scenario, slot, plan)
        return *operations(scenario, slot, plan), jnp.zeros(len(plan) + 1) if latency is None else latency

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


_RELEASES, _ARRIVES = 1, 2


def _serve_stream(
    slot: int, chain: Sequence[_Step], tasks: int, devices: int, begin: float
) -> tuple[list[Operation], float]:
    """The operations of `tasks` tasks of a slot that each need the steps of `chain`, and when the last is done."""
    needed = [step for step in chain if step.seconds > 0]
    runs = [list(run) for _, run in groupby(needed, key=lambda step: _shared(step.resource))]
    found: list[Operation] = []
    lines: dict[Resource, deque[int]] = {}  # of each resource the tasks that came: who is served, and who waits
    begun, left = [0] * tasks, tasks  # runs of each task that are done or being done; tasks that are not through
    # When which task has come to the end of a run: of the service, of the way behind it, or of both at once.
    events = [(begin, task, _ARRIVES) for task in range(tasks)]

    def resource_of(task: int, run: int) -> Resource:
        resource = _shared(runs[run][0].resource)
        return (*resource, task % devices) if 0 in resource else resource

    def serve(task: int, now: float) -> None:
        resource = resource_of(task, begun[task])
        for step in runs[begun[task]]:
            if math.isfinite(now):
                found.append(
                    Operation(slot, range(task, task + 1), step.block, step.kind, resource, now, now + step.seconds)
                )
            now += step.seconds
        begun[task] += 1
        if math.isfinite(now) and step.latency:
            heapq.heappush(events, (now - step.latency, task, _RELEASES))
            heapq.heappush(events, (now, task, _ARRIVES))
        elif math.isfinite(now):
            heapq.heappush(events, (now, task, _RELEASES | _ARRIVES))

    end = begin
    while events:
        end, task, what = heapq.heappop(events)
        if what & _RELEASES:
            line = lines[resource_of(task, begun[task] - 1)]
            line.popleft()
            if line:
                serve(line[0], end)
        if not what & _ARRIVES:
            continue
        if begun[task] == len(runs):
            left -= 1
            continue
        line = lines.setdefault(resource_of(task, begun[task]), deque())
        line.append(task)
        if len(line) == 1:
            serve(task, end)
    return found, math.inf if left else end


def _shared(resource: Resource) -> Resource:
    """What does the work of `resource` where tasks stream: a wire carries both ways."""
    kind, *ends = resource
    return ("wire", *sorted(ends)) if kind == "link" and 0 not in ends else resource
