import math

import numpy as np
import pandas as pd
import pytest
from made_up import LEVEL, learning_curve, results

from mecpart import comparison
from mecpart.comparison import BASELINES, POSITIVE, PROPOSED


def test_settling_is_the_first_window_after_which_the_curve_stays():
    episodes = np.arange(1.0, 11)
    rising = np.array([0, 50, 96, 94, 96, 100, 100, 100, 100, 100.0])
    flat = np.full(10, 7.0)
    assert comparison.settling_episode(episodes, np.stack([rising, flat])).tolist() == [5, 1]


def test_settling_claims():
    frame = learning_curve({PROPOSED: 500, "Distributed DQN": 2000})
    table = comparison.claims(frame, "fig6").set_index("claim")
    row = table.loc["Proposed settles by about episode 400 of 3000"]
    assert row["measured"] == 500  # within 5 % of the gain only at the end of the rise
    assert row["verdict"] == "reproduced"
    row = table.filter(like="sooner than Distributed DQN", axis=0).iloc[0]
    assert row["measured"] == 1500
    assert row["verdict"] == "reproduced"


def test_a_shorter_run_does_not_decide_a_claim_about_3000_episodes():
    table = comparison.claims(learning_curve({PROPOSED: 300}, episodes=600), "fig6").set_index("claim")
    row = table.loc["Proposed settles by about episode 400 of 3000"]
    assert row["verdict"] == "undecided"
    assert row["reason"] == "the claim is about 3000 episodes, this run has 600"


def test_a_higher_reward_is_an_advantage():
    frame = learning_curve({PROPOSED: 500})
    row = comparison.claims(frame, "fig6").set_index("claim").loc["Proposed ends with a higher mean reward than RPDI"]
    assert row["measured"] == pytest.approx(50)  # (-2 - -1) / -2
    assert row["published"] == pytest.approx(100 * 800 / 19100)
    assert row["verdict"] == "reproduced"


def test_measured_and_published_values_of_a_stated_percentage():
    frame = results(LEVEL | {"A3C": 1.05}, noise=0.001)
    row = comparison.claims(frame, "fig8").set_index("claim").loc["Total delay is 4.61 % below A3C's at N = 6"]
    wide = frame.query("x == 6").pivot(index="seed", columns="method", values="total_delay_s")
    assert row["measured"] == pytest.approx(100 * (1 - wide[PROPOSED].mean() / wide["A3C"].mean()))
    assert (row["published"], row["verdict"]) == (4.61, "reproduced")


def test_the_opposite_of_a_claim_is_not_reproduced():
    table = comparison.claims(results({PROPOSED: 2.0} | {name: 1.0 for name in BASELINES}), "fig8")
    lower = table[table["claim"].str.startswith("Proposed has less")]
    assert set(lower["verdict"]) == {"not reproduced"}
    assert len(lower) == 13


def test_direction_claims_are_decided_where_no_method_computes_locally():
    frame = results(LEVEL)
    frame.loc[frame["method"] != "RPDI", "local_delay_s"] = 0.0
    table = comparison.claims(frame, "fig8").set_index("claim")
    assert table.loc["Proposed has less local delay than A3C", "verdict"] == "not reproduced"
    row = table.loc["Local delay is 6.21 % below Distributed DQN's at N = 4"]
    assert row["verdict"] == "undecided"  # there is none on any seed
    assert "the local delay of Distributed DQN is 0 with 4 edge servers" in row["reason"]


def test_a_setting_left_out_is_said_so():
    table = comparison.claims(results(LEVEL, xs=(2, 4)), "fig8").set_index("claim")
    row = table.loc["Total delay is 4.61 % below A3C's at N = 6"]
    assert (row["verdict"], row["reason"]) == ("undecided", "not run with 6 edge servers")


def test_claims_of_experiments_that_were_not_run_stay_in_the_table():
    table = comparison.claims(results(LEVEL))
    assert len(table) == len(comparison.paper_claims()) >= 25
    assert set(table[table["verdict"] == "not run"]["notebook"]) == {
        "fig6", "fig7", "fig9", "fig10", "fig11", "fig12", "fig13",
    }  # fmt: skip
    pooled = table[table["notebook"] == "headline"]
    assert (pooled["verdict"] != "not run").all()
    assert pooled["test"].str.contains(r"\(Fig. 8\)").all()
    assert pooled["reason"].str.contains("not run: Figs. 9, 10 and 12").all()


def test_pooled_claims_use_every_figure_that_was_run():
    both = pd.concat([results(LEVEL), results(LEVEL | {"A3C": 2.0}, figure="fig9")])
    table = comparison.claims(both, "headline").set_index("claim")
    rows = table.filter(like="Total delay of Proposed is 4.76 % below", axis=0)["measured"]
    assert rows.filter(like="mean of ratios").item() == pytest.approx(np.mean([20, 50, 50, 50]))
    assert rows.filter(like="ratio of means").item() == pytest.approx(100 * (1 - 4 / (1.25 + 2 + 2 + 2)))


def test_every_published_percentage_is_a_claim():
    stated = sorted(comparison.published_reductions()["reduction_percent"])
    held = [
        claim.published
        for claim in comparison.paper_claims()
        if (claim.where == "abstract" and claim.region != POSITIVE) or claim.where.startswith("text on Fig. ")
    ]
    assert [value for value in stated if value not in held] == []


def test_published_sides_come_from_the_published_curves():
    for claim in comparison.paper_claims():
        told = claim.published_value()
        assert math.isfinite(told)
        if claim.where.startswith("Fig. "):
            # what the paper's own plots show on average must be what we say that it claims
            assert claim.region[0] < told < claim.region[1]


