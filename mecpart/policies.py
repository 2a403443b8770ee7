"""Plans without learning: the paper's baselines APDI, RPDI and Greedy, and reference lines.

Every policy is a function `plan = policy(scenario, slot, key)` with an int32 plan [M]; most ignore the key. All of them
leave out servers that do not exist (speed 0).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from mecpart.delay import plan_cost
from mecpart.optimum import optimal_plan
from mecpart.scenario import Scenario, Slot

Plan = Int[Array, " blocks"]


def rpdi(scenario: Scenario, slot: Slot, key: PRNGKeyArray) -> Plan:
    """Random: each block uniform over the devices and the servers."""
    nodes, count = _candidates(scenario, include_device=True)
    drawn = jax.random.uniform(key, (scenario.num_blocks,))
    return nodes[jnp.minimum((drawn * count).astype(jnp.int32), count - 1)]


def apdi(scenario: Scenario, slot: Slot, key: PRNGKeyArray | None = None, *, include_device: bool = True) -> Plan:
    """Average: equal contiguous runs of blocks over the nodes in order.

    `include_device=False` is the reading of the paper's text; only with the device does it have the local delay that
    the paper plots.
    """
    nodes, count = _candidates(scenario, include_device)
    return nodes[jnp.arange(scenario.num_blocks) * count // scenario.num_blocks]


def greedy(scenario: Scenario, slot: Slot, key: PRNGKeyArray | None = None, *, include_device: bool = True) -> Plan:
    """Block by block, the node whose queue plus the work already given to it, divided by its speed, is least.

    Ties go to the lower node. `include_device` as in `apdi`.
    """
    speed = scenario.network.speed
    candidate = scenario.network.available.at[0].set(include_device)
    given, plan = slot.backlog, []
    for m in range(scenario.num_blocks):
        load = jnp.where(candidate, given / jnp.where(candidate, speed, 1), jnp.inf)
        plan.append(jnp.argmin(load).astype(jnp.int32))
        given = given.at[plan[-1]].add(scenario.work[m])
    return jnp.stack(plan)


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


def optimal(scenario: Scenario, slot: Slot, key: PRNGKeyArray | None = None) -> Plan:
    """The exact optimum of the slot's total delay."""
    return optimal_plan(scenario, slot).plan


#: The policies without learning, by the names used in results.
POLICIES = {
    "Greedy": greedy,
    "APDI": apdi,
    "RPDI": rpdi,
    "Local only": local_only,
    "One ES": one_server,
    "Single cut": single_cut,
    "Optimal": optimal,
}


def _candidates(scenario: Scenario, include_device: bool) -> tuple[Int[Array, " nodes"], Int[Array, ""]]:
    """The nodes to choose from, in order and followed by the others, and how many there are."""
    candidate = scenario.network.available.at[0].set(include_device)
    return jnp.argsort(~candidate, stable=True).astype(jnp.int32), jnp.sum(candidate)


def _best_of(scenario: Scenario, slot: Slot, plans: Int[Array, "plans blocks"]) -> Plan:
    delay = jax.vmap(partial(plan_cost, scenario, slot))(plans).total_delay
    return plans[jnp.argmin(delay)]
