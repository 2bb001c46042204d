"""Fixtures for tests of uploads.

`taker`, one server for the tests of a module, and `hasty`, one with short deadlines.

taker.url …                         # a plain server; each test uses keys of its own
server = hasty(HEAD_TIMEOUT=0.5)    # small constants of server/http1, in its process alone
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from fix_server import RunningServer, Serve, start_server

__all__ = [
    "SMALL_DISK",
    "TORTURE",
    "NewLines",
    "eventually",
    "hasty",
    "missing",
    "need",
    "noise",
    "small_disk",
    "taker",
    "tree",
]

DEADLINE = 60.0  # seconds; only a broken server needs so many
SMALL_DISK = 8 << 20  # bytes
TORTURE = "SLUICEWAY_TORTURE" in os.environ  # whether the long proofs run

# The kernel buffers 2.5 MB of a response that the client does not read: here it buffers 8 KiB.
SMALL_BUFFERS = [
    "made = protocol.SluiceProtocol.connection_made",
    "def small(self, transport):",
    "    transport.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)",
    "    made(self, transport)",
    "protocol.SluiceProtocol.connection_made = small",
]

Hasty = Callable[..., RunningServer]
PERIOD = (1 << 20) + 7  # bytes of noise; a prime, so a block in the wrong place has other bytes
COMPUTED = 64 << 10  # bytes of noise that are not worth a block


@pytest.fixture(scope="module")
def taker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server without limits or token, shared by the tests of one module."""
    server = start_server(tmp_path_factory.mktemp("taker") / "root")
    yield server
    server.stop()


@pytest.fixture
def hasty(serve: Serve, tmp_path: Path) -> Hasty:
    """Start a server whose deadlines and bounds are small, so that a test can see them end."""

    def start(*options: str, **constants: float) -> RunningServer:
        idle, reader = constants.pop("IDLE", None), constants.pop("READER_TIMEOUT", None)
        lines = ["from sluiceway.server.http1 import limits, protocol"]
        lines += [
            f"{'limits' if name.endswith('_BYTES') else 'protocol'}.{name} = {value!r}"
            for name, value in constants.items()
        ]
        if idle is not None:
            lines += ["import sluiceway.server.request_body as body"]
            lines += [f"body.IDLE = {idle!r}"]
        if reader is not None:
            lines += [
                "import sluiceway.server.http1.stalled_readers as stalled, socket",
                "import sluiceway.server.http1.sendfile as sendfile",
            ]
            lines += [
                f"sendfile.READER_TIMEOUT = {reader!r}",
                "stalled.LOOK_EVERY = 0.1",
            ]
            lines += SMALL_BUFFERS
        folder = tmp_path / "hasty"
        folder.mkdir()
        # python runs sitecustomize before anything else; the server that follows is the real one
        (folder / "sitecustomize.py").write_text("\n".join(lines))
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        return serve(*options, env={"PYTHONPATH": path})

    return start


def need(program: str) -> None:
    """Skip the test if a program is missing; fail under CI=true, so that no gap is hidden."""
    if shutil.which(program) is None:
        missing(f"{program} is not installed")


def missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def eventually(holds: Callable[[], object], what: str = "") -> None:
    """Wait until a condition holds: clean-up runs after the response, or after the client left."""
    end = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < end, f"did not come about: {what or holds}"
        time.sleep(0.005)


class NewLines:
    """Reads the lines that another process appends to a file, each once.

    It never empties the file: a line that came between the read and the cut would be lost.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0  # bytes

    def take(self) -> list[str]:
        """Returns the whole lines since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            lines, _, _ = file.read().rpartition(b"\n")
        if not lines:
            return []
        self._read += len(lines) + 1
        return lines.decode().split("\n")


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes without a pattern, the same for the same seed; long ones repeat after `PERIOD`.

    Fewer of a seed are the beginning of more. Half of all test files ask for them when they load,
    in each worker: so they are copied rather than computed.
    """
    if 0 < size <= COMPUTED:
        return hashlib.shake_128(b"%d" % seed).digest(size)
    block = _block(seed)
    return block * (size // PERIOD) + block[: size % PERIOD]


@cache
def _block(seed: int) -> bytes:
    return hashlib.shake_128(b"%d" % seed).digest(PERIOD)


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Returns all files below a folder: name -> mode, size, time of change.

    Links are not followed.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with SMALL_DISK bytes.

    Name it before `serve`: it can only go after the server.
    """
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        missing("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
