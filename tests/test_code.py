"""The code itself: checked by the linter and by the type checker."""

import subprocess
import sys

import pytest

from mecpart.locations import default_output

ROOT = default_output()


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-cache", "."],
        ["ruff", "format", "--no-cache", "--check", "."],
        ["mypy"],
    ],
    ids=["ruff check", "ruff format", "mypy"],
)
def test_clean(command, tmp_path):
    cache = ["--cache-dir", str(tmp_path)] if command[0] == "mypy" else []
    told = subprocess.run(
        [sys.executable, "-m", *command, *cache], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert told.returncode == 0, told.stdout + told.stderr
