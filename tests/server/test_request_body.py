"""A request's body as a source: each wait has a deadline, and no truncated body ends silently."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from sluiceway.errors import BodyCut, TooSlow
from sluiceway.pipe.lending import Lender
from sluiceway.pipe.stages import Stages
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.request_body import MIN_RATE, BodySource, body_chunks

Message = dict[str, Any]


def request(receive: Callable[[], Awaitable[Message]], least: int = 0) -> Request:
    return Request({"type": "http", "method": "PUT", "headers": [], MIN_RATE: least}, receive)


def piece(data: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


async def test_a_client_that_falls_silent_is_too_slow() -> None:
    """Bytes, then silence: TooSlow instead of an endless wait, and the task can continue."""
    messages = [piece(b"one"), piece(b"two")]

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    got = []

    async def read() -> None:
        async for chunk in body_chunks(request(receive), Stages(), idle=0.1):
            got.append(chunk)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(TooSlow):
        await read()

    assert got == [b"one", b"two"]
    await asyncio.sleep(0.2)  # a cancellation that was not taken back would strike here


async def test_a_slow_destination_is_not_a_slow_client() -> None:
    """The time the consumer takes is not counted against the client."""
    messages = [piece(b"one"), piece(b"two"), piece(b"", more=False)]

    async def receive() -> Message:
        return messages.pop(0)

    got = []
    async for chunk in body_chunks(request(receive), Stages(), idle=0.1):
        await asyncio.sleep(0.3)
        got.append(chunk)

    assert got == [b"one", b"two"]


async def test_an_outside_cancellation_is_not_too_slow() -> None:
    """A caller that cancels the upload gets a cancellation, not TooSlow."""

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async def read() -> None:
        async for _ in body_chunks(request(receive), Stages(), idle=30):
            pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0.05)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_disconnect_is_never_a_clean_end() -> None:
    """http.disconnect before the last message: BodyCut."""
    messages = [piece(b"one"), {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    with pytest.raises(BodyCut):
        async for _ in body_chunks(request(receive), Stages()):
            pass


async def _taken(data: bytes, every: float, count: int, least: int, consumer: float = 0) -> int:
    """Bytes read from a client that sends `data` at an interval, `count` times.

    The rate is checked after 0.4 seconds.
    """
    left = count

    async def receive() -> Message:
        nonlocal left
        if left == 0:
            return piece(b"", more=False)
        left -= 1
        await asyncio.sleep(every)
        return piece(data)

    size = 0
    async for chunk in body_chunks(request(receive, least), Stages(), idle=30, pace=0.4):
        size += len(chunk)
        await asyncio.sleep(consumer)
    return size


async def test_a_client_that_trickles_for_ever_is_too_slow() -> None:
    """One byte now and then keeps no upload alive.

    The rate is below the minimum, averaged over the time spent waiting for the client.
    """
    with pytest.raises(TooSlow, match="bytes a second"):
        await _taken(b"x", 0.05, 200, least=1000)

    await asyncio.sleep(0.3)  # a cancellation that was not taken back would strike here


async def test_a_slow_client_above_the_minimum_rate_is_served() -> None:
    """Far above the rate on average, with pauses; and any rate where no minimum is set."""
    assert await _taken(b"x" * 2000, 0.05, 30, least=1000) == 60_000
    assert await _taken(b"x", 0.05, 30, least=0) == 30


async def test_time_of_a_slow_destination_is_not_the_clients() -> None:
    """The consumer is slow with each block.

    The client had to wait, and sent at once when it could.
    """
    assert await _taken(b"x", 0, 10, least=1000, consumer=0.15) == 10


async def test_a_connection_is_not_lent_behind_a_middleware_that_reads_the_body() -> None:
    """Else it would count, limit or log a body of which it sees only the ends."""

    async def servers_receive() -> Message:
        return piece(b"")

    async def middlewares_receive() -> Message:
        return await servers_receive()

    cycle = SimpleNamespace(receive=servers_receive, has_whole_body=False)
    protocol = SimpleNamespace(cycle=cycle, lend=lambda handed_back: "lent")
    for receive, lent in ((servers_receive, "lent"), (middlewares_receive, None)):
        asked = request(receive)
        asked.scope[PROTOCOL] = protocol
        source = BodySource(asked, Stages())
        assert isinstance(source, Lender)
        source.open()
        got: object = source.lend()
        assert got == lent
