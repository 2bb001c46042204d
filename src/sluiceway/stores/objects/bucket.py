"""A bucket as its store, its drafts and its readers share it: one interface for all clouds.

`S3Bucket` implements it with boto3, `CloudBucket` with obstore for Google and Azure. A listing
gives every object under the key it really has, names it as omitted, or raises. Knows no draft's or
reader's class.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sluiceway.errors import BadName, NotFound, SluiceError, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.contract import FOLDER_MARKER, Draft, Entry, Metadata, Omitted, Pairs, Replace
from sluiceway.stores.keys.locks import KeyLocks
from sluiceway.stores.objects.errors import map_error
from sluiceway.stores.objects.metadata import (
    DRAFTS,
    MOST_NOTE,
    Described,
    format_note,
    is_lasting,
    is_own,
    note_key,
    parse_note,
)
from sluiceway.stores.objects.part_sizes import SMALLEST_PART
from sluiceway.stores.unpublished import COPY_KEPT
from sluiceway.wire.names import readable_name, stays_inside

__all__ = [
    "FOLDER_MARKER_DETAIL",
    "READ_BLOCK",
    "REPLACE_ANY",
    "ROUNDING",
    "Bucket",
    "BucketResponse",
    "Listed",
    "UnlistableKey",
    "omitted",
]

log: logging.Logger = logging.getLogger("sluiceway")

T = TypeVar("T")

READ_BLOCK = 1 << 20  # bytes read at once
ROUNDING = 1.0  # seconds: servers tell times in whole seconds, and Swift rounds them up
REPLACE_ANY = Replace(allowed=True)
FOLDER_MARKER_DETAIL = "It is the empty object that a console makes to show a folder"

# A key and what is there. The key is "" where it is not text. An entry has no metadata yet.
Listed = tuple[str, Entry | Omitted]


@dataclass(frozen=True, slots=True)
class BucketResponse:
    """An object and its bytes, which still arrive. `blocks` blocks: a thread steps it."""

    entry: Entry
    draft: str  # the id of the draft that the object was
    blocks: Iterator[bytes]
    close: Callable[[], object]  # ends the connection where bytes are left on it
    content: bytes | None = None  # all of it, where it was read at once


PARTS_IN_FLIGHT = 4  # of one upload, by default; more gained nothing over loopback


class UnlistableKey(StoreFailed):
    """A listing met a key that the cloud's library refuses to read, and broke off there."""


