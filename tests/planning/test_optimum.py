from dataclasses import replace
from functools import cache, partial

import chex
import equations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instances import (
    by_any_mixture,
    instance,
    instances,
    padded,
    permuted,
    plans,
    random_instances,
    round_problem,
)

from mecpart.model.delay import evaluate_plan, plan_cost
from mecpart.planning.bounds import lower_bound
from mecpart.planning.optimum import OBJECTIVES, optimal_plan, priced_plan

few = settings(derandomize=True, deadline=None, max_examples=40)
COUNT = 100
# Blocks, servers, round values (with many ties and blocks that take exactly as long as they may), backlog, rules.
FAMILIES = [
    (4, 2, False, True, "as_printed"),
    (3, 4, True, True, "as_printed"),
    (4, 2, False, False, "as_printed"),
    (3, 4, True, False, "as_printed"),
    (4, 2, False, True, "loaded"),
    (3, 4, True, True, "loaded"),
    (4, 2, False, False, "loaded"),
    (3, 4, True, False, "loaded"),
]
SOLVE = {objective: jax.jit(jax.vmap(partial(optimal_plan, objective=objective))) for objective in OBJECTIVES}
EVALUATE_ALL = jax.jit(jax.vmap(jax.vmap(plan_cost, (None, None, 0)), (0, 0, None)))
QUEUELESS = [family for family in FAMILIES if not family[3]]
LOADED = [family for family in FAMILIES if family[4] == "loaded"]


def named(family):
    blocks, servers, round_values, backlog, name = family
    return f"M{blocks}-N{servers}{'-round' * round_values}{'-backlog' * backlog}-{name}"


@cache
def solved(objective, blocks, servers, round_values, backlog, name):
    """A family of random instances, and the optimum of each; loose deadlines, so that some instances can keep them."""
    problems = random_instances(
        blocks, COUNT, blocks=blocks, servers=servers, round_values=round_values, backlog=backlog, name=name
    )
    problems = (replace(problems[0], deadline=4 * problems[0].deadline), problems[1])
    return problems, jax.tree.map(np.asarray, SOLVE[objective](*problems))


@cache
def costs_of_all_plans(blocks, servers, round_values, backlog, name):
    """The cost of every plan in each instance of a family, by the equations in NumPy."""
    problems, _ = solved("delay", blocks, servers, round_values, backlog, name)
    every = equations.all_plans(blocks, servers + 1)
    return every, [equations.cost_of(*instance(problems, i), every) for i in range(COUNT)]


