from dataclasses import replace
from functools import partial

import chex
import equations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from instances import assemble, by_any_mixture, instance, instances, padded, permuted, random_instances, round_problem
from scipy import stats

from mecpart.methods.register import METHODS
from mecpart.model.rules import LOADED, RULES
from mecpart.model.scenarios import SCENARIOS
from mecpart.planning.optimum import optimal_plan
from mecpart.planning.policies import POLICIES, apdi, drift_plus_penalty, earliest_finish, greedy, look_ahead, rpdi

KEY = jax.random.key(0)
few = settings(derandomize=True, deadline=None, max_examples=30)
COMPILED = {name: jax.jit(policy) for name, policy in POLICIES.items()}
BATCHED = {name: jax.jit(jax.vmap(policy, (0, 0, None))) for name, policy in POLICIES.items()}
AVERAGE, GREEDY = COMPILED["APDI"], COMPILED["Greedy"]
AVERAGE_OF_SERVERS, GREEDY_OF_SERVERS = (jax.jit(partial(policy, include_device=False)) for policy in (apdi, greedy))


def problem(*, macs, speed, tier=8.0, backlog=None):
    """Blocks of the given work, in cycles, on nodes of the given speeds, with links fast enough not to matter."""
    blocks, servers = len(macs), len(speed)
    return assemble(
        macs=macs,
        input_bytes=np.zeros(blocks),
        parameter_bytes=np.zeros(blocks),
        speed=speed,
        num_devices=1,
        device_frequency=tier,
        wired_rate=1,
        transmit_power=1,
        energy_coefficient=1,
        release_rate=1,
        deadline=100,
        penalty=1,
        cycles_per_mac=1,
        device_rate=np.ones((blocks, servers)),
        backlog=np.zeros(servers + 1) if backlog is None else backlog,
    )


def run_all(scenario, slot, key):
    """The plan of every policy, by name."""
    return {name: policy(scenario, slot, key) for name, policy in POLICIES.items()}


class TestAPDI:
    @pytest.mark.parametrize(
        ("blocks", "servers", "with_device", "without"),
        [
            (6, 2, [0, 0, 1, 1, 2, 2], [1, 1, 1, 2, 2, 2]),
            (6, 3, [0, 0, 1, 2, 2, 3], [1, 1, 2, 2, 3, 3]),
            (6, 1, [0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]),
            (6, 5, [0, 1, 2, 3, 4, 5], [1, 1, 2, 3, 4, 5]),
            (3, 5, [0, 2, 4], [1, 2, 4]),
            (7, 2, [0, 0, 0, 1, 1, 2, 2], [1, 1, 1, 1, 2, 2, 2]),
        ],
    )
    def test_equal_runs_over_the_nodes(self, blocks, servers, with_device, without):
        instance = problem(macs=np.ones(blocks), speed=np.ones(servers))
        np.testing.assert_array_equal(AVERAGE(*instance), with_device)
        np.testing.assert_array_equal(AVERAGE_OF_SERVERS(*instance), without)

    def test_leaves_out_servers_that_do_not_exist(self):
        instance = problem(macs=np.ones(6), speed=[0, 1, 0, 1])
        np.testing.assert_array_equal(AVERAGE(*instance), [0, 0, 2, 2, 4, 4])
        np.testing.assert_array_equal(AVERAGE_OF_SERVERS(*instance), [2, 2, 2, 4, 4, 4])

    @pytest.mark.parametrize("blocks", [1, 4, 6, 9])
    @pytest.mark.parametrize("servers", [1, 3, 4])
    def test_runs_in_order_whose_lengths_differ_by_one_at_most(self, blocks, servers):
        plan = np.asarray(AVERAGE(*problem(macs=np.ones(blocks), speed=np.ones(servers))))
        assert (np.diff(plan) >= 0).all()
        lengths = np.bincount(plan, minlength=servers + 1)
        assert lengths.max() - lengths.min() <= 1


