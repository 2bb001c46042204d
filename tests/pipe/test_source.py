"""Sources yield the same bytes from any offset, as often as they promise."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sluiceway.pipe.source import BytesSource, PassingSource, Source, SourceSpent
from sluiceway.testing.store_suite import pattern

MIB = 1 << 20


async def drain(source: Source, start: int = 0, stop: int | None = None) -> bytes:
    chunks = [bytes(chunk) async for chunk in source.open(start, stop)]
    assert all(chunks), "a chunk was empty"
    return b"".join(chunks)


@pytest.mark.parametrize("size", [0, 1, MIB, 2 * MIB + 5])
async def test_any_part_can_be_read_again(size: int) -> None:
    """`open(start, stop)` yields exactly those bytes, clipped to the source, each time."""
    source = BytesSource(pattern(size))

    assert (source.length, source.reopenable) == (size, True)
    for start in (0, 1, size // 2, size, size + 7):
        for stop in (None, start, size // 2 + 1, size, size + 9):
            if stop is None or stop >= start:
                assert await drain(source, start, stop) == pattern(size)[start:stop]


async def test_a_stream_is_read_once() -> None:
    """It cannot be read again or from the middle. Empty chunks are dropped."""

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in (b"", b"a", b"", b"bc"):
            yield chunk

    source = PassingSource(chunks(), 3)
    assert (source.length, source.reopenable) == (3, False)
    assert await drain(source) == b"abc"
    with pytest.raises(SourceSpent):
        await drain(source)
    for start, stop in ((1, None), (0, 2)):
        with pytest.raises(SourceSpent):
            await drain(PassingSource(chunks()), start, stop)