class Bucket(ABC):
    """Keys are below `prefix`. Every method raises SluiceError for what the cloud answers."""

    def __init__(
        self,
        name: str,
        display_name: str,
        prefix: str,
        budget: Budget,
        threads: Executor,
        compare_and_swap: bool,
    ) -> None:
        self.name: str = name  # of the traits: "s3", "google", "azure"
        self.display_name: str = display_name
        self.prefix: str = prefix  # "" or ending in /
        self.budget: Budget = budget
        self._threads = threads  # for reading
        # Whether create-only and replace-by-tag are one step there. Where that was not measured
        # they are not.
        self.compare_and_swap: bool = compare_and_swap
        self.drafts: dict[str, Draft] = {}  # under way in this process, by id
        self.parts_in_flight: int = PARTS_IN_FLIGHT  # of one upload
        self.draft_life: float | None = COPY_KEPT  # see `LeasesDrafts`
        self.locks: KeyLocks = KeyLocks()  # for clouds that do not compare and write in one step
        self._cleaning: set[asyncio.Task[None]] = set()

    @property
    def live_drafts(self) -> int:
        """Uploads under way, at least one."""
        return max(1, len(self.drafts))

    @abstractmethod
    def pages(self, prefix: str, after: str, size: int) -> AsyncIterator[Sequence[Listed]]:
        """All keys that begin with `prefix` and sort after `after`, in order, `size` at once.

        Ends when the cloud says that the listing is complete.
        """

    @abstractmethod
    def why_unreadable(self, key: str) -> str | None:
        """Why an object with this key could not be listed or read again; None where it could."""

    @abstractmethod
    async def head(self, key: str) -> tuple[Entry, str]:
        """The object, and the id of the draft it was. Raises NotFound."""

    @abstractmethod
    async def get(
        self,
        key: str,
        span: tuple[int, int] | None = None,
        etag: str | None = None,
        at_once: int = 0,
    ) -> BucketResponse:
        """The bytes of a span, or all. Raises NotFound, and PreconditionFailed for another tag.

        Where `at_once` bytes or fewer come, they may be read before this returns.
        """

    @abstractmethod
    async def put(
        self, key: str, body: Buffer, metadata: Described, draft: str, replace: Replace
    ) -> None:
        """Write an object in one request, complete or not at all."""

    @abstractmethod
    async def delete(self, key: str, etag: str | None = None) -> None:
        """Delete the object, if there is one.

        With a tag, S3 raises PreconditionFailed for an object with another one.
        """

    @abstractmethod
    async def signed_url(self, entry: Entry, seconds: float, disposition: str) -> str:
        """A URL to GET the object. Raises StoreFailed where the key cannot sign."""

    @abstractmethod
    def close(self) -> None: ...

    async def run(self, call: Callable[..., T], *values: Any, **options: Any) -> T:
        """Run a blocking step in a thread. A caller that is cancelled waits for its end."""
        try:
            return await in_thread(partial(call, *values, **options), self._threads)
        except SluiceError:
            raise
        except Exception as error:
            raise map_error(error, self.display_name) from error

    async def abort_unfinished(self, older: float) -> int:
        """Abort multipart uploads without a new part for `older` seconds. Returns their number.

        Google and Azure clear their unfinished parts themselves.
        """
        return 0

    def check_key(self, key: str) -> None:
        """Raises BadName for a key that could be written and not read again. "" is none yet."""
        if key and (why := self.why_unreadable(key)) is not None:
            raise BadName(f"{readable_name(key)!r} cannot be a key here: {why}")

    async def look(self, key: str) -> tuple[Entry, str]:
        """As `head`, with the digests of its note. Raises NotFound for a key of our own."""
        self.refuse_own(key)
        entry, draft = await self.head(key)
        return await self.with_noted_digests(entry, draft), draft

    def refuse_own(self, key: str) -> None:
        """Raises NotFound for the key of a draft or a note."""
        if is_own(key):
            raise NotFound(f"There is no object {key!r}")

    async def etag(self, key: str) -> str | None:
        """The tag of the object there, None for none."""
        try:
            return (await self.head(key))[0].etag
        except NotFound:
            return None

    async def is_draft(self, key: str, draft: str) -> bool:
        """Whether the object under the key is what this draft became."""
        try:
            return (await self.head(key))[1] == draft
        except SluiceError:
            return False

    async def confirm_published(self, key: str, draft: str, size: int, metadata: Metadata) -> Entry:
        """The object that was just published. Raises StoreFailed where it has another size."""
        try:
            entry, found = await self.look(key)
        except SluiceError as error:
            log.warning("%r was stored, but the cloud does not describe it: %s", key, error.detail)
            return Entry(key, size, draft, time.time(), metadata)
        if found == draft and entry.size != size:
            raise StoreFailed(
                f"{self.display_name} says that {key!r} has {entry.size} bytes; {size} were sent"
            )
        return entry

    async def delete_quietly(self, key: str) -> None:
        """Delete what no object needs. A failure is logged: a sweep deletes it later."""
        try:
            await self.delete(key)
        except SluiceError as error:
            log.warning("A draft's bytes stay in the bucket until they are swept: %s", error.detail)

    async def delete_all(self, keys: Collection[str]) -> None:
        """Delete what no object needs, at once. Failures are logged."""
        await asyncio.gather(*map(self.delete_quietly, keys))

    def clean(self, keys: Collection[str]) -> None:
        """Have what no object needs deleted, without a wait."""
        if keys:
            cleaning = asyncio.get_running_loop().create_task(self.delete_all(keys))
            self._cleaning.add(cleaning)
            cleaning.add_done_callback(self._cleaning.discard)

    async def cleaned(self) -> None:
        """Wait until all that `clean` got is deleted."""
        if self._cleaning:
            await asyncio.wait(self._cleaning)

    async def write_note(self, key: str, draft: str, digests: Pairs) -> str:
        """Write down the digests of an object sent in parts. Returns the note's key."""
        note = note_key(key, draft)
        described = Metadata(filename="", type="application/json")
        await self.put(note, format_note(key, digests), described, draft, REPLACE_ANY)
        return note

    async def with_noted_digests(self, entry: Entry, draft: str) -> Entry:
        """The entry with the digests of its note, where it was sent in parts."""
        if not (draft and _may_have_note(entry)):
            return entry
        key, noted = await self._read_note(note_key(entry.key, draft))
        if key != entry.key or not noted:
            return entry
        digests = tuple(sorted({**dict(noted), **dict(entry.metadata.digests)}.items()))
        return dataclasses.replace(
            entry, metadata=dataclasses.replace(entry.metadata, digests=digests)
        )

    async def delete_note(self, entry: Entry, draft: str) -> None:
        if draft and _may_be_in_parts(entry.etag):
            await self.delete(note_key(entry.key, draft))

    async def is_needed(self, own: str) -> bool:
        """Whether a key of our own is a note, and the object it describes is still the one."""
        if own.startswith(DRAFTS) or is_lasting(own):
            return False
        return await self.is_draft((await self._read_note(own))[0], own.rpartition("/")[2])

    async def _read_note(self, note: str) -> tuple[str, Pairs]:
        try:
            response = await self.get(note)
        except NotFound:
            return "", ()
        try:
            return parse_note((await self.run(next, response.blocks, b""))[:MOST_NOTE])
        finally:
            response.close()


def _may_have_note(entry: Entry) -> bool:
    """Whether to ask for the note of an object: one that was written at once has none.

    A sha-256 that the client promised stands in the object itself, and the other digests of one
    sent in parts only in its note. It costs the small objects of clouds whose tags tell nothing no
    request.
    """
    if entry.metadata.sha256 is None:
        return _may_be_in_parts(entry.etag)
    return _may_be_in_parts(entry.etag) and ("-" in entry.etag or entry.size > SMALLEST_PART)


def _may_be_in_parts(etag: str) -> bool:
    """S3's tag of an object sent in parts ends in their number.

    The other clouds' tags tell nothing, so their notes are always asked for.
    """
    return (
        "-" in etag or not all(symbol in "0123456789abcdef" for symbol in etag) or len(etag) != 32
    )


def omitted(key: str, size: int, root: str = "") -> Omitted | None:
    """Why a key of the bucket is not an entry; None where it is one, or ours.

    `root` is the name for the key "".
    """
    if stays_inside(key) or is_own(key):
        return None
    name = readable_name(key or root)
    if size == 0 and (key == "" or key.endswith("/")):
        return Omitted(name, FOLDER_MARKER, FOLDER_MARKER_DETAIL)
    return Omitted(
        name,
        "bad-name",
        "Its key has an empty segment, . or .., or is one of .sluiceway; "
        "it cannot be asked for here",
    )
