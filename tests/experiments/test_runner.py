"""Experiments: pairing, columns, bookkeeping, processes, bad input."""

import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest

import mecpart
from mecpart.agents.networks import HEADS, SHARING
from mecpart.comparison import published
from mecpart.comparison.paper import published_reductions
from mecpart.dnn.workload import LayerTable
from mecpart.dnn.zoo import NETWORKS, layer_table
from mecpart.experiments.catalogue import EXPERIMENTS, NOT_VARIED, WORLDS
from mecpart.experiments.experiment import Change, Experiment, changeable
from mecpart.experiments.runner import COLUMNS, COLUMNS_OF_QUEUES, PROFILES, run_experiment
from mecpart.experiments.runs import Run
from mecpart.experiments.setting import Setting
from mecpart.ledger import LEDGER
from mecpart.methods.register import METHODS, methods_in
from mecpart.model.scenarios import SCENARIOS


def bad_curve(**change):
    return Experiment("bad", "", "episode", "", series={"a": Change(**change)})


FIXED = tuple(name for name, method in methods_in("as_printed").items() if not method.learns)
QUEUED = tuple(name for name, method in methods_in("loaded").items() if not method.learns)


@pytest.fixture(scope="module")
def swept():
    """A sweep of one's own, added as one entry of data."""
    mine = Experiment("mine", "Delay against N", "num_servers", "servers", xs=(2, 4), fixed=Setting(num_blocks=4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXPERIMENTS, "mine", mine)
        yield run_experiment("mine", "smoke", seeds=2, methods=FIXED, processes=1)


@pytest.fixture(scope="module")
def loaded():
    """The same with queues, at a load that a careless plan cannot carry."""
    setting = Setting(num_blocks=4, release_rate=80.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXPERIMENTS, "mine", Experiment("mine", "", "num_servers", "servers", xs=(2, 4), fixed=setting))
        yield run_experiment("mine", "smoke", "loaded", seeds=2, methods=QUEUED, processes=1)


@pytest.fixture(scope="module")
def converging():
    return run_experiment("fig6", "smoke", seeds=2, episodes=8, methods=("RPDI", "Local only", "Optimal"), processes=1)


class TestResults:
    def test_columns_and_rows(self, swept):
        assert tuple(swept.columns) == COLUMNS
        assert len(swept) == len(FIXED) * 2 * 2
        assert set(swept.figure) == {"mine"}
        assert set(swept.scenario) == {"as_printed"}
        assert set(swept.x_name) == {"num_servers"}
        assert not swept.isna().any(axis=None)

    def test_total_is_edge_and_local(self, swept):
        np.testing.assert_allclose(swept.total_delay_s, swept.edge_delay_s + swept.local_delay_s, rtol=1e-5)

    def test_gap_to_the_optimum(self, swept):
        assert (swept.gap_percent > -1e-3).all()
        np.testing.assert_allclose(swept[swept.method == "Optimal"].gap_percent, 0, atol=1e-3)
        expected = 100 * (swept.total_delay_s - swept.optimal_total_delay_s) / swept.optimal_total_delay_s
        np.testing.assert_allclose(swept.gap_percent, expected, atol=1e-3)

    def test_in_loaded_the_gap_is_to_a_bound_on_all(self, loaded):
        assert tuple(loaded.columns) == (*COLUMNS, *COLUMNS_OF_QUEUES)
        assert set(loaded.method) == set(QUEUED)
        assert not loaded.isna().any(axis=None)
        assert (loaded.groupby(["seed", "x"]).optimal_total_delay_s.nunique() == 1).all()
        assert (loaded.gap_percent > 0).all()
        enough = loaded[(loaded.method == "Myopic") & (loaded.x == 4)]  # two servers are overloaded even so
        assert (enough.gap_percent < 20).all()
        local = loaded[loaded.method == "Local only"]
        assert (local[["keeps_up", "busiest_share"]] == [0, 1]).all(axis=None)
        assert (enough[["keeps_up"]] == 1).all(axis=None)
        assert (enough.busiest_share < 1).all()
        # 29.527 s of work arrive in each slot of 7 s: nothing is clipped, every slot waits 22.527 s longer.
        work = 80 * 313_725_952 * 4 / 3.4e9
        np.testing.assert_allclose(local.total_delay_s, 600 * work + (work - 7) * 600 * 599 / 2, rtol=1e-5)

    def test_what_runs_nothing_on_a_server_has_no_edge_delay(self, swept):
        local = swept[swept.method == "Local only"]
        assert (local.edge_delay_s == 0).all()
        # 600 slots x 60 tasks x 313.725952 M multiply-accumulates x 4 cycles on 10 devices of 0.34 GHz.
        np.testing.assert_allclose(local.total_delay_s, 600 * 60 * 313_725_952 * 4 / 3.4e9, rtol=1e-5)

    def test_methods_do_not_disturb_each_other(self, swept):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(EXPERIMENTS, "mine", Experiment("mine", "", "num_servers", "", (4,), Setting(num_blocks=4)))
            alone = run_experiment("mine", "smoke", seeds=1, methods=("RPDI",), processes=1)
        same = swept.query("method == 'RPDI' and x == 4 and seed == 0")
        # Other methods, seeds and settings beside it, and the padding to N = 4, change nothing.
        np.testing.assert_allclose(alone.total_delay_s, same.total_delay_s, rtol=1e-6)

    def test_convergence_shows_every_episode(self, converging):
        assert sorted(converging.x.unique()) == list(range(1, 9))
        assert set(converging.x_name) == {"episode"}
        assert (converging.env_steps == 0).all()
        random = converging[converging.method == "RPDI"]
        assert random.total_delay_s.nunique() == len(random)

    def test_a_convergence_window_is_a_mean_over_episodes(self, converging, monkeypatch):
        monkeypatch.setattr("mecpart.experiments.programs.WINDOWS", 2)
        coarse = run_experiment("fig6", "smoke", seeds=2, episodes=8, methods=("RPDI",), processes=1)
        assert list(coarse.x) == [4, 4, 8, 8]
        fine = converging.query("method == 'RPDI' and seed == 1 and x > 4").reward.mean()
        np.testing.assert_allclose(coarse.query("seed == 1 and x == 8").reward, fine, rtol=1e-5)


def test_a_learner_counts_its_steps_and_stays_above_the_optimum():
    learned = run_experiment("fig6", "smoke", seeds=1, episodes=8, methods=("Distributed DQN",), processes=1)
    assert list(learned.env_steps) == [600 * episode for episode in range(1, 9)]
    assert (learned.gap_percent > 0).all()


#: A sweep of one's own, in a plain script without a main guard; its arguments: how many processes, and where to write.
SCRIPT = """
import sys
import mecpart
from mecpart import EXPERIMENTS, Experiment, Setting

small = Setting(network="alexnet", num_blocks=3, num_servers=4, device_rate_range=(5e6, 10e6))
methods = ("Greedy", "Distributed DQN")
EXPERIMENTS["own"] = Experiment("own", "Delay against the deadline", "deadline", "tau (s)", (0.1, 5.0), small, methods)
results = mecpart.run_experiment("own", "smoke", processes=int(sys.argv[1]))
results.to_csv(sys.argv[2], index=False, float_format="%.17g")
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The results of the script with one process and with two."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "script.py").write_text(SCRIPT)
    frames = []
    for processes in "12":
        done = subprocess.run(
            [sys.executable, "script.py", processes, "out.csv"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        frames.append(pd.read_csv(folder / "out.csv"))
    return frames


class TestOwnExperiment:
    def test_two_processes_give_what_one_gives_without_a_main_guard(self, own):
        """Learners too, although two processes cut the lanes into other calls."""
        pd.testing.assert_frame_equal(*own, rtol=1e-5)

    def test_rows_in_the_order_of_the_methods_then_x_then_seed(self, own):
        names = [method for method in METHODS if method in ("Greedy", "Distributed DQN")]
        expected = [(name, x, seed) for name in names for x in (0.1, 5.0) for seed in (0, 1)]
        assert list(own[0][["method", "x", "seed"]].itertuples(index=False, name=None)) == expected

    def test_steps_that_a_learner_was_trained_on(self, own):
        steps = own[0].groupby("method").env_steps.unique()
        assert steps.map(list).to_dict() == {"Distributed DQN": [24 * 600], "Greedy": [0]}

    def test_every_x_sees_the_same_networks_and_channels(self, own):
        """A deadline changes rewards and violations, not the delays of plans that do not look at it."""
        fixed = own[0][own[0].method == "Greedy"]
        tight, loose = (fixed[fixed.x == x].reset_index(drop=True) for x in (0.1, 5.0))
        for column in ("total_delay_s", "edge_delay_s", "energy_j", "optimal_total_delay_s"):
            np.testing.assert_allclose(tight[column], loose[column], rtol=1e-6)
        assert (tight.reward < loose.reward).all()
        assert (tight.deadline_violation_rate > 0.1).all()
        assert (loose.deadline_violation_rate == 0).all()
        np.testing.assert_allclose(loose.reward, -loose.total_delay_s, rtol=1e-5)

    def test_every_method_of_a_seed_is_compared_with_the_same_optimum(self, own):
        frame = own[0]
        assert frame.groupby(["x", "seed"]).optimal_total_delay_s.nunique().eq(1).all()
        assert frame.groupby(["x", "method"]).optimal_total_delay_s.nunique().eq(2).all()  # seeds differ
        assert (frame.gap_percent > -1e-3).all()
        np.testing.assert_allclose(frame.total_delay_s, frame.edge_delay_s + frame.local_delay_s, rtol=1e-5)


def test_a_convergence_curve_has_at_most_150_points_and_ends_with_the_last_episode():
    long = run_experiment("fig6", "smoke", seeds=1, episodes=151, methods=("Local only",), processes=1)
    assert list(long.x) == list(range(2, 152))  # a window of two episodes, then 149 of one
    np.testing.assert_allclose(long.total_delay_s, long.total_delay_s[0], rtol=1e-5)


def test_the_number_of_processes_from_the_batch(monkeypatch, converging):
    monkeypatch.setenv("MECPART_CONTEXT", '{"processes": 1}')
    monkeypatch.setattr("mecpart.experiments.work.spread", lambda *_: pytest.fail("more than one process"))
    again = run_experiment("fig6", "smoke", episodes=8, methods=("RPDI",))
    pd.testing.assert_frame_equal(again, converging[converging.method == "RPDI"].reset_index(drop=True))


@pytest.fixture(scope="module")
def three():
    series = {
        "wide": Change(network={"num_servers": 3}),
        "same": Change(method={"workers": 8, "learning_rate": 0.01}),  # what the method does anyway
        "slow": Change(method={"learning_rate": 1e-9, "critic_learning_rate": 1e-9}),
    }
    small = Setting(network="alexnet", num_blocks=2, num_servers=2)
    mine = Experiment("mine", "", "episode", "", fixed=small, methods=("Proposed",), series=series)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXPERIMENTS, "mine", mine)
        patch.setitem(EXPERIMENTS, "plain", Experiment("plain", "", "episode", "", fixed=small))
        plain = run_experiment("plain", "smoke", seeds=1, methods=("Proposed",), processes=1)
        return run_experiment("mine", "smoke", seeds=1, processes=1).set_index(["setting", "x"]), plain


class TestSeries:
    """Several curves of one method, each with its own name in a further column."""

    def test_one_more_column_with_the_names_in_their_order(self, three):
        named, plain = three
        assert list(named.index.unique("setting")) == ["wide", "same", "slow"]
        assert [*plain.columns, "setting"] == [*COLUMNS, "setting"] == [*named.reset_index()[plain.columns], "setting"]

    def test_changes_reach_the_setting_and_the_learner(self, three):
        named, plain = three
        np.testing.assert_array_equal(named.loc["same"].total_delay_s, plain.total_delay_s)
        assert (named.loc["slow"].total_delay_s[24] != plain.total_delay_s.iloc[-1]).all()
        # Before anything is learned, which may come to the same plans.
        assert (named.loc["wide"].total_delay_s != named.loc["same"].total_delay_s).iloc[:8].all()

    def test_changes_reach_the_policies_that_have_them(self, monkeypatch):
        """Without patience for queues none counts more than its wait, and no server is used by one that may not."""
        series = {
            "as it is": Change(), "blind": Change(method={"patience": 1e9}), "short": Change(method={"horizon": 1}),
            "servers only": Change(method={"include_device": False}),
        }  # fmt: skip
        fixed = Setting(num_blocks=3, num_servers=2, release_rate=110.0, of_scenario={"num_slots": 100})
        mine = Experiment("mine", "", "deadline", "", (1.0,), fixed, series=series)
        monkeypatch.setitem(EXPERIMENTS, "mine", mine)
        methods = ("Greedy", "RPDI", "Myopic", "Look-ahead", "Drift-plus-penalty")
        results = run_experiment("mine", "smoke", "loaded", seeds=1, methods=methods, processes=1)
        assert list(results[results.method == "Greedy"].setting) == ["as it is", "blind", "short", "servers only"]
        delay = results.pivot(index="setting", columns="method", values="total_delay_s")
        usual = delay.loc["as it is"]
        pairs = [(setting, method) for setting in delay.index for method in methods]
        changed = {(setting, method) for setting, method in pairs if delay.loc[setting, method] != usual[method]}
        assert changed == {("blind", "Drift-plus-penalty"), ("short", "Look-ahead"), ("servers only", "Greedy")}
        assert delay.loc["blind", "Drift-plus-penalty"] == pytest.approx(usual["Myopic"], rel=1e-6)
        local = results[(results.method == "Greedy") & (results.setting == "servers only")].local_delay_s
        assert local.item() == 0 < results[results.method == "Greedy"].local_delay_s.iloc[0]


class TestWorlds:
    def test_all_constants_that_the_paper_does_not_state_are_varied(self):
        """To values on both sides of the ledger's, where it is a number."""
        open_ones = {constant.name for constant in LEDGER.values() if constant.status != "stated"}
        assert set(WORLDS) | set(NOT_VARIED) == open_ones
        assert not set(WORLDS) & set(NOT_VARIED)
        for name, values in WORLDS.items():
            usual = LEDGER.default(name)
            if name == "energy_budget":
                usual = float(Setting().build("as_printed", 0).energy_budget)
            if isinstance(usual, str):
                assert usual not in values
            else:
                low, high = values
                assert np.all(np.less(low, usual) & np.less(usual, high)), name

    @pytest.mark.parametrize("scenario", SCENARIOS)
    def test_each_world_changes_what_it_names(self, scenario):
        """A constant of the model every run, a setting of methods those of the methods that have it."""
        of_world = {}
        for point in EXPERIMENTS["sensitivity"].points(scenario):
            of_world[point.series] = {
                name: Run(name, scenario, point.setting, 0, 24, tuple(method.changed(point.changes).items()))
                for name, method in methods_in(scenario).items()
            }
        ledger = of_world.pop("ledger")
        learned = {name for name, method in methods_in(scenario).items() if method.learns} - {"Learned prices"}
        expected = {
            "hidden": learned, "rmsprop_decay": learned, "rmsprop_epsilon": learned, "max_gradient_norm": learned,
            "queue_price": learned, "initial_scale": learned, "evaluation": {"Proposed", "A3C"},
            "entropy_weight": {"Proposed", "A3C"}, "sharing_weight": {"Proposed"},
            "exploration_fraction": {"Distributed DQN"}, "replay_size": {"Distributed DQN"},
            "target_period": {"Distributed DQN"}, "step_range": {"Learned prices"},
            "beam": {"Best constant plan"}, "horizon": {"Look-ahead"}, "patiences": {"Look-ahead"},
            "patience": {"Drift-plus-penalty"},
        }  # fmt: skip
        for name, runs in of_world.items():
            changed = {method for method in ledger if runs[method] != ledger[method]}
            assert changed == expected.get(name.partition("=")[0], set(ledger)), name
            if changed == set(ledger):  # a constant of the model: it is in the scenario that is run
                here, there = (some["RPDI"].setting.build(scenario, 0) for some in (runs, ledger))
                same = [np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (here, there)), strict=True)]
                assert not all(same) or here.arrivals != there.arrivals, name
        queues_only = {"horizon", "patience", "patiences", "queue_price"}
        left_out = set(WORLDS) - {name.partition("=")[0] for name in of_world}
        nowhere = {"as_printed": {"arrivals", *queues_only}, "loaded": set(), "pipelined": {"step_range", *queues_only}}
        assert left_out == nowhere[scenario]


