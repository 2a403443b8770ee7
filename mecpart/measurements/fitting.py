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

#: Steps to the best fit, at most; most take five.
MOST_STEPS = 100

#: What a block's seconds are the sum of: an amount of each, by the seconds that one of it takes.
TERMS = ("overhead", "macs", "bytes", "parameters")


@dataclass(frozen=True)
class TimesFit:
    """What a block takes on each of N + 1 nodes: overhead + macs / throughput + bytes / bandwidth.

    - `overhead`: s of each block, [N + 1].
    - `seconds_per_mac`: 1 / throughput, [N + 1].
    - `seconds_per_byte`: 1 / bandwidth, [N + 1], of the bytes that enter the block and leave it.
    - `seconds_per_parameter_byte`: the same of its parameters, [N + 1].
    - `sigma`: standard deviation of log(measured / fitted), [N + 1]: of a measured time in proportion to the fitted one
      where it is small.
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

    Node by node, with no term below 0, by least squares on the logarithm: what is minimised is the sum of
    log(fitted / measured)^2, so that twice too long counts as much as half as long. By the relative error,
    (fitted / measured - 1)^2, times far too short cost little, and what differs much is fitted too short: of networks
    of Scission's that were not among those fitted, by a factor of four (`docs/measure.md`).

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
        told = np.isfinite(seconds[:, node]) & (seconds[:, node] > 0) & amounts[:, wanted].any(axis=1)
        if told.sum() < len(wanted):
            raise ValueError(
                f"times must be of at least {len(wanted)} blocks on each node, one for each of terms; got {told.sum()} "
                f"that take finite time on {name!r}"
            )
        found[wanted, node], error = _least_log_error(amounts[told][:, wanted], seconds[told, node])
        sigma[node] = np.sqrt(error / max(told.sum() - len(wanted), 1))
    overhead, per_mac, per_byte, per_parameter_byte = found
    return TimesFit(overhead, per_mac, per_byte, per_parameter_byte, sigma, tables[0].names)


def _least_log_error(amounts: Float[np.ndarray, "blocks terms"], seconds: Float[np.ndarray, " blocks"]):
    """The x of least sum of log(amounts @ x / seconds)^2, none below 0, and that sum.

    By Gauss and Newton's steps, each of which is non-negative least squares on the error relative to the fitted times.
    """

    def error(x) -> float:
        fitted = amounts @ x
        return float(np.sum(np.square(np.log(fitted / seconds)))) if fitted.all() else np.inf

    # Each term begins with its part of the blocks that have it, so that no block takes no time.
    has = amounts > 0
    logs = np.log(np.where(has, seconds[:, None] / np.where(has, amounts, 1), 1))
    x = has.any(axis=0) * np.exp(logs.sum(axis=0) / np.maximum(has.sum(axis=0), 1)) / amounts.shape[1]
    least = error(x)
    for _ in range(MOST_STEPS):
        fitted = amounts @ x
        relative = amounts / fitted[:, None]
        scale = relative.max(axis=0)  # or rounding would hide the small terms
        scale[scale == 0] = 1.0
        towards = nnls(relative / scale, 1 - np.log(fitted / seconds))[0] / scale - x
        length = next((2.0**-n for n in range(20) if error(x + 2.0**-n * towards) < least), 0.0)
        before, x = least, x + length * towards
        least = error(x)
        if least >= before * (1 - 1e-9):
            break
    return x, least


def _amounts(workload: Workload) -> Float[np.ndarray, "blocks terms"]:
    """One, the macs, the bytes that move and those of the parameters, of each block."""
    entering = np.asarray(workload.input_bytes, np.float64)
    leaving = np.append(entering[1:], np.asarray(workload.output_bytes, np.float64))
    held = [np.asarray(values, np.float64) for values in (workload.macs, workload.parameter_bytes)]
    return np.stack([np.ones_like(entering), held[0], entering + leaving, held[1]], axis=1)


def _single(values) -> Float[Array, "blocks nodes"]:
    return jax.device_put(np.asarray(values, np.float32))
