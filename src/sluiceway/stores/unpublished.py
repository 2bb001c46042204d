"""What a draft and its store may offer besides: to be read before it is published, to be taken up
again after its process ended.

A framework's storage reads drafts: what validates a form reads the file. Protocols, their values,
and whether a class has them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol, TypeGuard, TypeVar, runtime_checkable

from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Draft, Entry, Store, UploadRequest

__all__ = [
    "COPY_DRAFT",
    "COPY_KEPT",
    "AdoptingStore",
    "ChecksElsewhere",
    "ChecksRoom",
    "FileBackedDraft",
    "HoldsDrafts",
    "JoinableDraft",
    "KeyFirst",
    "KnowsDigests",
    "LeasesDrafts",
    "ListsDrafts",
    "ParallelParts",
    "ReadableDraft",
    "ResumableDraft",
    "ResumableStore",
    "SavedDraft",
    "TakesBack",
    "TellsReplaced",
    "offers",
]

T = TypeVar("T")

# To compare the methods of a protocol takes 40 calls, and a resumable upload asked eight times.
# What the objects of a class offer is the same for all.
_known: dict[tuple[type, object], bool] = {}

# Begins the ids of drafts that no ledger knows, but a user's bookmark: those of copies. A server's
# sweep leaves them alone; the store's own removes them when no bookmark lives any more.
COPY_DRAFT = "copy-"
COPY_KEPT = 30 * 24 * 3600.0  # seconds without a new byte


@runtime_checkable
class ReadableDraft(Protocol):
    """A Draft whose bytes can be read before it is published."""

    async def read(self, start: int, size: int) -> bytes:
        """Read bytes of a draft that is complete: no `write` follows.

        Args:
            start: The offset of the first byte.
            size: The most bytes.

        Returns:
            At least one byte, unless the draft ends at `start` or before.

        Raises:
            StoreFailed: The destination failed, or the draft has ended.
        """
        ...


@runtime_checkable
class JoinableDraft(Protocol):
    """A Draft that takes bytes of another draft of its store, without their way through here."""

    async def append_draft(self, other: Draft, start: int, count: int) -> None:
        """Append `count` bytes of `other`, from `start` on. Both are open; `other` stays as it is.

        Raises:
            NoSpace: The destination is full.
            StoreFailed: The destination failed, or `other` is shorter.
        """
        ...


@runtime_checkable
class FileBackedDraft(Protocol):
    """A Draft that is a regular file of this machine."""

    async def file_path(self) -> str:
        """The path of the file. The draft is complete, and the file has all of its bytes.

        Raises:
            NoSpace: The destination is full.
            StoreFailed: The destination failed, or the draft has ended.
        """
        ...


@runtime_checkable
class KeyFirst(Protocol):
    """A Store in which an upload under way holds its key, although no reader sees it there yet."""

    async def is_claimed(self, key: str) -> bool:
        """Whether an upload of any process, which has not ended, was begun under this key."""
        ...


@runtime_checkable
class KnowsDigests(Protocol):
    """A Draft that knows digests of bytes which an earlier process wrote."""

    async def known_digests(self) -> dict[str, bytes]:
        """Of all bytes written so far, by the names of `--digest`; as many as there are."""
        ...


class TellsReplaced(Protocol):
    """A Draft that knows what `publish` did. Every draft of a store with the trait is one."""

    @property
    def replaced(self) -> bool:
        """Whether `publish` replaced an object; False before."""
        ...


@runtime_checkable
class TakesBack(Protocol):
    """A Store that can undo a publish in one step. What was replaced is there again, as it was."""

    def keep_replaced(self, draft: Draft) -> None:
        """Before the publish: what it replaces is kept until `take_back` or `let_go`."""
        ...

    async def take_back(self, draft: Draft) -> bool:
        """Undo the publish, also one that raised an error, unless the object changed since.

        Returns:
            False where the published object stays: what it replaced could not be kept.

        Raises:
            StoreFailed: The destination failed; the published object stays.
        """
        ...

    async def let_go(self, draft: Draft) -> None:
        """The publish stands: what it replaced goes. Does nothing where nothing is kept."""
        ...


@dataclass(frozen=True, slots=True)
class SavedDraft:
    """What a store needs to take a draft up again, besides the upload's id and its offset.

    Args:
        state: Replaces what was saved before; at most a few KiB.
        parts: To be added to those saved before, in order.
    """

    state: str = ""
    parts: tuple[str, ...] = ()


@runtime_checkable
class ResumableDraft(Draft, Protocol):
    """A Draft that may outlive its process. `ResumableStore.begin` and `resume` make one.

    `truncate` goes back at most to what was written down last.
    """

    def save(self) -> SavedDraft:
        """What must be written down before a client learns `kept`.

        Parts are returned until they are `saved`. After `suspend` it tells how the draft stands at
        rest, for the next holder.
        """
        ...

    def saved(self) -> None:
        """What `save` returned last is written down: what only an earlier one needed may go."""
        ...

    async def suspend(self) -> None:
        """Let go of the draft; what `sync` kept stays. Does nothing after another ending."""
        ...


@runtime_checkable
class ResumableStore(Store, Protocol):
    """A Store with the trait `resumable`: `store_suite` kills it at many offsets.

    Its caller sees to it that one process at a time has a draft. What a killed one still sends may
    arrive later; each holder has an epoch, and the bytes of an earlier one never count.
    """

    async def begin(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> ResumableDraft:
        """As `draft`; no sweep removes it. Begun again, it is empty again."""
        ...

    async def resume(
        self,
        upload: str,
        saved: SavedDraft,
        offset: int,
        size: int | None,
        upload_request: UploadRequest = UploadRequest(),
        epoch: int = 0,
    ) -> ResumableDraft:
        """Take a draft up again at an offset that was kept. Bytes behind it are forgotten.

        Args:
            upload: The upload's id, as `begin` got it.
            saved: What `save` returned last, with all parts.
            offset: Bytes; `kept` when `save` was called.
            size: Bytes of the whole, where they are known.
            upload_request: As `begin` got it.
            epoch: Larger than that of every earlier holder.

        Raises:
            NotFound: The draft has been published or discarded.
            StoreFailed: It has fewer bytes than it kept, or the destination failed.
        """
        ...

    async def find_published(self, upload: str, saved: SavedDraft, key: str) -> Entry | None:
        """The object that this draft became, if its publish under `key` succeeded.

        For a process that died while it published. None: it did not become an object.
        """
        ...


@runtime_checkable
class HoldsDrafts(Protocol):
    """A ResumableStore of another server. Some drafts are connections: each goes on in its own
    process, or never. Others are uploads at that server, which says how far they are."""

    def holds(self, upload: str) -> bool:
        """Whether the draft of this upload is a connection, and can go on here."""
        ...

    def is_elsewhere(self, state: str) -> bool:
        """Whether a draft saved so is an upload at the other server.

        `resume` may find more bytes kept than were written down.
        """
        ...

    async def takes_pieces(self) -> bool:
        """Whether an upload may come in pieces now. Raises Unavailable where nobody can say."""
        ...


@runtime_checkable
class ChecksElsewhere(Protocol):
    """A Draft whose bytes went to another server at once: nobody reads or removes them here."""

    def hold_back(self, active: bool) -> None:
        """While active, what is written may prove wrong, and `truncate` is to forget it."""
        ...

    def read_back(self) -> AsyncGenerator[Buffer]:
        """All that is kept, from its first byte on, where the other server gives it.

        Raises:
            NotFound: It does not.
            Unavailable: It cannot now.
        """
        ...

    def must_confirm(self, expected: dict[str, bytes]) -> None:
        """Digests that `publish` lets the other server compare, because nobody here saw all bytes.

        Raises:
            Gone: It does not compare digests.
        """
        ...


@runtime_checkable
class ChecksRoom(Protocol):
    """A Store that knows before the first byte whether an upload is too large for it."""

    async def check_room(self, size: int) -> None:
        """Raises NoSpace or TooLarge when `size` more bytes do not fit."""
        ...


@runtime_checkable
class ListsDrafts(Protocol):
    """A ResumableStore whose drafts can be compared with a ledger: what only one of them knows is
    left of a crash."""

    def draft_name(self, upload: str) -> str:
        """The name of the draft of this upload in this store."""
        ...

    async def has_draft(self, upload: str) -> bool: ...

    async def draft_names(self, after: str, most: int, older: float) -> list[str]:
        """Some drafts that may outlive their process, in order of names, from above `after`.

        Those that got bytes within `older` seconds are left out.
        """
        ...

    async def remove_draft(self, name: str) -> None:
        """Remove one that no ledger knows, or knows as ended. Does nothing where it is gone."""
        ...


@runtime_checkable
class LeasesDrafts(Protocol):
    """A ResumableStore whose sweep asks no ledger: what it keeps of a draft says how long it stays.

    Before anybody says so, drafts live as those of copies: for COPY_KEPT.
    """

    def lease_drafts(self, seconds: float | None) -> None:
        """How long drafts live after their last byte, from now on; None: for ever."""
        ...


@runtime_checkable
class ParallelParts(Protocol):
    """A Store that sends an object as parts, several at once."""

    def send_at_once(self, parts: int) -> bool:
        """How many parts of one upload may be under way, as far as its budget has memory.

        False where the destination has no parts after all.
        """
        ...


@runtime_checkable
class AdoptingStore(ResumableStore, Protocol):
    """A ResumableStore in which any draft can be made to outlive its process."""

    async def adopt(self, draft: Draft, upload: str) -> ResumableDraft:
        """Make a draft of this store that `draft` made one that `resume` takes up.

        Args:
            draft: Neither published nor discarded; not used any more afterwards.
            upload: The id under which `resume` finds it. What was there is replaced.

        Raises:
            NoSpace: The destination is full.
            StoreFailed: The destination failed, or the draft has ended.
        """
        ...


def offers(thing: object, protocol: Callable[..., T]) -> TypeGuard[T]:
    """As `isinstance`, for a protocol that can be checked at run time."""
    key = thing.__class__, protocol
    if (found := _known.get(key)) is None:
        found = _known[key] = isinstance(thing, protocol)  # type: ignore[arg-type]  # a class
    return found
