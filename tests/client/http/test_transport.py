"""One request out, one response back, on real sockets, with peers that misbehave."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rude_peer import Exchange, Peer
from sluiceway.client.http import aiohttp_request
from sluiceway.client.http import transport as module
from sluiceway.client.http.exchange import Deadlines
from sluiceway.client.http.request import EXPECT_WAIT, StreamingRequest
from sluiceway.client.http.transport import Transport
from sluiceway.client.source_body import SourceBody
from sluiceway.errors import PeerFailed, SluiceError, SourceFailed
from sluiceway.pipe.source import BytesSource, PassingSource

BIG = 32 << 20  # bytes: more than all socket buffers on the way hold


async def put(
    url: str,
    body: SourceBody,
    *,
    expect: bool = False,
    on_sent: Callable[[int], None] | None = None,
    deadlines: Deadlines = Deadlines(),
) -> tuple[int, str]:
    async with Transport(deadlines) as transport:
        request = StreamingRequest(
            transport,
            "PUT",
            url,
            {},
            body.length,
            expect=expect,
            expect_timeout=EXPECT_WAIT,
            on_sent=on_sent,
        )
        response = await body.send(request)
        return response.head.status, response.text


async def get(url: str, deadlines: Deadlines = Deadlines()) -> bytes:
    async with Transport(deadlines) as transport, transport.ask("GET", url, {}) as response:
        return b"".join([chunk async for chunk in response.chunks()])


async def test_a_server_without_100_continue_gets_the_body_soon() -> None:
    """Expect costs EXPECT_WAIT with such a server, never the upload."""
    data, times = os.urandom(2 << 20), {}

    def act(exchange: Exchange) -> None:
        times["asked"] = time.monotonic()
        exchange.wait()
        times["came"] = time.monotonic()
        exchange.read_body()
        exchange.reply(201)

    with Peer(act) as peer:
        status, _ = await put(peer.url, SourceBody(BytesSource(data)), expect=True)

    assert (status, peer.seen[0].headers["expect"]) == (201, "100-continue")
    assert times["came"] - times["asked"] > EXPECT_WAIT / 2


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


async def test_a_peer_that_takes_nothing_is_given_up() -> None:
    """No byte taken and no response for the idle time: an error, not a hang."""
    deadlines = Deadlines(idle=0.5)
    with (
        Peer(lambda exchange: peer.ended.wait(20)) as peer,
        pytest.raises(PeerFailed, match="took nothing"),
    ):
        await put(peer.url, SourceBody(BytesSource(bytes(BIG))), deadlines=deadlines)


async def test_a_slow_source_is_not_a_slow_peer() -> None:
    """A pipe may rest as long as it likes; only the peer has a deadline while bytes wait for it."""
    deadlines = Deadlines(idle=0.3)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 10
            await asyncio.sleep(0.8)

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(201)

    with Peer(act) as peer:
        assert await put(peer.url, SourceBody(PassingSource(chunks())), deadlines=deadlines) == (
            201,
            "",
        )

    assert peer.seen[0].body == b"x" * 30


async def test_a_missing_answer_is_given_up() -> None:
    """Everything was taken and nothing comes back within the time for answers."""
    deadlines = Deadlines(answer=0.5)

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        peer.ended.wait(20)

    with Peer(act) as peer, pytest.raises(PeerFailed, match="did not answer"):
        await put(peer.url, SourceBody(BytesSource(b"x")), deadlines=deadlines)


@pytest.mark.parametrize("known", [True, False])
async def test_a_source_that_fails_never_looks_complete(known: bool) -> None:
    """With a length, the connection ends early; without one, the last chunk is missing."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        yield b"x" * 1000
        await asyncio.to_thread(peer.met.wait, 10)
        raise SourceFailed("the disk broke")

    class EarlyFailure(PassingSource):
        length = 2000 if known else None  # it even gave its whole length

    def act(exchange: Exchange) -> None:
        exchange.read_body()

    with Peer(act) as peer, pytest.raises(SourceFailed, match="the disk broke"):
        await put(peer.url, SourceBody(EarlyFailure(chunks())))

    assert peer.seen[0].cut
    assert len(peer.seen[0].body) < 2000


@pytest.mark.parametrize(
    "pieces", [(500, 499), (500, 501), (500, 500, 1), (1001,), (1000, 1), (999,)]
)
async def test_a_source_with_a_wrong_length_never_looks_complete(
    pieces: tuple[int, ...],
) -> None:
    """One byte short or too many, also in a piece of its own: a truncated body or no request."""

    async def chunks() -> AsyncIterator[bytes]:
        for size in pieces:
            yield b"x" * size
        await asyncio.to_thread(peer.met.wait, 10)

    def act(exchange: Exchange) -> None:
        exchange.read_body()

    with Peer(act) as peer, pytest.raises(SourceFailed):
        await put(peer.url, SourceBody(PassingSource(chunks(), 1000)))

    assert all(asked.cut and len(asked.body) < 1000 for asked in peer.seen)


@pytest.mark.parametrize("how", ["nothing", "hangs up", "garbage", "resets"])
async def test_no_answer_is_a_failed_peer(how: str) -> None:
    """Each way of not answering ends in PeerFailed that names the host and no secret."""

    def act(exchange: Exchange) -> None:
        if how == "garbage":
            exchange.send(b"\x16\x03\x01 not http\r\n\r\n")
        elif how == "resets":
            exchange.reset()

    with Peer(act) as peer:
        url = "http://127.0.0.1:1/a?sig=secret" if how == "nothing" else peer.url + "/a?sig=secret"
        with pytest.raises(PeerFailed) as caught:
            await get(url)

    assert "127.0.0.1" in caught.value.detail
    assert "secret" not in caught.value.detail


