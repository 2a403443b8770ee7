"""Files that are whole or not there, whoever writes them at the same time and whenever a writer is stopped."""

import csv
import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

#: What an `OSError` names where it is no file that could not be written.
STANDARD_OUTPUT = "standard output"

_UNFINISHED = ".unfinished"

#: Seconds after which a file that has not been finished is taken to be left over from a process that was killed.
STALE_SECONDS = 600.0


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, and move it there in one step when the disk has it.

    Each call has a temporary file of its own, so several processes may write one path: the last one's file stays.

    **Raises:** `OSError` that names `path`, also where the system does not say which file it could not write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem[:32]}.{secrets.token_hex(8)}{_UNFINISHED}{path.suffix}")
    try:
        with naming(path):
            write(temporary)
            _sync(temporary)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    with suppress(OSError):  # some network file systems do not sync folders
        _sync(path.parent)
    return path


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Let an `OSError` name a path, where the system does not say which file it could not write."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def write_folder_atomically(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, to be filled, which is moved there in one step when the disk has it.

    **Raises:** `ValueError` where `path` is no folder, or one that is not empty; `OSError` that names it.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"folder must be new or empty; got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:32]}.{secrets.token_hex(8)}{_UNFINISHED}")
    try:
        with naming(path):
            temporary.mkdir()
            yield temporary
            for file in temporary.iterdir():
                _sync(file)
            _sync(temporary)
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def place(source: Path, target: Path) -> None:
    """Move a finished file to its place in one step, also if that is on another file system.

    **Raises:** `OSError` that names `target`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        write_atomically(target, partial(shutil.copyfile, source))


def sweep(folder: Path) -> None:
    """Remove the temporary files that writers which were killed have left in `folder`."""
    for left in folder.glob(f"*{_UNFINISHED}*"):
        with suppress(FileNotFoundError):  # another process sweeps too, or the file is finished now
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                left.unlink()


def _sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder: a loss of power must not leave an empty file."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_csv(path: str | os.PathLike) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a CSV file, every entry without blanks around it; empty lines are left out.

    **Raises:** `ValueError` that names the file where it is none in UTF-8.
    """
    header, *rows = [entries for _, entries in csv_lines(path)] or [[]]
    return header, rows


def csv_lines(path: str | os.PathLike) -> list[tuple[int, list[str]]]:
    """The lines of a CSV file that are not empty, each with the number of its last line in the file, from 1.

    **Raises:** as `read_csv`; the message has the line, or the byte, that cannot be read.
    """
    lines = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            try:
                for row in reader:
                    entries = [entry.strip() for entry in row]
                    if any(entries):
                        lines.append((reader.line_num, entries))
            except csv.Error as error:
                raise ValueError(f"line {reader.line_num}: {error}") from error
    except ValueError as error:  # UnicodeDecodeError is one
        raise ValueError(f"{path} must be a CSV file in UTF-8; got one that cannot be read: {error}") from error
    return lines
