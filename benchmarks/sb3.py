"""Stable-Baselines3's A2C on the same problem: the environment in vectorised NumPy, the same layer sizes."""

import statistics
import time

import gymnasium
import jax
import numpy as np
from stable_baselines3 import A2C
from stable_baselines3.common.vec_env import VecEnv

import mecpart
from mecpart.agents.learning import reward_scale


class NumpyEnv(VecEnv):
    """`PartitionEnv` in NumPy, `num_envs` at once: what a user of Stable-Baselines3 would write for speed."""

    def __init__(self, scenario: mecpart.Scenario, num_envs: int, seed: int = 0):
        network = scenario.network
        self.work, self.data, self.speed = (np.asarray(x) for x in (scenario.work, scenario.data, network.speed))
        self.low, self.high = (float(x) for x in network.device_rate_range)
        self.devices, self.wired = float(network.num_devices), float(network.wired_rate)
        self.computing = float(network.energy_coefficient) * float(network.device_frequency) ** 2 * self.work
        self.power, self.budget = float(network.transmit_power), float(scenario.energy_budget)
        self.deadline, self.penalty = float(scenario.deadline), float(scenario.penalty)
        self.slots, self.scale = scenario.num_slots, float(reward_scale(scenario))
        parameters = np.asarray(scenario.workload.parameter_bytes)
        constants = np.concatenate(
            [self.work / (self.speed[0] * float(scenario.slot_seconds)), parameters / parameters.sum()]
        )
        self.constants = np.tile(constants.astype(np.float32), (num_envs, 1))
        self.blocks, self.nodes = len(self.work), len(self.speed)
        self.random = np.random.default_rng(seed)
        size = mecpart.PartitionEnv().observation_size(scenario)
        super().__init__(
            num_envs,
            gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32),
            gymnasium.spaces.MultiDiscrete([self.nodes] * self.blocks),
        )

    def reset(self):
        self.remaining = np.full(self.num_envs, self.budget)
        self.time = 0
        self._draw()
        return self._observe()

    def _draw(self):
        shape = (self.num_envs, self.blocks, self.nodes - 1)
        self.rate = self.random.random(shape, np.float32) * (self.high - self.low) + self.low

    def _observe(self):
        rate = (self.rate / self.high).reshape(self.num_envs, -1)
        return np.concatenate([self.constants, rate, (self.remaining / self.budget)[:, None]], 1).astype(np.float32)

    def step_async(self, actions):
        self.plans = actions

    def delays(self, plans):
        """(transmission, computation) of each block, [num_envs, M] s."""
        source = np.concatenate([np.zeros((len(plans), 1), int), plans[:, :-1]], 1)
        uplink = self.devices * np.take_along_axis(self.rate, np.maximum(plans - 1, 0)[..., None], 2)[..., 0]
        rate = np.where(source == 0, uplink, self.wired)
        transmission = np.where((source == plans) | (plans == 0), 0, self.data / rate)
        return transmission, self.work / self.speed[plans]

    def step_wait(self):
        transmission, computation = self.delays(self.plans)
        delay = transmission + computation
        reward = -(delay + self.penalty * np.maximum(delay - self.deadline, 0)).sum(1)
        local = np.where(self.plans == 0, self.computing, 0)
        self.remaining -= (local + self.power * transmission).sum(1)
        self.time += 1
        self._draw()
        ended = self.time == self.slots
        infos = [{} for _ in range(self.num_envs)]
        observation = self._observe()
        if ended:
            infos = [{"terminal_observation": o, "TimeLimit.truncated": True} for o in observation]
            observation = self.reset()
        return observation, (reward * self.scale).astype(np.float32), np.full(self.num_envs, ended), infos

    def close(self):
        pass

    def get_attr(self, name, indices=None):
        return [None] * self.num_envs

    def set_attr(self, name, value, indices=None):
        raise AttributeError(name)

    def env_method(self, name, *arguments, indices=None, **keywords):
        raise AttributeError(name)

    def env_is_wrapped(self, wrapper, indices=None):
        return [False] * self.num_envs


def check_against_mecpart(scenario: mecpart.Scenario) -> None:
    """The NumPy environment computes what `evaluate_plan` does, or the comparison would be void."""
    env = NumpyEnv(scenario, 64)
    env.reset()
    plans = np.random.default_rng(1).integers(0, env.nodes, (64, env.blocks))
    slots = mecpart.Slot(env.rate, np.zeros((64, env.nodes), np.float32))
    cost = jax.vmap(lambda slot, plan: mecpart.evaluate_plan(scenario, slot, plan))(slots, plans)
    env.step_async(plans)
    _, reward, _, _ = env.step_wait()
    np.testing.assert_allclose(reward / env.scale, cost.reward, rtol=1e-5)


def steps_per_second(scenario: mecpart.Scenario, num_envs: int = 8, n_steps: int = 32, repeats: int = 5) -> float:
    """Environment steps per second of `A2C.learn`, the median of `repeats` calls after one to warm up."""
    model = A2C(
        "MlpPolicy",
        NumpyEnv(scenario, num_envs),
        n_steps=n_steps,
        policy_kwargs={"net_arch": [64, 64]},
        device="cpu",
        seed=0,
    )
    model.learn(num_envs * n_steps * 2)
    steps = num_envs * n_steps * 20
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        model.learn(steps)
        rates.append(steps / (time.perf_counter() - start))
    return statistics.median(rates)
