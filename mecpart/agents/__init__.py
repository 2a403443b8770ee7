"""The learning methods: multi-task A3C (the paper's), A3C, Distributed DQN, and Learned prices (this project's).

`make_train` turns a name or a configuration into one pure function that trains.
"""

from collections.abc import Callable
from dataclasses import fields, replace

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from mecpart.agents import actor_critic, price_search, q_learning
from mecpart.agents.actor_critic import ActorCriticConfig
from mecpart.agents.learning import EpisodeCost, Policy, Stages, TrainResult
from mecpart.agents.price_search import PricePolicy, PriceSearchConfig
from mecpart.agents.q_learning import QLearningConfig
from mecpart.model.scenario import Scenario
from mecpart.validation import check_choice, shown

#: What defines a learner, whichever it is.
AgentConfig = ActorCriticConfig | QLearningConfig | PriceSearchConfig

_STAGES = {
    kind: Stages(module.init, module.step, module.policy)
    for kind, module in (
        (ActorCriticConfig, actor_critic),
        (QLearningConfig, q_learning),
        (PriceSearchConfig, price_search),
    )
}

#: The learning methods by the names used in results.
AGENTS: dict[str, AgentConfig] = {
    "Proposed": ActorCriticConfig(),
    "A3C": ActorCriticConfig(name="A3C", heads="sequential", sharing="none"),
    "Distributed DQN": QLearningConfig(),
    "Learned prices": PriceSearchConfig(),
}


def agent_config(agent: str | AgentConfig, **changes) -> AgentConfig:
    """The configuration of `agent` with some values changed, e.g. `agent_config("A3C", episodes=100)`.

    **Raises:** `ValueError` for an unknown name, an unknown setting (answered with what there is) or a bad value.
    """
    if isinstance(agent, str):
        check_choice("agent", agent, AGENTS)
        agent = AGENTS[agent]
    elif not isinstance(agent, AgentConfig):
        names = ", ".join(map(repr, AGENTS))
        raise ValueError(f"agent must be a name ({names}) or an AgentConfig; got {shown(agent)}")
    for name in changes:
        check_choice(f"setting of {agent.name}", name, [field.name for field in fields(agent)])
    return replace(agent, **changes)


def stages(agent: str | AgentConfig) -> Stages:
    """The stages of training a learner, the same functions for every configuration of a kind.

    **Raises:** `ValueError` as `agent_config`.
    """
    return _STAGES[type(agent_config(agent))]


def make_train(agent: str | AgentConfig, **changes) -> Callable[[PRNGKeyArray, Scenario], TrainResult]:
    """A pure function `train(key, scenario) -> TrainResult` for a method or configuration: its stages in one.

    **Arguments:** `agent`: a key of `AGENTS` or an `AgentConfig`; `changes`: settings to change.

    The function can be compiled with `jax.jit` and vectorised with `jax.vmap` over keys and scenarios. It is
    deterministic given the key. All methods given one key learn from the same channels.

    **Raises:** `ValueError` as `agent_config`, before anything is compiled.
    """
    config = agent_config(agent, **changes)
    learner = stages(config)

    def train(key: PRNGKeyArray, scenario: Scenario) -> TrainResult:
        def one_batch(state, batch):
            return learner.step(config, state, scenario, batch)

        start = learner.init(config, key, scenario)
        state, costs = jax.lax.scan(one_batch, start, jnp.arange(config.episodes // config.workers))
        return TrainResult(learner.policy(config, state, scenario), jax.tree.map(jnp.ravel, costs))

    return train


__all__ = [
    "AGENTS",
    "ActorCriticConfig",
    "AgentConfig",
    "EpisodeCost",
    "Policy",
    "PricePolicy",
    "PriceSearchConfig",
    "QLearningConfig",
    "Stages",
    "TrainResult",
    "agent_config",
    "make_train",
    "stages",
]
