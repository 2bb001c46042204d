"""A file of a form under a path of the app's own: it appears there complete, or not at all.

Knows paths only; the frameworks' files bring the bytes.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from typing import BinaryIO

__all__ = ["SavedFile"]

KEPT_EVERY = 0.25  # seconds between synchronisations of a file that is watched


class SavedFile:
    """`open` it, `write`, then `publish` or `discard`. All block; `discard` may follow both."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        # copies leave such names out
        name = f".sluiceway-{secrets.token_hex(8)}.part"
        self._draft = os.path.join(os.path.dirname(self._path), name)
        self._file: BinaryIO

    def open(self) -> BinaryIO:
        """The draft, beside the path. Raises OSError."""
        self._file = open(self._draft, "xb")  # noqa: SIM115 - closed by publish and discard
        self._synchronised_at = time.monotonic()
        return self._file

    def write(self, data: bytes, watched: bool) -> bool:
        """Write. While somebody watches, it is synchronised with the disk four times a second.

        Returns whether all that was written survives a power cut now. Raises OSError.
        """
        self._file.write(data)
        if not watched or time.monotonic() - self._synchronised_at < KEPT_EVERY:
            return False
        self._synchronise()
        self._synchronised_at = time.monotonic()
        return True

    def publish(self) -> None:
        """Synchronise it with the disk, and put it under its path. Raises OSError."""
        self._synchronise()
        self._file.close()
        os.replace(self._draft, self._path)

    def discard(self) -> None:
        """Remove the draft, if there is one."""
        if hasattr(self, "_file"):
            with suppress(OSError):  # what could not be written cannot be flushed either
                self._file.close()
        with suppress(FileNotFoundError):
            os.unlink(self._draft)

    def _synchronise(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
