"""One node of a testbed: a process that runs blocks of a network and sends on what leaves them.

It listens, and does what the process that began the testbed (the driver) says. A task comes with its route: which node
runs which blocks, in turn. The node holds it until its link would have brought it, runs its blocks, and sends it on.
Node 0 is the device: it begins all tasks, has all results back, and is the only one that times the whole.

"""

import gc
import heapq
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from mecpart.measurements.blocks import Block, block_of
from mecpart.testbed.routes import HeldLinks, Stage
from mecpart.testbed.wire import Message, Sockets, is_loopback, packed, receive, unpacked

#: Who began the testbed, among the names of nodes.
DRIVER = "driver"
#: s of waiting that are slept at the end: a poll counts in whole milliseconds.
_TICK = 1e-3


class Node:
    """What a node knows, from when a driver greets it until another does."""

    def __init__(self, sockets: Sockets, listening: Any):
        import zmq

        self.sockets, self.listening = sockets, listening
        self.poller = zmq.Poller()
        self.poller.register(listening, zmq.POLLIN)
        self.session = ""
        self.cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self.lines: dict[int, Any] = {}  # to other nodes, by number
        self._forget()

    def _forget(self) -> None:
        """Everything of the last testbed."""
        for line, lost in self.lines.values():
            self.poller.unregister(line)
            self.poller.unregister(lost)
            line.disable_monitor()
            line.close()
        self.number, self.name, self.lines = 0, "", {}
        self.blocks: dict[int, Block] = {}
        self.links, self.pace = HeldLinks({}), None
        self.waiting: list[tuple[float, int, Message]] = []  # tasks, by when they are there
        self.order = count()
        self.run: _Run | None = None
        self.greeted: set[int] = set()

    # What comes ------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Do what is asked, for ever."""
        import zmq

        while True:
            left = self.waiting[0][0] - time.perf_counter() if self.waiting else None
            if left is not None and 0 < left < _TICK:
                time.sleep(left)
            ready = dict(self.poller.poll(None if left is None else max(0, int(1000 * left))))
            while self.listening in ready and (frames := receive(self.listening)) is not None:
                self._answer(bytes(frames[0]), frames[1:])
            for number, (line, lost) in list(self.lines.items()):
                while line in ready and (frames := receive(line)) is not None:
                    self._answer(None, frames)
                if lost in ready:
                    lost.recv_multipart(zmq.NOBLOCK)
                    self._fail("lost", node=number)
            if self.waiting and self.waiting[0][0] <= time.perf_counter():
                task = heapq.heappop(self.waiting)[-1]
                self._trying(None, self._work, task)

    def _answer(self, sender: bytes | None, frames: Sequence[Any]) -> None:
        """Do what a message asks; `sender`: None where it came back over a line of this node's own."""
        self._trying(sender, self._handle, sender, frames)

    def _trying(self, sender: bytes | None, do: Any, *arguments: Any) -> None:
        """An error is told to the driver, or to a sender that has nothing to do with the testbed."""
        try:
            do(*arguments)
        except Exception as error:
            text = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError | ImportError) else str(error)
            if sender is None or (self.session and sender.startswith(self.session.encode())):
                self._fail("error", text=text)
            else:
                self._send(sender, packed("error", text=text))

    def _fail(self, kind: str, **fields: Any) -> None:
        """Tell the driver, and do nothing more of what was to be done."""
        self.waiting, self.run = [], None
        self._tell(kind, **fields)

    def _handle(self, sender: bytes | None, frames: Sequence[Any]) -> None:
        message = unpacked(frames)
        if message.kind == "hello":
            return self._hello(sender, message)
        if message.get("session", str) != self.session or not self.session:
            raise ValueError(f"a message {message.kind!r} of another testbed")
        kinds = {"meet": self._meet, "load": self._load, "run": self._begin, "task": self._receive}
        if message.kind == "greet":
            self._send(sender, self._packed("greeted", number=self.number))
        elif message.kind == "greeted":
            self.greeted.add(message.get("number", int))
            if self.greeted >= self.lines.keys():
                self._tell("met")
        elif message.kind in kinds:
            kinds[message.kind](message)
        else:
            raise ValueError(f"a message {message.kind!r}, which no node knows")

    # What is asked ---------------------------------------------------------------------------------------------

    def _hello(self, sender: bytes | None, message: Message) -> None:
        """Belong to a testbed, unless another still holds this node."""
        session = message.get("session", str)
        if sender != f"{session}/{DRIVER}".encode() or not session:
            raise ValueError("a message 'hello' that is not from a driver")
        if self.session and self._send(self._identity(DRIVER), packed("asked")):
            self._send(sender, packed("error", text="it belongs to another testbed"))
            return
        self._forget()
        self.session, self.number, self.name = session, message.get("node", int), message.get("name", str)
        self.pace = message.get("pace", list | None)
        links = message.get("links", dict)
        self.links = HeldLinks({int(source): (float(a), float(b), bool(c)) for source, (a, b, c) in links.items()})
        self.peers = {int(number): str(address) for number, address in message.get("peers", dict).items()}
        if self.cores:
            os.sched_setaffinity(0, {self.cores[self.number % len(self.cores)]})
        self._tell("ready")

    def _meet(self, message: Message) -> None:
        """Connect to the nodes that this one sends to; results go to node 0 over its own line."""
        import zmq

        for number, address in self.peers.items():
            self.lines[number] = self.sockets.connect(address, self._identity(self.number).decode())
            for socket in self.lines[number]:
                self.poller.register(socket, zmq.POLLIN)
            self.lines[number][0].send_multipart(self._packed("greet"))
        if not self.lines:
            self._tell("met")

    def _load(self, message: Message) -> None:
        """Be able to run some blocks."""
        os.environ["PJRT_NPROC"] = "1"
        engine, tensors = message.get("engine", str), iter(message.tensors)
        for number, size in zip(message.get("blocks", list), message.get("sizes", list), strict=True):
            # What came is there as long as the message is.
            self.blocks[number] = block_of([np.array(each) for each in islice(tensors, size)], engine, 1)
        gc.freeze()  # or it looks through all that was imported, now and then
        self._tell("loaded")

    def _begin(self, message: Message) -> None:
        """Begin all tasks of a run, at node 0."""
        tasks = message.get("tasks", int)
        self.run = _Run(tasks, message.get("output", bool))
        now = self.run.start = time.perf_counter()
        fields = {"route": message.get("route", list), "at": 0, "took": []}
        for number in range(tasks):
            task = Message("task", fields | {"task": number}, message.tensors)
            heapq.heappush(self.waiting, (now, next(self.order), task))

    def _receive(self, message: Message) -> None:
        now = time.perf_counter()
        due = self.links.due(message.get("source", int), message.get("sent", float), message.nbytes, now)
        heapq.heappush(self.waiting, (due, next(self.order), message))

    # What is done ----------------------------------------------------------------------------------------------

    def _work(self, task: Message) -> None:
        """Run the blocks of a task that are this node's, and send it on."""
        at, took, route = task.get("at", int), task.get("took", list), task.get("route", list)
        stage = Stage(*route[at])
        tensors, more = self._compute(stage, task.tensors)
        if stage.size is not None:
            tensors = [np.zeros(stage.size, np.uint8)]
        if at + 1 == len(route):
            return self._finished(task.get("task", int), [*took, *more], tensors)
        fields = {"route": route, "at": at + 1, "took": [*took, *more], "task": task.get("task", int)}
        following = Stage(*route[at + 1]).node
        # That it is put into frames takes part of the time that the link is said to take.
        frames = self._packed("task", tensors, source=self.number, sent=time.perf_counter(), **fields)
        if following in self.lines:
            self.lines[following][0].send_multipart(frames)
        elif not self._send(self._identity(following), frames):
            raise ValueError(f"there is no connection to node {following}")

    def _compute(self, stage: Stage, tensors: list[Any]) -> tuple[list[Any], list[float]]:
        """What leaves the last of some blocks, and the seconds of each, by this node's own clock."""
        took = []
        for number in range(stage.first, stage.end):
            if number not in self.blocks:
                raise ValueError(f"block {number} of the network is not there")
            began = time.perf_counter()
            tensors = self.blocks[number](tensors)
            if self.pace is not None:
                time.sleep(max(0.0, began + self.pace[number] - time.perf_counter()))
            took.append(time.perf_counter() - began)
        return tensors, took

    def _finished(self, number: int, took: list[float], tensors: list[Any]) -> None:
        """A result is back at node 0."""
        now, run = time.perf_counter(), self.run
        if run is None:
            return
        run.took[number] = took
        if len(run.took) == run.tasks:
            self.run = None
            seconds = [run.took[task] for task in range(run.tasks)]
            told = [np.array(seconds, np.float64), *(np.asarray(each) for each in tensors if run.output)]
            self._tell("done", told, seconds=now - run.start)

    # What is told ----------------------------------------------------------------------------------------------

    def _identity(self, other: int | str) -> bytes:
        return f"{self.session}/{other}".encode()

    def _packed(self, kind: str, tensors: Sequence[Any] = (), **fields: Any) -> list[Any]:
        return packed(kind, [np.asarray(each) for each in tensors], session=self.session, **fields)

    def _tell(self, kind: str, tensors: Sequence[Any] = (), **fields: Any) -> None:
        self._send(self._identity(DRIVER), self._packed(kind, tensors, **fields))

    def _send(self, identity: bytes | None, frames: Sequence[Any]) -> bool:
        """To one that has connected to this node; False where it has left."""
        import zmq

        if identity is None:
            return False
        try:
            self.listening.send_multipart([identity, *frames])
        except zmq.ZMQError:
            return False
        return True