def test_settings_of_one_method_are_compared_by_name():
    """Fig. 7a: final costs of 1, 2, 3 and 4 for the four pairs of learning rates, in each of six seeds."""
    names = [f"lr={actor} lr_v={critic}" for actor in ("0.01", "0.001") for critic in ("0.01", "0.001")]
    curves = [
        learning_curve({PROPOSED: 500}).query("method == @PROPOSED").assign(figure="fig7a", setting=name)
        for name in names
    ]
    for level, curve in enumerate(curves, start=1):
        curve["reward"] *= level
    table = comparison.claims(pd.concat(curves), "fig7").set_index("claim")
    row = table.loc["Learning rates 0.01 and 0.01 end higher than 0.001 and 0.001"]
    assert (row["measured"], row["verdict"]) == (pytest.approx(75), "reproduced")  # (-4 - -1) / -4
    assert set(table["verdict"]) == {"reproduced", "not run"}


def test_settings_of_several_methods_are_named_by_both():
    frame = pd.DataFrame({"method": ["A3C", "Proposed"], "setting": ["slow", "slow"], "x": [1, 1]})
    assert list(comparison.by_setting(frame)["method"]) == ["A3C, slow", "Proposed, slow"]
    assert list(comparison.by_setting(frame[:1])["method"]) == ["slow"]
    assert comparison.by_setting(frame.drop(columns="setting")).equals(frame.drop(columns="setting"))


def test_the_same_is_less_than_the_least_that_the_paper_makes_something_of():
    """Of its final rewards -18200 against -18250 is the least: in Figs. 7a and 7b the higher one is called better."""
    (same,) = {claim.region for claim in comparison.paper_claims() if claim.claim.endswith("end the same")}
    assert same == pytest.approx((-100 * 50 / 18250, 100 * 50 / 18250))


def test_a_trend_that_only_noise_can_give_is_one_from_half_of_the_published_on():
    claims = {claim.claim: claim for claim in comparison.paper_claims()}
    learner, rule = (claims[f"Total delay of {method} falls as blocks may take longer"] for method in ("A3C", "RPDI"))
    assert learner.region == (-math.inf, learner.published_value() / 2)
    assert rule.region == comparison.NEGATIVE


def test_a_trend_is_the_change_along_a_fitted_line():
    """A line from 3 to 1 changes by -2 of its mean 2; 3, 1, 1, 3 has no slope; what stays changes by no rounding."""
    lines = {"falls": [3, 3 - 4 / 7, 1 + 4 / 7, 1], "turns": [3, 1, 1, 3], "stays": [0.1] * 4, "is not there": [0] * 4}
    frame = results(dict.fromkeys(lines, 1.0), xs=(1, 3, 6, 8), seeds=2)
    changes = {}
    for method, line in lines.items():
        frame.loc[frame["method"] == method, "total_delay_s"] = line * 2
        changes[method] = comparison.Trend("total_delay_s", method).per_seed(frame)[0].tolist()
    assert changes["falls"] == pytest.approx([-100, -100])
    assert changes["turns"] == pytest.approx([0, 0], abs=1e-9)
    assert changes["stays"] == changes["is not there"] == [0, 0]


def test_a_ratio_of_means_is_defined_where_one_seed_has_nothing():
    frame = results({PROPOSED: 1.0, "A3C": 2.0}, xs=(2,), seeds=5)
    frame["local_delay_s"] = [1, 2, 0, 0, 3, 6, 2, 4, 4, 8]  # Proposed, A3C, Proposed, ...
    told, reason = comparison.Reduction("local_delay_s", ("A3C",), averaging="ratio of means").per_seed(frame)
    assert (told.mean(), reason) == (pytest.approx(100 * (1 - 10 / 20)), "")
    assert np.isnan(comparison.Reduction("local_delay_s", ("A3C",)).per_seed(frame)[0]).any()


def test_the_spread_of_a_ratio_of_means_is_that_of_its_resamples():
    frame = results({PROPOSED: 1.0, "A3C": 1.2}, xs=(2, 4), seeds=200, noise=0.3)
    told, _ = comparison.Reduction("total_delay_s", ("A3C",), averaging="ratio of means").per_seed(frame)
    wide = frame.pivot_table(index="seed", columns="method", values="total_delay_s").to_numpy()
    drawn = wide[np.random.default_rng(1).integers(0, 200, (4000, 200))].mean(axis=1)
    ours = wide.mean(axis=0)
    columns = list(frame.pivot_table(index="seed", columns="method", values="total_delay_s").columns)
    own, other = columns.index(PROPOSED), columns.index("A3C")
    assert told.mean() == pytest.approx(100 * (1 - ours[own] / ours[other]))
    resampled = 100 * (1 - drawn[:, own] / drawn[:, other])
    assert told.std(ddof=1) / 200**0.5 == pytest.approx(resampled.std(), rel=0.05)


def test_scenarios_are_judged_apart():
    bad = results({name: 6 - value for name, value in LEVEL.items()}, scenario="loaded")
    table = comparison.claims(pd.concat([results(LEVEL), bad]), "fig8")
    row = table.query("claim == 'Proposed has less total delay than RPDI'").set_index("scenario")["verdict"]
    assert dict(row) == {"as_printed": "reproduced", "loaded": "not reproduced"}


def test_an_unknown_notebook_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match=r"notebook must be one of fig6, .*fig8.*; got 'fig99'"):
        comparison.claims(results(LEVEL), "fig99")
