"""What a store promises: Draft, Store, ObjectReader, Entry and the facts (Traits) about a kind of store.

Bytes rest in a store; a draft is an object nobody can see yet, and it ends in exactly one of two ways: publish or discard.
This file knows nothing of HTTP, disks or networks. `sluiceway.testing.store_suite` proves a store keeps the contract.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from sluiceway.errors import SluiceError, StoreFailed
from sluiceway.pipe.source import Buffer, Source

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
    "Replace",
    "Reply",
    "SequentialOpen",
    "SignedUrls",
    "Store",
    "Traits",
    "UploadRequest",
]


Pairs = tuple[tuple[str, str], ...]  # names and values
MOST_METADATA = (
    8 << 10
)  # bytes of headers and user metadata that an object may carry: what Google and Azure take (S3: 2 KiB)
METADATA_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)


@dataclass(frozen=True, slots=True)
class Traits:
    """Facts about a kind of store, as data: upper rooms decide by them, never by the store's class."""

    name: str  # for logs and `sluiceway serve`'s first line: "disk", "memory"
    durable: bool  # an acknowledged byte survives kill -9 and a power cut
    atomic_publish: bool  # readers see the whole object or none
    create_only: bool  # two publishers of one key: exactly one wins when asked to
    resumable: bool  # a draft left behind can be taken up again at its kept offset
    max_key_bytes: int = 1024  # longest key, in bytes of UTF-8
    readable: bool = True  # what was published can be read, listed and looked up here
    undoable: bool = (
        True  # what was published a moment ago can be deleted again, and nobody the wiser
    )
    remote: bool = False  # bytes are acknowledged by another machine: `kept` moves by itself, a publish can be broken off
    keeps: Literal["bytes", "parts", "whole"] = (
        "bytes"  # what `sync` can keep: all, whole parts, nothing before publish
    )
    stable_reads: bool = True  # an open object keeps its bytes when its key is replaced; False: the reader gets those or an error
    compare_and_swap: bool = (
        True  # of two that replace one version by its tag, in any two processes, exactly one wins
    )
    lists_metadata: bool = (
        True  # a listing carries name, type and sha-256; False: only `stat` and `open` do
    )

    def caveats(self) -> tuple[str, ...]:
        """What people should know before they rely on it, in words; () for a store that promises everything."""
        if not self.readable:
            return ()  # what is passed on is promised by whoever it is passed on to
        said = (
            (self.durable, "an acknowledged file may be lost with the machine that took it"),
            (self.atomic_publish, "a reader may see a file that is not whole yet"),
            (self.create_only, "two servers that create one key at once may both believe they did"),
            (
                self.compare_and_swap,
                "two servers that replace one version at once may both believe they did",
            ),
            (self.stable_reads, "a download breaks off when its file is replaced meanwhile"),
        )
        return tuple(words for promised, words in said if not promised)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is told of an object when it is published and lives with it from then on."""

    filename: str  # the cleaned name the client gave, "" when it gave none
    type: str = "application/octet-stream"  # media type as sent, never trusted for inline display
    sha256: str | None = None  # 64 hexadecimal digits, None with --digest none
    headers: Pairs = ()  # of HTTP, by names of HEADERS in order; "content-encoding" says that the bytes are stored encoded
    user: Pairs = ()  # metadata of the user's own, names in lower case and in order; "mtime" is seconds, "mode" octal


@dataclass(frozen=True, slots=True)
class Reply:
    """What a destination said itself, when it is a server: its answer is the client's."""

    status: int
    headers: Mapping[str, str]  # names in lower case; only those that are safe to pass on
    body: bytes


