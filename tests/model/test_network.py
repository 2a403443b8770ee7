from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecpart.experiments.setting import Setting, outline
from mecpart.model.network import check_network, make_network, sample_network, shannon_rate

KEY = jax.random.key(0)
BAD = [(-1.0, "-1"), (float("nan"), "nan"), (float("inf"), "inf"), ("fast", "'fast'"), (None, "None")]
ALLOWED = {"num_devices": "at least 1", "device_frequency": "above 0", "wired_rate": "above 0"}
POSITIVE = tuple(ALLOWED)
CONSTANTS = (*POSITIVE, "transmit_power", "energy_coefficient")


class TestMakeNetwork:
    def test_the_device_tier_comes_first(self):
        network = make_network([3.0, 0.0, 5.0], num_devices=4, device_frequency=0.5)
        np.testing.assert_array_equal(network.speed, [2, 3, 0, 5])
        np.testing.assert_array_equal(network.available, [True, True, False, True])
        assert (network.num_nodes, network.num_servers) == (4, 3)

    def test_defaults(self):
        network = make_network(np.array([6e9]))
        np.testing.assert_allclose(network.speed, [3.4e9, 6e9])
        np.testing.assert_allclose(network.device_rate_range, [0.8e6, 2e6])
        values = {name: float(getattr(network, name)) for name in CONSTANTS}
        assert values == pytest.approx(
            {
                "num_devices": 10,
                "device_frequency": 0.34e9,
                "wired_rate": 125e6,
                "transmit_power": 1.25,
                "energy_coefficient": 1e-26,
            }
        )

    def test_every_constant_can_be_given(self):
        given = dict(zip(CONSTANTS, (2, 3, 5, 7, 11), strict=True))
        network = make_network([1], device_rate_range=(13, 17), **given)
        assert {name: float(getattr(network, name)) for name in CONSTANTS} == given
        assert network.device_rate_range.tolist() == [13, 17]

    def test_all_arrays_are_float32(self):
        network = make_network([1e9, 2e9], num_devices=3, device_rate_range=(1, 2), wired_rate=4)
        assert {leaf.dtype for leaf in jax.tree.leaves(network)} == {np.dtype(np.float32)}
        check_network(network)

    def test_compiles_once_for_all_values(self):
        @jax.jit
        @chex.assert_max_traces(1)
        def total_speed(network):
            return network.speed.sum()

        networks = [make_network([1.0, 2.0], num_devices=d, device_frequency=0.5) for d in (2, 4)]
        assert [float(total_speed(network)) for network in networks] == [4, 5]
        made_inside = jax.vmap(lambda speed: make_network(speed, num_devices=1, device_frequency=1))
        np.testing.assert_array_equal(made_inside(jnp.ones((2, 3))).speed, np.ones((2, 4)))

    def test_shown_in_a_notebook(self):
        shown = make_network([3e9, 4.5e9], num_devices=7)._repr_html_()
        assert all(text in shown for text in ("<table>", "IoT tier", "edge server 2", "4.50", "7 devices"))

    @pytest.mark.parametrize(("value", "got"), BAD, ids=repr)
    def test_refuses_a_bad_speed(self, refused, value, got):
        with refused("server_speed", f"got {got}", "finite and at least 0"):
            make_network(value if isinstance(value, str | None) else [1.0, value, 2.0, 3.0, 4.0])

    @pytest.mark.parametrize("name", CONSTANTS)
    @pytest.mark.parametrize(("value", "got"), BAD, ids=repr)
    def test_refuses_a_bad_constant(self, refused, name, value, got):
        with refused(name, f"got {got}", f"finite and {ALLOWED.get(name, 'at least 0')}"):
            make_network(np.ones(5), **{name: value})

    @pytest.mark.parametrize("name", POSITIVE)
    def test_refuses_zero_where_something_is_divided_by_it(self, refused, name):
        with refused(name, "got 0", ALLOWED[name]):
            make_network(np.ones(5), **{name: 0})

    def test_refuses_fewer_than_one_device(self, refused):
        told = "num_devices must be finite and at least 1", "got 0.5"
        with refused(*told):
            make_network(np.ones(5), num_devices=0.5)
        with refused(*told):
            sample_network(KEY, num_devices=np.float32(0.5))
        with refused("network.", *told):
            check_network(replace(TestCheckNetwork.NETWORK, num_devices=0.5))
        with refused(*told):
            outline(Setting(of_network={"num_devices": 0.5}), "pipelined")
        assert make_network([1e9], num_devices=1).num_devices == 1

    def test_refuses_parts_of_devices_where_they_are_known(self, refused):
        """A schedule of two and a half devices would be one of two, and take longer than the delay says."""
        told = "num_devices must be a whole number of at least 1", "got 2.5"
        with refused(*told):
            make_network(np.ones(5), num_devices=2.5)
        with refused(*told):
            outline(Setting(of_network={"num_devices": 2.5}), "pipelined")
        unknown = jax.eval_shape(lambda devices: make_network([3e9], num_devices=devices), 2.5)
        assert unknown.speed.shape == (2,)

    def test_refuses_a_bad_rate_range(self, refused):
        for given, got, allowed in [
            ((2.0, 1.0), "(2, 1)", "low <= high"),
            ((-1.0, 1.0), "-1", "at least 0"),
            ((0.0, float("nan")), "nan", "finite"),
            (2.0, "2.0", "a pair (low, high)"),
        ]:
            with refused("device_rate_range", f"got {got}", allowed):
                make_network(np.ones(5), device_rate_range=given)

    @pytest.mark.parametrize("name", CONSTANTS)
    @pytest.mark.parametrize("value", [np.ones(6), [1, 2, 3, 4, 5, 6], np.ones((6, 4)), np.ones(1)], ids=np.shape)
    def test_refuses_several_values_of_what_there_is_one_of(self, refused, name, value):
        with refused(f"{name} must have shape ()", f"got {np.shape(value)}"):
            make_network(np.ones(5), **{name: value})

    @pytest.mark.parametrize("value", [1e39, 1e-46, 1e-39], ids=repr)
    def test_refuses_what_float32_does_not_hold(self, refused, value):
        for name in CONSTANTS:
            told = "at least 1" if name == "num_devices" and value < 1 else "float32"
            with refused(name, told, f"got {value:g}"):
                make_network(np.ones(5), **{name: value})
        with refused("server_speed", "float32", f"got {value:g}"):
            make_network([1e9, value])
        with refused("device_rate_range", "float32", f"got {value:g}"):
            make_network([1e9], device_rate_range=(value, value))

    def test_warns_of_speeds_that_are_not_in_hertz(self):
        with pytest.warns(UserWarning, match=r"server_speed is in hertz.*got 3,.*below 1 kHz"):
            make_network([3, 6, 9])
        with pytest.warns(UserWarning, match=r"server_speed.*got 6"):
            make_network([3e9, 6.0, 0.0])
        with pytest.warns(UserWarning, match=r"device_frequency is in hertz.*got 0\.8"):
            make_network([3e9], device_frequency=0.8)
        with pytest.warns(UserWarning, match=r"server_speed_range.*got 3"):
            sample_network(KEY, 2, server_speed_range=(3, 9))

    def test_does_not_warn_of_servers_that_do_not_exist_or_of_another_unit_throughout(self):
        make_network([0.0, 3e9])
        make_network([0.0])
        make_network([3, 6, 9], device_frequency=0.8)

    def test_refuses_speeds_that_are_no_list_of_servers(self, refused):
        for given, got in [([], "(0,)"), (3.0, "()"), (np.ones((2, 4)), "(2, 4)")]:
            with refused("server_speed", "must have shape", f"got {got}"):
                make_network(given)


