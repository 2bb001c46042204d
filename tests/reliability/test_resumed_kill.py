"""A killed server goes on with each upload, at an offset not below any that it told."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from fix_server import Serve
from fix_taking import TORTURE
from reliability.test_kill import kill_all
from resuming_client import DIALECTS, ResumingClient
from stores.disk.test_durability import traced

KILLS = 200 if TORTURE else 3
LONGEST = 0.6  # seconds until the kill
LONGEST_WAY = 10.0  # seconds until a thread makes the call in which it is killed
READY = 20.0  # seconds on a busy machine; two on one with nothing else to do
# The calls that change what is stored, and how many kills at each.
CALLS = (
    *("pwrite64", "write", "fsync", "fdatasync", "ftruncate"),
    *("fallocate", "fsetxattr", "rename", "linkat", "unlink"),
)
EACH = 30 if TORTURE else 1
SYSCALLS = CALLS if TORTURE else ("fdatasync",)

pytestmark = pytest.mark.timeout(3600 if TORTURE else 120)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_kill_at_any_moment_takes_no_offset_back(
    serve: Serve, tmp_path: Path, dialect: str
) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")  # shown when the test fails
    chance = random.Random(seed)
    root = tmp_path / "root"
    for number in range(KILLS):
        options = ["--workers", "2"] if number % 3 == 2 else []
        server = serve(*options, root=root)
        with ResumingClient(server, dialect, seed + number) as client:
            time.sleep(chance.uniform(0, LONGEST))  # the random moment is what is tested
            kill_all(server.pid)
        server.process.wait(10)

        began = time.monotonic()
        again = serve(root=root)
        assert time.monotonic() - began < READY
        client.check(again)
        assert again.stop() == 0


@pytest.mark.parametrize("call", SYSCALLS)
def test_a_kill_in_a_storage_call_takes_no_offset_back(
    serve: Serve, tmp_path: Path, call: str
) -> None:
    """It ends in the N-th call of a kind, of whichever thread is the first to get there.

    N begins anew where no thread makes so many of these calls.
    """
    root, reach = tmp_path / "root", EACH
    for number in range(EACH):
        at, dialect = number % reach + 1, DIALECTS[(number + number // reach) % len(DIALECTS)]
        server = serve(root=root)
        fault = f"inject={call}:signal=KILL:when={at}"
        with (
            traced(server, tmp_path / "trace", "-e", f"trace={call}", "-e", fault),
            ResumingClient(server, dialect, number + 1) as client,
        ):
            try:
                server.process.wait(LONGEST_WAY)
            except subprocess.TimeoutExpired:
                reach = at - 1
        kill_all(server.pid)  # once strace has left it
        again = serve(root=root)
        client.check(again)
        assert again.stop() == 0
        if not reach:
            break  # this file system needs no such call
