"""Runs: what tells two apart, what they are padded with, and how they are kept."""

import os
import subprocess
import sys
from dataclasses import asdict, replace

import jax
import numpy as np
import pytest
from compilation import compilations

import mecpart
from mecpart.agents.learning import EpisodeCost
from mecpart.experiments import programs, runs
from mecpart.experiments.kept import keep, kept
from mecpart.experiments.programs import perform, program_of
from mecpart.experiments.runs import Costs, Run
from mecpart.experiments.setting import Setting
from mecpart.methods.method import Planner
from mecpart.methods.register import BOUND, METHODS, methods_in
from mecpart.model.slots import sample_slots
from mecpart.planning.optimum import optimal_plan

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
    def test_servers_that_do_not_exist_change_nothing(self):
        setting = Setting(num_blocks=3, network="nin", num_servers=2)
        plain, padded = (setting.build("as_printed", seed=3, sizes=sizes) for sizes in ((), (1, 5)))
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
        sizes = [Setting(num_servers=servers).padded_servers() for servers in (*range(1, 10), 12)]
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

    def test_constants(self):
        """Those of the network and those of the scenario."""
        of_network = {"num_devices": 4, "server_speed_range": (1e9, 1e9)}
        setting = replace(SMALL, of_network=of_network, of_scenario={"slot_seconds": 2.0, "num_slots": 7})
        for name in ("as_printed", "loaded"):
            scenario = setting.build(name, 0)
            assert (float(scenario.network.num_devices), float(scenario.slot_seconds), scenario.num_slots) == (4, 2, 7)
            np.testing.assert_allclose(scenario.network.speed, [4 * 0.34e9, 1e9, 1e9, 0, 0], rtol=1e-6)
        assert replace(SMALL, of_scenario={"arrivals": "poisson"}).build("loaded", 0).arrivals == "poisson"

    def test_refuses_constants_that_there_are_not(self, refused):
        for name in ("slot_length", "release_rate", "seed", "name"):
            with refused("of_scenario", f"got '{name}'", "'slot_seconds'", "'arrivals'"):
                replace(SMALL, of_scenario={name: 1}).build("loaded", 0)
            with refused("of_network", f"got '{name}'", "'num_devices'", "'wired_rate'"):
                replace(SMALL, of_network={name: 1}).build("loaded", 0)
        with refused("of_scenario", "got 'arrivals'", "'slot_seconds'"):
            replace(SMALL, of_scenario={"arrivals": "poisson"}).build("as_printed", 0)
        with refused("arrivals", "got 'often'", "'constant', 'poisson'"):
            jax.eval_shape(lambda: replace(SMALL, of_scenario={"arrivals": "often"}).build("loaded", 0))


class TestMethods:
    def test_in_each_scenario(self):
        learned = ("Proposed", "A3C", "Distributed DQN", "Learned prices")
        rules = ("Greedy", "APDI", "RPDI", "Local only", "One ES", "Single cut", "Earliest finish")
        planners = ("Myopic", "Look-ahead", "Drift-plus-penalty")
        assert tuple(methods_in("as_printed")) == (*learned, *rules, "Optimal", "Best constant plan")
        assert tuple(methods_in("loaded")) == (*learned, *rules, *planners, "Best constant plan")
        assert tuple(methods_in("pipelined")) == (*learned[:3], *rules, "Optimal", "Best constant plan")
        assert tuple(METHODS["Greedy"].scenarios) == tuple(mecpart.SCENARIOS)
        assert METHODS["Optimal"].scenarios == ("as_printed", "pipelined")
        assert set(METHODS) == {*methods_in("as_printed"), *methods_in("loaded")}

    def test_refuses_a_method_of_the_other_scenario(self, refused):
        for method, scenario in (("Optimal", "loaded"), ("Myopic", "as_printed"), ("Look-ahead", "as_printed")):
            with refused("method", f"got '{method}'", f"'{BOUND.name}'"):
                replace(FIXED, method=method, scenario=scenario)


