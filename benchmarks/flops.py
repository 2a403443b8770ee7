"""The floating point operations of training, from the sizes of the network's layers; a product counts as 2."""

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
