"""Reductions of total, edge and local delay, in every sense that the headline could have."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from mecpart.comparison.curves import Curves, as_curves, groups, require
from mecpart.comparison.paper import (
    BASELINES,
    DELAY_FIGURES,
    DELAYS,
    LEARNED,
    PROPOSED,
    published,
    published_reductions,
)
from mecpart.comparison.rule import POSITIVE, about, verdict
from mecpart.comparison.statistics import Estimate, percentile_interval, resampled_weights, share
from mecpart.comparison.words import METRIC_WORDS, figure_words, setting_words

#: How a reduction can be averaged over seeds, settings and baselines: a reduction of each and their mean, or one of the
#: mean delays, which is defined where a baseline has no such delay on some seed.
Averaging = Literal["mean of ratios", "ratio of means"]
AVERAGING: tuple[Averaging, ...] = get_args(Averaging)

#: Names of sets of baselines, of which the reduction is averaged, and of choices from sets.
SETS = {"learned": LEARNED, "all": BASELINES}
BEST_OF = {"best learned": LEARNED, "best": BASELINES}


def reduction(
    baseline: Float[np.ndarray, "*shape"], method: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """100 (baseline - method) / baseline, NaN where the baseline is zero."""
    return 100 * share(baseline - method, baseline)


def why_undefined(block: Curves, baselines: Sequence[str], at: slice | Int[np.ndarray, " chosen"]) -> str:
    """Where a reduction has a zero in its denominator, in words; empty if nowhere."""
    reasons = []
    for baseline in baselines:
        zero: Bool[np.ndarray, "rows xs"] = block.of(baseline)[:, at] == 0
        if zero.any():
            metric, figure = METRIC_WORDS.get(block.metric, block.metric), figure_words([block.figure])
            where = setting_words(block.x_name, block.xs[at][zero.any(axis=0)])
            count = f", {zero.any(axis=1).sum()} of {len(zero)} seeds" if block.seeds else ""
            reasons.append(f"the {metric} of {baseline} is 0 {where} ({figure}{count})")
    return "; ".join(reasons)


@dataclass(frozen=True)
class _Averages:
    """Reductions against a baseline or a set of them in one figure; the sample first, then its resamples."""

    ratio: Float[np.ndarray, " draws"]
    baseline: Float[np.ndarray, " draws"]
    method: Float[np.ndarray, " draws"]


def _averages(block: Curves, totals: Curves, method: Float[np.ndarray, "rows xs"]) -> dict[str, _Averages]:
    """Averages of one figure for each baseline alone and for the sets of them that are complete."""
    baselines = [name for name in BASELINES if name in block.methods]
    draws = np.full((1, len(block.values)), 1 / len(block.values))
    if len(block.seeds) > 1:
        draws = np.concatenate([draws, resampled_weights(len(block.values))])
    delay = np.stack([block.of(name) for name in baselines], axis=1)
    ratios = np.tensordot(draws, reduction(delay, method[:, None]), axes=1)
    delays = np.tensordot(draws, delay, axes=1)
    own = (draws @ method).mean(axis=1)

    sets = {name: [at] for at, name in enumerate(baselines)}
    for name, members in SETS.items():
        if set(members) <= set(baselines):
            sets[name] = [baselines.index(member) for member in members]
    found = {
        name: _Averages(ratios[:, at].mean(axis=(1, 2)), delays[:, at].mean(axis=(1, 2)), own)
        for name, at in sets.items()
    }
    for name, members in BEST_OF.items():
        if set(members) <= set(baselines):
            # The baseline of least total delay at each x, chosen anew in each resample.
            of_set = [baselines.index(member) for member in members]
            total = np.tensordot(draws, np.stack([totals.of(member) for member in members], axis=1), axes=1)
            best = total.argmin(axis=1)[:, None]
            ratio, delay = (
                np.take_along_axis(array[:, of_set], best, axis=1).mean(axis=(1, 2)) for array in (ratios, delays)
            )
            found[name] = _Averages(ratio, delay, own)
    return found


def delay_results(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of the figures that the headline can be about: those showing the delays of all six methods."""
    require(results, ("figure", "scenario"))
    chosen = results[results["figure"].isin(DELAY_FIGURES)]
    if chosen.empty:
        raise ValueError(
            f"results must hold at least one of {', '.join(DELAY_FIGURES)}; "
            f"got {', '.join(dict.fromkeys(results['figure']))}"
        )
    return chosen


