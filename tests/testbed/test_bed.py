"""Testbeds that really run: what comes out, how long it takes at least, and what is kept of it.

No test asks how fast something is: the machine may have other work.
"""

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from flax import linen as nn

import mecpart
from mecpart.dnn import zoo

PLAN = [0, 1, 1, 2, 2, 0]
#: From the device to the servers at once, between them slowly, and no way from the last to the first server.
LATENCY = np.array([[0, 0.01, 0.02], [0.03, 0, 0.04], [0.05, 0, 0]])
RATE = np.array([[0, 1e7, 1e7], [1e7, 0, 1e6], [1e7, 0, 0]])


def move_seconds(plan, workload):
    """By hand."""
    sizes = [*np.asarray(workload.input_bytes), workload.output_bytes]
    path = [0, *plan, 0]
    return sum(LATENCY[a, b] + sizes[at] / RATE[a, b] for at, (a, b) in enumerate(pairwise(path)) if a != b)


@pytest.fixture(scope="module")
def bed(own_network):
    links = mecpart.Links(LATENCY, RATE, names=("camera", "near", "far"))
    with mecpart.Testbed(own_network, 6, links=links) as bed:
        yield bed


@pytest.fixture(scope="module")
def paced(own_network):
    """The second block cannot run on the device."""
    task = mecpart.workload_from_onnx(own_network, 6)
    seconds = np.array([[0.01, 0.02], [np.inf, 0.03], [0.02, 0.01], [0.01, 0.01], [0.01, 0.01], [0.05, 0.01]])
    pace = mecpart.BlockTimes(seconds, task, ("pi", "server"))
    with mecpart.Testbed(own_network, 6, nodes=2, pace=pace) as bed:
        yield bed


class TestWhatComesOut:
    @pytest.mark.parametrize("plan", [[0] * 6, PLAN, [1, 2, 0, 1, 0, 2], [2] * 6], ids=str)
    def test_what_the_whole_network_does(self, bed, own_network, plan):
        image = np.random.default_rng(1).normal(size=(1, 3, 64, 64)).astype(np.float32)
        session = onnxruntime.InferenceSession(own_network, providers=["CPUExecutionProvider"])
        (expected,) = session.run(None, {"image": image})
        (made,) = bed.infer(plan, [image])
        assert made.shape == expected.shape
        assert np.abs(made - expected).max() < 1e-5 * np.abs(expected).max()

    def test_of_its_own_input_the_same_by_every_plan(self, bed):
        np.testing.assert_array_equal(bed.infer(PLAN)[0], bed.infer([0] * 6)[0])


@pytest.mark.parametrize("engine", ["jax", "onnx"])
def test_networks_of_the_paper(engine):
    """Both engines have the same weights and the same image; here the layers run one by one, in JAX."""
    chain = zoo.NETWORKS["alexnet"]()
    image = np.random.default_rng(0).integers(0, 256, zoo.IMAGE.shape, np.uint8)
    variables, x = zoo.chain_variables(chain), image
    for name, layer in chain.layers.items():
        x = layer.apply(variables[name], x)
    with mecpart.Testbed(mecpart.workload("alexnet", 3), nodes=2, engine=engine) as bed:
        (made,) = bed.infer([0, 1, 0], [image])
        (row,) = bed.run([0, 1, 0], rounds=1).itertuples()
    assert np.abs(made - x).max() < 1e-4 * np.abs(x).max()
    assert bed.engine == engine
    assert 0 < row.computing < row.seconds


class Words(nn.Module):
    """A table that the first and the last layer share; what crosses is of half precision."""

    @nn.compact
    def __call__(self, words):
        table = nn.Embed(50, 16, dtype=jnp.bfloat16)
        return table.attend(nn.Dense(16, dtype=jnp.bfloat16)(nn.relu(nn.Dense(64, dtype=jnp.bfloat16)(table(words)))))


