"""What the paper's sentences come down to: facts, each of several rows of the table of claims, and their verdicts.

Many sentences say one thing: that Proposed has less delay than Greedy, than APDI and than RPDI, in each of four
figures, is twelve rows of `claims` and one fact. Two rows belong to one fact if they are about

* the same kind of thing: an order of methods, a trend, a stated percentage, how soon training settles;
* the same quantity (of a trend, the same sweep, and either total delay or what Proposed's is made of), in the same
  direction;
* the same methods, where the two learned baselines count as one kind of method, and the rules (Greedy, APDI and RPDI)
  as another; but of total delay, which the headline is about, each learned baseline stands by itself.

The number of a fact in a seed is the mean of its rows' numbers there, and so is what is published; a row that is
undefined counts on neither side. Its interval is Student's, at the level that Holm's correction gives to it among all
facts of the scenario that are tested. From this one interval come the verdict on the *sign* and that on the *size*, to
a factor of two of what is published, both by the rule in `rule.py`. The verdict of the fact is that on what the
sentence states, a direction or a number, with three exceptions, the last of which goes before the others:

* it is *not reproduced* as well if the interval of one of its rows lies where that row says it does not, at the fact's
  level divided by the number of its rows: a mean over weak and strong opponents proves nothing;
* it *depends on an unstated constant* if other values of what the ledger had to choose turn it round (`constants.py`);
* it *cannot hold* if the paper's equations exclude one of its rows for all constants (`impossible.py`).
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float

from mecpart.comparison.catalogue import FramesOf, by_scenario, paper_claims
from mecpart.comparison.claim import Claim
from mecpart.comparison.impossible import why_impossible
from mecpart.comparison.measures import Reduction, Settling, Trend, joined, mean_in_each_seed
from mecpart.comparison.naming import fact_name, places
from mecpart.comparison.paper import LEARNED, PROPOSED, RULES
from mecpart.comparison.rule import FEWEST_SEEDS, Region, about, beyond, direction, region_words, same_within, verdict
from mecpart.comparison.statistics import Estimate, holm_levels, least_level, student_interval

DEPENDS = "depends on an unstated constant"
CANNOT_HOLD = "cannot hold"
#: All that can be said of a fact.
VERDICTS = ("reproduced", "not reproduced", DEPENDS, CANNOT_HOLD, "undecided", "not run")

#: Columns of `facts` that a reader wants to see.
FACT_COLUMNS = [
    "fact", "where", "published", "measured", "low", "high", "sign", "size", "verdict", "rows", "reason",
]  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """Rows of the table of claims that say one thing."""

    rows: tuple[Claim, ...]

    @cached_property
    def name(self) -> str:
        """What it says, in a sentence."""
        return fact_name(self.rows)

    @property
    def of_size(self) -> bool:
        """Whether the sentence states a number rather than a direction, or that things are the same."""
        low, high = self.rows[0].region
        return math.isfinite(low) and math.isfinite(high) and low * high > 0

    def sign_region(self, published: float) -> Region | None:
        """Where the number must lie for the direction to be right; None if the sentence has none."""
        region = self.rows[0].region
        if isinstance(self.rows[0].measure, Settling) and self.of_size:
            return None
        if self.of_size or 0 in region:
            return direction(published)
        return region if math.isfinite(region[0]) and math.isfinite(region[1]) else beyond(published)

    def size_region(self, published: float) -> Region | None:
        """Where the number must lie for the size to be right; None if nothing differs in the paper."""
        return about(published) if published else None

    def region(self, published: float) -> Region:
        """Where the number must lie for what the sentence states."""
        region = self.size_region(published) if self.of_size else self.sign_region(published)
        assert region is not None
        return region


def paper_facts(catalogue: Sequence[Claim] | None = None) -> tuple[Fact, ...]:
    """The facts that the claims of the paper, or those of `catalogue`, come down to, in the order of their first."""
    grouped: dict[Hashable, list[Claim]] = {}
    for claim in paper_claims() if catalogue is None else catalogue:
        grouped.setdefault(_what(claim), []).append(claim)
    return tuple(Fact(tuple(rows)) for rows in grouped.values())


def _what(claim: Claim) -> Hashable:
    """What a claim is about: equal for those that say one thing."""
    measure, figures = claim.measure, claim.figures
    falls = claim.region[1] <= 0
    if isinstance(measure, Trend):
        return "trend", figures, falls, measure.method in RULES, measure.metric == "total_delay_s"
    if isinstance(measure, Settling):
        return "settles", measure.other and figures
    if isinstance(measure, Reduction):
        return "stated", measure.metric, claim.where == "abstract"
    apart = measure.metric == "total_delay_s" and not set(measure.curves) & set(RULES)
    kinds = [_kind(curve, figures, apart) for curve in measure.curves]
    return "order", measure.metric, *dict.fromkeys(kinds), falls


def _kind(curve: str, figures: tuple[str, ...], apart: bool) -> Hashable:
    """What kind of method, or in a figure that compares settings, that figure."""
    if curve in RULES:
        return "rules"
    if curve in LEARNED:
        return curve if apart else "learned"
    return curve if curve == PROPOSED else figures


@dataclass(frozen=True)
class _Told:
    """What results say of one fact: the number of each seed, what is published, and its rows that are defined."""

    fact: Fact
    run: bool
    numbers: Float[np.ndarray, " seeds"]
    published: float
    rows: list[tuple[Claim, Float[np.ndarray, " seeds"]]]
    reason: str

    @property
    def tested(self) -> bool:
        return len(self.numbers) >= FEWEST_SEEDS


def _told(fact: Fact, frames_of: FramesOf) -> _Told:
    found = [(claim, *claim.numbers(frames_of(claim))) for claim in fact.rows]
    defined = [(claim, numbers) for claim, numbers, _ in found if len(numbers) and not np.isnan(numbers).any()]
    rows = [claim for claim, _ in defined] or fact.rows
    return _Told(
        fact,
        any(len(numbers) for _, numbers, _ in found),
        mean_in_each_seed([numbers for _, numbers in defined]) if defined else np.empty(0),
        float(np.mean([claim.published_value() for claim in rows])),
        defined,
        joined(reason for _, _, reason in found),
    )


def facts(results: pd.DataFrame, rules: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every fact with what was measured and the verdicts, for each scenario in `results`.

    **Arguments:** as of `claims`.

    **Returns:** one row per scenario and fact: `fact`, `where`, `published`, `measured`, `low`, `high`, `level` (at
    which the interval was made), `sign` and `size` (reproduced, not reproduced, undecided, or empty where the sentence
    has none), `verdict` (one of `VERDICTS`), `rows` (how many of its rows were measured, of how many), `num_seeds`,
    `test` (what is measured, and where it must lie), `reason` and `scenario`.
    """
    judged = []
    for scenario, frames_of in by_scenario(results, rules).items():
        told = [_told(fact, frames_of) for fact in paper_facts()]
        tested = [at for at, one in enumerate(told) if one.tested]
        least = [least_level(told[at].numbers, told[at].fact.region(told[at].published)) for at in tested]
        levels = dict(zip(tested, holm_levels(least), strict=True))
        judged += [
            _judged(one, levels.get(at, math.nan), scenario) | {"scenario": scenario} for at, one in enumerate(told)
        ]
    return pd.DataFrame(judged)


