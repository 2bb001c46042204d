"""What fsspec implementations say, in our words: errors, a file's size and version, which way a file can be moved.

Each protocol has names of its own for the same thing; here they become one. Blocking, and without any state.
"""

from __future__ import annotations

import errno
import ftplib
import hashlib
import os
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from fsspec.spec import AbstractFileSystem

from sluiceway.errors import (
    Exists,
    NoSpace,
    NotFound,
    PeerFailed,
    PeerTimeout,
    PeerUnreachable,
    SluiceError,
    StoreFailed,
    TooLarge,
)
from sluiceway.pipe.descriptors import out_of_descriptors
from sluiceway.wire.numbers import ascii_uint

__all__ = [
    "Version",
    "error_word",
    "forget_cached",
    "has_move",
    "has_ranges",
    "is_link",
    "version_of",
]

TIMES = (
    "mtime",
    "modified",
    "last_modified",
    "LastModified",
    "updated",
    "modificationTime",
    "last_write_time",
    "modify",
    "created",
)
TAGS = (
    "ETag",
    "etag",
    "e_tag",
    "checksum",
    "md5",
    "md5Hash",
    "sha256",
    "content_hash",
    "ino",
    "fileId",
    "generation",
    "rev",
)
LONGEST = 200  # characters of what a library said that are passed on

_FULL = {errno.ENOSPC, errno.EDQUOT}
FULL = {
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EDQUOT),
    "no space on filesystem",
    "quota exceeded",
}  # whole messages
CLOSED = {"Socket is closed"}
_CLOSED = {errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, errno.ESHUTDOWN}
_AWAY = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one version of a file from another. `modified` is None where the protocol knows no time."""

    size: int
    modified: float | None
    tag: str  # whatever else the protocol tells that changes with the bytes; "" where nothing

    @property
    def etag(self) -> str:
        time = "" if self.modified is None else f"{self.modified:.6f}"
        return hashlib.sha256(f"{self.size} {time} {self.tag}".encode()).hexdigest()[:32]


def is_link(info: Mapping[str, Any]) -> bool:
    """Whether it is a symbolic link, also where the rest of what is told is of what it shows."""
    return info.get("type") == "link" or bool(info.get("islink"))


def version_of(info: Mapping[str, Any]) -> Version | None:
    """Of a regular file; None of anything else. Raises StoreFailed where no size is told."""
    if info.get("type") != "file":
        return None
    size = info.get("size")
    if not isinstance(size, int):
        raise StoreFailed(
            "The destination does not tell how large its files are; it cannot be used"
        )
    modified, tags = None, [f"{name}={info[name]}" for name in TAGS if info.get(name) is not None]
    for name in TIMES:
        if info.get(name) is not None:
            modified = _seconds(info[name], name == "modificationTime")
            if modified is None:
                tags.append(f"{name}={info[name]}")
            break
    if modified is None and not tags:
        raise StoreFailed(
            "The destination tells neither time nor version of its files; it cannot be used"
        )
    return Version(size, modified, " ".join(tags))


def _seconds(value: Any, milliseconds: bool) -> float | None:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, int | float):
        return value / 1000 if milliseconds else float(value)
    text = str(value)
    for read in (_ftp_time, datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(text)
        except ValueError:
            continue
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return None


def _ftp_time(text: str) -> datetime:
    """RFC 3659, 2.3: 20261121230000 or with a fraction."""
    return datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def has_move(kind: type[Any]) -> bool:
    """Whether the protocol can give a file another name; fsspec's own `mv` copies and deletes."""
    return kind.mv is not AbstractFileSystem.mv


def has_ranges(kind: type[Any]) -> bool:
    """Whether it has a way of its own to read a range, so that no file need be held open."""
    return kind.cat_file is not AbstractFileSystem.cat_file or hasattr(kind, "_cat_file")


def forget_cached(fs: Any, folder: str) -> None:
    """Some answer from memory what they listed before."""
    fs.invalidate_cache(folder)


def error_word(error: BaseException, where: str, secrets: Iterable[str]) -> SluiceError:
    """One of our errors for one of any library's, which says what to do and holds no password. `where`: for people."""
    if isinstance(error, SluiceError):
        return error
    said = _said(error, secrets)
    known = (
        out_of_descriptors(error)
        or _of_connection(error, where, said)
        or _of_file(error, where, said)
    )
    return known or StoreFailed(f"{where} refused: {said}")


def _of_file(error: BaseException, where: str, said: str) -> SluiceError | None:
    code, status = _errno(error), _status(error)
    if code == errno.EFBIG:
        return TooLarge(
            f"{where} takes no file this large; sending it again does not help. Split it, or store it elsewhere"
        )
    if code in _FULL or status in (507, 552) or _is_one_of(error, FULL):
        return NoSpace(f"{where} is full; nothing was stored. Make room there, then send it again")
    if isinstance(error, FileNotFoundError) or status == 404:
        return NotFound("There is no such file or folder there")
    if isinstance(error, FileExistsError | IsADirectoryError | NotADirectoryError):
        return Exists("Something else is in the way there; it was not touched")
    if isinstance(error, PermissionError) or status == 403:
        return StoreFailed(
            f"{where}: the account has no right to this; give it the right to write there, or use another one"
        )
    if isinstance(error, NotImplementedError):
        return StoreFailed(
            f"{where}: its fsspec implementation cannot do this; it cannot be used here"
        )
    if _is_one_of(error, ("Failure",)):
        return StoreFailed(
            f"{where} refused without saying why; look for a full disk, a quota or a right that is missing"
        )
    return None


def _of_connection(error: BaseException, where: str, said: str) -> SluiceError | None:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    code, status = _errno(error), _status(error)
    if isinstance(error, socket.gaierror):
        return PeerUnreachable(f"{where}: there is no such host; check its name")
    if code in _AWAY or "NoValidConnectionsError" in kinds:
        return PeerUnreachable(
            f"{where}: nobody answers there; check host and port, and whether the server runs"
        )
    refused = kinds & {
        "AuthenticationException",
        "LogonFailure",
        "BadAuthenticationType",
        "PasswordRequiredException",
    }
    if refused or status in (401, 530):
        return StoreFailed(f"{where}: user, password or key was refused; check them")
    if isinstance(error, TimeoutError):
        return PeerTimeout(f"{where} took too long to answer; try again later")
    broken = (
        isinstance(error, EOFError | ConnectionError) or "SSHException" in kinds or status == 421
    )
    if broken or code in _CLOSED or _is_one_of(error, CLOSED):
        return PeerFailed(f"{where} broke the connection off; try again ({said})")
    return None


def _errno(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _status(error: BaseException) -> int:
    """The number of an answer: HTTP's, wherever its client keeps it, or the reply code an FTP error begins with. Else 0."""
    if isinstance(error, ftplib.Error):
        code = str(error)[:3]
        return ascii_uint(code, "reply") if code.isascii() and code.isdigit() else 0
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status"):
            status = getattr(holder, name, None)
            if isinstance(status, int):
                return status
    return 0


def _is_one_of(error: BaseException, messages: Collection[str]) -> bool:
    """Whether an error without a number says exactly this. SFTP 3 has one number for many failures, and the server's words."""
    return (
        isinstance(error, OSError)
        and error.errno is None
        and len(error.args) == 1
        and error.args[0] in messages
    )


def _said(error: BaseException, secrets: Iterable[str]) -> str:
    text = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    for secret in secrets:
        text = text.replace(secret, "…") if secret else text
    return text[:LONGEST]
