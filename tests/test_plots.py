import hashlib
import math
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from mecpart import comparison, plots

METHODS = ("Proposed", "A3C", "Distributed DQN", "Greedy", "APDI", "RPDI")
XS = (2.0, 4.0, 6.0)
PAPER = comparison.published("fig8")


def sweep(level: dict[str, float] | None = None, local_share: float = 0.25) -> pd.DataFrame:
    """Results of three seeds: total delay is the method's level times a factor of the seed, less with x."""
    level = level or {method: 1 + at / 10 for at, method in enumerate(METHODS)}
    rows = [
        {
            "figure": "fig8",
            "scenario": "as_printed",
            "method": method,
            "seed": seed,
            "x_name": "num_servers",
            "x": x,
            "total_delay_s": (total := 1000 * factor * (1 + seed / 10) * (1 - x / 20)),
            "edge_delay_s": (1 - local_share) * total,
            "local_delay_s": local_share * total,
            "energy_j": 10 * total,
            "reward": -total,
        }
        for method, factor in level.items()
        for seed in range(3)
        for x in XS
    ]
    return pd.DataFrame(rows)


def learning() -> pd.DataFrame:
    results = sweep().assign(figure="fig6", x_name="episode")
    return results.assign(env_steps=results["x"].where(results["method"].isin(["Proposed", "A3C"]), 0))


def drawn(axes, method: str) -> np.ndarray:
    """The y values of the line that has a method's colour and marker."""
    style = plots.STYLES[method]
    (line,) = (
        line
        for line in axes.get_lines()
        if to_hex(line.get_color()) == to_hex(style.color) and line.get_marker() == style.marker
    )
    return np.asarray(line.get_ydata())


class TestStyles:
    def test_methods_differ_in_colour_marker_and_line(self):
        methods = [plots.STYLES[method] for method in METHODS]
        for look in (lambda s: to_hex(s.color), lambda s: s.marker, lambda s: str(s.linestyle)):
            assert len({look(style) for style in methods}) == len(METHODS)

    def test_reference_lines_are_grey_without_markers_and_all_differ(self):
        references = [plots.STYLES[name] for name in ("Optimal", "Single cut", "One ES", "Local only")]
        for style in references:
            red, green, blue = matplotlib.colors.to_rgb(style.color)
            assert red == green == blue
            assert style.marker == ""
        assert len({str(style.linestyle) for style in references}) == 4

    def test_a_method_of_ones_own_is_drawn_too(self):
        given = plots.styles(["Mine", "RPDI", "Yours", "Proposed"])
        assert list(given) == ["Proposed", "RPDI", "Mine", "Yours"]
        assert given["Mine"].marker != given["Yours"].marker


class TestSweep:
    def test_panels_show_the_means_and_the_published_values(self):
        results = sweep()
        figure = plots.plot_sweep(results, PAPER, comparison.DELAYS)
        assert len(figure.axes) == 6
        for row, metric in enumerate(comparison.DELAYS):
            ours, theirs = figure.axes[2 * row : 2 * row + 2]
            means = results[results["method"] == "A3C"].groupby("x")[metric].mean()
            assert drawn(ours, "A3C") == pytest.approx(means.to_numpy())
            assert list(drawn(theirs, "A3C")) == list(PAPER.query("method == 'A3C'").sort_values("x")[metric])
        assert "3 seeds" in figure.axes[0].get_title(loc="left")
        assert "[s]" in figure.axes[4].get_ylabel()

    def test_relative_panels_share_one_axis(self):
        figure = plots.plot_sweep(sweep(), PAPER, relative=True)
        ours, theirs = figure.axes
        assert drawn(ours, "Proposed") == pytest.approx([1 / 1.5] * 3)
        assert drawn(theirs, "Proposed")[0] == pytest.approx(19400 / 21200)
        assert ours.get_ylim() == theirs.get_ylim()
        assert ours.get_ylim()[0] < 1 / 1.5
        assert ours.get_ylim()[1] > 1

    def test_energy_of_fig11_lies_beside_the_runs_of_fig8(self):
        figure = plots.plot_sweep(sweep(), comparison.published("fig11a"), "energy_j")
        assert figure.axes[1].get_ylabel() == "energy [1000 J]"

    @pytest.mark.parametrize(("factor", "scale"), [(19.0, "linear"), (60.0, "log")])
    def test_an_overloaded_method_makes_the_axis_logarithmic(self, factor, scale):
        frame = sweep({method: 1.0 for method in METHODS} | {"APDI": factor})
        frame = frame[frame["x"] == 2.0]
        assert plots.plot_sweep(frame, PAPER).axes[0].get_yscale() == scale

    def test_a_tiny_value_does_not_make_the_axis_logarithmic(self):
        frame = sweep()
        frame.loc[frame["method"] == "A3C", "local_delay_s"] = 1e-3
        assert plots.plot_sweep(frame, PAPER, "local_delay_s").axes[0].get_yscale() == "linear"

    def test_zeros_stay_visible_on_a_logarithmic_axis(self):
        frame = sweep({method: 1.0 for method in METHODS} | {"APDI": 60.0})
        frame.loc[frame["method"] == "A3C", "local_delay_s"] = 0.0
        ours = plots.plot_sweep(frame, PAPER, "local_delay_s").axes[0]
        assert ours.get_yscale() == "symlog"
        assert ours.get_ylim()[0] <= 0

    def test_bands_are_the_bootstrap_intervals(self):
        ours = plots.plot_sweep(sweep(), PAPER).axes[0]
        table = comparison.summary(sweep(), ["total_delay_s"]).query("method == 'Proposed'")
        (band,) = (
            band
            for band in ours.collections
            if to_hex(band.get_facecolor()[0]) == to_hex(plots.STYLES["Proposed"].color)
        )
        ys = band.get_paths()[0].vertices[:, 1]
        assert ys.min() == pytest.approx(table["mean_low"].min())
        assert ys.max() == pytest.approx(table["mean_high"].max())

    @pytest.mark.parametrize("y", ["reward", "delay", []])
    def test_an_unknown_column_is_answered_with_those_there_are(self, y):
        with pytest.raises(ValueError, match=r"y must be among total_delay_s, .*local_delay_s; got"):
            plots.plot_sweep(sweep(), PAPER, y)


