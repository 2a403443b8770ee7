"""Runs the notebooks as one batch: parameters, order, resuming; results are either whole or not there.

Each notebook works in a private folder, laid out as the output folder. Only when it has run to its end are
its files moved into place, and last of all its done-record is written: the parameters, the versions, the
hashes of all that went in and came out. A notebook is done if its record fits what would be run now and its
files are as recorded; so a batch that was stopped goes on by being started again, and repeats only what is
missing or stale.
"""

import csv
import importlib.metadata
import json
import os
import platform
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from mecpart.experiments.cluster import LOCAL, Scheduler, check_address, installed
from mecpart.experiments.processes import cores
from mecpart.experiments.runner import PROFILES
from mecpart.files import STANDARD_OUTPUT, naming, place, write_atomically
from mecpart.locations import data_folder, notebooks_folder, output_folder
from mecpart.methods import METHODS_FILE, check_methods_file
from mecpart.model.scenario import SCENARIOS
from mecpart.reproduction.execution import KernelDied, Kernels, NotebookError, check_parameters, execute, read_notebook
from mecpart.reproduction.record import RESULT_FOLDERS, holds, is_result, read_record, sha256
from mecpart.sources import digest, imported

#: Notebooks side by side, at most, for each core of this machine: they may wait for the workers of a scheduler
#: elsewhere, but each takes 0.3 GB or more meanwhile.
JOBS_PER_CORE = 4

# Distributions that results depend on.
_DISTRIBUTIONS = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "pandas", "matplotlib")


