"""What is read from a file of others: values that know where they stand, so that what is wrong with one can be said.

Files are taken for hostile: what is no plain number, text, list or mapping is refused, and so is what is too large or
too deep, or would have to be run.
"""

import csv
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mecpart.files import csv_lines
from mecpart.validation import check_path, shown

#: Bytes of the largest file that is read as a whole.
MOST_BYTES = 2**26

_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Entry:
    """A value and where it stands: a number, a text, a list of entries or a mapping from texts to entries."""

    value: Any
    where: str

    def refused(self, allowed: str) -> ValueError:
        """The error that says where the value stands, what is allowed there, and what it is."""
        value = self.value
        if isinstance(value, list | dict):
            value = f"{'a list' if isinstance(value, list) else 'a mapping'} of {len(value)}"
            return ValueError(f"{self.where} must be {allowed}; got {value}")
        return ValueError(f"{self.where} must be {allowed}; got {shown(value)}")

    def number(self, *, exclusive: bool = False, infinite: bool = False) -> float:
        """A number of at least (or above) 0; finite, unless it may be `infinite`; neither lost as float32."""
        try:
            number = math.nan if isinstance(self.value, bool | list | dict) else float(self.value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        held = number == 0 or _LEAST <= number <= _MOST or (infinite and number == math.inf)
        if not held or (exclusive and number == 0):
            kind = "finite or inf" if infinite else "finite"
            raise self.refused(f"a number, {kind} and {'above' if exclusive else 'at least'} 0, also in float32")
        return number

    def whole(self, *, minimum: int = 0) -> int:
        """A whole number of at least `minimum`."""
        try:
            number = self.number()
        except ValueError:
            number = math.nan
        if not number.is_integer() or number < minimum:
            raise self.refused(f"a whole number of at least {minimum}")
        return int(number)

    def text(self) -> str:
        """A text that a table can hold: of printable characters, without blanks at its ends, and not empty."""
        text = self.value
        if not isinstance(text, str) or not text or text != text.strip() or not text.isprintable():
            raise self.refused("a text of printable characters, not empty, without blanks at its ends")
        return text

    def items(self) -> "dict[str, Entry]":
        """The entries of a mapping."""
        if not isinstance(self.value, dict):
            raise self.refused("a mapping")
        return self.value

    def entries(self, length: int | None = None) -> "list[Entry]":
        """The entries of a list, of a given length."""
        if not isinstance(self.value, list) or length not in (None, len(self.value)):
            raise self.refused("a list" if length is None else f"a list of {length} entries")
        return self.value

    def numbers(self, length: int | None = None) -> np.ndarray:
        """The numbers in a list."""
        return np.array([entry.number() for entry in self.entries(length)], np.float64)

    def __getitem__(self, key: str) -> "Entry":
        """The entry of a mapping by its key."""
        if key not in self.items():
            raise ValueError(f"{self.where} must have an entry {key!r}; got {', '.join(self.value) or 'none'}")
        return self.value[key]

    def get(self, key: str) -> "Entry | None":
        """The entry of a mapping by its key; None where there is none, or an empty text."""
        found = self.items().get(key)
        return None if found is None or found.value == "" else found


def read_bytes(path: str | os.PathLike) -> bytes:
    """A file as a whole.

    **Raises:** `ValueError` for one of more than `MOST_BYTES`.
    """
    check_path("path", path)
    with open(path, "rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"{path} must have at most {MOST_BYTES} bytes; got more (byte {MOST_BYTES + 1} was reached)")
    return data


def csv_entries(path: str | os.PathLike, required: Sequence[str], optional: Sequence[str] = ()) -> list[Entry]:
    """The rows of a CSV file, as mappings from column to text.

    **Raises:** `ValueError` that names the file and the line where a required column is missing, another is there or
    one is there twice, a row has another number of entries, or there is none.
    """
    check_path("path", path)
    lines = csv_lines(path)
    line, header = lines[0] if lines else (1, [])
    if not set(required) <= set(header) <= {*required, *optional} or len(set(header)) < len(header):
        also = f" and may have {', '.join(optional)}" if optional else ""
        raise ValueError(
            f"line {line} of {path} must have the columns {', '.join(required)}{also}, each once; "
            f"got {', '.join(header) or 'no header'}"
        )
    if len(lines) == 1:
        raise ValueError(f"line {line} of {path} must have rows below it; got none")
    rows = []
    for line, row in lines[1:]:
        if len(row) != len(header):
            raise ValueError(f"line {line} of {path} must have {len(header)} entries; got {len(row)}: {shown(row)}")
        cells = {
            column: Entry(text, f"column {column!r} in line {line} of {path}")
            for column, text in zip(header, row, strict=True)
        }
        rows.append(Entry(cells, f"line {line} of {path}"))
    return rows


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A CSV file whose numbers are read back as they are; columns without any entry are left out."""
    kept = [at for at, _ in enumerate(columns) if any(row[at] not in ("", None) for row in rows)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([columns[at] for at in kept])
    writer.writerows([[_written(row[at]) for at in kept] for row in rows])
    return file.getvalue()


def _written(value) -> str:
    """The shortest text that is the same number again."""
    if value is None or isinstance(value, str):
        return value or ""
    whole = float(value).is_integer() and abs(value) < 1e15
    return str(int(value)) if whole else str(value)


def json_entries(path: str | os.PathLike) -> Entry:
    """A JSON file; each value knows its keys and numbers from the outside in, such as `nodes[3].size`.

    **Raises:** `ValueError` that names the file, and the line or byte, of what is no JSON in UTF-8; for a key that
    stands twice in one mapping, numbers that are not finite or too long, and what is nested too deep.
    """

    try:
        text = read_bytes(path).decode("utf-8")
        value = json.loads(text, object_pairs_hook=_Pairs, parse_int=_whole)
        return _located(value, "", f" of {path}")
    except RecursionError as error:
        raise ValueError(f"{path} must be nested less; got a value within too many others, from line 1 on") from error
    except ValueError as error:
        raise ValueError(f"{path} must be a JSON file in UTF-8; got one that cannot be read: {error}") from error


class _Pairs(list):
    """The keys and values of a mapping in JSON."""


def _whole(text: str) -> int | float:
    """A whole number; one of more digits than any that is allowed as what is refused later, in its place."""
    return int(text) if len(text) < 20 else float(text)


def _located(value, place: str, file: str) -> Entry:
    held, where = value, f"{place or 'the value in line 1'}{file}"
    if isinstance(value, _Pairs):
        held = {key: _located(each, f"{place}.{key}".lstrip("."), file) for key, each in value}
        if len(held) < len(value):
            raise ValueError(f"{where} must have each key once; got one of {', '.join(held)} twice")
    elif isinstance(value, list):
        held = [_located(each, f"{place}[{at}]", file) for at, each in enumerate(value)]
    return Entry(held, where)


def yaml_entries(path: str | os.PathLike) -> Entry:
    """A YAML file of plain values; each value knows its line.

    **Raises:** `ValueError` that names the file, and the line or byte, of what is no YAML in UTF-8; for a tag or an
    alias, a key that is no text or stands twice in one mapping, and what is nested too deep.
    """
    import yaml  # takes a while, and few need it

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):  # they make a small file stand for a huge one
                line = self.peek_event().start_mark.line + 1
                raise ValueError(f"line {line}: an alias (*...) instead of a value")
            return super().compose_node(parent, index)

    def entry(node) -> Entry:
        line = node.start_mark.line + 1
        where = f"line {line} of {path}"
        if isinstance(node, yaml.ScalarNode):
            if node.tag.removeprefix("tag:yaml.org,2002:") not in ("int", "float", "str", "bool", "null"):
                raise ValueError(f"line {line}: a value with the tag {node.tag}")
            try:
                return Entry(loader.construct_object(node), where)
            except ValueError as error:
                raise ValueError(f"line {line}: {error}") from error
        if node.tag not in (yaml.Loader.DEFAULT_SEQUENCE_TAG, yaml.Loader.DEFAULT_MAPPING_TAG):
            raise ValueError(f"line {line}: a value with the tag {node.tag}")
        if isinstance(node, yaml.SequenceNode):
            return Entry([entry(each) for each in node.value], where)
        found: dict[str, Entry] = {}
        for key, value in node.value:
            at = f"line {key.start_mark.line + 1}"
            name = entry(key).value
            if not isinstance(name, str):
                raise ValueError(f"{at}: {shown(name)} as a key, which must be a text")
            if name in found:
                raise ValueError(f"{at}: the key {name!r} again")
            found[name] = entry(value)
        return Entry(found, where)

    try:
        loader = Loader(read_bytes(path).decode("utf-8"))
        try:
            node = loader.get_single_node()
            if node is None:
                raise ValueError("line 1: nothing")
            return entry(node)
        finally:
            loader.dispose()
    except RecursionError as error:
        raise ValueError(f"{path} must be nested less; got a value within too many others, from line 1 on") from error
    except (ValueError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"{path} must be a YAML file of plain values in UTF-8; got one with {told}") from error
