"""A server as a source: one of its files, or what this project's listing gives below a prefix.

Knows no store and no target.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from sluiceway.client.file_request import FORM_END
from sluiceway.client.http.error_responses import FROM_TOKEN, refusal
from sluiceway.client.http.redirects import follow_redirects
from sluiceway.client.remote_source import RemoteSource
from sluiceway.client.retry import RetryPolicy
from sluiceway.copying.contract import CopyItem, Reading
from sluiceway.copying.endpoints.folder_walk import omitted_key
from sluiceway.copying.endpoints.http_together import FilesTogether
from sluiceway.copying.endpoints.store import nothing_below
from sluiceway.copying.endpoints.verified_put import is_small
from sluiceway.copying.servers import RemoteServer
from sluiceway.errors import BadRequest, PeerFailed, PreconditionFailed, SourceChanged
from sluiceway.pipe.hashes import digest_pairs, is_digest
from sluiceway.pipe.receipt import OnProgress, Progress
from sluiceway.pipe.source import BytesSource
from sluiceway.pipe.stages import QUEUE, SOURCE, Stages
from sluiceway.stores.contract import Metadata, Omitted
from sluiceway.wire.headers.media_types import OCTET_STREAM, guess_type
from sluiceway.wire.names import clean_name, unseen_in
from sluiceway.wire.urls import below, redact_url

if TYPE_CHECKING:  # the transport loads the HTTP library
    from sluiceway.client.http.transport import Transport

__all__ = ["HttpSource", "Listing", "RemoteObject", "iso_seconds"]

PAGE = 500  # entries asked for at once
# Bytes of a listing's response: each of its 500 entries may have a key of 1 KiB, escaped twice.
MOST_PAGE = 8 << 20
# Attempts for the rest of a body that broke off, before the whole object is tried again.
IN_PLACE = RetryPolicy(2)
MOST_OMITTED = 2048  # characters kept of a server's text on an object that it could not list
# Pages in a row without an entry: a filter may leave some empty, but no listing has so many.
MOST_EMPTY = 100
WANT_DIGEST = {"want-repr-digest": "sha-256=10"}

_TYPE = re.compile(r"[\x20-\x7e]+")  # what a header, or the head of a form's part, may carry

_Dicts = list[dict[str, object]]


class RemoteObject:
    """One file at a server. Its first response gives name, length, type and digest."""

    rereadable = True

    def __init__(
        self,
        transport: Transport,
        server: RemoteServer,
        retry_policy: RetryPolicy,
        name: str | None,
        type: str | None,
        on_progress: OnProgress | None,
    ) -> None:
        """`name` and `type`: instead of the server's."""
        self._transport, self._server, self._retry_policy = transport, server, retry_policy
        self._name, self._type, self._on_progress = name, type, on_progress
        self.display_name: str = redact_url(server.url)

    async def items(self) -> AsyncIterator[CopyItem]:
        yield CopyItem(self._name or "", None)

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        stages = Stages()
        source = RemoteSource(
            self._transport,
            self._server.url,
            self._server.headers,
            retry_policy=self._retry_policy,
            on_retry=lambda note: self._progress("retrying", source.length, note),
        )
        try:
            stages.enter(SOURCE)
            self._progress("connecting", None)
            await source.meet()
            stages.enter(QUEUE)
            name = self._name or source.name
            metadata = Metadata(name, self._type or _readable_type(source) or guess_type(name))
            found = CopyItem(name, source.length)
            yield Reading(
                found,
                source,
                metadata,
                self.display_name,
                source.promises,
                stages,
                identity=source.identity,
            )
        finally:
            await source.aclose()

    async def aclose(self) -> None:
        """The transport is its owner's."""

    def _progress(self, stage: Any, length: int | None, note: str = "") -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(self.display_name, stage, 0, length, note))


def _readable_type(source: RemoteSource) -> str | None:
    return source.type if source.type and _TYPE.fullmatch(source.type) else None