class TestIdentity:
    def test_of_two_descriptions_of_one_run(self):
        described = replace(LEARNED, changes=(("workers", 8), ("discount", 0.95)), convergence=True)
        assert described == LEARNED
        assert described.identity == LEARNED.identity

    @pytest.mark.parametrize(
        "change",
        [
            {"method": "A3C"}, {"seed": 2}, {"episodes": 16}, {"changes": (("workers", 4),)},
            {"setting": replace(SMALL, release_rate=61.0)}, {"setting": replace(SMALL, link_capacity=2.0)},
            {"setting": replace(SMALL, of_scenario={"slot_seconds": 2.0})}, {"scenario": "loaded"},
        ],
        ids=str,
    )  # fmt: skip
    def test_of_runs_that_differ(self, change):
        assert replace(LEARNED, **change).identity != LEARNED.identity

    @pytest.mark.parametrize(
        "change",
        [
            {"method": "A3C"}, {"scenario": "loaded"}, {"changes": (("workers", 4),)},
            {"setting": replace(SMALL, num_blocks=3)}, {"setting": replace(SMALL, num_servers=5)},
            {"setting": replace(SMALL, of_scenario={"num_slots": 7})},
            {"setting": replace(SMALL, of_scenario={"arrivals": "poisson"}), "scenario": "loaded"},
            {"method": "Greedy"}, {"method": "Greedy", "changes": (("include_device", False),)},
        ],
        ids=str,
    )  # fmt: skip
    def test_programs_that_differ(self, change):
        """All that is static in what is compiled: runs of one program may be stacked."""
        changed = replace(LEARNED, **change)
        usual = replace(LEARNED, scenario=changed.scenario) if "setting" in change else LEARNED
        assert program_of(changed).key != program_of(usual).key
        if changed.changes:
            assert program_of(changed).key != program_of(replace(changed, changes=())).key

    def test_a_program_is_shared_by_runs_that_differ_in_numbers_only(self):
        numbers = replace(SMALL, network="nin", release_rate=61.0, deadline=1.0, of_scenario={"slot_seconds": 2.0})
        longer = replace(LEARNED, episodes=16, changes=(("learning_rate", 0.5), ("discount", 0.0)))
        assert program_of(longer).key == program_of(LEARNED).key
        assert program_of(replace(LEARNED, seed=7, setting=numbers)).key == program_of(LEARNED).key
        assert program_of(replace(LEARNED, method="Greedy")).key == program_of(replace(LEARNED, method="RPDI")).key

    def test_what_is_computed_sooner_than_compiled_shares_the_largest_size(self):
        """Learners of a few episodes, and rules; but not those that plan for tasks that wait, which takes long."""
        run = replace(LEARNED, setting=Setting(num_servers=3))
        larger = Setting(num_servers=8)

        def shared(run):
            return program_of(run).key == program_of(replace(run, setting=larger)).key

        assert shared(run)
        assert not shared(replace(run, episodes=192))
        # One output for each plan would be many more; and no figure sweeps N with other settings of a method.
        assert not shared(replace(run, method="Proposed", changes=(("heads", "joint"),)))
        for scenario, share in (("as_printed", True), ("loaded", False), ("pipelined", False)):
            assert shared(replace(run, method="Greedy", episodes=192, scenario=scenario)) == share

    def test_a_setting_that_makes_no_difference_is_dropped(self):
        """The weight of soft sharing, where nothing is shared softly."""
        weight = (("sharing_weight", 0.5),)
        assert replace(LEARNED, method="A3C", changes=weight) == replace(LEARNED, method="A3C")
        assert replace(LEARNED, method="Proposed", changes=weight).changes == weight
        shared = replace(LEARNED, method="A3C", changes=(("sharing", "soft"), *weight))
        assert dict(shared.changes) == {"sharing": "soft", "sharing_weight": 0.5}

    def test_depends_on_the_sources_and_the_libraries(self, monkeypatch):
        before = LEARNED.identity
        monkeypatch.setattr(runs, "digest", lambda module: "edited")
        edited = LEARNED.identity
        monkeypatch.setattr(runs, "_versions", lambda: {"jax": "0"})
        assert len({before, edited, LEARNED.identity}) == 3


