"""Which facts depend on constants that the paper does not state: those whose verdict another value turns round.

The experiment `sensitivity` runs all methods in one setting, in worlds in which each constant of the ledger that is not
stated has another value. The facts that can be measured in one setting (orders of methods, stated averages) are judged
in each world by the rule of `facts.py`, at Holm's levels over the worlds.
"""

import numpy as np
import pandas as pd

from mecpart.comparison.claim import Claim
from mecpart.comparison.curves import require
from mecpart.comparison.facts import CANNOT_HOLD, DEPENDS, Fact, paper_facts, student_estimate
from mecpart.comparison.measures import Advantage, Measure, Reduction, mean_in_each_seed
from mecpart.comparison.paper import DELAY_FIGURES
from mecpart.comparison.rule import verdict
from mecpart.comparison.statistics import holm_levels, least_level
from mecpart.comparison.words import curve_words, listed

SENSITIVITY = "sensitivity"
_LEDGER = "ledger"
_DECIDED = ("reproduced", "not reproduced")


def facts_in_worlds(results: pd.DataFrame) -> pd.DataFrame:
    """The verdict on each fact in each world.

    **Arguments:** results of the experiment `sensitivity`, on five seeds or more.

    **Returns:** one row per scenario, fact and world: `fact`, `world`, `measured`, `low`, `high`, `level` (at which the
    interval was made), `verdict` and `scenario`.
    """
    require(results, ("figure", "scenario", "setting", "method", "seed", "x"))
    rows = []
    for scenario, part in results[results["figure"] == SENSITIVITY].groupby("scenario", sort=False):
        worlds = {str(world): frame.drop(columns="setting") for world, frame in part.groupby("setting", sort=False)}
        for fact in paper_facts():
            rows += [row | {"scenario": scenario} for row in _in_worlds(fact, worlds)]
    return pd.DataFrame(rows)


def _in_worlds(fact: Fact, worlds: dict[str, pd.DataFrame]) -> list[dict[str, object]]:
    known = set.intersection(*(set(frame["method"]) for frame in worlds.values()))
    claims: dict[Measure, Claim] = {claim.measure: claim for claim in fact.rows if _in_one_setting(claim, known)}
    numbers = {}
    for world, frame in worlds.items():
        defined = [those for measure in claims if not np.isnan(those := measure.per_seed(frame)[0]).any()]
        if defined and len(defined[0]) > 1:
            numbers[world] = mean_in_each_seed(defined)
    if not numbers:
        return []
    region = fact.region(float(np.mean([claim.published_value() for claim in claims.values()])))
    levels = holm_levels([least_level(those, region) for those in numbers.values()])
    rows: list[dict[str, object]] = []
    for (world, those), level in zip(numbers.items(), levels, strict=True):
        found = student_estimate(those, level)
        ends = {"measured": found.value, "low": found.low, "high": found.high, "level": level}
        rows.append({"fact": fact.name, "world": world, **ends, "verdict": verdict(found, region)})
    return rows


def _in_one_setting(claim: Claim, methods: set[str]) -> bool:
    """Whether a claim can be measured on one setting and fresh episodes of `methods`."""
    measure = claim.measure
    of_sweeps = set(claim.figures) <= set(DELAY_FIGURES) and set(measure.curves) <= methods
    return of_sweeps and isinstance(measure, Advantage | Reduction) and measure.x is None


def depending(facts: pd.DataFrame, worlds: pd.DataFrame) -> pd.DataFrame:
    """A table of `facts` with the verdict on those that are not alike in all worlds, and with the constants named.

    A fact depends on a constant if it is decided in the ledger's world (or, where it is undecided there, by the
    figures) and decided otherwise with another value of the constant; or if it is decided by neither, and both ways
    with other values.

    **Arguments:** `worlds`: from `facts_in_worlds`.
    """
    facts = facts.copy()
    for at, row in facts.iterrows():
        here = worlds[(worlds["fact"] == row["fact"]) & (worlds["scenario"] == row["scenario"])]
        said = dict(zip(here["world"], here["verdict"], strict=True))
        base = [one for one in (said.get(_LEDGER), row["verdict"]) if one in _DECIDED][:1]
        where = {one: [world for world, other in said.items() if other == one] for one in _DECIDED if [one] != base}
        if row["verdict"] not in (CANNOT_HOLD, "not run") and all(where.values()):
            told = [f"{base[0]} with the ledger's values"] if base else []
            told += [f"{one} with {listed(_words(worlds))}" for one, worlds in where.items()]
            facts.loc[at, ["verdict", "reason"]] = DEPENDS, "; ".join(told)
    return facts


def _words(worlds: list[str]) -> list[str]:
    return [curve_words(world, SENSITIVITY) for world in worlds]