class TestAgainstAllPlans:
    """Hundreds of instances, each against every one of its plans; the costs are those of the equations in NumPy."""

    @pytest.mark.parametrize("family", FAMILIES, ids=named)
    def test_delay(self, family):
        _, best = solved("delay", *family)
        every, costs = costs_of_all_plans(*family)
        least = np.array([cost.total_delay.min() for cost in costs])
        assert best.feasible.all()
        np.testing.assert_allclose(best.total_delay, least, rtol=1e-5)
        np.testing.assert_array_equal(best.value, best.total_delay)
        self.check_plans(family, best.plan, every, [cost.total_delay for cost in costs], least)
        local, one_node = (best.plan == 0).all(axis=1), (best.plan == best.plan[:, :1]).all(axis=1)
        assert local.any()
        assert (one_node & ~local).any()
        assert (~one_node).sum() > 10, "the instances differ in the kind of their best plan, and many split"

    @pytest.mark.parametrize("family", QUEUELESS, ids=named)
    def test_reward(self, family):
        _, best = solved("reward", *family)
        every, costs = costs_of_all_plans(*family)
        largest = np.array([cost.reward.max() for cost in costs])
        assert best.feasible.all()
        np.testing.assert_allclose(best.value, -largest, rtol=1e-5)
        self.check_plans(family, best.plan, every, [-cost.reward for cost in costs], -largest)
        delay = [cost.total_delay[self.index(family, plan)] for cost, plan in zip(costs, best.plan, strict=True)]
        np.testing.assert_allclose(best.total_delay, delay, rtol=1e-5)
        quickest = np.array([cost.total_delay.min() for cost in costs])
        assert (best.total_delay > quickest * 1.001).any(), "the penalty makes a difference"

    @pytest.mark.parametrize("family", QUEUELESS, ids=named)
    def test_deadline(self, family):
        _, best = solved("deadline", *family)
        every, costs = costs_of_all_plans(*family)
        allowed = [np.where(cost.in_time, cost.total_delay, np.inf) for cost in costs]
        least = np.array([delay.min() for delay in allowed])
        feasible = np.isfinite(least)
        assert 10 < feasible.sum() < COUNT - 10
        np.testing.assert_array_equal(best.feasible, feasible)
        np.testing.assert_allclose(best.total_delay, least, rtol=1e-5)
        np.testing.assert_allclose(best.value, least, rtol=1e-5)
        assert (best.plan[~feasible] == -1).all()
        of_feasible = [delay for delay, possible in zip(allowed, feasible, strict=True) if possible]
        self.check_plans(family, best.plan[feasible], every, of_feasible, least[feasible])
        quickest = np.array([cost.total_delay.min() for cost in costs])
        assert (least[feasible] > quickest[feasible] * 1.001).any(), "the deadlines make a difference"

    @pytest.mark.parametrize("family", FAMILIES, ids=named)
    def test_delay_against_evaluate_plan(self, family):
        problems, best = solved("delay", *family)
        every, _ = costs_of_all_plans(*family)
        delay = EVALUATE_ALL(*problems, every).total_delay
        np.testing.assert_allclose(best.total_delay, delay.min(axis=1), rtol=1e-6)
        assert (best.total_delay <= delay.min(axis=1) * (1 + 1e-6)).all()

    def index(self, family, plan):
        blocks, servers, *_ = family
        return np.ravel_multi_index(tuple(plan), (servers + 1,) * blocks)

    def check_plans(self, family, chosen, every, values, least):
        """Each chosen plan attains the least value."""
        attained = [value[self.index(family, plan)] for value, plan in zip(values, chosen, strict=True)]
        np.testing.assert_allclose(attained, least, rtol=1e-5)
        np.testing.assert_array_equal([every[self.index(family, plan)] for plan in chosen], chosen)


@jax.jit
@jax.vmap
def values_of_best_plans(scenario, slot, price):
    """By each objective, those that are exact only for empty queues with these; and a plan under `price` with these."""
    empty = replace(slot, backlog=None)
    of_slot = {"delay": slot, "energy": slot, "reward": empty, "deadline": empty}
    found = {objective: optimal_plan(scenario, slot, objective).value for objective, slot in of_slot.items()}
    return found, priced_plan(scenario, empty, price)


@by_any_mixture
def test_by_any_mixture_of_rules(rules):
    """Every plan of forty instances, by the equations in NumPy."""
    scenarios, slots = random_instances(7, 40, blocks=3, servers=2, backlog=True, name="loaded", tasks=True)
    scenarios = replace(scenarios, rules=rules, deadline=4 * scenarios.deadline)
    prices = np.random.default_rng(7).exponential(1, (40, 3)).astype(np.float32)
    found, plans = jax.tree.map(np.asarray, values_of_best_plans(scenarios, slots, prices))
    every = equations.all_plans(3, 3)
    for i in range(40):
        scenario, slot = instance((scenarios, slots), i)
        with_queues = equations.cost_of(scenario, slot, every)
        without = equations.cost_of(scenario, replace(slot, backlog=0 * slot.backlog), every)
        expected = {
            "delay": with_queues.total_delay,
            "energy": np.where(np.isfinite(without.total_delay), without.energy, np.inf),
            "reward": -without.reward,
            "deadline": np.where(without.in_time, without.total_delay, np.inf),
        }
        for objective, values in expected.items():
            np.testing.assert_allclose(found[objective][i], values.min(), rtol=1e-5, err_msg=objective)
        with np.errstate(invalid="ignore"):
            value = without.total_delay + (prices[i][every] * without.computation_delay).sum(axis=1)
        value = np.where(np.isfinite(without.total_delay), value, np.inf)
        np.testing.assert_allclose(value[np.ravel_multi_index(tuple(plans[i]), (3, 3, 3))], value.min(), rtol=1e-5)


