"""Files that say who may do what: only their owner reads them, and a server follows their changes.

A new file that cannot be used changes nothing: what was there before stays, and the log says why.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

from sluiceway.errors import SluiceError, Unavailable
from sluiceway.pipe.file_lock import HAS_LOCKS, try_lock_file
from sluiceway.server.settings.guarded import (
    BadSetting,
    open_lasting,
    readable_by_others,
    writable_by_others,
)

__all__ = ["WatchedFile", "edited_alone", "read_owned", "write_owned"]

LARGEST_FILE = 4 << 20  # bytes; 10,000 tokens of long lines need less
LOOK_EVERY = 1.0  # seconds between two looks whether the file is another one
EDIT_WAIT, EDIT_PAUSE = 30.0, 0.02  # seconds for the edits of others, and between two tries

T = TypeVar("T")

log: logging.Logger = logging.getLogger("sluiceway")


def read_owned(path: str) -> str:
    """The text of a file that no other user may read or change. Raises BadSetting."""
    try:
        with open_lasting(path) as file:
            status = os.fstat(file.fileno())
            if readable_by_others(status) or writable_by_others(status):
                raise BadSetting(
                    "other users can read or change it, and it says who may do what; run chmod 600 "
                    "on it"
                )
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise BadSetting(f"it cannot be read: {error.strerror}") from None
    if len(content) > LARGEST_FILE:
        raise BadSetting(f"it has more than {LARGEST_FILE >> 20} MiB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSetting("it is not text") from None


def write_owned(path: str, text: str) -> None:
    """Replace the file in one step: a server never reads half of it.

    Raises OSError; then the file is as it was.
    """
    draft = f"{path}.{secrets.token_hex(8)}"
    mode = stat.S_IMODE(os.stat(path).st_mode) if os.path.exists(path) else 0o600
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        raise


@contextmanager
def edited_alone(path: str) -> Iterator[None]:
    """Read, change and write the file in this block: of edits at once, none is lost.

    The lock is that of its folder: the file may not be there yet, and is another one afterwards.
    Raises Unavailable where another program holds it too long. Blocking.
    """
    folder = _opened_folder(path) if HAS_LOCKS else None
    if folder is None:
        yield
        return
    try:
        last = time.monotonic() + EDIT_WAIT
        while not try_lock_file(folder):
            if time.monotonic() >= last:
                raise Unavailable(f"Another program holds the folder of {path}; try again")
            time.sleep(EDIT_PAUSE)
        yield
    finally:
        os.close(folder)


def _opened_folder(path: str) -> int | None:
    """None for a folder that this user cannot list; then nobody adds files there either."""
    try:
        return os.open(os.path.dirname(path) or ".", os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except PermissionError:
        return None


class WatchedFile(Generic[T]):
    """What `read` makes of a file, as the file is now. Raises BadSetting when it is made."""

    def __init__(
        self, path: str, read: Callable[[str], T], what: str, also: tuple[str, ...] = ()
    ) -> None:
        """`what` it holds, for the log: "the tokens". `also`: files that are read with it."""
        self._path, self._read, self._what, self._also = path, read, what, also
        self._version = self._seen()
        self.value: T = read(path)
        self._next_look = time.monotonic() + LOOK_EVERY

    def changed(self) -> bool:
        """Look at the file at most once a second; whether `value` is another one now."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_EVERY
        version = self._seen()
        if version == self._version:
            return False
        self._version = version  # a bad file is said once
        try:
            self.value = self._read(self._path)
        except SluiceError as error:
            log.error("%s stay as they were: %s", self._what, error.detail)
            return False
        log.info("read %s again from %s", self._what, self._path)
        return True

    def look_again(self) -> None:
        """Read the file at the next request, also where it seems to be the same."""
        self._version, self._next_look = (), 0.0

    def _seen(self) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(_version(path) for path in (self._path, *self._also))


def _version(path: str) -> tuple[int, ...] | None:
    """Changes with the file. None while it cannot be seen."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