@dataclass(frozen=True)
class Notebook:
    """A notebook of the batch, and what it declares in its metadata under `mecpart`.

    - `needs`: names of the notebooks whose data it reads.
    - `inputs`: files or folders below `data/` that it reads; the published values if it says nothing.
    """

    name: str
    path: Path
    title: str
    needs: tuple[str, ...]
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A notebook at one profile and scenario."""

    notebook: Notebook
    profile: str
    scenario: str

    @property
    def parameters(self) -> dict[str, str]:
        # The kernel works in the private folder, so "." is the output folder and no temporary path is shown.
        return {"profile": self.profile, "scenario": self.scenario, "output": "."}

    def __str__(self) -> str:
        return f"{self.notebook.name} ({self.scenario})"


@dataclass(frozen=True)
class Outcome:
    """What became of one run: `done` now, `kept` from before, `failed`, or `not run` for want of a need."""

    run: Run
    status: Literal["done", "kept", "failed", "not run"]
    seconds: float = 0.0
    reason: str = ""

    @property
    def finished(self) -> bool:
        return self.status in ("done", "kept")

    def __str__(self) -> str:
        taken = f" after {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.run}: {self.status}{taken}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Summary:
    """What became of a batch."""

    outcomes: tuple[Outcome, ...]
    output: Path
    seconds: float

    @property
    def finished(self) -> bool:
        """Whether every notebook ran to its end."""
        return all(outcome.finished for outcome in self.outcomes)

    def __str__(self) -> str:
        counts = {
            status: sum(outcome.status == status for outcome in self.outcomes)
            for status in ("done", "kept", "failed", "not run")
        }
        told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        lines = [f"{told}; {self.seconds:.0f} s"]
        for outcome in self.outcomes:
            if not outcome.finished:
                lines.append(f"  {outcome}")
        profile = self.outcomes[0].run.profile
        places = {
            "Tables:   ": self.output / "data" / "results" / profile,
            "Figures:  ": self.output / "figures" / profile,
            "Notebooks:": self.output / "build" / "notebooks" / profile,
        }
        lines += [f"{what} {place}" for what, place in places.items() if place.exists()]
        return "\n".join(lines)


def find_notebooks(folder: Path | None = None) -> dict[str, Notebook]:
    """The notebooks of a folder by name, in natural order (fig6 before fig10).

    Raises:
        ValueError: if there are none, one cannot be read, or one needs something that does not exist.
    """
    folder = notebooks_folder() if folder is None else Path(folder)
    paths = {path.stem: path for path in folder.glob("[!.]*.ipynb")}
    if not paths:
        raise ValueError(f"there are no notebooks in {folder}")
    found = {}
    for name in sorted(paths, key=_natural):
        declared = read_notebook(paths[name]).metadata.get("mecpart", {})
        notebook = Notebook(
            name=name,
            path=paths[name],
            title=declared.get("title", ""),
            needs=tuple(declared.get("needs", ())),
            inputs=tuple(declared.get("inputs", ("published",))),
        )
        for need in notebook.needs:
            if need not in paths:
                raise ValueError(f"notebook {name} needs {need!r}; there are {', '.join(sorted(paths))}")
        for given in notebook.inputs:
            if not (data_folder() / given).exists():
                raise ValueError(f"notebook {name} reads {given!r}, which is not below {data_folder()}")
        found[name] = notebook
    try:
        TopologicalSorter({name: notebook.needs for name, notebook in found.items()}).prepare()
    except CycleError as error:
        raise ValueError(f"notebooks need each other in a circle: {' -> '.join(error.args[1])}") from None
    return found


def _natural(name: str) -> list[tuple[str, int]]:
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]


def reproduce(
    profile: str = "quick",
    scenario: str = "both",
    only: Sequence[str] | None = None,
    jobs: int = 1,
    output: Path | str | None = None,
    scheduler: str | None = None,
    methods: Path | str | None = None,
    *,
    notebooks: Path | None = None,
) -> Summary:
    """Run the notebooks that are not done yet; one that fails leaves the others running.

    **Arguments:**

    - `profile`: a key of `mecpart.experiments.PROFILES`.
    - `scenario`: a key of `mecpart.model.scenario.SCENARIOS`, or "both" for all of them.
    - `only`: names of notebooks; what they need is run before them unless it is done. Default: all.
    - `jobs`: how many notebooks run side by side, on this machine; at most `JOBS_PER_CORE` for each of its cores.
    - `output`: folder that results are written under. Default: the checkout, or else the current folder.
    - `scheduler`: where the runs of all these notebooks' experiments are computed: the address of a Dask scheduler,
      or "local" for one with a worker on each core, for as long as the batch lasts (it starts processes by
      `multiprocessing`, so a script that calls this needs a main guard). Default: MECPART_SCHEDULER; or else
      "local" if there are several jobs and Dask is installed; or else each notebook starts processes of its own
      on its share of the cores.
    - `methods`: a Python file that registers methods of one's own (`mecpart.register_policy` and its like), which
      then take part in every notebook. Default: MECPART_METHODS, or else none.
    - `notebooks`: folder of the notebooks. Default: those of the package.

    **Raises:** before anything runs, `ValueError` if an argument or a notebook's parameters cell is not as it should
    be; `RuntimeError` if another batch is writing to the same output folder, or the scheduler does not answer or has
    workers that would compute something else (`mecpart.experiments.cluster.SchedulerError`); `ImportError` if there is
    to be a scheduler and Dask is not installed; `OSError`, naming the path, if the output folder cannot be written to,
    or its file system has no locks.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}; got {profile!r}")
    if scenario not in (*SCENARIOS, "both"):
        raise ValueError(f"scenario must be one of {', '.join(SCENARIOS)}, both; got {scenario!r}")
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise ValueError(f"jobs must be a whole number of at least 1; got {jobs!r}")
    output = output_folder(output)
    scheduler = os.environ.get("MECPART_SCHEDULER") if scheduler is None else scheduler
    if scheduler:
        check_address(scheduler, local=True)
    elif jobs > 1 and installed():
        scheduler = LOCAL
    methods = os.environ.get(METHODS_FILE) if methods is None else methods
    methods = check_methods_file(methods) if methods else None
    selected = _select(find_notebooks(notebooks), only)
    scenarios = list(SCENARIOS) if scenario == "both" else [scenario]
    runs = [Run(notebook, profile, name) for notebook in selected for name in scenarios]
    for run in runs:
        check_parameters(run.notebook.name, read_notebook(run.notebook.path), run.parameters)
    with _only_batch_in(output), _stopped_by_sigterm():
        return _Batch(output, jobs, runs, scheduler, methods).complete()


def _select(notebooks: dict[str, Notebook], only: Sequence[str] | None) -> list[Notebook]:
    """The chosen notebooks and all that they need, in the order of `notebooks`."""
    if only is None:
        return list(notebooks.values())
    pending = [only] if isinstance(only, str) else list(only)
    if not pending:
        raise ValueError("only must name at least one notebook; got none")
    chosen = set()
    while pending:
        name = pending.pop()
        if name not in notebooks:
            raise ValueError(f"only must name notebooks out of {', '.join(notebooks)}; got {name!r}")
        chosen.add(name)
        pending += notebooks[name].needs
    return [notebook for name, notebook in notebooks.items() if name in chosen]


