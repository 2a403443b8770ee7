"""Runs on a Dask scheduler: sharing, failure, and batches whose workers, kernels and schedulers are really killed."""

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from batches import RESULT, notebook, result, run, statuses, wait_until

from mecpart import cli
from mecpart.experiments import cluster, processes
from mecpart.experiments.cluster import LOCAL, Scheduler, SchedulerError, check_address, spread
from mecpart.experiments.runner import run_experiment
from mecpart.experiments.runs import Run
from mecpart.experiments.setting import Setting

dask = pytest.importorskip("dask", reason="needs Dask: pip install 'mecpart[cluster]'")
distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'mecpart[cluster]'")

pytestmark = pytest.mark.slow

#: Where workers find this package and these tests.
PATH = os.pathsep.join(
    [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(cluster.__file__).parents[2])]
)

#: Variables of the workers here, which compile as the tests do.
HOW_TO_COMPILE = {name: value for name, value in os.environ.items() if name.startswith("JAX_")}

SECONDS = 300  # within which everything below has happened, also on a machine that is busy with other things


def own_process(item):
    return os.getpid()


def own_cores(item):
    return os.sched_getaffinity(0)


def variables(name):
    return os.environ.get(name)


def slowly(item):
    time.sleep(0.05)
    return os.getpid()


def fail_at_three(item):
    if item == 3:
        raise KeyError("three")
    return item


def die_at_three(item):
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def in_background(function, *arguments, **options):
    """Start a call; gives a function that waits for what it returns or raises."""
    answer = queue.SimpleQueue()

    def call():
        try:
            answer.put((function(*arguments, **options), None))
        except BaseException as error:
            answer.put((None, error))

    threading.Thread(target=call, daemon=True).start()

    def wait():
        value, error = answer.get(timeout=SECONDS)
        if error is not None:
            raise error
        return value

    return wait


@pytest.fixture(scope="module")
def local():
    """The address of a scheduler of this process, with a worker on each of two cores."""
    scheduler = Scheduler(LOCAL, HOW_TO_COMPILE, workers=2)
    yield scheduler.address()
    scheduler.close()


@contextmanager
def client_of(address):
    with distributed.Client(address, set_as_default=False) as client:
        yield client


def busy(client):
    """The workers that have work, by address: their processes."""
    having = [address for address, tasks in client.processing().items() if tasks]
    return client.run(os.getpid, workers=having) if having else {}


class TestSpread:
    def test_every_item_once(self, local):
        work = {"even": [0, 2, 4, 6], "odd": [1, 3, 5]}
        assert sorted(spread(abs, work, local)) == [(item, item) for item in range(7)]
        assert list(spread(abs, {"none": []}, "nowhere:1")) == []

    def test_the_next_call_finds_what_is_compiled(self, local):
        """Without that, the first of the workers would get the first of the programs again."""
        work = {"this": [1], "that": [2]}
        found = dict(spread(own_process, work, local))
        assert len(set(found.values())) == 2
        assert dict(spread(own_process, dict(reversed(work.items())), local)) == found

    def test_two_callers_share_the_workers(self, local):
        work = {"a": list(range(30)), "b": list(range(30, 60))}
        calls = [in_background(lambda: dict(spread(slowly, work, local))) for _ in range(2)]
        found = [wait() for wait in calls]
        assert [sorted(one) for one in found] == [list(range(60))] * 2
        assert set(found[0].values()) == set(found[1].values())
        assert len(set(found[0].values())) == 2

    def test_an_error_is_raised_here(self, local):
        with pytest.raises(KeyError, match="three"):
            list(spread(fail_at_three, {"all": list(range(50))}, local))

    @pytest.mark.skipif(len(processes.cores()) < 2, reason="needs two cores")
    def test_each_worker_has_a_core_and_one_thread_of_xla(self, local):
        work = {name: list(range(5)) for name in "ab"}
        work = {name: [f"{name}{item}" for item in range(5)] for name in work}
        assert sorted(map(sorted, {frozenset(found) for _, found in spread(own_cores, work, local)})) == [
            [core] for core in processes.cores()[:2]
        ]
        assert dict(spread(variables, {"all": ["PJRT_NPROC"]}, local)) == {"PJRT_NPROC": "1"}

    def test_an_item_that_takes_down_its_workers_is_named_after_all_others_are_finished(self, local):
        before = set(dict(spread(own_process, {"a": [1], "b": [2]}, local)).values())
        finished = []

        def finish():
            for item, _ in spread(die_at_three, {"all": list(range(7))}, local, "item {}".format):
                finished.append(item)

        with pytest.raises(SchedulerError, match="3 workers died that had been given item 3"):
            finish()
        assert sorted(finished) == [0, 1, 2, 4, 5, 6]
        # New workers have taken their place, on the same cores.
        after = dict(spread(own_process, {"c": [1], "d": [2]}, local))
        assert not before & set(after.values())


