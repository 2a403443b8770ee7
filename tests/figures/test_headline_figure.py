import pandas as pd
import pytest
from pictures import PAPER, sweep

from mecpart import comparison, figures


def test_points_are_the_reductions():
    ours, theirs = (comparison.headline_table(frame) for frame in (sweep(), PAPER))
    figure = figures.plot_headline(ours, theirs)
    drawn_at = {round(float(line.get_xdata()[0]), 6) for line in figure.axes[0].get_lines()}
    expected = pd.concat([ours, theirs]).query("metric == 'total_delay_s'")["reduction_percent"]
    assert {round(value, 6) for value in expected} <= drawn_at
    assert 4.76 in drawn_at


def test_undefined_reductions_are_marked():
    frame = sweep()
    frame.loc[frame["method"] == "A3C", "local_delay_s"] = 0.0
    figure = figures.plot_headline(comparison.headline_table(frame), comparison.headline_table(PAPER))
    said = [text.get_text() for text in figure.axes[2].texts]
    undefined = comparison.headline_table(frame)["reduction_percent"].isna().sum()
    assert said == ["undefined"] * undefined
    assert undefined > 0


def test_reductions_far_off_scale_are_written_out():
    frame = sweep()
    frame.loc[frame["method"] == "A3C", "local_delay_s"] = 1e-3
    panel = figures.plot_headline(comparison.headline_table(frame), comparison.headline_table(PAPER)).axes[2]
    assert panel.get_xlim()[0] > -200
    assert any(text.get_text().startswith("\N{LEFTWARDS ARROW} \N{MINUS SIGN}") for text in panel.texts)


def test_one_scenario_at_a_time():
    table = comparison.headline_table(sweep())
    with pytest.raises(ValueError, match="one scenario; got as_printed, loaded"):
        figures.plot_headline(pd.concat([table, table.assign(scenario="loaded")]), table)
