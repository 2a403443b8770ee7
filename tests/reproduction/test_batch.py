"""The driver on toy notebooks: order, failure, resuming, interruption, locking, the right interpreter."""

import csv
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from batches import PARAMETERS, RESULT, beside, notebook, result, run, statuses, wait_until
from jupyter_client.kernelspec import KernelSpecManager

from mecpart.context import Context
from mecpart.methods import register
from mecpart.reproduction import batch as driver
from mecpart.reproduction import execution, notebooks, origin
from mecpart.reproduction.batch import reproduce
from mecpart.reproduction.notebooks import Run, find_notebooks

# A batch in which everything that can go wrong does, two notebooks at a time -------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MECPART_CONTEXT", raising=False)
        yield mixed_batch(tmp_path_factory)


def mixed_batch(tmp_path_factory):
    folder, output = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("output {braces}")
    # "a10" would come before "a9" in plain alphabetical order, and "reader" must wait for both.
    notebook(
        folder,
        "a10",
        "import os\nfrom mecpart.context import current\nprocesses = current().processes",
        f"write({RESULT % 'a10'}, [processes, os.nice(0), len(os.sched_getaffinity(0))])",
    )
    drawn = "write('figures/smoke/a9.svg', '<svg/>')"
    notebook(folder, "a9", f"write({RESULT % 'a9'}, sum(range(5)))", drawn)
    notebook(
        folder,
        "reader",
        f"total = int(Path(output, {RESULT % 'a9'}).read_text()) + 1",
        f"write({RESULT % 'reader'}, total)",
        needs=["a9", "a10"],
    )
    notebook(folder, "bad", f"write({RESULT % 'bad'}, 'half')", "1 / 0", f"write({RESULT % 'bad'}, 'whole')")
    notebook(folder, "orphan", f"write({RESULT % 'orphan'}, 1)", needs=["bad"])
    notebook(folder, "grandchild", f"write({RESULT % 'grandchild'}, 1)", needs=["orphan"])
    notebook(folder, "dead", f"write({RESULT % 'dead'}, 1)", "import os\nos._exit(0)")
    notebook(folder, "quits", f"write({RESULT % 'quits'}, 1)", "import sys\nsys.exit()", "print('never')")
    notebook(folder, "stray", "write('README.md', 'gone')")
    notebook(folder, "meddles", f"write({RESULT % 'a9'}, 'forged')", needs=["a9"])
    summary = reproduce("smoke", "as_printed", jobs=2, notebooks=folder, output=output)
    return summary, {outcome.run.notebook.name: outcome for outcome in summary.outcomes}, output


def test_no_more_jobs_than_there_is_to_do_or_this_machine_can_bear(tmp_path, monkeypatch):
    notebook(tmp_path / "notebooks", "a", "1")
    (one,) = find_notebooks(tmp_path / "notebooks").values()
    monkeypatch.setattr(driver, "cores", lambda: [5, 6])
    for asked, runs, used in ((10**9, 3, 3), (2, 3, 2), (10**9, 30, 8)):
        batch = driver._Batch(tmp_path, asked, [Run(one, "smoke", "loaded")] * runs, Context())
        assert batch.jobs == used


def test_others_go_on_when_notebooks_fail(mixed):
    summary, outcomes, output = mixed
    assert not summary.finished
    assert [name for name, outcome in outcomes.items() if outcome.finished] == ["a9", "a10", "reader"]
    assert result(output, "a9").read_text() == "10"
    assert result(output, "reader").read_text() == "11"
    assert (output / "figures" / "smoke" / "a9.svg").read_text() == "<svg/>"


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        # Papermill's own cell with the values stands between the first two.
        ("bad", "failed", "cell 5: ZeroDivisionError: division by zero"),
        ("dead", "failed", "cell 5: the kernel died"),
        ("quits", "failed", "cell 5: left the notebook before its end"),
        ("stray", "failed", "writes README.md; results go below data/results/ and figures/"),
        ("orphan", "not run", "needs bad, which did not finish"),
        ("grandchild", "not run", "needs orphan, which did not finish"),
    ],
)
def test_a_failure_is_named_and_leaves_nothing_that_looks_complete(mixed, name, status, reason):
    summary, outcomes, output = mixed
    assert (outcomes[name].status, outcomes[name].reason) == (status, reason)
    told = next(line for line in str(summary).splitlines() if f"{name} (as_printed)" in line)
    assert status in told
    assert reason in told
    assert not list(output.rglob(f"{name}.csv"))
    assert not beside(output, f"{name}.ipynb").exists()
    assert not beside(output, f"{name}.record.json").exists()
    assert beside(output, f"{name}.failed.ipynb").exists() == (status == "failed")
    assert not (output / "README.md").exists()


