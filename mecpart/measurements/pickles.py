"""Pickles read as data: their opcodes are walked, and nothing is imported, called or executed.

What `pickle.dump` writes of dictionaries, lists, texts, numbers and objects of one class is understood, and no more. An
object is the mapping of its attributes: its class is a name that is compared, and never looked up.
"""

import os
import pickletools
from collections.abc import Callable
from typing import Any

from mecpart.measurements.entries import Entry, read_bytes

#: Values within values, at most.
DEEPEST = 16


def pickle_entries(path: str | os.PathLike, record: str) -> Entry:
    """What is in a pickle of protocol 2 or later; each value knows the byte at which it stands.

    - `record`: the name of the class whose objects may be in it, whatever module it is from.

    **Raises:** `ValueError` that names the file and the byte of what is no plain data: anything that pickle would
    import, call or look up elsewhere, a list or mapping that is used twice, by which small files stand for huge values,
    more than `DEEPEST` values within each other, and what is damaged, left over or cut off.
    """
    data, at = read_bytes(path), 0
    machine = _Machine(record)
    try:
        for opcode, argument, position in pickletools.genops(data):
            at = machine.at = position or 0
            if opcode.name == "STOP":
                break
            machine.run(opcode.name, argument)
        found = machine.result()
        if len(data) > at + 1:
            at += 1
            raise ValueError(f"{len(data) - at} bytes after the end")
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        why = "what ends too early, or has no beginning" if isinstance(error, IndexError | KeyError) else error
        raise ValueError(f"{path} must be a pickle of plain data; got at byte {at}: {why}") from error
    return _located(found, path)


class _Value:
    """A value on the stack: where it stands, what it is, and how many values are within each other in it."""

    __slots__ = ("at", "depth", "held")

    def __init__(self, at: int, held: Any):
        self.at, self.held, self.depth = at, held, 0

    def take(self, *others: "_Value") -> None:
        self.depth = max(self.depth, *(1 + other.depth for other in others))
        if self.depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} values within each other")


class _Class:
    """Stands for the class of a record."""


class _Machine:
    """The stack of a pickle, where each opcode does what it does in `pickle` to plain values, or is refused."""

    def __init__(self, record: str):
        self.record = record
        self.at = 0
        self.stack: list[_Value] = []
        self.marks: list[int] = []
        self.memo: dict[int, _Value] = {}

    def run(self, name: str, argument) -> None:
        if (name == "PROTO") != (self.at == 0):
            raise ValueError("no protocol of 2 or later at the beginning, or another one")
        if name in _LITERALS:
            held = _LITERALS[name](argument)
            self.stack.append(_Value(self.at, held))
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise ValueError(f"{name}, which is not plain data")

    def result(self) -> _Value:
        if len(self.stack) != 1 or self.marks:
            raise ValueError(f"{len(self.stack)} values at the end, instead of one")
        return self.stack.pop()

    def proto(self, version: int) -> None:
        if version < 2:
            raise ValueError(f"protocol {version}, where 2 or later is read")

    def mark(self, _) -> None:
        self.marks.append(len(self.stack))

    def put(self, index: int) -> None:
        self.memo[index] = self.top()

    def memoize(self, _) -> None:
        self.memo[len(self.memo)] = self.top()

    def get(self, index: int) -> None:
        found = self.memo[index].held
        if isinstance(found, list | dict):
            raise ValueError("a list or mapping that is used twice")
        self.stack.append(_Value(self.at, found))

    def name_class(self, names: str) -> None:
        self.push_class(names.split(" ")[-1])

    def name_class_on_stack(self, _) -> None:
        name, module = self.pop(str), self.pop(str)
        self.push_class(name if module else "")

    def push_class(self, name: str) -> None:
        if name != self.record:
            raise ValueError(f"the name {name!r}, where only {self.record!r} is plain data")
        self.stack.append(_Value(self.at, _Class()))

    def new_record(self, _) -> None:
        arguments, _ = self.pop(tuple), self.pop(_Class)
        if arguments:
            raise ValueError("a record that is made of arguments")
        self.stack.append(_Value(self.at, {}))

    def build(self, _) -> None:
        state = self.popped()
        record = self.top(dict)
        if not isinstance(state.held, dict) or record.held:
            raise ValueError("a state that is no mapping, or of no new record")
        record.held.update(state.held)
        record.depth = state.depth

    def append(self, _) -> None:
        self.store([self.popped()])

    def appends(self, _) -> None:
        self.store(self.from_mark())

    def store(self, values: list[_Value]) -> None:
        target = self.top(list)
        target.take(target, *values) if values else None
        target.held.extend(values)

    def set_item(self, _) -> None:
        value, key = self.popped(), self.popped()
        self.set([key, value])

    def set_items(self, _) -> None:
        self.set(self.from_mark())

    def set(self, values: list[_Value]) -> None:
        target = self.top(dict)
        if len(values) % 2:
            raise ValueError("a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key.held, str) or key.held in target.held:
                raise ValueError("a key that is no text, or stands twice in one mapping")
            target.take(value)
            target.held[key.held] = value

    def top(self, kind: type = object) -> _Value:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise IndexError
        if not isinstance(self.stack[-1].held, kind):
            raise ValueError(f"a {type(self.stack[-1].held).__name__}, where a {kind.__name__} has to be")
        return self.stack[-1]

    def popped(self) -> _Value:
        self.top()
        return self.stack.pop()

    def pop(self, kind: type):
        self.top(kind)
        return self.stack.pop().held

    def from_mark(self) -> list[_Value]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values


#: Opcodes that push a value, by how it is made of their argument.
_LITERALS: dict[str, Callable[[Any], Any]] = {
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), lambda number: number),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE"), lambda text: text),
}

_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.proto,
    "FRAME": lambda machine, length: None,
    "MARK": _Machine.mark,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name_class,
    "STACK_GLOBAL": _Machine.name_class_on_stack,
    "NEWOBJ": _Machine.new_record,
    "BUILD": _Machine.build,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
}


def _located(value: _Value, path: str | os.PathLike, place: str = "") -> Entry:
    held = value.held
    if isinstance(held, list):
        held = [_located(each, path) for each in held]
    elif isinstance(held, dict):
        held = {key: _located(each, path, f"{key!r} ") for key, each in held.items()}
    return Entry(held, f"{place}at byte {value.at} of {path}")