class Listing:
    """GET /files of a server of this kind, below a prefix."""

    def __init__(
        self, transport: Transport, server: RemoteServer, token_option: str = FROM_TOKEN
    ) -> None:
        """`token_option`: names the options that give this server a token."""
        self._transport, self._server, self._token_option = transport, server, token_option
        parts = urlsplit(server.url)
        before, found, path = (parts.path.rstrip("/") + "/").partition(FORM_END + "/")
        self.prefix: str = unquote(path)
        self.base: str = urlunsplit((parts.scheme, parts.netloc, before + FORM_END, "", ""))
        self._known = bool(found)
        self._shown = redact_url(server.url)

    async def page(self, after: str, limit: int) -> tuple[_Dicts, _Dicts, str | None]:
        """The entries, the omitted objects, and the next page's cursor.

        Raises BadRequest where there is no such listing, PeerFailed, the server's refusal.
        """
        if not self._known:
            raise BadRequest(
                f"{self._shown} cannot be listed: its path has no /files/, as a server of this "
                "kind has it"
            )
        query = f"prefix={quote(self.prefix, safe='')}&after={quote(after, safe='')}&limit={limit}"
        async with follow_redirects(
            self._transport,
            f"{self.base}?{query}",
            self._server.headers,
            {"accept": "application/json"},
        ) as response:
            head = response.head
            if head.status in (404, 405, 501):
                raise BadRequest(
                    f"{self._shown} has no listing (it answered {head.status}); many objects are "
                    "read from one"
                )
            if head.status != 200:
                raise refusal(head, await response.text(), self._token_option)
            body = await response.whole(MOST_PAGE)
        if body is None:
            raise PeerFailed(
                f"{self._shown} answered with a listing larger than {MOST_PAGE >> 20} MiB"
            )
        return self._parsed(body, after)

    def _parsed(self, body: bytes, after: str) -> tuple[_Dicts, _Dicts, str | None]:
        try:
            listing = json.loads(body)
        except (ValueError, RecursionError):
            listing = None
        entries = listing.get("files") if isinstance(listing, dict) else None
        if not isinstance(listing, dict) or not isinstance(entries, list) or not _dicts(entries):
            raise BadRequest(
                f"{self._shown} answered with no listing of this kind; many objects are read from "
                "one"
            )
        omitted, following = listing.get("omitted", []), listing.get("next")
        if "next" not in listing or not _dicts(omitted):
            raise PeerFailed(f"{self._shown} does not say whether its listing is complete")
        if listing.get("readable") is False:
            raise BadRequest(f"{self._shown} passes everything on and has nothing to list")
        if following is not None and (not isinstance(following, str) or following <= after):
            raise PeerFailed(f"The listing of {self._shown} goes round in circles")
        return entries, omitted, following


def _dicts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(one, dict) for one in values)


