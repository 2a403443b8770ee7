import pandas as pd
from made_up import METHODS
from matplotlib.colors import to_hex
from pictures import learning

from mecpart import comparison, figures


def test_curves_levels_and_shares():
    figure = figures.plot_convergence(learning(), comparison.published("fig6"))
    curves, levels, shares = figure.axes
    assert len(curves.get_lines()) == len(METHODS) + 2 * 2  # and the ends of two bands
    banded = {to_hex(band.get_facecolor()[0]) for band in curves.collections}
    assert curves.get_ylabel().endswith("[1000]") == levels.get_ylabel().endswith("[1000]")
    assert banded == {to_hex(figures.STYLES[learner].color) for learner in ("Proposed", "A3C")}
    published = {line.get_ydata()[0] for line in levels.get_lines()}
    assert {-18300, -19100} <= published
    positions = {round(float(line.get_xdata()[0]), 6) for line in shares.get_lines()}
    assert round(18300 / 19100, 6) in positions
    assert round(1 / 1.5, 6) in positions
    assert shares.get_xscale() == "linear"


def test_of_all_methods_and_an_overload():
    """No name is cut off, and what costs a hundred times as much leaves the others apart."""
    results = pd.concat([learning().query("method == 'RPDI'").assign(method=name) for name in figures.STYLES])
    results.loc[results["method"] == "A3C", "reward"] *= 100
    figure = figures.plot_convergence(results, comparison.published("fig6"))
    assert figure.axes[2].get_xscale() == "log"
    assert figure.axes[0].get_yscale() == "symlog"
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == len(figures.STYLES) + 1
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_what_is_overloaded_most_of_the_time_leaves_the_rest_apart():
    """Of two curves one is a hundred times as low in two of its three windows, the other in all of them."""
    results = learning().query("method in ('RPDI', 'A3C')")
    early = results["x"] < results["x"].max()
    results.loc[early | (results["method"] == "RPDI"), "reward"] *= 100
    figure = figures.plot_convergence(results, comparison.published("fig6"))
    assert figure.axes[0].get_yscale() == "symlog"
