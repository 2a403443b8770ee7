"""What the runs of a batch leave in its output folder: whole and recorded, or not there."""

import csv
import json
import shutil
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mecpart.files import naming, place, write_atomically
from mecpart.reproduction.execution import NotebookError
from mecpart.reproduction.notebooks import Run
from mecpart.reproduction.origin import files_of
from mecpart.reproduction.record import RESULT_FOLDERS, holds, is_result, read_record, sha256


class Results:
    """The results below an output folder, and which run each file is of.

    May be used by several threads at once.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.build = output / "build"
        self._owners: dict[str, Run] = {}
        self._lock = threading.Lock()

    def beside(self, run: Run, suffix: str) -> Path:
        """The executed notebook of a run, or what lies beside it."""
        return self.build / "notebooks" / run.profile / run.scenario / f"{run.notebook.name}{suffix}"

    def record(self, run: Run) -> dict[str, Any] | None:
        """The done-record of a run; None unless it can be read and every file is as recorded."""
        record = read_record(self.beside(run, ".record.json"))
        return record if record and holds(record, self.output) else None

    def data_of(self, runs: Iterable[Run]) -> dict[str, str]:
        """Path and hash of each data file that some runs wrote.

        **Raises:** `NotebookError` if one of them is not as it was recorded.
        """
        found: dict[str, str] = {}
        for run in runs:
            record = self.record(run)
            if record is None:
                raise NotebookError(f"the results of {run.notebook.name} were changed since it finished")
            found |= {path: digest for path, digest in record["outputs"].items() if path.startswith("data/")}
        return found

    def hand_over(self, given: Iterable[str], folder: Path) -> None:
        """Copy data files into the private folder of a run that reads them."""
        for path in given:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.output / path, folder / path)

    def claim(self, run: Run, results: Iterable[str]) -> None:
        """Note whose results these are; two notebooks that write one file would undo each other for ever.

        **Raises:** `NotebookError` if one is another run's.
        """
        with self._lock:
            for path in results:
                owner = self._owners.setdefault(path, run)
                if owner != run:
                    raise NotebookError(f"writes {path}, which {owner} writes too")

    def check_places(self, paths: Iterable[str]) -> None:
        """Only `RESULT_FOLDERS` themselves may be links: what a link below them leads to need not be ours.

        **Raises:** `NotebookError` for a path behind a link.
        """
        for path in paths:
            if not is_result(self.output, path):
                raise NotebookError(f"{self.output / path} lies behind a symbolic link, which is not followed")

    def put(self, run: Run, results: Sequence[str], folder: Path, executed: Path, record: dict[str, Any]) -> None:
        """Move the results of a run, and the executed notebook, from its private folder into place, and record them."""
        moves = {path: folder / path for path in results}
        moves[self.beside(run, ".ipynb").relative_to(self.output).as_posix()] = executed
        record = record | {"outputs": {path: sha256(source) for path, source in moves.items()}}
        unplaced = folder.with_name("record.json")
        with naming(unplaced):
            unplaced.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        # A kill from here on leaves whole files without a record, which the next batch writes anew.
        for path, source in moves.items():
            place(source, self.output / path)
        place(unplaced, self.beside(run, ".record.json"))

    def withdraw(self, run: Run, *, keep_failed: bool = False) -> None:
        """Remove what an earlier run left: out of date, it must not be taken for the present results."""
        recorded = self.beside(run, ".record.json")
        record = read_record(recorded)
        stale = [self.output / path for path in record["outputs"]] if record else []
        # Without a record (build/ was cleared, or a kill fell between results and record) go by the name.
        for folder in RESULT_FOLDERS:
            given = f"{folder}/{run.profile}/{run.scenario}"
            if is_result(self.output, given):
                stale += [file for file in files_of(self.output / given) if file.stem == run.notebook.name]
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

        write_atomically(self.build / "timings.csv", write)


def results_in(folder: Path, given: Mapping[str, str]) -> list[str]:
    """The files that a notebook wrote, relative to its folder; `given` was put there for it to read.

    **Raises:** `NotebookError` if it wrote anywhere else, or over what it was given.
    """
    results = []
    for file in files_of(folder):
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
