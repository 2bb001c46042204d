"""The two ends of a copy of many objects: an Origin lists and opens them, a Goal finds and takes them.

Both stream: a listing is never held whole. What an object is called is its way below the side (`/` between names), checked
and never a path of the machine. Knows no kind of store, server or archive.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from sluiceway.pipe.receipt import Receipt
from sluiceway.pipe.source import Source
from sluiceway.stores.contract import FOLDER_MARKER, Metadata, Omitted

__all__ = ["RULES", "CopyItem", "CopySource", "CopyTarget", "Reading", "by_rule"]

# What is no object by a documented rule, so that nothing which was meant is missing. Every other code is a failure.
RULES: Mapping[str, str] = {
    "excluded": "--include and --exclude do not choose it",
    "link": "a symbolic link; what it shows may stand outside, and would come twice",
    "special-file": "no file, but a pipe, a socket or a device",
    FOLDER_MARKER: "an empty object whose key ends in /, as consoles make them for a folder",
    "own-file": "its key has a name of this program's own: uploads under way, or a temporary file",
    "own-journal": "this copy's own journal",
}


def by_rule(omitted: Omitted) -> bool:
    """Whether a rule leaves it out; otherwise it was meant, and its absence is a failure."""
    return omitted.code in RULES


@dataclass(frozen=True, slots=True)
class CopyItem:
    """One object as a listing or an archive's head tells of it."""

    key: str  # below the side, without a leading /
    size: int | None  # bytes; None while nobody knows
    version: str = ""  # changes whenever the bytes may have: an etag, or a file's size and time; "" where nobody knows
    modified: float | None = None  # seconds since the epoch
    omitted: Omitted | None = (
        None  # why it cannot be opened at all: a link, a folder that is closed, a name that leads out
    )
    folder: bool = False  # a folder itself, of which only its reason or its attributes matter
    mode: int | None = field(
        default=None, compare=False
    )  # permissions, where the origin knows them


@dataclass(frozen=True, slots=True)
class Reading:
    """An object open for reading. `about` is complete here, `sha256` included where the origin knows it."""

    item: CopyItem
    source: Source
    metadata: Metadata


class CopySource(Protocol):
    """Where many objects are."""

    @property
    def display_name(self) -> str:
        """For people: without passwords."""
        ...

    @property
    def rereadable(self) -> bool:
        """Whether items can be opened in any order, several at once and again. An archive flows past once: one by one."""
        ...

    def items(self) -> AsyncIterator[CopyItem]:
        """Every object, in the origin's own order. Raises what listing raises."""
        ...

    def open(self, item: CopyItem) -> AbstractAsyncContextManager[Reading]:
        """Exactly the version the item names; "" is whichever is there.

        Raises SourceChanged when it is another one now, NotFound when it is gone.

        Where not rereadable: only the item that `items` gave last, once.
        """
        ...

    async def aclose(self) -> None: ...


class CopyTarget(Protocol):
    """Where many objects go."""

    @property
    def display_name(self) -> str:
        """For people: without passwords."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether `put` may be tried again whatever became of the last try: the key tells whether it is there. Where False,
        `put` tries again by itself as often as it safely can."""
        ...

    async def empty(self) -> bool:
        """Whether surely nothing is there at all: then nobody need look before each object. False where nobody can tell."""
        ...

    async def find(self, key: str) -> tuple[CopyItem, str | None] | None:
        """What is there under a key, and its sha-256 where that is known; None when nothing is, or nobody can tell."""
        ...

    async def sha256(self, key: str) -> str | None:
        """The sha-256 of what is there, counted by reading it; for those whose `find` cannot tell. None: it cannot be read."""
        ...

    async def put(self, key: str, reading: Reading, once: str, replace: bool) -> Receipt:
        """Store it; returns when the goal has confirmed that it keeps all of it, with the sha-256 that was counted on the way.

        `once` names this object of this run, the same at every attempt and after a restart: a server that knows idempotency
        keys takes it once. Raises Exists, DigestMismatch, what the source raises, and what the goal does.
        """
        ...

    async def aclose(self) -> None: ...
