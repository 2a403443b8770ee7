"""How things are measured; `__main__.py` says which.

A function that runs in the processes returns when it started and when it ended, so that handing work over counts
nowhere.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import flops
import jax
import jax.numpy as jnp

import mecpart
from mecpart.agents import AGENTS
from mecpart.experiments.processes import pools
from mecpart.experiments.programs import perform, program_of
from mecpart.experiments.runs import Run
from mecpart.experiments.setting import Setting
from mecpart.ledger import LEDGER

REPEATS = 5
_compiled = {}


class Processes:
    """`count` single-threaded processes, each pinned to a core, that work at the same time; a context.

    - `compile_seconds`: of each program that was trained, how much longer its first call took than its second.
    """

    def __init__(self, count: int) -> None:
        self.executors = pools(count)
        self.compile_seconds: dict[str, float] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        for executor in self.executors:
            executor.shutdown(kill_workers=True)

    def __len__(self) -> int:
        return len(self.executors)

    def seconds(self, function: Callable, *arguments) -> float:
        """Median seconds in which every process does the same, after one call to warm up."""
        shares = [arguments] * len(self)
        return statistics.median([self._once(function, shares) for _ in range(REPEATS + 1)][1:])

    def training_seconds(self, shares: Sequence[Sequence[Run]], repeats: int = REPEATS) -> float:
        """Median seconds in which each process performs its share of runs, after compilation."""
        for run in {program_of(run).key: run for share in shares for run in share}.values():
            if (program := program_of(run).key) not in self.compile_seconds:
                first, second = (self._once(train, [([run],)] * len(self)) for _ in range(2))
                self.compile_seconds[program] = first - second
        return statistics.median(self._once(train, [(share,) for share in shares]) for _ in range(repeats))

    def _once(self, function: Callable, shares: Sequence[tuple]) -> float:
        """Seconds from the first start to the last end of `function(*share)`, one share for each process."""
        busy = [executor.submit(function, *share) for executor, share in zip(self.executors, shares, strict=False)]
        spans = [future.result() for future in busy]
        return max(end for _, end in spans) - min(start for start, _ in spans)


def train(runs: Sequence[Run]) -> tuple[float, float]:
    """Start and end of performing `runs`, as the experiments do it: one call for each program."""
    by_program = {}
    for run in runs:
        by_program.setdefault(program_of(run).key, []).append(run)
    start = time.time()
    for alike in by_program.values():
        perform(alike)
    return start, time.time()


def runs_of(method: str, episodes: int, seeds: int, settings: Sequence[Setting] = (Setting(),)) -> list[Run]:
    """A run of every setting and seed."""
    return [Run(method, "as_printed", setting, seed, episodes) for setting in settings for seed in range(seeds)]


def env_steps(runs: Sequence[Run]) -> int:
    """Slots that `runs` train on."""
    return sum(run.episodes for run in runs) * LEDGER.default("num_slots")


def dealt(runs: Sequence[Run], processes: int) -> list[list[Run]]:
    """`runs` in shares of about the same cost: dealt out one by one, the largest first."""
    sizes = sorted(runs, key=lambda run: (run.setting.num_blocks, run.setting.padded_servers()), reverse=True)
    return [sizes[at::processes] for at in range(processes)]


def default_slots(count: int = 1):
    """The default scenario, and `count` slots of it."""
    scenario = Setting().build("as_printed", 0)
    return scenario, mecpart.sample_slots(jax.random.key(0), scenario, count)


def environment(count: int, length: int) -> tuple[float, float]:
    """Start and end of `count` environments stepping `length` slots under given plans, resets and draws included."""
    scenario, _ = default_slots()
    env = mecpart.PartitionEnv()

    def run(key, plans):
        def step(state, inputs):
            _, state, reward, _, _, _ = env.step(inputs[0], state, inputs[1], scenario)
            return state, reward

        _, state = env.reset(key, scenario)
        return jnp.sum(jax.lax.scan(step, state, (jax.random.split(key, length), plans))[1])

    keys = jax.random.split(jax.random.key(1), count)
    plans = jax.random.randint(jax.random.key(2), (count, length, scenario.num_blocks), 0, scenario.num_nodes)
    return span("environment", jax.vmap(run), keys, plans)


def optimum(count: int) -> tuple[float, float]:
    """Start and end of `count` exact plans."""
    scenario, slots = default_slots(count)
    return span("optimum", jax.vmap(lambda slot: mecpart.optimal_plan(scenario, slot)), slots)


def streams(count: int) -> tuple[float, float]:
    """Start and end of `count` random plans evaluated where tasks stream, each in a slot of its own."""
    scenario = Setting().build("pipelined", 0)
    slots = mecpart.sample_slots(jax.random.key(0), scenario, count)
    plans = jax.random.randint(jax.random.key(1), (count, scenario.num_blocks), 0, scenario.num_nodes)
    return span("streams", jax.vmap(partial(mecpart.evaluate_plan, scenario)), slots, plans)


def matrix_products(size: int, count: int) -> tuple[float, float]:
    """Start and end of `count` products of two square float32 matrices."""
    matrix = jnp.ones((size, size))
    return span("matrix", lambda a: jax.lax.fori_loop(0, count, lambda _, b: (a @ b) / size, a), matrix)


def products_alone(method: str, rounds: int) -> tuple[float, float]:
    """Start and end of the matrix products of so many rounds of training, and of nothing else."""
    agent, (scenario, _) = AGENTS[method], default_slots()
    features = mecpart.PartitionEnv().observation_size(scenario)
    observations = jax.random.normal(jax.random.key(0), (rounds, agent.workers, agent.t_max, features))
    weights = flops.product_weights(agent, scenario)
    return span(method, flops.products_alone(agent, scenario), weights, observations)


def span(name: str, function, *arguments) -> tuple[float, float]:
    """Start and end of `function(*arguments)`, which the first call by this name compiles."""
    if name not in _compiled:
        _compiled[name] = jax.jit(function).lower(*arguments).compile()
    jax.block_until_ready(arguments)
    start = time.time()
    jax.block_until_ready(_compiled[name](*arguments))
    return start, time.time()
