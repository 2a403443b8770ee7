"""The paper's figures as data, and the one function that runs any of them.

An experiment says what is swept and what is fixed. To add one of your own, add an `Experiment`:

    EXPERIMENTS["my_sweep"] = Experiment(
        "my_sweep", "Delay against the deadline", x_name="deadline", x_label="deadline (s)", xs=(1.0, 5.0)
    )
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import pandas as pd

from mecpart import context
from mecpart.agents import AGENTS, agent_config
from mecpart.agents.learning import EpisodeCost
from mecpart.agents.networks import HEADS, SHARING
from mecpart.dnn.workload import LayerTable
from mecpart.experiments import cluster
from mecpart.experiments.processes import cores, spread
from mecpart.experiments.progress import progress
from mecpart.experiments.runs import (
    BOUND,
    METHODS,
    Costs,
    Run,
    Setting,
    changes_of,
    check_own,
    keep,
    kept,
    methods_in,
    perform,
    settings_of,
    side_by_side,
    try_own,
)
from mecpart.files import sweep
from mecpart.ledger import LEDGER
from mecpart.methods import own_methods
from mecpart.model.scenario import SCENARIOS, sample_slot
from mecpart.planning.policies import POLICIES
from mecpart.validation import check_choice, check_count, check_names, check_path, check_type, shown

#: Columns of every result, one row per figure, scenario, method, seed and x.
COLUMNS = (
    "figure",
    "scenario",
    "method",
    "seed",
    "x_name",
    "x",
    "total_delay_s",
    "edge_delay_s",
    "local_delay_s",
    "energy_j",
    "reward",
    "deadline_violation_rate",
    "optimal_total_delay_s",
    "gap_percent",
    "env_steps",
)

#: Seeds and episodes, at most: what a run is and what an episode cost are kept in memory.
MOST_SEEDS, MOST_EPISODES = 10_000, 1_000_000

#: Slots that a process runs before what it has done is kept, about.
SLOTS_PER_BATCH = 2_000_000


@dataclass(frozen=True)
class Profile:
    """How much is run: seeds, and training episodes. Nothing else differs between profiles."""

    seeds: int
    episodes: int


#: Episodes are multiples of every number of workers in Fig. 7b.
PROFILES = {
    "smoke": Profile(seeds=2, episodes=24),
    "quick": Profile(seeds=5, episodes=336),
    "paper": Profile(seeds=10, episodes=LEDGER.default("episodes")),
}


def amounts(profile: str, seeds: int | None, episodes: int | None) -> tuple[int, int]:
    """Seeds and episodes: those that are given, else those of a profile.

    **Raises:** `ValueError` for an unknown profile, or numbers beyond `MOST_SEEDS` and `MOST_EPISODES`.
    """
    check_choice("profile", profile, PROFILES)
    usual = PROFILES[profile]
    return (
        check_count("seeds", usual.seeds if seeds is None else seeds, maximum=MOST_SEEDS),
        check_count("episodes", usual.episodes if episodes is None else episodes, maximum=MOST_EPISODES),
    )


def _check_methods(methods: Sequence[str], known: Iterable[str]) -> None:
    if isinstance(methods, str) or not isinstance(methods, Sequence) or not methods:
        raise ValueError(f"methods must be at least one of {', '.join(map(repr, known))}; got {shown(methods)}")
    for method in methods:
        check_choice("methods", method, known)


def _best(scenario: str) -> str:
    """What the gap is measured from: the optimum where it is known, else the bound."""
    return "Optimal" if "Optimal" in methods_in(scenario) else BOUND


@dataclass(frozen=True)
class Experiment:
    """One figure as data.

    A sweep trains anew at each of `xs`, a value of the field `x_name` of `Setting`, and then runs one fresh episode.
    With `x_name` "episode" the training itself is shown, averaged over windows of episodes. Layer tables among `xs`
    appear in the results by their names.

    - `fixed`: the other fields of `Setting`.
    - `methods`: those that take part; by default all that the scenario has, registered ones included.
    - `series`: where a figure has several curves of one method, the name of each and what it changes: fields of
      `Setting`, or settings of methods (`settings_of`), each of those methods that have it. `only_in` names the only
      scenario that has this curve. Results then have a column `setting` with the name.
    """

    name: str
    title: str
    x_name: str
    x_label: str
    xs: tuple = ()
    fixed: Setting = Setting()
    methods: tuple[str, ...] | None = None
    series: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def __post_init__(self):
        check_names("name", self.name)
        if self.name.startswith(".") or not set(self.name).isdisjoint('/\\:*?"<>|') or len(self.name.encode()) > 100:
            raise ValueError(
                'name must be one that files can have: up to 100 bytes, none of them / \\ : * ? " < > |, and no dot at '
                f"its beginning; got {self.name!r}"
            )
        for name in ("title", "x_label"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be a text; got {shown(getattr(self, name))}")
        check_choice("x_name", self.x_name, ["episode", *_setting_fields()])
        check_type("fixed", self.fixed, Setting)
        for name, kind, what in (("xs", tuple, "a tuple"), ("series", Mapping, "a mapping from names to changes")):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} must be {what}; got {shown(getattr(self, name))}")
        if self.methods is not None:
            _check_methods(self.methods, self.methods if isinstance(self.methods, tuple) else ())
        for name, changes in self.series.items():
            if not isinstance(changes, Mapping):
                raise ValueError(f"series must name changes for each curve; got {shown(changes)} for {name!r}")
        check_names("series", *self.series)
        for changes in self.series.values():
            if "only_in" in changes:
                check_choice("only_in", changes["only_in"], SCENARIOS)

    @property
    def convergence(self) -> bool:
        """Whether the training itself is shown."""
        return self.x_name == "episode"

    def cases(self, scenario: str) -> list[tuple[str, object, Setting, dict[str, Any]]]:
        """(name of the series, x, setting, changes to the methods) of every point that there is in a scenario."""
        found: list[tuple[str, object, Setting, dict[str, Any]]] = []
        for name, given in (self.series or {"": {}}).items():
            changes = dict(given)
            if changes.pop("only_in", scenario) != scenario:
                continue
            setting: dict[str, Any] = {key: changes.pop(key) for key in given if key in _setting_fields()}
            fixed = replace(self.fixed, **setting)
            if self.convergence:
                found.append((name, "episode", fixed, changes))
            else:
                found += [(name, x, replace(fixed, **{self.x_name: x}), changes) for x in self.xs]
        return found


def _setting_fields() -> list[str]:
    return [entry.name for entry in fields(Setting)]


_LEARNING_CURVE: dict[str, Any] = {"x_name": "episode", "x_label": "episode", "methods": ("Proposed",)}
_SERVERS = Experiment(
    "fig8", "Delay against the number of edge servers", "num_servers", "edge servers N", tuple(range(2, 10))
)
_BLOCKS = Experiment("fig9", "Delay against the number of blocks", "num_blocks", "blocks M", tuple(range(3, 22, 3)))
_RATE = Experiment(
    "fig10", "Delay against the release rate", "release_rate", "tasks per slot", tuple(map(float, range(30, 111, 10)))
)

# One part of the method is changed at a time from the grid's cell `branches soft`, which is Proposed.
_ABLATION: dict[str, dict[str, object]] = {
    **{f"{heads} {sharing}": {"heads": heads, "sharing": sharing} for heads in HEADS for sharing in SHARING},
    "synchronous": {"asynchronous": False},
    "replay": {"replay_rollouts": 40},
    **{f"weight={weight:g}": {"sharing_weight": weight} for weight in (1e-4, 1e-2, 1e-1)},
}

#: The ledger's constants that the paper does not state, and other values for each: the ends of a range that the paper
#: or its siblings name; else half and double, or three to ten times less and more where only the order of magnitude is
#: known. Slots of half the length would leave the servers no time to spare; the energy budgets are spent within a few
#: slots, and never.
WORLDS: dict[str, tuple] = {
    "server_speed_range": ((2e9, 6e9), (6e9, 18e9)),
    "device_frequency": (0.4e9, 1.6e9),
    "num_devices": (5, 20),
    "cycles_per_mac": (2.0, 8.0),
    "wired_rate": (12.5e6, 1.25e9),
    "transmit_power": (1.0, 1.5),
    "slot_seconds": (4.0, 8.0),
    "penalty": (0.1, 10.0),
    "energy_budget": (1e3, 1e7),
    "deadline": (2.5, 7.0),
    "arrivals": ("poisson",),
    "hidden": ((32, 32), (128, 128)),
    "rmsprop_decay": (0.9, 0.999),
    "rmsprop_epsilon": (1e-6, 1e-4),
    "max_gradient_norm": (0.25, 1.0),
    "entropy_weight": (0.003, 0.03),
    "sharing_weight": (1e-4, 1e-2),
    "exploration_fraction": (0.15, 0.6),
    "replay_size": (5_000, 20_000),
    "target_period": (50, 200),
    "price_step_range": ((0.005, 0.5), (0.02, 2.0)),
    "look_ahead_slots": (4, 16),
    "drift_patience": (5.0, 20.0),
}
# Where the function that takes a constant calls it by another name, and those that mean something in `loaded` only.
_ARGUMENTS = {"price_step_range": "step_range", "look_ahead_slots": "horizon", "drift_patience": "patience"}
_QUEUES_ONLY = ("arrivals", "look_ahead_slots", "drift_patience")


def _world(name: str, value) -> tuple[str, dict[str, Any]]:
    """A constant of the ledger with another value, as a series: its name, and what it changes."""
    argument = _ARGUMENTS.get(name, name)
    named = argument in _setting_fields() or any(argument in settings_of(method) for method in METHODS)
    changes: dict[str, Any] = {argument: value} if named else {"constants": ((name, value),)}
    if name in _QUEUES_ONLY:
        changes["only_in"] = "loaded"
    if isinstance(value, tuple):
        shown = ("x" if isinstance(value[0], int) else "..").join(f"{part:g}" for part in value)
    else:
        shown = value if isinstance(value, str) else f"{value:g}"
    return f"{name}={shown}", changes


_WORLDS: dict[str, dict[str, Any]] = {"ledger": {}}
_WORLDS.update(_world(name, value) for name, values in WORLDS.items() for value in values)

#: The experiments that there are, by name; one of your own is added here.
EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment("fig6", "Convergence: average reward per episode", "episode", "episode"),
        Experiment(
            "fig7a", "Convergence under four pairs of learning rates", **_LEARNING_CURVE,
            series={
                f"lr={actor:g} lr_v={critic:g}": {"learning_rate": actor, "critic_learning_rate": critic}
                for actor in (0.01, 0.001) for critic in (0.01, 0.001)
            },
        ),
        Experiment(
            "fig7b", "Convergence with 2 to 8 workers", **_LEARNING_CURVE,
            series={f"workers={workers}": {"workers": workers} for workers in (8, 6, 4, 2)},
        ),
        Experiment(
            "fig7c", "Convergence with batches of 8 to 64", **_LEARNING_CURVE,
            series={f"batch={size}": {"t_max": size} for size in (64, 32, 16, 8)},
        ),
        _SERVERS,
        _BLOCKS,
        _RATE,
        replace(_SERVERS, name="fig11a", title="Energy against the number of edge servers"),
        replace(_BLOCKS, name="fig11b", title="Energy against the number of blocks"),
        replace(_RATE, name="fig11c", title="Energy against the release rate", xs=_RATE.xs[2:]),
        Experiment("fig12", "Delay against the tolerated delay", "deadline", "tolerated delay of a block (s)",
                   xs=(1.0, 3.0, 5.0, 7.0)),
        Experiment(
            "fig13", "Delay of four networks against the link capacity", "link_capacity", "link capacity (Mbit/s)",
            xs=(2.0, 4.0, 6.0, 8.0, 10.0), methods=("Proposed",),
            series={
                f"dnn={name}": {"network": name.lower()} for name in ("NiN", "AlexNet", "VGG16", "ResNet32")
            },
        ),
        # Four blocks, so that the joint head, one output for each of (N + 1)^M plans, can be among them.
        Experiment("ablation", "What each part of the method is worth", **_LEARNING_CURVE,
                   fixed=Setting(num_blocks=4), series=_ABLATION),
        Experiment("sensitivity", "Every constant that is not stated, varied", "num_servers", "edge servers N",
                   xs=(LEDGER.default("num_servers"),), series=_WORLDS),
    )
}  # fmt: skip


def run_experiment(
    name: str,
    profile: str = "quick",
    scenario: str = "as_printed",
    *,
    seeds: int | None = None,
    episodes: int | None = None,
    methods: Sequence[str] | None = None,
    processes: int | None = None,
    scheduler: str | None = None,
    runs_folder: str | Path | None = None,
) -> pd.DataFrame:
    """Run an experiment and return its tidy results.

    Seed s of every method and every x sees the same networks and channels. Learners are evaluated on one fresh episode
    (`mecpart.agents.learning.evaluate_policy`). A delay is the sum over an episode's slots in s, an energy in J;
    `env_steps` are the slots that a learner was trained on; the gap is 100 * (total - optimum) / optimum. In `loaded`
    the certified lower bound (`episode_bound`) takes the place of the optimum, which is not known there.

    **Arguments:**

    - `name`: a key of `EXPERIMENTS`; `profile`: of `PROFILES`; `scenario`: of `SCENARIOS`.
    - `seeds`, `episodes`, `methods`: instead of the profile's, or those of the experiment that the scenario has; at
      most `MOST_SEEDS` and `MOST_EPISODES`.
    - `processes`: single-threaded processes to use, at most one for each core; by default one for each core.
    - `scheduler`: address of a Dask scheduler whose workers compute the runs instead; by default none.
    - `runs_folder`: where the runs of learners are kept, and taken from if they are there; by default nowhere. A
      setting that several figures share is then trained once, and a stopped call goes on where it was.

    In the kernel of a batch these three are by default what the batch says (`mecpart.context`).

    **Returns:** a DataFrame with `COLUMNS`, and `setting` where the experiment has series; sorted by method, setting,
    x and seed.

    **Raises:** `ValueError` for an unknown name (answered with what there is) or a bad number, before anything runs;
    `mecpart.experiments.cluster.SchedulerError` if the scheduler cannot be reached, is lost, or cannot finish a run.
    """
    check_choice("name", name, EXPERIMENTS)
    check_choice("scenario", scenario, SCENARIOS)
    experiment = EXPERIMENTS[name]
    seeds, episodes = amounts(profile, seeds, episodes)
    known = methods_in(scenario)
    if experiment.methods is not None:
        _check_methods(experiment.methods, dict.fromkeys((*METHODS, *known)))
    chosen = methods is not None
    if methods is None:
        methods = [method for method in known if experiment.methods is None or method in experiment.methods]
    return results_of(experiment, scenario, seeds, episodes, methods, chosen, processes, scheduler, runs_folder)


def results_of(
    experiment: Experiment,
    scenario: str,
    seeds: int,
    episodes: int,
    methods: Sequence[str],
    chosen: bool,
    processes: int | None,
    scheduler: str | None = None,
    runs_folder: str | Path | None = None,
) -> pd.DataFrame:
    """`run_experiment` of an experiment itself; `chosen`: whether the methods were named by the caller."""
    _check_methods(methods, methods_in(scenario))
    told = context.current()
    processes = check_count("processes", (told.processes or len(cores())) if processes is None else processes)
    scheduler = told.scheduler if scheduler is None else scheduler
    if scheduler is not None and not isinstance(scheduler, str):
        raise ValueError(f"scheduler must be the address of a Dask scheduler; got {shown(scheduler)}")
    if scheduler:
        cluster.check_address(scheduler)
    if runs_folder is not None:
        check_path("runs_folder", runs_folder)
    runs_folder = told.runs_folder if runs_folder is None else runs_folder
    methods = _check_cases(experiment, scenario, tuple(methods), episodes, chosen)

    points: dict[Run, list] = {}  # of every run: the name of its series and x
    for series, x, setting, changes in experiment.cases(scenario):
        for method in dict.fromkeys((*methods, _best(scenario))):  # always needed, for the gap
            mine = tuple(changes_of(method, changes).items())
            for seed in range(seeds):
                run = Run(method, scenario, setting, seed, episodes, mine, experiment.convergence)
                points.setdefault(run, []).append((series, _shown(x)))
    compute = partial(_compute, processes=processes, scheduler=scheduler)
    costs = _complete(points, compute, Path(runs_folder) if runs_folder else None, f"{experiment.name} {scenario}")
    rows = [
        {"setting": series, **row}
        for run, places in points.items()
        for series, x in places
        for row in _rows(run, costs[run], experiment, x)
    ]
    return _table(rows, experiment, scenario, methods)


def _check_settings(method: str, scenario: str, setting: Setting, episodes: int, changes: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a bad setting of a method of the package."""
    if method in AGENTS:
        agent_config(method, episodes=episodes, **changes)
    elif changes:
        built = jax.eval_shape(partial(setting.build, scenario, 0))
        slot = jax.eval_shape(sample_slot, jax.random.key(0), built)
        jax.eval_shape(partial(POLICIES[method], **changes), built, slot, jax.random.key(0))


