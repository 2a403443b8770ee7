import math

import numpy as np
import pandas as pd
import pytest
from made_up import METHODS, results
from matplotlib.colors import to_hex
from pictures import NAMES, PAPER, XS, drawn, heights, named_ends, own, sweep

from mecpart import comparison, figures


class TestSweep:
    def test_panels_show_the_means_and_the_published_values(self):
        results = sweep()
        figure = figures.plot_sweep(results, PAPER, comparison.DELAYS)
        assert len(figure.axes) == 6
        for row, metric in enumerate(comparison.DELAYS):
            ours, theirs = figure.axes[2 * row : 2 * row + 2]
            means = results[results["method"] == "A3C"].groupby("x")[metric].mean()
            assert drawn(ours, "A3C") == pytest.approx(means.to_numpy())
            assert list(drawn(theirs, "A3C")) == list(PAPER.query("method == 'A3C'").sort_values("x")[metric])
        assert "3 seeds" in figure.axes[0].get_title(loc="left")
        assert "[s]" in figure.axes[4].get_ylabel()

    def test_relative_panels_share_one_axis(self):
        figure = figures.plot_sweep(sweep(), PAPER, relative=True)
        ours, theirs = figure.axes
        assert drawn(ours, "Proposed") == pytest.approx([1 / 1.5] * 3)
        assert drawn(theirs, "Proposed")[0] == pytest.approx(19400 / 21200)
        assert ours.get_ylim() == theirs.get_ylim()
        assert ours.get_ylim()[0] < 1 / 1.5
        assert ours.get_ylim()[1] > 1

    def test_energy_of_fig11_lies_beside_the_runs_of_fig8(self):
        figure = figures.plot_sweep(sweep(), comparison.published("fig11a"), "energy_j")
        assert figure.axes[1].get_ylabel() == "energy [1000 J]"

    @pytest.mark.parametrize(("factor", "scale"), [(19.0, "linear"), (60.0, "log")])
    def test_an_overloaded_method_makes_the_axis_logarithmic(self, factor, scale):
        frame = sweep({method: 1.0 for method in METHODS} | {"APDI": factor})
        frame = frame[frame["x"] == 2.0]
        assert figures.plot_sweep(frame, PAPER).axes[0].get_yscale() == scale

    def test_a_tiny_value_does_not_make_the_axis_logarithmic(self):
        frame = sweep()
        frame.loc[frame["method"] == "A3C", "local_delay_s"] = 1e-3
        assert figures.plot_sweep(frame, PAPER, "local_delay_s").axes[0].get_yscale() == "linear"

    def test_zeros_stay_visible_on_a_logarithmic_axis(self):
        frame = sweep({method: 1.0 for method in METHODS} | {"APDI": 60.0})
        frame.loc[frame["method"] == "A3C", "local_delay_s"] = 0.0
        ours = figures.plot_sweep(frame, PAPER, "local_delay_s").axes[0]
        assert ours.get_yscale() == "symlog"
        assert ours.get_ylim()[0] <= 0

    def test_bars_are_the_bootstrap_intervals(self):
        ours = figures.plot_sweep(sweep(), PAPER).axes[0]
        table = comparison.summary(sweep(), ["total_delay_s"]).query("method == 'Proposed'")
        (bars,) = (
            bars for bars in ours.collections if to_hex(bars.get_color()[0]) == to_hex(figures.STYLES["Proposed"].color)
        )
        ends = np.array(bars.get_segments())
        np.testing.assert_allclose(ends[:, :, 0], np.array([XS, XS]).T)
        np.testing.assert_allclose(ends[:, :, 1], table[["mean_low", "mean_high"]])

    def test_methods_that_coincide_stand_side_by_side(self):
        frame = sweep(dict.fromkeys(METHODS, 1.0))
        ours, theirs = figures.plot_sweep(frame, PAPER).axes
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
        figure = figures.plot_sweep(frame, PAPER, comparison.DELAYS)
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
        figure = figures.plot_sweep(frame, PAPER)
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
        loaded = figures.plot_sweep(frame.assign(scenario="loaded"), PAPER).axes[2]
        assert loaded.get_ylabel() == "gap to the bound [%]"

    @pytest.mark.parametrize(
        ("scenario", "xs", "told"),
        [
            ("pipelined", (3.0, 9.0), "optimum"),
            ("pipelined", (9.0, 12.0, 21.0), "optimum\n(bound at 12, 21)"),
            ("pipelined", (12.0, 21.0), "bound"),
            ("as_printed", (3.0, 21.0), "optimum"),
            ("loaded", (3.0, 21.0), "bound"),
        ],
    )
    def test_the_gap_says_where_it_is_one_to_a_bound(self, scenario, xs, told):
        frame = results({"Greedy": 2.0}, seeds=2, xs=xs, figure="fig9", scenario=scenario)
        frame = frame.assign(x_name="num_blocks", gap_percent=5.0)
        assert figures.plot_sweep(frame, y="gap_percent").axes[0].get_ylabel() == f"gap to the {told} [%]"

    @pytest.mark.parametrize("y", ["reward", "delay", []])
    def test_an_unknown_column_is_answered_with_those_there_are(self, y):
        with pytest.raises(ValueError, match=r"y must be among total_delay_s, .*local_delay_s; got"):
            figures.plot_sweep(sweep(), PAPER, y)


