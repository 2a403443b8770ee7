"""Modules cut between all of their layers: in turn the exported programs do what the module itself does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from models import SmallNNX

from mecpart.dnn.from_flax import trace_module
from mecpart.measurements.blocks import block_of

KEY = jax.random.key(0)


def drawn(*shape, dtype=np.float32):
    return np.random.default_rng(1).normal(size=shape).astype(dtype)


def check_cut(traced, tensors, expected):
    """`expected`: what leaves the whole module for some inputs."""
    table = traced.table.layers
    tensors = [*tensors]
    for layer, part in zip(table, traced.exported(range(len(table))), strict=True):
        assert sum(each.nbytes for each in tensors) == layer.input_bytes
        tensors = block_of(part, "jax", 1)(tensors)
        assert sum(each.nbytes for each in tensors) == layer.output_bytes
    assert len(tensors) == len(jax.tree.leaves(expected))
    for made, right in zip(tensors, jax.tree.leaves(expected), strict=True):
        assert made.dtype == right.dtype
        np.testing.assert_allclose(np.float32(made), np.float32(right), rtol=1e-5, atol=1e-5)
    return table


class Unit(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + jax.jit(nn.gelu)(nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3))(x)))


class Called(nn.Module):
    """What is only called: remat, jit, custom_jvp; and the resampling of an image."""

    @nn.compact
    def __call__(self, x):
        x = nn.remat(Unit)()(nn.relu(nn.Conv(4, (3, 3))(x / 255.0)))
        return nn.Conv(5, (1, 1))(jax.image.resize(x, (1, 12, 12, 4), "bilinear"))


class Step(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        x = nn.BatchNorm(use_running_average=False)(nn.Dense(4)(x))
        return nn.Dropout(0.5, deterministic=False)(x), None


class Trained(nn.Module):
    """Loops, batch statistics and dropout."""

    @nn.compact
    def __call__(self, x):
        x = Step()(nn.Dense(4)(x), None)[0]
        axes, draws = {"params": 0, "batch_stats": 0}, {"params": True, "dropout": True}
        deep = nn.scan(Step, variable_axes=axes, split_rngs=draws, length=3)
        return nn.Dense(2)(deep()(x, None)[0])


class Two(nn.Module):
    """Two inputs and two outputs."""

    @nn.compact
    def __call__(self, x, y):
        z = nn.Dense(5)(nn.Dense(5)(x) + y)
        return {"mean": nn.Dense(3)(z), "spread": nn.Dense(2)(z)}


class Tied(nn.Module):
    """A table that the first and the last layer share, and constants that several layers are made of."""

    @nn.compact
    def __call__(self, words):
        table, turns = nn.Embed(100, 8), jnp.cos(jnp.outer(jnp.arange(8.0), jnp.arange(8.0)))
        x = nn.relu(nn.Dense(8)(table(words) @ turns))
        return table.attend(nn.Dense(8)(x) @ turns)


class Half(nn.Module):
    @nn.compact
    def __call__(self, x):
        for features in (8, 6):
            x = nn.relu(nn.Dense(features, dtype=jnp.bfloat16)(x))
        return x


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (Called(), [np.random.default_rng(1).integers(0, 256, (1, 6, 6, 3), np.uint8)]),
        (Trained(), [drawn(1, 6, 3)]),
        (Two(), [drawn(1, 7), drawn(1, 5)]),
        (Tied(), [np.array([[3, 1, 4, 1, 5]], np.int32)]),
        (Half(), [drawn(1, 4)]),
        (nn.Dense(3, kernel_init=nn.with_partitioning(nn.initializers.normal(), ("in", "out"))), [drawn(1, 4)]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_modules_of_linen(module, inputs):
    variables = module.init(jax.random.key(7), *inputs)
    expected = module.apply(variables, *inputs, mutable=["batch_stats"], rngs=KEY)[0]
    check_cut(trace_module(module, tuple(inputs), variables=variables), inputs, expected)
    # With variables of its own they are those of init, by the first key.
    expected = module.apply(module.init(KEY, *inputs), *inputs, mutable=["batch_stats"], rngs=KEY)[0]
    shapes = tuple(jax.ShapeDtypeStruct(each.shape, each.dtype) for each in inputs)
    check_cut(trace_module(module, shapes), inputs, expected)


@pytest.mark.parametrize("training", [False, True])
def test_modules_of_nnx(training):
    """In training they also draw, from keys that they hold."""
    module, x = SmallNNX(nnx.Rngs(0)), drawn(1, 8, 8, 3)
    if not training:
        module.eval()
    traced = trace_module(module, x)
    table = check_cut(traced, [x], module(x))
    assert [layer.name for layer in table] == ["stem", "max_pool", "head"]


def test_methods_and_keywords():
    class Doubled(nn.Module):
        @nn.compact
        def features(self, x, times):
            return times * nn.Dense(3)(nn.Dense(4)(x))

    x, module = drawn(1, 5), Doubled()
    variables = module.init(KEY, x, 2.0, method="features")
    traced = trace_module(module, x, variables=variables, method="features", name="own", times=2.0)
    assert traced.table.name == traced.workload(2).name == "own"
    check_cut(traced, [x], module.apply(variables, x, 2.0, method="features"))


def test_variables_of_another_module(refused):
    x = jax.ShapeDtypeStruct((1, 4), np.float32)
    variables = nn.Dense(3).init(KEY, drawn(1, 4))
    kernel = variables["params"]["kernel"]
    for given, *texts in (
        ({"params": {"kernel": kernel}}, "['params']['bias']", "(3,)", "none"),
        ({"params": variables["params"] | {"more": kernel}}, "['params']['more']", "none", "(4, 3)"),
        ({"params": variables["params"] | {"kernel": kernel.T}}, "['params']['kernel']", "(4, 3)", "(3, 4)"),
        ([kernel], "init", "[Array("),
    ):
        with refused("variables", *texts):
            trace_module(nn.Dense(3), x, variables=given)
    with refused("variables", "nnx"):
        trace_module(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), x, variables=variables)


def test_without_arrays(refused):
    traced = trace_module(nnx.eval_shape(lambda: nnx.Linear(4, 3, rngs=nnx.Rngs(0))), drawn(1, 4))
    with refused("module", "nnx.eval_shape"):
        traced.exported([0])
