"""How far a batch is, and how long it will take: by earlier batches in its folder, or else by the reference's times."""

import csv
import threading
import time
from collections.abc import Collection, Hashable, Sequence
from pathlib import Path
from statistics import fmean

from mecpart.experiments.progress import duration, handed_over
from mecpart.experiments.runner import EXPERIMENTS, usual_runs
from mecpart.reproduction.notebooks import Run
from mecpart.reproduction.reference import notebook_seconds

# What was expected counts as much as what is measured when the batch has run for so many seconds.
_TRUST_SECONDS = 30.0


class Outlook:
    """What there is to do, what is running, and what is left.

    May be used by several threads at once.

    **Arguments:** `output`: of the batch; `runs`: all of it; `kept`: those of them that need not be run;
    `world`: by whose constants.
    """

    def __init__(self, output: Path, runs: Sequence[Run], kept: Collection[Run], world: str | None = None) -> None:
        self._all, self._kept = len(runs), len(kept)
        left = [run for run in runs if run not in kept]
        self._runs = len(
            {one for run in left for name in run.notebook.experiments for one in _runs_of(name, run, world)}
        )
        earlier = _earlier(output)
        known = {run: earlier.get(_key(run), _reference(run.profile, run)) for run in left}
        self._known = sum(seconds is not None for seconds in known.values()) > len(left) / 2
        self._by = "earlier batches here" if any(_key(run) in earlier for run in left) else "the reference results"
        if not self._known:  # nor any seconds, but shares of the whole
            known = {run: _reference("quick", run) for run in left}
        usual = [seconds for seconds in known.values() if seconds is not None]
        typical = fmean(usual) if usual else 1.0
        self._expected = {run: typical if seconds is None else seconds for run, seconds in known.items()}
        self._running: dict[Run, Path] = {}
        self._ended = 0
        self._finished = 0.0
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def announcement(self) -> str:
        """What is to be done, and about how long that takes."""
        left = self._all - self._kept
        told = f"{self._all} notebook{'s' * (self._all > 1)}" + (
            f", {self._kept} of them done already" if self._kept else ""
        )
        if not left:
            return told
        if self._runs:
            told += f", {self._runs} runs"
        if not self._known:
            return f"{told}; how long they take is not known yet"
        return f"{told}; about {duration(sum(self._expected.values()))}, by the times of {self._by}"

    def begin(self, run: Run, file: Path) -> None:
        """A run has begun, and tells in `file` how far it is."""
        with self._lock:
            self._running[run] = file

    def end(self, run: Run) -> None:
        """A run has ended, or need not be begun."""
        with self._lock:
            self._running.pop(run, None)
            self._ended += 1
            self._finished += self._expected.pop(run, 0.0)

    def reading(self) -> tuple[str, float]:
        """What is running and what is left, in words; and the share that is done."""
        gone = time.monotonic() - self._began
        with self._lock:
            told = {run: list(handed_over(file).values()) for run, file in self._running.items()}
            done, left, ended = self._finished, sum(self._expected.values()), self._ended
            for run, parts in told.items():
                part = self._expected.get(run, 0.0) * _share(parts)
                done, left = done + part, left - part
        words = ", ".join(f"{run}{_runs(parts)}" for run, parts in told.items())
        text = (
            f"[{ended}/{self._all}] {words}; {duration(gone)}" if words else f"[{ended}/{self._all}] {duration(gone)}"
        )
        if self._known:
            text += f", about {duration(left * (gone + _TRUST_SECONDS) / (done + _TRUST_SECONDS))} left"
        elif done:
            text += f", about {duration(left * gone / done)} left"
        return text, done / (done + left) if done + left else 1.0


def _runs_of(experiment: str, run: Run, world: str | None) -> Collection[Hashable]:
    return usual_runs(experiment, run.profile, run.scenario, world) if experiment in EXPERIMENTS else ()


def _key(run: Run) -> tuple[str, str, str]:
    return run.profile, run.scenario, run.notebook.name


def _runs(parts: Sequence[tuple[int, int]]) -> str:
    done, total = (sum(part[at] for part in parts) for at in range(2))
    return f": {done} of {total} runs" if total else ""


def _share(parts: Sequence[tuple[int, int]]) -> float:
    done, total = (sum(part[at] for part in parts) for at in range(2))
    return done / total if total else 0.0


def _earlier(output: Path) -> dict[tuple[str, str, str], float]:
    """Seconds that each run took in an earlier batch in this folder."""
    try:
        with (output / "build" / "timings.csv").open(newline="", encoding="utf-8") as file:
            return {
                (row["profile"], row["scenario"], row["notebook"]): float(row["seconds"])
                for row in csv.DictReader(file)
            }
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is damaged
        return {}


def _reference(profile: str, run: Run) -> float | None:
    """Seconds that a notebook took when the reference results of a profile were made."""
    return notebook_seconds(profile, run.scenario).get(run.notebook.name)
