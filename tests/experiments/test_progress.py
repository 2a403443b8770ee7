"""Progress as it is seen on a terminal, in a log, and by a batch."""

import os
import pty
import re
import subprocess
import sys
import termios
import time

import pytest

from mecpart.context import Context
from mecpart.experiments import progress as module
from mecpart.experiments.progress import duration, handed_over, progress

PROGRAM = """
import time
from mecpart.experiments import progress as module
module.PATIENCE, module.QUIET_SECONDS, module.LOOK_SECONDS = {patience}, 0.2, 0.05
with module.progress("fig8", total=40, kept=10) as tell:
    for done in (20, 25):
        time.sleep(0.5)
        tell(done)
    time.sleep(0.5)
print("over")
"""


def on_terminal(program):
    """What a terminal is sent while a program runs."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with subprocess.Popen([sys.executable, "-c", program], stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        told = b""
        while True:
            try:
                told += os.read(ours, 4096)
            except OSError:  # it was closed at the other end
                break
    os.close(ours)
    assert process.returncode == 0, told
    return told.decode()


def test_a_terminal_has_one_line_that_is_kept_current():
    told = on_terminal(PROGRAM.format(patience=0.1))
    lines = re.sub(r"\r\n", "\n", told).split("\n")
    assert len(lines) == 2  # the line, wiped out at the end, and what the program says
    assert lines[0].endswith("over")
    shown = lines[0].split("\r")
    for done in (10, 20, 25):
        assert any(f"fig8: {done} of 40 runs" in text for text in shown), done
    # Half a second for 10 runs, 20 left: one second more.
    assert any("20 of 40 runs" in text and re.search("about [01] s left", text) for text in shown)
    assert shown[-2].strip() == ""


def test_short_things_are_done_in_silence():
    assert on_terminal(PROGRAM.format(patience=60)) == "over\r\n"


def test_a_log_has_lines(capsys, monkeypatch):
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.1)
    with progress("fig8", 40) as tell:
        time.sleep(0.25)
        tell(10)
        time.sleep(0.25)
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 5
    assert lines[0] == "fig8: 0 of 40 runs, 0 s"
    assert re.fullmatch(r"fig8: 10 of 40 runs, \d s, about \d+ s left", lines[-1])


def test_a_batch_is_told_and_nobody_else(tmp_path, capsys, monkeypatch):
    file = tmp_path / "progress.json"
    for name, value in Context(progress_file=str(file)).variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module, "_told", {})
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.05)
    assert handed_over(file) == {}
    with progress("fig7a", 5, kept=2) as tell:
        assert handed_over(file) == {"fig7a": (2, 5)}
        tell(5)
    with progress("fig7b", 4) as tell:
        tell(1)
        time.sleep(0.2)
    assert handed_over(file) == {"fig7a": (5, 5), "fig7b": (1, 4)}
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    assert capsys.readouterr() == ("", "")


def test_a_disk_that_takes_nothing_stops_no_run(tmp_path, monkeypatch):
    for name, value in Context(progress_file=str(tmp_path / "none" / "progress.json")).variables().items():
        monkeypatch.setenv(name, value)
    with progress("fig8", 2) as tell:
        tell(1)


def test_what_the_body_raises_comes_out(monkeypatch):
    with pytest.raises(KeyboardInterrupt), progress("fig8", 2):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (3599.6, "1 h 0 min"), (7380, "2 h 3 min")],
)
def test_times_are_told_in_words(seconds, told):
    assert duration(seconds) == told
