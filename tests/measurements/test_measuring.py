"""Block times of this machine: which runs count, what is made of them, and the file that they go to."""

import os
import time
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest
from flax import linen as nn

import mecpart
from mecpart.measurements import engines, measuring
from mecpart.measurements.measuring import MeasuredBlocks, measure
from mecpart.model.devices import BlockTimes

TASK = mecpart.workload("alexnet", 3)


def measured(node="pi", task=TASK, seconds=(0.25, 1e-3, 2e-7)):
    column = np.array(seconds, np.float32)[:, None]
    times = BlockTimes(column, task, (node,), spread=column / 16)
    return MeasuredBlocks(times, np.ones((4, len(seconds))), "by hand, in a test")


class TestRuns:
    def test_all_blocks_in_turn_in_every_run_and_each_round_apart(self, monkeypatch):
        """By a clock that the blocks themselves move: the second block is slow in the first round."""
        now, order = [0.0], []

        def block(number, first, later):
            def run(tensors):
                order.append((number, *tensors))
                now[0] += first if now[0] < 3 else later
                return [tensors[0] + 1]

            return run

        blocks = [block(0, 0.25, 0.25), block(1, 3.0, 0.5)]
        monkeypatch.setattr(measuring, "block_of", lambda block, engine, threads: block)
        monkeypatch.setattr(time, "perf_counter", lambda: now[0])
        rounds = measuring._rounds(blocks, [10], "jax", 1, 3, 1.0)
        assert [each.tolist() for each in rounds] == [[[0.25, 3.0]], [[0.25, 0.5]] * 2, [[0.25, 0.5]] * 2]
        assert order == [(0, 10), (1, 11)] * 5

    def test_the_first_round_does_not_count(self, monkeypatch):
        rounds = [np.full((4, 3), 9.0), np.array([[1.0, 2, 3], [5, 2, 3]]), np.array([[3.0, 2, 4]])]
        asked = []
        monkeypatch.setattr(engines, "parts_of", lambda *given: ([given], ["input"]))
        monkeypatch.setattr(measuring, "_in_a_process", lambda *given: asked.append(given) or rounds)
        found = measure("alexnet", 3, rounds=3, seconds=0.5, node="mine")
        assert asked == [(1, [("alexnet", 3, "jax", None)], ["input"], "jax", 1, 3, 0.5)]
        np.testing.assert_array_equal(found.times.seconds, [[3], [2], [3]])
        np.testing.assert_allclose(found.times.spread[:, 0], [2, 0, np.sqrt(1 / 3)], rtol=1e-6)
        assert found.times.names == ("mine",)
        assert found.times.workload.block_names == TASK.block_names
        assert "1 of" in found.source
        assert "3 whole runs in 2 rounds" in found.source
        assert f"jax {jax.__version__}" in found.source

    def test_for_real(self):
        """In a process of its own, on one core. All of VGG16's blocks take longer than its last layers alone."""
        before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        found = measure("vgg16", engine="onnx", rounds=2, seconds=0.2)
        assert found.runs.shape[1] == 6
        assert (found.runs > 0).all()
        assert found.times.seconds[5, 0] < 0.1 * found.times.seconds.sum()
        np.testing.assert_allclose(found.times.seconds[:, 0], np.median(found.runs, axis=0), rtol=1e-6)
        assert before is None or os.sched_getaffinity(0) == before

    @pytest.mark.parametrize(
        ("network", "how", "message"),
        [
            ("lenet", {}, "network must be one of 'alexnet', 'nin', 'resnet32', 'vgg16', the path of an .*'lenet'"),
            ("alexnet", {"blocks": 10}, "blocks must be a whole number from 1 to 9; got 10"),
            ("alexnet", {"rounds": 1}, "rounds must be a whole number of at least 2; got 1"),
            ("alexnet", {"seconds": -1}, "seconds must be finite and at least 0; got -1"),
            ("alexnet", {"threads": 0}, "threads must be a whole number from 1 to"),
            ("alexnet", {"node": ""}, "node must be a non-empty text"),
            ("alexnet", {"engine": "tvm"}, "engine must be one of 'jax', 'onnx'; got 'tvm'"),
        ],
    )
    def test_refused_before_anything_runs(self, monkeypatch, network, how, message):
        monkeypatch.setattr(measuring, "_in_a_process", None)
        with pytest.raises(ValueError, match=message):
            measure(network, **how)

    def test_a_module_of_flax(self):
        class Small(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.Dense(3, name="narrow")(nn.relu(nn.Dense(200, name="wide")(x)))

        found = measure(mecpart.trace_module(Small(), np.ones((1, 50), np.float32)), rounds=2, seconds=0.0)
        assert found.times.workload.block_names == ("wide", "narrow")
        assert (found.runs > 0).all()
        assert "engine jax" in found.source

    def test_a_process_that_dies(self, monkeypatch):
        monkeypatch.setattr(measuring, "_rounds", os._exit)
        with pytest.raises(RuntimeError, match="the process that measures died"):
            measuring._in_a_process(1, 3)


class TestFile:
    def test_rows(self, tmp_path):
        path = measured().save(tmp_path / "deep" / "blocks.csv")
        text = path.read_text().splitlines()
        assert text[0] == "network,block,node,seconds,output_bytes,spread,macs,parameter_bytes,batch,source"
        assert text[1] == 'alexnet,input,,,3072,,,,,"by hand, in a test"'
        # 192 maps of 2 x 2 leave the second pooling.
        assert text[2].startswith(f"alexnet,conv1-pool2,pi,0.25,{192 * 2 * 2 * 4},0.015625,")
        table = pd.read_csv(path).iloc[1:]
        for column, exact in (("seconds", measured().times.seconds[:, 0]), ("macs", TASK.macs)):
            np.testing.assert_array_equal(table[column].to_numpy(np.float32), exact)

    def test_goes_from_machine_to_machine(self, tmp_path):
        path = tmp_path / "blocks.csv"
        measured("pi").save(path)
        measured("server", seconds=(1, 2, 3)).save(path)
        measured("pi", replace(TASK, name="other")).save(path)
        measured("pi", seconds=(4, 5, 6)).save(path)  # in place of the first
        table = pd.read_csv(path, keep_default_na=False)
        rows = {
            key: [*map(float, each["seconds"])] for key, each in table[table.node != ""].groupby(["network", "node"])
        }
        assert rows == {
            ("alexnet", "pi"): [4, 5, 6],
            ("alexnet", "server"): [1, 2, 3],
            ("other", "pi"): pytest.approx([0.25, 1e-3, 2e-7]),
        }
        assert [*table.network[table.block == "input"]] == ["alexnet", "other"]

    def test_is_read_again_exactly(self, tmp_path):
        path = tmp_path / "blocks.csv"
        measured("pi").save(path)
        alone = mecpart.times_from_csv(path)
        measured("server", seconds=(1, 2, 3)).save(path)
        both = mecpart.times_from_csv(path)
        assert (alone.names, both.names) == (("pi",), ("pi", "server"))
        expected = measured().times.beside(measured("server", seconds=(1, 2, 3)).times)
        for read, written in ((alone, measured().times), (both, expected)):
            for found, exact in zip(jax.tree.leaves(read), jax.tree.leaves(written), strict=True):
                np.testing.assert_array_equal(found, exact)
            assert read.workload.block_names == TASK.block_names

    def test_other_blocks_and_other_files_are_refused_and_stay(self, tmp_path):
        path = tmp_path / "blocks.csv"
        measured().save(path)
        before = path.read_bytes()
        with pytest.raises(ValueError, match=r"path must be of a file with the same blocks of 'alexnet', which are"):
            measured("server", mecpart.workload("alexnet", 2), (1, 2)).save(path)
        assert path.read_bytes() == before
        for text in ("", "a,b\n1,2\n", "network,block,node,seconds\n"):
            path.write_text(text)
            with pytest.raises(ValueError, match="path must be of a CSV file with block times, or new"):
                measured().save(path)
            assert path.read_text() == text
