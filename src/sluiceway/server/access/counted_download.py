"""GET and HEAD of a file where downloads are counted: it is 404 after as many as it is for.

A GET without a range is one download. Ranges that a reader asks for within an hour are one
download together, so a client that resumes, or fetches parts side by side, is counted once.
"""

from __future__ import annotations

from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import NotFound
from sluiceway.server.handlers.download import respond_with
from sluiceway.stores.contract import Entry, Store
from sluiceway.uploads.access.granted_store import GrantedStore
from sluiceway.uploads.lifetime.download_counts import DownloadCounts

__all__ = ["get_counted"]

MOST_NAMED = 512  # characters of a User-Agent that tell readers apart


async def get_counted(request: Request, store: Store, counts: DownloadCounts, key: str) -> Response:
    """GET and HEAD /files/{key}. Raises NotFound, PreconditionFailed, RangeUnsatisfiable."""
    reader = await cast("GrantedStore", store).open_alone(key)
    response = await respond_with(request, reader)
    limit = reader.entry.metadata.downloads
    if limit is None:
        return response
    try:
        await _count(request, reader.entry, counts, limit, response.status_code)
    except BaseException:
        await reader.aclose()
        raise
    response.headers["cache-control"] = "no-store"  # a cache would send it uncounted
    return response


async def _count(
    request: Request,
    entry: Entry,
    counts: DownloadCounts,
    limit: tuple[int, str],
    status: int,
) -> None:
    most, number = limit
    if request.method == "GET" and status in (200, 206):
        there = await counts.begin(number, most, _reader(request), ranged=status == 206)
    else:
        there = not await counts.is_used_up(number, most)
    if not there:
        raise NotFound(f"There is no object {entry.key!r} any more: it had all its downloads")


def _reader(request: Request) -> str:
    """Whoever asks: address, program and secret, which a resumed request repeats."""
    address = "" if request.client is None else request.client.host
    names = (request.headers.get(name, "")[:MOST_NAMED] for name in ("user-agent", "authorization"))
    return "\n".join([address, *names])
