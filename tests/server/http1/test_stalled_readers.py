"""The server drops a client that reads nothing of its response; it serves a slow one."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fix_server import RunningServer, start_server
from fix_taking import Hasty, eventually, noise
from raw_http import Wire, head

MIB = 1 << 20


CLOSE = 7  # tcpi_state (linux/tcp_states.h)


def slow_wire(port: int, buffer: int = 4096) -> Wire:
    """A client whose kernel buffers a few KiB."""
    wire = Wire(port)
    wire.sock.close()
    wire.sock = socket.socket()
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    wire.sock.settimeout(30)
    wire.sock.connect(("127.0.0.1", port))
    return wire


def dropped(wire: Wire) -> bool:
    """Whether the server reset the connection: asks our kernel, without reading a byte."""
    return bool(wire.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == CLOSE)


def test_a_client_that_reads_nothing_is_dropped(hasty: Hasty) -> None:
    """For JSON, a page, a refusal, a file sent by us or by the kernel, a zip, and events.

    An unread response must not hold a connection for ever.
    """
    server = hasty(READER_TIMEOUT=1.0)
    (server.root / "small.bin").write_bytes(noise(300_000))
    (server.root / "large.bin").write_bytes(noise(8 * MIB))
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/watched?upload=" + "u" * 22, "Content-Length: 1") + b"x")
        assert wire.answer().status == 201
    asked = {
        "page": head("GET", "/") * 40,
        "listing": head("GET", "/files") * 200,
        "refusal": head("GET", "/files/nowhere") * 400,
        "file by us": head("GET", "/files/small.bin") * 5,
        "file by the kernel": head("GET", "/files/large.bin"),
        "zip": head("GET", "/files?as=zip"),
        "event stream": head("GET", "/uploads/" + "u" * 22, "Accept: text/event-stream") * 400,
        "options": head("OPTIONS", "/files") * 800,
    }
    streamed = {"file by us", "file by the kernel", "zip", "event stream"}
    wires = {}
    for what, data in asked.items():
        wires[what] = slow_wire(server.port)
        wires[what].send(data)

    for what, wire in wires.items():
        eventually(lambda wire=wire: dropped(wire), f"the reader of the {what} was dropped")  # type: ignore[misc]
        wire.close()
    # A streamed response has a deadline of its own for each send, which may be the first to end.
    eventually(
        lambda: server.log().count("took nothing of its answer") >= len(asked) - len(streamed),
        "the log has the others",
    )
    for word in ("Traceback", "The app returned", "ERROR"):
        assert word not in server.log()


def test_a_half_closed_reader_that_reads_nothing_is_dropped(hasty: Hasty) -> None:
    """The connection is closing already, but its last bytes are not read: the server drops it."""
    server = hasty(READER_TIMEOUT=1.0)
    (server.root / "small.bin").write_bytes(noise(300_000))
    wires = [slow_wire(server.port) for _ in range(3)]
    wires[0].send(head("GET", "/files/small.bin"))
    wires[0].half_close()
    wires[1].send(head("GET", "/files/small.bin", "Connection: close"))
    wires[2].send(head("PUT", "/files/x", "Content-Length: 1") + b"x" + head("GET", "/") * 50)
    wires[2].half_close()

    for number, wire in enumerate(wires):
        eventually(lambda wire=wire: dropped(wire), f"reader {number} was dropped")  # type: ignore[misc]
        wire.close()


# The same bytes each time; the page has a new nonce in each response.
SCRIPT = "/page/sluice.js"


def test_a_slow_reader_gets_everything(hasty: Hasty) -> None:
    """The client reads a little all the time, for longer than the deadline.

    A busy machine may stop a client for more than a second.
    """
    server = hasty(READER_TIMEOUT=3.0)
    with Wire(server.port) as wire:
        wire.send(head("GET", SCRIPT, "Connection: close"))
        script = wire.answer().body
    with slow_wire(server.port, 32768) as wire:
        wire.send(head("GET", SCRIPT) * 39 + head("GET", SCRIPT, "Connection: close"))
        got, began = b"", time.monotonic()
        while more := wire.sock.recv(len(script) // 2):
            got += more
            time.sleep(0.05)

    assert got.count(script) == 40
    assert time.monotonic() - began > 3


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[RunningServer]:
    server = start_server(tmp_path / "backend")
    yield server
    server.stop()


def test_the_deadline_applies_to_responses_of_a_gateway(
    hasty: Hasty, backend: RunningServer
) -> None:
    """To another server's response, and to a fetched file."""
    options = (
        "--fetch-from",
        "127.0.0.1",
        "--fetch-from",
        f"127.0.0.1:{backend.port}",
        "--fetch-internal",
        "127.0.0.1",
    )
    server = hasty("--to", backend.url, *options, READER_TIMEOUT=1.0)
    (backend.root / "large.bin").write_bytes(noise(4 * MIB))
    relayed, fetched = slow_wire(server.port), slow_wire(server.port)
    relayed.send(
        b"".join(
            head("PUT", f"/files/r{number}", "Content-Length: 1") + b"x" for number in range(60)
        )
    )
    fetched.send(head("GET", f"/fetch?url={backend.url}/files/large.bin"))
    assert fetched.sock.recv(12) == b"HTTP/1.1 200"

    eventually(lambda: "GET /fetch" in server.log(), "the fetch has ended")
    for what, wire in (("upload", relayed), ("fetch", fetched)):
        eventually(lambda wire=wire: dropped(wire), f"the client of the {what} was dropped")  # type: ignore[misc]
        wire.close()
    assert "Traceback" not in server.log()