class TestWhatIsRefused:
    def test_what_is_no_address(self, refused):
        for bad in ("here", "tcp://host", "8786", "http://host/status", "", None, 8786, "tcp://host:0", "host:65536"):
            with refused("scheduler", f"got {bad!r}", "tcp://host:8786"):
                check_address(bad)
        for good in ("tcp://10.0.0.1:8786", "tls://node-3.cluster:1234", "localhost:8786", "tcp://[::1]:8786"):
            assert check_address(good) == good
        with refused("scheduler", "got 'local'"):
            run_experiment("fig8", "smoke", scheduler=LOCAL)
        assert check_address(LOCAL, local=True) == LOCAL

    def test_dask_that_is_not_installed(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(cluster, "installed", lambda: False)
        with pytest.raises(ImportError, match=r"pip install 'mecpart\[cluster\]'"):
            run_experiment("fig8", "smoke", scheduler="tcp://127.0.0.1:8786")
        assert cli.main(["reproduce", "--scheduler", LOCAL, "--output", str(tmp_path / "none")]) == 2
        assert "pip install 'mecpart[cluster]'" in capsys.readouterr().err
        assert not (tmp_path / "none").exists()

    def test_a_scheduler_that_does_not_answer(self, tmp_path, monkeypatch):
        monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
        with pytest.raises(SchedulerError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
            run_experiment("fig8", "smoke", seeds=1, episodes=8, scheduler="tcp://127.0.0.1:9")
        notebook(tmp_path / "notebooks", "one", f"write({RESULT % 'one'}, 1)")
        with pytest.raises(SchedulerError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
            run(tmp_path / "notebooks", tmp_path / "output", scheduler="tcp://127.0.0.1:9")
        assert not list((tmp_path / "output").rglob("*.csv"))

    @pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n", b"\0\0\0\0\0\0\0\0"], ids=str)
    def test_a_port_of_something_else(self, monkeypatch, says):
        """It is told in time, and nothing is left that the end of the process would wait for."""
        monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
            in_background(self.answer, server, says)
            began = time.monotonic()
            with pytest.raises(SchedulerError, match=f"no Dask scheduler answers at {address}: .") as told:
                Scheduler(address, {})
            assert time.monotonic() - began < 5
        assert len(str(told.value).splitlines()) == 1
        assert not [one for one in threading.enumerate() if one.name.startswith("IO loop") and not one.daemon]

    def answer(self, server, says):
        with server.accept()[0] as connection:
            connection.sendall(says)
            time.sleep(2)

    def test_the_address_of_a_worker(self, local):
        with client_of(local) as client:
            (address, *_) = client.nthreads()
        with pytest.raises(SchedulerError, match=f"no Dask scheduler answers at {address}: it is that of a worker"):
            Scheduler(address, {})

    def test_workers_with_other_versions(self, tmp_path, local, monkeypatch):
        versions = cluster.made_with()
        monkeypatch.setattr(cluster, "made_with", lambda: versions | {"jax": "0.0.1"})
        told = rf"worker at tcp://.* would compute something else: it has jax {versions['jax']} instead of 0.0.1"
        with pytest.raises(SchedulerError, match=told):
            list(spread(abs, {"all": [1]}, local))
        notebook(tmp_path / "notebooks", "one", f"write({RESULT % 'one'}, 1)")
        with pytest.raises(SchedulerError, match=told):
            run(tmp_path / "notebooks", tmp_path / "output", scheduler=local)
        # One that came after the others were asked, or was sent an item by Dask.
        monkeypatch.setattr(cluster, "_compare", lambda *_: {})
        with pytest.raises(SchedulerError, match=told):
            list(spread(abs, {"all": [1]}, local))

    def test_workers_without_the_package(self, tmp_path):
        (tmp_path / "mecpart.py").write_text("raise ImportError('not here')")
        told = r"worker at tcp://.* cannot use mecpart: .*(not here|mecpart)"
        with a_scheduler(tmp_path, PYTHONPATH=str(tmp_path)) as address, pytest.raises(SchedulerError, match=told):
            list(spread(abs, {"all": [1]}, address))


def test_dask_is_not_imported_unless_there_is_a_scheduler(tmp_path):
    notebook(tmp_path / "notebooks", "one", f"write({RESULT % 'one'}, 1)")
    program = f"""
import sys
import mecpart
from mecpart.reproduction.batch import reproduce
reproduce("smoke", "as_printed", notebooks={str(tmp_path / "notebooks")!r}, output={str(tmp_path / "output")!r})
assert not [name for name in sys.modules if name.partition(".")[0] in ("dask", "distributed")]
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=SECONDS)


def test_workers_here_use_the_cache_of_the_batch_though_the_script_has_imported_jax(tmp_path):
    """As the command line has: they run its imports before they have their variables."""
    (tmp_path / "script.py").write_text("""
import jax, sys
from mecpart.experiments import cluster

def look():
    options = jax.config.values
    return options["jax_compilation_cache_dir"], options["jax_persistent_cache_min_compile_time_secs"]

if __name__ == "__main__":
    variables = {"JAX_COMPILATION_CACHE_DIR": "here", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3"}
    scheduler = cluster.Scheduler("local", variables, workers=1)
    with cluster._connection(scheduler.address()) as client:
        print(*client.run(look).values())
    scheduler.close()
""")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"PYTHONPATH": PATH}
    run = [sys.executable, "script.py"]
    told = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert told.stdout == "('here', 0.3)\n", told.stderr


# Batches, and what is killed under them -------------------------------------------------------------------

SWEEP = """
import os, mecpart
from mecpart import EXPERIMENTS, Change, Experiment, Setting
small = Setting(network="alexnet", num_servers=2)
EXPERIMENTS["sweep"] = Experiment("sweep", "Learners", "num_blocks", "M", (2,), small, {methods}, {series})
Path(os.environ["MARKER"] + "{name}").write_text(str(os.getpid()))
results = mecpart.run_experiment("sweep", profile, scenario, seeds=3, episodes=8)
assert not results.duplicated(["method", "seed", "setting"]).any()
write(f"data/results/{{profile}}/{{scenario}}/{name}.csv", results.to_csv(index=False, float_format="%.17g"))
"""
LEARNER = "Distributed DQN"


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory):
    """A learner with 8 and 4 workers, which are two programs; and rules, which are a third and compared with both."""
    folder = tmp_path_factory.mktemp("notebooks")
    series = '{"of 8": Change(method={"workers": 8}), "of 4": Change(method={"workers": 4})}'
    notebook(folder, "learns", SWEEP.format(name="learns", series=series, methods=(LEARNER,)))
    notebook(folder, "rules", SWEEP.format(name="rules", series='{"all": Change()}', methods=("Greedy", "RPDI")))
    return folder


@pytest.fixture
def environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PJRT_NPROC", "1")
    monkeypatch.setenv("MARKER", f"{tmp_path}/begun-")


@pytest.fixture(scope="module")
def serial(tmp_path_factory, notebooks):
    """What the notebooks find without a scheduler, one run after the other."""
    output = tmp_path_factory.mktemp("serial")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PJRT_NPROC", "1")
        patch.setenv("MARKER", f"{output}/begun-")
        assert statuses(run(notebooks, output, processes=1)) == {"learns": "done", "rules": "done"}
    return {name: result(output, name).read_bytes() for name in ("learns", "rules")}


def found(output):
    return {name: result(output, name).read_bytes() for name in ("learns", "rules")}


@contextmanager
def a_scheduler(folder, workers=1, **environment):
    """The address of a scheduler by the command line, with workers of its own; all are gone afterwards."""
    file, command = Path(folder) / "scheduler.json", [sys.executable, "-m", "dask"]
    file.unlink(missing_ok=True)
    place = ["--scheduler-file", file]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    environment = {**os.environ, "PYTHONPATH": PATH, **environment}
    started = [subprocess.Popen([*command, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", *place],
                                **quiet)]  # fmt: skip
    try:
        # It is there before it is written to its end.
        wait_until(lambda: file.exists() and file.read_text().rstrip().endswith("}"), SECONDS)
        options = ["--nthreads", "1", "--nworkers", str(workers), "--no-dashboard", "--memory-limit", "0"]
        started.append(subprocess.Popen([*command, "worker", *options, *place], env=environment, **quiet))
        address = json.loads(file.read_text())["address"]
        with client_of(address) as client:
            client.wait_for_workers(workers, timeout=SECONDS)
        a_scheduler.process = started[0]
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(timeout=SECONDS)


def test_several_jobs_share_a_scheduler_of_their_own(tmp_path, monkeypatch):
    code = "import os\nfrom mecpart import context\nfrom mecpart.experiments.cluster import spread\n"
    code += "address = context.current().scheduler\n"
    code += "by = dict(spread(os.path.basename, {'all': ['x/y']}, address))\n"
    for name in ("one", "two"):
        notebook(tmp_path / "notebooks", name, code + f"write({RESULT % name}, [address, by])")
    outcomes = run(tmp_path / "notebooks", tmp_path / "output", jobs=2, scheduler=LOCAL, processes=1)
    assert statuses(outcomes) == {"one": "done", "two": "done"}
    assert len({result(tmp_path / "output", name).read_text() for name in ("one", "two")}) == 1
    # What is done needs none.
    monkeypatch.setattr(cluster, "_local_cluster", lambda *_: pytest.fail("started a scheduler"))
    again = run(tmp_path / "notebooks", tmp_path / "output", jobs=2, scheduler=LOCAL)
    assert statuses(again) == {"one": "kept", "two": "kept"}


@pytest.mark.usefixtures("environment")
def test_workers_that_are_killed(tmp_path, notebooks, local, serial):
    batch = in_background(run, notebooks, tmp_path / "output", jobs=2, scheduler=local)
    with client_of(local) as client:
        wait_until(lambda: len(busy(client)) == 2, SECONDS)
        killed = busy(client)
        for process in killed.values():
            os.kill(process, signal.SIGKILL)
        assert statuses(batch()) == {"learns": "done", "rules": "done"}
        assert not set(killed.values()) & set(client.run(os.getpid).values())
    assert found(tmp_path / "output") == serial


@pytest.mark.usefixtures("environment")
def test_a_kernel_that_is_killed(tmp_path, notebooks, local, serial, capfd):
    batch = in_background(run, notebooks, tmp_path / "output", only=["learns"], scheduler=local)
    with client_of(local) as client:
        wait_until((tmp_path / "begun-learns").exists, SECONDS)
        wait_until(lambda: busy(client), SECONDS)
        os.kill(int((tmp_path / "begun-learns").read_text()), signal.SIGKILL)
        assert statuses(batch()) == {"learns": "done"}
    told = capfd.readouterr().out
    assert "learns (as_printed): cell 4: the kernel died" in told
    assert told.count("started once more") == 1
    assert result(tmp_path / "output", "learns").read_bytes() == serial["learns"]
    assert not list(tmp_path.rglob("*.failed.ipynb"))


@pytest.mark.usefixtures("environment")
def test_a_scheduler_that_is_killed_and_the_batch_started_again_with_another(tmp_path, notebooks, serial, monkeypatch):
    output = tmp_path / "output"
    kept = output / "build" / "cache" / "runs"
    # The one worker is stopped once runs are kept, so that the first batch cannot come to its end.
    with a_scheduler(tmp_path) as address:
        batch = in_background(run, notebooks, output, scheduler=address)
        with client_of(address) as client:
            (worker,) = client.run(os.getpid).values()
            wait_until(lambda: list(kept.glob("[!.]*.npz")), SECONDS)
            os.kill(worker, signal.SIGSTOP)
        a_scheduler.process.kill()
        outcomes = batch()
        os.kill(worker, signal.SIGKILL)
    assert statuses(outcomes) == {"learns": "failed", "rules": "failed"}
    assert f"the Dask scheduler at {address} was lost" in outcomes["learns"].reason
    assert f"no Dask scheduler answers at {address}" in outcomes["rules"].reason
    first = {file: file.stat().st_mtime_ns for file in kept.glob("*.npz")}
    assert len(first) == 3
    with a_scheduler(tmp_path) as other:
        assert other != address
        assert statuses(in_background(run, notebooks, output, scheduler=other)()) == {"learns": "done", "rules": "done"}
    assert found(output) == serial
    after = {file: file.stat().st_mtime_ns for file in kept.glob("*.npz")}
    assert len(after) == 6
    assert first.items() <= after.items()


def test_the_slurm_recipe(tmp_path, monkeypatch):
    """The page's code as it stands, but for SLURM itself: a job is run by hand, with one worker."""
    pytest.importorskip("dask_jobqueue", reason="needs dask-jobqueue: pip install dask-jobqueue")
    from dask_jobqueue import SLURMCluster

    page = Path(__file__).parents[2] / "docs" / "cluster.md"
    (recipe,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    asked = []
    monkeypatch.setattr(SLURMCluster, "scale", lambda self, n=None, *, jobs=None: asked.append(jobs))
    monkeypatch.setattr(
        "mecpart.reproduction.batch.reproduce", lambda *given, **options: asked.append((given, options))
    )
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with dask.config.set({"jobqueue.slurm.scheduler-options": {"dashboard_address": ":0", "host": "127.0.0.1"}}):
        names = {"__name__": "__main__"}
        exec(recipe, names)
    with names["cluster"] as slurm:
        assert asked == [8, (("paper",), {"jobs": 8, "scheduler": slurm.scheduler_address})]
        script = slurm.job_script()
        for part in ("#SBATCH -p normal", "#SBATCH -A my-project", "#SBATCH --cpus-per-task=16", "#SBATCH -t 04:00:00"):
            assert part in script.splitlines()
        assert "--nthreads 1 " in script
        assert "--nworkers 16 " in script
        job = ["bash", "-c", script.replace("--nworkers 16 ", "--nworkers 1 ")]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
        with subprocess.Popen(job, env={**os.environ, "PYTHONPATH": PATH}, **quiet) as running:
            try:
                assert dict(spread(variables, {"all": ["PJRT_NPROC"]}, slurm.scheduler_address)) == {"PJRT_NPROC": "1"}
            finally:
                running.terminate()


class TestRunsAreNamed:
    def test_by_what_makes_them_special(self):
        run = Run("Proposed", "loaded", Setting(num_servers=2), 3, 24, (("workers", 4),))
        assert str(run) == "Proposed (loaded, seed 3, num_servers=2, workers=4)"
