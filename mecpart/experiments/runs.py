"""Runs: one method in one setting with one seed, the unit that every experiment is made of.

What a run costs is a function of its description alone. So figures that share a setting share its runs, and a run that
has been kept in a folder is never computed again.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache, lru_cache, partial
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mecpart.agents import AGENTS, Policy, PricePolicy, agent_config, make_train
from mecpart.agents.learning import (
    EpisodeCost,
    channel_key,
    episode_slots,
    episode_start,
    evaluate_policy,
    run_episode,
    sum_costs,
)
from mecpart.dnn.workload import LayerTable, workload
from mecpart.dnn.zoo import NETWORKS
from mecpart.files import write_atomically
from mecpart.ledger import LEDGER
from mecpart.methods import OwnMethod, first_missing_node, own_methods
from mecpart.model.environment import rollout
from mecpart.model.network import sample_network
from mecpart.model.scenario import SCENARIOS, Scenario, Slot, sample_slots
from mecpart.planning.bounds import bound_prices, episode_bound
from mecpart.planning.policies import BOUND, ONLY_IN, POLICIES
from mecpart.sources import digest
from mecpart.validation import check_choice, check_count, check_number, check_range, shown

#: All methods of the package, in the order of the paper and then the reference lines.
METHODS = (*AGENTS, *POLICIES)

#: Points of a learning curve, at most; each averages over a window of episodes.
WINDOWS = 150

#: Networks are padded to one of these numbers of servers, so that a sweep over N compiles less often. Padding costs
#: time, so the sizes are close together; the ledger's N is one of them, since most figures use it.
PADDED_SERVERS = (4, 6, 8, 9)

#: Programs that a process keeps compiled, at most: each takes 20 to 60 MB.
COMPILED = 32

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
    constants: tuple[tuple[str, Any], ...] = ()

    slots: ClassVar[None] = None  # what a run is evaluated on is drawn by its seed

    def check(self) -> None:
        """Raise `ValueError` for a field of wrong type, shape or range; without compiling anything."""
        if not isinstance(self.network, LayerTable):
            check_choice("network", self.network, NETWORKS)
        for name in ("num_blocks", "num_servers"):
            check_count(name, getattr(self, name))
        check_number("release_rate", self.release_rate, shapes=((),))
        check_number("deadline", self.deadline, shapes=((), (self.num_blocks,)))
        check_range("device_rate_range", self.device_rate_range)
        if self.link_capacity is not None:
            check_number("link_capacity", self.link_capacity, exclusive=True, shapes=((),))
        pairs = self.constants if isinstance(self.constants, tuple) else (None,)
        if not all(isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
            raise ValueError(f"constants must be pairs (name, value), all in a tuple; got {shown(self.constants)}")
        for entry in fields(self):  # settings are compared, and part of a kept run's identity
            try:
                hash(getattr(self, entry.name))
            except TypeError:
                given = shown(getattr(self, entry.name))
                raise ValueError(f"{entry.name} must be plain numbers or tuples of them; got {given}") from None

    @property
    def told(self) -> list[str]:
        """What differs from the defaults, for readers."""
        given = [(entry.name, getattr(self, entry.name)) for entry in fields(self)]
        return [f"{name}={value}" for name, value in given if value != getattr(Setting, name)]

    @property
    def num_slots(self) -> int:
        """Slots of an episode."""
        return dict(self.constants).get("num_slots", LEDGER.default("num_slots"))

    @property
    def arrivals(self) -> str:
        """How many tasks arrive in a slot, one of `mecpart.model.scenario.ARRIVALS`."""
        return dict(self.constants).get("arrivals", LEDGER.default("arrivals"))

    @property
    def padded_servers(self) -> int:
        """The number of servers that the network is padded to."""
        return min((size for size in PADDED_SERVERS if size >= self.num_servers), default=self.num_servers)

    def build(self, scenario: str, seed: int, *, pad: bool = True) -> Scenario:
        """The scenario of this setting on the network of `seed`, where `pad` is set with servers that do not exist.

        **Raises:** `ValueError` for a setting that cannot be; under `jax.eval_shape`, without compiling anything.
        """
        self.check()
        check_choice("scenario", scenario, SCENARIOS)
        check_count("seed", seed, minimum=0)
        rates = self.device_rate_range
        if self.link_capacity is not None:
            rates = (self.link_capacity * 1e6 / 8,) * 2
        build, constants = SCENARIOS[scenario], dict(self.constants)
        of_scenario = {name for name, way in signature(build).parameters.items() if way.kind == way.KEYWORD_ONLY}
        for name in constants:
            check_choice("constants", name, sorted(_OF_NETWORK | of_scenario))
        of_network: dict[str, Any] = {name: constants.pop(name) for name in _OF_NETWORK & set(constants)}
        key = jax.random.fold_in(jax.random.key(seed), 0)
        servers = self.padded_servers if pad else self.num_servers
        network = sample_network(key, self.num_servers, pad_to=servers, device_rate_range=rates, **of_network)
        tasks = workload(self.network, self.num_blocks)
        return build(tasks, network, self.release_rate, self.deadline, **constants)


@dataclass(frozen=True, eq=False)
class Given:
    """A scenario of one's own in the place of a `Setting`: on its one network, seeds draw channels alone.

    - `slots`: that runs are evaluated on, [T], instead of those that their seeds draw.
    """

    scenario: Scenario
    slots: Slot | None = None

    told: ClassVar[list[str]] = ["a scenario of one's own"]

    @property
    def num_blocks(self) -> int:
        """M."""
        return self.scenario.num_blocks

    @property
    def num_servers(self) -> int:
        """N."""
        return self.scenario.network.num_servers

    padded_servers = num_servers

    @property
    def num_slots(self) -> int:
        """Slots of an episode."""
        return self.scenario.num_slots

    @property
    def arrivals(self) -> str:
        """How many tasks arrive in a slot, one of `mecpart.model.scenario.ARRIVALS`."""
        return self.scenario.arrivals

    def build(self, scenario: str, seed: int, *, pad: bool = True) -> Scenario:
        """The scenario, as it is."""
        return self.scenario


def methods_in(scenario: str) -> tuple[str, ...]:
    """The methods that there are in a scenario: the package's in the order of `METHODS`, then those registered."""
    own = [method.name for method in own_methods().values() if scenario in method.scenarios]
    return (*(method for method in METHODS if ONLY_IN.get(method, scenario) == scenario), *own)


