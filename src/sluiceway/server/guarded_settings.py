"""Settings that guard the server: tokens, secrets for other servers, host names, origins. Each check says what would do.

A secret that is set but empty is an error and never "no secret": the variable it came from was not filled.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable

from sluiceway.errors import BadRequest, SluiceError
from sluiceway.wire.request_targets import Origin, parse_authority, parse_origin

__all__ = [
    "BadSetting",
    "check_secrets",
    "check_token_text",
    "host_name",
    "origin",
    "read_token",
    "writable_by_others",
]

SHORTEST_TOKEN = 8  # characters; anything shorter is guessed
LARGEST_TOKEN = 4096  # bytes of its file; what a header field may hold anyway

_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
# Names of options and headers whose value is a secret; schemes such as "Bearer" stand before it
_SECRET = re.compile(
    r"auth|token|secret|password|passwd|api[-_]?key|access[-_]?key|credential|sas", re.IGNORECASE
)
_SCHEME_ALONE = re.compile(r"(?:bearer|basic|token|digest|apikey)?", re.IGNORECASE)


class BadSetting(SluiceError, code="bad-setting", title="A setting cannot be used"):
    """A setting that cannot be used; the text names it and says what would do."""


def check_token_text(token: str, what: str) -> None:
    """Raises BadSetting for a token that is empty, could be guessed, or can never arrive in a header."""
    if not token.strip():
        raise BadSetting(f"{what} is set but empty; give a long random secret, or leave it out")
    if len(token) < SHORTEST_TOKEN:
        raise BadSetting(
            f"{what} has fewer than {SHORTEST_TOKEN} characters and could be guessed; use a long random one"
        )
    if token != token.strip() or not token.isprintable():
        raise BadSetting(
            f"{what} begins or ends with a space, or holds a line break; no client can send it so"
        )


def read_token(path: str) -> str:
    """The one line of a file. Raises BadSetting; a file that others can write to is no secret of the operator's."""
    try:
        with open(path, "rb") as file:
            if writable_by_others(os.fstat(file.fileno())):
                raise BadSetting(
                    f"--token-file {path} can be written by other users; chmod go-w it"
                )
            text = file.read(LARGEST_TOKEN + 1)
    except OSError as error:
        raise BadSetting(f"--token-file {path} cannot be read: {error.strerror}") from None
    try:
        token = text.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise BadSetting(
            f"--token-file {path} is no text; it holds the token and nothing else"
        ) from None
    if len(text) > LARGEST_TOKEN:
        raise BadSetting(
            f"--token-file {path} has more than {LARGEST_TOKEN} bytes; it holds the token and nothing else"
        )
    check_token_text(token, f"--token-file {path}")
    return token


def writable_by_others(status: os.stat_result) -> bool:
    """Whether the group or everybody may change a regular file."""
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def check_secrets(headers: Iterable[str], options: Iterable[str]) -> None:
    """Raises BadSetting for a secret of another server that is set but empty: requests would go out without it."""
    for text in headers:
        name, _, value = text.partition(":")
        if _SECRET.search(name) and _SCHEME_ALONE.fullmatch(value.strip()):
            raise BadSetting(
                f"--relay-header {name.strip()} is set but its secret is empty; give it, or leave the header out"
            )
    for text in options:
        name, mark, value = text.partition("=")
        if mark and _SECRET.search(name) and not value.strip():
            raise BadSetting(
                f"--store-option {name} is set but empty; give the secret, or leave the option out"
            )


def host_name(text: str) -> str:
    """`files.example.com`, `*.example.com` or an address, as hosts are compared. Raises BadSetting."""
    wild, name = (text[:2], text[2:]) if text.startswith("*.") else ("", text)
    try:
        authority = parse_authority(
            f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name
        )
    except BadRequest:
        authority = None
    if (
        authority is None
        or authority.port is not None
        or not (_NAME.fullmatch(authority.host) or (":" in authority.host and not wild))
    ):
        raise BadSetting(
            f"--allowed-host is a name such as files.example.com or *.example.com, without a port, not {text!r}"
        )
    return wild + authority.host


def origin(text: str) -> Origin:
    """`https://app.example.com`, with a port or without. Raises BadSetting."""
    try:
        found = parse_origin(text.rstrip("/"))
    except BadRequest:
        found = None
    if found is None or not found.host:
        raise BadSetting(
            f"--allow-origin is written as SCHEME://HOST or SCHEME://HOST:PORT, without a path, not {text!r}"
        )
    return found
