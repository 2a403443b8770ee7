"""What a claim can be about: each measure yields one number per seed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from mecpart.comparison.curves import X, as_curves, where_along
from mecpart.comparison.headline import reduction, why_undefined
from mecpart.comparison.paper import PROPOSED
from mecpart.comparison.statistics import concordance, share
from mecpart.comparison.words import METRIC_WORDS, curve_words, listed
from mecpart.experiments.catalogue import EXPERIMENTS


@dataclass(frozen=True)
class Reduction:
    """By how many percent `method` is below the baselines in `metric`: mean of ratios over them and x."""

    metric: str
    baselines: tuple[str, ...]
    method: str = PROPOSED
    x: X = None

    def per_seed(self, results: pd.DataFrame) -> tuple[Float[np.ndarray, " rows"], str]:
        """The reduction in each seed (percent), and why it is undefined where it is NaN."""
        block = as_curves(results, self.metric)
        at = block.columns_at(self.x)
        ratios = [reduction(block.of(baseline)[:, at], block.of(self.method)[:, at]) for baseline in self.baselines]
        return np.mean(ratios, axis=(0, 2)), why_undefined(block, self.baselines, at)

    def words(self, figure: str) -> str:
        """What is measured in the experiment of that name, in words."""
        method = curve_words(self.method, figure)
        baselines = listed(curve_words(name, figure) for name in self.baselines)
        where = where_along(self.x, EXPERIMENTS[figure].x_name)
        return f"reduction [%] of the {METRIC_WORDS[self.metric]} by {method} against {baselines}, {where}"


@dataclass(frozen=True)
class Advantage:
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

    def per_seed(self, results: pd.DataFrame) -> tuple[Float[np.ndarray, " rows"], str]:
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
class Trend:
    """Rank correlation of one method's `metric` with x: 1 if it always rises, -1 if it always falls."""

    metric: str
    method: str = PROPOSED

    def per_seed(self, results: pd.DataFrame) -> tuple[Float[np.ndarray, " rows"], str]:
        """The rank correlation in each seed."""
        block = as_curves(results, self.metric)
        return concordance(block.xs, block.of(self.method)), "one setting only" if len(block.xs) < 2 else ""

    def words(self, figure: str) -> str:
        """What is measured in the experiment of that name, in words."""
        method = curve_words(self.method, figure)
        return f"rank correlation of the {METRIC_WORDS[self.metric]} of {method} along the sweep"


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
class Settling:
    """How many episodes `method` takes to settle, or how many fewer than `other`."""

    method: str = PROPOSED
    other: str | None = None
    episodes: int | None = None

    def per_seed(self, results: pd.DataFrame) -> tuple[Float[np.ndarray, " rows"], str]:
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
