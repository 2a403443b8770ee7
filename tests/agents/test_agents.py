from dataclasses import astuple, fields, replace
from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from measured_devices import drawn, followed

import mecpart
from mecpart.agents import AGENTS, ActorCriticConfig, PricePolicy, QLearningConfig, agent_config, make_train, stages
from mecpart.agents.learning import evaluate_policy, run_episode
from mecpart.compilation import compiled
from mecpart.model.ways import allowed_nodes

SMALL = {"hidden": (16,), "workers": 4, "t_max": 8, "episodes": 600}
SEEDS = 4
FRESH = jax.random.key(99)  # the channels of the evaluation


def small_problem(server_speed, device_rate_range):
    network = mecpart.make_network(server_speed, device_rate_range=device_rate_range, device_frequency=0.8e9)
    return mecpart.as_printed(mecpart.workload("alexnet", blocks=3), network, num_slots=32)


@pytest.fixture(scope="module")
def one_good_server():
    """The best plan is the same in every slot; any other costs far more."""
    return small_problem([3e9, 24e9], (0.1e6, 2e6))


@pytest.fixture(scope="module")
def poor_channels():
    """Whether to send at all, and to which server, depends on the channels of the slot."""
    return small_problem([16e9, 24e9], (0.01e6, 0.2e6))


@pytest.fixture(scope="module", params=AGENTS)
def train(request):
    """Some seeds of a method in one call, which must trace once although it is called with several problems."""
    size = {"updates_per_round": SMALL["workers"], **SMALL}
    has = {field.name for field in fields(AGENTS[request.param])}
    trains = make_train(request.param, **{name: value for name, value in size.items() if name in has})
    chex.clear_trace_counter()
    return jax.jit(jax.vmap(chex.assert_max_traces(trains, n=1), (0, None)))


@pytest.fixture(scope="module")
def learned(train, one_good_server):
    return train(jax.random.split(jax.random.key(7), SEEDS), one_good_server)


@jax.jit
def delays_of(policies, problem):
    """Total delay of a fresh episode under each of the policies."""
    return jax.vmap(lambda policy: evaluate_policy(FRESH, problem, policy).total_delay)(policies)


@cache
def reference(name, problem):
    """Total delay of the same episode under a policy without learning."""

    @jax.vmap
    def choose(state, key):
        return mecpart.POLICIES[name](problem, state.slot, key)

    noise = jax.random.split(jax.random.key(1), problem.num_slots)
    return float(jax.jit(lambda: run_episode(FRESH, problem, 0, choose, noise).total_delay)())


@jax.jit
def delay_of_plan(plan, problem):
    """Total delay of the same episode under one plan throughout."""
    plans = jnp.broadcast_to(jnp.asarray(plan), (problem.num_slots, 3))
    return run_episode(FRESH, problem, 0, lambda state, plan: plan, plans).total_delay


