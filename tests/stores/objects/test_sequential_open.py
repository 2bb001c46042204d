"""An object of a bucket that is opened to be read whole: one request, and everything else as with `open`."""

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
    pieces: list[Buffer] = [piece async for piece in source.open(start, stop)]
    return b"".join(bytes(piece) for piece in pieces)


async def test_it_reads_as_open_does(s3: Objects) -> None:
    """Whole, again, in part; an empty one; one that nobody reads; and one that is not there."""
    bucket = s3.fresh()
    for key, data in (("a", DATA), ("empty", b"")):
        s3.client.put_object(
            Bucket=bucket, Key=key, Body=data, Metadata={"sha256": hashlib.sha256(data).hexdigest()}
        )
    store = ObjectStore(s3.url(bucket), Budget(64 << 20), s3.options)
    assert isinstance(store, SequentialOpen)
    try:
        opened, plain = await store.open_sequential("a"), await store.open("a")
        assert opened.entry == plain.entry
        assert await read(opened) == await read(opened) == DATA
        assert await read(opened, 10, 99) == DATA[10:99]
        await opened.aclose()
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
