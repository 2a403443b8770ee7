"""The paper's figures as data, and the one function that runs any of them.

An experiment says what is swept and what is fixed. To add one of your own, add an `Experiment`:

    EXPERIMENTS["my_sweep"] = Experiment(
        "my_sweep", "Delay against the deadline", x_name="deadline", x_label="deadline (s)", xs=(1.0, 5.0)
    )
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from mecpart.agents import AGENTS, agent_config, make_train
from mecpart.agents.learning import EpisodeCost, channel_key, evaluate_policy, run_episode
from mecpart.ledger import LEDGER
from mecpart.network import sample_network
from mecpart.policies import POLICIES
from mecpart.scenario import SCENARIOS, Scenario
from mecpart.validation import check_choice, check_count
from mecpart.workload import workload

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

#: All methods, in the order of the paper and then the reference lines.
METHODS = (*AGENTS, *POLICIES)

#: Lanes (settings times seeds) of one compiled call, at most: small enough to share the calls out evenly.
LANES_PER_CALL = 8

#: Points of a convergence curve, at most; each averages over a window of episodes.
WINDOWS = 150


@dataclass(frozen=True)
class Profile:
    """How much is run: seeds, and training episodes. Nothing else differs between profiles."""

    seeds: int
    episodes: int


PROFILES = {
    "smoke": Profile(seeds=2, episodes=8),
    "quick": Profile(seeds=5, episodes=320),
    "paper": Profile(seeds=10, episodes=LEDGER.default("episodes")),
}


@dataclass(frozen=True)
class Setting:
    """What an experiment can sweep or fix; the defaults are the ledger's."""

    network: str = LEDGER.default("network")
    num_blocks: int = LEDGER.default("num_blocks")
    num_servers: int = LEDGER.default("num_servers")
    release_rate: float = LEDGER.default("release_rate")
    deadline: float = LEDGER.default("deadline")
    device_rate_range: tuple[float, float] = LEDGER.default("device_rate_range")

    def build(self, scenario: str, seed: int, pad_to: int) -> Scenario:
        """The scenario of this setting on the network of `seed`, with servers that do not exist up to `pad_to`."""
        key = jax.random.fold_in(jax.random.key(seed), 0)
        network = sample_network(key, self.num_servers, pad_to=pad_to, device_rate_range=self.device_rate_range)
        tasks = workload(self.network, self.num_blocks)
        return SCENARIOS[scenario](tasks, network, self.release_rate, self.deadline)


def _check_methods(methods: tuple[str, ...]) -> None:
    if not methods:
        raise ValueError(f"methods must be at least one of {', '.join(map(repr, METHODS))}; got ()")
    for method in methods:
        check_choice("methods", method, METHODS)