class _Run:
    """What node 0 knows of the tasks under way."""

    def __init__(self, tasks: int, output: bool):
        self.tasks, self.output, self.start = tasks, output, 0.0
        self.took: dict[int, list[float]] = {}  # s of each block, by task


def serve(address: str, secret: str | os.PathLike | None = None, *, timeout: float = 8.0, child: bool = False) -> None:
    """Be a node, until this process ends.

    Its first line on standard output says where it listens.

    - `address`: such as `tcp://127.0.0.1:5577`, or `tcp://127.0.0.1:*` for any port.
    - `secret`: file with the key that all must know.
    - `timeout`: s after which one that does not answer is taken for gone.
    - `child`: end with whoever holds the other end of standard input.

    **Raises:** `ValueError` for an address that is taken; for one that other machines reach, without a secret.
    """
    import zmq

    if not is_loopback(address) and secret is None:
        raise ValueError(f"listen must be tcp://127.0.0.1:PORT where no secret is given; got {address}")
    sockets = Sockets(timeout, None if secret is None else Path(secret))
    try:
        listening = sockets.listen(address)
        if child:
            threading.Thread(target=_end_with_parent, daemon=True).start()
        print(listening.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
        Node(sockets, listening).serve()
    finally:
        sockets.close()


def _end_with_parent() -> None:
    """Nothing is ever written there: it can be read once the parent is no more, however it ended."""
    with suppress(OSError):
        sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        serve(sys.argv[1], *sys.argv[3:], timeout=float(sys.argv[2]), child=True)
