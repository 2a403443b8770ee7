"""Real links on one machine: a network namespace for each node, a cable between each two, and `tc` to slow it down.

It needs root, the tools `ip` and `tc`, and a kernel that knows veth and `tbf`. A token bucket counts whole frames of
Ethernet, so that of TCP's payload as much as wanted is left; and what fits into its bucket, about 1.2 ms worth, passes
at once after a pause. Its latency a link has from the node that receives: `netem` is not in every kernel.
"""

import math
import os
import shutil
import subprocess
from contextlib import suppress
from itertools import combinations, count

import numpy as np

from mecpart.model.devices import Links

#: Bytes of a frame, and of TCP's payload in it.
_FRAME, _PAYLOAD = 1514, 1448
#: Bytes of the smallest bucket, which has to hold a frame, and s that fill a larger one; bytes that wait, at most.
_BUCKET, _BUCKET_SECONDS, _QUEUE = 1600, 1.2e-3, 2**28
#: What other interfaces are unlikely to have: addresses set aside for the testing of networks (RFC 2544).
_NETWORK = "198.18"
_PREFIX = "mecpart"
_created = count()


class Namespaces:
    """The nodes' namespaces and the links between them, there from entering to leaving.

    What runs at a `place` is reached by the others over these links, and by this process over a cable of its own that
    is not slowed down.

    **Arguments:** `links`: rates in bytes/s; where a rate is 0 the cable is as fast as it can be, for nobody is to send
    by it.

    **Raises:** `RuntimeError` where the machine cannot, with why (`unavailable`), or what a command said.
    """

    def __init__(self, links: Links):
        self._links = links
        number = next(_created)
        self._name = f"{_PREFIX}-{os.getpid()}-{number}"
        self._subnet = (os.getpid() + 101 * number) % 256

    def __enter__(self) -> "Namespaces":
        if reason := unavailable():
            raise RuntimeError(f"real links are not to be had here: {reason}")
        _remove(abandoned())
        try:
            for command in commands(self._links, self._name, self._subnet):
                _run(command)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Remove all namespaces, and with them their cables."""
        _remove([_namespace(self._name, node) for node in range(self._links.num_nodes)])

    def place(self, node: int) -> tuple[str, list[str]]:
        """Where a node listens, and what is to stand before a command that shall run there."""
        return _address(self._subnet, node), ["ip", "netns", "exec", _namespace(self._name, node)]


def unavailable() -> str | None:
    """Why this machine has no real links; None: it has."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "that takes root"
    if lacking := [tool for tool in ("ip", "tc") if shutil.which(tool) is None]:
        return f"there is no {lacking[0]!r} (Debian: apt install iproute2)"
    name = f"{_PREFIX}-{os.getpid()}-{next(_created)}-probe"
    try:
        _run(["ip", "netns", "add", name])
        _run(["ip", "-n", name, "link", "add", "name", "one", "type", "veth", "peer", "name", "other"])
        _run(_slowed(name, "one", 1e6))
    except RuntimeError as error:
        return str(error)
    finally:
        _remove([name])
    return None


def commands(links: Links, name: str, subnet: int) -> list[list[str]]:
    """What makes the namespaces and their cables, command by command; `name`: what theirs begin with; `subnet`: 0 to
    255, by which several testbeds do not disturb each other."""
    rate, nodes = np.asarray(links.rate, float), range(links.num_nodes)
    found: list[list[str]] = []
    for node in nodes:
        space, cable = _namespace(name, node), f"mp{subnet}-{node}"
        found += [
            ["ip", "netns", "add", space],
            ["ip", "-n", space, "link", "set", "lo", "up"],
            ["ip", "link", "add", "name", cable, "type", "veth", "peer", "name", "driver", "netns", space],
        ]
        here, there = _address(subnet, _DRIVER), _address(subnet, node)
        found += _addressed(["ip"], cable, here, there)
        found += _addressed(["ip", "-n", space], "driver", there, here)
    for one, other in combinations(nodes, 2):
        spaces = _namespace(name, one), _namespace(name, other)
        ends = f"to{other}", "type", "veth", "peer", "name", f"to{one}"
        found.append(["ip", "-n", spaces[0], "link", "add", "name", *ends, "netns", spaces[1]])
        for space, source, destination in zip(spaces, (one, other), (other, one), strict=True):
            here, there = _address(subnet, source), _address(subnet, destination)
            found += _addressed(["ip", "-n", space], f"to{destination}", here, there)
            if rate[source, destination] > 0:
                found.append(_slowed(space, f"to{destination}", rate[source, destination]))
    return found


#: The driver's place in a subnet, beyond those of all nodes.
_DRIVER = 253


def _namespace(name: str, node: int) -> str:
    return f"{name}-{node}"


def _address(subnet: int, node: int) -> str:
    return f"{_NETWORK}.{subnet}.{node + 1}"


def _addressed(ip: list[str], interface: str, own: str, other: str) -> list[list[str]]:
    """An end of a cable that leads to one address alone."""
    return [
        [*ip, "address", "add", own, "peer", other, "dev", interface],
        [*ip, "link", "set", interface, "up"],
    ]


def _slowed(space: str, interface: str, rate: float) -> list[str]:
    """`rate` bytes/s of payload leave by an interface."""
    frames = rate * _FRAME / _PAYLOAD
    bucket = max(_BUCKET, math.ceil(_BUCKET_SECONDS * rate))
    shape = ["rate", f"{round(8 * frames)}bit", "burst", str(bucket), "limit", str(_QUEUE)]
    return ["tc", "-n", space, "qdisc", "add", "dev", interface, "root", "tbf", *shape]


def _run(command: list[str]) -> None:
    told = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if told.returncode:
        raise RuntimeError(f"{' '.join(command)}: {told.stderr.strip() or f'exit code {told.returncode}'}")


def abandoned() -> list[str]:
    """Namespaces of processes that are no more, because they were killed."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, timeout=30).stdout
    names = [line.split()[0] for line in listed.splitlines() if line.startswith(f"{_PREFIX}-")]
    return [name for name in names if not os.path.exists(f"/proc/{name.split('-')[1]}")]


def _remove(names: list[str]) -> None:
    """Remove those that there are."""
    for name in names:
        with suppress(RuntimeError):
            _run(["ip", "netns", "delete", name])