class TestPerform:
    def test_runs_are_independent_of_each_other(self):
        together = perform([replace(FIXED, seed=seed) for seed in (0, 1)])
        same(together[1], perform([FIXED])[0])
        assert together[0].evaluation.total_delay != together[1].evaluation.total_delay

    def test_only_runs_of_one_program(self):
        with pytest.raises(ValueError, match="one program; got 2"):
            perform([FIXED, LEARNED])

    def test_networks_of_one_size_share_a_program(self):
        """Four networks, any speed, rate and deadline, and every rule for a slot: compiled once."""
        settings = [replace(SMALL, network=name) for name in ("alexnet", "nin", "resnet32", "vgg16")]
        settings += [replace(SMALL, num_servers=4, deadline=1.0, link_capacity=3.0)]
        methods = [name for name, method in methods_in("as_printed").items() if type(method) is Planner]
        programs._compiled.cache_clear()
        with compilations() as compiled:
            perform([replace(FIXED, setting=setting, method=method) for setting in settings for method in methods])
        assert len([name for name in compiled if "evaluate" in name]) == 1, compiled


#: Keeps ten runs of each of two programs in a folder, and says how many devices had a share in each call.
SHARED = """
import sys
from pathlib import Path
import jax
from mecpart.experiments import kept, programs
from mecpart.experiments.runs import Run
from mecpart.experiments.setting import Setting

plain, shares = programs.compiled, set()

def watched(function, effort):
    def call(*cases):
        found = plain(function, effort)(*cases)
        shares.update(len({str(shard.index) for shard in leaf.addressable_shards}) for leaf in jax.tree.leaves(found))
        return found
    return call

programs.compiled = watched
setting = Setting(network="alexnet", num_blocks=2, num_servers=2)
for method in ("Distributed DQN", "RPDI"):
    wanted = [Run(method, "as_printed", setting, seed, 8) for seed in range(10)]
    for run, costs in zip(wanted, programs.perform(wanted), strict=True):
        kept.keep(Path(sys.argv[1]), run, costs)
print(jax.device_count(), *shares)
"""


def test_several_devices_share_the_runs(tmp_path):
    """Ten runs on eight devices, six of which have two: nothing is lost, and nothing else is found than on one."""
    told, found = [], []
    for devices in (1, 8):
        folder = tmp_path / str(devices)
        environment = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "PJRT_NPROC": "1"}
        done = subprocess.run(
            [sys.executable, "-c", SHARED, folder],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.split())
        found.append({file.name: dict(np.load(file)) for file in folder.glob("*.npz")})
    assert told == [["1", "1"], ["8", "8"]]
    assert len(found[0]) == 20
    assert found[0].keys() == found[1].keys()
    for name, arrays in found[0].items():
        for part, values in arrays.items():
            np.testing.assert_array_equal(found[1][name][part], values, err_msg=part)


class TestBound:
    """A lower bound on every method of the same setting and seed, episode by episode."""

    def test_below_every_method(self):
        """Half a second is too short for the tasks of a slot. A3C and Proposed, run as the DQN is, compile too long."""
        run = Run("Greedy", "loaded", self.setting(0.5), seed=1, episodes=8)
        methods = [method for method in methods_in("loaded") if method not in ("A3C", "Proposed")]
        costs = {method: self.whole(replace(run, method=method)) for method in (*methods, BOUND.name)}
        training, evaluation = costs.pop(BOUND.name)
        assert training.shape == (8,)
        assert evaluation.shape == ()
        for method, (of_training, fresh) in costs.items():
            assert (training <= of_training * (1 + 1e-6)).all(), method
            assert evaluation <= fresh * (1 + 1e-6), method
        # Were slots long enough for any plan, there would be no queues, and the myopic plans would attain the bound.
        run = replace(run, setting=self.setting(1e3))
        without = self.whole(replace(run, method=BOUND.name))[1]
        np.testing.assert_allclose(self.whole(replace(run, method="Myopic"))[1], without, rtol=1e-6)
        assert evaluation > 1.1 * without

    def setting(self, slot_seconds):
        return replace(SMALL, release_rate=200.0, of_scenario={"num_slots": 20, "slot_seconds": slot_seconds})

    def whole(self, run):
        """Total delay of the training episodes and of a fresh one."""
        found = perform([run])[0]
        if run.of.learns:
            return found.training.total_delay, found.evaluation.total_delay
        return perform([replace(run, convergence=True)])[0].training.total_delay, found.evaluation.total_delay

    def test_knows_no_other_cost(self):
        costs = perform([replace(FIXED, method=BOUND.name, scenario="loaded")])[0]
        assert costs.training is None
        assert np.isfinite(costs.evaluation.total_delay)
        assert all(np.isnan(value) for name, value in asdict(costs.evaluation).items() if name != "total_delay")


@pytest.fixture(scope="module")
def learned():
    return perform([LEARNED])[0]


