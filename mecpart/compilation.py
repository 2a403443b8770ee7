"""How long programs are compiled: less than XLA does by itself."""

from collections.abc import Callable

import jax

#: LLVM's effort: the third level takes a tenth of the time to compile (a fifth of A3C's step), and nothing runs faster
#: by it; the first saves no more, and A3C runs 7 % slower.
_OPTIONS = {"xla_backend_optimization_level": "2"}


def compiled(function: Callable) -> Callable:
    """`jax.jit` of a function that takes long to compile."""
    return jax.jit(function, compiler_options=_OPTIONS)
