"""What is stored at a place or a server, to look at and to delete: pages, one object, deletion.

`open_listed` finds the kind of a URL. Knows no output.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from sluiceway.client.download_plan import length_of
from sluiceway.client.file_request import FORM_END
from sluiceway.client.http.error_responses import TOKEN, refusal
from sluiceway.client.http.redirects import follow_redirects
from sluiceway.copying.endpoints.http_source import Listing, iso_seconds
from sluiceway.copying.endpoints.store import empty_or_missing
from sluiceway.copying.options import CopyOptions
from sluiceway.copying.servers import RemoteServer
from sluiceway.errors import BadRequest, NotFound
from sluiceway.pipe.budget import MINIMUM, Budget
from sluiceway.pipe.hashes import CHOICES, is_digest
from sluiceway.stores.contract import Omitted, Pairs, Store
from sluiceway.stores.registry import open_place
from sluiceway.wire.headers.http_dates import parse_http_date
from sluiceway.wire.headers.object_digests import named_in_headers
from sluiceway.wire.urls import below, is_place, is_url, join_url, redact_url

if TYPE_CHECKING:  # the transport loads the HTTP library
    from sluiceway.client.http.transport import Transport

__all__ = ["ListedFile", "ListedPage", "ListedSide", "open_listed"]

PAGE = 1000  # objects of a page


@dataclass(frozen=True, slots=True)
class ListedFile:
    """An object as a listing names it; with `is_folder` the names that begin with its key."""

    key: str
    size: int | None = None  # bytes
    modified: float | None = None  # seconds since the epoch
    etag: str = ""
    type: str = ""
    digests: Pairs = ()
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class ListedPage:
    """Objects in key order, what cannot be one, and where the next page begins."""

    files: tuple[ListedFile, ...]
    omitted: tuple[Omitted, ...]
    next: str | None


class ListedSide(Protocol):
    """A place or a server. Calls raise SluiceErrors."""

    display_name: str
    key: str  # what the URL names: an object, a prefix that ends in `/`, or "" for all
    may_be_missing: bool  # an empty listing of all may mean that the place does not exist

    async def page(self, prefix: str, after: str) -> ListedPage: ...

    async def find(self, key: str) -> ListedFile | None: ...

    async def delete(self, key: str) -> None: ...


@asynccontextmanager
async def open_listed(options: CopyOptions) -> AsyncIterator[ListedSide]:
    """The side that `options.source` names. Raises BadRequest for a path of this machine."""
    text = options.source
    if is_place(text):
        place = open_place(text, Budget(MINIMUM))
        try:
            missing = empty_or_missing(text)
            yield _PlaceSide(place.store, place.key, place.display_name, missing)
        finally:
            await place.store.aclose()
    elif is_url(text) and options.reads is not None:
        async with options.network.transport(options.reads, None) as transport:
            yield _ServerSide(transport, options.reads)
    else:
        raise BadRequest(f"{text} is a path of this machine; give a place or a server's URL")


class _PlaceSide:
    def __init__(self, store: Store, key: str, display_name: str, may_be_missing: bool) -> None:
        self._store, self.key, self.display_name = store, key, display_name
        self.may_be_missing = may_be_missing

    async def page(self, prefix: str, after: str) -> ListedPage:
        page = await self._store.list(prefix, after, PAGE)
        files = tuple(
            ListedFile(
                entry.key,
                entry.size,
                entry.modified,
                entry.etag,
                entry.metadata.type if self._store.traits.lists_metadata else "",
                entry.metadata.digests,
            )
            for entry in page.entries
        )
        return ListedPage(files, page.omitted, page.next)

    async def find(self, key: str) -> ListedFile | None:
        try:
            entry = await self._store.stat(key)
        except NotFound:
            return None
        metadata = entry.metadata
        return ListedFile(
            entry.key, entry.size, entry.modified, entry.etag, metadata.type, metadata.digests
        )

    async def delete(self, key: str) -> None:
        await self._store.delete(key)


class _ServerSide:
    """A server of this kind: `https://HOST/files/PREFIX/`; the host alone means all of it."""

    may_be_missing = False

    def __init__(self, transport: Transport, server: RemoteServer) -> None:
        parts = urlsplit(server.url)
        if parts.path in ("", "/"):
            parts = parts._replace(path=f"{FORM_END}/")
        self._transport, self._headers = transport, server.headers
        server = RemoteServer(join_url(parts), server.headers)
        self._listing = Listing(transport, server, TOKEN)
        ends = parts.path.endswith("/")
        self.key: str = self._listing.prefix if ends else self._listing.prefix.rstrip("/")
        self.display_name: str = redact_url(server.url)

    async def page(self, prefix: str, after: str) -> ListedPage:
        self._listing.prefix = prefix
        entries, omitted, following = await self._listing.page(after, PAGE)
        left_out = tuple(
            Omitted(*(str(one.get(name) or "?") for name in ("name", "code", "detail")))
            for one in omitted
        )
        return ListedPage(tuple(map(_listed_file, entries)), left_out, following)

    async def find(self, key: str) -> ListedFile | None:
        async with follow_redirects(
            self._transport, self._url(key), self._headers, method="HEAD"
        ) as response:
            head = response.head
        if head.status in (400, 404):
            return None
        if head.status != 200:
            raise refusal(head, "", TOKEN)
        modified = parse_http_date(head.headers.get("last-modified", ""))
        return ListedFile(
            key,
            length_of(head),
            modified,
            head.headers.get("etag", "").strip('"'),
            head.headers.get("content-type", ""),
            named_in_headers(head.headers),
        )

    async def delete(self, key: str) -> None:
        async with self._transport.ask("DELETE", self._url(key), self._headers) as response:
            if not 200 <= response.head.status < 300:
                raise refusal(response.head, await response.text(), TOKEN)

    def _url(self, key: str) -> str:
        return below(f"{self._listing.base}/", key)


def _listed_file(entry: Mapping[str, object]) -> ListedFile:
    size, modified = entry.get("size"), entry.get("modified")
    digests = tuple(
        (name, str(entry[name])) for name in sorted(CHOICES) if is_digest(name, entry.get(name))
    )
    return ListedFile(
        str(entry.get("key") or ""),
        size if isinstance(size, int) else None,
        iso_seconds(modified),
        str(entry.get("etag") or ""),
        str(entry.get("type") or ""),
        digests,
    )
