"""What plans cost, as a table of HTML."""

import html
import math
from collections.abc import Mapping

import numpy as np

from mecpart.figures.plans.times import PlanTimes
from mecpart.model.scenario import Scenario
from mecpart.tables import format_number

_COLUMNS = (
    "total [s]", "gap [%]", "transmission [s]", "waiting [s]", "on the devices [s]", "on edge servers [s]",
    "late blocks", "energy [J]", "reward",
)  # fmt: skip
_STYLE = (
    "<style>.mecpart-numbers td, .mecpart-numbers th { padding: 0 8px; text-align: right }"
    ".mecpart-numbers th:first-child { white-space: nowrap }</style>"
)


def costs_table(scenario: Scenario, times: Mapping[str, PlanTimes]) -> str:
    """The costs of plans, a row for each by its name, and the gap of each to the last."""
    rows = []
    *_, reference = times.values()
    least = reference.total_delay
    for name, found in times.items():
        cost, parts = found.cost, found.parts
        values = (
            found.total_delay,
            100 * (found.total_delay / least - 1) if 0 < least < math.inf else math.nan,
            parts["transmission"],
            parts["waiting"],
            cost.local_delay,
            parts["on servers"],
            (cost.block_delay > np.asarray(scenario.deadline)).sum(),
            cost.energy,
            cost.reward,
        )
        cells = "".join(f"<td>{format_number(float(value))}</td>" for value in values)
        rows.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    head = "".join(f"<th>{column}</th>" for column in ("", *_COLUMNS))
    return f'{_STYLE}<table class="mecpart-numbers"><tr>{head}</tr>{"".join(rows)}</table>'
