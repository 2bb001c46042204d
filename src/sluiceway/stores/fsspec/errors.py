"""Errors of fsspec implementations and their clients as errors of ours, with what to do.

By type, errno and status alone: a text may hold the name of any file. Never repeats a password.
"""

from __future__ import annotations

import errno
import ftplib
import os
import socket
from collections.abc import Collection, Iterable

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

__all__ = ["map_error"]

LONGEST_TEXT = 200  # characters of a library's own text that are passed on

FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT}
FULL_MESSAGES = {  # whole messages
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EDQUOT),
    "no space on filesystem",
    "quota exceeded",
}
BROKEN_ERRNOS = {
    errno.EPIPE,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ENOTCONN,
    errno.ESHUTDOWN,
}
BROKEN_MESSAGES = {"Socket is closed"}
UNREACHABLE_ERRNOS = {
    errno.ECONNREFUSED,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
}
LOGIN_ERRORS = {  # names of classes of paramiko and smbprotocol
    "AuthenticationException",
    "LogonFailure",
    "BadAuthenticationType",
    "PasswordRequiredException",
}


def map_error(error: BaseException, display_name: str, secrets: Iterable[str]) -> SluiceError:
    """The error to raise for one of any library's. No text of `secrets` is repeated in it."""
    if isinstance(error, SluiceError):
        return error
    text = _text(error, secrets)
    found = (
        out_of_descriptors(error)
        or _connection_error(error, display_name, text)
        or _file_error(error, display_name)
    )
    return found or StoreFailed(f"{display_name} refused: {text}")


def _file_error(error: BaseException, display_name: str) -> SluiceError | None:
    code, status = _errno(error), _status(error)
    if code == errno.EFBIG:
        return TooLarge(
            f"{display_name} takes no file this large; sending it again does not help. "
            "Split it, or store it elsewhere"
        ).for_operator("The destination takes no file this large; sending it again does not help")
    if code in FULL_ERRNOS or status in (507, 552) or _has_message(error, FULL_MESSAGES):
        return NoSpace(
            f"{display_name} is full; nothing was stored. Make room there, then send it again"
        )
    if isinstance(error, FileNotFoundError) or status == 404:
        return NotFound("There is no such file or folder there")
    if isinstance(error, FileExistsError | IsADirectoryError | NotADirectoryError):
        return Exists("Something else is in the way there; it was not touched")
    if isinstance(error, PermissionError) or status == 403:
        return StoreFailed(
            f"{display_name}: the account has no right to this; give it the right to write there, "
            "or use another one"
        )
    if isinstance(error, NotImplementedError):
        return StoreFailed(
            f"{display_name}: its fsspec implementation cannot do this; it cannot be used here"
        )
    if _has_message(error, ("Failure",)):
        return StoreFailed(
            f"{display_name} refused without a reason; "
            "look for a full disk, a quota or a missing right"
        )
    return None


def _connection_error(error: BaseException, display_name: str, text: str) -> SluiceError | None:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    code, status = _errno(error), _status(error)
    if isinstance(error, socket.gaierror):
        return PeerUnreachable(f"{display_name}: there is no such host; check its name")
    if code in UNREACHABLE_ERRNOS or "NoValidConnectionsError" in kinds:
        return PeerUnreachable(
            f"{display_name}: no server answers there; check host and port, "
            "and whether the server runs"
        )
    if kinds & LOGIN_ERRORS or status in (401, 530):
        return StoreFailed(f"{display_name}: user, password or key was refused; check them")
    if isinstance(error, TimeoutError):
        return PeerTimeout(f"{display_name} took too long to answer; try again later")
    broken = (
        isinstance(error, EOFError | ConnectionError) or "SSHException" in kinds or status == 421
    )
    if broken or code in BROKEN_ERRNOS or _has_message(error, BROKEN_MESSAGES):
        return PeerFailed(f"{display_name} broke the connection off; try again ({text})")
    return None


def _errno(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _status(error: BaseException) -> int:
    """HTTP's status, wherever its client keeps it, or an FTP error's reply code; 0 for none."""
    if isinstance(error, ftplib.Error):
        code = str(error)[:3]
        return ascii_uint(code, "reply") if code.isascii() and code.isdigit() else 0
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status"):
            status = getattr(holder, name, None)
            if isinstance(status, int):
                return status
    return 0


def _has_message(error: BaseException, messages: Collection[str]) -> bool:
    """Whether an error without a number has exactly this text.

    SFTP 3 has one number for many failures, and the server's own text.
    """
    return (
        isinstance(error, OSError)
        and error.errno is None
        and len(error.args) == 1
        and error.args[0] in messages
    )


def _text(error: BaseException, secrets: Iterable[str]) -> str:
    text = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    for secret in secrets:
        text = text.replace(secret, "…") if secret else text
    return text[:LONGEST_TEXT]