def test_a_module_of_flax():
    """Its nodes have neither the module nor its class: they are sent what JAX exports."""
    words, module = np.array([[3, 1, 4, 1, 5]], np.int32), Words()
    variables = module.init(jax.random.key(1), words)
    with mecpart.Testbed(mecpart.trace_module(module, words, variables=variables), 3, nodes=3) as bed:
        assert bed.workload.num_blocks == 3
        for plan in ([0, 0, 0], [1, 2, 1]):
            (made,) = bed.infer(plan)
            np.testing.assert_array_equal(made, module.apply(variables, words))
        (row,) = bed.run([1, 2, 2], rounds=1).itertuples()
        times, _ = bed.calibrate(rounds=2)
    assert 0 < row.computing < row.seconds
    assert times.workload.name == "Words"
    assert (np.asarray(times.seconds) > 0).all()


class TestHowLong:
    @pytest.mark.parametrize("plan", [PLAN, [1, 2, 0, 1, 0, 2]], ids=str)
    def test_links_are_held(self, bed, plan):
        rows = bed.run(plan, rounds=2)
        assert (rows.seconds >= rows.computing + move_seconds(plan, bed.workload)).all()

    def test_a_link_brings_one_at_a_time(self, bed):
        """All inputs are sent at once."""
        (seconds,) = bed.run([1] * 6, rounds=1, tasks=5).seconds
        on_link = float(bed.workload.input_bytes[0]) / RATE[0, 1]
        assert seconds >= 5 * on_link + LATENCY[0, 1] + LATENCY[1, 0]

    def test_paces_are_kept(self, paced):
        rows = paced.run([[0, 1, 1, 1, 1, 0], [1] * 6], rounds=2)
        least = rows.plan.map({"0 1 1 1 1 0": 0.12, "1 1 1 1 1 1": 0.09})
        assert (rows.computing >= least).all()
        assert (rows.seconds >= rows.computing).all()

    def test_a_node_computes_one_task_at_a_time(self, paced):
        (row,) = paced.run([0, 1, 1, 1, 1, 0], rounds=1, tasks=3).itertuples()
        assert row.computing >= 0.12
        assert row.seconds >= 3 * 0.06 + 0.01


class TestAgainstTheModel:
    """By paces and links that are known; no schedule takes less than the model says, so neither does the clock."""

    @pytest.fixture(scope="class")
    @classmethod
    def known(cls, own_network):
        task = mecpart.workload_from_onnx(own_network, 6)
        pace = mecpart.BlockTimes(np.linspace(0.004, 0.02, 18).reshape(6, 3), task, ("a", "b", "c"))
        links = mecpart.Links(LATENCY, RATE + 1e6 * (RATE == 0), names=("a", "b", "c"))
        with mecpart.Testbed(own_network, 6, links=links, pace=pace) as bed:
            yield bed, mecpart.measured(pace, links, rules="pipelined")

    @pytest.mark.parametrize("tasks", [1, 8])
    def test_delays(self, known, tasks):
        bed, scenario = known
        slot = replace(mecpart.sample_slot(jax.random.key(0), scenario), tasks=np.float32(tasks))
        for plan in (PLAN, [0] * 6, [1] * 6, [0, 0, 1, 1, 2, 2]):
            (seconds,) = bed.run(plan, rounds=1, tasks=tasks).seconds
            assert seconds >= 0.9999 * float(mecpart.evaluate_plan(scenario, slot, np.array(plan)).total_delay)


