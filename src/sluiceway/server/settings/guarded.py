"""Checks of settings that guard the server: tokens, secrets for other servers, host names, origins.

Each error says what to do. A secret that is set but empty is an error, and never "no secret": the
variable that should hold it was not filled.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Iterable
from typing import BinaryIO

from sluiceway.errors import BadRequest, SluiceError
from sluiceway.wire.request_targets import Origin, parse_authority, parse_origin

__all__ = [
    "BadSetting",
    "check_secrets",
    "check_token_text",
    "host_name",
    "is_loopback",
    "is_single",
    "open_lasting",
    "origin",
    "read_secret",
    "read_token",
    "readable_by_others",
    "writable_by_others",
]

SHORTEST_TOKEN = 8  # characters; a shorter one can be guessed
LARGEST_TOKEN = 4096  # bytes of its file; a header field holds no more

_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
# Names of options and headers whose value is a secret; a scheme such as "Bearer" stands before it
_SECRET = re.compile(
    r"auth|token|secret|password|passwd|api[-_]?key|access[-_]?key|credential|sas", re.IGNORECASE
)
_SCHEME_ALONE = re.compile(r"(?:bearer|basic|token|digest|apikey)?", re.IGNORECASE)


class BadSetting(SluiceError, code="bad-setting", title="A setting cannot be used"):
    """A setting that cannot be used. The text names it and says what to do."""


def check_token_text(token: str, setting: str) -> None:
    """Raises BadSetting for a token that is empty, easy to guess, or impossible in a header."""
    if not token.strip():
        raise BadSetting(f"{setting} is set but empty; give a long random secret, or leave it out")
    if len(token) < SHORTEST_TOKEN:
        raise BadSetting(
            f"{setting} has fewer than {SHORTEST_TOKEN} characters and can be guessed; use a long "
            "random one"
        )
    if token != token.strip() or not token.isprintable():
        raise BadSetting(
            f"{setting} begins or ends with a space, or has a line break; no client can send that"
        )


def is_single(path: str) -> bool:
    """Whether a token file holds one secret and nothing else: the admin's, without a name.

    One with names has several words in each line, or tables. Raises BadSetting.
    """
    try:
        with open_lasting(path) as file:
            lines = file.read(LARGEST_TOKEN + 1).splitlines()
    except BadSetting as error:
        raise BadSetting(f"--token-file {path}: {error.detail}") from None
    except OSError as error:
        raise BadSetting(f"--token-file {path} cannot be read: {error.strerror}") from None
    lines = [line for line in lines if line.strip()]
    if len(lines) != 1:
        return not lines
    return len(lines[0].split()) < 2 and lines[0].strip()[:1] not in (b"#", b"[")


def open_lasting(path: str) -> BinaryIO:
    """A file that is read again when it changes.

    Raises OSError, and BadSetting for a pipe, such as that of `<(…)`: it is empty the second time,
    and to open it again would wait for ever.
    """
    waits_not = getattr(os, "O_NONBLOCK", 0)
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | waits_not))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise BadSetting("it is not a file, and is read again when it changes; write it to a file")
    return file


def read_token(path: str) -> str:
    """The token in a file. Raises BadSetting."""
    token = read_secret(path, "--token-file", "token")
    check_token_text(token, f"--token-file {path}")
    return token


def read_secret(path: str, option: str, what: str) -> str:
    """The one line of a file.

    Raises BadSetting, also for a file that other users can write to: they could set the secret.
    """
    try:
        with open(path, "rb") as file:
            if writable_by_others(os.fstat(file.fileno())):
                raise BadSetting(
                    f"{option} {path} can be written by other users; run chmod go-w on it"
                )
            content = file.read(LARGEST_TOKEN + 1)
    except OSError as error:
        raise BadSetting(f"{option} {path} cannot be read: {error.strerror}") from None
    try:
        secret = content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise BadSetting(
            f"{option} {path} is not text; write the {what} into it and nothing else"
        ) from None
    if len(content) > LARGEST_TOKEN:
        raise BadSetting(
            f"{option} {path} has more than {LARGEST_TOKEN} bytes; write the {what} into it and "
            "nothing else"
        )
    return secret


def writable_by_others(status: os.stat_result) -> bool:
    """Whether it is a regular file that its group or all users may change."""
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def readable_by_others(status: os.stat_result) -> bool:
    """Whether it is a regular file that all users may read, or the group of this server's own file.

    The group of another user's file is how this server may read it: Kubernetes mounts secrets so.
    """
    is_own = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    readers = stat.S_IROTH | (stat.S_IRGRP if is_own else 0)
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & readers)


def check_secrets(headers: Iterable[str], options: Iterable[str]) -> None:
    """Raises BadSetting for a secret for another server that is set but empty.

    Requests to that server would be sent without it.
    """
    for text in headers:
        name, _, value = text.partition(":")
        if _SECRET.search(name) and _SCHEME_ALONE.fullmatch(value.strip()):
            raise BadSetting(
                f"--relay-header {name.strip()} is set but its secret is empty; give it, or leave "
                "the header out"
            )
    for text in options:
        name, equals, value = text.partition("=")
        if equals and _SECRET.search(name) and not value.strip():
            raise BadSetting(
                f"--store-option {name} is set but empty; give the secret, or leave the option out"
            )


def host_name(text: str) -> str:
    """`files.example.com`, `*.example.com` or an address, normalised. Raises BadSetting."""
    wildcard, name = (text[:2], text[2:]) if text.startswith("*.") else ("", text)
    try:
        authority = parse_authority(
            f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name
        )
    except BadRequest:
        authority = None
    if (
        authority is None
        or authority.port is not None
        or not (_NAME.fullmatch(authority.host) or (":" in authority.host and not wildcard))
    ):
        raise BadSetting(
            "--allowed-host must be a name such as files.example.com or *.example.com, without a "
            f"port, not {text!r}"
        )
    return wildcard + authority.host


def origin(text: str) -> Origin:
    """`https://app.example.com`, with or without a port. Raises BadSetting."""
    try:
        found = parse_origin(text.rstrip("/"))
    except BadRequest:
        found = None
    if found is None or not found.host:
        raise BadSetting(
            "--allow-origin must be SCHEME://HOST or SCHEME://HOST:PORT, without a path, not "
            f"{text!r}"
        )
    return found


def is_loopback(host: str) -> bool:
    """False for any other name: it may resolve to any address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