class TestByHand:
    """On `round_problem`: the blocks take 2, 4, 8 s on the devices, 1, 2, 4 s on server 1, 0.5, 1, 2 s on server 2."""

    def test_delay(self):
        # The image is too large to send (8 s to server 2). Block 2 takes 2 + 1 s by server 2 and 4 s here; once there,
        # block 3 takes 2 s more.
        best = optimal_plan(*round_problem())
        np.testing.assert_array_equal(best.plan, [0, 2, 2])
        assert (best.total_delay, best.value, best.feasible) == (2 + 3 + 2, 7, True)
        assert best.plan.dtype == np.int32

    def test_back_on_the_devices_nothing_is_paid(self):
        # With a device tier of 512 cycles/s: 1/32, 1/16 and 1/8 s; no server is worth its transmission.
        scenario, slot = round_problem()
        quick = np.array([512, 16, 32], np.float32)
        network = replace(scenario.network, speed=quick, device_frequency=np.float32(256))
        best = optimal_plan(replace(scenario, network=network), slot)
        np.testing.assert_array_equal(best.plan, [0, 0, 0])
        assert best.total_delay == (16 + 32 + 64) / 512

    def test_back_on_the_devices_in_loaded(self):
        # The result adds 0.25 s to the best plan. Only one that takes more than 6.5 s on its way is worth the way of
        # block 3 back (0.5 s) and its 8 s here instead of 2 s.
        best = optimal_plan(*round_problem("loaded"))
        np.testing.assert_array_equal(best.plan, [0, 2, 2])
        assert (best.total_delay, best.value) == (7.25, 7.25)
        scenario, slot = round_problem("loaded")
        heavy = replace(scenario, workload=replace(scenario.workload, output_bytes=np.float32(25)))
        best = optimal_plan(heavy, slot)
        np.testing.assert_array_equal(best.plan, [0, 2, 2])
        assert best.total_delay == 7 + 100 / 16
        heavier = replace(scenario, workload=replace(scenario.workload, output_bytes=np.float32(27)))
        best = optimal_plan(heavier, slot)
        np.testing.assert_array_equal(best.plan, [0, 2, 0])
        assert best.total_delay == 2 + 3 + 0.5 + 8

    def test_deadline_to_the_second(self):
        # The best plan's blocks take 2, 3, 2 s: allowed to the second, and not a moment less.
        best = optimal_plan(*round_problem(deadline=[2, 3, 2]), objective="deadline")
        np.testing.assert_array_equal(best.plan, [0, 2, 2])
        # Without (0, 2): the first block by server 2 takes 8.5 s, the second there 1 s.
        best = optimal_plan(*round_problem(deadline=[9, 2.75, 2]), objective="deadline")
        np.testing.assert_array_equal(best.plan, [2, 2, 2])
        assert (best.total_delay, best.value, best.feasible) == (8.5 + 1 + 2, 11.5, True)

    def test_no_plan_keeps_the_deadlines(self):
        best = optimal_plan(*round_problem(deadline=[9, 2.75, 1.75]), objective="deadline")
        np.testing.assert_array_equal(best.plan, [-1, -1, -1])
        assert (best.total_delay, best.value, best.feasible) == (np.inf, np.inf, False)

    def test_reward(self):
        # Deadlines of 9, 2 and 9 s, penalty 8: (0, 2, 2) is 1 s late and costs 7 + 8; (2, 2, 2) costs 11.5 in time.
        best = optimal_plan(*round_problem(deadline=[9, 2, 9], penalty=8), objective="reward")
        np.testing.assert_array_equal(best.plan, [2, 2, 2])
        assert (best.total_delay, best.value, best.feasible) == (11.5, 11.5, True)
        best = optimal_plan(*round_problem(deadline=[9, 2, 9], penalty=4), objective="reward")
        np.testing.assert_array_equal(best.plan, [0, 2, 2])
        assert (best.total_delay, best.value) == (7, 11)

    def test_a_queue(self):
        # Server 2 is busy until 6 s: (0, 2, 2) then ends at 6 + 1 + 2 s; (0, 1, 2) at 2 + 4 + 2 + 0.5 + 2 = 10.5 s;
        # (0, 0, 2) at 2 + 4 + 0.5 + 2 = 8.5 s.
        scenario, slot = round_problem()
        slot = replace(slot, backlog=np.array([0, 0, 6], np.float32))
        best = optimal_plan(scenario, slot)
        np.testing.assert_array_equal(best.plan, [0, 0, 2])
        assert best.total_delay == 8.5
        assert lower_bound(scenario, slot) == 7

    def test_ties_go_to_the_lower_node(self):
        scenario, slot = round_problem()
        equal = replace(scenario, network=replace(scenario.network, speed=np.array([8, 32, 32], np.float32)))
        slot = replace(slot, device_rate=slot.device_rate[:, [1, 1]])
        np.testing.assert_array_equal(optimal_plan(equal, slot).plan, [0, 1, 1])


