import pytest

from mecpart.report.formulas import formula


@pytest.mark.parametrize(
    ("tex", "translated"),
    [
        (r"a < b", True),
        (r"\min_{i} x_i", True),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", True),
        (r"\nosuch{a}", False),
        (r"x_", False),
        (r"\text{<script>}", False),
    ],
)
def test_a_formula_that_cannot_be_translated_is_shown_as_written(tex, translated):
    for display in ("inline", "block"):
        found = formula(tex, display)
        assert found.startswith("<math") == translated
        assert "<script" not in found
    if not translated:
        assert tex.replace("<", "&lt;").replace(">", "&gt;") in found


def test_bounds_stand_below_operators_in_display_only():
    assert "<munder>" in formula(r"\min_{i} x_i", "block")
    assert "<munder>" not in formula(r"\min_{i} x_i", "inline")
