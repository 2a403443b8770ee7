"""Work spread over the workers of a Dask scheduler, on this machine or on many.

Only the runs of experiments go there, and their costs come back by value: workers need this package, but no files of
ours. Dask is optional, and imported when a scheduler is asked for.
"""

import ast
import asyncio
import importlib.util
import logging
import os
import queue
import re
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax

from mecpart.experiments.processes import Agenda, cores, serve
from mecpart.experiments.programs import COMPILED
from mecpart.experiments.runs import made_with

#: In place of an address: a scheduler with workers on this machine, for as long as they are needed.
LOCAL = "local"

#: Seconds in which a scheduler must answer: with what is done around it, nobody waits longer than ten.
ANSWER_SECONDS = 8.0

#: An item is given up when so many workers have died that had been given it.
DEATHS = 3

#: Seconds between two looks at who works for a scheduler.
LOOK_SECONDS = 1.0

#: Seconds between two complaints that nobody does.
QUIET_SECONDS = 60.0

#: Hashes of the programs that this process has compiled, if it is a worker; the latest first.
_compiled: list[Hashable] = []


class SchedulerError(RuntimeError):
    """A scheduler or its workers are not there, are not of use to this package, or could not finish the work."""


class _WorkerDied(Exception):
    pass


def installed() -> bool:
    """Whether Dask is."""
    return importlib.util.find_spec("distributed") is not None


def check_address(address: str, *, local: bool = False) -> str:
    """Return an address that a scheduler can have, or `LOCAL` where that is allowed.

    **Raises:** `ValueError` for anything else; `ImportError` if Dask is not installed.
    """
    allowed = "an address such as tcp://host:8786" + (f", or {LOCAL!r}" if local else "")
    place = re.fullmatch(r"(\w+://)?[^\s/]+:(\d{1,5})/?", address) if isinstance(address, str) else None
    if not (place and 0 < int(place[2]) < 2**16) and not (local and address == LOCAL):
        raise ValueError(f"scheduler must be {allowed}; got {address!r}")
    if not installed():
        raise ImportError("a scheduler needs Dask, which is not installed: pip install 'mecpart[cluster]'")
    return address


class Scheduler:
    """The scheduler of a batch: that at an address, or one of its own with a worker on each core of this machine.

    **Arguments:** `place`: an address or `LOCAL`; and of the latter: `environment`, variables for its workers, and how
    many `workers`, by default one for each core.

    **Raises:** `SchedulerError` if that at an address does not answer, or its workers would compute something else.
    """

    def __init__(self, place: str, environment: Mapping[str, str], workers: int | None = None) -> None:
        self._place, self._environment = place, environment
        self._workers = len(cores()) if workers is None else workers
        self._lock = threading.Lock()
        self._cluster: Any = None
        self._lost: SchedulerError | None = None
        if place != LOCAL:
            self.address()

    def address(self) -> str:
        """Where it answers now; one of our own is started when it is first asked for.

        **Raises:** `SchedulerError` if it is lost; then it stays lost.
        """
        with self._lock:
            if self._place == LOCAL:
                self._cluster = self._cluster or _local_cluster(self._environment, self._workers)
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


def _local_cluster(environment: Mapping[str, str], workers: int):
    from distributed import LocalCluster

    variables = {"PJRT_NPROC": "1", **environment}
    try:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            # No dashboard; what is left of its server must not ask for a port that another one may have.
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,  # what compiled code takes would be held against the workers
            silence_logs=logging.ERROR,  # that a worker was slow to stop, or is started again, is no news for a user
            env=variables,
        )
    except RuntimeError as error:
        raise SchedulerError(
            f"no scheduler could be started here: {error} (a script needs `if __name__ == '__main__':`)"
        ) from error
    with _connection(cluster.scheduler_address) as client:
        client.register_plugin(_of_this_batch(variables))
    return cluster


def _of_this_batch(variables: Mapping[str, str]):
    """A plugin for the workers of a local cluster, and those that take their place when they die.

    Each gets a core of its own and does not outlive the batch, but leaves Ctrl-C to it. JAX is told the `variables`
    that are for it: a worker runs the imports of the calling script, often JAX too, before it has them.
    """
    from distributed import WorkerPlugin

    parent, mine = os.getpid(), cores()

    class OfThisBatch(WorkerPlugin):
        def setup(self, worker):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            serve(parent, {mine[worker.name]})
            for option in jax.config.values.keys() & {name.lower() for name in variables}:
                text, kind = variables[option.upper()], type(jax.config.values[option])
                jax.config.update(option, kind(ast.literal_eval(text)) if kind in (bool, int, float) else text)

    return OfThisBatch()


