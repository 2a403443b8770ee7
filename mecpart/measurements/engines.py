"""What runs the blocks of a network on this machine: JAX, or ONNX Runtime."""

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np

from mecpart.dnn.from_onnx import workload_from_onnx
from mecpart.dnn.pieces import Piece, write_pieces
from mecpart.dnn.to_onnx import write_onnx
from mecpart.dnn.workload import Workload, paper_cut, workload
from mecpart.dnn.zoo import IMAGE, NETWORKS, chain_variables
from mecpart.validation import check_choice, check_path, shown

Tensors = list[Any]
#: A block: what enters it -> what leaves it, when it is there.
Block = Callable[[Tensors], Tensors]
InputShape = Sequence[int] | Mapping[str, Sequence[int]] | None

#: What ONNX Runtime calls types, where NumPy has other names.
_TYPES = {"float": "float32", "double": "float64"}

#: The engines, and the packages whose versions times depend on.
ENGINES = {"jax": ("jax", "jaxlib", "flax"), "onnx": ("onnxruntime", "onnx")}


def engine_of(network: str | os.PathLike, engine: str | None) -> str:
    """The engine that runs a network: ONNX Runtime everything, JAX those of the paper.

    **Raises:** `ValueError` for one that does not exist or cannot run it; `ImportError` where it is not installed.
    """
    check_path("network", network)
    if not _is_file(network):
        check_choice("network", os.fspath(network), NETWORKS)
    engine = ("onnx" if _is_file(network) else "jax") if engine is None else engine
    check_choice("engine", engine, ENGINES)
    if engine == "jax" and _is_file(network):
        raise ValueError(f"engine must be 'onnx' for an ONNX file; got 'jax' for {os.fspath(network)!r}")
    if engine == "onnx" and importlib.util.find_spec("onnxruntime") is None:
        raise ImportError("running a network in ONNX Runtime needs the package: pip install mecpart[onnxruntime]")
    return engine


def workload_of(network: str | os.PathLike, blocks: int | None, input_shape: InputShape) -> Workload:
    """The network, cut into blocks."""
    if input_shape is not None and not _is_file(network):
        raise ValueError(f"input_shape must be None for one of the paper's networks; got {shown(input_shape)}")
    if _is_file(network):
        return workload_from_onnx(network, blocks, input_shape=input_shape)
    return workload(os.fspath(network), blocks)


def load(network: str, blocks: int, engine: str, threads: int, input_shape: InputShape) -> tuple[list[Block], Tensors]:
    """The blocks of a network, ready to run with so many threads, and an input for the first."""
    if engine == "jax":
        return _in_jax(network, blocks)
    with TemporaryDirectory() as folder:
        starts = None
        if not _is_file(network):
            _, starts = paper_cut(network, blocks)
            network = os.fspath(write_onnx(network, Path(folder) / f"{network}.onnx"))
        pieces = write_pieces(network, range(blocks), Path(folder) / "pieces", starts=starts, input_shape=input_shape)
        return _in_onnxruntime(pieces, threads)


def _is_file(network: str | os.PathLike) -> bool:
    return Path(network).suffix == ".onnx"


def _in_jax(network: str, blocks: int) -> tuple[list[Block], Tensors]:
    """With weights at random. The threads are those of the process (`PJRT_NPROC`)."""
    chain = NETWORKS[network]()
    variables, layers = chain_variables(chain), list(chain.layers.items())
    _, starts = paper_cut(network, blocks)
    image = np.random.default_rng(0).integers(0, 256, IMAGE.shape, IMAGE.dtype)
    parts = [layers[start:end] for start, end in pairwise((*starts, len(layers)))]
    return [_compiled([(layer, variables[name]) for name, layer in part]) for part in parts], [image]


def _compiled(layers: Sequence[tuple[Any, dict]]) -> Block:
    """Layers, each with its variables, as one program."""

    @jax.jit
    def run(variables, x):
        for (layer, _), its in zip(layers, variables, strict=True):
            x = layer.apply(its, x)
        return x

    variables = jax.device_put([its for _, its in layers])
    return lambda entering: [jax.block_until_ready(run(variables, *entering))]


def _in_onnxruntime(pieces: Sequence[Piece], threads: int) -> tuple[list[Block], Tensors]:
    """Each piece in a session of its own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that wait for work would take it from other blocks.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    sessions = [
        onnxruntime.InferenceSession(piece.path, options, providers=["CPUExecutionProvider"]) for piece in pieces
    ]
    draw = np.random.default_rng(0)

    def value(entry) -> np.ndarray:
        return (draw.normal(size=entry.shape) ** 2).astype(_dtype(entry.type))

    return [_run(session) for session in sessions], [value(entry) for entry in sessions[0].get_inputs()]


def _run(session) -> Block:
    names = [entry.name for entry in session.get_inputs()]
    return lambda entering: session.run(None, dict(zip(names, entering, strict=True)))


def _dtype(kind: str) -> str:
    """NumPy's name of what ONNX Runtime calls "tensor(float)"."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return _TYPES.get(name, name)
