"""The blocks of a network, ready to run on this machine: in JAX or in ONNX Runtime, all or some of them.

Nothing here is imported before it is needed: a node that runs ONNX files needs no JAX.
"""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

Tensors = list[Any]
#: A block: what enters it -> what leaves it, when it is there.
Block = Callable[[Tensors], Tensors]

#: What ONNX Runtime calls types, where NumPy has other names.
_TYPES = {"float": "float32", "double": "float64"}


def jax_image() -> Tensors:
    """An input for the paper's networks."""
    from mecpart.dnn.zoo import IMAGE

    return [np.random.default_rng(0).integers(0, 256, IMAGE.shape, IMAGE.dtype)]


def jax_blocks(network: str, count: int, wanted: Sequence[int]) -> list[Block]:
    """Some of the blocks that one of the paper's networks is cut into, with weights at random.

    The threads are those of the process (`PJRT_NPROC`).
    """
    from mecpart.dnn.workload import paper_cut
    from mecpart.dnn.zoo import NETWORKS, chain_variables

    _, starts = paper_cut(network, count)
    chain = NETWORKS[network]()
    variables, layers = chain_variables(chain), list(chain.layers.items())
    spans = list(pairwise((*starts, len(layers))))
    parts = [layers[slice(*spans[number])] for number in wanted]
    return [_compiled([(layer, variables[name]) for name, layer in part]) for part in parts]


def _compiled(layers: Sequence[tuple[Any, dict]]) -> Block:
    """Layers, each with its variables, as one program."""
    import jax

    @jax.jit
    def run(variables, x):
        for (layer, _), its in zip(layers, variables, strict=True):
            x = layer.apply(its, x)
        return x

    variables = jax.device_put([its for _, its in layers])
    return lambda entering: [jax.block_until_ready(run(variables, *entering))]


def onnx_session(model: str | os.PathLike | bytes, threads: int) -> Any:
    """An ONNX model, from a file or as the bytes of one, in ONNX Runtime with so many threads."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "running a network in ONNX Runtime needs the package: pip install mecpart[onnxruntime]"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that wait for work would take it from other blocks.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def onnx_input(session: Any) -> Tensors:
    """An input for a session."""
    draw = np.random.default_rng(0)
    return [(draw.normal(size=each.shape) ** 2).astype(_dtype(each.type)) for each in session.get_inputs()]


def onnx_block(session: Any) -> Block:
    """A session as a block."""
    names = [entry.name for entry in session.get_inputs()]
    return lambda entering: session.run(None, dict(zip(names, entering, strict=True)))


def _dtype(kind: str) -> str:
    """NumPy's name of what ONNX Runtime calls "tensor(float)"."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return _TYPES.get(name, name)
