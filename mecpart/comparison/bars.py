"""The bars that a learner has to pass: what needs no training, or needs no look at the state."""

from collections.abc import Iterator, Sequence

import pandas as pd

from mecpart.comparison.curves import groups, require
from mecpart.comparison.measures import Reduction
from mecpart.comparison.paper import DELAY_FIGURES, LEARNED, PROPOSED
from mecpart.comparison.rule import NEGATIVE, POSITIVE, verdict
from mecpart.comparison.statistics import Estimate, estimate
from mecpart.comparison.words import comparison_words, listed, three_digits

#: Methods that are no baselines of the paper, and what passing them would take.
BARS = {
    "Earliest finish": "which learns nothing",
    "Best constant plan": "which never looks at the state, but is chosen knowing the episode",
}


def bars(results: pd.DataFrame) -> list[str]:
    """Whether the paper's learners have less total delay than each of `BARS`, as sentences with the numbers.

    **Arguments:** results; of these the delay figures count, pooled.

    **Returns:** one sentence for each bar that was run beside a learner, scenario after scenario. By how much is the
    mean of ratios to the learner, over figures, x and seeds; which is better is the verdict on its sign.
    """
    require(results, ("figure", "scenario", "method"))
    sentences = []
    for _, part in results[results["figure"].isin(DELAY_FIGURES)].groupby("scenario", sort=False):
        figures = list(groups(part))
        in_all = set.intersection(*(set(figure["method"]) for figure in figures))
        learners = [learner for learner in (PROPOSED, *LEARNED) if learner in in_all]
        sentences += [_sentence(bar, learners, figures) for bar in BARS if learners and bar in in_all]
    return sentences


def kept_up(results: pd.DataFrame) -> list[str]:
    """On how many networks the paper's learners keep up where slots couple, over the delay figures: a sentence for each
    scenario whose results tell."""
    require(results, ("figure", "scenario", "method", "seed"))
    sentences = []
    told = results[results["figure"].isin(DELAY_FIGURES) & results["method"].isin((PROPOSED, *LEARNED))]
    told = told[told["keeps_up"].notna()] if "keeps_up" in told else told.iloc[:0]
    for _, part in told.groupby("scenario", sort=False):
        runs = (
            f"{method} in {rows['keeps_up'].sum():g} of {len(rows)} runs "
            f"(its median {three_digits(rows['gap_percent'].median())} % above the bound)"
            for method, rows in part.groupby("method", sort=False)
        )
        sentences.append(
            f"Keeping up with what arrives, over all settings and {part['seed'].nunique()} networks: {listed(runs)}."
        )
    return sentences


def _sentence(bar: str, learners: Sequence[str], figures: Sequence[pd.DataFrame]) -> str:
    below = {
        learner: estimate(*Reduction("total_delay_s", (learner,), method=bar).pooled(figures)) for learner in learners
    }
    told = listed(f"{comparison_words(by.value, by.low, by.high)} than {learner}" for learner, by in below.items())
    return f"{bar}, {BARS[bar]}, takes {told} in total delay: {'; '.join(_outcome(below))}."


def _outcome(below: dict[str, Estimate]) -> Iterator[str]:
    beaten = [learner for learner, by in below.items() if verdict(by, POSITIVE) == "reproduced"]
    better = [learner for learner, by in below.items() if verdict(by, NEGATIVE) == "reproduced"]
    undecided = [learner for learner in below if learner not in (*beaten, *better)]
    if beaten:
        yield f"it beats {listed(beaten)}"
    if better:
        yield f"it is beaten by {listed(better)}"
    if undecided:
        yield f"undecided against {listed(undecided)}"
