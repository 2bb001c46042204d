"""One request out, one response back, on real sockets, with peers that misbehave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from client.http.exchanges import BIG, put
from rude_peer import Exchange, Peer
from sluiceway.client.http import aiohttp_request
from sluiceway.client.http.exchange import Deadlines
from sluiceway.client.http.transport import Transport
from sluiceway.client.source_body import SourceBody
from sluiceway.errors import PeerFailed, PeerTimeout, SluiceError, SourceFailed
from sluiceway.pipe.source import BytesSource, PassingSource


async def get(url: str, deadlines: Deadlines = Deadlines()) -> bytes:
    async with Transport(deadlines) as transport, transport.ask("GET", url, {}) as response:
        return b"".join([chunk async for chunk in response.chunks()])


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

    assert peer.seen[0].was_cut()
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

    assert all(asked.was_cut() and len(asked.body) < 1000 for asked in peer.seen)


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


@pytest.mark.parametrize("piece", [b"HTTP/1.1 103 Early\r\n\r\n", b"H"])
async def test_a_head_without_end_is_given_up(piece: bytes) -> None:
    """Each piece comes in time. A 1xx stops the library's timer, a byte of the head restarts it."""
    deadlines = Deadlines(connect=0.2, idle=0.2, answer=0.2)

    def act(exchange: Exchange) -> None:
        if piece == b"H":
            exchange.send(b"HTTP/1.1 200 OK\r\nX: ")
        while not peer.ended.wait(0.05):
            exchange.send(piece)

    with Peer(act) as peer:
        async with asyncio.timeout(20), Transport(deadlines) as transport:
            for method in ("GET", "POST"):
                with pytest.raises(PeerTimeout, match="did not come to the end"):
                    async with transport.ask(method, peer.url, {}):
                        pass


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

    assert peer.seen[0].was_cut()


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
