"""Plans on measured devices: by enumeration of all, and by arithmetic on the table."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import mecpart
from mecpart.comparison.measured import WAYS, Case, certainty, cuts_by_rate, measured_cases, regrets
from mecpart.dnn.workload import Workload


def case(seconds, spread=None, input_bytes=(8.0, 1.0, 1.0)):
    blocks, nodes = np.shape(seconds)
    nothing = np.zeros(blocks, np.float32)
    sent = np.asarray(input_bytes, np.float32)
    workload = Workload(nothing, sent, nothing, jnp.float32(0), tuple("abc"[:blocks]), "made up")
    names = ("here", "there", "far")[:nodes]
    spread = None if spread is None else np.asarray(spread, np.float32)
    times = mecpart.BlockTimes(np.asarray(seconds, np.float32), workload, names, spread=spread)
    apart = np.ones((nodes, nodes), np.float32)
    return Case("mine", "made up", "usual", names, times, mecpart.Links(0.1 * apart, apart, names=names))


def delay(case, plan, rate):
    """By hand: each block's seconds, and 0.1 s and the bytes where the node changes."""
    nodes = (0, *plan)
    seconds, sent = np.asarray(case.times.seconds), np.asarray(case.times.workload.input_bytes)
    moved = sum(0.1 + sent[m] / rate for m in range(len(plan)) if nodes[m] != nodes[m + 1])
    return sum(seconds[m, n] for m, n in enumerate(plan)) + moved


def test_cuts_are_those_of_the_best_of_all_plans():
    """Of two cases that differ in blocks and nodes, so that one is padded."""
    two = case([[1, 2, 3], [4, 1, 2], [9, 5, 0.5]]), case([[1, 2], [3, 1]], input_bytes=(8.0, 1.0))
    rates = np.array([0.1, 1.0, 10.0, 1000.0])
    found = cuts_by_rate(two, rates)
    expected = []
    for each in two:
        plans = list(itertools.product(range(each.times.num_nodes), repeat=each.times.num_blocks))
        for rate in rates:
            best = min(plans, key=lambda plan: delay(each, plan, rate))
            expected.append(len(set(best)) > 1)
    assert found.cut.tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_times_without_spread_leave_no_doubt():
    made = case([[1, 5], [9, 1], [1, 1]], spread=np.zeros((3, 2)))
    (row,) = certainty([made], draws=10).to_dict("records")
    assert (row["spread"], row["best_probability"], row["lost_percent"]) == ("measured", 1, 0)
    least = min(delay(made, plan, 1.0) for plan in itertools.product(range(2), repeat=3))
    assert [row[name] for name in ("delay_s", "low_s", "high_s")] == pytest.approx([least] * 3)


def test_two_plans_that_are_equal_but_for_chance_are_best_half_of_the_time():
    """One block of 2 s here, or of 1.8 s there and 0.2 s away; its delay here varies by 1.96 standard deviations."""
    made = case([[2.0, 1.8]], spread=[[0.1, 0.1]], input_bytes=(0.1,))
    (row,) = certainty([made], draws=4000).to_dict("records")
    assert row["best_probability"] == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(4000))
    assert (row["high_s"] - row["low_s"]) / 2 == pytest.approx(1.96 * 0.1, rel=0.1)


def test_regret_is_that_of_the_single_cuts_of_a_pipeline():
    """ParetoPipe's first block runs on the first node, and nothing goes back: plans are cuts. By hand."""
    cases = measured_cases(("paretopipe_pi_to_pi",))
    found = regrets(cases)
    assert found.way.unique().tolist() == list(WAYS)
    assert set(found.work) == {"operations"}
    assert (found.regret_percent >= 0).all()
    assert (found[found.way == "table"].regret_percent == 0).all()

    def tables(case):
        return np.asarray(case.times.seconds, float), np.asarray(case.times.workload.macs, float)[:, None]

    chosen = cases[1]
    others = [tables(each) for each in cases if each is not chosen]
    work = sum(np.where(np.isfinite(seconds), macs, 0).sum(axis=0) for seconds, macs in others)
    throughput = work / sum(np.where(np.isfinite(seconds), seconds, 0).sum(axis=0) for seconds, _ in others)
    seconds, macs = tables(chosen)
    plans = [np.arange(len(seconds)) >= cut for cut in range(1, len(seconds) + 1)]
    sent = np.append(np.asarray(chosen.times.workload.input_bytes, float), 0) / float(chosen.links.rate[0, 1])

    def by(table):
        rows = np.arange(len(seconds))
        return [table[rows, plan.astype(int)].sum() + (sent[np.argmax(plan)] if plan.any() else 0) for plan in plans]

    believed = by(np.where(np.isfinite(seconds), macs / throughput, np.inf))
    paid = by(seconds)
    (row,) = found[(found.network == chosen.network) & (found.way == "work / speed")].to_dict("records")
    assert row["best_s"] == pytest.approx(min(paid), rel=1e-5)
    assert row["delay_s"] == pytest.approx(paid[int(np.argmin(believed))], rel=1e-5)


def test_rates_and_draws_that_are_none_are_refused():
    with pytest.raises(ValueError, match="rates must be"):
        cuts_by_rate([case([[1, 2]], input_bytes=(1.0,))], np.array([0.0]))
    with pytest.raises(ValueError, match="draws must be"):
        certainty([case([[1, 2]], input_bytes=(1.0,))], draws=0)
