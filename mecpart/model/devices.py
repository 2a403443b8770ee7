"""Measured devices: how long each block takes on each node, and each link for a transfer.

Where a scenario has them they stand for the paper's operations per clock rate and bytes per rate (Eqs. 3, 5 and 6).
Node 0 is where the input is and where the result returns to; all nodes are devices of any kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mecpart.dnn.layer import Layer
from mecpart.dnn.workload import Workload, balanced_cut, check_workload, checked_starts, merged_name
from mecpart.fields import (
    LABEL,
    check_record,
    integers_to_floats,
    lists_to_arrays,
    quantity,
    register_labelled,
    short_repr,
)
from mecpart.validation import check_choice, check_count, check_number, check_shape, check_type, is_concrete, shown


@register_labelled
@dataclass(frozen=True, eq=False)
class BlockTimes:
    """How long one task's blocks take on each node (a pytree).

    - `seconds`: [M, N + 1] s of one task of block m on node n; infinite where the block cannot run.
    - `workload`: the bytes into and out of the blocks; macs and parameters where they are known, else 0.
    - `names`: of the N + 1 nodes. Like those of the blocks they are empty inside of a JAX transformation.
    - `spread`: standard deviation of `seconds`, s; None where it is not known.
    - `memory_bytes`: that each block takes; None where it is not known.
    - `watts`: W that each node draws while it computes, 0 for those whose energy does not count; None: not known.
    """

    seconds: Float[Array, "blocks nodes"] = field(metadata=quantity("s", infinite=True))
    workload: Workload
    names: tuple[str, ...] = field(metadata=LABEL)
    spread: Float[Array, "blocks nodes"] | None = field(default=None, metadata=quantity("s", infinite=True))
    memory_bytes: Float[Array, " blocks"] | None = field(default=None, metadata=quantity("bytes"))
    watts: Float[Array, " nodes"] | None = field(default=None, metadata=quantity("W"))

    __repr__ = short_repr

    def __post_init__(self):
        lists_to_arrays(self)
        integers_to_floats(self)

    @property
    def num_blocks(self) -> int:
        """M."""
        return self.workload.num_blocks

    @property
    def num_nodes(self) -> int:
        """N + 1."""
        return len(self.names)

    @property
    def block_bytes(self) -> Float[Array, " blocks"]:
        """What each block takes of a node's memory: as measured, else its parameters."""
        return self.workload.parameter_bytes if self.memory_bytes is None else self.memory_bytes

    def cut(self, blocks: int | Sequence[int]) -> "BlockTimes":
        """Consecutive blocks merged into fewer, as a network's layers are by `mecpart.workload`.

        Seconds, memory, macs and parameters add up; so do the squares of the spreads, as of independent times.

        **Arguments:** `blocks`: how many, made by `balanced_cut` so that the largest is as small as possible in
        multiply-accumulates, or where those are not known in seconds on the node that is fastest at it; or the index of
        the first of the present blocks in each new one, rising from 0.

        **Raises:** `ValueError` for a number that is not from 1 to M, or indices that do not rise from 0.
        """
        check_times(self)
        starts = checked_starts(
            balanced_cut(self._layers(), blocks) if isinstance(blocks, int | np.integer) else blocks, self.num_blocks
        )
        ends, given = (*starts[1:], self.num_blocks), self.workload

        def merged(values):
            summed = np.add.reduceat(np.asarray(values, np.float64), starts, axis=0)
            return jax.device_put(summed.astype(np.float32))

        names = given.block_names
        workload = replace(
            given,
            macs=merged(given.macs),
            input_bytes=jnp.asarray(np.asarray(given.input_bytes)[list(starts)]),
            parameter_bytes=merged(given.parameter_bytes),
            block_names=tuple(merged_name(names[a], names[b - 1]) for a, b in zip(starts, ends, strict=True)),
        )
        return replace(
            self,
            seconds=merged(self.seconds),
            workload=workload,
            spread=None if self.spread is None else jnp.sqrt(merged(np.square(self.spread))),
            memory_bytes=None if self.memory_bytes is None else merged(self.memory_bytes),
        )

    def _layers(self) -> list[Layer]:
        """The blocks as `balanced_cut` takes them: in whole numbers, of which a second has 10^12."""
        sizes = np.asarray(self.workload.macs, np.float64)
        if not sizes.any():
            sizes = 1e12 * np.min(np.asarray(self.seconds, np.float64), axis=1)
        moved = [round(float(size)) for size in (*np.asarray(self.workload.input_bytes), self.workload.output_bytes)]
        return [Layer(str(m), round(float(size)), moved[m], moved[m + 1], 0) for m, size in enumerate(sizes)]

    def beside(self, *others: "BlockTimes") -> "BlockTimes":
        """The nodes of this table and then those of others, of the same blocks.

        What one of them does not know (spread, memory, watts), all together do not.

        **Raises:** `ValueError` for other blocks, or for nodes of one name.
        """
        tables = (self, *others)
        for other in tables:
            check_type("each of others", other, BlockTimes)
            if other.workload.block_names != self.workload.block_names:
                raise ValueError(
                    f"others must be of the blocks {shown(self.workload.block_names)}; got "
                    f"{shown(other.workload.block_names)}"
                )

        def joined(field: str, axis: int):
            held = [getattr(each, field) for each in tables]
            return None if any(each is None for each in held) else np.concatenate(held, axis)

        together = replace(
            self,
            seconds=joined("seconds", 1),
            names=tuple(name for each in tables for name in each.names),
            spread=joined("spread", 1),
            memory_bytes=None if joined("memory_bytes", 0) is None else self.memory_bytes,
            watts=joined("watts", 0),
        )
        check_times(together, "others")
        return together

    def select(self, nodes: Sequence[int | str]) -> "BlockTimes":
        """The times of some nodes, by name or number, in the order given: the first has the input.

        **Raises:** `ValueError` for a node that does not exist or that is named twice, or for fewer than two.
        """
        check_times(self)
        kept = _numbers_of(nodes, self.names)
        return replace(
            self,
            seconds=jnp.asarray(self.seconds)[:, kept],
            names=tuple(self.names[n] for n in kept),
            spread=None if self.spread is None else jnp.asarray(self.spread)[:, kept],
            watts=None if self.watts is None else jnp.asarray(self.watts)[kept],
        )