def test_a_notebook_cannot_change_what_it_reads(mixed):
    _, outcomes, output = mixed
    assert outcomes["meddles"].status == "failed"
    assert "data/results/smoke/as_printed/a9.csv" in outcomes["meddles"].reason
    assert result(output, "a9").read_text() == "10"


def test_executed_notebook_shows_its_parameters_and_no_private_folder(mixed):
    _, _, output = mixed
    executed = nbformat.read(beside(output, "reader.ipynb"), as_version=4)
    injected = next(cell for cell in executed.cells if "injected-parameters" in cell.metadata.tags)
    shown = ['profile = "smoke"', 'scenario = "as_printed"', 'output = "."']
    assert injected.source.splitlines()[1:] == shown
    assert executed.metadata.kernelspec.name == "python3"
    assert "staging" not in beside(output, "reader.ipynb").read_text()


def test_record_names_what_went_in_and_came_out(mixed):
    _, _, output = mixed
    record = json.loads(beside(output, "reader.record.json").read_text())
    assert record["identity"]["parameters"] == {"profile": "smoke", "scenario": "as_printed", "output": "."}
    assert {"python", "jax", "numpy"} <= set(record["identity"]["versions"])
    assert {"data/published/curves.csv", "data/results/smoke/as_printed/a9.csv"} <= set(record["identity"]["inputs"])
    written = result(output, "reader").relative_to(output).as_posix()
    command = ["sha256sum", output / written]
    hashed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    assert record["outputs"][written] == hashed
    assert record["device"]["cores"] >= 1


def test_batch_leaves_no_private_folders_and_keeps_times_apart(mixed):
    _, _, output = mixed
    assert not (output / "build" / "staging").exists()
    with (output / "build" / "timings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["notebook"] for row in rows] == ["a10", "a9", "reader"]
    assert all(0 < float(row["seconds"]) < 60 for row in rows)


def test_kernels_share_the_cores(mixed):
    """All have all cores; those beside the first stand back behind it."""
    _, _, output = mixed
    nice, all_cores = min(os.nice(0) + driver.NICENESS, 19), len(os.sched_getaffinity(0))
    assert result(output, "a10").read_text() == str([None, nice, all_cores])


def test_a_kernel_stands_back(tmp_path):
    notebook(tmp_path, "a", f"import os\nwrite({RESULT % 'a'}, os.nice(0))")
    parameters = {"profile": "smoke", "scenario": "loaded", "output": str(tmp_path)}
    execution.execute(tmp_path / "a.ipynb", parameters, folder=tmp_path, executed=tmp_path / "b.ipynb", niceness=4)
    (written,) = tmp_path.rglob("a.csv")
    assert int(written.read_text()) == min(os.nice(0) + 4, 19)


def test_one_after_the_other_none_stands_back(tmp_path):
    """It would be behind other programs alone, which then have nearly all of the machine."""
    for name in ("a", "b"):
        notebook(tmp_path / "notebooks", name, f"import os\nwrite({RESULT % name}, os.nice(0))")
    assert statuses(run(tmp_path / "notebooks", tmp_path / "output")) == {"a": "done", "b": "done"}
    assert {int(result(tmp_path / "output", name).read_text()) for name in ("a", "b")} == {os.nice(0)}


# Resuming: what is repeated and what is kept ---------------------------------------------------------------


@pytest.fixture(scope="module")
def first_batch(tmp_path_factory):
    root = tmp_path_factory.mktemp("finished")
    notebook(root / "notebooks", "writer", f"write({RESULT % 'writer'}, 7)")
    notebook(
        root / "notebooks",
        "reader",
        f"write({RESULT % 'reader'}, int(Path(output, {RESULT % 'writer'}).read_text()) * 2)",
        needs=["writer"],
    )
    assert statuses(run(root / "notebooks", root / "output")) == {"writer": "done", "reader": "done"}
    return root


@pytest.fixture
def finished(first_batch, tmp_path):
    """A copy of a finished batch; its notebooks and its output."""
    shutil.copytree(first_batch, tmp_path / "batch")
    return tmp_path / "batch" / "notebooks", tmp_path / "batch" / "output"


def test_a_finished_batch_is_kept(finished):
    folder, output = finished
    before = result(output, "reader").stat().st_mtime_ns
    assert statuses(run(folder, output)) == {"writer": "kept", "reader": "kept"}
    assert result(output, "reader").stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["deleted", "altered", "unrecorded", "garbled record"])
