"""A bucket of Google or Azure, by obstore in threads.

obstore's path type has no control characters and no empty segments, and drops a slash at either end
of a key. A listing that meets a key it refuses raises. An empty object that cannot be found under
the name it is listed with was a folder marker.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import obstore
from obstore.store import MemoryStore

from sluiceway.errors import BadName, NotFound, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import (
    FOLDER_MARKER,
    METADATA_HEADERS,
    Entry,
    Metadata,
    Omitted,
    Replace,
)
from sluiceway.stores.objects.bucket import (
    FOLDER_MARKER_DETAIL,
    READ_BLOCK,
    Bucket,
    BucketResponse,
    Listed,
    UnlistableKey,
    omitted,
)
from sluiceway.stores.objects.metadata import (
    Described,
    draft_of,
    metadata_from,
    stored_metadata,
)
from sluiceway.wire.names import readable_name

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta
    from obstore.store import ObjectStore as Handle

__all__ = ["CloudBucket", "can_spell"]

THREADS = 64  # calls at once; an upload has one, and the budget allows far fewer uploads


class CloudBucket(Bucket):
    """`handle` sees keys below the prefix. Knows no compare-and-swap by tag."""

    kind: Literal["cloud"] = "cloud"

    def __init__(
        self, handle: Handle, name: str, display_name: str, prefix: str, budget: Budget
    ) -> None:
        # Threads, not obstore's own coroutines: those outlive the event loop and may crash at exit.
        self._pool = ThreadPoolExecutor(THREADS, "sluiceway-objects")
        super().__init__(name, display_name, prefix, budget, self._pool, compare_and_swap=False)
        self._handle = handle

    async def pages(self, prefix: str, after: str, size: int) -> AsyncIterator[Sequence[Listed]]:
        folder, slash, _ = prefix.rpartition("/")
        if slash and not can_spell(folder):  # there may be some; the library cannot ask for them
            raise BadName(f"No key that can be listed here begins with {readable_name(prefix)!r}")
        start = max(after, _before(prefix))
        start = start if can_spell(start) else ""  # keys before it are dropped below
        try:
            pages = iter(
                obstore.list(self._handle, folder or None, offset=start or None, chunk_size=size)
            )
            while (page := await self.run(next, pages, None)) is not None:
                names = [meta["path"] for meta in page]
                yield [
                    await self._listed(meta)
                    for meta in page
                    if meta["path"].startswith(prefix) and meta["path"] > after
                ]
                if names and names[-1] > prefix and not names[-1].startswith(prefix):
                    return
        except BadName as error:
            raise UnlistableKey(
                f"{self.display_name} holds a key that cannot be read here "
                "(a control character, or an empty segment, . or ..), "
                f"so its listing broke off: {error.detail}"
            ) from error

    def why_unreadable(self, key: str) -> str | None:
        if can_spell(key):
            return None
        return "the library that reads this cloud refuses control characters"

    async def head(self, key: str) -> tuple[Entry, str]:
        return _entry(key, await self._get(key, {"head": True}))

    async def get(
        self,
        key: str,
        span: tuple[int, int] | None = None,
        etag: str | None = None,
        at_once: int = 0,
    ) -> BucketResponse:
        options: GetOptions = {} if span is None else {"range": span}
        if etag is not None:
            options["if_match"] = f'"{etag}"'
        result = await self._get(key, options)
        if span is None and result.meta["size"] <= at_once:
            content = bytes(await self.run(result.bytes))
            return BucketResponse(*_entry(key, result), iter((content,)), lambda: None, content)
        least = READ_BLOCK if span is None else min(READ_BLOCK, span[1] - span[0])
        blocks = iter(result.stream(min_chunk_size=least))
        # obstore ends the connection when its stream is collected.
        return BucketResponse(*_entry(key, result), blocks, close=lambda: None)

    async def put(
        self, key: str, body: Buffer, metadata: Described, draft: str, replace: Replace
    ) -> None:
        """As in `Bucket`. Does not look at the tag of `replace`."""
        await self.run(
            obstore.put,
            self._handle,
            key,
            body,
            attributes=_attributes(metadata, draft),
            mode="overwrite" if replace.allowed else "create",
            use_multipart=False,
        )

    async def put_in_parts(
        self,
        key: str,
        chunks: Iterator[Buffer],
        metadata: Described,
        draft: str,
        part_size: int,
        in_flight: int,
    ) -> None:
        """Write chunks as they come. An error that `chunks` raises takes back what was sent."""
        await self.run(
            obstore.put,
            self._handle,
            key,
            chunks,
            attributes=_attributes(metadata, draft),
            use_multipart=True,
            chunk_size=part_size,
            max_concurrency=in_flight,
        )

    async def copy(self, source: str, key: str, overwrite: bool) -> None:
        """Copy inside the cloud. Raises PreconditionFailed where the key is taken."""
        await self.run(obstore.copy, self._handle, source, key, overwrite=overwrite)

    async def delete(self, key: str, etag: str | None = None) -> None:
        try:
            await self.run(obstore.delete, self._handle, key)
        except NotFound:
            pass

    async def signed_url(self, entry: Entry, seconds: float, disposition: str) -> str:
        """As in `Bucket`. The disposition cannot be chosen here."""
        handle: Any = self._handle
        if isinstance(handle, MemoryStore):
            raise StoreFailed(f"{self.display_name} signs no URLs")
        return await self.run(obstore.sign, handle, "GET", entry.key, timedelta(seconds=seconds))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _get(self, key: str, options: GetOptions) -> GetResult:
        if not can_spell(key):  # the library would refuse it, or look under another key
            raise NotFound(f"There is no object {key!r}")
        try:
            return await self.run(obstore.get, self._handle, key, options=options)
        except NotFound:
            raise NotFound(f"There is no object {key!r}") from None

    async def _listed(self, meta: ObjectMeta) -> Listed:
        key = meta["path"]
        if (why := omitted(key, meta["size"])) is not None:
            return key, why
        if meta["size"] == 0 and not await self._exists(key):
            return key, Omitted(readable_name(key), FOLDER_MARKER, FOLDER_MARKER_DETAIL)
        return key, _entry_from_meta(key, meta, Metadata(""))

    async def _exists(self, key: str) -> bool:
        try:
            await self.head(key)
        except NotFound:
            return False
        return True


def can_spell(key: str) -> bool:
    """Whether obstore can ask for exactly this key."""
    plain = not any(
        symbol < " " or symbol == "\x7f" or "\ud800" <= symbol <= "\udfff" for symbol in key
    )
    return plain and not any(segment in ("", ".", "..") for segment in key.split("/"))


def _entry(key: str, result: GetResult) -> tuple[Entry, str]:
    attributes: Mapping[Any, Any] = result.attributes
    values = {str(name).lower(): str(value) for name, value in attributes.items()}
    known = (*METADATA_HEADERS, "content-type")
    headers = {name: value for name, value in values.items() if name in known}
    stored = {name: value for name, value in values.items() if name not in known}
    entry = _entry_from_meta(key, result.meta, metadata_from(headers, stored))
    return entry, draft_of(stored)


def _entry_from_meta(key: str, meta: ObjectMeta, metadata: Metadata) -> Entry:
    modified = math.ceil(meta["last_modified"].timestamp())
    return Entry(key, meta["size"], (meta["e_tag"] or "").strip('"'), modified, metadata)


def _attributes(metadata: Described, draft: str) -> dict[str, str]:
    """Headers by their names; obstore takes every other name as metadata. It knows no Expires."""
    headers = {name.title(): value for name, value in metadata.headers if name != "expires"}
    return {**stored_metadata(draft, metadata), **headers, "Content-Type": metadata.type}


def _before(prefix: str) -> str:
    """A text before all that begin with the prefix, and after nearly all others before them."""
    if not prefix:
        return ""
    last = ord(prefix[-1])
    return prefix[:-1] + (
        chr(last - 1) + "\U0010ffff" if last > 0xE000 or 1 < last < 0xD800 else ""
    )