class TestWhatIsKept:
    def test_every_run_in_rounds_in_the_order_of_an_own_draw(self, bed):
        plans = [[0] * 6, PLAN, [1] * 6, [2] * 6]
        rows = bed.run(np.array(plans), rounds=3)
        assert [*rows.columns] == ["plan", "round", "tasks", "seconds", "computing", "load"]
        assert [*rows["round"]] == [0] * 4 + [1] * 4 + [2] * 4
        texts = {"0 0 0 0 0 0", "0 1 1 2 2 0", "1 1 1 1 1 1", "2 2 2 2 2 2"}
        orders = [tuple(each.plan) for _, each in rows.groupby("round")]
        assert all(set(order) == texts for order in orders)
        assert len(set(orders)) > 1
        assert (rows.tasks == 1).all()

    def test_calibrated_it_is_a_scenario_like_any_other(self, paced):
        times, links = paced.calibrate(rounds=2)
        assert times.names == links.names == ("pi", "server")
        seconds = np.asarray(times.seconds)
        assert np.isinf(seconds[1, 0])
        assert np.isfinite(seconds).sum() == 11
        pace = np.array([[0.01, 0.02], [np.inf, 0.03], [0.02, 0.01], [0.01, 0.01], [0.01, 0.01], [0.05, 0.01]])
        assert (seconds >= 0.999 * pace).all()
        scenario = mecpart.measured(times, links)
        cost = mecpart.evaluate_plan(
            scenario, mecpart.sample_slot(jax.random.key(0), scenario), np.array([0, 1, 1, 1, 1, 0])
        )
        assert 0.999 * 0.12 <= float(cost.total_delay) < np.inf

    def test_calibrated_in_the_same_rounds(self, paced, monkeypatch):
        """Between two runs of the plans of a round, others may run."""
        order, once = [], paced._once
        monkeypatch.setattr(paced, "_once", lambda crew, route, tasks: order.append(tasks) or once(crew, route, tasks))
        plans = [[0, 1, 1, 1, 1, 0], [1] * 6]
        rows, (times, links) = paced.run_and_calibrate(plans, rounds=3, tasks=2)
        assert [*rows["round"]] == [0, 0, 1, 1, 2, 2]
        assert (rows.seconds >= 0.09).all()
        assert times.names == links.names == ("pi", "server")
        assert np.isfinite(times.seconds).sum() == 11
        of_plans = np.flatnonzero(np.array(order) == 2)
        each = len(order) // 3
        assert [at // each for at in of_plans] == [0, 0, 1, 1, 2, 2]
        assert (np.diff(of_plans) > 1).any()

    def test_links_that_are_not_there_are_not_found_and_others_as_slow_as_they_are_held(self, bed):
        times, links = bed.calibrate(rounds=2)
        assert links.names == ("camera", "near", "far")
        assert (np.asarray(times.seconds) < np.inf).all()
        found = np.asarray(links.rate)
        np.testing.assert_array_equal(found > 0, RATE > 0)
        latency = np.asarray(links.latency)
        assert latency[0, 1] + latency[1, 0] >= 0.99 * 0.04
        assert latency[0, 1] + latency[1, 2] + latency[2, 0] >= 0.99 * 0.10


class TestRefused:
    @pytest.mark.parametrize(
        ("plan", "message"),
        [
            ([0, 2, 1, 0, 0, 0], "plans must be over links whose rate is above 0; got 0 2 1 0 0 0, and there is none"),
            ([0, 1, 3, 0, 0, 0], "plans must be 6 integers from 0 to 2"),
            ([0, 1, 2], "plans must be 6 integers from 0 to 2"),
            ([0.0] * 6, "plans must be 6 integers from 0 to 2"),
            ([], "plans must be 6 integers from 0 to 2"),
        ],
    )
    def test_plans(self, bed, plan, message):
        with pytest.raises(ValueError, match=message):
            bed.run(plan)
        assert bed.infer([0] * 6)  # it is still there

    def test_a_block_where_it_cannot_run(self, paced):
        with pytest.raises(ValueError, match=r"block 1 \(.*\) on node 0 \('pi'\)"):
            paced.run([0] * 6)

    @pytest.mark.parametrize("tensors", [[], np.zeros((1, 3, 64, 64), np.float32), [np.zeros((1, 3, 64, 64))], "image"])
    def test_what_is_no_input(self, bed, tensors):
        with pytest.raises(ValueError, match=r"tensors must be a list of float32\[1, 3, 64, 64\]; got "):
            bed.infer(PLAN, tensors)
        assert bed.infer(PLAN)  # it is still there

    def test_without_a_with(self, own_network):
        with pytest.raises(RuntimeError, match="inside of a `with`"):
            mecpart.Testbed(own_network, 6).run(PLAN)
