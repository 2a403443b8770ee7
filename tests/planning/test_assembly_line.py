import itertools
from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest

import mecpart
from mecpart import BlockTimes, Links, Workload, optimal_pipeline
from mecpart.measurements.shipped import measured_data

INF = float("inf")


def drawn(seed, blocks=5, nodes=4):
    """Random times, links and memory, with impossible ones; two nodes are alike in every second."""
    rng = np.random.default_rng(seed)
    seconds = rng.uniform(0.1, 2, (blocks, nodes))
    seconds[rng.random(seconds.shape) < 0.1] = INF
    rate = rng.uniform(0.5, 20, (nodes, nodes)) * (rng.random((nodes, nodes)) > 0.1)
    memory = rng.uniform(3, 9, nodes)
    if seed % 2:
        same = [0, 1, 1, 3]
        seconds, memory, rate = seconds[:, same], memory[same], rate[np.ix_(same, same)]
        rate[1, 2] = rate[2, 1] = 5
    seconds[:, 0] = rng.uniform(0.1, 2, blocks)
    workload = Workload(
        np.zeros(blocks), rng.uniform(0.5, 5, blocks), np.zeros(blocks), np.float64(rng.uniform(0, 2)),
        tuple("abcdefgh"[:blocks]), "mine",
    )  # fmt: skip
    times = BlockTimes(seconds, workload, tuple("wxyz"[:nodes]), memory_bytes=rng.uniform(0.5, 3, blocks))
    return times, Links(rng.uniform(0, 1, (nodes, nodes)), rate), memory


def slowest(times, links, memory, plan):
    """What the slowest node or link takes for one task of a plan that comes to each node once; else infinity."""
    runs = [node for node, _ in itertools.groupby(plan)]
    held = np.bincount(plan, times.memory_bytes, times.num_nodes)
    if len(runs) != len(set(runs)) or (held > memory).any():
        return INF
    worst = np.bincount(plan, times.seconds[np.arange(len(plan)), plan], times.num_nodes).max()
    moves = [
        *zip((0, *plan), plan, times.workload.input_bytes, strict=False),
        (plan[-1], 0, times.workload.output_bytes),
    ]
    for i, j, moved in moves:
        if i != j:
            worst = max(worst, moved / links.rate[i, j] if links.rate[i, j] > 0 else INF)
    return worst


@pytest.mark.parametrize("seed", range(10))
def test_no_plan_has_a_faster_slowest_stage(seed):
    times, links, memory = drawn(seed)
    least = min(slowest(times, links, memory, plan) for plan in itertools.product(range(4), repeat=5))
    found = optimal_pipeline(times, links, memory)
    assert found.seconds == pytest.approx(least, rel=1e-12)
    if np.isfinite(least):
        assert slowest(times, links, memory, tuple(found.plan)) == pytest.approx(least, rel=1e-12)
        assert [stage.name for stage in found.stages] == [times.names[stage.node] for stage in found.stages]
    else:
        assert found.stages == ()


def test_it_is_what_a_stream_of_many_tasks_tends_to():
    times, links, _ = drawn(3)
    many = 10_000
    scenario = mecpart.measured(times, links, "pipelined", many)
    slot = mecpart.Slot(np.float32(1))
    found = optimal_pipeline(times, links)
    assert float(mecpart.evaluate_plan(scenario, slot, found.plan).total_delay) / many == pytest.approx(
        found.seconds, rel=1e-2
    )
    assert float(mecpart.optimal_plan(scenario, slot).total_delay) / many <= found.seconds * 1.01


def test_dnnpipe_on_its_four_devices():
    times, links, memory = measured_data("dnnpipe", "vit")
    optimal_pipeline(times, links, memory)
    start = perf_counter()
    found = optimal_pipeline(times, links, memory)
    assert perf_counter() - start < 0.8  # what its own planner takes
    assert found.seconds == pytest.approx(3.16648912e-3, rel=1e-6)
    assert {stage.name for stage in found.stages} == set(times.names)


def test_what_is_wrong_is_refused():
    times, links, memory = drawn(0)
    with pytest.raises(ValueError, match="memory must have shape"):
        optimal_pipeline(times, links, memory[:2])
    with pytest.raises(ValueError, match="memory must hold each block"):
        optimal_pipeline(times, links, 0 * memory)
    with pytest.raises(ValueError, match="links must be of 4 nodes"):
        optimal_pipeline(times, links.select([0, 1]))
    with pytest.raises(ValueError, match=r"times\.seconds must be"):
        optimal_pipeline(replace(times, seconds=-np.ones((5, 4))), links)