class TestProperties:
    @few
    @given(instances(), st.lists(plans(), min_size=4, max_size=4))
    def test_no_plan_is_better_and_none_is_below_the_bound(self, problem, some):
        best, bound = optimal_plan(*problem), lower_bound(*problem)
        for plan in some:
            assert best.total_delay <= evaluate_plan(*problem, plan).total_delay * (1 + 1e-5)
        assert bound <= best.total_delay * (1 + 1e-6)
        found = evaluate_plan(*problem, best.plan).total_delay
        np.testing.assert_allclose(best.total_delay, found, rtol=1e-5)

    @few
    @given(instances(backlog=False), st.lists(plans(), min_size=4, max_size=4))
    def test_without_queues(self, problem, some):
        by_delay, by_reward, in_time, frugal = (optimal_plan(*problem, objective=objective) for objective in OBJECTIVES)
        assert lower_bound(*problem) == by_delay.total_delay, "the bound is attained"
        for plan in some:
            cost = evaluate_plan(*problem, plan)
            assert -by_reward.value >= cost.reward * (1 + 1e-5) - 1e-5
            assert frugal.value <= cost.energy * (1 + 1e-5) or not np.isfinite(cost.total_delay)
        attained = evaluate_plan(*problem, by_reward.plan)
        np.testing.assert_allclose(-by_reward.value, attained.reward, rtol=1e-5)
        np.testing.assert_allclose(by_reward.total_delay, attained.total_delay, rtol=1e-5)
        assert by_delay.total_delay <= by_reward.total_delay * (1 + 1e-5)
        assert by_delay.total_delay <= in_time.total_delay * (1 + 1e-5)
        assert by_reward.value <= in_time.total_delay * (1 + 1e-5), "a plan in time pays no penalty"

    @few
    @given(instances(backlog=False), st.sampled_from(OBJECTIVES))
    def test_servers_that_do_not_exist_change_nothing(self, problem, objective):
        best, among_more = (optimal_plan(*p, objective=objective) for p in (problem, padded(*problem, 2)))
        np.testing.assert_array_equal(among_more.plan, best.plan)
        np.testing.assert_allclose(among_more.total_delay, best.total_delay, rtol=1e-6)
        np.testing.assert_allclose(among_more.value, best.value, rtol=1e-6)

    @few
    @given(instances(), st.permutations([1, 2, 3]))
    def test_renumbering_the_servers_changes_no_optimum(self, problem, order):
        best, renumbered = optimal_plan(*problem), optimal_plan(*permuted(*problem, order))
        np.testing.assert_allclose(renumbered.total_delay, best.total_delay, rtol=1e-6)
        back = np.array([0, *order])[renumbered.plan]
        np.testing.assert_allclose(evaluate_plan(*problem, back).total_delay, best.total_delay, rtol=1e-5)

    @few
    @given(instances(backlog=False), st.sampled_from([0.25, 1.5, 1000.0]))
    def test_without_queues_the_optimum_grows_with_the_release_rate(self, problem, factor):
        """As long as there is a task for each device."""
        scenario, slot = problem
        scenario = replace(scenario, release_rate=4 * scenario.network.num_devices + scenario.release_rate)
        more = replace(scenario, release_rate=np.float32(factor) * scenario.release_rate)
        best, greater = optimal_plan(scenario, slot), optimal_plan(more, slot)
        np.testing.assert_allclose(greater.total_delay, factor * best.total_delay, rtol=1e-5)

    def test_the_bound_is_not_always_attained_with_queues(self):
        (scenarios, slots), best = solved("delay", *FAMILIES[0])
        bound = jax.jit(jax.vmap(lower_bound))(scenarios, slots)
        assert (bound <= best.total_delay * (1 + 1e-6)).all()
        assert (bound < best.total_delay * 0.9).sum() > 10
        empty = replace(slots, backlog=np.zeros_like(slots.backlog))
        least = SOLVE["delay"](scenarios, empty).total_delay
        np.testing.assert_array_equal(bound, least)


