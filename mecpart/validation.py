"""Checks of plain values, made before anything is compiled or written.

Numbers are checked as what they are computed with, float32: what is infinite there, or so small that it would be taken
for 0, is refused. Under `jit`, `vmap` or `grad` a value is not known yet, so only its shape and type are checked there;
every public docstring says what is then assumed of the values.
"""

import csv
import io
import os
from collections.abc import Iterable
from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np

_FLOAT = np.finfo(np.float32)

#: What fits into the integers that JAX computes with; larger ones wrap around.
LARGEST_INTEGER = int(np.iinfo(np.int32).max)


def is_concrete(*values) -> bool:
    """Whether all values are known now, that is, none is traced by a JAX transformation."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def shown(value) -> str:
    """`value` as an error message shows it: on one line, and no longer than that."""
    text = " ".join(line.strip() for line in repr(value).splitlines())
    return text if len(text) <= 120 else f"{text[:100]} ... {text[-15:]}"


def check_number(
    name: str,
    value,
    *,
    minimum: float | None = 0.0,
    exclusive: bool = False,
    whole: bool = False,
    infinite: bool = False,
    shapes: tuple[tuple[int, ...], ...] | None = None,
) -> None:
    """Raise `ValueError` unless every entry of `value` is a finite real number, at least (or above) `minimum`.

    `minimum`: None allows every real number, and infinity. `whole`: only integers are. `infinite`: infinity is too.
    `shapes`: that are allowed, if not all.
    """
    limit = f"{'above' if exclusive else 'at least'} {minimum or 0:g}"
    allowed = "of any size" if minimum is None else f"{'infinite, or ' * infinite}finite and {limit}"
    what = "whole numbers" if whole else "a number"
    dtype, shape, array = _read(value)
    if dtype is None or not (dtype.kind in "iu" or (_is_floating(dtype) and not whole)):
        raise ValueError(f"{name} must be {what}, {allowed}; got {shown(value)}")
    if shapes is not None and shape not in shapes:
        raise ValueError(f"{name} must have shape {_either(shapes)}; got {shape}")
    if array is None:
        return
    if infinite:
        array = array[array != np.inf]
    if array.size and minimum is not None:  # most values are as they should be, and quickly seen to be
        low, high = array.min(), array.max()
        usual = minimum < low and _FLOAT.tiny <= low and high <= _FLOAT.max
        if (usual or (low == high == minimum == 0 and not exclusive)) and not whole:
            return
    exact = array.astype(np.float64)
    if minimum is None:
        if np.isnan(exact).any():
            raise ValueError(f"{name} must be {what}, {allowed}; got nan")
        return
    with np.errstate(over="ignore", under="ignore"):
        single = exact.astype(np.float32)
    bad = ~np.isfinite(exact) | ((exact <= minimum) if exclusive else (exact < minimum))
    if bad.any():
        raise ValueError(f"{name} must be {allowed}; got {exact[bad].flat[0]:g}")
    if whole and np.any(array > LARGEST_INTEGER):
        raise ValueError(f"{name} must be {allowed}, and at most {LARGEST_INTEGER}; got {array.max()}")
    # Denormal numbers count as 0 in compiled code.
    lost = ~np.isfinite(single) | ((np.abs(single) < _FLOAT.tiny) & (exact != 0))
    if lost.any():
        fits = f"in float32 neither infinite nor 0, which is from {_FLOAT.tiny:.2g} to {_FLOAT.max:.2g}"
        raise ValueError(f"{name} must be {allowed}, and {fits}; got {exact[lost].flat[0]:g}")


def check_fraction(name: str, value) -> None:
    """Raise `ValueError` unless `value` is one number from 0 to 1; a traced one is assumed to be in range."""
    if isinstance(value, jax.core.Tracer):
        return check_number(name, value, shapes=((),))
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or isinstance(value, np.complexfloating) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1; got {shown(value)}")


def check_flag(name: str, value) -> None:
    """Raise `ValueError` unless `value` is True or False."""
    dtype, shape, _ = _read(value)
    if shape != () or dtype is not np.dtype(bool):
        raise ValueError(f"{name} must be True or False; got {shown(value)}")


def check_count(name: str, value, *, minimum: int = 1, maximum: int | None = LARGEST_INTEGER) -> int:
    """Return `value` as an `int`; raise `ValueError` unless it is a whole number in the allowed range."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    above = whole and maximum is not None and value > maximum
    if not whole or value < minimum or above:
        open_end = maximum in (None, LARGEST_INTEGER) and not above
        allowed = f"a whole number {f'of at least {minimum}' if open_end else f'from {minimum} to {maximum}'}"
        raise ValueError(f"{name} must be {allowed}; got {shown(value)}")
    return int(value)


def check_range(name: str, value, *, minimum: float = 0.0, exclusive: bool = False) -> None:
    """Raise `ValueError` unless `value` is a pair (low, high) of finite numbers, low at least (or above) `minimum`."""
    if _read(value)[1] != (2,):
        raise ValueError(f"{name} must be a pair (low, high); got {shown(value)}")
    check_number(name, value, minimum=minimum, exclusive=exclusive)
    if is_concrete(value):
        low, high = np.asarray(value).tolist()  # not value[0], which compiles, and is traced where a `jit` is under way
        if low > high:
            raise ValueError(f"{name} must not be reversed (low <= high); got ({low:g}, {high:g})")


