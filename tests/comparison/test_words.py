import math

import pytest
from made_up import LEVEL, results

from mecpart import comparison
from mecpart.comparison import DELAYS, words
from mecpart.experiments.catalogue import EXPERIMENTS


@pytest.mark.parametrize(
    ("x_name", "xs", "expected"),
    [
        ("num_servers", [2.0, 3.0], "with 2 or 3 edge servers"),
        ("num_servers", [1], "with 1 edge server"),
        ("num_blocks", [3, 6, 9], "with 3, 6 or 9 blocks"),
        ("release_rate", [60.0], "at 60 tasks per slot"),
        ("deadline", [0.5], "at a tolerated delay of 0.5 s"),
        ("link_capacity", [2], "at a link capacity of 2 Mbit/s"),
        ("network", ["vgg16", "mine"], "for vgg16 or mine"),
        ("episode", [3000], "at episode 3000"),
    ],
)
def test_settings(x_name, xs, expected):
    assert words.setting_words(x_name, xs) == expected


def test_every_axis_and_delay_of_an_experiment_has_words():
    swept = {experiment.x_name for experiment in EXPERIMENTS.values()}
    assert all("_" not in words.setting_words(name, [2]) for name in swept)
    assert set(DELAYS) <= set(words.METRIC_WORDS)


@pytest.mark.parametrize(
    ("figure", "name", "expected"),
    [
        ("fig13", "dnn=NiN", "NiN"),
        ("fig7a", "lr=0.01 lr_v=0.001", "learning rates 0.01 and 0.001"),
        ("fig7b", "workers=8", "8 workers"),
        ("fig7c", "batch=64", "batches of 64"),
        ("sensitivity", "energy_budget=1000", "energy budget 1000"),
        ("fig8", "Drift-plus-penalty", "Drift-plus-penalty"),
        ("nobody's", "weight=2", "weight=2"),
    ],
)
def test_curves(figure, name, expected):
    assert words.curve_words(name, figure) == expected


def test_figures():
    assert words.figure_words(["fig8"]) == "Fig. 8"
    assert words.figure_words(["fig8", "fig9", "fig11b"]) == "Figs. 8, 9 and 11b"
    assert words.figure_words(["fig8", "mine"]) == "Fig. 8 and mine"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((-0.2, -0.39, -0.05), "0.20 % more (95 % interval 0.05 to 0.39)"),
        ((0.96, 0.75, 1.24), "0.96 % less (95 % interval 0.75 to 1.24)"),
        ((6, -2, 20), "6.00 % less (95 % interval 2.00 more to 20.00 less)"),
        ((4.8, math.nan, math.nan), "4.80 % less (one seed, so no interval)"),
    ],
)
def test_reductions(given, expected):
    assert words.comparison_words(*given) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0, "0"), (25.04, "25"), (0.28449, "0.284"), (-1463.0, "-1460"), (1.03e6, "1030000")]
)
def test_three_digits_are_no_exponent(value, expected):
    assert words.three_digits(value) == expected


def test_no_sentence_of_the_claims_has_the_name_of_a_column():
    frame = results(LEVEL)
    frame.loc[frame["method"] == "A3C", ["edge_delay_s", "local_delay_s"]] = 0.0
    table = comparison.claims(frame)
    for column in ("claim", "test", "reason"):
        assert not table[column].str.contains(r"\w_\w|\bfig\d|=\s?\w+\s\w+=|dnn=|x = ").any(), column