class TestThePaper:
    def test_every_figure_is_there_with_the_published_points(self):
        """Same settings, methods and names of series; Fig. 12's tau is the deadline here."""
        figures = {name: experiment for name, experiment in EXPERIMENTS.items() if name.startswith("fig")}
        for name, experiment in figures.items():
            paper = published(name)
            series, xs, methods = (set(paper[column]) for column in ("setting", "x", "method"))
            assert (set(experiment.series) or {""}) == series, name
            assert experiment.methods is None or methods <= set(experiment.methods), name
            if not experiment.convergence:
                assert set(experiment.xs) == xs, name
                assert {experiment.x_name} == set(paper.x_name) or name == "fig12"
        assert {name.rstrip("abc") for name in figures} == {f"fig{number}" for number in range(6, 14)}

    def test_figures_share_the_default_setting(self):
        """Trained once for all of them: it is one run."""
        shared = {Run("Proposed", "as_printed", Setting(), 0, 24)}
        for name in ("fig6", "fig7a", "fig7b", "fig7c", "fig8", "fig9", "fig10", "fig11a", "fig11b", "fig11c", "fig12"):
            points = EXPERIMENTS[name].points("as_printed")
            runs = {Run("Proposed", "as_printed", at.setting, 0, 24, tuple(at.changes.items())) for at in points}
            assert shared <= runs

    @pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
    def test_episodes_suit_every_number_of_workers(self, profile):
        for change in EXPERIMENTS["fig7b"].series.values():
            assert profile.episodes % change.method["workers"] == 0


