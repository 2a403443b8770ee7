"""Work spread over the workers of a Dask scheduler, on this machine or on many.

Only the runs of experiments go there, and their costs come back by value: workers need this package, but no files of
ours. Dask is optional, and imported when a scheduler is asked for.
"""

import importlib.util
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax

from mecpart.processes import Agenda, cores, default_processes, pin
from mecpart.runs import made_with

#: In place of an address: a scheduler with workers on this machine, for as long as they are needed.
LOCAL = "local"

#: Seconds in which a scheduler must answer.
ANSWER_SECONDS = 10.0

#: Seconds between two looks at who works for a scheduler.
LOOK_SECONDS = 1.0

#: Seconds between two complaints that nobody does.
QUIET_SECONDS = 60.0

#: Programs that this process has been given work for, if it is a worker.
_compiled: list[Hashable] = []


class SchedulerError(RuntimeError):
    """A scheduler or its workers are not there, are not of use to this package, or could not finish the work."""


def installed() -> bool:
    """Whether Dask is."""
    return importlib.util.find_spec("distributed") is not None


def check_address(address: str, *, local: bool = False) -> str:
    """Return an address that a scheduler can have, or `LOCAL` where that is allowed.

    **Raises:** `ValueError` for anything else; `ImportError` if Dask is not installed.
    """
    allowed = "an address such as tcp://host:8786" + (f", or {LOCAL!r}" if local else "")
    known = isinstance(address, str) and (
        re.fullmatch(r"(\w+://)?[^\s/]+:\d+/?", address) or (local and address == LOCAL)
    )
    if not known:
        raise ValueError(f"scheduler must be {allowed}; got {address!r}")
    if not installed():
        raise ImportError("a scheduler needs Dask, which is not installed: pip install mecpart[cluster]")
    return address


class Scheduler:
    """The scheduler of a batch: that at an address, or one of its own with a worker on each core of this machine.

    **Arguments:** `place`: an address or `LOCAL`; `environment`: variables for the workers of the latter.

    **Raises:** `SchedulerError` if that at an address does not answer, or its workers would compute something else.
    """

    def __init__(self, place: str, environment: Mapping[str, str]) -> None:
        self._place, self._environment = place, environment
        self._lock = threading.Lock()
        self._cluster = self._lost = None
        if place != LOCAL:
            self.address()

    def address(self) -> str:
        """Where it answers now; one of our own is started when it is first asked for.

        **Raises:** `SchedulerError` if it is lost; then it stays lost.
        """
        with self._lock:
            if self._place == LOCAL:
                self._cluster = self._cluster or _local_cluster(self._environment)
                return self._cluster.scheduler_address
            if self._lost is None:
                try:
                    with _connection(self._place) as client:
                        _compare(client, made_with())
                except SchedulerError as error:
                    self._lost = error
            if self._lost is not None:
                raise self._lost
            return self._place

    def close(self) -> None:
        """End what was started."""
        with self._lock:
            if self._cluster is not None:
                self._cluster.close()


def _local_cluster(environment: Mapping[str, str]):
    from distributed import LocalCluster

    count = default_processes()
    cluster = LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        memory_limit=0,  # what compiled code takes would be held against the workers
        silence_logs=logging.ERROR,  # that a worker was slow to stop, or is started again, is no news for a user
        scheduler_kwargs={"allowed_failures": 1},
        env={"PJRT_NPROC": "1", **environment},
    )
    if count <= len(cores()):
        with _connection(cluster.scheduler_address) as client:
            client.register_plugin(_pinned(cores()))
    return cluster


def _pinned(to: Sequence[int]):
    """A plugin that pins each worker of a local cluster to a core of its own, and what takes its place when it dies."""
    from distributed import WorkerPlugin

    class Pinned(WorkerPlugin):
        def setup(self, worker):
            pin({to[worker.name]})

    return Pinned()


