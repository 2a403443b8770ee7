"""The best plan of a slot where tasks stream: plans are tried in the order of a bound that holds in every slot.

Where tasks stream the bottleneck couples all blocks, and the best plan is no shortest path. But what differs between
the slots of a scenario is the radio, and few good plans need much of it: in the nearest slot, one with the fastest
radio, nearly as long is needed as in any other, and never longer. So plans are put in the order of their delay there,
once for a scenario, and tried one after the other in every slot until the bound of the next is not below the least
delay found. Of the million plans of nine servers some 40 have to be tried.

Of too many plans to put in order only the promising ones are, found block by block (a beam search); what was left out
on the way is bounded too. So the best of them comes with a certificate of how much better any plan can be. The beam
search knows no link's load, and among many equal blocks too many plans seem as good: so a local search, which knows the
delay itself, adds what it finds from the best of these, and from the plans with all blocks on one node.

Blocks without work, such as pooling, fill that search with plans that are all as good: so it is made a second time for
plans that move data only where they are smallest. Between two blocks with work, u and v their nodes, the blocks without
belong on u up to the smallest of the tensors from one to the other, and on v from there on: with another cut the same
link has more to carry at the same place of the chain, and nothing else changes, so that no term of the total is less.
Only a way from u to v by a third node can be better, where the link between them is the bottleneck; and in a slot whose
radio is faster for another block, another cut. Such plans are left to the first search, and the bound holds for them.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mecpart.ledger import LEDGER
from mecpart.model.delay import plan_cost
from mecpart.model.durations import computing_everywhere, divide, finite, moving_everywhere
from mecpart.model.pipeline import one_task
from mecpart.model.scenario import Scenario, Slot
from mecpart.planning.local_search import local_search, on_one_node

#: Plans that are all put in order, at most: then the best is certain, whatever the slot.
MOST_PLANS = 2**21

#: Of more plans, the promising ones that are put in order; and the numbers that are held of their beginnings.
PROMISING, HELD = 2**12, 2**20

#: Plans that are tried at a time.
TRIED = 2**5


class Ordered(NamedTuple):
    """The plans to try, by rising delay in the nearest slot.

    - `nearest`: the slot, at least as fast a radio and as many tasks as (nearly) all slots of the scenario.
    - `plan`: [K, M] nodes. - `delay`: of each there, [K] s; of no other plan it is below `others`.
    """

    nearest: Slot
    plan: Int[Array, "plans blocks"]
    delay: Float[Array, " plans"]
    others: Float[Array, ""]


def all_in_order(scenario: Scenario) -> bool:
    """Whether the plans are few enough for the best to be certain; the shapes of `scenario` tell."""
    return scenario.num_nodes**scenario.num_blocks <= MOST_PLANS


def best_in_stream(scenario: Scenario, slot: Slot, objective: str, memory: Float[Array, " nodes"] | None):
    """The best plan that is tried, its value, and a bound on the value of those that are not put in order.

    Arguments as those of `mecpart.optimal_plan`, which are checked there.
    """
    scenario, slot = jax.lax.stop_gradient((scenario, slot))  # how the plan is found has no derivative
    ordered = _ordered(scenario)
    share = _share(scenario, slot, ordered.nearest)
    count, last = min(TRIED, len(ordered.plan)), len(ordered.plan) - 1

    def unfinished(search):
        at, least, _ = search
        return (at <= last) & (share * ordered.delay[jnp.minimum(at, last)] < least)

    def try_next(search):
        at, least, best = search
        # At the end some come again. A slice is clamped by itself, but XLA forgets that in fusing it with the next.
        plans = jax.lax.dynamic_slice_in_dim(ordered.plan, jnp.minimum(at, last + 1 - count), count)
        values = jax.vmap(partial(_value, scenario, slot, objective, memory))(plans)
        first = jnp.argmin(values)
        better = values[first] < least
        return at + count, jnp.where(better, values[first], least), jnp.where(better, plans[first], best)

    start = jnp.int32(0), jnp.float32(jnp.inf), ordered.plan[0]
    _, least, best = jax.lax.while_loop(unfinished, try_next, start)
    others = jnp.where(share > 0, share * ordered.others, 0)
    power = _power(scenario, slot)
    others = jnp.maximum(others, _least_work(scenario, slot, power) / jnp.sum(power))
    return best, least, others


def _value(scenario: Scenario, slot: Slot, objective: str, memory, plan) -> Float[Array, ""]:
    """What is minimised, s: never below the total delay."""
    cost = plan_cost(scenario, slot, plan)
    value = cost.total_delay
    if objective == "reward":
        value = jnp.where(jnp.isfinite(value), -cost.reward, jnp.inf)
    allowed = jnp.bool_(True)
    if objective == "deadline":
        allowed &= jnp.all(cost.block_delay <= scenario.deadline)
    if memory is not None:
        held = jnp.zeros(scenario.num_nodes).at[plan].add(scenario.memory_bytes)
        allowed &= jnp.all(held <= memory)
    return jnp.where(allowed, value, jnp.inf)


def _ordered(scenario: Scenario) -> Ordered:
    every, mean = all_in_order(scenario), scenario.release_rate
    rate = jnp.float32(jnp.inf) if every else scenario.network.device_rate_range[1]
    nearest = Slot(rate, tasks=mean + 4 * jnp.sqrt(mean) if scenario.arrivals == "poisson" else mean)
    if every:
        plans, delay = _by_delay(scenario, nearest, _all_plans(scenario))
        return Ordered(nearest, plans, delay, jnp.float32(jnp.inf))
    moves = _moves(scenario, nearest)
    found, others, _ = _promising_plans(scenario, nearest, *moves)
    first, delay = _by_delay(scenario, nearest, found)
    others = jnp.minimum(others, jnp.min(delay[PROMISING:]))
    both = first[:PROMISING]
    if not scenario.measured:  # as measured no block is without work, nor are links all alike
        settled, _, least = _promising_plans(scenario, nearest, *_settled(scenario, nearest, *moves))
        more, _ = _by_delay(scenario, nearest, settled)
        both, _ = _by_delay(scenario, nearest, jnp.concatenate([both, more[:PROMISING]]))
        others = jnp.maximum(others, least)
    beam = min(LEDGER.default("beam"), len(both))
    starts = jnp.stack([on_one_node(scenario, beam), both[:beam]])
    near = jax.vmap(partial(local_search, scenario, delays=partial(_delays, scenario, nearest)))(starts)
    all_found = jnp.concatenate([both, *near])
    return Ordered(nearest, *_by_delay(scenario, nearest, all_found), others)


def _by_delay(scenario: Scenario, slot: Slot, plans) -> tuple[Int[Array, "plans blocks"], Float[Array, " plans"]]:
    """`plans` by rising delay in `slot`, and their delays."""
    delay = _delays(scenario, slot, plans)
    order = jnp.argsort(delay)
    return plans[order], delay[order]


def _delays(scenario: Scenario, slot: Slot, plans) -> Float[Array, " plans"]:
    return jax.lax.map(lambda plan: plan_cost(scenario, slot, plan).total_delay, plans, batch_size=4096)


def _share(scenario: Scenario, slot: Slot, nearest: Slot) -> Float[Array, ""]:
    """The share of its delay in the nearest slot that any plan takes in `slot` at least: 1 with no fewer tasks and no
    faster radio, since s times as many tasks or as fast a radio make nothing more than s times as fast."""
    tasks, most, fastest = scenario.tasks_in(slot), scenario.tasks_in(nearest), jnp.max(slot.device_rate)
    fewer = jnp.where(tasks < most, tasks / jnp.where(most > 0, most, 1), 1)
    if scenario.links is not None:  # which are the same in every slot
        return fewer
    return fewer * jnp.where(fastest > nearest.device_rate, nearest.device_rate / fastest, 1)


def _all_plans(scenario: Scenario) -> Int[Array, "plans blocks"]:
    """Every plan, in lexicographic order."""
    place = scenario.num_nodes ** jnp.arange(scenario.num_blocks - 1, -1, -1)
    number = jnp.arange(scenario.num_nodes**scenario.num_blocks)
    return (number[:, None] // place % scenario.num_nodes).astype(jnp.int32)


def _seconds(scenario: Scenario, slot: Slot) -> Float[Array, "blocks nodes"]:
    """What one task takes of each block on each node."""
    return computing_everywhere(scenario, one_task(scenario, slot))


def _served(scenario: Scenario, slot: Slot) -> Float[Array, " nodes"]:
    """How many tasks one after the other each node serves: a device its part of them."""
    tasks = scenario.tasks_in(slot)
    return jnp.where(jnp.arange(scenario.num_nodes) > 0, tasks, tasks / scenario.devices_for(tasks))


def _power(scenario: Scenario, slot: Slot) -> Float[Array, " nodes"]:
    """The part of all work that each node does in a second; as measured, of the work that it can do."""
    if scenario.times is not None:
        all_blocks = _served(scenario, slot) * jnp.sum(finite(_seconds(scenario, slot)), axis=0)
        return finite(divide(jnp.float32(1), all_blocks))
    all_blocks = jnp.sum(_seconds(scenario, slot), axis=0)
    return jnp.where(scenario.network.available, 1 / (_served(scenario, slot) * all_blocks), 0)


def _least_work(scenario: Scenario, slot: Slot, power: Float[Array, " nodes"]):
    """As much of what `power` is a part of has to be done at least: all of it.

    As measured, one node is good at one block and another at another: then each block counts where it is least.
    """
    if scenario.times is None:
        return 1
    work = power * _served(scenario, slot) * _seconds(scenario, slot)
    return finite(jnp.sum(jnp.min(jnp.where(jnp.isnan(work), jnp.inf, work), axis=1)))


def _moves(scenario: Scenario, slot: Slot) -> tuple[Float[Array, "blocks nodes nodes"], Float[Array, " nodes"]]:
    """What the input of each block of one task takes from node to node, and the result from each node, s."""
    return moving_everywhere(scenario, one_task(scenario, slot))


def _settled(scenario: Scenario, slot: Slot, moving, back):
    """`_moves` of plans that move data only where they are smallest between two blocks with work; elsewhere infinite.

    Where data move they take the shortest way, be it by a third node. So for every plan there is one of these with
    nothing later and no node busier: a bound on these that counts no link's load is one on all plans. `slot` has one
    rate for all, so that less data take less time.
    """
    workload = scenario.workload
    result = workload.output_bytes * scenario.rules.return_charged
    size = jnp.append(workload.input_bytes, result)
    cut = jnp.arange(len(size))
    # Cuts with only blocks without work between them have one number.
    between = jnp.append(0, jnp.cumsum(_seconds(scenario, slot)[:, 0] > 0))
    together = between[:, None] == between
    smallest = jnp.argmin(jnp.where(together, size, jnp.inf), axis=1) == cut
    shortest = jnp.min(moving[:, :, :, None] + moving[:, None], axis=2)
    here = jnp.arange(scenario.num_nodes)
    moving = jnp.where(smallest[:-1, None, None] | (here[:, None] == here), shortest, jnp.inf)
    return moving, jnp.where(smallest[-1] | (here == 0), back, jnp.inf)


class Beginnings(NamedTuple):
    """Plans for the first blocks, and what one task has behind it under each, s.

    - `plan`: [W, M], of which the first blocks count. - `node`, `path`: where and when they end, [W].
    - `load`, `start`, `end`: seconds on each node, when they begin (infinite where there are none) and end, [W, N + 1].
    """

    plan: Int[Array, "plans blocks"]
    node: Int[Array, " plans"]
    path: Float[Array, " plans"]
    load: Float[Array, "plans nodes"]
    start: Float[Array, "plans nodes"]
    end: Float[Array, "plans nodes"]


def _promising_plans(scenario: Scenario, slot: Slot, moving, back):
    """The plans whose beginnings always had the least bounds, [W, M], and a bound on the total delay of all others, s.
    And one on that of all plans: the least of their bounds, in which no link is busy.

    `moving` and `back` are those of `_moves`, infinite where plans must not move anything.

    However a beginning goes on, all tasks take at least

    - as long as one alone, the rest of whose way is a shortest path;
    - as each node so far: what is before it, its load times the tasks it serves, and what is after it, unless the tasks
      come back to the node, which takes all of them one block more;
    - as the largest block to come, wherever it goes;
    - as all work spread over all nodes at will, each from when it can begin until the last block, which comes after the
      work of all nodes but one.
    """
    blocks, nodes = jnp.arange(scenario.num_blocks), jnp.arange(scenario.num_nodes)
    width = HELD // len(nodes) ** 2
    computing, served, power = _seconds(scenario, slot), _served(scenario, slot), _power(scenario, slot)
    work = _least_work(scenario, slot, power)
    unused = jnp.min(computing[-1]) * (1 - jnp.max(power) / jnp.sum(power))  # at the end, by the mean of all power
    later = jnp.concatenate([computing[1:], jnp.full((1, len(nodes)), jnp.inf)])
    smallest = jax.lax.cummin(later, reverse=True)
    if scenario.times is None:
        largest = jax.lax.cummax(finite(later), reverse=True)
    else:  # one node is slowest at one block and another at another: the block that takes longest where it is fastest
        longest = [jnp.argmax(jnp.min(computing[m:], axis=1)) + m for m in range(1, scenario.num_blocks)]
        largest = jnp.concatenate([computing[jnp.array(longest, int)], jnp.zeros((1, len(nodes)))])

    def before(rest, block):
        moving, computing = block
        return jnp.min(moving + computing + rest, axis=1), rest

    _, rest = jax.lax.scan(before, back, (moving, computing), reverse=True)

    def go_on(search, block):
        beginnings, others = search
        number, moving, computing, rest, smallest, largest = block
        here = nodes[:, None] == nodes
        arrival = beginnings.path[:, None] + moving[beginnings.node]
        path = arrival + computing  # of each beginning with each next node
        load = beginnings.load[:, None] + jnp.where(here, computing, 0)
        start = jnp.minimum(beginnings.start[:, None], jnp.where(here, arrival[..., None], jnp.inf))
        end = jnp.where(here, path[..., None], beginnings.end[:, None])

        whole = path + rest
        after = jnp.minimum(whole[..., None] - end, served * smallest)
        busy = jnp.where(jnp.isfinite(start), start + served * load + after, 0)
        earliest = jnp.minimum(start, path[..., None])
        with_largest = jnp.min(earliest + served * (load + largest), axis=-1)
        bound = jnp.maximum(jnp.maximum(whole, jnp.max(busy, axis=-1)), with_largest)
        earliest = jnp.minimum(earliest, (bound - unused)[..., None])  # no node does less than nothing
        spread = unused + (work + jnp.sum(power * earliest, axis=-1)) / jnp.sum(power)
        bound = jnp.fmax(bound, spread)  # without tasks there is nothing to spread
        bound = jnp.where(jnp.isfinite(path), bound, jnp.inf).ravel()

        order = jnp.argsort(bound)
        others = jnp.minimum(others, bound[order[width]])
        kept = jnp.divmod(order[:width], len(nodes))
        parent, node = kept
        plan = beginnings.plan[parent].at[:, number].set(node)
        return (Beginnings(plan, node, path[kept], load[kept], start[kept], end[kept]), others), bound[order[0]]

    nothing = jnp.zeros((width, len(nodes)))
    one = jnp.arange(width) == 0  # all others are impossible
    empty = Beginnings(
        plan=jnp.zeros((width, len(blocks)), jnp.int32),
        node=jnp.zeros(width, jnp.int32),
        path=jnp.where(one, 0, jnp.inf),
        load=nothing,
        start=nothing + jnp.inf,
        end=nothing,
    )
    steps = blocks, moving, computing, rest, smallest, largest
    (found, others), least = jax.lax.scan(go_on, (empty, jnp.float32(jnp.inf)), steps)
    return found.plan, others, jnp.minimum(others, least[-1])
