"""Work spread over single-threaded processes, each pinned to a processor core of its own.

With the small matrices of this package that is twice as fast as one process on all cores.
"""

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any


def cores() -> list[int]:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


#: An item is given up when so many processes have died that had been given it.
DEATHS = 2

#: Seconds between two looks at whether the process that started this one is still there.
LOOK_SECONDS = 1.0


def pools(count: int) -> list:
    """`count` executors of one process each, one XLA thread in it; each on a core, shared only if there are too few."""
    return [_pool(at) for at in range(count)]


def _pool(at: int):
    """That with number `at`."""
    from loky import ProcessPoolExecutor

    mine = cores()
    # One XLA thread each; and loky's guess at memory leaks is off: what compiled code takes would set it off.
    env = {"PJRT_NPROC": "1", "LOKY_MAX_MEMORY_LEAK_SIZE": str(2**62)}
    # By this file alone: the package takes seconds to import, in which nobody would look for the parent.
    begin = f"import runpy; runpy.run_path({__file__!r})['serve'](parent, to)"
    names = {"parent": os.getpid(), "to": {mine[at % len(mine)]}}
    # Unlike multiprocessing's own, loky's processes do not run the calling script again.
    return ProcessPoolExecutor(1, env=env, initializer=exec, initargs=(begin, names))


def serve(parent: int, to: set[int]) -> None:
    """Make this process a worker of the process that started it: on some cores, and gone when that one is."""
    end_with(parent)
    pin(to)


def end_with(parent: int) -> None:
    """End this process soon after the process that started it, however that one ended.

    Nothing else tells it: signals such as SIGKILL reach the parent alone, and a pipe may be held by others.

    **Arguments:** `parent`: its id, as it knows it itself; it may have ended already.
    """

    def watch():
        while os.getppid() == parent:  # an orphan is given to another process
            time.sleep(LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="end_with", daemon=True).start()


def pin(to: set[int]) -> None:
    """Keep this thread, and those that it starts, to some processor cores, where the system can do so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, to)


class Agenda:
    """What is left to do, by the program that it needs compiled, and what a worker is to do next.

    A worker stays with the programs that it has compiled as long as there is work for them, and shares one with another
    worker only when no other is left: so that hardly anything is compiled twice.

    **Arguments:**

    - `work`: items by program, in the order in which to begin.

    May be used by several threads at once.
    """

    def __init__(self, work: Mapping[Hashable, Sequence[Any]]) -> None:
        self._left = {program: deque(items) for program, items in work.items() if items}
        self._begun: set[Hashable] = set()
        self._lock = threading.Lock()
        self.total = sum(map(len, self._left.values()))

    def take(self, compiled: Iterable[Hashable], elsewhere: Collection[Hashable] = ()) -> tuple[Hashable, Any] | None:
        """(program, item) for a worker; None if all is taken.

        **Arguments:** the programs that this worker has compiled, the latest first; those that others have.
        """
        with self._lock:
            own = sorted((program for program in compiled if program in self._left), key=elsewhere.__contains__)
            fresh = [program for program in self._left if program not in self._begun and program not in elsewhere]
            program = next(iter(own + fresh), None)
            if program is None:
                program = max(self._left, key=lambda other: len(self._left[other]), default=None)
            if program is None:
                return None
            self._begun.add(program)
            item = self._left[program].popleft()
            if not self._left[program]:
                del self._left[program]
            return program, item

    def clear(self) -> None:
        """Leave nothing to take."""
        with self._lock:
            self._left.clear()


def spread(
    function: Callable[[Any], Any],
    work: Mapping[Hashable, Sequence[Any]],
    processes: int,
    describe: Callable[[Any], str] = str,
) -> Iterator[tuple[Any, Any]]:
    """(item, `function(item)`) of every item, as they are finished.

    An item whose process dies (killed by hand, or for want of memory) is given to a new one.

    **Arguments:**

    - `work`: items by the program that they need compiled, in the order in which to begin (`Agenda`).
    - `processes`: how many; no more are started than there are items, or cores.
    - `describe`: what to call an item in an error.

    **Raises:** what `function` raises; `RuntimeError` if `DEATHS` processes have died of an item. Then, and when the
    caller stops, the processes are ended at once.
    """
    agenda = Agenda(work)
    done: queue.SimpleQueue[tuple[Any, Any, BaseException | None]] = queue.SimpleQueue()
    executors = pools(min(processes, agenda.total, len(cores())))
    lock, stopped = threading.Lock(), False

    def outcome(at: int, item: Any) -> Any:
        for _ in range(DEATHS):
            try:
                return executors[at].submit(function, item).result()
            except BrokenExecutor:
                with lock:
                    if stopped:
                        raise
                    executors[at] = _pool(at)
        raise RuntimeError(f"{DEATHS} processes died that had been given {describe(item)}")

    def feed(at: int) -> None:
        program = None
        while (taken := agenda.take([program])) is not None:
            program, item = taken
            try:
                done.put((item, outcome(at, item), None))
            except BaseException as error:  # the caller is to know
                done.put((item, None, error))
                return

    for at in range(len(executors)):
        threading.Thread(target=feed, args=(at,), daemon=True).start()
    try:
        for _ in range(agenda.total):
            item, result, error = done.get()
            if error is not None:
                raise error
            yield item, result
    finally:
        agenda.clear()
        with lock:
            stopped = True
        for pool in executors:
            pool.shutdown(kill_workers=True)
