"""The Gymnasium adapter against Gymnasium's own checker and vector environment, and against the equations."""

import pickle
import subprocess
import sys
from dataclasses import fields

import equations
import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from measured_devices import PLANS, by_hand, drawn

import mecpart
from mecpart.adapters import gymnasium as adapter
from mecpart.model.environment import EnvState, PartitionEnv, read_observation

RULES = {
    "as_printed": {"name": "as_printed"},
    "loaded": {"name": "loaded"},
    "pipelined": {"name": "pipelined"},
    "queues alone": {"name": "as_printed", "queues": True},
    "poisson": {"name": "loaded", "arrivals": "poisson"},
    "padded": {"name": "loaded", "network": mecpart.sample_network(jax.random.key(0), 2, pad_to=4)},
}
each_rule = pytest.mark.parametrize("rules", RULES)
STEP_ENV = jax.jit(PartitionEnv().step_env)


def play(env, steps, seed=None, first_action=0):
    """Everything that `env` returns over some steps of fixed actions."""
    rng, told = np.random.default_rng(first_action), [env.reset(seed=seed)]
    for _ in range(steps):
        told.append(env.step(rng.integers(0, env.action_space.nvec)))
    return told


def assert_same(one, other, rtol=1e-5):
    """Equal trees of dictionaries, tuples and arrays, with types; what is an object array is compared by entries."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = [one[key] for key in one], [other[key] for key in one]
    if isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b, rtol)
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert one.shape == other.shape
        assert_same(list(one), list(other), rtol)
    else:
        assert type(one) is type(other)
        assert np.asarray(one).dtype == np.asarray(other).dtype
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-6)


class TestCopies:
    """An environment that was sent elsewhere goes on there as it does here, over the end of an episode."""

    @pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
    @pytest.mark.parametrize("scenarios", [1, 2])
    def test_vector(self, small, scenarios, mode):
        env = adapter.make_vec([small("loaded", num_slots=2)] * scenarios, 2, autoreset_mode=mode)
        fresh, _ = pickle.loads(pickle.dumps(env)).reset(seed=1)
        observations, _ = env.reset(seed=1)
        np.testing.assert_array_equal(fresh, observations)
        twin = pickle.loads(pickle.dumps(env))
        for _ in range(4):
            plans = np.zeros((2, 4), int)
            assert_same(twin.step(plans), env.step(plans), rtol=0)

    def test_vector_in_another_process(self, small):
        env, plan = adapter.make_vec(small("loaded", num_slots=2), 2), [[0, 1, 2, 3]] * 2
        env.reset(seed=1)
        program = f"""
