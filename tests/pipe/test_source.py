"""Sources: the same bytes from any offset, as often as they promise; what flows past once says so once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sluiceway.errors import SluiceError
from sluiceway.pipe.source import BytesSource, FileSource, PassingSource, Source, SourceSpent
from sluiceway.testing.store_suite import pattern

MIB = 1 << 20


async def drain(source: Source, start: int = 0, stop: int | None = None) -> bytes:
    chunks = [bytes(chunk) async for chunk in source.open(start, stop)]
    assert all(chunks), "a chunk was empty"
    return b"".join(chunks)


@pytest.mark.parametrize("kind", ["bytes", "file"])
@pytest.mark.parametrize("size", [0, 1, MIB, 2 * MIB + 5])
async def test_any_part_can_be_read_again(tmp_path: Path, kind: str, size: int) -> None:
    """open(start, stop) yields exactly those bytes, clipped to the source, twice the same."""
    (tmp_path / "file").write_bytes(pattern(size))
    source = BytesSource(pattern(size)) if kind == "bytes" else FileSource(tmp_path / "file")

    assert (source.length, source.reopenable) == (size, True)
    for start in (0, 1, size // 2, size, size + 7):
        for stop in (None, start, size // 2 + 1, size, size + 9):
            if stop is None or stop >= start:
                assert await drain(source, start, stop) == pattern(size)[start:stop]


async def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    """Half a file never passes for a whole one."""
    path = tmp_path / "file"
    path.write_bytes(pattern(3 * MIB))
    stream = FileSource(path).open()
    await anext(stream)
    os.truncate(path, 2 * MIB)
    with pytest.raises(SluiceError, match="shorter"):
        async for _ in stream:
            pass


async def test_a_file_that_grows_is_read_up_to_its_announced_length(tmp_path: Path) -> None:
    """The length is fixed when the source is made."""
    path = tmp_path / "file"
    path.write_bytes(b"first")
    source = FileSource(path)
    with path.open("ab") as file:
        file.write(b" and more")

    assert await drain(source) == b"first"


async def test_what_flows_past_once_says_so_the_second_time() -> None:
    """No second reading, no reading from the middle; empty chunks are dropped."""

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
