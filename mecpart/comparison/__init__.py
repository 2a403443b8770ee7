"""What was measured, beside what the paper published: statistics, reductions, claims and verdicts.

How intervals are made stands at the head of `statistics.py`, how verdicts are reached at that of `rule.py`.
"""

from mecpart.comparison.catalogue import CLAIM_COLUMNS, claims, paper_claims
from mecpart.comparison.claim import Claim
from mecpart.comparison.curves import Curves, as_curves, by_setting
from mecpart.comparison.findings import answer, findings
from mecpart.comparison.headline import beside_published, headline_table, headline_verdicts
from mecpart.comparison.measures import Advantage, Reduction, Settling, Trend, settling_episode
from mecpart.comparison.paper import (
    BASELINES,
    DELAY_FIGURES,
    DELAYS,
    LEARNED,
    PROPOSED,
    published,
    published_reductions,
)
from mecpart.comparison.rule import FEWEST_SEEDS, NEGATIVE, POSITIVE, SAME, Region, about, verdict
from mecpart.comparison.statistics import (
    Estimate,
    bootstrap_interval,
    concordance,
    detectable_difference,
    estimate,
    expanded_level,
    interquartile_mean,
)
from mecpart.comparison.sweeps import paired_differences, rank_agreement, relative_delays, summary, trends
from mecpart.comparison.words import METRIC_WORDS, methods_table

__all__ = [
    "BASELINES",
    "CLAIM_COLUMNS",
    "DELAYS",
    "DELAY_FIGURES",
    "FEWEST_SEEDS",
    "LEARNED",
    "METRIC_WORDS",
    "NEGATIVE",
    "POSITIVE",
    "PROPOSED",
    "SAME",
    "Advantage",
    "Claim",
    "Curves",
    "Estimate",
    "Reduction",
    "Region",
    "Settling",
    "Trend",
    "about",
    "answer",
    "as_curves",
    "beside_published",
    "bootstrap_interval",
    "by_setting",
    "claims",
    "concordance",
    "detectable_difference",
    "estimate",
    "expanded_level",
    "findings",
    "headline_table",
    "headline_verdicts",
    "interquartile_mean",
    "methods_table",
    "paired_differences",
    "paper_claims",
    "published",
    "published_reductions",
    "rank_agreement",
    "relative_delays",
    "settling_episode",
    "summary",
    "trends",
    "verdict",
]
