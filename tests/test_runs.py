"""Runs: what tells two apart, what they are padded with, and how they are kept."""

from dataclasses import asdict, replace

import jax
import numpy as np
import pytest

from mecpart import runs
from mecpart.optimum import optimal_plan
from mecpart.runs import Run, Setting, keep, kept, perform
from mecpart.scenario import sample_slots

SMALL = Setting(network="alexnet", num_blocks=2, num_servers=2)
LEARNED = Run("Distributed DQN", "as_printed", SMALL, seed=1, episodes=8)
FIXED = Run("Greedy", "as_printed", SMALL, seed=1, episodes=8)


def same(one, other):
    np.testing.assert_array_equal(one.last_episode, other.last_episode)
    for part in ("training", "evaluation"):
        left, right = getattr(one, part), getattr(other, part)
        assert (left is None) == (right is None)
        for name, value in (asdict(left) if left else {}).items():
            np.testing.assert_array_equal(value, getattr(right, name))


class TestSetting:
    def test_servers_that_do_not_exist_change_nothing(self, monkeypatch):
        setting = Setting(num_blocks=3, network="nin", num_servers=2)
        monkeypatch.setattr(runs, "PADDED_SERVERS", ())
        plain = setting.build("as_printed", seed=3)
        monkeypatch.setattr(runs, "PADDED_SERVERS", (1, 5))
        padded = setting.build("as_printed", seed=3)
        np.testing.assert_array_equal(padded.network.speed, [*plain.network.speed, 0, 0, 0])
        slots, padded_slots = (sample_slots(jax.random.key(0), scenario, 20) for scenario in (plain, padded))
        np.testing.assert_array_equal(padded_slots.device_rate[:, :, :2], slots.device_rate)
        best, padded_best = (
            jax.vmap(optimal_plan, (None, 0))(*case) for case in ((plain, slots), (padded, padded_slots))
        )
        np.testing.assert_array_equal(padded_best.plan, best.plan)
        np.testing.assert_allclose(padded_best.total_delay, best.total_delay, rtol=1e-6)

    def test_what_the_networks_are_padded_to(self):
        """Few sizes for the paper's sweep, its default as it is, and no limit for others."""
        sizes = [Setting(num_servers=servers).padded_servers for servers in (*range(1, 10), 12)]
        assert sizes == [4, 4, 4, 4, 6, 6, 8, 8, 9, 12]

    def test_a_seed_is_a_network_and_more_servers_are_added_to_it(self):
        speeds = {
            (seed, servers): np.asarray(Setting(num_servers=servers).build("as_printed", seed).network.speed)
            for seed in (0, 1)
            for servers in (2, 3)
        }
        np.testing.assert_array_equal(speeds[0, 2][:3], speeds[0, 3][:3])
        assert not np.any(speeds[0, 3][1:4] == speeds[1, 3][1:4])

    def test_every_field_reaches_the_scenario(self):
        setting = Setting("alexnet", 4, 4, release_rate=17.0, deadline=2.5, device_rate_range=(1e6, 1.5e6))
        scenario = setting.build("as_printed", 0)
        assert (scenario.workload.name, scenario.num_blocks, scenario.num_nodes) == ("alexnet", 4, 5)
        assert (float(scenario.release_rate), float(scenario.deadline), scenario.num_slots) == (17.0, 2.5, 600)
        np.testing.assert_array_equal(scenario.network.device_rate_range, [1e6, 1.5e6])

    def test_a_link_capacity_takes_the_place_of_the_rates(self):
        """8 Mbit/s are a million bytes per second."""
        scenario = Setting(link_capacity=8.0).build("as_printed", 0)
        np.testing.assert_array_equal(scenario.network.device_rate_range, [1e6, 1e6])
        slots = sample_slots(jax.random.key(0), scenario, 3)
        np.testing.assert_array_equal(slots.device_rate, np.full((3, 6, 4), 1e6))