def test_damaged_results_are_made_again(finished, damage):
    folder, output = finished
    record = beside(output, "reader.record.json")
    match damage:
        case "deleted":
            result(output, "reader").unlink()
        case "altered":
            result(output, "reader").write_text("15")
        case "unrecorded":
            record.unlink()
        case "garbled record":
            record.write_text(record.read_text()[:100])
    assert statuses(run(folder, output)) == {"writer": "kept", "reader": "done"}
    assert result(output, "reader").read_text() == "14"


def test_a_forged_record_leads_nowhere(finished, tmp_path):
    """Neither are files outside deleted, nor read: not by an absolute path, not by "..", not through a link."""
    folder, output = finished
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("reader.csv", "precious"):
        (outside / name).write_text("42")
    (output / "figures").mkdir(exist_ok=True)
    (output / "figures" / "link").symlink_to(outside)
    for name, path in [
        ("reader", str(outside / "precious")),
        ("writer", "data/results/../../../outside/precious"),
        ("writer", "figures/link/precious"),
    ]:
        record = json.loads(beside(output, f"{name}.record.json").read_text())
        record["outputs"][path] = hashlib.sha256(b"42").hexdigest()
        beside(output, f"{name}.record.json").write_text(json.dumps(record))
        assert statuses(run(folder, output))[name] == "done"
    assert sorted(path.read_text() for path in outside.iterdir()) == ["42", "42"]
    assert (output / "figures" / "link").is_symlink()


def test_a_link_below_the_results_is_named_before_anything_runs(finished, tmp_path):
    folder, output = finished
    results = output / "data" / "results" / "smoke"
    results.rename(tmp_path / "elsewhere")
    results.symlink_to(tmp_path / "elsewhere")
    outcomes = run(folder, output, only=["writer"])
    assert outcomes["writer"].status == "failed"
    assert outcomes["writer"].reason == f"{results / 'as_printed'} lies behind a symbolic link, which is not followed"
    assert (tmp_path / "elsewhere" / "as_printed" / "writer.csv").read_text() == "7"


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system at /dev/shm")
def test_results_may_lie_on_another_disk(tmp_path, finished):
    folder, _ = finished
    output = tmp_path / "output"
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        assert os.stat(other).st_dev != os.stat(tmp_path).st_dev
        output.mkdir()
        for name in ("data", "figures"):
            (Path(other) / name).mkdir()
            (output / name).symlink_to(Path(other) / name)
        assert statuses(run(folder, output)) == {"writer": "done", "reader": "done"}
        assert (Path(other) / "data/results/smoke/as_printed/reader.csv").read_text() == "14"
        assert sorted(path.name for path in (output / "data/results/smoke/as_printed").iterdir()) == [
            "reader.csv", "writer.csv",
        ]  # fmt: skip
        assert statuses(run(folder, output)) == {"writer": "kept", "reader": "kept"}


