"""The paper's claims as data, and the table of what was measured for each, with the verdict."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from mecpart.comparison.curves import require
from mecpart.comparison.measures import Advantage, Reduction, Settling, Trend
from mecpart.comparison.paper import (
    BASELINES,
    DELAY_FIGURES,
    LEARNED,
    METRIC_WORDS,
    PROPOSED,
    published,
    published_reductions,
)
from mecpart.comparison.rule import NEGATIVE, POSITIVE, Region, about, verdict
from mecpart.comparison.statistics import Estimate, estimate


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
        told = [self.measure.per_seed(published(figure))[0] for figure in self.figures]
        return float(np.mean(told))

    def measured(self, results: dict[str, pd.DataFrame]) -> Estimate:
        """The value measured in `results`, a frame for each figure that has been run."""
        found = [self.measure.per_seed(results[figure]) for figure in self.figures if figure in results]
        seeds = {len(per_seed) for per_seed, _ in found}
        if len(seeds) > 1:
            raise ValueError(f"results must have the same seeds in every figure to be pooled; got {sorted(seeds)}")
        reasons = "; ".join(dict.fromkeys(reason for _, reason in found if reason))
        return estimate(np.mean([per_seed for per_seed, _ in found], axis=0), reasons)


#: Columns of `claims` that a reader wants to see.
CLAIM_COLUMNS = [
    "claim", "where", "published", "measured", "low", "high", "verdict", "smallest_detectable", "reason",
]  # fmt: skip

X_SYMBOLS = {"num_servers": "N", "num_blocks": "M", "max_tolerated_delay": "tau"}


def _lower(where: str, figure: str, metric: str, method: str, others: Sequence[str]) -> Iterator[Claim]:
    """Claims that `method` lies below each of the others, on average over the sweep."""
    for other in others:
        yield Claim(
            claim=f"{method} has less {METRIC_WORDS[metric]} than {other}",
            where=where,
            figures=(figure,),
            measure=Advantage(metric, (other,), method),
            region=POSITIVE,
            notebook=figure,
        )


def _stated_reductions() -> Iterator[Claim]:
    """Every percentage of `published_reductions` as a claim."""
    for row in published_reductions().itertuples():
        metric = str(row.metric)
        words = METRIC_WORDS[metric].capitalize()
        if row.where == "abstract":
            yield from _abstract_claims(metric, float(row.reduction_percent))
            continue
        panel = str(row.where).rpartition(" ")[2]
        figure = "fig" + panel.rstrip("abc")
        setting = f"{X_SYMBOLS[str(row.x_name)]} = {row.x:g}"
        yield Claim(
            claim=f"{words} is {row.reduction_percent:g} % below {row.baseline}'s at {setting}",
            where=str(row.where),
            figures=(figure,),
            measure=Reduction(metric, (str(row.baseline),), x=float(row.x)),
            region=about(float(row.reduction_percent)),
            notebook=figure,
            published=float(row.reduction_percent),
        )


def _abstract_claims(metric: str, percent: float) -> Iterator[Claim]:
    """Sign and size of one headline percentage, against the two baselines that are published methods."""
    words = METRIC_WORDS[metric].capitalize()
    yield Claim(
        claim=f"{words} of Proposed is below that of the learned baselines on average",
        where="abstract",
        figures=DELAY_FIGURES,
        measure=Advantage(metric, LEARNED),
        region=POSITIVE,
        notebook="headline",
    )
    yield Claim(
        claim=f"{words} of Proposed is {percent:g} % below that of the learned baselines on average",
        where="abstract",
        figures=DELAY_FIGURES,
        measure=Reduction(metric, LEARNED),
        region=about(percent),
        notebook="headline",
        published=percent,
    )


@lru_cache(maxsize=1)
def paper_claims() -> tuple[Claim, ...]:
    """The checkable statements of the paper's abstract and Sec. 5, as data."""
    fixed = ("Greedy", "APDI", "RPDI")
    stated_levels = {"A3C": -18490.0, "Distributed DQN": -18560.0}
    proposed_level = -18300.0
    claims: list[Claim] = []

    for other in BASELINES:
        claims.append(
            Claim(
                claim=f"Proposed ends with a higher mean reward than {other}",
                where="Fig. 6",
                figures=("fig6",),
                measure=Advantage("reward", (other,), x="last"),
                region=POSITIVE,
                notebook="fig6",
            )
        )
    for other, level in stated_levels.items():
        percent = round(100 * (level - proposed_level) / level, 2)
        claims.append(
            Claim(
                claim=f"Proposed ends with a mean cost (negative reward) {percent} % below {other}'s",
                where="text on Fig. 6",
                figures=("fig6",),
                measure=Reduction("reward", (other,), x="last"),
                region=about(percent),
                notebook="fig6",
                published=percent,
            )
        )
    for other in LEARNED:
        claims.append(
            Claim(
                claim=f"Greedy ends with a higher mean reward than {other}",
                where="Fig. 6",
                figures=("fig6",),
                measure=Advantage("reward", (other,), "Greedy", x="last"),
                region=POSITIVE,
                notebook="fig6",
            )
        )
    claims += [
        Claim(
            claim="Proposed settles by about episode 400 of 3000",
            where="text on Fig. 6",
            figures=("fig6",),
            measure=Settling(PROPOSED, episodes=3000),
            region=about(400.0),
            notebook="fig6",
            published=400.0,
        ),
        Claim(
            claim="Proposed settles sooner than Distributed DQN (about 400 against 2000 episodes)",
            where="text on Fig. 6",
            figures=("fig6",),
            measure=Settling(PROPOSED, other="Distributed DQN"),
            region=POSITIVE,
            notebook="fig6",
            published=1600.0,
        ),
    ]

    for method in (PROPOSED, *BASELINES):
        claims.append(
            Claim(
                claim=f"Total delay of {method} falls as edge servers are added",
                where="Fig. 8a",
                figures=("fig8",),
                measure=Trend("total_delay_s", method),
                region=NEGATIVE,
                notebook="fig8",
            )
        )
    for metric, panel in (("edge_delay_s", "8b"), ("local_delay_s", "8c")):
        claims.append(
            Claim(
                claim=f"{METRIC_WORDS[metric].capitalize()} of Proposed falls as edge servers are added",
                where=f"Fig. {panel}",
                figures=("fig8",),
                measure=Trend(metric),
                region=NEGATIVE,
                notebook="fig8",
            )
        )
    claims += _lower("Fig. 8a", "fig8", "total_delay_s", PROPOSED, BASELINES)
    claims += _lower("Fig. 8a", "fig8", "total_delay_s", "A3C", ("Distributed DQN", *fixed))
    claims += _lower("Fig. 8a", "fig8", "total_delay_s", "Distributed DQN", fixed)
    claims += _lower("Fig. 8b", "fig8", "edge_delay_s", PROPOSED, BASELINES)
    claims += _lower("Fig. 8c", "fig8", "local_delay_s", PROPOSED, ("A3C", "Distributed DQN", "Greedy"))
    claims += _lower("Fig. 8c", "fig8", "local_delay_s", "APDI", (PROPOSED,))
    claims += _energy_claims()
    claims += _stated_reductions()
    return tuple(claims)


