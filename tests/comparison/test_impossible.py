"""What cannot hold: the bounds by brute force over weights, the proofs by brute force over constants."""

from dataclasses import replace

import numpy as np
import pytest

import mecpart
from mecpart.comparison import brute_force, impossible, paper_claims
from mecpart.comparison.impossible import chance, invariants, least_error, why_impossible

INVARIANTS = {f"{one.figure} {one.curves} {one.says}": one for one in invariants()}


def test_one_column_has_the_closed_form():
    """1.36 published, 3.33 needed: of c / (N + 1) the best c is off by (3.33 / 1.36 - 1) / (3.33 / 1.36 + 1)."""
    values = np.array([6360.0, 4680.0])
    off = (10 / 3) / (6360 / 4680)
    assert least_error(np.array([[1 / 3], [1 / 10]]), values) == pytest.approx((off - 1) / (off + 1))


def test_no_weights_do_better_than_the_least_error():
    draw = np.random.default_rng(0)
    columns, values = draw.uniform(0, 1, (6, 2)), draw.uniform(1, 2, 6)
    weights = np.stack(np.meshgrid(*[np.linspace(0, 6, 1201)] * 2), -1).reshape(-1, 2)
    tried = np.abs(weights @ columns.T / values - 1).max(axis=1)
    assert least_error(columns, values) == pytest.approx(tried.min(), abs=5e-3)
    assert least_error(columns, values) <= tried.min()
    assert least_error(columns, columns @ [2.0, 3.0]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("generators", "values"), [([[1.0]], [0.0]), ([[-1.0]], [1.0]), ([[1.0]], [1.0, 2.0])])
def test_bad_series_are_refused(generators, values):
    with pytest.raises(ValueError, match=r"(values|generators) must be"):
        least_error(np.array(generators), np.array(values))


@pytest.mark.slow
@pytest.mark.parametrize("invariant", INVARIANTS.values(), ids=INVARIANTS)
def test_random_constants_obey(invariant):
    assert max(brute_force.violation(invariant, seed) for seed in range(2)) < 1e-6


def test_random_constants_do_not_obey_what_is_not_so():
    local_with_servers, rate = invariants()[0], INVARIANTS[next(name for name in INVARIANTS if "fig10" in name)]
    constant = replace(local_with_servers, generators=lambda xs: np.ones((len(xs), 1)), xs=(2, 4))
    assert brute_force.violation(constant, 0) == pytest.approx((5 / 3 - 1) / (5 / 3 + 1), rel=1e-4)
    many_devices = replace(rate, curves=("APDI",), most_devices=200)
    assert max(brute_force.violation(many_devices, seed) for seed in range(4)) > 0.01


def test_the_published_curves_are_further_away_than_any_rounding():
    """Ratios by hand from the file; 0.6 % is what reading a curve to the nearest 100 s may be off by at most."""
    table = impossible.cannot_hold()
    assert (table["least_error_percent"] > 2).all()
    local = table.query("figure == 'fig8' and curve == 'RPDI'").iloc[0]
    assert local["published_ratio"] == pytest.approx(4680 / 6360)
    assert (local["allowed_low"], local["allowed_high"]) == pytest.approx((0.3, 0.3))
    total = table.query("figure == 'fig9' and metric == 'total_delay_s'").iloc[0]
    assert total["least_error_percent"] == pytest.approx(100 * (23399 - 7900) / (23399 + 7900))


def test_the_claims_that_cannot_hold():
    found = {claim.claim for claim in paper_claims() if why_impossible(claim)}
    assert "Total delay of RPDI falls as the network is cut into more blocks" in found
    assert "Total delay of Greedy falls as blocks may take longer" in found
    assert {"VGG16 has less total delay than ResNet32", "NiN has less total delay than AlexNet"} <= found
    assert "AlexNet has less total delay than VGG16" not in found
    assert "Total delay of Proposed falls as the network is cut into more blocks" not in found
    assert "Total delay of RPDI rises as more tasks are released" not in found
    queued = {claim.claim for claim in paper_claims() if why_impossible(claim, "loaded")}
    assert queued < found
    assert "Total delay of Greedy falls as blocks may take longer" in queued


def test_chance_is_above_what_is_drawn():
    """The bound holds for coins, of which the distribution is known: 40 slots with all work or none on the devices."""
    draw = np.random.default_rng(0)
    first, second = draw.binomial(40, 0.5, 200_000), draw.binomial(40, 0.25, 200_000)
    for ratio in (0.8, 1.2, 1.5):
        assert np.mean(first <= ratio * second) < chance(ratio, 0.5, 0.25, 40) <= 1
    with pytest.raises(ValueError, match="ratio must be above 0 and below first / second, 2; got 2"):
        chance(2.0, 0.5, 0.25, 40)


def test_the_longest_ratio_is_reached_and_never_passed():
    """A chain of twice the work and data takes at most twice as long; with less of each it is at most as long."""
    vgg16, resnet32 = mecpart.workload("vgg16", blocks=3), mecpart.workload("resnet32", blocks=3)
    double = replace(vgg16, macs=2 * vgg16.macs, input_bytes=2 * vgg16.input_bytes)
    assert brute_force.longest_ratio(double, vgg16) == pytest.approx(2)
    assert brute_force.longest_ratio(resnet32, vgg16) == pytest.approx(1)
    # All on the devices it is the ratio of all operations, and never more than that of the most unequal blocks.
    assert 313.72 / 69.12 < brute_force.longest_ratio(vgg16, resnet32) < np.max(vgg16.macs / resnet32.macs)
    with pytest.raises(ValueError, match="numerator must have as many blocks as denominator, 3; got 6"):
        brute_force.longest_ratio(mecpart.workload("vgg16", blocks=6), vgg16)
