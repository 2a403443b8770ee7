"""Plans without learning: the paper's baselines APDI, RPDI and Greedy, and reference lines.

Every policy is a function `plan = policy(scenario, slot, key)` with an int32 plan [M]; most ignore the key. All of them
leave out servers that do not exist (speed 0). On measured devices RPDI, APDI, Greedy and Earliest finish choose only
nodes from which a plan can go on to its end.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mecpart.ledger import LEDGER
from mecpart.model.delay import backlog_after, plan_cost
from mecpart.model.durations import computation_delay
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.ways import possible_ways
from mecpart.planning.optimum import optimal_plan, priced_plan
from mecpart.validation import check_count, check_flag, check_number, check_shape

Plan = Int[Array, " blocks"]


def rpdi(scenario: Scenario, slot: Slot, key: PRNGKeyArray) -> Plan:
    """Random: each block uniform over the devices and the servers."""
    nodes, count = _candidates(scenario, include_device=True)
    if scenario.measured:
        return _first_possible(scenario, slot, jax.random.uniform(key, (scenario.num_blocks, scenario.num_nodes)))
    drawn = jax.random.uniform(key, (scenario.num_blocks,))
    return nodes[jnp.minimum((drawn * count).astype(jnp.int32), count - 1)]


def apdi(scenario: Scenario, slot: Slot, key: PRNGKeyArray | None = None, *, include_device: bool = True) -> Plan:
    """Average: equal contiguous runs of blocks over the nodes in order.

    `include_device=False` is the reading of the paper's text; only with the device does it have the local delay that
    the paper plots.
    """
    check_flag("include_device", include_device)
    nodes, count = _candidates(scenario, include_device)
    plan = nodes[jnp.arange(scenario.num_blocks) * count // scenario.num_blocks]
    if scenario.measured:
        return _first_possible(scenario, slot, (jnp.arange(scenario.num_nodes) - plan[:, None]) % scenario.num_nodes)
    return plan


def greedy(scenario: Scenario, slot: Slot, key: PRNGKeyArray | None = None, *, include_device: bool = True) -> Plan:
    """Block by block, the node that would have worked off its queue and what it was given already soonest.

    Ties go to the lower node. `include_device` as in `apdi`.
    """
    check_flag("include_device", include_device)
    candidate = scenario.network.available.at[0].set(include_device)

    ways = possible_ways(scenario, slot) if scenario.measured else None

    def place(search, block):
        load, before = search
        node = jnp.argmin(load if ways is None else _where_possible(load, ways[block, before])).astype(jnp.int32)
        return (load.at[node].add(computation_delay(scenario, slot, block, node)), node), node

    free = jnp.where(candidate, scenario.backlog_in(slot), jnp.inf)
    return jax.lax.scan(place, (free, jnp.int32(0)), jnp.arange(scenario.num_blocks))[1]


def local_only(scenario: Scenario, slot: Slot, key: PRNGKeyArray | None = None) -> Plan:
    """Every block on the devices."""
    return jnp.zeros(scenario.num_blocks, jnp.int32)


def one_server(scenario: Scenario, slot: Slot, key: PRNGKeyArray | None = None) -> Plan:
    """Every block on the server that finishes the slot's tasks first."""
    server = jnp.arange(1, scenario.num_nodes, dtype=jnp.int32)
    return _best_of(scenario, slot, jnp.repeat(server[:, None], scenario.num_blocks, axis=1))


def single_cut(scenario: Scenario, slot: Slot, key: PRNGKeyArray | None = None) -> Plan:
    """The best plan of a local prefix (none to all blocks) and then one server: Neurosurgeon (Kang et al. 2017)."""
    block = jnp.arange(scenario.num_blocks)
    cut = jnp.arange(scenario.num_blocks + 1)[:, None, None]
    server = jnp.arange(1, scenario.num_nodes, dtype=jnp.int32)[None, :, None]
    return _best_of(scenario, slot, jnp.where(block < cut, 0, server).reshape(-1, scenario.num_blocks))


def earliest_finish(scenario: Scenario, slot: Slot, key: PRNGKeyArray | None = None) -> Plan:
    """Block by block, the node by which the slot's tasks are through all blocks so far first; ties to the lower node.

    Queue, transmission and computation count, and where it is charged the way back after the last block. List
    scheduling: HEFT (Topcuoglu et al. 2002) on a chain, whose blocks can only be ranked in order.
    """
    block, nodes = jnp.arange(scenario.num_blocks), jnp.arange(scenario.num_nodes, dtype=jnp.int32)
    ways = possible_ways(scenario, slot) if scenario.measured else None

    def place(scenario, plan, last):
        # What comes after is put beside it and takes no work: then the delay of the plan is that of its beginning.
        macs = jnp.where(block <= last, scenario.workload.macs, 0)
        beginning = replace(scenario, workload=replace(scenario.workload, macs=macs))
        if scenario.times is not None:
            seconds = jnp.where(block[:, None] <= last, scenario.times.seconds, 0)
            beginning = replace(beginning, times=replace(scenario.times, seconds=seconds))
        possible = None if ways is None else ways[last, jnp.where(last > 0, plan[last - 1], 0)]
        return _best_of(beginning, slot, jnp.where(block < last, plan, nodes[:, None]), possible)

    under_way = replace(scenario, rules=replace(scenario.rules, return_charged=False))
    start = jnp.zeros(scenario.num_blocks, jnp.int32)
    plan, _ = jax.lax.scan(lambda plan, last: (place(under_way, plan, last), None), start, block[:-1])
    return place(scenario, plan, block[-1])


