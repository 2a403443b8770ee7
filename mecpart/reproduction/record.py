"""Done-records: what a notebook of the batch was run with, and the files that it wrote with their hashes.

A record is read from a disk that others write to, so nothing in it is trusted: one that is not as the batch writes them
is a record that is not there, and no path in one leads anywhere but to where a notebook's results belong.
"""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

#: Where notebooks put their results, below the output folder. Each may be a symbolic link to another disk.
RESULT_FOLDERS = ("data/results", "figures")


def read_record(path: Path) -> dict[str, Any] | None:
    """The done-record in `<output>/build/notebooks/<profile>/<scenario>/<notebook>.record.json`.

    Its `outputs` (hashes by path) are below `RESULT_FOLDERS`, or the executed notebook beside the record.

    **Returns:** the record, whether or not its files are still as it says; None if there is none, or none that the
    batch can have written.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.keys() != _FIELDS.keys():
        return None
    if not all(fits(record[name]) for name, fits in _FIELDS.items()):
        return None
    output, executed = path.parents[4], path.with_name(path.name.removesuffix(".record.json") + ".ipynb")
    own = executed.relative_to(output).as_posix()
    known = ((path == own and not executed.is_symlink()) or is_result(output, path) for path in record["outputs"])
    return record if all(known) else None


def holds(record: dict[str, Any], output: Path) -> bool:
    """Whether every file of a record is there as it was recorded."""
    files = {output / path: digest for path, digest in record["outputs"].items()}
    try:
        return all(file.is_file() and sha256(file) == digest for file, digest in files.items())
    except OSError:
        return False


def is_result(output: Path, path: str) -> bool:
    """Whether a path is that of a result, and leads to where it says: below `RESULT_FOLDERS` no link is followed."""
    folder = next((folder for folder in RESULT_FOLDERS if path.startswith(f"{folder}/")), None)
    if folder is None or PurePosixPath(path).as_posix() != path or ".." in PurePosixPath(path).parts:
        return False
    try:
        return (output / path).resolve() == (output / folder).resolve() / path.removeprefix(f"{folder}/")
    except (OSError, RuntimeError, ValueError):  # too long, links in a circle, a zero byte
        return False


def sha256(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(part, str) for part in value.values())


def _hashes(value: Any) -> bool:
    return _texts(value) and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in value.values())


def _identity(value: Any) -> bool:
    """What was run: texts, or texts by name; among them the versions."""
    return (
        isinstance(value, dict)
        and _texts(value.get("versions"))
        and all(isinstance(part, str) or _texts(part) for part in value.values())
    )


def _time(value: Any) -> bool:
    """A time of these centuries, with its zone: one without cannot be compared with others."""
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return time.tzinfo is not None and 1970 <= time.year < 3000


def _device(value: Any) -> bool:
    kinds = {"processor": str, "cores": int, "accelerators": list, "system": str}
    return (
        isinstance(value, dict)
        and value.keys() == kinds.keys()
        and all(type(value[name]) is kind for name, kind in kinds.items())
        and all(isinstance(name, str) for name in value["accelerators"])
    )


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "identity": _identity,
    "outputs": _hashes,
    "started": _time,
    "seconds": lambda value: type(value) in (int, float) and 0 <= value < 1e10,
    "commit": lambda value: value is None or isinstance(value, str),
    "device": _device,
}
