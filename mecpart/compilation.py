"""How long programs are compiled: less than XLA does by itself."""

from collections.abc import Callable

import jax

#: LLVM's effort, of 3: the third level takes about a quarter of the time to compile, and programs run no faster by it.
_OPTIONS = {"xla_backend_optimization_level": "2"}


def compiled(function: Callable) -> Callable:
    """`jax.jit` of a function that takes long to compile."""
    return jax.jit(function, compiler_options=_OPTIONS)
