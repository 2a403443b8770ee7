"""Checks of plain values, made before anything is compiled or written.

Under `jit`, `vmap` or `grad` a value is not known yet, so only shapes are checked there; every public docstring says
what is then assumed of the values.
"""

from collections.abc import Iterable

import jax
import numpy as np


def is_concrete(*values) -> bool:
    """Whether all values are known now, that is, none is traced by a JAX transformation."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def check_number(name: str, value, *, minimum: float = 0.0, exclusive: bool = False) -> None:
    """Raise `ValueError` unless every entry of `value` is a finite real number, at least (or above) `minimum`."""
    if not is_concrete(value):
        return
    array = np.asarray(value)
    allowed = f"finite and {'above' if exclusive else 'at least'} {minimum:g}"
    if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        raise ValueError(f"{name} must be a number, {allowed}; got {value!r}")
    array = array.astype(np.float64)
    bad = ~np.isfinite(array) | ((array <= minimum) if exclusive else (array < minimum))
    if bad.any():
        raise ValueError(f"{name} must be {allowed}; got {array[bad].flat[0]:g}")


def check_fraction(name: str, value) -> None:
    """Raise `ValueError` unless `value` is one number from 0 to 1."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1; got {value!r}")


def check_flag(name: str, value) -> None:
    """Raise `ValueError` unless `value` is True or False."""
    if is_concrete(value) and (np.shape(value) != () or np.asarray(value).dtype != bool):
        raise ValueError(f"{name} must be True or False; got {value!r}")


def check_count(name: str, value, *, minimum: int = 1, maximum: int | None = None) -> int:
    """Return `value` as an `int`; raise `ValueError` unless it is a whole number in the allowed range."""
    allowed = f"a whole number of at least {minimum}"
    if maximum is not None:
        allowed = f"a whole number from {minimum} to {maximum}"
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < minimum or (maximum is not None and value > maximum):
        raise ValueError(f"{name} must be {allowed}; got {value!r}")
    return int(value)


def check_range(name: str, value, *, minimum: float = 0.0) -> None:
    """Raise `ValueError` unless `value` is a pair (low, high) with minimum <= low <= high, both finite."""
    if np.shape(value) != (2,):
        raise ValueError(f"{name} must be a pair (low, high); got {value!r}")
    check_number(name, value, minimum=minimum)
    if is_concrete(value):
        low, high = np.asarray(value).tolist()  # not value[0], which compiles, and is traced where a `jit` is under way
        if low > high:
            raise ValueError(f"{name} must not be reversed (low <= high); got ({low:g}, {high:g})")


def check_shape(name: str, value, *allowed: tuple[int, ...]) -> None:
    """Raise `ValueError` unless the shape of `value` is one of `allowed`; works on traced values too."""
    if np.shape(value) not in allowed:
        shapes = " or ".join(str(shape) for shape in allowed)
        raise ValueError(f"{name} must have shape {shapes}; got {np.shape(value)}")


def check_choice(name: str, value, choices: Iterable[str]) -> None:
    """Raise `ValueError`, listing the names there are, unless `value` is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")
