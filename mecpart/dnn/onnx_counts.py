"""What each operator of the ONNX standard costs: every one is counted, costs nothing by convention, or is refused."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from mecpart.dnn.onnx_file import attribute, kind_of, standard

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]

#: Operators that multiply and accumulate, each by the position of its second operand, mostly its weights.
COUNTED = {
    "AffineGrid": 1, "Attention": 1, "CausalConvWithState": 1, "Conv": 1, "ConvInteger": 1, "ConvTranspose": 1,
    "DeformConv": 1, "Einsum": 1, "GRU": 1, "Gemm": 1, "LSTM": 1, "LinearAttention": 1, "MatMul": 1,
    "MatMulInteger": 1, "QLinearConv": 3, "QLinearMatMul": 3, "RNN": 1,
}  # fmt: skip
#: Operators that multiply and accumulate, but for which the field has no convention.
REFUSED = ("DFT", "Det", "STFT")
#: Operators that hold graphs.
CONTROL = ("If", "Loop", "Scan", "SequenceMap")
# Arithmetic, comparisons, activations.
_ELEMENT_BY_ELEMENT = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Celu Clip
    Cos Cosh Div Dropout Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN
    LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu RotaryEmbedding
    Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum SwiGLU Swish Tan Tanh ThresholdedRelu
    Where Xor
"""
# Normalisation, reductions, sums along an axis, losses.
_ALONG_AXES = """
    ArgMax ArgMin BatchNormalization CumProd CumSum GroupNormalization Hardmax InstanceNormalization LRN
    LayerNormalization LogSoftmax LpNormalization MeanVarianceNormalization NegativeLogLikelihoodLoss
    RMSNormalization ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Softmax SoftmaxCrossEntropyLoss
"""
# Pooling, resampling, selection.
_RESAMPLING = """
    AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample LpPool MaxPool MaxRoiPool MaxUnpool
    NonMaxSuppression NonZero Resize RoiAlign TopK Unique Upsample
"""
# Moving and making data, other types, sequences, text.
_MOVING = """
    Bernoulli BitCast BlackmanWindow Cast CastLike CenterCropPad Col2Im Compress Concat ConcatFromSequence Constant
    ConstantOfShape DepthToSpace DequantizeLinear DynamicQuantizeLinear Expand EyeLike Flatten Gather GatherElements
    GatherND HammingWindow HannWindow Identity ImageDecoder MelWeightMatrix Multinomial OneHot Optional
    OptionalGetElement OptionalHasElement Pad QuantizeLinear RandomNormal RandomNormalLike RandomUniform
    RandomUniformLike Range RegexFullMatch Reshape ReverseSequence Scatter ScatterElements ScatterND SequenceAt
    SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Size Slice SpaceToDepth Split
    SplitToSequence Squeeze StringConcat StringNormalizer StringSplit TensorScatter TfIdfVectorizer Tile Transpose
    Trilu Unsqueeze
"""
#: Operators that count as nothing, as in published totals.
ZERO = frozenset(f"{_ELEMENT_BY_ELEMENT} {_ALONG_AXES} {_RESAMPLING} {_MOVING}".split())

#: Operators whose weights are whole numbers.
QUANTISED = ("ConvInteger", "DequantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul")
#: Inputs that are weights, by position, of the operators whose weights a file may also make with other operators.
WEIGHTS = {
    "Attention": (0, 1, 2), "BatchNormalization": (1, 2), "CausalConvWithState": (1, 2), "Conv": (1, 2),
    "ConvInteger": (1,), "ConvTranspose": (1, 2), "DeformConv": (1, 3), "DequantizeLinear": (0,),
    "Einsum": tuple(range(26)), "GRU": (1, 2, 3), "Gather": (0,), "Gemm": (0, 1, 2), "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2), "LSTM": (1, 2, 3, 7), "LayerNormalization": (1, 2), "MatMul": (0, 1),
    "MatMulInteger": (0, 1), "PRelu": (1,), "QLinearConv": (3, 8), "QLinearMatMul": (0, 3), "RMSNormalization": (1,),
    "RNN": (1, 2, 3),
}  # fmt: skip
# Inputs that are no weights, by position: running statistics, states at the start, and settings given as tensors.
_NO_WEIGHTS = {
    "BatchNormalization": (3, 4), "Clip": (1, 2), "ConvInteger": (2, 3), "DequantizeLinear": (1, 2), "Dropout": (1,),
    "GRU": (5,), "LSTM": (5, 6), "MatMulInteger": (2, 3), "NonMaxSuppression": (3, 4), "OneHot": (2,), "Pad": (2,),
    "Pow": (1,), "QLinearConv": (1, 2, 4, 5, 6, 7), "QLinearMatMul": (1, 2, 4, 5, 6, 7), "QuantizeLinear": (1, 2),
    "RNN": (5,), "Resize": (1, 2), "Upsample": (1,),
}  # fmt: skip

_POOL = ("AveragePool", "LpPool", "MaxPool")
_POOL_ALL = ("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool")