@dataclass(frozen=True)
class Experiment:
    """One figure as data.

    A sweep trains anew at each of `xs`, a value of the field `x_name` of `Setting`, and then runs one fresh episode.
    With `x_name` "episode" the training itself is shown, averaged over windows of episodes.
    """

    name: str
    title: str
    x_name: str
    x_label: str
    xs: tuple = ()
    fixed: Setting = Setting()
    methods: tuple[str, ...] = METHODS

    def __post_init__(self):
        check_choice("x_name", self.x_name, ["episode", *(field.name for field in fields(Setting))])
        _check_methods(self.methods)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The settings to train in."""
        if self.x_name == "episode":
            return (self.fixed,)
        return tuple(replace(self.fixed, **{self.x_name: x}) for x in self.xs)


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment("fig6", "Convergence: average reward per episode", "episode", "episode"),
        Experiment("fig8", "Delay and energy against the number of edge servers", "num_servers", "edge servers N",
                   xs=tuple(range(2, 10))),
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
) -> pd.DataFrame:
    """Run an experiment and return its tidy results.

    Seed s of every method and every x sees the same networks and channels. Learners are evaluated with their greedy
    plans on one fresh episode. A delay is the sum over an episode's slots in s, an energy in J; `env_steps` are
    the slots that a learner was trained on; the gap is 100 * (total - optimum) / optimum.

    **Arguments:**

    - `name`: a key of `EXPERIMENTS`; `profile`: of `PROFILES`; `scenario`: of `SCENARIOS`.
    - `seeds`, `episodes`, `methods`: instead of the profile's, or the experiment's.
    - `processes`: single-threaded processes to use; by default MECPART_PROCESSES or else one for each core.

    **Returns:** a DataFrame with `COLUMNS`, sorted by method, x and seed.

    **Raises:** `ValueError` for an unknown name (answered with what there is) or a bad number, before anything runs.
    """
    check_choice("name", name, EXPERIMENTS)
    check_choice("profile", profile, PROFILES)
    check_choice("scenario", scenario, SCENARIOS)
    experiment = EXPERIMENTS[name]
    seeds = check_count("seeds", PROFILES[profile].seeds if seeds is None else seeds)
    episodes = check_count("episodes", PROFILES[profile].episodes if episodes is None else episodes)
    methods = experiment.methods if methods is None else tuple(methods)
    _check_methods(methods)
    for method in methods:
        if method in AGENTS:
            agent_config(method, episodes=episodes)
    _check_settings(experiment, scenario)
    processes = check_count("processes", _default_processes() if processes is None else processes)

    computed = tuple(dict.fromkeys((*methods, "Optimal")))  # the optimum is always needed, for the gap
    calls = list(_calls(experiment, scenario, computed, seeds, episodes, processes))
    rows = [row for rows in _run(calls, processes, f"{name} {scenario}") for row in rows]
    results = pd.DataFrame(rows)
    results.insert(0, "figure", name)
    results.insert(1, "scenario", scenario)
    point = ["seed", "x"]
    optimum = results[results.method == "Optimal"].set_index(point).total_delay_s
    results["optimal_total_delay_s"] = optimum.reindex(pd.MultiIndex.from_frame(results[point])).to_numpy()
    results["gap_percent"] = 100 * (results.total_delay_s / results.optimal_total_delay_s - 1)
    results = results[results.method.isin(methods)]
    order = results.assign(method=results.method.map(METHODS.index)).sort_values(["method", "x", "seed"]).index
    return results.loc[order, list(COLUMNS)].reset_index(drop=True)


def _check_settings(experiment: Experiment, scenario: str) -> None:
    """Raise `ValueError` where a sweep is empty, has a value twice, or names a setting that cannot be."""
    if experiment.x_name != "episode" and (not experiment.xs or len(set(experiment.xs)) < len(experiment.xs)):
        raise ValueError(f"xs must hold at least one value of {experiment.x_name}, each once; got {experiment.xs}")
    for setting in experiment.settings:
        pad_to = check_count("num_servers", setting.num_servers)
        jax.eval_shape(partial(setting.build, scenario, 0, pad_to))  # makes every check and compiles nothing


@dataclass(frozen=True)
class _Call:
    """One compiled call: one method on some lanes; an x of None marks a lane that only fills up the call."""

    method: str
    scenario: str
    convergence: bool
    x_name: str
    lanes: tuple[tuple[object, Setting, int], ...]  # x, setting, seed
    pad_to: int
    episodes: int

    def run(self) -> list[dict]:
        """Train and evaluate every lane; one row for each lane and x."""
        scenarios, keys = _stack([(s.build(self.scenario, seed, self.pad_to), _key(seed)) for _, s, seed in self.lanes])
        run = _compiled(self.method, self.convergence, self.episodes)
        costs = jax.tree.map(np.asarray, run(keys, scenarios))
        rows = []
        for lane, (x, _, seed) in enumerate(self.lanes):
            if x is None:
                continue
            cost = jax.tree.map(lambda leaf, lane=lane: leaf[lane], costs)
            steps = self.episodes * scenarios.num_slots if self.method in AGENTS else 0
            if not self.convergence:
                rows.append(self._row(seed, x, cost, steps))
                continue
            for window in np.array_split(np.arange(self.episodes), min(WINDOWS, self.episodes)):
                mean = jax.tree.map(lambda leaf, window=window: leaf[window].mean(), cost)
                last = int(window[-1]) + 1
                rows.append(self._row(seed, last, mean, last * scenarios.num_slots if steps else 0))
        return rows

    def _row(self, seed: int, x, cost: EpisodeCost, env_steps: int) -> dict:
        units = {"total_delay": "_s", "edge_delay": "_s", "local_delay": "_s", "energy": "_j"}
        values = {name + units.get(name, ""): float(value) for name, value in asdict(cost).items()}
        return {"method": self.method, "seed": seed, "x_name": self.x_name, "x": x, **values, "env_steps": env_steps}


def _calls(experiment, scenario, methods, seeds, episodes, processes) -> Iterator[_Call]:
    """Cut methods x settings x seeds into calls of equal shape, ordered so that processes compile different methods."""
    convergence = experiment.x_name == "episode"
    xs = ("episode",) if convergence else experiment.xs
    shapes: dict[tuple[str, int], list] = {}
    for x, setting in zip(xs, experiment.settings, strict=True):
        lanes = shapes.setdefault((setting.network, setting.num_blocks), [])
        lanes += [(x, setting, seed) for seed in range(seeds)]
    for lanes in shapes.values():
        pad_to = max(setting.num_servers for _, setting, _ in lanes)
        pieces = -(-len(lanes) // LANES_PER_CALL)
        pieces = min(-(-pieces // processes) * processes, len(lanes))
        size = -(-len(lanes) // pieces)
        for start in range(0, len(lanes), size):
            piece = lanes[start : start + size]
            piece += [(None, *piece[-1][1:])] * (size - len(piece))
            for method in methods:
                yield _Call(method, scenario, convergence, experiment.x_name, tuple(piece), pad_to, episodes)


def _key(seed: int):
    return jax.random.fold_in(jax.random.key(seed), 1)


def _stack(pytrees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *pytrees)


@cache
def _compiled(method: str, convergence: bool, episodes: int) -> Callable:
    """(keys [lanes], scenarios [lanes]) -> EpisodeCost, [lanes] after training or [lanes, episodes] during it."""

    def run(key, scenario):
        train_key, evaluation_key, policy_key = jax.random.split(key, 3)
        if method in AGENTS:
            result = make_train(method, episodes=episodes)(train_key, scenario)
            return result.episode_cost if convergence else evaluate_policy(evaluation_key, scenario, result.policy)
        draws, count = (channel_key(train_key), episodes) if convergence else (evaluation_key, 1)

        def episode(number):
            noise = jax.random.split(jax.random.fold_in(policy_key, number), scenario.num_slots)
            choose = jax.vmap(partial(_plan_of_state, POLICIES[method], scenario))
            return run_episode(draws, scenario, number, choose, noise)

        costs = jax.lax.map(episode, jnp.arange(count))
        return costs if convergence else jax.tree.map(lambda leaf: leaf[0], costs)

    return jax.jit(over_lanes(run))


def over_lanes(function: Callable) -> Callable:
    """`function` over the leading axis of its arguments: one after the other on a CPU, side by side elsewhere.

    The workers of one lane already fill a core's vector units, and their parameters its second-level cache: `vmap` over
    more lanes at once measured 10 % (Proposed) to 35 % (A3C) slower there.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function)
    return lambda *lanes: jax.lax.map(lambda lane: function(*lane), lanes)


