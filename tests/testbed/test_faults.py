"""Whatever goes wrong with a node: an error with its name, soon, and no process left."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import zmq

import mecpart
from mecpart.cli import main
from mecpart.testbed import crew
from mecpart.testbed.wire import VERSION, packed, unpacked

PLAN = [0, 1, 1, 1, 1, 0]


@contextmanager
def process(*arguments):
    """A process that begins by telling something in a line; and what it told."""
    told = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        with told:
            yield told, told.stdout.readline().strip()
            told.kill()
    finally:
        told.kill()


def listening(*arguments):
    """A node that runs by itself, and its address."""
    return process("-c", f"from mecpart.testbed.node import serve; serve(*{arguments!r})")


def is_there(pid):
    """Not so one that has ended, and that nobody has asked yet how."""
    with suppress(FileNotFoundError):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(*pids, within=10):
    """Whether all of them are no more, soon."""
    end = time.monotonic() + within
    while any(map(is_there, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(is_there, pids))


def pids(bed):
    return [process.pid for process in bed._crew.processes.values()]


@contextmanager
def failing(message, *processes):
    """A `RuntimeError` within 10 s, and none of the processes left."""
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=message):
        yield
    assert time.monotonic() - began < 10
    assert gone(*processes, within=1)


KILLED = r"node {} \('{}'\) died with exit code -9 \(SIGKILL\)"


class TestNodesThatEnd:
    @pytest.mark.parametrize(
        ("number", "signum", "message"),
        [
            (1, signal.SIGKILL, KILLED.format(1, "node 1")),
            (0, signal.SIGKILL, KILLED.format(0, "device")),
            (1, signal.SIGSTOP, r"node 1 \('node 1'\) did not answer (node 0 )?within 4 s"),
        ],
    )
    def test_in_a_run(self, own_network, number, signum, message):
        with mecpart.Testbed(own_network, 6, nodes=2, timeout=4) as bed:
            bed.infer(PLAN)
            processes = pids(bed)
            os.kill(processes[number], signum)
            with failing(message, *processes):
                bed.run(PLAN, rounds=10_000)

    def test_while_it_loads(self, own_network, monkeypatch):
        with mecpart.Testbed(own_network, 6, nodes=2) as bed:
            processes, wait = pids(bed), bed._crew.answers

            def killed_first(kind, *given):
                if kind == "loaded":
                    os.kill(processes[1], signal.SIGKILL)
                return wait(kind, *given)

            monkeypatch.setattr(bed._crew, "answers", killed_first)
            with failing(KILLED.format(1, "node 1"), *processes):
                bed.infer(PLAN)

    def test_before_it_listens(self, own_network, monkeypatch, tmp_path):
        """The last line that it wrote is told."""
        program = tmp_path / "python"
        program.write_text("#!/bin/sh\necho first >&2; echo no such luck >&2; exit 3\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        with failing(r"node 0 \('device'\) died with exit code 3: no such luck"):
            mecpart.Testbed(own_network, 6, nodes=2).__enter__()

    def test_that_never_listens(self, own_network, monkeypatch, tmp_path):
        program = tmp_path / "python"
        program.write_text("#!/bin/sh\nexec sleep 60\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        monkeypatch.setattr(crew, "_START", 0.5)
        with failing(r"node 0 \('device'\) did not answer within"):
            mecpart.Testbed(own_network, 6, nodes=2, timeout=0.5).__enter__()

    def test_after_an_error_it_is_said_that_all_has_ended(self, own_network):
        with mecpart.Testbed(own_network, 6, nodes=2) as bed:
            bed._input = [np.zeros((1, 2), np.float32)]  # no image
            with failing(r"node 0 \('device'\) failed: .*image", *pids(bed)):
                bed.infer([0] * 6)
            with pytest.raises(RuntimeError, match="ends with it or with the first error"):
                bed.run(PLAN)

    def test_without_the_network(self, own_network):
        with mecpart.Testbed(own_network, 6, nodes=2) as bed:
            bed._loaded = {(1, m) for m in range(6)}  # which it was never given
            with failing(r"node 1 \('node 1'\) failed: block 1 of the network is not there", *pids(bed)):
                bed.infer(PLAN)

    @pytest.mark.parametrize(
        ("frames", "message"),
        [
            ([b"nonsense"], "header is no JSON"),
            ([f'{{"mecpart": {VERSION}, "kind": "task", "tensors": [["int8", [9]]]}}'.encode(), b"1"], "has 1 bytes"),
        ],
    )
    def test_that_are_sent_nonsense_by_their_own(self, own_network, frames, message):
        with mecpart.Testbed(own_network, 6, nodes=2) as bed, zmq.Context() as context:
            bed.infer(PLAN)
            with context.socket(zmq.DEALER) as line:
                line.routing_id = f"{bed._crew.session}/9".encode()
                line.connect(bed._crew.addresses[1])
                line.send_multipart(frames)
                with failing(rf"node 1 \('node 1'\) failed: .*{message}", *pids(bed)):
                    bed.run(PLAN, rounds=10_000)


DRIVER = """
import mecpart
with mecpart.Testbed({path!r}, 6, nodes=2) as bed:
    bed.infer({plan})
    print(*(process.pid for process in bed._crew.processes.values()), flush=True)
    bed.run({plan}, rounds=100_000)
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
def test_nodes_end_with_the_driver(own_network, signum):
    with process("-c", DRIVER.format(path=str(own_network), plan=PLAN)) as (driver, line):
        nodes = [int(pid) for pid in line.split()]
        assert len(nodes) == 2
        driver.send_signal(signum)
        driver.wait(10)
        assert gone(*nodes)
        if signum == signal.SIGINT:
            assert "KeyboardInterrupt" in driver.stderr.read()


