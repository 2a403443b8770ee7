import math

import numpy as np
import pytest
from scipy import stats

from mecpart import comparison

VALUES = np.random.default_rng(3).normal(10, 2, size=9)


@pytest.mark.parametrize(
    ("statistic", "function"),
    [("mean", np.mean), ("iqm", lambda x, axis: stats.trim_mean(x, 0.25, axis=axis))],
)
def test_interval_is_scipys_percentile_bootstrap_at_the_expanded_level(statistic, function):
    theirs = stats.bootstrap(
        (VALUES,),
        function,
        n_resamples=10_000,
        confidence_level=comparison.expanded_level(9),
        method="percentile",
        rng=np.random.default_rng(2024),
    ).confidence_interval
    low, high = comparison.bootstrap_interval(VALUES, statistic)
    assert (float(low), float(high)) == pytest.approx((theirs.low, theirs.high), rel=1e-12)


def test_expanded_level_gives_the_width_of_students_t():
    level = comparison.expanded_level(10)
    half_width_in_plugin_errors = stats.norm.ppf((1 + level) / 2) * math.sqrt(9 / 10)
    assert half_width_in_plugin_errors == pytest.approx(2.2622, abs=1e-4)  # t_{0.975, 9} in any table
    assert comparison.expanded_level(100_000) == pytest.approx(0.95, abs=1e-4)


@pytest.mark.parametrize(("seeds", "at_least"), [(5, 0.89), (10, 0.93)])
def test_interval_covers_the_true_mean(seeds, at_least):
    samples = np.random.default_rng(11).normal(size=(seeds, 800))
    low, high = comparison.bootstrap_interval(samples)
    assert at_least < np.mean((low < 0) & (high > 0)) < 0.97


def test_columns_share_their_resamples():
    sample = np.random.default_rng(5).normal(size=8)
    low, high = comparison.bootstrap_interval(np.stack([sample, 1 + sample], axis=1))
    assert np.diff(low) == pytest.approx(1, abs=1e-12)
    assert np.diff(high) == pytest.approx(1, abs=1e-12)


def test_interquartile_mean_is_the_mean_of_the_middle_half():
    assert comparison.interquartile_mean(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == pytest.approx(3.5)


def test_one_seed_has_no_interval():
    found = comparison.estimate(np.array([3.0]))
    assert found.value == 3
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.detectable)


def test_an_undefined_seed_makes_the_mean_undefined_and_says_why():
    found = comparison.estimate(np.array([1.0, math.nan, 2.0]), "nothing ran there")
    assert math.isnan(found.value)
    assert found.reason == "nothing ran there"


def test_detectable_difference_by_hand():
    # n = 5: t_{0.975, 4} = 2.776445, t_{0.8, 4} = 0.940965; differences 1..5 have s = 1.581139
    found = comparison.detectable_difference(np.array([1.0, 2, 3, 4, 5]))
    assert found == pytest.approx((2.776445 + 0.940965) * 1.5811388 / math.sqrt(5), rel=1e-6)


def test_detectable_difference_is_detected_four_times_in_five():
    draw = np.random.default_rng(9)
    spread = draw.normal(size=(20, 4000))
    effect = float(comparison.detectable_difference(spread[:, :1] / spread[:, :1].std(ddof=1))[0])
    detected = stats.ttest_1samp(spread + effect, 0).pvalue < 0.05
    assert detected.mean() == pytest.approx(0.80, abs=0.03)


def test_concordance_is_kendalls_tau():
    draw = np.random.default_rng(2)
    reference, values = draw.permutation(8).astype(float), draw.normal(size=(5, 8))
    taus = [stats.kendalltau(reference, row).statistic for row in values]
    assert comparison.concordance(reference, values) == pytest.approx(taus)


def test_unknown_statistic_is_refused():
    with pytest.raises(ValueError, match="statistic must be mean or iqm; got 'median'"):
        comparison.bootstrap_interval(np.ones(3), "median")


def test_students_interval_is_scipys():
    theirs = stats.ttest_1samp(VALUES, 0).confidence_interval(0.99)
    assert comparison.student_interval(VALUES, 0.01) == pytest.approx((theirs.low, theirs.high), rel=1e-12)


@pytest.mark.parametrize(("border", "region"), [(8, (8, math.inf)), (11, (-math.inf, 11)), (11, (11, 22)), (5, (1, 5))])
def test_the_least_level_at_one_border_is_that_of_the_t_test(border, region):
    assert comparison.least_level(VALUES, region) == pytest.approx(stats.ttest_1samp(VALUES, border).pvalue)


def test_the_least_level_of_equivalence_is_that_of_two_one_sided_tests():
    near = VALUES - 9.7
    sides = (
        stats.ttest_1samp(near, -3, alternative="greater").pvalue,
        stats.ttest_1samp(near, 3, alternative="less").pvalue,
    )
    assert comparison.least_level(near, (-3, 3)) == pytest.approx(2 * max(sides))


def test_at_the_least_level_the_interval_just_reaches_the_border():
    for region in ((8, math.inf), (-math.inf, 11), (7, 12)):
        ends = comparison.student_interval(VALUES, comparison.least_level(VALUES, region))
        assert min(abs(end - border) for end in ends for border in region) == pytest.approx(0, abs=1e-9)


def test_what_does_not_vary_is_decided_at_any_level_or_none():
    assert comparison.least_level(np.full(5, 2.0), (0, math.inf)) == 0
    assert comparison.least_level(np.zeros(5), (0, math.inf)) == 1


def test_holms_levels_by_hand():
    """Of four tests .005 and .01 reach 5 %/4 and 5 %/3; .03 misses 5 %/2, to which .04 is held too."""
    levels = comparison.holm_levels([0.03, 0.005, 0.04, 0.01])
    assert levels == pytest.approx([0.05 / 2, 0.05 / 4, 0.05 / 2, 0.05 / 3])
    assert comparison.holm_levels([0.04, 0.001]) == pytest.approx([0.05, 0.025])  # all are decided
    assert comparison.holm_levels([0.04]) == pytest.approx([0.05])
    assert len(comparison.holm_levels([])) == 0
