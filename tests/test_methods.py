import json
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import mecpart
from mecpart import figures, tables
from mecpart.agents import TrainResult
from mecpart.context import Context
from mecpart.experiments import programs, work
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.experiments.experiment import Experiment
from mecpart.experiments.runner import run_experiment
from mecpart.experiments.setting import Setting
from mecpart.methods import register
from mecpart.methods.register import methods_in, register_agent, register_learner, register_policy, unregister

SMALL = {"profile": "smoke", "seeds": 2, "episodes": 8, "processes": 1}

#: Names that a reader takes for those of the package; and names that a file does not give back, or nobody sees.
CONFUSED = ["Bound", "bound", "By hand", "GREEDY", "one es", "One_ES", "Look ahead", "learnedprices", "(Optimal)",
            "\N{FULLWIDTH LATIN CAPITAL LETTER A}3C"]  # fmt: skip
LOST = ["nan", "NaN", "NA", "n/a", "N/A", "None", "none", "NULL", "<na>", "/", "...", " Mine", "Mine ", "1", "1.50",
        "1e5", "-inf", "Infinity", "TRUE", "false", "Mi\nne", "Mi\tne", "Mi\0ne", "\u200b", "\ud800", b"Mine",
        None]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_methods_but_those_of_the_test(monkeypatch):
    monkeypatch.setattr(register, "_registered", {})
    monkeypatch.delenv("MECPART_CONTEXT", raising=False)


@pytest.fixture
def sweep(monkeypatch):
    """Three servers are padded to four, two to four."""
    fixed = Setting(num_blocks=3, of_scenario={"num_slots": 20})
    experiment = Experiment("small", "", x_name="num_servers", x_label="", xs=(2, 3), fixed=fixed)
    monkeypatch.setitem(EXPERIMENTS, "small", experiment)
    return lambda **options: run_experiment("small", **SMALL | options)


@pytest.fixture
def nothing_runs(monkeypatch):
    monkeypatch.setattr(work, "complete", lambda *given: pytest.fail("it was begun"))


def delays(results, method):
    return results[results["method"] == method].sort_values(["x", "seed"])["total_delay_s"].to_numpy()


def same(found, expected):
    assert len(found)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def all_local(scenario, slot, key):
    return jnp.zeros(scenario.num_blocks, int)


