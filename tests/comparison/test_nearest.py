"""The nearest world: that a fit finds what the curves were made with, and what its residuals mean."""

import jax
import numpy as np
import pytest

import mecpart
from mecpart.comparison import nearest
from mecpart.comparison.nearest import Curves, as_change, fit, residuals

CONSTANTS = {"device_frequency": 5e8, "num_devices": 8.0, "server_speed": 3e9, "spread": 3.0, "wired_rate": 5e6}


@pytest.fixture(scope="module")
def curves():
    """Of the figures that need one program only, on few slots."""
    return Curves("as_printed", figures=("fig10", "fig12"), networks=2, slots=16)


def test_a_fit_recovers_the_constants(curves):
    """As far as they are in the curves: with one factor for each figure, how fast devices are to servers on average."""

    def devices_to_servers(constants):
        mean = constants["server_speed"] * (1 + constants["spread"]) / 2
        return constants["num_devices"] * constants["device_frequency"] / mean

    found, residual = fit(curves, curves(CONSTANTS), generations=100)
    assert residual < 1e-3
    assert devices_to_servers(found) == pytest.approx(devices_to_servers(CONSTANTS), rel=0.05)


def test_a_fit_goes_on_where_it_was(curves, tmp_path, capsys):
    kept, told = tmp_path / "fit" / "kept.npz", curves(CONSTANTS)
    _, before = fit(curves, told, generations=4, kept=kept)
    _, after = fit(curves, told, generations=8, kept=kept)
    assert after <= before
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"{n} of 4" for n in (1, 2, 3, 4)] + [
        f"{n} of 8" for n in (5, 6, 7, 8)
    ]
    with pytest.raises(ValueError, match="generations must be a whole number of at least 1; got 0"):
        fit(curves, told, generations=0)


def test_the_curves_are_those_of_experiments(curves):
    """Local delay of APDI on the same networks, by the package's own road to a cost: it has no channel in it."""
    different = as_change(CONSTANTS)
    setting = different.to(mecpart.Setting(release_rate=60.0))
    model = np.exp(curves(CONSTANTS)["fig10"])[nearest.RULES.index("APDI"), 3]
    local = []
    for seed in range(2):
        scenario = setting.build("as_printed", seed)
        slot = mecpart.sample_slot(jax.random.key(seed), scenario)
        local.append(mecpart.evaluate_plan(scenario, slot, mecpart.POLICIES["APDI"](scenario, slot)).local_delay)
    assert model[2] == pytest.approx(mecpart.LEDGER.default("num_slots") * np.mean(local), rel=1e-3)


def published_results(change=lambda table: table):
    table = mecpart.published("fig8")
    return change(table[table["method"].isin(nearest.RULES)].assign(seed=0, scenario="as_printed"))


def test_a_factor_is_no_residual():
    found = residuals(published_results(lambda table: table.assign(**{m: 3 * table[m] for m in nearest.DELAYS})))
    assert list(found["figure"]) == ["fig8", "all"]
    assert found["factor"][0] == pytest.approx(3)
    assert found["residual_percent"].to_numpy() == pytest.approx(0, abs=1e-9)
    assert found["explained_percent"].to_numpy() == pytest.approx(100)


def test_flat_curves_explain_nothing():
    def flat(table):
        means = {metric: np.exp(np.log(table[metric]).mean()) for metric in nearest.DELAYS}
        return table.assign(**means)

    found = residuals(published_results(flat)).iloc[0]
    assert found["residual_percent"] == pytest.approx(found["flat_percent"])
    assert found["explained_percent"] == pytest.approx(0, abs=1e-9)
    assert found["along_x_explained_percent"] == pytest.approx(0, abs=1e-9)


def test_along_x_every_curve_has_a_factor():
    """One method at double its delays is off, but rises and falls as published."""

    def doubled(table):
        twice = table["method"].eq("APDI") + 1
        return table.assign(**{metric: twice * table[metric] for metric in nearest.DELAYS})

    found = residuals(published_results(doubled)).iloc[0]
    # A third of the curves is off by log 2: after the best factor, two thirds of it, and the others a third.
    assert found["residual_percent"] == pytest.approx(100 * np.log(2) * np.sqrt((4 / 9 + 1 / 9 + 1 / 9) / 3))
    assert (found["along_x_percent"], found["along_x_explained_percent"]) == pytest.approx((0, 100), abs=1e-9)


def test_no_delay_at_all_is_far_off_and_no_more():
    found = residuals(published_results(lambda table: table.assign(local_delay_s=0.0))).iloc[0]
    assert 100 < found["local_delay_percent"] <= 100 * nearest.FURTHEST


def test_a_change_has_four_digits_and_a_range_of_speeds():
    found = as_change(CONSTANTS | {"server_speed": 1.23456e9, "slot_seconds": 3.14159})
    assert dict(found.network)["server_speed_range"] == (1.235e9, 3.705e9)
    assert dict(found.scenario) == {"slot_seconds": 3.142}
