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
from matplotlib.offsetbox import AnnotationBbox
from matplotlib.text import Text

from mecpart import comparison
from mecpart.figures import plots

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


def words(figure) -> list[tuple[str, bool]]:
    """All that is written on a figure, and whether it is taken for mathematics."""
    return [(text.get_text(), text.get_parse_math()) for text in figure.findobj(Text) if text.get_text()]


def named_ends(axes) -> dict[str, tuple[float, float]]:
    """The names beside a panel from top to bottom, each with the point that it is joined to."""
    boxes = [artist for artist in axes.get_children() if isinstance(artist, AnnotationBbox)]
    boxes.sort(key=lambda box: -box.xyann[1])
    return {box.findobj(Text)[0].get_text(): tuple(box.xy) for box in boxes}


def heights(axes) -> np.ndarray:
    """Where names stand beside a panel, from top to bottom, as shares of its height."""
    return np.sort([box.xyann[1] for box in axes.get_children() if isinstance(box, AnnotationBbox)])[::-1]


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

    @pytest.mark.parametrize(("known", "own"), [((), 36), (("Greedy", "Optimal"), 24), (tuple(plots.STYLES), 24)])
    def test_all_differ_however_many_there_are(self, known, own):
        given = plots.styles([*known, *(f"method {at}" for at in range(own))])
        looks = {(to_hex(look.color), look.marker, str(look.linestyle)) for look in given.values()}
        both = {"Optimal", "Myopic"} <= set(known)  # which are of two scenarios, and alike
        assert len(looks) == len(known) + own - both


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

    def test_bars_are_the_bootstrap_intervals(self):
        ours = plots.plot_sweep(sweep(), PAPER).axes[0]
        table = comparison.summary(sweep(), ["total_delay_s"]).query("method == 'Proposed'")
        (bars,) = (
            bars for bars in ours.collections if to_hex(bars.get_color()[0]) == to_hex(plots.STYLES["Proposed"].color)
        )
        ends = np.array(bars.get_segments())
        np.testing.assert_allclose(ends[:, :, 0], np.array([XS, XS]).T)
        np.testing.assert_allclose(ends[:, :, 1], table[["mean_low", "mean_high"]])

    def test_methods_that_coincide_stand_side_by_side(self):
        frame = sweep(dict.fromkeys(METHODS, 1.0))
        ours, theirs = plots.plot_sweep(frame, PAPER).axes
        on_screen = [line.get_transform().transform(line.get_xydata()) for line in ours.get_lines()]
        np.testing.assert_allclose(np.ptp([points[:, 1] for points in on_screen], axis=0), 0, atol=1e-9)
        places = np.sort([points[0, 0] for points in on_screen])
        assert (np.diff(places) > 1).all()  # pixel
        assert places[-1] - places[0] < 0.5 * (on_screen[0][1, 0] - on_screen[0][0, 0])
        exact = [line.get_transform().transform(line.get_xydata())[0, 0] for line in theirs.get_lines()]
        assert np.ptp(exact) == 0

    @pytest.mark.parametrize(("factor", "units"), [(1.0, ("1000 s", "1000 s", "s")), (60.0, ("1000 s",) * 3)])
    def test_both_panels_have_one_unit(self, factor, units):
        frame = sweep({method: 1.0 for method in METHODS} | {"APDI": factor})
        figure = plots.plot_sweep(frame, PAPER, comparison.DELAYS)
        for row, unit in enumerate(units):
            ours, theirs = figure.axes[2 * row : 2 * row + 2]
            assert ours.get_ylabel() == theirs.get_ylabel()
            assert ours.get_ylabel().endswith(f"delay [{unit}]")
            for panel in (ours, theirs):
                at = [value for value in panel.yaxis.get_majorticklocs() if np.clip(value, *panel.get_ylim()) == value]
                told = panel.yaxis.get_major_formatter().format_ticks(at)
                told = [float(text.replace("\N{NARROW NO-BREAK SPACE}", "")) for text in told]
                np.testing.assert_allclose(told, np.array(at) / {"s": 1, "1000 s": 1000}[unit])
                assert len(told) >= 2

    def test_the_gap_tells_apart_what_coincides_and_names_it(self):
        gaps = {"Proposed": 0.2, "A3C": 0.03, "Distributed DQN": 0.0, "Greedy": 50.0, "APDI": 0.0, "RPDI": 40.0}
        frame = sweep(dict.fromkeys(METHODS, 1.0))
        frame["gap_percent"] = frame["method"].map(gaps)
        figure = plots.plot_sweep(frame, PAPER)
        total, published, gap, beside = figure.axes
        assert (total.get_ylabel(), gap.get_ylabel()) == ("total delay [1000 s]", "gap to the optimum [%]")
        assert gap.get_yscale() == "symlog"
        assert gap.get_ylim()[0] < 0
        ends = named_ends(beside)
        assert list(ends)[:4] == ["Greedy", "RPDI", "Proposed", "A3C"]
        assert {name: end for name, (_, end) in ends.items()} == pytest.approx(gaps)
        assert {end for end, _ in ends.values()} == {XS[-1]}
        assert (np.diff(heights(beside)) < -0.07).all()  # and nothing overlaps
        assert not figure.legends
        assert published.xaxis.get_tick_params()["labelbottom"]
        assert not total.xaxis.get_tick_params()["labelbottom"]
        loaded = plots.plot_sweep(frame.assign(scenario="loaded"), PAPER).axes[2]
        assert loaded.get_ylabel() == "gap to the bound [%]"

    @pytest.mark.parametrize("y", ["reward", "delay", []])
    def test_an_unknown_column_is_answered_with_those_there_are(self, y):
        with pytest.raises(ValueError, match=r"y must be among total_delay_s, .*local_delay_s; got"):
            plots.plot_sweep(sweep(), PAPER, y)