@pytest.fixture(scope="module")
def node():
    """The address of a node that runs by itself."""
    with listening("tcp://127.0.0.1:*") as (_, address):
        yield address


class TestMessages:
    @pytest.mark.parametrize(
        ("frames", "message"),
        [
            ([b"nonsense"], "header is no JSON"),
            ([b'{"mecpart": 99}'], f"of version 99; this is version {VERSION}"),
            ([f'{{"mecpart": {VERSION}, "kind": "task", "tensors": [["int8", [9]]]}}'.encode()], "cut short"),
            ([f'{{"mecpart": {VERSION}, "kind": "task", "tensors": [["int8", [9]]]}}'.encode(), b"1"], "has 1 bytes"),
            (packed("task", session="mine"), "of another testbed"),
            (packed("run", session=""), "of another testbed"),
            (packed("hello", session="mine"), "'hello' that is not from a driver"),
        ],
    )
    def test_a_node_refuses_them_and_goes_on(self, node, frames, message):
        with zmq.Context() as context, context.socket(zmq.DEALER) as line:
            line.linger = 0
            line.connect(node)
            line.send_multipart(frames)
            assert line.poll(10_000)
            answer = unpacked(line.recv_multipart())
        assert answer.kind == "error"
        assert message in answer.get("text", str)

    def test_what_is_no_zeromq(self, node):
        host, port = node.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port))) as line:
            line.sendall(b"GET / HTTP/1.1\r\n\r\n" * 1000)
        self.test_a_node_refuses_them_and_goes_on(node, [b"nonsense"], "header is no JSON")


FAKE = """
import zmq
socket = zmq.Context().socket(zmq.ROUTER)
socket.bind("tcp://127.0.0.1:*")
print(socket.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
while True:
    sender = socket.recv_multipart()[0]
    socket.send_multipart([sender, *{frames!r}])
"""


