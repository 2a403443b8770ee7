"""What the README says is computed from the reference results and from the package."""

import re
from pathlib import Path

import pandas as pd
import pytest

from mecpart import EXPERIMENTS, comparison
from mecpart.comparison import DELAY_FIGURES
from mecpart.locations import data_folder

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
WORDS = " ".join(TEXT.split())
REFERENCE = data_folder() / "reference" / "quick" / "as_printed"


@pytest.fixture(scope="module")
def headline():
    return comparison.headline_table(pd.concat([pd.read_csv(REFERENCE / f"{figure}.csv") for figure in DELAY_FIGURES]))


def rows(beginning):
    """The cells of the table whose head begins so."""
    lines = TEXT[TEXT.index(f"| {beginning}") :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_answer_is_that_of_the_reference(headline):
    assert comparison.answer(headline)[0] in WORDS


def test_each_learned_baseline_and_the_better_of_them_has_its_verdicts(headline):
    found = comparison.headline_verdicts(headline)
    total = found.query("metric == 'total_delay_s'")
    for told, row in zip(rows("Proposed has, against"), total.to_dict("records"), strict=True):
        words = comparison.words.comparison_words(row["reduction_percent"], row["low"], row["high"])
        expected = [
            f"{row['abstract_percent']} % less", words.replace("95 % interval ", ""),
            f"{row['attainable_percent']:.2f} % less", row["less"], row["by_this_much"],
        ]  # fmt: skip
        assert told[1:] == expected
        assert told[0].startswith(row["baseline"].replace("best learned", "the better of the two"))
    edge, local = (
        found.query("metric == @metric").set_index("baseline")["less"] for metric in ("edge_delay_s", "local_delay_s")
    )
    assert edge[["A3C", "best learned"]].tolist() == ["not reproduced"] * 2
    assert set(local) == {"undecided"}


def test_the_facts_are_counted():
    kept = {name: pd.read_csv(REFERENCE / f"{name}.csv") for name in ("claims", "facts")}
    count = kept["facts"]["verdict"].value_counts()
    told = re.search(
        r"The (\d+) checkable claims of the paper come down to (\d+) facts: (\d+) are reproduced, (\d+) are not, "
        r"(\d+) cannot hold whatever the constants, and (\d+) are undecided",
        WORDS,
    )
    verdicts = ["reproduced", "not reproduced", "cannot hold", "undecided"]
    assert list(map(int, told.groups())) == [len(kept["claims"]), len(kept["facts"]), *count[verdicts]]
    assert count[verdicts].sum() == len(kept["facts"])
    results = pd.concat(
        [pd.read_csv(REFERENCE / f"{name}.csv") for name in EXPERIMENTS if (REFERENCE / f"{name}.csv").exists()]
    )
    # Learning curves are kept thinned, and of rules on a thousand networks the means: those claims were judged before.
    judged = kept["claims"].query("num_seeds <= @results.seed.nunique() and not claim.str.contains('settle')")
    assert len(judged) > len(kept["claims"]) / 2
    again = comparison.claims(results).loc[judged.index]
    same = ["claim", "where", "test", "verdict"]
    assert again[same].to_numpy().tolist() == judged[same].to_numpy().tolist()


def test_every_method_is_listed():
    expected = [
        [
            *row[:3],
            row[3] + ("" if row[4] == "all" else f" ({', '.join(f'`{name}`' for name in row[4].split(', '))} only)"),
        ]
        for row in comparison.methods_table().to_numpy().tolist()
    ]
    assert rows("method | learns") == expected
