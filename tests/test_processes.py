"""Work spread over processes: order, failure, and what they share."""

import os

import pytest

from mecpart import processes
from mecpart.processes import Agenda, spread


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

    def test_a_process_that_dies_is_an_error_and_no_hang(self):
        with pytest.raises(Exception, match="terminated"):
            list(spread(die, {"all": [1, 2]}, 2))

    @pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not pin processes to cores")
    def test_each_process_has_a_core_of_its_own(self):
        count = len(processes.cores())
        found = [pool.submit(os.sched_getaffinity, 0) for pool in processes.pools(count)]
        assert sorted(core for one in found for core in one.result()) == processes.cores()