import pickle, sys
env = pickle.load(sys.stdin.buffer)
pickle.dump([env.step({plan})[:4], env.step({plan})[:4]], sys.stdout.buffer)
"""
        command = [sys.executable, "-c", program]
        told = subprocess.run(command, input=pickle.dumps(env), capture_output=True, timeout=120)
        assert told.returncode == 0, told.stderr
        assert_same(pickle.loads(told.stdout), [env.step(plan)[:4], env.step(plan)[:4]])

    def test_single(self, small):
        env = adapter.make(small("loaded", num_slots=2))
        env.reset(seed=1)
        twin = pickle.loads(pickle.dumps(env))
        assert_same(twin.step(np.zeros(4, int)), env.step(np.zeros(4, int)), rtol=0)


class TestPartition:
    @each_rule
    def test_passes_check_env_without_a_warning(self, small, rules):
        """A warning is an error here."""
        check_env(adapter.make(small(**RULES[rules])))

    def test_spaces(self, small):
        env = adapter.make(small("loaded"))
        assert env.action_space == gymnasium.spaces.MultiDiscrete([4, 4, 4, 4])
        assert env.observation_space.shape == (4 * 5 + 1 + 4,)
        assert env.observation_space.dtype == np.float32
        assert env.observation_space.is_bounded()

    def test_servers_that_pad_the_network_are_no_actions(self, small):
        env = adapter.make(small(**RULES["padded"]))
        assert env.action_space == gymnasium.spaces.MultiDiscrete([3, 3, 3, 3])
        assert np.isfinite([step[1] for step in play(env, 5, seed=0)[1:]]).all()

    @each_rule
    def test_costs_are_those_of_the_equations_and_of_evaluate_plan(self, small, rules):
        env = adapter.make(small(**RULES[rules]))
        observation, _ = env.reset(seed=1)
        for t in range(6):
            slot, plan = read_observation(env.scenario, observation), env.action_space.sample()
            observation, reward, _, _, info = env.step(plan)
            exact, cost = equations.cost_of(env.scenario, slot, plan), mecpart.evaluate_plan(env.scenario, slot, plan)
            assert set(info) == {field.name for field in fields(mecpart.PlanCost)}
            for name, value in info.items():
                assert isinstance(value, (np.ndarray, np.float32))
                np.testing.assert_allclose(value, getattr(exact, name), rtol=1e-3, atol=1e-4, err_msg=f"{name} in {t}")
                np.testing.assert_allclose(value, getattr(cost, name), rtol=1e-3, atol=1e-4, err_msg=f"{name} in {t}")
            assert type(reward) is float
            assert reward == info["reward"]

    @each_rule
    def test_steps_as_partition_env_does(self, small, rules):
        """Beside `PartitionEnv` from the same slot: equal energy and queues; what a slot draws is its own."""
        env = adapter.make(small(**RULES[rules]))
        observation, _ = env.reset(seed=2)
        queues = env.scenario.num_nodes if env.scenario.rules.queues else 0
        for t in range(6):
            slot, plan = read_observation(env.scenario, observation), env.action_space.sample()
            energy = observation[-1 - queues] * env.scenario.energy_budget
            expected, *_ = STEP_ENV(jax.random.key(t), EnvState(slot, energy, np.int32(t)), plan, env.scenario)
            observation, *_ = env.step(plan)
            np.testing.assert_allclose(observation[-1 - queues :], expected[-1 - queues :], rtol=1e-3, atol=1e-4)
            rates = slice(2 * env.scenario.num_blocks, -1 - queues)
            assert (observation[rates] != expected[rates]).all()

    def test_a_time_limit_truncates_and_never_terminates(self, small):
        env = adapter.make(small("loaded", num_slots=7))
        for _ in range(2):
            steps = play(env, 7)[1:]
            assert [truncated for *_, truncated, _ in steps] == [False] * 6 + [True]
            assert not any(terminated for _, _, terminated, _, _ in steps)
            assert all(type(flag) is bool for _, _, *flags, _ in steps for flag in flags)
            final = steps[-1][0]
            assert final[-5] < steps[0][0][-5] < 1, "the last observation belongs to the episode: its energy is spent"
            with pytest.raises(gymnasium.error.ResetNeeded, match="the last slot of this one is over"):
                env.step(np.zeros(4, int))

    def test_must_be_reset_first(self, small):
        with pytest.raises(gymnasium.error.ResetNeeded, match="no episode has begun"):
            adapter.make(small()).step(np.zeros(4, int))

    def test_a_seed_makes_everything_reproducible(self, small):
        one, other = (adapter.make(small("loaded", arrivals="poisson", num_slots=5)) for _ in range(2))
        assert_same(play(one, 5, seed=7), play(other, 5, seed=7), rtol=0)
        # Also the episodes after it, which no seed is given for; and they are new ones.
        later = play(one, 5)
        assert_same(later, play(other, 5), rtol=0)
        again = play(one, 5, seed=7)
        assert (later[1][0][8:20] != again[1][0][8:20]).all()
        assert (play(other, 5, seed=8)[1][0][8:20] != again[1][0][8:20]).all()

    def test_what_it_returns_belongs_to_the_caller(self, small):
        env = adapter.make(small())
        (observation, _), (_, _, _, _, info) = play(env, 1, seed=0)
        kept = observation.copy()
        info["block_delay"] *= 0
        env.step(np.zeros(4, int))
        np.testing.assert_array_equal(observation, kept)
        assert observation.flags.writeable

    @pytest.mark.parametrize(
        ("action", "told"),
        [
            ([0, 1, 2, 4], ("from 0 to 3", "[0, 1, 2, 4]")),
            ([0, -1, 2, 3], ("from 0 to 3", "-1")),
            ([0.0, 1.0, 2.0, 3.0], ("integers", "1.0")),
            ([0, 1, 2], ("shape (4,)", "(3,)")),
        ],
    )
    def test_an_action_that_is_no_plan_is_refused(self, small, refused, action, told):
        env = adapter.make(small())
        env.reset(seed=0)
        with refused("action must", *told):
            env.step(action)

    def test_unknown_options_are_refused(self, small, refused):
        for env in (adapter.make(small()), adapter.make_vec(small(), 2)):
            env.reset(options={})
            with refused("options must be None or empty", "{'speed': 1}"):
                env.reset(options={"speed": 1})


class TestMeasuredDevices:
    """Blocks that cannot run and links that do not exist: an action may be a plan that never comes to its end."""

    @pytest.mark.parametrize("rules", mecpart.SCENARIOS)
    def test_passes_check_env_and_has_finite_observations_and_rewards_whatever_is_done(self, rules):
        scenario = drawn(1, rules=rules, num_slots=4)
        check_env(adapter.make(scenario), skip_render_check=True)
        env, ends = adapter.make_vec(scenario, 3, autoreset_mode="SameStep"), []
        env.reset(seed=0)
        for plans in PLANS[:60].reshape(-1, 3, 4):
            observations, rewards, _, _, info = env.step(plans)
            assert all(map(env.single_observation_space.contains, observations))
            assert np.isfinite(rewards).all()
            ends += np.isfinite(info.get("final_info", info)["total_delay"]).tolist()
        by_hand_ends = [np.isfinite(by_hand(scenario, np.zeros(3), plan)[0]) for plan in PLANS[:60]]
        assert ends == by_hand_ends
        assert 0 < sum(ends) < len(ends)

    @pytest.mark.parametrize("seed", range(4))
    def test_action_masks_are_the_nodes_of_plans_that_come_to_their_end(self, seed):
        scenario = drawn(seed)
        ends = [np.isfinite(by_hand(scenario, np.zeros(3), plan)[0]) for plan in PLANS]
        expected = [(PLANS[ends][:, block] == node).any() for block in range(4) for node in range(3)]
        masks = adapter.make(scenario).action_masks()
        assert (masks.dtype, masks.tolist()) == (bool, expected)
        np.testing.assert_array_equal(adapter.make_vec(scenario, 2).action_masks(), [expected] * 2)

    def test_otherwise_all_nodes_can_be_chosen(self, small):
        assert adapter.make(small()).action_masks().tolist() == [True] * 16


class TestRegistration:
    def test_make_imports_the_adapter_by_itself(self):
        """In a fresh interpreter, which knows only Gymnasium."""
        program = """
