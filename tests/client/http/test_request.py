"""Requests with a body: early responses, peers that stall, bodies that break off."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from rude_peer import Exchange, Peer
from sluiceway.client.http.aiohttp_request import WholeBody
from sluiceway.client.http.exchange import Deadlines
from sluiceway.client.http.request import MOST_RESPONSE, EarlyResponse, StreamingRequest
from sluiceway.client.http.transport import Transport
from sluiceway.errors import PeerFailed, PeerTimeout, PeerUnreachable

PIECE = b"p" * (256 << 10)


@asynccontextmanager
async def outbound(
    act: Callable[[Exchange], object],
    length: int | None = None,
    *,
    expect: bool = False,
    idle: float = 20,
    response: float = 20,
) -> AsyncIterator[tuple[StreamingRequest, Peer]]:
    with Peer(act) as peer:
        async with Transport(Deadlines(idle=idle, answer=response), keep=False) as transport:
            request = StreamingRequest(
                transport, "POST", peer.url + "/in", {"X-Who": "me"}, length, expect=expect
            )
            try:
                yield request, peer
            finally:
                await request.abort()


async def push(request: StreamingRequest, pause: float = 0.0) -> None:
    while True:
        await request.write(PIECE)
        await asyncio.sleep(pause)


def take(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.reply(201, {"Location": "/1"}, b"kept %d" % len(exchange.body))


@pytest.mark.parametrize("length", [3 * len(PIECE), None])
async def test_a_whole_body_is_answered(length: int | None) -> None:
    """Known length or chunks: what was pushed is what arrived, and the response comes whole."""
    async with outbound(take, length) as (request, peer):
        await request.open()
        for _ in range(3):
            await request.write(PIECE)
        response = await request.finish()
        assert (response.head.status, response.body) == (201, b"kept %d" % (3 * len(PIECE)))
        assert peer.seen[0].headers.get("content-length") == (str(length) if length else None)
        assert peer.seen[0].headers["x-who"] == "me"


async def test_an_answer_while_sending_stops_the_sending() -> None:
    """A peer that says 413 and stops reading is heard although the socket is full."""

    def refuse(exchange: Exchange) -> None:
        exchange.recv(1000)
        exchange.reply(413, {}, b"too large")
        peer_done.wait(20)

    peer_done = threading.Event()
    async with outbound(refuse, 1 << 40) as (request, _):
        await request.open()
        with pytest.raises(EarlyResponse) as early:
            await push(request)
        peer_done.set()
        assert (early.value.response.head.status, early.value.response.body) == (413, b"too large")
        assert request.handed < 64 << 20
        with pytest.raises(EarlyResponse):
            await request.write(PIECE)


async def test_an_answer_followed_by_a_reset_is_still_the_answer() -> None:
    """Most servers hang up on the rest of a body they refused."""

    def refuse(exchange: Exchange) -> None:
        exchange.recv(1000)
        exchange.reply(401, {}, b"who are you")
        time.sleep(0.2)
        exchange.reset()

    async with outbound(refuse, 1 << 40) as (request, _):
        await request.open()
        with pytest.raises(EarlyResponse) as early:
            await push(request, pause=0.01)
        assert early.value.response.head.status == 401


async def test_expect_waits_for_100_continue() -> None:
    """Not a byte of the body before the 100; a refusal instead of it costs no byte at all."""
    go, reports = threading.Event(), asyncio.Event()

    def willing(exchange: Exchange) -> None:
        go.wait(20)
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        take(exchange)

    async with outbound(willing, len(PIECE), expect=True) as (request, peer):
        opening = asyncio.ensure_future(request.open())
        opening.add_done_callback(lambda _: reports.set())
        await asyncio.to_thread(peer.met.wait, 20)
        await asyncio.sleep(0.3)
        assert not reports.is_set()
        go.set()
        await opening
        await request.write(PIECE)
        assert (await request.finish()).head.status == 201

    async with outbound(lambda exchange: exchange.reply(413), 1 << 40, expect=True) as (request, _):
        with pytest.raises(EarlyResponse) as early:
            await request.open()
        assert (early.value.response.head.status, request.handed) == (413, 0)


async def test_a_peer_without_expect_is_an_error() -> None:
    """Strict on purpose: the operator asked for the destination's word."""
    async with outbound(lambda exchange: time.sleep(3), 10, expect=True, idle=0.5) as (request, _):
        with pytest.raises(PeerTimeout, match="neither 100 Continue"):
            await request.open()


async def test_a_peer_that_takes_nothing_is_given_up() -> None:
    """The deadline holds although the writer stands in its write."""
    ended = threading.Event()
    async with outbound(lambda exchange: ended.wait(20), 1 << 40, idle=0.5) as (request, _):
        await request.open()
        with pytest.raises(PeerTimeout, match="took nothing"):
            await push(request)
        ended.set()


