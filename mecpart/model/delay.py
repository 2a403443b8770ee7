"""The delay, energy and reward of a plan (Eqs. 3-9 and 13-14 of the paper), and the queues it leaves behind."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jaxtyping import Array, Bool, Float, Int

from mecpart.fields import quantity, short_repr
from mecpart.model.durations import (
    computation_delay,
    computing_everywhere,
    finite,
    move_latencies,
    moving_everywhere,
    return_delay,
    transmission_delay,
    without_latency,
)
from mecpart.model.pipeline import Chain, chain_of, one_task, waiting_in_stream
from mecpart.model.scenario import Scenario, Slot
from mecpart.model.slots import check_slot, check_slots
from mecpart.validation import check_flag, check_number, check_shape, is_concrete


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PlanCost:
    """What one slot costs under one plan (a pytree).

    Per block, [M], s: `block_delay` (L_m) = `transmission_delay` + `waiting_delay` + `computation_delay`.
    Scalars: `total_delay` = `edge_delay` + `local_delay`, s, where local is computation on the devices, of tasks before
    too where tasks stream, and edge is all else; `energy`, J; `reward` (Eq. 14).
    """

    block_delay: Float[Array, " blocks"] = field(metadata=quantity("s"))
    transmission_delay: Float[Array, " blocks"] = field(metadata=quantity("s"))
    waiting_delay: Float[Array, " blocks"] = field(metadata=quantity("s"))
    computation_delay: Float[Array, " blocks"] = field(metadata=quantity("s"))
    total_delay: Float[Array, ""] = field(metadata=quantity("s"))
    edge_delay: Float[Array, ""] = field(metadata=quantity("s"))
    local_delay: Float[Array, ""] = field(metadata=quantity("s"))
    energy: Float[Array, ""] = field(metadata=quantity("J"))
    reward: Float[Array, ""]

    __repr__ = short_repr


def evaluate_plan(scenario: Scenario, slot: Slot, plan: Int[Array, " blocks"], *, check: bool = False) -> PlanCost:
    """The cost of running the tasks of `slot` by `plan` (Eqs. 3-9, 13, 14).

    Unless they stream, the tasks move as one lump: with e_0 = 0 and the image at the device (a_0 = 0), block m on node
    a_m is finished at

        e_m = max(e_{m-1} + transmission_m, backlog of a_m) + work_m / speed of a_m

    and its delay is L_m = e_m - e_{m-1}. On node 0 and its links min(D, tasks) of the D devices compute and send, for
    a task never uses more than one of them.

    Where the rules let them stream (`Rules.streams`), nodes and links serve one task after the other. Alone a task
    takes the sum of its transmissions and computations, which are those of the `PlanCost`; all tasks take

        total = max(path, max_r (head_r + n_r load_r + tail_r))

    where a task has load_r seconds on resource r, head_r before and tail_r after, and n_r tasks pass it: all, or
    max(1, tasks / D) of a device and its radio links. It is a lower bound for all schedules; first come, first served
    takes as much or a few per cent more (`mecpart.simulate`). What exceeds the path is `waiting_delay` of the blocks on
    the resource that attains the maximum, by their part of its load; on the devices it counts as local.

    Where the rules charge it, the last block also waits for its result to be back at the device; that is part of its
    transmission. Energy is kappa (f^l)^2 work_m for a local block (Eq. 4) and p
    times every transmission (Eq. 7). The reward is -(sum L_m + penalty * sum max(L_m - tau_m, 0)).

    On measured devices the tasks of a slot take tasks * `times.seconds` of a block on a node, and a transfer takes
    `links.latency` + bytes / `links.rate`, where a latency delays a task but holds up no link. Energy is `times.watts`
    times the seconds of every block, and p for each second of bytes / rate. A block that cannot run and a link that
    there is not take for ever, but no energy; and in the reward such a block counts as much as all blocks together
    under the slowest plan that is possible, so that the reward stays finite and no plan that is possible has a smaller.

    **Arguments:**

    - `slot`: from `sample_slot`, or `Slot(device_rate)` with rates [M, N] or [N] in bytes/s.
    - `plan`: node of each block, [M] integers in 0..N; 0 is the IoT tier.
    - `check`: under `jit`, also check the nodes of a traced plan with `jax.experimental.checkify` (wrap the
      function in `checkify.checkify`).

    **Returns:** a `PlanCost`. A block on a node of speed 0 has infinite delay.

    **Raises:** `ValueError` for a plan of wrong length or dtype or with a node that does not exist, or a slot of wrong
    shape or with negative or NaN values. Values inside `jit` are assumed to be valid unless `check` is set.
    """
    check_slot(scenario, slot)
    check_flag("check", check)
    plan = checked_plan(scenario, plan, check)
    return plan_cost(scenario, slot, plan)


@jax.jit
def plan_cost(scenario: Scenario, slot: Slot, plan: Int[Array, " blocks"]) -> PlanCost:
    """`evaluate_plan` without its checks, for code that makes valid plans itself."""
    delays = (_stream_delays if scenario.rules.streams else _lump_delays)(scenario, slot, plan)
    block_delay = delays.transmission + delays.waiting + delays.computation
    local, block, sending = plan == 0, jnp.arange(scenario.num_blocks), delays.sending
    if scenario.links is not None:
        sending = _lump_delays(without_latency(scenario), slot, plan).transmission
    local_delay = jnp.sum(jnp.where(local, delays.at_node, 0))
    # Not as total minus local, whose rounding would leave an edge delay where there is none.
    edge_delay = jnp.sum(delays.on_way + jnp.where(local, 0, delays.at_node))
    return PlanCost(
        block_delay=block_delay,
        transmission_delay=delays.transmission,
        waiting_delay=delays.waiting,
        computation_delay=delays.computation,
        total_delay=local_delay + edge_delay,
        edge_delay=edge_delay,
        local_delay=local_delay,
        energy=jnp.sum(block_energy(scenario, slot, block, plan, sending)),
        reward=-jnp.sum(_charged(scenario, slot, penalised_delay(scenario, block_delay, scenario.deadline))),
    )


class _Delays(NamedTuple):
    """Of each block, [M], s: the parts of its delay, by kind and by place; and how long all tasks take to be sent."""

    transmission: Array
    waiting: Array
    computation: Array
    on_way: Array
    at_node: Array
    sending: Array


def _charged(scenario: Scenario, slot: Slot, cost: Float[Array, " blocks"]) -> Float[Array, " blocks"]:
    """What each block costs in the reward, s: finite on measured devices, where not every plan is possible."""
    if not scenario.measured:
        return cost
    return jnp.where(jnp.isfinite(cost), cost, (1 + scenario.penalty) * slowest_delay(scenario, slot))


def slowest_delay(scenario: Scenario, slot: Slot) -> Float[Array, ""]:
    """As long as the tasks of `slot` take under no plan that is possible and waits for no queue, s."""
    computing = _largest(computing_everywhere(scenario, slot))
    moving, back = moving_everywhere(scenario, slot)
    return jnp.sum(computing) + jnp.sum(_largest(moving)) + jnp.max(finite(back))


def _largest(parts: Float[Array, "blocks *nodes"]) -> Float[Array, " blocks"]:
    """The largest finite number of each block."""
    return jnp.max(finite(parts), axis=tuple(range(1, jnp.ndim(parts))))


def most_energy(scenario: Scenario, slot: Slot) -> Float[Array, ""]:
    """What `slot` takes of energy if all its blocks run where they take most, sent over the slowest links, J."""
    block, nodes = jnp.arange(scenario.num_blocks)[:, None], jnp.arange(scenario.num_nodes)
    computing = _largest(block_energy(scenario, slot, block, nodes, jnp.float32(0)))
    moving, back = moving_everywhere(without_latency(scenario), slot)
    seconds = jnp.sum(_largest(moving)) + jnp.max(finite(back))
    return jnp.sum(computing) + scenario.network.transmit_power * seconds


def _lump_delays(scenario: Scenario, slot: Slot, plan) -> _Delays:
    """All tasks of the slot move from block to block together."""
    transmission, waiting, computation, _ = _run_blocks(scenario, slot, plan)
    transmission = transmission.at[-1].add(return_delay(scenario, slot, plan[-1]))
    return _Delays(transmission, waiting, computation, transmission + waiting, computation, transmission)


def _stream_delays(scenario: Scenario, slot: Slot, plan) -> _Delays:
    """One task moves from block to block, and waits for those before it where most time is needed for all."""
    chain = task_chain(scenario, slot, plan)
    waiting = waiting_in_stream(scenario, chain)
    transmission, for_link, sending = map(_moves_of_blocks, (chain.seconds, waiting, chain.tasks * chain.seconds))
    computation, for_node = chain.seconds[1::2], waiting[1::2]
    on_way, at_node = transmission + for_link, computation + for_node
    return _Delays(transmission, for_link + for_node, computation, on_way, at_node, sending)


def _moves_of_blocks(operations) -> Float[Array, " blocks"]:
    """What a chain has for each block's input, with that of the result at the last block."""
    moves = operations[::2]
    return moves[:-1].at[-1].add(moves[-1])


