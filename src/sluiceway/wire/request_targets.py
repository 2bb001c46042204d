"""Text from URLs: the only decoding of paths and queries, and the parts of Host and Origin.

Bytes that are not UTF-8 are refused, never repaired: two names that differ in such bytes would
become one. Knows bytes and text only; `server/door/urls.py` applies it to each request before any
routing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import quote, unquote_to_bytes

from sluiceway.errors import BadName, BadRequest
from sluiceway.wire.numbers import clipped_uint

__all__ = [
    "Authority",
    "Origin",
    "check_path",
    "decode_path",
    "decode_query",
    "encode_query",
    "parse_authority",
    "parse_origin",
]

DEFAULT_PORTS = {"http": 80, "https": 443}

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # C0, DEL, C1
_HOST = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::([0-9]{0,5}))?"
)  # RFC 3986 3.2.2, without user
_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#@]+)")  # RFC 6454 6.2


@dataclass(frozen=True, slots=True)
class Authority:
    """A host in a form that can be compared: lower case, no final dot, IPv6 in its short form.

    `port` is None where the field has none.
    """

    host: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a page. The port is always known: http and https have a default."""

    scheme: str
    host: str
    port: int | None

    def is_at(self, authority: Authority) -> bool:
        """Whether this origin and a request's Host are one site; the scheme has a default port."""
        if self.scheme not in DEFAULT_PORTS:
            return False  # the page of a browser extension or an app
        return (self.host, self.port) == (
            authority.host,
            authority.port or DEFAULT_PORTS[self.scheme],
        )


def decode_path(raw: bytes) -> str:
    """Return a path as text. Raises BadName for bytes that are not UTF-8."""
    return _decoded(raw, "path")


def check_path(path: str) -> None:
    """Raises BadName for a control character: a line feed ends a route's pattern, a NUL a C
    string."""
    if _CONTROL.search(path):
        raise BadName(
            "The URL's path holds a control character (such as %00 or %0A); no name here has one"
        )


def decode_query(raw: bytes) -> list[tuple[str, str]]:
    """Return names and values in order, as forms write them: `+` is a space.

    Raises BadName for bytes that are not UTF-8.
    """
    pairs = [piece.partition(b"=") for piece in raw.split(b"&") if piece]
    return [
        (_decoded(_spaced(name), "query"), _decoded(_spaced(value), "query"))
        for name, _, value in pairs
    ]


def encode_query(pairs: Sequence[tuple[str, str]]) -> bytes:
    """Write pairs as a query in ASCII, which every reader decodes to the same text."""
    return "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs
    ).encode("ascii")


def parse_authority(text: str) -> Authority:
    """Read a Host field. Raises BadRequest for anything but a host."""
    found = _HOST.fullmatch(text.strip(" \t"))
    if found is None:
        raise BadRequest("The Host of this request is not a host with or without a port")
    return Authority(_canonical(found[1]), clipped_uint(found[2]) if found[2] else None)


def parse_origin(text: str) -> Origin | None:
    """Read an Origin field; None for `null`. Raises BadRequest for anything but an origin."""
    if text.strip(" \t") == "null":
        return None
    found = _ORIGIN.fullmatch(text.strip(" \t"))
    if found is None:
        raise BadRequest(
            "The Origin of this request is not an origin; browsers write SCHEME://HOST:PORT or null"
        )
    try:
        authority = parse_authority(found[2])
    except BadRequest:
        raise BadRequest(
            "The Origin of this request names no host; browsers write SCHEME://HOST:PORT or null"
        ) from None
    scheme = found[1].lower()
    return Origin(
        scheme,
        authority.host,
        DEFAULT_PORTS.get(scheme) if authority.port is None else authority.port,
    )


def _decoded(raw: bytes, where: str) -> str:
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise BadName(
            f"The URL's {where} holds bytes that are not UTF-8;"
            " encode names as UTF-8, then percent-encode them"
        ) from None


def _spaced(piece: bytes) -> bytes:
    return piece.replace(b"+", b" ")


def _canonical(host: str) -> str:
    if not host.startswith("["):
        return host.lower().removesuffix(".")
    try:
        return str(IPv6Address(host[1:-1]))
    except ValueError:
        raise BadRequest("The Host of this request is not an IPv6 address") from None
