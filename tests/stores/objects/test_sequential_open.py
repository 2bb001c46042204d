"""`open_sequential` reads an object of a bucket with one request, and else as `open` does."""

from __future__ import annotations

import hashlib

import pytest

from fix_s3 import Objects
from fix_taking import noise
from sluiceway.errors import NotFound
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import Buffer, Source
from sluiceway.stores.contract import SequentialOpen
from sluiceway.stores.objects.store import ObjectStore

DATA = noise(2_500_017)


async def read(source: Source, start: int = 0, stop: int | None = None) -> bytes:
    blocks: list[Buffer] = [block async for block in source.open(start, stop)]
    return b"".join(bytes(block) for block in blocks)


async def test_it_reads_the_same_bytes_as_open(s3: Objects) -> None:
    """Whole, again, in part; an empty object, one that is not read, and one that does not exist."""
    bucket = s3.fresh()
    for key, data in (("a", DATA), ("empty", b"")):
        s3.client.put_object(
            Bucket=bucket, Key=key, Body=data, Metadata={"sha256": hashlib.sha256(data).hexdigest()}
        )
    store = ObjectStore(s3.url(bucket), Budget(64 << 20), s3.options)
    assert isinstance(store, SequentialOpen)
    try:
        reader, plain = await store.open_sequential("a"), await store.open("a")
        assert reader.entry == plain.entry
        assert await read(reader) == await read(reader) == DATA
        assert await read(reader, 10, 99) == DATA[10:99]
        await reader.aclose()
        ranged = await store.open_sequential("a")
        assert await read(ranged, 2_000_000) == DATA[2_000_000:]
        await ranged.aclose()
        empty = await store.open_sequential("empty")
        assert (empty.length, await read(empty)) == (0, b"")
        await (await store.open_sequential("a")).aclose()
        with pytest.raises(NotFound):
            await store.open_sequential("nothing")
    finally:
        await store.aclose()
