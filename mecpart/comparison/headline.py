"""Reductions of total, edge and local delay, in every sense that the headline could have."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from mecpart.comparison.curves import Curves, as_curves, groups, require
from mecpart.comparison.paper import BASELINES, DELAY_FIGURES, DELAYS, LEARNED, PROPOSED, published_reductions
from mecpart.comparison.statistics import percentile_interval, resampled_weights, share


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
            where = ", ".join(f"{x:g}" for x in block.xs[at][zero.any(axis=0)])
            count = f" ({zero.any(axis=1).sum()} of {len(zero)} seeds)" if block.seeds else ""
            reasons.append(f"{block.metric} of {baseline} is 0 at {block.x_name} = {where} in {block.figure}{count}")
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
    if all(name in baselines for name in LEARNED):
        sets["learned"] = [baselines.index(name) for name in LEARNED]
    if len(baselines) == len(BASELINES):
        sets["all"] = list(range(len(baselines)))
    found = {
        name: _Averages(ratios[:, at].mean(axis=(1, 2)), delays[:, at].mean(axis=(1, 2)), own)
        for name, at in sets.items()
    }
    if "all" in found:
        # The best is the baseline of least total delay at each x, chosen anew in each resample.
        total = np.tensordot(draws, np.stack([totals.of(name) for name in baselines], axis=1), axes=1)
        best = total.argmin(axis=1)[:, None]
        ratio, delay = (np.take_along_axis(array, best, axis=1).mean(axis=(1, 2)) for array in (ratios, delays))
        found["best"] = _Averages(ratio, delay, own)
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
    "learned" (A3C and Distributed DQN); "all" five; "best", the one of least total delay at each x.
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
        for averaging in ("mean of ratios", "ratio of means"):
            draws = _pooled(parts, averaging)
            low, high = percentile_interval(draws[1:], len(seeds)) if len(seeds) > 1 else (math.nan, math.nan)
            reason = ""
            if math.isnan(draws[0]):
                members = {"learned": LEARNED, "all": BASELINES, "best": BASELINES}.get(name, (name,))
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


def _pooled(parts: list[_Averages], averaging: str) -> Float[np.ndarray, " draws"]:
    if averaging == "mean of ratios":
        return np.mean([part.ratio for part in parts], axis=0)
    return reduction(
        np.mean([part.baseline for part in parts], axis=0), np.mean([part.method for part in parts], axis=0)
    )
