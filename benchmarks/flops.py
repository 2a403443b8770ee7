"""The matrix products of training: their operations by the sizes of the network's layers (a product counts as 2), and
the same products without anything else, for how long they take by themselves."""

from itertools import pairwise

import jax
import jax.numpy as jnp

import mecpart
from mecpart.agents import ActorCriticConfig
from mecpart.agents.actor_critic import Rollout, actor_critic_loss

#: `rollout` computes the plans of all slots at once, again and again until none changes: twice at least.
PASSES = 2


def _forward(agent: ActorCriticConfig, scenario: mecpart.Scenario) -> tuple[int, int, int]:
    """Operations of one slot going through (actor's trunk and head, critic's trunk and head, one first layer)."""
    widths = (mecpart.PartitionEnv().observation_size(scenario), *agent.hidden)
    trunk = sum(2 * inputs * outputs for inputs, outputs in zip(widths, agent.hidden, strict=False))
    actor = trunk + 2 * widths[-1] * scenario.num_blocks * scenario.num_nodes
    critic = trunk + 2 * widths[-1]
    return actor, critic, 2 * widths[0] * widths[1]


def gradient_flops(agent: ActorCriticConfig, scenario: mecpart.Scenario) -> int:
    """Operations of one slot in a gradient, for the heads `branches` and two trunks.

    Three products of the same size for each layer: its outputs, the gradient of its weights, and that of its inputs.
    The first layers need no gradient of their inputs, which are the observation.
    """
    actor, critic, first_layer = _forward(agent, scenario)
    return 3 * (actor + critic) - 2 * first_layer


def training_flops(agent: ActorCriticConfig, scenario: mecpart.Scenario) -> int:
    """Operations of the matrix products for each environment step of training, at least.

    The actor in the passes of the rollout and the gradient. Left out is what is not a matrix product, or is small:
    environment, random numbers, softmax, optimiser, the bootstrapped value, and passes beyond the second.
    """
    actor, _, _ = _forward(agent, scenario)
    return PASSES * actor + gradient_flops(agent, scenario)


def check_against_xla(agent: ActorCriticConfig, scenario: mecpart.Scenario) -> float:
    """XLA's own count of the operations of one gradient, softmax and all, as a multiple of `gradient_flops`.

    **Raises:** `AssertionError` if the two are further apart than what is left out explains.
    """
    network, slots = agent.network(scenario), agent.t_max
    features = mecpart.PartitionEnv().observation_size(scenario)
    parameters = jax.eval_shape(network.initialise, jax.random.key(0), jnp.zeros(features))
    batch = Rollout(
        observation=jnp.zeros((slots + 1, features)),
        plan=jnp.zeros((slots, scenario.num_blocks), jnp.int32),
        reward=jnp.zeros(slots),
        active=jnp.ones(slots, bool),
    )

    def loss(parameters, batch):
        return actor_critic_loss(agent, network, scenario.network.available, parameters, batch)

    counted = jax.jit(jax.grad(loss)).lower(parameters, batch).compile().cost_analysis()["flops"]
    ratio = counted / (slots * gradient_flops(agent, scenario))
    if not 1 <= ratio < 1.1:
        raise AssertionError(f"XLA counts {ratio:.2f} times the operations of a gradient that flops.py counts")
    return ratio


def products_alone(agent: ActorCriticConfig, scenario: mecpart.Scenario):
    """A function (weights, observations) -> weights of some rounds of training that has only its matrix products.

    They have the sizes and the order of training, each on the result of the one before: of a round the `PASSES` of the
    rollout, the forward pass of both trunks and the gradient of all weights but those of the observation's. There is no
    environment, no random number, softmax, loss or optimiser, and no activation. For the heads `branches` and
    `sequential`; the latter asks block by block in a rollout, and of all blocks at once in a gradient.

    - `weights`: from `product_weights`; `observations`: [rounds, workers, t_max, features].
    """
    blocks, nodes, slots = scenario.num_blocks, scenario.num_nodes, agent.t_max
    sequential = agent.heads == "sequential"

    def answers(trunk, observation, previous):
        """Outputs for all that is asked: [T, M (N + 1)], or block by block for nodes before, [T, asked, N + 1]."""
        first, question, *rest = trunk
        hidden = observation @ first
        if sequential:
            asked = previous.shape[1]
            hidden = hidden[:, None] + (previous.reshape(-1, nodes) @ question).reshape(slots, asked, -1)
            hidden = hidden.reshape(slots * asked, -1)
        for weight in rest:
            hidden = hidden @ weight
        return hidden

    def plans(actor, observation):
        if not sequential:
            return answers(actor, observation, None)
        before = jnp.ones((slots, 1, nodes))

        def next_block(previous, _):
            logits = answers(actor, observation, previous)[:, None]
            return logits, logits

        return jnp.concatenate(list(jax.lax.scan(next_block, before, None, blocks)[1]), axis=1)

    def loss(trunks, observation, previous):
        return sum(jnp.sum(answers(trunk, observation, previous) ** 2) for trunk in trunks)

    def worker(trunks, observation):
        made, seen = None, observation
        for _ in range(PASSES):  # what the first one says changes what the next one sees, or XLA would make one of both
            made = plans(trunks[0], seen)
            seen = observation + 1e-9 * made.ravel()[0]
        gradient = jax.grad(loss)(trunks, seen, made)
        return jax.tree.map(lambda weight, change: weight - 1e-9 * change, trunks, gradient)

    def rounds(weights, observations):
        return jax.lax.scan(lambda held, seen: (jax.vmap(worker)(held, seen), None), weights, observations)[0]

    return rounds


def product_weights(agent: ActorCriticConfig, scenario: mecpart.Scenario):
    """The weights of actor and critic of each worker, without biases: of the observation, the question, the others."""
    features = mecpart.PartitionEnv().observation_size(scenario)
    sequential = agent.heads == "sequential"
    outputs = scenario.num_nodes * (1 if sequential else scenario.num_blocks)

    def trunk(last: int):
        widths = (features, *agent.hidden, last)
        first, *rest = (jnp.full((agent.workers, a, b), 1e-3) for a, b in pairwise(widths))
        return [first, jnp.full((agent.workers, scenario.num_nodes, agent.hidden[0]), 1e-3), *rest]

    return trunk(outputs), trunk(1)