def _judged(told: _Told, level: float, scenario: str) -> dict[str, object]:
    """A row of `facts`."""
    fact, published = told.fact, told.published
    measured = student_estimate(told.numbers, level)
    sign, size = fact.sign_region(published), fact.size_region(published)
    said, reason = verdict(measured, fact.region(published)), told.reason
    against = _rows_against(told, level)
    # What must be; the proof stands in the notebook `impossible`.
    impossible = joined(why_impossible(claim, scenario).partition(": ")[0] for claim in fact.rows)
    if impossible:
        said, reason = CANNOT_HOLD, impossible
    elif not told.run:
        said = "not run"
    elif against and said != "not reproduced":
        said, reason = "not reproduced", f"some rows are otherwise: {'; '.join(against)}"
    elif sign == beyond(published) and verdict(measured, same_within(abs(published) / 2)) == "reproduced":
        reason = f"there is no trend: it is {region_words(same_within(abs(published) / 2))} by two one-sided tests"
    return {
        "fact": fact.name,
        "where": places(fact.rows),
        "published": published,
        "measured": measured.value,
        "low": measured.low,
        "high": measured.high,
        "level": level,
        "sign": verdict(measured, sign) if sign and told.run else "",
        "size": verdict(measured, size) if size and told.run else "",
        "verdict": said,
        "rows": f"{len(told.rows)} of {len(fact.rows)}",
        "num_seeds": measured.num_seeds,
        "test": f"{fact.rows[0].measure.unit}, {region_words(fact.region(published))}",
        "reason": reason,
    }


def student_estimate(numbers: Float[np.ndarray, " seeds"], level: float) -> Estimate:
    """The mean over seeds with Student's interval at a level; without one if that is NaN."""
    if not len(numbers):
        return Estimate(math.nan, math.nan, math.nan, 0, math.nan)
    low, high = (math.nan, math.nan) if math.isnan(level) else student_interval(numbers, level)
    return Estimate(float(numbers.mean()), low, high, len(numbers), math.nan)


def _rows_against(told: _Told, level: float) -> list[str]:
    """The rows that are shown not to be as they say."""
    return [
        f"{claim.claim} ({claim.where})"
        for claim, numbers in told.rows
        if verdict(student_estimate(numbers, level / len(told.rows)), claim.region) == "not reproduced"
    ]
