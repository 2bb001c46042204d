"""What a LiveUpload keeps of a file so that code can seek back: bounded, counted and given back."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fix_taking import noise
from sluiceway.errors import BodyCut
from sluiceway.server.forms.walk import FileBegan, FileEnded
from sluiceway.starlette import LiveUpload, replay
from sluiceway.starlette.replay import REPLAY_BYTES, REPLAY_MEMORY

DATA = noise(2 * REPLAY_BYTES + 17)


def upload(data: bytes, piece: int = 65_537, *, ends: bool = True) -> LiveUpload:
    async def items() -> AsyncIterator[Any]:
        for at in range(0, len(data), piece):
            yield data[at : at + piece]
        if ends:
            yield FileEnded()

    return LiveUpload(items(), FileBegan("f", "a.bin", "text/x", len(data)))


async def used() -> int:
    return replay._budget().used


@pytest.mark.parametrize("piece", [1 << 12, 65_537, 3 << 20])
async def test_the_first_mib_can_be_read_again(piece: int) -> None:
    file = upload(DATA, piece)
    assert await file.read(REPLAY_BYTES) == DATA[:REPLAY_BYTES]
    assert await used() == REPLAY_BYTES
    for place in (0, 5, REPLAY_BYTES - 100, 700_000):
        assert await file.seek(place) == place
        assert await file.read(100) == DATA[place : place + 100]
        assert file.live
    await file.seek(0)
    assert hashlib.sha256(await file.read()).digest() == hashlib.sha256(DATA).digest()
    assert await used() == 0


async def test_a_seek_back_behind_the_first_mib_says_what_to_do() -> None:
    file = upload(DATA)
    await file.read(REPLAY_BYTES + 1)
    with pytest.raises(io.UnsupportedOperation, match="spool"):
        await file.seek(0)
    assert await file.seek(REPLAY_BYTES + 100) == REPLAY_BYTES + 100
    assert await file.read() == DATA[REPLAY_BYTES + 100 :]


async def test_a_spool_has_every_byte_and_every_place() -> None:
    file = upload(DATA)
    assert await file.read(10) == DATA[:10]
    await file.spool()
    assert (file.size, file.position, file.live) == (len(DATA), 10, False)
    assert await file.read() == DATA[10:]
    await file.seek(-5, 2)
    assert await file.read(-1) == DATA[-5:]
    await file.seek(0)
    assert file.file.read() == DATA
    assert await used() == 0
    await file.close()


async def test_the_rest_is_spooled_where_the_first_bytes_went_by() -> None:
    file = upload(DATA)
    place = REPLAY_BYTES + 1000
    await file.read(place)
    await file.spool()
    assert await file.read() == DATA[place:]
    assert await file.seek(place) == place
    assert await file.read(7) == DATA[place : place + 7]
    await file.close()


async def test_memory_is_given_back_with_the_file() -> None:
    for how in ("close", "forget"):
        file = upload(DATA)
        await file.read(500_000)
        assert await used() == 500_000
        if how == "close":
            await file.close()
            with pytest.raises(io.UnsupportedOperation):
                await file.read(600_000)
        del file
        gc.collect()
        assert await used() == 0, how


async def test_without_memory_there_is_no_way_back_and_all_else_works() -> None:
    budget = replay._budget()
    assert budget.acquire(REPLAY_MEMORY - 1000)
    try:
        file = upload(DATA)
        assert await file.read(5000) == DATA[:5000]
        with pytest.raises(io.UnsupportedOperation):
            await file.seek(0)
        assert await file.read() == DATA[5000:]
        spooled = upload(DATA)
        await spooled.spool()
        await spooled.seek(0)
        assert await spooled.read() == DATA
        await spooled.close()
    finally:
        budget.release(REPLAY_MEMORY - 1000)


async def test_a_cut_file_never_looks_whole() -> None:
    """Not while it is read, not while it is spooled, not afterwards."""
    file = upload(DATA, ends=False)
    for _ in range(2):
        with pytest.raises(BodyCut):
            await file.read()
    spooled = upload(DATA, ends=False)
    await spooled.read(10)
    for _ in range(2):
        with pytest.raises(BodyCut):
            await spooled.spool()
    await spooled.seek(0)
    with pytest.raises(BodyCut):
        await spooled.read()


async def test_a_thread_reads_lines_and_goes_back() -> None:
    text = b"".join(b"line %d\n" % number for number in range(30_000))
    file = upload(text)

    def work() -> tuple[int, bytes]:
        first = file.file.readline()
        file.file.seek(0)
        count = sum(1 for _ in file.file)
        return count, first

    assert await asyncio.to_thread(work) == (30_000, b"line 0\n")