def test_a_changed_notebook_and_those_that_read_its_results_are_repeated(finished):
    folder, output = finished
    notebook(folder, "writer", f"write({RESULT % 'writer'}, 8)")
    assert statuses(run(folder, output)) == {"writer": "done", "reader": "done"}
    assert result(output, "reader").read_text() == "16"


def test_a_repeat_that_gives_the_same_data_makes_nothing_else_stale(finished):
    folder, output = finished
    notebook(folder, "writer", f"write({RESULT % 'writer'}, 3 + 4)")
    assert statuses(run(folder, output)) == {"writer": "done", "reader": "kept"}


def test_another_profile_is_another_run(finished):
    folder, output = finished
    summary = reproduce("quick", "all", ["writer"], notebooks=folder, output=output)
    assert all(outcome.status == "done" for outcome in summary.outcomes)
    assert statuses(run(folder, output)) == {"writer": "kept", "reader": "kept"}


def test_a_changed_package_makes_results_stale(finished, monkeypatch):
    folder, output = finished
    monkeypatch.setattr(origin, "digest", lambda *modules: "another package")
    assert statuses(run(folder, output)) == {"writer": "done", "reader": "done"}


def test_changed_input_data_make_only_their_readers_stale(tmp_path, monkeypatch):
    for module in (notebooks, origin):
        monkeypatch.setattr(module, "data_folder", lambda: tmp_path / "data")
    (tmp_path / "data" / "published").mkdir(parents=True)
    (tmp_path / "data" / "published" / "curves.csv").write_text("1")
    folder, output = tmp_path / "notebooks", tmp_path / "output"
    notebook(folder, "blind", f"write({RESULT % 'blind'}, 1)", inputs=[])
    notebook(folder, "sees", f"write({RESULT % 'sees'}, 1)")
    run(folder, output)
    (tmp_path / "data" / "published" / "curves.csv").write_text("2")
    assert statuses(run(folder, output)) == {"blind": "kept", "sees": "done"}


@pytest.mark.parametrize("recorded", [True, False])
def test_a_repeat_that_fails_takes_the_stale_results_away(finished, recorded):
    folder, output = finished
    notebook(folder, "writer", "raise KeyError('lost')")
    if not recorded:
        shutil.rmtree(output / "build")
    outcomes = run(folder, output)
    assert statuses(outcomes) == {"writer": "failed", "reader": "not run"}
    assert outcomes["writer"].reason == "cell 4: KeyError: 'lost'"
    assert not list((output / "data").rglob("*.csv"))
    notebook(folder, "writer", f"write({RESULT % 'writer'}, 7)")
    assert statuses(run(folder, output)) == {"writer": "done", "reader": "done"}
    assert not list(output.rglob("*.failed.ipynb"))


def test_only_brings_what_it_needs(finished, tmp_path):
    folder, _ = finished
    notebook(folder, "unrelated", "1 / 0")
    assert statuses(run(folder, tmp_path / "new", only=["reader"])) == {"writer": "done", "reader": "done"}


def test_methods_of_a_file_take_part_and_an_edit_of_it_makes_results_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(register, "_registered", {})
    folder, output, file = tmp_path / "notebooks", tmp_path / "output", tmp_path / "mine.py"
    told = f"from mecpart.methods.register import methods_in; write({RESULT % 'told'}, list(methods_in(scenario))[-1])"
    notebook(folder, "told", told)
    registering = "import mecpart\n@mecpart.register_policy({!r})\ndef mine(scenario, slot, key):\n    return slot\n"
    for name, status in [("Mine", "done"), ("Mine", "kept"), ("Yours", "done")]:
        file.write_text(registering.format(name))
        assert statuses(run(folder, output, methods=file)) == {"told": status}
        assert result(output, "told").read_text() == name
    assert statuses(run(folder, output)) == {"told": "done"}  # without the file
    assert result(output, "told").read_text() not in ("Mine", "Yours")
    with pytest.raises(ValueError, match="there is no file"):
        run(folder, output, methods=tmp_path / "missing.py")


