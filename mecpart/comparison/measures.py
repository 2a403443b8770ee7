"""What a claim can be about: each measure yields one number per seed."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float

from mecpart.comparison.curves import X, as_curves, where_along
from mecpart.comparison.headline import Averaging, reduction, why_undefined
from mecpart.comparison.paper import PROPOSED
from mecpart.comparison.statistics import share
from mecpart.comparison.words import METRIC_WORDS, curve_words, listed
from mecpart.experiments.catalogue import EXPERIMENTS

#: One number for each seed, and why it is undefined where it is NaN.
PerSeed = tuple[Float[np.ndarray, " rows"], str]


class Measure(ABC):
    """What all measures can do, of a quantity `metric` of the curve `method` and, where there are any, the `others`."""

    metric: str
    method: str
    unit: ClassVar[str]

    @property
    def curves(self) -> tuple[str, ...]:
        """The curves that it is about."""
        return (self.method, *getattr(self, "others", ()))

    @abstractmethod
    def words(self, figure: str) -> str:
        """What is measured in the experiment of that name, in words."""

    @abstractmethod
    def per_seed(self, results: pd.DataFrame) -> PerSeed:
        """The number of each seed in one figure, and why it is undefined where it is NaN."""

    def pooled(self, tables: Sequence[pd.DataFrame]) -> PerSeed:
        """In each seed the mean over several figures, every figure with the same weight.

        **Raises:** `ValueError` if they do not have the same seeds.
        """
        told = [self.per_seed(table) for table in tables]
        return mean_in_each_seed([numbers for numbers, _ in told]), joined(reason for _, reason in told)


def mean_in_each_seed(numbers: Sequence[Float[np.ndarray, " seeds"]]) -> Float[np.ndarray, " seeds"]:
    """The mean over what was measured in the same seeds several times.

    **Raises:** `ValueError` for different numbers of seeds.
    """
    seeds = {len(those) for those in numbers}
    if len(seeds) > 1:
        raise ValueError(f"results must have the same seeds in every figure to be pooled; got {sorted(seeds)}")
    return np.mean(numbers, axis=0)


def joined(reasons: Iterable[str]) -> str:
    """Reasons in one text, each once."""
    return "; ".join(dict.fromkeys(filter(None, reasons)))


@dataclass(frozen=True)
class Reduction(Measure):
    """By how many percent `method` is below the `others` in `metric`, averaged over them and x.

    A ratio of means is no number of a single seed. Its linear part in the seed is one (the delta method): their mean
    over seeds is the ratio, and their spread, to first order, its error.
    """

    metric: str
    others: tuple[str, ...]
    method: str = PROPOSED
    x: X = None
    averaging: Averaging = "mean of ratios"
    unit: ClassVar[str] = "% of the baselines' value"

    def per_seed(self, results: pd.DataFrame) -> PerSeed:
        """The reduction in each seed (percent), and why it is undefined where it is NaN."""
        if self.averaging == "ratio of means":
            return self.pooled([results])
        block = as_curves(results, self.metric)
        at = block.columns_at(self.x)
        ratios = [reduction(block.of(baseline)[:, at], block.of(self.method)[:, at]) for baseline in self.others]
        return np.mean(ratios, axis=(0, 2)), why_undefined(block, self.others, at)

    def pooled(self, tables: Sequence[pd.DataFrame]) -> PerSeed:
        """As of every measure; a ratio of means is of the means over all figures."""
        if self.averaging == "mean of ratios":
            return super().pooled(tables)
        blocks = [as_curves(table, self.metric) for table in tables]

        def mean_delay(methods: Sequence[str]) -> Float[np.ndarray, " seeds"]:
            delays = [block.of(method)[:, block.columns_at(self.x)] for block in blocks for method in methods]
            return mean_in_each_seed([delay.mean(axis=1) for delay in delays])

        own, baseline = mean_delay([self.method]), mean_delay(self.others)
        if not baseline.mean():
            reasons = (why_undefined(block, self.others, block.columns_at(self.x)) for block in blocks)
            return np.full(len(own), np.nan), joined(reasons)
        ratio = own.mean() / baseline.mean()
        return 100 * (1 - ratio - (own - ratio * baseline) / baseline.mean()), ""

    def words(self, figure: str) -> str:
        """What is measured in the experiment of that name, in words."""
        method = curve_words(self.method, figure)
        baselines = listed(curve_words(name, figure) for name in self.others)
        where = where_along(self.x, EXPERIMENTS[figure].x_name)
        how = f" ({self.averaging})" if self.x is None else ""
        return f"reduction [%] of the {METRIC_WORDS[self.metric]} by {method} against {baselines}, {where}{how}"


@dataclass(frozen=True)
class Advantage(Measure):
    """How far `method` lies below the others' mean in `metric`, in percent of the reference's value: mean over x.

    The measure of directions. RPDI, the usual reference, uses every node, so that, unlike a reduction, this is defined
    where a baseline has no local delay at all. Rewards are negative like their reference: a higher one is a positive
    advantage.
    """

    metric: str
    others: tuple[str, ...]
    method: str = PROPOSED
    x: X = None
    reference: str = "RPDI"
    unit: ClassVar[str] = "% of RPDI's value"

    def per_seed(self, results: pd.DataFrame) -> PerSeed:
        """The advantage in each seed (percent of the reference), and why it is undefined where it is NaN."""
        block = as_curves(results, self.metric)
        at = block.columns_at(self.x)
        others = np.mean([block.of(other)[:, at] for other in self.others], axis=0)
        advantage = 100 * share(others - block.of(self.method)[:, at], block.of(self.reference)[:, at])
        return advantage.mean(axis=1), why_undefined(block, (self.reference,), at)

    def words(self, figure: str) -> str:
        """What is measured in the experiment of that name, in words."""
        method = curve_words(self.method, figure)
        others = listed(curve_words(name, figure) for name in self.others)
        share = f"[% of {curve_words(self.reference, figure)}]"
        where = where_along(self.x, EXPERIMENTS[figure].x_name)
        return f"{METRIC_WORDS[self.metric]} of {others} minus that of {method} {share}, {where}"


@dataclass(frozen=True)
class Trend(Measure):
    """By how many percent of its mean one method's `metric` changes from end to end of the sweep, along a fitted line.

    The line is that of least squares, so that every setting counts. A curve that is the same throughout has no change
    at all, nor one of rounding.
    """

    metric: str
    method: str = PROPOSED
    unit: ClassVar[str] = "change along the sweep in %"

    def per_seed(self, results: pd.DataFrame) -> PerSeed:
        """The change in each seed (percent)."""
        block = as_curves(results, self.metric)
        curve, xs = block.of(self.method), block.xs
        if len(xs) < 2:
            return np.full(len(curve), np.nan), "one setting only"
        centred = xs - xs.mean()
        change = curve @ centred / (centred @ centred) * (xs[-1] - xs[0])
        varies = np.ptp(curve, axis=1) > 0
        return 100 * np.divide(change, curve.mean(axis=1), out=np.zeros(len(curve)), where=varies), ""

    def words(self, figure: str) -> str:
        """What is measured in the experiment of that name, in words."""
        method = curve_words(self.method, figure)
        return f"change [%] of the {METRIC_WORDS[self.metric]} of {method} along the sweep"


SETTLING_BAND = 0.05


def settling_episode(episodes: Float[np.ndarray, " windows"], reward: Float[np.ndarray, "rows windows"]) -> np.ndarray:
    """First episode from which the reward stays within 5 % of its whole gain around its final level.

    The settling time of control engineering, on windowed mean rewards: the final level is the mean over the
    last tenth of the windows, the gain the distance from the first window to it. A curve that never moved
    has settled at the start.

    **Returns:** `[rows]`, the last episode of the window in which the curve settles.
    """
    last = max(1, reward.shape[1] // 10)
    final = reward[:, -last:].mean(axis=1, keepdims=True)
    outside = np.abs(reward - final) > SETTLING_BAND * np.abs(reward[:, :1] - final)
    settled = reward.shape[1] - np.argmax(outside[:, ::-1], axis=1)
    settled = np.where(outside.any(axis=1), np.minimum(settled, reward.shape[1] - 1), 0)
    return episodes[settled]


@dataclass(frozen=True)
class Settling(Measure):
    """How many episodes `method` takes to settle, or how many fewer than `other`."""

    method: str = PROPOSED
    other: str | None = None
    episodes: int | None = None
    metric: str = "reward"
    unit: ClassVar[str] = "episodes"

    @property
    def others(self) -> tuple[str, ...]:
        """That which it is to settle before, if there is one."""
        return (self.other,) if self.other else ()

    def per_seed(self, results: pd.DataFrame) -> PerSeed:
        """Episodes in each seed. Undefined if the run is shorter than the claim speaks of."""
        block = as_curves(results, "reward")
        if len(block.xs) < 2:
            return np.full(len(block.values), np.nan), "only the final level is known"
        if self.episodes is not None and block.xs[-1] < self.episodes:
            reason = f"the claim is about {self.episodes} episodes, this run has {block.xs[-1]:g}"
            return np.full(len(block.values), np.nan), reason
        settled = settling_episode(block.xs, block.of(self.method))
        if self.other is None:
            return settled, ""
        return settling_episode(block.xs, block.of(self.other)) - settled, ""

    def words(self, figure: str) -> str:
        """What is measured in the experiment of that name, in words."""
        method = curve_words(self.method, figure)
        if self.other is None:
            return f"episode from which the curve of {method} has settled"
        return f"episodes by which the curve of {method} settles before that of {curve_words(self.other, figure)}"
