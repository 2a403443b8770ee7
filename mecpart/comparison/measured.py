"""What a plan is worth on measured devices that was chosen by something else than what was measured.

A *case* is a network on some of the nodes of `mecpart.measured_data`, with their links: one question with one best
plan, by the rules of `as_printed` for one task. Only sources with links between their nodes ask one. All cases are
padded to one shape, so that one compiled function answers them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float

from mecpart.dnn.workload import Workload
from mecpart.ledger import LEDGER
from mecpart.measurements.fitting import fit_times
from mecpart.measurements.shipped import measured_data
from mecpart.model.delay import plan_cost
from mecpart.model.devices import BlockTimes, Links
from mecpart.model.scenario import Slot
from mecpart.model.scenarios import measured
from mecpart.planning.optimum import optimal_plan
from mecpart.validation import check_count, check_number

#: What decides: one throughput of each node, as operations / f does where operations are known; fits of one and three
#: terms; the times themselves.
WAYS: dict[str, tuple[str, ...] | None] = {
    "work / speed": None,
    "one-term fit": ("macs",),
    "three-term fit": ("overhead", "macs", "bytes"),
    "table": None,
}

#: Of each source its settings of the links, and its choices of nodes: the first has the input.
QUESTIONS: dict[str, tuple[tuple[str | None, ...], list[tuple[str, ...]]]] = {
    "scission": (
        (None, "wired"),
        [("raspi4", edge, cloud) for edge in ("2500", "vm2Core") for cloud in ("6700k(GPU)", "6700k(NoGPU)")],
    ),
    "pipeedge": ((None,), [("Minnowboard-E3845", "RCC-VE-C2000"), ("RCC-VE-C2000", "Minnowboard-E3845")]),
    "paretopipe_pi_to_gpu": ((None,), [("pi", "gpu")]),
    "paretopipe_pi_to_pi": ((None,), [("pi", "pi 2")]),
}

_SLOT = Slot(jnp.float32(0))  # the links are measured: no rate is drawn
_ROUNDING = 1e-5  # of float32: delays that differ by less are the same


@dataclass(frozen=True, eq=False)
class Case:
    """A network on some nodes: `times` and `links` of these, in the order of `nodes`."""

    source: str
    network: str
    links_setting: str
    nodes: tuple[str, ...]
    times: BlockTimes
    links: Links

    @property
    def labels(self) -> dict[str, str]:
        """What it is, as columns of a table."""
        told = {"source": self.source, "network": self.network, "links": self.links_setting}
        return told | {"nodes": " > ".join(self.nodes)}


def measured_cases(sources: Sequence[str] = tuple(QUESTIONS)) -> list[Case]:
    """Every network of the sources on each of their choices of nodes and links."""
    return [
        Case(source, network, setting or "usual", nodes, found.times.select(nodes), found.links.select(nodes))
        for source in sources
        for network in _tables(source)
        for setting in QUESTIONS[source][0]
        for found in [measured_data(source, network, links=setting)]
        for nodes in QUESTIONS[source][1]
    ]


def regrets(cases: Sequence[Case]) -> pd.DataFrame:
    """What the plan that each of `WAYS` finds best takes by the table, beside the best plan of the table.

    Nothing that decides has seen the network that it decides on: it is fitted to the source's other networks.

    **Returns:** one row for each case and way, with `work` ("operations", or "seconds elsewhere" where a source has
    none and the seconds on another machine stand for them), `delay_s`, `best_s`, `regret_percent` and `cut`: whether
    the plan uses several nodes.
    """
    padded = _padded(cases)
    rows = []
    for way in WAYS:
        believed = _stacked([_pad(_believed(case, way), np.shape(padded.seconds)[1:]) for case in cases])
        delay, least, cut = map(np.asarray, _chosen(padded, believed))
        rows += [
            case.labels
            | {"work": _work(case), "way": way, "delay_s": paid, "best_s": best, "regret_percent": lost, "cut": is_cut}
            for case, paid, best, lost, is_cut in zip(
                cases, delay.tolist(), least.tolist(), _above(delay, least).tolist(), cut.tolist(), strict=True
            )
        ]
    return pd.DataFrame(rows)


def cuts_by_rate(cases: Sequence[Case], rates: Float[np.ndarray, " rates"]) -> pd.DataFrame:
    """Whether the best plan uses several nodes, where every link that there is has each of `rates`, bytes/s.

    The latencies stay as they are.
    """
    check_number("rates", rates, exclusive=True, shapes=((len(rates),),))
    found = np.asarray(_cut_at(_padded(cases), jnp.asarray(rates, jnp.float32)))
    return pd.DataFrame(
        [
            case.labels | {"rate_bytes_per_s": float(rate), "cut": bool(cut)}
            for case, row in zip(cases, found, strict=True)
            for rate, cut in zip(rates, row, strict=True)
        ]
    )


def certainty(cases: Sequence[Case], draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """How sure a best plan is, when block times are not what the table says but drawn around it.

    Each block on each node is drawn by itself, normal with the table's spread, or where that is not known with the
    ledger's `times_variation` of its seconds; no time is below 0.

    **Returns:** one row for each case: `delay_s` of the table's best plan, `low_s` and `high_s` (between which 95 % of
    its drawn delays are), `best_probability` (the share of draws in which no plan is better) and `lost_percent` (what
    the best plan of each draw would save, on average).
    """
    check_count("draws", draws)
    drawn, best = map(np.asarray, _drawn(_padded(cases), jax.random.split(jax.random.key(seed), draws)))
    rows = []
    for case, delay, least in zip(cases, drawn, best, strict=True):
        above = _above(delay[1:], least[1:])
        low, high = np.quantile(delay[1:], (0.025, 0.975))
        found = {"delay_s": delay[0], "low_s": low, "high_s": high, "best_probability": np.mean(above == 0)}
        spread = "assumed" if case.times.spread is None else "measured"
        rows.append(case.labels | {"spread": spread} | found | {"lost_percent": np.mean(above)})
    return pd.DataFrame(rows)


def _above(delay, least) -> np.ndarray:
    """By how much delays are above the least ones, per cent; 0 where they differ by rounding alone."""
    above = np.asarray(delay, float) / np.asarray(least, float) - 1
    return 100 * np.where(above > _ROUNDING, above, 0)


def _believed(case: Case, way: str) -> np.ndarray:
    """The seconds that `way` takes the blocks of a case for, [M, nodes]; infinite where they are so in the table."""
    seconds = np.asarray(case.times.seconds, float)
    if way == "table":
        return seconds
    expected, names = _expected(case.source, case.network, way, _reference(case.source, case.nodes))
    return np.where(np.isfinite(seconds), expected[:, [names.index(node) for node in case.nodes]], np.inf)


@cache
def _expected(source: str, network: str, way: str, reference: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """What `way`, fitted to the other networks of a source, says of one of them: on which nodes, too."""
    tables = {name: _with_work(table, reference) for name, table in _tables(source).items()}
    workload = tables.pop(network).workload
    others, names = list(tables.values()), next(iter(tables.values())).names
    terms = WAYS[way]
    if terms is not None:
        return np.asarray(fit_times(others, terms=terms).predict(workload).seconds, float), names
    seconds = np.concatenate([np.asarray(each.seconds, float) for each in others])
    work = np.concatenate([np.asarray(each.workload.macs, float) for each in others])[:, None]
    possible = np.isfinite(seconds)
    throughput = np.where(possible, work, 0).sum(axis=0) / np.where(possible, seconds, 0).sum(axis=0)
    return np.asarray(workload.macs, float)[:, None] / throughput, names


@cache
def _tables(source: str) -> dict[str, BlockTimes]:
    """All networks of a source, on all of its nodes."""
    listed = measured_data()
    return {network: measured_data(source, network).times for network in listed.network[listed.name == source]}


def _reference(source: str, nodes: tuple[str, ...]) -> str:
    """The machine whose times stand for operations where these are not known: the first that takes no part, if any."""
    known = next(iter(_tables(source).values())).names
    return next((name for name in known[1:] if name not in nodes), nodes[0])


def _work(case: Case) -> str:
    return "operations" if np.any(np.asarray(case.times.workload.macs)) else "seconds elsewhere"


def _with_work(times: BlockTimes, reference: str) -> BlockTimes:
    """Times of blocks whose work is known: in macs, or else in nanoseconds on the machine `reference`."""
    if np.any(np.asarray(times.workload.macs)):
        return times
    work = 1e9 * np.asarray(times.seconds)[:, times.names.index(reference)]
    return replace(times, workload=replace(times.workload, macs=jnp.asarray(work)))


def _padded(cases: Sequence[Case]) -> "_Tables":
    """All cases in one shape: blocks that take no time anywhere at their end, and nodes that can run nothing.

    Who is done stays where he is at no cost, so that no best plan and no delay is another one.
    """
    shape = max(case.times.num_blocks for case in cases), max(case.times.num_nodes for case in cases)
    links = (shape[1], shape[1])
    spreads = [
        LEDGER.default("times_variation") * np.asarray(case.times.seconds)
        if case.times.spread is None
        else np.asarray(case.times.spread)
        for case in cases
    ]
    return _Tables(
        _stacked([_pad(case.times.seconds, shape) for case in cases]),
        _stacked([np.nan_to_num(_pad(spread, shape), posinf=0) for spread in spreads]),
        _stacked([_filled(case.times.workload.input_bytes, shape[:1]) for case in cases]),
        _stacked([_filled(case.links.latency, links) for case in cases]),
        _stacked([_filled(case.links.rate, links) for case in cases]),
    )


def _filled(values, shape: tuple[int, ...], value: float = 0.0) -> np.ndarray:
    given = np.asarray(values, float)
    return np.pad(given, [(0, end - size) for size, end in zip(given.shape, shape, strict=True)], constant_values=value)


def _pad(seconds, shape: tuple[int, ...]) -> np.ndarray:
    """[M, nodes] with blocks that take 0 s and nodes that take for ever."""
    nodes = np.shape(seconds)[1]
    return _filled(_filled(seconds, (shape[0], nodes)), shape, np.inf)


def _stacked(arrays: list[np.ndarray]) -> Array:
    return jnp.asarray(np.stack(arrays), jnp.float32)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class _Tables:
    """Padded cases, [cases, ...]."""

    seconds: Float[Array, "*cases blocks nodes"]
    spread: Float[Array, "*cases blocks nodes"]
    input_bytes: Float[Array, "*cases blocks"]
    latency: Float[Array, "*cases nodes nodes"]
    rate: Float[Array, "*cases nodes nodes"]

    def scenario(self):
        """One case as a scenario."""
        blocks, nodes = self.seconds.shape
        nothing = jnp.zeros(blocks)
        workload = Workload(nothing, self.input_bytes, nothing, jnp.float32(0), tuple(map(str, range(blocks))), "")
        times = BlockTimes(self.seconds, workload, tuple(map(str, range(nodes))))
        return measured(times, Links(self.latency, self.rate))


def _is_cut(plan) -> Bool[Array, ""]:
    return jnp.any(plan != plan[0])


@jax.jit
@jax.vmap
def _chosen(table: _Tables, believed):
    """Of the plan that is best by `believed` seconds: its delay, the least there is, and whether it is cut."""
    plan = optimal_plan(replace(table, seconds=believed).scenario(), _SLOT).plan
    scenario = table.scenario()
    return plan_cost(scenario, _SLOT, plan).total_delay, optimal_plan(scenario, _SLOT).total_delay, _is_cut(plan)


@jax.jit
def _cut_at(tables: _Tables, rates):
    """Whether the best plan of each case is cut, [cases, rates]."""

    def at(table: _Tables, rate):
        scenario = replace(table, rate=jnp.where(table.rate > 0, rate, 0)).scenario()
        return _is_cut(optimal_plan(scenario, _SLOT).plan)

    return jax.vmap(jax.vmap(at, (None, 0)), (0, None))(tables, rates)


@jax.jit
def _drawn(tables: _Tables, keys):
    """Delays of each case's best plan and the least ones, by the table and then in each draw: [cases, 1 + draws]."""

    def of_case(table: _Tables):
        plan = optimal_plan(table.scenario(), _SLOT).plan

        def delays(noise):
            drawn = jnp.maximum(table.seconds + table.spread * noise, 0)
            scenario = replace(table, seconds=drawn).scenario()
            return plan_cost(scenario, _SLOT, plan).total_delay, optimal_plan(scenario, _SLOT).total_delay

        noise = jax.vmap(lambda key: jax.random.normal(key, table.seconds.shape))(keys)
        return jax.vmap(delays)(jnp.concatenate([jnp.zeros_like(noise[:1]), noise]))

    return jax.lax.map(of_case, tables)  # one after the other: all at once would need gigabytes
