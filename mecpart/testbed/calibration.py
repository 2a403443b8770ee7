"""What a testbed is measured by: plans for all blocks on all nodes, probes of all links, and links fitted to them.

Only the device's clock times what crosses links. So what is known of links are sums over routes that begin and end
there; which way of a link takes how much of its latency is not, and does not matter to any plan, since that begins and
ends there, too. As far as it is not known, both ways take the same.

A probe finds nodes awake and what they send in their caches. In a whole run, between blocks, each transfer takes a bit
longer: as much longer as the whole runs say.
"""

from collections.abc import Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linprog

from mecpart.dnn.workload import Workload
from mecpart.measurements.files import as_array
from mecpart.model.devices import BlockTimes, Links
from mecpart.testbed.routes import Stage

#: The most sizes of transfers that one link is probed by.
_MOST_SIZES = 5
#: What a difference between both ways of a link counts, by the differences to what was measured.
_BOTH_WAYS = 1e-3
#: The fastest links that are told from such that take no time, bytes/s.
_FASTEST = 1e12


class Calibration(NamedTuple):
    """What a testbed was measured to take."""

    #: Of its blocks on its nodes.
    times: BlockTimes
    #: Between its nodes.
    links: Links


class Probe(NamedTuple):
    """A route, and what crosses links on it: (source, destination, bytes)."""

    route: tuple[Stage, ...]
    moves: tuple[tuple[int, int, float], ...]


def covering_plans(
    can: Bool[np.ndarray, "blocks nodes"], linked: Bool[np.ndarray, "nodes nodes"], *, moving: bool
) -> list[list[int]]:
    """Few plans that run every block on every node that can have it.

    - `can`: which blocks can run where. - `linked`: from which nodes (rows) to which there are links.
    - `moving`: go from node to node as often as can be; else as seldom, with all blocks on one node where that can be.

    One after the other, each of those that are possible with the most of what none before it has, by dynamic
    programming.
    """
    blocks, nodes = can.shape
    joined = linked | np.eye(nodes, dtype=bool)
    moves = (-1.0 if moving else 1.0) * (1 - np.eye(nodes))
    new, found = can.copy(), []
    while new.any():
        gains = np.where(can, new * (blocks + 2.0), -np.inf)  # one block more is worth all moves
        best, came = np.where(joined[0], -moves[0], -np.inf) + gains[0], []
        for m in range(1, blocks):
            options = np.where(joined, best[:, None] - moves, -np.inf)
            came.append(options.argmax(axis=0))
            best = options.max(axis=0) + gains[m]
        best = np.where(joined[:, 0], best - moves[:, 0], -np.inf)
        plan = [int(best.argmax())]
        for step in reversed(came):
            plan.insert(0, int(step[plan[0]]))
        if np.isinf(best.max()) or not new[range(blocks), plan].any():
            break  # what is left is in no plan that is possible
        found.append(plan)
        new[range(blocks), plan] = False
    return found


def probes(linked: Bool[np.ndarray, "nodes nodes"], sizes: Sequence[float]) -> list[Probe]:
    """Routes on which one link after the other carries each size that it may have to, and the others nothing."""
    nodes, (first, *between, last) = range(len(linked)), sizes
    found = []
    for a, b in product(nodes, nodes):
        there, back = _way(linked, 0, a), _way(linked, b, 0)
        if a == b or not linked[a, b] or there is None or back is None:
            continue
        carried = sorted({*between, *([first] if a == 0 else []), *([last] if b == 0 else [])})
        few = np.linspace(0, len(carried) - 1, min(len(carried), _MOST_SIZES)).round().astype(int)
        path = [*there, *back]
        for size in (carried[at] for at in few):
            crossing = [0] * (len(path) - 1)
            crossing[len(there) - 1] = int(size)
            stages = [Stage(node, 0, 0, held) for node, held in zip(path, [*crossing, 0], strict=True)]
            moves = [(*pair, held) for pair, held in zip(pairwise(path), crossing, strict=True)]
            found.append(Probe(tuple(stages), tuple(moves)))
    return found


