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
    assert row["measured"] == pytest.approx((100 * (wide["A3C"] - wide[PROPOSED]) / wide["A3C"]).mean())
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
    assert row["verdict"] == "undecided"
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
    row = table.loc["Total delay of Proposed is 4.76 % below that of the learned baselines on average"]
    assert row["measured"] == pytest.approx(np.mean([20, 50, 50, 50]))


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


def test_the_same_is_within_one_percent():
    for gap, said in ((0.9, "reproduced"), (1.1, "not reproduced")):
        measured = comparison.estimate(np.full(6, gap) + np.linspace(-0.05, 0.05, 6))
        assert comparison.verdict(measured, comparison.SAME) == said


def test_scenarios_are_judged_apart():
    bad = results({name: 6 - value for name, value in LEVEL.items()}, scenario="loaded")
    table = comparison.claims(pd.concat([results(LEVEL), bad]), "fig8")
    row = table.query("claim == 'Proposed has less total delay than RPDI'").set_index("scenario")["verdict"]
    assert dict(row) == {"as_printed": "reproduced", "loaded": "not reproduced"}


def test_an_unknown_notebook_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match=r"notebook must be one of fig6, .*fig8.*; got 'fig99'"):
        comparison.claims(results(LEVEL), "fig99")
