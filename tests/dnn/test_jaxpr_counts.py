"""That every primitive that JAX exports is counted, costs nothing by convention, or is refused."""

import jax
import jax.extend.core.primitives as exported
import jax.numpy as jnp

from mecpart.dnn.jaxpr_counts import CALLS, COUNTED, ZERO
from mecpart.dnn.zoo import multiply_accumulates

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


def test_of_what_depends_on_the_platform_the_dearest_counts():
    def product(x):
        weights = jnp.ones((8, 4))
        return jax.lax.platform_dependent(x, cpu=lambda x: x[:, :4], default=lambda x: x @ weights)

    assert multiply_accumulates(product, jnp.ones((6, 8))) == 6 * 8 * 4


def test_only_functions_of_jax_tell_what_an_equation_stands_for():
    """Functions of one's own by these names multiply as any other; and what JAX keeps compiled is not taken for it."""
    image, kernel = jnp.ones((1, 6, 7, 3)), jnp.ones((3, 3, 3, 5))

    def conv_transpose(x):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def resize(x):  # the same products as those of JAX's own
        return jnp.einsum("bhwc,hi,wj->bijc", x, jnp.ones((6, 12)), jnp.ones((7, 12)))

    assert multiply_accumulates(conv_transpose, image) == 4 * 5 * 27 * 5
    found = [
        multiply_accumulates(function, image)
        for function in (lambda x: jax.image.resize(x, (1, 12, 12, 3), "linear"), resize)
    ]
    assert found[0] == 0
    assert found[1] >= 6 * 7 * 12 * 3 + 6 * 12 * 12 * 3
