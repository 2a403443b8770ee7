import math

import numpy as np
import pytest

from mecpart import comparison
from mecpart.comparison import NEGATIVE, POSITIVE


@pytest.mark.parametrize(
    ("low", "high", "region", "expected"),
    [
        (0.1, 2.0, POSITIVE, "reproduced"),
        (-2.0, -0.1, POSITIVE, "not reproduced"),
        (-0.1, 2.0, POSITIVE, "undecided"),
        (0.0, 0.0, POSITIVE, "not reproduced"),  # exactly equal is not lower
        (-2.0, -0.1, NEGATIVE, "reproduced"),
        (3.0, 9.0, (2.5, 10.0), "reproduced"),
        (11.0, 12.0, (2.5, 10.0), "not reproduced"),
        (-3.0, 1.0, (2.5, 10.0), "not reproduced"),
        (2.0, 6.0, (2.5, 10.0), "undecided"),
        (math.nan, math.nan, POSITIVE, "undecided"),
    ],
)
def test_verdict_follows_from_the_interval(low, high, region, expected):
    found = comparison.Estimate((low + high) / 2, low, high, 10, 0.1)
    assert comparison.verdict(found, region) == expected


@pytest.mark.parametrize("seeds", [1, 2, 3, 4])
def test_fewer_than_five_seeds_decide_nothing(seeds):
    assert comparison.verdict(comparison.estimate(np.full(seeds, 5.0)), POSITIVE) == "undecided"


def test_a_percentage_is_held_to_its_sign_and_a_factor_of_two():
    assert comparison.about(5) == (2.5, 10)
    assert comparison.about(-5) == (-10, -2.5)