def settings_of(method: str) -> dict[str, Any]:
    """What can be changed of a method, and what it is otherwise.

    Of a learner of the package the fields of its configuration, of a policy the keyword arguments of its function; of a
    method of one's own nothing.
    """
    if method in AGENTS:
        given = {entry.name: getattr(AGENTS[method], entry.name) for entry in fields(AGENTS[method])}
        return {name: value for name, value in given.items() if name not in ("name", "episodes")}
    arguments = signature(POLICIES[method]).parameters if method in POLICIES else {}
    return {name: way.default for name, way in arguments.items() if way.kind == way.KEYWORD_ONLY}


def changes_of(method: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `changes` that are settings of `method` and make a difference to it."""
    usual = settings_of(method)
    found = {name: changes[name] for name in usual if name in changes and changes[name] != usual[name]}
    if {**usual, **found}.get("sharing") != "soft":
        found.pop("sharing_weight", None)
    return found


@dataclass(frozen=True)
class Run:
    """One method in one setting with one seed.

    - `method`, `scenario`: keys of `METHODS` and `SCENARIOS`.
    - `setting`: of a `Given` scenario `scenario` is the name of its rules.
    - `episodes`: that a learner is trained for.
    - `changes`: settings of the method (`settings_of`) that are to differ, as (name, value) pairs.
    - `convergence`: of a method that does not learn, that the training episodes are wanted rather than a fresh one; of
      a learner both are always known.

    - `own`: the method itself, where it is one that was registered: it goes wherever the run goes.

    Two descriptions of one run are equal: what changes nothing is dropped.
    """

    method: str
    scenario: str
    setting: Setting | Given
    seed: int
    episodes: int
    changes: tuple[tuple[str, Any], ...] = ()
    convergence: bool = False
    own: OwnMethod | None = field(default=None, init=False)

    def __post_init__(self):
        check_choice("scenario", self.scenario, SCENARIOS)
        check_choice("method", self.method, (*methods_in(self.scenario), BOUND))
        check_count("episodes", self.episodes)
        object.__setattr__(self, "own", own_methods().get(self.method))
        for name, _ in self.changes:
            check_choice(f"setting of {self.method}", name, settings_of(self.method))
        if self.method in AGENTS:
            agent_config(self.method, episodes=self.episodes, **dict(self.changes))
        object.__setattr__(self, "changes", tuple(changes_of(self.method, dict(self.changes)).items()))
        if self.learns:
            object.__setattr__(self, "convergence", False)

    def __str__(self) -> str:
        changed = [*self.setting.told, *(f"{name}={value}" for name, value in self.changes)]
        return f"{self.method} ({', '.join([self.scenario, f'seed {self.seed}', *changed])})"

    @property
    def learns(self) -> bool:
        """Whether the method learns."""
        return self.method in AGENTS or (self.own is not None and self.own.kind == "learner")

    @property
    def keepable(self) -> bool:
        """Whether what the run costs is worth keeping, and known to stay the same: own code may change unseen."""
        return self.method in AGENTS and isinstance(self.setting, Setting)

    @property
    def program(self) -> "Program":
        """What is compiled for this run, and for all others of the same shape."""
        method = self.method if self.learns or self.method == BOUND or self.changes else None
        # Own methods are not to be bothered with servers that do not exist.
        servers = self.setting.num_servers if self.own else self.setting.padded_servers
        size = self.setting.num_blocks, servers, self.setting.num_slots, self.setting.arrivals
        return Program(method, self.changes, self.episodes, self.convergence, self.scenario, *size, self.own)

    @property
    def slots(self) -> int:
        """How many slots the run is made of."""
        return self.setting.num_slots * (self.episodes if self.learns or self.convergence else 1)

    @property
    def identity(self) -> str:
        """A hash of all that the run's costs depend on: its description, the sources and the libraries."""
        config = asdict(agent_config(self.method, **dict(self.changes))) if self.method in AGENTS else self.changes
        description = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "own"}
        description |= {"setting": asdict(self.setting), "changes": config, "windows": WINDOWS}
        description["backend"] = jax.default_backend()
        text = json.dumps([description, made_with()], sort_keys=True)
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

    The methods that do not learn share one for each size (`method` is None), unless their settings are changed: they
    would each take seconds to compile. That of the bound has `BOUND` as its method. An own method has one to itself.
    """

    method: str | None
    changes: tuple[tuple[str, Any], ...]
    episodes: int
    convergence: bool
    scenario: str
    num_blocks: int
    num_servers: int
    num_slots: int
    arrivals: str
    own: OwnMethod | None = None

    @property
    def effort(self) -> float:
        """Roughly how long a run takes, for an order of work in which nothing long comes last."""
        if self.method in (None, BOUND, *POLICIES):
            return 1e-3 * self.num_blocks * (self.episodes if self.convergence else 1)
        sequential = getattr(AGENTS.get(self.method or ""), "heads", "") == "sequential"
        return self.episodes * self.num_blocks * (3 if sequential else 1)


def _function(program: Program) -> Callable:
    """(key, scenario, number of the policy, slots) -> (cost of each training episode or None, of a fresh one or None).

    The fresh episode is of `slots` where they are given.
    """
    policies: list[Callable] = [POLICIES[method] for method in _policies_in(program.scenario)]
    if program.method in POLICIES:
        policies = [partial(POLICIES[program.method], **dict(program.changes))]

    def run(key, scenario, number, slots):
        train_key, evaluation_key, policy_key = jax.random.split(key, 3)
        fresh = _lasting(scenario, slots)
        if program.method == BOUND:
            return _bounds(program, fresh, channel_key(train_key), evaluation_key, slots)
        if program.method in AGENTS:
            train = make_train(program.method, episodes=program.episodes, **dict(program.changes))
            result = train(train_key, scenario)
            return result.episode_cost, evaluate_policy(evaluation_key, fresh, result.policy, slots=slots)

        def choose_plan(state, noise):
            choices = [partial(policy, scenario) for policy in policies]
            return jax.lax.switch(number, choices, state.slot, noise)

        def episode(draws, count):
            noise = jax.random.split(jax.random.fold_in(policy_key, count), fresh.num_slots)
            return run_episode(draws, fresh, count, jax.vmap(choose_plan), noise, slots)

        if program.convergence:
            draws = channel_key(train_key)
            return jax.lax.map(partial(episode, draws), jnp.arange(program.episodes)), None
        return None, episode(evaluation_key, jnp.int32(0))

    return run


def _lasting(scenario: Scenario, slots: Slot | None) -> Scenario:
    """The scenario with episodes as long as `slots`, where they are given."""
    return scenario if slots is None else replace(scenario, num_slots=slots.device_rate.shape[0])


@lru_cache(maxsize=COMPILED)
def _compiled(program: Program) -> Callable:
    """`_function`, compiled; for many runs at once where they are computed side by side."""
    run = _own_function(program, program.own) if program.own else _function(program)
    if not side_by_side():
        return jax.jit(run)
    if jax.default_backend() == "cpu":

        def share(*cases):
            return jax.lax.map(lambda case: run(*case), cases)

    else:
        share = jax.vmap(run)
    over = _over_devices()
    # Each device computes its share of the runs by itself: a program for all of them might pass data around.
    return jax.jit(jax.shard_map(share, mesh=over.mesh, in_specs=over.spec, out_specs=over.spec, check_vma=False))


def _own_function(program: Program, own: OwnMethod) -> Callable:
    """`_function` of an own method, whose plans are not to be trusted: also returns `first_missing_node` of them."""

    def run(key, scenario, number, slots):
        train_key, evaluation_key, policy_key = jax.random.split(key, 3)
        fresh = _lasting(scenario, slots)

        def episode(draws, count, choose_plan):
            drawn = episode_slots(draws, fresh, count) if slots is None else slots
            noise = jax.random.split(jax.random.fold_in(policy_key, count), fresh.num_slots)
            _, plans, cost = rollout(fresh, None, drawn, jax.vmap(choose_plan), noise)
            cost = sum_costs(fresh, cost, jnp.ones(fresh.num_slots, bool))
            return cost, first_missing_node(scenario, plans)

        if own.kind == "learner":
            result = own.train(train_key, scenario, program.episodes)
            if isinstance(result.policy, Policy | PricePolicy):  # of the package, with other settings
                cost = evaluate_policy(evaluation_key, fresh, result.policy, slots=slots)
                return result.episode_cost, cost, jnp.zeros(2, jnp.int32)
            follow = partial(own.follow, result.policy, scenario)
            return result.episode_cost, *episode(evaluation_key, 0, lambda state, noise: follow(state))

        choose_plan = partial(own.plan, scenario)
        if program.convergence:
            of_episode = partial(episode, channel_key(train_key), choose_plan=choose_plan)
            training, missing = jax.lax.map(of_episode, jnp.arange(program.episodes))
            return training, None, missing[jnp.argmax(missing[:, 0])]
        return None, *episode(evaluation_key, 0, choose_plan)

    return run


def check_own(program: Program, own: OwnMethod, setting: Setting | Given) -> bool:
    """Trace an own method in a setting, without compiling anything; whether it tells what its training cost.

    **Raises:** `ValueError` if it does not make a plan, or cannot be traced.
    """
    scenario = jax.eval_shape(partial(setting.build, program.scenario, 0, pad=False))
    if own.on_host and own.kind == "agent":
        own.try_shape(scenario)
    try:
        key = jax.eval_shape(jax.random.key, 0)
        training, *_ = jax.eval_shape(_own_function(program, own), key, scenario, np.int32(0), setting.slots)
    except jax.errors.JAXTypeError as error:
        advice = "" if own.kind == "learner" else "; on_host=True calls it with NumPy arrays instead"
        raise ValueError(f"{own.kind} {own.name!r} must be traceable by JAX{advice}: {error}") from error
    return training is not None


def try_own(program: Program, own: OwnMethod, setting: Setting | Given) -> None:
    """Make one plan by an own method that does not learn, so that what is wrong is found before others are trained.

    **Raises:** `ValueError` if it fails, or names a node that does not exist.
    """
    scenario = _case(setting, program.scenario, 0, pad=False)
    slots_key, key = jax.random.split(_run_key(0))
    start = episode_start(scenario, sample_slots(slots_key, scenario, 1))
    own.try_out(scenario, start, key)


def _policies_in(scenario: str) -> list[str]:
    """The package's methods that do not learn: which is which in `_compiled` is told by a number."""
    return [method for method in POLICIES if ONLY_IN.get(method, scenario) == scenario]