def optimal(scenario: Scenario, slot: Slot, key: PRNGKeyArray | None = None) -> Plan:
    """The plan of least total delay, exact (`mecpart.optimal_plan`).

    It is for scenarios in which no slot depends on another, so it is the optimum of the whole episode too. In
    `pipelined` with more than two million plans it is the best one known, and `mecpart.lower_bound` says what no plan
    can be better than.
    """
    return optimal_plan(scenario, slot).plan


def myopic(scenario: Scenario, slot: Slot, key: PRNGKeyArray | None = None) -> Plan:
    """The plan of least total delay of this slot, given the queues: exact, but blind to what it leaves to later slots.

    In `loaded` that is not the optimum of an episode: a plan that is best now can fill the queue of a node.
    """
    return optimal_plan(scenario, slot).plan


def drift_plus_penalty(
    scenario: Scenario,
    slot: Slot,
    key: PRNGKeyArray | None = None,
    *,
    patience: float = LEDGER.default("patience"),
) -> Plan:
    """Least delay plus queue-weighted work: a second of computing at a node costs (its queue / `patience`) more.

    The rule of Lyapunov optimisation (Neely 2010): delay * `patience` + sum of queue times computing time, in s^2. In
    `as_printed` it is the optimum.

    **Raises:** `ValueError` unless `patience` (s) is one number above 0.
    """
    check_shape("patience", patience, ())
    check_number("patience", patience, exclusive=True)
    return priced_plan(scenario, slot, scenario.backlog_in(slot) / patience)


def look_ahead(
    scenario: Scenario,
    slot: Slot,
    key: PRNGKeyArray | None = None,
    *,
    horizon: int = LEDGER.default("horizon"),
    patiences: tuple[float, ...] = LEDGER.default("patiences"),
) -> Plan:
    """Of some plans the one with the least delay over this slot and the next `horizon`: a rollout (Bertsekas 2013).

    The candidates are the best plan of this slot, the best without each node in turn, and those of `drift_plus_penalty`
    with each of some `patiences`. After each of them the myopic plan is followed, at the mean rates and the mean number
    of tasks.

    **Raises:** `ValueError` unless `horizon` (slots) is a whole number of at least 1, and `patiences` (s) are numbers
    above 0.
    """
    check_count("horizon", horizon)
    check_number("patiences", patiences, exclusive=True, shapes=((len(patiences),),))
    nodes = jnp.arange(scenario.num_nodes)
    queues = scenario.backlog_in(slot)
    weighted = jnp.stack([queues / patience for patience in patiences])
    without = jnp.where(nodes[:, None] == nodes, 1e3, 0.0)
    prices = jnp.concatenate([jnp.zeros((1, scenario.num_nodes)), weighted, without])
    plans = jax.vmap(partial(priced_plan, scenario, slot))(prices)
    mean_rate = jnp.mean(scenario.network.device_rate_range)

    def delay_from_here(plan):
        def follow(backlog, _):
            later = Slot(mean_rate, backlog)
            best = optimal_plan(scenario, later)
            return backlog_after(scenario, later, best.plan), best.total_delay

        _, later = jax.lax.scan(follow, backlog_after(scenario, slot, plan), length=horizon)
        return plan_cost(scenario, slot, plan).total_delay + jnp.sum(later)

    return plans[jnp.argmin(jax.vmap(delay_from_here)(plans))]


#: The policies without learning, by the names used in results.
POLICIES = {
    "Greedy": greedy,
    "APDI": apdi,
    "RPDI": rpdi,
    "Local only": local_only,
    "One ES": one_server,
    "Single cut": single_cut,
    "Earliest finish": earliest_finish,
    "Optimal": optimal,
    "Myopic": myopic,
    "Look-ahead": look_ahead,
    "Drift-plus-penalty": drift_plus_penalty,
}


def _candidates(scenario: Scenario, include_device: bool) -> tuple[Int[Array, " nodes"], Int[Array, ""]]:
    """The nodes to choose from, in order and followed by the others, and how many there are."""
    candidate = scenario.network.available.at[0].set(include_device)
    return jnp.argsort(~candidate, stable=True).astype(jnp.int32), jnp.sum(candidate)


def _best_of(scenario: Scenario, slot: Slot, plans: Int[Array, "plans blocks"], possible=None) -> Plan:
    delay = jax.vmap(partial(plan_cost, scenario, slot))(plans).total_delay
    return plans[jnp.argmin(delay if possible is None else _where_possible(delay, possible))]


def _where_possible(score: Float[Array, " nodes"], possible: Bool[Array, " nodes"]) -> Float[Array, " nodes"]:
    """`score`, infinite where it is not possible to go on; of nodes that are not wanted (infinite) those that are."""
    wanted = jnp.where(possible, score, jnp.inf)
    return jnp.where(jnp.any(jnp.isfinite(wanted)), wanted, jnp.where(possible, 0, jnp.inf))


def _first_possible(scenario: Scenario, slot: Slot, score: Float[Array, "blocks nodes"]) -> Plan:
    """Block by block the node of least score of those from which it is possible to go on."""

    def place(node, block):
        way, score = block
        node = jnp.argmin(_where_possible(score, way[node])).astype(jnp.int32)
        return node, node

    return jax.lax.scan(place, jnp.int32(0), (possible_ways(scenario, slot), score))[1]