def task_chain(scenario: Scenario, slot: Slot, plan: Int[Array, " blocks"]) -> Chain:
    """What one task of `slot` needs under `plan`, operation after operation."""
    alone = one_task(scenario, slot)
    inputs, result, computation = operations(scenario, alone, plan)
    latency = move_latencies(scenario, alone, plan)
    return chain_of(scenario, slot, plan, jnp.append(inputs, result), computation, latency)


def operations(scenario: Scenario, slot: Slot, plan: Int[Array, " blocks"]) -> tuple[Array, Array, Array]:
    """How long it takes to move the blocks' inputs, [M], to move the result, and to compute the blocks, [M]; s."""
    block = jnp.arange(scenario.num_blocks)
    source = jnp.concatenate([jnp.zeros(1, plan.dtype), plan[:-1]])
    inputs = transmission_delay(scenario, slot, block, source, plan)
    return inputs, return_delay(scenario, slot, plan[-1]), computation_delay(scenario, slot, block, plan)


def _run_blocks(scenario: Scenario, slot: Slot, plan):
    """Transmission, waiting and computation of each block, and the time e_m when it is done, s: four arrays [M]."""
    transmission, _, computation = operations(scenario, slot, plan)

    def run_block(finished, block_delays):
        transmission, free, computation = block_delays
        arrived = finished + transmission
        waiting = jnp.where(jnp.isfinite(arrived), jnp.maximum(free - arrived, 0), 0)
        finished = arrived + waiting + computation
        return finished, (waiting, finished)

    each = transmission, scenario.backlog_in(slot)[plan], computation
    _, (waiting, finished) = jax.lax.scan(run_block, jnp.float32(0), each)
    return transmission, waiting, computation, finished