@dataclass(frozen=True, slots=True)
class DestinationResult:
    """What became of a file at one of several destinations."""

    to: str  # for people: without secrets
    required: bool
    status: int | None = None  # of its answer, where it is a server
    location: str | None = None  # where it says the copy is
    note: str | None = None  # why there is none


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished object as the store knows it."""

    key: str
    size: int  # bytes
    etag: str  # strong, without quotes, changes whenever the bytes may have
    modified: float  # seconds since the epoch
    metadata: Metadata
    reply: Reply | None = None  # of a store that passes on
    # Of the publish and no part of what the object is:
    notes: tuple[str, ...] = field(
        default=(), compare=False
    )  # what people should know, such as a copy that was given up
    copies: tuple[DestinationResult, ...] = field(
        default=(), compare=False
    )  # where there are several destinations


FOLDER_MARKER = "folder-marker"  # 0 bytes under a name that ends in `/`: consoles make it to show a folder, and it holds nothing


@dataclass(frozen=True, slots=True)
class Omitted:
    """Something a listing met that cannot be an entry. It is counted and named, so that nothing is missing in silence."""

    name: str  # as people can read it; never used to open anything
    code: str  # stable, of errors.py: "bad-name", "forbidden", "store-failed" …; or MARKER, which is no failure
    detail: str  # one sentence: why it is no entry


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of a listing in key order. Its end is said, never concluded from the absence of more.

    Either `next` names the key after which the next piece begins, or `complete` says that the store has no more. A listing
    that breaks off in between raises; no store catches an error around its iteration.
    """

    entries: list[Entry] = field(default_factory=list)
    next: str | None = None
    complete: bool = field(kw_only=True)
    omitted: tuple[Omitted, ...] = field(
        default=(), kw_only=True
    )  # what stands between these entries and is none

    def __post_init__(self) -> None:
        if self.complete == (self.next is not None):
            raise StoreFailed(
                "A listing said neither where it goes on nor that it is complete; nothing can be concluded from it"
            )


@dataclass(frozen=True, slots=True)
class Replace:
    """Whether publish and delete may touch an object that is already there. `etag` None is: whichever it is.

    The store compares and acts in one step where its traits say so, so that two clients cannot both win.
    """

    allowed: bool = False  # False: the key must be free
    etag: str | None = None  # the object must be there and carry this tag


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """What a client asked for one file, as far as it is known before the file's first byte.

    Stores that keep bytes need none of it; a relay sends it on first.
    """

    key: str = ""  # "" while none is chosen: the service's template or the store makes one
    filename: str = ""  # cleaned
    type: str = "application/octet-stream"
    # The digests that the sender promised, by algorithm; checked before anything is published.
    expected: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    # `headers` and `user` are as Metadata has them, for stores that need them before the first byte.
    headers: Pairs = ()
    user: Pairs = ()
    method: str = "POST"  # how the client sent it: PUT names its key, POST leaves it open
    field: str | None = None  # the form field it came in; None for a raw body
    fields: Sequence[tuple[str, str]] = ()  # in order; the list grows while the form goes on
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)  # for URL templates
    certain: bool = True  # False: `size` is the file's if nothing comes after it in the form
    replace: Replace = Replace()
    folders: str = ""  # the folders that its client named, each cleaned: "album/a/"

    @property
    def sha256(self) -> str | None:
        """The promised SHA-256, 64 hexadecimal digits."""
        return self.expected["sha-256"].hex() if "sha-256" in self.expected else None


class Draft(Protocol):
    """An object nobody can see yet. Calls come one at a time; `discard` may come at any time, also twice."""

    @property
    def written(self) -> int:
        """Bytes taken by `write` so far."""
        ...

    @property
    def kept(self) -> int:
        """Bytes that survive a crash of this process and, where traits say durable, a power cut."""
        ...

    async def write(self, data: Buffer) -> None:
        """Take the next bytes; returns when the draft is ready for more (backpressure). Raises NoSpace, StoreFailed.

        The data must not change afterwards: a draft may keep it until it is written. A draft holds little for a sender
        that is slow; it sees to that itself.
        """
        ...

    async def sync(self) -> int:
        """Everything written is kept, or as much of it as the traits say; returns the offset."""
        ...

    async def truncate(self, offset: int) -> None:
        """Forget everything from `offset` on (a chunk whose digest was wrong). StoreFailed where traits keep less than bytes."""
        ...

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        """The good ending: the object is whole, visible under `key` and as durable as the traits say.

        Raises Exists (key taken and not to be replaced), PreconditionFailed (other etag), BadName, Forbidden, NoSpace.
        After an error the draft is still there: discard it.
        """
        ...

    async def discard(self) -> None:
        """The other ending: nothing remains. Safe to call twice and after publish (then it does nothing)."""
        ...