class TestGreedy:
    def test_by_hand(self):
        # Speeds 2, 4, 8; work 8, 16, 8, 8, 8. Seconds already given before each block:
        # (0, 0, 0) -> 0; (4, 0, 0) -> 1; (4, 4, 0) -> 2; (4, 4, 1) -> 2; (4, 4, 2) -> 2.
        instance = problem(macs=[8, 16, 8, 8, 8], speed=[4, 8], tier=2)
        np.testing.assert_array_equal(GREEDY(*instance), [0, 1, 2, 2, 2])
        # Without the devices: (0, 0) -> 1; (2, 0) -> 2; (2, 2) tie -> 1; (4, 2) -> 2; (4, 3) -> 2.
        np.testing.assert_array_equal(GREEDY_OF_SERVERS(*instance), [1, 2, 1, 2, 2])

    def test_counts_the_queues(self):
        # Seconds: (5, 2, 3) -> 1; (5, 4, 3) -> 2; (5, 4, 4) tie -> 1; (5, 6, 4) -> 2; (5, 6, 5) tie -> 0
        instance = problem(macs=[8, 8, 8, 8, 8], speed=[4, 8], tier=2, backlog=[5, 2, 3])
        np.testing.assert_array_equal(GREEDY(*instance), [1, 2, 1, 2, 0])

    def test_counts_the_tasks_of_the_slot(self):
        # Half of a task: (5, 2, 3) -> 1; (5, 3, 3) tie -> 1; (5, 4, 3) -> 2; (5, 4, 3.5) -> 2; (5, 4, 4) tie -> 1
        scenario, slot = problem(macs=[8, 8, 8, 8, 8], speed=[4, 8], tier=2, backlog=[5, 2, 3])
        plan = GREEDY(replace(scenario, rules=LOADED), replace(slot, tasks=np.float32(0.5)))
        np.testing.assert_array_equal(plan, [1, 1, 2, 2, 1])

    def test_one_task_is_computed_by_one_of_the_devices(self):
        # Two devices of 2 cycles/s, queues of 4 s, 2 s, 3 s; each block takes 4 s, 2 s, 1 s of one task:
        # (4, 2, 3) -> 1; (4, 4, 3) -> 2; (4, 4, 4) tie -> 0; (8, 4, 4) tie -> 1; (8, 6, 4) -> 2
        scenario, slot = problem(macs=[8] * 5, speed=[4, 8], tier=2, backlog=[4, 2, 3])
        network = replace(scenario.network, num_devices=np.float32(2), speed=np.array([4, 4, 8], np.float32))
        plan = GREEDY(replace(scenario, network=network), slot)
        np.testing.assert_array_equal(plan, [1, 2, 0, 1, 2])

    def test_ties_go_to_the_lower_node(self):
        instance = problem(macs=np.ones(5), speed=[4, 4], tier=4)
        np.testing.assert_array_equal(GREEDY(*instance), [0, 1, 2, 0, 1])
        np.testing.assert_array_equal(GREEDY_OF_SERVERS(*instance), [1, 2, 1, 2, 1])

    def test_leaves_out_servers_that_do_not_exist(self):
        instance = problem(macs=np.ones(4), speed=[0, 4], tier=4, backlog=[10, 0, 20])
        np.testing.assert_array_equal(GREEDY(*instance), [0, 0, 0, 0])
        np.testing.assert_array_equal(GREEDY_OF_SERVERS(*instance), [2, 2, 2, 2])


class TestRPDI:
    DRAWS = 4000
    RUN = staticmethod(jax.jit(jax.vmap(rpdi, (None, None, 0))))

    def draw(self, scenario, slot):
        keys = jax.random.split(KEY, self.DRAWS)
        return np.asarray(self.RUN(scenario, slot, keys))

    @pytest.mark.parametrize(("speed", "nodes"), [([1, 1, 1], [0, 1, 2, 3]), ([0, 3, 1], [0, 2, 3])])
    def test_uniform_over_the_nodes_there_are(self, speed, nodes):
        drawn = self.draw(*problem(macs=np.ones(3), speed=speed))
        for block in drawn.T:
            counts = np.bincount(block, minlength=4)
            assert counts.sum() == counts[nodes].sum() == self.DRAWS
            assert stats.chisquare(counts[nodes]).pvalue > 0.01
        table = np.histogram2d(drawn[:, 0], drawn[:, 1], bins=[np.arange(5)] * 2)[0][np.ix_(nodes, nodes)]
        assert stats.chi2_contingency(table).pvalue > 0.01, "blocks are drawn independently"

    def test_depends_on_the_key_alone(self):
        instance = problem(macs=np.ones(12), speed=[1, 2, 3])
        one = COMPILED["RPDI"](*instance, KEY)
        np.testing.assert_array_equal(one, COMPILED["RPDI"](*instance, KEY))
        assert (one != COMPILED["RPDI"](*instance, jax.random.key(1))).any()


