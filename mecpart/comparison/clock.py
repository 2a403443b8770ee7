"""Predicted delays beside those by the clock, plan by plan: how far a model of real machines can be trusted.

What was measured comes from `mecpart.Testbed.run`, or is any table of its columns; what is predicted from scenarios,
one or several for the same network and nodes, which differ in where they have their times from.
"""

import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from mecpart.comparison.statistics import concordance, percentile_interval, resampled_seeds
from mecpart.model.delay import checked_plan, plan_cost
from mecpart.model.scenario import Scenario, Slot, check_scenario
from mecpart.validation import check_number, shown

#: What a table of measured delays has to hold.
MEASURED_COLUMNS = ("plan", "round", "tasks", "seconds")


def compare_delay(measured: pd.DataFrame, scenario: Scenario | Mapping[str, Scenario]) -> pd.DataFrame:
    """Measured delays of plans beside what scenarios predict for them.

    The first round of each plan counts for nothing: caches and connections are cold in it. Predicted is the
    `total_delay` of a slot with as many tasks as were run, from empty queues. Only rules that let tasks stream
    (`pipelined`) describe several tasks at a time, and only those that charge the result's way back all that a clock
    at the device sees of a single one.

    **Arguments:**

    - `measured`: a row for each repetition, as from `Testbed.run`: `plan` (the node of each block, as "0 0 1 2"),
      `round` (from 0), `tasks` (that followed each other), `seconds` (from the start of the first to the result of the
      last), and if wanted `load` (of the machine).
    - `scenario`: with measured links (`mecpart.measured`, or another scenario's `links`), of as many blocks as the
      plans have. Several in a mapping from the name of each, as `{"table": ..., "fit": ...}`.

    **Returns:** one row for each plan, number of tasks and scenario: `plan`, `model` (the name; of a single scenario
    that of its rules), `tasks`, `measured` (median, s), `low` and `high` (95 % bootstrap interval of the median, NaN of
    a single repetition, s), `predicted` (s), `error` (predicted / measured - 1), and `load` (the largest) where it is
    known.

    **Raises:** `ValueError` for a table without these columns or without a second round of each plan, a number out of
    range, plans that are not of the scenario's blocks and nodes, or a scenario without links.
    """
    kept = _second_rounds(measured)
    scenarios = dict(scenario) if isinstance(scenario, Mapping) else {getattr(scenario, "name", ""): scenario}
    if not scenarios:
        raise ValueError("scenario must be a mecpart.Scenario, or some of them by name; got an empty mapping")
    groups = kept.groupby(["plan", "tasks"], sort=False)
    table = groups["seconds"].median().rename("measured").reset_index()
    ends = [_interval(seconds.to_numpy(float)) for _, seconds in groups["seconds"]]
    table["low"], table["high"] = np.array(ends).T
    if "load" in kept:
        table["load"] = groups["load"].max().to_numpy()
    plans, tasks = [_plan(text) for text in table["plan"]], table["tasks"].to_numpy(np.float32)
    predicted = {name: _predicted(name, each, plans, tasks) for name, each in scenarios.items()}
    rows = pd.concat([table.assign(model=name, predicted=seconds) for name, seconds in predicted.items()])
    rows["error"] = rows["predicted"] / rows["measured"] - 1
    columns = ["plan", "model", "tasks", "measured", "low", "high", "predicted", "error", "load"]
    return rows[[name for name in columns if name in rows]].reset_index(drop=True)


def clock_summary(compared: pd.DataFrame) -> pd.DataFrame:
    """How well each model told the delays, and what trusting it costs.

    **Arguments:** `compared`: from `compare_delay`, or several of these in one table.

    **Returns:** one row for each model and number of tasks: `plans` (how many), `median_error_percent` and
    `largest_error_percent` (of the absolute errors), `rank_correlation` (`concordance`, Kendall's, of the predicted
    with the measured delays; NaN where the clock orders none), and `regret_percent`: what the plan that the model finds
    best of these takes by the clock above the one that is.
    """
    rows = []
    for (tasks, model), group in compared.groupby(["tasks", "model"], sort=False):
        measured, predicted = group["measured"].to_numpy(), group["predicted"].to_numpy()
        off = 100 * group["error"].abs()
        rows.append(
            {
                "model": model,
                "tasks": tasks,
                "plans": len(group),
                "median_error_percent": off.median(),
                "largest_error_percent": off.max(),
                "rank_correlation": float(concordance(measured, predicted)),
                "regret_percent": 100 * (measured[np.argmin(predicted)] / measured.min() - 1),
            }
        )
    return pd.DataFrame(rows)


