"""Whether two objects are the same bytes: by digests that were told or, where nobody told one, by counting."""

from __future__ import annotations

from sluiceway.copying.contract import Reading
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Source
from sluiceway.wire.headers.digests import Promise

__all__ = ["counted", "promised"]


async def counted(source: Source) -> str:
    """The sha-256 of all its bytes. Raises what the source raises."""
    digests, chunks = Digests(("sha-256",)), source.open()
    try:
        async for chunk in chunks:
            await digests.take(chunk)
        return (await digests.finish())["sha-256"].hex()
    finally:
        await close_stream(chunks)
        await digests.aclose()


def promised(reading: Reading) -> tuple[Promise, ...]:
    """What the origin knows of an object's digest."""
    known = reading.metadata.sha256
    return () if known is None else (Promise("sha-256", bytes.fromhex(known)),)
