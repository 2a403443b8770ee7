"""Checks of `mecpart.comparison.impossible` that need none of its proofs: random constants, and every plan there is."""

import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.optimize import linprog
from scipy.sparse import coo_array

from mecpart.comparison.impossible import Invariant
from mecpart.comparison.paper import DELAYS
from mecpart.dnn.workload import Workload
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.experiments.experiment import Change, change
from mecpart.experiments.setting import Setting
from mecpart.model.delay import plan_cost
from mecpart.model.scenario import Scenario, Slot
from mecpart.planning.optimum import optimal_plan
from mecpart.planning.policies import POLICIES

_PLANS_AT_ONCE = 2**16

#: Where the mean over all plans is taken.
_SMALL = Setting(num_blocks=3, num_servers=1)


def violation(invariant: Invariant, seed: int) -> float:
    """How far from its cone the model's curves are with constants drawn by `seed`: 0 but for rounding, if it is true.

    RPDI is averaged over every plan, so it has few blocks here, or one server.
    """
    results = _simulated(invariant, seed)
    found = (
        invariant.least_error(*series)
        for metric in invariant.metrics
        for series in invariant.series(results, metric).values()
    )
    return max(found)


def _simulated(invariant: Invariant, seed: int) -> pd.DataFrame:
    """Delays of the invariant's curves in one slot, in a world of random constants: results as of an experiment."""
    experiment, draw = EXPERIMENTS[invariant.figure], np.random.default_rng(seed)
    low, high = np.sort(10 ** draw.uniform(8, 11, 2))
    world = Change(
        network={
            "server_speed_range": (low, high),
            "device_frequency": 10 ** draw.uniform(7, 11),
            "num_devices": float(np.floor(draw.uniform(1, min(invariant.most_devices, 200)))),
            "wired_rate": 10 ** draw.uniform(4, 9),
        },
        scenario={"cycles_per_mac": 10 ** draw.uniform(-1, 2)},
    )
    rates = 10 ** draw.uniform(4, 8, 9)
    rows = []
    for curve, x in itertools.product(invariant.curves, invariant.xs or experiment.xs):
        fixed = _SMALL if curve == "RPDI" else experiment.series.get(curve, Change()).to(experiment.fixed)
        setting = change(experiment.x_name, x).to(world.to(fixed))
        if curve == "RPDI" and not invariant.xs and (setting.num_servers + 1) ** setting.num_blocks > _PLANS_AT_ONCE:
            continue
        scenario = setting.build("as_printed", seed, sizes=())
        slot = Slot(jnp.asarray(rates[: setting.num_servers], jnp.float32))
        delays = _mean_delays(scenario, slot, _plans(curve, scenario, slot))
        rows.append({"method": curve, "x": float(x), **dict(zip(DELAYS, delays, strict=True))})
    return pd.DataFrame(rows).assign(figure=invariant.figure, scenario="as_printed", x_name=experiment.x_name)


def _plans(curve: str, scenario: Scenario, slot: Slot) -> Int[np.ndarray, "plans blocks"]:
    """What a method may plan, each as probable as the other; the best plan of a curve that is no method's."""
    if curve == "RPDI":
        every = itertools.product(range(scenario.num_nodes), repeat=scenario.num_blocks)
        return np.fromiter(itertools.chain.from_iterable(every), np.int32).reshape(-1, scenario.num_blocks)
    plan = (
        POLICIES[curve](scenario, slot, jax.random.key(0)) if curve in POLICIES else optimal_plan(scenario, slot).plan
    )
    return np.asarray(plan)[None]


def _mean_delays(scenario: Scenario, slot: Slot, plans: Int[np.ndarray, "plans blocks"]) -> tuple[float, ...]:
    """Total, edge and local delay in s: the mean over plans."""
    sums = np.zeros(len(DELAYS))
    costs = jax.vmap(plan_cost, (None, None, 0))
    for start in range(0, len(plans), _PLANS_AT_ONCE):
        cost = costs(scenario, slot, jnp.asarray(plans[start : start + _PLANS_AT_ONCE]))
        parts = cost.total_delay, cost.edge_delay, cost.local_delay
        sums += [np.sum(np.asarray(part, np.float64)) for part in parts]
    return tuple(sums / len(plans))


def longest_ratio(numerator: Workload, denominator: Workload) -> float:
    """The most that the best plan's delay of one network can be over that of another, over all constants.

    By Eqs. 3 to 9 the delay of a plan is linear in the constants 1/f, 1/F_n, 1/R_m^n and 1/R_max. So for each plan of
    the second network that may be its best, the largest least delay of the first over all constants that give the plan
    one second is a linear program: shortest paths are the largest potentials that no arc's delay is below. Servers are
    alike, and one that the plan does not use may be too slow for the other network as well.

    **Arguments:** two networks of as many blocks; the time grows as their Bell number.

    **Raises:** `ValueError` for networks of different numbers of blocks.
    """
    if numerator.num_blocks != denominator.num_blocks:
        raise ValueError(
            f"numerator must have as many blocks as denominator, {denominator.num_blocks}; got {numerator.num_blocks}"
        )
    return max(_longest_against(numerator, denominator, plan) for plan in _distinct_plans(denominator.num_blocks))


def _distinct_plans(blocks: int) -> Iterator[tuple[int, ...]]:
    """Every plan, but for the names of the servers: a new one has the next number."""

    def extended(plan: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(plan) == blocks:
            yield plan
            return
        for node in range(max(plan, default=0) + 2):
            yield from extended((*plan, node))

    return extended(())


def _longest_against(numerator: Workload, denominator: Workload, plan: tuple[int, ...]) -> float:
    servers, blocks = max(plan), len(plan)
    nodes = servers + 1
    constants = nodes + blocks * servers + 1  # 1/speed of each node, 1/R_m^n, 1/R_max
    potentials = constants + blocks * nodes  # then one potential for each block and node, and the least of the last
    sizes = {
        workload: (np.asarray(workload.macs, float) / 1e6, np.asarray(workload.input_bytes, float) / 1e3)
        for workload in (numerator, denominator)
    }

    def arc(workload: Workload, block: int, before: int, node: int) -> Float[np.ndarray, " constants"]:
        """What each constant adds to the delay of a block (Eqs. 3 to 9)."""
        (macs, data), row = sizes[workload], np.zeros(constants)
        row[node] = macs[block]
        if before != node and node != 0:
            row[nodes + block * servers + node - 1 if before == 0 else -1] = data[block]
        return row

    rows = []  # potential[block, node] - potential[block - 1, before] - arc <= 0
    for block, node in itertools.product(range(blocks), range(nodes)):
        for before in range(nodes) if block else (0,):
            row = np.zeros(potentials + 1)
            row[:constants] = -arc(numerator, block, before, node)
            row[constants + block * nodes + node] = 1
            if block:
                row[constants + (block - 1) * nodes + before] = -1
            rows.append(row)
    for node in range(nodes):
        row = np.zeros(potentials + 1)
        row[potentials], row[constants + (blocks - 1) * nodes + node] = 1, -1
        rows.append(row)
    second = np.zeros(potentials + 1)
    second[:constants] = sum(arc(denominator, m, (0, *plan)[m], node) for m, node in enumerate(plan))
    found = linprog(
        -np.eye(potentials + 1)[potentials],
        A_ub=coo_array(np.array(rows)),
        b_ub=np.zeros(len(rows)),
        A_eq=second[None],
        b_eq=[1.0],
        bounds=[(0, None)] * constants + [(None, None)] * (potentials + 1 - constants),
    )
    return float(-found.fun)
