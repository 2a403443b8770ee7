import numpy as np
import pytest
from made_up import LEVEL, METHODS, results
from scipy import stats

from mecpart import comparison
from mecpart.comparison import PROPOSED


def test_summary_by_hand():
    row = comparison.summary(results(LEVEL, seeds=4)).query("method == 'A3C' and x == 2 and metric == 'total_delay_s'")
    levels = 1000 * 0.9 * 1.25 * np.array([1.0, 1.1, 1.2, 1.3])
    assert row["mean"].item() == pytest.approx(levels.mean())
    assert row["iqm"].item() == pytest.approx(levels[1:3].mean())
    assert row["mean_low"].item() < levels.mean() < row["mean_high"].item()
    assert row["num_seeds"].item() == 4


def test_one_overload_decides_the_mean_and_not_the_median():
    frame = results({"Greedy": 1.0}, seeds=5, xs=(2, 4)).assign(keeps_up=1.0)
    worst = frame["seed"] == 4
    frame.loc[worst, ["total_delay_s", "keeps_up"]] = [1e6, 0.0]
    (row,) = comparison.under_load(frame).to_dict("records")
    at_2, at_4 = ([1000 * (1 + seed / 10) * factor for seed in range(4)] for factor in (0.9, 0.8))
    assert row["mean"] == pytest.approx((sum(at_2) + sum(at_4) + 2e6) / 10)
    assert row["median"] == pytest.approx((at_2[2] + at_4[2]) / 2)
    assert (row["keeps_up_percent"], row["num_seeds"]) == (80, 5)
    assert np.isnan(comparison.under_load(frame.drop(columns="keeps_up"))["keeps_up_percent"]).all()


def test_paired_differences_remove_what_seeds_share():
    frame = results({PROPOSED: 1.0, "A3C": 1.1}, seeds=6, xs=(2,))
    frame.loc[frame["method"] == "A3C", "total_delay_s"] = frame.loc[
        frame["method"] == PROPOSED, "total_delay_s"
    ].to_numpy() + np.array([1.0, 2, 3, 4, 5, -1])
    row = comparison.paired_differences(frame, baselines=["A3C"]).query("x == 2").iloc[0]
    assert row["difference"] == pytest.approx(14 / 6)
    assert row["probability_of_improvement"] == pytest.approx(5 / 6)
    low, high = comparison.bootstrap_interval(np.array([1.0, 2, 3, 4, 5, -1]))
    assert (row["low"], row["high"]) == pytest.approx((float(low), float(high)))


def test_a_tie_is_half_an_improvement():
    frame = results({PROPOSED: 1.0, "A3C": 1.0})
    table = comparison.paired_differences(frame, baselines=["A3C"])
    assert set(table["probability_of_improvement"]) == {0.5}
    assert table["x"].isna().sum() == 1


def test_relative_delays_next_to_published():
    table = comparison.relative_delays(results(LEVEL), comparison.published("fig8"))
    row = table.query("method == 'Greedy' and x == 4").iloc[0]
    assert row["measured"] == pytest.approx(2.5 / 5)
    assert row["published"] == pytest.approx(18600 / 18900)
    assert (row["low"], row["high"]) == pytest.approx((0.5, 0.5))
    assert (
        comparison.relative_delays(results(LEVEL, xs=(2, 30)), comparison.published("fig8"))
        .query("x == 30")["published"]
        .isna()
        .all()
    )


def test_rank_agreement_against_scipy():
    paper = comparison.published("fig8")
    frame = results(LEVEL, noise=0.3)
    table = comparison.rank_agreement(frame, paper)
    at_six = [paper.query("method == @m and x == 6")["total_delay_s"].item() for m in METHODS]
    means = [frame.query("method == @m and x == 6")["total_delay_s"].mean() for m in METHODS]
    row = table.query("x == 6").iloc[0]
    assert row["rank_correlation"] == pytest.approx(stats.kendalltau(at_six, means).statistic)
    assert row["order"].split(" < ") == [METHODS[at] for at in np.argsort(means)]
    overall = table[table["x"].isna()]["rank_correlation"].item()
    assert overall == pytest.approx(table[table["x"].notna()]["rank_correlation"].mean())


def test_trends_compare_signs():
    frame = results(LEVEL)
    rising = frame["method"] == "A3C"
    frame.loc[rising, "total_delay_s"] = frame.loc[rising, "x"] * 100
    table = comparison.trends(frame, comparison.published("fig8")).set_index("method")
    assert (table["published"] < -25).all()  # percent, over the sweep
    assert table.loc["A3C", "measured"] == pytest.approx(100)  # from 200 to 600, of the mean 400
    assert table.loc["A3C", "verdict"] == "not reproduced"
    assert (table.drop("A3C")["verdict"] == "reproduced").all()


def test_the_end_of_training_under_load_by_hand():
    """Two windows of two networks; only the last window counts, and in it a half that keeps up is not enough."""
    frame = results({"A3C": 1.0}, seeds=2, xs=(2, 4), figure="fig6", scenario="loaded").sort_values(["x", "seed"])
    frame = frame.assign(keeps_up=[0.0, 0.0, 1.0, 0.5], busiest_share=[0.1, 0.1, 0.9, 1.0], gap_percent=[9, 9, 10, 30])
    (row,) = comparison.ends_under_load(frame).to_dict("records")
    assert row == pytest.approx(
        {"method": "A3C", "keeps_up_on": 1, "num_networks": 2, "median_gap_percent": 20, "busiest_percent": 95}
    )
    assert comparison.ends_under_load(frame.assign(keeps_up=np.nan)).empty
    assert comparison.ends_under_load(frame.drop(columns="keeps_up")).empty