async def test_a_stalled_download_is_given_up() -> None:
    """A head, ten bytes, and silence."""
    deadlines = Deadlines(idle=0.4)

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": "100"})
        exchange.send(b"x" * 10)
        peer.ended.wait(20)

    with Peer(act) as peer, pytest.raises(PeerFailed, match="did not answer"):
        await get(peer.url, deadlines)


async def test_compressed_answers_stay_as_they_are() -> None:
    """Identity is asked for; compressed bytes are counted and kept as sent, so ranges stay true."""
    with Peer(
        lambda exchange: exchange.reply(200, {"Content-Encoding": "gzip"}, b"\x1f\x8b rest")
    ) as peer:
        async with Transport() as transport, transport.ask("GET", peer.url, {}) as response:
            assert b"".join([chunk async for chunk in response.chunks()]) == b"\x1f\x8b rest"

    assert peer.seen[0].headers["accept-encoding"] == "identity"


async def test_cookies_are_not_kept() -> None:
    """What one response sets, no other request carries."""
    with Peer(lambda exchange: exchange.reply(200, {"Set-Cookie": "a=b; Path=/"})) as peer:
        async with Transport() as transport:
            for _ in range(2):
                async with transport.ask("GET", peer.url, {}) as response:
                    await response.text()

    assert "cookie" not in peer.seen[1].headers


async def test_an_endless_refusal_is_not_read_to_its_end() -> None:
    """A bounded piece of it, in bounded memory."""

    def act(exchange: Exchange) -> None:
        exchange.head(500, {"Content-Type": "text/plain"})
        while not peer.ended.is_set():
            exchange.send(b"x" * 65536)

    with Peer(act) as peer:
        async with Transport() as transport, transport.ask("GET", peer.url, {}) as response:
            assert len(await response.text()) == module.MOST_ANSWER


async def test_cancelling_an_upload_cuts_it_off() -> None:
    """The peer sees a body without its end, at once."""
    took = asyncio.Event()
    loop = asyncio.get_running_loop()

    def act(exchange: Exchange) -> None:
        exchange.recv(1000)
        loop.call_soon_threadsafe(took.set)
        exchange.read_body()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        yield b"x" * 1000
        await asyncio.sleep(3600)

    with Peer(act) as peer:
        task = asyncio.ensure_future(put(peer.url, SourceBody(PassingSource(chunks()))))
        await took.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert peer.seen[0].cut


async def test_a_progress_callback_can_end_the_transfer() -> None:
    """An error of the caller's own progress function is not swallowed."""

    def stop(_: int) -> None:
        raise SluiceError("seen enough")

    with (
        Peer(lambda exchange: peer.ended.wait(20)) as peer,
        pytest.raises(SluiceError, match="seen enough"),
    ):
        await put(peer.url, SourceBody(BytesSource(bytes(BIG))), on_sent=stop)


async def test_bytes_that_arrived_before_the_end_are_not_lost() -> None:
    """The connection breaks while the reader is busy: it still gets what had come."""
    got = b""

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": "1000000"})
        exchange.send(bytes(100_000))

    with Peer(act) as peer:
        async with Transport() as transport, transport.ask("GET", peer.url, {}) as response:
            await asyncio.sleep(0.3)
            with pytest.raises(PeerFailed):  # noqa: PT012 - what came before the error counts
                async for chunk in response.chunks():
                    got += chunk

    assert len(got) == 100_000


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
        peer.ended.wait(20)

    with Peer(act) as peer:
        assert (await put(peer.url, SourceBody(BytesSource(bytes(BIG)))))[0] == 413
        await asyncio.sleep(0.1)

        assert connected_to(int(peer.url.rpartition(":")[2])) == 0


async def test_the_source_is_closed_before_the_outcome_is_raised() -> None:
    """After a refusal the caller may delete the file or use the pipe: it is not read any more."""
    left = False

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal left
        try:
            while True:
                yield bytes(1 << 20)
        finally:
            await asyncio.sleep(0.2)
            left = True

    with Peer(lambda exchange: exchange.reply(413)) as peer:
        assert (await put(peer.url, SourceBody(PassingSource(chunks()))))[0] == 413
        assert left


async def test_the_http_library_never_repeats_an_upload() -> None:
    """The library would repeat a PUT when the server hangs up; only the policy may do that."""
    with (
        Peer(lambda exchange: exchange.read_body() and None) as peer,
        pytest.raises(PeerFailed, match="hung up"),
    ):
        await put(peer.url, SourceBody(BytesSource(b"once")))

    assert [asked.body for asked in peer.seen] == [b"once"]


async def test_a_closed_connection_can_be_reset() -> None:
    """It was closed with bytes waiting, and the peer took them since: nothing is left to end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, sock=ours
        )
        transport.write(bytes(BIG))
        transport.close()

        async with asyncio.timeout(10):
            assert (
                await asyncio.to_thread(lambda: sum(iter(lambda: len(theirs.recv(1 << 20)), 0)))
                == BIG
            )
            aiohttp_request._reset(transport)
