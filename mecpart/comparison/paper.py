"""What the paper published: its plotted values and stated percentages, as tidy frames."""

from functools import lru_cache

import pandas as pd

from mecpart.experiments.runner import COLUMNS
from mecpart.locations import data_folder
from mecpart.validation import check_choice

#: The method whose advantage the paper claims.
PROPOSED = "Proposed"
#: The baselines that learn, which the percentages of the paper's abstract are about.
LEARNED = ("A3C", "Distributed DQN")
#: The baselines that do not learn.
RULES = ("Greedy", "APDI", "RPDI")
#: All methods that the paper compares its own with.
BASELINES = (*LEARNED, *RULES)
#: The columns of results that hold a delay, s.
DELAYS = ("total_delay_s", "edge_delay_s", "local_delay_s")
#: The figures that show delays of all methods, which the headline pools.
DELAY_FIGURES = ("fig8", "fig9", "fig10", "fig12")

_METRIC_COLUMN = {
    ("total_delay", "s"): "total_delay_s",
    ("edge_delay", "s"): "edge_delay_s",
    ("local_delay", "s"): "local_delay_s",
    ("energy", "J"): "energy_j",
}


@lru_cache(maxsize=1)
def _published_values() -> pd.DataFrame:
    """All published values, one per row; `figure` names the panel, `column` the quantity."""
    folder = data_folder() / "published"
    curves = pd.read_csv(folder / "curves.csv", dtype={"figure": str}, keep_default_na=False)
    units = zip(curves["metric"], curves["unit"], strict=True)
    curves["column"] = [_METRIC_COLUMN[metric, unit] for metric, unit in units]
    curves["setting"] = curves["note"].str.extract(r"(dnn=\w+)", expand=False).fillna("")
    curves["note"] = curves["note"].str.replace(r"^dnn=\w+; ", "", regex=True)

    levels = pd.read_csv(folder / "convergence.csv", dtype={"figure": str}, keep_default_na=False)
    levels = levels.rename(columns={"final_average_reward": "value"})
    compares_methods = levels["figure"] == "6"
    levels["method"] = levels["series"].where(compares_methods, PROPOSED)
    levels["setting"] = levels["series"].where(~compares_methods, "")
    levels = levels.assign(column="reward", x_name="episode", x=3000)

    values = pd.concat([curves, levels], ignore_index=True)
    values["figure"] = "fig" + values["figure"]
    return values[["figure", "column", "x_name", "x", "method", "setting", "value", "note"]]


def published(figure: str) -> pd.DataFrame:
    """The paper's plotted values for `figure`, in the columns of `run_experiment` where they overlap.

    **Arguments:**

    - `figure`: a figure ("fig8") or one of its panels ("fig8a").

    **Returns:** one row per setting and method with `figure`, `scenario` ("published"), `method`, `x_name`,
    `x`, those of `total_delay_s`, `edge_delay_s`, `local_delay_s` (s, sums over 600 slots), `energy_j` (J)
    and `reward` that the figure shows, then `setting` (what else tells its curves apart, such as "dnn=NiN")
    and `note` (how the value was read). There are no seeds. Convergence figures give the final level, at
    episode 3000.

    **Raises:** `ValueError` for a figure that the paper does not have, or that has no values to read.
    """
    panels = dict.fromkeys(_published_values()["figure"])
    names = {panel.rstrip("abc") for panel in panels} | set(panels)
    check_choice("figure", figure, sorted(names, key=lambda name: (len(name.rstrip("abc")), name)))
    return _published_table(figure).copy()


@lru_cache(maxsize=32)
def _published_table(figure: str) -> pd.DataFrame:
    values = _published_values()
    panels = list(dict.fromkeys(values["figure"]))
    whole = [panel for panel in panels if panel == figure or (panel[:-1] == figure and panel[-1].isalpha())]
    values = values[values["figure"].isin(whole)]
    keys = ["x_name", "x", "method", "setting"]
    table = values.set_index([*keys, "column"])["value"].unstack("column").astype(float)
    notes = values.groupby(keys)["note"].agg(lambda notes: "; ".join(sorted({note for note in notes if note})))
    table = table.join(notes).reset_index()
    table.columns.name = None
    table = table.assign(figure=figure, scenario="published", x=table["x"].astype(float))
    shared = [column for column in COLUMNS if column in table]
    return table[[*shared, "setting", "note"]]


def published_reductions() -> pd.DataFrame:
    """The percentages stated in the paper's abstract and text, one per row.

    **Returns:** `where` ("abstract", "text on Fig. 8a"), `metric` (a column of `DELAYS`), `baseline`,
    `x_name`, `x` (NaN where the paper averages) and `reduction_percent`.
    """
    table = pd.read_csv(data_folder() / "published" / "reductions.csv")
    table["metric"] += "_s"
    return table
