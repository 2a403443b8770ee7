"""`PartitionEnv` as a gymnax 1.0 environment, in a form for every kind of learner.

| `actions` | an action | a step |
|---|---|---|
| `plan` | `MultiDiscrete`, int32 [M] | a slot |
| `joint` | `Discrete((N + 1)^M)`, the number of a plan | a slot |
| `block` | `Discrete(N + 1)`, the node of one block | a block; the slot runs with its last one |

`step` returns the six values of gymnax 1.0, (observation, state, reward, terminated, truncated, info). Libraries that
were written for gymnax 0.0.x, such as Rejax 0.1.3, expect five: see `step` in `make`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mecpart.adapters.spaces import observation_bounds, playable
from mecpart.agents.networks import MAX_JOINT_PLANS
from mecpart.model.delay import checked_plan
from mecpart.model.environment import EnvState, PartitionEnv, observe
from mecpart.model.scenario import Scenario, check_scenario
from mecpart.validation import check_callable, check_choice, check_count, check_key, check_number, is_concrete

_NEEDS = "mecpart.adapters.gymnax needs gymnax 1.0 or newer: pip install 'mecpart[gymnax]'"
try:
    from gymnax.environments import environment, spaces
except ImportError as error:
    raise ModuleNotFoundError(_NEEDS, name=error.name) from error
if not hasattr(environment.Environment, "is_truncated"):  # older ones would make five values of the six, unasked
    raise ImportError(_NEEDS)

__all__ = ["ACTIONS", "STEPS", "EnvParams", "Partition", "make", "place_blocks"]

_ENV = PartitionEnv()


@struct.dataclass
class EnvParams(environment.EnvParams):
    """What gymnax's clients pass around as `params` (a pytree).

    - `max_steps_in_episode`: after which an episode is truncated; in place of `scenario.num_slots`.
    - `scenario`: without servers that only pad its network, which a plan could name but not use.
    """

    scenario: Scenario = field(kw_only=True)


class MultiDiscrete(spaces.Tuple):
    """`num_blocks` choices among `num_nodes`, as one int32 array: gymnax has tuples of choices only."""

    def __init__(self, num_blocks: int, num_nodes: int):
        super().__init__([spaces.Discrete(num_nodes)] * num_blocks)
        self.nvec, self.shape, self.dtype = (num_nodes,) * num_blocks, (num_blocks,), jnp.int32

    def sample(self, key: PRNGKeyArray) -> Int[Array, " blocks"]:
        """Every plan with equal probability."""
        return jax.random.randint(key, self.shape, 0, self.nvec[0])


class Partition(environment.Environment):
    """Place every block of each slot's tasks on a node: `mecpart.PartitionEnv`, whose observation and reward it has.

    - Action: a plan, int32 [M] or a tuple of M numbers, nodes 0..N. `step` is compiled and cannot check it; `step_env`
      can, and raises a `ValueError`.
    - Termination: never. After `params.max_steps_in_episode` steps the episode is *truncated*: the value of
      `info["final_observation"]` is to be bootstrapped, since the observation returned is the first of a new episode.
    - Info: the fields of `mecpart.PlanCost`, `terminated`, `truncated` and `final_observation`.
    """

    steps_per_slot = 1

    def __init__(self, scenario: Scenario):
        super().__init__()
        scenario = playable(scenario)
        steps = scenario.num_slots * self.steps_per_slot
        self._params = EnvParams(max_steps_in_episode=steps, scenario=scenario)

    @property
    def default_params(self) -> EnvParams:
        """Those of the scenario that the environment was made for."""
        return self._params

    def reset_env(self, key: PRNGKeyArray, params: EnvParams) -> tuple[Float[Array, " features"], Any]:
        """Start an episode: (observation, `EnvState`)."""
        return _ENV.reset(key, params.scenario)

    def step(self, key: PRNGKeyArray, state, action, params: EnvParams | None = None):
        """Run one step, and start a new episode after the last: the six values.

        **Raises:** `ValueError` for an action that is known now and is none.
        """
        self._check_action(action, self._of(params).scenario)
        return super().step(key, state, action, params)

    def step_env(self, key: PRNGKeyArray, state, action, params: EnvParams):
        """One step without starting a new episode: (observation, state, reward, terminated, info)."""
        self._check_action(action, params.scenario)
        return _ENV.step_env(key, state, self._plan(action, params.scenario), params.scenario)

    def get_obs(self, state, params: EnvParams | None = None, key=None) -> Float[Array, " features"]:
        """What an agent sees in `state`."""
        return observe(self._of(params).scenario, state)

    def is_terminated(self, state, params: EnvParams) -> Bool[Array, ""]:
        """Never."""
        return jnp.bool_(False)

    @property
    def num_actions(self) -> int:
        """Choices for each block: N + 1."""
        return self._params.scenario.num_nodes

    def action_space(self, params: EnvParams | None = None) -> spaces.Space:
        """All plans."""
        scenario = self._of(params).scenario
        return MultiDiscrete(scenario.num_blocks, scenario.num_nodes)

    def observation_space(self, params: EnvParams | None = None) -> spaces.Box:
        """All observations of an episode of `scenario.num_slots` slots, see `observation_bounds`."""
        low, high = self._bounds(self._of(params).scenario)
        return spaces.Box(low, high, low.shape, jnp.float32)

    def _of(self, params: EnvParams | None) -> EnvParams:
        return self._params if params is None else params

    def _plan(self, action, scenario: Scenario):
        return jnp.stack(action) if isinstance(action, tuple) else action

    def _check_action(self, action, scenario: Scenario) -> None:
        checked_plan(scenario, action, name="action")

    def _bounds(self, scenario: Scenario):
        return observation_bounds(scenario)


class JointPartition(Partition):
    """The same with one number for a plan: its nodes as digits to the base N + 1, the first block's first."""

    @property
    def num_actions(self) -> int:
        """Plans: (N + 1)^M."""
        return self.action_space().n

    def action_space(self, params: EnvParams | None = None) -> spaces.Discrete:
        """All plans."""
        scenario = self._of(params).scenario
        return spaces.Discrete(scenario.num_nodes**scenario.num_blocks)

    def _check_action(self, action, scenario: Scenario) -> None:
        _check_choice(action, scenario.num_nodes**scenario.num_blocks)

    def _plan(self, action, scenario: Scenario):
        place = scenario.num_nodes ** jnp.arange(scenario.num_blocks)[::-1]
        return action // place % scenario.num_nodes


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class BlockState:
    """State between two blocks (a pytree).

    - `slots`: of the slot whose blocks are being placed.
    - `nodes`: of the blocks placed so far in this slot, latest first, then 0 for the image at the device, then -1.
    - `time`: blocks placed in this episode.
    """

    slots: EnvState
    nodes: Int[Array, " blocks"]
    time: Int[Array, ""]


