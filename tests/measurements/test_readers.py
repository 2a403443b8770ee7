"""What other programs leave, read: on small files made here, against hand arithmetic."""

import json

import numpy as np
import peers
import pytest
from scipy.optimize import minimize

from mecpart.measurements.dnnpipe import from_dnnpipe
from mecpart.measurements.msr import from_msr
from mecpart.measurements.paretopipe import from_paretopipe
from mecpart.measurements.pipeedge import from_pipeedge
from mecpart.measurements.scission import from_scission


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_scission(tmp_path, protocol):
    times, links, memory = from_scission(peers.scission_folder(tmp_path, protocol))
    assert times.names == links.names == ("pi", "tower", "big")  # device, edge, cloud
    np.testing.assert_array_equal(times.seconds, np.float32([[0.5, 0.25, 0.01], [0.25, 0.125, 0.02]]))
    assert times.workload.block_names == ("0-1", "2")
    np.testing.assert_array_equal(times.workload.input_bytes, [150_000, 1128])
    assert times.workload.output_bytes == 168
    np.testing.assert_array_equal(links.latency, np.float32([[0, 0.01, 0.02], [0, 0, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(links.rate, [[0, 1e6, 5e5], [0, 0, 0], [0, 0, 0]])
    assert memory is None
    assert from_scission(tmp_path, "net", image_bytes=7).times.workload.input_bytes[0] == 7
    other = tmp_path / "wired.csv"
    other.write_text(peers.SCISSION_LINKS.replace(" 8", "80"))
    assert from_scission(tmp_path, links=other).links.rate[0, 1] == 1e7


def test_pipeedge(tmp_path):
    files = peers.pipeedge_files(tmp_path)
    times, links, memory = from_pipeedge(**files)
    assert times.names == links.names == ("s-0", "s-1", "f-0")
    np.testing.assert_array_equal(times.seconds, np.float32([[0.5, 0.5, 0.25], [0.1, 0.1, 0.125]]))
    np.testing.assert_array_equal(times.workload.input_bytes, [100 * 8 * 4, 50 * 8 * 4])
    assert times.workload.output_bytes == 10 * 8 * 4
    np.testing.assert_array_equal(times.memory_bytes, [1.5 * 2**20, 2 * 2**20])
    np.testing.assert_array_equal(links.rate, (1 - np.eye(3)) * 2**20)  # of the slower end, 8 Mbit
    np.testing.assert_array_equal(memory, [64 * 2**20, 64 * 2**20, 128 * 2**20])
    del files["devices"]
    assert from_pipeedge(**files).times.names == ("slow", "fast")
    with pytest.raises(ValueError, match=r"network must be one of those in .*models\.yml; got None of \[\]"):
        from_pipeedge(**files, batch=1)


def test_pipeedge_with_several_batches(tmp_path):
    second = "    - {batch_size: 1, dtype: torch.float16, time_s: [0.1, 0.2]}\n"
    files = peers.pipeedge_files(tmp_path, device_types=peers.PIPEEDGE["device_types"] + second)
    assert from_pipeedge(**files, batch=8).times.seconds[0, 2] == 0.25
    with pytest.raises(ValueError, match=r"line 18 of .*device_types\.yml must be one profile of 'vit'"):
        from_pipeedge(**files)


def test_msr_is_the_chain_of_its_legal_cuts(tmp_path):
    times, links, memory = from_msr(peers.msr_file(tmp_path))
    # 2 feeds both branches, 4 joins them, 5 leads nowhere; what crosses is of 1, 2, 4 and 4.
    assert times.workload.block_names == ("node1", "node2", "node3-node4", "node5", "node6")
    np.testing.assert_array_equal(
        times.seconds, np.float32([[1e-3] * 2, [2e-3] * 2, [12e-3] * 2, [16e-3] * 2, [32e-3] * 2])
    )
    np.testing.assert_array_equal(times.workload.input_bytes, [0, 1000, 2000, 4000, 4000])
    np.testing.assert_array_equal(times.memory_bytes, [100, 200 + 900, 300 + 400, 500, 600])
    assert times.names == ("accelerator 1", "accelerator 2")
    np.testing.assert_allclose(links.rate, (1 - np.eye(2)) * 1e9 / 2, rtol=1e-6)
    np.testing.assert_array_equal(memory, [1e9, 1e9])
    assert times.workload.name == "graph"


def test_msr_with_its_cpu_and_another_rate(tmp_path):
    times, links, memory = from_msr(peers.msr_file(tmp_path), cpu=True, rate=100.0, network="mine")
    assert times.names[0] == "cpu"
    np.testing.assert_allclose(times.seconds[:, 0], 10 * np.asarray(times.seconds[:, 1]), rtol=1e-6)
    np.testing.assert_array_equal(links.rate, [[0, 100, 100], [100, 0, 50], [100, 50, 0]])
    assert memory[0] > 1e38
    assert times.workload.name == "mine"


@pytest.mark.parametrize("seed", range(20))
def test_legal_cuts_of_random_graphs_by_brute_force(tmp_path, seed):
    """A cut is a set that is closed under what it reads and out of which at most one result goes; the chain has all."""
    rng = np.random.default_rng(seed)
    count = 7
    edges = {(int(rng.integers(max(0, at - 3), at)), at) for at in range(1, count) for _ in range(2)}
    edges |= {(at, count - 1) for at in range(count - 1) if at not in {a for a, _ in edges}}  # all lead to the last
    graph = {
        "maxSizePerFPGA": 1, "maxFPGAs": 2, "maxCPUs": 1,
        "nodes": [
            {"id": at, "supportedOnFpga": 1, "cpuLatency": 1, "fpgaLatency": 1, "isBackwardNode": 0, "size": 2**at}
            for at in rng.permutation(count).tolist()
        ],
        "edges": [{"sourceId": a, "destId": b, "cost": 1.0, "size": 5.0} for a, b in sorted(edges)],
    }  # fmt: skip
    times = from_msr(peers.msr_file(tmp_path, graph)).times

    def leaving(inside):
        return frozenset(a for a, b in edges if a in inside and b not in inside)

    subsets = [frozenset(at for at in range(count) if bits >> at & 1) for bits in range(1, 2**count)]
    closed = [inside for inside in subsets if not any(b in inside and a not in inside for a, b in edges)]
    legal = {inside for inside in closed if len(leaving(inside)) == 1}
    prefixes = np.cumsum(np.asarray(times.memory_bytes, int))[:-1]
    chain = {frozenset(at for at in range(count) if size >> at & 1) for size in prefixes.tolist()}
    assert chain <= legal
    assert {leaving(inside) for inside in chain} == {leaving(inside) for inside in legal}


def test_paretopipe(tmp_path):
    path, metrics = tmp_path / "splits.csv", tmp_path / "metrics.csv"
    path.write_text(peers.SPLITS)
    metrics.write_text(peers.METRICS)
    times, links, _ = from_paretopipe(path, "Net", metrics=metrics, names=("pi", "gpu"), rate=1000.0)
    # First parts 0.25, 0.5, 0.375: the last two become their mean, 0.4375, by 0.0625 each.
    inf = np.inf
    np.testing.assert_array_equal(times.seconds, [[0.25, inf], [0.1875, 0.25], [0, 0.5], [inf, 0.25]])
    off = 0.0625
    expected = np.float32([[0, 0], [off, 0], [np.hypot(off, off), 0], [0, 0]])
    np.testing.assert_array_equal(times.spread, expected)
    np.testing.assert_array_equal(times.workload.input_bytes, [0, 500, 250, 125])
    np.testing.assert_array_equal(times.workload.macs, [1e9, 2e9, 0, 0])
    np.testing.assert_array_equal(times.workload.parameter_bytes, [2**20, 2**19, 0, 0])
    np.testing.assert_array_equal(links.rate, [[0, 1000], [0, 0]])
    assert times.names == ("pi", "gpu")
    with pytest.raises(ValueError, match=r"network must be one of those in .*splits\.csv"):
        from_paretopipe(path)


def test_what_only_rises_is_the_nearest_that_does(tmp_path):
    """By another method: bounded minimisation over the differences."""
    rng = np.random.default_rng(3)
    first = np.cumsum(rng.uniform(0.1, 1, 6)) + rng.uniform(0, 2, 6)
    rows = [f"Net,{split},{took!r},0,0" for split, took in enumerate(first.tolist(), start=1)]
    path = tmp_path / "splits.csv"
    path.write_text("\n".join([peers.SPLITS.partition("\n")[0], *rows]))
    found = np.asarray(from_paretopipe(path).times.seconds)[:6, 0]
    assert (np.diff(first) < 0).any()
    best = minimize(lambda d: np.sum((np.cumsum(d) - first) ** 2), np.ones(6), bounds=[(0, None)] * 6, tol=1e-14)
    np.testing.assert_allclose(found, best.x, atol=1e-4)


def test_dnnpipe(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(peers.DNNPIPE))
    times, links, memory = from_dnnpipe(path, network="vit")
    np.testing.assert_array_equal(times.seconds, np.float32([[1e-3, 4e-3], [2e-3, 8e-3], [4e-3, 16e-3]]))
    np.testing.assert_array_equal(times.memory_bytes, np.float32([5e5, 0, 1e6]))
    np.testing.assert_array_equal(memory, [8e6, 2e6])
    assert links is None
    assert (times.workload.name, times.names) == ("vit", ("device 1", "device 2"))
