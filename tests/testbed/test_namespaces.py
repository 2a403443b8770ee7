"""Real links: the commands by hand, and where the machine has them what TCP takes over them, and that nothing stays."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

import mecpart
from mecpart.testbed import namespaces
from mecpart.testbed.namespaces import Namespaces, commands, unavailable

#: bytes/s, of three nodes: 10 Mbit/s there and 100 Mbit/s back between the first two, no link from the last.
RATE = np.array([[0, 1.25e6, 1e6], [1.25e7, 0, 2e6], [0, 0, 0]])
LINKS = mecpart.Links(np.zeros((3, 3)), RATE)
#: Answers each 8 bytes of a length, and so many bytes after them, by one byte.
ECHO = """
import socket, sys
listening = socket.create_server((sys.argv[1], 0))
print(listening.getsockname()[1], flush=True)
connection, _ = listening.accept()
while head := connection.recv(8, socket.MSG_WAITALL):
    connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
    connection.sendall(b".")
"""
#: Sends two messages of each size and prints what the second took until it was answered, s.
CLIENT = """
import socket, sys, time
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for size in map(int, sys.argv[3:]):
    for _ in range(2):
        time.sleep(0.02)
        start = time.perf_counter()
        connection.sendall(size.to_bytes(8, "big") + bytes(size))
        connection.recv(1)
        seconds = time.perf_counter() - start
    print(seconds, flush=True)
"""


@pytest.fixture(scope="module")
def real():
    """Real links; the test is skipped where there are none."""
    if reason := unavailable():
        pytest.skip(f"no real links on this machine: {reason}")


def there():
    """Namespaces of this package."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, timeout=30).stdout
    return {line.split()[0] for line in listed.splitlines() if line.startswith("mecpart-")}


def test_a_testbed_needs_links_that_it_can_have(own_network, refused):
    with refused("real_links", "unless links", "no links"):
        mecpart.Testbed(own_network, 6, real_links=True)
    with refused("real_links", "of this machine", "addresses of nodes"):
        mecpart.Testbed(own_network, 6, nodes=["tcp://127.0.0.1:5555"] * 2, links=LINKS, real_links=True)


def test_each_direction_has_its_rate_with_what_ethernet_and_tcp_add():
    """1514 bytes on the wire for 1448 of payload; 1.2 ms of 100 Mbit/s are 15 kB, and no bucket is below 1.6 kB."""
    told = [" ".join(command) for command in commands(LINKS, "mecpart-7-0", 3)]
    slowed = [line for line in told if line.startswith("tc")]
    at = "tc -n mecpart-7-0-{} qdisc add dev to{} root tbf rate {}bit burst {} limit 268435456"
    assert slowed == [
        at.format(0, 1, 10455801, 1600),
        at.format(1, 0, 104558011, 15000),
        at.format(0, 2, 8364641, 1600),
        at.format(1, 2, 16729282, 2400),
    ]
    assert "ip -n mecpart-7-0-0 link add name to1 type veth peer name to0 netns mecpart-7-0-1" in told
    assert "ip -n mecpart-7-0-1 address add 198.18.3.2 peer 198.18.3.1 dev to0" in told
    assert "ip link add name mp3-2 type veth peer name driver netns mecpart-7-0-2" in told
    assert max(len(word) for line in told for word in line.split() if word.startswith("mp")) <= 15  # Linux allows


@pytest.mark.parametrize("lacking", ["ip", "tc"])
def test_a_machine_that_cannot_says_why(lacking, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(namespaces.shutil, "which", lambda tool: None if tool == lacking else tool)
    assert f"no '{lacking}'" in unavailable()
    with pytest.raises(RuntimeError, match=f"real links are not to be had here: there is no '{lacking}'"), \
            Namespaces(LINKS):  # fmt: skip
        pass
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    assert unavailable() == "that takes root"


def test_tcp_takes_bytes_by_rate_from_each_to_each(real):
    """400 kB at 10 and at 100 Mbit/s, of which the bucket passes at once; from the driver as fast as it can be."""
    with Namespaces(LINKS) as spaces:
        for source, destination, expected in ((0, 1, 0.32), (1, 0, 0.032), (0, 2, 0.4)):
            address, there = spaces.place(destination)
            command = [*there, sys.executable, "-c", ECHO, address]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
                port = server.stdout.readline().strip()
                sent = [*spaces.place(source)[1], sys.executable, "-c", CLIENT, address, port, "400000"]
                told = subprocess.run(sent, capture_output=True, text=True, timeout=60, check=True)
                server.wait(20)
            # No less than the rate allows; other work on the machine makes it longer.
            assert 0.98 * (expected - 1.3e-3) < float(told.stdout) < 1.5 * expected
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            with socket.create_connection((address, int(server.stdout.readline())), timeout=20) as direct:
                start = time.perf_counter()
                direct.sendall((400_000).to_bytes(8, "big") + bytes(400_000))
                assert direct.recv(1) == b"."
                assert time.perf_counter() - start < 0.2
            server.wait(20)


def test_nothing_stays_whatever_happens(real, monkeypatch):
    before, during = there(), []

    def stopped():
        during.append(there() - before)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Namespaces(LINKS):
        stopped()
    assert len(*during) == 3
    assert there() == before

    def broken(*arguments):
        return [*commands(*arguments), ["ip", "netns", "nonsense"]]

    monkeypatch.setattr(namespaces, "commands", broken)
    with pytest.raises(RuntimeError, match="ip netns nonsense: "), Namespaces(LINKS):
        pass
    assert there() == before


def test_what_a_killed_process_left_is_removed_by_the_next(real):
    code = f"""
import os, signal, numpy, mecpart
from mecpart.testbed.namespaces import Namespaces
Namespaces(mecpart.Links(numpy.zeros((2, 2)), numpy.array({RATE[:2, :2].tolist()}))).__enter__()
print(os.getpid(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = {f"mecpart-{killed.stdout.strip()}-0-{node}" for node in range(2)}
    assert left <= there()
    with Namespaces(LINKS):
        assert not left & there()


def test_a_testbed_runs_over_them(real, own_network):
    """Every move takes its latency on top of its bytes, less what passes at once; and all that is there is removed."""
    latency, rate = np.full((3, 3), 0.005), np.full((3, 3), 1.25e6)
    before = there()
    with mecpart.Testbed(own_network, 6, links=mecpart.Links(latency, rate), real_links=True, timeout=30) as bed:
        assert len(there() - before) == 3
        rows = bed.run([[1] * 6, [1, 2, 2, 2, 0, 0]], rounds=2).groupby("plan")
        sizes = [*np.asarray(bed.workload.input_bytes), bed.workload.output_bytes]
    assert there() == before
    beyond = (rows.seconds.min() - rows.computing.min()).to_dict()
    for plan, moved in (("1 1 1 1 1 1", (0, 6)), ("1 2 2 2 0 0", (0, 1, 4))):
        least = sum(0.005 + max(0, 0.98 * sizes[at] - 1600) / 1.25e6 for at in moved)
        assert beyond[plan] > least


def test_a_node_that_dies_takes_all_down(real, own_network):
    before = there()
    bed = mecpart.Testbed(own_network, 6, links=LINKS, real_links=True, timeout=30)
    with bed:
        killed = subprocess.run(["ip", "netns", "pids", max(there() - before)], capture_output=True, text=True)
        os.kill(int(killed.stdout), signal.SIGKILL)
        with pytest.raises(RuntimeError, match=r"node 2 .* died with exit code -9 \(SIGKILL\)"):
            bed.run([1] * 6, rounds=100)
    assert there() == before
