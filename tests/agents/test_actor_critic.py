import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import rlax
from jax.flatten_util import ravel_pytree

import mecpart
from mecpart.agents import ActorCriticConfig, agent_config, make_train
from mecpart.agents.actor_critic import Rollout, _clipped, _replay, actor_critic_loss, k_step_returns, lambda_returns
from mecpart.agents.learning import channel_key, episode_slots, reward_scale, training_keys
from mecpart.agents.networks import HEADS, SHARING, PartitionNetwork
from mecpart.model.environment import observe
from mecpart.sampling import uniform

BLOCKS, NODES, SLOTS, FEATURES = 3, 4, 5, 16
AVAILABLE = np.array([True, True, False, True])
TINY = {
    "hidden": (8,), "workers": 2, "t_max": 4, "episodes": 4, "learning_rate": 0.02, "critic_learning_rate": 0.05,
    "entropy_weight": 0.05, "sharing_weight": 0.02, "discount": 0.8, "max_gradient_norm": 8.0, "rmsprop_decay": 0.9,
}  # fmt: skip


pytestmark = pytest.mark.filterwarnings("ignore:Rlax softmax:PendingDeprecationWarning")  # rlax's own


class TestReturns:
    REWARD = jnp.array([1.0, -2.0, 0.5, 3.0, -1.0, 4.0])

    def test_by_hand(self):
        """4 + 10 / 2 = 9; -1 + 9 / 2 = 3.5; ..."""
        returns = k_step_returns(jnp.array([2.0, -1.0, 4.0]), jnp.ones(3, bool), jnp.float32(10), 0.5)
        np.testing.assert_allclose(returns, [3.75, 3.5, 9.0])

    @pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
    def test_against_three_functions_of_rlax(self, discount):
        returns = k_step_returns(self.REWARD, jnp.ones(6, bool), jnp.float32(5), discount)
        discounts = jnp.full(6, discount)
        values = jnp.array([7.0, 7.0, 7.0, 7.0, 7.0, 5.0])  # only the last is to count
        for expected in (
            rlax.discounted_returns(self.REWARD, discounts, values),
            rlax.lambda_returns(self.REWARD, discounts, values, lambda_=1.0),
            rlax.n_step_bootstrapped_returns(self.REWARD, discounts, values, n=6),
        ):
            np.testing.assert_allclose(returns, expected, rtol=1e-5)

    @pytest.mark.parametrize("gae_lambda", [0.0, 0.7, 1.0])
    @pytest.mark.parametrize("end", [2, 6])
    def test_less_values_are_the_generalised_advantage_estimate_of_rlax(self, end, gae_lambda):
        """With the end of the episode inside the window too; by lambda 1 it is the k-step return."""
        values = jnp.array([7.0, -3.0, 2.0, 0.5, 1.0, 4.0])
        active = jnp.arange(6) < end
        returns = lambda_returns(self.REWARD, active, values, jnp.float32(5), 0.9, gae_lambda)
        expected = rlax.truncated_generalized_advantage_estimation(
            self.REWARD[:end], jnp.full(end, 0.9), gae_lambda, jnp.append(values[:end], 5.0)
        )
        np.testing.assert_allclose((returns - values)[:end], expected, rtol=1e-4, atol=1e-5)
        if gae_lambda == 1:
            k_step = k_step_returns(self.REWARD, active, jnp.float32(5), 0.9)
            np.testing.assert_allclose(returns[:end], k_step[:end], rtol=1e-5)

    @pytest.mark.parametrize("end", range(1, 6))
    def test_with_the_end_of_the_episode_inside_the_window(self, end):
        """The slots before the end bootstrap from the state at the end, as if the window were shorter."""
        returns = k_step_returns(self.REWARD, jnp.arange(6) < end, jnp.float32(5), 0.9)
        expected = rlax.discounted_returns(self.REWARD[:end], jnp.full(end, 0.9), jnp.full(end, 5.0))
        np.testing.assert_allclose(returns[:end], expected, rtol=1e-5)


