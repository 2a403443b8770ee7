"""Programs: what is compiled for runs, shared by all that differ in numbers only; and how runs are computed by them."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mecpart.agents.learning import EpisodeCost, episode_start
from mecpart.compilation import compiled
from mecpart.experiments.runs import WINDOWS, Costs, Run
from mecpart.experiments.setting import PADDED_SERVERS, Setting, built, outline
from mecpart.methods.method import Case, Execution, Method, no_such_node
from mecpart.methods.register import methods_in
from mecpart.model.scenario import Scenario
from mecpart.model.slots import sample_slots

#: Programs that a process keeps compiled, at most: each takes 20 to 60 MB.
COMPILED = 32


@dataclass(frozen=True)
class Program:
    """What is compiled for a run. Those of equal `key` are one, in every process.

    - `execution`: the functions that are compiled, unless one of this key has been.
    - `effort`: how long each of them is compiled.
    """

    key: str
    execution: Execution = field(compare=False)
    effort: tuple[str, str, str]


def program_of(run: Run) -> Program:
    """What is compiled for a run: its method's functions, for the shapes of its scenario."""
    execution, case = _execution(run), outline_of(run)
    shapes = [(leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(case)]
    text = f"{execution} {jax.tree.structure(case)} {shapes}"
    begin, step, evaluate = execution.effort
    if run.soon:
        step = "plain" if _is_usual(run) else "least"
    return Program(hashlib.sha256(text.encode()).hexdigest(), execution, (begin, step, evaluate))


def _execution(run: Run) -> Execution:
    return run.of.execution(dict(run.changes), run.episodes, _peers(run))


def _is_usual(run: Run) -> bool:
    """Whether most figures need what a run does: its method as it is, at the ledger's number of blocks."""
    if not isinstance(run.setting, Setting) or run.setting.num_blocks != Setting.num_blocks:
        return False
    return _execution(run) == run.of.execution({}, run.episodes, _peers(run))


def sizes_of(run: Run) -> tuple[int, ...]:
    """The numbers of servers that drawn networks are padded to.

    Methods of one's own see them as they are. One size is enough for what is computed sooner than compiled, unless it
    is of a kind that no sweep over N runs: one output for each plan, say, would be many more.
    """
    if not run.of.of_package:
        return ()
    return PADDED_SERVERS[-1:] if run.soon and _is_usual(run) else PADDED_SERVERS


def _peers(run: Run) -> tuple[Method, ...]:
    """The methods that there are beside that of the run."""
    return tuple(methods_in(outline(run.setting, run.scenario).rules).values())


def outline_of(run: Run) -> Case:
    """The case of a run with shapes for arrays."""
    return jax.eval_shape(partial(_case, run, outline(run.setting, run.scenario, sizes=sizes_of(run))))


def _case(run: Run, scenario: Scenario) -> Case:
    return Case(
        jax.random.fold_in(jax.random.key(run.seed), 1),
        scenario,
        run.of.configured(dict(run.changes), run.episodes),
        np.int32(run.of.number(_peers(run))),
        run.setting.slots,
    )


def case_of(run: Run) -> Case:
    """What a run is of."""
    return _case(run, built(run.setting, run.scenario, run.seed, sizes=sizes_of(run)))


@dataclass(frozen=True)
class Compiled:
    """An `Execution` compiled: for one case, or where runs are computed side by side for several, stacked."""

    width: int
    begin: Callable
    step: Callable
    evaluate: Callable


@lru_cache(maxsize=COMPILED)
def _compiled(program: Program) -> Compiled:
    execution = program.execution
    # Functions of their own: what is compiled goes when they go.
    parts: list[Callable] = [partial(part) for part in (execution.begin, execution.step, execution.evaluate)]
    if side_by_side():
        parts = list(map(_side_by_side, parts))
    return Compiled(execution.width, *map(compiled, parts, program.effort))


def side_by_side() -> bool:
    """Whether this process computes runs side by side: on an accelerator, or where it has several devices."""
    return jax.default_backend() != "cpu" or jax.local_device_count() > 1


def _side_by_side(function: Callable) -> Callable:
    """The function of many cases at once; each device computes its share of them by itself.

    A program for all devices together might pass data around.
    """
    if jax.default_backend() == "cpu":

        def share(*cases):
            return jax.lax.map(lambda case: function(*case), cases)

    else:
        share = jax.vmap(function)
    over = _over_devices()
    return jax.shard_map(share, mesh=over.mesh, in_specs=over.spec, out_specs=over.spec, check_vma=False)


def _over_devices() -> NamedSharding:
    """Runs laid out over the devices of this process."""
    return NamedSharding(Mesh(np.array(jax.local_devices()), "runs"), PartitionSpec("runs"))


def perform(runs: Sequence[Run]) -> list[Costs]:
    """Compute runs of one program: one after the other on a CPU, elsewhere side by side in one call.

    The workers of one run already fill a core's vector units, and their parameters its second-level cache: `vmap` over
    more runs measured 10 % (Proposed) to 35 % (A3C) slower there. Several devices get equal shares of the runs; what
    one finds for a run does not depend on the others.

    **Raises:** `ValueError` for runs of several programs, or of different length; or what a method of one's own raises.
    """
    programs = {(program_of(run), run.trained) for run in runs}
    if len(programs) != 1:
        raise ValueError(f"runs must be of one program; got {len(programs)}")
    ((program, _),) = programs
    functions, cases = _compiled(program), [case_of(run) for run in runs]
    with _own_errors(runs[0].of):
        if not side_by_side():
            return [_costs(run, *_carried_out(functions, run, case)) for run, case in zip(runs, cases, strict=True)]
        filled = cases + cases[:1] * (-len(cases) % jax.local_device_count())  # as many for each device
        stacked = jax.device_put(jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled), _over_devices())
        together = _carried_out(functions, runs[0], stacked, (len(filled),))
    lanes = (jax.tree.map(lambda leaf, lane=lane: leaf[lane], together) for lane in range(len(runs)))
    return [_costs(run, *lane) for run, lane in zip(runs, lanes, strict=True)]


