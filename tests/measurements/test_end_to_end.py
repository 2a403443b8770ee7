"""A network of one's own from its file to the pieces that a plan for measured devices cuts it into."""

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from models import fill, mobilenet_v2, resnet50

import mecpart


@pytest.mark.parametrize("make", [mobilenet_v2, resnet50], ids=lambda make: make.__name__)
def test_measured_planned_cut_and_run(tmp_path, make):
    """The device is this machine. The server is made up: fast and near, but the first block has to stay at home."""
    path = tmp_path / "own.onnx"
    onnx.save(fill(make(narrow=8)), path)
    table = tmp_path / "blocks.csv"
    mecpart.measure(path, 6, rounds=2, seconds=0, node="device").save(table)
    device = mecpart.times_from_csv(table)

    fast = np.asarray(device.seconds) / 100
    fast[0] = np.inf
    server = mecpart.BlockTimes(fast, device.workload, ("server",), spread=fast / 10)
    near = np.full((2, 2), 1e12)
    scenario = mecpart.measured(device.beside(server), mecpart.Links(np.zeros((2, 2)), near))
    best = mecpart.optimal_plan(scenario, mecpart.sample_slot(jax.random.key(0), scenario))
    pieces = mecpart.write_pieces(path, best.plan, tmp_path / "pieces")
    assert [(piece.node, piece.blocks) for piece in pieces] == [(0, (0,)), (1, (1, 2, 3, 4, 5))]

    def run(file, x):
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: x})[0]

    image = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    whole, x = run(path, image), image
    for piece in pieces:
        x = run(piece.path, x)
    assert np.abs(x - whole).max() < 1e-5 * np.abs(whole).max()
