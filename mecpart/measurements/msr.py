"""What the algorithms of Microsoft's dnn-partitioning read: JSON files of a graph, its times and its sizes.

J. Tarnawski et al., "Efficient Algorithms for Device Placement of DNN Graph Operators", NeurIPS 2020,
github.com/msr-fiddle/dnn-partitioning.
"""

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mecpart.measurements.entries import Entry, json_entries
from mecpart.measurements.files import Measurements, as_array, block_times, check_network, links_between
from mecpart.validation import check_flag, check_number, check_path


@dataclass(frozen=True)
class _Node:
    """A node of the graph; what it hands on takes `cost` s and has `sent` bytes."""

    name: str
    accelerator: float
    cpu: float
    size: float
    reads: tuple[int, ...]
    cost: float
    sent: float
    line: Entry


def from_msr(
    path: str | os.PathLike, *, network: str | None = None, cpu: bool = False, rate: float | None = None
) -> Measurements:
    """Block times, links and memory of a graph for inference, as the chain of its legal cuts.

    A cut is legal where the result of at most one node crosses it. Nodes that take no time and are fed by none are
    inputs or weights, which are on each node beforehand; so is what takes no time to send. The chain's input is
    therefore empty, and so is its output.

    **Arguments:**

    - `path`: of the JSON file. Latencies are in ms, and so are the costs of edges.
    - `network`: its name; by default the file's, without its ending.
    - `cpu`: whether the nodes begin with a CPU. Its times are **no measurements**: in the files that come with
      dnn-partitioning they are ten times those of the accelerator.
    - `rate`: bytes/s between an accelerator and the CPU's memory; by default that of the file, the bytes of its edges
      by their costs. Its `throughput-inputs/LayerGraphs` have 2^31 bytes in a ms, and all others in a second.

    **Returns:** times of `accelerator 1` and so on, as many as the file has; links, by way of the CPU's memory, so that
    between two accelerators it takes twice as long as to the CPU; memory of the accelerators.

    **Raises:** `ValueError` that names the file and the entry (or line) that is missing or not allowed: a graph for
    training, a circle, or edges of one node that differ.
    """
    check_path("path", path)
    check_flag("cpu", cpu)
    check_network(network)
    if rate is not None:
        check_number("rate", rate, exclusive=True, shapes=((),))
    graph = json_entries(path)
    nodes = _nodes(graph)
    blocks = list(_blocks(nodes, graph))
    rate = _rate(nodes, graph) if rate is None else rate
    names = [f"accelerator {number + 1}" for number in range(graph["maxFPGAs"].whole(minimum=1))]
    accelerator = [sum(node.accelerator for node in block) for block, _ in blocks]
    if len(names) < 2 and not cpu:
        raise graph["maxFPGAs"].refused("at least 2, or 1 beside a CPU (cpu=True)")
    seconds = np.tile(np.array(accelerator)[:, None], len(names))
    memory = [graph["maxSizePerFPGA"].number()] * len(names)
    if cpu:
        slow = [sum(node.cpu for node in block) for block, _ in blocks]
        names, seconds = ["cpu", *names], np.column_stack([slow, seconds])
        memory = [float(np.finfo(np.float32).max), *memory]
    times = block_times(
        seconds,
        network=Path(path).stem if network is None else network,
        blocks=[_name(block) for block, _ in blocks],
        names=names,
        input_bytes=0,
        output_bytes=[sent for _, sent in blocks],
        memory_bytes=[sum(node.size for node in block) for block, _ in blocks],
    )
    ways = {(a, b): rate if "cpu" in (a, b) else rate / 2 for a in names for b in names if a != b}
    links = links_between(tuple(names), {pair: (graph, 0.0, speed, None) for pair, speed in ways.items()})
    return Measurements(times, links, as_array(memory))


