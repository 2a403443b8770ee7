"""The four CIFAR-10 networks of the paper as Flax modules, and what each layer computes, moves and stores.

Every network is a `Chain`: a list of layers each of which is fed by exactly one tensor, so that the network
may be cut between any two of them. A convolution carries its batch normalisation and activation with it, a
residual unit is one layer (two tensors are alive inside it), and a pooling or fully connected layer stands
for itself. Dropout is left out, since it neither computes nor stores anything at inference.

Nothing is computed to find out what a layer costs: shapes come from `jax.eval_shape`, multiply-accumulates
from the layer's jaxpr.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Num

from mecpart.dnn.jaxpr_counts import jaxpr_macs
from mecpart.dnn.layer import Layer

FeatureMaps = Num[Array, "batch height width channels"]
FeatureVectors = Float[Array, "batch features"]

IMAGE = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.uint8)
"""One CIFAR-10 image as it leaves the device: 32 x 32 pixels of three 8-bit channels, 3072 bytes."""


# --- Layers -------------------------------------------------------------------------------------------------


class Convolution(nn.Module):
    """A square convolution padded by half its kernel, then batch normalisation and ReLU where asked for."""

    features: int
    kernel: int = 3
    stride: int = 1
    bias: bool = True
    batch_norm: bool = False
    activation: bool = True

    @nn.compact
    def __call__(self, x: FeatureMaps, train: bool = False) -> FeatureMaps:
        x = nn.Conv(
            self.features,
            kernel_size=(self.kernel, self.kernel),
            strides=(self.stride, self.stride),
            padding=self.kernel // 2,
            use_bias=self.bias,
            kernel_init=nn.initializers.he_normal(),
        )(x)
        if self.batch_norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.relu(x) if self.activation else x


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions and their input added to the result, by a 1x1 convolution if the shape changes.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, Fig. 2, shortcut option B.
    """

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: FeatureMaps, train: bool = False) -> FeatureMaps:
        y = Convolution(self.features, stride=self.stride, bias=False, batch_norm=True)(x, train)
        y = Convolution(self.features, bias=False, batch_norm=True, activation=False)(y, train)
        if x.shape != y.shape:
            x = Convolution(self.features, kernel=1, stride=self.stride, bias=False, batch_norm=True, activation=False)(
                x, train
            )
        return nn.relu(x + y)


class MaxPool(nn.Module):
    """The largest value of each window, moved by two; `padding` pixels are added on each side."""

    window: int = 2
    padding: int = 0

    def __call__(self, x: FeatureMaps, train: bool = False) -> FeatureMaps:
        return nn.max_pool(x, (self.window, self.window), (2, 2), ((self.padding, self.padding),) * 2)


class AveragePool(nn.Module):
    """The mean of each window, moved by two; `padding` zeros are added on each side and averaged over."""

    window: int = 2
    padding: int = 0

    def __call__(self, x: FeatureMaps, train: bool = False) -> FeatureMaps:
        return nn.avg_pool(x, (self.window, self.window), (2, 2), ((self.padding, self.padding),) * 2)


class GlobalAveragePool(nn.Module):
    """The mean over the whole feature map."""

    def __call__(self, x: FeatureMaps, train: bool = False) -> FeatureVectors:
        return x.mean(axis=(1, 2))


class FullyConnected(nn.Module):
    """A fully connected layer over everything that comes in, with ReLU where asked for."""

    features: int
    activation: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "batch ..."], train: bool = False) -> FeatureVectors:
        x = nn.Dense(self.features)(x.reshape(x.shape[0], -1))
        return nn.relu(x) if self.activation else x


# --- Networks -----------------------------------------------------------------------------------------------


class Chain(nn.Module):
    """A network that runs its layers one after the other.

    `layers` holds Flax modules by name, in the order in which they run; each is called as `layer(x, train)`
    and keeps its variables under `layers_<name>`. The network may be cut before any layer but the first, for
    one tensor alone crosses there.
    """

    layers: Mapping[str, nn.Module]

    def __call__(self, images: FeatureMaps, train: bool = False) -> FeatureVectors:
        x = images
        for layer in self.layers.values():
            x = layer(x, train)
        return x


def alexnet() -> Chain:
    """AlexNet narrowed for 32x32 images: five convolutions and one fully connected layer.

    The CIFAR variant of Krizhevsky, "One weird trick for parallelizing convolutional neural networks",
    arXiv:1404.5997, as in github.com/bearpaw/pytorch-classification (2.47 M parameters).
    """
    return Chain(
        {
            "conv1": Convolution(64, kernel=11, stride=4),
            "pool1": MaxPool(),
            "conv2": Convolution(192, kernel=5),
            "pool2": MaxPool(),
            "conv3": Convolution(384),
            "conv4": Convolution(256),
            "conv5": Convolution(256),
            "pool5": MaxPool(),
            "fc": FullyConnected(10),
        }
    )