def build(heads, sharing):
    network = PartitionNetwork(BLOCKS, NODES, (6, 5), heads, sharing)
    shapes = jax.eval_shape(network.initialise, jax.random.key(0), jnp.zeros(FEATURES))
    draw = np.random.default_rng(1)
    return network, jax.tree.map(lambda leaf: draw.normal(scale=0.6, size=leaf.shape).astype(np.float32), shapes)


def batch_of(active=SLOTS):
    draw = np.random.default_rng(2)
    return Rollout(
        observation=jnp.asarray(draw.normal(size=(SLOTS + 1, FEATURES)), jnp.float32),
        plan=jnp.asarray(draw.choice([0, 1, 3], size=(SLOTS, BLOCKS)), jnp.int32),
        reward=jnp.asarray(draw.normal(size=SLOTS), jnp.float32),
        active=jnp.arange(SLOTS) < active,
    )


def rlax_loss(config, network, parameters, observation, plan, reward):
    """Eq. 20 put together from rlax, with the missing nodes cut out of the logits; one observation more than plans."""
    slots = len(reward)
    there = [int(node) for node in np.flatnonzero(AVAILABLE)]

    def ask(observation, plan):
        if config.heads != "sequential":
            return network.apply(parameters, observation)
        return network.apply(parameters, observation, np.arange(BLOCKS), jnp.concatenate([jnp.array([0]), plan[:-1]]))

    logits, values = jax.vmap(ask)(observation, jnp.concatenate([plan, plan[:1]]))
    if config.heads == "joint":
        plans = [choice for choice in itertools.product(range(NODES), repeat=BLOCKS) if set(choice) <= set(there)]
        index = np.array([int("".join(map(str, choice)), NODES) for choice in plans])
        code = plan @ np.array([NODES**2, NODES, 1])
        chosen, logits = jnp.argmax(code[:, None, None] == index, axis=-1), logits[:-1, :, index]
    else:
        chosen = jnp.argmax(plan[..., None] == np.array(there), axis=-1)
        logits = logits[:-1][..., np.array(there)]

    weight = 1.0 if config.gae_lambda is None else config.gae_lambda
    returns = rlax.lambda_returns(reward, jnp.full(slots, config.discount), values[1:, 0], weight)
    errors = jax.lax.stop_gradient(returns)[:, None] - values[:-1]
    weight = jnp.ones(slots)
    actor = []
    for branch in range(logits.shape[1]):
        advantage = errors[:, branch if config.heads == "sequential" else 0]
        actor.append(
            rlax.policy_gradient_loss(logits[:, branch], chosen[:, branch], advantage, weight)
            + config.entropy_weight * rlax.entropy_loss(logits[:, branch], weight)
        )
    critic = 2 * jnp.mean(jax.vmap(jax.vmap(rlax.l2_loss))(errors))  # rlax's is one half of the square
    loss = sum(actor) / len(actor) + critic
    if config.sharing == "soft":
        layers = parameters["params"]
        for name in layers:
            if name.startswith("actor_"):
                pairs = zip(jax.tree.leaves(layers[name]), jax.tree.leaves(layers["critic" + name[5:]]), strict=True)
                loss += config.sharing_weight * sum(jnp.sum((one - other) ** 2) for one, other in pairs)
    return loss


def loss_of(config, network, batch):
    return lambda parameters: actor_critic_loss(config, network, jnp.asarray(AVAILABLE), parameters, batch)


