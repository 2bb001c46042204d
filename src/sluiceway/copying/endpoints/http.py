"""A REST API as a side of a copy of many objects: this project's listing to read from, plain PUT or forms to write to.

Every object is one request with one answer. What a lost answer leaves open is settled by asking what is there. Knows no store.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from sluiceway.client import retry
from sluiceway.client.download_plan import length_of
from sluiceway.client.file_request import FORM_END, form_request, put_request
from sluiceway.client.http.error_responses import FROM_TOKEN, TOKEN, refusal
from sluiceway.client.http.exchange import Head
from sluiceway.client.http.redirects import follow_redirects
from sluiceway.client.http.transport import Transport
from sluiceway.client.remote_source import RemoteSource, repr_promises
from sluiceway.client.retry import ANSWERED, BUSY
from sluiceway.client.upload import Upload, upload
from sluiceway.copying.contract import CopyItem, Reading
from sluiceway.copying.endpoints.folder_walk import omitted_key
from sluiceway.copying.endpoints.sources import nothing_below
from sluiceway.copying.endpoints.webdav_folders import Folders
from sluiceway.copying.options import Side
from sluiceway.copying.retry_policy import RetryPolicy
from sluiceway.copying.sha256_of import counted, promised
from sluiceway.errors import (
    BadRequest,
    MethodNotAllowed,
    NotFound,
    PeerFailed,
    PreconditionFailed,
    SluiceError,
    SourceChanged,
)
from sluiceway.pipe.receipt import Receipt
from sluiceway.stores.contract import Metadata, Omitted
from sluiceway.wire.headers.digests import Promise, format_digest
from sluiceway.wire.headers.media_types import OCTET_STREAM
from sluiceway.wire.names import clean_name, unseen_in
from sluiceway.wire.urls import below, redact_url

__all__ = ["FormTarget", "HttpSource", "HttpTarget"]

PAGE = 500  # entries asked for at once
MOST_PAGE = (
    8 << 20
)  # bytes of a listing's answer: each of its 500 entries may have a key of 1 KiB, escaped twice
SECOND_LOOKS = (0.1, 0.3)  # seconds before a HEAD that was answered 500 is asked again
FOLDER_MISSING = (
    404,
    409,
    500,
)  # what WebDAV servers answer to a PUT into no folder: some, most (RFC 4918), and nginx
IN_PLACE = retry.RetryPolicy(
    2
)  # tries for the rest of a body that broke off, before the whole object is tried again
MOST_OMITTED = 2048  # characters kept of what a server says of something it could not list
MOST_EMPTY = (
    100  # pages in a row without an entry: a filter may leave some empty, no listing has so many
)
WANT = {"want-repr-digest": "sha-256=10"}

_TYPE = re.compile(r"[\x20-\x7e]+")  # what a header or a part's head may carry

_Dicts = list[dict[str, object]]


class _Listing:
    """GET /files of a server of this kind, below a prefix."""

    def __init__(self, transport: Transport, side: Side) -> None:
        self._transport, self._side = transport, side
        parts = urlsplit(side.url)
        before, found, path = (parts.path.rstrip("/") + "/").partition(FORM_END + "/")
        self.prefix: str = unquote(path)
        self.base: str = urlunsplit((parts.scheme, parts.netloc, before + FORM_END, "", ""))
        self._known = bool(found)

    async def page(self, after: str, limit: int) -> tuple[_Dicts, _Dicts, str | None]:
        """Entries, what is none, and the next page's cursor.

        Raises BadRequest where there is no such listing, PeerFailed, a refusal."""
        who = redact_url(self._side.url)
        if not self._known:
            raise BadRequest(
                f"{who} cannot be listed: its path has no /files/, as a server of this kind has it"
            )
        url = f"{self.base}?prefix={quote(self.prefix, safe='')}&after={quote(after, safe='')}&limit={limit}"
        async with follow_redirects(
            self._transport, url, self._side.headers, {"accept": "application/json"}
        ) as answer:
            head = answer.head
            if head.status in (404, 405, 501):
                raise BadRequest(
                    f"{who} has no listing (it answered {head.status}); many objects are read from one"
                )
            if head.status != 200:
                raise refusal(head, await answer.text(), FROM_TOKEN)
            body = await answer.whole(MOST_PAGE)
        if body is None:
            raise PeerFailed(f"{who} answered with a listing larger than {MOST_PAGE >> 20} MiB")
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            told = None
        entries = told.get("files") if isinstance(told, dict) else None
        if (
            not isinstance(told, dict)
            or not isinstance(entries, list)
            or not all(isinstance(one, dict) for one in entries)
        ):
            raise BadRequest(
                f"{who} answered with no listing of this kind; many objects are read from one"
            )
        omitted = told.get("omitted", [])
        if (
            "next" not in told
            or not isinstance(omitted, list)
            or not all(isinstance(one, dict) for one in omitted)
        ):
            raise PeerFailed(f"{who} does not say whether its listing is complete")
        if told.get("readable") is False:
            raise BadRequest(f"{who} passes everything on and has nothing to list")
        following = told.get("next")
        if following is not None and (not isinstance(following, str) or following <= after):
            raise PeerFailed(f"The listing of {who} goes round in circles")
        return entries, omitted, following


class HttpSource:
    """What a server of this kind lists below a prefix: `https://host/files/PREFIX/`."""

    rereadable = True
    display_name: str

    def __init__(self, transport: Transport, side: Side, patience: RetryPolicy) -> None:
        self._transport, self._side, self._patience = transport, side, patience
        self._listing = _Listing(transport, side)
        self.display_name = redact_url(side.url)

    async def items(self) -> AsyncIterator[CopyItem]:
        after, seen, empty = "", False, 0
        while True:
            entries, omitted, following = await self._patience.of(
                lambda after=after: self._listing.page(after, PAGE)  # type: ignore[misc]
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
        url = below(f"{self._listing.base}/", self._listing.prefix + item.key)
        headers = {**self._side.headers, **WANT}
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
            sha256 = next(
                (
                    promise.value.hex()
                    for promise in source.promises
                    if promise.algorithm == "sha-256"
                ),
                None,
            )
            kind = source.type if source.type and _TYPE.fullmatch(source.type) else OCTET_STREAM
            yield Reading(
                CopyItem(item.key, source.length, tag, item.modified),
                source,
                Metadata(source.name, kind, sha256),
            )
        finally:
            await source.aclose()

    async def aclose(self) -> None:
        """The transport is its owner's."""

    def _item(self, entry: Mapping[str, object]) -> CopyItem:
        key, size, tag = entry.get("key"), entry.get("size"), entry.get("etag")
        if not isinstance(key, str) or not key.startswith(self._listing.prefix):
            raise PeerFailed(
                f"{self.display_name} lists an object without a key, or with one that was not asked for"
            )
        key = key[len(self._listing.prefix) :]
        size = size if isinstance(size, int) and size >= 0 else None
        version = (
            tag
            if isinstance(tag, str) and tag.isascii() and tag.isprintable() and '"' not in tag
            else ""
        )
        return CopyItem(
            key,
            size,
            version,
            _seconds(entry.get("modified")),
            _hostile(key) or omitted_key(key, size),
        )

    def _omitted(self, told: Mapping[str, object]) -> CopyItem:
        """What the server itself could not list, or not carry."""
        name, code, detail = (
            str(told.get(word) or "")[:MOST_OMITTED] for word in ("name", "code", "detail")
        )
        key = name.removeprefix(self._listing.prefix)
        return CopyItem(
            key,
            None,
            omitted=Omitted(
                key, code or "peer-failed", detail or f"{self.display_name} could not list it"
            ),
        )


