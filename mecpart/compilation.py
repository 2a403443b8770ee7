"""How long programs are compiled: as long as it pays for how often they run."""

from collections.abc import Callable
from functools import cache

import jax

#: XLA's options, by how much they leave out.
#:
#: - "full": for the steps of learning. LLVM's third level takes a tenth of the time to compile (a fifth of A3C's step),
#:   and nothing runs faster by it; its first saves no more, and A3C runs 7 % slower.
#: - "plain": for what has no matrix products. Compiles in six tenths of that time, and runs as fast.
#: - "least": for what runs once or a few times, in milliseconds. Compiles in a quarter, and runs three to eight times
#:   as long.
EFFORTS: dict[str, dict[str, str | bool]] = {
    "full": {"xla_backend_optimization_level": "2"},
    "plain": {"xla_backend_optimization_level": "2", "xla_cpu_use_fusion_emitters": False},
    "least": {"xla_backend_optimization_level": "0", "xla_cpu_use_fusion_emitters": False},
}


def compiled(function: Callable, effort: str) -> Callable:
    """`jax.jit` of a function that takes long to compile, by one of `EFFORTS`; for an accelerator by XLA's own."""
    on_cpu = jax.default_backend() == "cpu"
    return jax.jit(function, compiler_options=EFFORTS[effort] if on_cpu and _known(effort) else None)


@cache
def _known(effort: str) -> bool:
    """Whether the installed XLA has these options, which come and go."""
    try:
        jax.jit(lambda: 0, compiler_options=EFFORTS[effort]).lower().compile()
    except (jax.errors.JaxRuntimeError, ValueError):
        return False
    return True
