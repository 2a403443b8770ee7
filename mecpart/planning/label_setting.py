"""Label setting: best paths through a chain of blocks where one number for each node is not enough to remember.

Viterbi's recursion keeps one path to each node. With two objectives, or a limit on what a node can hold, a path that is
worse so far may still be part of the best one. So every path that no other dominates is kept: none that is as good in
all objectives and has used no more of any node. No bound on their number is polynomial, but few are left in practice.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

#: Partial plans that are compared at one time, at most.
MOST_LABELS = 50_000


@dataclass(frozen=True, eq=False)
class Arcs:
    """What a block adds to a cost: from v on node i to max(v + before[m, i, j], floor[j]) + after[m, j] on node j."""

    before: Float[np.ndarray, "blocks nodes nodes"]
    floor: Float[np.ndarray, " nodes"]
    after: Float[np.ndarray, "blocks nodes"]


def undominated_paths(
    costs: list[Arcs], size: Float[np.ndarray, " blocks"], memory: Float[np.ndarray, " nodes"]
) -> tuple[Float[np.ndarray, "paths costs"], Int[np.ndarray, "paths blocks"]]:
    """The paths from node 0 through all blocks that fit into memory and that no other dominates, exactly.

    Every cost grows with the cost so far, so whatever follows a dominated path also follows the one that dominates it.

    **Arguments:** `costs`: one or more; infinite where there is no way. `size`: of each block; those on one node add up
    to its `memory` at most, which may be infinite.

    **Returns:** their costs and nodes, in the order of the first cost; empty if there is none.

    **Raises:** `ValueError` where more than `MOST_LABELS` partial plans would have to be compared.
    """
    most = np.inf
    if len(costs) == 1 and np.isfinite(memory).any():
        # A few of the best partial plans lead to a plan that the best one is not worse than.
        value, _ = _search(costs, size, memory, most, widest=200)
        most = value[0, 0] if len(value) else most
    return _search(costs, size, memory, most)


def _search(costs: list[Arcs], size, memory, most: float, widest: int | None = None):
    """`undominated_paths` of a first cost of at most `most`; with `widest`, of the best so many in every step."""
    blocks, nodes = len(size), len(memory)
    rest = _least_rest(costs[0])
    node, value, plan = np.zeros(1, int), np.zeros((1, len(costs))), np.zeros((1, 0), int)
    left = np.broadcast_to(memory, (1, nodes))
    for m in range(blocks):
        source, destination = np.repeat(np.arange(len(node)), nodes), np.tile(np.arange(nodes), len(node))
        start = node[source]
        reached = np.stack(
            [
                np.maximum(value[source, c] + arcs.before[m, start, destination], arcs.floor[destination])
                + arcs.after[m, destination]
                for c, arcs in enumerate(costs)
            ],
            axis=1,
        )
        estimate = reached[:, 0] + rest[m, destination]
        fits = np.isfinite(reached).all(axis=1) & (left[source, destination] >= size[m])
        # The estimate is summed in another order: not to lose the best plan itself to rounding.
        keep = np.flatnonzero(fits & (estimate <= most * (1 + 1e-9)))
        if widest is not None:
            keep = keep[np.argsort(estimate[keep], kind="stable")[:widest]]
        if len(keep) > MOST_LABELS:
            raise ValueError(
                f"the plans of a slot must leave at most {MOST_LABELS} partial ones to compare; got {len(keep)} after "
                f"block {m + 1} of {blocks}: fewer blocks or nodes, or a memory that limits less, are allowed"
            )
        source, node, value = source[keep], destination[keep], reached[keep]
        plan = np.concatenate([plan[source], node[:, None]], axis=1)
        left = left[source].copy()
        left[np.arange(len(node)), node] -= size[m]
        left = _usable(left, size[m + 1 :])
        final = m == blocks - 1
        groups = [np.arange(len(node))] if final else [np.flatnonzero(node == n) for n in range(nodes)]
        keep = np.concatenate([at[_undominated(np.hstack([value[at], -left[at]]))] for at in groups])
        node, value, plan, left = node[keep], value[keep], plan[keep], left[keep]
    return value, plan


def _least_rest(arcs: Arcs) -> Float[np.ndarray, "blocks nodes"]:
    """What the blocks after each one add at least, from each node."""
    rest = np.zeros(arcs.after.shape)
    for m in range(len(rest) - 2, -1, -1):
        rest[m] = (arcs.before[m + 1] + arcs.after[m + 1] + rest[m + 1]).min(axis=1)
    return rest


def _usable(left: Float[np.ndarray, "labels nodes"], sizes: Float[np.ndarray, " rest"]):
    """What is left of each node as far as it matters to blocks of these sizes: all of them, or none."""
    smallest = sizes[sizes > 0].min(initial=np.inf)
    return np.where(left < smallest, 0, np.minimum(left, sizes.sum()))


def _undominated(costs: Float[np.ndarray, "labels columns"]) -> Int[np.ndarray, " kept"]:
    """Which rows no other row dominates: none that is at most as large in every column; of equal rows the first."""
    varied = [column for column in costs.T if len(column) and (column != column[0]).any()]
    order = np.lexsort((varied or [costs[:, 0]])[::-1])
    if len(varied) <= 1:
        return order[:1]
    rows = np.stack(varied, axis=1)[order]
    if len(varied) == 2:
        least = np.minimum.accumulate(rows[:, 1])
        return order[np.concatenate([[True], rows[1:, 1] < least[:-1]])]
    kept = 0
    while kept < len(rows):  # no row is dominated by a later one
        better = np.ones(len(rows), bool)
        better[kept + 1 :] = (rows[kept + 1 :] < rows[kept]).any(axis=1)
        rows, order = rows[better], order[better]
        kept += 1
    return order
