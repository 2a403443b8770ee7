"""The paper's claims as data, and the table of what was measured for each, with the verdict."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from mecpart.comparison.curves import as_curves, by_setting, require
from mecpart.comparison.measures import Advantage, Reduction, Settling, Trend
from mecpart.comparison.paper import (
    BASELINES,
    DELAY_FIGURES,
    DELAYS,
    LEARNED,
    PROPOSED,
    published,
    published_reductions,
)
from mecpart.comparison.rule import NEGATIVE, POSITIVE, SAME, Region, about, verdict
from mecpart.comparison.statistics import Estimate, estimate
from mecpart.comparison.words import METRIC_WORDS, figure_words, setting_words
from mecpart.experiments.runner import EXPERIMENTS


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
    """Sign and size of one headline percentage, against the two baselines that are published methods.

    The sign is held to each of them by itself: an average with a weak one proves nothing.
    """
    words = METRIC_WORDS[metric].capitalize()
    for baseline in LEARNED:
        yield Claim(
            claim=f"{words} of Proposed is below that of {baseline} on average",
            where="abstract",
            figures=DELAY_FIGURES,
            measure=Advantage(metric, (baseline,)),
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
    return (
        *_convergence_claims(),
        *_learning_rate_claims(),
        *_worker_claims(),
        *_batch_claims(),
        *(claim for figure in DELAY_FIGURES for claim in _sweep_claims(figure)),
        *_energy_claims(),
        *_network_claims(),
        *_stated_reductions(),
    )


def _convergence_claims() -> Iterator[Claim]:
    """Fig. 6: where the learning curves end, and how soon."""
    figure: dict[str, Any] = {"figures": ("fig6",), "notebook": "fig6"}
    for other in BASELINES:
        measure = Advantage("reward", (other,), x="last")
        yield Claim(
            f"Proposed ends with a higher mean reward than {other}",
            "Fig. 6",
            measure=measure,
            **figure,
            region=POSITIVE,
        )
    level = {"Proposed": -18300.0, "A3C": -18490.0, "Distributed DQN": -18560.0}
    for other in LEARNED:
        percent = round(100 * (level[other] - level[PROPOSED]) / level[other], 2)
        yield Claim(
            f"Proposed ends with a mean cost (negative reward) {percent} % below {other}'s",
            "text on Fig. 6",
            measure=Reduction("reward", (other,), x="last"),
            region=about(percent),
            published=percent,
            **figure,
        )
    for other in LEARNED:
        measure = Advantage("reward", (other,), "Greedy", x="last")
        yield Claim(
            f"Greedy ends with a higher mean reward than {other}", "Fig. 6", measure=measure, **figure, region=POSITIVE
        )
    yield _settles_by(PROPOSED, PROPOSED, 400, "text on Fig. 6", "fig6")
    yield Claim(
        "Proposed settles sooner than Distributed DQN (about 400 against 2000 episodes)",
        "text on Fig. 6",
        measure=Settling(PROPOSED, other="Distributed DQN"),
        region=POSITIVE,
        published=1600.0,
        **figure,
    )


def _settles_by(curve: str, name: str, episode: int, where: str, figure: str) -> Claim:
    return Claim(
        claim=f"{name} settles by about episode {episode} of 3000",
        where=where,
        figures=(figure,),
        measure=Settling(curve, episodes=3000),
        region=about(float(episode)),
        notebook=figure.rstrip("abc"),
        published=float(episode),
    )


def _ends_above(curve: str, other: str, claim: str, figure: str, region: Region = POSITIVE) -> Claim:
    """One curve of Fig. 7 against another, by their final rewards."""
    measure = Advantage("reward", (other,), curve, x="last", reference=other)
    return Claim(claim, f"Fig. {figure.removeprefix('fig')}", (figure,), measure, region, "fig7")


def _learning_rate_claims() -> Iterator[Claim]:
    best = "lr=0.01 lr_v=0.01"
    for other in ("lr=0.01 lr_v=0.001", "lr=0.001 lr_v=0.01", "lr=0.001 lr_v=0.001"):
        actor, critic = (part.partition("=")[2] for part in other.split())
        yield _ends_above(best, other, f"Learning rates 0.01 and 0.01 end higher than {actor} and {critic}", "fig7a")


def _worker_claims() -> Iterator[Claim]:
    for count in (6, 4, 2):
        yield _ends_above("workers=8", f"workers={count}", f"Eight workers end higher than {count}", "fig7b")
    yield _settles_by("workers=8", "Proposed with eight workers", 200, "Fig. 7b", "fig7b")


def _batch_claims() -> Iterator[Claim]:
    yield _settles_by("batch=64", "Proposed with batches of 64", 200, "Fig. 7c", "fig7c")
    yield _settles_by("batch=32", "Proposed with batches of 32", 1100, "Fig. 7c", "fig7c")
    for size in (32, 16, 8):
        yield Claim(
            f"Batches of 64 settle sooner than batches of {size} (about 200 against 1100 episodes)",
            "Fig. 7c",
            ("fig7c",),
            Settling("batch=64", other=f"batch={size}"),
            POSITIVE,
            "fig7",
            published=900.0,
        )
    for size in (32, 16, 8):
        yield _ends_above("batch=64", f"batch={size}", f"Batches of 64 and of {size} end the same", "fig7c", SAME)


_SWEPT = {"fig8": "edge servers are added", "fig9": "the network is cut into more blocks",
          "fig10": "more tasks are released", "fig12": "blocks may take longer"}  # fmt: skip
_PANELS = dict(zip(DELAYS, "abc", strict=True))


def _sweep_claims(figure: str) -> Iterator[Claim]:
    """The trends and orders that the curves of one delay figure show, on average over the sweep."""
    for method in (PROPOSED, *BASELINES):
        yield _trend(figure, "total_delay_s", method)
    for metric in ("edge_delay_s", "local_delay_s"):
        yield _trend(figure, metric, PROPOSED)
    fixed = ("Greedy", "APDI", "RPDI")
    yield from _orders(figure, "total_delay_s", PROPOSED, BASELINES)
    yield from _orders(figure, "total_delay_s", "A3C", ("Distributed DQN", *fixed))
    yield from _orders(figure, "total_delay_s", "Distributed DQN", fixed)
    yield from _orders(figure, "edge_delay_s", PROPOSED, BASELINES)
    yield from _orders(figure, "local_delay_s", PROPOSED, BASELINES)


def _trend(figure: str, metric: str, method: str) -> Claim:
    measure = Trend(metric, method)
    rises = float(measure.per_seed(published(figure))[0][0]) > 0
    return Claim(
        claim=f"{METRIC_WORDS[metric].capitalize()} of {method} {'rises' if rises else 'falls'} as {_SWEPT[figure]}",
        where=f"Fig. {figure.removeprefix('fig')}{_PANELS[metric]}",
        figures=(figure,),
        measure=measure,
        region=POSITIVE if rises else NEGATIVE,
        notebook=figure,
    )


def _orders(figure: str, metric: str, method: str, others: Sequence[str]) -> Iterator[Claim]:
    """Which of two methods the paper's curves show lower."""
    paper = as_curves(published(figure), metric)
    for other in others:
        lower, higher = method, other
        if paper.of(method).mean() > paper.of(other).mean():
            lower, higher = other, method
        yield Claim(
            claim=f"{lower} has less {METRIC_WORDS[metric]} than {higher}",
            where=f"Fig. {figure.removeprefix('fig')}{_PANELS[metric]}",
            figures=(figure,),
            measure=Advantage(metric, (higher,), lower),
            region=POSITIVE,
            notebook=figure,
        )