class TestPricedPlan:
    """A second of computing on node n costs `price[n]` s more."""

    PLAN = staticmethod(jax.jit(jax.vmap(priced_plan)))

    def prices(self, family):
        """Some of them zero, and some so high that a node is not used."""
        rng = np.random.default_rng(3)
        price = rng.exponential(1, (COUNT, family[1] + 1)) * rng.choice([0, 1, 10], (COUNT, family[1] + 1))
        return price.astype(np.float32)

    @pytest.mark.parametrize("family", QUEUELESS, ids=named)
    def test_exact_with_empty_queues(self, family):
        problems, best = solved("delay", *family)
        every, costs = costs_of_all_plans(*family)
        prices = self.prices(family)
        plans, changed = np.asarray(self.PLAN(*problems, prices)), 0
        for plan, cost, price, myopic in zip(plans, costs, prices, best.plan, strict=True):
            with np.errstate(invalid="ignore"):
                value = cost.total_delay + (price[every] * cost.computation_delay).sum(axis=1)
            value = np.where(np.isfinite(cost.total_delay), value, np.inf)  # not 0 * infinity
            found, without = (
                value[np.ravel_multi_index(tuple(p), (family[1] + 1,) * family[0])] for p in (plan, myopic)
            )
            np.testing.assert_allclose(found, value.min(), rtol=1e-5)
            changed += without > value.min() * 1.01
        assert changed > 20, "the prices make a difference"

    @pytest.mark.parametrize("family", FAMILIES, ids=named)
    def test_without_prices_the_optimum_whatever_the_queues(self, family):
        problems, best = solved("delay", *family)
        plans = self.PLAN(*problems, np.zeros((COUNT, family[1] + 1), np.float32))
        found = jax.jit(jax.vmap(plan_cost))(*problems, plans).total_delay
        np.testing.assert_allclose(found, best.total_delay, rtol=1e-6)

    @pytest.mark.parametrize("family", [family for family in LOADED if family[3]], ids=named)
    def test_a_plan_that_can_be_run_whatever_the_queues_and_prices(self, family):
        problems, best = solved("delay", *family)
        plans = self.PLAN(*problems, self.prices(family))
        found = np.asarray(jax.jit(jax.vmap(plan_cost))(*problems, plans).total_delay)
        assert np.isfinite(found).all()
        assert (found > best.total_delay * 1.01).sum() > 10, "the prices make a difference"

    def test_by_hand(self):
        # (0, 2, 2) takes 7.25 s and computes for 3 s on server 2; (0, 0, 1) takes 2 + 4 + 1 + 4 + 0.5 = 11.5 s and
        # computes for 6 s here and 4 s on server 1; (0, 1, 1) takes 2 + 6 + 4 + 0.5 = 12.5 s, 2 s of them here.
        for price, plan in [
            ((0, 0, 0), (0, 2, 2)),
            ((0, 0, 1.25), (0, 2, 2)),  # 11 s; (0, 0, 2) would be 8.75 + 2 * 1.25 s
            ((0, 0, 1.75), (0, 0, 1)),
            ((0.75, 0, 4), (0, 1, 1)),  # 14 s; (0, 0, 1) would be 11.5 + 4.5 s
        ]:
            found = jax.jit(priced_plan)(*round_problem("loaded"), np.float32(price))
            np.testing.assert_array_equal(found, plan)