class HttpTarget:
    """Objects as PUT to a URL that ends in `/`, each under its own key. Where the server knows If-None-Match or
    Idempotency-Key, it cannot take one twice; where it knows neither, what is there is looked at before."""

    repeats = True
    display_name: str

    def __init__(self, transport: Transport, side: Side) -> None:
        self._transport, self._side = transport, side
        self.display_name = redact_url(side.url)
        self._folders = Folders(transport, side)
        self._tells = False  # a HEAD told something: then 500 is trouble that passes
        self._mute = (
            False  # none did, and one that was repeated was answered 500: this API knows no HEAD
        )

    async def empty(self) -> bool:
        """Only a listing can tell."""
        try:
            entries, omitted, following = await _Listing(self._transport, self._side).page("", 1)
        except SluiceError:
            return False
        return not entries and not omitted and following is None

    async def find(self, key: str) -> tuple[CopyItem, str | None] | None:
        head = await self._head(key)
        for wait in SECOND_LOOKS:
            if head.status != 500 or self._tells or self._mute:
                break
            await asyncio.sleep(wait)
            head = await self._head(key)
        self._tells = self._tells or head.status in (200, 404)
        self._mute = self._mute or head.status == 500
        if head.status == 401 or head.status in BUSY or (head.status == 500 and self._tells):
            raise refusal(head, "", TOKEN)  # who is not let in is told, and who is to wait waits
        if head.status != 200:
            return None  # nothing there, or no word about it: many an API knows no HEAD. The PUT will show it
        known = [
            promise.value.hex()
            for promise in repr_promises(head.headers.get("repr-digest", ""))
            if _is_sha256(promise)
        ]
        return CopyItem(key, length_of(head), head.headers.get("etag", "")), known[
            0
        ] if known else None

    async def _head(self, key: str) -> Head:
        url = below(self._side.url, key)
        async with follow_redirects(
            self._transport, url, self._side.headers, WANT, method="HEAD"
        ) as answer:
            return answer.head

    async def sha256(self, key: str) -> str | None:
        source = RemoteSource(
            self._transport, below(self._side.url, key), self._side.headers, retry_policy=IN_PLACE
        )
        try:
            await source.meet()
            return await counted(source)
        except (NotFound, MethodNotAllowed):
            return None
        finally:
            await source.aclose()

    async def put(self, key: str, reading: Reading, once: str, replace: bool) -> Receipt:
        headers = {**self._side.headers, "idempotency-key": once}
        if not replace:
            headers["if-none-match"] = "*"
        promises = promised(reading)
        if promises:
            headers["repr-digest"] = format_digest("sha-256", promises[0].value)
        shape = put_request(self._side.url, key, _type(reading))
        job = Upload(reading.source, shape, key, headers, promises, retry.RetryPolicy(1))
        try:
            return await upload(self._transport, job)
        except SluiceError as error:
            # A server that explains itself by a code means what it says; one that speaks WebDAV may miss the folder.
            told = (
                error.members.get(ANSWERED) in FOLDER_MISSING and "answer_code" not in error.members
            )
            if not told or not reading.source.reopenable:
                raise
            if not await self._folders.make(shape.url):
                if self._folders.refused in (401, 403, 507):
                    error.detail += f"; its folder is not there, perhaps: making it was answered {self._folders.refused}"
                raise
        return await upload(self._transport, job)

    async def aclose(self) -> None:
        """The transport is its owner's."""