class TestInBrief:
    @staticmethod
    def of(points):
        return {(point.series, point.x) for point in points}

    def test_only_what_is_named_and_all_where_nothing_is(self):
        mine = Experiment("mine", "", "deadline", "", xs=(1.0, 3.0), series={"a": Change(), "b": Change()})
        assert self.of(mine.points("as_printed", brief=True)) == self.of(mine.points("as_printed"))
        for brief, kept in (
            ((3.0,), {("a", 3.0), ("b", 3.0)}),
            (("b",), {("b", 1.0), ("b", 3.0)}),
            ((1.0, "a"), {("a", 1.0)}),
            (("c",), {("a", 1.0), ("a", 3.0), ("b", 1.0), ("b", 3.0)}),
        ):
            made = replace(mine, brief=brief)
            assert self.of(made.points("as_printed", brief=True)) == kept
            assert len(made.points("as_printed")) == 4

    def test_is_the_profile_smoke_alone(self):
        assert [name for name, profile in PROFILES.items() if profile.brief] == ["smoke"]
        results = {
            profile: run_experiment("fig8", profile, seeds=1, episodes=8, methods=["Local only"], processes=1)
            for profile in ("smoke", "quick")
        }
        assert set(results["smoke"].x) == {3, 4, 6, 7}
        assert set(results["quick"].x) == set(range(2, 10))
        same = results["quick"][results["quick"].x.isin(results["smoke"].x)]
        pd.testing.assert_frame_equal(results["smoke"], same.reset_index(drop=True))

    def test_leaves_out_no_kind_of_thing(self):
        """Every name is one that there is; each constant has a world; each percentage that the paper states its x; and
        the ablation has every head, and every way of sharing."""
        for experiment in EXPERIMENTS.values():
            assert set(experiment.brief) <= {*experiment.xs, *experiment.series}
        assert {name.partition("=")[0] for name in EXPERIMENTS["sensitivity"].brief} == {"ledger", *WORLDS}
        stated = published_reductions().groupby("x_name")["x"].agg(set)
        assert stated["num_servers"] <= set(EXPERIMENTS["fig8"].brief)
        assert stated["num_blocks"] <= set(EXPERIMENTS["fig9"].brief)
        cells = [EXPERIMENTS["ablation"].series[name].method for name in EXPERIMENTS["ablation"].brief]
        assert {cell["heads"] for cell in cells if "heads" in cell} == set(HEADS)
        assert {cell["sharing"] for cell in cells if "sharing" in cell} == set(SHARING)