class TestNodesElsewhere:
    @pytest.mark.parametrize(
        ("frames", "message"),
        [
            ([b'{"mecpart": 99}'], "sent a message of version 99"),
            ([f'{{"mecpart": {VERSION}, "kind": "ready", "tensors": [["int8", [9]]]}}'.encode()], "sent .* cut short"),
            ([f'{{"mecpart": {VERSION}, "kind": "ready", "tensors": [["int8", [9]]]}}'.encode(), b"1"], "has 1 bytes"),
            (packed("error", text="there is no room"), "failed: there is no room"),
        ],
    )
    def test_that_answer_wrongly(self, own_network, frames, message):
        frames = [bytes(frame) for frame in frames]
        with (
            process("-c", FAKE.format(frames=frames)) as (_, address),
            failing(rf"node 1 \('node 1' at {address}\) {'' if message[0] in 'sf' else '.*'}{message}"),
        ):
            mecpart.Testbed(own_network, 6, nodes=[address]).__enter__()

    def test_that_are_something_else(self, own_network):
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
            with failing(rf"node 1 \('node 1' at {address}\) did not answer within 1 s"):
                mecpart.Testbed(own_network, 6, nodes=[address], timeout=1).__enter__()

    def test_that_die(self, own_network):
        with listening("tcp://127.0.0.1:*") as (node, address):
            bed = mecpart.Testbed(own_network, 6, nodes=[address])
            with bed:
                bed.infer(PLAN)
                processes = pids(bed)
                node.kill()
                with failing(rf"node 1 \('node 1' at {address}\) did not answer (node 0 )?within", *processes):
                    bed.run(PLAN, rounds=10_000)

    def test_that_cannot_run_it(self, own_network, tmp_path):
        """A node on whose machine ONNX Runtime is not installed."""
        (tmp_path / "onnxruntime.py").write_text("raise ImportError\n")
        begin = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from mecpart.testbed.node import serve; "
        with process("-c", f"{begin} serve('tcp://127.0.0.1:*')") as (_, address):
            bed = mecpart.Testbed(own_network, 6, nodes=[address])
            with bed, failing(r"node 1 .* failed: .* pip install 'mecpart\[onnxruntime\]'"):
                bed.infer(PLAN)

    def test_serve_one_testbed_after_the_other_but_not_two(self, own_network):
        with listening("tcp://127.0.0.1:*") as (_, address):
            for _ in range(2):
                with mecpart.Testbed(own_network, 6, nodes=[address]) as bed:
                    here = bed.infer([0] * 6)
                    np.testing.assert_array_equal(bed.infer(PLAN)[0], here[0])
                    with failing(r"node 1 .* failed: it belongs to another testbed"):
                        mecpart.Testbed(own_network, 6, nodes=[address]).__enter__()
                    np.testing.assert_array_equal(bed.infer(PLAN)[0], here[0])


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """A folder with two keys."""
    folder = tmp_path_factory.mktemp("secrets")
    for name in ("ours", "others"):
        assert main(["node", "--new-secret", str(folder / name)]) == 0
    return folder


class TestSecret:
    def test_lets_in_who_knows_it_and_nobody_else(self, own_network, secrets):
        with listening("tcp://0.0.0.0:*", str(secrets / "ours")) as (_, address):
            address = address.replace("0.0.0.0", "127.0.0.1")
            with mecpart.Testbed(own_network, 6, nodes=[address], secret=secrets / "ours") as bed:
                np.testing.assert_array_equal(bed.infer(PLAN)[0], bed.infer([0] * 6)[0])
            for secret in (None, secrets / "others"):
                with failing(r"node 1 .* did not answer within 1 s"):
                    mecpart.Testbed(own_network, 6, nodes=[address], secret=secret, timeout=1).__enter__()

    def test_is_needed_beyond_this_machine(self, own_network, capsys):
        assert main(["node", "--listen", "tcp://0.0.0.0:5577"]) == 2
        assert "must be tcp://127.0.0.1:PORT where no secret is given" in capsys.readouterr().err
        with pytest.raises(ValueError, match=r"secret must be given .* got None for tcp://192\.0\.2\.1:5577"):
            mecpart.Testbed(own_network, 6, nodes=["tcp://192.0.2.1:5577"])

    def test_is_not_written_over(self, secrets, capsys):
        before = (secrets / "ours").read_bytes()
        assert main(["node", "--new-secret", str(secrets / "ours")]) == 2
        assert "File exists" in capsys.readouterr().err
        assert (secrets / "ours").read_bytes() == before


def test_looking_at_what_a_process_writes_does_not_move_where_it_writes(tmp_path):
    """As where Python does not buffer: then the end of a line is written by itself."""
    with open(tmp_path / "told", "w+b") as file:
        for part in (b"tcp://127.0.0.1:1", b"\n"):
            crew.written(file)
            subprocess.run([sys.executable, "-c", f"import os; os.write(1, {part!r})"], stdout=file, check=True)
        assert crew.written(file) == "tcp://127.0.0.1:1\n"


def test_a_port_that_is_taken(capsys):
    with listening("tcp://127.0.0.1:*") as (_, address):
        assert main(["node", "--listen", address]) == 2
    assert f"listen must be a free address of this machine; got {address}" in capsys.readouterr().err


def test_what_is_no_address(capsys):
    for address in ("nonsense", "tcp://127.0.0.1:nonsense", "tcp://127.0.0.1"):
        assert main(["node", "--listen", address]) == 2
        assert "listen must be" in capsys.readouterr().err
