"""Four well-known networks at 224x224, built to the published architectures: as Flax modules and as ONNX files. And a
small one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx
from onnx import TensorProto, helper, numpy_helper

IMAGE = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.uint8)

#: Parameters, and multiply-accumulates in units of 1e9, as torchvision's documentation of its weights prints them.
PUBLISHED = {
    "resnet50": (25_557_032, "4.089"),
    "mobilenet_v2": (3_504_872, "0.301"),
    "vgg16": (138_357_544, "15.47"),
    "vit_b_16": (86_567_656, "17.56"),
}

#: Output channels, units and stride of each stage.
RESNET50 = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
#: Expansion, output channels, units and stride of each stage.
MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
#: Features and depth of each stage.
VGG16 = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


# --- Flax ---------------------------------------------------------------------------------------------------


class ConvNorm(nn.Module):
    features: int
    kernel: int
    stride: int = 1
    groups: int = 1

    @nn.compact
    def __call__(self, x):
        size, strides, padding = (self.kernel,) * 2, (self.stride,) * 2, self.kernel // 2
        x = nn.Conv(self.features, size, strides, padding, feature_group_count=self.groups, use_bias=False)(x)
        return nn.BatchNorm(use_running_average=True)(x)


class Bottleneck(nn.Module):
    features: int
    stride: int

    @nn.compact
    def __call__(self, x):
        y = nn.relu(ConvNorm(self.features, 1)(x))
        y = nn.relu(ConvNorm(self.features, 3, self.stride)(y))
        y = ConvNorm(4 * self.features, 1)(y)
        return nn.relu(y + (x if x.shape == y.shape else ConvNorm(4 * self.features, 1, self.stride)(x)))


class ResNet50(nn.Module):
    """He et al., CVPR 2016, with the stride in the 3x3 convolution."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(ConvNorm(64, 7, 2, name="stem")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, (features, units, stride) in enumerate(RESNET50, start=1):
            for unit in range(units):
                x = Bottleneck(features, stride if unit == 0 else 1, name=f"stage{stage}_{unit + 1}")(x)
        return nn.Dense(1000, name="fc")(x.mean((1, 2)))


class InvertedResidual(nn.Module):
    expansion: int
    features: int
    stride: int

    @nn.compact
    def __call__(self, x):
        wide = self.expansion * x.shape[-1]
        y = nn.relu6(ConvNorm(wide, 1, name="expand")(x)) if self.expansion > 1 else x
        y = nn.relu6(ConvNorm(wide, 3, self.stride, groups=wide, name="depthwise")(y))
        y = ConvNorm(self.features, 1, name="project")(y)
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    """Sandler et al., CVPR 2018."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu6(ConvNorm(32, 3, 2, name="stem")(x))
        for expansion, features, units, stride in MOBILENET_V2:
            for unit in range(units):
                x = InvertedResidual(expansion, features, stride if unit == 0 else 1)(x)
        x = nn.relu6(ConvNorm(1280, 1, name="last")(x))
        return nn.Dense(1000, name="fc")(x.mean((1, 2)))


class VGG16Large(nn.Module):
    """Simonyan and Zisserman, configuration D."""

    @nn.compact
    def __call__(self, x):
        for features, depth in VGG16:
            for _ in range(depth):
                x = nn.relu(nn.Conv(features, (3, 3))(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(1, -1)
        for features in (4096, 4096):
            x = nn.relu(nn.Dense(features)(x))
        return nn.Dense(1000)(x)


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x + nn.MultiHeadDotProductAttention(12, name="attention")(nn.LayerNorm()(x))
        y = nn.gelu(nn.Dense(3072, name="wide")(nn.LayerNorm()(x)))
        return x + nn.Dense(768, name="narrow")(y)


class ViTB16(nn.Module):
    """Dosovitskiy et al., ICLR 2021: patches of 16 x 16, twelve blocks, a class token."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(768, (16, 16), (16, 16), name="patches")(x).reshape(1, 196, 768)
        x = jnp.concatenate([self.param("token", nn.initializers.zeros, (1, 1, 768)), x], axis=1)
        x = x + self.param("position", nn.initializers.zeros, (1, 197, 768))
        for block in range(12):
            x = Encoder(name=f"block{block}")(x)
        return nn.Dense(1000, name="head")(nn.LayerNorm()(x)[:, 0])