class ObjectReader(Source, Protocol):
    """A finished object held open: the bytes belong to `entry` even when the key is replaced or deleted meanwhile.

    Where traits say it is not steady, reading raises StoreFailed then; bytes of two versions are never mixed.
    """

    @property
    def entry(self) -> Entry: ...

    async def aclose(self) -> None: ...


@runtime_checkable
class EarlyFailure(Protocol):
    """What a Draft may be besides: one whose destination can say no while nobody writes, because the sender pauses."""

    @property
    def failure(self) -> SluiceError | None:
        """Why nothing more need be written; None while it may. Never raises."""
        ...


@runtime_checkable
class Pausable(Protocol):
    """What a Draft may be besides: one that can wait for other files of its form at hardly any cost."""

    async def pause(self) -> None:
        """All bytes came. Let go of memory and descriptors until the next call. Raises NoSpace, StoreFailed."""
        ...


@runtime_checkable
class FileBacked(Protocol):
    """What an ObjectReader may be besides: a regular file, byte 0 its first, so that the kernel can send it by itself."""

    def fileno(self) -> int:
        """Its descriptor, open until `aclose`."""
        ...


@runtime_checkable
class HealthChecked(Protocol):
    """What a Store may be besides: one that can say before the first request whether it can be used at all."""

    async def check(self) -> None:
        """Raises SluiceError with what to do. Keeps nothing open: the store is used in another event loop."""
        ...


@runtime_checkable
class ReadinessProbed(Protocol):
    """What a Store may be besides: one that can say cheaply, again and again, whether it would take a file now."""

    async def probe(self) -> None:
        """One small request that reads, is no listing and leaves nothing. Raises SluiceError with what to do."""
        ...


@runtime_checkable
class CompositeStore(Protocol):
    """What a Store may be besides: several behind one. Each is looked at for itself: no one fact holds for all of them."""

    @property
    def required_stores(self) -> Sequence[Store]:
        """Those without which no upload succeeds."""
        ...


@runtime_checkable
class Maintained(Protocol):
    """What a Store may be besides: one that needs preparing once, and in which crashes leave bytes that nobody names."""

    async def init(self) -> None:
        """Make what the store needs. Safe to call again."""
        ...

    async def sweep(self, older: float | None = None) -> int:
        """Free what crashed processes left, beside uploads under way; how many leftovers it were.

        `older`: for so many seconds nothing was heard of it; None is what the store leaves to the living by itself.
        """
        ...


@runtime_checkable
class SignedUrls(Protocol):
    """What a Store may be besides: one whose objects can be fetched from it directly, by a URL that is a key for a while."""

    async def signed_url(self, entry: Entry, seconds: float, disposition: str) -> str:
        """A URL for GET and ranges. `disposition`: the Content-Disposition its answer shall have, where that can be chosen."""
        ...


@runtime_checkable
class SequentialOpen(Protocol):
    """What a Store may be besides: one that asks less for an object that will be read once, and all of it."""

    async def open_sequential(self, key: str) -> ObjectReader:
        """As `open`: in a bucket one request instead of two."""
        ...


class Store(Protocol):
    """Where bytes rest. Keys are checked names with `/` between segments, never paths of the machine."""

    @property
    def traits(self) -> Traits: ...

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        """A new draft for the upload id; `size` in bytes when known, so that a full store can say NoSpace at once."""
        ...

    async def stat(self, key: str) -> Entry:
        """Raises NotFound."""
        ...

    async def open(self, key: str) -> ObjectReader:
        """Raises NotFound, Forbidden. The caller closes what it gets."""
        ...

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        """Finished objects whose key starts with `prefix` and sorts after `after`, in key order, at most `limit`."""
        ...

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        """Raises NotFound, PreconditionFailed (other etag)."""
        ...

    async def aclose(self) -> None:
        """Let go of everything; drafts under way are discarded."""
        ...
