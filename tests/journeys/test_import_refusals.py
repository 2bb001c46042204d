"""Answers of remote servers that are not stored: truncated, untrue, too large, too slow."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fix_fetch import REMOTE, Fetcher
from fix_server import RunningServer, start_server
from fix_taking import eventually
from journeys.test_import import DATA, look, nothing_new, order
from raw_http import chunk
from rude_peer import Exchange, Peer, sha256_field


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One that may fetch from REMOTE, shared by the tests that need no other."""
    allowed = ("--fetch-from", REMOTE, "--fetch-internal", REMOTE)
    running = start_server(tmp_path_factory.mktemp("server") / "root", *allowed)
    yield running
    running.stop()


def broken(known: bool, how: str) -> Any:
    def act(exchange: Exchange) -> None:
        exchange.head(
            200, {"Content-Length": str(len(DATA))} if known else {"Transfer-Encoding": "chunked"}
        )
        part = DATA[:1_000_000]
        exchange.send(part if known else chunk(part))
        if how == "reset":
            time.sleep(0.2)
            exchange.reset()

    return act


@pytest.mark.parametrize("known", [True, False], ids=["length", "chunks"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_truncated_answer_is_not_stored(known: bool, how: str, server: RunningServer) -> None:
    """A part is never stored as the whole: 502, and the snapshot has the reason."""
    before, upload = server.stored(), f"import-broken-{how}-{known}-123456"
    with Peer(broken(known, how), REMOTE) as peer:
        response = order(server, peer.url, upload)

    assert (response.status_code, response.json()["code"]) == (502, "peer-failed")
    snapshot = look(server, upload)
    assert (snapshot["state"], snapshot["code"]) == ("failed", "peer-failed")
    nothing_new(server, before)


PACKED = gzip.compress(DATA[:1000])


LIES: dict[str, tuple[int, dict[str, str], bytes]] = {
    "no end": (200, {}, b"x" * 100),
    "coded": (200, {"Content-Encoding": "gzip", "Content-Length": str(len(PACKED))}, PACKED),
    "other digest": (200, {"Content-Length": "3", "Repr-Digest": sha256_field(b"abd")}, b"abc"),
    "part": (206, {"Content-Length": "3", "Content-Range": "bytes 0-2/9"}, b"abc"),
    "nothing there": (404, {"Content-Length": "3"}, b"abc"),
    "password": (401, {"Content-Length": "3", "WWW-Authenticate": "Basic realm=x"}, b"abc"),
    "no file": (204, {}, b""),
    "busy": (503, {"Content-Length": "3", "Retry-After": "1"}, b"abc"),
    "not modified": (304, {}, b""),
}


@pytest.mark.parametrize("lie", LIES)
def test_answers_that_are_not_the_file_are_not_stored(lie: str, server: RunningServer) -> None:
    """Each fault of the remote server is a 502: the request was valid."""
    status, headers, body = LIES[lie]
    before, upload = server.stored(), f"import-lies-{lie.replace(' ', '-')}-1234567890"

    def act(exchange: Exchange) -> None:
        exchange.head(status, headers)
        exchange.send(body)

    with Peer(act, REMOTE) as peer:
        response = order(server, peer.url, upload)

    assert (response.status_code, response.json()["code"]) == (502, "peer-failed")
    assert response.json().get("answered") == (None if status == 200 else status)
    assert "www-authenticate" not in response.headers
    assert look(server, upload)["state"] == "failed"
    nothing_new(server, before)


def test_a_right_digest_is_accepted(server: RunningServer) -> None:
    """Both algorithms, and an unknown one beside them."""
    digests = f"unixsum=30637, {sha256_field(b'abc')}"
    with Peer(
        lambda exchange: exchange.reply(200, {"Repr-Digest": digests}, b"abc"), REMOTE
    ) as peer:
        response = order(server, peer.url)

    assert response.status_code == 201
    assert "sha-256" in peer.seen[0].headers["want-repr-digest"]


def test_a_file_above_the_limit_is_refused_in_advance(fetcher: Fetcher) -> None:
    """A length above --max-size: nothing is read, nothing drafted."""
    server = fetcher("--max-size", "1000")
    left: list[bytes] = []

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": "1001"})
        left.append(exchange.recv())

    with Peer(act, REMOTE) as peer:
        response = order(server, peer.url)
        eventually(lambda: left == [b""], "the remote server is left")

    assert (response.status_code, response.json()["code"], response.json()["limit"]) == (
        413,
        "too-large",
        1000,
    )
    nothing_new(server, {})


def test_an_endless_file_is_given_up_at_the_limit(fetcher: Fetcher) -> None:
    """Chunks have no known end; the received bytes are removed again."""
    server = fetcher("--max-size", "1MiB")
    ended: list[bool] = []

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        try:
            while True:
                exchange.send(chunk(bytes(65536)))
        finally:
            ended.append(True)

    with Peer(act, REMOTE) as peer:
        response = order(server, peer.url)
        eventually(lambda: ended, "the remote server is left")

    assert (response.status_code, response.json()["code"]) == (413, "too-large")
    nothing_new(server, {})


def test_a_too_slow_import_is_given_up(fetcher: Fetcher) -> None:
    """A byte now and then would hold an upload open for ever."""
    server = fetcher(setup=["fetch.PACE_WINDOW = 0.5"])

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": "1000000"})
        while True:
            exchange.send(b"d")
            time.sleep(0.05)

    with Peer(act, REMOTE) as peer:
        response = order(server, peer.url)

    assert (response.status_code, response.json()["code"]) == (504, "peer-timeout")
    nothing_new(server, {})
