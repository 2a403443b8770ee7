"""What a batch says of its progress, against times worked out by hand."""

import json

import pytest

from mecpart.methods.register import methods_in
from mecpart.reproduction import outlook as module
from mecpart.reproduction.notebooks import Notebook, Run, in_order
from mecpart.reproduction.outlook import Outlook

FIG8, FIG9, MORE = (
    Run(Notebook(name, None, beyond_paper=name == "more"), "smoke", "as_printed") for name in ("fig8", "fig9", "more")
)


@pytest.fixture
def clock(monkeypatch):
    """The time as a list of one number."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """A reference that took 100 s for fig8 and 300 s for fig9."""
    (tmp_path / "reference").mkdir()
    told = {"batches": [{"notebooks": {"fig8": 100.0}}, {"notebooks": {"fig9": 300.0}}]}
    (tmp_path / "reference" / "provenance.json").write_text(json.dumps(told))
    monkeypatch.setattr(
        "mecpart.reproduction.reference.reference_folder", lambda profile, scenario: tmp_path / "reference"
    )


def timings(output, *rows):
    (output / "build").mkdir()
    header = "profile,scenario,notebook,seconds,started"
    (output / "build" / "timings.csv").write_text("\n".join([header, *rows]))


@pytest.mark.usefixtures("reference")
def test_the_reference_tells_how_long_it_takes(tmp_path):
    told = Outlook(tmp_path, [FIG8, FIG9], []).announcement()
    assert told == "2 notebooks; about 6 min 40 s, by the times of the reference results"
    told = Outlook(tmp_path, [FIG8, FIG9], [FIG8]).announcement()
    assert told == "2 notebooks, 1 of them done already; about 5 min 0 s, by the times of the reference results"
    assert Outlook(tmp_path, [FIG8], [FIG8]).announcement() == "1 notebook, 1 of them done already"


@pytest.mark.usefixtures("reference")
def test_earlier_batches_here_know_better(tmp_path):
    timings(tmp_path, "smoke,as_printed,fig8,10.0,", "quick,as_printed,fig9,1000.0,")
    told = Outlook(tmp_path, [FIG8, FIG9], []).announcement()
    assert told == "2 notebooks; about 5 min 10 s, by the times of earlier batches here"


@pytest.mark.parametrize("damage", ["", "garbage", "profile,scenario,notebook,seconds\nsmoke,as_printed,fig8,soon"])
def test_what_is_not_known_is_not_guessed(tmp_path, damage):
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "timings.csv").write_text(damage)
    assert Outlook(tmp_path, [FIG8, MORE], []).announcement() == "2 notebooks; how long they take is not known yet"


@pytest.mark.usefixtures("reference")
def test_what_is_left_goes_by_the_pace_so_far(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(module, "_TRUST_SECONDS", 0.0)
    outlook = Outlook(tmp_path, [FIG8, FIG9], [])
    file = tmp_path / "progress.json"
    outlook.begin(FIG8, file)
    clock[0] += 200  # half of it in the time that it takes as a whole, twice over: four times as slow
    file.write_text(json.dumps({"fig8 as_printed": [40, 80]}))
    text, share = outlook.reading()
    assert text == "[0/2] fig8 (as_printed): 40 of 80 runs; 3 min 20 s, about 23 min 20 s left"  # 350 s * 4
    assert share == pytest.approx(50 / 400)
    outlook.end(FIG8)
    clock[0] += 200
    assert outlook.reading() == ("[1/2] 6 min 40 s, about 20 min 0 s left", 100 / 400)  # 300 s * 4
    outlook.end(FIG9)
    assert outlook.reading()[1] == 1


def test_without_a_reference_the_shares_are_those_of_the_quick_profile(tmp_path, clock, monkeypatch):
    times = {"quick": {"fig8": 10.0, "fig9": 30.0}}
    monkeypatch.setattr(module, "notebook_seconds", lambda profile, scenario: times.get(profile, {}))
    outlook = Outlook(tmp_path, [FIG8, FIG9], [])
    assert outlook.announcement() == "2 notebooks; how long they take is not known yet"
    outlook.begin(FIG8, tmp_path / "nothing yet")
    outlook.end(FIG8)
    clock[0] += 200
    assert outlook.reading() == ("[1/2] 3 min 20 s, about 10 min 0 s left", 0.25)


def test_experiments_of_one_notebook_are_added_up(tmp_path, clock):
    file = tmp_path / "progress.json"
    file.write_text(json.dumps({"fig7a": [20, 20], "fig7b": [5, 20]}))
    outlook = Outlook(tmp_path, [FIG8, FIG9], [])
    outlook.begin(FIG8, file)
    outlook.begin(FIG9, tmp_path / "nothing yet")
    assert outlook.reading()[0].startswith("[0/2] fig8 (as_printed): 25 of 40 runs, fig9 (as_printed); 0 s")


def test_the_paper_comes_first_in_every_scenario():
    notebooks = [run.notebook for run in (FIG8, MORE, FIG9)]
    found = [str(run) for run in in_order(notebooks, "smoke", ["as_printed", "loaded"])]
    assert found == [
        "fig8 (as_printed)", "fig9 (as_printed)", "fig8 (loaded)", "fig9 (loaded)",
        "more (as_printed)", "more (loaded)",
    ]  # fmt: skip


def test_runs_that_notebooks_share_are_counted_once(tmp_path):
    """Fig. 12 runs every method of the scenario at four settings, here with two seeds."""
    shown = Run(Notebook("fig12", None, experiments=("fig12",)), "smoke", "as_printed")
    same = Run(Notebook("again", None, experiments=("fig12",)), "smoke", "as_printed")
    count = 4 * len(methods_in("as_printed")) * 2
    for runs, notebooks in (([shown], "1 notebook"), ([shown, same], "2 notebooks")):
        assert f"{notebooks}, {count} runs;" in Outlook(tmp_path, runs, []).announcement()
