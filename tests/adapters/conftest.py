"""A small problem on which plans differ much, and a fair comparison on it: every policy plays the same episodes."""

import importlib.util

import jax
import numpy as np
import pytest

import mecpart
from mecpart.model.environment import read_observation


@pytest.fixture
def one_torch_thread():
    """For repeatable sums, and because networks as small as these gain nothing from more; nothing without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small():
    """`small(name, **changes)`: VGG16 in four blocks on the devices and three servers of different speed."""

    def build(name="as_printed", *, num_slots=20, network=None, **changes):
        network = mecpart.make_network([3e9, 6e9, 9e9]) if network is None else network
        return mecpart.SCENARIOS[name](mecpart.workload("vgg16", blocks=4), network, num_slots=num_slots, **changes)

    return build


@pytest.fixture(scope="session")
def episode_delays():
    """`episode_delays(scenario, choose)`: mean delay of each of eight episodes, the same for every policy.

    `choose` is `plan = choose(observation)`, or the name of a policy without learning.
    """
    from mecpart.adapters import gymnasium

    def play(scenario, choose, episodes=8):
        if isinstance(choose, str):
            choose = policy_of(scenario, choose)
        env, delays = gymnasium.make(scenario), np.zeros((episodes, scenario.num_slots))
        for episode in range(episodes):
            observation, _ = env.reset(seed=1000 + episode)
            for t in range(scenario.num_slots):
                observation, _, _, _, info = env.step(np.asarray(choose(observation)))
                delays[episode, t] = info["total_delay"]
        return delays.mean(axis=1)

    def policy_of(scenario, name):
        @jax.jit
        def plan(observation, key):
            return mecpart.POLICIES[name](scenario, read_observation(scenario, observation), key)

        keys = iter(jax.random.split(jax.random.key(0), 10_000))
        return lambda observation: plan(observation, next(keys))

    return play
