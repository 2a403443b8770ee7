"""What the fields of the public types hold, said once where they are declared: by that they are checked and shown.

A field's annotation says its shape and type, as in `Float[Array, "blocks servers"]`; its metadata, made by `quantity`,
its unit and range.
"""

import operator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, get_args

import jax
import numpy as np
from jaxtyping import Int

from mecpart.validation import check_number, check_type, is_concrete, shown

_WHOLE = getattr(Int, "dtypes", ())  # which the type checker does not know of

# How many numbers of an array are shown, and how many letters of a text.
_NUMBERS, _LETTERS = 8, 60
# No array of NumPy has more.
_MOST_AXES = 64


def quantity(
    unit: str = "", *, minimum: float | None = 0.0, exclusive: bool = False, infinite: bool = False
) -> dict[str, Any]:
    """The metadata of a field whose numbers are at least (or above) `minimum`, in `unit`, and finite or `infinite`."""
    return {"unit": unit, "minimum": minimum, "exclusive": exclusive, "infinite": infinite}


#: The metadata of a field that holds names.
LABEL = {"label": True}


def register_labelled(kind: type) -> type:
    """Make a pytree of a dataclass whose `LABEL` fields are no part of what is compiled.

    What is compiled for some arrays serves all others of their shapes, whatever they are called. So names are not known
    inside of a JAX transformation, and what comes out of one has empty names.
    """
    labels = [entry.name for entry in fields(kind) if entry.metadata.get("label")]
    arrays = [entry.name for entry in fields(kind) if entry.name not in labels]
    arrays_of, labels_of = operator.attrgetter(*arrays), [operator.attrgetter(name) for name in labels]
    keys = [jax.tree_util.GetAttrKey(name) for name in arrays]

    def flatten(record):
        return arrays_of(record), _Labels(tuple(label_of(record) for label_of in labels_of))

    def flatten_with_keys(record):
        held, names = flatten(record)
        return list(zip(keys, held, strict=True)), names

    def unflatten(names: _Labels, held):
        given = names.given
        if not is_concrete(held):  # a program is traced once: the names would be those that came first
            given = tuple("" if isinstance(label, str) else ("",) * len(label) for label in given)
        return kind(**dict(zip(arrays, held, strict=True)), **dict(zip(labels, given, strict=True)))

    jax.tree_util.register_pytree_with_keys(kind, flatten_with_keys, unflatten, flatten)
    return kind


@dataclass(frozen=True)
class _Labels:
    """What a pytree knows of a record beside its arrays: names, by which no two differ."""

    given: tuple = field(compare=False, repr=False)


def check_record(name: str, value, kind: type, *, how: str = "", leading: tuple[int, ...] = (), **sizes: int) -> None:
    """Raise `ValueError` unless `value` is a `kind` whose arrays have the shape, type and range that it declares.

    Traced values are assumed to be in range. A static field is the caller's to check.

    **Arguments:** `name`: of the argument; `how`: says where a `kind` comes from; `leading`: axes that every array has
    before its own; `sizes`: of the axes in the annotations, by name.
    """
    check_type(name, value, kind, how)
    held = {entry: getattr(value, entry) for entry in _declared(kind)}
    for entry, values in held.items():
        if isinstance(values, list | tuple):
            raise ValueError(f"{name}.{entry} must be an array or a number; got {shown(values)}")
    check_values(kind, held, f"{name}.", leading, **sizes)


def check_values(
    kind: type, values: Mapping[str, Any], prefix: str = "", leading: tuple[int, ...] = (), **sizes: int
) -> None:
    """Raise `ValueError` where one of `values` is not what the field of `kind` with its name declares."""
    declared = _declared(kind)
    for name, value in values.items():
        axes, optional, limits = declared[name]
        if value is not None or not optional:
            shapes = tuple((*leading, *shape) for each in axes for shape in _shapes(each, sizes))
            check_number(f"{prefix}{name}", value, shapes=shapes, **limits)


def lists_to_arrays(record) -> None:
    """Make arrays of the lists in those fields of `record` that hold arrays, as one writes them: to JAX a list is none.

    What is no array is refused where it is used.
    """
    kind: type = type(record)
    for name in _declared(kind):
        value = getattr(record, name)
        if isinstance(value, list | tuple):
            with suppress(TypeError, ValueError):
                object.__setattr__(record, name, np.asarray(value))


