"""Bookmarks of uploads that broke off: files in the user's state folder, one for each upload.

A later run of the same copy finds the upload's URL in one. The URL is as good as a password, so
only the user may read the file. A bookmark is locked while a process uses it: another process with
the same file and destination begins an upload of its own. Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from sluiceway.pipe.file_lock import try_lock_file

__all__ = [
    "EXPIRES",
    "MOST_BOOKMARKS",
    "Bookmark",
    "BookmarkNotes",
    "SourceIdentity",
    "take_bookmark",
]

MOST_BOOKMARKS = 1000  # of a user; the oldest ones go
EXPIRES = 14 * 24 * 3600.0  # seconds; servers rarely keep an unfinished upload for longer
MOST_NOTES = 64 << 10  # bytes of a bookmark; ours have 500

_PROGRAM = "sluiceway"
_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, slots=True)
class SourceIdentity:
    """What names a source's bytes in every process.

    Args:
        place: The path or URL.
        version: Another one whenever the bytes may have changed: size and time of a file, an ETag.
    """

    place: str
    version: str


@dataclass(frozen=True, slots=True)
class BookmarkNotes:
    """What a later run needs to go on."""

    url: str  # of the upload, or what else names it
    protocol: str
    version: str  # of the source when the upload began
    size: int  # bytes of the source
    program: str = _PROGRAM  # without this word it is another program's file


class Bookmark:
    """A bookmark in use: locked. All calls block, for a moment."""

    def __init__(self, path: str, fd: int) -> None:
        self._path, self._fd = path, fd
        self.notes: BookmarkNotes | None = self._read()

    def write(self, notes: BookmarkNotes) -> None:
        """Survives a power cut. Does nothing where the disk is full: the upload goes on without."""
        self.notes = notes
        data = json.dumps(asdict(notes)).encode()
        with suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            os.write(self._fd, data)
            os.fsync(self._fd)

    def clear(self) -> None:
        """The upload has ended: nothing is left to go on with."""
        self.notes = None

    def close(self) -> None:
        """Let go of it. One without notes is removed. Safe to call twice."""
        if self._fd < 0:
            return
        if self.notes is None:
            with suppress(OSError):
                os.unlink(self._path)
        os.close(self._fd)
        self._fd = -1

    def _read(self) -> BookmarkNotes | None:
        try:
            notes = BookmarkNotes(**json.loads(os.read(self._fd, MOST_NOTES)))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        texts = (notes.url, notes.protocol, notes.version)
        fits = all(isinstance(text, str) for text in texts) and isinstance(notes.size, int)
        return notes if fits and notes.program == _PROGRAM else None


def take_bookmark(place: str, *destination: str) -> Bookmark | None:
    """Blocking. The bookmark of the copy of the source at `place` to this destination.

    None where another process uses it, where the state folder cannot be written, and where the
    system has no locks: the upload cannot be resumed by a later run then.
    """
    key = hashlib.sha256(json.dumps([place, *destination]).encode("utf-8", "backslashreplace"))
    try:
        folder = _folder()
        _sweep(folder)
        return _take(os.path.join(folder, key.hexdigest()[:32]))
    except OSError:
        return None


def _folder() -> str:
    """Raises OSError."""
    from platformdirs import user_state_path  # late: only large uploads need it

    folder = user_state_path("sluiceway", appauthor=False) / "uploads"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(folder)


def _take(path: str) -> Bookmark | None:
    while True:
        fd = os.open(path, _OPEN, 0o600)
        if not try_lock_file(fd):
            os.close(fd)
            return None
        if _is_there(path, fd):
            return Bookmark(path, fd)
        os.close(fd)  # another process removed it between


def _is_there(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False


def _sweep(folder: str) -> None:
    """Remove expired bookmarks, and the oldest of too many; never one that is in use."""
    found = sorted(_ages(folder))
    oldest = time.time() - EXPIRES
    too_many = max(0, len(found) - MOST_BOOKMARKS)
    for index, (age, path) in enumerate(found):
        if index >= too_many and age > oldest:
            return
        _remove(path, age)


def _ages(folder: str) -> Sequence[tuple[float, str]]:
    ages = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                ages.append((entry.stat(follow_symlinks=False).st_mtime, entry.path))
    return ages


def _remove(path: str, age: float) -> None:
    with suppress(OSError):
        fd = os.open(path, _OPEN & ~os.O_CREAT)
        try:
            if try_lock_file(fd) and os.fstat(fd).st_mtime == age:
                os.unlink(path)
        finally:
            os.close(fd)
