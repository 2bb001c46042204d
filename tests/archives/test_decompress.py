"""Compressed streams are recognised, decompressed within bounds, and never cut silently."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
from collections.abc import Callable

import pytest

from archives.given_tars import flow, member, tar
from fix_taking import TORTURE
from sluiceway.archives.decompress import STEP, decompress
from sluiceway.errors import SourceFailed, TooLarge, Unsupported
from sluiceway.testing.memory_meter import MemoryMeter
from sluiceway.testing.store_suite import pattern

pytestmark = pytest.mark.anyio

MIB = 1 << 20
FREE = (64 if TORTURE else 36) * MIB  # memory; more than decompressors may take
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "gzip-twice": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]),
    "gzip-filled-up": lambda data: gzip.compress(data) + bytes(1000),
    "bzip2-twice": lambda data: bz2.compress(data[:700]) + bz2.compress(data[700:]),
    "xz-twice": lambda data: lzma.compress(data[:700]) + lzma.compress(data[700:]),
}


async def expand(data: bytes, cut: int = 100_000, free: int = 1 << 30) -> bytes:
    return b"".join(
        [bytes(chunk) async for chunk in decompress(flow(data, cut), "x.tar", 200, free)]
    )


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("cut", [7, 100_000])
async def test_compression_is_detected_by_the_first_bytes(packed: str, cut: int) -> None:
    """Without a name or an option; several streams in a row are one, as pigz and pbzip2 write."""
    data = tar(member("a", pattern(3000)), member("b"), member("c", b"c" * 9000))

    found = await expand(PACKED[packed](data), cut)

    assert found == data


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"\x28\xb5\x2f\xfd"], ids=["zip", "zstd"])
async def test_other_formats_are_refused(magic: bytes) -> None:
    with pytest.raises(Unsupported, match=r"x\.tar"):
        await expand(magic + bytes(1000))


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"]
)
async def test_a_bomb_is_refused_and_takes_no_memory(pack: Callable[[bytes], bytes]) -> None:
    """A few KiB that would expand to half as much again as is free."""
    data = tar(member("zeros", bytes(FREE * 3 // 2)))
    bomb = pack(data)
    del data
    meter = MemoryMeter() if sys.platform == "linux" else None
    before = meter.now() if meter else 0
    if meter:
        meter.reset()
    with pytest.raises(TooLarge, match="expands to more than 200 times"):
        await read_in_steps(bomb)
    if meter:
        assert meter.peak() - before <= 24 * MIB  # the memory of the decompressors


async def read_in_steps(bomb: bytes) -> None:
    async for chunk in decompress(flow(bomb, 100_000), "x.tar", 200, FREE):
        assert len(chunk) <= STEP


async def test_an_xz_that_needs_gigabytes_is_refused() -> None:
    """The header has the dictionary's size; an archive of `xz -9` is read."""
    small = tar(member("a", b"a"))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 30}]
    assert await expand(lzma.compress(small, preset=9)) == small
    with pytest.raises(TooLarge, match="96 MiB of memory"):
        await expand(lzma.compress(small, filters=filters))


@pytest.mark.parametrize("packed", ["gzip", "bzip2", "xz"])
async def test_a_cut_stream_is_never_complete(packed: str) -> None:
    """At any byte behind the format's mark: the error says that the rest is missing."""
    data = tar(member("a", pattern(2000)), member("b", pattern(700, 5)), member("c"))
    whole = PACKED[packed](data)
    for at in {*range(6, len(whole), 97), *range(512, len(whole), 512), len(whole) - 1}:
        with pytest.raises(SourceFailed):
            await expand(whole[:at])