def _shown(x):
    """A value of `xs` in a table."""
    return x.name if isinstance(x, LayerTable) else x


def _check_cases(
    experiment: Experiment, scenario: str, methods: tuple[str, ...], episodes: int, chosen: bool
) -> tuple[str, ...]:
    """The methods that can be shown.

    Own learners that do not tell what their training cost have no learning curve. Unless the methods were `chosen`, own
    agents that were trained for other numbers of blocks or servers are left out, and that is said.

    **Raises:** `ValueError` where a sweep is empty, has a value twice, or names a setting that cannot be or that no
    method of the experiment has; or for an own method that makes no plans.
    """
    shown = tuple(_shown(x) for x in experiment.xs)
    if not experiment.convergence and (not shown or len(set(shown)) < len(shown)):
        raise ValueError(f"xs must hold at least one value of {experiment.x_name}, each once; got {shown}")
    check_names("xs", *(x.name for x in experiment.xs if isinstance(x, LayerTable)))
    own, left_out = own_methods(), set()
    tried: dict = {}

    def without(method: str, error: ValueError) -> None:
        if chosen or own[method].kind != "agent":
            raise error
        print(f"{experiment.name}: {method} is left out: {error}", flush=True)
        left_out.add(method)

    cases = experiment.cases(scenario)
    if not cases:
        raise ValueError(f"scenario must be one that a curve of {experiment.name} is for; got {scenario!r}")
    taking_part = set(methods_in(scenario)).intersection(experiment.methods or METHODS)
    known = sorted({name for method in taking_part for name in settings_of(method)})
    for _, _, setting, changes in cases:
        jax.eval_shape(partial(setting.build, scenario, 0))  # makes every check and compiles nothing
        for name in changes:
            check_choice(f"series of {experiment.name}", name, [*_setting_fields(), "only_in", *known])
        for method in methods:
            if method in AGENTS or method in POLICIES:
                try:
                    _check_settings(method, scenario, setting, episodes, changes_of(method, changes))
                except ValueError as error:
                    raise ValueError(f"{experiment.name}, {method}: {error}") from error
            elif method in own and method not in left_out:
                run = Run(method, scenario, setting, 0, episodes, (), experiment.convergence)
                try:
                    told = check_own(run.program, own[method], setting)
                except ValueError as error:
                    without(method, error)
                else:
                    if not told and experiment.convergence:
                        left_out.add(method)
                    if own[method].kind != "learner":
                        tried[run.program] = setting
    for program, setting in tried.items():
        if program.own.name not in left_out:
            try:
                try_own(program, program.own, setting)
            except ValueError as error:
                without(program.own.name, error)
    return tuple(method for method in methods if method not in left_out)


