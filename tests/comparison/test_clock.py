"""Predictions beside made-up measurements, by arithmetic on a table of two blocks, two nodes and their links."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mecpart
from mecpart.comparison.clock import clock_summary, disturbance
from mecpart.dnn.workload import Workload

#: Block 1: 0.1 s at node 0, 0.02 s at node 1; block 2: 0.3 s, 0.05 s. 1000, 500 and 20 bytes move.
WORKLOAD = Workload(np.ones(2), np.array([1000.0, 500.0]), np.zeros(2), np.float32(20), ("a", "b"), "made up")
TIMES = mecpart.BlockTimes(np.array([[0.1, 0.02], [0.3, 0.05]]), WORKLOAD, ("here", "there"))
#: 10 ms and 10 kB/s there, 20 ms and 1 kB/s back.
LINKS = mecpart.Links(np.array([[0, 0.01], [0.02, 0]]), np.array([[0, 1e4], [1e3, 0]]))
SCENARIO = mecpart.measured(TIMES, LINKS, "pipelined")
#: of one task. "0 1": 0.1 + (0.01 + 0.05) + 0.05 + (0.02 + 0.02); "1 0": (0.01 + 0.1) + 0.02 + (0.02 + 0.5) + 0.3.
BY_HAND = {"0 0": 0.4, "0 1": 0.25, "1 1": 0.11 + 0.07 + 0.04, "1 0": 0.11 + 0.02 + 0.52 + 0.3}


def measured(seconds, tasks=1, **columns):
    """A table of repetitions, `seconds` by plan; the round before them took ten times as long."""
    rows = [
        {"plan": plan, "round": at, "tasks": tasks, "seconds": value}
        for plan, values in seconds.items()
        for at, value in enumerate([10 * max(values), *values])
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_one_task_is_beside_the_sum_of_its_blocks_and_moves():
    runs = {plan: [0.9 * hand, 1.25 * hand, 0.8 * hand] for plan, hand in BY_HAND.items()}
    found = mecpart.compare_delay(measured(runs), SCENARIO)
    assert list(found) == ["plan", "model", "tasks", "measured", "low", "high", "predicted", "error"]
    assert found.plan.tolist() == list(BY_HAND)
    assert set(found.model) == {"pipelined"}
    assert found.predicted.tolist() == pytest.approx(list(BY_HAND.values()), rel=1e-6)
    assert found.measured.tolist() == pytest.approx([0.9 * hand for hand in BY_HAND.values()])
    assert found.error.tolist() == pytest.approx([1 / 0.9 - 1] * 4, rel=1e-5)
    # Of three resamples' median one end is drawn two times or more with probability 7 / 27 > 2.5 %.
    assert found.low.tolist() == pytest.approx([0.8 * hand for hand in BY_HAND.values()])
    assert found.high.tolist() == pytest.approx([1.25 * hand for hand in BY_HAND.values()])


def test_a_stream_is_beside_its_bottleneck():
    """Of 60 tasks by 0 1: 0.1 s here, 0.05 s on the link, 0.05 s there, 0.02 s back; by 1 1 0.1 s on the link."""
    found = mecpart.compare_delay(measured({"0 1": [6.0, 6.0], "1 1": [6.0, 6.0]}, tasks=60), SCENARIO)
    assert found.predicted.tolist() == pytest.approx([0.25 + 59 * 0.1, 0.22 + 59 * 0.1], rel=1e-5)
    assert found.tasks.tolist() == [60, 60]


def test_models_are_held_against_the_same_clock():
    """The rules as printed bring the result back for free, and charge no move to the device."""
    runs = {plan: [hand] * 2 for plan, hand in BY_HAND.items()}
    models = {"whole": SCENARIO, "as printed": mecpart.measured(TIMES, LINKS, "as_printed")}
    found = mecpart.compare_delay(measured(runs, load=0.5), models)
    assert found.load.tolist() == [0.5] * 8
    free = found[found.model == "as printed"].set_index("plan").predicted
    assert free.to_dict() == pytest.approx({"0 0": 0.4, "0 1": 0.21, "1 1": 0.18, "1 0": 0.43}, rel=1e-5)
    rows = clock_summary(found).set_index("model")
    assert rows.plans.tolist() == [4, 4]
    assert rows.loc["whole", "largest_error_percent"] == pytest.approx(0, abs=1e-4)
    assert rows.loc["whole", ["rank_correlation", "regret_percent"]].tolist() == [1, 0]
    errors = [0, 16.0, 100 * (1 - 0.18 / 0.22), 100 * (1 - 0.43 / 0.95)]
    assert rows.loc["as printed", "median_error_percent"] == pytest.approx(np.median(errors), rel=1e-4)
    assert rows.loc["as printed", "largest_error_percent"] == pytest.approx(max(errors), rel=1e-4)


def test_the_summary_ranks_and_pays_by_the_clock():
    """Predicted best is the first, which takes a quarter more than the third."""
    compared = pd.DataFrame(
        {"plan": ["0", "1", "2"], "model": "m", "tasks": 1, "measured": [5.0, 6.0, 4.0], "predicted": [1.0, 2.0, 3.0]}
    )
    compared["error"] = compared.predicted / compared.measured - 1
    (row,) = clock_summary(compared).to_dict("records")
    assert row["regret_percent"] == pytest.approx(25)
    assert row["rank_correlation"] == pytest.approx(stats.kendalltau([5, 6, 4], [1, 2, 3]).statistic)
    assert row["median_error_percent"] == pytest.approx(100 * 2 / 3)
    assert row["largest_error_percent"] == pytest.approx(80)


def test_disturbance_is_the_spread_of_repetitions():
    """2 by 10, 1 by 10 and 3 by 4, in per cent; what the first rounds took counts for nothing."""
    assert disturbance(measured({"0 0": [9, 10, 11], "0 1": [10, 10, 11], "1 1": [4, 7, 4]})) == pytest.approx(20)
    assert np.isnan(disturbance(measured({"0 0": [9], "0 1": [10]})))


def test_the_interval_holds_the_median_of_what_is_drawn():
    """Of 8 repetitions, in at least 90 % of 400 tables."""
    draw = np.random.default_rng(4).lognormal(sigma=0.1, size=(400, 8))
    found = mecpart.compare_delay(
        pd.concat([measured({"0 0": row}, tasks=at + 1) for at, row in enumerate(draw)]), SCENARIO
    )
    assert 0.90 < ((found.low < 1) & (found.high > 1)).mean() < 0.99


@pytest.mark.parametrize(
    ("table", "scenario", "texts"),
    [
        (None, SCENARIO, ("measured", "a table with the columns plan, round, tasks, seconds", "None")),
        (measured({"0 0": [1]}).drop(columns="tasks"), SCENARIO, ("measured", "without tasks")),
        (measured({"0 0": [1]}).iloc[:1], SCENARIO, ("measured", "a round after the first", "none of 0 0")),
        (measured({"0 0": [1]}).iloc[:0], SCENARIO, ("measured", "no rows")),
        (measured({"0 0": [-1.0]}), SCENARIO, ("measured['seconds']", "above 0", "-1")),
        (measured({"0 0": [1.0]}, tasks=0), SCENARIO, ("measured['tasks']", "above 0", "0")),
        (measured({"0-0": [1.0]}), SCENARIO, ("measured['plan']", "'0 0 1 2'", "'0-0'")),
        (measured({"0 0 0": [1.0]}), SCENARIO, ("measured['plan']", "2 blocks of scenario", "[3]")),
        (measured({"0 2": [1.0]}), SCENARIO, ("measured['plan']", "from 0 to 1", "node 2 for block 1")),
        (measured({"0 0": [1.0]}), {}, ("scenario", "empty mapping")),
        (measured({"0 0": [1.0]}), {"fit": None}, ("scenario['fit']", "mecpart.Scenario", "None")),
        (
            measured({"0 0": [1.0]}),
            mecpart.as_printed(WORKLOAD, mecpart.make_network([1e9])),
            ("scenario", "must have links", "None"),
        ),
    ],
)
def test_bad_input_is_refused(table, scenario, texts, refused):
    with refused(*texts):
        mecpart.compare_delay(table, scenario)