NAMES = ("_hidden", "cost $x$ and $y$", "$\\frac", "<b>bold</b>")


class TestOwnExperiment:
    """A sweep that nobody has published, of any methods against anything."""

    def own(self) -> pd.DataFrame:
        frame = sweep(dict(zip(NAMES, (1.0, 2.0, 3.0, 4.0), strict=True)))
        return frame.assign(figure="mine", x_name="num_cats", gap_percent=frame["total_delay_s"] / 100)

    def test_without_published_values(self):
        figure = plots.plot_sweep(self.own())
        total, beside, gap, _ = [figure.axes[at] for at in (0, 2, 1, 2)]
        assert [panel.get_xlabel() for panel in (total, gap)] == ["number of cats"] * 2
        assert [panel.get_ylabel() for panel in (total, gap)] == ["total delay [s]", "gap to the optimum [%]"]
        assert list(named_ends(beside)) == list(NAMES)[::-1]
        low, high = gap.get_ylim()
        ends = self.own().query("x == 6").groupby("method")["gap_percent"].mean()[list(NAMES)[::-1]]
        np.testing.assert_allclose(
            heights(beside), (ends - low) / (high - low)
        )  # far enough apart to stand at the ends
        means = self.own().groupby(["method", "x"])["total_delay_s"].mean()
        assert [list(line.get_ydata()) for line in total.get_lines()] == [list(means[name]) for name in NAMES]

    def test_names_are_shown_as_they_are(self):
        frame = self.own()
        settings = pd.concat([sweep(dict.fromkeys(METHODS[:1], 1.0)).assign(setting=name) for name in NAMES])
        estimates = pd.DataFrame({"name": NAMES, "value": 1.0, "low": math.nan, "high": math.nan})
        learned = learning().replace({"method": {"RPDI": NAMES[1], "APDI": NAMES[0]}})
        figures = [
            (plots.plot_sweep(frame), NAMES),
            (plots.plot_sweep(frame, PAPER), NAMES),
            (plots.plot_sweep(frame.assign(figure="fig8"), relative=True, reference=NAMES[1]), NAMES),
            (plots.plot_sweep(frame.assign(x=frame["x"].map(dict(zip(XS, NAMES, strict=False))))), NAMES),
            (plots.plot_sweep(settings), NAMES),
            (plots.plot_estimates(estimates, "name", "cost $a$ [$]"), (*NAMES, "cost $a$ [$]")),
            (plots.plot_convergence(learned, comparison.published("fig6"), "Greedy"), NAMES[:2]),
        ]
        for figure, names in figures:
            assert {(name, False) for name in names} <= set(words(figure))
            assert not any(name in text and math for text, math in words(figure) for name in names)

    def test_names_that_do_not_fit_beside_the_curves_stand_below(self):
        many = sweep({f"{at} workers and all their friends": float(at) for at in range(1, 20)})
        figure = plots.plot_sweep(many)
        assert len(figure.legends[0].get_texts()) == 19
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1

    def test_what_has_no_end_is_named_below(self):
        frame = self.own()
        frame.loc[frame["method"] == NAMES[2], "gap_percent"] = math.nan
        figure = plots.plot_sweep(frame)
        assert {text.get_text() for text in figure.legends[0].get_texts()} == set(NAMES)
        without = plots.plot_sweep(frame.assign(gap_percent=math.nan))
        assert [panel.get_ylabel() for panel in without.axes if panel.axison] == ["total delay [s]"]

    def test_any_measure(self):
        frame = self.own().assign(deadline_violation_rate=0.2, env_steps=0)
        figure = plots.plot_sweep(frame, y=["reward", "deadline_violation_rate", "energy_j"])
        labels = [panel.get_ylabel() for panel in figure.axes if panel.axison]
        assert labels == ["reward", "deadlines missed [share of blocks]", "energy [1000 J]"]
        assert plots.plot_sweep(frame, y="gap_percent").axes[0].get_ylabel() == "gap to the optimum [%]"

    def test_against_names_and_over_decades(self):
        named = self.own().assign(x=self.own()["x"].map(dict(zip(XS, ("nin", "vgg16", "alexnet"), strict=True))))
        panel = plots.plot_sweep(named, y="total_delay_s").axes[0]
        assert [tick.get_text() for tick in panel.get_xticklabels()] == ["alexnet", "nin", "vgg16"]
        means = named.groupby(["method", "x"])["total_delay_s"].mean()[NAMES[0]]
        assert list(panel.get_lines()[0].get_ydata()) == list(means[["alexnet", "nin", "vgg16"]])
        wide = self.own().assign(x=10 ** self.own()["x"])
        assert plots.plot_sweep(wide, y="total_delay_s").axes[0].get_xscale() == "log"

    def test_shares_of_a_reference(self):
        figure = plots.plot_sweep(self.own(), relative=True, reference=NAMES[1])
        (panel,) = (panel for panel in figure.axes if panel.axison)
        assert panel.get_lines()[0].get_ydata() == pytest.approx([0.5] * 3)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"results": None}, "results must be a DataFrame; got NoneType"),
            ({"results": pd.DataFrame({"x": [1.0]})}, "results must have the columns figure"),
            ({"results": PAPER}, "results must have the columns .*; missing: seed"),
            ({"published": "fig8"}, "published must be a DataFrame; got str"),
            ({"y": "speed"}, "y must be among total_delay_s, .*gap_percent; got speed"),
            ({"y": "gap_percent", "relative": True}, "y must be among total_delay_s, .*energy_j; got gap_percent"),
            ({"relative": True}, "reference must be one of _hidden, .*; got 'RPDI'"),
        ],
    )
    def test_bad_arguments_are_named(self, given, message):
        with pytest.raises(ValueError, match=message):
            plots.plot_sweep(**{"results": self.own()} | given)

    def test_one_experiment_and_scenario_at_a_time(self):
        for column in ("figure", "scenario"):
            mixed = pd.concat([self.own(), self.own().assign(**{column: "other"})])
            with pytest.raises(ValueError, match=f"results must hold a single {column}; got"):
                plots.plot_sweep(mixed)


