"""What a batch tells its kernels."""

import json
import subprocess
import sys

import pytest

from mecpart import context
from mecpart.context import Context


def test_nothing_is_said_unless_a_batch_says_it(monkeypatch):
    monkeypatch.delenv(context.VARIABLE, raising=False)
    assert context.current() == Context()


def test_another_process_has_it_as_it_was(tmp_path):
    given = Context(3, "tcp://host:8786", str(tmp_path / 'a "b"'), None, str(tmp_path / "\N{SNOWMAN}"))
    program = "from mecpart import context; print(ascii(context.current()))"
    told = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path), **given.variables()},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.strip() == ascii(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"proceses": 2},
            "must be a JSON object of processes, .*, methods_file, world, progress_file",
        ),
        ([], "must be a JSON object of"),
        ("many", "must be a JSON object of"),
        ({"processes": 0}, "processes in MECPART_CONTEXT must be a whole number of at least 1; got 0"),
        ({"processes": True}, "processes in MECPART_CONTEXT must be a whole number of at least 1; got True"),
        ({"processes": "2"}, "processes in MECPART_CONTEXT must be a whole number of at least 1; got '2'"),
        ({"runs_folder": ""}, "runs_folder in MECPART_CONTEXT must be a text; got ''"),
        ({"scheduler": 1}, "scheduler in MECPART_CONTEXT must be a text; got 1"),
    ],
)
def test_what_it_cannot_be_is_named(monkeypatch, given, message):
    monkeypatch.setenv(context.VARIABLE, json.dumps(given))
    with pytest.raises(ValueError, match=message):
        context.current()
