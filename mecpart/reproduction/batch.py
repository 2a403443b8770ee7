"""Runs the notebooks as one batch: parameters, order, resuming; results are either whole or not there.

Each notebook works in a private folder, laid out as the output folder. Only when it has run to its end are
its files moved into place, and last of all its done-record is written: the parameters, the versions, the
hashes of all that went in and came out. A notebook is done if its record fits what would be run now and its
files are as recorded; so a batch that was stopped goes on by being started again, and repeats only what is
missing or stale.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from mecpart import context
from mecpart.comparison import DELAY_FIGURES
from mecpart.experiments.cluster import Scheduler, check_address
from mecpart.experiments.processes import cores
from mecpart.experiments.progress import Line
from mecpart.experiments.runner import PROFILES
from mecpart.experiments.worlds import LEDGERS, check_world, world_folder
from mecpart.files import STANDARD_OUTPUT, naming, place
from mecpart.locations import output_folder
from mecpart.methods.register import check_methods_file
from mecpart.reproduction.execution import KernelDied, Kernels, NotebookError, check_parameters, execute, read_notebook
from mecpart.reproduction.locks import only_batch_in, stopped_by_sigterm
from mecpart.reproduction.notebooks import Run, find_notebooks, in_order, scenarios_named, select
from mecpart.reproduction.origin import identity, origin
from mecpart.reproduction.outcome import Outcome, Summary, headline
from mecpart.reproduction.outlook import Outlook
from mecpart.reproduction.record import RESULT_FOLDERS
from mecpart.reproduction.results import Results, results_in

#: Notebooks side by side, at most, for each core of this machine: they may wait for the workers of a scheduler
#: elsewhere, but each takes 0.3 GB or more meanwhile.
JOBS_PER_CORE = 4

#: How far notebooks side by side stand back behind the first, whose answer is waited for: on Linux they have a tenth of
#: its time while both have work to do. One after the other, none does: it would stand back behind other programs alone.
NICENESS = 10


def reproduce(
    profile: str = "quick",
    scenario: str | None = None,
    only: Sequence[str] | None = None,
    jobs: int = 1,
    output: Path | str | None = None,
    scheduler: str | None = None,
    methods: Path | str | None = None,
    *,
    world: str = LEDGERS,
    everything: bool = False,
    processes: int | None = None,
    notebooks: Path | None = None,
) -> Summary:
    """Run the notebooks that are not done yet; one that fails leaves the others running.

    **Arguments:**

    - `profile`: a key of `mecpart.experiments.PROFILES`.
    - `scenario`: a key of `mecpart.SCENARIOS`, or "all". Default: "as_printed", and "all" if it is to be
      `everything`.
    - `only`: names of notebooks; what they need is run before them unless it is done. Default: the paper's, or
      `everything`.
    - `jobs`: how many notebooks run side by side, on this machine; at most `JOBS_PER_CORE` for each of its cores. They
      share the cores, and the times that a notebook measures are then longer.
    - `output`: folder that results are written under. Default: the checkout, or else the current folder.
    - `scheduler`: where the runs of all these notebooks' experiments are computed: the address of a Dask scheduler,
      or "local" for one with a worker on each core, for as long as the batch lasts (it starts processes by
      `multiprocessing`, so a script that calls this needs a main guard). Default: none, each notebook starts
      processes of its own.
    - `methods`: a Python file that registers methods of one's own (`mecpart.register_policy` and its like), which
      then take part in every notebook.
    - `world`: by which constants experiments are run (`mecpart.experiments.worlds`). Those of another world than the
      ledger's go to a folder of their own, `worlds/<name>` below the output folder.
    - `everything`: whether to run also what goes beyond the paper.
    - `processes`: how many single-threaded processes each experiment uses, or how many workers a local scheduler has.
      Default: one for each core.
    - `notebooks`: folder of the notebooks. Default: those of the package.

    **Raises:** before anything runs, `ValueError` if an argument or a notebook's parameters cell is not as it should
    be; `RuntimeError` if another batch is writing to the same output folder, or the scheduler does not answer or has
    workers that would compute something else (`mecpart.experiments.cluster.SchedulerError`); `ImportError` if there is
    to be a scheduler and Dask is not installed; `OSError`, naming the path, if the output folder cannot be written to,
    or its file system has no locks.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}; got {profile!r}")
    scenarios = scenarios_named(scenario or ("all" if everything else "as_printed"))
    for name, count in (("jobs", jobs), ("processes", processes)):
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            raise ValueError(f"{name} must be a whole number of at least 1; got {count!r}")
    if everything and only is not None:
        raise ValueError(f"only must not be given where everything is to be run; got {only!r}")
    check_world(world, *scenarios)
    output = world_folder(output_folder(output), world)
    told = context.current()
    scheduler = scheduler or told.scheduler
    if scheduler:
        check_address(scheduler, local=True)
    methods = methods or told.methods_file
    runs = in_order(select(find_notebooks(notebooks), only, everything), profile, scenarios)
    for run in runs:
        check_parameters(run.notebook.name, read_notebook(run.notebook.path), run.parameters)
    told = replace(
        told,
        processes=processes or told.processes,
        scheduler=scheduler,
        runs_folder=told.runs_folder or str(output / "build" / "cache" / "runs"),
        methods_file=str(check_methods_file(methods)) if methods else None,
        world=world,
    )
    with only_batch_in(output), stopped_by_sigterm():
        return _Batch(output, jobs, runs, told).complete()


