"""The command line: exit codes, refusals, the listing."""

import subprocess
import sys

import pytest

from mecpart import cli
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
    command = "reproduce --profile smoke --scenario as_printed --only fig8 fig6 --only headline --jobs 2"
    assert cli.main([*command.split(), "--output", "there"]) == code
    assert given == {
        "profile": "smoke",
        "scenario": "as_printed",
        "only": ["fig8", "fig6", "headline"],
        "jobs": 2,
        "output": "there",
    }


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
    assert "list" in command.stdout
