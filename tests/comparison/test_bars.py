import pandas as pd
from made_up import LEVEL, results

from mecpart import comparison
from mecpart.comparison import BARS
from mecpart.methods.register import METHODS


def test_says_which_learners_do_not_pass():
    """Levels of 1, 1.25 and 2 against 1.1, whatever the seed and x: 100 (level - 1.1) / level % less."""
    told = comparison.bars(results(LEVEL | {"Earliest finish": 1.1}))
    (sentence,) = told
    for part in (
        "Earliest finish, which learns nothing, takes 10.00 % more (95 % interval 10.00 to 10.00) than Proposed, ",
        "12.00 % less (95 % interval 12.00 to 12.00) than A3C and 45.00 % less",
        "than Distributed DQN in total delay: it beats A3C and Distributed DQN; it is beaten by Proposed.",
    ):
        assert part in sentence


def test_few_seeds_and_noise_decide_nothing():
    few = comparison.bars(results(LEVEL | {"Best constant plan": 0.5}, seeds=4))
    assert few[0].endswith("undecided against Proposed, A3C and Distributed DQN.")
    noisy = comparison.bars(results({"Proposed": 1.0, "Earliest finish": 1.0}, noise=0.3))
    assert noisy[0].endswith(": undecided against Proposed.")


def test_pools_the_figures_of_a_scenario():
    one = results({"A3C": 1.0, "Earliest finish": 0.9})
    other = results({"A3C": 1.0, "Earliest finish": 0.7}, figure="fig9")
    loaded = results({"A3C": 1.0, "Earliest finish": 2.0}, scenario="loaded")
    told = comparison.bars(pd.concat([one, other, loaded, one.assign(figure="fig13")]))
    assert ["20.00 % less" in told[0], "100 % more" in told[1], len(told)] == [True, True, 2]


def test_silent_where_there_is_no_learner_or_no_bar():
    assert comparison.bars(results({"Greedy": 1.0, "Earliest finish": 0.5})) == []
    assert comparison.bars(results(LEVEL)) == []
    assert comparison.bars(results(LEVEL | {"Earliest finish": 1.0}, figure="fig6")) == []


def test_the_bars_are_methods_of_every_scenario_that_do_not_learn():
    assert all(not METHODS[bar].learns and METHODS[bar].scenarios == METHODS["Greedy"].scenarios for bar in BARS)


def test_they_stand_among_the_findings_and_in_the_report():
    frame = results(LEVEL | {"Earliest finish": 1.1})
    told = comparison.findings(frame, comparison.headline_table(frame), comparison.claims(frame))
    assert set(comparison.bars(frame)) < set(told)


def test_says_who_keeps_up_where_it_is_a_question():
    """Gaps of 0 and 25 % whatever the network; A3C keeps up on the first two of six in each of three settings."""
    frame = results({"Proposed": 1.0, "A3C": 1.25, "Greedy": 1.0}, scenario="loaded")
    frame["gap_percent"] = 100 * (frame["total_delay_s"] / frame["optimal_total_delay_s"] - 1)
    frame["keeps_up"] = ((frame["method"] != "A3C") | (frame["seed"] < 2)).astype(float)
    (sentence,) = comparison.kept_up(pd.concat([frame, results(LEVEL)]))
    assert sentence == (
        "Keeping up with what arrives, over all settings and 6 networks: Proposed in 18 of 18 runs (its median 0 % "
        "above the bound) and A3C in 6 of 18 runs (its median 25 % above the bound)."
    )
    assert comparison.kept_up(results(LEVEL)) == comparison.kept_up(frame.assign(keeps_up=float("nan"))) == []
