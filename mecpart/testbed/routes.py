"""The ways of tasks through a testbed, and how long links hold them.

**Clocks.** A message says when it was sent. On the machine of its sender the receiver knows that clock, and holds the
message until sent + latency + bytes / rate: what the socket itself takes is part of that. A node on another machine has
another clock, so there it is held as long from when it is read, on top of what the network between them takes. A
link brings one message at a time; each direction is a link of its own.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Stage(NamedTuple):
    """A part of a route: a node, which runs the blocks from `first` to before `end`.

    `size`: bytes to send on in place of what leaves the blocks, as probes of links do; None: what leaves them.
    """

    node: int
    first: int
    end: int
    size: int | None = None


class HeldLinks:
    """The links that end at a node, by the node at which they begin: latency (s), s per byte, and whether both ends
    have one clock."""

    def __init__(self, given: dict[int, tuple[float, float, bool]]):
        self._given = given
        self._free = dict.fromkeys(given, 0.0)

    def due(self, source: int, sent: float, size: int, now: float) -> float:
        """When a message that was sent at `sent`, and is read `now`, would be there."""
        if source not in self._given:
            return now
        latency, per_byte, one_clock = self._given[source]
        self._free[source] = max(sent if one_clock else now, self._free[source]) + size * per_byte
        return self._free[source] + latency


def route_of(plan: Sequence[int]) -> tuple[Stage, ...]:
    """Which node runs which blocks, in turn; from node 0, and back to it."""
    starts = [m for m, node in enumerate(plan) if m == 0 or node != plan[m - 1]]
    stages = [Stage(plan[first], first, end) for first, end in pairwise([*starts, len(plan)])]
    before = [Stage(0, 0, 0)] if plan[0] != 0 else []
    after = [Stage(0, len(plan), len(plan))] if plan[-1] != 0 else []
    return (*before, *stages, *after)


def moves_of(plan: Sequence[int], sizes: Sequence[float]) -> tuple[tuple[int, int, float], ...]:
    """What a plan moves over links; `sizes`: bytes into each block, and out of the last."""
    path = [0, *plan, 0]
    return tuple((a, b, size) for (a, b), size in zip(pairwise(path), sizes, strict=True) if a != b)
