"""Fetching within bounds: sizes, deadlines, readers that leave, the memory budget."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fix_fetch import REMOTE, Fetcher, fetch
from fix_server import RunningServer, start_server
from fix_taking import eventually
from journeys.test_fetch import get
from raw_http import LAST_CHUNK, Wire, chunk
from rude_peer import Exchange, Peer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One that may fetch from REMOTE, shared by the tests that need no other."""
    allowed = ("--fetch-from", REMOTE, "--fetch-internal", REMOTE)
    running = start_server(tmp_path_factory.mktemp("server") / "root", *allowed)
    yield running
    running.stop()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_above_the_limit_is_refused_in_advance(method: str, fetcher: Fetcher) -> None:
    """A length above --max-size: not one byte of it is read."""
    server = fetcher("--max-size", "1000")
    left: list[bytes] = []

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": "1001"})
        left.append(exchange.recv())

    with Peer(act, REMOTE) as peer:
        response = fetch(server, peer.url, method)
        eventually(
            lambda: left == [b""] or method == "HEAD", "the connection to the remote server ends"
        )
        assert fetch(server, peer.url, headers={"Range": "bytes=0-9"}).status_code == 413

    assert response.status_code == (
        413 if method == "GET" else 200
    )  # nothing is held by asking how long it is
    if method == "GET":
        assert (response.json()["code"], response.json()["limit"]) == ("too-large", 1000)


def test_an_endless_file_ends_at_the_limit(fetcher: Fetcher) -> None:
    """Chunks have no known end: ours breaks off beyond --max-size, and the remote request ends."""
    server = fetcher("--max-size", "1MiB")
    sent: list[int] = []

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        try:
            while True:
                exchange.send(chunk(b"z" * 65536))
                sent.append(65536)
        finally:
            sent.append(0)

    with Peer(act, REMOTE) as peer, Wire(server.port) as wire:
        wire.send(get(peer.url))
        body = wire.rest().partition(b"\r\n\r\n")[2]
        eventually(lambda: sent[-1:] == [0], "the remote server is left")

    assert 0 < body.count(b"z") <= 1 << 20  # a letter that no chunk's length has
    assert LAST_CHUNK not in body


def test_a_reader_that_leaves_ends_the_request_at_once(server: RunningServer) -> None:
    """Also while the remote server is silent: it sees the close at once, not at some deadline."""
    seen: list[float] = []

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": "100000"})
        exchange.send(b"a" * 1000)
        exchange.recv()  # nothing comes any more, until they hang up
        seen.append(time.monotonic())

    with Peer(act, REMOTE) as peer:
        wire = Wire(server.port)
        wire.send(get(peer.url))
        eventually(lambda: not wire.silent(0.1), "the first bytes")
        left = time.monotonic()
        wire.close()
        eventually(lambda: seen, "the remote server is left")

    assert seen[0] - left < 15  # its own deadlines are a minute


def test_a_reader_that_leaves_before_the_answer_ends_the_request(server: RunningServer) -> None:
    """The same while the remote server has not even begun to answer."""
    seen: list[float] = []

    def act(exchange: Exchange) -> None:
        exchange.recv()
        seen.append(time.monotonic())

    with Peer(act, REMOTE) as peer:
        wire = Wire(server.port)
        wire.send(get(peer.url))
        peer.met.wait(10)
        left = time.monotonic()
        wire.close()
        eventually(lambda: seen, "the remote server is left")

    assert seen[0] - left < 15  # its own deadlines are a minute


def test_a_slow_reader_slows_the_remote_server(server: RunningServer) -> None:
    """For a stalled reader, bytes wait in the sockets and in one small buffer, not in memory."""
    sent = [0]

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(1 << 30)})
        while True:
            exchange.send(bytes(65536))
            sent[0] += 65536

    with Peer(act, REMOTE) as peer, Wire(server.port) as wire:
        wire.send(get(peer.url))
        before = -1
        while sent[0] != before:  # until nothing has moved for a while
            before = sent[0]
            time.sleep(0.5)

    assert 0 < sent[0] < 32 << 20


@pytest.mark.parametrize("announced", [True, False], ids=["in the body", "before the head"])
def test_a_stalled_remote_server_is_given_up(announced: bool, fetcher: Fetcher) -> None:
    """504 before the head was sent, a broken response after it."""
    server = fetcher(
        setup=[
            (
                "deadlines = transport.Deadlines(connect=5, idle=1.5)\n"
                "transport.Transport.__init__.__defaults__ = (deadlines,)"
            )
        ]
    )

    def act(exchange: Exchange) -> None:
        if announced:
            exchange.head(200, {"Transfer-Encoding": "chunked"})
            exchange.send(chunk(b"abc"))
        exchange.recv()

    with Peer(act, REMOTE) as peer, Wire(server.port) as wire:
        wire.send(get(peer.url))
        if announced:
            raw = wire.rest()
            assert b"abc" in raw
            assert LAST_CHUNK not in raw
        else:
            response = wire.answer()
            assert (response.status, response.code) == (504, "peer-timeout")


def test_all_hops_together_have_a_deadline(fetcher: Fetcher) -> None:
    """Five redirects, each within its time, are still too slow together."""
    server = fetcher(setup=["fetch.HEAD_TIMEOUT = 1.0"])

    def act(exchange: Exchange) -> None:
        time.sleep(0.4)
        exchange.reply(302, {"Location": "/again"})

    with Peer(act, REMOTE) as peer:
        response = fetch(server, peer.url)

    assert (response.status_code, response.json()["code"]) == (504, "peer-timeout")


def test_a_too_slow_remote_server_is_given_up(fetcher: Fetcher) -> None:
    """A byte now and then keeps every idle timer quiet; the pace does not."""
    server = fetcher(setup=["fetch.PACE_WINDOW = 0.5"])
    ended: list[bool] = []

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        try:
            while True:
                exchange.send(chunk(b"d"))
                time.sleep(0.05)
        finally:
            ended.append(True)

    with Peer(act, REMOTE) as peer, Wire(server.port) as wire:
        wire.send(get(peer.url))
        response = wire.rest()
        eventually(lambda: ended, "the remote server is left")

    assert b"d" in response
    assert LAST_CHUNK not in response
    eventually(lambda: "peer-timeout" in server.log(), "a line in the log")


def test_fetches_hold_no_more_than_the_budget(fetcher: Fetcher) -> None:
    """Beyond the memory budget the next one gets 503; it succeeds once another has ended."""
    server = fetcher("--memory-budget", "4MiB")

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": "100000"})
        exchange.recv()

    with Peer(act, REMOTE) as peer:
        wires = [Wire(server.port) for _ in range(10)]
        for wire in wires:
            wire.send(get(peer.url))
        eventually(lambda: len(peer.seen) == 10)
        refused = fetch(server, peer.url)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        for wire in wires:
            wire.close()
        peer.act = lambda exchange: exchange.reply(200, body=b"x")
        eventually(lambda: fetch(server, peer.url).status_code == 200)
