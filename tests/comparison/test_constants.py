import numpy as np
import pandas as pd
from made_up import LEVEL, results

from mecpart import comparison
from mecpart.comparison import PROPOSED

FACT = "Proposed has less total delay than A3C"


def worlds(*levels: tuple[str, dict[str, float]]) -> pd.DataFrame:
    """Results of the experiment `sensitivity`: a level of each method in each world."""
    frames = [
        results(level, xs=(4,), noise=0.01, figure="sensitivity").assign(setting=world) for world, level in levels
    ]
    return comparison.facts_in_worlds(pd.concat(frames))


BETTER, SAME, WORSE = (LEVEL | {"A3C": value} for value in (1.25, 1.0, 0.75))


def judged(level: dict[str, float], table: pd.DataFrame) -> pd.Series:
    facts = comparison.depending(comparison.facts(results(level, noise=0.01)), table)
    return facts.set_index("fact").loc[FACT]


def test_facts_of_one_setting_are_judged_in_every_world_at_holms_levels():
    table = worlds(("ledger", BETTER), ("num_devices=5", WORSE), ("num_devices=20", SAME))
    here = table.query("fact == @FACT").set_index("world")
    assert dict(here["verdict"]) == {
        "ledger": "reproduced", "num_devices=5": "not reproduced", "num_devices=20": "undecided",
    }  # fmt: skip
    assert sorted(here["level"].round(4)) == [0.0167, 0.025, 0.05]
    facts = set(table["fact"])
    assert not any("falls" in fact or "text" in fact or "reward" in fact for fact in facts)  # not of one setting
    assert "Total delay of Proposed is 4.76 % below the learned baselines' on average" in facts


def test_a_fact_that_another_value_turns_round_depends_on_that_constant():
    row = judged(BETTER, worlds(("ledger", BETTER), ("num_devices=5", WORSE), ("num_devices=20", SAME)))
    assert row["verdict"] == "depends on an unstated constant"
    assert row["reason"] == "reproduced with the ledger's values; not reproduced with num devices 5"


def test_undecided_worlds_turn_nothing_round():
    row = judged(BETTER, worlds(("ledger", BETTER), ("num_devices=5", SAME), ("num_devices=20", BETTER)))
    assert row["verdict"] == "reproduced"


def test_the_ledgers_world_goes_before_the_figures():
    """Where setting, and not constant, makes the difference, no constant is named."""
    table = worlds(("ledger", WORSE), ("num_devices=5", WORSE))
    assert judged(BETTER, table)["verdict"] == "reproduced"


def test_a_fact_that_is_decided_both_ways_by_other_values_alone_depends_on_both():
    row = judged(SAME, worlds(("ledger", SAME), ("num_devices=5", WORSE), ("num_devices=20", BETTER)))
    assert row["reason"] == "reproduced with num devices 20; not reproduced with num devices 5"


def test_what_is_undefined_in_a_world_is_left_out_there():
    frame = results(LEVEL, xs=(4,), noise=0.01, figure="sensitivity")
    none = frame.assign(setting="num_devices=5", local_delay_s=0.0)
    table = comparison.facts_in_worlds(pd.concat([frame.assign(setting="ledger"), none]))
    local = table[table["fact"] == "Proposed has less local delay than A3C and Distributed DQN"]
    assert list(local["world"]) == ["ledger"]
    assert np.isfinite(table[["measured", "low", "high"]]).all(axis=None)
    assert PROPOSED in set(frame["method"])
