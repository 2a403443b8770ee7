"""The command line: exit codes, refusals, the listing."""

import subprocess
import sys

import pytest

from mecpart import cli
from mecpart.comparison import Agreement
from mecpart.experiments import EXPERIMENTS, PROFILES
from mecpart.reproduce import Notebook, Outcome, Run, Summary, find_notebooks
from mecpart.scenario import SCENARIOS


def test_list_names_all_there_is(capsys):
    assert cli.main(["list"]) == 0
    told = capsys.readouterr().out
    for name in (*find_notebooks(), *EXPERIMENTS, *PROFILES, *SCENARIOS):
        assert f"\n  {name} " in told, name


@pytest.mark.parametrize(("status", "code"), [("done", 0), ("kept", 0), ("failed", 1), ("not run", 1)])
def test_exit_code_says_whether_all_finished(tmp_path, monkeypatch, status, code):
    run = Run(Notebook("fig8", tmp_path / "fig8.ipynb", "", (), ()), "smoke", "as_printed")
    given = {}

    def reproduce(**arguments):
        given.update(arguments)
        return Summary((Outcome(run, "done"), Outcome(run, status)), tmp_path, 1.0)

    monkeypatch.setattr(cli, "reproduce", reproduce)
    monkeypatch.setattr(cli, "write_report", lambda *given: tmp_path / "index.html")
    command = "reproduce --profile smoke --scenario as_printed --only fig8 fig6 --only headline --jobs 2"
    command += " --scheduler local --methods mine.py --output there"
    assert cli.main(command.split()) == code
    assert given == {
        "profile": "smoke",
        "scenario": "as_printed",
        "only": ["fig8", "fig6", "headline"],
        "jobs": 2,
        "output": "there",
        "scheduler": "local",
        "methods": "mine.py",
    }


@pytest.mark.parametrize("statuses", [("done", "failed"), ("kept",), ("failed", "not run")])
def test_reproduce_ends_with_a_report_if_anything_finished(tmp_path, monkeypatch, capsys, statuses):
    run = Run(Notebook("fig8", tmp_path / "fig8.ipynb", "", (), ()), "smoke", "as_printed")
    summary = Summary(tuple(Outcome(run, status) for status in statuses), tmp_path, 1.0)
    reported = []

    def write_report(*given):
        reported.append(given)
        return tmp_path / "index.html"

    monkeypatch.setattr(cli, "reproduce", lambda **arguments: summary)
    monkeypatch.setattr(cli, "write_report", write_report)
    cli.main(["reproduce", "--profile", "smoke"])
    finished = statuses != ("failed", "not run")
    assert reported == [("smoke", tmp_path)] * finished
    assert (f"Report:    {tmp_path / 'index.html'}" in capsys.readouterr().out) == finished


def test_report_prints_its_first_page(monkeypatch, capsys):
    monkeypatch.setattr(cli, "write_report", lambda profile, output: f"{output}/{profile}.html")
    assert cli.main(["report"]) == 0
    assert cli.main(["report", "--profile", "paper", "--output", "there"]) == 0
    assert capsys.readouterr().out == "None/quick.html\nthere/paper.html\n"


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("huge", "profile must be one of smoke, quick, paper; got 'huge'"),
        ("smoke", "there is nothing to report"),
    ],
)
def test_a_report_on_nothing_is_refused(tmp_path, capsys, profile, message):
    assert cli.main(["report", "--profile", profile, "--output", str(tmp_path / "none")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_defaults_are_the_quick_profile_of_every_scenario():
    arguments = cli._parser().parse_args(["reproduce"])
    assert (arguments.profile, arguments.scenario, arguments.only) == ("quick", "both", None)
    assert (arguments.jobs, arguments.output) == (1, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--profile huge", "profile must be one of smoke, quick, paper; got 'huge'"),
        ("--scenario empty", "scenario must be one of as_printed"),
        ("--only fig99", "only must name notebooks out of"),
        ("--jobs 0", "jobs must be a whole number of at least 1; got 0"),
    ],
)
def test_bad_input_is_refused_with_what_is_allowed(tmp_path, capsys, options, message):
    assert cli.main(["reproduce", *options.split(), "--output", str(tmp_path / "none")]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert "Traceback" not in told.err
    assert not (tmp_path / "none").exists()


def test_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        cli.main(["reproduec"])
    assert refused.value.code == 2


def test_installed_command_runs():
    command = subprocess.run(
        [sys.executable, "-c", "import sys; from mecpart.cli import main; sys.exit(main())", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert command.returncode == 0
    assert "reproduce" in command.stdout
    assert "report" in command.stdout
    assert "list" in command.stdout


def test_reproduce_says_whether_its_results_agree_with_the_reference(tmp_path, monkeypatch, capsys):
    run = Run(Notebook("fig8", tmp_path / "fig8.ipynb", "", (), ()), "quick", "as_printed")
    found = [Agreement("fig8", 12, 10, 2), Agreement("fig9", 12, 11, 0, ("total_delay_s of A3C",))]
    asked = []
    monkeypatch.setattr(cli, "reproduce", lambda **arguments: Summary((Outcome(run, "done"),), tmp_path, 1.0))
    monkeypatch.setattr(cli, "write_report", lambda *given: tmp_path / "index.html")
    monkeypatch.setattr(cli, "compare_with_reference", lambda *given: asked.append(given) or found)
    assert cli.main(["reproduce"]) == 0
    assert asked == [(tmp_path / "data/results/quick/as_printed", "quick", "as_printed")]
    told = capsys.readouterr().out
    assert "Compared with data/reference/quick/as_printed: 1 of 2 experiments agree with it" in told
    assert "  fig9: DIFFERS in 1 of 12 means: total_delay_s of A3C" in told
