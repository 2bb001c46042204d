"""A server starts its own successor: the same command, from what is installed now (SIGUSR2).

For supervisors that know one process; the successor names itself as the main one. Where this
process is the first of a container, the container would end with it.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading

from sluiceway.server.listening.handover import can_hand_over

__all__ = ["SUCCEEDS", "start_successor"]

log: logging.Logger = logging.getLogger("sluiceway")

# Gives a successor the address of the server that started it, which no option may name
SUCCEEDS = "SLUICEWAY_SUCCEEDS"


def start_successor(address: tuple[str, int]) -> None:
    """Returns at once; logs where it cannot be, and how the successor ended if it did early."""
    if os.getpid() == 1 or not can_hand_over():
        log.warning("SIGUSR2: this process cannot be replaced; start a new container or server")
        return
    log.info("SIGUSR2: the successor of this server starts")
    threading.Thread(target=_run, args=(address,), daemon=True).start()


def _run(address: tuple[str, int]) -> None:
    # As this one was started; orig_argv has what Python itself was given, too.
    command = [sys.executable, *sys.orig_argv[1:]]
    env = {**os.environ, SUCCEEDS: json.dumps(address)}
    try:
        code = subprocess.Popen(command, env=env).wait()  # noqa: S603 - our own command
    except OSError as error:
        log.error("the successor could not be started: %s", error)
        return
    log.warning("the successor ended with code %d; this server goes on", code)