class TestConvergence:
    def test_curves_levels_and_shares(self):
        figure = plots.plot_convergence(learning(), comparison.published("fig6"))
        curves, levels, shares = figure.axes
        assert len(curves.get_lines()) == len(METHODS) + 2 * 2  # and the ends of two bands
        banded = {to_hex(band.get_facecolor()[0]) for band in curves.collections}
        assert curves.get_ylabel().endswith("[1000]") == levels.get_ylabel().endswith("[1000]")
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
        figure.draw_without_rendering()
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


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.plot_convergence(None, PAPER), "results must be a DataFrame; got NoneType"),
        (lambda: plots.plot_convergence(learning(), PAPER), "published must have the columns .*missing: reward"),
        (
            lambda: plots.plot_convergence(learning(), comparison.published("fig6"), "Optimal"),
            "reference must be one of 'Proposed', .*; got 'Optimal'",
        ),
        (lambda: plots.plot_headline(sweep(), sweep()), "measured must have the columns .*missing: metric"),
        (lambda: plots.plot_estimates(sweep(), "name", "delay [s]"), "table must have the columns .*missing: name"),
        (lambda: plots.save_figure("fig8", "a"), "figure must be a matplotlib Figure; got str"),
        (lambda: plots.save_figure(matplotlib.figure.Figure(), 8), "stem must be a path; got 8"),
    ],
)
def test_bad_arguments_are_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


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
        folder = str(Path(__file__).parents[1])
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
