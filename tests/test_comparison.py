import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mecpart import comparison
from mecpart.comparison import BASELINES, DELAY_FIGURES, DELAYS, NEGATIVE, POSITIVE, PROPOSED, words
from mecpart.experiments.runner import COLUMNS, EXPERIMENTS
from mecpart.locations import data_folder

METHODS = (PROPOSED, *BASELINES)


def results(
    level: dict[str, float],
    *,
    seeds: int = 6,
    xs: tuple[float, ...] = (2, 4, 6),
    local_share: float = 0.25,
    noise: float = 0.0,
    figure: str = "fig8",
    scenario: str = "as_printed",
) -> pd.DataFrame:
    """Tidy results: a method's total delay is its level times a factor of the seed and a falling one of x."""
    draw = np.random.default_rng(7)
    rows = []
    for seed in range(seeds):
        for method, factor in level.items():
            for x in xs:
                total = 1000.0 * (1 + seed / 10) * (1 - x / 20) * factor * (1 + noise * draw.normal())
                optimum = 1000.0 * (1 + seed / 10) * (1 - x / 20)
                rows.append(
                    {
                        "figure": figure,
                        "scenario": scenario,
                        "method": method,
                        "seed": seed,
                        "x_name": "num_servers",
                        "x": float(x),
                        "total_delay_s": total,
                        "edge_delay_s": (1 - local_share) * total,
                        "local_delay_s": local_share * total,
                        "energy_j": 10 * total,
                        "reward": -total,
                        "optimal_total_delay_s": optimum,
                    }
                )
    return pd.DataFrame(rows)


LEVEL = {PROPOSED: 1.0, "A3C": 1.25, "Distributed DQN": 2.0, "Greedy": 2.5, "APDI": 4.0, "RPDI": 5.0}


class TestPublished:
    def test_values_and_columns_are_those_of_the_file(self):
        table = comparison.published("fig8")
        row = table[(table["method"] == PROPOSED) & (table["x"] == 6)].iloc[0]
        assert (row["total_delay_s"], row["edge_delay_s"], row["local_delay_s"]) == (15800, 10465, 5335)
        assert len(table) == 48
        shared = [column for column in table.columns if column in COLUMNS]
        assert shared == [column for column in COLUMNS if column in table.columns]
        assert set(table.columns) - set(COLUMNS) == {"setting", "note"}

    def test_every_published_number_is_found_once(self):
        curves = pd.read_csv(data_folder() / "published" / "curves.csv", dtype={"figure": str})
        for figure, panel in curves.groupby("figure"):
            table = comparison.published(f"fig{figure}")
            numbers = table[[column for column in (*DELAYS, "energy_j") if column in table]].to_numpy().ravel()
            assert sorted(numbers) == sorted(panel["value"])

    def test_energy_is_in_joules_and_delay_in_seconds(self):
        assert "energy_j" in comparison.published("fig11a")
        assert "total_delay_s" not in comparison.published("fig11a")
        assert set(comparison.published("fig11")["x_name"]) == {"num_servers", "num_blocks", "release_rate"}

    def test_a_clipped_point_says_so(self):
        notes = comparison.published("fig11c").set_index(["method", "x"])["note"]
        assert "clipped" in notes[PROPOSED, 50]
        assert notes[PROPOSED, 60] == ""

    def test_convergence_levels_are_rewards_at_the_last_episode(self):
        table = comparison.published("fig6").set_index("method")
        assert set(table.index) == set(METHODS)
        assert table.loc["A3C", "reward"] == -18490
        assert set(table["x"]) == {3000}
        assert set(comparison.published("fig7b")["setting"]) == {f"workers={count}" for count in (2, 4, 6, 8)}

    def test_the_four_networks_of_fig13_are_told_apart(self):
        table = comparison.published("fig13")
        assert set(table["setting"]) == {"dnn=AlexNet", "dnn=NiN", "dnn=ResNet32", "dnn=VGG16"}
        assert len(table) == 20

    @pytest.mark.parametrize("figure", ["fig5", "8", "fig6a", ""])
    def test_an_unknown_figure_is_answered_with_those_there_are(self, figure):
        with pytest.raises(ValueError, match=r"figure must be one of 'fig6', .*'fig8', .*got"):
            comparison.published(figure)

    def test_reductions_are_those_of_the_file(self):
        table = comparison.published_reductions()
        assert list(table.query("where == 'abstract'")["reduction_percent"]) == [4.76, 10.04, 8.03]
        assert set(table["metric"]) == set(DELAYS)


