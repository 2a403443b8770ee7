"""Layer tables of Flax modules: against published totals, the zoo's own tables, and by hand."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from models import IMAGE, MODULES, PUBLISHED, SmallNNX, check_totals

from mecpart.dnn.from_flax import layers_from_module, workload_from_module
from mecpart.dnn.layer import Layer
from mecpart.dnn.workload import check_workload, workload
from mecpart.dnn.zoo import IMAGE as SMALL_IMAGE
from mecpart.dnn.zoo import NETWORKS, layer_table


def of_shape(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def total(table, quantity):
    return sum(getattr(layer, quantity) for layer in table.layers)


class Small(nn.Module):
    """A convolution, a residual unit inside what is only called (remat, jit, custom_jvp), pooling, a matrix product."""

    @nn.compact
    def __call__(self, x, double=False):
        x = nn.relu(nn.Conv(4, (3, 3), name="stem")(x))
        x = nn.remat(Unit)(name="unit")(x)
        x = nn.max_pool(x, (2, 2), (2, 2)).reshape(1, -1)
        return nn.Dense(6 if double else 3, name="head")(x)

    @nn.compact
    def features(self, x):
        return nn.Conv(4, (3, 3), name="stem")(x)


class Unit(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + jax.jit(nn.gelu)(nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3))(x)))


SMALL = (
    Layer("stem", 64 * 4 * 27, 768, 1024, 4 * (4 * 27 + 4)),
    Layer("unit", 64 * 4 * 36, 1024, 1024, 4 * (4 * 36 + 4 + 8)),
    Layer("max_pool", 0, 1024, 256, 0),
    Layer("head", 64 * 3, 256, 12, 4 * (64 * 3 + 3)),
)


@pytest.fixture(scope="module")
def tables():
    return {name: layers_from_module(module(), IMAGE) for name, module in MODULES.items()}


class TestPublished:
    @pytest.mark.parametrize("name", PUBLISHED)
    def test_totals(self, tables, name):
        check_totals(name, tables[name])
        assert tables[name].layers[0].input_bytes == 224 * 224 * 3
        assert tables[name].layers[-1].output_bytes == 4000

    def test_cuts_are_where_one_expects_them(self, tables):
        """One between residual units and inside none of them; pooling by itself; half a transformer block each."""
        units = [f"stage{stage}_{unit + 1}" for stage, count in enumerate((3, 4, 6, 3), 1) for unit in range(count)]
        names = {name: [layer.name for layer in table.layers] for name, table in tables.items()}
        assert names["resnet50"] == ["stem", "max_pool", *units, "reduce_sum", "fc"]
        halves = [f"block{block}/{half}" for block in range(12) for half in ("attention", "wide")]
        assert names["vit_b_16"] == ["patches", *halves, "slice", "head"]
        # A unit with a shortcut is one layer; without, its three convolutions are three, the first unit's two.
        inverted = [3 - (unit == 0) if unit in (0, 1, 3, 6, 10, 13, 16) else 1 for unit in range(17)]
        assert len(names["mobilenet_v2"]) == 1 + sum(inverted) + 3
        assert len(names["vgg16"]) == 13 + 5 + 3

    def test_as_a_workload(self, tables):
        task = workload_from_module(MODULES["vgg16"](), IMAGE, blocks=4, name="vgg")
        check_workload(task)
        assert (task.name, task.num_blocks) == ("vgg", 4)
        np.testing.assert_allclose(np.asarray(task.macs, np.float64).sum(), total(tables["vgg16"], "macs"), rtol=1e-6)


class TestAgainstTheZoo:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_the_same_layers(self, name):
        """Found in the jaxpr of the whole network, where `layer_table` is told them one by one."""
        chain = NETWORKS[name]()
        found = layers_from_module(chain, SMALL_IMAGE).layers
        assert tuple(replace(layer, name=layer.name.removeprefix("layers_")) for layer in found) == layer_table(chain)

    def test_the_same_workload(self):
        """But for VGG16 in six blocks, which the paper cuts in another way."""
        task, same = workload_from_module(NETWORKS["nin"](), SMALL_IMAGE, 6), workload("nin", 6)
        for quantity in ("macs", "input_bytes", "parameter_bytes", "output_bytes"):
            np.testing.assert_array_equal(getattr(task, quantity), getattr(same, quantity))
        task = workload_from_module(NETWORKS["vgg16"](), SMALL_IMAGE, blocks=6)
        assert task.num_blocks == 6
        for quantity in ("macs", "parameter_bytes"):
            np.testing.assert_allclose(getattr(task, quantity).sum(), getattr(workload("vgg16"), quantity).sum())


class TestModules:
    def test_by_hand(self):
        table = layers_from_module(Small(), of_shape(1, 8, 8, 3))
        assert table.layers == SMALL
        assert table.name == "Small"

    def test_nothing_is_computed(self):
        """A layer of a terabyte."""
        table = layers_from_module(nn.Dense(2**20), of_shape(1, 2**18))
        assert table.layers == (Layer("dot", 2**38, 2**20, 2**22, 4 * (2**38 + 2**20)),)

    def test_other_methods_and_arguments(self):
        assert layers_from_module(Small(), of_shape(1, 8, 8, 3), double=True).layers[-1].macs == 64 * 6
        for method in ("features", Small.features):
            (layer,) = layers_from_module(Small(), of_shape(1, 8, 8, 3), method=method).layers
            assert (layer.macs, layer.output_bytes) == (64 * 4 * 27, 1024)

    def test_training_is_read_as_inference(self):
        """Where batch statistics are written and values dropped, which costs no products."""

        class Step(nn.Module):
            train: bool

            @nn.compact
            def __call__(self, x, _):
                x = nn.BatchNorm(use_running_average=not self.train)(nn.Dense(4)(x))
                return nn.Dropout(0.5, deterministic=not self.train)(x), None

        class Trained(nn.Module):
            @nn.compact
            def __call__(self, x, train):
                x = nn.remat(Step)(train, name="first")(nn.Dense(4, name="stem")(x), None)[0]
                axes, draws = {"params": 0, "batch_stats": 0}, {"params": True, "dropout": True}
                deep = nn.scan(Step, variable_axes=axes, split_rngs=draws, length=5)
                return nn.Dense(2, name="head")(deep(train, name="deep")(x, None)[0])

        tables = [layers_from_module(Trained(), of_shape(1, 3), train=train).layers for train in (False, True)]
        assert tables[0] == tables[1]
        assert [layer.macs for layer in tables[0]] == [12, 16, 5 * 16, 8]

    def test_several_inputs(self):
        class Two(nn.Module):
            @nn.compact
            def __call__(self, x, y):
                return nn.Dense(3)(nn.Dense(5)(x) + y)

        first, second = layers_from_module(Two(), (of_shape(1, 7), of_shape(1, 5))).layers
        assert (first.input_bytes, first.macs, second.input_bytes) == (4 * (7 + 5), 35, 20)

    def test_a_scan_is_one_layer(self):
        class Step(nn.Module):
            @nn.compact
            def __call__(self, x, _):
                return nn.relu(nn.Dense(4)(x)), None

        class Deep(nn.Module):
            @nn.compact
            def __call__(self, x):
                deep = nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=5)
                return nn.Dense(2)(deep(name="deep")(x, None)[0])

        layers = layers_from_module(Deep(), of_shape(1, 4)).layers
        assert layers == (Layer("deep", 80, 16, 16, 4 * 5 * 20), Layer("Dense_0", 8, 16, 8, 4 * 10))

    def test_tied_weights_count_once(self):
        class Tied(nn.Module):
            @nn.compact
            def __call__(self, words):
                table = nn.Embed(100, 8)
                return table.attend(nn.relu(nn.Dense(8)(table(words))))

        layers = layers_from_module(Tied(), of_shape(1, 5, dtype=jnp.int32)).layers
        assert [(layer.macs, layer.parameter_bytes) for layer in layers] == [
            (0, 4 * 800), (5 * 64, 4 * 72), (5 * 800, 0),
        ]  # fmt: skip
        assert [layer.input_bytes for layer in layers] == [20, 4 * 5 * 8, 4 * 5 * 8]

    def test_half_precision_travels_as_such(self):
        class Half(nn.Module):
            @nn.compact
            def __call__(self, x):
                for features in (8, 6):
                    x = nn.relu(nn.Dense(features, dtype=jnp.bfloat16)(x))
                return x

        layers = layers_from_module(Half(), of_shape(1, 4)).layers
        # Parameters are kept in float32.
        assert layers == (Layer("Dense_0", 32, 16, 16, 4 * 40), Layer("Dense_1", 48, 16, 12, 4 * 54))

    def test_weights_that_are_boxed(self):
        boxed = nn.with_partitioning(nn.initializers.zeros, ("in", "out"))
        layers = layers_from_module(nn.Dense(3, kernel_init=boxed), of_shape(1, 4)).layers
        assert layers == (Layer("dot", 12, 16, 12, 60),)

    def test_a_transposed_convolution_multiplies_no_inserted_zeros(self):
        layers = layers_from_module(nn.ConvTranspose(5, (2, 2), (2, 2)), of_shape(1, 6, 6, 3)).layers
        # Each of the 36 * 3 values that enter meets a 2 x 2 kernel for each of five channels.
        assert [(layer.macs, layer.output_bytes) for layer in layers] == [(36 * 3 * 4 * 5, 4 * 144 * 5)]

    @pytest.mark.parametrize("how", ["nearest", "bilinear", "cubic", "lanczos3"])
    def test_resampling_an_image_is_no_matrix_product(self, how):
        """Published totals count it as nothing, as the ONNX reader does; JAX writes it as products."""
        layers = layers_from_module(Decoder(how), of_shape(1, 6, 6, 3)).layers
        assert [layer.macs for layer in layers] == [36 * 8 * 27, 144 * 8 * 5]

    def test_resampling_by_other_means(self):
        """With factors of one's own, and for each of several images."""

        def scaled(image):
            scale, shift = jnp.array([2.0, 1.5]), jnp.array([0.0, 0.5])
            return jax.image.scale_and_translate(image, (12, 9, 8), (0, 1), scale, shift, "cubic")

        class Scaled(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.Conv(5, (1, 1))(jax.vmap(scaled)(nn.Conv(8, (3, 3))(x)))

        layers = layers_from_module(Scaled(), of_shape(1, 6, 6, 3)).layers
        assert [layer.macs for layer in layers] == [36 * 8 * 27, 12 * 9 * 8 * 5]

    def test_what_is_multiplied_with_numbers_counts_as_any_product(self):
        """Averages, identities, tables of positions: as the same network's ONNX file has it."""
        image, matrix, table = of_shape(1, 6, 6, 3), of_shape(1, 6, 4), of_shape(1, 6)
        blur = np.outer([1, 2, 1], [1, 2, 1])[:, :, None, None].repeat(3, 3) / 16
        neighbours = (np.eye(6) + np.roll(np.eye(6), 1, 0)) / 2

        def blurred(x):
            return jax.lax.conv_general_dilated(
                x, blur.astype(x.dtype), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=3,
            )  # fmt: skip

        for compute, example, expected in (
            (blurred, image, 36 * 3 * 9),
            (lambda x: jnp.einsum("ij,bjf->bif", neighbours.astype(x.dtype), x), matrix, 6 * 6 * 4),
            (lambda x: x @ jnp.eye(6), table, 36),
            (lambda x: x @ jnp.cos(jnp.outer(jnp.arange(6), jnp.arange(6))), table, 36),
            (lambda x: x + nn.Dense(6)(jnp.sin(jnp.arange(8.0)))[None], table, 48),
        ):
            assert total(layers_from_module(Plain(compute), example), "macs") == expected

    def test_patches_are_no_convolution(self):
        class Patches(nn.Module):
            @nn.compact
            def __call__(self, x):
                x = jax.lax.conv_general_dilated_patches(
                    x, (2, 2), (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
                return nn.Dense(5)(x)

        assert total(layers_from_module(Patches(), of_shape(1, 6, 6, 3)), "macs") == 9 * 12 * 5

    def test_a_product_of_zeros_counts(self):
        """As the first step of a recurrent cell does, whose state is zero."""

        class Cell(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.tanh(nn.Dense(4)(x) + nn.Dense(4, name="state")(jnp.zeros((1, 4))))

        assert total(layers_from_module(Cell(), of_shape(1, 3)), "macs") == 12 + 16

    @pytest.mark.parametrize("padding", ["VALID", "SAME", ((1, 1), (1, 1))])
    @pytest.mark.parametrize("stride", [1, 2, 3])
    def test_each_value_that_enters_a_transposed_convolution_meets_its_kernel_once(self, stride, padding):
        module = nn.ConvTranspose(5, (3, 4), (stride, stride), padding=padding)
        assert total(layers_from_module(module, of_shape(1, 6, 7, 2)), "macs") == 42 * 2 * 12 * 5

    def test_a_convolution_with_much_padding_counts_its_taps(self):
        module = nn.Conv(5, (3, 3), padding=2)
        assert total(layers_from_module(module, of_shape(1, 1, 1, 2)), "macs") == 9 * 2 * 9 * 5

    @pytest.mark.parametrize("where", ["setup", "call"])
    def test_settings_that_are_worked_out_with_jax(self, where):
        """Drop-path rates; and what JAX computes then of a resampling is no product either."""

        def rates():
            return [rate.item() for rate in jnp.linspace(0.0, 0.1, 3)]

        class InSetup(nn.Module):
            def setup(self):
                self.parts = [Decoder("bilinear"), nn.Dropout(rates()[1], deterministic=True)]

            def __call__(self, x):
                return self.parts[1](self.parts[0](x))

        class InCall(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.Dropout(rates()[1], deterministic=True)(Decoder("bilinear")(x))

        module = {"setup": InSetup, "call": InCall}[where]()
        assert total(layers_from_module(module, of_shape(1, 6, 6, 3)), "macs") == 36 * 8 * 27 + 144 * 8 * 5

    def test_primitives_without_a_rule_are_named(self, refused):
        class Fourier(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.Dense(4)(jnp.fft.fft(x).real)

        with refused("count_as_zero", "'fft'"):
            layers_from_module(Fourier(), of_shape(1, 8))
        assert total(layers_from_module(Fourier(), of_shape(1, 8), count_as_zero=("fft",)), "macs") == 32


class Plain(nn.Module):
    compute: Callable

    @nn.compact
    def __call__(self, x):
        return self.compute(x)


class Decoder(nn.Module):
    how: str

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3))(x)
        return nn.Conv(5, (1, 1))(jax.image.resize(x, (1, 12, 12, 8), self.how))


class TestNNX:
    def test_by_hand(self):
        module = nnx.eval_shape(lambda: SmallNNX(nnx.Rngs(0)))
        module.eval()
        stem = Layer("stem", 64 * 4 * 27, 768, 1024, 4 * (4 * 27 + 4 + 8))
        assert layers_from_module(module, of_shape(1, 8, 8, 3)).layers == (stem, *SMALL[2:])
        for method in ("features", SmallNNX.features):
            (layer,) = layers_from_module(module, of_shape(1, 8, 8, 3), method=method).layers
            assert layer == replace(stem, name="stem", parameter_bytes=4 * (4 * 27 + 4))

    def test_one_with_arrays(self):
        (layer,) = layers_from_module(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), jnp.ones((1, 4))).layers
        assert layer == Layer("dot", 12, 16, 12, 60)


class TestBadInput:
    @pytest.mark.parametrize("module", [Small, lambda x: x, None, "vgg16"], ids=["class", "function", "None", "name"])
    def test_modules(self, refused, module):
        with refused("module", "flax.linen or flax.nnx", repr(module)):
            layers_from_module(module, of_shape(1, 8))

    @pytest.mark.parametrize(
        ("example", "got"),
        [((1, 8, 8, 3), "1"), ((), "()"), ([1.0], "[1.0]"), (of_shape(), "()"), (of_shape(2, 8), "(2, 8)")],
        ids=str,
    )
    def test_examples(self, refused, example, got):
        with refused("example", "input of one task" if got[0] == "(" else "jax.ShapeDtypeStruct", got):
            layers_from_module(nn.Dense(3), example)

    def test_blocks(self, refused):
        for blocks in (0, 5, 2.0, True):
            with refused("blocks", f"got {blocks}", "from 1 to 4"):
                workload_from_module(Small(), of_shape(1, 8, 8, 3), blocks)

    def test_fewer_layers_than_blocks_are_usual(self):
        """The ledger's six are the default, and four are all there are."""
        assert workload_from_module(Small(), of_shape(1, 8, 8, 3)).num_blocks == 4
        assert workload_from_module(NETWORKS["alexnet"](), SMALL_IMAGE).num_blocks == 6

    def test_what_does_not_depend_on_its_input(self, refused):
        class Deaf(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.Dense(3)(jnp.ones((1, 2)))

        with refused("must compute its output from its input"):
            layers_from_module(Deaf(), of_shape(1, 8))
