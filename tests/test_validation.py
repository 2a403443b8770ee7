from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from measured_devices import drawn

import mecpart
from mecpart.model.scenarios import SCENARIOS
from mecpart.validation import (
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_range,
    check_shape,
    is_concrete,
)


def test_the_refusals_of_these_tests_notice_a_compilation(refused):
    def late():
        jax.jit(lambda x: jnp.sinh(x) * 37)(np.ones(23))
        raise ValueError("late")

    with pytest.raises(AssertionError, match="compiled before the refusal"), refused("late"):
        late()


class TestCheckNumber:
    @pytest.mark.parametrize(
        "value",
        [0, 0.0, -0.0, 3, 3e38, 2e-38, np.float32(2), np.int8(1), [0, 1.5], np.zeros((2, 3)), (), np.uint64(2**63)],
        ids=repr,
    )
    def test_allows_finite_values_from_the_minimum(self, value):
        check_number("x", value)

    def test_allows_jax_arrays_of_any_real_dtype(self):
        for dtype in (jnp.int32, jnp.float32, jnp.bfloat16):
            check_number("x", jax.device_put(np.array([0, 2], dtype)))

    @pytest.mark.parametrize(
        ("value", "got"),
        [
            (-1, "-1"),
            (-1e-30, "-1e-30"),
            (float("nan"), "nan"),
            (float("inf"), "inf"),
            (-float("inf"), "-inf"),
            ([1.0, float("nan"), 2.0], "nan"),
            (np.array([[1, 2], [3, -4]]), "-4"),
            (True, "True"),
            ("3", "'3'"),
            (None, "None"),
            (1j, "1j"),
            (np.ma.masked_array([1.0], mask=True), "masked_array"),
        ],
        ids=repr,
    )
    def test_refuses(self, refused, value, got):
        with refused("speed", f"got {got}", "finite and at least 0"):
            check_number("speed", value)

    @pytest.mark.parametrize("value", [1e39, 1e-46, 1e-39, [1.0, -1e-40], np.float64(4e38)], ids=repr)
    def test_refuses_what_float32_does_not_hold(self, refused, value):
        got = np.ravel(np.array(value, float))[-1]
        with refused("wired_rate", "float32", "1.2e-38 to 3.4e+38", f"got {got:g}"):
            check_number("wired_rate", value, minimum=-1)

    @pytest.mark.parametrize(
        "value", [10**39, 10**400, [[1.0], [1.0, 2.0]], {"a": 1}, jax.random.key(0), b"1", object()], ids=type
    )
    def test_refuses_what_is_no_array_of_numbers(self, refused, value):
        with refused("wired_rate must be a number", "finite and at least 0; got"):
            check_number("wired_rate", value)

    def test_refuses_a_wrong_shape(self, refused):
        check_number("x", [1, 2], shapes=((), (2,)))
        with refused("x must have shape () or (3,)", "got (2,)"):
            check_number("x", [1, 2], shapes=((), (3,)))

    def test_refuses_fractions_where_only_whole_numbers_are_allowed(self, refused):
        check_number("x", [1, 2], whole=True)
        with refused("x must be whole numbers", "got 1.0"):
            check_number("x", 1.0, whole=True)

    def test_refuses_the_minimum_where_it_is_excluded(self, refused):
        check_number("x", 1e-9, exclusive=True)
        with refused("x", "got 0", "above 0"):
            check_number("x", [1, 0], exclusive=True)
        with refused("x", "got 1.5", "at least 2"):
            check_number("x", 1.5, minimum=2)


class TestCheckCount:
    @pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(2)], ids=repr)
    def test_gives_an_int(self, value):
        assert check_count("n", value) == value
        assert type(check_count("n", value)) is int

    @pytest.mark.parametrize("value", [0, -3, 2.0, np.float32(3), "2", None, True, [1]], ids=repr)
    def test_refuses(self, refused, value):
        with refused("num_servers", repr(value), "a whole number of at least 1"):
            check_count("num_servers", value)

    @pytest.mark.parametrize("value", [2**31, 2**64], ids=repr)
    def test_refuses_what_int32_would_make_another(self, refused, value):
        with refused("num_slots", str(value), "a whole number from 1 to 2147483647"):
            check_count("num_slots", value)

    def test_keeps_to_the_range(self, refused):
        assert check_count("blocks", 0, minimum=0, maximum=4) == 0
        assert check_count("blocks", 4, minimum=0, maximum=4) == 4
        with refused("blocks", "got 5", "from 1 to 4"):
            check_count("blocks", 5, maximum=4)


class TestCheckRange:
    @pytest.mark.parametrize("value", [(0, 0), (1, 2), [0.5, 0.5], np.array([1.0, 3.0])], ids=repr)
    def test_allows_a_pair_in_order(self, value):
        check_range("x", value)

    @pytest.mark.parametrize(
        ("value", "got", "allowed"),
        [
            ((2.0, 1.0), "(2, 1)", "low <= high"),
            (np.array([3, 1]), "(3, 1)", "low <= high"),
            (1.0, "1.0", "a pair (low, high)"),
            ((1, 2, 3), "(1, 2, 3)", "a pair (low, high)"),
            (None, "None", "a pair (low, high)"),
            ((-1, 1), "-1", "at least 0"),
            ((0, float("inf")), "inf", "finite"),
            ((float("nan"), 1), "nan", "finite"),
        ],
        ids=repr,
    )
    def test_refuses(self, refused, value, got, allowed):
        with refused("device_rate_range", f"got {got}", allowed):
            check_range("device_rate_range", value)


