import math
import re

import numpy as np
import pandas as pd
import pytest

from mecpart import tables

FRAME = pd.DataFrame(
    {
        "method": ["Proposed", "A3C & 50 % | <b>"],
        "num_servers": [4, 9],
        "total_delay_s": [17100.0 / 7, math.nan],
        "gap_percent": [-0.125, 1e-9],
    }
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.678, "12\u202f350"),
        (1234.5678, "1\u202f235"),
        (4.76, "4.76"),
        (0.001234567, "0.001235"),
        (-3.0, "\N{MINUS SIGN}3"),
        (0.0, "0"),
        (1.5e-7, "1.500e\N{MINUS SIGN}07"),
        (9.99996, "10"),
        (math.nan, "\N{EN DASH}"),
        (math.inf, "inf"),
    ],
)
def test_numbers_have_four_significant_digits(value, text):
    assert tables.format_number(value) == text


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("total_delay_s", "total delay [s]"),
        ("energy_j", "energy [J]"),
        ("gap_percent", "gap [%]"),
        ("num_seeds", "number of seeds"),
        ("verdict", "verdict"),
    ],
)
def test_headings_show_the_unit(column, text):
    assert tables.heading(column) == text


def test_csv_keeps_every_digit(tmp_path):
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=50) * 10.0 ** np.arange(-25, 25)})
    path, *_ = tables.write_table(frame, tmp_path / "numbers")
    pd.testing.assert_frame_equal(pd.read_csv(path), frame, check_exact=True)


def test_all_three_formats_show_the_same_rows(tmp_path):
    paths = tables.write_table(FRAME, tmp_path / "deep" / "fig8")
    assert [path.name for path in paths] == ["fig8.csv", "fig8.tex", "fig8.html"]
    html, latex = paths[2].read_text(encoding="utf-8"), paths[1].read_text(encoding="utf-8")
    assert "total delay [s]" in html
    assert "2\u202f443" in html
    assert "A3C &amp; 50 % | &lt;b&gt;" in html
    assert "total delay [s]" in latex
    assert r"2\,443 & $-$0.125 \\" in latex
    assert r"A3C \& 50 \% $|$ $<$b$>$" in latex
    assert r"& -- &" in latex
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrrr}"):
        assert rule in latex


def test_csv_alone_if_asked(tmp_path):
    assert tables.write_table(FRAME, tmp_path / "raw", formats=["csv"]) == (tmp_path / "raw.csv",)
    assert [path.name for path in tmp_path.iterdir()] == ["raw.csv"]


@pytest.mark.parametrize(
    ("frame", "stem", "formats", "message"),
    [
        (FRAME, "a", ["xlsx"], r"formats must be among csv, tex, html; got xlsx"),
        (FRAME, "a.csv", ["csv"], r"stem must be a path without .*got 'a.csv'"),
        (pd.DataFrame([[1, 2]]), "a", ["csv"], r"distinct strings as column names; got \[0, 1\]"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "a", ["csv"], r"distinct strings"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, frame, stem, formats, message):
    with pytest.raises(ValueError, match=message):
        tables.write_table(frame, tmp_path / stem, formats)
    assert list(tmp_path.iterdir()) == []


def test_results_that_were_written_are_read_back(tmp_path):
    tables.write_table(FRAME, tmp_path / "fig8", formats=["csv"])
    read = tables.read_results(tmp_path, ["fig6", "fig8"])
    pd.testing.assert_frame_equal(read, FRAME)
    with pytest.raises(ValueError, match=r"at least one of fig6, fig9; found none"):
        tables.read_results(tmp_path, ["fig6", "fig9"])
    folder = tmp_path / "a b" / "data" / "results" / "smoke" / "loaded"
    command = (
        f"mecpart reproduce --only fig11 --profile smoke --scenario loaded --output '{tmp_path / 'a b'}' runs them"
    )
    with pytest.raises(ValueError, match=f"at least one of fig8; found none in .*; {re.escape(command)}$"):
        tables.read_results(folder, ["fig8"], notebook="fig11")