class TestCheckNetwork:
    NETWORK = make_network([1e9, 2e9])

    @pytest.mark.parametrize("name", ["speed", *CONSTANTS])
    def test_refuses_a_bad_value(self, refused, name):
        bad = np.full(np.shape(getattr(self.NETWORK, name)), np.nan, np.float32)
        with refused(f"network.{name}", "got nan", "finite"):
            check_network(replace(self.NETWORK, **{name: bad}))

    @pytest.mark.parametrize("name", ["speed", "device_rate_range", *CONSTANTS])
    @pytest.mark.parametrize("value", [np.ones((6, 4)), [1e9, 1e9, 1e9], "9", None, True, 1j, 1e39, -1.0], ids=type)
    def test_refuses_what_a_field_cannot_be(self, refused, name, value):
        with refused(f"network.{name}", "must"):
            check_network(replace(self.NETWORK, **{name: value}))

    @pytest.mark.parametrize("value", [None, "fig8", {"speed": [1e9]}, 3, NETWORK.speed], ids=type)
    def test_refuses_what_is_no_network(self, refused, value):
        with refused("network must be a mecpart.Network", "make_network", "got"):
            check_network(value)

    def test_allows_what_is_traced_and_plain_numbers(self):
        check_network(
            replace(self.NETWORK, wired_rate=125e6, num_devices=1, device_frequency=1, speed=np.array([1, 2]))
        )
        jax.jit(lambda network: check_network(network))(self.NETWORK)
        jax.vmap(check_network)(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), self.NETWORK))
        with pytest.raises(ValueError, match=r"network\.wired_rate must have shape \(\); got \(3,\)"):
            jax.jit(check_network)(replace(self.NETWORK, wired_rate=np.ones(3)))

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"device_frequency": 1e20}, "device_frequency^2"),
            ({"num_devices": 1e30, "device_frequency": 1e10}, "num_devices * device_frequency"),
            ({"num_devices": 1e38, "device_frequency": 1}, "num_devices * device_rate_range"),
        ],
    )
    def test_refuses_products_that_are_too_large(self, refused, changes, told):
        with refused(told, "3.4e+38", "float32"):
            check_network(replace(self.NETWORK, **changes))

    def test_is_shown_on_a_line_with_units(self):
        shown = repr(self.NETWORK)
        assert shown.startswith(
            "Network(speed=[3.4e+09, 1e+09, 2e+09] cycles/s, num_devices=10, device_frequency=3.4e+08 Hz"
        )
        assert "wired_rate=1.25e+08 bytes/s" in shown
        assert "\n" not in shown

    def test_refuses_devices_that_do_not_compute(self, refused):
        with refused("network.speed[0]", "got 0", "above 0"):
            check_network(replace(self.NETWORK, speed=np.array([0.0, 1.0], np.float32)))

    @pytest.mark.parametrize("changes", [{"num_devices": 20}, {"device_frequency": 1e9}, {"speed": np.full(3, 1e9)}])
    def test_refuses_a_tier_that_is_not_all_devices_together(self, refused, changes):
        with refused("network.speed[0]", "num_devices * device_frequency"):
            check_network(replace(self.NETWORK, **changes))

    def test_refuses_a_network_without_a_server(self, refused):
        for speed, got in [(np.ones(1), "(1,)"), (np.ones((2, 3)), "(2, 3)"), (np.float32(1), "()")]:
            with refused("network.speed", "(N + 1,)", f"got shape {got}"):
                check_network(replace(self.NETWORK, speed=speed))

    def test_refuses_a_reversed_range(self, refused):
        with refused("network.device_rate_range", "(2, 1)", "low <= high"):
            check_network(replace(self.NETWORK, device_rate_range=np.array([2.0, 1.0])))