@register_labelled
@dataclass(frozen=True, eq=False)
class Links:
    """How long a transfer takes from each node (row) to each other (column), in latency + bytes / rate (a pytree).

    - `latency`: [N + 1, N + 1] s for each transfer, whatever its size.
    - `rate`: [N + 1, N + 1] bytes/s; 0: there is no link.
    - `spread`: standard deviation of a transfer's time, [N + 1, N + 1] s; None where it is not known.
    - `names`: of the N + 1 nodes, if wanted: then they have to be those of the `BlockTimes`.

    The diagonals do not count: a transfer to the same node takes no time.
    """

    latency: Float[Array, "nodes nodes"] = field(metadata=quantity("s"))
    rate: Float[Array, "nodes nodes"] = field(metadata=quantity("bytes/s"))
    spread: Float[Array, "nodes nodes"] | None = field(default=None, metadata=quantity("s"))
    names: tuple[str, ...] = field(default=(), metadata=LABEL)

    __repr__ = short_repr

    def __post_init__(self):
        lists_to_arrays(self)
        integers_to_floats(self)

    @property
    def num_nodes(self) -> int:
        """N + 1."""
        return self.rate.shape[-1]

    def select(self, nodes: Sequence[int | str]) -> "Links":
        """The links between some nodes, by number or (where they have names) by name, in the order given.

        **Raises:** `ValueError` for a node that does not exist or that is named twice, or for fewer than two.
        """
        check_links(self)
        kept = _numbers_of(nodes, self.names or ("",) * self.num_nodes)

        def between(values):
            return None if values is None else jnp.asarray(values)[np.ix_(kept, kept)]

        names = tuple(self.names[n] for n in kept) if self.names else ()
        return Links(between(self.latency), between(self.rate), between(self.spread), names)


def check_times(times: BlockTimes, name: str = "times") -> None:
    """Raise `ValueError` where `times` is none, or holds a value of wrong shape, type or range.

    Under `jit` only shapes are checked; values are then assumed to be at least 0 and not NaN.
    """
    check_type(name, times, BlockTimes)
    check_workload(times.workload, f"{name}.workload")
    _check_names(f"{name}.names", times.names)
    check_record(name, times, BlockTimes, blocks=times.num_blocks, nodes=times.num_nodes)
    if is_concrete(times.seconds):
        nowhere = np.flatnonzero(np.isinf(np.asarray(times.seconds)).all(axis=1))
        if nowhere.size:
            block = times.workload.block_names[nowhere[0]]
            raise ValueError(
                f"{name}.seconds must be finite on at least one node for each block; got infinity on all of them for "
                f"block {nowhere[0]} ({block!r})"
            )