class TestPolicies:
    @pytest.mark.parametrize("scenario", mecpart.SCENARIOS)
    def test_takes_part_after_the_packages_methods_and_costs_what_it_costs(self, sweep, scenario):
        """The same plans as a policy of the package, on the same draws; compiled apart, so up to rounding."""
        register_policy("Mine", all_local)
        register_policy("Ours", lambda scenario, slot, key: mecpart.POLICIES["Greedy"](scenario, slot))
        assert tuple(methods_in(scenario))[-2:] == ("Mine", "Ours")
        results = sweep(scenario=scenario, methods=["Local only", "Greedy", "Mine", "Ours"])
        assert list(dict.fromkeys(results["method"])) == ["Greedy", "Local only", "Mine", "Ours"]
        same(delays(results, "Mine"), delays(results, "Local only"))
        same(delays(results, "Ours"), delays(results, "Greedy"))
        assert (results["gap_percent"] > -1e-3).all()

    def test_sees_no_server_that_does_not_exist(self, sweep):
        seen = set()

        @register_policy("Mine")
        def mine(scenario, slot, key):
            seen.add(scenario.num_nodes)
            return jnp.full(3, scenario.num_nodes - 1)

        sweep(methods=["Mine"])
        assert seen == {3, 4}

    def test_random_plans_have_a_key_for_every_slot(self, sweep):
        @register_policy("Mine")
        def mine(scenario, slot, key):
            return jax.random.randint(key, (3,), 0, scenario.num_nodes)

        results = sweep(methods=["Mine"])
        assert len(set(delays(results, "Mine"))) == 4
        pd.testing.assert_frame_equal(results, sweep(methods=["Mine"]))

    @pytest.mark.parametrize("scenario", mecpart.SCENARIOS)
    def test_on_the_host(self, sweep, scenario):
        @register_policy("Mine", on_host=True)
        def mine(scenario, slot, key):
            assert isinstance(scenario.network.speed, np.ndarray)
            drawn = np.random.default_rng(key).integers(0, 1, 3)
            return [int(drawn.sum()), 0, 0] if slot.backlog.shape == (scenario.num_nodes,) else None

        results = sweep(scenario=scenario, methods=["Mine", "Local only"])
        same(delays(results, "Mine"), delays(results, "Local only"))

    def test_in_other_processes(self, sweep):
        """Where a function of a notebook or a test cannot be imported."""
        server = 2
        register_policy("Mine", lambda scenario, slot, key: jnp.full(3, server))
        register_policy("Twice", lambda scenario, slot, key: jnp.full(3, server))
        results = sweep(methods=["Mine", "Twice"], processes=2)
        here = sweep(methods=["Mine"], processes=1)
        for method in ("Mine", "Twice"):
            same(delays(results, method), delays(here, "Mine"))

    def test_registered_again_it_is_replaced_and_compiled_anew(self, sweep):
        register_policy("Mine", all_local)
        before = delays(sweep(methods=["Mine"]), "Mine")
        register_policy("Mine", lambda scenario, slot, key: jnp.full(3, 2))
        assert list(methods_in("as_printed")).count("Mine") == 1
        assert not (delays(sweep(methods=["Mine"]), "Mine") == before).any()
        unregister("Mine")
        assert "Mine" not in methods_in("as_printed")

    def test_of_one_scenario_only(self, refused):
        register_policy("Mine", all_local, scenario="loaded")
        assert "Mine" in methods_in("loaded")
        with refused("methods", "'Mine'", "'Greedy'"):
            run_experiment("fig8", methods=["Mine"])

    def test_is_drawn_and_named(self, sweep, monkeypatch):
        """A figure has a line of its own for it, and its name in the legend."""
        register_policy("Mine", all_local)
        results = sweep(methods=["Greedy", "Mine"])
        figure = figures.plot_sweep(results, mecpart.published("fig8"), ["total_delay_s"])
        assert "Mine" in [text.get_text() for text in figure.legends[0].get_texts()]

    def test_names_are_shown_as_they_are(self, tmp_path):
        """Neither formulas, markup nor secrets, on paper and on the screen; and files give them back."""
        names = ["$x_1$", "US $", "_own", "<b>bold</b> & co", r"50 % {of} \alpha~^#", 'a, "b"', "Größe $", "*x*"]
        for name in names:
            register_policy(name, all_local)
        frame = pd.DataFrame({"method": names, "total_delay_s": np.arange(len(names)) + 1.0})
        frame.to_csv(tmp_path / "results.csv", index=False)
        assert pd.read_csv(tmp_path / "results.csv")["method"].tolist() == names
        results = frame.assign(scenario="as_printed", figure="fig8", seed=0, x_name="num_servers", x=2, reward=0.0)
        figure = figures.plot_sweep(results, mecpart.published("fig8"), ["total_delay_s"])
        texts = figure.legends[0].get_texts()
        assert sorted(text.get_text() for text in texts) == sorted(names)
        assert not any(text.get_parse_math() for text in texts)
        figures.save_figure(figure, tmp_path / "figure")
        shown = ElementTree.fromstring(tables.to_html(frame))
        assert [cell.text for cell in shown.iter("td")][::2] == names
        latex = tables.to_latex(frame)
        for escaped in (r"\$x\_1\$", r"\_own", r"$<$b$>$bold$<$/b$>$ \& co", r"50 \% \{of\} \textbackslash alpha"):
            assert escaped in latex


class TestConvergence:
    @pytest.fixture
    def curve(self, monkeypatch):
        fixed = Setting(num_blocks=3, num_servers=2, of_scenario={"num_slots": 20})
        experiment = Experiment("curve", "", x_name="episode", x_label="", fixed=fixed, methods=None)
        monkeypatch.setitem(EXPERIMENTS, "curve", experiment)
        return lambda **options: run_experiment("curve", **SMALL | options)

    def test_a_policy_runs_the_training_episodes(self, curve):
        register_policy("Mine", all_local)
        results = curve(methods=["Local only", "Mine"])
        assert len(delays(results, "Mine")) == 2 * 8
        same(delays(results, "Mine"), delays(results, "Local only"))

    def test_a_learner_without_a_curve_is_left_out(self, curve):
        def make_train(episodes):
            def train(key, scenario):
                return TrainResult(lambda observation: jnp.zeros(3, int), None)

            return train

        register_learner("Silent", make_train)
        assert set(curve(methods=["RPDI", "Silent"])["method"]) == {"RPDI"}


