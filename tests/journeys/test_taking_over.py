"""A new request for an upload interrupts the one that still runs, in whichever process or server.

It waits until what that one took is kept, and goes on there; what the other still gets changes
nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import signal
import socket
import sqlite3
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from fix_postgres import Database
from fix_server import RunningServer, Serve
from fix_taking import eventually, noise
from sluiceway.pipe.budget import Budget
from sluiceway.stores.postgres.store import PostgresStore
from sluiceway.testing.store_suite.hooks import LONG
from tus_by_hand import OFFSET_STREAM, Tus

SIZE = 3 << 20
WORKERS = "4" if LONG else "2"
SOON = 5.0  # seconds: generous; the service promises a quarter of one on a machine that is not busy
DATA = noise(SIZE)


@pytest.fixture
def tables(database: Database) -> Iterator[tuple[str, str]]:
    """The URLs of a store and of a ledger of its own."""
    table, ledger = database.fresh(), database.fresh()
    yield f"{database.url}&table={table}", f"{database.url}&table={ledger}"
    database.drop(table)
    suffixes = ("", "_parts", "_events", "_processes")
    database.rows(f"DROP TABLE IF EXISTS {', '.join(ledger + suffix for suffix in suffixes)}")


@pytest.fixture(params=["workers", "servers-postgresql", "servers-folder"])
def servers(
    request: pytest.FixtureRequest, serve: Serve, tmp_path: Path
) -> Iterator[tuple[list[RunningServer], Callable[[str], bytes]]]:
    """Some processes behind one port, or two servers; and how to read a stored file."""
    if request.param == "workers":
        one = serve("--workers", WORKERS, "--key-template", "{path}-{id}")
        yield [one], lambda key: (one.root / key).read_bytes()
        return
    store, ledger = request.getfixturevalue("tables")
    options = ["--ledger", ledger, "--key-template", "{path}-{id}"]
    if request.param == "servers-folder":
        both = [serve(*options, root=tmp_path / "shared") for _ in range(2)]
        yield both, lambda key: (tmp_path / "shared" / key).read_bytes()
        return
    asyncio.run(_init(store))
    both = [serve(*options, to=store) for _ in range(2)]
    yield both, lambda key: requests.get(f"{both[0].url}/files/{key}", timeout=30).content


async def _init(place: str) -> None:
    store = PostgresStore(place, Budget(16 << 20))
    await store.init()
    await store.aclose()


def hang(server: RunningServer, upload: str, offset: int, data: bytes) -> socket.socket:
    """A PATCH that says it brings the rest, sends some of it, and pauses."""
    sock = socket.create_connection(("127.0.0.1", server.port), 30)
    sock.sendall(_patch_head(urlsplit(upload).path, offset) + data)
    return sock


def _patch_head(path: str, offset: int) -> bytes:
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n"
        f"Content-Type: {OFFSET_STREAM}\r\nUpload-Offset: {offset}\r\n"
        f"Content-Length: {SIZE - offset}\r\n\r\n"
    )
    return head.encode()


def received(server: RunningServer, path: str) -> int:
    with Tus(server.url).session as session:
        progress = session.get(server.url + path, timeout=30).json()
    return int(progress.get("received", 0))


def test_a_new_request_goes_on_where_another_process_was(
    servers: tuple[list[RunningServer], Callable[[str], bytes]],
) -> None:
    """Eight times in turn; each new connection may reach another process."""
    running, stored = servers
    clients = [Tus(server.url) for server in running]
    path = urlsplit(clients[0].create(SIZE, filename="book")).path
    sent, socks, waits = 0, [], []
    for turn in range(8):
        server, client = running[turn % len(running)], Tus(running[(turn + 1) % len(running)].url)
        piece = DATA[sent : sent + 130_001]
        socks.append(hang(server, server.url + path, sent, piece))
        eventually(lambda: received(server, path) > sent, "some of it is there")  # noqa: B023
        began = time.monotonic()
        offset = client.offset(client.url + path)
        waits.append(time.monotonic() - began)
        client.session.close()
        assert sent <= offset <= sent + len(piece)
        # What the interrupted request gets now does not count.
        with suppress(OSError):
            socks[-1].sendall(b"\0" * 100_000)
        sent = offset
    assert sent
    assert sorted(waits)[len(waits) // 2] < SOON
    response = clients[-1].patch(clients[-1].url + path, sent, DATA[sent:])
    assert response.status_code == 204, response.text
    for sock in socks:
        sock.close()
    key = response.headers["Content-Location"].partition("/files/")[2]
    assert hashlib.sha256(stored(key)).digest() == hashlib.sha256(DATA).digest()
    for client in clients:
        # An ended upload is told alike by all, and its last request may be repeated.
        assert client.offset(client.url + path) == SIZE
        client.session.close()
    print(f"take-overs: {sorted(round(wait * 1000) for wait in waits)} ms")


def test_what_a_client_sent_before_its_line_broke_counts(serve: Serve) -> None:
    """The client asks at once where it goes on, while the system of the server holds its bytes.

    The server is stopped meanwhile, as if it had much else to do. The line ends, or is reset.
    """
    server = serve()
    client = Tus(server.url)
    for resets in (False, True):
        path = urlsplit(client.create(SIZE)).path
        sending, asking = _connected(server), _connected(server)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            sending.sendall(_patch_head(path, 0) + DATA[:50_000])
            eventually(lambda sock=sending: not _unacknowledged(sock))  # type: ignore[misc]
            if resets:
                sending.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sending.close()
            head = f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n\r\n"
            asking.sendall(head.encode())
        finally:
            os.kill(server.pid, signal.SIGCONT)
        with asking:
            assert "upload-offset: 50000\r\n" in asking.recv(4096).decode().lower()
    client.session.close()


def _connected(server: RunningServer) -> socket.socket:
    """A connection that the server has accepted."""
    sock = socket.create_connection(("127.0.0.1", server.port), 30)
    sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b" 200 " in sock.recv(4096)
    return sock


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes that the other system has not got yet."""
    (count,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))
    return int(count)


def test_a_delete_ends_an_upload_that_another_server_takes(
    serve: Serve, tables: tuple[str, str], tmp_path: Path
) -> None:
    """Its bytes are gone, and both say so."""
    both = [serve("--ledger", tables[1], root=tmp_path / "shared") for _ in range(2)]
    one, other = (Tus(server.url) for server in both)
    path = urlsplit(one.create(SIZE)).path
    with hang(both[0], both[0].url + path, 0, DATA[:200_000]) as sock:
        lasting = tmp_path / "shared" / ".sluiceway" / "lasting"
        eventually(lambda: lasting.exists() and any(lasting.iterdir()))
        assert other.send("DELETE", other.url + path).status_code == 204
        sock.settimeout(30)
        assert b" 204 " not in sock.recv(4096)
    for client in (one, other):
        assert client.head(client.url + path).status_code == 410
        client.session.close()
    assert not any(lasting.iterdir())


def test_reading_what_has_ended_waits_for_no_writer(serve: Serve) -> None:
    """Another program holds the ledger's write lock: downloads and HEAD of ended uploads answer."""
    server = serve("--key-template", "{path}-{id}")
    client = Tus(server.url)
    upload = client.create(5, filename="x")
    response = client.patch(upload, 0, b"bytes")
    (ledger,) = server.root.glob(".sluiceway/uploads.sqlite")
    writer = sqlite3.connect(ledger, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        assert client.offset(upload) == 5
        location = response.headers["Content-Location"]
        assert client.session.get(server.url + location[location.index("/files/") :]).ok
    finally:
        writer.execute("ROLLBACK")
        writer.close()
        client.session.close()