def headline_table(results: pd.DataFrame, method: str = PROPOSED) -> pd.DataFrame:
    """Mean reductions of total, edge and local delay by `method`, in every sense the headline could have.

    Works on measured results and, without intervals, on `published(...)`: the latter shows what the paper's
    own curves give.

    Of the figures in `results`, only delay figures (8, 9, 10, 12) are used. Baselines: each alone;
    "learned" (the mean over A3C and Distributed DQN) and "best learned" (of the two, the one of least total delay at
    each x); "all" five, and the "best" of them.
    Averaging: "mean of ratios" (a reduction at each seed and x, then their mean, equal weight for each
    figure) and "ratio of means" (one reduction of the mean delays). Figures: each alone, and "pooled" if
    there are several.

    **Returns:** one row per scenario, metric, figure, baseline and averaging: `reduction_percent`, `low`,
    `high`, `attainable_percent` (the reduction that the exact optimum or bound would have had; total delay
    only), `abstract_percent` (what the paper's abstract states), `num_seeds`, and `reason` where the
    reduction is undefined because a baseline's delay is zero.

    **Raises:** `ValueError` if `method` is missing or figures to be pooled do not have the same seeds.
    """
    stated = published_reductions().query("where == 'abstract'").set_index("metric")["reduction_percent"]
    rows: list[dict] = []
    for scenario, part in delay_results(results).groupby("scenario", sort=False):
        for metric in DELAYS:
            per_figure: dict[str, tuple[Curves, dict, dict]] = {}
            for group in groups(part):
                block, totals = as_curves(group, metric), as_curves(group, "total_delay_s")
                best_possible = {}
                if metric == "total_delay_s" and "optimal_total_delay_s" in group:
                    optimum = as_curves(group, "optimal_total_delay_s").of(method)
                    best_possible = _averages(block, totals, optimum)
                per_figure[block.figure] = (block, _averages(block, totals, block.of(method)), best_possible)
            scopes = {figure: [figure] for figure in per_figure}
            if len(per_figure) > 1:
                seeds = {figure: block.seeds for figure, (block, _, _) in per_figure.items()}
                if len(set(seeds.values())) > 1:
                    told = "; ".join(f"{figure}: {len(had)} seeds" for figure, had in seeds.items())
                    raise ValueError(f"results must have the same seeds in every figure to be pooled; got {told}")
                scopes["pooled"] = list(per_figure)
            for scope, figures in scopes.items():
                rows += _headline_rows(str(scenario), metric, scope, [per_figure[figure] for figure in figures])
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("num_seeds"), "abstract_percent", table["metric"].map(stated))
    return table


def beside_published(headline: pd.DataFrame) -> pd.DataFrame:
    """A `headline_table` with `published_curves_percent`, what the same arithmetic makes of the paper's curves."""
    figures = [figure for figure in DELAY_FIGURES if figure in set(headline["figure"])]
    paper = headline_table(pd.concat([published(figure) for figure in figures]))
    keys = ["metric", "figure", "baseline", "averaging"]
    told = paper[[*keys, "reduction_percent"]].rename(columns={"reduction_percent": "published_curves_percent"})
    return headline.merge(told, on=keys, how="left")


def main_figures(headline: pd.DataFrame) -> pd.DataFrame:
    """The rows of a `headline_table` over all its figures pooled, or those of the only figure."""
    figures = headline["figure"]
    return headline[figures == ("pooled" if (figures == "pooled").any() else figures.iloc[0])]


def headline_verdicts(headline: pd.DataFrame) -> pd.DataFrame:
    """Whether the method outperforms the state of the art: held to each learned baseline and to the better of the two.

    An average over both proves nothing where one of them is weak.

    **Arguments:** a `headline_table`.

    **Returns:** one row per scenario, metric and baseline (those of `LEARNED` and "best learned" that are there), over
    all figures: the columns of `headline`, of total delay for the mean of ratios, of edge and local delay, of which
    single runs may have almost none, for the ratio of means; then `less` and `by_this_much`, the verdicts on less delay
    and on the reduction that the abstract states.
    """
    rows = []
    for (_, metric), table in headline.groupby(["scenario", "metric"], sort=False):
        told = main_figures(table).set_index(["baseline", "averaging"])
        for baseline in (name for name in (*LEARNED, "best learned") if (name, "mean of ratios") in told.index):
            averaging = "mean of ratios" if metric == "total_delay_s" else "ratio of means"
            row = told.loc[(baseline, averaging)]
            measured = Estimate(row["reduction_percent"], row["low"], row["high"], row["num_seeds"], math.nan)
            stated = row["abstract_percent"]
            judged = {"less": verdict(measured, POSITIVE), "by_this_much": verdict(measured, about(stated))}
            rows.append({**row, "baseline": baseline, "averaging": averaging, **judged})
    return pd.DataFrame(rows, columns=[*headline.columns, "less", "by_this_much"])


def _headline_rows(
    scenario: str,
    metric: str,
    scope: str,
    figures: list[tuple[Curves, dict[str, _Averages], dict[str, _Averages]]],
) -> Iterator[dict]:
    seeds = figures[0][0].seeds
    shared = [name for name in figures[0][1] if all(name in found for _, found, _ in figures)]
    for name in shared:
        parts = [found[name] for _, found, _ in figures]
        limits = [limit[name] for _, _, limit in figures if limit]
        for averaging in AVERAGING:
            draws = _pooled(parts, averaging)
            low, high = percentile_interval(draws[1:], len(seeds)) if len(seeds) > 1 else (math.nan, math.nan)
            reason = ""
            if math.isnan(draws[0]):
                members = (SETS | BEST_OF).get(name, (name,))
                told = (why_undefined(block, members, slice(None)) for block, _, _ in figures)
                reason = "; ".join(filter(None, told))
            yield {
                "scenario": scenario,
                "metric": metric,
                "figure": scope,
                "baseline": name,
                "averaging": averaging,
                "reduction_percent": float(draws[0]),
                "low": float(low),
                "high": float(high),
                "attainable_percent": float(_pooled(limits, averaging)[0]) if limits else math.nan,
                "num_seeds": len(seeds),
                "reason": reason,
            }


def _pooled(parts: list[_Averages], averaging: Averaging) -> Float[np.ndarray, " draws"]:
    if averaging == "mean of ratios":
        return np.mean([part.ratio for part in parts], axis=0)
    return reduction(
        np.mean([part.baseline for part in parts], axis=0), np.mean([part.method for part in parts], axis=0)
    )