class _Batch:
    """The runs that are to be completed in one output folder."""

    def __init__(
        self, output: Path, jobs: int, runs: Sequence[Run], scheduler: str | None, methods: Path | None
    ) -> None:
        self.output = output
        self.jobs = jobs = min(jobs, len(runs), JOBS_PER_CORE * len(cores()))
        self.runs = {(run.notebook.name, run.scenario): run for run in runs}
        self.kernels = Kernels()
        self.build = output / "build"
        self.staging = self.build / "staging"
        self.owners: dict[str, Run] = {}
        self.owners_lock = threading.Lock()
        self.versions = {"python": platform.python_version()} | {
            name: importlib.metadata.version(name) for name in _DISTRIBUTIONS
        }
        self.origin = {"commit": _commit(), "device": _device()}
        # Notebooks side by side must not pin their processes to the same cores.
        mine = cores()
        self.shares: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        for job in range(jobs):
            self.shares.put(mine[job::jobs])
        usual = {
            "JAX_COMPILATION_CACHE_DIR": str(self.build / "cache" / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
            "MECPART_RUNS": str(self.build / "cache" / "runs"),
        }
        # What the user has set is the user's choice.
        self.environment = {name: os.environ.get(name, value) for name, value in usual.items()}
        self.methods = methods
        if methods:
            self.environment[METHODS_FILE] = str(methods)
        self.scheduler = Scheduler(scheduler, self.environment) if scheduler else None

    def complete(self) -> Summary:
        """Settle every run, each after those that it needs, and sum up."""
        shutil.rmtree(self.staging, ignore_errors=True)  # left by a batch that was killed
        self.staging.mkdir(parents=True)
        began = time.monotonic()
        outcomes: dict[tuple[str, str], Outcome] = {}
        sorter = TopologicalSorter(
            {key: [(need, run.scenario) for need in run.notebook.needs] for key, run in self.runs.items()}
        )
        sorter.prepare()
        with ThreadPoolExecutor(self.jobs) as pool:
            running = {}
            try:
                while sorter.is_active():
                    for key in sorter.get_ready():
                        run = self.runs[key]
                        missing = [n for n in run.notebook.needs if not outcomes[n, run.scenario].finished]
                        running[pool.submit(self.settle, run, missing)] = key
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        key = running.pop(future)
                        outcome = outcomes[key] = future.result()
                        sorter.done(key)
                        _say(f"[{len(outcomes)}/{len(self.runs)}] {outcome}")
            except BaseException:
                self.kernels.stop()
                pool.shutdown(cancel_futures=True)
                _say("stopped; start the same command again to go on with what is missing")
                raise
            finally:
                if self.scheduler:
                    self.scheduler.close()
                self.write_timings()
                shutil.rmtree(self.staging, ignore_errors=True)
        settled = tuple(outcomes[key] for key in self.runs)
        summary = Summary(settled, self.output, time.monotonic() - began)
        _say(str(summary))
        return summary

    def settle(self, run: Run, missing: Sequence[str]) -> Outcome:
        """Bring one run to its outcome; afterwards its results are whole and recorded, or not there."""
        began = time.monotonic()
        try:
            if missing:
                self.withdraw(run)
                return Outcome(run, "not run", reason=f"needs {', '.join(missing)}, which did not finish")
            identity = self.identity(run)
            record = self.record(run)
            if record is not None and record["identity"] == identity:
                self.claim(run, record["outputs"])
                return Outcome(run, "kept")
            _say(f"{run}: started")
            self.withdraw(run)
            try:
                self.perform(run, identity)
            except KernelDied as error:  # what it has computed is kept
                if self.kernels.stopped:
                    raise
                _say(f"{run}: {error}; started once more")
                self.withdraw(run)
                self.perform(run, identity)
        except Exception as error:
            if self.kernels.stopped:
                raise
            told = str(error) if isinstance(error, NotebookError) else f"{type(error).__name__}: {error}"
            try:
                self.withdraw(run, keep_failed=True)
            except OSError as error:  # the disk may have become read-only; the other notebooks go on
                told += f"; what it left cannot be removed: {error}"
            return Outcome(run, "failed", time.monotonic() - began, told)
        return Outcome(run, "done", time.monotonic() - began)

    def perform(self, run: Run, identity: dict[str, Any]) -> None:
        """Execute the notebook in a private folder, move its results into place, and record them."""
        started, began = datetime.now(UTC), time.monotonic()
        self.check_places(f"{folder}/{run.profile}/{run.scenario}" for folder in RESULT_FOLDERS)
        with tempfile.TemporaryDirectory(
            dir=self.staging, prefix=f"{run.notebook.name}-", ignore_cleanup_errors=True
        ) as private:
            folder, executed = Path(private) / "output", Path(private) / run.notebook.path.name
            folder.mkdir()
            given = self.hand_over(run, folder)
            share = self.shares.get()
            # Experiments split their work over this many processes.
            processes = os.environ.get("MECPART_PROCESSES", str(len(share) or 1))
            environment = self.environment | {"MECPART_PROCESSES": processes}
            try:
                if self.scheduler:
                    environment["MECPART_SCHEDULER"] = self.scheduler.address()
                execute(
                    run.notebook.path,
                    run.parameters,
                    folder=folder,
                    executed=executed,
                    environment=environment,
                    cores=share if hasattr(os, "sched_setaffinity") else (),
                    kernels=self.kernels,
                )
                results = _results(folder, given)
                if self.identity(run) != identity:
                    raise NotebookError("the notebook, the package or an input was changed while it ran")
                self.claim(run, results)
                self.check_places(results)
            except Exception:
                if executed.exists() and not self.kernels.stopped:
                    with suppress(OSError):  # the error that brought us here says more
                        place(executed, self.beside(run, ".failed.ipynb"))
                raise
            finally:
                self.shares.put(share)
            moves = {path: folder / path for path in results}
            moves[self.beside(run, ".ipynb").relative_to(self.output).as_posix()] = executed
            record = {
                "identity": identity,
                "outputs": {path: sha256(source) for path, source in moves.items()},
                "started": started.isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - began, 3),
                **self.origin,
            }
            unplaced = Path(private) / "record.json"
            with naming(unplaced):
                unplaced.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            # A kill from here on leaves whole files without a record, which the next batch writes anew.
            for path, source in moves.items():
                place(source, self.output / path)
            place(unplaced, self.beside(run, ".record.json"))

    def check_places(self, paths: Iterable[str]) -> None:
        """Only `RESULT_FOLDERS` themselves may be links: what a link below them leads to need not be ours."""
        for path in paths:
            if not is_result(self.output, path):
                raise NotebookError(f"{self.output / path} lies behind a symbolic link, which is not followed")

    def beside(self, run: Run, suffix: str) -> Path:
        """The executed notebook of a run, or what lies beside it."""
        return self.build / "notebooks" / run.profile / run.scenario / f"{run.notebook.name}{suffix}"

    def identity(self, run: Run) -> dict[str, Any]:
        """Everything that the results of a run depend on; equal identities need no second run."""
        root = data_folder()
        files = [file for given in run.notebook.inputs for file in _files(root / given)]
        inputs = {f"data/{file.relative_to(root).as_posix()}": sha256(file) for file in files}
        return {
            "parameters": run.parameters,
            "versions": self.versions,
            "notebook": sha256(run.notebook.path),
            "package": _package(run.notebook.path),
            "inputs": inputs | self.data_of_needs(run),
        } | ({"methods": sha256(self.methods)} if self.methods else {})

    def data_of_needs(self, run: Run) -> dict[str, str]:
        """Path and hash of each data file that the needed runs wrote."""
        found: dict[str, str] = {}
        for need in run.notebook.needs:
            record = self.record(self.runs[need, run.scenario])
            if record is None:
                raise NotebookError(f"the results of {need} were changed since it finished")
            found |= {path: digest for path, digest in record["outputs"].items() if path.startswith("data/")}
        return found

    def hand_over(self, run: Run, folder: Path) -> dict[str, str]:
        """Copy the data of the needed runs into the private folder of this one."""
        given = self.data_of_needs(run)
        for path in given:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.output / path, folder / path)
        return given

    def record(self, run: Run) -> dict[str, Any] | None:
        """The done-record of a run; None unless it can be read and every file is as recorded."""
        record = read_record(self.beside(run, ".record.json"))
        return record if record and holds(record, self.output) else None

    def claim(self, run: Run, results: Sequence[str]) -> None:
        """Note whose results these are; two notebooks that write one file would undo each other for ever."""
        with self.owners_lock:
            for path in results:
                owner = self.owners.setdefault(path, run)
                if owner != run:
                    raise NotebookError(f"writes {path}, which {owner} writes too")

    def withdraw(self, run: Run, *, keep_failed: bool = False) -> None:
        """Remove what an earlier run left: out of date, it must not be taken for the present results."""
        recorded = self.beside(run, ".record.json")
        record = read_record(recorded)
        stale = [self.output / path for path in record["outputs"]] if record else []
        # Without a record (build/ was cleared, or a kill fell between results and record) go by the name.
        for folder in RESULT_FOLDERS:
            given = f"{folder}/{run.profile}/{run.scenario}"
            if is_result(self.output, given):
                stale += [file for file in _files(self.output / given) if file.stem == run.notebook.name]
        stale.append(self.beside(run, ".ipynb"))
        if not keep_failed:
            stale.append(self.beside(run, ".failed.ipynb"))
        for path in (*stale, recorded):
            if path.is_file() or path.is_symlink():
                path.unlink()

    def write_timings(self) -> None:
        """Write `build/timings.csv`: how long each recorded run took, of all batches in this folder."""
        rows = []
        for path in sorted((self.build / "notebooks").glob("*/*/*.record.json")):
            record = read_record(path)
            if record is None:
                continue
            profile, scenario = path.parts[-3:-1]
            name = path.name.removesuffix(".record.json")
            rows.append([profile, scenario, name, record["seconds"], record["started"]])

        def write(path: Path) -> None:
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([["profile", "scenario", "notebook", "seconds", "started"], *rows])

        try:
            write_atomically(self.build / "timings.csv", write)
        except OSError as error:  # what became of the notebooks is still to be told
            _say(f"the times are not written: {error}")