class TestReferenceLines:
    """Local only, One ES, Single cut and Optimal against the best of all plans of their kind, by NumPy."""

    @pytest.fixture(params=[False, True], ids=["", "queues"])
    def problems(self, request):
        return random_instances(7, 60, blocks=4, servers=3, backlog=request.param)

    def compare(self, name, problems, allowed):
        """The policy attains the least delay of the plans for which `allowed(plans)` holds, by such a plan."""
        every = equations.all_plans(4, 4)
        candidates = every[allowed(every)]
        chosen = np.asarray(BATCHED[name](*problems, KEY))
        assert allowed(chosen).all()
        for i, plan in enumerate(chosen):
            least = equations.cost_of(*instance(problems, i), candidates).total_delay.min()
            found = equations.cost_of(*instance(problems, i), plan).total_delay
            np.testing.assert_allclose(found, least, rtol=1e-5)
        return chosen

    def test_local_only(self, problems):
        assert (self.compare("Local only", problems, lambda plans: (plans == 0).all(axis=1)) == 0).all()

    def test_one_server(self, problems):
        def allowed(plans):
            return (plans > 0).all(axis=1) & (plans == plans[:, :1]).all(axis=1)

        chosen = self.compare("One ES", problems, allowed)
        assert set(chosen.ravel().tolist()) == {1, 2, 3}

    def test_single_cut(self, problems):
        def allowed(plans):  # nothing back on the devices, and one server only
            back = (plans[:, :-1] > 0) & (plans[:, 1:] != plans[:, :-1])
            return ~back.any(axis=1)

        every = equations.all_plans(4, 4)
        assert allowed(every).sum() == 1 + 3 * 4, "all local, or a server after 0 to 3 local blocks"
        chosen = self.compare("Single cut", problems, allowed)
        cuts = (chosen == 0).sum(axis=1)
        assert {0, 1, 4} <= set(cuts.tolist()), "all, most and none of it is sent somewhere"

    def test_optimal(self, problems):
        self.compare("Optimal", problems, lambda plans: np.full(len(plans), True))

    def test_by_hand(self):
        instance = round_problem()  # the image takes 16 s to server 1 and 8 s to server 2; see there
        np.testing.assert_array_equal(COMPILED["Local only"](*instance, KEY), [0, 0, 0])
        np.testing.assert_array_equal(COMPILED["One ES"](*instance, KEY), [2, 2, 2])
        np.testing.assert_array_equal(COMPILED["Single cut"](*instance, KEY), [0, 2, 2])
        np.testing.assert_array_equal(COMPILED["Optimal"](*instance, KEY), [0, 2, 2])


class TestEarliestFinish:
    RUN = staticmethod(jax.jit(jax.vmap(earliest_finish)))

    def by_one_node_after_the_other(self, scenario, slot):
        """By NumPy: of each block the time at which it is finished on every node, after the blocks that have theirs."""
        blocks, plan = scenario.num_blocks, []
        for m in range(1, blocks + 1):
            workload = scenario.workload
            first = {name: getattr(workload, name)[:m] for name in ("macs", "input_bytes", "parameter_bytes")}
            rules = replace(scenario.rules, return_charged=scenario.rules.return_charged and m == blocks)
            workload, deadline = replace(workload, **first), scenario.deadline[:m]
            beginning = replace(scenario, workload=workload, deadline=deadline, rules=rules)
            tried = np.array([[*plan, node] for node in range(scenario.num_nodes)])
            cost = equations.cost_of(beginning, replace(slot, device_rate=slot.device_rate[:m]), tried)
            plan.append(int(cost.total_delay.argmin()))
        return plan

    @by_any_mixture
    def test_the_node_on_which_each_block_is_finished_first(self, rules):
        self.compare(rules)

    def test_where_tasks_stream_the_node_by_which_all_tasks_are_through_first(self):
        self.compare(RULES["pipelined"])

    def compare(self, rules):
        scenario, slots = random_instances(11, 60, blocks=5, servers=3, backlog=rules.queues, name="loaded", tasks=True)
        problems = replace(scenario, rules=rules), slots
        expected = [self.by_one_node_after_the_other(*instance(problems, i)) for i in range(60)]
        np.testing.assert_array_equal(self.RUN(*problems), expected)

    def test_looks_no_block_ahead(self):
        """The image takes 16 s to server 1 and 8 s to server 2, so block 1 stays; block 2 is done 4, 6 or 3 s later."""
        np.testing.assert_array_equal(COMPILED["Earliest finish"](*round_problem(), KEY), [0, 2, 2])

    def test_the_way_back_counts_for_the_last_block_alone(self):
        """The result takes 4 tasks * 64 bytes / 16 bytes/s = 16 s from server 2; block 3 alone on the devices 8.5 s."""
        scenario, slot = round_problem("loaded")
        scenario = replace(scenario, workload=replace(scenario.workload, output_bytes=np.float32(64)))
        np.testing.assert_array_equal(COMPILED["Earliest finish"](scenario, slot, KEY), [0, 2, 0])

    def test_ties_go_to_the_lower_node(self):
        instance = problem(macs=np.ones(3), speed=[8, 8, 8])
        np.testing.assert_array_equal(COMPILED["Earliest finish"](*instance, KEY), [0, 0, 0])
        instance = problem(macs=np.ones(3), speed=[16, 32, 32])
        np.testing.assert_array_equal(COMPILED["Earliest finish"](*instance, KEY), [2, 2, 2])


