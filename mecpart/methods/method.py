"""What a method is: a name, its settings, the rules that it is for, and how it is run.

All kinds are run alike: `begin` and then `step` by `step` through training episodes, and `evaluate` on a fresh one.
These are pure functions of a `Case`, compiled apart and called one after the other. So neither the number of episodes
nor any number of a scenario or of a method is part of what is compiled.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from mecpart.agents import AgentConfig, Stages, agent_config, stages
from mecpart.agents.learning import EpisodeCost, channel_key, episode_slots, evaluate_policy, sum_costs
from mecpart.model.environment import EnvState, rollout
from mecpart.model.rules import RULES, Rules
from mecpart.model.scenario import Scenario, Slot
from mecpart.planning.bounds import bound_prices, episode_bound

#: Training episodes that a method without learning runs in a step.
WIDTH = 8


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Case:
    """What one run is of (a pytree).

    - `key`: of the run; all methods that are given one key see the same channels.
    - `config`: of a learner of the package, its settings.
    - `number`: which of the methods that share a program.
    - `slots`: [T], that it is evaluated on instead of those that `key` draws.
    """

    key: PRNGKeyArray
    scenario: Scenario
    config: AgentConfig | None = None
    number: Int[Array, ""] | np.integer | int = 0
    slots: Slot | None = None

    @property
    def keys(self) -> PRNGKeyArray:
        """For training; for the fresh episode; for what a method without learning does at random."""
        return jax.random.split(self.key, 3)

    @property
    def fresh(self) -> Scenario:
        """The scenario with episodes as long as `slots`, where they are given."""
        given = self.slots
        return self.scenario if given is None else replace(self.scenario, num_slots=given.device_rate.shape[0])

    def training_slots(self, episode: Int[Array, ""] | int) -> Slot:
        """The slots of a training episode, [T]."""
        return _run_slots(channel_key(self.keys[0]), self.scenario, episode)

    def fresh_slots(self) -> Slot:
        """The slots that the method is evaluated on, [T]."""
        return _run_slots(self.keys[1], self.scenario, 0) if self.slots is None else self.slots


def _run_slots(key, scenario: Scenario, episode) -> Slot:
    """The slots of an episode without the one after them, which is drawn too but never run."""
    return jax.tree.map(lambda leaf: leaf[:-1], episode_slots(key, scenario, episode))


#: Of plans that were run: (1 if one names a node that does not exist, else 0; that node).
Fault = Int[Array, " 2"]
NO_FAULT = jnp.zeros(2, jnp.int32)


def first_missing_node(scenario: Scenario, plans: Int[Array, "*slots blocks"]) -> Fault:
    """The first node of `plans` that does not exist."""
    exists = (plans >= 0) & (plans < scenario.num_nodes)
    exists &= scenario.network.available[jnp.clip(plans, 0, scenario.num_nodes - 1)]
    missing = ~exists.ravel()
    return jnp.stack([jnp.any(missing).astype(jnp.int32), plans.ravel()[jnp.argmax(missing)]])


def no_such_node(method: str, num_nodes: int, node: int) -> ValueError:
    """The error for a plan with a node that does not exist."""
    return ValueError(f"plan of {method!r} must hold nodes that exist, 0 to {num_nodes - 1}; got {node}")


class Execution(ABC):
    """How a method is run; hashable, and equal to another only if both compile to the same."""

    #: Training episodes in a step.
    width: int = WIDTH
    #: How long `begin`, `step` and `evaluate` are compiled (`mecpart.compilation.EFFORTS`).
    effort: ClassVar[tuple[str, str, str]] = ("plain", "plain", "plain")

    @abstractmethod
    def begin(self, case: Case) -> Any:
        """The state before any training (a pytree)."""

    @abstractmethod
    def step(self, case: Case, state: Any, batch: Int[Array, ""]) -> tuple[Any, EpisodeCost | None, Fault]:
        """The state after the training episodes `width` * batch ..., and what each of these cost, [width]."""

    @abstractmethod
    def evaluate(self, case: Case, state: Any) -> tuple[EpisodeCost, Fault]:
        """What a fresh episode costs; `state` is None where there is nothing to learn."""


@dataclass(frozen=True)
class Planning(Execution):
    """By a rule for each slot; `case.number` says which of several, as it would take seconds to compile each alone."""

    planners: tuple["Planner", ...]
    changes: tuple[tuple[str, Any], ...] = ()

    def begin(self, case):
        return ()

    def step(self, case, state, batch):
        def episode(count):
            return self._episode(case, case.scenario, case.training_slots(count), count)

        cost, faults = jax.lax.map(episode, WIDTH * batch + jnp.arange(WIDTH))
        return state, cost, faults[jnp.argmax(faults[:, 0])]

    def evaluate(self, case, state):
        return self._episode(case, case.fresh, case.fresh_slots(), 0)

    def _episode(self, case: Case, scenario: Scenario, slots: Slot, count) -> tuple[EpisodeCost, Fault]:
        plans = [partial(planner.plan, scenario, **dict(self.changes)) for planner in self.planners]

        def choose_plan(state, key):
            return jax.lax.switch(case.number, plans, state, key) if len(plans) > 1 else plans[0](state, key)

        keys = jax.random.split(jax.random.fold_in(case.keys[2], count), scenario.num_slots)
        return run_plans(scenario, slots, jax.vmap(choose_plan), keys)


def run_plans(scenario: Scenario, slots: Slot, choose_plans: Callable, keys) -> tuple[EpisodeCost, Fault]:
    """What an episode costs by plans that are not to be trusted."""
    _, plans, cost = rollout(scenario, None, slots, choose_plans, keys)
    return sum_costs(scenario, plans, cost), first_missing_node(scenario, plans)


@dataclass(frozen=True)
class Repeating(Execution):
    """By one plan in all slots, chosen for the episode; in training episodes by that for the first of them."""

    hindsight: "Hindsight"
    changes: tuple[tuple[str, Any], ...] = ()

    def begin(self, case):
        return self._chosen(case.scenario, case.training_slots(0))

    def step(self, case, state, batch):
        def episode(count):
            return self._episode(case.scenario, case.training_slots(count), state)

        cost, faults = jax.lax.map(episode, WIDTH * batch + jnp.arange(WIDTH))
        return state, cost, faults[jnp.argmax(faults[:, 0])]

    def evaluate(self, case, state):
        slots = case.fresh_slots()
        return self._episode(case.fresh, slots, self._chosen(case.fresh, slots))

    def _chosen(self, scenario: Scenario, slots: Slot) -> Int[Array, " blocks"]:
        return self.hindsight.policy(scenario, slots, **dict(self.changes))

    def _episode(self, scenario: Scenario, slots: Slot, plan) -> tuple[EpisodeCost, Fault]:
        def repeat(states, noise):
            return jnp.broadcast_to(plan, (noise.shape[0], scenario.num_blocks))

        return run_plans(scenario, slots, repeat, jnp.zeros(scenario.num_slots))


@dataclass(frozen=True)
class Learning(Execution):
    """By a learner of the package: its stages, for all numbers of its configuration."""

    stages: Stages = field(repr=False)
    structure: jax.tree_util.PyTreeDef
    width: int
    effort = ("least", "full", "least")

    def begin(self, case):
        return self.stages.init(case.config, case.keys[0], case.scenario)

    def step(self, case, state, batch):
        return *self.stages.step(case.config, state, case.scenario, batch), NO_FAULT

    def evaluate(self, case, state):
        policy = self.stages.policy(case.config, state, case.scenario)
        return evaluate_policy(case.keys[1], case.fresh, policy, slots=case.slots), NO_FAULT


@dataclass(frozen=True)
class Bounding(Execution):
    """No plans: what no plans can be better than. Of training episodes by the prices that are best in the first."""

    def begin(self, case):
        return bound_prices(case.scenario, case.training_slots(0)) if case.scenario.rules.slots_couple else ()

    def step(self, case, state, batch):
        prices = state if case.scenario.rules.slots_couple else None
        episodes = WIDTH * batch + jnp.arange(WIDTH)
        bound = jax.lax.map(lambda at: episode_bound(case.scenario, case.training_slots(at), prices), episodes)
        return state, _only_delay(bound), NO_FAULT

    def evaluate(self, case, state):
        return _only_delay(episode_bound(case.fresh, case.fresh_slots())), NO_FAULT


def _only_delay(total_delay) -> EpisodeCost:
    unknown = {entry.name: jnp.full_like(total_delay, jnp.nan) for entry in fields(EpisodeCost)}
    return EpisodeCost(**unknown | {"total_delay": total_delay})


@dataclass(frozen=True)
class Method(ABC):
    """A method of comparison. Two are the same only if they come from one registration.

    - `name`: in results and figures.
    - `rules`: whether it means something by the rules of a scenario.
    - `settings`: what can be changed of it, and what it is otherwise.
    """

    name: str
    rules: Callable[[Rules], bool] = field(compare=False, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    #: Whether it is trained.
    learns: ClassVar[bool] = False
    #: Whether it belongs to the package: then it bears servers that do not exist, and what a run of it costs stays the
    #: same, while code of others may change unseen.
    of_package: ClassVar[bool] = True
    #: Whether it may fit some scenarios only, by the number of their blocks and servers.
    of_one_size: ClassVar[bool] = False

    @property
    def scenarios(self) -> tuple[str, ...]:
        """The scenarios that it is for."""
        return tuple(name for name, rules in RULES.items() if self.rules(rules))

    @abstractmethod
    def execution(self, changes: Mapping[str, Any], episodes: int, peers: tuple["Method", ...]) -> Execution:
        """How it is run with `changes` to its settings, trained for `episodes`; together with `peers`, if it can be."""

    def changed(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Those of `changes` that are settings of this method and make a difference to it."""
        return {
            name: changes[name] for name in self.settings if name in changes and changes[name] != self.settings[name]
        }

    def configured(self, changes: Mapping[str, Any], episodes: int) -> AgentConfig | None:
        """Of a learner of the package, its configuration.

        **Raises:** `ValueError` for bad values.
        """
        return None

    def number(self, peers: tuple["Method", ...]) -> int:
        """Which of `peers` that share a program it is."""
        return 0

    def check(self, case: Case, changes: Mapping[str, Any], episodes: int) -> bool:
        """Whether it tells what its training costs, once it is sure that it can be run; nothing is compiled.

        **Raises:** `ValueError` for bad values among the changes, or a function that makes no plans.
        """
        return True

    def try_out(self, scenario: Scenario, state: EnvState, key: PRNGKeyArray) -> None:
        """Make one plan, if it is not to be trusted, so that what is wrong is found before others are trained.

        **Raises:** `ValueError` if it fails, or names a node that does not exist.
        """
        return None

    def take_failure(self) -> ValueError | None:
        """What a function of it on the host raised in this process since this was last asked."""
        return None


