"""The blocks of a network, ready to run on this machine: in JAX or in ONNX Runtime.

Nothing here is imported before it is needed: a node that runs ONNX files needs no JAX.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Tensors = list[Any]
#: A block: what enters it -> what leaves it, when it is there.
Block = Callable[[Tensors], Tensors]
#: What a block is made of, as arrays that can be sent: the bytes of an ONNX file; or those of a program of JAX, and the
#: weights that it takes.
Part = list[np.ndarray]

#: What ONNX Runtime calls types, where NumPy has other names.
_TYPES = {"float": "float32", "double": "float64"}


def block_of(part: Part, engine: str, threads: int) -> Block:
    """A part of a network as a block.

    - `threads`: that compute, of ONNX Runtime; JAX has those of its process (`PJRT_NPROC`).
    """
    if engine == "onnx":
        session = onnx_session(part[0], threads)
        names = [entry.name for entry in session.get_inputs()]
        return lambda entering: session.run(None, dict(zip(names, entering, strict=True)))
    import jax
    from jax import export

    program, *weights = part
    run, held = jax.jit(export.deserialize(bytearray(program)).call), jax.device_put(weights)
    return lambda entering: jax.block_until_ready(run(held, entering))


def onnx_session(model: np.ndarray, threads: int) -> Any:
    """The bytes of an ONNX model in ONNX Runtime with so many threads."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "running a network in ONNX Runtime needs the package: pip install 'mecpart[onnxruntime]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that wait for work would take it from other blocks.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.tobytes(), options, providers=["CPUExecutionProvider"])


def onnx_input(part: Part) -> Tensors:
    """An input for a part of an ONNX model."""
    return [random_tensor(each.shape, _dtype(each.type)) for each in onnx_session(part[0], 1).get_inputs()]


def random_tensor(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An input of this shape and type: the pixels of an image, or squares of normal numbers."""
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, shape, dtype) if dtype == np.uint8 else (draw.normal(size=shape) ** 2).astype(dtype)


def _dtype(kind: str) -> str:
    """NumPy's name of what ONNX Runtime calls "tensor(float)"."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return _TYPES.get(name, name)
