"""Progress that tells: one line that is kept current, so that nobody waits before a silent terminal."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mecpart import context

#: Seconds in which nothing is said: what is over by then needs no progress.
PATIENCE = 2.0

#: Seconds between two lines where none can be kept current, as in a log.
QUIET_SECONDS = 25.0

#: Seconds after which the line is brought up to date.
LOOK_SECONDS = 0.5


@contextmanager
def progress(what: str, total: int, kept: int = 0) -> Iterator[Callable[[int], None]]:
    """Show how far some runs are, while the body is working on them.

        with progress("fig8", total=80, kept=5) as tell:
            ...
            tell(done)

    On a terminal and in Jupyter one line is kept current; elsewhere lines follow each other (`QUIET_SECONDS`). In the
    kernel of a batch nothing is shown: the batch is told, which shows the progress of all its notebooks.

    **Arguments:** `what`: a name; `total`: runs, of which `kept` were there before.

    **Yields:** a function that takes how many of the `total` are done by now, `kept` included.
    """
    began, done = time.monotonic(), kept
    file = context.current().progress_file

    def tell(now: int) -> None:
        nonlocal done
        done = now
        if file:
            _hand_over(Path(file), what, done, total)

    def read() -> tuple[str, float]:
        gone, new = time.monotonic() - began, done - kept
        told = f"{what}: {done} of {total} runs, {duration(gone)}"
        return (f"{told}, about {duration(gone / new * (total - done))} left" if new else told), done / total

    tell(kept)
    if file or kept == total:
        yield tell
    else:
        with Line(read):
            yield tell


class Line:
    """A line that is kept current by a thread of its own, as long as the context lasts.

    **Arguments:** `read`: what it is to say now, and which share of the work is done, 0 to 1.
    """

    def __init__(self, read: Callable[[], tuple[str, float]]) -> None:
        self._read = read
        self._file: Any = sys.stdout if _in_jupyter() else sys.stderr
        self._in_place = _in_jupyter() or self._file.isatty()
        self._bar: tqdm | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_current, name="progress", daemon=True)

    def __enter__(self) -> "Line":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Take the line away, for good; what is said from now on is said as before."""
        self._over.set()
        self._thread.join()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def say(self, text: str) -> None:
        """Print on standard output, above the line."""
        if self._bar is None:
            print(text, flush=True)
        else:
            tqdm.write(text)
            sys.stdout.flush()

    def _keep_current(self) -> None:
        if self._over.wait(PATIENCE if self._in_place else QUIET_SECONDS):
            return
        while True:
            with suppress(OSError, ValueError):  # nobody reads it any more
                self._show(*self._read())
            if self._over.wait(LOOK_SECONDS if self._in_place else QUIET_SECONDS):
                return

    def _show(self, text: str, share: float) -> None:
        if not self._in_place:
            print(text, file=self._file, flush=True)
            return
        if self._bar is None:
            bar_format = "{bar:20} {desc}"
            self._bar = tqdm(total=1, file=self._file, leave=False, dynamic_ncols=True, bar_format=bar_format)
        self._bar.n = share
        self._bar.set_description_str(text)


def duration(seconds: float) -> str:
    """A time in words: "40 s", "2 min 5 s", "1 h 3 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _in_jupyter() -> bool:
    kernel = sys.modules.get("ipykernel.iostream")
    return kernel is not None and isinstance(sys.stdout, kernel.OutStream)


# What this process has told its batch: (done, total) by name.
_told: dict[str, tuple[int, int]] = {}


def _hand_over(file: Path, what: str, done: int, total: int) -> None:
    _told[what] = done, total
    unfinished = file.with_suffix(f".{os.getpid()}")
    with suppress(OSError):  # a full disk must not end what is worth more than its progress
        unfinished.write_text(json.dumps(_told), encoding="utf-8")
        unfinished.replace(file)


def handed_over(file: Path) -> dict[str, tuple[int, int]]:
    """Runs (done, total) by name, as a process has told them so far."""
    try:
        return {what: (done, total) for what, (done, total) in json.loads(file.read_text(encoding="utf-8")).items()}
    except OSError:  # it has not told anything yet
        return {}
