import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from measured_devices import BLOCKS as BLOCKS_MEASURED
from measured_devices import NODES as NODES_MEASURED
from measured_devices import PLANS, drawn, followed

from mecpart.agents.networks import HEADS, SHARING, PartitionNetwork, most_likely, sampled, trunk_distance
from mecpart.model.ways import allowed_nodes

BLOCKS, NODES, FEATURES = 3, 4, 7
AVAILABLE = jnp.array([True, True, False, True])
OBSERVATION = jnp.linspace(-1.0, 1.0, FEATURES)
COLUMNS = ("actor", "critic")
GRID = list(itertools.product(HEADS, SHARING))


def build(heads="branches", sharing="none", hidden=(5, 6), blocks=BLOCKS, nodes=NODES):
    """A network, and parameters that are all different: the real first ones make every head nearly uniform."""
    network = PartitionNetwork(blocks, nodes, hidden, heads, sharing)
    shapes = jax.eval_shape(network.initialise, jax.random.key(0), OBSERVATION)
    draw = np.random.default_rng(7)
    return network, jax.tree.map(lambda leaf: draw.normal(scale=0.7, size=leaf.shape).astype(np.float32), shapes)


def assess(network, parameters, plan, available):
    """`network.assess` of one slot."""
    answers = network.assess(parameters, OBSERVATION[None], plan[None], available)
    return tuple(answer[..., 0] for answer in answers)


def decide(network, parameters, available, choose, noise):
    """`network.decide` of one slot."""
    return network.decide(parameters, OBSERVATION[None], available, choose, noise[None])[0]


def layers_of(parameters):
    return jax.tree.map(np.asarray, parameters)["params"]


def dense(layer, x):
    return x @ layer["kernel"] + layer.get("bias", 0)


class TestShapes:
    @pytest.mark.parametrize(("heads", "sharing"), GRID)
    def test_decisions_and_values(self, heads, sharing):
        network, parameters = build(heads, sharing)
        plan = jnp.array([1, 0, 3])
        log_probabilities, choices, values = jax.jit(partial(assess, network))(parameters, plan, AVAILABLE)
        decisions, outcomes = {"branches": (3, 4), "sequential": (3, 4), "joint": (1, 4**3)}[heads]
        assert log_probabilities.shape == (decisions, outcomes)
        assert network.num_decisions == decisions == choices.shape[0]
        assert values.shape == ((3,) if heads == "sequential" else (1,))
        np.testing.assert_allclose(np.exp(log_probabilities).sum(axis=-1), 1, rtol=1e-5)

    def test_a_q_network_has_a_trunk_and_branches_and_nothing_else(self):
        network = PartitionNetwork(BLOCKS, NODES, (5, 6), critic=False)
        parameters = jax.jit(network.initialise)(jax.random.key(0), OBSERVATION)
        assert set(parameters["params"]) == {"shared_0", "shared_1", "policy"}
        logits, values = jax.jit(network.apply)(parameters, OBSERVATION)
        assert logits.shape == (BLOCKS, NODES)
        assert values.shape == (0,)

    def test_the_first_policy_is_nearly_uniform_and_the_first_values_nearly_zero(self):
        network = PartitionNetwork(BLOCKS, NODES, (64, 64), "branches", "soft")
        parameters = jax.jit(network.initialise)(jax.random.key(0), OBSERVATION)
        logits, values = jax.jit(network.apply)(parameters, OBSERVATION)
        assert np.abs(logits).max() < 0.1
        assert np.abs(values).max() < 0.1

    @pytest.mark.parametrize("critic", [True, False])
    def test_the_scale_of_the_last_layers_is_their_variance_times_what_feeds_them(self, critic):
        network = PartitionNetwork(BLOCKS, NODES, (400,), critic=critic)
        key = jax.random.key(0)
        usual, other, none = (
            jax.jit(network.initialise)(key, OBSERVATION, scale)["params"] for scale in (1e-4, 0.09, 0.0)
        )
        np.testing.assert_allclose(np.asarray(other["policy"]["kernel"]).var(), 0.09 / 400, rtol=0.05)
        for name, layer in usual.items():
            factor = 30 if name in ("policy", "value") else 1
            np.testing.assert_allclose(other[name]["kernel"], factor * layer["kernel"], rtol=1e-6)
            assert bool(np.any(none[name]["kernel"])) == (factor == 1)

    def test_first_weights_have_the_variance_of_he(self):
        network = PartitionNetwork(BLOCKS, NODES, (400, 300))
        layers = jax.jit(network.initialise)(jax.random.key(0), jnp.zeros(200))["params"]
        for name, fan_in in (("actor_0", 200), ("actor_1", 400), ("critic_0", 200)):
            kernel = np.asarray(layers[name]["kernel"])
            np.testing.assert_allclose(kernel.var(), 2 / fan_in, rtol=0.02)
            assert abs(kernel.mean()) < 0.01 * kernel.std()
            assert not np.asarray(layers[name]["bias"]).any()