class TestIdentity:
    def test_of_two_descriptions_of_one_run(self):
        described = replace(LEARNED, agent=(("workers", 8), ("discount", 0.95)), convergence=True)
        assert described == LEARNED
        assert described.identity == LEARNED.identity

    @pytest.mark.parametrize(
        "change",
        [
            {"method": "A3C"}, {"seed": 2}, {"episodes": 16}, {"agent": (("workers", 4),)},
            {"setting": replace(SMALL, release_rate=61.0)}, {"setting": replace(SMALL, link_capacity=2.0)},
        ],
        ids=str,
    )  # fmt: skip
    def test_of_runs_that_differ(self, change):
        assert replace(LEARNED, **change).identity != LEARNED.identity

    def test_depends_on_the_sources_and_the_libraries(self, monkeypatch):
        before = LEARNED.identity
        monkeypatch.setattr(runs, "_sources", lambda: "edited")
        edited = LEARNED.identity
        monkeypatch.setattr(runs, "_versions", lambda: {"jax": "0"})
        assert len({before, edited, LEARNED.identity}) == 3

    def test_the_sources_are_all_that_a_run_imports(self):
        """Were one missing, an edit there would leave stale runs in use."""
        package = runs.Path(runs.__file__).parent
        named = {package / name for name in runs._SOURCES}
        seen, pending = set(), [package / "runs.py"]
        while pending:
            file = pending.pop()
            seen.add(file)
            for module in set(runs_imports(file)):
                path = package.parent / module.replace(".", "/")
                found = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
                pending += [found] if found not in seen and found != package / "__init__.py" else []
        reached = {package / "agents" if file.parent.name == "agents" else file for file in seen}
        assert reached - {package / "validation.py"} == named


def runs_imports(file):
    """The modules of the package that a source file imports."""
    import ast

    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mecpart"):
            yield node.module


class TestPerform:
    def test_runs_are_independent_of_each_other(self):
        together = perform([replace(FIXED, seed=seed) for seed in (0, 1)])
        same(together[1], perform([FIXED])[0])
        assert together[0].evaluation.total_delay != together[1].evaluation.total_delay

    def test_only_runs_of_one_program(self):
        with pytest.raises(ValueError, match="one program; got 2"):
            perform([FIXED, LEARNED])

    def test_networks_of_one_size_share_a_program(self, monkeypatch):
        """Four networks, any speed, rate and deadline, and every method that does not learn: compiled once."""
        traced = []
        monkeypatch.setitem(
            runs.POLICIES, "Greedy", lambda *case: traced.append(1) or jax.numpy.zeros(2, jax.numpy.int32)
        )
        runs._compiled.cache_clear()
        settings = [replace(SMALL, network=name) for name in ("alexnet", "nin", "resnet32", "vgg16")]
        settings += [replace(SMALL, num_servers=4, deadline=1.0, link_capacity=3.0)]
        perform([replace(FIXED, setting=setting, method=method) for setting in settings for method in runs.POLICIES])
        runs._compiled.cache_clear()
        assert len(traced) == 1


@pytest.fixture(scope="module")
def learned():
    return perform([LEARNED])[0]


class TestKeeping:
    def test_a_kept_run_is_the_run(self, tmp_path, learned):
        assert kept(tmp_path, LEARNED) is None
        keep(tmp_path, LEARNED, learned)
        same(kept(tmp_path, LEARNED), learned)
        assert kept(tmp_path, replace(LEARNED, seed=2)) is None
        assert learned.training.reward.shape == (8,)

    def test_of_a_method_without_learning(self, tmp_path):
        for run in (FIXED, replace(FIXED, convergence=True)):
            costs = perform([run])[0]
            keep(tmp_path, run, costs)
            same(kept(tmp_path, run), costs)

    def test_an_unfinished_file_is_not_taken_for_a_run(self, tmp_path, learned, monkeypatch):
        def interrupted(path, **arrays):
            path.write_bytes(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr(np, "savez", interrupted)
        with pytest.raises(KeyboardInterrupt):
            keep(tmp_path, LEARNED, learned)
        assert kept(tmp_path, LEARNED) is None