import gymnasium
env = gymnasium.make("mecpart.adapters.gymnasium:mecpart/Partition-v0", scenario="loaded")
vector = gymnasium.make_vec("mecpart/Partition-v0", num_envs=3, vectorization_mode="vector_entry_point")
print(env.action_space, env.reset(seed=0)[0].shape, vector.reset(seed=0)[0].shape)
"""
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        assert run.stdout.strip() == "MultiDiscrete([5 5 5 5 5 5]) (42,) (3, 37)", run.stderr

    def test_make_gives_the_environment_without_wrappers_and_with_its_spec(self, small):
        env = adapter.make(small())
        assert type(env) is adapter.Partition
        assert env.spec.id == adapter.ID
        assert env.spec.max_episode_steps is None, "the environment truncates by itself"
        assert_same(play(env.spec.make().unwrapped, 3, seed=1), play(env, 3, seed=1), rtol=0)
        vector = adapter.make_vec(small(), 2)
        assert type(vector) is adapter.PartitionVector
        assert (vector.spec.id, vector.num_envs) == (adapter.ID, 2)

    @pytest.mark.parametrize(("module", "library"), [("gymnasium", "gymnasium"), ("gymnax", "gymnax")])
    def test_without_the_library_the_error_says_what_to_install(self, module, library):
        program = f"""
import sys
sys.modules[{library!r}] = None
import mecpart.adapters
try:
    mecpart.adapters.{module}
except ImportError as error:
    print(error)
