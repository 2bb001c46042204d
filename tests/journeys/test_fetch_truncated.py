"""Remote answers that are cut, lie about their length, or contradict themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fix_fetch import REMOTE, fetch
from fix_server import RunningServer, start_server
from fix_taking import eventually
from journeys.test_fetch import DATA, get
from raw_http import LAST_CHUNK, Wire, chunk, head
from rude_peer import Exchange, Peer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One that may fetch from REMOTE, shared by the tests that need no other."""
    allowed = ("--fetch-from", REMOTE, "--fetch-internal", REMOTE)
    running = start_server(tmp_path_factory.mktemp("server") / "root", *allowed)
    yield running
    running.stop()


@pytest.mark.parametrize("known", [True, False], ids=["length", "chunks"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_truncated_remote_answer_is_truncated_here(
    known: bool, how: str, server: RunningServer
) -> None:
    """No reader mistakes a part for the whole: bytes, or the last chunk, are missing."""

    def act(exchange: Exchange) -> None:
        exchange.head(
            200, {"Content-Length": "100000"} if known else {"Transfer-Encoding": "chunked"}
        )
        exchange.send(b"a" * 5000 if known else chunk(b"a" * 5000))
        if how == "reset":
            time.sleep(0.2)
            exchange.reset()

    with Peer(act, REMOTE) as peer, Wire(server.port) as wire:
        wire.send(get(peer.url))
        response = wire.rest()

    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert (b"content-length: 100000" in head) == known
    assert body.count(b"a" * 5000) == 1
    assert LAST_CHUNK not in body
    eventually(
        lambda: f"peer-failed GET: reading from {peer.url}" in server.log(), "a line in the log"
    )


def test_a_complete_chunked_answer_is_complete_here(server: RunningServer) -> None:
    """An unknown length is not an error."""

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        exchange.send(chunk(DATA) + LAST_CHUNK)

    with Peer(act, REMOTE) as peer:
        response = fetch(server, peer.url)

    assert response.content == DATA
    assert "content-length" not in response.headers


@pytest.mark.parametrize(
    ("status", "announced", "asked"),
    [
        (200, {}, {}),
        (206, {"Content-Length": "10", "Content-Range": "bytes 0-9/100"}, {}),
        (206, {"Content-Length": "10"}, {"Range": "bytes=0-9"}),
        (206, {"Content-Length": "10", "Content-Range": "bytes 0-9/5"}, {"Range": "bytes=0-9"}),
        (206, {"Content-Length": "10", "Content-Range": "bytes 0-19/100"}, {"Range": "bytes=0-9"}),
        (
            206,
            {"Content-Length": "10", "Content-Range": "bytes 0-9/100", "Content-Encoding": "\x01"},
            {"Range": "bytes=0-9"},
        ),
        (200, {"Content-Length": "10", "content-length": "11"}, {}),
        (200, {"Content-Length": "+10"}, {}),
        (200, {"Content-Length": "1_0"}, {}),
    ],
    ids=[
        "no end",
        "part unasked",
        "which part",
        "impossible part",
        "longer part",
        "coding",
        "two lengths",
        "sign",
        "underscore",
    ],
)
def test_an_answer_that_contradicts_itself_is_a_502(
    status: int, announced: dict[str, str], asked: dict[str, str], server: RunningServer
) -> None:
    """It is refused before our response begins."""

    def act(exchange: Exchange) -> None:
        exchange.head(status, announced)
        exchange.send(b"0123456789")

    with Peer(act, REMOTE) as peer:
        response = fetch(server, peer.url, headers=asked)

    assert (response.status_code, response.json()["code"]) == (502, "peer-failed")


def test_bytes_beyond_the_length_do_not_pass(server: RunningServer) -> None:
    """Bytes behind the length belong to no file and no response, also when they come later."""

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": "10"})
        exchange.send(b"0123456789" + b"HTTP/1.1 200 OK\r\n\r\nevil" * 100)

    with Peer(act, REMOTE) as peer, Wire(server.port) as wire:
        wire.send(get(peer.url) + head("GET", "/healthz"))
        first, second = wire.answer(), wire.answer()

    assert (first.status, first.body) == (200, b"0123456789") or (first.status, first.code) == (
        502,
        "peer-failed",
    )
    assert (second.status, second.body) == (200, b"ok\n")
