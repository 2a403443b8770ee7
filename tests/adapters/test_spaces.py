from dataclasses import replace

import jax
import numpy as np
import pytest
from instances import round_problem

import mecpart
from mecpart.adapters.spaces import observation_bounds, playable
from mecpart.model.environment import PartitionEnv, read_observation

ENV = PartitionEnv()
RESET, STEP_ENV = jax.jit(ENV.reset), jax.jit(ENV.step_env)
CASES = [("as_printed", "constant"), ("loaded", "constant"), ("loaded", "poisson"), ("pipelined", "poisson")]


class TestPlayable:
    def test_a_scenario_without_padding_is_left_alone(self, small):
        scenario = small()
        assert playable(scenario) is scenario

    def test_servers_that_pad_the_network_are_left_out(self, small):
        key = jax.random.key(3)
        padded = small("loaded", network=mecpart.sample_network(key, 2, pad_to=5))
        alone = small("loaded", network=mecpart.sample_network(key, 2))
        left = playable(padded)
        np.testing.assert_array_equal(left.network.speed, alone.network.speed)
        slots = [mecpart.sample_slot(jax.random.key(4), scenario) for scenario in (left, alone)]
        np.testing.assert_array_equal(slots[0].device_rate, slots[1].device_rate)

    def test_a_server_missing_in_the_middle_is_left_out(self, small):
        left = playable(small(network=mecpart.make_network([3e9, 0.0, 9e9])))
        np.testing.assert_array_equal(left.network.speed, np.float32([3.4e9, 3e9, 9e9]))

    @pytest.mark.parametrize("name", mecpart.SCENARIOS)
    def test_a_name_stands_for_the_defaults(self, name):
        scenario = playable(name)
        assert (scenario.name, scenario.num_blocks, scenario.num_nodes) == (name, 6, 5)
        assert scenario.workload.name == "vgg16"
        assert scenario.network.available.all()

    def test_anything_else_is_refused(self, small, refused):
        batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), small())
        deviceless = replace(small(), network=replace(small().network, speed=np.float32([3.4e9, 0, 0, 0])))
        for bad, told in (
            ("printed", ("'printed'", "'as_printed', 'loaded', 'pipelined'")),
            (None, ("None", "a Scenario or one of 'as_printed', 'loaded', 'pipelined'")),
            (batch, ("(2, 4)", "a single one")),
            (deviceless, ("none", "at least one server that exists")),
        ):
            with refused("scenario must", *told):
                playable(bad)
        for network in (None, "mine", replace(small().network, speed=[[1.0], [1.0, 2.0]])):
            with refused("scenario.network"):
                playable(replace(small(), network=network))
        with pytest.raises(ValueError, match=r"scenario must hold numbers.*traced"):
            jax.jit(lambda scenario: playable(scenario).energy_budget)(small())


