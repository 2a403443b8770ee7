"""Methods compared on a scenario of one's own, against episodes run slot by slot by the equations in NumPy."""

from dataclasses import replace

import equations
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from measured_devices import drawn

import mecpart
from mecpart import figures, tables
from mecpart.agents import make_train
from mecpart.dnn.workload import Workload
from mecpart.methods import register
from mecpart.model.environment import PartitionEnv
from mecpart.model.scenario import Slot
from mecpart.model.scenarios import SCENARIOS

WORKLOAD = Workload(
    macs=np.float32([2e8, 4e8, 1e8]),
    input_bytes=np.float32([3e3, 4e5, 1e5]),
    parameter_bytes=np.float32([1e6, 2e6, 4e6]),
    output_bytes=np.float32(40),
    block_names=("first", "second", "third"),
    name="mine",
)
LENGTH, RATES = 6, np.float32([[1e6, 2e6], [2e6, 3e5], [4e5, 4e5], [3e6, 1e6], [0, 2e6], [1e6, 1e6]])
COSTS = {"total_delay_s": "total_delay", "edge_delay_s": "edge_delay", "local_delay_s": "local_delay",
         "energy_j": "energy", "reward": "reward"}  # fmt: skip


def scenario_of(rules, **constants):
    """With more work than the servers can do in their slots."""
    network = mecpart.make_network([3e9, 5e9], num_devices=3, wired_rate=2e7)
    return SCENARIOS[rules](WORKLOAD, network, release_rate=8, deadline=2, num_slots=LENGTH, **constants)


def by_hand(scenario, plans, rates, backlog=(0, 0, 0)):
    """The sums of an episode's costs, and the share of late blocks."""
    found, late, backlog = dict.fromkeys(COSTS, 0.0), 0.0, np.float64(backlog)
    for plan, rate in zip(plans, rates, strict=True):
        slot = Slot(np.broadcast_to(rate, (3, 2)), backlog)
        cost = equations.cost_of(scenario, slot, np.array(plan))
        found = {column: value + float(getattr(cost, COSTS[column])) for column, value in found.items()}
        late += float((cost.block_delay > 2).mean()) / len(rates)
        backlog = equations.backlog_after(scenario, slot, np.array(plan))
    return found | {"deadline_violation_rate": late}


@pytest.fixture
def own():
    names = []

    def register(name, function, register=mecpart.register_policy, **options):
        names.append(name)
        register(name, function, **options)

    yield register
    for name in names:
        mecpart.unregister(name)


@pytest.mark.parametrize("rules", SCENARIOS)
def test_on_given_slots_queues_carry_over(rules, own):
    scenario = scenario_of(rules)
    own("Mine", lambda scenario, slot, key: jnp.array([0, 2, 1]))
    own("Mine on the host", lambda scenario, slot, key: [1, 1, int(slot.device_rate[0, 0] > 1.5e6)], on_host=True)
    names = ["Mine", "Mine on the host", "Local only"]
    table = mecpart.compare(scenario, names, seeds=2, slots=Slot(RATES), processes=1)
    assert table["method"].tolist() == ["Local only"] * 2 + ["Mine"] * 2 + ["Mine on the host"] * 2
    plans = {
        "Mine": [[0, 2, 1]] * LENGTH,
        "Mine on the host": [[1, 1, int(rate[0] > 1.5e6)] for rate in RATES],
        "Local only": [[0, 0, 0]] * LENGTH,
    }
    for row in table.to_dict("records"):
        for column, value in by_hand(scenario, plans[row["method"]], RATES).items():
            np.testing.assert_allclose(row[column], value, rtol=1e-5, err_msg=f"{row['method']} {column}")
    best = mecpart.episode_bound(scenario, jax.vmap(scenario.complete)(Slot(RATES)))
    np.testing.assert_allclose(table["optimal_total_delay_s"], best, rtol=1e-5)
    np.testing.assert_allclose(table["gap_percent"], 100 * (table["total_delay_s"] / best - 1), rtol=1e-3)
    assert set(table["gap_to"]) == {"bound" if rules == "loaded" else "optimum"}
    if rules == "loaded":
        full = Slot(RATES, np.broadcast_to(np.float32([0, 6e9, 9e9]), (LENGTH, 3)), np.arange(1.0, 1 + LENGTH))
        table = mecpart.compare(scenario, ["Mine"], seeds=1, slots=replace(full, tasks=None), processes=1)
        delay = by_hand(scenario, plans["Mine"], RATES, (0, 6e9, 9e9))["total_delay_s"]
        np.testing.assert_allclose(table["total_delay_s"], delay, rtol=1e-5)