class TestCurves:
    def test_block_holds_each_value_where_it_belongs(self):
        frame = results(LEVEL, seeds=2).sample(frac=1, random_state=1)
        block = comparison.as_curves(frame, "total_delay_s")
        assert block.values.shape == (2, 6, 3)
        assert block.of("A3C")[1, 2] == pytest.approx(1000 * 1.1 * 0.7 * 1.25)

    def test_unbalanced_results_are_refused(self):
        frame = results(LEVEL, seeds=2)
        with pytest.raises(ValueError, match=r"every seed for every method and x; missing: seed 0, Proposed, x = 2"):
            comparison.as_curves(frame.iloc[1:], "total_delay_s")
        with pytest.raises(ValueError, match=r"once; got seed 0, Proposed, x = 2 twice"):
            comparison.as_curves(pd.concat([frame, frame.iloc[:1]]), "total_delay_s")

    def test_mixed_figures_and_missing_columns_are_refused(self):
        frame = results(LEVEL, seeds=2)
        with pytest.raises(ValueError, match=r"single figure; got fig8, fig9"):
            comparison.as_curves(pd.concat([frame, frame.assign(figure="fig9")]), "total_delay_s")
        with pytest.raises(ValueError, match="missing: speed"):
            comparison.as_curves(frame, "speed")
        with pytest.raises(ValueError, match=r"method must be one of .*got 'SARSA'"):
            comparison.as_curves(frame, "total_delay_s").of("SARSA")


