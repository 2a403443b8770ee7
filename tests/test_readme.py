"""What the README and the pages that it sends readers to say is computed from the reference results and the package."""

import re
from pathlib import Path

import pandas as pd
import pytest

from mecpart import EXPERIMENTS, comparison
from mecpart.comparison import DELAY_FIGURES
from mecpart.locations import data_folder

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
FINDINGS, METHODS = ((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in ("findings", "methods"))
PAPER, QUICK = (data_folder() / "reference" / profile / "as_printed" for profile in ("paper", "quick"))


def headline(reference):
    return comparison.headline_table(pd.concat([pd.read_csv(reference / f"{figure}.csv") for figure in DELAY_FIGURES]))


def words(text):
    return " ".join(text.split())


def rows(text, beginning):
    """The cells of the table whose head begins so."""
    lines = text[text.index(f"| {beginning}") :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_first_screen_has_all_that_is_asked_first():
    """What it is, for whom, two commands with their times, the answer in one sentence, and one picture."""
    screen, _, _ = TEXT.partition("\n## ")
    assert len(screen.rstrip().splitlines()) <= 25
    assert "For researchers" in screen
    commands = re.findall(r"^    make ([a-z-]+) .* (\d+) minutes$", screen, re.MULTILINE)
    assert [name for name, _ in commands] == ["reproduce", "reproduce-all"]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`?make ([a-z-]+)", TEXT)) <= set(targets)
    assert words(comparison.answer(headline(PAPER))[0]) in words(screen)
    (picture,) = re.findall(r"!\[.+\]\((\S+)\)", TEXT)
    assert picture in screen


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", "data/measured/README.md"])
def test_what_is_linked_to_is_there(name):
    page = ROOT / name
    linked = re.findall(r"\]\((?!https?://)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [at for at in linked if not (page.parent / at).exists()] == []


def test_all_guides_are_one_link_away():
    """But those about formats of files, to which the page on measured devices leads."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    guides = set(index.partition(":caption: Formats")[0].split("toctree", 1)[1].split()) & {
        path.stem for path in (ROOT / "docs").glob("*.md")
    }
    assert len(guides) > 15
    assert {f"docs/{guide}.md" for guide in guides} <= set(re.findall(r"\]\(([^)]*)\)", TEXT))


@pytest.mark.parametrize(
    ("reference", "table"),
    [(PAPER, "Proposed has, against"), (QUICK, "After 192 episodes it has, against")],
    ids=["paper", "quick"],
)
def test_each_learned_baseline_and_the_better_of_them_has_its_verdicts(reference, table):
    found = comparison.headline_verdicts(headline(reference))
    total = found.query("metric == 'total_delay_s'")
    for told, row in zip(rows(FINDINGS, table), total.to_dict("records"), strict=True):
        reduction = comparison.words.comparison_words(row["reduction_percent"], row["low"], row["high"])
        expected = [
            f"{row['abstract_percent']} % less", reduction.replace("95 % interval ", ""),
            f"{row['attainable_percent']:.2f} % less", row["less"], row["by_this_much"],
        ]  # fmt: skip
        assert told[1:] == expected
        assert told[0].startswith(row["baseline"].replace("best learned", "the better of the two"))


def test_of_edge_and_local_delay_the_verdicts_against_a3c():
    found = comparison.headline_verdicts(headline(PAPER)).query("baseline == 'A3C' and metric != 'total_delay_s'")
    assert found["less"].tolist() == ["undecided"] * 2
    assert "local delay (8.03 % less) is lower than A3C's is undecided" in words(FINDINGS)


def test_the_facts_are_counted():
    told = re.search(
        r"The (\d+) checkable claims of the paper come down to (\d+) facts. At the paper's size (\d+) are reproduced, "
        r"(\d+) are not, (\d+) cannot hold whatever the constants, and (\d+) are undecided; in the quick profile "
        r"(\d+), (\d+), (\d+) and (\d+)\.",
        words(FINDINGS),
    )
    found = [len(pd.read_csv(PAPER / "claims.csv"))]
    for reference in (PAPER, QUICK):
        count = pd.read_csv(reference / "facts.csv")["verdict"].value_counts()
        found += [count.sum()] * (reference == PAPER)
        found += count[["reproduced", "not reproduced", "cannot hold", "undecided"]].tolist()
    assert list(map(int, told.groups())) == found


@pytest.mark.parametrize("reference", [PAPER, QUICK], ids=["paper", "quick"])
def test_the_claims_are_judged_by_the_results(reference):
    kept = {name: pd.read_csv(reference / f"{name}.csv") for name in ("claims", "facts")}
    assert kept["facts"]["verdict"].isin(["reproduced", "not reproduced", "cannot hold", "undecided"]).all()
    results = pd.concat(
        [pd.read_csv(reference / f"{name}.csv") for name in EXPERIMENTS if (reference / f"{name}.csv").exists()]
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
    assert rows(METHODS, "method | learns") == expected
