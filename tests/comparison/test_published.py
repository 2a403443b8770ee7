import pandas as pd
import pytest
from made_up import METHODS

from mecpart import comparison
from mecpart.comparison import DELAYS, PROPOSED
from mecpart.experiments.runner import COLUMNS
from mecpart.locations import data_folder


def test_values_and_columns_are_those_of_the_file():
    table = comparison.published("fig8")
    row = table[(table["method"] == PROPOSED) & (table["x"] == 6)].iloc[0]
    assert (row["total_delay_s"], row["edge_delay_s"], row["local_delay_s"]) == (15800, 10465, 5335)
    assert len(table) == 48
    shared = [column for column in table.columns if column in COLUMNS]
    assert shared == [column for column in COLUMNS if column in table.columns]
    assert set(table.columns) - set(COLUMNS) == {"setting", "note"}


def test_every_published_number_is_found_once():
    curves = pd.read_csv(data_folder() / "published" / "curves.csv", dtype={"figure": str})
    for figure, panel in curves.groupby("figure"):
        table = comparison.published(f"fig{figure}")
        numbers = table[[column for column in (*DELAYS, "energy_j") if column in table]].to_numpy().ravel()
        assert sorted(numbers) == sorted(panel["value"])


def test_energy_is_in_joules_and_delay_in_seconds():
    assert "energy_j" in comparison.published("fig11a")
    assert "total_delay_s" not in comparison.published("fig11a")
    assert set(comparison.published("fig11")["x_name"]) == {"num_servers", "num_blocks", "release_rate"}


def test_a_clipped_point_says_so():
    notes = comparison.published("fig11c").set_index(["method", "x"])["note"]
    assert "clipped" in notes[PROPOSED, 50]
    assert notes[PROPOSED, 60] == ""


def test_convergence_levels_are_rewards_at_the_last_episode():
    table = comparison.published("fig6").set_index("method")
    assert set(table.index) == set(METHODS)
    assert table.loc["A3C", "reward"] == -18490
    assert set(table["x"]) == {3000}
    assert set(comparison.published("fig7b")["setting"]) == {f"workers={count}" for count in (2, 4, 6, 8)}


def test_the_four_networks_of_fig13_are_told_apart():
    table = comparison.published("fig13")
    assert set(table["setting"]) == {"dnn=AlexNet", "dnn=NiN", "dnn=ResNet32", "dnn=VGG16"}
    assert len(table) == 20


@pytest.mark.parametrize("figure", ["fig5", "8", "fig6a", ""])
def test_an_unknown_figure_is_answered_with_those_there_are(figure):
    with pytest.raises(ValueError, match=r"figure must be one of 'fig6', .*'fig8', .*got"):
        comparison.published(figure)


def test_reductions_are_those_of_the_file():
    table = comparison.published_reductions()
    assert list(table.query("where == 'abstract'")["reduction_percent"]) == [4.76, 10.04, 8.03]
    assert set(table["metric"]) == set(DELAYS)