"""
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        assert f"pip install 'mecpart[{library}]'" in run.stdout, run.stderr

    def test_an_adapter_that_does_not_exist(self):
        with pytest.raises(AttributeError, match="no attribute 'dopamine'"):
            mecpart.adapters.dopamine  # noqa: B018


class TestPartitionVector:
    MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("rules", ["as_printed", "poisson"])
    def test_equals_gymnasium_s_own_vector_environment(self, small, rules, mode):
        """Observations, rewards, flags and infos with their masks, over three episodes of three slots."""
        scenario = small(**RULES[rules], num_slots=3)
        ours = adapter.make_vec(scenario, 3, autoreset_mode=mode)
        theirs = SyncVectorEnv([lambda: adapter.make(scenario)] * 3, autoreset_mode=mode)
        assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"] is mode
        assert ours.single_action_space == theirs.single_action_space
        assert ours.observation_space == theirs.observation_space
        assert_same(ours.reset(seed=5), theirs.reset(seed=5))
        assert ours.np_random_seed == theirs.np_random_seed == (5, 6, 7)
        rng, ends = np.random.default_rng(0), 0
        for _ in range(11):
            plans = rng.integers(0, 4, (3, 4))
            step = ours.step(plans)
            assert_same(step, theirs.step(plans))
            ends += step[3].all()
        assert ends in (2, 3)
        assert_same(ours.reset(), theirs.reset())
        assert_same(ours.reset(seed=[3, 1, None]), theirs.reset(seed=[3, 1, None]))

    def test_several_scenarios(self, small):
        """Environment i plays scenario i modulo their number; the observation space holds them all."""
        scenarios = [
            small("loaded", num_slots=3, network=mecpart.make_network(speeds), release_rate=rate)
            for speeds, rate in (([3e9, 6e9, 9e9], 60.0), ([9e9, 5e9, 4e9], 90.0))
        ]
        ours = adapter.make_vec(scenarios, 4, autoreset_mode="SameStep")
        singles = [lambda i=i: adapter.make(scenarios[i % 2]) for i in range(4)]
        theirs = SyncVectorEnv(singles, observation_mode="different", autoreset_mode="SameStep")
        assert_same(ours.reset(seed=5), theirs.reset(seed=5))
        rng = np.random.default_rng(0)
        for _ in range(5):
            plans = rng.integers(0, 4, (4, 4))
            step = ours.step(plans)
            assert_same(step, theirs.step(plans))
            assert step[0] in ours.observation_space
        for i in range(2):
            space = adapter.make(scenarios[i]).observation_space
            assert (ours.single_observation_space.low <= space.low).all()
            assert (space.high <= ours.single_observation_space.high).all()

    def test_actions_are_multi_discrete(self, small):
        env = adapter.make_vec(small(), 2)
        assert env.single_action_space == gymnasium.spaces.MultiDiscrete([4] * 4)
        assert env.action_space == gymnasium.spaces.MultiDiscrete(np.full((2, 4), 4))
        assert env.action_space.sample().shape == (2, 4)

    @pytest.mark.parametrize("mode", MODES)
    def test_under_gymnasium_s_episode_statistics(self, small, mode):
        env = adapter.make_vec(small(num_slots=3), 2, autoreset_mode=mode)
        env = gymnasium.wrappers.vector.RecordEpisodeStatistics(env)
        rewards = [step[1:] for step in play(env, 3, seed=0)[1:]]
        returned = rewards[-1][3]["episode"]
        np.testing.assert_allclose(returned["r"], np.sum([step[0] for step in rewards], axis=0), rtol=1e-6)
        np.testing.assert_array_equal(returned["l"], 3)

    def test_bad_arguments_are_refused(self, small, refused):
        with refused("num_envs must be a whole number of at least 1", "0"):
            adapter.PartitionVector(small(), 0)
        with refused("num_envs must be a whole number of at least 2", "1"):
            adapter.PartitionVector([small(), small()], 1)
        with refused("autoreset_mode must be one of 'NextStep', 'SameStep'", "'Disabled'"):
            adapter.PartitionVector(small(), 2, AutoresetMode.DISABLED)
        with refused("scenario must be one scenario, or a sequence of at least one", "none"):
            adapter.PartitionVector([], 2)
        with refused("scenario: all must have equal blocks", "num_slots", "number 1 differs"):
            adapter.PartitionVector([small(), small(num_slots=21)], 2)
        env = adapter.make_vec(small(), 2)
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.step(np.zeros((2, 4), int))
        with refused("seed must be one number, or 2 of them", "3"):
            env.reset(seed=[1, 2, 3])
        env.reset(seed=0)
        with refused("action must have shape (2, 4)", "(4,)"):
            env.step(np.zeros(4, int))
