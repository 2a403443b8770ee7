"""Worlds: what is different in them, and that everything is then run by it."""

import json

import pytest
from batches import RESULT, beside, notebook, result, statuses
from batches import run as batch

import mecpart
from mecpart.context import Context
from mecpart.experiments import worlds
from mecpart.experiments.experiment import Change
from mecpart.experiments.runner import usual_runs
from mecpart.experiments.worlds import check_world, keep_world, kept_worlds, world_folder, world_of
from mecpart.model.scenarios import SCENARIOS
from mecpart.report.site import write_report

FAST = Change(network={"server_speed_range": (1e12, 1e12), "device_frequency": 1e12, "wired_rate": 1e12})


@pytest.fixture
def fast_world(tmp_path, monkeypatch):
    """A file with one world, in which nothing takes long but the way to the servers."""
    monkeypatch.setattr(worlds, "data_folder", lambda: tmp_path)
    keep_world("fast", "as_printed", FAST, {"by": "hand"})
    return tmp_path / "worlds.json"


def run(**arguments):
    return mecpart.run_experiment("fig12", "smoke", seeds=1, methods=["APDI", "Local only"], processes=1, **arguments)


def test_the_file_of_the_package_holds_worlds_that_can_be():
    assert set(kept_worlds()["nearest"]) == set(SCENARIOS)  # its notebook is of all of them
    for name, kept in kept_worlds().items():
        for scenario in kept:
            world_of(name, scenario).to(mecpart.Setting()).check(scenario)
            assert kept[scenario]["made"]["by"].startswith("python -m ")


def test_constants_are_those_of_the_world(fast_world):
    assert world_of("fast", "as_printed").to(mecpart.Setting()) == FAST.to(mecpart.Setting())
    assert world_of("ledger", "loaded").to(mecpart.Setting()) == mecpart.Setting()
    usual, fast = run(), run(world="fast")
    assert list(usual.columns) == list(fast.columns)
    # Of computing on the devices all is proportional to 1 / frequency.
    local = [table.query("method == 'Local only'")["total_delay_s"].to_numpy() for table in (usual, fast)]
    ratio = 1e12 / mecpart.LEDGER.default("device_frequency")
    assert local[0] == pytest.approx(ratio * local[1], rel=1e-4)


def test_what_an_experiment_sweeps_wins_over_the_world(fast_world):
    settings = {one.setting for one in usual_runs("fig8", "quick", "as_printed", "fast")}
    assert {one.num_servers for one in settings} == set(range(2, 10))
    assert {dict(one.of_network)["device_frequency"] for one in settings} == {1e12}


def test_what_an_experiment_fixes_wins_over_the_world(fast_world, monkeypatch):
    """Constants of its own, and a network of its own."""
    own = {"of_network": {"device_frequency": 2e9}}, {"edge_network": mecpart.make_network([3e9])}
    for fixed in own:
        experiment = mecpart.Experiment("mine", "", "deadline", "", (1.0,), fixed=mecpart.Setting(**fixed))
        monkeypatch.setitem(mecpart.EXPERIMENTS, "mine", experiment)
        (setting,) = {one.setting for one in usual_runs("mine", "smoke", "as_printed", "fast")}
        assert dict(setting.of_network).get("device_frequency") == fixed.get("of_network", {}).get("device_frequency")


def test_the_kernels_of_a_batch_are_told(fast_world, monkeypatch):
    for name, value in Context(world="fast").variables().items():
        monkeypatch.setenv(name, value)
    assert run().equals(run(world="fast"))


def test_a_world_is_written_beside_the_others(fast_world):
    keep_world("fast", "loaded", Change(scenario={"slot_seconds": 1.0}), {"by": "hand"})
    assert set(json.loads(fast_world.read_text())["fast"]) == {"as_printed", "loaded"}
    assert dict(world_of("fast", "loaded").scenario) == {"slot_seconds": 1.0}


@pytest.mark.parametrize(
    ("name", "scenario", "message"),
    [
        ("slow", "as_printed", "world must be one of 'ledger', 'fast'; got 'slow'"),
        ("fast", "loaded", "world must be 'ledger' in 'loaded'; got 'fast', which there is in 'as_printed'"),
        ("fast", "busy", "scenario must be one of"),
    ],
)
def test_a_world_that_there_is_not_is_answered_with_those_that_there_are(fast_world, name, scenario, message):
    with pytest.raises(ValueError, match=message):
        world_of(name, scenario)


def test_a_batch_in_a_world_leaves_the_ledgers_results_alone(tmp_path):
    """Its notebooks are told, its records and its report say so, and what is done is kept."""
    folder, output = tmp_path / "notebooks", tmp_path / "output"
    notebook(folder, "told", f"from mecpart.context import current\nwrite({RESULT % 'told'}, current().world)")
    of_ledger = batch(folder, output)
    assert statuses(of_ledger) == statuses(batch(folder, output, world="nearest")) == {"told": "done"}
    there = world_folder(output, "nearest")
    assert (result(output, "told").read_text(), result(there, "told").read_text()) == ("ledger", "nearest")
    assert statuses(batch(folder, output, world="nearest")) == {"told": "kept"}
    record = json.loads(beside(there, "told.record.json").read_text())
    assert record["identity"]["world"].startswith("nearest (")
    assert "World" in write_report("smoke", there).read_text()


def test_results_of_a_world_go_to_a_folder_of_their_own(tmp_path):
    assert world_folder(tmp_path, "ledger") == tmp_path
    assert world_folder(tmp_path, "nearest") == tmp_path / "worlds" / "nearest"
    check_world("ledger", *SCENARIOS)
