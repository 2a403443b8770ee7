"""What runs the blocks of a network on this machine: JAX, or ONNX Runtime."""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np

from mecpart.dnn.from_flax import TracedModule, trace_module
from mecpart.dnn.from_onnx import workload_from_onnx
from mecpart.dnn.pieces import write_pieces
from mecpart.dnn.to_onnx import write_onnx
from mecpart.dnn.workload import Workload, balanced_cut, paper_cut, workload
from mecpart.dnn.zoo import IMAGE, NETWORKS, chain_variables
from mecpart.measurements.blocks import Part, Tensors, onnx_input, random_tensor
from mecpart.validation import check_choice, shown

#: A network that can run: an ONNX file, one of the paper's by name, or a module of Flax.
Runnable = str | os.PathLike | TracedModule
InputShape = Sequence[int] | Mapping[str, Sequence[int]] | None

#: The engines, and the packages whose versions times depend on.
ENGINES = {"jax": ("jax", "jaxlib"), "onnx": ("onnxruntime", "onnx")}


def engine_of(network: Runnable, engine: str | None) -> str:
    """The engine that runs a network: ONNX Runtime files and the paper's, JAX modules and the paper's.

    **Raises:** `ValueError` for one that does not exist or cannot run it; `ImportError` where it is not installed.
    """
    only = None
    if isinstance(network, TracedModule):
        only, what = "jax", f"the module {network.table.name!r}"
    elif not isinstance(network, str | os.PathLike) or (not _is_file(network) and os.fspath(network) not in NETWORKS):
        raise ValueError(
            f"network must be one of {', '.join(map(repr, NETWORKS))}, the path of an ONNX file, or what "
            f"mecpart.trace_module makes of a module; got {shown(network)}"
        )
    elif _is_file(network):
        only, what = "onnx", f"the ONNX file {os.fspath(network)!r}"
    engine = (only or "jax") if engine is None else engine
    check_choice("engine", engine, ENGINES)
    if only not in (None, engine):
        raise ValueError(f"engine must be {only!r} for {what}; got {engine!r}")
    if engine == "onnx" and importlib.util.find_spec("onnxruntime") is None:
        raise ImportError("running a network in ONNX Runtime needs the package: pip install 'mecpart[onnxruntime]'")
    return engine


def workload_of(network: Runnable, blocks: int | None, input_shape: InputShape) -> Workload:
    """The network, cut into blocks."""
    if not isinstance(network, TracedModule) and _is_file(network):
        return workload_from_onnx(network, blocks, input_shape=input_shape)
    if input_shape is not None:
        raise ValueError(f"input_shape must be None unless network is an ONNX file; got {shown(input_shape)}")
    return network.workload(blocks) if isinstance(network, TracedModule) else workload(os.fspath(network), blocks)


def parts_of(network: Runnable, blocks: int, engine: str, input_shape: InputShape) -> tuple[list[Part], Tensors]:
    """What each block of a network is made of, and an input for the first."""
    if isinstance(network, TracedModule):
        return _exported(network, balanced_cut(network.table.layers, blocks))
    starts = None if _is_file(network) else paper_cut(os.fspath(network), blocks)[1]
    if engine == "jax" and starts is not None:
        return _exported(_paper_module(os.fspath(network)), starts)
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = network if starts is None else write_onnx(os.fspath(network), folder / f"{os.fspath(network)}.onnx")
        pieces = write_pieces(path, range(blocks), folder / "pieces", starts=starts, input_shape=input_shape)
        parts = [[np.frombuffer(piece.path.read_bytes(), np.uint8)] for piece in pieces]
    return parts, onnx_input(parts[0])


def _exported(traced: TracedModule, starts: Sequence[int]) -> tuple[list[Part], Tensors]:
    """A module cut before some of its layers."""
    return traced.exported(starts), _inputs(traced)


def _paper_module(name: str) -> TracedModule:
    """One of the paper's networks, with weights at random."""
    chain, variables = NETWORKS[name](), dict[str, dict]()
    for layer, held in chain_variables(chain).items():
        for collection, values in held.items():
            variables.setdefault(collection, {})[f"layers_{layer}"] = values
    return trace_module(chain, IMAGE, variables=variables)


def _inputs(traced: TracedModule) -> Tensors:
    """The examples of a module, or something at random where they are shapes alone."""
    shapes = [traced.program.shapes[name] for name in traced.program.graph.inputs]
    return [
        random_tensor(shape.shape, shape.dtype)
        if isinstance(example, jax.ShapeDtypeStruct)
        else np.asarray(example, shape.dtype)
        for example, shape in zip(traced.examples, shapes, strict=True)
    ]


def _is_file(network: str | os.PathLike) -> bool:
    return Path(network).suffix == ".onnx"