def integers_to_floats(record) -> None:
    """Make floats of the integers in those fields of `record` that hold real numbers; its `__post_init__`.

    JAX computes with integers of 32 bits, in which large ones wrap around: a backlog of 2**32 cycles would be none.
    Floats of more than 64 bits, which JAX does not take, become such of 64. Integers as small as the axes of an array
    stay, for that is what they are in the `in_axes` of a `vmap`; no product of them wraps around.
    """
    kind: type = type(record)
    for name, (_, _, limits) in _declared(kind).items():
        value = getattr(record, name)
        array = isinstance(value, np.ndarray | np.number) and (value.dtype.kind in "iu" or value.dtype == np.longdouble)
        if not limits["whole"] and (array or (type(value) is int and abs(value) > _MOST_AXES)):
            with suppress(OverflowError):  # refused where it is used
                object.__setattr__(record, name, value.astype(float) if array else float(value))


@cache
def _declared(kind: type) -> dict[str, tuple[list[str], bool, dict[str, Any]]]:
    """Of each field that holds an array the axes it may have, whether it may be None, and `check_number`'s limits."""
    found = {}
    for entry in fields(kind):
        annotations = get_args(entry.type) or (entry.type,)
        arrays: list[Any] = [annotation for annotation in annotations if hasattr(annotation, "dim_str")]
        if arrays:
            limits = {key: entry.metadata[key] for key in ("minimum", "exclusive", "infinite") if key in entry.metadata}
            limits["whole"] = arrays[0].dtypes == _WHOLE
            found[entry.name] = ([array.dim_str for array in arrays], type(None) in annotations, limits)
    return found


def short_repr(record) -> str:
    """One line for a dataclass: its fields with their units, long arrays by their shape and range.

    The `__repr__` of the public types. What is nested in it is named only.
    """
    parts = [_named(entry, getattr(record, entry.name)) for entry in fields(record) if entry.repr]
    return f"{type(record).__name__}({', '.join(parts)})"


def _shapes(axes: str, sizes: Mapping[str, int]) -> list[tuple[int, ...]]:
    """The shapes that "blocks servers", "2", "" or "*blocks" (with or without that axis) stand for."""
    shapes: list[tuple[int, ...]] = [()]
    for axis in axes.split():
        longer = [(*shape, int(axis) if axis.isdigit() else sizes[axis.lstrip("*")]) for shape in shapes]
        shapes = [*shapes, *longer] if axis.startswith("*") else longer
    return shapes


def _named(entry: Field, value) -> str:
    unit = entry.metadata.get("unit", "")
    return f"{entry.name}={_shown(value)}{unit and f' {unit}'}"


def _shown(value) -> str:
    if isinstance(value, jax.core.Tracer):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, np.ndarray | np.generic | jax.Array) and is_concrete(value):
        return _array(value)
    if is_dataclass(value):
        name = getattr(value, "name", None)
        return f"{type(value).__name__}({repr(name) if isinstance(name, str) else '...'})"
    if isinstance(value, Mapping | tuple | list) and len(repr(value)) > _LETTERS:
        leaves = jax.tree.leaves(value)
        if leaves and all(isinstance(leaf, np.ndarray | jax.Array) for leaf in leaves):
            return f"{sum(map(np.size, leaves)):,} numbers in {len(leaves)} arrays"
        return f"{len(value)} entries"
    text = repr(value)
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 3]}..."


def _array(value) -> str:
    try:
        array = np.asarray(value)
    except TypeError:  # random keys
        return f"{value.dtype}{list(value.shape)}"
    if array.dtype.kind not in "iufb" or array.size == 0:
        return f"{array.dtype}{list(array.shape)}"
    if array.size > _NUMBERS or array.ndim > 1:
        return f"{list(array.shape)} from {array.min():.4g} to {array.max():.4g}"
    numbers = [str(number) if array.dtype == bool else f"{number:.4g}" for number in array.ravel().tolist()]
    return f"[{', '.join(numbers)}]" if array.ndim else numbers[0]
