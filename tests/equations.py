"""The model once more, in plain NumPy and float64: what the tests hold mecpart against.

Written from the definition of the model (Eqs. 2-9, 13, 14, the recursion of completion times, and the rules that may be
added to them), and sharing no code with mecpart; only the names of the quantities are the same.
"""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np


def all_plans(blocks: int, nodes: int) -> np.ndarray:
    """Every plan there is, [nodes ** blocks, blocks]."""
    return np.array(list(itertools.product(range(nodes), repeat=blocks)), dtype=np.int32)


def cost_of(scenario, slot, plans) -> SimpleNamespace:
    """The cost of any number of plans [..., M] in one slot, with the fields of `PlanCost` and more.

    These are `finished`, e_m; and `busy`, [..., N + 1], when each node has done this slot and those before it. The
    slot's backlog, s until each node is free, is one for all plans, [N + 1], or one for each, [..., N + 1].
    Where tasks stream, as `stream_cost_of`.
    """
    if scenario.rules.streams:
        plans = np.asarray(plans)
        each = [vars(stream_cost_of(scenario, slot, plan)) for plan in plans.reshape(-1, plans.shape[-1])]
        found = {name: np.array([one[name] for one in each]) for name in each[0]}
        return SimpleNamespace(**{name: of.reshape(plans.shape[:-1] + of.shape[1:]) for name, of in found.items()})
    workload, network, rules = scenario.workload, scenario.network, scenario.rules
    tasks = float(scenario.release_rate if slot.tasks is None else slot.tasks)
    devices, frequency = float(network.num_devices), float(network.device_frequency)
    at_work = min(devices, tasks) if tasks > 0 else devices  # a task never uses more than one device
    speed = np.asarray(network.speed, np.float64)
    computing = np.where(np.arange(len(speed)) == 0, at_work * frequency, speed)
    work = tasks * np.asarray(workload.macs, np.float64) * float(scenario.cycles_per_mac)
    data = tasks * np.asarray(workload.input_bytes, np.float64)
    device_rate = np.asarray(slot.device_rate, np.float64)
    free = np.asarray(slot.backlog, np.float64)
    deadline = np.broadcast_to(np.asarray(scenario.deadline, np.float64), len(work))

    plans = np.asarray(plans)
    free = np.broadcast_to(free, (*plans.shape[:-1], len(speed)))
    busy = free.copy()  # until when each node is, with what this slot gives it
    finished = np.zeros(plans.shape[:-1])
    energy = np.zeros(plans.shape[:-1])
    blocks = []
    for m in range(len(work)):
        node = plans[..., m]
        previous = plans[..., m - 1] if m > 0 else np.zeros_like(node)  # the image starts at the device
        with np.errstate(divide="ignore", invalid="ignore"):
            server = np.where(node == 0, previous, node)
            by_device = data[m] / (at_work * device_rate[m, np.maximum(server, 1) - 1])
            between_servers = data[m] / float(network.wired_rate)
            transmission = np.where((previous == 0) | (node == 0), by_device, between_servers)
            unpaid = node == previous  # Eq. 5
            if not rules.local_input_charged:  # Eq. 9 as it reads
                unpaid = unpaid | (node == 0)
            transmission = np.where(unpaid, 0.0, transmission)
            computation = np.where(computing[node] > 0, work[m] / computing[node], np.inf)
        arrived = finished + transmission
        started = np.maximum(arrived, np.take_along_axis(free, node[..., None], axis=-1)[..., 0])
        finished = started + computation
        ends = (node[..., None] == np.arange(len(speed))) & np.isfinite(finished)[
            ..., None
        ]  # what never does, blocks none
        busy = np.where(ends, np.maximum(busy, finished[..., None]), busy)
        local = node == 0
        energy = energy + np.where(local, float(network.energy_coefficient) * frequency**2 * work[m], 0.0)
        with np.errstate(invalid="ignore"):
            waiting = np.where(np.isfinite(arrived), started - arrived, 0.0)
        if rules.return_charged and m == len(work) - 1:  # the result returns by the link of the last block
            with np.errstate(divide="ignore"):
                back = tasks * float(workload.output_bytes) / (at_work * device_rate[m, np.maximum(node, 1) - 1])
            back = np.where(local, 0.0, back)
            transmission, finished = transmission + back, finished + back
        energy = energy + float(network.transmit_power) * transmission
        blocks.append((transmission, waiting, computation, np.where(local, computation, 0.0), finished))
    per_block = zip(*blocks, strict=True)
    transmission, waiting, computation, local, completion = (np.stack(part, axis=-1) for part in per_block)
    block_delay = transmission + waiting + computation
    local_delay = local.sum(axis=-1)
    excess = np.maximum(block_delay - deadline, 0)
    penalty = float(scenario.penalty) * excess if scenario.penalty > 0 else np.zeros_like(excess)
    return SimpleNamespace(
        block_delay=block_delay,
        transmission_delay=transmission,
        waiting_delay=waiting,
        computation_delay=computation,
        finished=completion,
        busy=busy,
        total_delay=finished,
        edge_delay=finished - local_delay,
        local_delay=local_delay,
        energy=energy,
        reward=-(block_delay + penalty).sum(axis=-1),
        in_time=(block_delay <= deadline).all(axis=-1),
    )


