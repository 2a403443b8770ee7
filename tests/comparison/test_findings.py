import pandas as pd
from made_up import LEVEL, headline_row, results

from mecpart import comparison
from mecpart.comparison import BASELINES, DELAY_FIGURES, PROPOSED


def sentences(frame: pd.DataFrame) -> str:
    return "\n".join(comparison.findings(frame, comparison.headline_table(frame), comparison.claims(frame)))


def test_sentences_carry_the_computed_numbers():
    text = sentences(results(LEVEL | {PROPOSED: 1.1}))
    assert "a factor of 4.55 apart (highest: RPDI), in the paper a factor of 1.09" in text
    assert "Proposed is 10.00 % above the exact optimum" in text
    assert "Proposed 25.0 % (paper 34.2 %)" in text
    percent = (100 * 0.15 / 1.25 + 100 * 0.9 / 2) / 2
    assert f"Here the mean of ratios is {percent:.2f} % (95 % interval" in text


def test_the_first_sentence_answers():
    level = {name: 3.0 for name in BASELINES} | {PROPOSED: 1.02, "A3C": 1.01, "Distributed DQN": 1.04}
    frame = results(level)
    first, second, *_ = sentences(frame).splitlines()
    assert first == (
        "The paper says that its method, Proposed, has 4.76 % less total delay than the state of the art; by its "
        "equations as printed, it has 0.99 % more (95 % interval 0.99 to 0.99) than A3C and 1.92 % less (95 % "
        "interval 1.92 to 1.92) than Distributed DQN, because A3C and Distributed DQN are so close to the best "
        "possible that no method could have had more than 0.99 % and 3.85 % less."
    )
    assert second == (
        "That it has less total delay than the state of the art is not reproduced against A3C, reproduced against "
        "Distributed DQN and not reproduced against the better of the two in each setting, where it has 0.99 % "
        "more (95 % interval 0.99 to 0.99); that it is less by about 4.76 % is reproduced against none of them."
    )


def test_room_that_was_there_is_no_reason():
    first, *_ = sentences(results(LEVEL | {PROPOSED: 1.1})).splitlines()
    assert "because" not in first
    assert first.endswith("; at most 20.00 % and 50.00 % less was possible.")


def test_facts_are_counted_by_verdict():
    facts = pd.DataFrame({"fact": list("abcde"), "scenario": "loaded", "verdict": ["cannot hold", *["reproduced"] * 4]})
    assert comparison.counted(facts, 5) == (
        "In `loaded`, of 5 facts that the paper's sentences come down to: 4 reproduced, 0 not reproduced, 1 "
        "cannot hold and 0 undecided (5 seeds)."
    )
    claims = facts.rename(columns={"fact": "claim"})
    assert comparison.counted(claims, 5).startswith("In `loaded`, of 5 claims: 4 reproduced")


def test_an_unattainable_headline_is_said_so():
    near = {name: 1.01 for name in BASELINES} | {PROPOSED: 1.0}
    assert "no method could have reached the stated value" in sentences(results(near))
    assert "no method could have reached" not in sentences(results(LEVEL))


def test_an_undefined_average_is_said_so_and_the_other_given():
    frame = results(LEVEL)
    frame.loc[(frame["method"] == "A3C") & (frame["x"] == 2), "edge_delay_s"] = 0.0
    text = sentences(frame)
    assert "mean of ratios is undefined (the edge delay of A3C is 0 with 2 edge servers (Fig. 8" in text
    means = headline_row(comparison.headline_table(frame), "learned", "ratio of means", "edge_delay_s")
    assert f"the ratio of means {means['reduction_percent']:.2f} %" in text


def test_too_few_seeds_are_said_so():
    assert "No verdict is given on fewer than 5 seeds." in sentences(results(LEVEL, seeds=3))


def test_delay_figures_of_the_paper_are_published():
    assert all(len(comparison.published(figure)) for figure in DELAY_FIGURES)