def test_two_notebooks_cannot_write_one_file(finished):
    folder, output = finished
    notebook(folder, "thief", f"write({RESULT % 'writer'}, 'mine')")
    outcomes = run(folder, output)
    assert statuses(outcomes) == {"reader": "kept", "thief": "failed", "writer": "kept"}
    assert outcomes["thief"].reason == (
        "writes data/results/smoke/as_printed/writer.csv, which writer (as_printed) writes too"
    )
    assert result(output, "writer").read_text() == "7"


# Stopping and locking --------------------------------------------------------------------------------------

SLOW = """
import os, time
write({result}, 'half')
marker = Path(os.environ['MARKER'])
marker.with_suffix('.unfinished').write_text(str(os.getpid()))
marker.with_suffix('.unfinished').rename(marker)
while not Path(os.environ['GO']).exists():
    time.sleep(0.05)
write({result}, 'whole')
""".replace("{result}", RESULT % "slow")


def gone(pid):
    """Whether a process has ended (a zombie that nobody has collected counts as ended)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_stopped_batch_goes_on_by_being_started_again(tmp_path, monkeypatch, sent, code):
    folder, output, marker = tmp_path / "notebooks", tmp_path / "output", tmp_path / "marker"
    notebook(folder, "fast", f"write({RESULT % 'fast'}, 1)")
    notebook(folder, "slow", SLOW, needs=["fast"])
    monkeypatch.setenv("MARKER", str(marker))
    monkeypatch.setenv("GO", str(tmp_path / "go"))
    # Ctrl-C as in a terminal: what runs in the background is born deaf to it.
    program = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from mecpart import cli
from mecpart.reproduction import notebooks
notebooks.notebooks_folder = lambda: Path({str(folder)!r})
command = "reproduce --profile smoke --scenario as_printed --output".split()
sys.exit(cli.main([*command, {str(output)!r}]))
"""
    output_of = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    batch = subprocess.Popen([sys.executable, "-c", program], text=True, **output_of)
    try:
        wait_until(marker.exists)
        kernel = int(marker.read_text())
        with pytest.raises(RuntimeError, match=rf"another batch \(process {batch.pid}\) is writing to"):
            run(folder, output)
        batch.send_signal(sent)
        told, _ = batch.communicate(timeout=30)
    finally:
        batch.kill()
        batch.communicate()
    assert batch.returncode == code
    wait_until(lambda: gone(kernel))
    assert not list((output / "data").rglob("slow.csv"))
    assert not list((output / "build" / "notebooks").rglob("slow.*"))
    if sent != signal.SIGKILL:
        last = told.splitlines()[-1]
        assert last == "Stopped. What is finished is kept; start the same command again to go on with the rest."

    (tmp_path / "go").touch()
    assert statuses(run(folder, output)) == {"fast": "kept", "slow": "done"}
    assert result(output, "slow").read_text() == "whole"


def test_a_second_batch_is_refused_before_it_touches_anything(finished):
    folder, output = finished
    notebook(folder, "writer", f"write({RESULT % 'writer'}, 8)")
    with (output / "build" / "batch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711\n")
        lock.flush()
        with pytest.raises(RuntimeError, match=r"another batch \(process 4711\)"):
            run(folder, output)
        assert result(output, "writer").read_text() == "7"
    assert statuses(run(folder, output))["writer"] == "done"


# Kernels that do not start, disks that are full -------------------------------------------------------------


def test_the_folder_for_temporary_files_may_be_deep_and_oddly_named(tmp_path, monkeypatch):
    for name in ("scratch" * 20, "\N{LATIN SMALL LETTER U WITH DIAERESIS} {x} %s"):
        deep = tmp_path / name
        deep.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(deep))
        folder, output = tmp_path / "notebooks", deep / "output"
        notebook(folder, "a", f"write({RESULT % 'a'}, 1)")
        assert statuses(run(folder, output)) == {"a": "done"}
        assert not list(deep.glob("mecpart-*"))


