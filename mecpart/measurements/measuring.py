"""How long the blocks of a network take on this machine: whole runs, in rounds, in a process of its own.

One block again and again would find its weights in the caches, which in a run the other blocks have filled: that is up
to 1.7 times too fast. So all blocks run one after the other, as in a task, and each is timed on the way.
"""

import gc
import os
import time
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

import mecpart
from mecpart.fields import short_repr
from mecpart.measurements import engines, machine
from mecpart.measurements.blocks import Part, Tensors, block_of
from mecpart.measurements.engines import InputShape, Runnable
from mecpart.measurements.files import block_rows, read_block_rows, write_block_rows
from mecpart.model.devices import BlockTimes
from mecpart.validation import check_count, check_names, check_number, check_path


@dataclass(frozen=True, eq=False)
class MeasuredBlocks:
    """The times of one network's blocks on this machine.

    - `times`: on one node; medians over all runs that count, and their standard deviation.
    - `runs`: of each run that counts and each block, s; [R, M].
    - `source`: what the times depend on: machine, load, versions, threads.
    """

    times: BlockTimes
    runs: Float[np.ndarray, "runs blocks"]
    source: str

    __repr__ = short_repr

    def save(self, path: str | os.PathLike) -> Path:
        """Write a `blocks.csv`, or add to one, in place of the rows of the same network on the same node.

        Whatever else the file holds stays, so that one file can go from machine to machine.

        **Raises:** `ValueError` where the file is no table of block times, or has other blocks of the network.
        """
        check_path("path", path)
        first, *rows = block_rows(self.times, 1, self.source)
        network, (node,) = first["network"], self.times.names
        held = []
        if os.path.exists(path):
            try:
                held = read_block_rows(path)
            except (ValueError, OSError) as error:
                raise ValueError(f"path must be of a CSV file with block times, or new; got {path}: {error}") from error
        blocks: dict[str, list[str]] = {}  # of this network, by node; the row of the input is of none
        for row in held:
            if row["network"] == network:
                blocks.setdefault(row["node"], []).append(row["block"])
        own = [*self.times.workload.block_names]
        for other, there in blocks.items():
            if other and there != own:
                raise ValueError(
                    f"path must be of a file with the same blocks of {network!r}, which are {', '.join(own)}; "
                    f"got {path}, with {', '.join(there)} on {other!r}"
                )
        kept = [row for row in held if (row["network"], row["node"]) != (network, node)]
        return write_block_rows(path, [*kept, *([] if "" in blocks else [first]), *rows])


def measure(
    network: Runnable,
    blocks: int | None = None,
    *,
    rounds: int = 5,
    seconds: float = 1.0,
    engine: str | None = None,
    threads: int = 1,
    node: str | None = None,
    input_shape: InputShape = None,
) -> MeasuredBlocks:
    """Measure the times of a network's blocks on this machine.

    The blocks run one after the other, as they do in a task, in a process of its own that is kept to as many cores as
    it has threads. What stands beside the times says what they depend on; a machine with other work gives other times.

    **Arguments:**

    - `network`: the path of an ONNX file, one of the paper's networks by name, or what `trace_module` makes of a module
      of Flax.
    - `blocks`: M, as in `workload_from_onnx` and `workload`.
    - `rounds`: at least 2. The first does not count.
    - `seconds`: that a round lasts at least, in whole runs; at least one.
    - `engine`: "onnx" (ONNX Runtime) for files, "jax" for modules, either for the paper's networks (by default JAX).
      Their weights are random.
    - `threads`: that compute.
    - `node`: what to call this machine; by default after its processor.
    - `input_shape`: as in `workload_from_onnx`.

    **Returns:** block times on one node, each run, and what they depend on.

    **Raises:** `ValueError` for a network that cannot be read or cut so, or an argument out of range; `ImportError`
    without the engine; `RuntimeError` where the process that measures dies, as for want of memory.
    """
    check_count("rounds", rounds, minimum=2)
    check_number("seconds", seconds, shapes=((),))
    check_count("threads", threads, maximum=os.cpu_count())
    node = machine.processor() if node is None else node
    check_names("node", node)
    engine = engines.engine_of(network, engine)
    task = engines.workload_of(network, blocks, input_shape)
    load = machine.load()
    before = "unknown" if load is None else f"{load:.2f}"
    parts, entering = engines.parts_of(network, task.num_blocks, engine, input_shape)
    runs = _in_a_process(threads, parts, entering, engine, threads, rounds, float(seconds))
    counted = np.concatenate(runs[1:])
    source = (
        f"mecpart {mecpart.__version__} measure on {datetime.now(UTC):%Y-%m-%d}: {machine.processor()}, "
        f"{threads} of {os.cpu_count()} cores, governor {machine.governor()}, load before {before}; "
        f"engine {engine}, {machine.versions(engines.ENGINES[engine])}; "
        f"{len(counted)} whole runs in {rounds - 1} round{'s' * (rounds > 2)}"
    )
    median, spread = np.median(counted, axis=0), np.std(counted, axis=0, ddof=min(1, len(counted) - 1))
    times = BlockTimes(_column(median), task, (node,), spread=_column(spread))
    return MeasuredBlocks(times, counted, source)


def _in_a_process(threads: int, *arguments):
    """What `_rounds` returns in a new process, in which JAX has so many threads."""
    from loky import ProcessPoolExecutor

    env = {"PJRT_NPROC": str(threads), "JAX_PLATFORMS": "cpu"}
    executor = ProcessPoolExecutor(1, env=env, initializer=_pin, initargs=(threads,))
    try:
        return executor.submit(_rounds, *arguments).result()
    except BrokenExecutor as error:
        raise RuntimeError(f"the process that measures died: {error}") from error
    finally:
        executor.shutdown(kill_workers=True)


def _pin(threads: int) -> None:
    """Keep this process to as many cores, where the system can do so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _rounds(
    parts: list[Part], entering: Tensors, engine: str, threads: int, rounds: int, seconds: float
) -> list[Float[np.ndarray, "runs blocks"]]:
    """The seconds of each block in each run of each round."""
    run = [block_of(part, engine, threads) for part in parts]
    gc.freeze()  # or it looks through all that was imported, now and then
    found = []
    for _ in range(rounds):
        runs: list[np.ndarray] = []
        end = time.perf_counter() + seconds
        while not runs or time.perf_counter() < end:
            tensors, marks = entering, [time.perf_counter()]
            for block in run:
                tensors = block(tensors)
                marks.append(time.perf_counter())
            runs.append(np.diff(marks))
        found.append(np.array(runs))
    return found


def _column(values):
    """[M, 1] as JAX computes with it."""
    return jax.device_put(np.asarray(values, np.float32)[:, None])