def _nodes(graph: Entry) -> list[_Node]:
    """The nodes of the graph, in the order of the file."""
    listed = graph["nodes"].entries()
    if not listed:
        raise graph["nodes"].refused("a list of at least one node")
    numbers: dict[int, int] = {}
    for at, entry in enumerate(listed):
        if numbers.setdefault(entry["id"].whole(), at) != at:
            raise entry["id"].refused("of no other node")
        if entry["isBackwardNode"].value:
            raise entry["isBackwardNode"].refused("false: only graphs for inference are chains")
    reads: list[list[int]] = [[] for _ in listed]
    sent: dict[int, Entry] = {}
    for edge in graph["edges"].entries():
        ends = [edge[end] for end in ("sourceId", "destId")]
        for end in ends:
            if end.whole() not in numbers:
                raise end.refused("the id of a node")
        source, target = (numbers[end.whole()] for end in ends)
        first = sent.setdefault(source, edge)
        for column in ("cost", "size"):
            given = column == "cost" or column in edge.items() or column in first.items()
            if given and edge[column].number() != first[column].number():
                raise edge[column].refused(f"the {first[column].value} of {first[column].where}")
        reads[target].append(source)

    def number(source: int, column: str) -> float:
        entry = sent[source].get(column) if source in sent else None
        return 0.0 if entry is None else entry.number()

    return [
        _Node(
            name=entry["name"].text() if "name" in entry.items() else str(entry["id"].whole()),
            accelerator=entry["fpgaLatency"].number() / 1e3 if entry["supportedOnFpga"].value else np.inf,
            cpu=entry["cpuLatency"].number() / 1e3,
            size=entry["size"].number(),
            reads=tuple(reads[at]),
            cost=number(at, "cost") / 1e3,
            sent=number(at, "size"),
            line=entry,
        )
        for at, entry in enumerate(listed)
    ]


def _order(nodes: list[_Node], graph: Entry) -> list[int]:
    """An order in which the nodes can run, those first that lead nowhere soon: they are done before a cut."""
    read_by: list[list[int]] = [[] for _ in nodes]
    for at, node in enumerate(nodes):
        for source in node.reads:
            read_by[source].append(at)
    found = _sorted(len(nodes), [node.reads for node in nodes], read_by, [0] * len(nodes))
    if len(found) < len(nodes):
        inside = nodes[min(set(range(len(nodes))) - set(found))]
        raise ValueError(f"{inside.line.where} must not be fed by its own result; got a circle in {graph.where}")
    height = [0] * len(nodes)
    for at in reversed(found):
        height[at] = 1 + max((height[reader] for reader in read_by[at]), default=0)
    return _sorted(len(nodes), [node.reads for node in nodes], read_by, height)


def _sorted(count: int, reads, read_by, height: list[int]) -> list[int]:
    missing = [len(of) for of in reads]
    ready = [(height[at], at) for at in range(count) if not missing[at]]
    heapq.heapify(ready)
    found = []
    while ready:
        _, at = heapq.heappop(ready)
        found.append(at)
        for reader in read_by[at]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, (height[reader], reader))
    return found


def _blocks(nodes: list[_Node], graph: Entry) -> Iterator[tuple[list[_Node], float]]:
    """The nodes between two legal cuts, in order, and the bytes that cross the later cut."""
    beforehand = {at for at, node in enumerate(nodes) if not node.reads and not node.accelerator}
    order = _order(nodes, graph)
    chain = [at for at in order if at not in beforehand] or order
    last_read = {source: at for at in chain for source in nodes[at].reads if nodes[source].cost}
    charged: set[int] = set()
    block: list[_Node] = []
    alive: set[int] = set()
    for at in chain:
        # Weights are where they are first read.
        held = [source for source in nodes[at].reads if source in beforehand and source not in charged]
        charged.update(held)
        block += [*(nodes[source] for source in held), nodes[at]]
        alive.difference_update([source for source in nodes[at].reads if last_read.get(source) == at])
        if at in last_read:
            alive.add(at)
        if len(alive) <= 1 or at == chain[-1]:
            yield block, sum(nodes[source].sent for source in alive)
            block = []


def _rate(nodes: list[_Node], graph: Entry) -> float:
    """Bytes/s of all transfers that take time, which must be the same."""
    sending = [node for node in nodes if node.cost]
    rates = [node.sent / node.cost for node in sending]
    if not rates or min(rates) <= 0 or max(rates) > min(rates) * (1 + 1e-6):
        raise graph["edges"].refused("a list with bytes and costs of one rate, unless rate is given")
    return float(np.median(rates))


def _name(block: list[_Node]) -> str:
    computing = [node for node in block if node.accelerator] or block
    names = computing[0].name, computing[-1].name
    return names[0] if names[0] == names[1] else "-".join(names)