def _way(linked: np.ndarray, start: int, end: int) -> list[int] | None:
    """The nodes on the shortest way from one to another."""
    ways = {start: [start]}
    for _ in linked:
        for a, b in product(list(ways), range(len(linked))):
            if linked[a, b] and b not in ways:
                ways[b] = [*ways[a], b]
    return ways.get(end)


def fitted_links(
    moves: Sequence[Sequence[tuple[int, int, float]]], seconds: Sequence[float], whole: Sequence[bool], nodes: int
) -> tuple[Float[np.ndarray, "nodes nodes"], Float[np.ndarray, "nodes nodes"]]:
    """Latency (s) and rate (bytes/s) of each link, so that the sum of absolute errors is least (a linear program).

    - `moves`: of each run the transfers, as in `Probe`. - `seconds`: that all of them took together.
    - `whole`: whether it was a run of blocks, and no probe. What each transfer takes longer there is part of all
      latencies.

    A link that no run uses has rate 0.
    """
    known = sorted({(a, b) for run in moves for a, b, _ in run})
    column = {pair: at for at, pair in enumerate(known)}
    largest = max((size for run in moves for *_, size in run), default=0) or 1.0
    rows = np.zeros((len(moves), 2 * len(known) + 1))
    for row, run, longer in zip(rows, moves, whole, strict=True):
        row[-1] = len(run) * longer
        for a, b, size in run:
            row[column[a, b]] += 1
            row[len(known) + column[a, b]] += size / largest  # as large as the latencies
    ways = np.zeros((len(known), 2 * len(known) + 1))
    for at, (a, b) in enumerate(known):
        if a < b and (b, a) in column:
            ways[at, at], ways[at, column[b, a]] = _BOTH_WAYS, -_BOTH_WAYS
    matrix, target = np.concatenate([rows, ways]), np.concatenate([seconds, np.zeros(len(known))])
    scale = max(np.abs(target).max(initial=0), 1e-9)
    each = np.eye(len(target))
    solved = linprog(
        np.concatenate([np.zeros(2 * len(known) + 1), np.ones(len(target))]),
        A_ub=np.block([[matrix, -each], [-matrix, -each]]),
        b_ub=np.concatenate([target, -target]) / scale,
    )
    found = solved.x[: 2 * len(known) + 1] * scale
    latency, rate = np.zeros((nodes, nodes)), np.zeros((nodes, nodes))
    for (a, b), at in column.items():
        latency[a, b] = found[at] + found[-1]
        rate[a, b] = min(largest / max(found[len(known) + at], 1e-30), _FASTEST)
    return latency, rate


def calibration(
    workload: Workload,
    names: tuple[str, ...],
    plans: Sequence[Sequence[int]],
    runs: Sequence[Probe],
    told: Sequence[Sequence[tuple[float, Float[np.ndarray, "tasks blocks"]]]],
) -> Calibration:
    """Times and links, by the medians of all rounds but the first.

    - `plans`: that tell of blocks. - `runs`: of these, and then of what tells of links alone.
    - `told`: of each run and round the seconds of the whole, and those of the blocks of its only task.
    """
    took: dict[tuple[int, int], list[float]] = {}
    for plan, rounds in zip(plans, told, strict=False):
        for place in enumerate(plan):
            took.setdefault(place, []).extend(float(blocks[0, place[0]]) for _, blocks in rounds[1:])
    shape = workload.num_blocks, len(names)
    seconds, spread = np.full(shape, np.inf), np.zeros(shape)
    for place, values in took.items():
        seconds[place], spread[place] = np.median(values), np.std(values, ddof=min(1, len(values) - 1))
    moving = [np.median([whole - blocks.sum() for whole, blocks in rounds[1:]]) for rounds in told]
    whole = [at < len(plans) for at in range(len(runs))]
    latency, rate = fitted_links([run.moves for run in runs], moving, whole, len(names))
    return Calibration(
        BlockTimes(as_array(seconds), workload, names, spread=as_array(spread)),
        Links(as_array(latency), as_array(rate), names=names),
    )