class TestLoss:
    @pytest.mark.parametrize(
        ("heads", "sharing", "active", "gae_lambda"),
        [
            ("branches", "soft", SLOTS, None),
            ("branches", "soft", 3, 0.6),
            ("branches", "hard", 1, None),
            ("sequential", "none", 4, None),
            ("sequential", "soft", SLOTS, 0.6),
            ("joint", "cross_stitch", 2, None),
        ],
    )
    def test_value_and_gradient_against_rlax(self, heads, sharing, active, gae_lambda):
        """The gradient too: returns and advantages must be constants, the values in the errors must not."""
        config = ActorCriticConfig(
            heads=heads, sharing=sharing, discount=0.7, entropy_weight=0.3, sharing_weight=0.2, gae_lambda=gae_lambda
        )
        network, parameters = build(heads, sharing)
        batch = batch_of(active)
        value, gradient = jax.jit(jax.value_and_grad(loss_of(config, network, batch)))(parameters)
        seen = jnp.concatenate([batch.observation[:active], batch.observation[-1:]])
        expected = jax.jit(jax.value_and_grad(partial(rlax_loss, config, network)))(
            parameters, seen, batch.plan[:active], batch.reward[:active]
        )
        np.testing.assert_allclose(value, expected[0], rtol=1e-4)
        for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected[1]), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)

    def test_a_round_after_the_end_of_the_episode_teaches_nothing(self):
        config = ActorCriticConfig(sharing="none")
        network, parameters = build("branches", "none")
        value, gradient = jax.jit(jax.value_and_grad(loss_of(config, network, batch_of(active=0))))(parameters)
        assert float(value) == 0
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))

    @pytest.mark.parametrize(("heads", "active"), [("branches", SLOTS), ("sequential", 3), ("branches", 0)])
    def test_scaled_advantages_do_not_depend_on_the_scale_of_rewards(self, heads, active):
        """The actor's head learns the same from rewards a thousand times as large, where values count for nothing."""
        network, parameters = build(heads, "none")
        parameters["params"]["value"] = jax.tree.map(np.zeros_like, parameters["params"]["value"])
        heads_learn = []
        for scaled, times in itertools.product((True, False), (1, 1000)):
            config = ActorCriticConfig(heads=heads, sharing="none", advantage_scaling=scaled, discount=0.5)
            batch = batch_of(active)
            batch = replace(batch, reward=times * batch.reward)
            gradient = jax.jit(jax.grad(loss_of(config, network, batch)))(parameters)
            heads_learn.append(np.asarray(gradient["params"]["policy"]["kernel"]))
        np.testing.assert_allclose(heads_learn[0], heads_learn[1], rtol=1e-2, atol=1e-4)
        assert np.isfinite(heads_learn).all()
        assert np.allclose(heads_learn[2], heads_learn[3], rtol=1e-2, atol=1e-4) == (not active)

    def test_soft_sharing_adds_a_pull_between_the_trunks_and_nothing_else(self):
        """Layer by layer: 2 * weight * (actor - critic), with opposite signs."""
        network, parameters = build("branches", "soft")
        gradients = []
        for weight in (0.25, 0.0):
            config = ActorCriticConfig(sharing="soft", sharing_weight=weight)
            gradients.append(jax.jit(jax.grad(loss_of(config, network, batch_of())))(parameters)["params"])
        pull = jax.tree.map(lambda one, other: np.asarray(one - other), *gradients)
        layers = parameters["params"]
        for layer, part in itertools.product(("0", "1"), ("kernel", "bias")):
            expected = 2 * 0.25 * (layers[f"actor_{layer}"][part] - layers[f"critic_{layer}"][part])
            np.testing.assert_allclose(pull[f"actor_{layer}"][part], expected, rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(pull[f"critic_{layer}"][part], -expected, rtol=1e-3, atol=1e-5)
        for head in ("policy", "value"):
            assert not any(np.any(leaf) for leaf in pull[head].values())

    @pytest.mark.parametrize("sharing", [sharing for sharing in SHARING if sharing != "soft"])
    def test_the_weight_of_sharing_is_for_soft_sharing_alone(self, sharing):
        network, parameters = build("branches", sharing)
        values = {
            float(loss_of(ActorCriticConfig(sharing=sharing, sharing_weight=weight), network, batch_of())(parameters))
            for weight in (0.0, 100.0)
        }
        assert len(values) == 1


@pytest.mark.parametrize("sharing", ["none", "hard"])
def test_gradients_that_are_clipped_apart(sharing):
    """Those of the critic's trunk and head as optax clips them alone, and all others together."""
    _, gradients = build("sequential", sharing)
    layers = gradients["params"]
    own = {name: layer for name, layer in layers.items() if name == "value" or name.startswith("critic")}
    rest = {name: layer for name, layer in layers.items() if name not in own}
    clip = optax.clip_by_global_norm(0.25)
    expected = {"params": clip.update(own, clip.init(own))[0] | clip.update(rest, clip.init(rest))[0]}
    config = ActorCriticConfig(separate_clipping=True, max_gradient_norm=0.25)
    found = _clipped(config, gradients, ravel_pytree(gradients)[0])
    np.testing.assert_allclose(found, ravel_pytree(expected)[0], rtol=1e-5)
    whole = _clipped(replace(config, separate_clipping=False), gradients, ravel_pytree(gradients)[0])
    np.testing.assert_allclose(np.linalg.norm(whole), 0.25, rtol=1e-5)


def loop_over_workers(config, key, scenario):
    """Algorithm 1 written out: one worker, one slot, one gradient at a time, and RMSProp by hand in NumPy.

    Shared with the package are only the draws (which key makes which number), the network and the delay model. Returns
    the parameters, the reward of each episode, and the norms of all gradients.
    """
    network = config.network(scenario)
    channels, action_key, first_key = channel_key(key), *training_keys(key)[1:]
    first = network.initialise(first_key, jnp.zeros(FEATURES))
    parameters, unravel = ravel_pytree(first)
    parameters = np.asarray(parameters)

    def rate_of(path, leaf):
        name = path[1].key
        critic = name in ("value", "critic_0", "critic_question")
        return np.full(leaf.shape, config.critic_learning_rate if critic else config.learning_rate)

    rates = np.asarray(ravel_pytree(jax.tree_util.tree_map_with_path(rate_of, first))[0])
    there = np.flatnonzero(scenario.network.available)
    scale = float(reward_scale(scenario))
    length, rounds = scenario.num_slots, -(-scenario.num_slots // config.t_max)

    @jax.jit
    def see(energy, slot, time):
        return observe(scenario, mecpart.EnvState(slot, energy, time))

    evaluate = jax.jit(lambda slot, plan: mecpart.evaluate_plan(scenario, slot, plan))

    @jax.jit
    def logits_of(parameters, observation, block, previous):
        question = () if config.heads != "sequential" else (block[None], previous[None])
        return network.apply(unravel(parameters), observation, *question)[0]

    def choose(parameters, observation, noise):
        plan = [0]
        for block in range(BLOCKS):
            answer = np.asarray(logits_of(parameters, observation, jnp.int32(block), jnp.int32(plan[-1])), np.float64)
            weights = np.exp((answer[0] if config.heads == "sequential" else answer[block])[there])
            plan.append(int(there[np.searchsorted(np.cumsum(weights / weights.sum()), noise[block], side="right")]))
        return np.array(plan[1:], np.int32)

    @jax.jit
    @jax.grad
    def gradient_of(parameters, observation, plan, reward):
        return rlax_loss(config, network, unravel(parameters), observation, plan, reward)

    mean_square = np.zeros_like(parameters)

    def apply(gradient):
        nonlocal parameters, mean_square
        gradient = gradient * min(1, config.max_gradient_norm / np.linalg.norm(gradient))
        mean_square = config.rmsprop_decay * mean_square + (1 - config.rmsprop_decay) * gradient**2
        parameters = parameters - rates * gradient / np.sqrt(mean_square + config.rmsprop_epsilon)
        parameters = parameters.astype(np.float32)

    copies = [parameters] * config.workers
    rewards, norms = np.zeros(config.episodes), []
    for first_episode in range(0, config.episodes, config.workers):
        draws, noises, energies = [], [], [scenario.energy_budget] * config.workers
        for worker in range(config.workers):
            episode = first_episode + worker
            slots = episode_slots(channels, scenario, episode)
            draws.append([jax.tree.map(lambda leaf, t=t: leaf[t], slots) for t in range(length + 1)])
            noises.append(np.asarray(uniform(jax.random.fold_in(action_key, episode), (rounds, config.t_max, BLOCKS))))
        for round_number in range(rounds):
            batches = []
            for worker in range(config.workers):
                seen, plans, earned = [], [], []
                times = range(round_number * config.t_max, min((round_number + 1) * config.t_max, length))
                for step, time in enumerate(times):
                    seen.append(see(energies[worker], draws[worker][time], time))
                    plans.append(choose(copies[worker], seen[-1], noises[worker][round_number, step]))
                    cost = evaluate(draws[worker][time], plans[-1])
                    energies[worker] = energies[worker] - cost.energy
                    earned.append(float(cost.reward))
                seen.append(see(energies[worker], draws[worker][times[-1] + 1], times[-1] + 1))
                rewards[first_episode + worker] += sum(earned)
                batches.append((jnp.stack(seen), jnp.stack(plans), jnp.array(earned) * scale))
            computed = [np.asarray(gradient_of(copy, *batch)) for copy, batch in zip(copies, batches, strict=True)]
            norms += [np.linalg.norm(gradient) for gradient in computed]
            if config.asynchronous:
                for worker, gradient in enumerate(computed):
                    apply(gradient)
                    copies[worker] = parameters
            else:
                apply(sum(computed) / config.workers)
                copies = [parameters] * config.workers
    return parameters, rewards, np.array(norms)


def flat(parameters):
    return np.asarray(ravel_pytree(parameters)[0])


@pytest.fixture(scope="module")
def config():
    return agent_config("Proposed", **TINY)


@pytest.fixture(scope="module")
def train(config):
    return jax.jit(make_train(config))


@pytest.fixture(scope="module")
def trained(train, scenario):
    return train(jax.random.key(0), scenario)


class TestTraining:
    """Episodes of ten slots in rounds of four: the third round ends with the episode, after two slots."""

    def test_asynchronous_rounds_against_a_loop_over_workers(self, config, trained, scenario):
        parameters, rewards, norms = loop_over_workers(config, jax.random.key(0), scenario)
        assert norms.min() < config.max_gradient_norm < norms.max()  # some gradients are clipped, some are not
        np.testing.assert_allclose(flat(trained.policy.parameters), parameters, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(trained.episode_reward, rewards, rtol=1e-5)

    def test_synchronous_rounds_average_the_gradients(self, scenario):
        config = agent_config("A3C", **TINY, sharing="cross_stitch", asynchronous=False)
        result = jax.jit(make_train(config))(jax.random.key(1), scenario)
        parameters, rewards, _ = loop_over_workers(config, jax.random.key(1), scenario)
        np.testing.assert_allclose(flat(result.policy.parameters), parameters, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(result.episode_reward, rewards, rtol=1e-5)

    def test_deterministic_given_the_key(self, train, trained, scenario):
        again, other = train(jax.random.key(0), scenario), train(jax.random.key(1), scenario)
        for one, two in zip(jax.tree.leaves(trained), jax.tree.leaves(again), strict=True):
            np.testing.assert_array_equal(one, two)
        assert np.all(np.asarray(trained.episode_reward) != np.asarray(other.episode_reward))

    def test_trains_on_every_slot_of_every_episode(self, train, config, scenario):
        """Where there is no server, a slot costs what the devices need, whatever it draws."""
        alone = mecpart.as_printed(scenario.workload, mecpart.make_network([0.0, 0.0, 0.0]), num_slots=10)
        cost = train(jax.random.key(0), alone).episode_cost
        slot_seconds = float(alone.work.sum() / alone.network.speed[0])
        np.testing.assert_allclose(cost.total_delay, np.full(config.episodes, 10 * slot_seconds), rtol=1e-5)
        np.testing.assert_allclose(cost.local_delay, cost.total_delay, rtol=1e-6)

    @pytest.mark.parametrize(("heads", "sharing"), list(itertools.product(HEADS, SHARING)))
    def test_every_head_trains_with_every_sharing(self, heads, sharing, scenario):
        """Traced, not run: the shapes and types fit, and the policy makes a plan."""
        short = {**TINY, "episodes": 2, "workers": 1}
        train = make_train(ActorCriticConfig(heads=heads, sharing=sharing, **short))
        result = jax.eval_shape(train, jax.random.key(0), scenario)
        plan = jax.eval_shape(lambda policy, seen: policy(seen), result.policy, jnp.zeros(FEATURES))
        assert (plan.shape, plan.dtype) == ((BLOCKS,), jnp.int32)
        assert result.episode_reward.shape == (2,)


#: Trains three lanes at once, on two threads; networks, release rates and keys differ.
LANES = """
import json, sys
import jax, jax.numpy as jnp, mecpart
from mecpart.agents import make_train

settings = json.loads(sys.argv[1])
settings["hidden"] = tuple(settings["hidden"])
workload = mecpart.workload("alexnet", blocks=3)
scenarios = [
    mecpart.as_printed(workload, mecpart.make_network(speed), rate, num_slots=10)
    for speed, rate in (([9e9, 0.0, 5e9], 60.0), ([3e9, 4e9, 5e9], 60.0), ([9e9, 0.0, 0.0], 20.0))
]
stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *scenarios)
keys = jnp.stack([jax.random.key(seed) for seed in (0, 0, 3)])
result = jax.jit(jax.vmap(make_train("Proposed", **settings)))(keys, stacked)
leaves = [leaf.reshape(3, -1).tolist() for leaf in jax.tree.leaves(result.policy.parameters)]
print(json.dumps([result.episode_reward.tolist(), leaves]))
"""


def test_lanes_of_one_call_equal_runs_of_their_own(train, scenario):
    """In a process of its own, as users compile it, so that a deadlock on two threads is a failure and not a hang."""
    run = subprocess.run(
        [sys.executable, "-c", LANES, json.dumps(TINY)],
        env={**os.environ, "PJRT_NPROC": "2", "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    rewards, parameters = json.loads(run.stdout)
    cases = (([9e9, 0.0, 5e9], 60.0, 0), ([3e9, 4e9, 5e9], 60.0, 0), ([9e9, 0.0, 0.0], 20.0, 3))
    for lane, (speed, rate, seed) in enumerate(cases):
        other = mecpart.as_printed(scenario.workload, mecpart.make_network(speed), rate, num_slots=10)
        alone = train(jax.random.key(seed), other)
        np.testing.assert_allclose(rewards[lane], alone.episode_reward, rtol=1e-5)
        for together, leaf in zip(parameters, jax.tree.leaves(alone.policy.parameters), strict=True):
            np.testing.assert_allclose(together[lane], leaf.ravel(), rtol=1e-3, atol=1e-4)


class TestReplay:
    def test_a_memory_of_one_rollout_is_no_memory(self, trained, scenario):
        def after(rollouts):
            config = agent_config("Proposed", **TINY, replay_rollouts=rollouts)
            return flat(jax.jit(make_train(config))(jax.random.key(0), scenario).policy.parameters)

        on_policy = flat(trained.policy.parameters)
        np.testing.assert_allclose(after(1), on_policy, rtol=1e-5, atol=1e-6)
        assert not np.allclose(after(3), on_policy, rtol=1e-3)

    def test_by_hand(self):
        """Three places, two workers: each draws from its own rollouts, of those that are there."""

        def batch(number):
            return jnp.array([10.0 * number, 10.0 * number + 1])

        memory, seen = jnp.full((3, 2), -1.0), []
        for number, drawn in enumerate([(0.9, 0.0), (0.0, 0.99), (0.5, 0.3), (0.99, 0.4)]):
            memory, taken = _replay(3, memory, batch(number), jnp.array(drawn), number)
            seen.append(taken.tolist())
        # In the end the fourth rollout has taken the place of the first: 30, 10, 20.
        assert seen == [[0, 1], [0, 11], [10, 1], [20, 11]]
        np.testing.assert_array_equal(memory, [[30, 31], [10, 11], [20, 21]])


class TestJointHead:
    @pytest.mark.parametrize(("blocks", "servers", "plans"), [(3, 26, 27**3), (6, 4, 5**6), (1, 3, 4)])
    def test_up_to_twenty_thousand_plans(self, blocks, servers, plans):
        assert plans <= 20_000
        network = mecpart.make_network(np.full(servers, 5e9))
        scenario = mecpart.as_printed(mecpart.workload("vgg16", blocks=blocks), network, num_slots=4)
        assert ActorCriticConfig(heads="joint").network(scenario).num_decisions == 1

    def test_more_plans_are_refused(self, refused):
        network = mecpart.make_network(np.full(5, 5e9))
        scenario = mecpart.as_printed(mecpart.workload("vgg16", blocks=6), network, num_slots=4)
        train = make_train("Proposed", heads="joint", episodes=8)
        key = jax.random.key(0)
        with refused("joint", "20000", "46656"):
            train(key, scenario)
