"""The one function that runs any experiment, and what it returns."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import jax
import pandas as pd

from mecpart import context
from mecpart.agents.learning import EpisodeCost
from mecpart.experiments import cluster, work
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.experiments.experiment import Experiment, Point, check_methods, shown_x
from mecpart.experiments.processes import cores
from mecpart.experiments.programs import check, program_of, try_out
from mecpart.experiments.runs import Costs, Run
from mecpart.experiments.setting import Setting, outline
from mecpart.experiments.worlds import LEDGERS, world_of
from mecpart.ledger import LEDGER
from mecpart.methods.register import BOUND, METHODS, methods_in
from mecpart.model.scenarios import SCENARIOS
from mecpart.planning.optimum import optimum_is_known
from mecpart.validation import check_choice, check_count, check_path, shown

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

#: Those that results have besides where slots wait for each other.
COLUMNS_OF_QUEUES = ("keeps_up", "busiest_share")

#: Seeds and episodes, at most: what a run is and what an episode cost are kept in memory.
MOST_SEEDS, MOST_EPISODES = 10_000, 1_000_000


@dataclass(frozen=True)
class Profile:
    """How much is run: seeds, training episodes, and networks for what costs nothing (`run_rules`).

    - `brief`: whether `run_experiment` leaves out points that run nothing which others do not (`Experiment.brief`).

    Nothing else differs between profiles.
    """

    seeds: int
    episodes: int
    networks: int = 1000
    brief: bool = False


#: Episodes are multiples of every number of workers in Fig. 7b.
PROFILES = {
    "smoke": Profile(seeds=2, episodes=24, networks=20, brief=True),
    "quick": Profile(seeds=5, episodes=192),
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


def run_experiment(
    name: str,
    profile: str = "quick",
    scenario: str = "as_printed",
    *,
    world: str | None = None,
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
    the certified lower bound (`episode_bound`) takes the place of the optimum, which is not known there, and there are
    two more columns: `keeps_up`, 1 if the episode keeps up with what arrives (`mecpart.keeps_up`), else 0; and
    `busiest_share`, of its blocks that went to the node which was given most. Of a learning curve all are means over
    the episodes of a window.

    **Arguments:**

    - `name`: a key of `EXPERIMENTS`; `profile`: of `PROFILES`; `scenario`: of `SCENARIOS`.
    - `world`: by which constants: "ledger", or another of `data/worlds.json`, of which the experiment then changes what
      it sweeps; by default the ledger's.
    - `seeds`, `episodes`, `methods`: instead of the profile's, or those of the experiment that the scenario has; at
      most `MOST_SEEDS` and `MOST_EPISODES`.
    - `processes`: single-threaded processes to use, at most one for each core; by default one for each core.
    - `scheduler`: address of a Dask scheduler whose workers compute the runs instead; by default none.
    - `runs_folder`: where the runs of learners are kept, and taken from if they are there; by default nowhere. A
      setting that several figures share is then trained once, and a stopped call goes on where it was.

    In the kernel of a batch the world and the last three are by default what the batch says (`mecpart.context`).

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
        check_methods(experiment.methods, METHODS | known)
    chosen = methods is not None
    if methods is None:
        methods = _usual_methods(experiment, scenario)
    check_methods(methods, known, scenario)
    experiment = in_world(experiment, scenario, world)
    points = experiment.points(scenario, PROFILES[profile].brief)
    return results_of(experiment, scenario, points, seeds, episodes, methods, chosen, processes, scheduler, runs_folder)


def usual_runs(name: str, profile: str, scenario: str, world: str | None = None) -> set[Run]:
    """The runs that `run_experiment` needs for these names, before anything is checked or run."""
    experiment = in_world(EXPERIMENTS[name], scenario, world)
    seeds, episodes = amounts(profile, None, None)
    points = experiment.points(scenario, PROFILES[profile].brief)
    methods = _usual_methods(experiment, scenario)
    return set(_wanted(experiment, scenario, points, seeds, episodes, methods).values())


def in_world(experiment: Experiment, scenario: str, world: str | None) -> Experiment:
    """The experiment with the constants of a world (None: the batch's) in the place of the ledger's, where it has none.

    **Raises:** `ValueError` for a world that there is not.
    """
    if world is None:
        world = context.current().world or LEDGERS
    there, fixed = world_of(world, scenario).to(Setting()), experiment.fixed
    of_network = {} if fixed.edge_network else dict(there.of_network)
    fixed = replace(
        fixed,
        of_network=of_network | dict(fixed.of_network),
        of_scenario=dict(there.of_scenario) | dict(fixed.of_scenario),
    )
    return replace(experiment, fixed=fixed)


def _usual_methods(experiment: Experiment, scenario: str) -> list[str]:
    return [method for method in methods_in(scenario) if experiment.methods is None or method in experiment.methods]


def results_of(
    experiment: Experiment,
    scenario: str,
    points: Sequence[Point],
    seeds: int,
    episodes: int,
    methods: Sequence[str],
    chosen: bool,
    processes: int | None,
    scheduler: str | None = None,
    runs_folder: str | Path | None = None,
) -> pd.DataFrame:
    """`run_experiment` of an experiment's points; `chosen`: whether the methods were named by the caller."""
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
    methods = _checked(experiment, scenario, points, tuple(methods), episodes, chosen)
    wanted = _wanted(experiment, scenario, points, seeds, episodes, methods)
    folder = Path(runs_folder) if runs_folder else None
    costs = work.complete(wanted.values(), processes, scheduler, folder, f"{experiment.name} {scenario}")
    rows = [
        {"setting": points[at].series, "best": method == _best(points[at], scenario), **row}
        for (at, method, _), run in wanted.items()
        for row in _rows(run, costs[run], experiment, shown_x(points[at].x))
    ]
    return _table(rows, experiment, scenario, methods)


def _wanted(
    experiment: Experiment, scenario: str, points: Sequence[Point], seeds: int, episodes: int, methods: Sequence[str]
) -> dict[tuple[int, str, int], Run]:
    """The run of each (number of the point, method, seed); one may stand at several."""
    found = {}
    for at, point in enumerate(points):
        for method in dict.fromkeys((*_there(methods, point, scenario), _best(point, scenario))):  # for the gap
            changes = _changes(method, scenario, point)
            for seed in range(seeds):
                run = Run(method, scenario, point.setting, seed, episodes, changes, experiment.convergence)
                found[at, method, seed] = run
    return found


def _changes(method: str, scenario: str, point: Point) -> tuple:
    """What a point changes of a method."""
    found = methods_in(outline(point.setting, scenario).rules) | {BOUND.name: BOUND}
    return tuple(found[method].changed(point.changes).items())


def _there(methods: Sequence[str], point: Point, scenario: str) -> list[str]:
    """Those of `methods` that there are by the rules of a point, which may differ from the scenario's."""
    known = methods_in(outline(point.setting, scenario).rules)
    return [method for method in methods if method in known]


def _best(point: Point, scenario: str) -> str:
    """What the gap is measured from: the optimum where it is known, else the bound."""
    return "Optimal" if optimum_is_known(outline(point.setting, scenario)) else BOUND.name


def _checked(
    experiment: Experiment,
    scenario: str,
    points: Sequence[Point],
    methods: tuple[str, ...],
    episodes: int,
    chosen: bool,
) -> tuple[str, ...]:
    """The methods that can be shown.

    Own learners that do not tell what their training cost have no learning curve. Unless the methods were `chosen`,
    those that were made for other numbers of blocks or servers are left out, and that is said.

    **Raises:** `ValueError` for a setting that cannot be, a bad value for a setting of a method, or a method that makes
    no plans.
    """
    known, left_out = methods_in(scenario), set()
    tried: dict[tuple[str, str], Run] = {}

    def without(method: str, error: ValueError) -> None:
        if chosen or not known[method].of_one_size:
            raise ValueError(f"{experiment.name}, {method}: {error}") from error
        print(f"{experiment.name}: {method} is left out: {error}", flush=True)
        left_out.add(method)

    for point in points:
        outline(point.setting, scenario)  # makes every check
        for method in _there(methods, point, scenario):
            if method in left_out:
                continue
            try:
                changes = _changes(method, scenario, point)
                run = Run(method, scenario, point.setting, 0, episodes, changes, experiment.convergence)
                told = check(run)
            except ValueError as error:
                without(method, error)
                continue
            if experiment.convergence and not told:
                left_out.add(method)
            if not run.of.of_package:
                tried[method, program_of(run).key] = run
    for (method, _), run in tried.items():
        if method not in left_out:
            try:
                try_out(run)
            except ValueError as error:
                without(method, error)
    return tuple(method for method in methods if method not in left_out)


#: The columns of `COLUMNS` whose name differs from that of the cost in them.
COLUMN_OF_COST = {"total_delay": "total_delay_s", "edge_delay": "edge_delay_s", "local_delay": "local_delay_s",
                   "energy": "energy_j"}  # fmt: skip


def _rows(run: Run, costs: Costs, experiment: Experiment, x) -> list[dict]:
    """One row for a point of a sweep; of a learning curve one for each window."""

    def row(x, cost: EpisodeCost | None, trained: int) -> dict:
        assert cost is not None
        values = {COLUMN_OF_COST.get(name, name): float(value) for name, value in asdict(cost).items()}
        steps = trained * run.num_slots if run.of.learns else 0
        return {"method": run.method, "seed": run.seed, "x": x, **values, "env_steps": steps}

    if not experiment.convergence:
        return [row(x, costs.evaluation, run.episodes)]
    windows = enumerate(costs.last_episode.tolist())
    return [row(last, jax.tree.map(lambda leaf, at=at: leaf[at], costs.training), last) for at, last in windows]


def _table(rows: list[dict], experiment: Experiment, scenario: str, methods: Sequence[str]) -> pd.DataFrame:
    results = pd.DataFrame(rows).assign(figure=experiment.name, scenario=scenario, x_name=experiment.x_name)
    point = ["setting", "seed", "x"]
    optimum = results[results.best].set_index(point).total_delay_s
    results["optimal_total_delay_s"] = optimum.reindex(pd.MultiIndex.from_frame(results[point])).to_numpy()
    results["gap_percent"] = 100 * (results.total_delay_s / results.optimal_total_delay_s - 1)
    results = results[results.method.isin(methods)]
    names = list(experiment.series) or [""]
    order = results.assign(
        method=results.method.map(list(methods_in(scenario)).index), setting=results.setting.map(names.index)
    )
    order = order.sort_values(["method", "setting", "x", "seed"]).index
    return results.loc[order, columns_of(results, experiment)].reset_index(drop=True)


def columns_of(results: pd.DataFrame, experiment: Experiment) -> list[str]:
    """The columns that results of an experiment have, in their order."""
    queued = results["keeps_up"].notna().any()
    return [*COLUMNS, *(COLUMNS_OF_QUEUES if queued else ()), *(["setting"] if experiment.series else [])]