def disturbance(measured: pd.DataFrame) -> float:
    """How far apart repetitions are, %: of each plan and number of tasks the largest of `measured` minus the least, by
    their median, and of these the median; NaN where nothing was repeated. What other work on the machine does to a
    measurement is about that.

    **Raises:** `ValueError` for `measured` as `compare_delay`.
    """
    groups = _second_rounds(measured).groupby(["plan", "tasks"])["seconds"]
    apart = 100 * (groups.max() - groups.min()) / groups.median()
    return float(apart[groups.size() > 1].median())


def _second_rounds(measured: pd.DataFrame) -> pd.DataFrame:
    """The rows that count, checked."""
    columns = set(measured) if isinstance(measured, pd.DataFrame) else set()
    if lacking := [name for name in MEASURED_COLUMNS if name not in columns]:
        got = f"one without {', '.join(lacking)}" if columns else shown(measured)
        raise ValueError(f"measured must be a table with the columns {', '.join(MEASURED_COLUMNS)}; got {got}")
    check_number("measured['round']", measured["round"].to_numpy(), whole=True)
    check_number("measured['tasks']", measured["tasks"].to_numpy(), whole=True, exclusive=True)
    check_number("measured['seconds']", measured["seconds"].to_numpy(), exclusive=True)
    kept = measured[measured["round"] > 0]
    once = sorted(set(measured["plan"].map(str)) - set(kept["plan"].map(str)))
    if once or kept.empty:
        raise ValueError(
            "measured must have of each plan a round after the first, which does not count; "
            f"got {f'none of {once[0]}' if once else 'no rows'}"
        )
    return kept


def _plan(text: str) -> list[int]:
    """The nodes in what a table calls a plan."""
    if not isinstance(text, str) or not re.fullmatch(r"\d+( \d+)*", text):
        raise ValueError(f"measured['plan'] must be the node of each block, as '0 0 1 2'; got {shown(text)}")
    return [int(node) for node in text.split()]


def _interval(seconds: Float[np.ndarray, " rounds"]) -> tuple[float, float]:
    """95 % interval of the median, as intervals over seeds are made; NaN of fewer than two."""
    if len(seconds) < 2:
        return np.nan, np.nan
    low, high = percentile_interval(np.median(seconds[resampled_seeds(len(seconds))], axis=1), len(seconds))
    return float(low), float(high)


def _predicted(
    name: str, scenario: Scenario, plans: list[list[int]], tasks: Float[np.ndarray, " plans"]
) -> Float[np.ndarray, " plans"]:
    """What a scenario says that each plan takes, s."""
    called = f"scenario[{name!r}]" if name else "scenario"
    check_scenario(scenario, called)
    if scenario.links is None:
        raise ValueError(f"{called} must have links, as those of mecpart.measured do; got None")
    lengths = {len(plan) for plan in plans}
    if lengths != {scenario.num_blocks}:
        raise ValueError(
            f"measured['plan'] must be of the {scenario.num_blocks} blocks of {called}; got plans of {sorted(lengths)}"
        )
    nodes = checked_plan(scenario, np.array(plans), name="measured['plan']", leading=(len(plans),))
    return np.asarray(_delays(scenario, nodes, tasks), float)


@jax.jit
def _delays(scenario: Scenario, plans: Int[Array, "plans blocks"], tasks: Float[Array, " plans"]):
    """The total delay of each plan for so many tasks, s."""

    def delay(plan, number):
        return plan_cost(scenario, Slot(jnp.float32(0), tasks=number), plan).total_delay

    return jax.vmap(delay)(plans, tasks)