def chain_of(scenario, slot, plan) -> tuple[list[str], list[float], list[float]]:
    """What a task needs where tasks stream: resources, seconds, and n_r, the tasks that pass each; in its order.

    Block m's input at 2 m, block m itself at 2 m + 1, the result at the end.
    """
    workload, network, rules = scenario.workload, scenario.network, scenario.rules
    tasks = float(scenario.release_rate if slot.tasks is None else slot.tasks)
    of_each_device = max(1.0, tasks / float(network.num_devices))
    cycles = np.asarray(workload.macs, np.float64) * float(scenario.cycles_per_mac)
    speed = [float(network.device_frequency), *np.asarray(network.speed, np.float64)[1:]]  # one device
    rate, sizes = np.asarray(slot.device_rate, np.float64), [*np.asarray(workload.input_bytes, np.float64)]
    resources, seconds, numbers = [], [], []

    def need(resource, amount, rate, number):
        resources.append(resource)
        seconds.append(amount / rate if rate > 0 else np.inf)
        numbers.append(number)

    for m, (i, j) in enumerate(itertools.pairwise([0, *plan, 0])):
        result = m == len(plan)
        amount, m_rate = (float(workload.output_bytes), m - 1) if result else (sizes[m], m)
        free = not (rules.return_charged if result else rules.local_input_charged or j)
        if i == j or (j == 0 and free):
            need("nothing", 0.0, 1.0, 1.0)
        elif i and j:
            need(f"wire {min(i, j)} {max(i, j)}", amount, float(network.wired_rate), tasks)
        else:
            need(f"link {i} {j}", amount, rate[m_rate, max(i, j) - 1], of_each_device)
        if not result:
            need(f"node {j}", cycles[m], speed[j], tasks if j else of_each_device)
    return resources, seconds, numbers


def stream_cost_of(scenario, slot, plan) -> SimpleNamespace:
    """The cost of one plan in one slot where tasks stream, with the fields of `PlanCost`; at least one task.

    `tied`: whether two resources attain the maximum, or one only just: then rounding decides where there is a wait.
    """
    resources, seconds, numbers = chain_of(scenario, slot, plan)
    path = sum(seconds)
    longer, waits = [path], [np.zeros(len(seconds))]
    for resource in dict.fromkeys(resources):
        on_it = np.array([at for at, other in enumerate(resources) if other == resource and seconds[at] > 0], int)
        if not len(on_it) or path == np.inf:
            continue
        load = sum(seconds[at] for at in on_it)
        total = sum(seconds[: on_it[0]]) + numbers[on_it[0]] * load + sum(seconds[on_it[-1] + 1 :])
        longer.append(total)
        waits.append(np.zeros(len(seconds)))
        waits[-1][on_it] = (total - path) * np.array(seconds)[on_it] / load
    total, waiting = max(longer), waits[int(np.argmax(longer))]
    tied = sorted(longer)[-2:][0] > total * (1 - 1e-5) if len(longer) > 1 else False

    def of_blocks(values):
        inputs, blocks = np.array(values[:-1:2]), np.array(values[1::2])
        inputs[-1] += values[-1]
        return inputs, blocks

    transmission, computation = of_blocks(seconds)
    for_link, for_node = of_blocks(waiting)
    local = np.array(plan) == 0
    local_delay = np.where(local, computation + for_node, 0).sum()
    block_delay = transmission + for_link + for_node + computation
    deadline, penalty = np.broadcast_to(np.asarray(scenario.deadline), len(plan)), float(scenario.penalty)
    late = np.maximum(block_delay - deadline, 0) if penalty else np.zeros(len(plan))
    rules = replace(scenario.rules, streams=False)  # what is sent and computed for all tasks is the same
    empty = replace(slot, backlog=np.zeros(len(scenario.network.speed)))
    lump = cost_of(replace(scenario, rules=rules), empty, np.array(plan))
    return SimpleNamespace(
        block_delay=block_delay,
        transmission_delay=transmission,
        waiting_delay=for_link + for_node,
        computation_delay=computation,
        total_delay=total,
        local_delay=local_delay,
        edge_delay=total - local_delay,
        energy=lump.energy,
        reward=-(block_delay + penalty * late).sum(),
        in_time=(block_delay <= deadline).all(),
        tied=tied,
    )


def backlog_after(scenario, slot, plans) -> np.ndarray:
    """When each node is free, from the next slot on, after any number of plans [..., M], [..., N + 1]."""
    if not scenario.rules.queues:
        return np.zeros((*np.shape(plans)[:-1], len(scenario.network.speed)))
    return np.maximum(cost_of(scenario, slot, plans).busy - float(scenario.slot_seconds), 0)


def least_of_episode(scenario, slots) -> float:
    """The least total delay of an episode that starts with empty queues: by trying every sequence of plans.

    `slots`: one `Slot` for each slot of the episode; their backlog does not count.
    """
    every = all_plans(len(scenario.workload.macs), len(scenario.network.speed))
    queues, delay = np.zeros((1, len(scenario.network.speed))), np.zeros(1)  # of every sequence of plans so far
    for slot in slots:
        slot = replace(slot, backlog=queues[:, None])
        plans = np.broadcast_to(every, (len(queues), *every.shape))
        delay = (delay[:, None] + cost_of(scenario, slot, plans).total_delay).ravel()
        queues = backlog_after(scenario, slot, plans).reshape(-1, queues.shape[-1])
    return delay.min()