class TestLearning:
    def test_every_seed_beats_random_plans_and_comes_within_a_tenth_of_the_optimum(self, learned, one_good_server):
        optimum, random = (reference(name, one_good_server) for name in ("Optimal", "RPDI"))
        for plan in ((0, 0, 0), (1, 1, 1), (0, 2, 2), (2, 2, 0), (2, 2, 1)):
            assert delay_of_plan(plan, one_good_server) > 1.1 * optimum
        delays = np.asarray(delays_of(learned.policy, one_good_server))
        assert np.all(delays < random)
        assert np.all(delays <= 1.1 * optimum)
        assert np.all(delays >= optimum * (1 - 1e-5))

    def test_learns_to_read_the_channels(self, train, poor_channels):
        """The best seed is well below any plan that is the same in every slot."""
        result = train(jax.random.split(jax.random.key(7), SEEDS), poor_channels)
        constant = min(float(delay_of_plan(plan, poor_channels)) for plan in ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
        assert constant > 1.4 * reference("Optimal", poor_channels)
        delays = np.asarray(delays_of(result.policy, poor_channels))
        assert np.all(delays < reference("RPDI", poor_channels))
        assert delays.min() < 0.85 * constant

    def test_the_reward_of_an_episode_rises(self, learned):
        rewards = np.asarray(learned.episode_reward)
        assert rewards.shape == (SEEDS, SMALL["episodes"])
        if isinstance(learned.policy, PricePolicy):
            # It begins at the optimum. What it learns is not to stray: in no round does another worker take less than
            # the first, which has the best prices so far, and in some rounds others take more.
            delay = np.asarray(learned.episode_cost.total_delay).reshape(SEEDS, -1, SMALL["workers"])
            assert np.all(delay[:, :, 0] <= delay.min(axis=2) * (1 + 1e-6))
            assert np.all((delay.max(axis=2) > delay[:, :, 0] * (1 + 1e-6)).any(axis=1))
            return
        assert np.all(rewards[:, -100:].mean(axis=1) > rewards[:, :20].mean(axis=1))

    def test_the_policy_is_a_pytree_that_can_be_vectorised(self, learned, one_good_server):
        env = mecpart.PartitionEnv()
        seen, _ = jax.vmap(env.reset, (0, None))(jax.random.split(jax.random.key(0), 5), one_good_server)
        plans = jax.jit(jax.vmap(lambda policy: jax.vmap(policy)(seen)))(learned.policy)
        assert (plans.shape, plans.dtype) == ((SEEDS, 5, 3), jnp.int32)
        one = jax.tree.map(lambda leaf: leaf[1], learned.policy)
        np.testing.assert_array_equal(jax.jit(one)(seen[3]), plans[1, 3])


class TestMeasuredDevices:
    """Blocks that cannot run and links that do not exist: of 81 plans 26 are possible."""

    @pytest.mark.parametrize(
        ("name", "rules", "changes"),
        [
            ("Proposed", "as_printed", {"replay_rollouts": 2}),
            ("A3C", "loaded", {"advantage_scaling": True}),
            ("Distributed DQN", "pipelined", {"replay_size": 12}),
            ("Learned prices", "loaded", {}),
        ],
    )
    def test_learners_keep_to_plans_that_are_possible(self, name, rules, changes):
        problem = drawn(1, rules=rules, num_slots=7)
        size = {"hidden": (8,), "workers": 3, "t_max": 4, "episodes": 12, "learning_rate": 0.05}
        has = {field.name for field in fields(AGENTS[name])}
        train = make_train(name, **{entry: value for entry, value in size.items() if entry in has}, **changes)
        result = compiled(train, "least")(jax.random.key(0), problem)
        cost = compiled(evaluate_policy, "least")(FRESH, problem, result.policy)
        policy = result.policy
        learned = policy.weights if isinstance(policy, PricePolicy) else policy.parameters
        for leaf in jax.tree.leaves((learned, result.episode_cost.total_delay, cost.total_delay)):
            assert np.isfinite(leaf).all()

    @pytest.mark.parametrize("name", ["Proposed", "A3C", "Distributed DQN"])
    def test_what_was_learned_plans_what_is_possible_whatever_it_observes(self, name):
        problem = drawn(1)
        config = agent_config(name, hidden=(8,))
        learner = stages(config)
        policy = learner.policy(config, learner.init(config, jax.random.key(0), problem), problem)
        seen = np.random.default_rng(0).normal(size=(50, mecpart.PartitionEnv().observation_size(problem)))
        assert followed(allowed_nodes(problem), np.asarray(policy(jnp.asarray(seen, jnp.float32)))).all()


class TestConfiguration:
    def test_the_methods_of_the_paper(self):
        assert list(AGENTS) == ["Proposed", "A3C", "Distributed DQN", "Learned prices"]
        assert all(name == config.name for name, config in AGENTS.items())
        proposed, a3c = AGENTS["Proposed"], AGENTS["A3C"]
        assert (proposed.heads, proposed.sharing, proposed.asynchronous) == ("branches", "soft", True)
        assert (a3c.heads, a3c.sharing, a3c.asynchronous) == ("sequential", "none", True)

    def test_changes_leave_the_rest_and_the_original_alone(self):
        changed = agent_config("A3C", episodes=16, learning_rate=0.1)
        assert (changed.episodes, changed.learning_rate, changed.heads) == (16, 0.1, "sequential")
        assert AGENTS["A3C"].episodes == 3000
        assert agent_config(changed, episodes=3000, learning_rate=0.01) == AGENTS["A3C"]

    def test_a_configuration_is_a_method_too(self, one_good_server):
        config = ActorCriticConfig(name="mine", hidden=(4,), episodes=4, workers=2, sharing="hard")
        result = jax.eval_shape(make_train(config, t_max=16), jax.random.key(0), one_good_server)
        assert result.episode_reward.shape == (4,)

    def test_an_unknown_name_is_answered_with_what_there_is(self, refused):
        for ask in (agent_config, make_train):
            with refused("agent", "'DDPG'", *map(repr, AGENTS)):
                ask("DDPG")
            with refused("agent", "42", *map(repr, AGENTS)):
                ask(42)
            with refused("Proposed", "'batch_size'", "'t_max'", "'episodes'"):
                ask("Proposed", batch_size=32)
            with refused("Distributed DQN", "'sharing'", "'target_period'"):
                ask("Distributed DQN", sharing="hard")

    @pytest.mark.parametrize(
        ("setting", "value", "got"),
        [
            ("heads", "branch", "'branch'"),
            ("heads", None, "None"),
            ("sharing", "l2", "'l2'"),
            ("sharing_weight", -1e-3, "-0.001"),
            ("hidden", (8, 0), "0"),
            ("hidden", (8.0,), "8.0"),
            ("hidden", 64, "64"),
            ("episodes", 0, "0"),
            ("episodes", 100.5, "100.5"),
            ("episodes", 12, "12"),
            ("workers", -1, "-1"),
            ("workers", 7, "workers (7)"),
            ("t_max", 0, "0"),
            ("t_max", True, "True"),
            ("discount", -0.1, "-0.1"),
            ("discount", 1.5, "1.5"),
            ("discount", (0.9, 0.95), "0.9"),
            ("learning_rate", float("nan"), "nan"),
            ("learning_rate", "fast", "'fast'"),
            ("critic_learning_rate", float("inf"), "inf"),
            ("entropy_weight", -0.01, "-0.01"),
            ("separate_clipping", "yes", "'yes'"),
            ("gae_lambda", 1.5, "1.5"),
            ("gae_lambda", "all", "'all'"),
            ("initial_scale", -1e-4, "-0.0001"),
            ("rmsprop_decay", 1.5, "1.5"),
            ("rmsprop_decay", float("nan"), "nan"),
            ("rmsprop_epsilon", -1e-5, "-1e-05"),
            ("max_gradient_norm", 0.0, "0"),
        ],
    )
    def test_bad_actor_critics(self, setting, value, got, refused):
        self.check("Proposed", setting, value, got, refused)

    @pytest.mark.parametrize(
        ("setting", "value", "got"),
        [
            ("hidden", (-8,), "-8"),
            ("hidden", 64, "64"),
            ("episodes", 12, "12"),
            ("workers", 7, "workers (7)"),
            ("t_max", 0, "0"),
            ("updates_per_round", 0, "0"),
            ("batch", 1.5, "1.5"),
            ("replay_size", 0, "0"),
            ("target_period", -1, "-1"),
            ("exploration", (0.1,), "(0.1,)"),
            ("exploration", 0.5, "0.5"),
            ("exploration", (0.1, 0.5), "0.1"),
            ("exploration", (1.5, 0.1), "1.5"),
            ("exploration", (1.0, -0.1), "-0.1"),
            ("exploration_fraction", -0.3, "-0.3"),
            ("exploration_fraction", 1.3, "1.3"),
            ("discount", float("nan"), "nan"),
            ("discount", 1.5, "1.5"),
            ("learning_rate", -1.0, "-1"),
            ("rmsprop_decay", 1.5, "1.5"),
            ("rmsprop_epsilon", -1e-5, "-1e-05"),
            ("max_gradient_norm", float("inf"), "inf"),
        ],
    )
    def test_bad_q_learners(self, setting, value, got, refused):
        self.check("Distributed DQN", setting, value, got, refused)

    @staticmethod
    def check(agent, setting, value, got, refused):
        """By keyword and in the configuration itself."""
        with refused(setting, got):
            make_train(agent, **{setting: value})
        with refused(setting, got):
            type(AGENTS[agent])(**{setting: value})


def test_a_network_of_another_size_is_another_compilation_but_other_values_are_not(one_good_server):
    """Keys, speeds, rates and deadlines are values; only shapes compile anew."""
    traces = []

    def train(key, scenario):
        traces.append(scenario.num_nodes)
        return make_train("Distributed DQN", hidden=(2,), workers=1, episodes=1, t_max=4, batch=1)(key, scenario)

    compiled = jax.jit(lambda key, scenario: train(key, scenario).episode_reward)
    workload = one_good_server.workload
    for seed, speed in enumerate([[3e9, 4e9], [5e9, 0.0]]):
        scenario = mecpart.as_printed(workload, mecpart.make_network(speed), 10.0 * (seed + 1), 1.0 + seed, num_slots=4)
        compiled(jax.random.key(seed), scenario)
    assert traces == [3]
    assert QLearningConfig(hidden=(2,)) == QLearningConfig(hidden=(2,))  # by value: a static argument that is equal


TINY = {
    "Proposed": {"hidden": (8,), "t_max": 4, "replay_rollouts": 2},
    "A3C": {"hidden": (8,), "t_max": 4},
    "Distributed DQN": {"hidden": (8,), "t_max": 4, "updates_per_round": 2, "batch": 8, "target_period": 3},
    "Learned prices": {},
}


class TestStages:
    @pytest.fixture
    def crowded(self):
        """Where prices make a difference: no server alone can do the work."""
        network = mecpart.sample_network(jax.random.key(0), num_servers=3)
        return mecpart.loaded(mecpart.workload("vgg16", blocks=3), network, 110.0, num_slots=10)

    @pytest.fixture(params=AGENTS)
    def config(self, request):
        return agent_config(request.param, workers=4, episodes=12, **TINY[request.param])

    @pytest.mark.parametrize("build", mecpart.SCENARIOS.values(), ids=mecpart.SCENARIOS)
    def test_a_loop_over_batches_is_the_whole_training(self, config, build, scenario):
        scenario = build(scenario.workload, scenario.network, num_slots=10)
        init, step, policy = map(jax.jit, astuple(stages(config)))
        state, costs = init(config, jax.random.key(5), scenario), []
        for batch in range(3):
            state, cost = step(config, state, scenario, batch)
            costs.append(cost.total_delay)
        whole = jax.jit(make_train(config))(jax.random.key(5), scenario)
        np.testing.assert_allclose(jnp.concatenate(costs), whole.episode_cost.total_delay, rtol=1e-4)
        for one, other in zip(*map(jax.tree.leaves, (policy(config, state, scenario), whole.policy)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)

    def test_numbers_and_the_name_are_no_part_of_what_is_compiled(self, config, crowded):
        """All numbers are changed at once, the number of episodes too; and these make a difference."""
        numbers = {name: 0.5 * getattr(config, name) for name in self.numbers(config) - {"target_period"}}
        pairs = {"exploration": (0.9, 0.2), "step_range": (0.5, 5.0)}
        pairs = {name: pair for name, pair in pairs.items() if hasattr(config, name)}
        other = replace(config, name="mine", episodes=24, **numbers, **pairs)
        learner = stages(config)
        assert stages(other) == learner
        assert jax.tree.structure(other) == jax.tree.structure(config)
        step, key = jax.jit(partial(learner.step)), jax.random.key(5)  # a function of this test's own
        found = []
        for given in (config, other):
            state = learner.init(given, key, crowded)
            for batch in range(2):
                state, cost = step(given, state, crowded, batch)
            found.append(cost.total_delay)
        assert step._cache_size() == 1
        assert not np.array_equal(*found)

    @staticmethod
    def numbers(config):
        return {field.name for field in fields(config) if field.type in ("float", float)}

    def test_annealed_learning_rates_fall_linearly_to_nothing(self, crowded):
        """Of three batches the first learns at the whole rate, the second at two thirds, and one after them at none."""
        rates = {"learning_rate": 0.3, "critic_learning_rate": 0.6}
        base = agent_config("Proposed", workers=4, episodes=12, hidden=(8,), t_max=4, **rates)
        learner = stages(base)
        step, first = jax.jit(partial(learner.step)), learner.init(base, jax.random.key(5), crowded)
        for batch, share in ((0, 1.0), (1, 2 / 3), (3, 0.0)):
            slower = replace(base, **{name: share * rate for name, rate in rates.items()})
            expected, _ = step(slower, first, crowded, batch)
            found, _ = step(replace(base, annealed=True), first, crowded, batch)
            for ours, theirs in zip(*map(jax.tree.leaves, (found.parameters, expected.parameters)), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)

    def test_shapes_and_kinds_are(self, config):
        for change in ({"workers": 6}, {"t_max": 5}, {"hidden": (9,)}, {"heads": "joint"}, {"asynchronous": False}):
            if all(hasattr(config, name) for name in change):
                assert jax.tree.structure(replace(config, **change)) != jax.tree.structure(config)

    def test_many_settings_at_once(self, config, crowded):
        """A setting may be traced where the configuration is made, as long as it is a number."""
        setting = "discount" if hasattr(config, "discount") else "step_range"

        def delays(value):
            changes = {setting: value if setting == "discount" else (value, 10 * value)}
            return make_train(config, **changes)(jax.random.key(5), crowded).episode_cost.total_delay

        one, other = jax.jit(jax.vmap(delays))(jnp.array([0.2, 0.9]))
        assert (one.shape, np.array_equal(one[4:], other[4:])) == ((12,), False)
        with pytest.raises(ValueError, match=setting):
            replace(config, **{setting: 1.5 if setting == "discount" else (2.0, 1.0)})

    def test_settings_that_make_no_difference_are_named(self):
        assert {name: config.unused for name, config in AGENTS.items() if config.unused} == {"A3C": ("sharing_weight",)}
