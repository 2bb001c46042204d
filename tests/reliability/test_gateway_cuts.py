"""A gateway whose client leaves at any byte.

The backend never sees one complete request, and nothing is left behind.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import requests

from fix_gateway import Gateway, Program, fds
from fix_server import RunningServer, start_server
from fix_taking import TORTURE, eventually, noise
from raw_http import Wire, chunk, chunked, form_body, form_head, head
from rude_peer import Exchange, Peer

CUTS = 300 if TORTURE else 20  # of each upload
AT_ONCE = 8
BODY = 200_000  # bytes: more than the gateway collects before it connects to the backend

FORM = form_body(("t", None, b"field"), ("f", "first", noise(BODY)))
TWO = form_body(("f", "first", noise(500)), ("f", "second", noise(BODY)))
UPLOADS = {
    "length": head("PUT", "/files/cut", f"Content-Length: {BODY}") + noise(BODY),
    "chunked": head("POST", "/files?name=cut", "Transfer-Encoding: chunked")
    + chunked(noise(BODY), BODY // 7),
    "form": form_head(len(FORM)) + FORM,
    "chunked form": form_head(None) + chunked(FORM, len(FORM) // 7),
    "two files": form_head(len(TWO)) + TWO,
}
OUTWARD: dict[str, list[str]] = {
    "as they came": [],
    "as forms": ["--relay-form", "up"],
    "raw": ["--relay-body", "raw"],
}
WAYS: dict[str, Callable[[Wire], None]] = {
    "close": Wire.close,
    "reset": Wire.reset,
    "half-close": Wire.half_close,
}


@pytest.fixture(scope="module")
def backend() -> Iterator[Program]:
    with Program("counting_backend.py") as program:
        yield program


def count(backend: Program) -> dict[str, int]:
    counted: dict[str, int] = requests.get(f"{backend.url}/count", timeout=10).json()
    return counted


@pytest.mark.timeout(3600 if TORTURE else 120)
@pytest.mark.parametrize("outward", OUTWARD)
def test_a_cut_upload_is_never_complete_at_the_backend(
    backend: Program, gateway: Gateway, outward: str
) -> None:
    """Every way of sending, cut at random and at its last bytes, in every way of hanging up."""
    server = gateway(f"{backend.url}/files", *OUTWARD[outward])
    lots = random.Random(3)
    cuts = [
        (data, at, way)
        for data in UPLOADS.values()
        for number in range(CUTS)
        for at in [len(data) - number % 10 - 1 if number % 4 == 0 else lots.randrange(len(data))]
        for way in [list(WAYS)[number % 3]]
    ]
    lots.shuffle(cuts)
    assert (
        requests.put(f"{server.url}/files/first", data=b"x", timeout=10).status_code == 201
    )  # some descriptors are opened once and stay open
    eventually(lambda: count(backend)["under_way"] == 0, "the backend has noticed")
    before, open_before = count(backend), fds(server.pid)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = set(pool.map(lambda cut: hang_up(server, cut[0][: cut[1]], cut[2]), cuts))
    eventually(lambda: count(backend)["under_way"] == 0, "the backend has noticed")

    after = count(backend)
    assert after["whole"] == before["whole"]
    assert after["begun"] > before["begun"]  # the requests reached the backend
    assert statuses <= {None, 400}
    assert 400 in statuses
    eventually(lambda: fds(server.pid) <= open_before, "every connection is closed")
    assert "Traceback" not in server.log()
    assert "never retrieved" not in server.log()
    for data in UPLOADS.values():  # the complete uploads do succeed
        with Wire(server.port) as wire:
            wire.send(data)
            assert wire.answer().status == 201
    assert count(backend)["whole"] == before["whole"] + len(UPLOADS) + 1  # of two files one each


def hang_up(server: RunningServer, beginning: bytes, way: str) -> int | None:
    """Send this prefix and hang up. Returns the status of the response, if one came."""
    with Wire(server.port) as wire:
        wire.send(beginning)
        WAYS[way](wire)
        if way == "half-close":
            response = wire.rest()
            return int(response.split(b" ")[1]) if response else None
    return None


def never_answers(exchange: Exchange) -> None:
    """Reads everything and never responds."""
    exchange.read_body()
    while not exchange.cut:
        exchange.recv_or_cut(1)


@dataclass
class Mute:
    """A gateway whose backend reads and never responds."""

    server: RunningServer
    peer: Peer


@pytest.fixture(scope="module")
def mute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mute]:
    with Peer(never_answers) as peer:
        server = start_server(tmp_path_factory.mktemp("mute") / "none", to=f"{peer.url}/files")
        yield Mute(server, peer)
        server.stop()


SOON = 1.0  # seconds: the documented bound, ten times the usual time
TRIES = 5
LEAVING = {
    "while it sends": head("PUT", "/files/a", f"Content-Length: {BODY}") + noise(BODY // 2),
    "while it sends a form": form_head(len(FORM)) + FORM[: BODY // 2],
    "while it sends chunks": head("PUT", "/files/a", "Transfer-Encoding: chunked")
    + chunk(noise(BODY)),
    "while it waits for the answer": head("PUT", "/files/a", f"Content-Length: {BODY}")
    + noise(BODY),
}
# A close after the last byte is no cut: the client may still read, and every byte has arrived.
WHEN = [
    (when, way)
    for when in LEAVING
    for way in ("close", "reset")
    if (when, way) != ("while it waits for the answer", "close")
]


@pytest.mark.parametrize(("when", "way"), WHEN)
def test_the_backend_learns_at_once_that_the_client_left(mute: Mute, when: str, way: str) -> None:
    """Its connection ends within a second of the client's, whatever the client waited for.

    A busy machine may stop us for longer than that, but not each time.
    """
    took: list[float] = []
    while not took or (took[-1] >= SOON and len(took) < TRIES):
        before = len(mute.peer.seen)
        with Wire(mute.server.port) as wire:
            wire.send(LEAVING[when])
            eventually(lambda: len(mute.peer.seen) > before, "the backend hears of it")  # noqa: B023
            time.sleep(0.2)  # all bytes have been forwarded
            WAYS[way](wire)
            left = time.monotonic()
            assert mute.peer.seen[-1].was_cut()
            took.append(time.monotonic() - left)

    assert min(took) < SOON, took


@pytest.mark.parametrize("way", ["cancelled", "reset"])
def test_a_stalled_backend_learns_too_that_the_client_left(gateway: Gateway, way: str) -> None:
    """No byte moves, and the gateway does not read. A reset or a cancel still ends the request."""
    upload = "x" * 30
    with Peer(stalls) as peer:
        server = gateway(f"{peer.url}/files")
        before = fds(server.pid)
        with Wire(server.port, send_buffer=1 << 16) as wire:
            wire.send(head("PUT", f"/files/a?upload={upload}", f"Content-Length: {1 << 30}"))
            wire.sock.settimeout(0.5)
            try:
                while True:
                    wire.send(noise(1 << 20))
            except TimeoutError:
                pass  # the socket takes no more bytes
            if way == "reset":
                wire.reset()
            else:
                assert (
                    requests.delete(f"{server.url}/uploads/{upload}", timeout=10).status_code == 204
                )
            assert peer.seen[0].done.wait(10)
        eventually(lambda: fds(server.pid) <= before, "every connection is closed")


def stalls(exchange: Exchange) -> None:
    """Reads nothing; returns when the connection has ended."""
    while True:
        time.sleep(0.02)
        exchange.sock.send(b"")
        state = exchange.sock.getsockopt(6, 11, 1)[0]  # TCP_INFO, tcpi_state
        if state != 1:  # ESTABLISHED
            return
