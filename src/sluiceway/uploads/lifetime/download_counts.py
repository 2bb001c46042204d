"""How often each file was downloaded that is for a few downloads only: exact across processes.

One is counted before its first byte is sent; a crash in between costs one download, and never gives
one more. On one machine each file has a small one of its own, changed under its lock: a line for
each download. Many servers have rows in their database.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from contextlib import suppress
from typing import Protocol

from sluiceway.pipe.file_lock import locked_file
from sluiceway.wire.numbers import clipped_uint

__all__ = ["RESUMED_FOR", "DownloadCounts", "FolderDownloads", "reader_mark"]

# Seconds for which whoever began a download may fetch ranges of it without being counted again
RESUMED_FOR = 3600.0
_MARK = 32  # characters of a line that name a reader; then a space, the second, and a line break
_LINE = _MARK + 1 + 12 + 1


class DownloadCounts(Protocol):
    """Where downloads are counted."""

    async def begin(self, number: str, most: int, reader: str, *, ranged: bool) -> bool:
        """Count a download. False when there were as many as there may be.

        Args:
            number: Names the count; this server made it.
            most: How many downloads there may be.
            reader: Whoever downloads, as text that is the same in its next request.
            ranged: Whether ranges are asked for: those of a reader are one download for an hour.
        """
        ...

    async def is_used_up(self, number: str, most: int, *, for_good: bool = False) -> bool:
        """Whether no other download may begin; `for_good`: and none under way may go on."""
        ...

    async def forget(self, number: str) -> None:
        """The file is deleted."""
        ...


def reader_mark(reader: str) -> str:
    """A reader in a count: its address and secret are in no file."""
    return hashlib.sha256(reader.encode()).hexdigest()[:_MARK]


class FolderDownloads:
    """The counts in one folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    async def begin(self, number: str, most: int, reader: str, *, ranged: bool) -> bool:
        return await asyncio.to_thread(self._begin, number, most, reader_mark(reader), ranged)

    async def is_used_up(self, number: str, most: int, *, for_good: bool = False) -> bool:
        lines = await asyncio.to_thread(self._read, number)
        if len(lines) < most:
            return False
        return not for_good or lines[-1][1] + RESUMED_FOR < time.time()

    async def forget(self, number: str) -> None:
        with suppress(FileNotFoundError):
            await asyncio.to_thread(os.unlink, self._path(number))

    def _begin(self, number: str, most: int, mark: str, ranged: bool) -> bool:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        with locked_file(self._path(number)) as fd:
            lines, now = _lines_of(fd), time.time()
            if ranged and any(who == mark and now < at + RESUMED_FOR for who, at in lines):
                return True
            if len(lines) >= most:
                return False
            # behind the last whole line: one that a crash tore is overwritten
            os.pwrite(fd, f"{mark} {round(now):012d}\n".encode(), len(lines) * _LINE)
            os.fsync(fd)
            return True

    def _read(self, number: str) -> list[tuple[str, int]]:
        try:
            fd = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        try:
            return _lines_of(fd)
        finally:
            os.close(fd)

    def _path(self, number: str) -> str:
        return os.path.join(self._folder, hashlib.sha256(number.encode()).hexdigest()[:48])


def _lines_of(fd: int) -> list[tuple[str, int]]:
    """Reader and second of each whole line."""
    data, lines = os.pread(fd, os.fstat(fd).st_size, 0), list[tuple[str, int]]()
    for at in range(0, len(data) - _LINE + 1, _LINE):
        mark, _, second = data[at : at + _LINE - 1].decode("latin-1").partition(" ")
        lines.append((mark, clipped_uint(second) or 0))
    return lines
