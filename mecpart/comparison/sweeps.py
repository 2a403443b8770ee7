"""Tables over a whole sweep: levels, paired differences, delays relative to RPDI, orders and trends."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from mecpart.comparison.curves import as_curves, groups, labelled
from mecpart.comparison.delay_claims import trend_region
from mecpart.comparison.measures import Trend
from mecpart.comparison.paper import BASELINES, DELAYS, PROPOSED
from mecpart.comparison.rule import verdict
from mecpart.comparison.statistics import (
    bootstrap_interval,
    concordance,
    detectable_difference,
    estimate,
    interquartile_mean,
    percentile_interval,
    resampled_weights,
    share,
)


def summary(results: pd.DataFrame, metrics: Sequence[str] = DELAYS) -> pd.DataFrame:
    """Mean and interquartile mean over seeds, with intervals, of every method at every setting.

    **Returns:** one row per scenario, figure, metric, method and x: `mean`, `mean_low`, `mean_high`, `iqm`,
    `iqm_low`, `iqm_high` (in the unit of the metric) and `num_seeds`.
    """
    tables = []
    for group in groups(results):
        for metric in metrics:
            block = as_curves(group, metric)
            mean_low, mean_high = bootstrap_interval(block.values)
            iqm_low, iqm_high = bootstrap_interval(block.values, "iqm")
            measured = {
                "mean": np.mean(block.values, axis=0),
                "mean_low": mean_low,
                "mean_high": mean_high,
                "iqm": interquartile_mean(block.values),
                "iqm_low": iqm_low,
                "iqm_high": iqm_high,
            }
            index = pd.MultiIndex.from_product([block.methods, block.xs], names=["method", "x"])
            table = pd.DataFrame({name: array.ravel() for name, array in measured.items()}, index=index).reset_index()
            tables.append(labelled(table, block, num_seeds=len(block.seeds)))
    return pd.concat(tables, ignore_index=True)


def under_load(results: pd.DataFrame, metric: str = "total_delay_s") -> pd.DataFrame:
    """Mean and median over networks (seeds) of every method, on average over each sweep.

    The mean is decided by a single overload, the median is not; how often there is one is said by the share of networks
    on which a method keeps up.

    **Returns:** one row per scenario, figure and method: `mean` and `median` (unit of the metric), `keeps_up_percent`
    (NaN unless the results have the column `keeps_up`) and `num_seeds`.
    """
    rows = []
    for group in groups(results):
        block = as_curves(group, metric)
        kept_up = as_curves(group, "keeps_up") if "keeps_up" in group and group["keeps_up"].notna().all() else None
        for method in block.methods:
            rows.append(
                {
                    "scenario": block.scenario,
                    "figure": block.figure,
                    "metric": metric,
                    "method": method,
                    "mean": block.of(method).mean(),
                    "median": np.median(block.of(method), axis=0).mean(),
                    "keeps_up_percent": math.nan if kept_up is None else 100 * kept_up.of(method).mean(),
                    "num_seeds": len(block.seeds),
                }
            )
    return pd.DataFrame(rows)


def ends_under_load(results: pd.DataFrame) -> pd.DataFrame:
    """Where slots couple, who keeps up at the end of training, and how much the busiest node is given.

    **Arguments:** results of a learning curve. A network is one on which a method keeps up if all episodes of the last
    window do.

    **Returns:** one row per method: `keeps_up_on` (of `num_networks`), `median_gap_percent` above the bound, and
    `busiest_percent`, the median share of the blocks on the node that is given most; none where no slot waits for
    another, or results do not tell.
    """
    end = results[results["x"] == results["x"].max()]
    if "keeps_up" not in end or end["keeps_up"].isna().any():
        return pd.DataFrame()
    end = end.assign(keeps_up=end["keeps_up"] == 1, busiest_percent=100 * end["busiest_share"])
    return (
        end.groupby("method", sort=False)
        .agg(
            keeps_up_on=("keeps_up", "sum"),
            num_networks=("seed", "nunique"),
            median_gap_percent=("gap_percent", "median"),
            busiest_percent=("busiest_percent", "median"),
        )
        .reset_index()
    )


def paired_differences(
    results: pd.DataFrame,
    metric: str = "total_delay_s",
    method: str = PROPOSED,
    baselines: Sequence[str] = BASELINES,
) -> pd.DataFrame:
    """How much lower `method` is than each baseline, within seeds, at each setting and (x NaN) over all.

    **Returns:** one row per scenario, figure, baseline and x: `difference` (baseline minus method, unit of
    the metric; mean over seeds), `low`, `high`, its interquartile mean `difference_iqm`, `iqm_low`,
    `iqm_high`, `smallest_detectable`, `probability_of_improvement` (share of seeds and settings where the
    method is lower, a tie counting half) with `probability_low` and `probability_high`, and `num_seeds`.
    """
    tables = []
    for group in groups(results):
        block = as_curves(group, metric)
        for baseline in baselines:
            difference = block.of(baseline) - block.of(method)
            better = (np.sign(difference) + 1) / 2
            difference, better = (np.column_stack([part, part.mean(axis=1)]) for part in (difference, better))
            low, high = bootstrap_interval(difference)
            iqm_low, iqm_high = bootstrap_interval(difference, "iqm")
            probability_low, probability_high = bootstrap_interval(better)
            table = pd.DataFrame(
                {
                    "method": method,
                    "baseline": baseline,
                    "x": [*block.xs, math.nan],
                    "difference": difference.mean(axis=0),
                    "low": low,
                    "high": high,
                    "difference_iqm": interquartile_mean(difference),
                    "iqm_low": iqm_low,
                    "iqm_high": iqm_high,
                    "smallest_detectable": detectable_difference(difference),
                    "probability_of_improvement": better.mean(axis=0),
                    "probability_low": probability_low,
                    "probability_high": probability_high,
                }
            )
            tables.append(labelled(table, block, num_seeds=len(block.seeds)))
    return pd.concat(tables, ignore_index=True)


def relative_delays(
    results: pd.DataFrame,
    published_curves: pd.DataFrame | None,
    metric: str = "total_delay_s",
    reference: str = "RPDI",
) -> pd.DataFrame:
    """Each method's `metric` as a share of the reference's at the same x, published (if it is) next to measured.

    Shares are ratios of means over seeds, which is what the plotted curves of the paper would give.

    **Returns:** one row per scenario, figure, method and x: `published` (NaN where the paper has no such
    point), `measured`, `low`, `high`, `num_seeds`; all dimensionless. NaN where the reference is zero.
    """
    told = {}
    if published_curves is not None:
        paper = as_curves(published_curves, metric)
        for method in paper.methods:
            shares = share(paper.of(method)[0], paper.of(reference)[0])
            told.update({(method, x): value for x, value in zip(paper.xs, shares, strict=True)})
    tables = []
    for group in groups(results):
        block = as_curves(group, metric)
        means = block.values.mean(axis=0)
        at = block.methods.index(reference) if reference in block.methods else None
        if at is None:
            raise ValueError(f"reference must be one of {', '.join(block.methods)}; got {reference!r}")
        measured = share(means, means[at])
        low = high = np.full_like(measured, np.nan)
        if len(block.seeds) > 1:
            resampled = np.tensordot(resampled_weights(len(block.seeds)), block.values, axes=1)
            low, high = percentile_interval(share(resampled, resampled[:, [at]]), len(block.seeds))
        index = pd.MultiIndex.from_product([block.methods, block.xs], names=["method", "x"])
        table = index.to_frame(index=False)
        table["published"] = [told.get(key, math.nan) for key in index]
        table = table.assign(measured=measured.ravel(), low=low.ravel(), high=high.ravel())
        tables.append(labelled(table, block, num_seeds=len(block.seeds)))
    return pd.concat(tables, ignore_index=True)


def rank_agreement(
    results: pd.DataFrame, published_curves: pd.DataFrame, metric: str = "total_delay_s"
) -> pd.DataFrame:
    """Whether the methods come in the paper's order: rank correlation at each shared x and (x NaN) its mean.

    **Returns:** one row per scenario, figure and x: `rank_correlation` of the means over seeds with the
    published values (1: same order, -1: reversed), `low`, `high`, and `order`, the methods from lowest to
    highest.
    """
    paper = as_curves(published_curves, metric)
    tables = []
    for group in groups(results):
        block = as_curves(group, metric)
        methods = [method for method in paper.methods if method in block.methods]
        xs = [x for x in block.xs if x in paper.xs]
        if len(methods) < 2 or not xs:
            raise ValueError(
                f"results must share at least two methods and one x with the published curves; got methods "
                f"{', '.join(block.methods)} and x = {', '.join(f'{x:g}' for x in block.xs)}"
            )
        told = np.stack([paper.of(method)[0] for method in methods])[:, np.isin(paper.xs, xs)]
        seen = np.stack([block.of(method) for method in methods], axis=1)[:, :, np.isin(block.xs, xs)]
        weights = np.full((1, len(seen)), 1 / len(seen))
        if len(block.seeds) > 1:
            weights = np.concatenate([weights, resampled_weights(len(seen))])
        means = np.tensordot(weights, seen, axes=1)
        agreement = np.stack([concordance(told[:, at], means[:, :, at]) for at in range(len(xs))], axis=1)
        agreement = np.column_stack([agreement, agreement.mean(axis=1)])
        low = high = np.full(len(xs) + 1, np.nan)
        if len(block.seeds) > 1:
            low, high = percentile_interval(agreement[1:], len(block.seeds))
        columns = [*means[0].T, means[0].mean(axis=1)]
        table = pd.DataFrame(
            {
                "x": [*xs, math.nan],
                "rank_correlation": agreement[0],
                "low": low,
                "high": high,
                "order": [" < ".join(methods[at] for at in np.argsort(column, kind="stable")) for column in columns],
            }
        )
        tables.append(labelled(table, block, num_seeds=len(block.seeds)))
    return pd.concat(tables, ignore_index=True)


def trends(results: pd.DataFrame, published_curves: pd.DataFrame, metric: str = "total_delay_s") -> pd.DataFrame:
    """Whether each method's `metric` rises or falls along x as published.

    **Returns:** one row per scenario, figure and method that the paper shows: the change along the sweep (`Trend`),
    `published` and `measured` in percent, `low`, `high`, and `verdict` on the claim that the measured direction is the
    published one.
    """
    paper = as_curves(published_curves, metric)
    rows = []
    for group in groups(results):
        block = as_curves(group, metric)
        for method in (method for method in paper.methods if method in block.methods):
            measure = Trend(metric, method)
            told = float(measure.per_seed(published_curves)[0][0])
            seen = estimate(*measure.per_seed(group))
            rows.append(
                {
                    "scenario": block.scenario,
                    "figure": block.figure,
                    "metric": metric,
                    "x_name": block.x_name,
                    "method": method,
                    "published": told,
                    "measured": seen.value,
                    "low": seen.low,
                    "high": seen.high,
                    "verdict": verdict(seen, trend_region(block.figure, method, told)),
                    "num_seeds": len(block.seeds),
                }
            )
    return pd.DataFrame(rows)
