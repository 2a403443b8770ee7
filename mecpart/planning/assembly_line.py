"""The best pipeline: consecutive blocks on one node after the other, so that the slowest stage is as fast as possible.

It is what `pipelined` tends to with many tasks in a slot, of plans that come to each node at most once: then the time
of a task more is that of the slowest node or link. Dynamic programming over the blocks done and the set of nodes used,
as in PipeEdge (Hu et al. 2022), where nodes that are alike in everything count as one kind.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float, Int

from mecpart.fields import short_repr
from mecpart.model.devices import BlockTimes, Links, check_devices, check_links, check_times, within_memory
from mecpart.validation import is_concrete


@dataclass(frozen=True)
class Stage:
    """Some consecutive blocks, numbered from 0, on one node: its number and its name."""

    node: int
    name: str
    blocks: range


@dataclass(frozen=True, repr=False)
class Pipeline:
    """The best pipeline.

    - `stages`: in their order; none where no pipeline is possible.
    - `seconds`: of the slowest node or link for one task; infinite where no pipeline is possible.
    """

    stages: tuple[Stage, ...]
    seconds: float

    __repr__ = short_repr

    @property
    def plan(self) -> Int[np.ndarray, " blocks"]:
        """[M] nodes; empty where no pipeline is possible."""
        return np.array([stage.node for stage in self.stages for _ in stage.blocks], np.int32)


def optimal_pipeline(times: BlockTimes, links: Links | None, memory: Float[Array, " nodes"] | None = None) -> Pipeline:
    """The pipeline whose slowest node or link takes the least seconds for one task, exactly.

    Each node has at most one stage. The input comes from node 0, and the result returns there. A link is busy for
    bytes / rate: its latency delays a task, but holds up none behind it.

    **Arguments:** `links`: None where transfers take no time; `memory`: [N + 1] bytes, which the blocks of a stage take
    no more of than there are.

    **Returns:** a `Pipeline`. Takes O(M^2) for each set of nodes and node after it, sets of nodes that are alike in
    times, links and memory counted once; computed on the host, in double precision, not under `jit`.

    **Raises:** `ValueError` for times, links or memory that are of different nodes, of wrong shape or range, or traced,
    or for a block that fits nowhere.
    """
    check_times(times)
    if not is_concrete(times, links, memory):
        raise ValueError("times, links and memory must be known values for a pipeline; got traced ones")
    if links is not None:
        check_links(links)
    check_devices(times.num_blocks, times.num_nodes, times, links)
    limit = np.full(times.num_nodes, np.inf)
    if memory is not None:
        times, limit = within_memory(times, memory), np.asarray(memory, np.float64)
    seconds = np.asarray(times.seconds, np.float64)
    size = np.asarray(times.block_bytes, np.float64)
    moved = np.append(times.workload.input_bytes, times.workload.output_bytes).astype(np.float64)
    rate = np.full((times.num_nodes,) * 2, np.inf) if links is None else np.asarray(links.rate, np.float64)
    kinds = _kinds(seconds, rate, limit)
    stage = [_stages(seconds[:, kind[0]], size, limit[kind[0]]) for kind in kinds]

    def busy(source: int, kind: int) -> Float[np.ndarray, " cuts"]:
        """What the link from the last node of one kind to one of another is busy for, at each cut."""
        if source == kind and len(kinds[kind]) < 2:
            return np.zeros(len(moved))
        there = rate[kinds[source][0], kinds[kind][-1]]
        return np.divide(moved, there, out=np.full(len(moved), np.inf), where=there > 0)

    link = [[busy(source, kind) for kind in range(len(kinds))] for source in range(len(kinds))]
    home = np.where(np.arange(len(moved)) == 0, 0.0, np.inf)  # nothing is done, and the input is at node 0
    # Of each set of nodes, counted by kind, and the kind of its last node: the least slowest stage of the blocks up to
    # each cut, and where that came from: the cut before, and the kind of the node before.
    least: dict[tuple, np.ndarray] = {}
    origin: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}
    best, end = np.inf, None
    counts = itertools.product(*(range(len(kind) + 1) for kind in kinds))
    for used in sorted(counts, key=sum):
        for kind in np.flatnonzero(used).tolist():
            before = (*used[:kind], used[kind] - 1, *used[kind + 1 :])
            sources = [source for source in np.flatnonzero(before).tolist() if (before, source) in least]
            arrived = [np.maximum(least[before, source], link[source][kind]) for source in sources]
            if not any(before):
                sources, arrived = [0], [np.maximum(home, 0 if kind == 0 else link[0][kind])]
            if not sources:
                continue
            slowest = np.maximum(np.min(arrived, axis=0)[:, None], stage[kind])
            cut = np.argmin(slowest, axis=0)
            found = np.take_along_axis(slowest, cut[None], axis=0)[0]
            least[used, kind] = found
            origin[used, kind] = cut, np.array(sources)[np.argmin(arrived, axis=0)]
            whole = max(found[-1], 0 if kind == 0 else link[kind][0][-1])
            if whole < best:
                best, end = whole, (used, kind)
    return Pipeline(() if end is None else _stages_to(end, origin, kinds, times), float(best))


def _kinds(seconds, rate, limit) -> list[list[int]]:
    """The nodes by kind: those of one kind can be exchanged, and nothing is changed. Node 0 is of a kind of its own."""

    def alike(i: int, j: int) -> bool:
        exchanged = np.arange(len(limit))
        exchanged[[i, j]] = j, i
        apart = ~np.eye(len(limit), dtype=bool)
        links = (rate == rate[np.ix_(exchanged, exchanged)]) | ~apart
        return bool((seconds[:, i] == seconds[:, j]).all() and limit[i] == limit[j] and links.all())

    kinds: list[list[int]] = [[0]]
    for node in range(1, len(limit)):
        for kind in kinds[1:]:
            if alike(kind[0], node):
                kind.append(node)
                break
        else:
            kinds.append([node])
    return kinds


def _stages(seconds, size, limit) -> Float[np.ndarray, "cuts cuts"]:
    """What the blocks from each cut (row) to each later one take on a node; infinite where they cannot run there."""
    until, held = (np.concatenate([[0], np.cumsum(each)]) for each in (np.where(np.isinf(seconds), 0, seconds), size))
    barred = np.concatenate([[0], np.cumsum(np.isinf(seconds))])
    cut = np.arange(len(until))
    possible = (cut > cut[:, None]) & (barred == barred[:, None]) & (held - held[:, None] <= limit)
    return np.where(possible, until - until[:, None], np.inf)


def _stages_to(end, origin, kinds, times: BlockTimes) -> tuple[Stage, ...]:
    """The stages that lead to `end`, a set of nodes and the kind of its last one."""
    (used, kind), cut, stages = end, times.num_blocks, []
    free = [list(nodes) for nodes in kinds]
    while any(used):
        cuts, sources = origin[used, kind]
        node, first = free[kind].pop(0), int(cuts[cut])
        stages.append(Stage(node, times.names[node], range(first, cut)))
        used = (*used[:kind], used[kind] - 1, *used[kind + 1 :])
        kind, cut = int(sources[first]), first
    return tuple(reversed(stages))
