"""A draft for code that blocks: bytes go in from one thread while earlier ones are being written.

What was written can be read back before it is published, where the store's drafts can be read.
Knows nothing of Django.
"""

from __future__ import annotations

from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol, TypeVar, cast

from sluiceway.django.open_stores import OpenStore
from sluiceway.errors import BadOrder, SluiceError
from sluiceway.stores.contract import Draft, Entry, Metadata, Replace, UploadRequest
from sluiceway.stores.unpublished import FileBackedDraft, ReadableDraft
from sluiceway.uploads.keys import new_id

__all__ = ["BlockingDraft"]

# Bytes that go to the store at once: each hand-over to its thread costs 0.1 ms.
GATHERED = 1 << 20
# Bytes at the beginning that stay in memory where reading a draft back is dear: what tells the kind
# of a file.
HEAD = 1 << 20

T = TypeVar("T")


class _ReadableStoreDraft(Draft, ReadableDraft, Protocol): ...


class BlockingDraft:
    """One object that nobody sees yet. End it with `publish` or `discard`; both may come twice.

    Args:
        opened: The store. Its drafts can be read.
        request: What is known before the first byte; key and type are those of the object.
        size: Bytes, where they are known.

    Raises:
        NoSpace: There is no room.
        StoreFailed: The store failed.
        Unavailable: Too many drafts are under way.
    """

    opened: OpenStore
    request: UploadRequest
    written: int  # bytes taken so far
    ended: bool

    def __init__(self, opened: OpenStore, request: UploadRequest, size: int | None = None) -> None:
        self.opened, self.request = opened, request
        self.written = 0
        self.ended = False
        self._gathered: list[bytes] = []
        self._held = 0  # bytes of them
        self._writing: Future[None] | None = None
        self._head = bytearray()
        self._head_size = 0  # bytes of the budget that the head may fill
        self._draft = cast("_ReadableStoreDraft", opened.run(self._begin(size)))

    @property
    def kept(self) -> int:
        """Bytes that the store has acknowledged."""
        return self._draft.kept

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises NoSpace, StoreFailed, Unavailable, also of earlier bytes."""
        if len(self._head) < self._head_size:
            self._head += data[: self._head_size - len(self._head)]
        self._gathered.append(data)
        self._held += len(data)
        self.written += len(data)
        if self._held >= GATHERED:
            self._hand_over()

    def finish(self) -> None:
        """All bytes are there. Raises as `write`."""
        self._hand_over()
        self._wait_for_writing()

    def read(self, start: int, size: int) -> bytes:
        """Read what was written, after `finish`.

        Returns:
            At most `size` bytes from `start`; none at the end.
        """
        if start < len(self._head):
            return bytes(self._head[start : start + size])
        return self._run(self._draft.read(start, size))

    def file_path(self) -> str | None:
        """The path of a file with these bytes; None where the draft is none."""
        draft: object = self._draft
        return self._run(draft.file_path()) if isinstance(draft, FileBackedDraft) else None

    def publish(self, key: str, replace: Replace) -> Entry:
        """Make the object visible. After an error the draft is still there.

        Raises what `Draft.publish` raises.
        """
        request = self.request
        metadata = Metadata(
            request.filename, request.type, headers=request.headers, user=request.user
        )
        entry = self._run(self._draft.publish(key, metadata, replace))
        self._end()
        return entry

    def discard(self) -> None:
        """End the draft; nothing of it remains. Does nothing after `publish`."""
        if self.ended:
            return
        self._gathered, self._held = [], 0
        with suppress(SluiceError):  # of bytes that are not wanted any more
            self._wait_for_writing()
        try:
            self._run(self._draft.discard())
        finally:
            self._end()

    def discard_soon(self) -> None:
        """As `discard`, without waiting: for a file that nobody closed."""
        if not self.ended:
            self._end()
            self.opened.start(self._draft.discard())

    async def _begin(self, size: int | None) -> Draft:
        if self.opened.store.traits.key_first and self.opened.budget.acquire(HEAD):
            self._head_size = HEAD
        try:
            return await self.opened.store.draft(new_id(), size, self.request)
        except BaseException:
            self.opened.budget.release(self._head_size)
            raise

    def _hand_over(self) -> None:
        """Give what was gathered to the store, which has what it got before."""
        self._wait_for_writing()
        if not self._gathered:
            return
        data, self._gathered, self._held = b"".join(self._gathered), [], 0
        self._writing = self.opened.start(self._draft.write(data))

    def _wait_for_writing(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            self.opened.check_waiting()
            writing.result()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self.ended:
            work.close()
            raise BadOrder("This file was saved or closed before").for_operator()
        return self.opened.run(work)

    def _end(self) -> None:
        self.ended = True
        size, self._head_size = self._head_size, 0
        self._head = bytearray()
        if size:
            self.opened.start(self._release(size))

    async def _release(self, size: int) -> None:
        """In the event loop, where the budget is used."""
        self.opened.budget.release(size)
