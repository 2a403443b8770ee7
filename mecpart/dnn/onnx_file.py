"""An ONNX file as data: its structure and its small tensors, without the values of its weights.

An ONNX file is a message of Protocol Buffers. Before it is parsed, the values of large tensors are left out of it, so
that a file of 2 GiB takes no more memory than its structure does (protobuf.dev, "Encoding").
"""

import math
import mmap
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

if TYPE_CHECKING:
    import onnx

#: The largest file that is read, in bytes: what its format allows.
LARGEST_FILE = 2**31 - 1
#: Tensors of up to so many values may belong to a file's arithmetic with shapes; of all others the shape is enough.
LARGEST_SHAPE = 256

# So that a bit flipped in a shape does not lead to numbers that no float32 holds.
_LARGEST_TENSOR = 2**48
_MOST_AXES = 64  # as numpy has it
# What lies around the weights, in bytes and in parts: parsed, it takes up to twenty times its room.
_LARGEST_STRUCTURE = 2**24
_MOST_PARTS = 2**20
# Messages up to these sizes, in bytes, are kept whole.
_SMALL = 256
_SMALL_TENSOR = 16 * LARGEST_SHAPE
_REMARKS = ("doc_string", "metadata_props")
_DEEPEST = 100  # as protobuf has it
# Where a tensor's values stand, and the bytes of each where that is fixed.
_WIDTHS = {"float_data": 4, "double_data": 8}
_VALUES = ("raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data", "string_data")


@contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Whatever is wrong is wrong with this file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """The package onnx and protobuf raise errors of many types."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what}; got: {' '.join(str(error).split())}") from error


def read_model(path: str | os.PathLike) -> "onnx.ModelProto":
    """The model in a file; of a large tensor's values, `external_data` says how many bytes they take in which field.

    **Raises:** `ImportError` without the package onnx; `ValueError` for a file that is too large or no model.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError("reading an ONNX file needs the package onnx: pip install 'mecpart[onnx]'") from error
    size = os.path.getsize(path)
    if size > LARGEST_FILE:
        raise ValueError(f"the file must be of at most {LARGEST_FILE} bytes; got {size}")
    model = onnx.ModelProto()
    if size:  # nothing is not mapped
        with open(path, "rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        with refusing("the file must be an ONNX model, whole and valid"):
            model.ParseFromString(bytes(_Structure().of(model.DESCRIPTOR, data)))
    return model


class _Structure:
    """Copies messages without the values of large tensors, up to a size."""

    def __init__(self):
        self._parts = 0

    def of(self, message: Any, data: memoryview, depth: int = 0) -> bytearray:
        """The message of type `message` (a descriptor of protobuf) that is encoded in `data`."""
        if depth > _DEEPEST:
            raise ValueError(f"messages inside each other must be at most {_DEEPEST} deep")
        kept, at = bytearray(), 0
        left_out: Counter[str] = Counter()
        values = _VALUES if message.name == "TensorProto" and len(data) > _SMALL_TENSOR else ()
        while at < len(data):
            begin = at
            tag, at = _varint(data, at)
            field, size = message.fields_by_number.get(tag >> 3), 0
            match tag & 7:
                case 0:
                    _, at = _varint(data, at)
                case 1:
                    size = 8
                case 2:
                    size, at = _varint(data, at)
                case 5:
                    size = 4
                case wire:
                    raise ValueError(f"a field must be of a wire type that is in use; got {wire}")
            value, at = at, at + size
            if at > len(data):
                raise ValueError(f"a field of {size} bytes must not pass the end of the file")
            self._parts += 1
            if len(kept) > _LARGEST_STRUCTURE or self._parts > _MOST_PARTS:
                raise ValueError(
                    f"a model without its weights must be of at most {_LARGEST_STRUCTURE} bytes and {_MOST_PARTS} parts"
                )
            name = "" if field is None else field.name
            if name in values:
                left_out[name] += at - (value if tag & 7 == 2 else begin + 1)
            if name in values or name in _REMARKS:
                continue
            inside: bytes | memoryview = data[begin:at]
            if size > _SMALL and tag & 7 == 2 and field is not None and field.message_type is not None:
                copied = self.of(field.message_type, data[value:at], depth + 1)
                inside = _encoded(tag) + _encoded(len(copied)) + copied
            kept += inside
        if left_out:
            import onnx

            sizes = [onnx.StringStringEntryProto(key=name, value=str(size)) for name, size in left_out.items()]
            elsewhere = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL, external_data=sizes)
            kept += elsewhere.SerializeToString()
        return kept


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A whole number of variable length, and where it ends."""
    value = 0
    for place in range(10):
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("a whole number must be of at most ten bytes")


def _encoded(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


# --- What stands in it --------------------------------------------------------------------------------------


def standard(node: "onnx.NodeProto") -> bool:
    """Whether an operator is of the ONNX standard."""
    return node.domain in ("", "ai.onnx")


def kind_of(node: "onnx.NodeProto") -> str:
    """The type of an operator, with its domain outside the standard."""
    return node.op_type if standard(node) else f"{node.domain}.{node.op_type}"


def attribute(node: "onnx.NodeProto", name: str, default: Any = None) -> Any:
    """An attribute's value."""
    from onnx.helper import get_attribute_value

    return next((get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


@lru_cache
def type_of(data_type: int) -> np.dtype:
    """The type of a tensor's values."""
    from onnx.helper import tensor_dtype_to_np_dtype

    try:
        return tensor_dtype_to_np_dtype(data_type)
    except KeyError:
        raise ValueError(f"a tensor must be of one of the types of the ONNX standard; got number {data_type}") from None


@lru_cache
def floating(data_type: int) -> bool:
    """Whether a tensor's values are floating-point numbers."""
    return "float" in type_of(data_type).name


@lru_cache
def bits_of(data_type: int) -> int:
    """The bits that each value of a tensor takes in a file."""
    dtype = type_of(data_type)
    try:
        return ml_dtypes.finfo(dtype).bits if floating(data_type) else ml_dtypes.iinfo(dtype).bits
    except ValueError:  # truth values, complex numbers, text
        return 8 * dtype.itemsize


def check_text(names: Iterable[Any]) -> None:
    """Raise `ValueError` unless all names are text, as which protobuf reads all that is UTF-8."""
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"names must be UTF-8; got {name!r}")


def check_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return `shape`; raise `ValueError` unless a tensor can have it."""
    if len(shape) > _MOST_AXES:
        raise ValueError(f"a tensor must have at most {_MOST_AXES} axes; got {len(shape)} for {name!r}")
    if min(shape, default=0) < 0 or math.prod(shape) > _LARGEST_TENSOR:
        raise ValueError(f"a tensor must have axes of 0 or more, and at most 2^48 values; got {shape} for {name!r}")
    return shape


def value_of(tensor: "onnx.TensorProto") -> np.ndarray | None:
    """The values of a tensor, None if it is large or keeps them in another file.

    **Raises:** `ValueError` if it does not hold as many as its shape says.
    """
    import onnx

    shape = check_shape(tensor.name, tuple(tensor.dims))
    size, bits = math.prod(shape), bits_of(tensor.data_type)
    with refusing(f"{tensor.name!r} must hold as many values as its shape {list(shape)} says"):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            if size <= LARGEST_SHAPE:
                return onnx.numpy_helper.to_array(tensor)
            found = {name: len(getattr(tensor, name)) * _WIDTHS.get(name, 1) for name in _VALUES}
        else:
            found = {entry.key: int(entry.value) for entry in tensor.external_data if entry.key in _VALUES}
            if not found:  # in another file
                return None
        parts = 2 if type_of(tensor.data_type).kind == "c" else 1
        exact = {"raw_data": -(-size * bits // 8)} | {name: size * parts * width for name, width in _WIDTHS.items()}
        name, held = max(found.items(), key=lambda entry: entry[1])
        # The others are whole numbers of one to ten bytes, in which values of four bits may lie two by two.
        if not exact.get(name, min(size, exact["raw_data"])) <= held <= exact.get(name, 10 * size):
            raise ValueError(f"{held} bytes")
    return None