class TestObservationBounds:
    @pytest.mark.parametrize(("name", "arrivals"), CASES)
    @pytest.mark.parametrize("play", ["random", 0, 1])
    def test_hold_for_whole_episodes(self, small, name, arrivals, play):
        """Also for plans that put all on the devices, or on the slowest server, in every slot."""
        scenario = small(name, num_slots=50, **({} if name == "as_printed" else {"arrivals": arrivals}))
        low, high = observation_bounds(scenario)
        observation, state = RESET(jax.random.key(0), scenario)
        rng, seen = np.random.default_rng(0), [observation]
        for key in jax.random.split(jax.random.key(1), scenario.num_slots):
            plan = rng.integers(0, 4, 4) if play == "random" else np.full(4, play)
            observation, state, *_ = STEP_ENV(key, state, plan, scenario)
            seen.append(observation)
        assert (np.asarray(low) <= np.array(seen)).all()
        assert (np.array(seen) <= np.asarray(high)).all()

    def test_a_queue_can_get_about_as_long_as_they_say(self, small):
        """With all on the slowest node and no way to it: the devices, in slots that they cannot keep up with."""
        scenario = small("loaded", num_slots=50, slot_seconds=0.01)
        network = replace(scenario.network, device_rate_range=np.float32([1e12, 1e12]), wired_rate=np.float32(1e12))
        scenario = replace(scenario, network=network)
        node = int(np.argmin(network.speed))
        _, high = observation_bounds(scenario)
        observation, state = RESET(jax.random.key(0), scenario)
        for key in jax.random.split(jax.random.key(1), 50):
            observation, state, *_ = STEP_ENV(key, state, np.full(4, node), scenario)
        assert observation[-4 + node] > 1
        np.testing.assert_allclose(high[-4 + node], observation[-4 + node], rtol=1e-4)

    def test_the_energy_can_get_as_low_as_they_say(self):
        """With sending free of charge, local computing is the worst: 448 J of 1000 J in each of ten slots."""
        scenario, _ = round_problem()
        free = replace(scenario, network=replace(scenario.network, transmit_power=np.float32(0)))
        low, high = observation_bounds(free)
        np.testing.assert_allclose([low[-1], high[-1]], [(1000 - 4480) / 1000, 1], rtol=1e-5)

    def test_by_hand(self):
        """Work 16, 32, 64 of 8 cycles; rates 1/8 to 4; at 3 W and 1/4 byte/s the blocks take 384, 192, 96 J.

        A slot takes at most (32 + 16 + 8) / (1/4) s on its way and 112 / 8 s to compute, and is 1 s long; ten times.
        """
        scenario, _ = round_problem("loaded")
        low, high = observation_bounds(scenario)
        slot_energy = 448 + 384 + 192 + 96 + 3 * 4 / 0.25  # the result: 4 bytes
        np.testing.assert_allclose(low[-4], (1000 - 10 * slot_energy) / 1000, rtol=1e-4)
        np.testing.assert_array_equal(low[:6], 0)
        np.testing.assert_allclose(low[6:12], 1 / 32, rtol=1e-3)
        np.testing.assert_allclose(high[:3], [2, 4, 8], rtol=1e-4)
        np.testing.assert_allclose(high[3:13], 1, rtol=1e-4)
        np.testing.assert_allclose(high[-3:], np.log1p(10 * 10 * (56 * 4 + 14 - 1)) / np.log(11), rtol=1e-4)

    def test_a_link_that_may_be_down_can_take_infinite_energy(self, small):
        network = mecpart.make_network([3e9, 6e9, 9e9], device_rate_range=(0.0, 2e6))
        low, high = observation_bounds(small(network=network))
        assert low[-1] == -np.inf
        assert np.isfinite(high).all()
        assert np.isfinite(low[:-1]).all()

    def test_under_jit(self, small):
        scenario = small("loaded", arrivals="poisson")
        for inside, outside in zip(jax.jit(observation_bounds)(scenario), observation_bounds(scenario), strict=True):
            np.testing.assert_allclose(inside, outside, rtol=1e-6)


@pytest.mark.parametrize(("name", "arrivals"), CASES[:2])
def test_read_observation_gives_the_slot_that_the_tests_rely_on(small, name, arrivals):
    """The adapters' tests read slots from observations, so that they need no look inside."""
    scenario = small(name)
    _, state = RESET(jax.random.key(0), scenario)
    observation, state, *_ = STEP_ENV(jax.random.key(1), state, np.array([1, 1, 1, 1]), scenario)
    seen = read_observation(scenario, observation)
    np.testing.assert_allclose(seen.device_rate, state.slot.device_rate, rtol=1e-6)
    np.testing.assert_allclose(seen.backlog, state.slot.backlog, rtol=1e-4)


@pytest.mark.parametrize("changes", [{"device_rate_range": (0, 0)}, {"device_rate_range": (0, 2e6)}], ids=str)
def test_links_that_are_down_are_observed_as_numbers(small, changes):
    scenario = small("loaded", network=mecpart.make_network([3e9, 6e9], **changes))
    observation, _ = RESET(jax.random.key(0), scenario)
    assert np.isfinite(observation).all()
    low, high = observation_bounds(scenario)
    assert not np.isnan(low).any()
    assert not np.isnan(high).any()
    assert (low <= observation).all()
    assert (observation <= high).all()