@contextmanager
def _connection(address: str) -> Iterator[Any]:
    """A client of the scheduler."""
    from distributed import Client

    try:
        client = Client(address, timeout=ANSWER_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SchedulerError(f"no Dask scheduler answers at {address}: {error}") from None
    with client:
        yield client


def spread(
    function: Callable[[Any], Any],
    work: Mapping[Hashable, Sequence[Any]],
    address: str,
    describe: Callable[[Any], str] = str,
) -> Iterator[tuple[Any, Any]]:
    """As `mecpart.processes.spread`, over the workers of the scheduler at `address`, those that come later included.

    Each worker has one item of ours at a time, so that several callers share the workers. An item whose worker dies
    goes to another one. When the caller stops, workers still finish what they have begun.

    **Arguments:** `describe`: what to call an item in an error.

    **Raises:** what `function` raises; `SchedulerError` if the scheduler is lost, if a worker has other versions than
    this process, or if an item takes down every worker that it is given to.
    """
    from dask.base import tokenize
    from distributed import KilledWorker

    agenda, done = Agenda(work), queue.SimpleQueue()
    if not agenda.total:
        return
    expected = made_with() | {"device": jax.default_backend()}
    with _connection(address) as client:
        compiled = _compare(client, expected)
        doing: dict[str, tuple[Hashable, Any, Any]] = {}  # by worker: program, item and future
        # Dask blames a death on all items that the worker had, also those that waited behind the guilty one. So each
        # gets a second chance, after everything else is finished.
        again, accused = [], []
        left, quiet_since = agenda.total, time.monotonic()

        def begin(worker: str, program: Hashable, item: Any) -> None:
            task = _Task(function, item, program, expected)
            # Callers that ask for the same item at the same time share it; so does one that was killed and comes back.
            key = f"{function.__name__}-{tokenize(task, item in accused)}"
            future = client.submit(task, key=key, workers=[worker], allow_other_workers=True)
            doing[worker] = program, item, future
            future.add_done_callback(lambda _: done.put(worker))

        while left:
            workers = _workers(client)
            for worker in workers:
                elsewhere = {program for other in compiled if other in workers for program in compiled[other]}
                if worker in doing:
                    continue
                taken = agenda.take(compiled.get(worker, ()), elsewhere) or (again.pop() if again else None)
                if taken is None:
                    break
                begin(worker, *taken)
            try:
                worker = done.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                if workers:
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > QUIET_SECONDS:
                    print(f"waiting for workers at {address}", flush=True)
                    quiet_since = time.monotonic()
                continue
            program, item, future = doing.pop(worker)
            try:
                by, has, result = _result(future, address)
            except KilledWorker as error:
                if item in accused:
                    raise SchedulerError(f"the workers died that were given {describe(item)}: {error}") from None
                accused.append(item)
                again.append((program, item))
                continue
            compiled[by] = has
            left -= 1
            yield item, result


@dataclass(frozen=True)
class _Task:
    """An item as a worker gets it."""

    function: Callable[[Any], Any]
    item: Any
    program: Hashable
    expected: Mapping[str, str]

    def __call__(self) -> tuple[str, list[Hashable], Any]:
        """(address of the worker, programs that it now has compiled, result)."""
        from distributed import get_worker

        address = get_worker().address
        _check(address, self.expected, _report()[0])  # it may have come after the others were asked
        if self.program not in _compiled:
            _compiled.append(self.program)
        return address, list(_compiled), self.function(self.item)


def _report() -> tuple[dict[str, str], list[Hashable]]:
    """What this worker computes with, and what it has compiled."""
    os.environ.setdefault("PJRT_NPROC", "1")  # before JAX starts, which the next line makes it do
    return made_with() | {"device": jax.default_backend()}, list(_compiled)


def _check(address: str, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    differing = [
        f"{name} {found[name]} instead of {wanted}" for name, wanted in expected.items() if found[name] != wanted
    ]
    if differing:
        raise SchedulerError(f"the worker at {address} would compute something else: it has {', '.join(differing)}")


def _compare(client, expected: Mapping[str, str]) -> dict[str, list[Hashable]]:
    """What each worker has compiled, once it is sure that all compute with what is expected."""
    compiled = {}
    for address, answer in client.run(_report, on_error="return").items():
        if isinstance(answer, Exception):
            raise SchedulerError(f"the worker at {address} cannot use mecpart: {type(answer).__name__}: {answer}")
        found, compiled[address] = answer
        _check(address, expected, found)
    return compiled


def _workers(client) -> list[str]:
    return sorted(client.nthreads()) if client.status == "running" else []


def _result(future, address: str) -> tuple[str, list[Hashable], Any]:
    from distributed import CancelledError

    if future.status == "error":
        raise future.exception()
    try:
        return future.result()
    except (CancelledError, OSError):
        raise SchedulerError(
            f"the Dask scheduler at {address} was lost; what is finished is kept, so start again when there is one"
        ) from None