class TestTransformations:
    def test_traced_once_for_all_values(self):
        @jax.jit
        @chex.assert_max_traces(1)
        def least(scenario, slot):
            return optimal_plan(scenario, slot).total_delay

        assert [least(*round_problem(release_rate=rate)) for rate in (4, 8, 2)] == [7, 14, 3.5]

    def test_the_derivative_is_that_of_the_best_plan(self):
        problem = padded(*round_problem(), 1)  # beside a server that does not exist
        of_optimum = jax.jit(jax.grad(lambda *p: optimal_plan(*p).total_delay, argnums=(0, 1)))(*problem)
        of_plan = jax.jit(jax.grad(lambda *p: evaluate_plan(*p, [0, 2, 2]).total_delay, argnums=(0, 1)))(*problem)
        chex.assert_tree_all_finite(of_optimum)
        chex.assert_trees_all_close(of_optimum, of_plan, rtol=1e-6)
        assert of_optimum[0].release_rate == 7 / 4

    def test_shapes_and_dtypes_of_a_batch(self):
        scenario, slot = round_problem()
        best = jax.vmap(lambda rate: optimal_plan(replace(scenario, release_rate=rate), slot))(jnp.array([4.0, 8.0]))
        assert best.plan.shape == (2, 3)
        np.testing.assert_array_equal(best.total_delay, [7, 14])


class TestBadInput:
    def test_refuses_an_unknown_objective(self, refused):
        for objective in ("time", "Delay", None):
            with refused("objective", f"got {objective!r}", "'delay', 'reward', 'deadline'"):
                optimal_plan(*round_problem(), objective=objective)

    @pytest.mark.parametrize("solve", [optimal_plan, lower_bound], ids=lambda solve: solve.__name__)
    def test_refuses_a_bad_slot(self, refused, solve):
        scenario, slot = round_problem()
        with refused("slot.device_rate", "got (2, 2)", "(3, 2)"):
            solve(scenario, replace(slot, device_rate=slot.device_rate[1:]))
        with refused("slot.backlog", "got nan", "finite"):
            solve(scenario, replace(slot, backlog=np.full(3, np.nan)))
        with refused("slot.backlog", "got (4,)", "(3,)"):
            jax.jit(lambda backlog: solve(scenario, replace(slot, backlog=backlog)))(np.zeros(4))

    @pytest.mark.parametrize("objective", ["reward", "deadline"])
    def test_refuses_queues_where_the_recursion_is_not_exact(self, refused, objective):
        scenario, slot = round_problem()
        with refused(f"objective='{objective}'", "got [0. 0. 3.]", "only objective='delay'"):
            optimal_plan(scenario, replace(slot, backlog=np.array([0, 0, 3], np.float32)), objective=objective)

    @pytest.mark.parametrize("price", [-1.0, np.nan, np.inf, 1e39], ids=repr)
    def test_refuses_a_price_that_is_none(self, refused, price):
        with refused("price", f"got {price:g}", "finite and at least 0"):
            priced_plan(*round_problem("loaded"), np.array([0, price, 0]))

    def test_refuses_a_slot_of_another_network(self, refused):
        scenario, slot = round_problem("loaded")
        other = replace(slot, device_rate=np.ones((3, 6), np.float32), backlog=np.zeros(7, np.float32))
        with refused("slot.device_rate must have shape (3, 2)", "got (2, 3)"):
            priced_plan(scenario, replace(slot, device_rate=np.ones((2, 3))), np.zeros(3))
        with refused("slot.device_rate must have shape (3, 2)", "got (3, 6)"):
            priced_plan(scenario, other, np.zeros(3))