def _results(folder: Path, given: dict[str, str]) -> list[str]:
    """The files that a notebook wrote, relative to its folder; `given` was put there for it to read."""
    results = []
    for file in _files(folder):
        path = file.relative_to(folder).as_posix()
        if path in given:
            continue
        if not path.startswith(tuple(f"{kept}/" for kept in RESULT_FOLDERS)):
            raise NotebookError(f"writes {path}; results go below data/results/ and figures/")
        results.append(path)
    for path, written in given.items():
        if not (folder / path).is_file() or sha256(folder / path) != written:
            raise NotebookError(f"changes {path}, which a notebook that it needs has written")
    return results


def _package(notebook: Path) -> str:
    """One hash over the package's code that a notebook uses."""
    code = "\n".join(cell.source for cell in read_notebook(notebook).cells if cell.cell_type == "code")
    return digest(*imported(code))


def _files(path: Path) -> list[Path]:
    """The file itself, or all files below a folder, in an order that is the same everywhere."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())


def _say(line: str) -> None:
    with naming(STANDARD_OUTPUT):
        print(line, flush=True)


@contextmanager
def _only_batch_in(output: Path) -> Iterator[None]:
    """Hold the lock of an output folder; the system lets go of it when this process ends, however it ends."""
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
def _stopped_by_sigterm() -> Iterator[None]:
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


def _commit() -> str | None:
    """The commit of the checkout, with a mark if files differ from it; None without git or a checkout."""
    folder = data_folder().parent
    if not (folder / ".git").exists():
        return None
    describe = ("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    found = _told_by("git", "-C", str(folder), *describe)
    return found[0] if found else None


def _device() -> dict[str, Any]:
    """The machine that computed, so far as times and rounding depend on it."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        (processor, *_) = re.findall(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    except (OSError, ValueError):
        processor = platform.processor() or platform.machine()
    accelerators = _told_by("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return {
        "processor": processor,
        "cores": len(cores()),
        "accelerators": accelerators,
        "system": platform.platform(),
    }


def _told_by(*command: str) -> list[str]:
    """The lines that a program prints; none if it is not there or fails."""
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return told.stdout.splitlines() if told.returncode == 0 else []