class TestConvergence:
    def test_curves_levels_and_shares(self):
        figure = plots.plot_convergence(learning(), comparison.published("fig6"))
        curves, levels, shares = figure.axes
        assert len(curves.get_lines()) == len(METHODS)
        banded = {to_hex(band.get_facecolor()[0]) for band in curves.collections}
        assert banded == {to_hex(plots.STYLES[learner].color) for learner in ("Proposed", "A3C")}
        published = {line.get_ydata()[0] for line in levels.get_lines()}
        assert {-18300, -19100} <= published
        positions = {round(float(line.get_xdata()[0]), 6) for line in shares.get_lines()}
        assert round(18300 / 19100, 6) in positions
        assert round(1 / 1.5, 6) in positions
        assert shares.get_xscale() == "linear"

    def test_of_all_methods_and_an_overload(self):
        """No name is cut off, and what costs a hundred times as much leaves the others apart."""
        results = pd.concat([learning().query("method == 'RPDI'").assign(method=name) for name in plots.STYLES])
        results.loc[results["method"] == "A3C", "reward"] *= 100
        figure = plots.plot_convergence(results, comparison.published("fig6"))
        assert figure.axes[2].get_xscale() == "log"
        figure.canvas.draw()
        (legend,) = figure.legends
        assert len(legend.get_texts()) == len(plots.STYLES) + 1
        box = legend.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1


class TestHeadline:
    def test_points_are_the_reductions(self):
        ours, theirs = (comparison.headline_table(frame) for frame in (sweep(), PAPER))
        figure = plots.plot_headline(ours, theirs)
        drawn_at = {round(float(line.get_xdata()[0]), 6) for line in figure.axes[0].get_lines()}
        expected = pd.concat([ours, theirs]).query("metric == 'total_delay_s'")["reduction_percent"]
        assert {round(value, 6) for value in expected} <= drawn_at
        assert 4.76 in drawn_at

    def test_undefined_reductions_are_marked(self):
        frame = sweep()
        frame.loc[frame["method"] == "A3C", "local_delay_s"] = 0.0
        figure = plots.plot_headline(comparison.headline_table(frame), comparison.headline_table(PAPER))
        said = [text.get_text() for text in figure.axes[2].texts]
        undefined = comparison.headline_table(frame)["reduction_percent"].isna().sum()
        assert said == ["undefined"] * undefined
        assert undefined > 0

    def test_reductions_far_off_scale_are_written_out(self):
        frame = sweep()
        frame.loc[frame["method"] == "A3C", "local_delay_s"] = 1e-3
        panel = plots.plot_headline(comparison.headline_table(frame), comparison.headline_table(PAPER)).axes[2]
        assert panel.get_xlim()[0] > -200
        assert any(text.get_text().startswith("\N{LEFTWARDS ARROW} \N{MINUS SIGN}") for text in panel.texts)

    def test_one_scenario_at_a_time(self):
        table = comparison.headline_table(sweep())
        with pytest.raises(ValueError, match="one scenario; got as_printed, loaded"):
            plots.plot_headline(pd.concat([table, table.assign(scenario="loaded")]), table)


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from test_plots import PAPER, plots, sweep
plots.save_figure(plots.plot_sweep(sweep(), PAPER), sys.argv[2])
"""


class TestSaving:
    def test_the_same_figure_gives_the_same_bytes_in_another_process(self, tmp_path, monkeypatch):
        first = plots.save_figure(plots.plot_sweep(sweep(), PAPER), tmp_path / "a" / "fig8")
        monkeypatch.setenv("PYTHONHASHSEED", "77")
        monkeypatch.setenv("MPLBACKEND", "agg")
        folder = str(Path(__file__).parent)
        subprocess.run([sys.executable, "-c", SCRIPT, folder, str(tmp_path / "b" / "fig8")], check=True, timeout=300)
        assert [path.suffix for path in first] == [".svg", ".pdf", ".png"]
        for path in first:
            other = tmp_path / "b" / path.name
            assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest()

    def test_no_dates_are_written(self, tmp_path):
        svg, pdf, _ = plots.save_figure(plots.plot_sweep(sweep(), PAPER), tmp_path / "fig8")
        assert b"<dc:date>" not in svg.read_bytes()
        assert b"CreationDate" not in pdf.read_bytes()

    def test_a_stem_with_a_suffix_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"stem must be a path without .*got 'fig8.png'"):
            plots.save_figure(plots.plot_sweep(sweep(), PAPER), tmp_path / "fig8.png")
        assert list(tmp_path.iterdir()) == []

    def test_the_picture_has_the_printed_width(self, tmp_path):
        *_, png = plots.save_figure(plots.plot_sweep(sweep(), PAPER), tmp_path / "fig8")
        height, width, _ = matplotlib.image.imread(png).shape
        assert width == pytest.approx(200 * 7.16, abs=1)
        assert math.isfinite(height)

    def test_pyplot_keeps_no_figure(self):
        plots.plot_sweep(sweep(), PAPER)
        assert matplotlib.pyplot.get_fignums() == []