def penalised_delay(scenario: Scenario, block_delay, deadline) -> Float[Array, "*shape"]:
    """L_m + penalty * max(L_m - tau_m, 0), s: one block's part of the negative reward (Eqs. 13, 14)."""
    late = jnp.where(jnp.isfinite(block_delay), jnp.maximum(block_delay - deadline, 0), 0)  # no 0 * infinity
    return block_delay + scenario.penalty * late


def block_energy(scenario: Scenario, slot: Slot, block, node, transmission) -> Float[Array, "*shape"]:
    """Energy of the devices for `block` on `node`, J: kappa (f^l)^2 work_m if it is local, or the measured watts of any
    node, and p for each second that its input is sent (Eqs. 4, 7); arrays that broadcast.

    **Arguments:** `transmission`: s, `without_latency`.
    """
    network, times = scenario.network, scenario.times
    transmitting = network.transmit_power * finite(transmission)
    if times is not None:
        seconds = scenario.tasks_in(slot) * finite(times.seconds[block, node])
        return transmitting + (0 if times.watts is None else times.watts[node] * seconds)
    computing = network.energy_coefficient * network.device_frequency**2 * scenario.work_in(slot)[block]
    if not scenario.measured:
        transmitting = jnp.where(jnp.isfinite(transmission), transmitting, jnp.inf)
    return jnp.where(node == 0, computing, 0) + transmitting


def utilisation(scenario: Scenario, slots: Slot, plans: Int[Array, "slots blocks"]) -> Float[Array, " nodes"]:
    """The time that each node computes for some slots, as a share of their length; above 1 it falls behind.

    Below 1 it may fall behind too: for a block that is on its way it waits, and serves no later slot meanwhile.

    **Arguments:** `slots`, `plans`: every array with a leading axis [T].

    **Returns:** [N + 1]; 0 for a server that does not exist.

    **Raises:** `ValueError` as `evaluate_plan`.
    """
    count = check_slots(scenario, slots)
    plans = checked_plan(scenario, plans, name="plans", leading=(count,))
    seconds = jnp.mean(jax.vmap(_computing_time, (None, 0, 0))(scenario, slots, plans), axis=0)
    return jnp.where(scenario.network.available, seconds / scenario.slot_seconds, 0)


