"""`PartitionEnv` as a `gymnasium.Env` and, many at once, as a `gymnasium.vector.VectorEnv`.

Importing this module registers the id `ID`; `gymnasium.make("mecpart.adapters.gymnasium:mecpart/Partition-v0")` imports
it first. Both environments run the same compiled functions; a step brings a few small arrays back to NumPy.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from mecpart.adapters.spaces import observation_bounds, playable, possible_nodes
from mecpart.model.delay import PlanCost
from mecpart.model.environment import PartitionEnv
from mecpart.model.scenario import Scenario
from mecpart.validation import check_choice, check_count, check_shape

try:
    import gymnasium
    from gymnasium.spaces import Box, MultiDiscrete
    from gymnasium.utils.seeding import np_random
    from gymnasium.vector import AutoresetMode
    from gymnasium.vector.utils import batch_space
except ImportError as error:
    raise ModuleNotFoundError(
        "mecpart.adapters.gymnasium needs Gymnasium 1.1 or newer: pip install 'mecpart[gymnasium]'", name=error.name
    ) from error

#: The registered id, for `gymnasium.make` and `gymnasium.make_vec`.
ID = "mecpart/Partition-v0"

__all__ = ["ID", "Partition", "PartitionVector", "make", "make_vec"]

_ENV = PartitionEnv()
_COSTS = tuple(field.name for field in fields(PlanCost))


def make(scenario: Scenario | str = "as_printed") -> "Partition":
    """`Partition` with its `spec`: what `gymnasium.make(ID, scenario=scenario)` holds in its wrappers."""
    return cast(Partition, gymnasium.make(ID, scenario=playable(scenario)).unwrapped)


def make_vec(
    scenario: Scenario | str | Sequence[Scenario | str] = "as_printed",
    num_envs: int = 8,
    *,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
) -> "PartitionVector":
    """`PartitionVector`, with its `spec`; arguments and errors as there."""
    env = gymnasium.make_vec(ID, num_envs, "vector_entry_point", scenario=scenario, autoreset_mode=autoreset_mode)
    return cast(PartitionVector, env)


class Partition(gymnasium.Env):
    """Place every block of each slot's tasks on a node.

    - Observation: Box, float32 [M * (N + 2) + 1], with queues N + 1 more: see `mecpart.model.environment.observe`.
      The bounds hold in every episode, see `observation_bounds`.
    - Action: MultiDiscrete, a plan: the node of each block, [M] integers in 0..N. Servers that only pad the network are
      left out, so N counts those that exist.
    - Reward: Eq. 14 of the slot, minus its delay and penalty in seconds. On measured devices a plan that never comes to
      its end is an action like any other, with a finite reward that is less than that of all others; its delays in the
      info are infinite. See `action_masks`.
    - Terminated: never. Truncated: after `scenario.num_slots` slots, so the value of the observation returned then is
      to be bootstrapped.
    - Info: of a step, the fields of `mecpart.PlanCost`: NumPy float32, [M] or scalar. Of a reset, nothing.

    `reset(seed=...)` makes everything that follows reproducible. There are no options.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's convention)

    def __init__(self, scenario: Scenario | str = "as_printed"):
        self.scenario = playable(scenario)
        self.observation_space, self.action_space = _observation_space([self.scenario]), _action_space(self.scenario)
        self._slots_left = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Start an episode. Returns (observation, {})."""
        super().reset(seed=seed)
        _refuse_options(options)
        observation, self._carry = _reset(self.scenario, _draw_seed(self.np_random))
        self._slots_left = self.scenario.num_slots
        return np.array(observation), {}

    def step(self, action):
        """Run a plan in this slot. Returns (observation, reward, terminated, truncated, info).

        **Raises:** `ValueError` for an action that is no plan; `ResetNeeded` before the first and after the last slot.
        """
        _check_begun(self._slots_left)
        plan = _plans(self.action_space, action)
        self._carry, observation, cost = _step(self.scenario, self._carry, plan)
        self._slots_left -= 1
        observation, info = _to_numpy(observation, cost)
        return observation, float(info["reward"]), False, self._slots_left == 0, info

    def action_masks(self) -> np.ndarray:
        """Whether some plan that comes to its end has the block on the node, bool [M * (N + 1)], block by block.

        By the convention of sb3-contrib, whose `MaskablePPO` asks for it. It masks each block by itself: on measured
        devices a plan can still name two nodes that cannot follow each other.
        """
        return possible_nodes(self.scenario).ravel()


class PartitionVector(gymnasium.vector.VectorEnv):
    """`num_envs` of `Partition` in one compiled step, and equal to them: seed s means seed s + i for environment i.

    Episodes have the same number of slots, so all of them end in the same step. What happens then is the
    `autoreset_mode`, which `metadata` declares:

    - `NEXT_STEP` (Gymnasium's default): the step returns the final observations; the next one ignores its actions,
      returns the first observations of new episodes, and rewards of 0.
    - `SAME_STEP`: the step returns the first observations of new episodes; `info["final_obs"]` and
      `info["final_info"]` hold what belongs to the old ones.

    **Arguments:**

    - `scenario`: one for all, or a sequence: environment i then plays the i-th, beginning again after the last. They
      must differ in numbers only, not in blocks, servers that exist, slots of an episode, or rules.
    - `num_envs`: at least the number of scenarios.

    **Raises:** `ValueError` where one of these does not hold.
    """

    def __init__(
        self,
        scenario: Scenario | str | Sequence[Scenario | str] = "as_printed",
        num_envs: int = 8,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ):
        given: Sequence = scenario if isinstance(scenario, (list, tuple)) else [scenario]
        scenarios = [playable(one) for one in given]
        _check_alike(scenarios)
        self.num_envs = check_count("num_envs", num_envs, minimum=len(scenarios))
        mode = getattr(autoreset_mode, "value", autoreset_mode)
        check_choice("autoreset_mode", mode, [AutoresetMode.NEXT_STEP.value, AutoresetMode.SAME_STEP.value])
        self.autoreset_mode = AutoresetMode(mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self.autoreset_mode}

        self.scenarios = tuple(scenarios[i % len(scenarios)] for i in range(self.num_envs))
        together = scenarios[0] if len(scenarios) == 1 else jax.tree.map(lambda *x: jnp.stack(x), *self.scenarios)
        # Not the compiled functions themselves, which cannot be pickled.
        self._together, self._axis = together, None if len(scenarios) == 1 else 0

        self.single_observation_space = _observation_space(scenarios)
        self.single_action_space = _action_space(scenarios[0])
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        # Not `batch_space`, which makes a Box of it.
        self.action_space = MultiDiscrete(np.tile(self.single_action_space.nvec, (self.num_envs, 1)))
        self._generators: list[tuple] = [(None, None)] * self.num_envs
        self._slots_left: int | None = None

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: dict | None = None):
        """Start an episode in every environment. Returns (observations [num_envs, features], {}).

        **Arguments:** `seed`: s for s, s + 1, ...; or one for each; None goes on with the random numbers there are.
        """
        _refuse_options(options)
        seeds = [seed] * self.num_envs if seed is None else seed
        if isinstance(seeds, (int, np.integer)):
            seeds = [int(seeds) + i for i in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed must be one number, or {self.num_envs} of them; got {len(seeds)}")
        self._generators = [
            known if one is None and known[0] is not None else np_random(one)
            for one, known in zip(seeds, self._generators, strict=True)
        ]
        return self._begin(), {}

    def step(self, actions):
        """Run a plan in every environment: (observations, rewards, terminations, truncations, infos).

        **Raises:** `ValueError` for actions that are not [num_envs, M] nodes; `ResetNeeded` before the first episode.
        """
        if self._slots_left == 0:
            return self._begin(), np.zeros(self.num_envs), *self._ended(False), {}
        _check_begun(self._slots_left)
        plans = _plans(self.action_space, actions)
        self._carry, observations, costs = _STEP_ALL[self._axis](self._together, self._carry, plans)
        self._slots_left -= 1
        observations, infos = _to_numpy(observations, costs)
        rewards = infos["reward"].astype(np.float64)
        infos = self._of_all(infos)
        ended = self._slots_left == 0
        if ended and self.autoreset_mode is AutoresetMode.SAME_STEP:
            final = np.empty(self.num_envs, object)
            final[:] = list(observations)
            infos = self._of_all({"final_obs": final, "final_info": infos})
            observations = self._begin()
        return observations, rewards, *self._ended(ended), infos

    def action_masks(self) -> np.ndarray:
        """Those of `Partition`, of every environment: bool [num_envs, M * (N + 1)]."""
        return np.stack([possible_nodes(scenario).ravel() for scenario in self.scenarios])

    # Tuples where the base class has one, as in Gymnasium's own `SyncVectorEnv`.
    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The random generator of each environment."""
        return tuple(generator for generator, _ in self._generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each environment."""
        return tuple(seed for _, seed in self._generators)

    def _begin(self):
        seeds = np.array([_draw_seed(generator) for generator in self.np_random])
        observations, self._carry = _RESET_ALL[self._axis](self._together, seeds)
        self._slots_left = self.scenarios[0].num_slots
        return np.array(observations)

    def _ended(self, truncated: bool):
        return np.zeros(self.num_envs, bool), np.full(self.num_envs, truncated)

    def _of_all(self, infos: dict) -> dict:
        """`infos` with Gymnasium's masks, which say for which environments an entry holds: here for all."""
        return infos | {f"_{name}": np.ones(self.num_envs, bool) for name in infos}


gymnasium.register(ID, f"{__name__}:Partition", vector_entry_point=f"{__name__}:PartitionVector")


# The state that is carried from step to step: (random key, EnvState).


@jax.jit
def _reset(scenario: Scenario, seed):
    key, first = jax.random.split(jax.random.key(seed))
    observation, state = _ENV.reset(first, scenario)
    return observation, (key, state)


@jax.jit
def _step(scenario: Scenario, carry, plan):
    key, state = carry
    key, drawn = jax.random.split(key)
    observation, state, _, _, cost = _ENV.step_env(drawn, state, plan, scenario)
    return (key, state), observation, cost


_RESET_ALL = {axis: jax.jit(jax.vmap(_reset, (axis, 0))) for axis in (None, 0)}
_STEP_ALL = {axis: jax.jit(jax.vmap(_step, (axis, 0, 0))) for axis in (None, 0)}


def _draw_seed(generator: np.random.Generator) -> np.uint32:
    return generator.integers(2**32, dtype=np.uint32)


def _to_numpy(observation, cost) -> tuple[np.ndarray, dict]:
    """Copies, for what JAX hands out cannot be written to; scalars as NumPy's own."""
    return np.array(observation), {name: np.array(cost[name])[()] for name in _COSTS}


def _observation_space(scenarios: Sequence[Scenario]) -> Box:
    low, high = zip(*map(observation_bounds, scenarios), strict=True)
    return Box(np.min(low, axis=0), np.max(high, axis=0), dtype=np.float32)


def _action_space(scenario: Scenario) -> MultiDiscrete:
    return MultiDiscrete([scenario.num_nodes] * scenario.num_blocks)


def _plans(space: MultiDiscrete, action) -> np.ndarray:
    """`action` as int32, checked here since a compiled step cannot."""
    plan, last = np.asarray(action), space.nvec.flat[0] - 1
    check_shape("action", plan, space.shape)
    if plan.dtype.kind not in "iu" or (plan < 0).any() or (plan > last).any():
        raise ValueError(f"action must be integers from 0 to {last}, the nodes that exist; got {action!r}")
    return plan.astype(np.int32)


def _refuse_options(options) -> None:
    if options:
        raise ValueError(f"options must be None or empty, for there are none; got {options!r}")


def _check_begun(slots_left: int | None) -> None:
    if not slots_left:
        raise gymnasium.error.ResetNeeded("call reset(): no episode has begun, or the last slot of this one is over")


def _check_alike(scenarios: Sequence[Scenario]) -> None:
    if not scenarios:
        raise ValueError("scenario must be one scenario, or a sequence of at least one; got none")

    def build(scenario):
        leaves, structure = jax.tree.flatten(scenario)
        return structure, [np.shape(leaf) for leaf in leaves]

    different = [i for i, scenario in enumerate(scenarios) if build(scenario) != build(scenarios[0])]
    if different:
        raise ValueError(
            "scenario: all must have equal blocks, servers that exist, num_slots, rules and arrivals; "
            f"number {different[0]} differs from number 0"
        )