def _bounds(program: Program, scenario: Scenario, draws, evaluation_key, slots: Slot | None):
    """The same for the bound: of training episodes under the prices that are best for the first of them."""

    def slots_of(key, episode):
        return jax.tree.map(lambda leaf: leaf[:-1], episode_slots(key, scenario, episode))

    def cost(total_delay):
        rest = {entry.name: jnp.full_like(total_delay, jnp.nan) for entry in fields(EpisodeCost)}
        return EpisodeCost(**rest | {"total_delay": total_delay})

    if not program.convergence:
        return None, cost(episode_bound(scenario, slots_of(evaluation_key, 0) if slots is None else slots))
    prices = bound_prices(scenario, slots_of(draws, 0)) if scenario.rules.slots_couple else None
    episodes = jnp.arange(program.episodes)
    found = jax.lax.map(lambda episode: episode_bound(scenario, slots_of(draws, episode), prices), episodes)
    return cost(found), None


def side_by_side() -> bool:
    """Whether this process computes runs side by side: on an accelerator, or where it has several devices."""
    return jax.default_backend() != "cpu" or jax.local_device_count() > 1


def _over_devices() -> NamedSharding:
    """Runs laid out over the devices of this process."""
    return NamedSharding(Mesh(np.array(jax.local_devices()), "runs"), PartitionSpec("runs"))


