"""A server killed with -9 at any moment loses nothing that it acknowledged.

Every acknowledged byte is there, no partial object is visible, the drafts are swept.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from fix_server import Serve
from fix_taking import TORTURE
from witness import Witness

KILLS = 200 if TORTURE else 6
LONGEST = 0.4  # seconds until the kill


@pytest.mark.timeout(3600 if TORTURE else 120)
@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "two workers"])
def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(
    serve: Serve, tmp_path: Path, options: list[str]
) -> None:
    """SIGKILL during uploads of all kinds: the folder is checked before and after a restart."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")  # shown when the test fails
    chance = random.Random(seed)
    root = tmp_path / "root"
    kills = KILLS // 3 if options else KILLS
    for number in range(kills):
        server = serve(*options, root=root)
        with Witness(server, seed + number) as witness:
            time.sleep(chance.uniform(0, LONGEST))  # the random moment is what is tested
            kill_all(server.pid)
        witness.check(root)

        again = serve(*options, root=root)
        witness.check(root)
        witness.check_restarted(again)
        again.stop()


def kill_all(pid: int) -> None:
    """Kill the server and its workers, which are found by their parent id."""
    children = [int(name) for name in os.listdir("/proc") if name.isdigit() and parent(name) == pid]
    for process in (pid, *children):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended with its parent


def parent(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return -1  # it ended meanwhile