class TestKeeping:
    def test_a_kept_run_is_the_run(self, tmp_path, learned):
        assert kept(tmp_path, LEARNED) is None
        keep(tmp_path, LEARNED, learned)
        same(kept(tmp_path, LEARNED), learned)
        assert [file.name for file in tmp_path.iterdir()] == [f"{LEARNED.identity}.npz"]
        assert kept(tmp_path, replace(LEARNED, seed=2)) is None
        assert learned.training.reward.shape == (8,)

    def test_of_a_method_without_learning(self, tmp_path):
        for run in (FIXED, replace(FIXED, convergence=True)):
            costs = perform([run])[0]
            keep(tmp_path, run, costs)
            same(kept(tmp_path, run), costs)

    def test_a_folder_that_cannot_be_is_told_before_anything_runs(self, tmp_path):
        (tmp_path / "file").write_text("")
        with compilations() as compiled, pytest.raises(OSError, match=r"file"):
            mecpart.run_experiment("fig8", "smoke", runs_folder=tmp_path / "file" / "runs")
        assert not compiled

    def test_an_unfinished_file_is_not_taken_for_a_run(self, tmp_path, learned, monkeypatch):
        def interrupted(path, **arrays):
            path.write_bytes(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr(np, "savez", interrupted)
        with pytest.raises(KeyboardInterrupt):
            keep(tmp_path, LEARNED, learned)
        assert kept(tmp_path, LEARNED) is None


#: As those of `LEARNED`, made up.
COSTS = Costs(
    np.arange(1, 9),
    EpisodeCost(*np.random.default_rng(0).random((8, 8), np.float32)),
    EpisodeCost(*np.random.default_rng(1).random(8, np.float32)),
)


class TestDamaged:
    """A file that is not that of its run: named in one line, and the run is computed again."""

    def damaged(self, file, capsys):
        """Whether the kept run is named, and replaced by the next that is kept."""
        capsys.readouterr()
        found = kept(file.parent, LEARNED)
        told = capsys.readouterr().out
        assert (found is None) == (f"the kept run {file} is damaged and is computed again" in told)
        assert told.count("\n") <= 1
        return found is None

    def test_no_byte_can_be_flipped_unseen(self, tmp_path, capsys):
        """Some bytes say nothing of the run, such as the date within: then it is still the same run."""
        keep(tmp_path, LEARNED, COSTS)
        (file,) = tmp_path.iterdir()
        whole = file.read_bytes()
        seen = 0
        for at in range(0, len(whole), 13):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x21]) + whole[at + 1 :])
            if self.damaged(file, capsys):
                seen += 1
            else:
                file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x21]) + whole[at + 1 :])
                same(kept(tmp_path, LEARNED), COSTS)
        assert seen > len(whole) / 13 / 2

    @pytest.mark.parametrize("content", [b"", b"half", b"\x93NUMPY", b"PK\x03\x04", b"\x80\x04K\x01."])
    def test_what_is_no_file_of_arrays(self, tmp_path, capsys, content):
        keep(tmp_path, LEARNED, COSTS)
        (file,) = tmp_path.iterdir()
        whole = file.read_bytes()
        for damage in (content, whole[: len(whole) // 2], whole[:-1], bytes(len(whole))):
            file.write_bytes(damage)
            assert self.damaged(file, capsys)
        keep(tmp_path, LEARNED, COSTS)
        same(kept(tmp_path, LEARNED), COSTS)

    @pytest.mark.parametrize(
        "changes",
        [
            {"training_reward": None},
            {"more": np.zeros(8)},
            {"training_reward": np.zeros(7, np.float32)},
            {"evaluation_energy": np.zeros(1, np.float32)},
            {"evaluation_energy": np.int32(3)},
            {"last_episode": np.arange(8.0)},
            {"training_total_delay": np.full(8, np.nan, np.float32)},
            {"identity": np.array("another")},
            {"evaluation_energy": np.array({"a": "pickle"}, object)},
        ],
        ids=str,
    )
    def test_arrays_that_are_not_those_of_the_run(self, tmp_path, capsys, changes):
        keep(tmp_path, LEARNED, COSTS)
        (file,) = tmp_path.iterdir()
        arrays = dict(np.load(file)) | changes
        np.savez(file, **{name: values for name, values in arrays.items() if values is not None})
        assert self.damaged(file, capsys)
