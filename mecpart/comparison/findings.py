"""What the tables say, as sentences computed from them."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from mecpart.comparison.bars import bars, kept_up
from mecpart.comparison.curves import as_curves, groups
from mecpart.comparison.facts import VERDICTS
from mecpart.comparison.headline import delay_results, headline_verdicts, main_figures
from mecpart.comparison.measures import Reduction
from mecpart.comparison.paper import DELAYS, LEARNED, PROPOSED, published
from mecpart.comparison.rule import FEWEST_SEEDS
from mecpart.comparison.statistics import estimate, share
from mecpart.comparison.words import METRIC_WORDS, NO_INTERVAL, SCENARIO_WORDS, comparison_words, figure_words, listed


def findings(results: pd.DataFrame, headline: pd.DataFrame, judged: pd.DataFrame) -> list[str]:
    """What the numbers say about the headline, and why they differ from the paper's where the numbers tell.

    **Arguments:** results of at least one delay figure, with `headline_table` and `facts` (of one figure rather the
    `claims`) of the same results.

    **Returns:** sentences, each computed from the tables; those of one scenario follow each other, its `answer` first.
    """
    sentences = []
    sweeps = delay_results(results)
    for scenario, part in sweeps.groupby("scenario", sort=False):
        table = headline[headline["scenario"] == scenario]
        sentences += answer(table) + bars(part) + kept_up(part)
        sentences.append(counted(judged[judged["scenario"] == scenario], part["seed"].nunique()))
        rows = main_figures(table.query("baseline == 'learned'")).set_index(["metric", "averaging"])
        figures = list(groups(part))
        sentences += [_headline_sentence(metric, rows.loc[metric], figures) for metric in DELAYS]
        sentences += [sentence for group in figures for sentence in _reasons(group)]
    return sentences


def answer(headline: pd.DataFrame) -> list[str]:
    """Does Proposed outperform the state of the art: what the paper says, what comes out, by how much, and why.

    **Arguments:** a `headline_table`.

    **Returns:** for each scenario one sentence on total delay that says all of it, one with the verdicts, and one each
    on edge and local delay; none of a scenario without learned baselines.
    """
    sentences = []
    for scenario, table in headline_verdicts(headline).groupby("scenario", sort=False):
        by_metric = {str(metric): rows.set_index("baseline") for metric, rows in table.groupby("metric", sort=False)}
        for metric, rows in by_metric.items():
            if metric == "total_delay_s":
                sentences += [_answer(str(scenario), rows), _judged(rows)]
            else:
                sentences.append(_on_part(metric, rows))
    return sentences


def _against(rows: pd.DataFrame) -> str:
    """ "0.20 % more than A3C and 0.96 % less than Distributed DQN", with intervals."""
    told = (
        f"{comparison_words(row['reduction_percent'], row['low'], row['high'])} than {name}"
        for name, row in rows.iterrows()
        if name in LEARNED
    )
    return listed(told)


def _answer(scenario: str, rows: pd.DataFrame) -> str:
    stated = rows["abstract_percent"].iloc[0]
    text = (
        f"The paper says that its method, {PROPOSED}, has {stated:g} % less total delay than the state of the art; "
        f"{SCENARIO_WORDS.get(scenario, f'in the scenario {scenario}')}, it has {_against(rows)}"
    )
    attainable = rows["attainable_percent"].drop("best learned", errors="ignore").dropna()
    near = attainable[attainable < stated]
    if len(near):
        verb = "is" if len(near) == 1 else "are"
        text += (
            f", because {listed(near.index)} {verb} so close to the best possible that no method could have had more "
        )
        text += f"than {listed(f'{percent:.2f} %' for percent in near)} less"
    elif len(attainable):
        text += f"; at most {listed(f'{percent:.2f} %' for percent in attainable)} less was possible"
    return f"{text}."


def _judged(rows: pd.DataFrame) -> str:
    names = {"best learned": "the better of the two in each setting"}
    said = listed(f"{row['less']} against {names.get(str(name), name)}" for name, row in rows.iterrows())
    text = f"That it has less total delay than the state of the art is {said}"
    if "best learned" in rows.index:
        best = rows.loc["best learned"]
        text += f", where it has {comparison_words(best['reduction_percent'], best['low'], best['high'])}"
    by_this_much = [names.get(str(name), str(name)) for name in rows.index[rows["by_this_much"] == "reproduced"]]
    text += f"; that it is less by about {rows['abstract_percent'].iloc[0]:g} % is reproduced against "
    text += f"{listed(by_this_much) if by_this_much else 'none of them'}."
    if rows["num_seeds"].iloc[0] < FEWEST_SEEDS:
        text += f" No verdict is given on fewer than {FEWEST_SEEDS} seeds."
    return text


def _on_part(metric: str, rows: pd.DataFrame) -> str:
    """Of edge and local delay."""
    stated = rows["abstract_percent"].iloc[0]
    return f"Of {METRIC_WORDS[metric]} the paper says {stated:g} % less; here {PROPOSED} has {_against(rows)}."


def counted(judged: pd.DataFrame, seeds: int) -> str:
    """How many `facts` or `claims` of a scenario there are of each verdict, in a sentence."""
    count = judged["verdict"].value_counts()
    always = ("reproduced", "not reproduced", "undecided")
    told = listed(f"{count.get(word, 0)} {word}" for word in VERDICTS if word in always or count.get(word, 0))
    what = "facts that the paper's sentences come down to" if "fact" in judged else "claims"
    return f"In `{judged['scenario'].iloc[0]}`, of {len(judged)} {what}: {told} ({seeds} seeds)."


def _headline_sentence(metric: str, rows: pd.DataFrame, figures: list[pd.DataFrame]) -> str:
    words = METRIC_WORDS[metric].capitalize()
    plotted = np.mean([np.mean(Reduction(metric, LEARNED).per_seed(published(_one_figure(g)))[0]) for g in figures])
    ratios, means = rows.loc["mean of ratios"], rows.loc["ratio of means"]
    text = (
        f"{words} against the learned baselines on average: the abstract states a reduction of "
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
        return f"{row['reduction_percent']:.2f} %{NO_INTERVAL}"
    return f"{row['reduction_percent']:.2f} % (95 % interval {row['low']:.2f} to {row['high']:.2f})"


def _one_figure(group: pd.DataFrame) -> str:
    return str(group["figure"].iloc[0])


def _reasons(group: pd.DataFrame) -> Iterator[str]:
    """What makes one figure's numbers differ: spread of the methods, distance to the optimum, local share."""
    figure = _one_figure(group)
    name = figure_words([figure])
    total, paper = as_curves(group, "total_delay_s"), as_curves(published(figure), "total_delay_s")
    methods = [method for method in paper.methods if method in total.methods]
    here, there = ({method: block.of(method).mean() for method in methods} for block in (total, paper))
    worst = max(here, key=here.__getitem__)
    yield (
        f"{name}: the methods lie {_times(here)} apart (highest: {worst}), in the paper {_times(there)}; "
        f"where they lie further apart, relative reductions are larger for the same order."
    )
    if PROPOSED in total.methods and "optimal_total_delay_s" in group:
        optimum = as_curves(group, "optimal_total_delay_s").of(PROPOSED)
        gap = estimate(100 * share(total.of(PROPOSED) - optimum, optimum).mean(axis=1))
        interval = NO_INTERVAL if math.isnan(gap.low) else f" ({gap.low:.2f} to {gap.high:.2f})"
        yield (
            f"{name}: {PROPOSED} is {gap.value:.2f} % above the exact optimum or bound{interval}, the most that any "
            f"method could still gain on it."
        )
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
            f"{name}: share of total delay computed on the device: {', '.join(shares)}; a reduction of "
            f"local delay is a ratio of such shares, and is unstable or undefined where they are near zero."
        )


def _times(delays: dict[str, float]) -> str:
    return f"a factor of {max(delays.values()) / min(delays.values()):.2f}"