class SmallNNX(nnx.Module):
    """For an image of 8 x 8: a convolution with normalisation and dropout, pooling, a matrix product."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(4 * 16, 3, rngs=rngs)

    def __call__(self, x):
        x = self.drop(nnx.relu(self.norm(self.stem(x))))
        return self.head(nnx.max_pool(x, (2, 2), (2, 2)).reshape(1, -1))

    def features(self, x):
        return self.stem(x)


MODULES = {"resnet50": ResNet50, "mobilenet_v2": MobileNetV2, "vgg16": VGG16Large, "vit_b_16": ViTB16}


# --- ONNX ---------------------------------------------------------------------------------------------------


class Graph:
    """Writes an ONNX file, whose weights stand in another file, which does not exist: 553 MB of them for VGG16."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def weight(self, *shape, data_type=TensorProto.FLOAT):
        tensor = TensorProto(name=f"w{len(self.constants)}", data_type=data_type, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
        self.constants.append(tensor)
        return tensor.name

    def constant(self, *values):
        name = f"c{len(self.constants)}"
        self.constants.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        return name

    def __call__(self, kind, *inputs, outputs=1, name="", **attributes):
        made = [f"t{len(self.nodes)}.{at}" for at in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), made, name=name, **attributes))
        return made[0] if outputs == 1 else made

    def model(self, output, image=("batch", 3, 224, 224), opset=20, **more):
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", "scores"])],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10, **more)

    def conv(self, x, channels, features, kernel, stride=1, groups=1, bias=True, **attributes):
        weights = [self.weight(features, channels // groups, kernel, kernel)]
        weights += [self.weight(features)] if bias else []
        attributes = {"pads": [kernel // 2] * 4, **attributes}
        return self("Conv", x, *weights, strides=[stride] * 2, group=groups, kernel_shape=[kernel] * 2, **attributes)

    def conv_norm(self, x, channels, features, kernel, stride=1, groups=1, relu=True):
        x = self.conv(x, channels, features, kernel, stride, groups, bias=False)
        x = self("BatchNormalization", x, *(self.weight(features) for _ in range(4)))
        return self("Relu", x) if relu else x

    def linear(self, x, inputs, features):
        return self("Add", self("MatMul", x, self.weight(inputs, features)), self.weight(features))

    def head(self, x, inputs):
        return self("Gemm", x, self.weight(1000, inputs), self.weight(1000), transB=1)


def resnet50(narrow=1):
    graph = Graph()
    x, channels = graph.conv_norm("image", 3, 64 // narrow, 7, 2), 64 // narrow
    x = graph("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for features, units, first in RESNET50:
        features //= narrow
        for unit in range(units):
            stride = first if unit == 0 else 1
            y = graph.conv_norm(x, channels, features, 1)
            y = graph.conv_norm(y, features, features, 3, stride)
            y = graph.conv_norm(y, features, 4 * features, 1, relu=False)
            x = x if unit else graph.conv_norm(x, channels, 4 * features, 1, stride, relu=False)
            x, channels = graph("Relu", graph("Add", y, x)), 4 * features
    x = graph("Flatten", graph("GlobalAveragePool", x))
    return graph.model(graph.head(x, channels))


def mobilenet_v2(narrow=1):
    graph = Graph()
    x, channels = graph.conv_norm("image", 3, 32 // narrow, 3, 2), 32 // narrow
    for expansion, features, units, first in MOBILENET_V2:
        features //= narrow
        for unit in range(units):
            stride, wide = first if unit == 0 else 1, expansion * channels
            y = graph.conv_norm(x, channels, wide, 1) if expansion > 1 else x
            y = graph.conv_norm(y, wide, wide, 3, stride, groups=wide)
            y = graph.conv_norm(y, wide, features, 1, relu=False)
            x, channels = graph("Add", x, y) if stride == 1 and channels == features else y, features
    x = graph.conv_norm(x, channels, 1280 // narrow, 1)
    x = graph("ReduceMean", x, graph.constant(2, 3), keepdims=0)
    return graph.model(graph.head(x, 1280 // narrow))


def vgg16():
    graph = Graph()
    x, channels = "image", 3
    for features, depth in VGG16:
        for _ in range(depth):
            x, channels = graph("Relu", graph.conv(x, channels, features, 3)), features
        x = graph("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x, inputs = graph("Flatten", x), 512 * 7 * 7
    for _ in range(2):
        x = graph("Relu", graph("Gemm", x, graph.weight(4096, inputs), graph.weight(4096), transB=1))
        inputs = 4096
    return graph.model(graph.head(x, 4096))


def vit_b_16():
    graph = Graph()
    norm = partial(graph, "LayerNormalization")
    x = graph.conv("image", 3, 768, 16, stride=16, pads=[0] * 4)
    # As exporters write it: the batch is taken from the shape of the tensor itself.
    batch = graph("Gather", graph("Shape", x), graph.constant(0))
    x = graph("Reshape", x, graph("Concat", batch, graph.constant(768, 196), axis=0))
    x = graph("Transpose", x, perm=[0, 2, 1])
    token = graph("Expand", graph.weight(1, 1, 768), graph("Concat", batch, graph.constant(1, 768), axis=0))
    x = graph("Add", graph("Concat", token, x, axis=1), graph.weight(1, 197, 768))
    for _ in range(12):
        y = graph.linear(norm(x, graph.weight(768), graph.weight(768)), 768, 3 * 768)
        y = graph("Transpose", graph("Reshape", y, graph.constant(1, 197, 3, 12, 64)), perm=[2, 0, 3, 1, 4])
        q, k, v = (graph("Squeeze", part, graph.constant(0)) for part in graph("Split", y, outputs=3, num_outputs=3))
        scores = graph("MatMul", q, graph("Transpose", k, perm=[0, 1, 3, 2]))
        y = graph("MatMul", graph("Softmax", scores), v)
        y = graph("Reshape", graph("Transpose", y, perm=[0, 2, 1, 3]), graph.constant(1, 197, 768))
        x = graph("Add", x, graph.linear(y, 768, 768))
        y = graph("Gelu", graph.linear(norm(x, graph.weight(768), graph.weight(768)), 768, 3072))
        x = graph("Add", x, graph.linear(y, 3072, 768))
    x = norm(x, graph.weight(768), graph.weight(768))
    x = graph("Squeeze", graph("Gather", x, graph.constant(0), axis=1), graph.constant(1))
    return graph.model(graph.head(x, 768))


FILES = {"resnet50": resnet50, "mobilenet_v2": mobilenet_v2, "vgg16": vgg16, "vit_b_16": vit_b_16}


def check_totals(name, table):
    """To the last parameter, and to the digits that are published."""
    parameters, giga = PUBLISHED[name]
    assert sum(layer.parameter_bytes for layer in table.layers) == 4 * parameters
    assert f"{sum(layer.macs for layer in table.layers) / 1e9:.{len(giga.partition('.')[2])}f}" == giga


def write(name, folder):
    """The file of a network."""
    path = folder / f"{name}.onnx"
    path.write_bytes(FILES[name]().SerializeToString())
    return path


def fill(model, seed=0):
    """Put weights into a model, at random, such that what passes through it neither grows nor vanishes."""
    draw = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            shape = tuple(tensor.dims)
            around_one = draw.uniform(0.5, 1.5, shape)  # also as variances
            scaled = draw.normal(size=shape) * np.sqrt(2 / max(np.prod(shape[1:]), 1))
            values = (scaled if len(shape) > 1 else around_one).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model
