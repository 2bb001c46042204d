"""What a store does: Store, Draft and ObjectReader, and protocols a store may implement besides.

Objects rest in a store. A draft is an object that readers cannot see yet; it ends in exactly one of
two ways, publish or discard. `sluiceway.testing.store_suite` tests a store against this contract.
Knows nothing of HTTP, disks or networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from sluiceway.errors import SluiceError
from sluiceway.pipe.source import Buffer, Source
from sluiceway.stores.values import (
    FOLDER_MARKER,
    METADATA_HEADERS,
    MOST_METADATA,
    DestinationResult,
    Entry,
    Metadata,
    Omitted,
    Page,
    Pairs,
    Replace,
    Reply,
    Traits,
    UploadRequest,
)

__all__ = [
    "FOLDER_MARKER",
    "METADATA_HEADERS",
    "MOST_METADATA",
    "CompositeStore",
    "DestinationResult",
    "Draft",
    "EarlyFailure",
    "Entry",
    "FileBacked",
    "HealthChecked",
    "Maintained",
    "Metadata",
    "ObjectReader",
    "Omitted",
    "Page",
    "Pairs",
    "Pausable",
    "ReadinessProbed",
    "Renames",
    "Replace",
    "Reply",
    "SequentialOpen",
    "SignedUrls",
    "Store",
    "Traits",
    "UploadRequest",
]


class Draft(Protocol):
    """An object that readers cannot see yet. `Store.draft` makes one.

    Calls come one at a time. Only `discard` may come at any time, also twice.

    Example:
        draft = await store.draft(upload_id, size=None)
        try:
            await draft.write(b"hello")
            entry = await draft.publish("greeting.txt", Metadata("greeting.txt"))
        finally:
            await draft.discard()
    """

    @property
    def written(self) -> int:
        """Bytes taken by `write` so far."""
        ...

    @property
    def kept(self) -> int:
        """Bytes that survive a crash of this process and, with durable traits, a power cut."""
        ...

    async def write(self, data: Buffer) -> None:
        """Take the next bytes. Returns when the draft is ready for more (backpressure).

        A draft holds little memory for a slow sender; it sees to that itself.

        Args:
            data: Must not change afterwards: the draft may keep it until it is written.

        Raises:
            NoSpace: The destination is full.
            StoreFailed: The destination failed, or the draft has ended.
        """
        ...

    async def sync(self) -> int:
        """Keep everything written, or as much of it as the traits promise.

        Returns:
            The new value of `kept`, in bytes.

        Raises:
            NoSpace: The destination is full.
            StoreFailed: The destination failed.
        """
        ...

    async def truncate(self, offset: int) -> None:
        """Forget the bytes from `offset` on, because the digest of a chunk was wrong.

        Raises:
            StoreFailed: The traits keep less than bytes.
        """
        ...

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        """Make the object visible under `key`, whole and as durable as the traits promise.

        After an error the draft still exists: discard it.

        Args:
            key: A checked key.
            metadata: Kept with the object.
            replace: Whether an object at the key may be replaced.

        Returns:
            The object as the store knows it now.

        Raises:
            Exists: The key is taken and must not be replaced.
            PreconditionFailed: The object at the key has another tag.
            BadName: The store cannot have this key.
            Forbidden: A symbolic link or another kind of file is in the way.
            NoSpace: The destination is full.
            StoreFailed: The destination failed.
        """
        ...

    async def discard(self) -> None:
        """End the draft; nothing of it remains.

        Does nothing after `publish` or a first `discard`.
        """
        ...


class ObjectReader(Source, Protocol):
    """A finished object held open; `Store.open` makes one, and its caller closes it.

    Its bytes belong to `entry` even when the key is replaced or deleted meanwhile. Without the
    trait `stable_reads`, reading raises StoreFailed then; bytes of two versions are never mixed.

    Example:
        reader = await store.open("greeting.txt")
        try:
            async for data in reader.open(start=6):
                ...
        finally:
            await reader.aclose()
    """

    @property
    def entry(self) -> Entry: ...

    async def aclose(self) -> None: ...


class Store(Protocol):
    """Where objects rest.

    Keys are checked names with `/` between segments, never paths of the machine.

    Example:
        See `sluiceway.stores.memory`, which is a complete store.
    """

    @property
    def traits(self) -> Traits: ...

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        """Begin a draft.

        Args:
            upload: The id of the upload, for the draft's name.
            size: Bytes, where they are known, so that a full store can refuse at once.
            upload_request: What the client asked for.

        Raises:
            NoSpace: There is no room for `size` bytes.
            Unavailable: Too many drafts are under way; try again later.
            StoreFailed: The destination failed.
        """
        ...

    async def stat(self, key: str) -> Entry:
        """Look an object up.

        Raises:
            NotFound: There is no such object.
        """
        ...

    async def open(self, key: str) -> ObjectReader:
        """Open an object. The caller closes the reader.

        Raises:
            NotFound: There is no such object.
            Forbidden: It must not be read.
        """
        ...

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        """One page of the finished objects, in key order.

        Args:
            prefix: Only keys that start with it.
            after: Only keys that sort after it.
            limit: The most entries of the page.

        Raises:
            StoreFailed: The listing broke off. It never looks complete then.
        """
        ...

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        """Delete an object.

        Args:
            key: Its key.
            replace: With an etag, only that version.

        Raises:
            NotFound: There is no such object.
            PreconditionFailed: The object has another tag.
        """
        ...

    async def aclose(self) -> None:
        """Release everything. Drafts under way are discarded; those that may outlive it stay."""
        ...


# What a draft may be besides


@runtime_checkable
class EarlyFailure(Protocol):
    """A Draft that can fail while nothing is written to it, because the sender pauses."""

    @property
    def failure(self) -> SluiceError | None:
        """The reason, so that the upload ends at once; None while there is none. Never raises."""
        ...


@runtime_checkable
class Pausable(Protocol):
    """A Draft that can wait for the other files of its form at hardly any cost."""

    async def pause(self) -> None:
        """The object is complete. Release memory and descriptors until the next call.

        Raises:
            NoSpace: The destination is full.
            StoreFailed: The destination failed.
        """
        ...


# What a reader may be besides


@runtime_checkable
class FileBacked(Protocol):
    """An ObjectReader of a regular file, byte 0 its first, for the kernel to send (sendfile)."""

    def fileno(self) -> int:
        """The file descriptor, open until `aclose`."""
        ...


# What a store may be besides


@runtime_checkable
class HealthChecked(Protocol):
    """A Store that can check before the first request whether it is usable at all."""

    async def check(self) -> None:
        """Keep nothing open: the store is used in another event loop afterwards.

        Raises:
            SluiceError: It is not usable; the text says what to do.
        """
        ...


@runtime_checkable
class ReadinessProbed(Protocol):
    """A Store that can check cheaply and often whether it would take a file now."""

    async def probe(self) -> None:
        """Send one small request that reads, is not a listing and leaves nothing behind.

        Raises:
            SluiceError: It would not; the text says what to do.
        """
        ...


@runtime_checkable
class CompositeStore(Protocol):
    """A Store of several stores. Each of them is checked for itself."""

    @property
    def required_stores(self) -> Sequence[Store]:
        """Those without which no upload succeeds."""
        ...


@runtime_checkable
class Maintained(Protocol):
    """A Store that must be prepared once, and in which crashed processes leave bytes behind."""

    async def init(self) -> None:
        """Create what the store needs, such as tables. Safe to call again."""
        ...

    async def sweep(self, older: float | None = None) -> int:
        """Delete what crashed processes left behind. Safe beside uploads under way.

        Args:
            older: Seconds since the last sign of life of a leftover; None: the store's own limit.

        Returns:
            The number of leftovers removed.
        """
        ...


@runtime_checkable
class Renames(Protocol):
    """A Store that gives an object another key without reading its bytes.

    Whether it can at this place is the trait `renames`.
    """

    async def rename(self, key: str, new_key: str, etag: str | None = None) -> Entry:
        """Move an object to a free key. Its file name becomes the last segment of that key.

        Readers find it under the old key or the new one, for a moment perhaps under both.

        Args:
            key: Its key.
            new_key: A checked key.
            etag: Only that version; None: any.

        Raises:
            NotFound: There is no such object.
            PreconditionFailed: The object has another tag.
            Exists: The new key is taken; nothing was changed.
            BadName: The store cannot have the new key.
            Forbidden: A symbolic link is in the way.
        """
        ...


@runtime_checkable
class SignedUrls(Protocol):
    """A Store whose objects clients can download directly, by a URL that is valid for a while."""

    async def signed_url(self, entry: Entry, seconds: float, disposition: str) -> str:
        """A URL for GET and for ranges.

        Args:
            entry: The object.
            seconds: How long the URL is valid.
            disposition: The Content-Disposition of the response, where the service supports it.
        """
        ...


@runtime_checkable
class SequentialOpen(Protocol):
    """A Store that opens an object more cheaply when it is read once, from beginning to end."""

    async def open_sequential(self, key: str, at_once: int = 0) -> ObjectReader:
        """As `open`, in one request. Its reader may have `content`: all bytes, at most `at_once`.

        Raises:
            NotFound: There is no such object.
            Forbidden: It must not be read.
        """
        ...