class TestDriftPlusPenalty:
    """A second of computing on a node costs its queue / patience more, in seconds."""

    @pytest.mark.parametrize("name", ["as_printed", "loaded"])
    def test_with_empty_queues_the_optimum(self, name):
        problems = random_instances(7, 60, blocks=4, servers=3, name=name)
        plans = BATCHED["Drift-plus-penalty"](*problems, KEY)
        for i, plan in enumerate(plans):
            least = equations.cost_of(*instance(problems, i), equations.all_plans(4, 4)).total_delay.min()
            found = equations.cost_of(*instance(problems, i), plan).total_delay
            np.testing.assert_allclose(found, least, rtol=1e-5)

    @pytest.mark.parametrize("blocks", [1, 2])
    @pytest.mark.parametrize("patience", [1.0, 3.0])
    def test_exact_for_two_blocks_whatever_the_queues(self, blocks, patience):
        """One path leads to each node by the first block, so no dearer one is lost that ends earlier."""
        problems = random_instances(blocks, 80, blocks=blocks, servers=3, backlog=True, name="loaded", tasks=True)
        policy = jax.jit(jax.vmap(partial(drift_plus_penalty, patience=patience)))
        every, differ = equations.all_plans(blocks, 4), 0
        for i, plan in enumerate(np.asarray(policy(*problems))):
            scenario, slot = instance(problems, i)
            cost, index = equations.cost_of(scenario, slot, every), np.ravel_multi_index(tuple(plan), (4,) * blocks)
            with np.errstate(invalid="ignore"):
                price = ((slot.backlog / patience)[every] * cost.computation_delay).sum(axis=1)
            value = np.where(np.isfinite(cost.total_delay), cost.total_delay + price, np.inf)
            np.testing.assert_allclose(value[index], value.min(), rtol=1e-5)
            differ += cost.total_delay[index] > 1.01 * cost.total_delay.min()
        assert differ > 3, "it is not the myopic plan"


