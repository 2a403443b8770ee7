"""Rules on many networks are the same rules on the same networks, only side by side."""

import jax
import pytest

from mecpart import COLUMNS, METHODS, Experiment, Setting, run_rules
from mecpart.comparison import RULES
from mecpart.experiments.catalogue import EXPERIMENTS
from mecpart.experiments.programs import case_of
from mecpart.experiments.runner import COLUMNS_OF_QUEUES
from mecpart.experiments.runs import Run
from mecpart.methods.method import Planning


@pytest.mark.parametrize(("scenario", "xs"), [("as_printed", (5, 2)), ("loaded", (3,))])
def test_they_cost_what_single_runs_do(scenario, xs, monkeypatch):
    sweep = Experiment("small", "A few servers", x_name="num_servers", x_label="servers", xs=xs)
    monkeypatch.setitem(EXPERIMENTS, "small", sweep)
    many = run_rules("small", ("RPDI", "Greedy"), scenario=scenario, networks=3)
    assert tuple(many.columns) == (COLUMNS if scenario == "as_printed" else (*COLUMNS, *COLUMNS_OF_QUEUES))
    assert list(zip(many["method"], many["x"], many["seed"], strict=True)) == [
        (method, x, seed) for method in ("RPDI", "Greedy") for x in xs for seed in range(3)
    ]
    assert many[["optimal_total_delay_s", "gap_percent"]].isna().all(axis=None)
    for method, rows in many.groupby("method"):
        single = jax.jit(Planning((METHODS[method],)).evaluate)
        for row in rows[rows["seed"] != 1].itertuples():
            run = Run(method, scenario, Setting(num_servers=row.x), row.seed, episodes=1)
            cost, _ = single(case_of(run), None)
            told = (row.total_delay_s, row.edge_delay_s, row.local_delay_s, row.energy_j, row.reward)
            theirs = (cost.total_delay, cost.edge_delay, cost.local_delay, cost.energy, cost.reward)
            assert told == pytest.approx([float(value) for value in theirs], rel=1e-4)


def test_rules_keep_up_with_little_and_not_with_much(monkeypatch):
    sweep = Experiment("small", "Load", x_name="release_rate", x_label="rate", xs=(1.0, 2000.0))
    monkeypatch.setitem(EXPERIMENTS, "small", sweep)
    many = run_rules("small", ("RPDI", "Greedy"), scenario="loaded", networks=5)
    assert many.groupby("x")["keeps_up"].agg(["min", "max"]).to_numpy().tolist() == [[1, 1], [0, 0]]


def test_a_random_rule_is_on_every_node_as_often_on_average():
    """The local delay of RPDI: a block is on the devices with probability 1 / (N + 1), by hand 1/5 of all work."""
    many = run_rules("fig12", ["RPDI", "Local only"], networks=200).query("x == 1").set_index(["method", "seed"])
    local = many["local_delay_s"].unstack("method")
    assert local["RPDI"].mean() == pytest.approx(local["Local only"].mean() / 5, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "fig99"}, "name must be one of"),
        ({"name": "fig6"}, "name must be that of a sweep; got 'fig6'"),
        ({"methods": ["A3C"]}, "methods must be one of .*Greedy.*; got 'A3C'"),
        ({"methods": "RPDI"}, "methods must be at least one of"),
        ({"scenario": "elsewhere"}, "scenario must be one of"),
        ({"networks": 0}, "networks must be"),
        ({"networks": 10**9}, "networks must be"),
        ({"profile": "huge"}, "profile must be one of"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        run_rules(**{"name": "fig8", "methods": RULES} | arguments)