def _energy_claims() -> Iterator[Claim]:
    """Fig. 11a is measured on the runs of Fig. 8, so its published side stands in the claims."""
    paper = published("fig11a")
    for other in BASELINES:
        measure = Advantage("energy_j", (other,))
        yield Claim(
            claim=f"Proposed uses less energy than {other} over the range of N",
            where="Fig. 11a",
            figures=("fig8",),
            measure=measure,
            region=POSITIVE,
            notebook="fig8",
            published=float(measure.per_seed(paper)[0][0]),
        )
    trend = Trend("energy_j")
    yield Claim(
        claim="Energy of Proposed falls as edge servers are added",
        where="Fig. 11a",
        figures=("fig8",),
        measure=trend,
        region=NEGATIVE,
        notebook="fig8",
        published=float(trend.per_seed(paper)[0][0]),
    )


def claims(
    results: pd.DataFrame, notebook: str | None = None, *, catalogue: Sequence[Claim] | None = None
) -> pd.DataFrame:
    """Every claim of the paper with what was measured and the verdict, for each scenario in `results`.

    **Arguments:**

    - `results`: tidy results of any number of figures and scenarios.
    - `notebook`: only the claims looked at in this notebook; all of them if None.
    - `catalogue`: the claims to evaluate; `paper_claims()` if None.

    **Returns:** one row per scenario and claim: `claim`, `where`, `test`, `published`, `measured`, `low`,
    `high`, `verdict` (reproduced, not reproduced, undecided, or "not run" if no experiment of the claim is
    in `results`), `notebook`, `smallest_detectable` (unit of the measured value), `num_seeds`, `reason` and
    `scenario`.

    **Raises:** `ValueError` for a notebook that no claim belongs to.
    """
    catalogue = paper_claims() if catalogue is None else catalogue
    notebooks = list(dict.fromkeys(claim.notebook for claim in catalogue))
    if notebook is not None and notebook not in notebooks:
        raise ValueError(f"notebook must be one of {', '.join(notebooks)}; got {notebook!r}")
    require(results, ("figure", "scenario"))
    rows = []
    for scenario, part in results.groupby("scenario", sort=False):
        by_figure = {str(figure): group for figure, group in part.groupby("figure", sort=False)}
        rows += [
            _evaluated(claim, by_figure) | {"scenario": scenario}
            for claim in catalogue
            if notebook in (None, claim.notebook)
        ]
    return pd.DataFrame(rows)


def _evaluated(claim: Claim, by_figure: dict[str, pd.DataFrame]) -> dict:
    run = [figure for figure in claim.figures if figure in by_figure]
    missing = [figure for figure in claim.figures if figure not in by_figure]
    named = "" if not run or len(claim.figures) == 1 else f" ({', '.join(run)})"
    holds = "between {:g} and {:g}".format(*claim.region)
    holds = {POSITIVE: "above 0", NEGATIVE: "below 0"}.get(claim.region, holds)
    row = {
        "claim": claim.claim,
        "where": claim.where,
        "test": f"{claim.measure}{named}: {holds}",
        "published": claim.published_value(),
    }
    if not run:
        measured, said = (
            Estimate(math.nan, math.nan, math.nan, 0, math.nan, f"not run: {', '.join(missing)}"),
            "not run",
        )
    else:
        measured = _measured_or_reason(claim, by_figure)
        said = verdict(measured, claim.region)
    return row | {
        "measured": measured.value,
        "low": measured.low,
        "high": measured.high,
        "verdict": said,
        "notebook": claim.notebook,
        "smallest_detectable": measured.detectable,
        "num_seeds": measured.num_seeds,
        "reason": measured.reason or (f"not run: {', '.join(missing)}" if missing else ""),
    }


def _measured_or_reason(claim: Claim, by_figure: dict[str, pd.DataFrame]) -> Estimate:
    """The estimate, or an undefined one where the run leaves out the setting that the claim is about."""
    x = getattr(claim.measure, "x", None)
    if isinstance(x, float):
        for figure in claim.figures:
            block = by_figure.get(figure)
            if block is not None and x not in set(block["x"]):
                seeds = block["seed"].nunique()
                return Estimate(math.nan, math.nan, math.nan, seeds, math.nan, f"x = {x:g} was not run")
    return claim.measured(by_figure)