class BlockPartition(Partition):
    """The same block by block, for learners that know one Discrete action only.

    M steps make a slot. The first M - 1 have no reward and cost nothing (`PlanCost` is 0); the last one runs the slot
    under the plan so made, with the reward of Eq. 14, and `info["slot_ended"]` says so. A discount of g for a step is
    g^M for a slot.

    - Observation: that of the slot, then which block is asked for (one-hot [M]), then the nodes of the blocks before,
      the latest first and the device, where the image is, last (one-hot [M, N + 1], the rest 0). With these it is the
      whole state of the slot.
    - Action: the node of that block, an integer in 0..N.
    """

    def __init__(self, scenario: Scenario):
        scenario = playable(scenario)
        self.steps_per_slot = scenario.num_blocks
        super().__init__(scenario)

    def reset_env(self, key: PRNGKeyArray, params: EnvParams) -> tuple[Float[Array, " features"], BlockState]:
        """Start an episode: (observation, `BlockState`)."""
        _, slots = _ENV.reset(key, params.scenario)
        state = BlockState(slots, _none_placed(params.scenario), jnp.int32(0))
        return self.get_obs(state, params), state

    def step_env(self, key: PRNGKeyArray, state, action, params: EnvParams):
        """One block, without starting a new episode: (observation, state, reward, terminated, info)."""
        scenario = params.scenario
        self._check_action(action, scenario)
        placed = _placed(action, state.nodes)
        last = (state.time + 1) % scenario.num_blocks == 0
        plan = jnp.where(last, placed[::-1], 0)  # before the last block it is no plan yet, and its cost is not used
        _, slots, reward, terminated, info = _ENV.step_env(key, state.slots, plan, scenario)

        def where_last(after, before):
            return jax.tree.map(partial(jnp.where, last), after, before)

        state = BlockState(
            slots=where_last(slots, state.slots),
            nodes=where_last(_none_placed(scenario), placed),
            time=state.time + 1,
        )
        info = where_last(info, jax.tree.map(jnp.zeros_like, info)) | {"slot_ended": last}
        return self.get_obs(state, params), state, where_last(reward, 0.0), terminated, info

    def _check_action(self, action, scenario: Scenario) -> None:
        _check_choice(action, scenario.num_nodes)

    def get_obs(self, state, params: EnvParams | None = None, key=None) -> Float[Array, " features"]:
        """What an agent sees in `state`."""
        scenario = self._of(params).scenario
        observation = observe(scenario, state.slots)
        return _block_observation(scenario, observation, state.time % scenario.num_blocks, state.nodes)

    def action_space(self, params: EnvParams | None = None) -> spaces.Discrete:
        """All nodes."""
        return spaces.Discrete(self._of(params).scenario.num_nodes)

    def _bounds(self, scenario: Scenario):
        low, high = observation_bounds(scenario)
        told = scenario.num_blocks * (1 + scenario.num_nodes)
        return jnp.concatenate([low, jnp.zeros(told)]), jnp.concatenate([high, jnp.ones(told)])