@pytest.mark.parametrize("value", [0, 1.0, "no", None, [True], np.ones(2, bool)], ids=repr)
def test_check_flag(refused, value):
    for flag in (True, False, np.bool_(True), jax.device_put(np.bool_(False))):
        check_flag("x", flag)
    with refused("x must be True or False", f"got {value!r}"):
        check_flag("x", value)


def test_check_shape(refused):
    check_shape("x", 1.0, (), (3,))
    check_shape("x", [1, 2, 3], (), (3,))
    with refused("deadline", "got (2,)", "() or (3,)"):
        check_shape("deadline", [1, 2], (), (3,))
    with refused("x", "got (3, 1)", "(3,)"):
        check_shape("x", np.zeros((3, 1)), (3,))


def test_check_choice(refused):
    check_choice("objective", "delay", ("delay", "reward"))
    check_choice("objective", "delay", {"delay": 1})
    for value in ("Delay", "", None, 3, ["delay"]):
        with refused("objective", f"got {value!r}", "'delay', 'reward'"):
            check_choice("objective", value, iter(("delay", "reward")))


def test_traced_values_are_not_checked_but_traced_shapes_are(refused):
    seen = []

    def checked(x):
        seen.append((is_concrete(x), is_concrete({"x": 1.0}, [x]), is_concrete({"x": 1.0}, None)))
        check_number("x", x, exclusive=True)
        check_number("x", [1.0, x[0]])
        check_range("x", x)
        check_shape("x", x, (2,))
        return x

    jax.jit(checked)(np.array([-1.0, -2.0]))
    jax.vmap(checked)(np.array([[-1.0, -2.0]]))
    jax.grad(lambda x: checked(x)[0])(np.array([-1.0, -2.0]))
    assert seen == [(False, False, True)] * 3
    assert is_concrete(1.0, np.ones(2), jax.device_put(np.ones(2)))
    with refused("x", "got (3,)", "(2,)"):
        jax.jit(lambda x: check_shape("x", x, (2,)))(np.ones(3))


@pytest.mark.parametrize("rules", SCENARIOS)
@pytest.mark.parametrize("measured", [False, True])
def test_known_scenarios_and_slots_are_taken_while_something_else_is_traced(rules, measured):
    """All of them known, as arrays of JAX that are part of the program, or one of their numbers traced."""
    key, arrivals = jax.random.key(0), {} if rules == "as_printed" and not measured else {"arrivals": "poisson"}
    if measured:
        scenario = drawn(2, rules=rules, num_slots=3, **arrivals)
    else:
        network = mecpart.make_network([3e9, 5e9], num_devices=3)
        scenario = SCENARIOS[rules](mecpart.workload("alexnet", blocks=4), network, num_slots=3, **arrivals)
    scenario = jax.tree.map(jnp.asarray, scenario)
    slots = mecpart.sample_slots(key, scenario, 3)
    slot = jax.tree.map(lambda leaf: leaf[0], slots)
    plan, plans = jnp.zeros(4, jnp.int32), jnp.zeros((3, 4), jnp.int32)
    env, state = mecpart.PartitionEnv(), mecpart.EnvState(slot, scenario.energy_budget, jnp.int32(0))

    def unchecked():  # else it is known to be sound
        return jax.tree_util.tree_map(lambda leaf: leaf, scenario)

    asked = [
        lambda one: mecpart.evaluate_plan(unchecked(), slot, plan),
        lambda one: mecpart.evaluate_plan(scenario, replace(slot, device_rate=one * slot.device_rate), plan),
        lambda one: mecpart.evaluate_plan(replace(scenario, release_rate=one), slot, plan),
        lambda one: mecpart.evaluate_plan(replace(scenario, slot_seconds=one), slot, plan),
        lambda one: mecpart.optimal_plan(unchecked(), slot),
        lambda one: mecpart.lower_bound(unchecked(), slot),
        lambda one: mecpart.episode_bound(unchecked(), slots),
        lambda one: mecpart.best_constant_plan(unchecked(), slots),
        lambda one: mecpart.utilisation(unchecked(), slots, plans),
        lambda one: mecpart.priced_plan(unchecked(), slot, jnp.ones(3)),
        lambda one: mecpart.sample_slots(key, unchecked(), 2),
        lambda one: env.step(key, state, plan, unchecked()),
        lambda one: mecpart.simulate(unchecked(), slot, plan).end,
        lambda one: () if scenario.rules.streams else mecpart.pareto_front(unchecked(), slot),
        lambda one: scenario.times.cut(2) if measured else (),
    ]
    for function in asked:
        jax.eval_shape(function, jnp.float32(1))


def test_values_known_while_something_else_is_traced_are_checked(refused):
    known = jax.device_put(np.array([2.0, 1.0]))

    def checked(x):
        check_range("rates", known)
        return x

    with refused("rates", "got (2, 1)", "low <= high"):
        jax.jit(checked)(np.ones(2))