@contextmanager
def _connection(address: str) -> Iterator[Any]:
    """A client of the scheduler.

    **Raises:** `SchedulerError` if there is none at that address.
    """
    from distributed import Client

    answer = _answer(address)
    if isinstance(answer, Exception):
        why = str(answer) or f"not within {ANSWER_SECONDS:g} s"
        raise SchedulerError(f"no Dask scheduler answers at {address}: {why}") from None
    if answer != "Scheduler":
        raise SchedulerError(f"no Dask scheduler answers at {address}: it is that of a {answer.lower()}")
    try:
        client = Client(address, timeout=ANSWER_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SchedulerError(f"no Dask scheduler answers at {address}: {error}") from None
    with client:
        yield client


def _answer(address: str) -> str | Exception:
    """What answers at an address, by Dask's name for it, or why nothing does.

    Dask's own client waits for ever for the first word of something that says none, and so does the end of a process
    for a name server; so this is asked in a thread that can be left behind.
    """
    from distributed import Security
    from distributed.comm import get_address_host_port
    from distributed.core import rpc

    answers: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()

    async def identify() -> str:
        arguments = Security().get_connection_args("client")
        async with rpc(address, timeout=0.9 * ANSWER_SECONDS, connection_args=arguments) as other:
            return (await other.identity())["type"]

    def ask():
        try:
            socket.getaddrinfo(*get_address_host_port(address))
            answers.put(asyncio.run(asyncio.wait_for(identify(), ANSWER_SECONDS)))
        except MemoryError:  # the first word was taken for the length of a message
            answers.put(OSError("what is there speaks another protocol"))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        return TimeoutError()


def spread(
    function: Callable[[Any], Any],
    work: Mapping[Hashable, Sequence[Any]],
    address: str,
    describe: Callable[[Any], str] = str,
) -> Iterator[tuple[Any, Any]]:
    """As `mecpart.experiments.processes.spread`, over the workers of the scheduler at `address`, later ones
    included.

    Each worker has one item of ours at a time, so that several callers share the workers. An item whose worker dies
    goes to another one, at the end: its worker may have died of it. When the caller stops, workers still finish what
    they have begun.

    **Arguments:** as there, with items that are hashable; `describe`: what to call an item in an error.

    **Raises:** what `function` raises; `SchedulerError` if the scheduler is lost, if a worker has other versions than
    this process, or if an item has taken down `DEATHS` workers.
    """
    from dask.base import tokenize

    # Hashes, since what one caller has registered and sends along, another may not be able to read.
    agenda = Agenda({tokenize(program): items for program, items in work.items()})
    done: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    if not agenda.total:
        return
    expected = made_with() | {"device": jax.default_backend()}
    with _connection(address) as client:
        compiled = _compare(client, expected)
        doing: dict[str, tuple[Hashable, Any, Any]] = {}  # by worker: program, item and future
        again: deque[tuple[Hashable, Any]] = deque()
        deaths: Counter = Counter()
        left, quiet_since = agenda.total, time.monotonic()

        def begin(worker: str, program: Hashable, item: Any) -> None:
            task = _Task(function, item, program, expected)
            # A caller that was killed and comes back finds what it had begun. Only this worker: Dask would never run
            # what may run elsewhere, if all workers were gone for a while.
            key = f"{getattr(function, '__name__', 'task')}-{tokenize(task, worker, deaths[item])}"
            future = client.submit(task, key=key, workers=[worker])
            doing[worker] = program, item, future
            future.add_done_callback(lambda future: done.put((worker, future)))

        def give_back(worker: str) -> None:
            program, item, _ = doing.pop(worker)
            deaths[item] += 1  # also where it waited behind what the worker died of
            if deaths[item] == DEATHS:
                raise SchedulerError(f"{DEATHS} workers died that had been given {describe(item)}")
            again.append((program, item))

        while left:
            workers = _workers(client, address)
            for worker in doing.keys() - workers:
                give_back(worker)
            for worker in sorted(workers - doing.keys()):
                elsewhere = {program for other in workers - {worker} for program in compiled.get(other, ())}
                taken = agenda.take(compiled.get(worker, ()), elsewhere) or (again.popleft() if again else None)
                if taken is None:
                    break
                begin(worker, *taken)
            if workers:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > QUIET_SECONDS:
                print(f"waiting for workers at {address}", flush=True)
                quiet_since = time.monotonic()
            try:
                worker, future = done.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            if worker not in doing or doing[worker][2] is not future:
                continue  # it was given back
            try:
                answer = _result(future, address)
            except _WorkerDied:
                give_back(worker)
                continue
            if answer is None:
                done.put((worker, future))  # its worker is busy, or has died meanwhile
                continue
            compiled[worker], result = answer
            _, item, _ = doing.pop(worker)
            left -= 1
            yield item, result


@dataclass(frozen=True)
class _Task:
    """An item as a worker gets it."""

    function: Callable[[Any], Any]
    item: Any
    program: Hashable
    expected: Mapping[str, str]

    def __call__(self) -> tuple[list[Hashable], Any]:
        """(programs that the worker now has compiled, result)."""
        from distributed import get_worker

        _check(get_worker().address, self.expected, _report()[0])  # it may have come after the others were asked
        if self.program in _compiled:
            _compiled.remove(self.program)
        _compiled.insert(0, self.program)
        del _compiled[COMPILED:]
        return list(_compiled), self.function(self.item)


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
        if isinstance(answer, OSError):
            continue  # it has just died
        if isinstance(answer, Exception):
            raise SchedulerError(f"the worker at {address} cannot use mecpart: {type(answer).__name__}: {answer}")
        found, compiled[address] = answer
        _check(address, expected, found)
    return compiled


def _workers(client, address: str) -> set[str]:
    try:
        if client.status == "running":
            return set(client.nthreads())
    except OSError:
        pass
    raise _lost(address)


def _result(future, address: str) -> tuple[list[Hashable], Any] | None:
    """What a task that has ended returned; None if its worker does not give it away now.

    **Raises:** what it raised; `_WorkerDied` if its worker died of it.
    """
    from distributed import CancelledError, KilledWorker

    if future.status == "error":
        error = future.exception()
        raise _WorkerDied if isinstance(error, KilledWorker) else error
    try:
        return future.result(timeout=ANSWER_SECONDS)
    except TimeoutError:
        return None
    except (CancelledError, OSError):
        raise _lost(address) from None


def _lost(address: str) -> SchedulerError:
    return SchedulerError(
        f"the Dask scheduler at {address} was lost; what is finished is kept, so start again when there is one"
    )
