"""Files that are whole or not there."""

import os
import threading
import time

import pytest

from mecpart.files import STALE_SECONDS, sweep, write_atomically


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
        steps.append((os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")).rpartition(".")[2], path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    assert write_atomically(path, lambda temporary: temporary.write_text("1")) == path
    assert steps == [("csv", False), ("deep", True)]


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