class TestSampleNetwork:
    def test_draws_uniformly_from_the_range(self):
        speed = np.asarray(sample_network(KEY, 2000, server_speed_range=(2.0, 6.0), device_frequency=1).speed[1:])
        assert ((speed >= 2) & (speed < 6)).all()
        assert abs(speed.mean() - 4) < 4 * (4 / np.sqrt(12)) / np.sqrt(2000)
        assert abs(np.quantile(speed, [0.25, 0.75]) - [3, 5]).max() < 0.15

    def test_a_larger_network_begins_as_a_smaller_one(self):
        small, large = sample_network(KEY, 2), sample_network(KEY, 9)
        np.testing.assert_array_equal(small.speed, large.speed[:3])
        assert len(set(large.speed.tolist())) == 10

    def test_padding_changes_no_draw(self):
        network = sample_network(KEY, 2, pad_to=9)
        np.testing.assert_array_equal(network.speed[:3], sample_network(KEY, 2).speed)
        np.testing.assert_array_equal(network.speed[3:], np.zeros(7))

    def test_depends_on_the_key(self):
        other = sample_network(jax.random.key(1), 2)
        assert (np.asarray(other.speed[1:]) != np.asarray(sample_network(KEY, 2).speed[1:])).all()

    def test_passes_constants_on(self):
        network = sample_network(KEY, 2, server_speed_range=(3.0, 3.0), num_devices=2, device_frequency=4, wired_rate=5)
        assert network.speed.tolist() == [8, 3, 3]
        assert network.wired_rate == 5

    def test_vectorised_over_keys(self):
        keys = jax.random.split(KEY, 3)
        speed = jax.jit(jax.vmap(lambda key: sample_network(key, 2).speed))(keys)
        np.testing.assert_allclose(speed, [sample_network(key, 2).speed for key in keys], rtol=1e-6)

    @pytest.mark.parametrize("count", [0, -1, 2.0, True, "4", None], ids=repr)
    def test_refuses_a_bad_number_of_servers(self, refused, count):
        with refused("num_servers", f"got {count!r}", "a whole number of at least 1"):
            sample_network(KEY, count)

    def test_refuses_less_room_than_servers(self, refused):
        with refused("num_servers", "got 5", "from 1 to 3"):
            sample_network(KEY, 5, pad_to=3)

    @pytest.mark.parametrize("pad_to", [0, -1, 2.5, "9"], ids=repr)
    def test_refuses_a_bad_padding(self, refused, pad_to):
        with refused("pad_to", f"got {pad_to!r}", "a whole number of at least 1"):
            sample_network(KEY, 1, pad_to=pad_to)

    def test_refuses_a_reversed_speed_range(self, refused):
        with refused("server_speed_range", "(9e+09, 3e+09)", "low <= high"):
            sample_network(KEY, 4, server_speed_range=(9e9, 3e9))

    def test_refuses_a_bad_constant_before_it_draws(self, refused):
        with refused("wired_rate", "got -1", "above 0"):
            sample_network(KEY, 11, wired_rate=-1)


