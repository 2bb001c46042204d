"""Bookmarks of uploads that broke off: files in the user's state folder, one for each upload.

A later run of the same copy finds in one what names the upload: as good as a password, so only the
user may read the file. A bookmark is locked while a process uses it: another process with the same
file and destination begins an upload of its own. Each further line is a step that was kept; one
that a kill tore does not count. Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from sluiceway.pipe.file_lock import try_lock_file

__all__ = [
    "EXPIRES",
    "MOST_BOOKMARKS",
    "Bookmark",
    "BookmarkNotes",
    "BookmarkStep",
    "SourceIdentity",
    "take_bookmark",
]

MOST_BOOKMARKS = 1000  # of a user; the oldest ones go
EXPIRES = 14 * 24 * 3600.0  # seconds; servers rarely keep an unfinished upload for longer
MOST_BYTES = 16 << 20  # of a bookmark: 500, and for 10,000 parts of a bucket 2 MB

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


@dataclass(frozen=True, slots=True)
class BookmarkStep:
    """How far an upload is whose destination does not know that by itself.

    Args:
        offset: Bytes that the destination keeps.
        epoch: One more with each process that goes on.
        state: What the destination needs to go on, instead of that of the step before.
        parts: To be added to those of the steps before.
    """

    offset: int = 0
    epoch: int = 0
    state: str = ""
    parts: tuple[str, ...] = ()


class Bookmark:
    """A bookmark in use: locked. All calls block, for a moment. `step` is the sum of all steps."""

    def __init__(self, path: str, fd: int) -> None:
        self._path, self._fd = path, fd
        self._end = 0  # of the last good line, in the file
        self._adding = threading.Lock()  # parts that are sent at once note their URLs
        self.step: BookmarkStep | None = None
        self.notes: BookmarkNotes | None = self._read()

    def write(self, notes: BookmarkNotes) -> bool:
        """Survives a power cut. False where the disk is full: the upload goes on without."""
        self.notes, self.step, self._end = notes, None, 0
        return self._append(asdict(notes))

    def add(self, step: BookmarkStep) -> bool:
        """One more step. False where it could not be written: the one before counts."""
        with self._adding:
            if self.notes is None or not self._append(asdict(step)):
                return False
            self.step = _sum(self.step, step)
            return True

    def clear(self) -> None:
        """The upload has ended: nothing is left to go on with."""
        self.notes = self.step = None

    def close(self) -> None:
        """Let go of it. One without notes is removed. Safe to call twice."""
        if self._fd < 0:
            return
        if self.notes is None:
            with suppress(OSError):
                os.unlink(self._path)
        os.close(self._fd)
        self._fd = -1

    def _append(self, values: dict[str, object]) -> bool:
        data = json.dumps(values).encode() + b"\n"
        try:
            os.ftruncate(self._fd, self._end)
            os.lseek(self._fd, self._end, os.SEEK_SET)
            while data:
                data = data[os.write(self._fd, data) :]
            os.fsync(self._fd)
            self._end = os.lseek(self._fd, 0, os.SEEK_CUR)
        except OSError:
            return False
        return True

    def _read(self) -> BookmarkNotes | None:
        try:
            if os.fstat(self._fd).st_size > MOST_BYTES:
                return None
            with open(self._fd, "rb", closefd=False) as file:
                notes = BookmarkNotes(**json.loads(line := file.readline()))
                if not line.endswith(b"\n") or not _is_ours(notes):
                    return None
                self._end = len(line)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self.step = _sum(self.step, _step(json.loads(line)))
                    self._end += len(line)
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return notes


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


def _is_ours(notes: BookmarkNotes) -> bool:
    texts = (notes.url, notes.protocol, notes.version)
    fits = all(isinstance(text, str) for text in texts) and isinstance(notes.size, int)
    return fits and notes.program == _PROGRAM


def _step(values: dict[str, object]) -> BookmarkStep:
    """Raises TypeError for what is none."""
    step = BookmarkStep(**values)  # type: ignore[arg-type]  # checked below
    texts = isinstance(step.state, str) and all(isinstance(part, str) for part in step.parts)
    if not (texts and isinstance(step.offset, int) and isinstance(step.epoch, int)):
        raise TypeError
    return replace(step, parts=tuple(step.parts))


def _sum(before: BookmarkStep | None, step: BookmarkStep) -> BookmarkStep:
    return step if before is None else replace(step, parts=before.parts + step.parts)


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
