import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from mecpart.dnn.layer import Layer
from mecpart.dnn.zoo import IMAGE, NETWORKS, Chain, FullyConnected, layer_table, multiply_accumulates

F32 = jnp.float32
TABLES = {name: layer_table(network()) for name, network in NETWORKS.items()}


def total(name, quantity):
    return sum(getattr(layer, quantity) for layer in TABLES[name])


def random_variables(chain):
    """Kernels, biases, running means and variances (which flax starts at 0 and 1) all drawn at random."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        if leaf.ndim > 1:
            return rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape).astype(leaf.dtype)
        return rng.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype)

    return jax.tree.map(draw, jax.eval_shape(chain.init, jax.random.key(0), IMAGE))


class TestPublishedTotals:
    """Tables of pytorch-cifar-models, imgclsmob and pytorch-classification, to the digits that they print."""

    def test_resnet32(self):
        assert round(total("resnet32", "parameter_bytes") / 4 / 1e6, 2) == 0.47
        assert round(total("resnet32", "macs") / 1e6, 2) == 69.12

    def test_vgg16(self):
        assert round(total("vgg16", "parameter_bytes") / 4 / 1e6, 2) == 15.25
        assert round(total("vgg16", "macs") / 1e6, 2) == 313.73

    def test_nin(self):
        assert total("nin", "parameter_bytes") / 4 == 966_986
        assert round(total("nin", "macs") / 1e6, 1) == 222.5

    def test_alexnet(self):
        assert round(total("alexnet", "parameter_bytes") / 4 / 1e6, 2) == 2.47

    def test_vgg16_by_hand(self):
        """15.25 M and 313.73 M belong to three fully connected layers; with a single one it is 14.73 M."""
        # (side of the output, input channels, output channels) of the thirteen 3x3 convolutions
        convolutions = [
            (32, 3, 64), (32, 64, 64),
            (16, 64, 128), (16, 128, 128),
            (8, 128, 256), (8, 256, 256), (8, 256, 256),
            (4, 256, 512), (4, 512, 512), (4, 512, 512),
            (2, 512, 512), (2, 512, 512), (2, 512, 512),
        ]  # fmt: skip
        dense = [(512, 512), (512, 512), (512, 10)]
        macs = sum(side**2 * 9 * a * b for side, a, b in convolutions) + sum(a * b for a, b in dense)
        # kernel and bias of each convolution, scale and shift of its batch normalisation
        features = sum(9 * a * b + b + 2 * b for _, a, b in convolutions)
        parameters = features + sum(a * b + b for a, b in dense)
        assert total("vgg16", "macs") == macs == 313_725_952
        assert total("vgg16", "parameter_bytes") == 4 * parameters == 4 * 15_253_578
        assert features + 512 * 10 + 10 == 14_728_266

    def test_alexnet_by_hand(self):
        # (side of the output, kernel, input channels, output channels)
        convolutions = [(8, 11, 3, 64), (4, 5, 64, 192), (2, 3, 192, 384), (2, 3, 384, 256), (2, 3, 256, 256)]
        macs = [side**2 * kernel**2 * a * b for side, kernel, a, b in convolutions]
        parameters = [kernel**2 * a * b + b for _, kernel, a, b in convolutions]
        layers = [layer for layer in TABLES["alexnet"] if layer.macs]
        assert [layer.macs for layer in layers] == [*macs, 256 * 10]
        assert [layer.parameter_bytes for layer in layers] == [4 * p for p in (*parameters, 256 * 10 + 10)]


class TestLayers:
    @pytest.mark.parametrize(
        ("name", "names"),
        [
            ("alexnet", "conv1 pool1 conv2 pool2 conv3 conv4 conv5 pool5 fc"),
            ("nin", "conv1 cccp1 cccp2 pool1 conv2 cccp3 cccp4 pool2 conv3 cccp5 cccp6 pool3"),
            (
                "resnet32",
                "conv1 res1_1 res1_2 res1_3 res1_4 res1_5 res2_1 res2_2 res2_3 res2_4 res2_5 "
                "res3_1 res3_2 res3_3 res3_4 res3_5 pool fc",
            ),
            (
                "vgg16",
                "conv1_1 conv1_2 pool1 conv2_1 conv2_2 pool2 conv3_1 conv3_2 conv3_3 pool3 "
                "conv4_1 conv4_2 conv4_3 pool4 conv5_1 conv5_2 conv5_3 pool5 fc1 fc2 fc3",
            ),
        ],
    )
    def test_are_listed_in_order(self, name, names):
        assert [layer.name for layer in TABLES[name]] == names.split()

    @pytest.mark.parametrize("name", NETWORKS)
    def test_one_image_enters_and_ten_scores_leave(self, name):
        table = TABLES[name]
        assert table[0].input_bytes == 32 * 32 * 3
        assert table[-1].output_bytes == 10 * 4
        assert [layer.input_bytes for layer in table[1:]] == [layer.output_bytes for layer in table[:-1]]

    @pytest.mark.parametrize(
        ("name", "sides"),
        [
            ("alexnet", {"conv1": (8, 64), "pool1": (4, 64), "pool2": (2, 192), "pool5": (1, 256)}),
            ("nin", {"conv1": (32, 192), "pool1": (16, 96), "pool2": (8, 192), "cccp6": (8, 10)}),
            ("resnet32", {"conv1": (32, 16), "res1_5": (32, 16), "res2_1": (16, 32), "res3_5": (8, 64)}),
            ("vgg16", {"conv1_2": (32, 64), "pool1": (16, 64), "conv3_1": (8, 256), "pool5": (1, 512)}),
        ],
    )
    def test_feature_maps_have_the_published_shapes(self, name, sides):
        table = {layer.name: layer for layer in TABLES[name]}
        for layer, (side, channels) in sides.items():
            assert table[layer].output_bytes == 4 * side**2 * channels

    def test_pooling_costs_nothing(self):
        for table in TABLES.values():
            for layer in table:
                if layer.name.startswith("pool"):
                    assert (layer.macs, layer.parameter_bytes) == (0, 0)
                else:
                    assert layer.macs > 0
                    assert layer.parameter_bytes > 0

    def test_max_pool_takes_the_largest(self):
        pool = NETWORKS["nin"]().layers["pool1"]
        image = -jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1)  # all negative: a padded zero would win
        # 3x3 windows around pixels 0 and 2 of each axis, padding outside
        np.testing.assert_array_equal(pool.apply({}, image)[0, :, :, 0], [[-1.0, -2.0], [-5.0, -6.0]])

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (("conv", -1, 1, 1, 1), r"macs of layer 'conv' .* at least 0; got -1"),
            (("conv", 1, 1.5, 1, 1), r"input_bytes of layer 'conv' .* got 1\.5"),
            (("conv", 1, 1, True, 1), r"output_bytes of layer 'conv' .* got True"),
            (("conv", 1, 1, 1, float("nan")), r"parameter_bytes of layer 'conv' .* got nan"),
            (("", 1, 1, 1, 1), r"name of a layer must be a non-empty string; got ''"),
            ((7, 1, 1, 1, 1), r"name of a layer must be a non-empty string; got 7"),
        ],
    )
    def test_bad_quantities_are_refused(self, values, message):
        with pytest.raises(ValueError, match=message):
            Layer(*values)


class TestAgainstXLA:
    """The compiler's own cost analysis, of each convolution and matrix product and of each layer as a whole.

    XLA counts two operations for a multiply-accumulate and none for a tap that falls on padding, so the
    padding is made part of the input before it is asked.
    """

    @pytest.mark.parametrize("name", NETWORKS)
    def test_every_layer(self, name):
        products = {}

        def flops(function, *shapes):
            arguments = [jax.ShapeDtypeStruct(shape, F32) for shape in shapes]
            return jax.jit(function).lower(*arguments).cost_analysis()["flops"]

        def record(next_call, arguments, keywords, context):
            x, module, y = arguments[0], context.module, next_call(*arguments, **keywords)
            if isinstance(module, nn.Conv):
                side = [size + 2 * module.padding for size in x.shape[1:3]]
                count = flops(
                    lambda x, kernel: lax.conv_general_dilated(
                        x, kernel, module.strides, "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
                    ),
                    (1, *side, x.shape[3]),
                    (*module.kernel_size, x.shape[3], module.features),
                )
            elif isinstance(module, nn.Dense):
                count = flops(jnp.dot, x.shape, (x.shape[-1], module.features))
            else:
                return y
            products.setdefault(module.path[0].removeprefix("layers_"), []).append(count)
            return y

        with nn.intercept_methods(record):
            jax.eval_shape(NETWORKS[name]().init, jax.random.key(0), IMAGE)
        expected = {layer.name: 2 * layer.macs for layer in TABLES[name] if layer.macs}
        assert {layer: sum(counts) for layer, counts in products.items()} == expected
        assert sum(map(len, products.values())) == {"alexnet": 6, "nin": 9, "resnet32": 34, "vgg16": 16}[name]

    @pytest.mark.parametrize("name", NETWORKS)
    def test_every_whole_layer(self, name):
        """Nothing that multiplies is missed: the rest of a layer is a few operations for each value in it."""

        def pad_first(next_call, arguments, keywords, context):
            module = context.module
            if not isinstance(module, nn.Conv) or not module.padding:
                return next_call(*arguments, **keywords)
            edge = (module.padding, module.padding)
            padded = jnp.pad(arguments[0].astype(F32), ((0, 0), edge, edge, (0, 0)))
            object.__setattr__(module, "padding", "VALID")
            return next_call(padded)

        x = IMAGE
        for layer, row in zip(NETWORKS[name]().layers.values(), TABLES[name], strict=True):
            variables = jax.eval_shape(layer.init, jax.random.key(0), x)
            with nn.intercept_methods(pad_first):
                flops = jax.jit(layer.apply).lower(variables, x).cost_analysis()["flops"]
            # besides, values are biased, normalised, rectified, added to a shortcut, or pooled by up to nine
            values = max(row.output_bytes, row.input_bytes) // 4
            assert 0 <= flops - 2 * row.macs <= 12 * values
            x = jax.eval_shape(layer.apply, variables, x)


class TestNetworks:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_layers_one_after_another_are_the_network(self, name):
        chain = NETWORKS[name]()
        variables = random_variables(chain)
        images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)

        @jax.jit
        def step_by_step(variables, x):
            for name, layer in chain.layers.items():
                own = {kind: tree.get(f"layers_{name}", {}) for kind, tree in variables.items()}
                x = layer.apply(own, x)
            return x

        scores = jax.jit(chain.apply)(variables, images)
        assert scores.shape == (2, 10)
        assert np.isfinite(scores).all()
        assert np.ptp(scores) > 0
        np.testing.assert_allclose(step_by_step(variables, images), scores, rtol=1e-5)

    @pytest.mark.parametrize("name", NETWORKS)
    def test_trains(self, name):
        chain = NETWORKS[name]()
        images = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
        labels = np.arange(2)
        variables = random_variables(chain)
        weights = variables.pop("params")

        @jax.jit
        def loss_and_gradient(weights):
            def loss(weights):
                scores, _ = chain.apply({"params": weights} | variables, images, True, mutable="batch_stats")
                return -jnp.mean(jax.nn.log_softmax(scores)[labels, labels])

            return jax.value_and_grad(loss)(weights)

        before, gradient = loss_and_gradient(weights)
        squared = sum(float(np.sum(np.square(leaf))) for leaf in jax.tree.leaves(gradient))
        assert np.isfinite(squared)
        step = 0.01 * before / squared  # to first order, the loss falls by one hundredth
        after, _ = loss_and_gradient(jax.tree.map(lambda w, g: w - step * g, weights, gradient))
        assert 0.98 * before < after < before

    def test_kernels_start_at_the_scale_that_suits_relu(self):
        """Variance 2 / fan-in: He et al., "Delving Deep into Rectifiers", ICCV 2015, Eq. 10."""
        layer = NETWORKS["alexnet"]().layers["conv2"]
        variables = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))
        kernel = variables["params"]["Conv_0"]["kernel"]
        assert kernel.shape == (5, 5, 64, 192)
        np.testing.assert_allclose(np.var(kernel), 2 / (5 * 5 * 64), rtol=0.02)


class TestMultiplyAccumulates:
    def shapes(self, *shapes):
        return [jax.ShapeDtypeStruct(shape, F32) for shape in shapes]

    def test_matrix_products(self):
        assert multiply_accumulates(jnp.dot, *self.shapes((3, 5), (5, 7))) == 3 * 5 * 7
        batched = self.shapes((2, 4, 3, 5), (2, 4, 5, 7))
        assert multiply_accumulates(jnp.matmul, *batched) == 2 * 4 * 3 * 5 * 7
        attention = self.shapes((2, 6, 3, 8), (2, 9, 3, 8))
        scores = multiply_accumulates(lambda q, k: jnp.einsum("bqhd,bkhd->bhqk", q, k), *attention)
        assert scores == 2 * 6 * 9 * 3 * 8

    def test_grouped_convolution(self):
        module = nn.Conv(12, (3, 3), feature_group_count=4, strides=2, use_bias=False)
        x = jax.ShapeDtypeStruct((1, 10, 10, 8), F32)
        variables = jax.eval_shape(module.init, jax.random.key(0), x)
        # 5x5 outputs of 12 channels, each from 3x3 taps of the 8 / 4 channels of its group
        assert multiply_accumulates(module.apply, variables, x) == 5 * 5 * 12 * 9 * 2

    def test_dilated_convolution(self):
        module = nn.Conv(4, (3, 3), kernel_dilation=2, padding="VALID")
        x = jax.ShapeDtypeStruct((1, 9, 9, 2), F32)
        variables = jax.eval_shape(module.init, jax.random.key(0), x)
        assert multiply_accumulates(module.apply, variables, x) == 5 * 5 * 4 * 9 * 2

    def test_nested_functions(self):
        @jax.custom_jvp
        def inner(a, b):
            return a @ b

        inner.defjvp(lambda primals, tangents: (inner(*primals), inner(*tangents)))
        product = jax.jit(jax.checkpoint(lambda a, b: nn.relu(inner(a, b))))
        assert multiply_accumulates(product, *self.shapes((3, 5), (5, 7))) == 3 * 5 * 7

    def test_loops_and_branches(self):
        square, shape = (lambda x: x @ x), self.shapes((4, 4))
        assert multiply_accumulates(lambda x: lax.fori_loop(0, 6, lambda _, y: square(y), x), *shape) == 6 * 64
        scan = lambda x: lax.scan(lambda y, _: (square(y), None), x, length=5)[0]  # noqa: E731
        assert multiply_accumulates(scan, *shape) == 5 * 64
        branch = lambda x: lax.cond(x[0, 0] > 0, lambda y: square(square(y)), square, x)  # noqa: E731
        assert multiply_accumulates(branch, *shape) == 2 * 64

    def test_nothing_is_counted_for_additions_and_pooling(self):
        def layer(x):
            return nn.avg_pool(nn.relu(x + x), (2, 2), (2, 2)).mean()

        assert multiply_accumulates(layer, *self.shapes((1, 8, 8, 3))) == 0

    def test_a_while_loop_is_refused_only_if_it_multiplies(self):
        def rounds(body):
            return lambda x: lax.while_loop(lambda y: y[0, 0] < 9, body, x)

        assert multiply_accumulates(rounds(lambda y: y + 1), *self.shapes((4, 4))) == 0
        with pytest.raises(ValueError, match=r"while loop.*got 64 multiply-accumulates in each round"):
            multiply_accumulates(rounds(lambda y: y @ y), *self.shapes((4, 4)))


def test_layer_table_of_another_chain():
    """A float32 input of another size, and parameters in half precision counted at their own size."""
    chain = Chain({"wide": FullyConnected(6), "narrow": Plain(nn.Dense(3, param_dtype=jnp.bfloat16))})
    table = layer_table(chain, jax.ShapeDtypeStruct((1, 5), F32))
    assert table == (Layer("wide", 30, 20, 24, 4 * 36), Layer("narrow", 18, 24, 12, 2 * 21))


class Plain(nn.Module):
    inner: nn.Module

    def __call__(self, x, train=False):
        return self.inner(x)