def within_memory(times: BlockTimes, memory: Float[Array, " nodes"], name: str = "memory") -> BlockTimes:
    """`times`, infinite where a block takes more than a node's `memory`, [N + 1] bytes, by itself.

    **Raises:** `ValueError` for another number of nodes, a value below 0 or NaN, or a block that fits nowhere.
    """
    check_number(name, memory, infinite=True, shapes=((times.num_nodes,),))
    known = is_concrete(times, memory)
    xp: Any = np if known else jnp
    fits = xp.asarray(times.block_bytes)[:, None] <= xp.asarray(memory)
    kept = replace(times, seconds=xp.where(fits, times.seconds, np.inf))
    if known:
        nowhere = np.flatnonzero(np.isinf(np.asarray(kept.seconds)).all(axis=1))
        if nowhere.size:
            taken = float(times.block_bytes[nowhere[0]])
            raise ValueError(
                f"{name} must hold each block on a node that can run it; got {shown(memory)}, and block {nowhere[0]} "
                f"({times.workload.block_names[nowhere[0]]!r}) takes {taken:g} bytes"
            )
    return kept


def check_links(links: Links, name: str = "links") -> None:
    """Raise `ValueError` where `links` is none, or holds a value of wrong shape, type or range off the diagonal.

    Under `jit` only shapes are checked; values are then assumed to be finite and at least 0.
    """
    check_type(name, links, Links)
    check_shape(f"{name}.rate", links.rate)
    shape = np.shape(links.rate)
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2:
        raise ValueError(f"{name}.rate must have shape (N + 1, N + 1), of at least two nodes; got shape {shape}")
    if not isinstance(links.names, tuple) or links.names:
        _check_names(f"{name}.names", links.names, shape[0])
    apart = ~np.eye(shape[0], dtype=bool)

    def counted(values):
        known = isinstance(values, np.ndarray | jax.Array) and is_concrete(values) and np.shape(values) == shape
        return np.where(apart, values, 0) if known else values

    held = {entry: counted(getattr(links, entry)) for entry in ("latency", "rate", "spread")}
    check_record(name, replace(links, **held), Links, nodes=shape[0])


def check_devices(blocks: int, nodes: int, times: BlockTimes | None, links: Links | None, prefix: str = "") -> None:
    """Raise `ValueError` where `times` or `links` is given and bad, or of another number of blocks or nodes."""
    if times is not None:
        check_times(times, f"{prefix}times")
        if times.num_blocks != blocks:
            raise ValueError(f"{prefix}times must be of {blocks} blocks, as the workload is; got {times.num_blocks}")
    if links is not None:
        check_links(links, f"{prefix}links")
        if times is not None and any(links.names) and any(times.names) and links.names != times.names:
            named = f"must have the names of times, {times.names}, in that order"
            raise ValueError(f"{prefix}links {named}; got {links.names}")
    for name, value in (("times", times), ("links", links)):
        if value is not None and value.num_nodes != nodes:
            raise ValueError(f"{prefix}{name} must be of {nodes} nodes, as the network is; got {value.num_nodes}")


def _check_names(name: str, names, count: int | None = None) -> None:
    """Raise `ValueError` unless `names` are a tuple of texts, one or more or `count`, no two of them the same.

    Empty ones are those that a JAX transformation left (`register_labelled`).
    """
    texts = isinstance(names, tuple) and all(isinstance(each, str) for each in names)
    known = [each for each in names if each] if texts else []
    if not texts or not names or count not in (None, len(names)) or len(set(known)) < len(known):
        allowed = f"{count or 'one or more'} texts, no two of them the same"
        raise ValueError(f"{name} must be a tuple of {allowed}; got {shown(names)}")


def _numbers_of(nodes: Sequence[int | str], names: tuple[str, ...]) -> np.ndarray:
    """The numbers of some nodes, given by number or by name."""
    if isinstance(nodes, str) or not isinstance(nodes, Sequence) or len(nodes) < 2:
        raise ValueError(f"nodes must be a sequence of at least two nodes; got {shown(nodes)}")
    found = []
    for node in nodes:
        if isinstance(node, str):
            check_choice("each of nodes", node, [name for name in names if name])
            found.append(names.index(node))
        else:
            found.append(check_count("each of nodes", node, minimum=0, maximum=len(names) - 1))
    if len(set(found)) < len(found):
        raise ValueError(f"nodes must be different ones; got {shown(nodes)}")
    return np.array(found)