class TestSharing:
    def test_none_is_two_trunks_without_a_tie(self):
        network, parameters = build("branches", "none")
        layers = layers_of(parameters)
        actor = critic = np.asarray(OBSERVATION)
        for layer in ("0", "1"):
            actor = np.maximum(dense(layers[f"actor_{layer}"], actor), 0)
            critic = np.maximum(dense(layers[f"critic_{layer}"], critic), 0)
        logits, values = jax.jit(network.apply)(parameters, OBSERVATION)
        np.testing.assert_allclose(logits, dense(layers["policy"], actor).reshape(BLOCKS, NODES), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(values, dense(layers["value"], critic), rtol=1e-4, atol=1e-5)

    def test_soft_is_the_same_function_as_none(self):
        network, parameters = build("branches", "none")
        tied = PartitionNetwork(BLOCKS, NODES, (5, 6), "branches", "soft")
        for one, other in zip(network.apply(parameters, OBSERVATION), tied.apply(parameters, OBSERVATION), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_hard_is_one_trunk(self):
        network, parameters = build("branches", "hard")
        layers = layers_of(parameters)
        assert set(layers) == {"shared_0", "shared_1", "policy", "value"}
        hidden = np.asarray(OBSERVATION)
        for layer in ("0", "1"):
            hidden = np.maximum(dense(layers[f"shared_{layer}"], hidden), 0)
        logits, values = jax.jit(network.apply)(parameters, OBSERVATION)
        np.testing.assert_allclose(logits.ravel(), dense(layers["policy"], hidden), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(values, dense(layers["value"], hidden), rtol=1e-4, atol=1e-5)

    def test_cross_stitch_mixes_the_columns_after_every_layer(self):
        network, parameters = build("branches", "cross_stitch")
        layers = layers_of(parameters)
        columns = np.stack([np.asarray(OBSERVATION)] * 2)
        for layer in ("0", "1"):
            activated = [np.maximum(dense(layers[f"{c}_{layer}"], x), 0) for c, x in zip(COLUMNS, columns, strict=True)]
            columns = layers[f"stitch_{layer}"] @ np.stack(activated)
        logits, values = jax.jit(network.apply)(parameters, OBSERVATION)
        np.testing.assert_allclose(logits.ravel(), dense(layers["policy"], columns[0]), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(values, dense(layers["value"], columns[1]), rtol=1e-4, atol=1e-5)

    def test_cross_stitch_starts_with_nine_tenths_of_the_own_column(self):
        network = PartitionNetwork(BLOCKS, NODES, (5,), "branches", "cross_stitch")
        layers = jax.jit(network.initialise)(jax.random.key(0), OBSERVATION)["params"]
        np.testing.assert_allclose(layers["stitch_0"], [[0.9, 0.1], [0.1, 0.9]])

    @pytest.mark.parametrize(
        ("sharing", "depends"), [("none", False), ("soft", False), ("cross_stitch", True), ("hard", True)]
    )
    def test_the_value_depends_on_the_trunk_of_the_policy(self, sharing, depends):
        network, parameters = build("branches", sharing)
        gradient = jax.jit(jax.grad(lambda parameters: network.apply(parameters, OBSERVATION)[1].sum()))(parameters)
        trunk = gradient["params"]["shared_0" if sharing == "hard" else "actor_0"]["kernel"]
        assert bool(np.any(np.asarray(trunk) != 0)) is depends


class TestTrunkDistance:
    def test_by_hand(self):
        trunk = {"kernel": jnp.array([[1.0, 2.0]]), "bias": jnp.array([0.5, 0.0])}
        other = {"kernel": jnp.array([[0.0, 4.0]]), "bias": jnp.array([0.5, 3.0])}
        deeper = {"kernel": jnp.array([[2.0]])}
        head = {"kernel": jnp.array([[100.0]])}
        parameters = {
            "params": {"actor_0": trunk, "critic_0": other, "actor_1": deeper, "critic_1": deeper, "policy": head}
        }
        assert float(trunk_distance(parameters)) == 1 + 4 + 9

    @pytest.mark.parametrize("heads", HEADS)
    def test_gradient_pulls_every_layer_of_both_trunks_together(self, heads):
        _, parameters = build(heads, "soft")
        layers, gradient = layers_of(parameters), layers_of(jax.jit(jax.grad(trunk_distance))(parameters))
        trunk = [name for name in layers if name.startswith("actor_")]
        assert len(trunk) == (3 if heads == "sequential" else 2)
        for name in trunk:
            twin = name.replace("actor", "critic")
            for part in layers[name]:
                pull = 2 * (layers[name][part] - layers[twin][part])
                np.testing.assert_allclose(gradient[name][part], pull, rtol=1e-5)
                np.testing.assert_allclose(gradient[twin][part], -pull, rtol=1e-5)
        for name in set(layers) - set(trunk) - {name.replace("actor", "critic") for name in trunk}:
            assert not any(np.any(part) for part in gradient[name].values()), name

    def test_gradient_against_finite_differences(self):
        _, parameters = build("branches", "soft")
        check_grads(trunk_distance, (parameters,), order=1, modes=["rev"], eps=1e-2, rtol=1e-2)


class TestSequentialHead:
    def test_equals_a_dense_layer_on_observation_block_and_previous_node(self):
        network, parameters = build("sequential", "none")
        layers = layers_of(parameters)
        plan = [2, 3, 1]
        everywhere = jnp.ones(NODES, bool)
        log_probabilities, choices, values = jax.jit(partial(assess, network))(parameters, jnp.array(plan), everywhere)
        np.testing.assert_array_equal(choices, plan)
        for block, previous in enumerate([0, 2, 3]):  # before the first block the image is at the device
            x = np.concatenate([OBSERVATION, np.eye(BLOCKS)[block], np.eye(NODES)[previous]])
            out = {}
            for column in ("actor", "critic"):
                kernel = np.concatenate([layers[f"{column}_0"]["kernel"], layers[f"{column}_question"]["embedding"]])
                hidden = np.maximum(x @ kernel + layers[f"{column}_0"]["bias"], 0)
                out[column] = np.maximum(dense(layers[f"{column}_1"], hidden), 0)
            logits = dense(layers["policy"], out["actor"])
            expected = logits - np.log(np.exp(logits).sum())
            np.testing.assert_allclose(log_probabilities[block], expected, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(values[block], dense(layers["value"], out["critic"])[0], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("sharing", SHARING)
    def test_the_answer_depends_on_block_and_previous_node(self, sharing):
        network, parameters = build("sequential", sharing, hidden=(32, 32))  # wide: a unit may be off for some
        block, previous = np.divmod(np.arange(BLOCKS * NODES), NODES)
        logits, values = jax.jit(network.apply)(parameters, OBSERVATION, block, previous)
        assert len(np.unique(logits, axis=0)) == len(np.unique(values)) == BLOCKS * NODES

    @pytest.mark.parametrize("choose", [most_likely, sampled])
    def test_a_decided_plan_follows_the_assessed_distributions(self, choose):
        """`decide` asks block by block what `assess` answers for the whole plan at once."""
        network, parameters = build("sequential", "hard")

        @jax.jit
        @jax.vmap
        def decided_and_assessed(noise):
            plan = decide(network, parameters, AVAILABLE, choose, noise)
            log_probabilities, _, _ = assess(network, parameters, plan, AVAILABLE)
            return plan, jax.vmap(choose)(log_probabilities, noise)

        plans, expected = decided_and_assessed(jax.random.uniform(jax.random.key(0), (50, BLOCKS)))
        np.testing.assert_array_equal(plans, expected)
        assert len(np.unique(plans, axis=0)) == 1 if choose is most_likely else len(np.unique(plans, axis=0)) > 5


class TestJointHead:
    def test_every_plan_has_its_own_index_with_the_last_block_fastest(self):
        network, parameters = build("joint", "hard")
        everywhere = jnp.ones(NODES, bool)
        plans = np.array(list(itertools.product(range(NODES), repeat=BLOCKS)))  # in the order of the indices
        index_of = jax.vmap(lambda plan: assess(network, parameters, plan, everywhere)[1])
        indices = jax.jit(index_of)(plans)
        np.testing.assert_array_equal(indices[:, 0], np.arange(NODES**BLOCKS))

    def test_from_plan_to_index_and_back(self):
        network, parameters = build("joint", "hard")
        plans = jnp.array(list(itertools.product(range(NODES), repeat=BLOCKS)))
        everywhere = jnp.ones(NODES, bool)

        def there_and_back(plan):
            index = assess(network, parameters, plan, everywhere)[1]
            return decide(network, parameters, everywhere, lambda logits, noise: index, jnp.zeros(1))

        np.testing.assert_array_equal(jax.jit(jax.vmap(there_and_back))(plans), plans)

    def test_probability_of_a_plan_is_zero_where_one_of_its_nodes_does_not_exist(self):
        network, parameters = build("joint", "none")
        log_probabilities, _, _ = jax.jit(partial(assess, network))(parameters, jnp.zeros(3, jnp.int32), AVAILABLE)
        possible = [all(AVAILABLE[n] for n in plan) for plan in itertools.product(range(NODES), repeat=BLOCKS)]
        np.testing.assert_array_equal(np.exp(log_probabilities[0]) > 0, possible)


class TestMissingNodes:
    @pytest.mark.parametrize("heads", HEADS)
    @pytest.mark.parametrize("choose", [most_likely, sampled])
    def test_are_never_chosen(self, heads, choose):
        """Node 2 would be the favourite by far, and does not exist."""
        network, parameters = build(heads, "hard")
        bias = parameters["params"]["policy"]["bias"]
        if heads == "joint":
            plans = np.array(list(itertools.product(range(NODES), repeat=BLOCKS)))
            favourite = jnp.asarray((plans == 2).any(axis=1), jnp.float32)
        else:
            favourite = jnp.asarray(np.arange(bias.size) % NODES == 2, jnp.float32)
        parameters["params"]["policy"]["bias"] = bias + 30 * favourite

        @jax.jit
        def decided(noise, there):
            return jax.vmap(lambda noise: decide(network, parameters, there, choose, noise))(noise)

        edges = jnp.array([0.0, np.nextafter(np.float32(1), np.float32(0))])
        noise = jnp.concatenate(
            [
                jax.random.uniform(jax.random.key(1), (300, network.num_decisions)),
                jnp.repeat(edges[:, None], network.num_decisions, axis=1),
            ]
        )
        assert 2 in np.asarray(decided(noise, jnp.ones(NODES, bool)))
        assert 2 not in np.asarray(decided(noise, AVAILABLE))

    @pytest.mark.parametrize("heads", HEADS)
    def test_have_no_probability_and_no_part_in_the_entropy(self, heads):
        network, parameters = build(heads, "soft")
        log_probabilities, _, _ = jax.jit(partial(assess, network))(parameters, jnp.array([1, 0, 3]), AVAILABLE)
        probabilities = np.exp(log_probabilities)
        product = probabilities * np.asarray(log_probabilities)
        assert np.isfinite(product).all()
        assert not product[probabilities == 0].any()


class TestSampled:
    LOGITS = np.log(np.array([0.1, 0.6, 0.05, 0.25], np.float32))

    def test_is_the_inverse_of_the_distribution_function(self):
        """Probabilities 0.1, 0.6, 0.05, 0.25: the steps lie at 0.1, 0.7 and 0.75."""
        noise = jnp.array([0.0, 0.099, 0.101, 0.5, 0.699, 0.701, 0.749, 0.751, 0.999])
        chosen = jax.jit(jax.vmap(sampled, (None, 0)))(jnp.asarray(self.LOGITS), noise)
        np.testing.assert_array_equal(chosen, [0, 0, 1, 1, 1, 2, 2, 3, 3])

    def test_frequencies(self):
        """On an even grid the counts are the probabilities, up to one point at each step."""
        noise = (jnp.arange(10_000) + 0.5) / 10_000
        chosen = np.asarray(jax.vmap(sampled, (None, 0))(jnp.asarray(self.LOGITS), noise))
        np.testing.assert_allclose(np.bincount(chosen, minlength=4), [1000, 6000, 500, 2500], atol=1)

    def test_shifted_logits_are_the_same_distribution(self):
        noise = jax.random.uniform(jax.random.key(3), (200,))
        one = jax.vmap(sampled, (None, 0))(jnp.asarray(self.LOGITS), noise)
        other = jax.vmap(sampled, (None, 0))(jnp.asarray(self.LOGITS) + 50, noise)
        np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("missing", [(0,), (3,), (0, 1), (2, 3), (0, 2), (0, 1, 3)])
    def test_no_missing_node_even_at_the_ends_of_the_interval(self, missing):
        logits = jnp.asarray(self.LOGITS).at[jnp.array(missing)].set(-1e9)
        last = np.nextafter(np.float32(1), np.float32(0))
        there = [node for node in range(4) if node not in missing]
        assert int(sampled(logits, jnp.float32(0))) == there[0]
        assert int(sampled(logits, last)) == there[-1]

    def test_many_missing_nodes_and_rounding_never_reach_past_the_last(self):
        """A sum of probabilities below 1 by rounding must not leave a gap at the top of the interval."""
        last = np.nextafter(np.float32(1), np.float32(0))
        logits = jax.random.normal(jax.random.key(0), (500, 257)).at[:, 200:].set(-1e9)
        chosen = np.asarray(jax.vmap(sampled, (0, None))(logits, last))
        assert chosen.max() < 200

    def test_the_most_likely_needs_no_noise(self):
        assert int(most_likely(jnp.asarray(self.LOGITS), jnp.zeros(()))) == 1


class TestMeasuredDevices:
    """Where not every node can follow every other: the choices of `measured_devices.drawn`."""

    @pytest.mark.parametrize("heads", HEADS)
    def test_probabilities_of_the_possible_plans_add_up_to_one_and_others_have_none(self, heads):
        ways, network, parameters = self.problem(heads)
        observations = jnp.broadcast_to(OBSERVATION, (len(PLANS), FEATURES))
        log_probabilities, choices, _ = network.assess(parameters, observations, PLANS, ways)
        chosen = np.take_along_axis(np.asarray(log_probabilities), np.asarray(choices)[:, None], axis=1)
        probability = np.exp(chosen.sum(axis=(0, 1)))
        possible = followed(ways, PLANS)
        assert 0 < possible.sum() < len(PLANS)
        assert (probability[~possible] == 0).all()
        assert (probability[possible] > 0).all()
        np.testing.assert_allclose(probability.sum(), 1, rtol=1e-5)

    @pytest.mark.parametrize("heads", HEADS)
    def test_plans_are_drawn_with_these_probabilities(self, heads):
        ways, network, parameters = self.problem(heads)
        count = 20_000
        observations = jnp.broadcast_to(OBSERVATION, (count, FEATURES))
        noise = np.random.default_rng(1).random((count, network.num_decisions), np.float32)
        plans = np.asarray(network.decide(parameters, observations, ways, sampled, noise))
        assert followed(ways, plans).all()
        seen = np.array([(plans == plan).all(axis=1).mean() for plan in PLANS])
        log_probabilities, choices, _ = network.assess(parameters, observations[: len(PLANS)], PLANS, ways)
        chosen = np.take_along_axis(np.asarray(log_probabilities), np.asarray(choices)[:, None], axis=1)
        probability = np.exp(chosen.sum(axis=(0, 1)))
        assert np.abs(seen - probability).max() < 5 * np.sqrt(0.25 / count)

    @pytest.mark.parametrize("heads", HEADS)
    def test_the_greedy_plan_is_possible_and_its_nodes_the_most_likely_that_can_follow(self, heads):
        ways, network, parameters = self.problem(heads)
        plan = np.asarray(decide(network, parameters, ways, most_likely, jnp.zeros(network.num_decisions)))
        assert followed(ways, plan[None]).all()
        log_probabilities, choices, _ = assess(network, parameters, plan, ways)
        np.testing.assert_array_equal(np.argmax(log_probabilities, axis=1), choices)

    @pytest.mark.parametrize("heads", HEADS)
    def test_ways_to_all_nodes_change_nothing(self, heads):
        network, parameters = build(heads, blocks=BLOCKS_MEASURED, nodes=NODES_MEASURED)
        noise = np.random.default_rng(2).random((50, network.num_decisions), np.float32)
        observations = jnp.asarray(np.random.default_rng(3).normal(size=(50, FEATURES)).astype(np.float32))
        nodes = jnp.ones(NODES_MEASURED, bool)
        ways = jnp.ones((BLOCKS_MEASURED, NODES_MEASURED, NODES_MEASURED), bool)
        for choose in (sampled, most_likely):
            plans = [network.decide(parameters, observations, allowed, choose, noise) for allowed in (nodes, ways)]
            np.testing.assert_array_equal(*plans)
        answers = [network.assess(parameters, observations, plans[0], allowed) for allowed in (nodes, ways)]
        jax.tree.map(np.testing.assert_array_equal, *answers)

    @staticmethod
    def problem(heads):
        ways = allowed_nodes(drawn(1))
        return ways, *build(heads, blocks=BLOCKS_MEASURED, nodes=NODES_MEASURED)
