"""The values of the store contract: promises of a store, requests of a client, facts of an object.

Frozen data without behaviour. Knows nothing of HTTP, disks or networks. Import the names from
`contract`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sluiceway.errors import StoreFailed
from sluiceway.pipe.hashes import SHA256, digest_pairs
from sluiceway.wire.numbers import clipped_uint

__all__ = [
    "DOWNLOADS",
    "EXPIRES",
    "FOLDER_MARKER",
    "METADATA_HEADERS",
    "MOST_METADATA",
    "OWNER",
    "RETAINED",
    "DestinationResult",
    "Entry",
    "Metadata",
    "Omitted",
    "Page",
    "Pairs",
    "Replace",
    "Reply",
    "Traits",
    "UploadRequest",
]

Pairs = tuple[tuple[str, str], ...]  # names and values
# Bytes of headers and user metadata of an object: what Google and Azure take (S3 takes 2 KiB).
MOST_METADATA = 8 << 10
METADATA_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
# The code of an empty object under a name that ends in `/`. Consoles make it to show a folder.
FOLDER_MARKER = "folder-marker"
OWNER = "owner"  # the user metadata that names who brought an object
# The user metadata that says when an object is deleted, and until when it must stay: seconds since
# the epoch. In a request, `+SECONDS` counts from the moment when all bytes have arrived. The names
# are no other program's, and Azure takes letters and digits only.
EXPIRES, RETAINED = "sluicewayexpires", "sluicewayretained"
# And after how many downloads it is deleted: their number, a dot, and the name of their count
DOWNLOADS = "sluicewaydownloads"


@dataclass(frozen=True, slots=True)
class Traits:
    """What a kind of store promises, as data.

    Callers decide by these facts, never by a store's class.

    Args:
        name: The kind of store, for logs and the first line of `sluiceway serve`: "disk", "memory".
        durable: An acknowledged byte survives `kill -9` and a power cut.
        atomic_publish: Readers see the whole object or none.
        create_only: When two publishers create one key, exactly one succeeds.
        resumable: A draft that was left behind can be continued at its kept offset.
        max_key_bytes: Length of the longest key, in bytes of UTF-8.
        readable: Published objects can be read, listed and looked up here.
        undoable: A published object can be deleted again before any client learns of it.
        remote: Another machine acknowledges the bytes. So `kept` moves without `sync`, and a
            publish can be interrupted by the network.
        keeps: What `sync` can keep: every byte, whole parts only, or nothing before publish.
        stable_reads: An open object keeps its bytes when its key is replaced. If False, the reader
            gets those bytes or an error.
        compare_and_swap: Of two that replace one version by its tag, in any two processes, exactly
            one succeeds.
        lists_metadata: A listing carries name, type and digests. If False, only `stat` and `open`
            return them.
        renames: An object can get another key without a copy of its bytes (`Renames`).
        readable_drafts: Its drafts are `ReadableDraft`s (`unpublished`).
        counts: Algorithms of digests that the destination checks or keeps itself. `--digest auto`
            counts them where it can.
        tells_replaced: Its drafts say after `publish` whether it replaced an object
            (`unpublished.TellsReplaced`), so that it need not be looked up before.
        key_first: A large object goes to its key without a copy only if its draft was begun with
            that key. The store is `KeyFirst` (`unpublished`).
        compares_owner: Its drafts obey `Replace.owner`: whose object is there is found out in the
            step that replaces it, so that it need not be looked up before.

    Example:
        Traits("memory", durable=False, atomic_publish=True, create_only=True, resumable=True)
    """

    name: str
    durable: bool
    atomic_publish: bool
    create_only: bool
    resumable: bool
    max_key_bytes: int = 1024
    readable: bool = True
    undoable: bool = True
    remote: bool = False
    keeps: Literal["bytes", "parts", "whole"] = "bytes"
    stable_reads: bool = True
    compare_and_swap: bool = True
    lists_metadata: bool = True
    renames: bool = False
    readable_drafts: bool = False
    tells_replaced: bool = False
    key_first: bool = False
    compares_owner: bool = False
    counts: tuple[str, ...] = ()

    def caveats(self) -> tuple[str, ...]:
        """What people should know before they rely on this store.

        Returns:
            One clause for each promise that the store does not make, or () if it makes them all. A
            store that passes files on has none: its destination makes the promises.
        """
        if not self.readable:
            return ()
        promises = (
            (self.durable, "an acknowledged file may be lost with the machine that took it"),
            (self.atomic_publish, "a reader may see a file that is not whole yet"),
            (self.create_only, "two servers that create one key at once may both succeed"),
            (
                self.compare_and_swap,
                "two servers that replace one version at once may both succeed",
            ),
            (self.stable_reads, "a download breaks off when its file is replaced meanwhile"),
        )
        return tuple(caveat for promised, caveat in promises if not promised)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is known of an object besides its bytes. It is set at publish and kept with the object.

    Args:
        filename: The cleaned name from the client, "" when it sent none.
        type: The media type as sent. Never trusted for inline display.
        digests: Of the stored bytes, in hexadecimal digits, by the names of `--digest` and in order
            of the names; () with `--digest none`.
        headers: HTTP headers, by names of METADATA_HEADERS, in order. "content-encoding" says that
            the stored bytes are encoded.
        user: The user's own metadata, names in lower case and in order. "mtime" is in seconds since
            the epoch, "mode" in octal digits, "owner" the name of the token that brought it.

    Example:
        Metadata("book.pdf", "application/pdf", headers=(("cache-control", "no-store"),))
    """

    filename: str
    type: str = "application/octet-stream"
    digests: Pairs = ()
    headers: Pairs = ()
    user: Pairs = ()

    @property
    def sha256(self) -> str | None:
        """64 hexadecimal digits, or None where it was not counted."""
        return dict(self.digests).get(SHA256)

    @property
    def owner(self) -> str:
        """The name whose token or link brought the object; "" for none."""
        return dict(self.user).get(OWNER, "")

    @property
    def expires(self) -> int | None:
        """Seconds since the epoch at which the object is deleted; None: it lasts."""
        found = dict(self.user).get(EXPIRES)
        return None if found is None else clipped_uint(found)

    @property
    def retained(self) -> int | None:
        """Seconds since the epoch until which the object must stay; None: no longer than wanted."""
        found = dict(self.user).get(RETAINED)
        return None if found is None else clipped_uint(found)

    @property
    def downloads(self) -> tuple[int, str] | None:
        """How many downloads there may be, and the name of their count; None: any number."""
        if (found := dict(self.user).get(DOWNLOADS)) is None:
            return None
        most, _, count = found.partition(".")
        number = clipped_uint(most)
        return None if number is None or not count else (number, count)


