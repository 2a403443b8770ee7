"""Random measured devices on which some blocks cannot run and some links do not exist, and what plans cost on them.

By hand: in double precision, written without the package.
"""

import itertools

import numpy as np

import mecpart
from mecpart import BlockTimes, Links, Workload

INF = float("inf")
BLOCKS, NODES = 4, 3
PLANS = np.array(list(itertools.product(range(NODES), repeat=BLOCKS)))


def drawn(seed: int, **given):
    """Random devices with some blocks that cannot run and some links that do not exist, as a scenario."""
    rng = np.random.default_rng(seed)
    seconds = rng.uniform(0.1, 2, (BLOCKS, NODES))
    seconds[rng.random(seconds.shape) < 0.15] = INF
    seconds[:, rng.integers(NODES)] = rng.uniform(0.1, 2, BLOCKS)
    rate = rng.uniform(1, 20, (NODES, NODES)) * (rng.random((NODES, NODES)) > 0.15)
    workload = Workload(
        macs=np.zeros(BLOCKS, np.float32),
        input_bytes=rng.uniform(0.5, 8, BLOCKS).astype(np.float32),
        parameter_bytes=rng.uniform(1, 5, BLOCKS).astype(np.float32),
        output_bytes=np.float32(rng.uniform(0, 2)),
        block_names=("a", "b", "c", "d"),
        name="mine",
    )
    times = BlockTimes(seconds, workload, ("x", "y", "z"), watts=rng.uniform(0, 9, NODES))
    links = Links(rng.uniform(0, 0.5, (NODES, NODES)), rate)
    values = {"transmit_power": 2.0, "deadline": rng.uniform(0, 3, BLOCKS), "penalty": 0.5} | given
    tasks = float(rng.integers(1, 7))
    return mecpart.measured(times, links, release_rate=tasks, **values)


def by_hand(scenario, backlog, plan):
    """Total delay, delay of each block (where tasks move as a lump) and energy of a plan, from the definition."""
    rules, tasks = scenario.rules, float(scenario.release_rate)
    seconds, watts, latency, rate, inputs, back = (
        np.asarray(part, np.float64)
        for part in (
            scenario.times.seconds, scenario.times.watts, scenario.links.latency, scenario.links.rate,
            scenario.workload.input_bytes, scenario.workload.output_bytes,
        )
    )  # fmt: skip

    def move(i, j, amount):  # (latency, bytes / rate)
        return (0, 0) if i == j else (latency[i, j], amount / rate[i, j] if rate[i, j] > 0 else INF)

    def link(i, j):  # those of node 0 have a resource for each direction
        return (i, j) if 0 in (i, j) else (min(i, j), max(i, j))

    at_once = 1 if rules.streams else tasks
    chain, source = [], 0  # (resource, latency, seconds)
    for m, node in enumerate(plan):
        late, long = move(source, node, at_once * inputs[m])
        if node == 0 and not rules.local_input_charged and np.isfinite(long):
            late = long = 0
        chain += [(link(source, node), late, long), ((node,), 0, at_once * seconds[m, node])]
        source = node
    chain.append((link(source, 0), *(move(source, 0, at_once * back) if rules.return_charged else (0, 0))))
    path = sum(late + long for _, late, long in chain)
    repeats = tasks if rules.streams else 1
    moves = repeats * sum(long for _, _, long in chain[::2] if np.isfinite(long))
    runs = [tasks * seconds[m, n] * watts[n] for m, n in enumerate(plan) if np.isfinite(seconds[m, n])]
    energy = 2.0 * moves + sum(runs)
    if rules.streams:
        total = path
        if np.isfinite(path):
            for resource in {resource for resource, _, long in chain if long > 0}:
                at = [k for k, (other, _, long) in enumerate(chain) if other == resource and long > 0]
                head = sum(late + long for _, late, long in chain[: at[0]])
                tail = chain[at[-1]][1] + sum(late + long for _, late, long in chain[at[-1] + 1 :])
                total = max(total, head + tasks * sum(chain[k][2] for k in at) + tail)
        return total, None, energy
    ends = [0.0]
    for m, node in enumerate(plan):
        end = max(ends[-1] + sum(chain[2 * m][1:]), backlog[node]) + chain[2 * m + 1][2]
        ends.append(end + sum(chain[-1][1:]) * (m == BLOCKS - 1))
    with np.errstate(invalid="ignore"):
        return ends[-1], np.diff(ends), energy


def followed(ways, plans):
    """Whether every block of each plan follows the one before by a way."""
    before = np.pad(plans[:, :-1], ((0, 0), (1, 0)))
    return np.asarray(ways)[np.arange(plans.shape[1]), before, plans].all(axis=1)