class TestAgents:
    def test_sees_observations(self, sweep, monkeypatch):
        monkeypatch.setitem(
            EXPERIMENTS, "one", Experiment("one", "", "num_servers", "", (2,), EXPERIMENTS["small"].fixed)
        )
        scenario = EXPERIMENTS["one"].fixed.build("as_printed", 0)
        size = mecpart.PartitionEnv().observation_size(
            Setting(num_blocks=3, num_servers=2).build("as_printed", 0, sizes=())
        )
        assert size < mecpart.PartitionEnv().observation_size(scenario)

        @register_agent("Mine")
        def mine(observation):
            assert observation.shape == (size,)
            return jnp.zeros(3, int)

        @register_agent("On the host", on_host=True)
        def on_the_host(observation):
            assert isinstance(observation, np.ndarray)
            return np.zeros(3, int)

        results = run_experiment("one", **SMALL, methods=["Local only", "Mine", "On the host"])
        for method in ("Mine", "On the host"):
            same(delays(results, method), delays(results, "Local only"))

    def test_of_another_size_is_refused_before_anything_runs(self, sweep, refused):
        register_agent("Mine", lambda observation: jnp.zeros(5, int))
        with refused("plan of 'Mine'", "3 integers", "(5,)"):
            sweep(methods=["Mine"])

    def test_on_the_host_that_takes_other_observations_is_refused(self, sweep, refused):
        register_agent("Mine", lambda observation: np.ones((7, 3)) @ observation, on_host=True)
        with refused("agent 'Mine'", "observation [13]", "matmul"):
            sweep(methods=["Mine"])

    @pytest.mark.parametrize("on_host", [False, True])
    def test_of_another_size_is_left_out_where_nobody_asked_for_it(self, sweep, monkeypatch, capsys, on_host):
        register_agent("Mine", lambda observation: np.zeros(5, int), on_host=on_host)
        register_policy("Ours", all_local)
        usual = replace(EXPERIMENTS["small"], methods=("Local only", "Mine", "Ours"))
        monkeypatch.setitem(EXPERIMENTS, "small", usual)
        assert set(sweep()["method"]) == {"Local only", "Ours"}
        assert "Mine is left out: plan of 'Mine' must be 3 integers" in capsys.readouterr().out


class TestLearners:
    def test_of_the_package_with_other_settings(self, sweep, monkeypatch):
        """With the settings that it has anyway it is the same, where the package's own is not padded either."""
        monkeypatch.setattr(programs, "sizes_of", lambda run: ())
        make_train = mecpart.agents.make_train
        register_learner("Same", lambda episodes: make_train("Distributed DQN", episodes=episodes))
        register_learner("Bold", lambda episodes: make_train("Distributed DQN", learning_rate=0.1, episodes=episodes))
        results = sweep(methods=["Distributed DQN", "Same", "Bold"], scenario="loaded")
        same(delays(results, "Same"), delays(results, "Distributed DQN"))
        assert not np.allclose(delays(results, "Bold"), delays(results, "Same"), rtol=1e-6)
        assert (results["env_steps"] == 8 * 20).all()

    def test_of_ones_own(self, sweep):
        """What it has learned is used on fresh slots: here which node is the fastest."""

        def make_train(episodes):
            def train(key, scenario):
                node = jnp.argmax(scenario.network.speed)
                return TrainResult(lambda observation: jnp.full(3, node), None)

            return train

        register_learner("Mine", make_train)
        register_policy("Fastest", lambda scenario, slot, key: jnp.full(3, jnp.argmax(scenario.network.speed)))
        results = sweep(methods=["Mine", "Fastest"])
        same(delays(results, "Mine"), delays(results, "Fastest"))

    def test_its_runs_are_not_kept(self, sweep, tmp_path):
        """Its code may change unseen."""
        make_train = mecpart.agents.make_train
        register_learner("Mine", lambda episodes: make_train("Proposed", hidden=(4,), episodes=episodes))
        sweep(methods=["Mine"], runs_folder=tmp_path)
        assert not list(tmp_path.iterdir())


