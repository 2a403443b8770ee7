"""The vectorised environment of `mecpart.adapters.gymnasium` by the interface of Stable-Baselines3, a `VecEnv`.

Stable-Baselines3's own `make_vec_env` also takes the registered id, and then steps one environment after the other.
"""

from collections.abc import Sequence

import numpy as np

from mecpart.adapters.gymnasium import AutoresetMode, PartitionVector
from mecpart.model.scenario import Scenario

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise ModuleNotFoundError(
        "mecpart.adapters.stable_baselines3 needs Stable-Baselines3 2.7 or newer: pip install 'stable-baselines3>=2.7'",
        name=error.name,
    ) from error

__all__ = ["PartitionVecEnv", "make_vec_env"]


def make_vec_env(
    scenario: Scenario | str | Sequence[Scenario | str] = "as_printed", n_envs: int = 8, seed: int | None = None
) -> "PartitionVecEnv":
    """`n_envs` environments in one compiled step, for `A2C("MlpPolicy", make_vec_env(scenario))`.

    **Arguments:** `seed`: s for s, s + 1, ... in the environments; the others, and errors, as `PartitionVector`.
    """
    env = PartitionVecEnv(PartitionVector(scenario, n_envs, AutoresetMode.SAME_STEP))
    env.seed(seed)
    return env


class PartitionVecEnv(VecEnv):
    """`PartitionVector` as Stable-Baselines3 wants it.

    An episode ends as `done` with `info["TimeLimit.truncated"]` and its final observation in
    `info["terminal_observation"]`, from whose value the on-policy algorithms then bootstrap.
    """

    def __init__(self, env: PartitionVector):
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> np.ndarray:
        """Start an episode in every environment; seeds given to `seed` are used once."""
        if any(self._options):
            raise ValueError(f"options must be empty, for there are none; got {self._options}")
        observations, _ = self.env.reset(seed=self._seeds)
        self._reset_seeds()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the plans for `step_wait`."""
        self._actions = actions

    def step_wait(self):
        """Run the plans: (observations, rewards, dones, infos)."""
        observations, rewards, _, truncations, infos = self.env.step(self._actions)
        costs = infos.get("final_info", infos)
        costs = {name: value for name, value in costs.items() if not name.startswith("_")}
        told = [{name: value[i] for name, value in costs.items()} for i in range(self.num_envs)]
        for i, info in enumerate(told):
            info["TimeLimit.truncated"] = bool(truncations[i])
            if truncations[i]:
                info["terminal_observation"] = infos["final_obs"][i]
        return observations, rewards.astype(np.float32), truncations, told

    def close(self) -> None:
        """Nothing is held open."""

    def get_attr(self, attr_name: str, indices=None) -> list:
        """The attribute of the vectorised environment, for each environment asked for."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value, indices=None) -> None:
        """Refused: the environments share what they are made of."""
        raise AttributeError(f"{attr_name} cannot be set: the environments are stepped as one")

    def env_method(self, method_name: str, *method_args, indices=None, **method_kwargs) -> list:
        """The `action_masks` of each environment asked for, as sb3-contrib does; all else is refused, as `set_attr`."""
        if method_name == "action_masks":
            return list(self.env.action_masks()[list(self._get_indices(indices))])
        raise AttributeError(f"{method_name} cannot be called: the environments are stepped as one")

    def env_is_wrapped(self, wrapper_class, indices=None) -> list[bool]:
        """Never."""
        return [False for _ in self._get_indices(indices)]
