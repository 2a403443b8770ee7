"""What runs the blocks of a network on this machine: JAX, or ONNX Runtime."""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mecpart.dnn.from_onnx import workload_from_onnx
from mecpart.dnn.pieces import write_pieces
from mecpart.dnn.to_onnx import write_onnx
from mecpart.dnn.workload import Workload, paper_cut, workload
from mecpart.dnn.zoo import NETWORKS
from mecpart.measurements.blocks import Block, Tensors, jax_blocks, jax_image, onnx_block, onnx_input, onnx_session
from mecpart.validation import check_choice, check_path, shown

InputShape = Sequence[int] | Mapping[str, Sequence[int]] | None

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
        return jax_blocks(network, blocks, range(blocks)), jax_image()
    with TemporaryDirectory() as folder:
        pieces = onnx_pieces(network, blocks, Path(folder), input_shape)
        sessions = [onnx_session(piece, threads) for piece in pieces]
    return [onnx_block(session) for session in sessions], onnx_input(sessions[0])


def onnx_pieces(network: str | os.PathLike, blocks: int, folder: Path, input_shape: InputShape) -> list[Path]:
    """An ONNX file for each block of a network, in a new folder inside of `folder`."""
    starts = None
    if not _is_file(network):
        _, starts = paper_cut(os.fspath(network), blocks)
        network = write_onnx(os.fspath(network), folder / f"{os.fspath(network)}.onnx")
    pieces = write_pieces(network, range(blocks), folder / "pieces", starts=starts, input_shape=input_shape)
    return [piece.path for piece in pieces]


def _is_file(network: str | os.PathLike) -> bool:
    return Path(network).suffix == ".onnx"