def test_all_methods_of_the_rules_on_the_same_draws(own):
    """Learners too, registered ones included; and the draws of seed s are those that a policy sees."""
    scenario = scenario_of("as_printed")
    own("Short", lambda episodes: make_train("Learned prices", episodes=24), mecpart.register_learner)
    seen = []

    def watching(scenario, slot, key):
        seen.append(slot)
        return np.zeros(3, int)

    own("Watching", watching, on_host=True)
    table = mecpart.compare(scenario, ["Watching", "Short", "Optimal", "RPDI"], seeds=2, episodes=8, processes=1)
    assert table.groupby("method")["seed"].apply(list).to_dict() == {name: [0, 1] for name in table["method"]}
    np.testing.assert_array_equal(table.set_index("method").loc["Short", "env_steps"], 8 * LENGTH)
    best = table[table["method"] == "Optimal"].set_index("seed")
    assert (best["gap_percent"] == 0).all()
    np.testing.assert_array_equal(table["optimal_total_delay_s"], best["total_delay_s"].loc[table["seed"]].to_numpy())
    episodes = [seen[-2 * LENGTH : -LENGTH], seen[-LENGTH:]]
    for seed, slots in enumerate(episodes):
        least = sum(
            equations.cost_of(scenario, slot, equations.all_plans(3, 3)).total_delay.min()
            for slot in jax.tree.map(np.asarray, slots)
        )
        np.testing.assert_allclose(best["total_delay_s"].loc[seed], least, rtol=1e-5)
    assert not np.array_equal(episodes[0][0].device_rate, episodes[1][0].device_rate)


def tiers(rules):
    """Scission's Raspberry Pi, edge and cloud, in this order alone; the first and the third block not in the cloud."""
    times, links, _ = mecpart.measured_data("scission", "vgg19")
    nodes = ["raspi4", "2500", "6700k(GPU)"]
    times, links = times.cut(5).select(nodes), links.select(nodes)
    seconds = np.array(times.seconds)
    seconds[[0, 2], [2, 2]] = np.inf
    rate = np.triu(links.rate, 1)
    rate[0, 2] = 0
    return mecpart.measured(replace(times, seconds=seconds), replace(links, rate=rate), rules, num_slots=4)


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("loaded", lambda rules: drawn(1, rules=rules, num_slots=4)),
        pytest.param("as_printed", tiers, marks=pytest.mark.slow),
        pytest.param("pipelined", lambda rules: drawn(1, rules=rules, num_slots=4), marks=pytest.mark.slow),
    ],
)
def test_every_method_ends_on_measured_devices_where_not_every_plan_does(rules, problem, own):
    """Learners that hardly learned, and a policy of one's own that names an impossible plan: it alone never ends."""
    scenario = problem(rules)
    plans = equations.all_plans(scenario.num_blocks, scenario.num_nodes)
    slot = mecpart.sample_slot(jax.random.key(0), scenario)
    total = jax.vmap(mecpart.evaluate_plan, (None, None, 0))(scenario, slot, plans).total_delay
    impossible = plans[np.argmax(np.isinf(total))]
    assert np.isinf(total).any()
    own("Impossible", lambda scenario, slot, key: jnp.asarray(impossible))
    size = PartitionEnv().observation_size(scenario)
    weights = np.random.default_rng(0).normal(size=(size, scenario.num_blocks, scenario.num_nodes))

    def agent(observation):
        return jnp.argmax(jnp.tensordot(observation, jnp.asarray(weights, jnp.float32), 1), axis=-1)

    own("Agent", agent, mecpart.register_agent)
    own("Learner", lambda episodes: make_train("Distributed DQN", episodes=8, hidden=(4,)), mecpart.register_learner)
    table = mecpart.compare(scenario, seeds=1, episodes=8, processes=1).set_index("method")
    fixed = {"Impossible", "Agent", "Local only", "One ES", "Single cut"}
    assert np.isfinite(table.loc[[name for name in table.index if name not in fixed], "total_delay_s"]).all()
    assert np.isinf(table.loc["Impossible", "total_delay_s"])
    assert np.isfinite(table["reward"]).all()
    others = [name for name in table.index if np.isfinite(table.loc[name, "total_delay_s"])]
    assert (table.loc[others, "gap_percent"] >= -1e-3).all()
    if rules != "loaded":  # with queues a plan may wait for as long as it likes
        assert table.loc["Impossible", "reward"] < table.loc[others, "reward"].min()


def test_slots_with_tasks_of_their_own(own):
    scenario, tasks = scenario_of("loaded"), np.float32([8, 0, 16, 4, 2, 8])
    own("Mine", lambda scenario, slot, key: jnp.array([0, 2, 1]))
    table = mecpart.compare(scenario, ["Mine"], seeds=1, slots=Slot(RATES, tasks=tasks), processes=1)
    delay, backlog = 0.0, np.zeros(3)
    for at in range(LENGTH):
        slot = Slot(np.broadcast_to(RATES[at], (3, 2)), backlog, tasks[at])
        delay += equations.cost_of(scenario, slot, np.array([0, 2, 1])).total_delay
        backlog = equations.backlog_after(scenario, slot, np.array([0, 2, 1]))
    np.testing.assert_allclose(table["total_delay_s"], delay, rtol=1e-5)


