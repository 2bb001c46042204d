"""A server before PostgreSQL holds rows under way and nothing that grows with a file: 10 GiB in the long proofs."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from fix_postgres import Database
from fix_server import RunningServer, start_server
from fix_taking import TORTURE
from raw_http import Wire, head
from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.stores.postgres import PostgresStore
from sluiceway.testing.memory import MemoryMeter
from sluiceway.testing.store_suite import pattern

MIB = 1 << 20
SMALL = 10 * MIB
LARGE = 10 << 30 if TORTURE else 256 * MIB
ALLOWED = 16 * MIB  # more peak for the large one; the rows in hand, two of 512 KiB, are in both
BLOCK = pattern(MIB)


@pytest.fixture
def table(database: Database) -> Iterator[str]:
    name = database.fresh()
    yield name
    database.drop(name)


@pytest.fixture
def server(database: Database, table: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    place = f"{database.url}&table={table}"

    async def prepare() -> None:
        store = PostgresStore(place, Budget(MINIMUM))
        await store.init()
        await store.aclose()

    asyncio.run(prepare())
    running = start_server(tmp_path_factory.mktemp("memory") / "none", to=place)
    yield running
    running.stop()


def upload(server: RunningServer, size: int) -> None:
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/m", f"Content-Length: {size}"))
        for _ in range(size // MIB):
            wire.send(BLOCK)
        assert wire.answer().status in (200, 201)


def download(server: RunningServer, size: int) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 60) as sock:
        sock.sendall(head("GET", "/files/m", "Connection: close"))
        got, buffer = 0, bytearray(MIB)
        while count := sock.recv_into(buffer):
            got += count
    assert got > size


@pytest.mark.timeout(3600)
def test_a_server_holds_no_more_of_a_large_file_than_of_a_small_one(server: RunningServer) -> None:
    """In and out of the database: the peak for the large file is that for 10 MiB, within 16 MiB."""
    meter, told = MemoryMeter(server.pid), []
    peaks: dict[tuple[str, int], int] = {}
    for size in (SMALL, SMALL, LARGE):  # the first warms up
        for transfer in (upload, download):
            meter.reset()
            began = time.monotonic()
            transfer(server, size)
            peaks[transfer.__name__, size] = meter.peak()
            told.append(f"{transfer.__name__} {size >> 20} MiB: {meter.peak() >> 10} KiB, {time.monotonic() - began:.1f} s")

    print("\n".join(told))
    for way in ("upload", "download"):
        assert peaks[way, LARGE] - peaks[way, SMALL] <= ALLOWED, told
