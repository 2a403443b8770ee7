"""Files that are whole or not there."""

import errno
import os
import resource
import stat
import tempfile
import threading
import time
from pathlib import Path

import pytest

from mecpart.files import STALE_SECONDS, csv_lines, place, read_csv, sweep, write_atomically, write_folder_atomically


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "fig8.csv"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert [entry.name for entry in tmp_path.iterdir()] == ["fig8.csv"]
    assert path.read_text() == "old"


def test_the_disk_has_it_before_it_gets_its_name(tmp_path, monkeypatch):
    """And has its name before the call returns."""
    path, steps = tmp_path / "deep" / "table.csv", []

    def fsync(descriptor):
        steps.append(("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file", path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    assert write_atomically(path, lambda temporary: temporary.write_text("1")) == path
    assert steps == [("file", False), ("folder", True)]


def test_writers_of_one_path_do_not_meet(tmp_path):
    """Each half-way when the other is: the second to finish stays, and both are whole."""
    path, meet = tmp_path / "run.npz", threading.Barrier(2)

    def write(text):
        def halves(temporary):
            with temporary.open("w") as file:
                file.write(text)
                file.flush()
                meet.wait(10)
                file.write(text)

        write_atomically(path, halves)

    writers = [threading.Thread(target=write, args=(text,)) for text in ("aaaa", "bb")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text() in ("aaaaaaaa", "bbbb")
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_swept(tmp_path):
    """What another process writes at the moment is not."""
    left = []

    def watch(temporary):
        temporary.write_text("half")
        (temporary.parent / f"{temporary.name}.copy").write_text("half")  # as a writer that is killed here
        old = time.time() - STALE_SECONDS - 1
        os.utime(temporary.parent / f"{temporary.name}.copy", (old, old))
        sweep(tmp_path)
        left.extend(tmp_path.iterdir())
        assert left == [temporary]

    path = write_atomically(tmp_path / "run.npz", watch)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), None])
def test_an_error_names_the_file_that_was_to_be_written(tmp_path, error):
    """Also where the system does not: a full disk is noticed by `write`, which knows a number only."""
    path = tmp_path / "fig8.csv"

    def write(temporary):
        if error:
            raise error
        temporary.write_text("1" * 8192)

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # as a full disk, for this process
        with pytest.raises(OSError, match=r"(No space left on device|File too large): '.*/fig8\.csv'"):
            write_atomically(path, write)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_an_error_over_another_file_names_that_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        write_atomically(tmp_path / "fig8.csv", lambda temporary: (tmp_path / "missing").read_text())


def test_a_long_name_can_be_written(tmp_path):
    path = tmp_path / ("a" * 251 + ".csv")
    assert write_atomically(path, lambda temporary: temporary.write_text("1")).read_text() == "1"


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system at /dev/shm")
def test_a_file_is_placed_on_another_disk(tmp_path):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        assert os.stat(other).st_dev != os.stat(tmp_path).st_dev
        source, target = tmp_path / "a.csv", Path(other) / "deep" / "a.csv"
        for text in ("old", "new"):
            source.write_text(text)
            place(source, target)
            assert target.read_text() == text
        assert list(target.parent.iterdir()) == [target]


def test_a_folder_is_whole_or_not_there(tmp_path, monkeypatch):
    path, synced = tmp_path / "deep" / "pieces", []

    def fail():
        with write_folder_atomically(path) as unfinished:
            (unfinished / "one").touch()
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert list(path.parent.iterdir()) == []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(path.exists()))
    path.mkdir()  # an empty one is as good as none
    with write_folder_atomically(path) as unfinished:
        (unfinished / "one").touch()
        assert list(path.iterdir()) == []
    assert [entry.name for entry in path.iterdir()] == ["one"]
    assert len(synced) == 2
    for taken in (path, path / "one"):
        with pytest.raises(ValueError, match="folder must be new or empty"), write_folder_atomically(taken):
            pass
    assert list(path.parent.iterdir()) == [path]


def test_lines_of_a_csv_file_know_where_they_end(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a,b\n\n1, 2 \n,\n"x\ny",3\n')
    assert csv_lines(path) == [(1, ["a", "b"]), (3, ["1", "2"]), (6, ["x\ny", "3"])]
    assert read_csv(path) == (["a", "b"], [["1", "2"], ["x\ny", "3"]])
    path.write_text('a,b\n"1"x,2\n')
    with pytest.raises(ValueError, match=r"a\.csv must be a CSV file in UTF-8; .* line 2: "):
        csv_lines(path)
