"""A request's body as a source: deadlines on each wait, and no silent end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request

from sluiceway.errors import BodyCut, TooSlow
from sluiceway.pipe.stages import Stages
from sluiceway.server.body import body_chunks

Message = dict[str, Any]


def request(receive: Callable[[], Awaitable[Message]]) -> Request:
    return Request({"type": "http", "method": "PUT", "headers": []}, receive)


def piece(data: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


async def test_a_client_that_falls_silent_is_too_slow() -> None:
    """Bytes, then nothing: TooSlow instead of waiting for ever, and the task can go on."""
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


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Who cancels the upload gets a cancellation, not TooSlow."""

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
