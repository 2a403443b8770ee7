"""Reference results: what a run of this repository's own gave, and whether new results agree with it.

`data/reference/<profile>/<scenario>/` holds the tidy results of experiments and, in `provenance.json`, which code,
versions and machine they come from. A reference that takes longer than one machine is there can be made in pieces: each
batch adds, or replaces, the experiments that it has finished.

A *point* is the mean over seeds of one kind of delay of one method in one setting. A method that does not learn must
have the delays of the reference to `ROUNDING` in every seed, on any processor. Training amplifies rounding, so that a
learner becomes another one on another processor, of the same distribution if nothing else has changed. Seed s sees the
same networks and channels in both runs; then either sign of its difference is as likely, and each point, as well as the
mean over all points of a method, is tested by Student's t on the differences within seeds. (With five seeds no test of
ranks or signs can have a p-value below 2^-4, so none has any power here.) The spread is taken to be at least the median
one of the method's points: all of a few seeds may well change alike, say from one server to another.

The p-values of all experiments of a scenario are corrected together, for they answer one question: whether this batch
agrees. By the false discovery rate (Benjamini and Hochberg 1995): if nothing has changed, the chance that anything is
named is at most 5 %, as with Holm's correction; if something has, more of it is found, for at most 5 % of what is named
being named by chance, on average.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mecpart.comparison.catalogue import claims
from mecpart.comparison.curves import require
from mecpart.comparison.facts import facts
from mecpart.comparison.headline import beside_published, headline_table
from mecpart.comparison.paper import DELAY_FIGURES, DELAYS, RULES
from mecpart.comparison.words import METRIC_WORDS, curve_words, listed, setting_words
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.experiments.many import run_rules
from mecpart.files import write_atomically
from mecpart.locations import data_folder
from mecpart.methods.register import METHODS

#: Relative difference up to which two delays are the same but for rounding; of a part, a tenth of it in the total.
ROUNDING = 1e-4

#: Chance that anything is named where nothing has changed.
FALSE_ALARM = 0.05

# Tables of what was found, by whole results.
_JUDGED = ("headline", "claims", "facts")

# Those of rules on many networks.
_RULES = tuple(f"{figure}-rules" for figure in DELAY_FIGURES)

#: Windows of a learning curve that are kept.
KEPT_WINDOWS = 30


@dataclass(frozen=True)
class Agreement:
    """How the results of one experiment compare with the reference, over methods, settings and kinds of delay.

    Of `points` means over seeds, `same` are equal but for rounding in every seed, and `near` differ as learners do by
    chance; `apart` lists those that differ otherwise, in words, and `newer` the methods that the reference does not
    have. `reason` says why nothing could be compared.
    """

    experiment: str
    points: int = 0
    same: int = 0
    near: int = 0
    apart: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()
    reason: str = ""

    @property
    def agrees(self) -> bool:
        """Whether there was something to compare, and nothing was apart."""
        return not self.reason and not self.apart

    def __str__(self) -> str:
        if self.reason:
            return f"{self.experiment}: not compared, {self.reason}"
        counts = f"{self.same} of {self.points} means are the same"
        if self.near:
            counts += f", {self.near} of methods that learn differ by no more than chance"
        if self.newer:
            counts += f"; newer than the reference: {', '.join(self.newer)}"
        if self.agrees:
            return f"{self.experiment}: agrees ({counts})"
        differing = self.points - self.same - self.near
        where = f"in {differing} of {self.points} means" if differing else "on average over the settings"
        shown = "; ".join(self.apart[:3]) + (f"; and {len(self.apart) - 3} more" if len(self.apart) > 3 else "")
        return f"{self.experiment}: DIFFERS {where}: {shown} ({counts})"


def reference_folder(profile: str, scenario: str) -> Path:
    """Where the reference results of a profile and scenario are, if there are any."""
    return data_folder() / "reference" / profile / scenario


def made_from(profile: str, scenario: str) -> str:
    """What the reference comes from, in words; empty if there is none."""
    path = reference_folder(profile, scenario) / "provenance.json"
    if not path.exists():
        return ""
    batches = json.loads(path.read_text(encoding="utf-8"))["batches"]
    commits = dict.fromkeys(commit[:10] for batch in batches for commit in batch["commit"])
    machines = dict.fromkeys(f"{batch['device']['processor']}, jax {batch['versions']['jax']}" for batch in batches)
    return f"commit {', '.join(commits)}, {'; '.join(machines)}"


def notebook_seconds(profile: str, scenario: str) -> dict[str, float]:
    """Seconds that each notebook took when the reference was made; none if there is none."""
    path = reference_folder(profile, scenario) / "provenance.json"
    if not path.exists():
        return {}
    batches = json.loads(path.read_text(encoding="utf-8")).get("batches", [])
    return {name: seconds for batch in batches for name, seconds in batch["notebooks"].items()}


def compare_with_reference(
    results: Path, profile: str, scenario: str, names: Collection[str] = tuple(EXPERIMENTS)
) -> list[Agreement]:
    """The agreement of each experiment in the folder `results` with the reference of that profile and scenario.

    **Arguments:** `names`: of the experiments to look for.
    """
    paths = {name: (results / f"{name}.csv", reference_folder(profile, scenario) / f"{name}.csv") for name in names}
    return _agreements(tuple(map(pd.read_csv, pair)) for pair in paths.values() if all(path.exists() for path in pair))


def agreement(results: pd.DataFrame, reference: pd.DataFrame) -> Agreement:
    """Compare the mean delays of one experiment with those of a reference run.

    **Arguments:** tidy results of the same experiment and scenario. Of a learning curve the end is compared.

    **Returns:** an `Agreement`, whose p-values are corrected for the tests of this experiment alone.

    **Raises:** `ValueError` for results that lack columns or rows, or have a seed, method and x twice.
    """
    return _agreements([(results, reference)])[0]


def _agreements(pairs: Iterable[tuple[pd.DataFrame, ...]]) -> list[Agreement]:
    """The agreement of each pair (results, reference), with the p-values of all corrected together."""
    compared = [_compared(results, reference) for results, reference in pairs]
    tests = pd.concat([table for table, _ in compared], keys=range(len(compared))) if compared else pd.DataFrame()
    if len(tests):
        # Of a method that does not learn, a difference is no matter of chance.
        tests["apart"] = ~tests["learns"] & ~tests["same"]
        if tests["learns"].any():
            corrected = stats.false_discovery_control(tests.loc[tests["learns"], "p"])
            tests.loc[tests["learns"], "apart"] = corrected < FALSE_ALARM
    return [found if found.reason else _counted(found, tests.loc[at]) for at, (_, found) in enumerate(compared)]


_POINT = ["method", "setting", "x"]


def _compared(results: pd.DataFrame, reference: pd.DataFrame) -> tuple[pd.DataFrame, Agreement]:
    """A row for each test, with its p-value, and the agreement as far as it is known without them."""
    for frame in (results, reference):
        require(frame, ("figure", "scenario", *_POINT[::2], "seed", "x_name", "env_steps", *DELAYS))
    name = str(results["figure"].iloc[0])
    new, old = (_ends(frame) for frame in (results, reference))
    reason = _why_not(new, old)
    if reason:
        return pd.DataFrame(), Agreement(name, reason=reason)
    new = new.loc[old.index]
    known = set(reference["method"])
    newer = tuple(method for method in results["method"].unique() if method not in known)
    learns = old["env_steps"].gt(0) | old.index.get_level_values("method").isin(
        [name for name, method in METHODS.items() if method.learns]
    )
    learns = learns.groupby(_POINT, sort=False).any()
    total = old["total_delay_s"].unstack("seed").loc[learns.index].mean(axis=1).to_numpy()
    tables = []
    for metric in DELAYS:
        ours, theirs = (frame[metric].unstack("seed").loc[learns.index].to_numpy() for frame in (new, old))
        near = np.isclose(ours, theirs, rtol=ROUNDING, atol=0.1 * ROUNDING * total[:, None], equal_nan=True)
        points = learns.index.to_frame(index=False).assign(
            ours=ours.mean(axis=1), theirs=theirs.mean(axis=1), same=near.all(axis=1), learns=learns.to_numpy(), p=1.0
        )
        differences = (ours - theirs) / total[:, None]
        means = []
        for method, rows in points[points["learns"]].groupby("method", sort=False):
            points.loc[rows.index, "p"], p = _p_values(differences[rows.index], ~rows["same"].to_numpy())
            if len(rows) > 1:
                whole = {"method": method, "setting": None, "same": rows["same"].all(), "learns": True, "p": p}
                means.append(whole | rows[["ours", "theirs"]].mean().to_dict())
        tables += [part.assign(metric=metric) for part in (points, pd.DataFrame(means)) if len(part)]
    tests = pd.concat(tables, ignore_index=True)
    if old.index.unique("seed").size < 2 and (tests["learns"] & ~tests["same"]).any():
        return pd.DataFrame(), Agreement(name, reason="one seed does not tell how much learners differ by chance")
    x_name = str(results["x_name"].iloc[0])
    return tests.assign(words=[_words(test, x_name, name) for test in tests.itertuples()]), Agreement(name, newer=newer)


def _words(test: Any, x_name: str, figure: str) -> str:
    """What a test is about: a point, or (no setting) the mean over all points of a method."""
    where = f" {setting_words(x_name, [test.x])}" if test.setting is not None else " on average"
    curve = f", {curve_words(test.setting, figure)}" if test.setting else ""
    delays = f"{test.ours:.5g} s, reference {test.theirs:.5g} s"
    return f"{METRIC_WORDS[test.metric]} of {test.method}{curve}{where} ({delays})"


def _p_values(differences: np.ndarray, differs: np.ndarray) -> tuple[np.ndarray, float]:
    """Two-sided p-values of each point [points, seeds] of a method, and of the mean over its points."""

    def p_of(mean, spread):
        with np.errstate(divide="ignore", invalid="ignore"):
            return 2 * stats.t.sf(np.abs(mean) * np.sqrt(differences.shape[1]) / spread, differences.shape[1] - 1)

    if not differs.any() or differences.shape[1] < 2:
        return np.ones(len(differences)), 1.0
    spread = differences.std(axis=1, ddof=1)
    spread = np.maximum(spread, np.median(spread[differs]))
    overall = differences.mean(axis=0)
    p = np.where(differs, p_of(differences.mean(axis=1), spread), 1.0)
    # What is not a number, in one of the two only, is no matter of chance.
    return np.nan_to_num(p, nan=0.0), float(np.nan_to_num(p_of(overall.mean(), overall.std(ddof=1)), nan=0.0))


def _ends(frame: pd.DataFrame) -> pd.DataFrame:
    """Results by point and seed; of a learning curve only its end."""
    frame = frame.assign(setting=frame["setting"].fillna("") if "setting" in frame else "")
    if (frame["x_name"] == "episode").all():
        frame = frame[frame["x"] == frame["x"].max()]
    frame = frame.set_index([*_POINT, "seed"])
    if not frame.index.is_unique:
        method, _, x, seed = frame.index[frame.index.duplicated()][0]
        raise ValueError(f"results must have each seed, method and x once; got seed {seed}, {method}, x = {x} twice")
    return frame


def _why_not(new: pd.DataFrame, old: pd.DataFrame) -> str:
    """Why results cannot be compared with a reference: they must be of the same kind, and have all that it has."""
    for column in ("figure", "scenario"):
        ours, theirs = (listed(dict.fromkeys(frame[column])) for frame in (new, old))
        if ours != theirs:
            return f"the reference is of {theirs}, the results are of {ours}"
    methods, seeds = (dict.fromkeys(old.index.get_level_values(level)) for level in ("method", "seed"))
    for what, told in (("method", methods), ("seed", seeds)):
        missing = [str(one) for one in told if one not in set(new.index.get_level_values(what))]
        if missing:
            return f"the results lack {what}{'s' if len(missing) > 1 else ''} {listed(missing)} of the reference"
    shared = new.loc[new.index.get_level_values("method").isin(methods)]
    ours, theirs = (frame.groupby("method")["env_steps"].max() for frame in (shared, old))
    for method in theirs.index[ours != theirs]:
        return f"{method} was trained for {ours[method]:g} slots, in the reference for {theirs[method]:g}"
    missing = old.index.difference(new.index)
    if len(missing):
        method, setting, x, _ = missing[0]
        where = setting_words(str(old["x_name"].iloc[0]), [x])
        curve = setting and f", {curve_words(setting, str(old['figure'].iloc[0]))}"
        return f"the results lack settings of the reference: {method}{curve} {where}"
    return ""


def _counted(found: Agreement, tests: pd.DataFrame) -> Agreement:
    points = tests[tests["setting"].notna()]
    apart = tests[tests["apart"]].sort_values("p", kind="stable")
    return replace(
        found,
        points=len(points),
        same=int(points["same"].sum()),
        near=int((~points["same"] & ~points["apart"]).sum()),
        apart=tuple(apart["words"]),
    )


def keep_reference(output: Path, profile: str, scenario: str) -> Path:
    """Make the results of a batch in the folder `output` the reference of its profile and scenario.

    What the batch has not finished stays as an earlier one left it. Learning curves are thinned to `KEPT_WINDOWS`
    windows, numbers to six significant digits. Of rules on many networks the means and their standard errors are kept.
    `headline.csv`, `claims.csv` and `facts.csv` are kept too: when a learning curve settles can be judged on whole ones
    only. If the batch has not judged, but has the whole curves, and with it all figures are kept, they are judged here
    (rules on many networks run again, in about a minute); else what was judged by other figures is dropped.

    **Raises:** `ValueError` if the batch has finished no experiment, or not all that it has with the same code.
    """
    results, records = (output / part / profile / scenario for part in ("data/results", "build/notebooks"))
    by_notebook = {
        path.name.removesuffix(".record.json"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(records.glob("*.record.json"))
    }
    written = {notebook: {Path(path).name for path in record["outputs"]} for notebook, record in by_notebook.items()}
    finished = set().union(*written.values())
    made = {
        name
        for name in (*_with_results(), *_RULES, *_JUDGED)
        if f"{name}.csv" in finished and (results / f"{name}.csv").exists()
    }
    if not made:
        raise ValueError(f"output must hold a batch that has finished an experiment; there is none in {results}")
    # Other notebooks use other parts of the package.
    told = [by_notebook[notebook] for notebook, names in written.items() if names & {f"{name}.csv" for name in made}]
    origins = {json.dumps([record["identity"]["package"], record["identity"]["versions"]]) for record in told}
    if len(origins) != 1:
        raise ValueError(f"output must hold a batch of one version of the code; got {len(origins)} in {records}")
    target = reference_folder(profile, scenario)
    for name in _JUDGED:
        (target / f"{name}.csv").unlink(missing_ok=True)
    for name in sorted(made):
        _write(_shortened(name, pd.read_csv(results / f"{name}.csv")), target / f"{name}.csv")
    path = target / "provenance.json"
    earlier = json.loads(path.read_text(encoding="utf-8"))["batches"] if path.exists() else []
    batches = [*_left(earlier, by_notebook), _batch(told, by_notebook)]
    text = json.dumps({"profile": profile, "scenario": scenario, "batches": batches}, indent=1) + "\n"
    write_atomically(path, lambda path: path.write_text(text, encoding="utf-8"))
    if not made.issuperset(_JUDGED):
        for name, frame in _judged(results, made, target, profile, scenario).items():
            _write(frame, target / f"{name}.csv")
    return path


def _batch(told: list[dict], by_notebook: dict[str, dict]) -> dict[str, Any]:
    """What a reference says of a batch, from the records of its notebooks, and of those whose tables are kept."""
    return {
        "commit": sorted({str(record["commit"]) for record in told}),
        "versions": told[0]["identity"]["versions"],
        "device": told[0]["device"],
        "started": min(record["started"] for record in told),
        # By which a batch is told how long it will take where it has never run.
        "notebooks": {name: round(record["seconds"], 1) for name, record in by_notebook.items()},
    }


def _left(batches: list[dict], done_again: Collection[str]) -> list[dict[str, Any]]:
    """What is left of earlier batches when some notebooks have been done again."""
    left = [
        batch | {"notebooks": {name: took for name, took in batch["notebooks"].items() if name not in done_again}}
        for batch in batches
    ]
    return [batch for batch in left if batch["notebooks"]]


def _with_results() -> list[str]:
    """The experiments that have results of their own; Fig. 11 reads those of Figs. 8 to 10."""
    return [name for name in EXPERIMENTS if not name.startswith("fig11")]


def _judged(results: Path, made: Collection[str], target: Path, profile: str, scenario: str) -> dict[str, pd.DataFrame]:
    """What all figures say, those that a batch has `made` from its `results`, the others as they are kept."""
    figures = [name for name in _with_results() if name.startswith("fig")]
    whole = [name in made or not EXPERIMENTS[name].convergence for name in figures]
    paths = [(results if name in made else target) / f"{name}.csv" for name in figures]
    if not all(whole) or not all(path.exists() for path in paths):
        return {}
    found = pd.concat(map(pd.read_csv, paths), ignore_index=True)
    rules = pd.concat([run_rules(figure, RULES, profile, scenario) for figure in DELAY_FIGURES], ignore_index=True)
    tables = beside_published(headline_table(found)), claims(found, rules=rules), facts(found, rules)
    return dict(zip(_JUDGED, tables, strict=True))


def _shortened(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A table as it is kept: of learning curves some windows, of rules on many networks means and standard errors."""
    if name in _RULES:
        points = frame.groupby(["figure", "scenario", "method", "x_name", "x"], sort=False)
        means, errors = points[list(DELAYS)].mean(), points[list(DELAYS)].sem().add_suffix("_standard_error")
        return means.join(errors).assign(networks=points.size()).reset_index()
    if name in EXPERIMENTS and EXPERIMENTS[name].convergence:
        windows = np.unique(frame["x"])
        few = windows[np.unique(np.linspace(0, len(windows) - 1, KEPT_WINDOWS).round().astype(int))]
        return frame[frame["x"].isin(few)]
    return frame


def _write(frame: pd.DataFrame, path: Path) -> None:
    write_atomically(path, lambda place: frame.to_csv(place, index=False, float_format="%.6g", lineterminator="\n"))
