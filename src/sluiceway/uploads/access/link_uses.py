"""How many files each link has brought that may bring only so many: exact across all processes.

A use is counted before a file can be seen; a crash in between costs the link one use, and never
gives it one more. The counts are small files, each changed under its lock, or rows of a database.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from sluiceway.errors import AwaitsBackend, Forbidden
from sluiceway.pipe.cancellation import finish_or_undo, finish_then_cancel, shield_until_done
from sluiceway.pipe.file_lock import locked_file
from sluiceway.uploads.access.grant import Grant
from sluiceway.wire.numbers import clipped_uint

__all__ = ["REMEMBERED", "FolderUses", "LinkUses", "UseCounts"]

REMEMBERED = 86400.0  # seconds behind the end of a link
LOOK_EVERY = 3600.0  # seconds between two looks for links that ended


class UseCounts(Protocol):
    """Where the files of links are counted."""

    async def add(self, link: str, ends: float | None, files: int) -> int:
        """Add to the count of a link, which ends then (seconds since the epoch; None: never).

        Returns what it is then; it is never below 0.
        """
        ...


class LinkUses:
    """The files of links that are for a number of files."""

    def __init__(self, counts: UseCounts) -> None:
        self._counts = counts

    async def check(self, grant: Grant) -> None:
        """Raises Forbidden for a link that has brought all its files."""
        if grant.count is not None and await self._add(grant, 0) >= grant.count:
            raise _used_up(grant)

    @asynccontextmanager
    async def counted(self, grant: Grant, files: int) -> AsyncIterator[None]:
        """Count so many files that are published in this block; not if it raises.

        Raises Forbidden where the link allows fewer; then nothing is counted.
        """
        if grant.count is None:
            yield
            return
        count = await finish_or_undo(self._add(grant, files), lambda _: self._add(grant, -files))
        if count > grant.count:
            await finish_then_cancel(self._add(grant, -files))
            raise _used_up(grant)
        try:
            yield
        except AwaitsBackend:
            raise  # it is kept, and is published later
        except BaseException:
            await shield_until_done(self._add(grant, -files))
            raise

    async def _add(self, grant: Grant, files: int) -> int:
        return await self._counts.add(grant.link, grant.expires, files)


class FolderUses:
    """The counts in one folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._next_look = 0.0

    async def add(self, link: str, ends: float | None, files: int) -> int:
        return await asyncio.to_thread(self._add, link, ends, files)

    def _add(self, link: str, ends: float | None, files: int) -> int:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._forget()
        end = "never" if ends is None else str(round(ends))
        path = os.path.join(self._folder, f"{link}.{end}")
        with locked_file(path) as fd:
            count = (clipped_uint(os.pread(fd, 20, 0).decode("latin-1").strip()) or 0) + files
            if files:
                os.pwrite(fd, b"%-20d" % max(count, 0), 0)
                os.fsync(fd)
            return count

    def _forget(self) -> None:
        now = time.time()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY
        for name in os.listdir(self._folder):
            end = clipped_uint(name.rpartition(".")[2])
            if end is not None and end + REMEMBERED < now:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._folder, name))


def _used_up(grant: Grant) -> Forbidden:
    return Forbidden(f"The link is for {grant.count} files, and takes no more of them")
