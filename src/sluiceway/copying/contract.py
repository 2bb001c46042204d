"""The two ends of a copy: a CopySource lists and opens objects, a CopyTarget finds and stores them.

Both stream: a listing is never held whole. An object's key is its path below the side (`/` between
names), checked, and never a path of the machine. Knows no kind of store, server or archive.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from sluiceway.client.local.bookmarks import SourceIdentity
from sluiceway.client.upload_job import RESUMABLE_FROM
from sluiceway.errors import SluiceError
from sluiceway.pipe.hashes import DEFAULT_CHOICE, DigestChoice, is_available
from sluiceway.pipe.receipt import OnProgress, Receipt
from sluiceway.pipe.source import Buffer, Source
from sluiceway.pipe.stages import Stages
from sluiceway.stores.contract import FOLDER_MARKER, Metadata, Omitted, Pairs
from sluiceway.wire.headers.digests import Promise

__all__ = [
    "RULES",
    "SMALL",
    "CopyItem",
    "CopySource",
    "CopyTarget",
    "Reading",
    "by_rule",
    "is_large",
    "name_is_taken",
]

# Bytes of an object that is read whole before it is stored. With thousands of small objects,
# changes of threads are most of the cost: such an object needs one to be read and one to be stored.
SMALL = 64 << 10
# Documented rules that leave an object out: nothing that was meant is missing then. Every other
# code is a failure.
RULES: Mapping[str, str] = {
    "excluded": "--include and --exclude do not select it",
    "link": "a symbolic link: its target may lie outside, and would be copied twice",
    "special-file": "a pipe, a socket or a device, not a file",
    FOLDER_MARKER: "an empty object whose key ends in /, which consoles create as a folder",
    "own-file": "its key is a name of this program's own: an unfinished upload or a temporary file",
    "own-journal": "this copy's own journal",
}


def by_rule(omitted: Omitted) -> bool:
    """Whether a rule leaves it out. Otherwise it was meant, and its absence is a failure."""
    return omitted.code in RULES


def name_is_taken(error: SluiceError) -> SluiceError:
    """The same error, which says people who copy what to do; clients of an app that copies do not
    read that."""
    error.for_operator(error.detail)
    error.detail += "; --force (force=True) replaces what is there"
    error.args = (error.detail,)
    return error


@dataclass(frozen=True, slots=True)
class CopyItem:
    """One object as a listing or the head of an archive's member describes it."""

    key: str  # below the side, without a leading /
    size: int | None  # bytes; None while unknown
    # Changes whenever the bytes may have: an etag, or a file's size and time; "" where unknown.
    version: str = ""
    modified: float | None = None  # seconds since the epoch
    # Why it cannot be opened: a link, a folder without permission, a name that leads out.
    omitted: Omitted | None = None
    folder: bool = False  # a folder itself: only its attributes, or why it is omitted, matter
    mode: int | None = field(default=None, compare=False)  # permissions, where known


@dataclass(frozen=True, slots=True)
class Reading:
    """An object open for reading. `metadata` is complete here, with the digests that are known."""

    item: CopyItem
    source: Source
    metadata: Metadata
    display_name: str = ""  # for people; "": the key
    promises: tuple[Promise, ...] = ()  # digests that the source announced, beside the metadata's
    stages: Stages = field(default_factory=Stages)  # where the time goes, since it was opened
    on_progress: OnProgress | None = None
    digests: DigestChoice = DEFAULT_CHOICE
    # What names the bytes in another process, so that an upload of them can be resumed there.
    identity: SourceIdentity | None = None
    on_note: Callable[[str], None] | None = None  # that it goes on after a cut, or begins anew
    # A request with these bytes broke off before: the next one should be one that can be resumed.
    broke: bool = False
    # All bytes, where the object is small and was read when it was opened; `source` gives them too.
    content: Buffer | None = None

    @property
    def label(self) -> str:
        """What people see of it."""
        return self.display_name or self.item.key

    @property
    def announced(self) -> tuple[Promise, ...]:
        """Every digest that is known before the bytes are read and can be checked here."""
        known = {one.algorithm: one for one in self.promises}
        for name, digits in self.metadata.digests:
            known.setdefault(name, Promise(name, bytes.fromhex(digits)))
        return tuple(one for one in known.values() if is_available(one.algorithm))

    def to_count(self, *asked: str) -> tuple[str, ...]:
        """The algorithms to count: the announced ones, and `asked` where --digest is auto."""
        return self.digests.to_count((one.algorithm for one in self.announced), asked)


def is_large(source: Source) -> bool:
    """Whether it would go in parts, where they are asked for and can be; perhaps, if it may be."""
    return source.length is None or source.length >= RESUMABLE_FROM


class CopySource(Protocol):
    """Holds the objects that are copied."""

    @property
    def display_name(self) -> str:
        """For people: without passwords."""
        ...

    @property
    def rereadable(self) -> bool:
        """Whether items can be opened in any order, several at once, and again.

        False for an archive, which is read once and one by one.
        """
        ...

    def items(self) -> AsyncIterator[CopyItem]:
        """Every object, in the source's own order. Raises what listing raises."""
        ...

    def open(self, item: CopyItem) -> AbstractAsyncContextManager[Reading]:
        """Opens exactly the version the item names; "" means any.

        Raises SourceChanged when there is another version now, NotFound when the object is gone.
        Where not rereadable: only the item that `items` gave last, once.
        """
        ...

    async def aclose(self) -> None: ...


class CopyTarget(Protocol):
    """Stores the objects that are copied."""

    @property
    def display_name(self) -> str:
        """For people: without passwords."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether `put` may be repeated after any failure, because `find` shows if it succeeded.

        Where False, `put` itself repeats as often as it safely can.
        """
        ...

    async def empty(self) -> bool:
        """Whether there is surely no object at all, so that `find` is not needed before each."""
        ...

    async def find(self, key: str) -> tuple[CopyItem, Pairs] | None:
        """The object under a key, with the digests that are known; None for no object, or
        unknown."""
        ...

    async def digest(self, key: str, algorithm: str) -> str | None:
        """The digest of the stored object, by reading it; None where it cannot be read."""
        ...

    async def put(self, key: str, reading: Reading, once: str, replace: bool) -> Receipt:
        """Returns when the target has confirmed that it keeps all of it, with the counted digests.

        `once` identifies this object in this job, at every attempt and after a restart: a server
        that knows idempotency keys stores it once. "" in a copy of one object, whose request then
        is as plain as curl's. Raises Exists, DigestMismatch, and what source and target raise.
        """
        ...

    async def aclose(self) -> None: ...
