"""The paper's claims as data, and the table of what was measured for each, with the verdict."""

from collections.abc import Sequence
from functools import lru_cache

import pandas as pd

from mecpart.comparison.claim import Claim
from mecpart.comparison.curves import by_setting, require
from mecpart.comparison.delay_claims import delay_claims
from mecpart.comparison.training_claims import training_claims

#: Columns of `claims` that a reader wants to see.
CLAIM_COLUMNS = [
    "claim", "where", "published", "measured", "low", "high", "verdict", "smallest_detectable", "reason",
]  # fmt: skip


@lru_cache(maxsize=1)
def paper_claims() -> tuple[Claim, ...]:
    """The checkable statements of the paper's abstract and Sec. 5, as data."""
    return (*training_claims(), *delay_claims())


def claims(
    results: pd.DataFrame, notebook: str | None = None, *, catalogue: Sequence[Claim] | None = None
) -> pd.DataFrame:
    """Every claim of the paper with what was measured and the verdict, for each scenario in `results`.

    **Arguments:**

    - `results`: tidy results of any number of figures and scenarios.
    - `notebook`: only the claims looked at in this notebook; all of them if None.
    - `catalogue`: the claims to evaluate; `paper_claims()` if None.

    **Returns:** one row per scenario and claim: `claim`, `where`, `test`, `published`, `measured`, `low`,
    `high`, `verdict` (reproduced, not reproduced, undecided, or "not run" if no experiment of the claim is
    in `results`), `notebook`, `smallest_detectable` (unit of the measured value), `num_seeds`, `reason` and
    `scenario`.

    **Raises:** `ValueError` for a notebook that no claim belongs to.
    """
    catalogue = paper_claims() if catalogue is None else catalogue
    notebooks = list(dict.fromkeys(claim.notebook for claim in catalogue))
    if notebook is not None and notebook not in notebooks:
        raise ValueError(f"notebook must be one of {', '.join(notebooks)}; got {notebook!r}")
    require(results, ("figure", "scenario"))
    rows = []
    for scenario, part in results.groupby("scenario", sort=False):
        by_figure = {str(figure): by_setting(group) for figure, group in part.groupby("figure", sort=False)}
        chosen = (claim for claim in catalogue if notebook in (None, claim.notebook))
        rows += [claim.judged(by_figure) | {"scenario": scenario} for claim in chosen]
    return pd.DataFrame(rows)