class TestRefused:
    def test_names(self, refused):
        for name, why in [("", "non-empty"), (3, "3"), ("Greedy", "'Greedy'"), ("Proposed", "method of the package")]:
            with refused("name", why):
                register_policy(name, all_local)
        for name in CONFUSED:
            with refused("name", "must not be that of a method of the package", f"got {name!r}"):
                register_agent(name, all_local)
        for name in LOST:
            with refused("name", "pandas.read_csv", f"got {name!r}"):
                register_learner(name, all_local)
        assert not register.own_methods()
        with refused("name", "'Nobody'"):
            unregister("Nobody")
        with refused("scenario", "'as_printed'", "'both'"):
            register_policy("Mine", all_local, scenario="both")
        with refused("agent must be a function", "3"):
            register_agent("Mine", 3)
        with refused("on_host", "True or False", "'yes'"):
            register_policy("Mine", all_local, on_host="yes")

    @pytest.mark.parametrize(
        ("policy", "told"),
        [
            (lambda scenario, slot, key: jnp.zeros(2, int), ["3 integers", "(2,)"]),
            (lambda scenario, slot, key: jnp.zeros(3), ["3 integers", "float32"]),
            (lambda scenario, slot, key: [int(slot.device_rate[0, 0])] * 3, ["traceable", "on_host=True"]),
        ],
    )
    def test_plans_before_anything_runs(self, sweep, refused, policy, told):
        register_policy("Mine", policy)
        with refused("'Mine'", *told):
            sweep(methods=["Mine"])

    @pytest.mark.parametrize("kind", ["traced", "on the host", "agent on the host"])
    @pytest.mark.parametrize("node", [3, 99, -1, 2**32, 2**32 + 1, -(2**32), 2**64])
    def test_nodes_of_the_first_slot_before_anything_runs(self, sweep, nothing_runs, kind, node):
        """Also those that are a node that exists once they are cut to 32 bits."""
        plan = np.array([0, node, 0])
        if kind == "traced" and not -(2**31) <= node < 2**31:
            register_policy("Mine", lambda scenario, slot, key: plan)  # a constant, since JAX has no such numbers
        elif kind == "traced":
            register_policy("Mine", lambda scenario, slot, key: jnp.where(slot.backlog[0] < 0, 0, jnp.array(plan)))
        elif kind == "on the host":
            register_policy("Mine", lambda scenario, slot, key: plan, on_host=True)
        else:
            register_agent("Mine", lambda observation: plan, on_host=True)
        what = "integers" if node == 2**64 else f"nodes that exist, 0 to 2; got {node}\\b"
        with pytest.raises(ValueError, match=f"plan of 'Mine' must .*{what}"):
            sweep(methods=["Proposed", "Mine"])

    def test_a_node_of_a_wide_type(self, sweep, nothing_runs):
        register_policy("Mine", lambda scenario, slot, key: jnp.full(3, 2**32 - 1, jnp.uint32))
        with pytest.raises(ValueError, match="plan of 'Mine' must hold nodes that exist, 0 to 2"):
            sweep(methods=["Proposed", "Mine"])

    @pytest.mark.parametrize(
        ("policy", "told"),
        [
            (lambda *given: 1 // 0, "policy 'Mine' fails: ZeroDivisionError: integer division"),
            (lambda scenario: [0, 0, 0], r"policy 'Mine' fails: TypeError: .*1 positional argument"),
            (lambda *given: None, r"plan of 'Mine' must be 3 integers; got shape \(\), dtype object"),
            (lambda *given: [0.0, 0.0, 0.0], "plan of 'Mine' must be 3 integers; got .*float64"),
            (lambda *given: [0, np.nan, 0], "plan of 'Mine' must be 3 integers; got .*float64"),
            (lambda *given: [0, 0], r"plan of 'Mine' must be 3 integers; got shape \(2,\)"),
            (lambda *given: [[0, 0], [0]], "plan of 'Mine' must be 3 integers"),
            (lambda *given: [True, False, True], "plan of 'Mine' must be 3 integers; got .*bool"),
        ],
    )
    def test_what_fails_on_the_host_before_anything_runs(self, sweep, nothing_runs, policy, told):
        register_policy("Mine", policy, on_host=True)
        with pytest.raises(ValueError, match=told):
            sweep(methods=["Proposed", "Mine"])

    def test_a_policy_that_raises_while_it_is_traced(self, sweep, refused):
        register_policy("Mine", lambda scenario, slot, key: {}["plan"])
        with refused("policy 'Mine' fails: KeyError: 'plan'"):
            sweep(methods=["Mine"])

    @pytest.mark.parametrize("processes", [1, 2])
    def test_a_failure_on_the_host_later_on_is_told_by_its_own_message(self, sweep, processes):
        def policy(scenario, slot, key):
            calls.append(1)
            if len(calls) == 15:
                raise OSError("the device is gone")
            return [0, 0, 0]

        calls = []
        register_policy("Mine", policy, on_host=True)
        with pytest.raises(ValueError, match=r"^policy 'Mine' fails: OSError: the device is gone$") as told:
            sweep(methods=["Mine"], processes=processes)
        if processes == 1:
            assert isinstance(told.value.__cause__, OSError)

    @pytest.mark.parametrize("node", [-1, 4])
    @pytest.mark.parametrize("scenario", mecpart.SCENARIOS)
    def test_nodes_that_do_not_exist(self, sweep, node, scenario):
        """Once in an episode is enough."""

        @register_policy("Mine")
        def mine(scenario, slot, key):
            return jnp.where(jax.random.uniform(key, (3,)) < 0.02, node, 0)

        with pytest.raises(ValueError, match=f"plan of 'Mine' must hold nodes that exist, 0 to [23]; got {node}"):
            sweep(methods=["Mine"], seeds=5, scenario=scenario)

    def test_a_learner_that_returns_something_else(self, sweep, refused):
        register_learner("Mine", lambda episodes: lambda key, scenario: 3)
        with refused("train of 'Mine'", "TrainResult", "int"):
            sweep(methods=["Mine"])


class TestMethodsFile:
    """As `mecpart reproduce --methods FILE` hands it to the kernels of its notebooks."""

    def test_registers_in_every_process(self, tmp_path):
        """Here in a new one, which spreads the work over two more."""
        file = tmp_path / "mine.py"
        file.write_text(
            "import jax.numpy as jnp, mecpart\n"
            "def nodes(scenario):\n    return jnp.zeros(scenario.num_blocks, int)\n"
            "mecpart.register_policy('Mine', lambda scenario, slot, key: nodes(scenario))\n"
        )
        code = (
            "import json, mecpart\n"
            "fixed = mecpart.Setting(num_blocks=2, num_servers=2, of_scenario={'num_slots': 5})\n"
            "mecpart.EXPERIMENTS['s'] = mecpart.Experiment('s', '', 'deadline', '', (1.0, 2.0), fixed)\n"
            "r = mecpart.run_experiment('s', 'smoke', methods=['Local only', 'Mine'], seeds=2, processes=2)\n"
            "print(json.dumps(r.groupby('method')['total_delay_s'].apply(list).to_dict()))\n"
        )
        told = subprocess.run(
            [sys.executable, "-c", code],
            env={**Context(methods_file=str(file)).variables(), "PATH": "", "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert told.returncode == 0, told.stderr
        found = json.loads(told.stdout.splitlines()[-1])
        assert found["Mine"] == found["Local only"]

    def test_is_checked(self, tmp_path, refused):
        with refused("methods", "no file", "missing.py"):
            register.check_methods_file(tmp_path / "missing.py")
        (tmp_path / "fails.py").write_text("1 / 0")
        with refused("methods", "fails.py", "ZeroDivisionError"):
            register.check_methods_file(tmp_path / "fails.py")
        (tmp_path / "none.py").write_text("x = 1")
        with refused("methods", "none.py", "registers none"):
            register.check_methods_file(tmp_path / "none.py")
        good = tmp_path / "good.py"
        good.write_text("import mecpart; mecpart.register_policy('Mine', lambda *_: None)")
        assert register.check_methods_file(good) == good.resolve()


def test_experiments_of_the_paper_take_all_methods():
    register_policy("Mine", all_local)
    taking = [name for name, experiment in EXPERIMENTS.items() if experiment.methods is None]
    assert {"fig6", "fig8", "fig9", "fig10", "fig11a", "fig12", "sensitivity"} <= set(taking)
    assert EXPERIMENTS["fig13"].methods == ("Proposed",)
