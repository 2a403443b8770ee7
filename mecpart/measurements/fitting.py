"""A device in a few numbers, fitted to the block times that were measured on it."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import nnls

from mecpart.dnn.workload import Workload, check_workload
from mecpart.fields import short_repr
from mecpart.model.devices import BlockTimes, check_times
from mecpart.validation import check_choice, shown

#: What a block's seconds are the sum of: an amount of each, by the seconds that one of it takes.
TERMS = ("overhead", "macs", "bytes", "parameters")


@dataclass(frozen=True)
class TimesFit:
    """What a block takes on each of N + 1 nodes: overhead + macs / throughput + bytes / bandwidth.

    - `overhead`: s of each block, [N + 1].
    - `seconds_per_mac`: 1 / throughput, [N + 1].
    - `seconds_per_byte`: 1 / bandwidth, [N + 1], of the bytes that enter the block and leave it.
    - `seconds_per_parameter_byte`: the same of its parameters, [N + 1].
    - `sigma`: standard deviation of a measured time in proportion to the fitted one, [N + 1].
    - `names`: of the nodes.
    """

    overhead: Float[np.ndarray, " nodes"]
    seconds_per_mac: Float[np.ndarray, " nodes"]
    seconds_per_byte: Float[np.ndarray, " nodes"]
    seconds_per_parameter_byte: Float[np.ndarray, " nodes"]
    sigma: Float[np.ndarray, " nodes"]
    names: tuple[str, ...]

    __repr__ = short_repr

    def predict(self, workload: Workload) -> BlockTimes:
        """The times of another network's blocks, with sigma as their spread.

        The overhead is that of a block like those that were measured: layers, if those were layers.

        **Raises:** `ValueError` where `workload` is none.
        """
        check_workload(workload)
        each = self.overhead, self.seconds_per_mac, self.seconds_per_byte, self.seconds_per_parameter_byte
        seconds = _amounts(workload) @ np.stack(each)
        return BlockTimes(_single(seconds), workload, self.names, spread=_single(self.sigma * seconds))


def fit_times(
    times: BlockTimes | Sequence[BlockTimes], workload: Workload | None = None, *, terms: Sequence[str] = TERMS[:3]
) -> TimesFit:
    """Fit a device's speed to the times of blocks, so that those of other networks can be told.

    Node by node, by least squares on the relative error, with no term below 0: what is minimised is the sum of
    (fitted / measured - 1)^2.

    **Arguments:**

    - `times`: of one network, or of several on the same nodes. The finer the blocks the more they tell. Blocks of no
      or infinite seconds on a node tell nothing of it.
    - `workload`: what the blocks of one network compute and move, if `times.workload` does not know it.
    - `terms`: some of "overhead", "macs", "bytes" (that enter and leave) and "parameters" (their bytes); all others
      are 0. `("macs",)` alone is the paper's model: operations by a constant speed.

    **Raises:** `ValueError` for times that are none or of different nodes, terms that do not exist, a workload of other
    blocks or without macs, or fewer blocks on a node than terms.
    """
    tables = [times] if isinstance(times, BlockTimes) else times
    if not isinstance(tables, list | tuple) or not tables:
        raise ValueError(f"times must be a mecpart.BlockTimes, or several in a list; got {shown(times)}")
    for table in tables:
        check_times(table)
        if table.names != tables[0].names:
            raise ValueError(f"times must be of the same nodes; got {shown(tables[0].names)} and {shown(table.names)}")
    if isinstance(terms, str) or not isinstance(terms, Sequence) or not terms:
        raise ValueError(f"terms must be some of {', '.join(TERMS)}; got {shown(terms)}")
    for term in terms:
        check_choice("each of terms", term, TERMS)
    workloads = [table.workload for table in tables]
    if workload is not None:
        check_workload(workload)
        if [workload.num_blocks] != [table.num_blocks for table in tables]:
            raise ValueError(
                f"workload must be of the {tables[0].num_blocks} blocks of one network; got {workload.num_blocks}"
            )
        workloads = [workload]

    amounts = np.concatenate([_amounts(each) for each in workloads])
    wanted = [at for at, term in enumerate(TERMS) if term in terms]
    for at in wanted:
        if not amounts[:, at].any():
            raise ValueError(f"workload must have {TERMS[at]} where they are one of terms; got 0 for every block")
    seconds = np.concatenate([np.asarray(table.seconds, np.float64) for table in tables])
    found, sigma = np.zeros((len(TERMS), seconds.shape[1])), np.zeros(seconds.shape[1])
    for node, name in enumerate(tables[0].names):
        told = np.isfinite(seconds[:, node]) & (seconds[:, node] > 0)
        if told.sum() < len(wanted):
            raise ValueError(
                f"times must be of at least {len(wanted)} blocks on each node, one for each of terms; got {told.sum()} "
                f"that take finite time on {name!r}"
            )
        relative = amounts[told][:, wanted] / seconds[told, node, None]
        scale = relative.max(axis=0)  # or rounding would hide the small terms
        scale[scale == 0] = 1.0
        solution, error = nnls(relative / scale, np.ones(told.sum()))
        found[wanted, node] = solution / scale
        sigma[node] = error / np.sqrt(max(told.sum() - len(wanted), 1))
    overhead, per_mac, per_byte, per_parameter_byte = found
    return TimesFit(overhead, per_mac, per_byte, per_parameter_byte, sigma, tables[0].names)


def _amounts(workload: Workload) -> Float[np.ndarray, "blocks terms"]:
    """One, the macs, the bytes that move and those of the parameters, of each block."""
    entering = np.asarray(workload.input_bytes, np.float64)
    leaving = np.append(entering[1:], np.asarray(workload.output_bytes, np.float64))
    held = [np.asarray(values, np.float64) for values in (workload.macs, workload.parameter_bytes)]
    return np.stack([np.ones_like(entering), held[0], entering + leaving, held[1]], axis=1)


def _single(values) -> Float[Array, "blocks nodes"]:
    return jax.device_put(np.asarray(values, np.float32))