@jax.jit
def _computing_time(scenario: Scenario, slot: Slot, plan) -> Float[Array, " nodes"]:
    """The time that each node computes, s."""
    seconds = computation_delay(scenario, slot, jnp.arange(scenario.num_blocks), plan)
    return jnp.sum(jnp.where(_runs_on(scenario, plan), seconds[:, None], 0), axis=0)


#: Parts of an episode that `keeps_up` compares; it needs a slot of each.
QUARTERS = 4


def keeps_up(total_delay: Float[Array, "*runs slots"]) -> Bool[Array, "*runs"]:
    """Whether an episode from empty queues keeps up with what arrives: its delays do not go on growing.

    The mean delay of its last quarter is at most 1.5 times that of its second: 7/3 would be steady growth from nothing,
    1 no growth at all, and 1.5 lies between, about as far above the one as below the other. The first quarter, in which
    queues fill, does not count. A `utilisation` below 1 is not enough.

    **Arguments:** `total_delay`: s, of the consecutive slots of one episode or of many, at least four.

    **Returns:** one answer for each episode; False where delays of the last quarter are infinite.

    **Raises:** `ValueError` for what is no array of numbers, or of fewer than four slots, and for NaN.
    """
    check_number("total_delay", total_delay, minimum=None)
    shape = np.shape(total_delay)
    if not shape or shape[-1] < QUARTERS:
        raise ValueError(f"total_delay must be of at least four slots; got shape {shape}")
    delay, quarter = jnp.asarray(total_delay, float), shape[-1] // QUARTERS
    second, last = jnp.mean(delay[..., quarter : 2 * quarter], axis=-1), jnp.mean(delay[..., -quarter:], axis=-1)
    return jnp.isfinite(last) & (last <= 1.5 * second)


@jax.jit
def backlog_after(scenario: Scenario, slot: Slot, plan) -> Float[Array, " nodes"]:
    """The time until each node is free, counted from the beginning of the next slot, s; 0 without queues.

    First in, first out: a node serves slots in order, so it is free when it was free before and when the last block
    that it runs of this slot is done,

        free_n(t + 1) = max(0, max(free_n(t), e_m of the last block m on n) - slot_seconds)

    A block that is never done holds no node up: it has not arrived, or its node does not exist.
    """
    if not scenario.rules.queues:
        return jnp.zeros(scenario.num_nodes)
    *_, finished = _run_blocks(scenario, slot, plan)
    held = _runs_on(scenario, plan) & jnp.isfinite(finished)[:, None]
    last = jnp.max(jnp.where(held, finished[:, None], 0), axis=0)
    return jnp.maximum(jnp.maximum(scenario.backlog_in(slot), last) - scenario.slot_seconds, 0)


def _runs_on(scenario: Scenario, plan) -> Bool[Array, "blocks nodes"]:
    """Whether each block runs on each node."""
    return plan[:, None] == jnp.arange(scenario.num_nodes)


def checked_plan(
    scenario: Scenario, plan, check: bool = False, *, name: str = "plan", leading: tuple[int, ...] = ()
) -> Int[Array, "*leading blocks"]:
    """`plan`, or plans with `leading` axes, as int32 array, checked as `evaluate_plan` says."""
    check_shape(name, plan, (*leading, scenario.num_blocks))
    plan = np.asarray(plan) if is_concrete(plan) else jnp.asarray(plan)
    last = scenario.num_nodes - 1
    allowed = f"{scenario.num_blocks} integers from 0 to {last}"
    if not jnp.issubdtype(plan.dtype, jnp.integer):
        raise ValueError(f"{name} must be {allowed}; got dtype {plan.dtype}")
    if is_concrete(plan):
        bad = (plan < 0) | (plan > last)
        if bad.any():
            block = np.argwhere(bad)[0, -1]
            raise ValueError(f"{name} must be {allowed}; got node {plan[bad][0]} for block {block}")
    plan = jnp.asarray(plan, jnp.int32)
    if check:
        checkify.check(jnp.all((plan >= 0) & (plan <= last)), f"{name} must be {allowed}; got {{}}", plan)
    return plan