@lru_cache
def no_weights(kind: str) -> frozenset[int]:
    """The inputs of an operator that are settings, by position, also those that can only be whole numbers: a shape."""
    from onnx.defs import get_schema, has

    inputs = get_schema(kind).inputs if has(kind) else ()
    whole = [at for at, entry in enumerate(inputs) if entry.types == {"tensor(int64)"}]
    return frozenset((*whole, *_NO_WEIGHTS.get(kind, ())))


def macs_of(node: "onnx.NodeProto", shape_of: Callable[[str], Shape]) -> int:
    """The multiply-accumulates of an operator, whose operands have the shapes that `shape_of` gives."""
    if node.op_type not in COUNTED or not standard(node):
        return 0
    try:
        return _macs(node, shape_of)
    except (LookupError, TypeError) as error:  # onnx lets some of them pass
        raise ValueError(
            f"{node.op_type} {node.name!r} must have operands with as many axes as the standard asks for; "
            f"got {[shape_of(name) for name in node.input if name]}"
        ) from error


def _macs(node: "onnx.NodeProto", shape_of: Callable[[str], Shape]) -> int:
    at = COUNTED[node.op_type]
    first, second = (shape_of(name) for name in (node.input[0], node.input[at if len(node.input) > at else 0]))
    output = math.prod(shape_of(next(filter(None, node.output))))
    match node.op_type:
        case "AffineGrid":  # a matrix meets each point
            return output * first[-1]
        case "CausalConvWithState":  # each channel by itself
            return output * math.prod(second[1:])
        case "Conv" | "ConvInteger" | "DeformConv" | "QLinearConv":
            _check_channels(node, first[1], second[1] * attribute(node, "group", 1))
            return output * math.prod(second[1:])
        case "ConvTranspose":  # each value that enters meets each weight of its channel
            _check_channels(node, first[1], second[0])
            return math.prod(first) * math.prod(second[1:])
        case "Gemm":
            return output * first[0 if attribute(node, "transA", 0) else 1]
        case "MatMul" | "MatMulInteger" | "QLinearMatMul":
            return output * first[-1]
        case "Einsum":
            return einsum_macs(attribute(node, "equation").decode(), [shape_of(name) for name in node.input])
        case "Attention":  # queries with keys, then weights with values
            past = shape_of(node.input[4])[-2] if len(node.input) > 4 and node.input[4] else 0
            return (math.prod(first) + output) * (second[-2] + past)
        case "LinearAttention":  # keys with values into the state of each head, which then meets the queries
            heads, of_keys = attribute(node, "q_num_heads"), attribute(node, "kv_num_heads")
            state = second[-1] // of_keys * shape_of(node.input[2])[-1] // of_keys
            delta = b"delta" in attribute(node, "update_rule", b"gated_delta")  # keys meet the state first
            return first[0] * first[1] * state * (heads + of_keys * (2 if delta else 1))
        case _:  # a recurrent cell: weights for what enters and for its state, in each step
            return first[0] * first[1] * (math.prod(second) + math.prod(shape_of(node.input[2])))


def _check_channels(node: "onnx.NodeProto", channels: int, allowed: int) -> None:
    """What onnx does not check."""
    if channels != allowed:
        raise ValueError(f"{node.input[0]!r} must have {allowed} channels, as {node.op_type} takes; got {channels}")


def einsum_macs(equation: str, shapes: list[Shape]) -> int:
    """The multiply-accumulates of an Einsum whose operands are contracted two by two, from the left.

    Whatever only one of the two has, and nothing later needs, is summed beforehand; one operand multiplies nothing.
    """
    operands, arrow, result = equation.replace(" ", "").partition("->")
    terms: list[dict[str | int, int]] = []  # sizes of the axes; those of an ellipsis are numbered from its end
    for term, shape in zip(operands.split(","), shapes, strict=True):
        before, dots, after = term.partition("...")
        axes = [*before, *range(len(before) + len(after) - len(shape), 0), *after] if dots else [*term]
        if len(axes) != len(shape):
            raise ValueError(f"an Einsum must name the axes of its operands; got {equation!r} for shapes {shapes}")
        terms.append({})
        for axis, size in zip(axes, shape, strict=True):
            terms[-1][axis] = max(terms[-1].get(axis, 1), size)  # an axis of one is repeated
    named = [axis for axis in operands if axis.isalpha()]
    wanted: set[str | int] = set(result) if arrow else {axis for axis in named if named.count(axis) == 1}
    wanted |= {axis for term in terms for axis in term if isinstance(axis, int)}  # an ellipsis is never summed
    macs, left = 0, terms[0]
    for at, right in enumerate(terms[1:], start=1):
        needed = wanted.union(*terms[at + 1 :])
        both = {axis: max(left.get(axis, 1), right.get(axis, 1)) for axis in left | right}
        multiplied = {axis: size for axis, size in both.items() if axis in needed or (axis in left and axis in right)}
        macs += math.prod(multiplied.values())
        left = {axis: size for axis, size in both.items() if axis in needed}
    return macs


def pooling_operations(node: "onnx.NodeProto", shape_of: Callable[[str], Shape]) -> int:
    """The values that an operator's pooling windows take in."""
    kind = kind_of(node)
    if kind in _POOL:
        return math.prod(shape_of(node.output[0])) * math.prod(attribute(node, "kernel_shape"))
    return math.prod(shape_of(node.input[0])) if kind in _POOL_ALL else 0
