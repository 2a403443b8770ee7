"""That every primitive that JAX exports is counted, costs nothing by convention, or is refused."""

import jax.extend.core.primitives as exported

from mecpart.jaxpr_counts import CALLS, COUNTED, ZERO

#: Linear algebra, transforms, and what only differentiation makes.
REFUSED = {
    "cholesky", "custom_lin", "custom_linear_solve", "eig", "eigh", "fft", "hessenberg", "householder_product", "lu",
    "qr", "ragged_all_to_all", "schur", "svd", "triangular_solve", "tridiagonal", "tridiagonal_solve",
}  # fmt: skip


def test_every_primitive_has_its_place():
    """So that one which a newer JAX adds is refused until someone says what it costs."""
    names = {getattr(exported, name).name for name in dir(exported) if name.endswith("_p")}
    assert len(names) > 100
    for name in names:
        assert sum(name in group for group in (CALLS, COUNTED, ZERO, REFUSED)) == 1, name