def check_shape(name: str, value, *allowed: tuple[int, ...]) -> None:
    """Raise `ValueError` unless the shape of `value` is one of `allowed`, if given; works on traced values too."""
    shape = _read(value)[1]
    if shape is None:
        raise ValueError(
            f"{name} must be an array{f' of shape {_either(allowed)}' if allowed else ''}; got {shown(value)}"
        )
    if allowed and shape not in allowed:
        raise ValueError(f"{name} must have shape {_either(allowed)}; got {shape}")


def check_choice(name: str, value, choices: Iterable[str]) -> None:
    """Raise `ValueError`, listing the names there are, unless `value` is one of `choices`."""
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {shown(value)}")


def check_names(name: str, *values) -> None:
    """Raise `ValueError` unless all `values` are texts that a table can hold as names, and a CSV file gives back."""
    import pandas as pd  # takes long to import, and few need it

    texts = [value for value in values if isinstance(value, str) and value.isprintable()]
    # In small and in capital letters too: other readers than pandas know other words for a missing value.
    forms = [[text, text.lower(), text.upper(), text.title()] for text in texts]
    file = io.StringIO()
    csv.writer(file).writerows([range(4 * len(texts)), chain(*forms)])
    file.seek(0)
    read = pd.read_csv(file).to_numpy(object).reshape(-1, 4).tolist() if texts else []
    carried = {text for text, given, back in zip(texts, forms, read, strict=True) if given == back}
    for value in values:
        text = value if isinstance(value, str) else ""
        if text not in carried or text != text.strip() or not any(map(str.isalnum, text)):
            raise ValueError(
                f"{name} must be a non-empty text of printable characters, with a letter or digit, without blanks at "
                "its ends, and nothing that pandas.read_csv takes for a number, a truth value or a missing one; "
                f"got {shown(value)}"
            )


def check_text(name: str, value) -> None:
    """Raise `ValueError` unless `value` is a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a non-empty text; got {shown(value)}")


def check_path(name: str, value) -> None:
    """Raise `ValueError` unless `value` is a path, as text or `pathlib.Path`."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ValueError(f"{name} must be the path of a file; got {shown(value)}")


def check_type(name: str, value, kind: type, how: str = "") -> None:
    """Raise `ValueError` unless `value` is a `kind`; `how` says where one comes from."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a mecpart.{kind.__name__}{how and f', {how}'}; got {shown(value)}")


def check_callable(name: str, value, what: str) -> None:
    """Raise `ValueError` unless `value` can be called; `what` says with what, and what it returns."""
    if not callable(value) or isinstance(value, type):
        raise ValueError(f"{name} must be a function {what}; got {shown(value)}")


def check_key(name: str, value) -> None:
    """Raise `ValueError` unless `value` is one random key of JAX, of the new kind or of the old (uint32 [2])."""
    typed = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    shape = np.shape(value) if typed else _read(value)[1]
    if typed and shape == ():
        return
    if isinstance(value, jax.Array | np.ndarray) and value.dtype == np.uint32 and shape == (2,):
        return
    got = f"keys of shape {shape}; use vmap" if typed else shown(value)
    raise ValueError(f"{name} must be one random key, such as jax.random.key(0); got {got}")


def check_finite_product(what: str, *factors) -> None:
    """Raise `ValueError` where the product of `factors`, arrays that broadcast, is too large for float32."""
    if not is_concrete(*factors):
        return
    product = np.ones((), np.float64)
    with np.errstate(over="ignore"):
        for factor in factors:
            product = product * np.asarray(factor, np.float64)
    if np.max(product, initial=0) > _FLOAT.max:
        raise ValueError(f"{what} must be at most {_FLOAT.max:.2g}, the largest float32; got {np.max(product):g}")


def _read(value) -> tuple[np.dtype | None, tuple[int, ...] | None, np.ndarray | None]:
    """The type, shape and values of an array, a number or nested lists of them: None for what is not there to know."""
    if isinstance(value, list | tuple) and not is_concrete(value):
        dtypes, shapes, _ = zip(*map(_read, value), strict=True)
        if any(shape is None or shape != shapes[0] for shape in shapes):
            return None, None, None
        return np.result_type(*dtypes), (len(value), *shapes[0]), None
    if isinstance(value, np.ma.MaskedArray):  # what it hides is not to be computed with
        return None, None, None
    if isinstance(value, jax.core.Tracer | jax.ShapeDtypeStruct):
        return value.dtype, value.shape, None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, random keys
        return None, None, None
    return array.dtype, array.shape, array


def _is_floating(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or jnp.issubdtype(dtype, np.floating)  # bfloat16 is of no kind that NumPy knows


def _either(shapes: Iterable[tuple[int, ...]]) -> str:
    return " or ".join(map(str, shapes))
