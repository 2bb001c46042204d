"""Locks on open files between processes, where the system has them (flock); none on Windows.

The kernel releases a lock with its descriptor, also that of a process that dies.
"""

from __future__ import annotations

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["HAS_LOCKS", "lock_file", "try_lock_file", "try_lock_part", "unlock_part"]

HAS_LOCKS: bool = fcntl is not None


def lock_file(fd: int) -> None:
    """Wait for the lock. Does nothing where there are no locks."""
    if fcntl is not None:
        fcntl.flock(fd, fcntl.LOCK_EX)


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
