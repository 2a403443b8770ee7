"""What each equation of a jaxpr costs: every primitive is counted, costs nothing by convention, or is refused."""

import math
import os
from collections.abc import Collection, Iterator
from typing import Any

import jax
from jax.extend import core

#: Primitives that only call a function, by the parameter that holds it.
CALLS = {
    "call": "call_jaxpr", "closed_call": "call_jaxpr", "composite": "jaxpr", "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "custom_vmap_call": "call", "jit": "jaxpr",
    "remat2": "jaxpr",
}  # fmt: skip
#: Primitives that multiply and accumulate, by themselves or by the functions that they run.
COUNTED = ("cond", "conv_general_dilated", "dot_general", "scan", "while")
# Arithmetic, comparisons, special functions.
_ELEMENT_BY_ELEMENT = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp clz complex conj
    cos cosh digamma div eq eq_to erf erf_inv erfc exp exp2 expm1 floor ge gt igamma igamma_grad_a igammac imag
    integer_pow is_finite le le_to lgamma log log1p logistic lt lt_to max min mul mulhi ne neg nextafter not or
    polygamma population_count pow real reduce_precision regularized_incomplete_beta rem round rsqrt select_n
    shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square sub tan tanh xor zeta
"""
# Reductions, sums along an axis, pooling, selection.
_ALONG_AXES = """
    approx_top_k argmax argmin cumlogsumexp cummax cummin cumprod cumsum reduce reduce_and reduce_max reduce_min
    reduce_or reduce_prod reduce_sum reduce_window reduce_window_max reduce_window_min reduce_window_sum reduce_xor
    select_and_gather_add select_and_scatter select_and_scatter_add sort top_k
"""
# Moving and making data, other types, random numbers, what tools leave behind.
_MOVING = """
    after_all all_gather all_to_all axis_index bitcast_convert_type broadcast_in_dim concatenate convert_element_type
    copy create_token debug_callback debug_print device_put dimension_size dynamic_slice dynamic_update_slice empty
    empty2 freeze from_edtype gather get iota layout_constraint name optimization_barrier pad pbroadcast platform_index
    pmax pmin ppermute psum psum_invariant pvary random_bits random_clone random_fold_in random_gamma random_seed
    random_split random_unwrap random_wrap reshape reshard rev rng_bit_generator rng_uniform scatter scatter-add
    scatter-max scatter-min scatter-mul scatter-sub sharding_constraint slice split squeeze stack stop_gradient swap
    threefry2x32 tie tile to_edtype transpose unstack zeros_like
"""
#: Primitives that count as nothing, as in published totals.
ZERO = frozenset(f"{_ELEMENT_BY_ELEMENT} {_ALONG_AXES} {_MOVING}".split())

# Functions of JAX whose equations do not tell what they stand for.
_RESAMPLING = frozenset(("resize", "scale_and_translate"))  # as matrix products
_PATCHES = frozenset(("conv_general_dilated_patches",))  # as a convolution, which only moves data
_TRANSPOSED = frozenset(("conv_transpose",))  # as a convolution, with a stride of one as any other
_JAX = os.path.dirname(jax.__file__) + os.sep


def jaxpr_macs(jaxpr: core.Jaxpr, count_as_zero: Collection[str] = ()) -> int:
    """The multiply-accumulates of a jaxpr."""
    return sum(equation_macs(equation, count_as_zero) for equation in jaxpr.eqns)


def equation_macs(
    equation: Any,  # of core.JaxprEqn, whose type does not tell that values have shapes
    count_as_zero: Collection[str] = (),
) -> int:
    """The multiply-accumulates of one equation of a jaxpr and of the functions it calls.

    **Raises:** `ValueError` for a primitive of which nothing says what it costs.
    """
    kind = equation.primitive.name
    if kind in count_as_zero or kind in ZERO or resamples(equation):
        return 0
    if kind in CALLS:
        return jaxpr_macs(called_by(equation).jaxpr, count_as_zero)
    if kind not in COUNTED:
        raise ValueError(
            f"a module must be made of primitives whose cost is known, or named in count_as_zero; got {kind!r}"
        )
    if kind == "conv_general_dilated":
        return _convolution_macs(equation)
    if kind == "dot_general":
        return _product_macs(equation)
    inner = [jaxpr_macs(sub, count_as_zero) for sub in _subjaxprs(equation)]
    if kind == "while" and any(inner):
        raise ValueError(
            "function must not convolve or multiply matrices inside a while loop, whose number of "
            f"rounds is unknown before it runs; got {sum(inner)} multiply-accumulates in each round"
        )
    return equation.params["length"] * sum(inner) if kind == "scan" else max(inner)


def called_by(equation: core.JaxprEqn) -> core.ClosedJaxpr:
    """The function that an equation only calls."""
    called = equation.params[CALLS[equation.primitive.name]]
    return called if isinstance(called, core.ClosedJaxpr) else core.ClosedJaxpr(called, ())


def resamples(equation: core.JaxprEqn) -> bool:
    """Whether an equation belongs to the resampling of an image, which counts as nothing, as in published totals."""
    return _written_by(equation, _RESAMPLING)


def _product_macs(equation: Any) -> int:
    (output,), left = equation.outvars, equation.invars[0].aval.shape
    (contracted, _), _ = equation.params["dimension_numbers"]
    return output.aval.size * math.prod(left[axis] for axis in contracted)


def _convolution_macs(equation: Any) -> int:
    if _written_by(equation, _PATCHES):
        return 0
    (output,), (image, kernel) = equation.outvars, (operand.aval.shape for operand in equation.invars)
    numbers, output = equation.params["dimension_numbers"], output.aval.shape
    count = output[numbers.out_spec[0]] * math.prod(kernel)
    transposed = _written_by(equation, _TRANSPOSED)
    for axis, dilation in enumerate(equation.params["lhs_dilation"], start=2):
        # A transposed convolution spreads its input out with zeros, with which nobody multiplies: each value that
        # enters meets the kernel once.
        count *= image[numbers.lhs_spec[axis]] if transposed or dilation > 1 else output[numbers.out_spec[axis]]
    return count


def _written_by(equation: core.JaxprEqn, functions: Collection[str]) -> bool:
    """Whether one of these functions of JAX has written an equation, which its traceback tells."""
    traceback = equation.source_info.traceback
    return traceback is not None and any(
        frame.function_name in functions and frame.file_name.startswith(_JAX) for frame in traceback.frames
    )


def _subjaxprs(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    for parameter in equation.params.values():
        for value in parameter if isinstance(parameter, tuple | list) else (parameter,):
            if isinstance(value, core.ClosedJaxpr):
                yield value.jaxpr
            elif isinstance(value, core.Jaxpr):
                yield value