def perform(runs: Sequence[Run]) -> list[Costs]:
    """Compute runs of one program: one after the other on a CPU, elsewhere side by side in one call.

    The workers of one run already fill a core's vector units, and their parameters its second-level cache: `vmap` over
    more runs measured 10 % (Proposed) to 35 % (A3C) slower there. Several devices get equal shares of the runs; what
    one finds for a run does not depend on the others.
    """
    programs = {run.program for run in runs}
    if len(programs) != 1:
        raise ValueError(f"runs must be of one program; got {len(programs)}")
    (program,) = programs
    compiled = _compiled(program)
    shared = _policies_in(program.scenario) if program.method is None else []
    numbers = {method: number for number, method in enumerate(shared)}
    cases = [
        (
            _run_key(run.seed),
            _case(run.setting, run.scenario, run.seed, pad=not run.own),
            np.int32(numbers.get(run.method, 0)),
            run.setting.slots,
        )
        for run in runs
    ]
    with _own_errors(program.own):
        if not side_by_side():
            found = [jax.tree.map(np.asarray, compiled(*case)) for case in cases]
        else:
            filled = cases + cases[:1] * (-len(cases) % jax.local_device_count())  # as many for each device
            stacked = jax.device_put(jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled), _over_devices())
            together = jax.tree.map(np.asarray, compiled(*stacked))
            found = [jax.tree.map(lambda leaf, lane=lane: leaf[lane], together) for lane in range(len(cases))]
    windows = np.array_split(np.arange(program.episodes), min(WINDOWS, program.episodes))
    last_episode = np.array([window[-1] + 1 for window in windows])
    costs = []
    for training, evaluation, *missing in found:
        for given, node in missing:
            if given and program.own:
                raise program.own.no_such_node(program.num_servers + 1, node)
        if training is not None:
            training = jax.tree.map(lambda leaf: np.array([leaf[window].mean() for window in windows]), training)
        costs.append(Costs(last_episode, training, evaluation))
    return costs