def _complete(wanted: Iterable[Run], compute: Callable, folder: Path | None, what: str) -> dict[Run, Costs]:
    """The costs of all runs: those that have been kept, and the others computed.

    **Raises:** `OSError` if there can be no such folder, before anything runs.
    """
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
    costs = {run: found for run in wanted if folder and run.keepable and (found := kept(folder, run))}
    work: dict = {}
    for run in wanted:
        if run not in costs:
            work.setdefault(run.program, []).append(run)
    # Code of one's own first, since it is what may fail.
    order = sorted(work, key=lambda program: (program.own is None, -program.effort * len(work[program])))
    batches = {program: _batches(work[program]) for program in order}
    with progress(what, len(costs) + sum(map(len, work.values())), len(costs)) as tell:
        for batch, found in compute(batches):
            costs |= zip(batch, found, strict=True)
            for run in batch:
                if folder and run.keepable:
                    keep(folder, run, costs[run])
            tell(len(costs))
    return costs


def _batches(runs: list[Run]) -> list[tuple[Run, ...]]:
    """Runs of one program in pieces: all at once for an accelerator, else so that stopping loses but a little."""
    size = len(runs)
    if jax.default_backend() == "cpu":
        size = max(1, SLOTS_PER_BATCH // runs[0].slots) * jax.local_device_count()
    return [tuple(runs[start : start + size]) for start in range(0, len(runs), size)]


def _compute(batches: dict, processes: int, scheduler: str | None):
    if scheduler:
        return cluster.spread(perform, batches, scheduler, describe=_told)
    if processes == 1 or side_by_side():
        return ((batch, perform(batch)) for pieces in batches.values() for batch in pieces)
    return spread(perform, batches, processes, describe=_told)


def _told(batch: Sequence[Run]) -> str:
    return f"the run {batch[0]}" if len(batch) == 1 else f"one of these {len(batch)} runs: {'; '.join(map(str, batch))}"


_COLUMN_OF_COST = {"total_delay": "total_delay_s", "edge_delay": "edge_delay_s", "local_delay": "local_delay_s",
                   "energy": "energy_j"}  # fmt: skip


def _rows(run: Run, costs: Costs, experiment: Experiment, x) -> list[dict]:
    """One row for a point of a sweep; of a learning curve one for each window."""

    def row(x, cost: EpisodeCost | None, trained: int) -> dict:
        assert cost is not None
        values = {_COLUMN_OF_COST.get(name, name): float(value) for name, value in asdict(cost).items()}
        steps = trained * run.setting.num_slots if run.learns else 0
        return {"method": run.method, "seed": run.seed, "x": x, **values, "env_steps": steps}

    if not experiment.convergence:
        return [row(x, costs.evaluation, run.episodes)]
    windows = enumerate(costs.last_episode.tolist())
    return [row(last, jax.tree.map(lambda leaf, at=at: leaf[at], costs.training), last) for at, last in windows]


def _table(rows: list[dict], experiment: Experiment, scenario: str, methods: Sequence[str]) -> pd.DataFrame:
    results = pd.DataFrame(rows).assign(figure=experiment.name, scenario=scenario, x_name=experiment.x_name)
    point = ["setting", "seed", "x"]
    optimum = results[results.method == _best(scenario)].set_index(point).total_delay_s
    results["optimal_total_delay_s"] = optimum.reindex(pd.MultiIndex.from_frame(results[point])).to_numpy()
    results["gap_percent"] = 100 * (results.total_delay_s / results.optimal_total_delay_s - 1)
    results = results[results.method.isin(methods)]
    names = list(experiment.series) or [""]
    order = results.assign(
        method=results.method.map(methods_in(scenario).index), setting=results.setting.map(names.index)
    )
    order = order.sort_values(["method", "setting", "x", "seed"]).index
    columns = [*COLUMNS, "setting"] if experiment.series else list(COLUMNS)
    return results.loc[order, columns].reset_index(drop=True)
