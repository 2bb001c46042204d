"""GET /files?prefix=…&as=zip: everything below a prefix as one zip, made while it is sent, its length told before.

No temporary file, one object open at a time, the reader's pace. What fails on the way breaks the answer off, so that no part of
a zip passes for the whole. Byte ranges are not offered: a zip begins anew each time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sluiceway.archives.zip_writer import (
    MEMBER_COST,
    MOST_MEMBERS,
    ZipContents,
    ZipMember,
    ZipSource,
)
from sluiceway.errors import (
    BadRequest,
    NotFound,
    SluiceError,
    SourceChanged,
    StoreFailed,
    TooLarge,
    TooSlow,
    Unavailable,
)
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Source
from sluiceway.server.handlers.download import INERT
from sluiceway.server.http1.sendfile import patience
from sluiceway.server.omissions import Omissions, missing
from sluiceway.server.request_body import wait_until_gone
from sluiceway.stores.contract import Omitted, Store
from sluiceway.wire.headers.disposition import format_disposition
from sluiceway.wire.names import clean_name

__all__ = ["list_as_zip"]

log: logging.Logger = logging.getLogger("sluiceway")

PIECE = 64 << 10  # bytes of one write: a slow reader has STALLED seconds for it
PAGE = 1000  # entries asked of the store at a time


async def list_as_zip(
    request: Request, store: Store, budget: Budget, omissions: Omissions
) -> Response:
    """What cannot be in a zip is left out, and named in the zip's comment and in the log: one odd name breaks nobody's zip.

    Raises BadRequest, NotFound, TooLarge for more members than can be held, Unavailable when there is no memory for them.
    """
    asked = request.query_params
    if asked.get("as") != "zip":
        raise BadRequest("as can only be zip: ?prefix=photos/&as=zip")
    if odd := sorted(set(asked) - {"as", "prefix"}):
        raise BadRequest(f"A zip holds everything below its prefix; leave out {', '.join(odd)}")
    if not store.traits.readable:
        raise NotFound("Files are passed on from here and not kept; ask the server that has them")
    below = _Below(store, asked.get("prefix", ""), budget)
    try:
        left: list[Omitted] = []
        source = await _zipped(below, left)
        omissions.tell(left)
        if not source.members:
            why = f" that a zip can hold; {len(left)} cannot be in one" if left else ""
            raise NotFound(f"There is no file below {below.prefix!r}{why}")
        return _Zipping(source, below, _headers(below.prefix, source))
    except BaseException:
        below.settle()
        raise


async def _zipped(below: _Below, left: list[Omitted]) -> ZipSource:
    contents = ZipContents()

    def leave_out(omitted: Omitted) -> None:
        if missing(omitted):
            left.append(omitted)
            contents.leave_out(omitted.name, omitted.detail)

    items = below.items()
    try:
        async for item in items:
            if isinstance(item, Omitted):
                leave_out(item)
            elif (reason := contents.add(item)) is not None:
                leave_out(Omitted(item.name, "bad-name", reason))
    except TooLarge as error:
        raise TooLarge(f"{error.detail}: choose a longer prefix", limit=MOST_MEMBERS) from None
    finally:
        await close_stream(items)
    return await contents.source(below.open)


def _headers(prefix: str, source: ZipSource) -> dict[str, str]:
    name = prefix.rstrip("/").rpartition("/")[2]
    headers = {
        "content-type": "application/zip",
        "content-disposition": format_disposition(
            "attachment", f"{clean_name(name) if name else 'files'}.zip"
        ),
        "accept-ranges": "none",
        "x-content-type-options": "nosniff",
        "content-security-policy": INERT,
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-cache",
    }
    if source.length is not None:
        headers["content-length"] = str(source.length)
    return headers


class _Below:
    """What a store has below a prefix, under whole keys. What is held of each is lent by the budget."""

    def __init__(self, store: Store, prefix: str, budget: Budget) -> None:
        self.prefix = prefix
        self._store, self._budget = store, budget
        self._lent = 0

    async def items(self) -> AsyncIterator[ZipMember | Omitted]:
        after: str | None = ""
        while after is not None:
            page = await self._store.list(self.prefix, after, PAGE)
            cost = (len(page.entries) + len(page.omitted)) * MEMBER_COST
            if not self._budget.acquire(cost, within=0.75):  # the rest is for uploads
                raise Unavailable(
                    "The server has no memory to spare for so many files; choose a longer prefix, or raise --memory-budget"
                ).for_operator(
                    "The server has no memory to spare for so many files; choose a longer prefix"
                )
            self._lent += cost
            for entry in page.entries:
                yield ZipMember(entry.key, entry.size, entry.modified, entry.etag)
            for one in page.omitted:
                yield one
            after = page.next

    @asynccontextmanager
    async def open(self, member: ZipMember) -> AsyncIterator[Source]:
        opened = await self._store.open(member.name)
        try:
            if opened.entry.etag != member.version:
                raise SourceChanged("it was replaced meanwhile")
            yield opened
        finally:
            await opened.aclose()

    def settle(self) -> None:
        """The zip is out, or given up. Safe to call twice."""
        self._budget.release(self._lent)
        self._lent = 0


class _Zipping(Response):
    """An answer that is made while it is sent."""

    def __init__(self, source: ZipSource, below: _Below, headers: dict[str, str]) -> None:
        self.status_code, self.background, self.body = 200, None, b""
        self._source, self._below = source, below
        self.raw_headers = [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in headers.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(wait_until_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] == "GET":
                await self._body(gone, send)
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TooSlow:
            raise
        except SluiceError as error:
            # Whoever's fault it is, the reader sees a broken connection only: the log has to say why.
            raise StoreFailed(
                f"The zip of {self._below.prefix!r} was broken off: {error.detail}"
            ) from error
        finally:
            gone.cancel()
            self._below.settle()

    async def _body(self, gone: asyncio.Future[None], send: Send) -> None:
        pieces = self._source.open()
        try:
            async for piece in pieces:
                for at in range(0, len(piece), PIECE):
                    if gone.done():
                        return  # send() tells nobody that the reader left
                    async with patience():
                        await send(
                            {
                                "type": "http.response.body",
                                "body": piece[at : at + PIECE],
                                "more_body": True,
                            }
                        )
        finally:
            await close_stream(pieces)