def _carried_out(functions: Compiled, run: Run, case: Case, lanes: tuple[int, ...] = ()):
    """(cost of each training episode or None, of a fresh one or None, faults), with leading axes `lanes`."""
    state, costs, faults, evaluation = None, [], [], None
    if run.trained:
        state = functions.begin(case)
    for batch in range(-(-run.trained // functions.width)):
        state, cost, fault = functions.step(case, state, np.full(lanes, batch, np.int32))
        costs.append(cost)
        faults.append(fault)
    if not run.convergence:
        evaluation, fault = functions.evaluate(case, state)
        faults.append(fault)
    training = None
    if costs and costs[0] is not None:
        training = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=-1)[..., : run.trained], *costs)
    return training, jax.tree.map(np.asarray, evaluation), np.stack(faults, axis=-2)


def _costs(run: Run, training: EpisodeCost | None, evaluation: EpisodeCost | None, faults: np.ndarray) -> Costs:
    """What a run cost, by windows of training episodes.

    **Raises:** `ValueError` if a plan named a node that does not exist.
    """
    found, node = faults[np.argmax(faults[:, 0])]
    if found:
        raise no_such_node(run.method, outline(run.setting, run.scenario, sizes=sizes_of(run)).num_nodes, node)
    windows = np.array_split(np.arange(run.episodes), min(WINDOWS, run.episodes))
    last_episode = np.array([window[-1] + 1 for window in windows])
    if training is not None:
        training = jax.tree.map(lambda leaf: np.array([leaf[window].mean() for window in windows]), training)
    return Costs(last_episode, training, evaluation)


@contextmanager
def _own_errors(method: Method) -> Iterator[None]:
    """Raise what a function of one's own on the host has raised, rather than JAX's account of it."""
    failure = None
    try:
        yield
    except jax.errors.JaxRuntimeError:
        failure = method.take_failure()
        if failure is None:
            raise
    if failure is not None:
        raise failure


def check(run: Run) -> bool:
    """Whether the method tells what its training costs, once it is sure that the run can be; nothing is compiled.

    **Raises:** `ValueError` for bad values among the changes, or a method that makes no plans.
    """
    return run.of.check(outline_of(run), dict(run.changes), run.episodes)


def try_out(run: Run) -> None:
    """Make one plan by a method that is not to be trusted, so that what is wrong is found before others are trained.

    **Raises:** `ValueError` if it fails, or names a node that does not exist.
    """
    case = case_of(run)
    slots_key, key = jax.random.split(case.key)
    run.of.try_out(case.scenario, episode_start(case.scenario, sample_slots(slots_key, case.scenario, 1)), key)
