"""What is measured; run by `__main__.py`. Functions that run in the processes return when they started and ended."""

import statistics
import time

import jax
import jax.numpy as jnp

import mecpart
from mecpart.agents import make_train
from mecpart.runs import Setting

SEEDS, EPISODES, REPEATS = 10, 80, 5
_kept = {}


def train(method: str, seeds: list[int], episodes: int) -> tuple[float, float]:
    """Start and end of one training of `method` on all `seeds` at once, after it is compiled."""
    if (method, episodes) not in _kept:
        scenarios = _stack([Setting().build("as_printed", seed, Setting().num_servers) for seed in seeds])
        compiled = jax.jit(over_lanes(make_train(method, episodes=episodes)))
        _kept[method, episodes] = compiled.lower(jnp.stack([_key(seed) for seed in seeds]), scenarios).compile()
        _kept["scenarios"] = scenarios
    start = time.time()
    jax.block_until_ready(_kept[method, episodes](jnp.stack([_key(seed) for seed in seeds]), _kept["scenarios"]))
    return start, time.time()


def training_rate(pool, processes: int, method: str, episodes: int) -> float:
    """Environment steps per second, all processes together."""
    share = SEEDS // processes
    lists = [list(range(p * share, (p + 1) * share)) for p in range(processes)]
    rates = []
    for repeat in range(REPEATS + 1):
        spans = [f.result() for f in [pool.submit(train, method, seeds, episodes) for seeds in lists]]
        elapsed = max(end for _, end in spans) - min(start for start, _ in spans)
        if repeat > 0:
            rates.append(share * processes * episodes * 600 / elapsed)
    return statistics.median(rates)


def default_slots(count: int = 1):
    """The default scenario, and `count` slots of it."""
    scenario = Setting().build("as_printed", 0, Setting().num_servers)
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
    return _span("environment", jax.vmap(run), keys, plans)


def optimum(count: int) -> tuple[float, float]:
    """Start and end of `count` exact plans."""
    scenario, slots = default_slots(count)
    return _span("optimum", jax.vmap(lambda slot: mecpart.optimal_plan(scenario, slot)), slots)


def _span(name: str, function, *arguments) -> tuple[float, float]:
    if name not in _kept:
        _kept[name] = jax.jit(function).lower(*arguments).compile()
    jax.block_until_ready(arguments)
    start = time.time()
    jax.block_until_ready(_kept[name](*arguments))
    return start, time.time()


def rate(pool, processes: int, function, *arguments, count: int) -> float:
    """Slots per second, all processes together, `count` in each call."""
    rates = []
    for repeat in range(REPEATS + 1):
        spans = [f.result() for f in [pool.submit(function, *arguments) for _ in range(processes)]]
        if repeat > 0:
            rates.append(processes * count / (max(end for _, end in spans) - min(start for start, _ in spans)))
    return statistics.median(rates)


def matrix_rate(size: int = 1024) -> tuple[float, float]:
    """Start and end of ten products of two square float32 matrices."""
    matrix = jnp.ones((size, size))
    return _span("matrix", lambda a: jax.lax.fori_loop(0, 10, lambda _, b: (a @ b) / size, a), matrix)