class TestShannonRate:
    def test_by_hand(self):
        # 8 Hz * log2(1 + 3 W * 2 / (0.25 W/Hz * 8 Hz)) = 8 * log2(4) = 16 bit/s = 2 bytes/s
        assert shannon_rate(8.0, 3.0, 2.0, 0.25) == 2
        assert shannon_rate(8.0, 0.0, 2.0, 0.25) == 0

    def test_broadcasts(self):
        # signal over noise 1, 3 and 7 on bands of 8 and 16 Hz
        rate = shannon_rate(np.array([[8.0], [16.0]]), 1.0, np.array([2.0, 6.0, 14.0]), np.array([[0.25], [0.125]]))
        np.testing.assert_array_equal(rate, [[1, 2, 3], [2, 4, 6]])

    def test_the_derivative(self):
        # d/dp of B / 8 * log2(1 + p) at p = 1 with N0 B = |h|^2 is B / (8 * 2 * ln 2)
        slope = jax.grad(lambda power: shannon_rate(16.0, power, 2.0, 0.125))(1.0)
        np.testing.assert_allclose(slope, 16 / (16 * np.log(2)), rtol=1e-6)

    @pytest.mark.parametrize("name", ["bandwidth", "transmit_power", "channel_gain", "noise_density"])
    def test_refuses(self, refused, name):
        values = {"bandwidth": 1.0, "transmit_power": 1.0, "channel_gain": 1.0, "noise_density": 1.0}
        for bad, got in ((-2.0, "-2"), (float("nan"), "nan"), (np.array([1.0, np.inf]), "inf")):
            with refused(name, f"got {got}", "finite"):
                shannon_rate(**values | {name: bad})
        if name in ("bandwidth", "noise_density"):
            with refused(name, "got 0", "above 0"):
                shannon_rate(**values | {name: 0.0})
