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
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float

import mecpart
from mecpart.fields import short_repr
from mecpart.files import write_atomically
from mecpart.measurements import engines, machine
from mecpart.measurements.engines import InputShape
from mecpart.model.devices import BlockTimes
from mecpart.validation import check_count, check_names, check_number, check_path

if TYPE_CHECKING:
    import pandas as pd

_KEY = ["network", "block", "node"]


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

    def to_frame(self) -> "pd.DataFrame":
        """The rows of a `blocks.csv`: first that of the input, then one for each block."""
        import pandas as pd

        task = self.times.workload
        sizes = [*task.input_bytes, task.output_bytes]
        spread = np.asarray(self.times.spread)[:, 0]
        rows = [{"network": task.name, "block": "input", "output_bytes": _text(sizes[0]), "source": self.source}]
        for m, block in enumerate(task.block_names):
            numbers = {
                "seconds": self.times.seconds[m, 0],
                "output_bytes": sizes[m + 1],
                "spread": spread[m],
                "macs": task.macs[m],
                "parameter_bytes": task.parameter_bytes[m],
            }
            names = {"network": task.name, "block": block, "node": self.times.names[0]}
            numbers = {name: _text(number) for name, number in numbers.items()}
            rows.append(names | numbers | {"batch": "1", "source": self.source})
        columns = [*_KEY, "seconds", "output_bytes", "spread", "macs", "parameter_bytes", "batch", "source"]
        return pd.DataFrame(rows, columns=columns).fillna("")

    def save(self, path: str | os.PathLike) -> Path:
        """Write the rows to a CSV file, in place of those of the same network on the same node.

        Whatever else the file holds stays, so that one file can go from machine to machine.

        **Raises:** `ValueError` where the file is no table of block times, or has other blocks of the network.
        """
        import pandas as pd

        check_path("path", path)
        table = self.to_frame()
        if os.path.exists(path):
            try:
                held = pd.read_csv(path, dtype=str, keep_default_na=False)
            except (ValueError, OSError) as error:
                raise ValueError(f"path must be of a CSV file with block times, or new; got {path}: {error}") from error
            if missing := [name for name in (*_KEY, "seconds", "output_bytes") if name not in held]:
                raise ValueError(f"path must be of a CSV file with block times, or new; got {path}, without {missing}")
            own = held[held["network"] == table["network"][0]]
            for node, rows in own[own["node"] != ""].groupby("node"):
                if [*rows["block"]] != [*table["block"][1:]]:
                    raise ValueError(
                        f"path must be of a file with the same blocks of {table['network'][0]!r}, which are "
                        f"{', '.join(table['block'][1:])}; got {path}, with {', '.join(rows['block'])} on {node!r}"
                    )
            again = own.index[own["node"] == table["node"][1]]
            table = pd.concat([held.drop(again), table[1:] if (own["node"] == "").any() else table]).fillna("")
        return write_atomically(Path(path), lambda file: table.to_csv(file, index=False, lineterminator="\n"))


def measure(
    network: str | os.PathLike,
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

    - `network`: the path of an ONNX file, or one of the paper's networks by name.
    - `blocks`: M, as in `workload_from_onnx` and `workload`.
    - `rounds`: at least 2. The first does not count.
    - `seconds`: that a round lasts at least, in whole runs; at least one.
    - `engine`: "onnx" (ONNX Runtime), or "jax" for the paper's networks alone, and by default for them. Their weights
      are random.
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
    runs = _in_a_process(
        threads, os.fspath(network), task.num_blocks, engine, threads, input_shape, rounds, float(seconds)
    )
    counted = np.concatenate(runs[1:])
    source = (
        f"mecpart {mecpart.__version__} measure on {datetime.now(UTC):%Y-%m-%d}: {machine.processor()}, "
        f"{threads} of {os.cpu_count()} cores, governor {machine.governor()}, load before {before}; "
        f"engine {engine}, {machine.versions(engines.ENGINES[engine])}; "
        f"{len(counted)} whole runs in {rounds - 1} rounds"
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
    network: str, blocks: int, engine: str, threads: int, input_shape: InputShape, rounds: int, seconds: float
) -> list[Float[np.ndarray, "runs blocks"]]:
    """The seconds of each block in each run of each round."""
    run, entering = engines.load(network, blocks, engine, threads, input_shape)
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


def _text(number) -> str:
    """As few digits as float32 is read back from."""
    return str(np.float32(number)).removesuffix(".0")
