"""The name of a spool's folder, which stays: two folders are never taken for one.

Servers that share a ledger need it: one without the bytes must not decide about an upload. Blocking
calls.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

__all__ = ["spool_identity"]

NAME = "identity"
LENGTH = 32  # of the text in it


def spool_identity(folder: str) -> str:
    """Made by the process that comes first; durable when this returns. Raises OSError."""
    path = os.path.join(folder, NAME)
    with suppress(FileNotFoundError):
        return _read(path)
    mine = f"{path}.{secrets.token_hex(8)}"
    fd = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, secrets.token_hex(LENGTH // 2).encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        with suppress(FileExistsError):  # another process came first
            os.link(mine, path)
    finally:
        os.unlink(mine)
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    return _read(path)


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return file.read(LENGTH).decode("ascii")
