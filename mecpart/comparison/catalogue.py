"""The paper's claims as data, and the table of what was measured for each, with the verdict."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import pandas as pd

from mecpart.comparison.claim import Claim
from mecpart.comparison.curves import by_setting, require
from mecpart.comparison.delay_claims import delay_claims
from mecpart.comparison.paper import RULES
from mecpart.comparison.training_claims import training_claims

#: Columns of `claims` that a reader wants to see.
CLAIM_COLUMNS = [
    "claim", "where", "published", "measured", "low", "high", "verdict", "smallest_detectable", "reason",
]  # fmt: skip


#: The results that a claim is to be measured on, a frame for each figure.
FramesOf = Callable[[Claim], Mapping[str, pd.DataFrame]]


@lru_cache(maxsize=1)
def paper_claims() -> tuple[Claim, ...]:
    """The checkable statements of the paper's abstract and Sec. 5, as data."""
    return (*training_claims(), *delay_claims())


def claims(
    results: pd.DataFrame,
    notebook: str | None = None,
    *,
    rules: pd.DataFrame | None = None,
    catalogue: Sequence[Claim] | None = None,
) -> pd.DataFrame:
    """Every claim of the paper with what was measured and the verdict, for each scenario in `results`.

    **Arguments:**

    - `results`: tidy results of any number of figures and scenarios.
    - `notebook`: only the claims looked at in this notebook; all of them if None.
    - `rules`: of some figures the results of the rules (Greedy, APDI, RPDI) alone on more seeds (`run_rules`), to
      measure claims on that are about nothing else.
    - `catalogue`: the claims to evaluate; `paper_claims()` if None.

    **Returns:** one row per scenario and claim: `claim`, `where`, `test`, `published`, `measured`, `low`,
    `high`, `verdict` (reproduced, not reproduced, undecided, or "not run" if no experiment of the claim is
    in `results`), `notebook`, `smallest_detectable` (unit of the measured value), `num_seeds`, `reason` and
    `scenario`.

    **Raises:** `ValueError` for a notebook that no claim belongs to.
    """
    require(results, ("figure", "scenario"))
    catalogue = paper_claims() if catalogue is None else catalogue
    notebooks = list(dict.fromkeys(claim.notebook for claim in catalogue))
    if notebook is not None and notebook not in notebooks:
        raise ValueError(f"notebook must be one of {', '.join(notebooks)}; got {notebook!r}")
    rows = []
    for scenario, frames_of in by_scenario(results, rules).items():
        chosen = (claim for claim in catalogue if notebook in (None, claim.notebook))
        rows += [claim.judged(frames_of(claim)) | {"scenario": scenario} for claim in chosen]
    return pd.DataFrame(rows)


def by_scenario(results: pd.DataFrame, rules: pd.DataFrame | None) -> dict[str, FramesOf]:
    """For each scenario in `results`, where to look for what a claim is about: among `rules` if it is about them alone.

    **Raises:** `ValueError` for frames without figure or scenario.
    """
    of_all, of_rules = (_by_figure(frame) for frame in (results, results[:0] if rules is None else rules))

    def looked_up(scenario: str) -> FramesOf:
        with_rules = of_all[scenario] | of_rules.get(scenario, {})
        return lambda claim: with_rules if set(claim.measure.curves) <= set(RULES) else of_all[scenario]

    return {scenario: looked_up(scenario) for scenario in of_all}


def _by_figure(results: pd.DataFrame) -> dict[str, dict[str, pd.DataFrame]]:
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for (scenario, figure), part in results.groupby(["scenario", "figure"], sort=False):
        found.setdefault(str(scenario), {})[str(figure)] = by_setting(part)
    return found