@pytest.mark.parametrize("writable", ["/tmp", "no other"])
def test_sockets_lie_where_their_paths_are_short_enough(tmp_path, monkeypatch, writable):
    room = 107 - len("/mecpart-12345678/kernel-ipc-5")  # what Linux allows; macOS allows four bytes less
    for length in range(room - 10, room + 10):
        monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * length)
        monkeypatch.setattr(os, "access", lambda folder, mode: folder in (writable, tempfile.tempdir))
        folder, transport = execution._place_for_sockets()
        if transport == "ipc":
            assert len(folder) <= room - 4
        else:
            assert writable != "/tmp"
        assert (folder == "/tmp") == (length + 1 > room - 5 and writable == "/tmp")


STARTS = """
import os, sys
if any("ipykernel_launcher" in word for word in sys.orig_argv):
    times = int(open({told!r}).read())
    if times:
        open({told!r}, "w").write(str(times - 1))
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(("deaths", "status"), [(1, "done"), (2, "failed")])
def test_a_kernel_that_is_killed_while_it_starts_is_started_once_more(tmp_path, monkeypatch, deaths, status):
    told = tmp_path / "deaths"
    told.write_text(str(deaths))
    (tmp_path / "sitecustomize.py").write_text(STARTS.format(told=str(told)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    notebook(tmp_path / "notebooks", "a", f"write({RESULT % 'a'}, 1)")
    outcomes = run(tmp_path / "notebooks", tmp_path / "output")
    assert statuses(outcomes) == {"a": status}
    assert told.read_text() == "0"
    if status == "failed":
        assert outcomes["a"].reason == "the kernel did not start: Kernel died before replying to kernel_info"


def test_a_batch_whose_kernels_cannot_be_reached_ends(tmp_path):
    """Sockets that were opened in vain are closed, or the garbage collector would wait for them."""
    for name in "abc":
        notebook(tmp_path / "notebooks", name, "1")
    (tmp_path / ("deep" * 30)).mkdir()
    program = f"""
import gc, pathlib, tempfile
from mecpart.reproduction import execution, batch
execution.SOCKET_PATH, tempfile.tempdir = 1000, {str(tmp_path / ("deep" * 30))!r}
folder = pathlib.Path({str(tmp_path)!r})
summary = batch.reproduce("smoke", "as_printed", notebooks=folder / "notebooks", output=folder / "output")
gc.collect()
print([outcome.status for outcome in summary.outcomes])
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[-1] == str(["failed"] * 3)
    assert "File name too long" in told.stdout
    assert not subprocess.run(["pgrep", "-f", str(tmp_path / "deep")], capture_output=True).stdout


