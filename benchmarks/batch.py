"""Measure where the time of a whole batch goes: `make benchmark-batch`, or `python benchmarks/batch.py [profile]`.

The same batch runs three times into a folder of its own, each time with more of the caches left by the time before.
`README.md` beside this file says what the differences mean.
"""

import argparse
import json
import os
import shutil
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import nbformat
import pandas as pd

from mecpart.experiments.runner import PROFILES
from mecpart.reproduction.batch import reproduce

#: What a batch writes beside its caches.
RESULTS = ("data", "figures", "build/notebooks")
#: The variables by which a user places the caches elsewhere.
CACHES = ("JAX_COMPILATION_CACHE_DIR", "MECPART_CONTEXT")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure where the time of `mecpart reproduce` goes.")
    parser.add_argument("profile", nargs="?", default="smoke", choices=PROFILES, help="(default: %(default)s)")
    profile = parser.parse_args().profile
    for name in CACHES:
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(profile, Path(folder))
    parts = pd.DataFrame(
        {
            "compile": seconds.cold - seconds.compiled,
            "train, evaluate": seconds.compiled - seconds.kept,
            "kernel": seconds["empty"],  # not .empty, which is an attribute of every frame
            "rest": seconds.kept - seconds["empty"],
        }
    )
    for table in (seconds, parts):
        shown = pd.concat([table, table.sum().rename("all").to_frame().T])
        print(f"\n{shown.to_string(float_format='{:.1f}'.format)}", flush=True)
    target = Path("build") / "benchmark-batch.json"
    target.parent.mkdir(exist_ok=True)
    tables = {"profile": profile, "seconds": seconds.to_dict("index"), "parts": parts.to_dict("index")}
    target.write_text(json.dumps(tables, indent=1))
    print(f"\nwritten to {target}")


def measure(profile: str, folder: Path) -> pd.DataFrame:
    """Seconds of each notebook: `cold`, with what is `compiled` left, with the runs `kept` as well, and if `empty`."""
    batch, runs = folder / "batch", folder / "batch" / "build" / "cache" / "runs"
    # First of all, so that the first batch does not pay for the first look at every file of the kernel.
    empty = _seconds(profile, folder / "empty", _empty_notebook(folder / "notebooks"))
    seconds = {"cold": _seconds(profile, batch)}
    _remove(*(batch / name for name in RESULTS), runs)
    seconds["compiled"] = _seconds(profile, batch)
    _remove(*(batch / name for name in RESULTS))
    seconds["kept"] = _seconds(profile, batch)
    return pd.DataFrame(seconds).assign(empty=min(empty.values()))


def _seconds(profile: str, output: Path, notebooks: Path | None = None) -> dict[str, float]:
    """Wall-clock seconds of each notebook in a batch, one after the other."""
    told = output.with_suffix(".log")
    with told.open("w") as log, redirect_stdout(log):
        summary = reproduce(profile, "as_printed", everything=True, output=output, notebooks=notebooks)
    if not summary.finished:
        raise SystemExit(f"the batch did not finish: {told.read_text()}")
    print(f"{output.name}: {summary.seconds:.1f} s", flush=True)
    return {str(outcome.run): outcome.seconds for outcome in summary.outcomes}


def _empty_notebook(folder: Path) -> Path:
    """A folder with one notebook that does nothing."""
    cell = nbformat.v4.new_code_cell('profile = "smoke"\nscenario = "as_printed"\noutput = "."')
    cell.metadata.tags = ["parameters"]
    folder.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "empty.ipynb")
    return folder


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
