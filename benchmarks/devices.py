"""Plans on measured devices: what others' tools are asked, and whether tables are as fast as cycles and clock rates.

As in `measurements.py`, a function returns when it started and when it ended.
"""

import time
from dataclasses import replace

import jax
import jax.numpy as jnp
from measurements import default_slots, span

import mecpart


def scission() -> tuple[float, float]:
    """Start and end of all that Scission is asked: the best plan of 18 networks on five machines, by two link tables.

    From times and links that have been read. Each number of blocks is a program of its own, compiled by the first call.
    """
    listed = mecpart.measured_data()
    networks = listed.network[listed.name == "scission"]
    asked = [
        mecpart.measured_data("scission", network, links=links) for network in networks for links in (None, "wired")
    ]
    slot = _no_rate()
    start = time.time()
    jax.block_until_ready([mecpart.optimal_plan(mecpart.measured(each.times, each.links), slot) for each in asked])
    return start, time.time()


def dnnpipe() -> tuple[float, float]:
    """Start and end of the best pipeline of DNNPipe's 273 units on its four devices, with their memory."""
    times, links, memory = mecpart.measured_data("dnnpipe", "vit")
    start = time.time()
    mecpart.optimal_pipeline(times, links, memory)
    return start, time.time()


def tables(count: int) -> tuple[float, float]:
    """Start and end of `count` exact plans of the default size, each by other block times."""
    scenario, _ = default_slots()
    shape = count, scenario.num_blocks, scenario.num_nodes
    seconds = jax.random.uniform(jax.random.key(0), shape, minval=0.1, maxval=1.0)
    names = tuple(f"node {n}" for n in range(scenario.num_nodes))
    apart = jnp.ones((scenario.num_nodes, scenario.num_nodes))
    links = mecpart.Links(latency=0.01 * apart, rate=1e6 * apart)
    one = mecpart.measured(mecpart.BlockTimes(seconds[0], scenario.workload, names), links)

    slot = _no_rate()

    def best(seconds):
        return mecpart.optimal_plan(replace(one, times=replace(one.times, seconds=seconds)), slot)

    return span("tables", jax.vmap(best), seconds)


def _no_rate() -> mecpart.Slot:
    """A slot where the links are measured, so that no rate is drawn."""
    return mecpart.Slot(jnp.float32(0))