def nin() -> Chain:
    """Network in Network: three stages of one spatial and two 1x1 convolutions.

    Lin, Chen and Yan, "Network In Network", arXiv:1312.4400, as `nin_cifar10` in github.com/osmr/imgclsmob
    (966,986 parameters).
    """
    return Chain(
        {
            "conv1": Convolution(192, kernel=5),
            "cccp1": Convolution(160, kernel=1),
            "cccp2": Convolution(96, kernel=1),
            "pool1": MaxPool(window=3, padding=1),
            "conv2": Convolution(192, kernel=5),
            "cccp3": Convolution(192, kernel=1),
            "cccp4": Convolution(192, kernel=1),
            "pool2": AveragePool(window=3, padding=1),
            "conv3": Convolution(192),
            "cccp5": Convolution(192, kernel=1),
            "cccp6": Convolution(10, kernel=1),
            "pool3": GlobalAveragePool(),
        }
    )


def resnet32() -> Chain:
    """ResNet32: one convolution, three stages of five residual units, one fully connected layer.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, Sec. 4.2, with projection shortcuts
    as `cifar10_resnet32` in github.com/chenyaofo/pytorch-cifar-models (0.47 M parameters, 69.12 M
    multiply-accumulates).
    """
    layers: dict[str, nn.Module] = {"conv1": Convolution(16, bias=False, batch_norm=True)}
    for stage, features in enumerate((16, 32, 64), start=1):
        for unit in range(1, 6):
            halves = stage > 1 and unit == 1
            layers[f"res{stage}_{unit}"] = ResidualUnit(features, stride=2 if halves else 1)
    return Chain(layers | {"pool": GlobalAveragePool(), "fc": FullyConnected(10)})


def vgg16() -> Chain:
    """VGG16 with batch normalisation: thirteen 3x3 convolutions, three fully connected layers (512, 512, 10).

    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    arXiv:1409.1556, configuration D, as `cifar10_vgg16_bn` in github.com/chenyaofo/pytorch-cifar-models
    (15.25 M parameters, 313.73 M multiply-accumulates).
    """
    layers: dict[str, nn.Module] = {}
    for stage, (features, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], start=1):
        for conv in range(1, depth + 1):
            layers[f"conv{stage}_{conv}"] = Convolution(features, batch_norm=True)
        layers[f"pool{stage}"] = MaxPool()
    layers["fc1"] = FullyConnected(512, activation=True)
    layers["fc2"] = FullyConnected(512, activation=True)
    layers["fc3"] = FullyConnected(10)
    return Chain(layers)


NETWORKS: dict[str, Callable[[], Chain]] = {
    "alexnet": alexnet,
    "nin": nin,
    "resnet32": resnet32,
    "vgg16": vgg16,
}
"""The networks by the names under which `mecpart.workload` knows them."""


# --- Weights ------------------------------------------------------------------------------------------------


def chain_variables(chain: Chain, example: jax.ShapeDtypeStruct = IMAGE) -> dict[str, dict]:
    """Variables at random for each layer, by its name, such that values neither vanish nor grow on their way.

    Made by NumPy: nothing is compiled or trained.
    """
    draw = np.random.default_rng(0)

    def values(path, leaf) -> np.ndarray:
        if path[-1].key == "kernel":  # He et al. 2015
            return np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1]))) * draw.standard_normal(leaf.shape, np.float32)
        return draw.uniform(0.5, 1.5, leaf.shape).astype(np.float32)  # also as variances

    found, x = {}, example
    for name, layer in chain.layers.items():
        shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
        found[name] = jax.tree.map_with_path(values, shapes)
        x = jax.eval_shape(layer.apply, shapes, x)
    return found


# --- What a layer costs -------------------------------------------------------------------------------------


def layer_table(chain: Chain, example: jax.ShapeDtypeStruct = IMAGE) -> tuple[Layer, ...]:
    """The layer table of a network, in the order in which the layers run, derived without computing anything.

    `example` stands for the input of one task, with a batch axis of one; its dtype says how that input
    travels. All later tensors travel in the dtype in which the layers hand them on (float32 for the networks
    here).
    """
    table, x = [], example
    for name, layer in chain.layers.items():
        variables = jax.eval_shape(layer.init, jax.random.key(0), x)
        y = jax.eval_shape(layer.apply, variables, x)
        table.append(
            Layer(
                name=name,
                macs=multiply_accumulates(layer.apply, variables, x),
                input_bytes=_bytes(x),
                output_bytes=_bytes(y),
                parameter_bytes=_bytes(variables.get("params", {})),
            )
        )
        x = y
    return tuple(table)


@functools.cache
def layers_of(name: str) -> tuple[Layer, ...]:
    """The layer table of a network by its name."""
    return layer_table(NETWORKS[name]())


def multiply_accumulates(function: Callable, *arguments) -> int:
    """The multiply-accumulates of the convolutions and matrix products in `function(*arguments)`.

    `arguments` are pytrees of arrays or `jax.ShapeDtypeStruct`; the function is traced, not run. As in
    published totals, taps that fall on padding count like any other, but the zeros that a transposed convolution
    sets between and around its inputs do not; pooling, normalisation and additions count nothing, and the products
    by which `jax.image` resamples neither. Of the branches of a `cond` the dearest counts.

    **Raises:** `ValueError` for a convolution or matrix product inside a `while` loop, whose number of rounds
    no trace can tell, and for a primitive of which nothing says what it costs, such as `fft`.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    return jaxpr_macs(closed.jaxpr)


def _bytes(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
