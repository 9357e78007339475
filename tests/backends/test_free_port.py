"""Ports of the tests' own servers are nobody else's."""

import socket
import subprocess
import sys
from pathlib import Path

from tests.backends import free_port as module
from tests.backends.free_port import FIRST, HANDED_OUT, free_port

ROOT = Path(__file__).parents[2]


def test_a_port_is_given_once_and_not_among_those_that_the_kernel_gives() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert FIRST <= min(ports) and max(ports) < int(HANDED_OUT.read_text().split()[0])


def test_a_port_is_not_given_to_another_process_nor_one_on_which_somebody_listens() -> None:
    claimed = free_port()
    assert not module._claimed(claimed)
    code = f"from tests.backends import free_port; print(free_port._claimed({claimed}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        assert not module._is_free(listener.getsockname()[1])