@contextmanager
def _own_errors(own: OwnMethod | None) -> Iterator[None]:
    """Raise what an own method on the host has raised, rather than JAX's account of it."""
    failure = None
    try:
        yield
    except jax.errors.JaxRuntimeError:
        failure = own.take_failure() if own else None
        if failure is None:
            raise
    if failure is not None:
        raise failure


def _run_key(seed: int):
    return jax.random.fold_in(jax.random.key(seed), 1)


@lru_cache(maxsize=1024)
def _case(setting: Setting | Given, scenario: str, seed: int, *, pad: bool) -> Scenario:
    return setting.build(scenario, seed, pad=pad)


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
    parts = list(shapes) if run.learns else ["training" if run.convergence else "evaluation"]
    expected = {f"{part}_{entry.name}": (shapes[part], "f") for part in parts for entry in fields(EpisodeCost)}
    expected["last_episode"] = windows, "i"
    found = {name: (values.shape, values.dtype.kind) for name, values in arrays.items()}
    if found != expected:
        wrong = sorted(name for name in found.keys() | expected if found.get(name) != expected.get(name))
        raise ValueError(f"not as they are to be: {', '.join(wrong)}")
    if any(np.isnan(values).any() for values in arrays.values()):
        raise ValueError("values that are no numbers")

    def part(name: str) -> EpisodeCost | None:
        return EpisodeCost(**{entry.name: arrays[f"{name}_{entry.name}"] for entry in fields(EpisodeCost)})

    return Costs(arrays["last_episode"], *(part(name) if name in parts else None for name in shapes))


def made_with() -> dict[str, str]:
    """What the costs of a run depend on besides its description and the device: the sources and the libraries."""
    return {"sources": digest(__name__), **_versions()}


@cache
def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _DISTRIBUTIONS}
