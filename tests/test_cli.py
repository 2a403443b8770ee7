"""The command line: exit codes, refusals, the listing."""

import errno
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mecpart
from mecpart import cli
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.experiments.runner import PROFILES
from mecpart.locations import notebooks_folder
from mecpart.measurements import measuring
from mecpart.methods import register
from mecpart.model.scenarios import SCENARIOS
from mecpart.reproduction.notebooks import Notebook, Run, find_notebooks
from mecpart.reproduction.outcome import Outcome, Summary
from mecpart.reproduction.reference import Agreement


def test_list_names_all_there_is(capsys):
    assert cli.main(["list"]) == 0
    told = capsys.readouterr().out
    for name in (*find_notebooks(), *EXPERIMENTS, *PROFILES, *SCENARIOS):
        assert f"\n  {name} " in told, name


@pytest.mark.parametrize(("status", "code"), [("done", 0), ("kept", 0), ("failed", 1), ("not run", 1)])
def test_exit_code_says_whether_all_finished(tmp_path, monkeypatch, status, code):
    run = Run(Notebook("fig8", tmp_path / "fig8.ipynb"), "smoke", "as_printed")
    given = {}

    def reproduce(**arguments):
        given.update(arguments)
        return Summary((Outcome(run, "done"), Outcome(run, status)), tmp_path, 1.0)

    monkeypatch.setattr("mecpart.reproduction.batch.reproduce", reproduce)
    monkeypatch.setattr("mecpart.report.site.write_report", lambda *given: tmp_path / "index.html")
    command = "reproduce --profile smoke --scenario as_printed --only fig8 fig6 --only headline --jobs 2"
    command += " --processes 3 --scheduler local --methods mine.py --world nearest --output there"
    assert cli.main(command.split()) == code
    assert given == {
        "profile": "smoke",
        "scenario": "as_printed",
        "only": ["fig8", "fig6", "headline"],
        "everything": False,
        "jobs": 2,
        "processes": 3,
        "output": "there",
        "scheduler": "local",
        "methods": "mine.py",
        "world": "nearest",
    }


@pytest.mark.parametrize("statuses", [("done", "failed"), ("kept",), ("failed", "not run")])
def test_reproduce_ends_with_a_report_if_anything_finished(tmp_path, monkeypatch, capsys, statuses):
    run = Run(Notebook("fig8", tmp_path / "fig8.ipynb"), "smoke", "as_printed")
    summary = Summary(tuple(Outcome(run, status) for status in statuses), tmp_path, 1.0)
    reported = []

    def write_report(*given):
        reported.append(given)
        return tmp_path / "index.html"

    monkeypatch.setattr("mecpart.reproduction.batch.reproduce", lambda **arguments: summary)
    monkeypatch.setattr("mecpart.report.site.write_report", write_report)
    cli.main(["reproduce", "--profile", "smoke"])
    finished = statuses != ("failed", "not run")
    assert reported == [("smoke", tmp_path)] * finished
    assert (f"Report:    {tmp_path / 'index.html'}" in capsys.readouterr().out) == finished


def test_report_prints_its_first_page(monkeypatch, capsys):
    monkeypatch.setattr("mecpart.report.site.write_report", lambda profile, output: f"{output}/{profile}.html")
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


def test_defaults_are_the_quick_profile_of_the_paper():
    arguments = cli._parser().parse_args(["reproduce"])
    assert (arguments.profile, arguments.scenario, arguments.only, arguments.all) == ("quick", None, None, False)
    assert (arguments.jobs, arguments.output, arguments.world) == (1, None, None)


