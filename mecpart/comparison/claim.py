"""A statement of the paper that a measurement can bear out or not."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mecpart.comparison.curves import by_setting
from mecpart.comparison.measures import Measure, PerSeed
from mecpart.comparison.paper import published
from mecpart.comparison.rule import Region, region_words, verdict
from mecpart.comparison.statistics import estimate
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
    measure: Measure
    region: Region
    notebook: str
    published: float | None = None

    def published_value(self) -> float:
        """The value that the paper states or, by the same arithmetic, that its curves give."""
        if self.published is not None:
            return self.published
        told, _ = self.measure.pooled([by_setting(published(figure)) for figure in self.figures])
        return float(told[0])

    def numbers(self, results: Mapping[str, pd.DataFrame]) -> PerSeed:
        """What is measured in each seed of `results`, a frame for each figure; of none if they lack the figures."""
        found = {figure: results[figure] for figure in self.figures if figure in results}
        if not found:
            return np.empty(0), self._not_run(results)
        x = getattr(self.measure, "x", None)
        for table in found.values():
            if isinstance(x, float) and x not in set(table["x"]):
                where = setting_words(str(table["x_name"].iloc[0]), [x])
                return np.full(table["seed"].nunique(), np.nan), f"not run {where}"
        return self.measure.pooled(list(found.values()))

    def judged(self, results: Mapping[str, pd.DataFrame]) -> dict[str, object]:
        """What was measured, and the verdict: a row of `claims`."""
        measured = estimate(*self.numbers(results))
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
        return f"{self.measure.words(self.figures[0])}{on}: {region_words(self.region)}"

    def _not_run(self, results: Mapping[str, pd.DataFrame]) -> str:
        missing = [figure for figure in self.figures if figure not in results]
        return f"not run: {figure_words(missing)}" if missing else ""
