"""The token file of a running server, read again when it changes. No request waits for that.

A new file that cannot be used changes nothing: the tokens before stay, and the log says why.
"""

from __future__ import annotations

import logging
import os
import stat
import time

from sluiceway.errors import SluiceError
from sluiceway.server.access.named_tokens import NamedToken, parse_tokens
from sluiceway.server.settings.guarded import BadSetting

__all__ = ["TokenFile", "read_text", "read_tokens"]

LARGEST_FILE = 4 << 20  # bytes; 10,000 tokens of long lines need less
LOOK_EVERY = 1.0  # seconds between two looks whether the file is another one
OTHERS = stat.S_IRWXG | stat.S_IRWXO

log: logging.Logger = logging.getLogger("sluiceway")


def read_tokens(path: str) -> list[NamedToken]:
    """The tokens of a file that only its owner may read. Raises BadSetting."""
    try:
        return parse_tokens(read_text(path))
    except BadSetting as error:
        raise BadSetting(f"--token-file {path}: {error.detail}") from None


def read_text(path: str) -> str:
    """The text of a file that only its owner may read or change. Raises BadSetting."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & OTHERS:
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


class TokenFile:
    """The tokens of a file as they are now. Raises BadSetting when it is made."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._version = _version(path)
        self.tokens: list[NamedToken] = read_tokens(path)
        self._next_look = time.monotonic() + LOOK_EVERY

    def changed(self) -> bool:
        """Look at the file at most once a second; whether `tokens` are others now."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_EVERY
        version = _version(self._path)
        if version == self._version:
            return False
        self._version = version  # a bad file is said once
        try:
            self.tokens = read_tokens(self._path)
        except SluiceError as error:
            log.error("the tokens stay as they were: %s", error.detail)
            return False
        log.info("read %d tokens from %s again", len(self.tokens), self._path)
        return True

    def look_again(self) -> None:
        """Read the file at the next request, also where it seems to be the same."""
        self._version, self._next_look = None, 0.0


def _version(path: str) -> tuple[int, ...] | None:
    """Changes with the file. None while it cannot be seen."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