@dataclass(frozen=True, slots=True)
class Reply:
    """The response of a destination that is a server; the client gets it.

    Args:
        status: The HTTP status.
        headers: Names in lower case; only those that are safe to pass on.
        body: At most 1 MiB.
        location: The URL it names, absolute, where clients must not learn it, too.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    location: str | None = None


@dataclass(frozen=True, slots=True)
class DestinationResult:
    """How an upload ended at one of several destinations.

    Args:
        to: The destination's name, for people and without secrets.
        required: Whether the upload fails without it.
        status: The HTTP status of its response, where it is a server.
        location: The URL of the copy, where it is a server and names one.
        note: Why there is no copy, or None.
        own_location: The URL that a server names, where clients must not learn it, too.
    """

    to: str
    required: bool
    status: int | None = None
    location: str | None = None
    note: str | None = None
    own_location: str | None = dataclasses.field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished object as its store knows it.

    Args:
        key: Its key.
        size: Bytes.
        etag: A strong entity tag without quotes (RFC 9110 8.8.3). It changes whenever the bytes may
            have changed.
        modified: Seconds since the epoch.
        metadata: What is known of it besides its bytes.
        reply: The destination's response, for a store that passes files on.
        notes: Sentences for people about its publish, such as a copy that was given up.
        copies: The result of its publish at each destination, where there are several.
        waits_as: The id of the upload that still has to bring it to its destination; "" where it
            is there.

    `notes`, `copies` and `waits_as` describe the publish and not the object: they do not count in
    comparisons.
    """

    key: str
    size: int
    etag: str
    modified: float
    metadata: Metadata
    reply: Reply | None = None
    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    copies: tuple[DestinationResult, ...] = dataclasses.field(default=(), compare=False)
    waits_as: str = dataclasses.field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Omitted:
    """Something in a listing that cannot be an entry.

    It is counted and named, never dropped silently.

    Args:
        name: Readable by people; never used to open anything.
        code: A stable code of errors.py ("bad-name", "forbidden", "store-failed"), or
            FOLDER_MARKER, which is not a failure.
        detail: One sentence: why it is not an entry.
    """

    name: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, in key order. A page says where the listing ends; its size never does.

    A listing that breaks off raises: a store lets an error of its iteration pass.

    Args:
        entries: The objects of this page.
        next: The key after which the next page begins; None on the last page.
        complete: Whether this is the last page.
        omitted: What stands between these entries and is none.

    Raises:
        StoreFailed: `next` and `complete` contradict each other.
    """

    entries: list[Entry] = dataclasses.field(default_factory=list)
    next: str | None = None
    complete: bool = dataclasses.field(kw_only=True)
    omitted: tuple[Omitted, ...] = dataclasses.field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.complete == (self.next is not None):
            raise StoreFailed(
                "A page of a listing must say where the next one begins, or that it is the last"
            )


@dataclass(frozen=True, slots=True)
class Replace:
    """Whether publish and delete may touch an object that is already there.

    The store compares and acts in one step where its traits say so: of two clients one succeeds.

    Args:
        allowed: False: the key must be free.
        etag: The object must be there and carry this tag; None: any object, or none.
        owner: An object that is there must have this owner, else publish raises Exists; None: any.
            Only stores with the trait `compares_owner` look at it.
    """

    allowed: bool = False
    etag: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """What a client asked for one file, as far as it is known before the file's first byte.

    Stores that keep bytes need none of it; a relay sends it on first.

    Args:
        key: "" while none is chosen: the service's template or the store makes one.
        filename: The cleaned name from the client.
        type: The media type as sent.
        expected: The digests that the sender promised, by algorithm ("sha-256"). They are checked
            before anything is published.
        headers: HTTP headers as in Metadata, for stores that need them before the first byte.
        user: The user's own metadata as in Metadata, likewise.
        method: The HTTP method of the request. PUT names its key, POST leaves it open.
        field: The form field of the file; None for a raw body.
        fields: The form's other fields in order. The list grows while the form is read.
        values: Values that a URL template may name, besides the fields.
        size_is_certain: False: the draft's `size` is right only if nothing follows in the form.
        replace: Whether an object at the key may be replaced.
        folders: The folders that the client named, each cleaned: "album/a/".
        keeps_both: Where the service makes a key that is taken, it makes another one.
        key_may_change: `key` is only expected: the draft may be published under another one.
        wanted: The algorithm by which the client asks for a digest, "" for none.
    """

    key: str = ""
    filename: str = ""
    type: str = "application/octet-stream"
    expected: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    headers: Pairs = ()
    user: Pairs = ()
    method: str = "POST"
    field: str | None = None
    fields: Sequence[tuple[str, str]] = ()
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)
    size_is_certain: bool = True
    replace: Replace = Replace()
    folders: str = ""
    keeps_both: bool = False
    key_may_change: bool = False
    wanted: str = ""

    @property
    def owner(self) -> str:
        """As in Metadata."""
        return dict(self.user).get(OWNER, "")

    @property
    def digests(self) -> Pairs:
        """The promised digests as in Metadata."""
        return digest_pairs(self.expected)

    def metadata(self, digests: Pairs) -> Metadata:
        """What is kept with the object whose bytes have these digests."""
        user = self.user
        if user and any(name in (EXPIRES, RETAINED) and value[:1] == "+" for name, value in user):
            user = tuple(_dated(name, value) for name, value in user)
        return Metadata(self.filename, self.type, digests, self.headers, user)


def _dated(name: str, value: str) -> tuple[str, str]:
    """A time that counts from now as one since the epoch, rounded up."""
    seconds = clipped_uint(value[1:]) if value[:1] == "+" and name in (EXPIRES, RETAINED) else None
    return (name, value) if seconds is None else (name, str(math.ceil(time.time()) + seconds))
