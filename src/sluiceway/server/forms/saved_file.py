"""A file of a form under a path of the app's own: it appears there complete, or not at all.

Knows paths only; the frameworks' files bring the bytes.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import BinaryIO

__all__ = ["SavedFile"]


class SavedFile:
    """`open` it, write, then `publish` or `discard`. All three block; `discard` may follow both."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        # copies leave such names out
        name = f".sluiceway-{secrets.token_hex(8)}.part"
        self._draft = os.path.join(os.path.dirname(self._path), name)
        self._file: BinaryIO

    def open(self) -> BinaryIO:
        """The draft, beside the path. Raises OSError."""
        self._file = open(self._draft, "xb")  # noqa: SIM115 - closed by publish and discard
        return self._file

    def synchronise(self) -> None:
        """What was written so far survives a power cut from now on. Raises OSError."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def publish(self) -> None:
        """Synchronise it with the disk, and put it under its path. Raises OSError."""
        self.synchronise()
        self._file.close()
        os.replace(self._draft, self._path)

    def discard(self) -> None:
        """Remove the draft, if there is one."""
        if hasattr(self, "_file"):
            with suppress(OSError):  # what could not be written cannot be flushed either
                self._file.close()
        with suppress(FileNotFoundError):
            os.unlink(self._draft)
