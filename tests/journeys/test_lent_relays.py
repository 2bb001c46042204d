"""Large bodies go round the event loop to the next server: the same bytes, answers and errors.

Each journey runs with connections that are never lent, always lent, and handed back at random
bytes.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from fix_gateway import fresh, parts, snapshot, takes
from fix_server import RunningServer, start_server
from fix_taking import TORTURE, eventually, noise
from lent_ways import OFF, ON, WAYS, lent_bytes, lent_env
from raw_http import Wire, form_begun, form_body, form_head, head
from rude_peer import SOCKET_TIMEOUT, Exchange, Peer, sha256_field

MIB = 1 << 20
TIMES = 5 if TORTURE else 1  # requests that are answered early; each waits 2 s for its client
LARGE = 48 * MIB  # more than the kernel buffers on the way hold


@dataclass
class Lender:
    """A gateway and the backend behind it."""

    server: RunningServer
    peer: Peer


@pytest.fixture(scope="module", params=WAYS)
def gateway_process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lender]:
    folder = tmp_path_factory.mktemp(request.param)
    with Peer(takes) as peer:
        server = start_server(
            folder / "none",
            "--memory-budget",
            "16MiB",
            to=f"{peer.url}/files",
            env=lent_env(folder, request.param),
        )
        yield Lender(server, peer)
        # the test of the tests: connections were lent, or never
        assert (request.param == OFF) is (not lent_bytes(server))
        server.stop()


@pytest.fixture
def lender(gateway_process: Lender) -> Lender:
    gateway_process.peer.act = takes
    gateway_process.peer.seen.clear()
    return gateway_process


@pytest.mark.parametrize("size", [1, 4097, 300_000, 9 * MIB + 4097])
def test_all_bytes_reach_the_backend_and_the_next_request_too(lender: Lender, size: int) -> None:
    """Two uploads in one go: the second head stands right behind the first body."""
    body = noise(size)
    with Wire(lender.server.port) as wire:
        for _ in range(2):
            wire.send(head("PUT", "/files/a", f"Content-Length: {size}") + body)
        for _ in range(2):
            assert wire.answer().status == 201
    assert [exchange.body == body for exchange in lender.peer.seen] == [True, True]


def test_a_form_goes_on_as_a_form(lender: Lender) -> None:
    data = noise(9 * MIB)
    body = form_body(("before", None, b"1"), ("file", "a.bin", data))
    with Wire(lender.server.port) as wire:
        wire.send(form_head(len(body)) + body)
        assert wire.answer().status == 201
    (exchange,) = lender.peer.seen
    assert [part.partition(b"\r\n\r\n")[2] for part in parts(exchange)] == [b"1", data]


def test_a_form_goes_on_in_chunks(tmp_path: Path) -> None:
    """Where the file's length is not certain, the thread frames what it sends (RFC 9112 7.1)."""
    data = noise(9 * MIB)
    body = form_body(("file", "a.bin", data), ("behind", None, b"2"))
    with Peer(takes) as peer:
        server = start_server(
            tmp_path / "none", "--relay-chunked", to=peer.url, env=lent_env(tmp_path, ON)
        )
        with Wire(server.port) as wire:
            wire.send(form_head(len(body)) + body)
            assert wire.answer().status == 201
        assert sum(lent_bytes(server)) > 4 * MIB
        server.stop()
        (exchange,) = peer.seen
    assert exchange.headers["transfer-encoding"] == "chunked"
    assert [part.partition(b"\r\n\r\n")[2] for part in parts(exchange)] == [data, b"2"]


def test_a_wrong_digest_never_completes_a_request(lender: Lender) -> None:
    """The bytes are hashed while they are sent; the end is withheld. With the right one it does."""
    body = noise(20 * MIB)
    right = {"Repr-Digest": sha256_field(body)}
    url = f"{lender.server.url}/files/a"
    assert requests.put(url, data=body, headers=right, timeout=20).status_code == 201
    response = requests.put(
        f"{lender.server.url}/files/a",
        data=noise(3 * MIB),
        headers={"Repr-Digest": sha256_field(b"other")},
        timeout=20,
    )
    assert response.status_code == 400
    assert lender.peer.seen[-1].was_cut()


def test_an_early_answer_reaches_the_client(lender: Lender) -> None:
    """The backend reads a part of the body, answers and resets."""

    def refuses(exchange: Exchange) -> None:
        exchange.sock.recv(MIB)
        exchange.reply(413, {"Content-Type": "text/plain"}, b"no: 413")

    lender.peer.act = refuses
    response = requests.put(f"{lender.server.url}/files/a", data=bytes(LARGE), timeout=20)
    assert (response.status_code, response.text) == (413, "no: 413")


@pytest.mark.parametrize("hangs_up", [False, True])
def test_no_early_answer_is_lost(lender: Lender, hangs_up: bool) -> None:
    """Wherever the thread or the event loop is, also where the connection breaks behind it."""

    def refuses(exchange: Exchange) -> None:
        exchange.sock.recv(MIB + 4096 * len(lender.peer.seen))
        exchange.reply(413, {"Content-Type": "text/plain"}, b"no: 413")
        if hangs_up:
            exchange.sock.shutdown(socket.SHUT_RDWR)

    lender.peer.act, body = refuses, bytes(12 * MIB)
    for _ in range(TIMES):
        response = requests.put(f"{lender.server.url}/files/a", data=body, timeout=20)
        assert (response.status_code, response.text) == (413, "no: 413")


