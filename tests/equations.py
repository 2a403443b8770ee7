"""The model once more, in plain NumPy and float64: what the tests hold mecpart against.

Written from the definition of the model (Eqs. 2-9, 13, 14, and the recursion of completion times), and sharing no code
with mecpart; only the names of the quantities are the same.
"""

import itertools
from types import SimpleNamespace

import numpy as np


def all_plans(blocks: int, nodes: int) -> np.ndarray:
    """Every plan there is, [nodes ** blocks, blocks]."""
    return np.array(list(itertools.product(range(nodes), repeat=blocks)), dtype=np.int32)


def cost_of(scenario, slot, plans) -> SimpleNamespace:
    """The cost of any number of plans [..., M] in one slot, with the fields of `PlanCost` and `finished` (e_m)."""
    workload, network = scenario.workload, scenario.network
    tasks, devices, frequency = (
        float(x) for x in (scenario.release_rate, network.num_devices, network.device_frequency)
    )
    speed = np.asarray(network.speed, np.float64)
    work = tasks * np.asarray(workload.macs, np.float64) * float(scenario.cycles_per_mac)
    data = tasks * np.asarray(workload.input_bytes, np.float64)
    device_rate = np.asarray(slot.device_rate, np.float64)
    backlog = np.asarray(slot.backlog, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        queue = np.where(backlog > 0, backlog / speed, 0)
    deadline = np.broadcast_to(np.asarray(scenario.deadline, np.float64), len(work))

    plans = np.asarray(plans)
    finished = np.zeros(plans.shape[:-1])
    energy = np.zeros(plans.shape[:-1])
    blocks = []
    for m in range(len(work)):
        node = plans[..., m]
        previous = plans[..., m - 1] if m > 0 else np.zeros_like(node)  # the image starts at the device
        with np.errstate(divide="ignore", invalid="ignore"):
            from_device = data[m] / (devices * device_rate[m, np.maximum(node, 1) - 1])
            between_servers = data[m] / float(network.wired_rate)
            transmission = np.where(previous == 0, from_device, between_servers)
            transmission = np.where((node == previous) | (node == 0), 0.0, transmission)
            computation = np.where(speed[node] > 0, work[m] / speed[node], np.inf)
        arrived = finished + transmission
        started = np.maximum(arrived, queue[node])
        finished = started + computation
        local = node == 0
        energy = energy + np.where(local, float(network.energy_coefficient) * frequency**2 * work[m], 0.0)
        energy = energy + float(network.transmit_power) * transmission
        with np.errstate(invalid="ignore"):
            waiting = np.where(np.isfinite(arrived), started - arrived, 0.0)
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
        total_delay=finished,
        edge_delay=finished - local_delay,
        local_delay=local_delay,
        energy=energy,
        reward=-(block_delay + penalty).sum(axis=-1),
        in_time=(block_delay <= deadline).all(axis=-1),
    )
