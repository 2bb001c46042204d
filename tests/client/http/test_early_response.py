"""A server may answer before it has the body: the answer is read, and sending stops."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.http.exchanges import BIG, put
from rude_peer import Exchange, Peer
from sluiceway.client.http import transport as module
from sluiceway.client.http.request import EXPECT_WAIT
from sluiceway.client.http.transport import Transport
from sluiceway.client.source_body import SourceBody
from sluiceway.pipe.source import BytesSource, PassingSource


async def test_a_server_without_100_continue_gets_the_body_soon() -> None:
    """Expect costs EXPECT_WAIT with such a server, never the upload."""
    data, came = os.urandom(2 << 20), list[float]()

    def act(exchange: Exchange) -> None:
        exchange.wait()
        came.append(time.monotonic())
        exchange.read_body()
        exchange.reply(201)

    began = time.monotonic()
    with Peer(act) as peer:
        status, _ = await put(peer.url, SourceBody(BytesSource(data)), expect=True)

    assert (status, peer.seen[0].headers["expect"]) == (201, "100-continue")
    assert came[0] - began > 0.9 * EXPECT_WAIT


async def test_a_server_that_sends_100_continue_gets_the_body() -> None:
    """The whole of it, unchanged, with its length."""
    data = os.urandom(2 << 20)

    def act(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange.read_body()
        exchange.reply(201, body=b"kept")

    with Peer(act) as peer:
        assert await put(peer.url, SourceBody(BytesSource(data)), expect=True) == (201, "kept")

    assert peer.seen[0].body == data
    assert peer.seen[0].headers["content-length"] == str(len(data))


async def test_a_refusal_instead_of_100_costs_no_byte() -> None:
    """The source is not even opened: standard input can still be used for something else."""

    def act(exchange: Exchange) -> None:
        exchange.reply(401, body=b"no")
        exchange.read_body()

    body = SourceBody(BytesSource(bytes(2 << 20)))
    with Peer(act) as peer:
        assert await put(peer.url, body, expect=True) == (401, "no")

    assert peer.seen[0].body == b""
    assert not body.started


@pytest.mark.parametrize("then", ["keeps the connection open", "closes", "resets"])
@pytest.mark.parametrize("known", [True, False])
async def test_an_early_refusal_is_read_while_sending(then: str, known: bool) -> None:
    """A server that reads nothing and answers 413: the response counts, and sending stops."""

    def act(exchange: Exchange) -> None:
        exchange.recv(1000)
        exchange.reply(413, body=b"too large")
        if then == "keeps the connection open":
            peer.ended.wait(10)
        elif then == "resets":
            time.sleep(0.3)  # a reset at once may destroy the response on its way, for any client
            exchange.reset()

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(32):
            yield bytes(1 << 20)

    body = SourceBody(BytesSource(bytes(BIG)) if known else PassingSource(chunks()))
    with Peer(act) as peer:
        async with asyncio.timeout(15):
            assert await put(peer.url, body) == (413, "too large")

    assert not body.complete


async def test_an_endless_refusal_is_not_read_to_its_end() -> None:
    """A bounded piece of it, in bounded memory."""

    def act(exchange: Exchange) -> None:
        exchange.head(500, {"Content-Type": "text/plain"})
        while not peer.ended.is_set():
            exchange.send(b"x" * 65536)

    with Peer(act) as peer:
        async with Transport() as transport, transport.ask("GET", peer.url, {}) as response:
            assert len(await response.text()) == module.MOST_ANSWER


async def test_sending_stops_when_a_response_begins() -> None:
    """From the first line of an early response on, only what was on its way is sent."""
    counted = 0

    def act(exchange: Exchange) -> None:
        nonlocal counted
        exchange.recv(1000)
        exchange.head(413, {"Content-Length": "2"})
        exchange.send(b"n")
        exchange.sock.settimeout(0.5)
        try:
            while data := exchange.recv(1 << 20):
                counted += len(data)
        except TimeoutError:
            exchange.send(b"o")

    with Peer(act) as peer:
        assert await put(peer.url, SourceBody(BytesSource(bytes(2 * BIG)))) == (413, "no")

    assert counted < BIG


def connected_to(port: int) -> int:
    """How many established connections of this machine lead to a local port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01")


async def test_a_refused_upload_leaves_no_connection() -> None:
    """What was not taken is dropped, not pushed into a peer that reads nothing."""

    def act(exchange: Exchange) -> None:
        exchange.recv(1000)
        time.sleep(0.5)  # until every buffer on the way is full
        exchange.reply(413)
        peer.ended.wait(40)

    with Peer(act) as peer:
        assert (await put(peer.url, SourceBody(BytesSource(bytes(BIG)))))[0] == 413
        async with asyncio.timeout(20):
            while connected_to(int(peer.url.rpartition(":")[2])):
                await asyncio.sleep(0.05)