def place_blocks(
    act: Callable[[Float[Array, " features"], PRNGKeyArray], Int[Array, ""]],
    scenario: Scenario,
    observation: Float[Array, " features"],
    key: PRNGKeyArray,
) -> Int[Array, " blocks"]:
    """The plan of a learner that was trained on the `block` form, for an observation of a whole slot.

    **Arguments:** `act`: (observation of the `block` form, key) -> node; `scenario`: without padding, as in the params.
    """
    check_callable("act", act, "(observation, key) -> node")
    check_scenario(scenario)
    check_number("observation", observation, minimum=None, shapes=((PartitionEnv().observation_size(scenario),),))
    check_key("key", key)
    nodes = _none_placed(scenario)
    for block, drawn in enumerate(jax.random.split(key, scenario.num_blocks)):
        nodes = _placed(act(_block_observation(scenario, observation, block, nodes), drawn), nodes)
    return nodes[::-1]


def _check_choice(action, count: int) -> None:
    """Raise `ValueError` for an action that is not one of `count` numbers: as int32 it would be another one."""
    check_number("action", action, whole=True, shapes=((),))
    if is_concrete(action):
        check_count("action", int(action), minimum=0, maximum=count - 1)


def _none_placed(scenario: Scenario) -> Int[Array, " blocks"]:
    return jnp.full(scenario.num_blocks, -1).at[0].set(0)


def _placed(node, nodes: Int[Array, " blocks"]) -> Int[Array, " blocks"]:
    return jnp.concatenate([jnp.asarray(node, jnp.int32)[None], nodes[:-1]])


def _block_observation(scenario: Scenario, observation, block, nodes) -> Float[Array, " features"]:
    told = [jax.nn.one_hot(block, scenario.num_blocks), jax.nn.one_hot(nodes, scenario.num_nodes).ravel()]
    return jnp.concatenate([observation, *told])


#: The forms of an action.
ACTIONS: dict[str, type[Partition]] = {"plan": Partition, "joint": JointPartition, "block": BlockPartition}


class FiveValues:
    """An environment whose `step` returns five values, (observation, state, reward, done, info), as before gymnax 1.0.

    gymnax's own `LegacyStepAPIWrapper` cannot be copied by `copy.deepcopy`, which Rejax does.
    """

    def __init__(self, env: Partition, endless: bool):
        self._env, self._endless = env, endless

    def __getattr__(self, name: str):
        if name.startswith("_"):  # nor `_env` before it is there, as in a copy that is under way
            raise AttributeError(name)
        return getattr(self._env, name)

    def reset(self, key: PRNGKeyArray, params: EnvParams | None = None):
        """Start an episode: (observation, state)."""
        return self._env.reset(key, params)

    def step(self, key: PRNGKeyArray, state, action, params: EnvParams | None = None):
        """Run one step, and start a new episode after the last: (observation, state, reward, done, info)."""
        observation, state, reward, terminated, truncated, info = self._env.step(key, state, action, params)
        done = terminated if self._endless else terminated | truncated
        return observation, state, reward, done, info


#: The forms of a step.
STEPS: dict[str, Callable[[Partition], Partition | FiveValues]] = {
    "six": lambda env: env,
    "five": partial(FiveValues, endless=False),
    "endless": partial(FiveValues, endless=True),
}


def make(
    scenario: Scenario | str = "as_printed", actions: str = "plan", step: str = "six"
) -> tuple[Partition | FiveValues, EnvParams]:
    """An environment for gymnax's clients, and its params.

    **Arguments:**

    - `scenario`: or the name of one, then built from the ledger's defaults; servers that only pad it are left out.
    - `actions`: "plan", "joint" or "block", see this module.
    - `step`: what it returns, and what a learner makes of the time limit:

    | `step` | values | at the time limit |
    |---|---|---|
    | `six` | gymnax 1.0: terminated, truncated | is truncated; learners that know the difference bootstrap |
    | `five` | legacy: done | is done; a learner takes the value beyond to be 0, which it is not |
    | `endless` | legacy: done | nothing; a learner goes on to the value of the next episode's first observation |

    With five values `info` holds `truncated` and `final_observation` all the same, for those who look there.

    **Raises:** `ValueError` for an unknown name, a scenario that is none, or more than 20,000 joint plans.
    """
    scenario = playable(scenario)
    check_choice("actions", actions, ACTIONS)
    check_choice("step", step, STEPS)
    plans = scenario.num_nodes**scenario.num_blocks
    if actions == "joint" and plans > MAX_JOINT_PLANS:
        raise ValueError(
            f"actions='joint' needs (N + 1)^M <= {MAX_JOINT_PLANS} plans; "
            f"got {scenario.num_nodes}^{scenario.num_blocks} = {plans}"
        )
    env = ACTIONS[actions](scenario)
    return STEPS[step](env), env.default_params
