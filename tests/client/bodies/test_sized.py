"""A pipe with a given size: sent with its length; a wrong size never looks complete or hangs."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import sluiceway
from fix_taking import noise
from rude_peer import Exchange, Peer
from sluiceway.client.local.files import open_local, sized
from sluiceway.errors import SourceFailed
from sluiceway.pipe.source import BytesSource, PassingSource, Source

DATA = noise(2_000_000)


def taking(exchange: Exchange) -> None:
    exchange.read_body()
    if not exchange.cut:
        exchange.reply(201)


async def feeding(pipe: Path, work: Callable[[int], None]) -> None:
    """Write into a named pipe as `work` likes, in a thread; a reader that went away is fine."""

    def run() -> None:
        fd = os.open(pipe, os.O_WRONLY)
        try:
            work(fd)
        except BrokenPipeError:
            pass
        finally:
            os.close(fd)

    await asyncio.to_thread(run)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("way", ["raw", "form"])
async def test_a_pipe_of_known_size_has_a_length(pipe: Path, way: str) -> None:
    """Content-Length instead of chunks."""
    with Peer(taking) as peer:
        feeder = asyncio.ensure_future(feeding(pipe, lambda fd: write_all(fd, DATA)))
        url = f"{peer.url}/f" if way == "raw" else f"{peer.url}/files"
        receipt = await sluiceway.acopy(pipe, url, size=len(DATA))
        await feeder
    asked = peer.seen[0]

    assert "transfer-encoding" not in asked.headers
    assert int(asked.headers["content-length"]) == len(asked.body)
    assert DATA in asked.body
    assert receipt.size == len(DATA)


@pytest.mark.parametrize(
    ("given", "words"), [(-1, "ended after"), (1, "goes on after"), (10_000_000, "goes on after")]
)
async def test_a_wrong_size_never_looks_complete(pipe: Path, given: int, words: str) -> None:
    """Short by a byte, long by a byte, long by much: the server sees a body that was cut off."""
    data = (DATA * 7)[: len(DATA) + given]
    with Peer(taking) as peer:
        feeder = asyncio.ensure_future(feeding(pipe, lambda fd: write_all(fd, data)))
        with pytest.raises(SourceFailed, match=words):
            await sluiceway.acopy(pipe, f"{peer.url}/f", size=len(DATA))
        await feeder

    assert all(asked.was_cut() for asked in peer.seen)


async def test_an_endless_pipe_ends_the_copy() -> None:
    """/dev/zero has more than anybody says."""
    with Peer(taking) as peer, pytest.raises(SourceFailed, match="goes on after"):
        await sluiceway.acopy("/dev/zero", f"{peer.url}/f", size=5_000_000)

    assert all(asked.was_cut() for asked in peer.seen)


async def read_sized(pipe: Path, size: int, end_timeout: float) -> bytes:
    held = await sized(open_local(str(pipe)), size, "the pipe", end_timeout)
    return b"".join([bytes(chunk) async for chunk in held.open()])


@pytest.mark.parametrize("size", [0, 1000])
async def test_a_pipe_that_does_not_end_is_an_error(pipe: Path, size: int) -> None:
    """All its bytes are here and it stays open: more may follow, so it is an error soon."""

    told = threading.Event()

    def rest(fd: int) -> None:
        write_all(fd, DATA[:size])
        told.wait(20)

    feeder = asyncio.ensure_future(feeding(pipe, rest))
    async with asyncio.timeout(15):
        with pytest.raises(SourceFailed, match="does not end"):
            await read_sized(pipe, size, end_timeout=0.3)
    told.set()
    await feeder


async def test_a_slow_pipe_may_pause_before_its_last_byte(pipe: Path) -> None:
    """The timeout is for the end alone, not for the bytes."""

    def slowly(fd: int) -> None:
        for _ in range(3):
            write_all(fd, b"x")
            time.sleep(0.5)
            write_all(fd, b"y")

    feeder = asyncio.ensure_future(feeding(pipe, slowly))
    came = await read_sized(pipe, 6, end_timeout=0.2)
    await feeder

    assert came == b"xyxyxy"


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize("source", [BytesSource(b"abc"), PassingSource(chunks(b"abc"), 3)])
async def test_a_known_length_must_be_the_given_size(source: Source) -> None:
    """It is known before anything is sent, so it fails before."""
    assert await sized(source, 3, "It") is source
    with pytest.raises(SourceFailed, match="It has 3 bytes, not the 4"):
        await sized(source, 4, "It")


async def test_no_bytes_at_all_are_checked_before_the_request() -> None:
    """A request of no bytes is complete with its head."""
    assert (await sized(PassingSource(chunks()), 0, "It")).length == 0
    with pytest.raises(SourceFailed, match="more than the 0 bytes"):
        await sized(PassingSource(chunks(b"x")), 0, "It")