class FormTarget:
    """Objects as forms, one POST each, to a URL that ends in /files: the server picks the keys, so nothing can be found again.

    A POST is repeated only where the server surely has not got all of it, whatever its idempotency key promises.
    """

    repeats = False
    display_name: str

    def __init__(self, transport: Transport, side: Side, patience: RetryPolicy) -> None:
        self._transport, self._side, self._patience = transport, side, patience
        self.display_name = redact_url(side.url)

    async def empty(self) -> bool:
        return True  # no key is taken before the server picks it

    async def find(self, key: str) -> tuple[CopyItem, str | None] | None:
        return None

    async def sha256(self, key: str) -> str | None:
        return None

    async def put(self, key: str, reading: Reading, once: str, replace: bool) -> Receipt:
        token = hashlib.sha256(once.encode("ascii")).digest()[:16]
        shape = form_request(self._side.url, clean_name(key), _type(reading), (), None, token)
        headers = {**self._side.headers, "idempotency-key": once}
        again = retry.RetryPolicy(self._patience.retries + 1)
        return await upload(
            self._transport,
            Upload(reading.source, shape, key, headers, promised(reading), again),
        )

    async def aclose(self) -> None:
        """The transport is its owner's."""


def _hostile(key: str) -> Omitted | None:
    """A server's name with what steers a terminal or cannot be seen becomes no file's name here, as with a single download."""
    if (unseen := unseen_in(key)) is None:
        return None
    return Omitted(
        key,
        "bad-name",
        f"the server lists it with a character that cannot be seen (U+{ord(unseen):04X})",
    )


def _is_sha256(promise: Promise) -> bool:
    return promise.algorithm == "sha-256"


def _type(reading: Reading) -> str:
    return reading.metadata.type if _TYPE.fullmatch(reading.metadata.type) else OCTET_STREAM


def _seconds(told: object) -> float | None:
    try:
        return datetime.fromisoformat(told).timestamp() if isinstance(told, str) else None
    except (ValueError, OverflowError):
        return None
