"""What goes from process to process: a header in JSON and the raw buffers of tensors, over ZeroMQ.

What is received is taken for hostile: nothing in it is evaluated or unpickled, and what is not exactly as it says
it is is refused. ZeroMQ asks now and then whether the other end is still there, beside all computing.
"""

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

if TYPE_CHECKING:
    import zmq

#: Of the messages; another version is refused.
VERSION = 1
#: Bytes of the largest header, and of the largest message: no ONNX file is larger.
MOST_HEADER, MOST_BYTES = 2**18, 2**31
#: Types of numbers that tensors may have.
DTYPES = {
    f"{kind}{size}": np.dtype(f"{kind}{size}")
    for kind, sizes in {
        "int": (8, 16, 32, 64), "uint": (8, 16, 32, 64), "float": (16, 32, 64), "complex": (64, 128)
    }.items()
    for size in sizes
} | {"bool": np.dtype(bool), "bfloat16": np.dtype(ml_dtypes.bfloat16)}  # fmt: skip
_MOST_AXES, _MOST_TENSORS = 16, 4096


@dataclass(frozen=True)
class Message:
    """What is asked or told, what about it, and tensors."""

    kind: str
    fields: dict[str, Any]
    tensors: list[np.ndarray] = field(default_factory=list)

    def get(self, name: str, kind: Any) -> Any:
        """A field of the header.

        **Raises:** `ValueError` where it is missing, or of another kind.
        """
        value = self.fields.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{name!r} in the header of a message {self.kind!r} is {_short(value)}")
        return value

    @property
    def nbytes(self) -> int:
        """Of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)


def packed(kind: str, tensors: Iterable[np.ndarray] = (), **fields: Any) -> list[Any]:
    """The frames of a message."""
    held = [np.ascontiguousarray(tensor).reshape(np.shape(tensor)) for tensor in tensors]
    if unknown := [str(each.dtype) for each in held if str(each.dtype) not in DTYPES]:
        raise ValueError(f"tensors must be of one of {', '.join(DTYPES)}; got {unknown[0]}")
    described = [[str(each.dtype), list(each.shape)] for each in held]
    header = {"mecpart": VERSION, "kind": kind, "tensors": described} | fields
    return [json.dumps(header, allow_nan=False).encode(), *(each.reshape(-1).view(np.uint8).data for each in held)]


def unpacked(frames: Sequence[Any]) -> Message:
    """The message in some frames; its tensors are views of them.

    **Raises:** `ValueError` for what is no message: another version, no header or too large a one, fewer or more
    buffers than it says, types that are not allowed, or a buffer of another size than its shape has.
    """
    if not frames or memoryview(frames[0]).nbytes > MOST_HEADER:
        size = memoryview(frames[0]).nbytes if frames else 0
        raise ValueError(f"a message whose header is not of 1 to {MOST_HEADER} bytes, but of {size}")
    try:
        header = json.loads(bytes(frames[0]).decode(), parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a message whose header is no JSON: {error}") from error
    if not isinstance(header, dict) or "mecpart" not in header:
        raise ValueError("a message that is none of mecpart's")
    if header["mecpart"] != VERSION:
        raise ValueError(f"a message of version {_short(header['mecpart'])}; this is version {VERSION}")
    kind, described = header.pop("kind", None), header.pop("tensors", None)
    if not isinstance(kind, str) or not isinstance(described, list) or len(described) > _MOST_TENSORS:
        raise ValueError("a message whose header does not say what it is, or which tensors it has")
    if len(frames) != len(described) + 1:
        raise ValueError(f"a message {kind!r} cut short: {len(described)} tensors announced, {len(frames) - 1} came")
    tensors = [_tensor(kind, *each) for each in zip(described, frames[1:], strict=True)]
    return Message(kind, header, tensors)


def _tensor(kind: str, described: Any, buffer: Any) -> np.ndarray:
    match described:
        case [str(name), list(shape)] if name in DTYPES and len(shape) <= _MOST_AXES:
            dtype = DTYPES[name]
        case _:
            raise ValueError(f"a message {kind!r} with a tensor that is not allowed: {_short(described)}")
    if not all(type(size) is int and 0 <= size <= MOST_BYTES for size in shape):
        raise ValueError(f"a message {kind!r} with a tensor of shape {_short(shape)}")
    size, came = math.prod(shape) * dtype.itemsize, memoryview(buffer).nbytes
    if size != came:
        raise ValueError(f"a message {kind!r} whose {name} tensor of shape {tuple(shape)} has {came} bytes, not {size}")
    return np.frombuffer(buffer, dtype).reshape(shape)


def _refused(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


# Sockets ----------------------------------------------------------------------------------------------------------


@dataclass
class Sockets:
    """Where the sockets of a process are made.

    - `timeout`: s after which the other end is taken for gone when it does not answer.
    - `secret`: file with the key that all must know; None: none, as on one machine.
    """

    timeout: float
    secret: Path | None = None

    def __post_init__(self):
        import zmq

        self._keys = None if self.secret is None else read_secret(self.secret)
        self._context = zmq.Context()

    def listen(self, address: str) -> "zmq.Socket":
        """A socket that anybody may connect to; its messages say who sent them.

        **Raises:** `ValueError` for no address, or one that is taken or not of this machine.
        """
        import zmq

        socket = self._socket(zmq.ROUTER)
        if self._keys is not None:
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = self._keys
        socket.router_mandatory = True  # or what goes to one that has left would be lost without a word
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            socket.close()
            raise ValueError(f"listen must be a free address of this machine; got {address}: {error}") from error
        return socket

    def connect(self, address: str, identity: str) -> "tuple[zmq.Socket, zmq.Socket]":
        """A socket to one that listens, and one that can be read once the connection was lost.

        **Raises:** `ValueError` for what is no address.
        """
        import zmq

        socket = self._socket(zmq.DEALER)
        if self._keys is not None:
            socket.curve_publickey, socket.curve_secretkey = self._keys
            socket.curve_serverkey = self._keys[0]
        socket.routing_id = identity.encode()
        lost = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            socket.connect(address)
        except zmq.ZMQError as error:
            socket.disable_monitor()
            socket.close()
            raise ValueError(
                f"nodes must be addresses such as tcp://192.168.0.2:5577; got {address}: {error}"
            ) from error
        return socket, lost

    def _socket(self, kind: int) -> "zmq.Socket":
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = 0  # streams wait at links, not at ZeroMQ's own limits
        socket.maxmsgsize = MOST_BYTES
        socket.heartbeat_ivl = round(1000 * self.timeout / 8)
        socket.heartbeat_timeout = round(1000 * self.timeout * 3 / 4)
        return socket

    def close(self) -> None:
        """All sockets."""
        self._context.destroy(linger=0)


def receive(socket: "zmq.Socket") -> list[Any] | None:
    """The frames of a message that has come; None where none has."""
    import zmq

    try:
        return [frame.buffer for frame in socket.recv_multipart(zmq.NOBLOCK, copy=False)]
    except zmq.Again:
        return None


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address."""
    return address.startswith(("tcp://127.", "tcp://localhost:"))


def new_secret(path: str | os.PathLike) -> Path:
    """Write a new key for all that shall connect, to a file that nobody else can read.

    **Raises:** `OSError` where there is a file already, or none can be written.
    """
    import zmq

    _, secret = zmq.curve_keypair()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret + b"\n")
    return Path(path)


def read_secret(path: str | os.PathLike) -> tuple[bytes, bytes]:
    """The public and the secret key in a file.

    **Raises:** `ValueError` where it holds none.
    """
    import zmq

    try:
        secret = Path(path).read_bytes().strip()
        return zmq.curve_public(secret), secret
    except (ValueError, OSError, zmq.ZMQError) as error:
        raise ValueError(f"secret must be a file that `mecpart node --new-secret` has written; got {path}") from error
