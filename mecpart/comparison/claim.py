"""A statement of the paper that a measurement can bear out or not."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mecpart.comparison.curves import by_setting
from mecpart.comparison.measures import Advantage, Reduction, Settling, Trend
from mecpart.comparison.paper import published
from mecpart.comparison.rule import NEGATIVE, POSITIVE, Region, verdict
from mecpart.comparison.statistics import Estimate, estimate
from mecpart.comparison.words import figure_words, setting_words


@dataclass(frozen=True)
class Claim:
    """A statement of the paper that a measurement can bear out or not.

    - `claim`: the statement, restated; `where`: its place in the paper; `notebook`: where it is looked at.
    - `figures`: the experiments to measure it on. If several, those that have been run are pooled with
      equal weight.
    - `measure`: what is measured in each seed; `region`: where it must lie for the claim to hold.
    - `published`: the value that the paper states; None if its plotted curves give it.
    """

    claim: str
    where: str
    figures: tuple[str, ...]
    measure: Reduction | Advantage | Trend | Settling
    region: Region
    notebook: str
    published: float | None = None

    def published_value(self) -> float:
        """The value that the paper states or, by the same arithmetic, that its curves give."""
        if self.published is not None:
            return self.published
        told = [self.measure.per_seed(by_setting(published(figure)))[0] for figure in self.figures]
        return float(np.mean(told))

    def measured(self, results: Mapping[str, pd.DataFrame]) -> Estimate:
        """The value measured in `results`, a frame for each figure; undefined if they lack what the claim is about."""
        found = {figure: results[figure] for figure in self.figures if figure in results}
        if not found:
            return _undefined(self._not_run(results))
        x = getattr(self.measure, "x", None)
        for table in found.values():
            if isinstance(x, float) and x not in set(table["x"]):
                where = setting_words(str(table["x_name"].iloc[0]), [x])
                return _undefined(f"not run {where}", table["seed"].nunique())
        told = [self.measure.per_seed(table) for table in found.values()]
        seeds = {len(per_seed) for per_seed, _ in told}
        if len(seeds) > 1:
            raise ValueError(f"results must have the same seeds in every figure to be pooled; got {sorted(seeds)}")
        reasons = "; ".join(dict.fromkeys(reason for _, reason in told if reason))
        return estimate(np.mean([per_seed for per_seed, _ in told], axis=0), reasons)

    def judged(self, results: Mapping[str, pd.DataFrame]) -> dict[str, object]:
        """What was measured, and the verdict: a row of `claims`."""
        measured = self.measured(results)
        run = any(figure in results for figure in self.figures)
        return {
            "claim": self.claim,
            "where": self.where,
            "test": self._test(results),
            "published": self.published_value(),
            "measured": measured.value,
            "low": measured.low,
            "high": measured.high,
            "verdict": verdict(measured, self.region) if run else "not run",
            "notebook": self.notebook,
            "smallest_detectable": measured.detectable,
            "num_seeds": measured.num_seeds,
            "reason": measured.reason or self._not_run(results),
        }

    def _test(self, results: Mapping[str, pd.DataFrame]) -> str:
        """What is measured, on which of several figures, and where it must lie."""
        run = [figure for figure in self.figures if figure in results]
        on = f" ({figure_words(run)})" if run and len(self.figures) > 1 else ""
        between = "between {:g} and {:g}".format(*self.region)
        holds = {POSITIVE: "above 0", NEGATIVE: "below 0"}.get(self.region, between)
        return f"{self.measure.words(self.figures[0])}{on}: {holds}"

    def _not_run(self, results: Mapping[str, pd.DataFrame]) -> str:
        missing = [figure for figure in self.figures if figure not in results]
        return f"not run: {figure_words(missing)}" if missing else ""


def _undefined(reason: str, seeds: int = 0) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, seeds, math.nan, reason)
