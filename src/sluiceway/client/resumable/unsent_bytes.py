"""Bytes of a source that the server has already are not sent again; its digests count them, too.

Another process sent them. Knows no request.
"""

from __future__ import annotations

from sluiceway.errors import SourceFailed
from sluiceway.pipe.digests import RunningDigests
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Source
from sluiceway.pipe.wrapped import unthrottled

__all__ = ["go_on"]


async def go_on(digests: RunningDigests, source: Source, offset: int) -> None:
    """The next bytes come from `offset` on. Reads those before it that were never seen.

    Raises what the source raises.
    """
    if digests.algorithms and digests.position < offset:
        chunks = unthrottled(source).open(digests.position, offset)
        try:
            await digests.catch_up(chunks)
        except OSError as error:
            raise SourceFailed(f"The source cannot be read: {error.strerror or error}") from error
        finally:
            await close_stream(chunks)
    digests.goes_on(offset)
