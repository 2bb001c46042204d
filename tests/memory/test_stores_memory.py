"""No store makes a server hold memory that grows with a file.

The long proofs send 10 GiB, or what the disk holds.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import gettempdir

import pytest
import requests

from fix_postgres import Database
from fix_s3 import Objects
from fix_server import RunningServer, start_server
from fix_sftp import SftpServer
from fix_taking import TORTURE
from raw_http import Wire, head
from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.stores.postgres.store import PostgresStore
from sluiceway.testing.memory_meter import MemoryMeter
from sluiceway.testing.store_suite import pattern

MIB = 1 << 20
# A store and its database write a file three times before the first copy goes.
FITTING = shutil.disk_usage(gettempdir()).free // 4 // MIB * MIB
LARGE = min(10 << 30, FITTING) if TORTURE else 32 * MIB
LARGE_IN_PARTS = min(10 << 30, FITTING) if TORTURE else 56 * MIB
ALLOWED = 16 * MIB  # more peak for the large one
BUDGET, PART = "20MiB", 5 * MIB  # of the server of a bucket, and of each part then
BLOCK = pattern(MIB)


@pytest.fixture
def database_server(database: Database, tmp_path: Path) -> Iterator[RunningServer]:
    table = database.fresh()
    place = f"{database.url}&table={table}"

    async def prepare() -> None:
        store = PostgresStore(place, Budget(MINIMUM))
        await store.init()
        await store.aclose()

    asyncio.run(prepare())
    running = start_server(tmp_path / "none", to=place)
    yield running
    running.stop()
    database.drop(table)


@pytest.fixture
def sqlite_server(tmp_path: Path) -> Iterator[RunningServer]:
    running = start_server(tmp_path / "none", to="sqlite:///files.db")
    yield running
    running.stop()
    (tmp_path / "files.db").unlink()


@pytest.fixture
def bucket_server(s3: Objects, tmp_path: Path) -> Iterator[RunningServer]:
    place = s3.url(s3.fresh(), "up")
    running = start_server(tmp_path / "none", "--memory-budget", BUDGET, env=s3.env, to=place)
    yield running
    delete(running)
    running.stop()


@pytest.fixture
def sftp_server(sftp: SftpServer, tmp_path: Path) -> Iterator[RunningServer]:
    running = start_server(tmp_path / "none", to=sftp.url(sftp.fresh()))
    yield running
    delete(running)
    running.stop()


@pytest.fixture
def gateway_server(tmp_path: Path) -> Iterator[RunningServer]:
    behind = start_server(tmp_path / "behind")
    running = start_server(tmp_path / "none", to=f"{behind.url}/files/")
    yield running
    running.stop()
    delete(behind)
    behind.stop()


def upload(server: RunningServer, size: int) -> None:
    with Wire(server.port) as wire:
        wire.send(head("PUT", f"/files/{size}", f"Content-Length: {size}"))
        for _ in range(size // MIB):
            wire.send(BLOCK)
        assert wire.answer().status in (200, 201)


def download(server: RunningServer, size: int) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 60) as sock:
        sock.sendall(head("GET", f"/files/{size}", "Connection: close"))
        got, buffer = 0, bytearray(MIB)
        while count := sock.recv_into(buffer):
            got += count
    assert got > size


def delete(server: RunningServer) -> None:
    """Everything the tests stored."""
    for file in requests.get(f"{server.url}/files", timeout=60).json()["files"]:
        requests.delete(f"{server.url}/files/{file['key']}", timeout=60)


# With 20 MiB, an upload into a bucket has as many parts under way as a longer one.
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("where", "small", "allowed", "ways"),
    [
        ("database_server", 6 * MIB, ALLOWED, (upload, download)),
        ("sqlite_server", 6 * MIB, ALLOWED, (upload, download)),
        ("bucket_server", 20 * MIB, ALLOWED + PART, (upload, download)),
        ("sftp_server", 6 * MIB, ALLOWED, (upload, download)),
        ("gateway_server", 6 * MIB, ALLOWED, (upload,)),
    ],
    ids=["database", "sqlite", "bucket", "sftp", "gateway"],
)
def test_a_server_holds_no_more_of_a_large_file_than_of_a_small_one(
    request: pytest.FixtureRequest,
    where: str,
    small: int,
    allowed: int,
    ways: tuple[Callable[[RunningServer, int], None], ...],
) -> None:
    """Upload and download: the peak of the large file is that of the small one, within 16 MiB."""
    server: RunningServer = request.getfixturevalue(where)
    large = LARGE_IN_PARTS if where == "bucket_server" else LARGE
    meter, report = MemoryMeter(server.pid), []
    peaks: dict[tuple[str, int], int] = {}
    # One way after the other: malloc keeps the blocks of a large upload for the next one, and a
    # download right behind it would begin with them.
    for transfer in ways:
        for size in (small, small, large):  # the first warms up
            meter.reset()
            began = time.monotonic()
            transfer(server, size)
            peaks[transfer.__name__, size] = meter.peak()
            report.append(
                f"{transfer.__name__} {size >> 20} MiB: {meter.peak() >> 10} KiB,"
                f" {time.monotonic() - began:.1f} s"
            )

    print("\n".join(report))
    for way in ways:
        assert peaks[way.__name__, large] - peaks[way.__name__, small] <= allowed, report
