"""Runs that are kept in a folder, so that they are never computed again."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from mecpart.agents.learning import EpisodeCost
from mecpart.experiments.runs import WINDOWS, Costs, Run
from mecpart.files import write_atomically


def keep(folder: Path, run: Run, costs: Costs) -> None:
    """Write what a run cost into `folder`, in one step."""
    identity = run.identity
    arrays: dict[str, Any] = {"identity": np.array(identity), "last_episode": costs.last_episode}
    for part in ("training", "evaluation"):
        values = getattr(costs, part)
        arrays |= {f"{part}_{name}": value for name, value in asdict(values).items()} if values is not None else {}
    write_atomically(folder / f"{identity}.npz", lambda path: np.savez(path, **arrays))


def kept(folder: Path, run: Run) -> Costs | None:
    """What a run cost, if it has been kept in `folder` and nothing that it depends on has changed.

    A file that does not hold that is named, and left to be replaced.
    """
    path = folder / f"{run.identity}.npz"
    try:
        # Opened here: NumPy leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)  # reads all of them, and compares their checksums
        if str(arrays.pop("identity")) != path.stem:
            raise ValueError("it is of another run")
        return _costs(run, arrays)
    except FileNotFoundError:
        return None
    except Exception as error:  # NumPy and zipfile raise a dozen kinds over bytes that are not what they were
        why = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"the kept run {path} is damaged and is computed again ({why})", flush=True)
        return None


def _costs(run: Run, arrays: dict[str, Any]) -> Costs:
    """What a run cost, from the arrays of its file.

    **Raises:** `ValueError` unless they are those of such a run.
    """
    windows = (min(WINDOWS, run.episodes),)
    shapes = {"training": windows, "evaluation": ()}
    parts = list(shapes) if run.of.learns else ["training" if run.convergence else "evaluation"]
    expected = {f"{part}_{entry.name}": (shapes[part], "f") for part in parts for entry in fields(EpisodeCost)}
    expected["last_episode"] = windows, "i"
    found = {name: (values.shape, values.dtype.kind) for name, values in arrays.items()}
    if found != expected:
        wrong = sorted(name for name in found.keys() | expected if found.get(name) != expected.get(name))
        raise ValueError(f"not as they are to be: {', '.join(wrong)}")
    # Whether it keeps up is no question where no slot waits for another.
    if any(np.isnan(values).any() for name, values in arrays.items() if not name.endswith("keeps_up")):
        raise ValueError("values that are no numbers")

    def part(name: str) -> EpisodeCost | None:
        return EpisodeCost(**{entry.name: arrays[f"{name}_{entry.name}"] for entry in fields(EpisodeCost)})

    return Costs(arrays["last_episode"], *(part(name) if name in parts else None for name in shapes))