def _plan_of_state(policy, scenario, state, key):
    return policy(scenario, state.slot, key)


def _run(calls: list[_Call], processes: int, what: str) -> Iterator[list[dict]]:
    """The rows of every call, with a line of progress for each."""
    start = time.monotonic()

    def report(done: int, call: _Call):
        print(f"{what}: {done}/{len(calls)} {call.method} ({time.monotonic() - start:.0f} s)", flush=True)

    processes = min(processes, len(calls))
    if processes == 1 or jax.default_backend() != "cpu":
        for done, call in enumerate(calls, 1):
            yield call.run()
            report(done, call)
        return
    with _pool(processes) as pool:
        futures: dict[Future, _Call] = {pool.submit(call.run): call for call in calls}
        for done, future in enumerate(as_completed(futures), 1):
            yield future.result()
            report(done, futures[future])


def _pool(processes: int):
    """Processes of one XLA thread each, pinned to a core of their own: twice as fast as one process on all cores."""
    from loky import ProcessPoolExecutor
    from loky.backend import get_context

    context = get_context("loky")
    cores = context.SimpleQueue()
    for core in sorted(_cores()) * -(-processes // len(_cores())):
        cores.put({core} if processes <= len(_cores()) else _cores())
    # One XLA thread each; and loky's guess at memory leaks is off: what compiled code takes would set it off.
    env = {"PJRT_NPROC": "1", "LOKY_MAX_MEMORY_LEAK_SIZE": str(2**62)}
    # Unlike multiprocessing's own, loky's processes do not run the calling script again.
    return ProcessPoolExecutor(processes, context=context, env=env, initializer=_pin, initargs=(cores,))


def _pin(cores) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores.get())


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _default_processes() -> int:
    given = os.environ.get("MECPART_PROCESSES")
    if given is None:
        return len(_cores())
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"MECPART_PROCESSES must be a whole number of at least 1; got {given!r}")
    return int(given)
