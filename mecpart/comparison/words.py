"""What the tables say, as sentences computed from them."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from mecpart.comparison.curves import as_curves, groups
from mecpart.comparison.headline import delay_results
from mecpart.comparison.measures import Reduction
from mecpart.comparison.paper import DELAYS, LEARNED, METRIC_WORDS, PROPOSED, published
from mecpart.comparison.rule import FEWEST_SEEDS
from mecpart.comparison.statistics import estimate, share


def findings(results: pd.DataFrame, headline: pd.DataFrame, claims_table: pd.DataFrame) -> list[str]:
    """What the numbers say about the headline, and why they differ from the paper's where the numbers tell.

    **Arguments:** results of at least one delay figure, with `headline_table` and `claims` of the same
    results.

    **Returns:** sentences, each computed from the tables; those of one scenario follow each other.
    """
    sentences = []
    sweeps = delay_results(results)
    for scenario, part in sweeps.groupby("scenario", sort=False):
        table = headline.query("scenario == @scenario and baseline == 'learned'")
        scope = "pooled" if (table["figure"] == "pooled").any() else table["figure"].iloc[0]
        rows = table[table["figure"] == scope].set_index(["metric", "averaging"])
        sentences.append(_verdict_count(str(scenario), claims_table.query("scenario == @scenario")))
        figures = list(groups(part))
        sentences += [_headline_sentence(metric, rows.loc[metric], figures) for metric in DELAYS]
        sentences += [sentence for group in figures for sentence in _reasons(group)]
    return sentences


def _verdict_count(scenario: str, table: pd.DataFrame) -> str:
    count = table["verdict"].value_counts()
    told = ", ".join(
        f"{count.get(word, 0)} {word}" for word in ("reproduced", "not reproduced", "undecided", "not run")
    )
    seeds = int(table["num_seeds"].max())
    text = f"In `{scenario}`, of {len(table)} claims: {told} ({seeds} seeds)."
    if seeds < FEWEST_SEEDS:
        text += f" No verdict is given on fewer than {FEWEST_SEEDS} seeds."
    return text


def _headline_sentence(metric: str, rows: pd.DataFrame, figures: list[pd.DataFrame]) -> str:
    words = METRIC_WORDS[metric].capitalize()
    plotted = np.mean([np.mean(Reduction(metric, LEARNED).per_seed(published(_one_figure(g)))[0]) for g in figures])
    ratios, means = rows.loc["mean of ratios"], rows.loc["ratio of means"]
    text = (
        f"{words} against the learned baselines: the abstract states a reduction of "
        f"{ratios['abstract_percent']:g} %, the paper's own curves give {plotted:.2f} %. "
        f"Here the mean of ratios is {_percent(ratios)}, the ratio of means {_percent(means)}."
    )
    if not math.isnan(ratios["attainable_percent"]):
        text += f" The exact optimum or bound would have had {ratios['attainable_percent']:.2f} %"
        if ratios["attainable_percent"] < ratios["abstract_percent"]:
            text += ", so no method could have reached the stated value against baselines as good as these"
        text += "."
    return text


def _percent(row: pd.Series) -> str:
    if math.isnan(row["reduction_percent"]):
        return f"undefined ({row['reason']})"
    if math.isnan(row["low"]):
        return f"{row['reduction_percent']:.2f} %"
    return f"{row['reduction_percent']:.2f} % (95 % interval {row['low']:.2f} to {row['high']:.2f})"


def _one_figure(group: pd.DataFrame) -> str:
    return str(group["figure"].iloc[0])


def _reasons(group: pd.DataFrame) -> Iterator[str]:
    """What makes one figure's numbers differ: spread of the methods, distance to the optimum, local share."""
    figure = _one_figure(group)
    total, paper = as_curves(group, "total_delay_s"), as_curves(published(figure), "total_delay_s")
    methods = [method for method in paper.methods if method in total.methods]
    here, there = ({method: block.of(method).mean() for method in methods} for block in (total, paper))
    worst = max(here, key=here.__getitem__)
    yield (
        f"{figure}: the methods lie {_times(here)} apart (highest: {worst}), in the paper {_times(there)}; "
        f"where they lie further apart, relative reductions are larger for the same order."
    )
    if PROPOSED in total.methods and "optimal_total_delay_s" in group:
        optimum = as_curves(group, "optimal_total_delay_s").of(PROPOSED)
        gap = estimate(100 * share(total.of(PROPOSED) - optimum, optimum).mean(axis=1))
        text = f"{figure}: {PROPOSED} is {gap.value:.2f} % above the exact optimum or bound"
        if not math.isnan(gap.low):
            text += f" ({gap.low:.2f} to {gap.high:.2f})"
        yield text + ", the most that any method could still gain on it."
    if "local_delay_s" in group:
        local, paper_local = as_curves(group, "local_delay_s"), as_curves(published(figure), "local_delay_s")
        named = [method for method in (PROPOSED, *LEARNED, "Optimal", "Myopic") if method in local.methods]
        shares = [
            f"{method} {100 * local.of(method).sum() / total.of(method).sum():.1f} %"
            + (
                f" (paper {100 * paper_local.of(method).sum() / paper.of(method).sum():.1f} %)"
                if method in paper.methods
                else ""
            )
            for method in named
        ]
        yield (
            f"{figure}: share of total delay computed on the device: {', '.join(shares)}; a reduction of "
            f"local delay is a ratio of such shares, and is unstable or undefined where they are near zero."
        )


def _times(delays: dict[str, float]) -> str:
    return f"a factor of {max(delays.values()) / min(delays.values()):.2f}"
