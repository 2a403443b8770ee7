"""Where a result comes from: all that it depends on, and the machine and commit that made it."""

import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from mecpart.experiments.processes import cores
from mecpart.experiments.worlds import LEDGERS, world_words
from mecpart.locations import data_folder
from mecpart.measurements.machine import processor
from mecpart.reproduction.execution import read_notebook
from mecpart.reproduction.notebooks import Run
from mecpart.reproduction.record import sha256
from mecpart.sources import digest, imported

# Distributions that results depend on.
_DISTRIBUTIONS = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "pandas", "matplotlib")


def identity(run: Run, needed: dict[str, str], methods: Path | None, world: str | None = None) -> dict[str, Any]:
    """Everything that the results of a run depend on; equal identities need no second run.

    **Arguments:** `needed`: path and hash of the data that other notebooks hand over; `methods`: a file that registers
    some; `world`: by whose constants.
    """
    root = data_folder()
    files = [file for given in run.notebook.inputs for file in files_of(root / given)]
    inputs = {f"data/{file.relative_to(root).as_posix()}": sha256(file) for file in files}
    found = {
        "parameters": run.parameters,
        "versions": _versions(),
        "notebook": sha256(run.notebook.path),
        "package": _package(run.notebook.path),
        "inputs": inputs | needed,
    }
    if methods:
        found["methods"] = sha256(methods)
    if world not in (None, LEDGERS):
        found["world"] = world_words(world, run.scenario)
    return found


def origin() -> dict[str, Any]:
    """The commit and the machine."""
    return {"commit": _commit(), "device": _device()}


def files_of(path: Path) -> list[Path]:
    """The file itself, or all files below a folder, in an order that is the same everywhere."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())


@cache
def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _DISTRIBUTIONS}


def _package(notebook: Path) -> str:
    """One hash over the package's code that a notebook uses."""
    code = "\n".join(cell.source for cell in read_notebook(notebook).cells if cell.cell_type == "code")
    return digest(*imported(code))


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
    accelerators = _told_by("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return {
        "processor": processor(),
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