def test_a_full_disk_is_called_one(tmp_path):
    """Here no file may be larger than 64 kB; the executed notebook would be, with what the second prints."""
    folder, output = tmp_path / "notebooks", tmp_path / "output"
    notebook(folder, "a", f"write({RESULT % 'a'}, 'x' * 100_000)")
    notebook(folder, "b", "print('x' * 100_000)")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limits[1]))
        outcomes = run(folder, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert statuses(outcomes) == {"a": "failed", "b": "failed"}
    assert outcomes["a"].reason == "cell 4: OSError: [Errno 27] File too large"
    assert re.fullmatch(r"\[Errno 27\] File too large: '.*b\.ipynb'", outcomes["b"].reason)
    assert not list((output / "data").rglob("*.*"))


# Interpreter and parameters --------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["python3", "elsewhere"])
def test_the_kernel_is_this_interpreter(tmp_path, monkeypatch, kernel):
    trap = tmp_path / "jupyter" / "kernels" / kernel
    trap.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "trap", "language": "python"}
    (trap / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    assert KernelSpecManager().get_kernel_spec(kernel).argv[0] == "/bin/false"  # what Jupyter would start
    folder, output = tmp_path / "notebooks", tmp_path / "output"
    code = f"import sys\nwrite({RESULT % 'where'}, sys.executable + chr(10) + sys.prefix)"
    notebook(folder, "where", code, kernel=kernel)
    assert statuses(run(folder, output)) == {"where": "done"}
    assert result(output, "where").read_text().splitlines() == [sys.executable, sys.prefix]


def test_start_up_files_of_the_user_are_left_out(tmp_path, monkeypatch):
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("range = None")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook(tmp_path / "notebooks", "clean", "range(3)")
    assert statuses(run(tmp_path / "notebooks", tmp_path / "output")) == {"clean": "done"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ('profile = "a"\noutput = "."', r"unknown parameter 'scenario'; its parameters are profile, output"),
        ("", r"unknown parameter 'profile'; its parameters are none"),
        (PARAMETERS.replace('"quick"', "1"), r"'profile' must be of type int, as its default 1; got 'smoke'"),
        (PARAMETERS.replace('"quick"', "str(1)"), r"'profile' must have a plain value as default"),
    ],
)
def test_parameters_are_checked_before_anything_runs(tmp_path, parameters, message):
    folder, output = tmp_path / "notebooks", tmp_path / "output"
    notebook(folder, "fine", "1")
    notebook(folder, "odd", "1", parameters=parameters)
    with pytest.raises(ValueError, match=f"notebook odd: .*{message}"):
        run(folder, output)
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "huge"}, r"profile must be one of smoke, quick, paper; got 'huge'"),
        ({"scenario": "empty"}, r"scenario must be one of as_printed.*, all; got 'empty'"),
        ({"only": ["fig99"]}, r"only must name notebooks out of reader, writer; got 'fig99'"),
        ({"only": []}, r"only must name at least one notebook"),
        ({"jobs": 0}, r"jobs must be a whole number of at least 1; got 0"),
        ({"jobs": 1.5}, r"jobs must be a whole number of at least 1; got 1.5"),
        ({"output": __file__}, r"output must be a folder"),
    ],
)
def test_bad_arguments_are_refused(first_batch, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        reproduce(**{"notebooks": first_batch / "notebooks", "output": tmp_path / "none"} | arguments)
    assert not (tmp_path / "none").exists()


def test_what_notebooks_declare_is_checked(tmp_path):
    with pytest.raises(ValueError, match="there are no notebooks in"):
        find_notebooks(tmp_path)
    notebook(tmp_path / "unknown", "a", needs=["b"])
    with pytest.raises(ValueError, match="notebook a needs 'b'; there are a"):
        find_notebooks(tmp_path / "unknown")
    notebook(tmp_path / "circle", "a", needs=["b"])
    notebook(tmp_path / "circle", "b", needs=["a"])
    with pytest.raises(ValueError, match=r"circle: [ab] -> [ab] -> [ab]"):
        find_notebooks(tmp_path / "circle")
    notebook(tmp_path / "absent", "a", inputs=["published/none.csv"])
    with pytest.raises(ValueError, match=r"notebook a reads 'published/none\.csv'"):
        find_notebooks(tmp_path / "absent")
    notebook(tmp_path / "odd", "a", paper=True)
    with pytest.raises(ValueError, match="notebook a declares paper; it can declare title, needs, inputs, experiments"):
        find_notebooks(tmp_path / "odd")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.ipynb").write_text("no notebook")
    with pytest.raises(ValueError, match=r"notebook a\.ipynb cannot be read"):
        find_notebooks(tmp_path / "text")


def test_what_goes_beyond_the_paper_is_run_where_everything_is(tmp_path):
    folder = tmp_path / "notebooks"
    notebook(folder, "paper", "1", order=2)
    notebook(folder, "more", "1", order=1, beyond_paper=True)
    assert statuses(run(folder, tmp_path / "output")) == {"paper": "done"}
    assert list(statuses(run(folder, tmp_path / "output", everything=True))) == ["paper", "more"]
    assert list(find_notebooks(folder)) == ["more", "paper"]
    with pytest.raises(ValueError, match=r"only must not be given where everything is to be run; got .'paper'."):
        run(folder, tmp_path / "output", everything=True, only=["paper"])


def test_notebooks_are_found_with_titles_in_natural_order(first_batch, tmp_path):
    for name in ("fig10", "fig9", "headline"):
        notebook(tmp_path, name)
    found = find_notebooks(tmp_path)
    assert list(found) == ["fig9", "fig10", "headline"]
    assert found["fig9"].title == "The fig9"