def test_no_client_learns_where_the_backend_is(lender: Lender) -> None:
    """It answers in mid-body with a redirect that no longer can be followed."""

    def redirects(exchange: Exchange) -> None:
        exchange.sock.recv(MIB)
        exchange.reply(307, {"Location": "http://10.9.8.7/secret"})

    lender.peer.act = redirects
    for _ in range(TIMES):  # the thread or the event loop may be the first to see the answer
        response = requests.put(f"{lender.server.url}/files/a", data=bytes(LARGE), timeout=20)
        assert response.status_code == 502
        assert response.json()["answered"] == 307
        assert "10.9.8.7" not in response.text
        assert lender.peer.url not in response.text


def test_a_backend_that_dies_is_an_error(lender: Lender) -> None:
    def dies(exchange: Exchange) -> None:
        exchange.sock.recv(MIB)
        exchange.reset()

    lender.peer.act = dies
    response = requests.put(f"{lender.server.url}/files/a", data=bytes(LARGE), timeout=20)
    assert response.status_code == 502


def test_a_client_that_leaves_ends_the_request(lender: Lender) -> None:
    """The backend sees a body that does not end."""
    with Wire(lender.server.port) as wire:
        wire.send(head("PUT", "/files/a", f"Content-Length: {LARGE}") + noise(3 * MIB))
        eventually(lambda: lender.peer.seen, "the request is on its way")
        wire.reset()
    assert lender.peer.seen[-1].was_cut()


def test_an_upload_to_a_stalled_backend_can_be_cancelled(lender: Lender) -> None:
    """It takes no byte: the counters say so, and DELETE ends the upload at once."""
    cancelled = threading.Event()
    lender.peer.act, upload = lambda _: cancelled.wait(SOCKET_TIMEOUT), fresh()
    with Wire(lender.server.port) as wire:
        wire.send(head("PUT", f"/files/a?upload={upload}", f"Content-Length: {1 << 30}"))
        wire.sock.settimeout(0.5)  # then all buffers on the way are full
        with pytest.raises(TimeoutError):
            wire.send(bytes(LARGE))
        before = snapshot(lender.server, upload)
        response = requests.delete(f"{lender.server.url}/uploads/{upload}", timeout=10)
        cancelled.set()
    assert response.status_code in (202, 204)
    received, forwarded = before["received"], before["forwarded"]
    assert isinstance(received, int)
    assert isinstance(forwarded, int)
    assert 0 <= received - forwarded <= 4 * MIB


def test_a_form_that_breaks_off_never_completes_a_request(lender: Lender) -> None:
    body = form_begun(("file", "a.bin", noise(3 * MIB)))
    with Wire(lender.server.port) as wire:
        wire.send(form_head(len(body) + MIB) + body)
        wire.half_close()
        assert wire.answer().status == 400
    assert lender.peer.seen[-1].was_cut()


def test_a_backend_that_reads_slowly_and_stalls_slows_its_sender_only(lender: Lender) -> None:
    """A KiB at a time, then nothing for a while, then all: the bytes are the same, few of them wait
    here, and another upload is not held up."""
    went_on, began = threading.Event(), threading.Event()

    def reads_slowly(exchange: Exchange) -> None:
        if exchange.target.endswith("fast"):
            takes(exchange)
            return
        slow = [exchange.recv(1024) for _ in range(3)]
        began.set()
        while not went_on.wait(0.2):
            slow.append(exchange.recv(1024))
        exchange.put_back(b"".join(slow))
        takes(exchange)

    lender.peer.act, upload, body = reads_slowly, fresh(), noise(LARGE)
    with Wire(lender.server.port) as wire:
        wire.send(head("PUT", f"/files/slow?upload={upload}", f"Content-Length: {LARGE}"))
        sender = threading.Thread(target=wire.send, args=(body,))
        sender.start()
        try:
            assert began.wait(30)
            fast = requests.put(f"{lender.server.url}/files/fast", data=noise(3 * MIB), timeout=30)
            assert fast.status_code == 201
            now = snapshot(lender.server, upload)
            assert isinstance(now["received"], int)
            assert isinstance(now["forwarded"], int)
            assert now["received"] < LARGE
            assert now["received"] - now["forwarded"] <= 4 * MIB
        finally:
            went_on.set()
            sender.join()
        assert wire.answer().status == 201
    assert max(lender.peer.seen, key=lambda exchange: len(exchange.body)).body == body


def test_no_byte_beyond_the_largest_size_is_passed_on(tmp_path: Path) -> None:
    """The limit is crossed within a block: the backend gets no more than the limit, and no end."""
    limit = 6 * MIB + 1000
    with Peer(takes) as peer:
        server = start_server(
            tmp_path / "none",
            "--relay-chunked",
            "--max-size",
            str(limit),
            to=peer.url,
            env=lent_env(tmp_path, ON),
        )
        body = form_body(("file", "a.bin", noise(limit + MIB)))
        with Wire(server.port) as wire:
            wire.send(form_head(len(body)) + body)
            response = wire.answer()
        assert (response.status, response.code) == (413, "too-large")
        eventually(lambda: sum(lent_bytes(server)) > 4 * MIB, "it was lent")
        for exchange in peer.seen:
            assert exchange.was_cut()
            assert len(exchange.body) <= limit
        server.stop()
