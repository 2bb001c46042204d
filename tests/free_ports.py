"""Ports for servers whose port must be known before they start.

Each worker of a run has ports of its own, below those that the system gives to outgoing
connections (32768 and more on Linux). So no client takes a port that was free a moment ago, and no
two servers get the same one. A server that can bind port 0 by itself does that instead.
"""

from __future__ import annotations

import itertools
import os
import random
import socket

__all__ = ["free_port"]

LOWEST = 10_240
FOR_A_WORKER = 640  # 35 workers below 32,768


def _of_this_worker() -> range:
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 35
    return range(LOWEST + number * FOR_A_WORKER, LOWEST + (number + 1) * FOR_A_WORKER)


_ports = itertools.cycle(random.sample(_of_this_worker(), FOR_A_WORKER))


def free_port() -> int:
    """Returns a port of 127.0.0.1 that nothing listens at, another one each time."""
    for port in itertools.islice(_ports, FOR_A_WORKER):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue  # another run of the tests has it
    raise AssertionError("all ports of this worker are taken")
