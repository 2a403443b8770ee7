"""One batch at a time in an output folder, and none that outlives a signal to stop."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def only_batch_in(output: Path) -> Iterator[None]:
    """Hold the lock of an output folder; the system lets go of it when this process ends, however it ends.

    **Raises:** `RuntimeError` if another batch holds it, or the system has no such locks; `OSError`, naming the path,
    if there can be no lock there.
    """
    try:
        import fcntl
    except ImportError:
        raise RuntimeError("mecpart reproduce needs POSIX file locks: use Linux, macOS or WSL") from None
    path = output / "build" / "batch.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = lock.read().strip() or "unknown"
            raise RuntimeError(
                f"another batch (process {holder}) is writing to {output}; wait for it or take another output"
            ) from None
        except OSError as error:  # as on some network file systems
            raise OSError(error.errno, f"no lock can be had there ({error.strerror})", str(path)) from None
        lock.truncate(0)
        with suppress(OSError):  # a full disk: the name is for others to read, the lock holds without
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM stop the batch as Ctrl-C does, so that no kernel outlives it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return

    def stop(signum, frame):
        sys.exit(128 + signum)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
