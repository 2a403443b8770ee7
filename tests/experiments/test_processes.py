"""Work spread over processes: order, failure, and what they share."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from mecpart.experiments import processes
from mecpart.experiments.processes import Agenda, spread
from mecpart.reproduction import execution


def own_process(item):
    return os.getpid()


def fail_at_three(item):
    if item == 3:
        raise KeyError("three")
    return item


def die(item):
    os._exit(1)


class TestAgenda:
    """Of workers that keep what they have compiled over several calls."""

    def test_what_only_this_worker_has_compiled_comes_first_then_the_latest_then_what_nobody_has(self):
        agenda = Agenda({"a": [1], "b": [2], "c": [3, 4], "d": [5, 6], "e": [7], "none": []})
        assert agenda.total == 7
        taken = [agenda.take(["d", "c", "b"], {"a", "d", "c"}) for _ in range(8)]
        assert taken == [("b", 2), ("d", 5), ("d", 6), ("c", 3), ("c", 4), ("e", 7), ("a", 1), None]

    def test_the_last_program_is_shared(self):
        agenda = Agenda({"a": [1, 2], "b": [3, 4, 5]})
        assert [agenda.take([mine]) for mine in ("a", "b", "x", "y")] == [("a", 1), ("b", 3), ("b", 4), ("a", 2)]


def die_the_first_time(path):
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return "done"
    os.kill(os.getpid(), signal.SIGKILL)


class TestSpread:
    def test_every_item_once(self):
        work = {"even": [0, 2, 4, 6], "odd": [1, 3, 5]}
        assert sorted(spread(abs, work, 2)) == [(item, item) for item in range(7)]

    def test_a_program_stays_with_a_process_while_there_are_others(self):
        """So that it is compiled once; the last program is shared out."""
        found = dict(spread(own_process, {"a": [1, 2, 3], "b": [4, 5, 6]}, 2))
        assert len({found[item] for item in (1, 2, 3)}) == 1 or len({found[item] for item in (4, 5, 6)}) == 1
        assert len(set(found.values())) == 2

    def test_no_more_processes_than_items(self, monkeypatch):
        asked = []
        monkeypatch.setattr(processes, "pools", lambda count: asked.append(count) or [])
        with pytest.raises(StopIteration):
            next(spread(abs, {}, 4))
        assert asked == [0]

    def test_an_error_is_raised_here(self):
        with pytest.raises(KeyError, match="three"):
            list(spread(fail_at_three, {"all": list(range(50))}, 2))

    def test_an_item_whose_process_dies_is_given_to_another_once(self, tmp_path):
        work = {"all": [tmp_path / name for name in "ab"]}
        assert sorted(spread(die_the_first_time, work, 2)) == [(path, "done") for path in work["all"]]
        with pytest.raises(RuntimeError, match=r"^2 processes died that had been given <[12]>$"):
            list(spread(die, {"all": [1, 2]}, 2, describe="<{}>".format))

    def test_no_more_processes_than_cores(self, monkeypatch):
        monkeypatch.setattr(processes, "cores", lambda: [3, 4, 7])
        monkeypatch.setattr(processes, "pools", lambda count: pytest.fail(f"asked for {count}", pytrace=False))
        for given, used in ((2, 2), (10**9, 3)):
            with pytest.raises(pytest.fail.Exception, match=f"asked for {used}"):
                next(spread(abs, {"all": [1, 2, 3, 4, 5]}, given))

    @pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not pin processes to cores")
    def test_each_process_has_a_core_of_its_own(self):
        count = len(processes.cores())
        found = [pool.submit(os.sched_getaffinity, 0) for pool in processes.pools(count)]
        assert sorted(core for one in found for core in one.result()) == processes.cores()


#: A batch whose processes of every kind are at work when it is killed; each says that it is there by a file.
BATCH = """
import os, signal, sys, threading, time
from pathlib import Path

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored where the tests themselves were started by nohup

def work(name):
    Path(name).write_text("")
    time.sleep(600)

if __name__ == "__main__":
    from mecpart.experiments import cluster, processes
    from mecpart.reproduction import execution
    ways = {
        "worker": lambda: list(processes.spread(work, {"all": ["worker"]}, 1)),
        "dask": lambda: list(cluster.spread(work, {"all": ["dask"]}, cluster.Scheduler("local", {}, 1).address())),
        "kernel": lambda: execution.execute(Path("kernel.ipynb"), {"x": 1}, folder=Path(), executed=Path("done.ipynb")),
    }
    threads = [threading.Thread(target=ways[name]) for name in sys.argv[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
CELL = """
import time
from mecpart.experiments.processes import spread
def work(name):
    open(name, "w").close()
    time.sleep(600)
list(spread(work, {"all": ["kernel"]}, 1))
"""


@pytest.mark.parametrize(("name", "ways"), [("SIGKILL", ("worker", "dask", "kernel")), ("SIGHUP", ("worker",))])
def test_nothing_outlives_a_batch_that_is_killed(tmp_path, name, ways):
    """The kernel has a worker too."""
    pytest.importorskip("distributed", reason="needs Dask: pip install 'mecpart[cluster]'")
    (tmp_path / "batch.py").write_text(BATCH)
    parameters = nbformat.v4.new_code_cell("x = 0", metadata={"tags": ["parameters"]})
    cells = [parameters, nbformat.v4.new_code_cell(CELL)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "kernel.ipynb")
    batch = subprocess.Popen(
        [sys.executable, "batch.py", *ways],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(processes.__file__).parents[2])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    started = []
    try:
        wait_until(lambda: all((tmp_path / way).exists() for way in ways), 200)
        started = psutil.Process(batch.pid).children(recursive=True)
        assert len(started) > len(ways)
        batch.send_signal(getattr(signal, name))
        batch.wait(timeout=60)
        wait_until(lambda: not [one for one in started if lives(one)], 10)
    finally:
        for process in filter(lives, [*started, psutil.Process(batch.pid)] if batch.poll() is None else started):
            process.kill()
        batch.wait()


def lives(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_process_whose_parent_has_died_before_it_looks_ends():
    """Here a kernel, which has been given to another process meanwhile: to this one."""
    parent = str(2**22 + 1)
    child = subprocess.Popen([sys.executable, "-c", execution._KERNEL, processes.__file__, parent, "-f", "kernel.json"])
    try:
        assert child.wait(timeout=60) == 1
    finally:
        child.kill()
        child.wait()


def wait_until(there, seconds):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