class TestStatistics:
    values = np.random.default_rng(3).normal(10, 2, size=9)

    @pytest.mark.parametrize(
        ("statistic", "function"),
        [("mean", np.mean), ("iqm", lambda x, axis: stats.trim_mean(x, 0.25, axis=axis))],
    )
    def test_interval_is_scipys_percentile_bootstrap_at_the_expanded_level(self, statistic, function):
        theirs = stats.bootstrap(
            (self.values,),
            function,
            n_resamples=10_000,
            confidence_level=comparison.expanded_level(9),
            method="percentile",
            rng=np.random.default_rng(2024),
        ).confidence_interval
        low, high = comparison.bootstrap_interval(self.values, statistic)
        assert (float(low), float(high)) == pytest.approx((theirs.low, theirs.high), rel=1e-12)

    def test_expanded_level_gives_the_width_of_students_t(self):
        level = comparison.expanded_level(10)
        half_width_in_plugin_errors = stats.norm.ppf((1 + level) / 2) * math.sqrt(9 / 10)
        assert half_width_in_plugin_errors == pytest.approx(2.2622, abs=1e-4)  # t_{0.975, 9} in any table
        assert comparison.expanded_level(100_000) == pytest.approx(0.95, abs=1e-4)

    @pytest.mark.parametrize(("seeds", "at_least"), [(5, 0.89), (10, 0.93)])
    def test_interval_covers_the_true_mean(self, seeds, at_least):
        samples = np.random.default_rng(11).normal(size=(seeds, 800))
        low, high = comparison.bootstrap_interval(samples)
        assert at_least < np.mean((low < 0) & (high > 0)) < 0.97

    def test_columns_share_their_resamples(self):
        sample = np.random.default_rng(5).normal(size=8)
        low, high = comparison.bootstrap_interval(np.stack([sample, 1 + sample], axis=1))
        assert np.diff(low) == pytest.approx(1, abs=1e-12)
        assert np.diff(high) == pytest.approx(1, abs=1e-12)

    def test_interquartile_mean_is_the_mean_of_the_middle_half(self):
        assert comparison.interquartile_mean(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == pytest.approx(3.5)

    def test_one_seed_has_no_interval(self):
        found = comparison.estimate(np.array([3.0]))
        assert found.value == 3
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert math.isnan(found.detectable)

    def test_an_undefined_seed_makes_the_mean_undefined_and_says_why(self):
        found = comparison.estimate(np.array([1.0, math.nan, 2.0]), "nothing ran there")
        assert math.isnan(found.value)
        assert found.reason == "nothing ran there"

    def test_detectable_difference_by_hand(self):
        # n = 5: t_{0.975, 4} = 2.776445, t_{0.8, 4} = 0.940965; differences 1..5 have s = 1.581139
        found = comparison.detectable_difference(np.array([1.0, 2, 3, 4, 5]))
        assert found == pytest.approx((2.776445 + 0.940965) * 1.5811388 / math.sqrt(5), rel=1e-6)

    def test_detectable_difference_is_detected_four_times_in_five(self):
        draw = np.random.default_rng(9)
        spread = draw.normal(size=(20, 4000))
        effect = float(comparison.detectable_difference(spread[:, :1] / spread[:, :1].std(ddof=1))[0])
        detected = stats.ttest_1samp(spread + effect, 0).pvalue < 0.05
        assert detected.mean() == pytest.approx(0.80, abs=0.03)

    def test_concordance_is_kendalls_tau(self):
        draw = np.random.default_rng(2)
        reference, values = draw.permutation(8).astype(float), draw.normal(size=(5, 8))
        taus = [stats.kendalltau(reference, row).statistic for row in values]
        assert comparison.concordance(reference, values) == pytest.approx(taus)

    def test_unknown_statistic_is_refused(self):
        with pytest.raises(ValueError, match="statistic must be mean or iqm; got 'median'"):
            comparison.bootstrap_interval(np.ones(3), "median")


class TestRule:
    @pytest.mark.parametrize(
        ("low", "high", "region", "expected"),
        [
            (0.1, 2.0, POSITIVE, "reproduced"),
            (-2.0, -0.1, POSITIVE, "not reproduced"),
            (-0.1, 2.0, POSITIVE, "undecided"),
            (0.0, 0.0, POSITIVE, "not reproduced"),  # exactly equal is not lower
            (-2.0, -0.1, NEGATIVE, "reproduced"),
            (3.0, 9.0, (2.5, 10.0), "reproduced"),
            (11.0, 12.0, (2.5, 10.0), "not reproduced"),
            (-3.0, 1.0, (2.5, 10.0), "not reproduced"),
            (2.0, 6.0, (2.5, 10.0), "undecided"),
            (math.nan, math.nan, POSITIVE, "undecided"),
        ],
    )
    def test_verdict_follows_from_the_interval(self, low, high, region, expected):
        found = comparison.Estimate((low + high) / 2, low, high, 10, 0.1)
        assert comparison.verdict(found, region) == expected

    @pytest.mark.parametrize("seeds", [1, 2, 3, 4])
    def test_fewer_than_five_seeds_decide_nothing(self, seeds):
        assert comparison.verdict(comparison.estimate(np.full(seeds, 5.0)), POSITIVE) == "undecided"

    def test_a_percentage_is_held_to_its_sign_and_a_factor_of_two(self):
        assert comparison.about(5) == (2.5, 10)
        assert comparison.about(-5) == (-10, -2.5)


class TestSweeps:
    def test_summary_by_hand(self):
        row = comparison.summary(results(LEVEL, seeds=4)).query("method == 'A3C' and x == 2 and metric == @DELAYS[0]")
        levels = 1000 * 0.9 * 1.25 * np.array([1.0, 1.1, 1.2, 1.3])
        assert row["mean"].item() == pytest.approx(levels.mean())
        assert row["iqm"].item() == pytest.approx(levels[1:3].mean())
        assert row["mean_low"].item() < levels.mean() < row["mean_high"].item()
        assert row["num_seeds"].item() == 4

    def test_paired_differences_remove_what_seeds_share(self):
        frame = results({PROPOSED: 1.0, "A3C": 1.1}, seeds=6, xs=(2,))
        frame.loc[frame["method"] == "A3C", "total_delay_s"] = frame.loc[
            frame["method"] == PROPOSED, "total_delay_s"
        ].to_numpy() + np.array([1.0, 2, 3, 4, 5, -1])
        row = comparison.paired_differences(frame, baselines=["A3C"]).query("x == 2").iloc[0]
        assert row["difference"] == pytest.approx(14 / 6)
        assert row["probability_of_improvement"] == pytest.approx(5 / 6)
        low, high = comparison.bootstrap_interval(np.array([1.0, 2, 3, 4, 5, -1]))
        assert (row["low"], row["high"]) == pytest.approx((float(low), float(high)))

    def test_a_tie_is_half_an_improvement(self):
        frame = results({PROPOSED: 1.0, "A3C": 1.0})
        table = comparison.paired_differences(frame, baselines=["A3C"])
        assert set(table["probability_of_improvement"]) == {0.5}
        assert table["x"].isna().sum() == 1

    def test_relative_delays_next_to_published(self):
        table = comparison.relative_delays(results(LEVEL), comparison.published("fig8"))
        row = table.query("method == 'Greedy' and x == 4").iloc[0]
        assert row["measured"] == pytest.approx(2.5 / 5)
        assert row["published"] == pytest.approx(18600 / 18900)
        assert (row["low"], row["high"]) == pytest.approx((0.5, 0.5))
        assert (
            comparison.relative_delays(results(LEVEL, xs=(2, 30)), comparison.published("fig8"))
            .query("x == 30")["published"]
            .isna()
            .all()
        )

    def test_rank_agreement_against_scipy(self):
        paper = comparison.published("fig8")
        frame = results(LEVEL, noise=0.3)
        table = comparison.rank_agreement(frame, paper)
        at_six = [paper.query("method == @m and x == 6")["total_delay_s"].item() for m in METHODS]
        means = [frame.query("method == @m and x == 6")["total_delay_s"].mean() for m in METHODS]
        row = table.query("x == 6").iloc[0]
        assert row["rank_correlation"] == pytest.approx(stats.kendalltau(at_six, means).statistic)
        assert row["order"].split(" < ") == [METHODS[at] for at in np.argsort(means)]
        overall = table[table["x"].isna()]["rank_correlation"].item()
        assert overall == pytest.approx(table[table["x"].notna()]["rank_correlation"].mean())

    def test_trends_compare_signs(self):
        frame = results(LEVEL)
        rising = frame["method"] == "A3C"
        frame.loc[rising, "total_delay_s"] = frame.loc[rising, "x"] * 100
        table = comparison.trends(frame, comparison.published("fig8")).set_index("method")
        assert (table["published"] == -1).all()
        assert table.loc["A3C", "measured"] == 1
        assert table.loc["A3C", "verdict"] == "not reproduced"
        assert (table.drop("A3C")["verdict"] == "reproduced").all()


def headline_row(table: pd.DataFrame, baseline: str, averaging: str = "mean of ratios", metric: str = "total_delay_s"):
    return table.query("baseline == @baseline and averaging == @averaging and metric == @metric").iloc[0]


class TestHeadline:
    def test_every_convention_by_hand(self):
        table = comparison.headline_table(results(LEVEL))
        one_by_one = {name: 100 * (LEVEL[name] - 1) / LEVEL[name] for name in BASELINES}
        for name, percent in one_by_one.items():
            assert headline_row(table, name)["reduction_percent"] == pytest.approx(percent)
        assert headline_row(table, "all")["reduction_percent"] == pytest.approx(np.mean(list(one_by_one.values())))
        assert headline_row(table, "learned")["reduction_percent"] == pytest.approx((20 + 50) / 2)
        mean_learned = (1.25 + 2.0) / 2
        ratio_of_means = headline_row(table, "learned", "ratio of means")["reduction_percent"]
        assert ratio_of_means == pytest.approx(100 * (mean_learned - 1) / mean_learned)
        assert headline_row(table, "best")["reduction_percent"] == pytest.approx(20)
        assert set(table["figure"]) == {"fig8"}
        assert headline_row(table, "best")["abstract_percent"] == 4.76
        assert headline_row(table, "best", metric="edge_delay_s")["abstract_percent"] == 10.04

    def test_the_state_of_the_art_is_each_learned_baseline_and_the_better_of_them(self):
        """Proposed has 10 % more than A3C, half of Distributed DQN but at x = 4, where that is a tenth better still."""
        frame = results(LEVEL | {PROPOSED: 1.1, "A3C": 1.0, "Distributed DQN": 2.2}, xs=(2, 4))
        frame.loc[(frame["method"] == "Distributed DQN") & (frame["x"] == 4), list(DELAYS)] *= 0.9 / 2.2
        table = comparison.headline_verdicts(comparison.headline_table(frame))
        total = table.query("metric == 'total_delay_s'").set_index("baseline")
        reductions = [-10, 100 * (0.5 + 1 - 1.1 / 0.9) / 2, 100 * ((1 - 1.1) + (1 - 1.1 / 0.9)) / 2]
        assert list(total.index) == ["A3C", "Distributed DQN", "best learned"]
        assert list(total["reduction_percent"]) == pytest.approx(reductions)
        assert list(total["less"]) == ["not reproduced", "reproduced", "not reproduced"]
        assert set(total["by_this_much"]) == {"not reproduced"}
        # Of 4.76 % between half and double is reproduced.
        near = results(LEVEL | {"A3C": 1.05, "Distributed DQN": 1.2})
        total = comparison.headline_verdicts(comparison.headline_table(near)).set_index(["metric", "baseline"])
        assert dict(total.loc["total_delay_s", "by_this_much"]) == {
            "A3C": "reproduced", "Distributed DQN": "not reproduced", "best learned": "reproduced",
        }  # fmt: skip

    def test_the_best_baseline_is_chosen_at_each_setting(self):
        frame = results(LEVEL, xs=(2, 4))
        swap = (frame["method"] == "Greedy") & (frame["x"] == 4)
        frame.loc[swap, "total_delay_s"] *= 1.1 / 2.5
        table = comparison.headline_table(frame)
        expected = (100 * 0.25 / 1.25 + 100 * 0.1 / 1.1) / 2
        assert headline_row(table, "best")["reduction_percent"] == pytest.approx(expected)

    def test_pooling_gives_each_figure_equal_weight(self):
        two = results(LEVEL | {"A3C": 2.0}, xs=(2, 4, 6, 8), figure="fig9")
        table = comparison.headline_table(pd.concat([results(LEVEL, xs=(2,)), two]))
        pooled = table.query("figure == 'pooled'")
        assert headline_row(pooled, "A3C")["reduction_percent"] == pytest.approx((20 + 50) / 2)
        first = 1000 * 0.9 * np.array([1.25, 1.0])
        second = 1000 * (1 - np.array([2, 4, 6, 8]) / 20).mean() * np.array([2.0, 1.0])
        base, own = first + second
        ratio = headline_row(pooled, "A3C", "ratio of means")["reduction_percent"]
        assert ratio == pytest.approx(100 * (base - own) / base)

    def test_interval_of_a_single_baseline_is_the_bootstrap_of_its_seeds(self):
        frame = results(LEVEL, noise=0.1, xs=(2,))
        wide = frame.pivot(index="seed", columns="method", values="total_delay_s")
        low, high = comparison.bootstrap_interval((100 * (wide["A3C"] - wide[PROPOSED]) / wide["A3C"]).to_numpy())
        row = headline_row(comparison.headline_table(frame), "A3C")
        assert (row["low"], row["high"]) == pytest.approx((float(low), float(high)))

    def test_attainable_is_what_the_optimum_would_have_had(self):
        table = comparison.headline_table(results(LEVEL | {PROPOSED: 1.1}))
        row = headline_row(table, "A3C")
        assert row["reduction_percent"] == pytest.approx(100 * (1.25 - 1.1) / 1.25)
        assert row["attainable_percent"] == pytest.approx(20)
        assert table.query("metric != 'total_delay_s'")["attainable_percent"].isna().all()

    def test_zero_local_delay_is_reported_as_undefined_with_the_reason(self):
        frame = results(LEVEL)
        frame.loc[(frame["method"] == "A3C") & (frame["x"] == 4) & (frame["seed"] == 1), "local_delay_s"] = 0.0
        table = comparison.headline_table(frame)
        for baseline in ("A3C", "learned", "all"):
            row = headline_row(table, baseline, metric="local_delay_s")
            assert math.isnan(row["reduction_percent"])
            assert row["reason"] == "the local delay of A3C is 0 with 4 edge servers (Fig. 8, 1 of 6 seeds)"
        row = headline_row(table, "A3C", "ratio of means", metric="local_delay_s")
        assert row["reduction_percent"] < 20  # the means are not zero, so this convention is defined
        assert row["reason"] == ""

    def test_published_curves_have_the_same_arithmetic_and_no_interval(self):
        table = comparison.headline_table(comparison.published("fig8"))
        a3c = np.array([19800, 18900, 17700, 16800, 16300, 15700, 15100, 14700])
        own = np.array([19400, 18300, 17100, 16400, 15800, 15300, 14850, 14450])
        assert headline_row(table, "A3C")["reduction_percent"] == pytest.approx(np.mean(100 * (a3c - own) / a3c))
        assert headline_row(table, "best")["reduction_percent"] == pytest.approx(np.mean(100 * (a3c - own) / a3c))
        assert table["low"].isna().all()
        assert set(table["scenario"]) == {"published"}

    def test_figures_with_other_seeds_are_not_pooled(self):
        with pytest.raises(
            ValueError, match="same seeds in every figure to be pooled; got fig8: 6 seeds; fig9: 5 seeds"
        ):
            comparison.headline_table(pd.concat([results(LEVEL), results(LEVEL, seeds=5, figure="fig9")]))

    def test_results_without_a_delay_figure_are_refused(self):
        with pytest.raises(ValueError, match="at least one of fig8, fig9, fig10, fig12; got fig6"):
            comparison.headline_table(results(LEVEL, figure="fig6"))


def learning_curve(settle: dict[str, float], episodes: float = 3000.0, seeds: int = 6) -> pd.DataFrame:
    """Rewards that rise in a line from -2 to -1 over the episodes given, then stay; RPDI stays at -2."""
    windows = np.arange(100, episodes + 1, 100)
    return pd.DataFrame(
        [
            {
                "figure": "fig6",
                "scenario": "as_printed",
                "method": method,
                "seed": seed,
                "x_name": "episode",
                "x": x,
                "reward": -2.0 if method == "RPDI" else -2 + min(1.0, (x - 100) / (settle.get(method, 200) - 100)),
            }
            for seed in range(seeds)
            for method in METHODS
            for x in windows
        ]
    )


class TestClaims:
    def test_settling_is_the_first_window_after_which_the_curve_stays(self):
        episodes = np.arange(1.0, 11)
        rising = np.array([0, 50, 96, 94, 96, 100, 100, 100, 100, 100.0])
        flat = np.full(10, 7.0)
        assert comparison.settling_episode(episodes, np.stack([rising, flat])).tolist() == [5, 1]

    def test_settling_claims(self):
        frame = learning_curve({PROPOSED: 500, "Distributed DQN": 2000})
        table = comparison.claims(frame, "fig6").set_index("claim")
        row = table.loc["Proposed settles by about episode 400 of 3000"]
        assert row["measured"] == 500  # within 5 % of the gain only at the end of the rise
        assert row["verdict"] == "reproduced"
        row = table.filter(like="sooner than Distributed DQN", axis=0).iloc[0]
        assert row["measured"] == 1500
        assert row["verdict"] == "reproduced"

    def test_a_shorter_run_does_not_decide_a_claim_about_3000_episodes(self):
        table = comparison.claims(learning_curve({PROPOSED: 300}, episodes=600), "fig6").set_index("claim")
        row = table.loc["Proposed settles by about episode 400 of 3000"]
        assert row["verdict"] == "undecided"
        assert row["reason"] == "the claim is about 3000 episodes, this run has 600"

    def test_a_higher_reward_is_an_advantage(self):
        frame = learning_curve({PROPOSED: 500})
        row = (
            comparison.claims(frame, "fig6").set_index("claim").loc["Proposed ends with a higher mean reward than RPDI"]
        )
        assert row["measured"] == pytest.approx(50)  # (-2 - -1) / -2
        assert row["published"] == pytest.approx(100 * 800 / 19100)
        assert row["verdict"] == "reproduced"

    def test_measured_and_published_values_of_a_stated_percentage(self):
        frame = results(LEVEL | {"A3C": 1.05}, noise=0.001)
        row = comparison.claims(frame, "fig8").set_index("claim").loc["Total delay is 4.61 % below A3C's at N = 6"]
        wide = frame.query("x == 6").pivot(index="seed", columns="method", values="total_delay_s")
        assert row["measured"] == pytest.approx((100 * (wide["A3C"] - wide[PROPOSED]) / wide["A3C"]).mean())
        assert (row["published"], row["verdict"]) == (4.61, "reproduced")

    def test_the_opposite_of_a_claim_is_not_reproduced(self):
        table = comparison.claims(results({PROPOSED: 2.0} | {name: 1.0 for name in BASELINES}), "fig8")
        lower = table[table["claim"].str.startswith("Proposed has less")]
        assert set(lower["verdict"]) == {"not reproduced"}
        assert len(lower) == 13

    def test_direction_claims_are_decided_where_no_method_computes_locally(self):
        frame = results(LEVEL)
        frame.loc[frame["method"] != "RPDI", "local_delay_s"] = 0.0
        table = comparison.claims(frame, "fig8").set_index("claim")
        assert table.loc["Proposed has less local delay than A3C", "verdict"] == "not reproduced"
        row = table.loc["Local delay is 6.21 % below Distributed DQN's at N = 4"]
        assert row["verdict"] == "undecided"
        assert "the local delay of Distributed DQN is 0 with 4 edge servers" in row["reason"]

    def test_a_setting_left_out_is_said_so(self):
        table = comparison.claims(results(LEVEL, xs=(2, 4)), "fig8").set_index("claim")
        row = table.loc["Total delay is 4.61 % below A3C's at N = 6"]
        assert (row["verdict"], row["reason"]) == ("undecided", "not run with 6 edge servers")

    def test_claims_of_experiments_that_were_not_run_stay_in_the_table(self):
        table = comparison.claims(results(LEVEL))
        assert len(table) == len(comparison.paper_claims()) >= 25
        assert set(table[table["verdict"] == "not run"]["notebook"]) == {
            "fig6", "fig7", "fig9", "fig10", "fig11", "fig12", "fig13",
        }  # fmt: skip
        pooled = table[table["notebook"] == "headline"]
        assert (pooled["verdict"] != "not run").all()
        assert pooled["test"].str.contains(r"\(Fig. 8\)").all()
        assert pooled["reason"].str.contains("not run: Figs. 9, 10 and 12").all()

    def test_pooled_claims_use_every_figure_that_was_run(self):
        both = pd.concat([results(LEVEL), results(LEVEL | {"A3C": 2.0}, figure="fig9")])
        table = comparison.claims(both, "headline").set_index("claim")
        row = table.loc["Total delay of Proposed is 4.76 % below that of the learned baselines on average"]
        assert row["measured"] == pytest.approx(np.mean([20, 50, 50, 50]))

    def test_every_published_percentage_is_a_claim(self):
        stated = sorted(comparison.published_reductions()["reduction_percent"])
        held = [
            claim.published
            for claim in comparison.paper_claims()
            if (claim.where == "abstract" and claim.region != POSITIVE) or claim.where.startswith("text on Fig. ")
        ]
        assert [value for value in stated if value not in held] == []

    def test_published_sides_come_from_the_published_curves(self):
        for claim in comparison.paper_claims():
            told = claim.published_value()
            assert math.isfinite(told)
            if claim.where.startswith("Fig. "):
                # what the paper's own plots show on average must be what we say that it claims
                assert claim.region[0] < told < claim.region[1]

    def test_settings_of_one_method_are_compared_by_name(self):
        """Fig. 7a: final costs of 1, 2, 3 and 4 for the four pairs of learning rates, in each of six seeds."""
        names = [f"lr={actor} lr_v={critic}" for actor in ("0.01", "0.001") for critic in ("0.01", "0.001")]
        curves = [
            learning_curve({PROPOSED: 500}).query("method == @PROPOSED").assign(figure="fig7a", setting=name)
            for name in names
        ]
        for level, curve in enumerate(curves, start=1):
            curve["reward"] *= level
        table = comparison.claims(pd.concat(curves), "fig7").set_index("claim")
        row = table.loc["Learning rates 0.01 and 0.01 end higher than 0.001 and 0.001"]
        assert (row["measured"], row["verdict"]) == (pytest.approx(75), "reproduced")  # (-4 - -1) / -4
        assert set(table["verdict"]) == {"reproduced", "not run"}

    def test_settings_of_several_methods_are_named_by_both(self):
        frame = pd.DataFrame({"method": ["A3C", "Proposed"], "setting": ["slow", "slow"], "x": [1, 1]})
        assert list(comparison.by_setting(frame)["method"]) == ["A3C, slow", "Proposed, slow"]
        assert list(comparison.by_setting(frame[:1])["method"]) == ["slow"]
        assert comparison.by_setting(frame.drop(columns="setting")).equals(frame.drop(columns="setting"))

    def test_the_same_is_within_one_percent(self):
        for gap, said in ((0.9, "reproduced"), (1.1, "not reproduced")):
            measured = comparison.estimate(np.full(6, gap) + np.linspace(-0.05, 0.05, 6))
            assert comparison.verdict(measured, comparison.SAME) == said

    def test_scenarios_are_judged_apart(self):
        bad = results({name: 6 - value for name, value in LEVEL.items()}, scenario="loaded")
        table = comparison.claims(pd.concat([results(LEVEL), bad]), "fig8")
        row = table.query("claim == 'Proposed has less total delay than RPDI'").set_index("scenario")["verdict"]
        assert dict(row) == {"as_printed": "reproduced", "loaded": "not reproduced"}

    def test_an_unknown_notebook_is_answered_with_those_there_are(self):
        with pytest.raises(ValueError, match=r"notebook must be one of fig6, .*fig8.*; got 'fig99'"):
            comparison.claims(results(LEVEL), "fig99")


class TestWords:
    @pytest.mark.parametrize(
        ("x_name", "xs", "expected"),
        [
            ("num_servers", [2.0, 3.0], "with 2 or 3 edge servers"),
            ("num_servers", [1], "with 1 edge server"),
            ("num_blocks", [3, 6, 9], "with 3, 6 or 9 blocks"),
            ("release_rate", [60.0], "at 60 tasks per slot"),
            ("deadline", [0.5], "at a tolerated delay of 0.5 s"),
            ("link_capacity", [2], "at a link capacity of 2 Mbit/s"),
            ("network", ["vgg16", "mine"], "for vgg16 or mine"),
            ("episode", [3000], "at episode 3000"),
        ],
    )
    def test_settings(self, x_name, xs, expected):
        assert words.setting_words(x_name, xs) == expected

    def test_every_axis_and_delay_of_an_experiment_has_words(self):
        swept = {experiment.x_name for experiment in EXPERIMENTS.values()}
        assert all("_" not in words.setting_words(name, [2]) for name in swept)
        assert set(DELAYS) <= set(words.METRIC_WORDS)

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("dnn=NiN", "NiN"),
            ("lr=0.01 lr_v=0.001", "learning rates 0.01 and 0.001"),
            ("workers=8", "8 workers"),
            ("batch=64", "batches of 64"),
            ("Proposed, energy_budget=1000", "Proposed, energy budget 1000"),
            ("Drift-plus-penalty", "Drift-plus-penalty"),
        ],
    )
    def test_curves(self, name, expected):
        assert words.curve_words(name) == expected

    def test_figures(self):
        assert words.figure_words(["fig8"]) == "Fig. 8"
        assert words.figure_words(["fig8", "fig9", "fig11b"]) == "Figs. 8, 9 and 11b"
        assert words.figure_words(["fig8", "mine"]) == "Fig. 8 and mine"

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ((-0.2, -0.39, -0.05), "0.20 % more (95 % interval 0.05 to 0.39)"),
            ((0.96, 0.75, 1.24), "0.96 % less (95 % interval 0.75 to 1.24)"),
            ((6, -2, 20), "6.00 % less (95 % interval 2.00 more to 20.00 less)"),
            ((4.8, math.nan, math.nan), "4.80 % less"),
        ],
    )
    def test_reductions(self, given, expected):
        assert words.comparison_words(*given) == expected

    def test_no_sentence_of_the_claims_has_the_name_of_a_column(self):
        frame = results(LEVEL)
        frame.loc[frame["method"] == "A3C", ["edge_delay_s", "local_delay_s"]] = 0.0
        table = comparison.claims(frame)
        for column in ("claim", "test", "reason"):
            assert not table[column].str.contains(r"\w_\w|\bfig\d|=\s?\w+\s\w+=|dnn=|x = ").any(), column