async def test_a_report_that_fails_ends_the_request() -> None:
    """Its error is the caller's own, and comes to the writer."""

    def report(acknowledged: int) -> None:
        raise LookupError("no terminal")

    ended = threading.Event()
    with Peer(lambda exchange: ended.wait(20)) as peer:
        async with Transport(keep=False) as transport:
            request = StreamingRequest(transport, "PUT", peer.url, {}, 1 << 40, on_sent=report)
            with pytest.raises(LookupError, match="no terminal"):  # noqa: PT012
                await request.open()  # a report may be due already
                await push(request)
            await request.abort()
        ended.set()


async def test_a_body_in_memory_leaves_with_its_head() -> None:
    """In one piece; a response that comes with its body needs no second wait."""
    came: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await came.put(await reader.read(64 << 10))
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nkept")
        writer.close()

    written = list[bool]()
    body = WholeBody(
        b"12345",
        repeatable=True,
        expect=False,
        expect_timeout=1.0,
        on_sent=None,
        on_written=lambda: written.append(body.finished),
    )
    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in"
        async with Transport(keep=False) as transport, asyncio.timeout(30):
            async with transport.ask("PUT", url, {}, body) as opened:
                response = await opened.read(3)
            assert (response.head.status, response.body, response.cut) == (201, b"kep", True)
            assert (await came.get()).endswith(b"\r\n\r\n12345")
    assert (written, body.handed) == ([True], 5)


async def test_a_peer_that_never_answers_is_given_up() -> None:
    """From the last byte on the response has its own deadline."""

    def silent(exchange: Exchange) -> None:
        exchange.read_body()
        ended.wait(20)

    ended = threading.Event()
    async with outbound(silent, 5, response=0.5) as (request, _):
        await request.open()
        await request.write(b"12345")
        with pytest.raises(PeerTimeout, match="did not answer"):
            await request.finish()
        ended.set()


async def test_a_truncated_response_names_its_error() -> None:
    """200 and then a broken connection: whether that is a success is the caller's decision."""

    def half(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.head(200, {"Content-Length": "100"})
        exchange.send(b"part")
        exchange.reset()

    async with outbound(half, 5) as (request, _):
        await request.open()
        await request.write(b"12345")
        response = await request.finish()
        assert (response.head.status, response.body) == (200, b"part")
        assert isinstance(response.error, PeerFailed)


async def test_a_refused_connection_is_unreachable() -> None:
    """Another code than a peer that broke off: nothing was sent at all."""
    with Peer(take) as peer:
        url = peer.url
    async with Transport(keep=False) as transport:
        request = StreamingRequest(transport, "POST", url, {}, 5)
        with pytest.raises(PeerUnreachable):
            await request.open()


@pytest.mark.parametrize("length", [1 << 30, None])
async def test_an_aborted_body_never_looks_complete(length: int | None) -> None:
    """Known length: it stays short. Chunks: the last one never comes."""
    async with outbound(lambda exchange: exchange.read_body(), length) as (request, peer):
        await request.open()
        await request.write(PIECE)
        await request.abort()
        await request.abort()
        for _ in range(200):
            if peer.seen and peer.seen[0].cut:
                break
            await asyncio.sleep(0.05)
        assert peer.seen[0].was_cut()


async def test_an_answer_that_is_too_long_is_cut() -> None:
    """Its status still counts; memory does not grow with what a peer says."""

    def talk(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(200, {}, b"x" * (MOST_RESPONSE + 1))

    async with outbound(talk, 5) as (request, _):
        await request.open()
        await request.write(b"12345")
        response = await request.finish()
        assert (response.head.status, len(response.body), response.cut) == (
            200,
            MOST_RESPONSE,
            True,
        )


async def test_a_cancelled_writer_stays_cancelled() -> None:
    """A response that comes in the same moment does not swallow somebody else's cancel."""
    ended = threading.Event()
    async with outbound(lambda exchange: ended.wait(20), 1 << 40) as (request, _):
        await request.open()
        filling = asyncio.ensure_future(push(request))
        await asyncio.sleep(0.3)
        filling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await filling
        ended.set()


async def test_a_response_before_the_end_was_said_costs_no_connection() -> None:
    """All bytes were written, and the peer is quicker than the sender that has yet to say so."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(len(PIECE))
                writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nkept")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", limit=1 << 20) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in"
        async with Transport() as transport:
            for _ in range(3):
                request = StreamingRequest(transport, "PUT", url, {}, len(PIECE), repeatable=True)
                await request.open()
                await request.write(PIECE)
                async with asyncio.timeout(30):
                    while request.response is None:
                        await asyncio.sleep(0)
                response = await request.finish()
                await request.abort()
                assert response.body == b"kept"
    assert connections == 1