class HttpSource:
    """What a server of this kind lists below a prefix: `https://host/files/PREFIX/`."""

    rereadable = True
    display_name: str

    def __init__(
        self, transport: Transport, server: RemoteServer, retry_policy: RetryPolicy
    ) -> None:
        self._transport, self._server, self._retry_policy = transport, server, retry_policy
        self._listing = Listing(transport, server)
        self._together = FilesTogether(transport, server, self._listing.base)
        self.display_name = redact_url(server.url)

    async def items(self) -> AsyncIterator[CopyItem]:
        after, seen, empty = "", False, 0
        while True:
            entries, omitted, following = await self._retry_policy.run(
                partial(self._listing.page, after, PAGE), met=bool(after)
            )
            for entry in entries:
                yield self._item(entry)
            for one in omitted:
                yield self._omitted(one)
            seen = seen or bool(entries or omitted)
            empty = 0 if entries or omitted else empty + 1
            if empty > MOST_EMPTY:
                raise PeerFailed(
                    f"The listing of {self.display_name} goes on and on, and lists nothing"
                )
            if following is None:
                if self._listing.prefix and not seen:
                    raise nothing_below(self.display_name)
                return
            after = following

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        together = await self._together.get(self._listing.prefix + item.key, item)
        if together is not None:
            yield _reading(item, *together)
            return
        url = below(f"{self._listing.base}/", self._listing.prefix + item.key)
        headers = {**self._server.headers, **WANT_DIGEST}
        if item.version:
            headers["if-match"] = f'"{item.version}"'
        source = RemoteSource(self._transport, url, headers, retry_policy=IN_PLACE)
        try:
            try:
                await source.meet()
            except PreconditionFailed as error:
                raise SourceChanged(f"{redact_url(url)} changed since it was listed") from error
            tag = (source.validator or "").strip('"')
            if item.version and tag != item.version:
                raise SourceChanged(f"{redact_url(url)} is not the version that was listed")
            digests = digest_pairs({one.algorithm: one.value for one in source.promises})
            metadata = Metadata(source.name, _readable_type(source) or OCTET_STREAM, digests)
            found = CopyItem(item.key, source.length, tag, item.modified)
            if is_small(source):
                content = await source.read_small()
                yield Reading(found, BytesSource(content), metadata, content=content)
            else:
                yield Reading(found, source, metadata, identity=source.identity)
        finally:
            await source.aclose()

    async def aclose(self) -> None:
        """The transport is its owner's."""
        await self._together.aclose()

    def _item(self, entry: Mapping[str, object]) -> CopyItem:
        key, size, tag = entry.get("key"), entry.get("size"), entry.get("etag")
        if not isinstance(key, str) or not key.startswith(self._listing.prefix):
            raise PeerFailed(
                f"{self.display_name} lists an object without a key, or with one that was not "
                "asked for"
            )
        key = key[len(self._listing.prefix) :]
        size = size if isinstance(size, int) and size >= 0 else None
        usable = isinstance(tag, str) and tag.isascii() and tag.isprintable() and '"' not in tag
        return CopyItem(
            key,
            size,
            str(tag) if usable else "",
            iso_seconds(entry.get("modified")),
            _unseen(key) or omitted_key(key, size),
        )

    def _omitted(self, one: Mapping[str, object]) -> CopyItem:
        """An object that the server itself could not list."""
        name, code, detail = (
            str(one.get(field) or "")[:MOST_OMITTED] for field in ("name", "code", "detail")
        )
        key = name.removeprefix(self._listing.prefix)
        detail = detail or f"{self.display_name} could not list it"
        return CopyItem(key, None, omitted=Omitted(key, code or "peer-failed", detail))


def _reading(item: CopyItem, described: Mapping[str, object], content: bytes) -> Reading:
    """Of a file that came together with others."""
    digests = tuple(
        (str(name), str(digits)) for name, digits in described.items() if is_digest(name, digits)
    )
    name, kind = described.get("filename"), described.get("type")
    metadata = Metadata(
        clean_name(name if isinstance(name, str) and name else item.key.rpartition("/")[2]),
        kind if isinstance(kind, str) and _TYPE.fullmatch(kind) else OCTET_STREAM,
        digests,
    )
    found = item if item.size == len(content) else dataclasses.replace(item, size=len(content))
    return Reading(found, BytesSource(content), metadata, content=content)


def _unseen(key: str) -> Omitted | None:
    """A name with a character that cannot be seen, or steers a terminal, names no file here."""
    if (unseen := unseen_in(key)) is None:
        return None
    detail = f"the server lists it with a character that cannot be seen (U+{ord(unseen):04X})"
    return Omitted(key, "bad-name", detail)


def iso_seconds(modified: object) -> float | None:
    """Seconds since the epoch of a date in a listing; None where it is none."""
    try:
        return datetime.fromisoformat(modified).timestamp() if isinstance(modified, str) else None
    except (ValueError, OverflowError):
        return None
