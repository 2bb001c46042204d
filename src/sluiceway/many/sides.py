"""The two ends of a copy of many objects: an Origin lists and opens them, a Goal finds and takes them.

Both stream: a listing is never held whole. What an object is called is its way below the side (`/` between names), checked
and never a path of the machine. Knows no kind of store, server or archive.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from sluiceway.pipe.receipt import Receipt
from sluiceway.pipe.source import Source
from sluiceway.stores.contract import About

__all__ = ["Goal", "Item", "Origin", "Reading"]


@dataclass(frozen=True, slots=True)
class Item:
    """One object as a listing or an archive's head tells of it."""

    key: str  # below the side, without a leading /
    size: int | None  # bytes; None while nobody knows
    version: str = ""  # changes whenever the bytes may have: an etag, or a file's size and time; "" where nobody knows
    modified: float | None = None  # seconds since the epoch
    left_out: str | None = None  # why it cannot be copied at all, for people: a link, a socket, a name that leads out


@dataclass(frozen=True, slots=True)
class Reading:
    """An object open for reading. `about` is complete here, `sha256` included where the origin knows it."""

    item: Item
    source: Source
    about: About


class Origin(Protocol):
    """Where many objects are."""

    @property
    def called(self) -> str:
        """For people: without passwords."""
        ...

    @property
    def rereadable(self) -> bool:
        """Whether items can be opened in any order, several at once and again. An archive flows past once: one by one."""
        ...

    def items(self) -> AsyncIterator[Item]:
        """Every object, in the origin's own order. Raises what listing raises."""
        ...

    def open(self, item: Item) -> AbstractAsyncContextManager[Reading]:
        """Exactly the version the item names; "" is whichever is there.

        Raises SourceChanged when it is another one now, NotFound when it is gone.

        Where not rereadable: only the item that `items` gave last, once.
        """
        ...

    async def aclose(self) -> None: ...


class Goal(Protocol):
    """Where many objects go."""

    @property
    def called(self) -> str:
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

    async def find(self, key: str) -> tuple[Item, str | None] | None:
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