class TestOwnExperiment:
    """A sweep that nobody has published, of any methods against anything."""

    def test_without_published_values(self):
        figure = figures.plot_sweep(own())
        total, beside, gap, _ = [figure.axes[at] for at in (0, 2, 1, 2)]
        assert [panel.get_xlabel() for panel in (total, gap)] == ["number of cats"] * 2
        assert [panel.get_ylabel() for panel in (total, gap)] == ["total delay [s]", "gap to the optimum [%]"]
        assert list(named_ends(beside)) == list(NAMES)[::-1]
        low, high = gap.get_ylim()
        ends = own().query("x == 6").groupby("method")["gap_percent"].mean()[list(NAMES)[::-1]]
        np.testing.assert_allclose(
            heights(beside), (ends - low) / (high - low)
        )  # far enough apart to stand at the ends
        means = own().groupby(["method", "x"])["total_delay_s"].mean()
        assert [list(line.get_ydata()) for line in total.get_lines()] == [list(means[name]) for name in NAMES]

    def test_names_that_do_not_fit_beside_the_curves_stand_below(self):
        many = sweep({f"{at} workers and all their friends": float(at) for at in range(1, 20)})
        figure = figures.plot_sweep(many)
        assert len(figure.legends[0].get_texts()) == 19
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1

    def test_what_has_no_end_is_named_below(self):
        frame = own()
        frame.loc[frame["method"] == NAMES[2], "gap_percent"] = math.nan
        figure = figures.plot_sweep(frame)
        assert {text.get_text() for text in figure.legends[0].get_texts()} == set(NAMES)
        without = figures.plot_sweep(frame.assign(gap_percent=math.nan))
        assert [panel.get_ylabel() for panel in without.axes if panel.axison] == ["total delay [s]"]

    def test_any_measure(self):
        frame = own().assign(deadline_violation_rate=0.2, env_steps=0)
        figure = figures.plot_sweep(frame, y=["reward", "deadline_violation_rate", "energy_j"])
        labels = [panel.get_ylabel() for panel in figure.axes if panel.axison]
        assert labels == ["reward", "deadlines missed [share of blocks]", "energy [1000 J]"]
        assert figures.plot_sweep(frame, y="gap_percent").axes[0].get_ylabel() == "gap to the optimum [%]"

    def test_against_names_and_over_decades(self):
        named = own().assign(x=own()["x"].map(dict(zip(XS, ("nin", "vgg16", "alexnet"), strict=True))))
        panel = figures.plot_sweep(named, y="total_delay_s").axes[0]
        assert [tick.get_text() for tick in panel.get_xticklabels()] == ["alexnet", "nin", "vgg16"]
        means = named.groupby(["method", "x"])["total_delay_s"].mean()[NAMES[0]]
        assert list(panel.get_lines()[0].get_ydata()) == list(means[["alexnet", "nin", "vgg16"]])
        wide = own().assign(x=10 ** own()["x"])
        assert figures.plot_sweep(wide, y="total_delay_s").axes[0].get_xscale() == "log"

    def test_shares_of_a_reference(self):
        figure = figures.plot_sweep(own(), relative=True, reference=NAMES[1])
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
            figures.plot_sweep(**{"results": own()} | given)

    def test_one_experiment_and_scenario_at_a_time(self):
        for column in ("figure", "scenario"):
            mixed = pd.concat([own(), own().assign(**{column: "other"})])
            with pytest.raises(ValueError, match=f"results must hold a single {column}; got"):
                figures.plot_sweep(mixed)
