import pandas as pd
import pytest
from made_up import LEVEL, results

from mecpart import comparison


def test_block_holds_each_value_where_it_belongs():
    frame = results(LEVEL, seeds=2).sample(frac=1, random_state=1)
    block = comparison.as_curves(frame, "total_delay_s")
    assert block.values.shape == (2, 6, 3)
    assert block.of("A3C")[1, 2] == pytest.approx(1000 * 1.1 * 0.7 * 1.25)


def test_unbalanced_results_are_refused():
    frame = results(LEVEL, seeds=2)
    with pytest.raises(ValueError, match=r"every seed for every method and x; missing: seed 0, Proposed, x = 2"):
        comparison.as_curves(frame.iloc[1:], "total_delay_s")
    with pytest.raises(ValueError, match=r"once; got seed 0, Proposed, x = 2 twice"):
        comparison.as_curves(pd.concat([frame, frame.iloc[:1]]), "total_delay_s")


def test_mixed_figures_and_missing_columns_are_refused():
    frame = results(LEVEL, seeds=2)
    with pytest.raises(ValueError, match=r"single figure; got fig8, fig9"):
        comparison.as_curves(pd.concat([frame, frame.assign(figure="fig9")]), "total_delay_s")
    with pytest.raises(ValueError, match="missing: speed"):
        comparison.as_curves(frame, "speed")
    with pytest.raises(ValueError, match=r"method must be one of .*got 'SARSA'"):
        comparison.as_curves(frame, "total_delay_s").of("SARSA")
