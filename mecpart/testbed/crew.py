"""The nodes of a testbed as the driver sees them: begun, asked, watched and ended."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from mecpart.testbed.namespaces import Namespaces
from mecpart.testbed.node import DRIVER
from mecpart.testbed.wire import Message, Sockets, packed, receive, unpacked

#: s that a process may take until it listens, at least.
_START = 8.0
#: ms between two looks at whether all processes are there, and s that one which has died may take to be gone.
_LOOK, _GRACE = 100, 1.0


class Process:
    """A node in a process of its own on this machine, which ends when this one does.

    What it writes goes to temporary files, of which an error shows the last line.
    """

    def __init__(self, timeout: float, secret: Path | None, host: str, before: Sequence[str] = ()):
        self._out, self._err = TemporaryFile(), TemporaryFile()  # noqa: SIM115 (closed with the process)
        listen = [f"tcp://{host}:*", str(timeout), *([] if secret is None else [str(secret)])]
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", "mecpart.testbed.node", *listen],
            stdin=subprocess.PIPE,
            stdout=self._out,
            stderr=self._err,
            env=os.environ | {"PJRT_NPROC": "1", "JAX_PLATFORMS": "cpu"},
            start_new_session=True,  # Ctrl-C is for the driver, which then ends its nodes
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def address(self) -> str | None:
        """Where it listens; None: not yet."""
        line, end, _ = written(self._out).partition("\n")
        return line.strip() if end else None

    def death(self, within: float = 0.0) -> str | None:
        """How it died, if it has or does `within` so many s."""
        with suppress(subprocess.TimeoutExpired):
            return self._told(self._process.wait(within) if within else self._process.poll())
        return None

    def _told(self, code: int | None) -> str | None:
        if code is None:
            return None
        named = {each.value: each.name for each in signal.Signals}
        how = f"died with exit code {code}" + (f" ({named[-code]})" if -code in named else "")
        lines = written(self._err).strip().splitlines()
        return how + (f": {lines[-1]}" if lines else "")

    def end(self) -> None:
        """At once, whatever it does."""
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._out, self._err):
            if file is not None:
                file.close()


def written(file: IO[bytes]) -> str:
    """What a process has written to a file so far; both share their place in it, which must stay where it writes."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


class Crew:
    """All nodes, each with its connection.

    - `names`: of the nodes.
    - `addresses`: of those that run already, by number; all others are begun here.
    - `timeout`: s after which a node that does not answer is taken for gone.
    - `spaces`: in which the nodes are begun; None: in that of this process.

    **Raises:** `RuntimeError` that names the node which died, did not answer, or told of an error; from every method.
    """

    def __init__(
        self,
        names: Sequence[str],
        addresses: dict[int, str],
        timeout: float,
        secret: Path | None,
        spaces: Namespaces | None = None,
    ):
        self.names, self._timeout, self._secret, self._spaces = names, timeout, secret, spaces
        self.addresses = dict(addresses)
        self.session = secrets.token_hex(8)
        self.processes: dict[int, Process] = {}
        self._lines: dict[int, Any] = {}
        self._sockets = Sockets(timeout, secret)

    def begin(self, told: Sequence[dict[str, Any]]) -> None:
        """Have all nodes there, connected to each other; each is `told` something about it."""
        import zmq

        numbers = range(len(self.names))
        for number in numbers:
            if number not in self.addresses:
                place = ("127.0.0.1",) if self._spaces is None else self._spaces.place(number)
                self.processes[number] = Process(self._timeout, self._secret, *place)
        end = time.monotonic() + max(self._timeout, _START)
        for number, process in self.processes.items():
            while (address := process.address()) is None:
                self._look(number, end)
                time.sleep(0.01)
            self.addresses[number] = address
        self._poller = zmq.Poller()
        for number in numbers:
            self._lines[number] = self._sockets.connect(self.addresses[number], f"{self.session}/{DRIVER}")
            for socket in self._lines[number]:
                self._poller.register(socket, zmq.POLLIN)
            # Node 0 has results over the lines to the others, and need not be reached by them.
            peers = {other: self.addresses[other] for other in numbers if other not in (0, number)}
            self.send(number, "hello", node=number, name=self.names[number], peers=peers, **told[number])
        self.answers("ready", numbers, self._timeout)
        reached = [self.addresses[number] for number in numbers if number != 0]
        for number in numbers:
            self.send(number, "meet")
        self.answers("met", numbers, self._timeout, unless="did not reach all others, at " + ", ".join(reached))

    def send(self, number: int, kind: str, tensors: Sequence[Any] = (), **fields: Any) -> None:
        """Ask a node for something."""
        self._lines[number][0].send_multipart(packed(kind, tensors, session=self.session, **fields))

    def answers(
        self, kind: str, numbers: Sequence[int], timeout: float | None = None, *, unless: str = "did not answer"
    ) -> dict[int, Message]:
        """What some nodes answer, by number, within so many s; None: as long as they are there.

        `unless`: what is said of one that has not by then.
        """
        end = None if timeout is None else time.monotonic() + timeout
        found: dict[int, Message] = {}
        while len(found) < len(numbers):
            ready = dict(self._poller.poll(_LOOK))
            for number, (line, lost) in self._lines.items():
                while line in ready and (frames := receive(line)) is not None:
                    message = self._message(number, frames)
                    if message.kind == kind:
                        found[number] = message
                if lost in ready:
                    raise self._failure(number, self._gone())
            missing = [number for number in numbers if number not in found]
            self._look(missing[0] if missing else None, end, unless)
        return found

    def _message(self, number: int, frames: Sequence[Any]) -> Message:
        try:
            message = unpacked(frames)
            if message.kind not in ("error", "lost"):
                return message
            if message.kind == "error":
                text = f"failed: {message.get('text', str)}"
            else:
                number, text = message.get("node", int), self._gone(by=number)
        except ValueError as error:
            text = f"sent {error}"
        raise self._failure(number, text)

    def _look(self, awaited: int | None, end: float | None, unless: str = "did not answer") -> None:
        """Raise where a process has died, or one that is awaited has not answered in time."""
        for number, process in self.processes.items():
            if death := process.death():
                raise self._failure(number, death)
        if awaited is not None and end is not None and time.monotonic() > end:
            raise self._failure(awaited, f"{unless} within {self._timeout:g} s")

    def _gone(self, by: int | None = None) -> str:
        return f"did not answer {'' if by is None else f'node {by} '}within {self._timeout:g} s"

    def _failure(self, number: int, text: str) -> RuntimeError:
        """The error of a node, or of one that died: then others tell of lost connections, too."""
        for each in sorted(self.processes, key=lambda other: other != number):
            if death := self.processes[each].death(_GRACE / len(self.processes)):
                number, text = each, death
                break
        return RuntimeError(f"{self.described(number)} {text}")

    def described(self, number: int) -> str:
        """A node in an error message."""
        place = "" if number in self.processes else f" at {self.addresses[number]}"
        return f"node {number} ({self.names[number]!r}{place})"

    def end(self) -> None:
        """All connections, and all processes that were begun here."""
        for process in self.processes.values():
            process.end()
        self.processes = {}
        for line, _ in self._lines.values():
            line.disable_monitor()
        self._lines = {}
        self._sockets.close()