class _Batch:
    """The runs that are to be completed in one output folder, and in which context their kernels work."""

    def __init__(self, output: Path, jobs: int, runs: Sequence[Run], told: context.Context) -> None:
        self.results = Results(output)
        self.runs = {(run.notebook.name, run.scenario): run for run in runs}
        self.kernels = Kernels()
        self.staging = self.results.build / "staging"
        self.origin = origin()
        mine = cores()
        self.jobs = min(jobs, len(runs), JOBS_PER_CORE * len(mine))
        usual = {
            "JAX_COMPILATION_CACHE_DIR": str(self.results.build / "cache" / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        # What the user has set is the user's choice.
        self.environment = {name: os.environ.get(name, value) for name, value in usual.items()}
        self.context = told
        self.methods = Path(told.methods_file) if told.methods_file else None
        workers = min(told.processes or len(mine), len(mine))
        self.scheduler = Scheduler(told.scheduler, self.environment, workers) if told.scheduler else None
        self.outcomes: dict[tuple[str, str], Outcome] = {}
        self.kept = [run for run in runs if self.is_kept(run)]
        self.first = next((run for run in runs if run not in self.kept), None)
        self.outlook = Outlook(output, runs, self.kept, told.world)
        self.line = Line(self.outlook.reading)

    def complete(self) -> Summary:
        """Settle every run, each after those that it needs, and sum up."""
        shutil.rmtree(self.staging, ignore_errors=True)  # left by a batch that was killed
        self.staging.mkdir(parents=True)
        began = time.monotonic()
        with ThreadPoolExecutor(self.jobs) as pool, self.line:
            try:
                self.say(self.outlook.announcement())
                self.settle_all(pool)
            except BaseException:
                self.line.end()
                self.say("Stopped. What is finished is kept; start the same command again to go on with the rest.")
                self.kernels.stop()
                pool.shutdown(cancel_futures=True)
                raise
            finally:
                if self.scheduler:
                    self.scheduler.close()
                try:
                    self.results.write_timings()
                except OSError as error:  # what became of the notebooks is still to be told
                    self.say(f"the times are not written: {error}")
                shutil.rmtree(self.staging, ignore_errors=True)
        outcomes = tuple(self.outcomes[key] for key in self.runs)
        found = {scenario: self.headline(scenario)[1] for scenario in dict.fromkeys(key[1] for key in self.runs)}
        answers = {scenario: sentence for scenario, sentence in found.items() if sentence}
        summary = Summary(outcomes, self.results.output, time.monotonic() - began, answers)
        self.say(str(summary))
        return summary

    def settle_all(self, pool: ThreadPoolExecutor) -> None:
        """Bring every run to its outcome, in order, so far as it has what it needs."""
        # First what is kept: its files are known to be its own before others are written.
        order = sorted(self.runs, key=lambda key: self.runs[key] not in self.kept)
        sorter = TopologicalSorter({key: [(n, key[1]) for n in run.notebook.needs] for key, run in self.runs.items()})
        sorter.prepare()
        ready: list[tuple[str, str]] = []
        running: dict[Future[Outcome], tuple[str, str]] = {}
        news: list[Outcome] = []
        while sorter.is_active():
            ready = sorted((*ready, *sorter.get_ready()), key=order.index)
            while ready and len(running) < self.jobs:
                key = ready.pop(0)
                running[pool.submit(self.settle, self.runs[key])] = key
            for outcome in news:  # while the next ones are at work
                self.tell(outcome)
            news = []
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                key = running.pop(future)
                outcome = self.outcomes[key] = future.result()
                self.outlook.end(self.runs[key])
                news.append(outcome)
                sorter.done(key)
        for outcome in news:
            self.tell(outcome)

    def tell(self, outcome: Outcome) -> None:
        """Say what became of a run; and of the first and the last delay figure what they answer."""
        if outcome.status == "kept":  # it was announced
            return
        self.say(f"[{len(self.outcomes)}/{len(self.runs)}] {outcome}")
        run = outcome.run
        if outcome.finished and run.notebook.name in DELAY_FIGURES:
            others = [self.outcomes.get((name, run.scenario)) for name in DELAY_FIGURES if name != run.notebook.name]
            if all(others) or not any(others):
                figures, sentence = self.headline(run.scenario)
                if sentence:
                    self.say(f"{figures[0].upper()}{figures[1:]}: {sentence}")

    def headline(self, scenario: str) -> tuple[str, str]:
        """The answer of the figures that are finished by now (`mecpart.reproduction.outcome.headline`)."""
        finished = [name for (name, where), outcome in self.outcomes.items() if where == scenario and outcome.finished]
        (profile,) = {run.profile for run in self.runs.values()}
        try:
            return headline(self.results.output / "data" / "results" / profile / scenario, finished)
        except (OSError, ValueError, KeyError):  # a table that is not one of ours: its notebook says more
            return "", ""

    def say(self, text: str) -> None:
        with naming(STANDARD_OUTPUT):
            self.line.say(text)

    def needs(self, run: Run) -> list[Run]:
        """The runs whose data a run reads."""
        return [self.runs[need, run.scenario] for need in run.notebook.needs]

    def identity(self, run: Run) -> dict[str, Any]:
        return identity(run, self.results.data_of(self.needs(run)), self.methods, self.context.world)

    def is_kept(self, run: Run) -> bool:
        """Whether a run, and all that it needs, is done and as it would come out now."""
        record = self.results.record(run)
        if record is None or not all(map(self.is_kept, self.needs(run))):
            return False
        return record["identity"] == self.identity(run)

    def settle(self, run: Run) -> Outcome:
        """Bring one run to its outcome; afterwards its results are whole and recorded, or not there."""
        began = time.monotonic()
        try:
            missing = [need for need in run.notebook.needs if not self.outcomes[need, run.scenario].finished]
            if missing:
                self.results.withdraw(run)
                return Outcome(run, "not run", reason=f"needs {', '.join(missing)}, which did not finish")
            wanted = self.identity(run)
            record = self.results.record(run)
            if record is not None and record["identity"] == wanted:
                self.results.claim(run, record["outputs"])
                return Outcome(run, "kept")
            self.results.withdraw(run)
            try:
                self.perform(run, wanted)
            except KernelDied as error:  # what it has computed is kept
                if self.kernels.stopped:
                    raise
                self.say(f"{run}: {error}; started once more")
                self.results.withdraw(run)
                self.perform(run, wanted)
        except Exception as error:
            if self.kernels.stopped:
                raise
            told = str(error) if isinstance(error, NotebookError) else f"{type(error).__name__}: {error}"
            try:
                self.results.withdraw(run, keep_failed=True)
            except OSError as error:  # the disk may have become read-only; the other notebooks go on
                told += f"; what it left cannot be removed: {error}"
            return Outcome(run, "failed", time.monotonic() - began, told)
        return Outcome(run, "done", time.monotonic() - began)

    def perform(self, run: Run, wanted: dict[str, Any]) -> None:
        """Execute the notebook in a private folder, move its results into place, and record them."""
        started, began = datetime.now(UTC), time.monotonic()
        self.results.check_places(f"{folder}/{run.profile}/{run.scenario}" for folder in RESULT_FOLDERS)
        with tempfile.TemporaryDirectory(
            dir=self.staging, prefix=f"{run.notebook.name}-", ignore_cleanup_errors=True
        ) as private:
            folder, executed = Path(private) / "output", Path(private) / run.notebook.path.name
            folder.mkdir()
            given = self.results.data_of(self.needs(run))
            self.results.hand_over(given, folder)
            try:
                self.execute(run, folder, executed)
                written = results_in(folder, given)
                if self.identity(run) != wanted:
                    raise NotebookError("the notebook, the package or an input was changed while it ran")
                self.results.claim(run, written)
                self.results.check_places(written)
            except Exception:
                if executed.exists() and not self.kernels.stopped:
                    with suppress(OSError):  # the error that brought us here says more
                        place(executed, self.results.beside(run, ".failed.ipynb"))
                raise
            times = {
                "started": started.isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - began, 3),
            }
            self.results.put(run, written, folder, executed, {"identity": wanted, **times, **self.origin})

    def execute(self, run: Run, folder: Path, executed: Path) -> None:
        """Run the notebook in a kernel that tells how far it is."""
        progress = folder.with_name("progress.json")
        told = replace(
            self.context,
            scheduler=self.scheduler.address() if self.scheduler else None,
            progress_file=str(progress),
        )
        self.outlook.begin(run, progress)
        execute(
            run.notebook.path,
            run.parameters,
            folder=folder,
            executed=executed,
            environment=self.environment | told.variables(),
            niceness=NICENESS if self.jobs > 1 and run != self.first else 0,
            kernels=self.kernels,
        )
