"""GET /files?prefix=…&as=zip: all files below a prefix as one zip that is made while it is sent.

No temporary file, one object open at a time, the client's speed; the length is known before the
first byte. An error on the way breaks the response off, so that a part of a zip never passes for
the whole. Byte ranges are not offered: every request makes the zip anew.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

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
    Unavailable,
)
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer, Source
from sluiceway.server.operator_log import Omissions, loses_data
from sluiceway.server.responses import INERT_POLICY
from sluiceway.server.streaming import StreamedResponse
from sluiceway.stores.contract import Omitted, Store
from sluiceway.wire.headers.disposition import format_disposition
from sluiceway.wire.names import clean_name

__all__ = ["list_as_zip"]

LISTING_PAGE = 1000  # entries asked of the store at a time
BUDGET_SHARE = 0.75  # of the budget, for the entries of zips; the rest is for uploads


async def list_as_zip(
    request: Request, store: Store, budget: Budget, omissions: Omissions
) -> Response:
    """Files that a zip cannot hold are left out, and named in its comment and in the log.

    Raises BadRequest, NotFound, TooLarge for more files than can be held, and Unavailable when
    there is no memory for them.
    """
    query = request.query_params
    if query.get("as") != "zip":
        raise BadRequest("as can only be zip: ?prefix=photos/&as=zip")
    if unknown := sorted(set(query) - {"as", "prefix"}):
        raise BadRequest(f"A zip holds all files below its prefix; leave out {', '.join(unknown)}")
    if not store.traits.readable:
        raise NotFound("This server sends files on and keeps none; ask the server that has them")
    folder = _StoredFolder(store, query.get("prefix", ""), budget)
    try:
        omitted: list[Omitted] = []
        source = await _zip_source(folder, omitted)
        omissions.log(omitted)
        if not source.members:
            why = f" that a zip can hold; {len(omitted)} cannot be in one" if omitted else ""
            raise NotFound(f"There is no file below {folder.prefix!r}{why}")
    except BaseException:
        await folder.aclose()
        raise
    return _zip_response(source, folder)


async def _zip_source(folder: _StoredFolder, omitted: list[Omitted]) -> ZipSource:
    contents = ZipContents()

    def leave_out(one: Omitted) -> None:
        if loses_data(one):
            omitted.append(one)
            contents.leave_out(one.name, one.detail)

    try:
        async with aclosing(folder.items()) as items:
            async for item in items:
                if isinstance(item, Omitted):
                    leave_out(item)
                elif (reason := contents.add(item)) is not None:
                    leave_out(Omitted(item.name, "bad-name", reason))
    except TooLarge as error:
        raise TooLarge(f"{error.detail}: choose a longer prefix", limit=MOST_MEMBERS) from None
    return await contents.source(folder.open)


def _zip_response(source: ZipSource, folder: _StoredFolder) -> Response:
    async def body(_: Scope) -> AsyncIterator[Buffer | Message]:
        chunks = source.open()
        try:
            async for chunk in chunks:
                yield chunk
        except SluiceError as error:
            # The client sees only a broken connection, also for its own fault: the log has to say
            # why.
            raise StoreFailed(
                f"The zip of {folder.prefix!r} was broken off: {error.detail}"
            ) from error
        finally:
            await close_stream(chunks)

    return StreamedResponse(body, _headers(folder.prefix, source), close=folder.aclose)


def _headers(prefix: str, source: ZipSource) -> dict[str, str]:
    name = prefix.rstrip("/").rpartition("/")[2]
    headers = {
        "content-type": "application/zip",
        "content-disposition": format_disposition(
            "attachment", f"{clean_name(name) if name else 'files'}.zip"
        ),
        "accept-ranges": "none",
        "x-content-type-options": "nosniff",
        "content-security-policy": INERT_POLICY,
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-cache",
    }
    if source.length is not None:
        headers["content-length"] = str(source.length)
    return headers


class _StoredFolder:
    """The objects of a store below a prefix, under their whole keys.

    The budget holds the memory of their entries until `aclose`.
    """

    def __init__(self, store: Store, prefix: str, budget: Budget) -> None:
        self.prefix = prefix
        self._store, self._budget = store, budget
        self._acquired = 0

    async def items(self) -> AsyncGenerator[ZipMember | Omitted, None]:
        """Raises Unavailable, and what the store's listing raises."""
        after: str | None = ""
        while after is not None:
            page = await self._store.list(self.prefix, after, LISTING_PAGE)
            cost = (len(page.entries) + len(page.omitted)) * MEMBER_COST
            if not self._budget.acquire(cost, within=BUDGET_SHARE):
                public = "The server has no memory left for so many files; choose a longer prefix"
                raise Unavailable(f"{public}, or raise --memory-budget").for_operator(public)
            self._acquired += cost
            for entry in page.entries:
                yield ZipMember(entry.key, entry.size, entry.modified, entry.etag)
            for one in page.omitted:
                yield one
            after = page.next

    @asynccontextmanager
    async def open(self, member: ZipMember) -> AsyncIterator[Source]:
        """Raises SourceChanged if the object was replaced since it was listed."""
        reader = await self._store.open(member.name)
        try:
            if reader.entry.etag != member.version:
                raise SourceChanged("it was replaced meanwhile")
            yield reader
        finally:
            await reader.aclose()

    async def aclose(self) -> None:
        """The zip is sent, or given up. Safe to call twice."""
        self._budget.release(self._acquired)
        self._acquired = 0