class TestFindings:
    def sentences(self, frame: pd.DataFrame) -> str:
        return "\n".join(comparison.findings(frame, comparison.headline_table(frame), comparison.claims(frame)))

    def test_sentences_carry_the_computed_numbers(self):
        text = self.sentences(results(LEVEL | {PROPOSED: 1.1}))
        assert "a factor of 4.55 apart (highest: RPDI), in the paper a factor of 1.09" in text
        assert "Proposed is 10.00 % above the exact optimum" in text
        assert "Proposed 25.0 % (paper 34.2 %)" in text
        percent = (100 * 0.15 / 1.25 + 100 * 0.9 / 2) / 2
        assert f"Here the mean of ratios is {percent:.2f} % (95 % interval" in text

    def test_the_first_sentence_answers(self):
        level = {name: 3.0 for name in BASELINES} | {PROPOSED: 1.02, "A3C": 1.01, "Distributed DQN": 1.04}
        frame = results(level)
        first, second, *_ = self.sentences(frame).splitlines()
        assert first == (
            "The paper says that its method, Proposed, has 4.76 % less total delay than the state of the art; by its "
            "equations as printed, it has 0.99 % more (95 % interval 0.99 to 0.99) than A3C and 1.92 % less (95 % "
            "interval 1.92 to 1.92) than Distributed DQN, because A3C and Distributed DQN are so close to the best "
            "possible that no method could have had more than 0.99 % and 3.85 % less."
        )
        assert second == (
            "That it has less total delay than the state of the art is not reproduced against A3C, reproduced against "
            "Distributed DQN and not reproduced against the better of the two in each setting, where it has 0.99 % "
            "more (95 % interval 0.99 to 0.99); that it is less by about 4.76 % is reproduced against none of them."
        )

    def test_room_that_was_there_is_no_reason(self):
        first, *_ = self.sentences(results(LEVEL | {PROPOSED: 1.1})).splitlines()
        assert "because" not in first
        assert first.endswith("; at most 20.00 % and 50.00 % less was possible.")

    def test_an_unattainable_headline_is_said_so(self):
        near = {name: 1.01 for name in BASELINES} | {PROPOSED: 1.0}
        assert "no method could have reached the stated value" in self.sentences(results(near))
        assert "no method could have reached" not in self.sentences(results(LEVEL))

    def test_an_undefined_average_is_said_so_and_the_other_given(self):
        frame = results(LEVEL)
        frame.loc[(frame["method"] == "A3C") & (frame["x"] == 2), "edge_delay_s"] = 0.0
        text = self.sentences(frame)
        assert "mean of ratios is undefined (the edge delay of A3C is 0 with 2 edge servers (Fig. 8" in text
        means = headline_row(comparison.headline_table(frame), "learned", "ratio of means", "edge_delay_s")
        assert f"the ratio of means {means['reduction_percent']:.2f} %" in text

    def test_too_few_seeds_are_said_so(self):
        assert "No verdict is given on fewer than 5 seeds." in self.sentences(results(LEVEL, seeds=3))

    def test_delay_figures_of_the_paper_are_published(self):
        assert all(len(comparison.published(figure)) for figure in DELAY_FIGURES)
