"""What the drafts of one spool share: its files, its bound, its notes, and the way to its backend.

The async side of `claims` and `notes`; knows no draft.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace as changed
from typing import TypeVar

from sluiceway.errors import SluiceError, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.contract import Entry, Metadata, Reply, UploadRequest
from sluiceway.stores.relay.draft import RelayDraft
from sluiceway.stores.relay.spool.claims import SpoolClaims
from sluiceway.stores.relay.spool.notes import DeliveryNote, DeliveryNotes
from sluiceway.stores.relay.spool.rules import SpoolRules, is_passing, is_repeatable, is_unknown
from sluiceway.stores.relay.store import RelayStore
from sluiceway.stores.unpublished import AdoptingStore

__all__ = ["SpoolSpace", "entry_of"]

THREADS = 4
# Bytes that a draft of unknown length claims at a time
STEP = 8 << 20
# Seconds after which another process may look at an upload whose last byte is being sent
SENDING = 60.0

T = TypeVar("T")


class SpoolSpace:
    """One spool, in this process. `files` has the bytes, in drafts; `folder` is for the rest."""

    def __init__(
        self, relay: RelayStore, files: AdoptingStore, root: str, folder: str, rules: SpoolRules
    ) -> None:
        self.relay: RelayStore = relay
        self.files: AdoptingStore = files
        self.rules: SpoolRules = rules
        self._root, self._folder = root, folder
        self._private = os.path.basename(os.path.dirname(folder))
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sluiceway-spool")
        self._notes = DeliveryNotes(os.path.join(folder, "notes"))
        self._claims = SpoolClaims(folder, rules.most_bytes, self._given_up)
        self._claimed: dict[str, int] = {}
        # Uploads whose client does not wait: one try is made, and no more.
        self.unattended: set[str] = set()

    @property
    def budget(self) -> Budget | None:
        return self.relay.budget

    # The bound

    async def claim(self, name: str, size: int, *, lasts: bool, exact: bool = False) -> None:
        """Room for a draft of `size` bytes. Raises NoSpace."""
        if size <= self._claimed.get(name, -1) and not exact:
            return
        most = size if exact else max(size, self._claimed.get(name, 0) + STEP)
        await self._in_thread(lambda: self._claims.take(name, most, lasts))
        self._claimed[name] = most

    async def release(self, name: str) -> None:
        self._claimed.pop(name, None)
        await self._in_thread(lambda: self._claims.release(name))

    async def release_left(self, name: str) -> None:
        """The claim of a draft that only its file's name was left of."""
        await self._in_thread(lambda: self._claims.release_left(name))

    def check(self) -> int:
        """Write a file. Returns the free bytes of the disk. Raises StoreFailed."""
        path = os.path.join(self._folder, "check")
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, b"r")
                os.fsync(fd)
            finally:
                os.close(fd)
                os.unlink(path)
        except OSError as error:
            raise StoreFailed(f"the spool {self._root} cannot be written: {error}") from None
        status = os.statvfs(self._root)
        return status.f_bavail * status.f_frsize

    def _given_up(self) -> int:
        """Bytes of the files that were given up; their operator removes them."""
        total = 0
        with os.scandir(self._root) as folders:
            for folder in folders:
                if folder.name != self._private and folder.is_dir(follow_symlinks=False):
                    with os.scandir(folder.path) as files:
                        total += sum(file.stat(follow_symlinks=False).st_size for file in files)
        return total

    # Notes

    async def note_of(self, upload: str) -> DeliveryNote | None:
        return await self._in_thread(lambda: self._notes.read(upload))

    async def expect(self, upload: str, name: str) -> None:
        """Note that an upload waits, from now on. Its first try is due now."""
        note = DeliveryNote(upload, name, time.time())
        await self._in_thread(lambda: self._notes.write(note, time.time()))

    async def note_failure(self, note: DeliveryNote, wait: float) -> DeliveryNote:
        """One more try was in vain, and surely so."""
        noted = changed(note, tries=note.tries + 1, is_sent=False)
        await self._in_thread(lambda: self._notes.write(noted, time.time() + wait))
        return noted

    async def note_sent(self, note: DeliveryNote) -> None:
        """The last byte leaves now."""
        noted = changed(note, is_sent=True)
        await self._in_thread(lambda: self._notes.write(noted, time.time() + SENDING))

    async def note_success(self, note: DeliveryNote, entry: Entry) -> None:
        status, place = (200, None)
        if entry.reply is not None:
            status, place = entry.reply.status, entry.reply.headers.get("location")
        noted = changed(
            note, is_sent=True, status=status, location=place, etag=entry.etag, size=entry.size
        )
        await self._in_thread(lambda: self._notes.write(noted, time.time() + SENDING))

    async def postpone(self, upload: str, seconds: float) -> None:
        await self._in_thread(lambda: self._notes.postpone(upload, time.time() + seconds))

    async def forget(self, upload: str) -> None:
        await self._in_thread(lambda: self._notes.remove(upload))

    async def due(self, most: int, *, all_of_them: bool = False) -> list[str]:
        """The ids of uploads whose next try is due, the longest first."""
        until = float("inf") if all_of_them else time.time()
        notes = await self._in_thread(lambda: self._notes.due(until, most))
        return [note.upload for note in notes]

    async def count(self) -> int:
        """How many uploads wait."""
        return await self._in_thread(self._notes.count)

    async def seconds_to_next(self, upload: str) -> float:
        at = await self._in_thread(lambda: self._notes.next_try(upload))
        return max(0.0, at - time.time())

    # The way to the backend

    async def request(self, name: str, size: int, request: UploadRequest) -> RelayDraft:
        """Begin one more request for a file that is here as a whole."""
        whole = changed(request, size_is_certain=True, fields=tuple(request.fields))
        return await self.relay.draft(name, size, whole)

    def bridges(self, error: SluiceError, is_sent: bool, request: UploadRequest) -> bool:
        """Whether the file may be sent again after this failure."""
        surely_not_taken = not is_unknown(error, is_sent)
        return is_passing(error) and (surely_not_taken or self.is_repeatable(request))

    def is_repeatable(self, request: UploadRequest) -> bool:
        return is_repeatable(self.relay.backend, request, self.rules)

    async def aclose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        self._claims.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await in_thread(work, self._threads)
        except SluiceError:
            raise
        except OSError as error:
            raise StoreFailed(f"The spool cannot be used: {error}").for_operator() from error


def entry_of(note: DeliveryNote, key: str) -> Entry:
    """The object that a delivered upload became, as far as it is known after a restart."""
    headers = {} if note.location is None else {"location": note.location}
    reply = Reply(note.status, headers, b"", note.location)
    return Entry(key, note.size, note.etag, time.time(), Metadata(""), reply)