class TestBadInput:
    @pytest.fixture(autouse=True)
    def nothing_runs(self, monkeypatch):
        monkeypatch.setattr("mecpart.experiments.work.complete", lambda *_: pytest.fail("something ran"))

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ({"name": "fig99"}, ["name", "fig99", *EXPERIMENTS]),
            ({"profile": "slow"}, ["profile", "slow", *PROFILES]),
            ({"scenario": "rainy"}, ["scenario", "rainy", "as_printed"]),
            ({"methods": ("SAC",)}, ["methods", "SAC", *methods_in("as_printed")]),
            ({"methods": ("Optimal",), "scenario": "loaded"}, ["methods", "Optimal", *methods_in("loaded")]),
            ({"seeds": 0}, ["seeds", "0", "from 1 to 10000"]),
            ({"episodes": 2.5}, ["episodes", "2.5", "whole number"]),
            ({"episodes": 9}, ["episodes", "9", "multiple of workers"]),
            ({"processes": -1}, ["processes", "-1", "at least 1"]),
            ({"seeds": 10**9}, ["seeds", "1000000000", "from 1 to 10000"]),
            ({"episodes": 24 * 10**9}, ["episodes", "24000000000", "from 1 to 1000000"]),
            ({"seeds": True}, ["seeds", "True", "whole number"]),
            ({"methods": "RPDI"}, ["methods", "'RPDI'", *methods_in("as_printed")]),
            ({"methods": ()}, ["methods", "()", *methods_in("as_printed")]),
        ],
    )
    def test_named(self, arguments, named):
        with pytest.raises(ValueError, match="must be") as error:
            run_experiment(**{"name": "fig8", "profile": "smoke", **arguments})
        assert all(str(text) in str(error.value) for text in named)

    def test_processes_from_the_batch(self, monkeypatch):
        monkeypatch.setenv("MECPART_CONTEXT", '{"processes": "many"}')
        with pytest.raises(ValueError, match=r"processes in MECPART_CONTEXT must be a whole number .*; got 'many'"):
            run_experiment("fig8", "smoke")

    def test_an_experiment_that_sweeps_what_there_is_not(self):
        with pytest.raises(ValueError, match="x_name must be one of 'episode', 'network'"):
            Experiment("bad", "", "colour", "")

    @pytest.mark.parametrize(
        ("x_name", "xs", "got"),
        [
            ("num_servers", (), "()"),
            ("deadline", (1.0, 3.0, 1.0), "(1.0, 3.0, 1.0)"),
            ("network", (LayerTable("NA", layer_table(NETWORKS["nin"]())),), "'NA'"),
        ],
        ids=str,
    )
    def test_an_experiment_that_sweeps_nothing_or_something_twice(self, x_name, xs, got, refused):
        with refused("xs must", f"got {got}"):
            Experiment("bad", "", x_name, "", xs=xs)

    def test_a_setting_of_an_unknown_network(self, refused):
        with refused("network must be one of", "'vgg16'", "got 'vgg'"):
            Setting(network="vgg")

    @pytest.mark.parametrize(
        "name", ["", "a/b", "..", ".hidden", "C:", "back\\slash", "NA", "3", "a\n", " a", "a" * 101, None]
    )
    def test_an_experiment_whose_name_no_file_can_have_or_give_back(self, name, refused):
        with refused("name must be", f"got {name!r}"):
            Experiment(name, "", "num_servers", "", xs=(2,))

    @pytest.mark.parametrize("name", ["", "nan", "8", "TRUE", "a ", 3])
    def test_a_curve_whose_name_no_file_gives_back(self, name, refused):
        with refused("series must be", f"got {name!r}"):
            Experiment("bad", "", "num_servers", "", xs=(2,), series={"good": Change(), name: Change()})

    @pytest.mark.parametrize(
        ("experiment", "named"),
        [
            (Experiment("bad", "", "num_servers", "", xs=(2, 0)), ["num_servers", "0"]),
            (Experiment("bad", "", "num_blocks", "", xs=(6, 1000)), ["blocks", "1000"]),
            (Experiment("bad", "", "network", "", xs=("vgg16", "lenet")), ["lenet", "resnet32"]),
            (Experiment("bad", "", "num_servers", "", xs=(2, 3), fixed=Setting(deadline=-1.0)), ["deadline", "-1"]),
            (Experiment("bad", "", "episode", "", fixed=Setting(release_rate=np.nan)), ["release_rate", "nan"]),
            (Experiment("bad", "", "link_capacity", "", xs=(2.0, 0.0)), ["link_capacity", "0"]),
            (Experiment("bad", "", "learning_rate", "", xs=(0.1, -1.0)), ["Proposed", "learning_rate", "-1"]),
            (Experiment("bad", "", "wired_rate", "", xs=(1e6, -1.0)), ["wired_rate", "-1"]),
            (Experiment("bad", "", "slot_seconds", "", xs=(1.0, 0.0)), ["slot_seconds", "0"]),
            (bad_curve(method={"workers": 5}), ["workers", "multiple", "24"]),
            (bad_curve(network={"num_devices": -1}), ["num_devices", "-1"]),
            (bad_curve(scenario={"queues": "yes"}), ["queues", "'yes'"]),
            (
                replace(bad_curve(method={"workers": 4}), methods=("RPDI",)),
                ["series of bad", "'workers'", "'penalty'"],
            ),
        ],
        ids=lambda value: value[0] if isinstance(value, list) else "",
    )
    def test_an_experiment_of_bad_values(self, experiment, named, monkeypatch):
        """Found before the first training, not when its turn comes."""
        monkeypatch.setitem(EXPERIMENTS, "bad", experiment)
        with pytest.raises(ValueError, match="must") as error:
            run_experiment("bad", "smoke", processes=1)
        assert all(text in str(error.value) for text in named)