class TestLookAhead:
    def test_never_behind_the_myopic_plan_over_its_horizon(self):
        """By NumPy: the delay of this slot and of the next three, at mean rates and tasks, by the best plan of each."""
        problems = random_instances(4, 40, blocks=2, servers=2, backlog=True, name="loaded", tasks=True)
        plans = np.asarray(jax.jit(jax.vmap(partial(look_ahead, horizon=3)))(*problems))
        myopic = np.asarray(BATCHED["Myopic"](*problems, KEY))
        every, better = equations.all_plans(2, 3), 0

        def delay_from_here(scenario, slot, plan):
            delay = equations.cost_of(scenario, slot, plan).total_delay
            for _ in range(3):
                rate = np.full_like(slot.device_rate, scenario.network.device_rate_range.mean())
                backlog = equations.backlog_after(scenario, slot, plan)
                slot = replace(slot, device_rate=rate, backlog=backlog, tasks=None)
                cost = equations.cost_of(scenario, slot, every)
                plan = every[cost.total_delay.argmin()]
                delay += cost.total_delay.min()
            return delay

        for i in range(40):
            found, without = (delay_from_here(*instance(problems, i), plan[i]) for plan in (plans, myopic))
            assert found <= without * (1 + 1e-5)
            better += found < 0.99 * without
        assert better > 5

    def test_by_hand(self):
        """Two equal servers without way or wait, and a slow tier: the queue of one makes it take the other."""
        scenario, slot = problem(macs=[8, 8], speed=[4, 4], tier=1, backlog=[0, 1, 0])
        scenario = replace(scenario, rules=LOADED)
        np.testing.assert_array_equal(jax.jit(look_ahead)(scenario, slot), [2, 2])

    @pytest.mark.parametrize("policy", [look_ahead, drift_plus_penalty], ids=lambda policy: policy.__name__)
    def test_a_plan_that_can_be_run(self, policy):
        """Also beside servers that do not exist, and with more queues than can be worked off."""
        problems = random_instances(9, 60, blocks=4, servers=3, backlog=True, name="loaded")
        problems = (problems[0], replace(problems[1], backlog=100 * problems[1].backlog))
        assert (problems[0].network.speed == 0).any(axis=1).sum() > 10
        plans = np.asarray(jax.jit(jax.vmap(policy))(*problems))
        delay = np.array([equations.cost_of(*instance(problems, i), plan).total_delay for i, plan in enumerate(plans)])
        assert np.isfinite(delay).all()
        least = jax.jit(jax.vmap(optimal_plan))(*problems).total_delay
        assert (delay > 1.01 * least).any(), "it is not the myopic plan"


class TestEveryPolicy:
    def test_names(self):
        everywhere = {"Greedy", "APDI", "RPDI", "Local only", "One ES", "Single cut", "Earliest finish"}
        assert set(POLICIES) == everywhere | {"Optimal", "Myopic", "Look-ahead", "Drift-plus-penalty"}
        scenarios = {name: METHODS[name].scenarios for name in POLICIES}
        assert {name for name, where in scenarios.items() if set(where) == set(SCENARIOS)} == everywhere
        assert scenarios["Optimal"] == ("as_printed", "pipelined")
        others = {where for name, where in scenarios.items() if name not in everywhere}
        assert others == {("as_printed", "pipelined"), ("loaded",)}

    @pytest.mark.parametrize("name", POLICIES)
    @few
    @given(instances())
    def test_servers_that_do_not_exist_change_nothing(self, name, problem):
        plan, among_more = (COMPILED[name](*p, KEY) for p in (problem, padded(*problem, 2)))
        np.testing.assert_array_equal(among_more, plan)

    def test_uses_nodes_that_exist(self):
        scenario, slot = round_problem()
        there = replace(scenario, network=replace(scenario.network, speed=np.array([8, 0, 4], np.float32)))
        run = jax.vmap(run_all, (None, None, 0))
        for name, plans in jax.jit(run)(there, slot, jax.random.split(KEY, 50)).items():
            assert plans.shape == (50, 3), name
            assert plans.dtype == np.int32, name
            assert set(np.unique(plans).tolist()) <= {0, 2}, name

    @pytest.mark.parametrize("name", ["One ES", "Single cut", "Optimal"])
    def test_renumbering_the_servers_renumbers_the_plan(self, name):
        problems = random_instances(3, 20, blocks=4, servers=3, backlog=True)
        for i in range(20):
            one, order = instance(problems, i), [3, 1, 2]
            back = np.array([0, *order])[COMPILED[name](*permuted(*one, order), KEY)]
            delays = equations.cost_of(*one, np.stack([back, COMPILED[name](*one, KEY)])).total_delay
            np.testing.assert_allclose(delays[0], delays[1], rtol=1e-5)

    def test_under_jit_vmap_and_scan(self):
        scenario, slot = jax.tree.map(jnp.asarray, round_problem())
        keys, rates = jax.random.split(KEY, 3), jnp.array([2.0, 4.0, 8.0])
        chex.clear_trace_counter()

        @chex.assert_max_traces(3)  # one for each of the transformations
        def plans(key, rate):
            return run_all(replace(scenario, release_rate=rate), slot, key)

        compiled = jax.jit(plans)
        each = [compiled(*pair) for pair in zip(keys, rates, strict=True)]
        one_by_one = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
        chex.assert_trees_all_equal(jax.jit(jax.vmap(plans))(keys, rates), one_by_one)
        scanned = jax.lax.scan(lambda carry, x: (carry, plans(*x)), None, (keys, rates))[1]
        chex.assert_trees_all_equal(scanned, one_by_one)