def test_bad_input_is_refused_before_anything_runs(refused):
    scenario, slots = scenario_of("as_printed"), Slot(RATES)
    for texts, given, options in [
        (("scenario", "Network"), scenario.network, {}),
        (("methods", "'Nobody'", "'Greedy'"), scenario, {"methods": ["Nobody"]}),
        (("methods", "'Myopic'"), scenario, {"methods": ["Myopic"]}),
        (("methods", "got 'Greedy'"), scenario, {"methods": "Greedy"}),
        (("methods", "got 3"), scenario, {"methods": 3}),
        (("methods", "at least one"), scenario, {"methods": []}),
        (("seeds", "got 0"), scenario, {"seeds": 0}),
        (("episodes", "got 1.5"), scenario, {"episodes": 1.5}),
        (("profile", "got 'fast'"), scenario, {"profile": "fast"}),
        (("slots", "got array"), scenario, {"slots": RATES}),
        (("slots.device_rate", "leading axis"), scenario, {"slots": Slot(1e6)}),
        (("slots.device_rate", "(slots, servers)", "got (2,)"), scenario, {"slots": Slot(RATES[0])}),
        (("slots.tasks", "(6,)"), scenario, {"slots": replace(slots, tasks=np.ones(5))}),
        (("slots.device_rate", "(6, 3, 2) or (6, 2) or (6,)"), scenario, {"slots": Slot(np.ones((6, 4)))}),
        (("slots.device_rate", "-1"), scenario, {"slots": Slot(np.where(RATES == 0, -1, RATES))}),
    ]:
        with refused(*texts):
            mecpart.compare(given, **options)
    assert not register.own_methods()


TABLE = pd.DataFrame(
    {
        "scenario": "as_printed",
        "method": ["Greedy", "Greedy", "100 % of $x_1$ & #2", "100 % of $x_1$ & #2"],
        "seed": [0, 1, 0, 1],
        "total_delay_s": [12.0, 14.0, 10.0, 11.0],
        "optimal_total_delay_s": [10.0, 10.0, 10.0, 10.0],
        "gap_percent": [20.0, 40.0, 0.0, 10.0],
        "gap_to": "optimum",
    }
)


class TestShown:
    def test_a_picture(self):
        figure = figures.plot_comparison(TABLE)
        left, right = figure.axes
        assert [label.get_text() for label in left.get_yticklabels()] == ["100 % of $x_1$ & #2", "Greedy"]
        for panel, means in ((left, [10.5, 13]), (right, [5, 30])):
            drawn = [line.get_xydata().tolist() for line in panel.get_lines()]
            for at, mean in enumerate(means):
                assert [[mean, at]] in drawn
        assert left.get_lines()[-1].get_xdata()[0] == 10
        assert right.get_xlabel() == "gap to the optimum [%]"
        assert {left.get_xscale(), right.get_xscale()} == {"linear"}
        figure.draw_without_rendering()

    def test_long_names_leave_room_for_the_panels_and_overloads_for_the_others(self):
        name = "A name written out in full, " * 8
        long = TABLE.replace({"Greedy": name}).assign(
            total_delay_s=[1.2e4, 1.4e4, 10, 11], gap_percent=[2e3, 4e3, 0, 1]
        )
        figure = figures.plot_comparison(long)
        figure.draw_without_rendering()
        left, right = figure.axes
        assert " ".join(left.get_yticklabels()[1].get_text().split()) == name.strip()
        assert min(panel.get_window_extent().width for panel in (left, right)) > 0.2 * figure.bbox.width
        heights = [label.get_window_extent().height for label in left.get_yticklabels()]
        apart = np.diff([left.transData.transform((10, at))[1] for at in (1, 0)])[0]
        assert sum(heights) / 2 < apart
        assert left.get_xscale() == "log"
        assert right.get_xscale() == "symlog"

    def test_a_picture_of_another_table_is_refused(self):
        with pytest.raises(ValueError, match=r"columns of mecpart.compare; got none named gap_percent, gap_to"):
            mecpart.plot_comparison(TABLE.drop(columns=["gap_percent", "gap_to"]))
        with pytest.raises(ValueError, match=r"columns of mecpart.compare; got none named method"):
            mecpart.plot_comparison(None)

    def test_latex_with_any_name(self):
        lines = tables.to_latex(TABLE).splitlines()
        assert lines[0] == r"\begin{tabular}{llrrrrl}"
        assert lines[2] == (
            r"scenario & method & seed & total delay [s] & optimal total delay [s] & gap [\%] & gap to \\"
        )
        assert lines[4] == r"as\_printed & Greedy & 0 & 12 & 10 & 20 & optimum \\"
        assert lines[6] == r"as\_printed & 100 \% of \$x\_1\$ \& \#2 & 0 & 10 & 10 & 0 & optimum \\"