@pytest.mark.parametrize(
    ("series", "named"),
    [
        ({"patience": 0.0}, ["Drift-plus-penalty: patience", "above 0; got 0"]),
        ({"patience": (1.0, 2.0)}, ["Drift-plus-penalty: patience", "shape ()"]),
        ({"horizon": 0}, ["Look-ahead: horizon", "at least 1; got 0"]),
        ({"include_device": "no"}, ["Greedy: include_device", "True or False; got 'no'"]),
        ({"workers": 2}, ["Learned prices: workers", "at least 3; got 2"]),
    ],
    ids=str,
)
def test_refuses_a_bad_setting_of_a_method(refused, monkeypatch, series, named):
    monkeypatch.setitem(EXPERIMENTS, "bad", bad_curve(method=series))
    with refused(*named):
        run_experiment("bad", "smoke", "loaded", processes=1)


def test_refuses_a_setting_of_a_method_of_the_other_scenario(refused, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "bad", bad_curve(method={"horizon": 4}))
    with refused("series of bad", "got 'horizon'", "'include_device'"):
        run_experiment("bad", "smoke", "as_printed", processes=1)


class TestChange:
    @pytest.mark.parametrize("part", ["workload", "network", "scenario", "method"])
    def test_refuses_what_there_is_not(self, part, refused):
        known = {"workload": "num_blocks", "network": "wired_rate", "scenario": "deadline", "method": "patience"}
        with refused(part, "got 'colour'", f"'{known[part]}'"):
            Change(**{part: {"colour": 1}})
        with refused(part, "mapping", "3"):
            Change(**{part: 3})

    def test_each_constant_has_one_name_and_one_place(self):
        """That of the ledger; what says how long training takes is not there, nor what no setting has yet."""
        names = changeable()
        assert len(names) == len(set(names))
        of_networks, of_bounds = {"queue_scale", "stitch"}, {"steps", "step_range", "momentum"}
        others = {f"bound_{name}" for name in of_bounds}
        others |= {f"relatives_{name}" for name in ("batch", "learning_rate", "entropy_weight")}
        others |= {"times_variation"}  # of measured devices
        assert set(LEDGER) - set(names) == {"episodes"} | of_networks | others

    def test_one_rule_at_a_time(self, monkeypatch):
        """As `as_printed`, but the result's way back is charged: by hand, in every slot, what it takes on one link."""
        series = {"as it is": Change(), "charged": Change(scenario={"return_charged": True}),
                  "queues": Change(scenario={"queues": True})}  # fmt: skip
        fixed = Setting(num_blocks=2, num_servers=1, device_rate_range=(1e6, 1e6), of_scenario={"num_slots": 10})
        mine = Experiment("mine", "", "deadline", "", (1.0,), fixed, ("One ES", "Optimal"), series)
        monkeypatch.setitem(EXPERIMENTS, "mine", mine)
        results = run_experiment("mine", "smoke", seeds=2, processes=1)
        delay = results[results.method == "One ES"].pivot(index="seed", columns="setting", values="total_delay_s")
        # 10 slots of 60 tasks, each of which sends 10 numbers of 4 bytes back; 10 devices at 1 MB/s.
        np.testing.assert_allclose(delay["charged"] - delay["as it is"], 10 * 60 * 40 / 1e7, rtol=1e-2)
        assert set(results[results.method == "Optimal"].setting) == {"as it is", "charged"}
        assert (results.gap_percent > -1e-3).all()

    def test_a_given_network_is_that_of_all_seeds(self, monkeypatch):
        network = mecpart.make_network([3e9, 6e9], num_devices=2)
        series = {"drawn": Change(network={"num_servers": 2}), "given": Change(network=network)}
        fixed = Setting(num_blocks=2, of_scenario={"num_slots": 5})
        mine = Experiment("mine", "", "release_rate", "", (10.0,), fixed, ("Local only", "Greedy"), series)
        monkeypatch.setitem(EXPERIMENTS, "mine", mine)
        results = run_experiment("mine", "smoke", seeds=2, processes=2).set_index(["method", "setting", "seed"])
        local = results.loc["Local only"].total_delay_s
        np.testing.assert_allclose(local["given"], 5 * 10 * 313_725_952 * 4 / (2 * 0.34e9), rtol=1e-5)
        assert (local["drawn"] != local["given"]).all()
        with pytest.raises(ValueError, match="link_capacity must not be given beside edge_network; got 3"):
            Setting(edge_network=network, link_capacity=3.0).build("as_printed", 0)


