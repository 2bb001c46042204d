"""Notes of the uploads that wait in the spool for their destination, one small file for each.

    FOLDER/NAME    what was tried; its time of change is the time of the next try

A note is durable before what it says can happen. Blocking calls; several processes share a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass

__all__ = ["DeliveryNote", "DeliveryNotes"]

MOST_NOTE = 1 << 20  # bytes of a file that may be a note


@dataclass(frozen=True, slots=True)
class DeliveryNote:
    """How far the delivery of one upload came.

    Args:
        upload: Its id in the ledger.
        name: Under which it is sent: the same in each try.
        since: Seconds since the epoch: the first failure, or the first try.
        tries: How often it was tried in vain.
        is_sent: Its last byte may have left, and no answer to it is known.
        status: The destination's success, 0 before.
        location: What that named.
        etag: Its tag.
        size: Bytes of the file.
    """

    upload: str
    name: str
    since: float
    tries: int = 0
    is_sent: bool = False
    status: int = 0
    location: str | None = None
    etag: str = ""
    size: int = 0


class DeliveryNotes:
    """The notes in one folder, which is made."""

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._folder = folder

    def read(self, upload: str) -> DeliveryNote | None:
        return self._read(self._path(upload))

    def write(self, note: DeliveryNote, next_try: float) -> None:
        """Durable when this returns. `next_try`: seconds since the epoch. Raises OSError."""
        path = self._path(note.upload)
        new = f"{path}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, json.dumps(asdict(note)).encode())
            os.utime(fd if os.utime in os.supports_fd else new, (next_try, next_try))
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(new, path)
        self._synchronise()

    def postpone(self, upload: str, next_try: float) -> None:
        with suppress(FileNotFoundError):
            os.utime(self._path(upload), (next_try, next_try))

    def remove(self, upload: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._path(upload))

    def next_try(self, upload: str) -> float:
        """Seconds since the epoch; 0 where there is no note."""
        try:
            return os.stat(self._path(upload)).st_mtime
        except FileNotFoundError:
            return 0.0

    def due(self, now: float, most: int) -> list[DeliveryNote]:
        """Those whose time has come, the longest first."""
        found = sorted((at, path) for at, path in self._all() if at <= now)
        notes = (self._read(path) for _, path in found[:most])
        return [note for note in notes if note is not None]

    def count(self) -> int:
        return sum(1 for _ in self._all())

    def _all(self) -> Iterator[tuple[float, str]]:
        with os.scandir(self._folder) as items:
            for item in items:
                with suppress(FileNotFoundError):  # another process delivered it
                    if not item.name.endswith(".new"):
                        yield item.stat(follow_symlinks=False).st_mtime, item.path

    def _path(self, upload: str) -> str:
        """The name hides the upload's id: with the id anyone may cancel the upload."""
        return os.path.join(self._folder, hashlib.sha256(upload.encode()).hexdigest()[:32])

    def _read(self, path: str) -> DeliveryNote | None:
        try:
            with open(path, "rb") as file:
                return DeliveryNote(**json.loads(file.read(MOST_NOTE)))
        except FileNotFoundError:
            return None

    def _synchronise(self) -> None:
        if not hasattr(os, "O_DIRECTORY"):
            return
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
