"""What all figures have in common."""

import subprocess
import sys

import matplotlib
import pytest
from pictures import PAPER, learning, sweep

from mecpart import comparison, figures


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: figures.plot_convergence(None, PAPER), "results must be a DataFrame; got NoneType"),
        (lambda: figures.plot_convergence(learning(), PAPER), "published must have the columns .*missing: reward"),
        (
            lambda: figures.plot_convergence(learning(), comparison.published("fig6"), "Optimal"),
            "reference must be one of 'Proposed', .*; got 'Optimal'",
        ),
        (lambda: figures.plot_headline(sweep(), sweep()), "measured must have the columns .*missing: metric"),
        (lambda: figures.plot_estimates(sweep(), "name", "delay [s]"), "table must have the columns .*missing: name"),
        (lambda: figures.save_figure("fig8", "a"), "figure must be a matplotlib Figure; got str"),
        (lambda: figures.save_figure(matplotlib.figure.Figure(), 8), "stem must be a path; got 8"),
    ],
)
def test_bad_arguments_are_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_pyplot_keeps_no_figure():
    figures.plot_sweep(sweep(), PAPER)
    assert matplotlib.pyplot.get_fignums() == []


def test_matplotlib_is_imported_only_when_a_name_is_asked_for():
    program = """
import sys
from mecpart import figures
print("matplotlib" in sys.modules, [name for name in figures.__all__ if not hasattr(figures, name)])
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout == "False []\n"
    with pytest.raises(AttributeError, match=r"'mecpart.figures' has no attribute 'plot_everything'"):
        figures.plot_everything  # noqa: B018
