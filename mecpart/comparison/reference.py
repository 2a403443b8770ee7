"""Reference results: what a run of this repository's own gave, and whether new results agree with it.

`data/reference/<profile>/<scenario>/` holds the tidy results of every experiment and, in `provenance.json`, which code,
versions and machine they come from. Learned methods are not the same to the last digit on another machine or with
another version of JAX, so results are compared by their intervals.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mecpart.comparison.curves import as_curves, by_setting
from mecpart.comparison.paper import DELAYS
from mecpart.comparison.statistics import bootstrap_interval
from mecpart.experiments import EXPERIMENTS
from mecpart.files import write_atomically
from mecpart.locations import data_folder

#: Relative difference up to which two means are the same but for rounding.
ROUNDING = 1e-4

#: Windows of a learning curve that are kept.
KEPT_WINDOWS = 30


@dataclass(frozen=True)
class Agreement:
    """How the results of one experiment compare with the reference, over methods, settings and kinds of delay.

    Of `points` means over seeds, `same` are equal but for rounding, `near` differ but their 95 % intervals overlap, and
    `apart` lists those whose intervals do not. `reason` says why nothing could be compared.
    """

    experiment: str
    points: int = 0
    same: int = 0
    near: int = 0
    apart: tuple[str, ...] = ()
    reason: str = ""

    @property
    def agrees(self) -> bool:
        """Whether there was something to compare, and nothing was apart."""
        return not self.reason and not self.apart

    def __str__(self) -> str:
        if self.reason:
            return f"{self.experiment}: not compared, {self.reason}"
        if self.agrees:
            counts = f"{self.same} of {self.points} means are the same, {self.near} within intervals"
            return f"{self.experiment}: agrees ({counts})"
        shown = ", ".join(self.apart[:3]) + (", ..." if len(self.apart) > 3 else "")
        return f"{self.experiment}: DIFFERS in {len(self.apart)} of {self.points} means: {shown}"


def reference_folder(profile: str, scenario: str) -> Path:
    """Where the reference results of a profile and scenario are, if there are any."""
    return data_folder() / "reference" / profile / scenario


def compare_with_reference(results: Path, profile: str, scenario: str) -> Iterator[Agreement]:
    """The agreement of each experiment in the folder `results` with the reference of that profile and scenario."""
    for name in EXPERIMENTS:
        new, old = results / f"{name}.csv", reference_folder(profile, scenario) / f"{name}.csv"
        if new.exists() and old.exists():
            yield agreement(pd.read_csv(new), pd.read_csv(old))


def agreement(results: pd.DataFrame, reference: pd.DataFrame) -> Agreement:
    """Compare the mean delays of one experiment with those of a reference run.

    **Arguments:** tidy results of the same experiment and scenario. Of a learning curve the end is compared.

    **Returns:** an `Agreement`; with fewer than two seeds there is no interval, and so only what is the same agrees.
    """
    name = str(results["figure"].iloc[0])
    frames = [by_setting(frame) for frame in (results, reference)]
    if EXPERIMENTS[name].convergence:
        frames = [frame[frame["x"] == frame["x"].max()] for frame in frames]
    points, same, near, apart = 0, 0, 0, []
    for metric in DELAYS:
        new, old = (as_curves(frame, metric) for frame in frames)
        # A method that is newer than the reference has nothing to be compared with.
        if not set(old.methods) <= set(new.methods) or tuple(new.xs) != tuple(old.xs):
            return Agreement(name, reason="the reference has other methods or settings")
        for method in old.methods:
            ours, theirs = new.of(method), old.of(method)
            mean, told = ours.mean(axis=0), theirs.mean(axis=0)
            (low, high), (told_low, told_high) = bootstrap_interval(ours), bootstrap_interval(theirs)
            equal = np.isclose(mean, told, rtol=ROUNDING, atol=ROUNDING * np.abs(theirs).max(initial=1e-30))
            overlap = ~equal & (low <= told_high) & (told_low <= high)
            points, same, near = points + len(mean), same + int(equal.sum()), near + int(overlap.sum())
            apart += [
                f"{metric} of {method} at x = {new.xs[at]:g} ({mean[at]:.4g}, reference {told[at]:.4g})"
                for at in np.flatnonzero(~equal & ~overlap)
            ]
    return Agreement(name, points, same, near, tuple(apart))


def keep_reference(output: Path, profile: str, scenario: str) -> Path:
    """Make the results of a finished batch in the folder `output` the reference of its profile and scenario.

    Learning curves are thinned to `KEPT_WINDOWS` windows, numbers to six significant digits. `headline.csv` and
    `claims.csv` are kept too.

    **Raises:** `ValueError` if the batch has not run every experiment, or not all of it with the same code.
    """
    results, records = (output / part / profile / scenario for part in ("data/results", "build/notebooks"))
    # Fig. 11 has no results of its own: it reads those of Figs. 8 to 10.
    names = [name for name in EXPERIMENTS if not name.startswith("fig11")]
    missing = [name for name in (*names, "headline", "claims") if not (results / f"{name}.csv").exists()]
    if missing:
        raise ValueError(f"output must hold a finished batch; missing in {results}: {', '.join(missing)}")
    told = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(records.glob("*.record.json"))]
    origins = {json.dumps([record["identity"]["package"], record["identity"]["versions"]]) for record in told}
    if len(origins) != 1:
        raise ValueError(f"output must hold a batch of one version of the code; got {len(origins)} in {records}")
    target = reference_folder(profile, scenario)
    for name in names:
        frame = pd.read_csv(results / f"{name}.csv")
        if EXPERIMENTS[name].convergence:
            windows = np.unique(frame["x"])
            kept = windows[np.unique(np.linspace(0, len(windows) - 1, KEPT_WINDOWS).round().astype(int))]
            frame = frame[frame["x"].isin(kept)]
        _write(frame, target / f"{name}.csv")
    for name in ("headline", "claims"):
        _write(pd.read_csv(results / f"{name}.csv"), target / f"{name}.csv")
    provenance = {
        "profile": profile,
        "scenario": scenario,
        "commit": sorted({str(record["commit"]) for record in told}),
        "versions": told[0]["identity"]["versions"],
        "device": told[0]["device"],
        "started": min(record["started"] for record in told),
        "seconds": round(sum(record["seconds"] for record in told), 1),
    }
    text = json.dumps(provenance, indent=1) + "\n"
    return write_atomically(target / "provenance.json", lambda path: path.write_text(text, encoding="utf-8"))


def _write(frame: pd.DataFrame, path: Path) -> None:
    write_atomically(path, lambda place: frame.to_csv(place, index=False, float_format="%.6g", lineterminator="\n"))
