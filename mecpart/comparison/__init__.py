"""What was measured, beside what the paper published: statistics, reductions, claims and verdicts.

How intervals are made stands at the head of `statistics.py`, how verdicts are reached at that of `rule.py`, and what
facts are at that of `facts.py`.
"""

from mecpart.comparison.bars import BARS, bars, kept_up
from mecpart.comparison.catalogue import CLAIM_COLUMNS, claims, paper_claims
from mecpart.comparison.claim import Claim
from mecpart.comparison.constants import depending, facts_in_worlds
from mecpart.comparison.curves import Curves, as_curves, by_setting
from mecpart.comparison.facts import FACT_COLUMNS, Fact, facts, paper_facts
from mecpart.comparison.findings import answer, counted, findings
from mecpart.comparison.headline import beside_published, headline_table, headline_verdicts
from mecpart.comparison.measures import Advantage, Measure, Reduction, Settling, Trend, settling_episode
from mecpart.comparison.paper import (
    BASELINES,
    DELAY_FIGURES,
    DELAYS,
    LEARNED,
    PROPOSED,
    RULES,
    published,
    published_reductions,
)
from mecpart.comparison.rule import FEWEST_SEEDS, NEGATIVE, POSITIVE, Region, about, verdict
from mecpart.comparison.statistics import (
    Estimate,
    bootstrap_interval,
    concordance,
    detectable_difference,
    estimate,
    expanded_level,
    holm_levels,
    interquartile_mean,
    least_level,
    student_interval,
)
from mecpart.comparison.sweeps import (
    ends_under_load,
    paired_differences,
    rank_agreement,
    relative_delays,
    summary,
    trends,
    under_load,
)
from mecpart.comparison.words import METRIC_WORDS, methods_table

__all__ = [
    "BARS",
    "BASELINES",
    "CLAIM_COLUMNS",
    "DELAYS",
    "DELAY_FIGURES",
    "FACT_COLUMNS",
    "FEWEST_SEEDS",
    "LEARNED",
    "METRIC_WORDS",
    "NEGATIVE",
    "POSITIVE",
    "PROPOSED",
    "RULES",
    "Advantage",
    "Claim",
    "Curves",
    "Estimate",
    "Fact",
    "Measure",
    "Reduction",
    "Region",
    "Settling",
    "Trend",
    "about",
    "answer",
    "as_curves",
    "bars",
    "beside_published",
    "bootstrap_interval",
    "by_setting",
    "claims",
    "concordance",
    "counted",
    "depending",
    "detectable_difference",
    "ends_under_load",
    "estimate",
    "expanded_level",
    "facts",
    "facts_in_worlds",
    "findings",
    "headline_table",
    "headline_verdicts",
    "holm_levels",
    "interquartile_mean",
    "kept_up",
    "least_level",
    "methods_table",
    "paired_differences",
    "paper_claims",
    "paper_facts",
    "published",
    "published_reductions",
    "rank_agreement",
    "relative_delays",
    "settling_episode",
    "student_interval",
    "summary",
    "trends",
    "under_load",
    "verdict",
]