def test_one_cannot_ask_for_all_and_for_some(capsys):
    with pytest.raises(SystemExit):
        cli.main(["reproduce", "--all", "--only", "fig8"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert not ended.value.code
    assert capsys.readouterr().out == f"mecpart {mecpart.__version__}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--profile huge", "profile must be one of smoke, quick, paper; got 'huge'"),
        ("--scenario empty", "scenario must be one of as_printed"),
        ("--only fig99", "only must name notebooks out of"),
        ("--world flat", "world must be one of 'ledger', 'nearest'; got 'flat'"),
        ("--jobs 0", "jobs must be a whole number of at least 1; got 0"),
    ],
)
def test_bad_input_is_refused_with_what_is_allowed(tmp_path, capsys, options, message):
    assert cli.main(["reproduce", *options.split(), "--output", str(tmp_path / "none")]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert "Traceback" not in told.err
    assert not (tmp_path / "none").exists()


@pytest.fixture
def impossible(tmp_path):
    """Folders that cannot be made, also for root; by what is wrong with them."""
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    return {
        "no such device": Path("/proc/nope"),
        "below a file": tmp_path / "file" / "below",
        "a file": tmp_path / "file",
        "too long": tmp_path / ("long" * 100),
        "links in a circle": tmp_path / "circle" / "below",
        "a zero byte": "zero\0byte",
        "in the package": Path(cli.__file__).parent / "results",
        "in the notebooks": notebooks_folder() / "results",
    }


@pytest.mark.parametrize("command", ["reproduce --profile smoke --only introduction", "report --profile smoke"])
def test_an_output_that_cannot_be_made_is_one_line_that_names_it(impossible, capsys, command):
    for what, output in impossible.items():
        assert cli.main([*command.split(), "--output", str(output)]) == 2, what
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("mecpart: ")
        assert repr(str(output))[1:-1] in line, what


@pytest.mark.parametrize("command", ["reproduce --profile smoke --only introduction", "report --profile smoke"])
def test_a_current_folder_that_was_removed_is_named(tmp_path, monkeypatch, capsys, command):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.main([*command.split(), "--output", "results"]) == 2
    assert "mecpart: output must be a folder; 'results' cannot be one: the current folder was removed" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, capsys, code):
    def flock(file, how):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)
    assert cli.main(["reproduce", "--only", "introduction", "--output", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"no lock can be had there ({os.strerror(code)}): '{tmp_path / 'build' / 'batch.lock'}'" in told
    assert "Traceback" not in told


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path, capsys):
    (tmp_path / "precious").write_text("42")
    (tmp_path / "output" / "build").mkdir(parents=True)
    (tmp_path / "output" / "build" / "batch.lock").symlink_to(tmp_path / "precious")
    assert cli.main(["reproduce", "--only", "introduction", "--output", str(tmp_path / "output")]) == 2
    assert str(tmp_path / "output" / "build" / "batch.lock") in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "42"


@pytest.mark.parametrize("end", ["import sys; sys.exit(0)", "raise KeyboardInterrupt", "raise SystemExit", "1 / 0"])
def test_a_file_of_methods_that_ends_the_program_is_an_error(tmp_path, capsys, end):
    file = tmp_path / "mine.py"
    file.write_text(f"import mecpart\nmecpart.register_policy('Mine', lambda scenario, slot, key: None)\n{end}\n")
    try:
        for path in (file, tmp_path):
            options = ["--methods", str(path), "--output", str(tmp_path / "none")]
            assert cli.main(["reproduce", "--profile", "smoke", *options]) == 2
            assert f"{path} fails" in (told := capsys.readouterr().err) or f"there is no file {path}" in told
    finally:
        register._registered.pop("Mine", None)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("module", ["mecpart", "mecpart.cli"])
def test_the_package_runs_as_the_command(module):
    command = [sys.executable, "-m", module, "reproduce", "--profile", "nonsense"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert told.returncode == 2
    assert told.stderr == "mecpart: profile must be one of smoke, quick, paper; got 'nonsense'\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("into", ["/dev/full", "a closed pipe"])
def test_output_that_nobody_takes_is_one_line(into):
    reader, writer = os.pipe()
    os.close(reader)
    given = os.open(into, os.O_WRONLY) if into == "/dev/full" else os.dup(writer)
    try:
        command = [sys.executable, "-m", "mecpart", "list"]
        told = subprocess.run(command, stdout=given, stderr=subprocess.PIPE, text=True, timeout=120)
    finally:
        os.close(given)
        os.close(writer)
    assert told.returncode == 2
    assert re.fullmatch(r"mecpart: \[Errno \d+\] (Broken pipe|No space left .*): 'standard output'\n", told.stderr)


def test_measure_tells_the_times_of_each_block_and_writes_them(tmp_path, monkeypatch, capsys):
    task = mecpart.workload("alexnet", 2)
    seconds = np.float32([[0.25], [1.5e-3]])
    measured = mecpart.MeasuredBlocks(
        mecpart.BlockTimes(seconds, task, ("pi",), spread=seconds / 10), np.ones((4, 2)), "a source"
    )
    given = []

    def measure(*arguments, **how):
        given.append((*arguments, how))
        return measured

    monkeypatch.setattr(mecpart, "measure", measure)
    assert cli.main(["measure", "alexnet"]) == 0
    defaults = inspect.signature(measuring.measure).parameters
    assert given.pop() == ("alexnet", None, {name: defaults[name].default for name in (*defaults,)[2:]})
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    first, second = task.block_names
    assert told == ["alexnet on pi", f"{first} 250 ms (± 25)", f"{second} 1.5 ms (± 0.15)", "a source"]
    options = "--blocks 2 --rounds 3 --seconds 0.5 --engine onnx --threads 2 --node pi --input-shape 1 3 8 8 --output"
    path = tmp_path / "blocks.csv"
    assert cli.main(["measure", "own.onnx", *options.split(), str(path)]) == 0
    how = {"rounds": 3, "seconds": 0.5, "engine": "onnx", "threads": 2, "node": "pi", "input_shape": [1, 3, 8, 8]}
    assert given == [("own.onnx", 2, how)]
    assert path.read_text().count("a source") == 3
    assert f"Written:   {path}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("lenet", "network must be one of 'alexnet'"),
        ("there/is/none.onnx", "No such file or directory: 'there/is/none.onnx'"),
        ("vgg16 --rounds 1", "rounds must be a whole number of at least 2; got 1"),
        ("vgg16 --engine tvm", "engine must be one of 'jax', 'onnx'; got 'tvm'"),
    ],
)
def test_what_cannot_be_measured_is_one_line(capsys, arguments, message):
    assert cli.main(["measure", *arguments.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


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
    run = Run(Notebook("fig8", tmp_path / "fig8.ipynb"), "quick", "as_printed")
    found = [Agreement("fig8", 12, 10, 2), Agreement("fig9", 12, 11, 0, ("total delay of A3C",))]
    asked = []
    monkeypatch.setattr(
        "mecpart.reproduction.batch.reproduce", lambda **arguments: Summary((Outcome(run, "done"),), tmp_path, 1.0)
    )
    monkeypatch.setattr("mecpart.report.site.write_report", lambda *given: tmp_path / "index.html")
    monkeypatch.setattr(
        "mecpart.reproduction.reference.compare_with_reference", lambda *given: asked.append(given) or found
    )
    assert cli.main(["reproduce"]) == 0
    assert asked == [(tmp_path / "data/results/quick/as_printed", "quick", "as_printed")]
    told = capsys.readouterr().out
    assert "Compared with data/reference/quick/as_printed: 1 of 2 experiments agree with it" in told
    assert "  fig9: DIFFERS in 1 of 12 means: total delay of A3C" in told
    found.clear()
    assert cli.main(["reproduce"]) == 0
    assert "Not compared: data/reference/quick/as_printed has none of these results" in capsys.readouterr().out
