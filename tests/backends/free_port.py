"""A port for one server of the tests, that neither the kernel nor another test run gives to anybody else."""

import random
import socket
from pathlib import Path

FIRST = 20_000
HANDED_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")

_chance = random.Random()  # of its own: tests set the seed of the one that all share
_claims: list[int] = []


def free_port() -> int:
    """Return a port that nobody listens on: this process's until it ends, also while the server on it is killed.

    One from the range that the kernel hands out could be handed out again before the server takes it.
    """
    while True:
        port = _chance.randrange(FIRST, int(HANDED_OUT.read_text().split()[0]))
        if _is_free(port) and _claimed(port):
            return port


def _claimed(port: int) -> bool:
    """Take a name for the port that exists once on this machine, and no longer than this process."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0offload-tests-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim.detach())
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
