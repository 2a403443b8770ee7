"""Runs: one method in one setting with one seed, the unit that every experiment is made of.

What a run costs is a function of its description alone. So figures that share a setting share its runs, and a run that
has been kept in a folder is never computed again.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, lru_cache, partial
from inspect import signature
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mecpart.agents import AGENTS, agent_config, make_train
from mecpart.agents.learning import EpisodeCost, channel_key, episode_slots, evaluate_policy, run_episode
from mecpart.ledger import LEDGER
from mecpart.network import sample_network
from mecpart.optimum import bound_prices, episode_bound
from mecpart.policies import ONLY_IN, POLICIES
from mecpart.scenario import SCENARIOS, Scenario
from mecpart.validation import check_choice, check_count, check_number
from mecpart.workload import LayerTable, workload

#: All methods, in the order of the paper and then the reference lines.
METHODS = (*AGENTS, *POLICIES)

#: Not a method: as a `Run`, the certified lower bound on the total delay of the same episodes.
BOUND = "Bound"

#: Points of a learning curve, at most; each averages over a window of episodes.
WINDOWS = 150

#: Networks are padded to one of these numbers of servers, so that a sweep over N compiles less often. Padding costs
#: time, so the sizes are close together; the ledger's N is one of them, since most figures use it.
PADDED_SERVERS = (4, 6, 8, 9)

# What a run is computed by: a change to any of these files makes kept runs void.
_SOURCES = (
    "agents", "delay.py", "environment.py", "ledger.py", "network.py", "optimum.py", "policies.py", "runs.py",
    "sampling.py", "scenario.py", "workload.py", "zoo.py",
)  # fmt: skip
_DISTRIBUTIONS = ("jax", "jaxlib", "flax", "optax")

# What `Setting.constants` may name of `sample_network`; of a scenario it may name every keyword.
_OF_NETWORK = frozenset(
    ("server_speed_range", "num_devices", "device_frequency", "wired_rate", "transmit_power", "energy_coefficient")
)


@dataclass(frozen=True)
class Setting:
    """What an experiment can sweep or fix; the defaults are the ledger's.

    - `network`: the name of one of the paper's, or the layer table of one's own, as `mecpart.workload` takes it.
    - `link_capacity`: in Mbit/s, replaces the range of device rates by one value (Fig. 13).
    - `constants`: any other argument of `sample_network` or of the scenario, as (name, value) pairs.
    """

    network: str | LayerTable = LEDGER.default("network")  # noqa: RUF009 (a name)
    num_blocks: int = LEDGER.default("num_blocks")
    num_servers: int = LEDGER.default("num_servers")
    release_rate: float = LEDGER.default("release_rate")
    deadline: float = LEDGER.default("deadline")
    device_rate_range: tuple[float, float] = LEDGER.default("device_rate_range")
    link_capacity: float | None = None
    constants: tuple[tuple[str, object], ...] = ()

    @property
    def padded_servers(self) -> int:
        """The number of servers that the network is padded to."""
        return min((size for size in PADDED_SERVERS if size >= self.num_servers), default=self.num_servers)

    def build(self, scenario: str, seed: int) -> Scenario:
        """The scenario of this setting on the network of `seed`, padded with servers that do not exist.

        **Raises:** `ValueError` for a setting that cannot be; under `jax.eval_shape`, without compiling anything.
        """
        check_count("num_servers", self.num_servers)
        rates = self.device_rate_range
        if self.link_capacity is not None:
            check_number("link_capacity", self.link_capacity, exclusive=True)
            rates = (self.link_capacity * 1e6 / 8,) * 2
        build, constants = SCENARIOS[scenario], dict(self.constants)
        of_scenario = {name for name, way in signature(build).parameters.items() if way.kind == way.KEYWORD_ONLY}
        for name in constants:
            check_choice("constants", name, sorted(_OF_NETWORK | of_scenario))
        of_network = {name: constants.pop(name) for name in _OF_NETWORK & set(constants)}
        key = jax.random.fold_in(jax.random.key(seed), 0)
        network = sample_network(
            key, self.num_servers, pad_to=self.padded_servers, device_rate_range=rates, **of_network
        )
        tasks = workload(self.network, self.num_blocks)
        return build(tasks, network, self.release_rate, self.deadline, **constants)


def methods_in(scenario: str) -> tuple[str, ...]:
    """The methods that there are in a scenario, in the order of `METHODS`."""
    return tuple(method for method in METHODS if ONLY_IN.get(method, scenario) == scenario)


@dataclass(frozen=True)
class Run:
    """One method in one setting with one seed.

    - `method`, `scenario`: keys of `METHODS` and `SCENARIOS`.
    - `episodes`: that a learner is trained for.
    - `agent`: settings of the learner that are to differ from its own, as (name, value) pairs.
    - `convergence`: of a method that does not learn, that the training episodes are wanted rather than a fresh one; of
      a learner both are always known.

    Two descriptions of one run are equal: what changes nothing is dropped.
    """

    method: str
    scenario: str
    setting: Setting
    seed: int
    episodes: int
    agent: tuple[tuple[str, object], ...] = ()
    convergence: bool = False

    def __post_init__(self):
        check_choice("scenario", self.scenario, SCENARIOS)
        check_choice("method", self.method, (*methods_in(self.scenario), BOUND))
        check_count("episodes", self.episodes)
        if self.learns:
            agent_config(self.method, episodes=self.episodes, **dict(self.agent))
            own = AGENTS[self.method]
            object.__setattr__(self, "agent", tuple(pair for pair in self.agent if getattr(own, pair[0]) != pair[1]))
            object.__setattr__(self, "convergence", False)

    @property
    def learns(self) -> bool:
        """Whether the method learns."""
        return self.method in AGENTS

    @property
    def program(self) -> "Program":
        """What is compiled for this run, and for all others of the same shape."""
        learner = self.method if self.learns or self.method == BOUND else None
        size = self.setting.num_blocks, self.setting.padded_servers
        return Program(learner, self.agent, self.episodes, self.convergence, self.scenario, *size)

    @property
    def slots(self) -> int:
        """How many slots the run is made of."""
        return LEDGER.default("num_slots") * (self.episodes if self.learns or self.convergence else 1)

    @property
    def identity(self) -> str:
        """A hash of all that the run's costs depend on: its description, the sources and the libraries."""
        config = asdict(agent_config(self.method, **dict(self.agent))) if self.learns else {}
        description = asdict(self) | {"agent": config, "windows": WINDOWS, "backend": jax.default_backend()}
        text = json.dumps([description, _sources(), _versions()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Costs:
    """What a run cost: `training` in each window of episodes, which ends with `last_episode`; `evaluation` afterwards.

    Of a method that does not learn only one of the two is there.
    """

    last_episode: np.ndarray
    training: EpisodeCost | None
    evaluation: EpisodeCost | None


@dataclass(frozen=True)
class Program:
    """What makes two runs share one compiled function: all that is static in it.

    The methods that do not learn share one for each size (`learner` is None): they would each take seconds to compile.
    That of the bound has `BOUND` in the learner's place.
    """

    learner: str | None
    agent: tuple[tuple[str, object], ...]
    episodes: int
    convergence: bool
    scenario: str
    num_blocks: int
    num_servers: int

    @property
    def effort(self) -> float:
        """Roughly how long a run takes, for an order of work in which nothing long comes last."""
        if self.learner in (None, BOUND):
            return 1e-3 * self.num_blocks * (self.episodes if self.convergence else 1)
        sequential = getattr(AGENTS[self.learner], "heads", "") == "sequential"
        return self.episodes * self.num_blocks * (3 if sequential else 1)


@cache
def _compiled(program: Program) -> Callable:
    """(key, scenario, number of the policy) -> (cost of each training episode or None, of a fresh one or None)."""
    policies = [POLICIES[method] for method in methods_in(program.scenario) if method in POLICIES]

    def run(key, scenario, number):
        train_key, evaluation_key, policy_key = jax.random.split(key, 3)
        if program.learner == BOUND:
            return _bounds(program, scenario, channel_key(train_key), evaluation_key)
        if program.learner is not None:
            train = make_train(program.learner, episodes=program.episodes, **dict(program.agent))
            result = train(train_key, scenario)
            return result.episode_cost, evaluate_policy(evaluation_key, scenario, result.policy)

        def choose_plan(state, noise):
            choices = [partial(policy, scenario) for policy in policies]
            return jax.lax.switch(number, choices, state.slot, noise)

        def episode(draws, count):
            noise = jax.random.split(jax.random.fold_in(policy_key, count), scenario.num_slots)
            return run_episode(draws, scenario, count, jax.vmap(choose_plan), noise)

        if program.convergence:
            draws = channel_key(train_key)
            return jax.lax.map(partial(episode, draws), jnp.arange(program.episodes)), None
        return None, episode(evaluation_key, jnp.int32(0))

    return jax.jit(run if jax.default_backend() == "cpu" else jax.vmap(run))


def _bounds(program: Program, scenario: Scenario, draws, evaluation_key):
    """The same for the bound: of training episodes under the prices that are best for the first of them."""

    def slots_of(key, episode):
        return jax.tree.map(lambda leaf: leaf[:-1], episode_slots(key, scenario, episode))

    def cost(total_delay):
        rest = {field.name: jnp.full_like(total_delay, jnp.nan) for field in fields(EpisodeCost)}
        return EpisodeCost(**rest | {"total_delay": total_delay})

    if not program.convergence:
        return None, cost(episode_bound(scenario, slots_of(evaluation_key, 0)))
    prices = bound_prices(scenario, slots_of(draws, 0)) if scenario.loaded else None
    episodes = jnp.arange(program.episodes)
    found = jax.lax.map(lambda episode: episode_bound(scenario, slots_of(draws, episode), prices), episodes)
    return cost(found), None


def perform(runs: Sequence[Run]) -> list[Costs]:
    """Compute runs of one program: one after the other on a CPU, side by side in one call elsewhere.

    The workers of one run already fill a core's vector units, and their parameters its second-level cache: `vmap` over
    more runs measured 10 % (Proposed) to 35 % (A3C) slower there.
    """
    programs = {run.program for run in runs}
    if len(programs) != 1:
        raise ValueError(f"runs must be of one program; got {len(programs)}")
    (program,) = programs
    compiled = _compiled(program)
    policies = [method for method in methods_in(program.scenario) if method in POLICIES]
    numbers = {method: number for number, method in enumerate(policies)}
    cases = [
        (
            _run_key(run.seed),
            _case(run.setting, run.scenario, run.seed),
            np.int32(numbers.get(run.method, 0)),
        )
        for run in runs
    ]
    if jax.default_backend() == "cpu":
        found = [jax.tree.map(np.asarray, compiled(*case)) for case in cases]
    else:
        together = jax.tree.map(np.asarray, compiled(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *cases)))
        found = [jax.tree.map(lambda leaf, lane=lane: leaf[lane], together) for lane in range(len(cases))]
    windows = np.array_split(np.arange(program.episodes), min(WINDOWS, program.episodes))
    last_episode = np.array([window[-1] + 1 for window in windows])
    costs = []
    for training, evaluation in found:
        if training is not None:
            training = jax.tree.map(lambda leaf: np.array([leaf[window].mean() for window in windows]), training)
        costs.append(Costs(last_episode, training, evaluation))
    return costs


def _run_key(seed: int):
    return jax.random.fold_in(jax.random.key(seed), 1)


@lru_cache(maxsize=1024)
def _case(setting: Setting, scenario: str, seed: int) -> Scenario:
    """The scenario without names, which would tell programs apart that are the same."""
    built = setting.build(scenario, seed)
    nameless = replace(built.workload, name="", block_names=("",) * built.num_blocks)
    return replace(built, workload=nameless)


def keep(folder: Path, run: Run, costs: Costs) -> None:
    """Write what a run cost into `folder`, in one step."""
    arrays = {"last_episode": costs.last_episode}
    for part in ("training", "evaluation"):
        values = getattr(costs, part)
        arrays |= {f"{part}_{name}": value for name, value in asdict(values).items()} if values is not None else {}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run.identity}.npz"
    unfinished = path.with_suffix(".unfinished.npz")
    np.savez(unfinished, **arrays)
    unfinished.replace(path)


def kept(folder: Path, run: Run) -> Costs | None:
    """What a run cost, if it has been kept in `folder` and nothing that it depends on has changed."""
    path = folder / f"{run.identity}.npz"
    if not path.exists():
        return None
    with np.load(path) as arrays:

        def part(name: str) -> EpisodeCost | None:
            found = {field.name: arrays.get(f"{name}_{field.name}") for field in fields(EpisodeCost)}
            return None if any(value is None for value in found.values()) else EpisodeCost(**found)

        return Costs(arrays["last_episode"], part("training"), part("evaluation"))


@cache
def _sources() -> str:
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for name in _SOURCES:
        for file in sorted((package / name).rglob("*.py")) if (package / name).is_dir() else [package / name]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


@cache
def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _DISTRIBUTIONS}
