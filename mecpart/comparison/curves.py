"""A result frame as a balanced block of numbers: seeds by methods by settings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from mecpart.comparison.words import setting_words

X = float | Literal["last"] | None


def where_along(x: X, x_name: str) -> str:
    """In words, which part of a curve `x` stands for."""
    if x is None:
        return "mean over the sweep"
    return "at the end" if x == "last" else setting_words(x_name, [x])


@dataclass(frozen=True)
class Curves:
    """One quantity of one figure in one scenario; `xs` are numbers, or names where what is swept has names.

    Published curves have one row of values and no seed.
    """

    figure: str
    scenario: str
    metric: str
    x_name: str
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    xs: Shaped[np.ndarray, " xs"]
    values: Float[np.ndarray, "rows methods xs"]

    def of(self, method: str) -> Float[np.ndarray, "rows xs"]:
        """Values of one method."""
        if method not in self.methods:
            raise ValueError(f"method must be one of {', '.join(self.methods)} in {self.figure}; got {method!r}")
        return self.values[:, self.methods.index(method)]

    def columns_at(self, x: float | Literal["last"] | None) -> slice | Int[np.ndarray, " chosen"]:
        """Where `x` lies on the axis: one setting, the last one, or (None) all of them."""
        if x is None:
            return slice(None)
        where = np.array([len(self.xs) - 1]) if x == "last" else np.flatnonzero(self.xs == x)
        if not len(where):
            have = ", ".join(map(_written, self.xs))
            raise ValueError(f"x must be one of {have} ({self.x_name} in {self.figure}); got {x!r}")
        return where


def _written(x: object) -> str:
    return f"{x:g}" if isinstance(x, (int, float, np.number)) else str(x)


def require(frame: pd.DataFrame, columns: Sequence[str], name: str = "results") -> None:
    """Raise `ValueError`, which calls the frame `name`, if it is none, lacks one of `columns`, or has no row."""
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"{name} must be a DataFrame; got {type(frame).__name__}")
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(f"{name} must have the columns {', '.join(columns)}; missing: {', '.join(missing)}")
    if frame.empty:
        raise ValueError(f"{name} must have at least one row; got none")


def by_setting(frame: pd.DataFrame) -> pd.DataFrame:
    """Results or published values with the name of the setting as method, in a figure that has a column `setting`.

    Where the settings are of several methods, a curve is named by both. A frame without settings is returned as it is,
    and so is what this returns: its column `setting` is empty.
    """
    if "setting" not in frame or not frame["setting"].fillna("").ne("").any():
        return frame
    several = frame["method"].nunique() > 1
    return frame.assign(method=frame["method"] + ", " + frame["setting"] if several else frame["setting"], setting="")


def as_curves(results: pd.DataFrame, metric: str) -> Curves:
    """Arrange one figure of one scenario as a block: every method and setting must have the same seeds.

    **Arguments:**

    - `results`: tidy results (or `published(...)`) of a single figure and scenario.
    - `metric`: the column to take.

    **Raises:** `ValueError` if `results` mixes figures or scenarios, or is not balanced: a paired
    comparison needs each seed exactly once for each method and setting.
    """
    require(results, ("figure", "scenario", "method", "x_name", "x", metric))
    for column in ("figure", "scenario", "x_name"):
        if results[column].nunique() != 1:
            raise ValueError(
                f"results must hold a single {column}; got {', '.join(map(str, results[column].unique()))}"
            )
    first = results.iloc[0]
    frame = results if "seed" in results else results.assign(seed=-1)
    methods, seeds, xs = (
        list(dict.fromkeys(frame["method"])),
        sorted(set(frame["seed"])),
        np.unique(frame["x"]),
    )
    block = pd.MultiIndex.from_product([seeds, methods, xs], names=["seed", "method", "x"])
    series = frame.set_index(["seed", "method", "x"])[metric]
    if series.index.has_duplicates:
        seed, method, x = series.index[series.index.duplicated()][0]
        raise ValueError(
            f"results must have each seed, method and x once; got seed {seed}, {method}, x = {_written(x)} twice"
        )
    if len(series) != len(block):
        seed, method, x = block.difference(series.index)[0]
        raise ValueError(
            f"results must have every seed for every method and x; missing: seed {seed}, {method}, x = {_written(x)}"
        )
    values = series.reindex(block).to_numpy(dtype=float).reshape(len(seeds), len(methods), len(xs))
    return Curves(
        figure=first["figure"],
        scenario=first["scenario"],
        metric=metric,
        x_name=first["x_name"],
        seeds=tuple(int(seed) for seed in seeds) if "seed" in results else (),
        methods=tuple(methods),
        xs=xs.astype(float) if pd.api.types.is_numeric_dtype(xs) else xs,
        values=values,
    )


def groups(results: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The parts of `results` that belong to one scenario and figure, in the order they appear in."""
    require(results, ("figure", "scenario"))
    for _, group in results.groupby(["scenario", "figure"], sort=False):
        yield group


def labelled(table: pd.DataFrame, block: Curves, **more: object) -> pd.DataFrame:
    labels = {
        "scenario": block.scenario,
        "figure": block.figure,
        "metric": block.metric,
        "x_name": block.x_name,
    }
    for position, (name, value) in enumerate(labels.items()):
        table.insert(position, name, value)
    return table.assign(**more)
