"""The bound of a spool in bytes, for all processes that share it: a claim comes before its bytes.

    FOLDER/processes/NAME    as long as the claims of a living process together
    FOLDER/uploads/NAME      as long as the claim of an upload that outlives its process

The claims are the lengths of empty files, so no count of them can become wrong. Blocking calls.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress

from sluiceway.errors import NoSpace
from sluiceway.pipe.file_lock import ProcessName, locked_file

__all__ = ["MOST_SPOOLED", "SpoolClaims"]

MOST_SPOOLED = 10_000  # uploads in a spool that outlive their process
FULL = "The spool of this server is full; send the file again when the backend is back"


class SpoolClaims:
    """The claims of one process. `kept` gives the bytes of files that were given up."""

    def __init__(self, folder: str, most: int, kept: Callable[[], int]) -> None:
        self._folder, self._most, self._kept = folder, most, kept
        for name in ("processes", "uploads"):
            os.makedirs(os.path.join(folder, name), mode=0o700, exist_ok=True)
        self._processes = os.open(os.path.join(folder, "processes"), os.O_RDONLY)
        self._process = ProcessName(self._processes)
        self._passing: dict[str, int] = {}  # of drafts that end with this process

    def take(self, name: str, size: int, lasts: bool) -> None:
        """Claim `size` bytes in all for one draft. Raises NoSpace, OSError."""
        with locked_file(os.path.join(self._folder, "lock")):
            others, count = self._others(name, lasts)
            if others + size > self._most or (lasts and count >= MOST_SPOOLED):
                raise NoSpace(FULL).for_everyone()
            if lasts:
                fd = os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    os.ftruncate(fd, size)
                finally:
                    os.close(fd)
                if self._passing.pop(name, None) is None:
                    return
            else:
                self._passing[name] = size
            self._write_passing()

    def release(self, name: str) -> None:
        """Give a claim back. Does nothing where there is none."""
        with suppress(FileNotFoundError):
            os.unlink(self._path(name))
        if self._passing.pop(name, None) is not None:
            self._write_passing()

    def release_left(self, hidden: str) -> None:
        """That of a draft whose upload nobody knows: it has the same name."""
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self._folder, "uploads", hidden))

    def close(self) -> None:
        with suppress(OSError):
            self._process.close()
        os.close(self._processes)

    def _others(self, name: str, lasts: bool) -> tuple[int, int]:
        """Bytes of all claims but this one, and the number of those that last."""
        own = os.path.basename(self._path(name))
        total, count = self._kept(), 0
        with os.scandir(os.path.join(self._folder, "uploads")) as items:
            for item in items:
                with suppress(FileNotFoundError):
                    size = item.stat(follow_symlinks=False).st_size
                    if item.name != own:
                        total, count = total + size, count + 1
        for process in os.listdir(self._processes):
            if process != self._process.name and self._process.is_alive(process):
                with suppress(FileNotFoundError):
                    total += os.stat(process, dir_fd=self._processes).st_size
        return total + sum(self._passing.values()) - self._passing.get(name, 0), count

    def _write_passing(self) -> None:
        fd = os.open(self._process.name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._processes)
        try:
            os.ftruncate(fd, sum(self._passing.values()))
        finally:
            os.close(fd)

    def _path(self, name: str) -> str:
        hidden = hashlib.sha256(name.encode()).hexdigest()[:32]
        return os.path.join(self._folder, "uploads", hidden)
