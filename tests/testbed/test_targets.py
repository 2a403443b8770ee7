"""The model held against the clock on whatever machine runs the tests, which other work may disturb.

Nodes sleep most of the time, as machines do that are slower than this one, so that little of what is measured depends
on who else computes. What remains of it shows in how far repetitions of the same plan lie apart: where they do and an
aim is missed, all is measured again, and then skipped with the load named. What passes has reached all aims.
"""

import numpy as np
import pandas as pd
import pytest

import mecpart
from mecpart.comparison.clock import clock_summary, disturbance

#: Of VGG16, measured on this project's machine: as many times slower, more than 10 times what a block takes there.
SLOWER = {"EPYC, 1 core, JAX": 4, "EPYC, 1 core, ONNX Runtime": 20, "EPYC, 2 cores, ONNX Runtime": 12}
NAMES = ("device", "edge 1", "edge 2")
BLOCKS, PLANS, ROUNDS = 6, 10, 5
#: %, that repetitions of half of the plans lie apart on a quiet machine at most.
QUIET = 5.0


@pytest.fixture(scope="module")
def pace():
    workload = mecpart.workload("vgg16", BLOCKS)
    layers = mecpart.measured_data("mecpart", "vgg16").times.select(list(SLOWER))
    starts = [layers.workload.block_names.index(name.split("-")[0]) for name in workload.block_names]
    seconds = np.asarray(layers.cut(starts).seconds) * np.array(list(SLOWER.values()), np.float32)
    return mecpart.BlockTimes(seconds, workload, NAMES)


@pytest.fixture(scope="module")
def links():
    latency = np.array([[0, 5, 8], [5, 0, 2], [8, 2, 0]]) * 1e-3
    rate = np.array([[0, 2.5e6, 1.25e6], [2.5e6, 0, 12.5e6], [1.25e6, 12.5e6, 0]])
    return mecpart.Links(latency, rate, names=NAMES)


def apart(scenario):
    """Plans of delays as far apart as can be, of 0.1 s and more, and not so long that all takes more than 30 s."""
    drawn = np.random.default_rng(0).integers(0, len(NAMES), (400, BLOCKS))
    table = pd.DataFrame({"plan": [" ".join(map(str, plan)) for plan in drawn], "round": 1, "tasks": 1, "seconds": 1.0})
    told = mecpart.compare_delay(table.drop_duplicates(), scenario).sort_values("predicted")
    told = told[told.predicted.between(0.1, 0.33)]
    wanted = np.linspace(told.predicted.min(), told.predicted.max(), PLANS)
    nearest = np.abs(told.predicted.to_numpy()[:, None] - wanted).argmin(axis=0)
    return [[int(node) for node in plan.split()] for plan in told.plan.iloc[np.unique(nearest)]]


def by_speed(times):
    """The paper's: one speed for each node, known from the whole network."""
    macs = np.asarray(times.workload.macs, float)
    per_mac = np.asarray(times.seconds, float).sum(axis=0) / macs.sum()
    return mecpart.BlockTimes(np.outer(macs, per_mac).astype(np.float32), times.workload, NAMES)


def measured_once(pace, links):
    plans = apart(mecpart.measured(pace, links, "pipelined"))
    assert len(plans) == PLANS
    with mecpart.Testbed("vgg16", BLOCKS, links=links, pace=pace, engine="onnx", timeout=30) as bed:
        runs, (times, between) = bed.run_and_calibrate(plans, ROUNDS)
    bytes_alone = mecpart.Links(np.zeros_like(links.latency), links.rate, names=NAMES)
    models = {
        "table": mecpart.measured(times, between, "pipelined"),
        "FLOPs / f": mecpart.measured(by_speed(times), bytes_alone, "pipelined"),
    }
    return runs, clock_summary(mecpart.compare_delay(runs, models)).set_index("model")


@pytest.mark.slow
def test_the_table_tells_what_the_clock_says_and_operations_do_not(pace, links):
    for _ in range(2):
        runs, summary = measured_once(pace, links)
        table, by_operations = summary.loc["table"], summary.loc["FLOPs / f"]
        missed = {
            "median error": table.median_error_percent > 5,
            "largest error": table.largest_error_percent > 15,
            "rank correlation": table.rank_correlation < 0.95,
            "FLOPs / f": by_operations.median_error_percent < 2 * table.median_error_percent,
        }
        if not any(missed.values()):
            return
        off = disturbance(runs)
        assert off > QUIET, f"on a quiet machine {missed}:\n{summary.to_string()}"
    pytest.skip(
        f"the machine has other work to do, load {runs.load.min():.1f} to {runs.load.max():.1f}: half of the plans "
        f"have repetitions that differ by {off:.0f} % or more, and missed are {[aim for aim in missed if missed[aim]]}"
    )