def test_a_network_of_ones_own_is_swept_beside_the_papers(monkeypatch):
    """In processes that know nothing of it; with the layers of NiN it costs what NiN costs."""
    table = LayerTable("mine", layer_table(NETWORKS["nin"]()))
    fixed = Setting(num_blocks=3, num_servers=2, of_scenario={"num_slots": 20})
    monkeypatch.setitem(
        EXPERIMENTS, "own", Experiment("own", "", "network", "", ("nin", "vgg16", table), fixed, ("Greedy",))
    )
    results = run_experiment("own", "smoke", seeds=2, processes=2).set_index("x")
    assert set(results.index) == {"nin", "vgg16", "mine"}
    np.testing.assert_array_equal(results.loc["mine"].total_delay_s, results.loc["nin"].total_delay_s)
    assert (results.loc["mine"].total_delay_s.to_numpy() != results.loc["vgg16"].total_delay_s.to_numpy()).all()


def test_the_identity_of_a_run_knows_the_layers_of_ones_own_network():
    layers = layer_table(NETWORKS["nin"]())
    settings = [Setting(network=LayerTable("mine", some)) for some in (layers, layers, layers[:-1])]
    first, same, other = (Run("Proposed", "as_printed", setting, 0, 24).identity for setting in settings)
    assert first == same != other