def _energy_claims() -> Iterator[Claim]:
    """Fig. 11 is measured on the runs of Figs. 8 to 10, so its published side stands in the claims."""
    for panel, figure in (("fig11a", "fig8"), ("fig11b", "fig9"), ("fig11c", "fig10")):
        paper, where = published(panel), f"Fig. {panel.removeprefix('fig')}"
        for other in BASELINES:
            measure = Advantage("energy_j", (other,))
            yield Claim(
                claim=f"Proposed uses less energy than {other}",
                where=where,
                figures=(figure,),
                measure=measure,
                region=POSITIVE,
                notebook="fig11",
                published=float(measure.per_seed(paper)[0][0]),
            )
        trend = Trend("energy_j")
        told = float(trend.per_seed(paper)[0][0])
        yield Claim(
            claim=f"Energy of Proposed {'rises' if told > 0 else 'falls'} as {_SWEPT[figure]}",
            where=where,
            figures=(figure,),
            measure=trend,
            region=POSITIVE if told > 0 else NEGATIVE,
            notebook="fig11",
            published=told,
        )


def _network_claims() -> Iterator[Claim]:
    """Fig. 13: the order of the four networks, and what a faster link does."""
    order = ("dnn=NiN", "dnn=AlexNet", "dnn=VGG16", "dnn=ResNet32")
    for lower, higher in itertools.pairwise(order):
        yield Claim(
            claim=f"{lower.removeprefix('dnn=')} has less total delay than {higher.removeprefix('dnn=')}",
            where="Fig. 13",
            figures=("fig13",),
            measure=Advantage("total_delay_s", (higher,), lower, reference=higher),
            region=POSITIVE,
            notebook="fig13",
        )
    for name in order:
        yield Claim(
            claim=f"Total delay of {name.removeprefix('dnn=')} falls as the link capacity grows",
            where="Fig. 13",
            figures=("fig13",),
            measure=Trend("total_delay_s", name),
            region=NEGATIVE,
            notebook="fig13",
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
        by_figure = {str(figure): by_setting(group) for figure, group in part.groupby("figure", sort=False)}
        rows += [
            _evaluated(claim, by_figure) | {"scenario": scenario}
            for claim in catalogue
            if notebook in (None, claim.notebook)
        ]
    return pd.DataFrame(rows)


def _evaluated(claim: Claim, by_figure: dict[str, pd.DataFrame]) -> dict:
    run = [figure for figure in claim.figures if figure in by_figure]
    missing = [figure for figure in claim.figures if figure not in by_figure]
    named = "" if not run or len(claim.figures) == 1 else f" ({figure_words(run)})"
    holds = "between {:g} and {:g}".format(*claim.region)
    holds = {POSITIVE: "above 0", NEGATIVE: "below 0"}.get(claim.region, holds)
    row = {
        "claim": claim.claim,
        "where": claim.where,
        "test": f"{claim.measure.words(EXPERIMENTS[claim.figures[0]].x_name)}{named}: {holds}",
        "published": claim.published_value(),
    }
    if not run:
        measured, said = (
            Estimate(math.nan, math.nan, math.nan, 0, math.nan, f"not run: {figure_words(missing)}"),
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
        "reason": measured.reason or (f"not run: {figure_words(missing)}" if missing else ""),
    }


def _measured_or_reason(claim: Claim, by_figure: dict[str, pd.DataFrame]) -> Estimate:
    """The estimate, or an undefined one where the run leaves out the setting that the claim is about."""
    x = getattr(claim.measure, "x", None)
    if isinstance(x, float):
        for figure in claim.figures:
            block = by_figure.get(figure)
            if block is not None and x not in set(block["x"]):
                seeds = block["seed"].nunique()
                return Estimate(
                    math.nan,
                    math.nan,
                    math.nan,
                    seeds,
                    math.nan,
                    f"not run {setting_words(str(block['x_name'].iloc[0]), [x])}",
                )
    return claim.measured(by_figure)
