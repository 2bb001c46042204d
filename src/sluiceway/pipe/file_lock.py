"""Locks on open files between processes, where the system has them (flock); none on Windows.

The kernel releases a lock with its descriptor, also that of a process that dies.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "HAS_LOCKS",
    "ProcessName",
    "lock_file",
    "locked_file",
    "try_lock_file",
    "try_lock_part",
    "unlock_part",
]

HAS_LOCKS: bool = fcntl is not None
_OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def lock_file(fd: int) -> None:
    """Wait for the lock. Does nothing where there are no locks."""
    if fcntl is not None:
        fcntl.flock(fd, fcntl.LOCK_EX)


@contextmanager
def locked_file(path: str) -> Iterator[int]:
    """The descriptor of a file, which is made where it is missing, while its lock is held.

    Each call opens the file anew: threads wait for each other, too.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        lock_file(fd)
        yield fd
    finally:
        os.close(fd)


def try_lock_file(fd: int) -> bool:
    """Whether the lock was free, and is held now. Without locks it never seems free."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_lock_part(fd: int, part: int, count: int = 1) -> bool:
    """As `try_lock_file`, for the bytes from `part` on: each belongs to one process."""
    if fcntl is None:
        return False
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, count, part)
    except OSError:
        return False
    return True


def unlock_part(fd: int, part: int) -> None:
    """Give up the lock of one byte."""
    if fcntl is not None:
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, part)


class ProcessName:
    """A name in a folder, by which other processes learn whether this one lives.

    It is a file that is locked as long as the process lives. Blocking calls.
    """

    name: str

    def __init__(self, folder: int) -> None:
        """`folder` is the descriptor of the folder of names, which stays the caller's."""
        self._folder = folder
        self.name, self._lock = self._take()

    def is_alive(self, name: str) -> bool:
        """Whether the process with this name lives; that of an ended one is forgotten."""
        if name == self.name:
            return True
        try:
            lock = os.open(name, _OPEN, dir_fd=self._folder)
        except FileNotFoundError:
            return False
        except PermissionError:  # of another user who shares the folder
            return True
        try:
            if not try_lock_file(lock):
                return True
            with suppress(FileNotFoundError):  # it ended just now, or another process looks, too
                os.unlink(name, dir_fd=self._folder)
            return False
        finally:
            os.close(lock)

    def has_others(self) -> bool:
        """Whether any other process lives."""
        names = os.listdir(self._folder)
        return any(name != self.name and self.is_alive(name) for name in names)

    def forget_ended(self) -> None:
        """A process that is killed leaves its name, and nobody may ask for that one again."""
        for name in os.listdir(self._folder):
            self.is_alive(name)

    def close(self) -> None:
        """Give up the name."""
        try:
            os.unlink(self.name, dir_fd=self._folder)
        finally:
            os.close(self._lock)

    def _take(self) -> tuple[str, int]:
        while True:
            name = secrets.token_hex(8)
            lock = os.open(name, _OPEN | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._folder)
            lock_file(lock)
            if os.fstat(lock).st_nlink:
                return name, lock
            os.close(lock)  # another process looked before the lock was there
