"""The script of the documentation that starts four nodes on one machine, as it stands."""

import os
import socket
import subprocess
import sys

import pytest

import mecpart
from mecpart.locations import default_output

SCRIPT = default_output() / "docs" / "four_nodes.sh"


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def listens(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_four_nodes_run_a_plan_and_end_with_the_script(tmp_path):
    command = tmp_path / "mecpart"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mecpart "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    ports = free_ports(4)
    with subprocess.Popen(
        ["sh", SCRIPT, *map(str, ports)], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as script:
        try:
            addresses = {script.stdout.readline().strip() for _ in ports}
            assert addresses == {f"tcp://127.0.0.1:{port}" for port in ports}
            nodes = [f"tcp://127.0.0.1:{port}" for port in ports]
            with mecpart.Testbed("alexnet", 6, nodes=nodes, engine="onnx", timeout=30) as bed:
                (row,) = bed.run([0, 1, 2, 3, 4, 0], rounds=1).to_dict("records")
            assert row["plan"] == "0 1 2 3 4 0"
            assert 0 < row["computing"] < row["seconds"]
        finally:
            script.terminate()
            code = script.wait(20)
    assert code == 128 + 15
    assert not any(map(listens, ports))