@dataclass(frozen=True)
class Planner(Method):
    """A rule: `policy` is a function (scenario, slot, key, **settings) -> plan."""

    policy: Callable[..., Any] = field(kw_only=True, compare=False, repr=False)

    def plan(self, scenario: Scenario, state: EnvState, key: PRNGKeyArray, **settings: Any) -> Int[Array, " blocks"]:
        """The plan for the slot of `state`."""
        return self.policy(scenario, state.slot, key, **settings)

    def execution(self, changes, episodes, peers):
        if changes:
            return Planning((self,), tuple(changes.items()))
        return Planning(_sharing(peers))

    def number(self, peers):
        return _sharing(peers).index(self)

    def check(self, case, changes, episodes):
        if changes:
            jax.eval_shape(self.execution(changes, episodes, ()).evaluate, case, None)
        return True


@dataclass(frozen=True)
class Hindsight(Method):
    """One plan for all slots: `policy` is a function (scenario, slots of an episode, **settings) -> plan."""

    policy: Callable[..., Any] = field(kw_only=True, compare=False, repr=False)

    def execution(self, changes, episodes, peers):
        return Repeating(self, tuple(changes.items()))

    def check(self, case, changes, episodes):
        jax.eval_shape(self.execution(changes, episodes, ()).evaluate, case, None)
        return True


def _sharing(peers: tuple[Method, ...]) -> tuple["Planner", ...]:
    """Those of `peers` that share a program."""
    return tuple(peer for peer in peers if type(peer) is Planner)


@dataclass(frozen=True)
class Learner(Method):
    """A learner of the package, by its configuration."""

    config: AgentConfig = field(kw_only=True, compare=False, repr=False)
    learns: ClassVar[bool] = True

    def configured(self, changes, episodes):
        return agent_config(self.config, episodes=episodes, **changes)

    def check(self, case, changes, episodes):
        self.configured(changes, episodes)
        return True

    def execution(self, changes, episodes, peers):
        config = self.configured(changes, episodes)
        return Learning(stages(config), jax.tree.structure(config), config.workers)

    def changed(self, changes):
        found = super().changed(changes)
        any_length = found.get("workers", self.config.workers)
        unused = getattr(self.configured(found, any_length), "unused", ())
        return {name: value for name, value in found.items() if name not in unused}


@dataclass(frozen=True)
class Bound(Method):
    """Not a method, but run like one: the certified lower bound on the total delay of the same episodes."""

    def execution(self, changes, episodes, peers):
        return Bounding()
