"""Which hosts may be read from: an operator's patterns against the host and port of a URL.

Pure text, and only the first of two checks: the address behind a name is checked when the
connection is made (`client.http.address_guard`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

from sluiceway.errors import BadRequest, Forbidden
from sluiceway.wire.numbers import clipped_uint
from sluiceway.wire.urls import DEFAULT_PORTS

__all__ = ["HostPattern", "Hosts", "parse_pattern"]

MOST_HOST = 253  # characters of a name (RFC 1035 2.3.4)
# below: mail, directories, shells; such services take a request line for a command
LOWEST_PORT = 1024
WEB_PORTS = frozenset(DEFAULT_PORTS.values())

_PATTERN = re.compile(r"(\*\.)?(\[[^\]]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(
    r"[0-9]+|0x[0-9a-f]*"
)  # with such a last label, libc reads the whole name as an IPv4 address


@dataclass(frozen=True, slots=True)
class HostPattern:
    """`host` is "*", "*.example.com", a name or an address; `port` None is every web port."""

    host: str
    port: int | None = None

    def fits(self, host: str, port: int) -> bool:
        if self.port is None:
            if port not in WEB_PORTS and port < LOWEST_PORT:
                return False
        elif port != self.port:
            return False
        if self.host.startswith("*."):
            return host.endswith(self.host[1:])
        return self.host in ("*", host)


def parse_pattern(text: str) -> HostPattern:
    """Read files.example.com, *.example.com, *, 192.0.2.7 or [2001:db8::7], perhaps with :PORT.

    Raises BadRequest.
    """
    found = _PATTERN.fullmatch(text.lower())
    port = clipped_uint(found[3]) if found and found[3] else None
    if found is not None and (port is None or 1 <= port <= 65535):
        try:
            stars, host = found[1] or "", found[2]
            host = host if host.isascii() else host.encode("idna").decode("ascii")
            return HostPattern(
                "*"
                if host == "*" and not stars
                else stars + _canonical(host[1:-1] if ":" in host else host, bool(stars)),
                port,
            )
        except (UnicodeError, BadRequest, Forbidden):
            pass
    raise BadRequest(
        f"{text!r} is not a host; write files.example.com, *.example.com, [2001:db8::7] or *,"
        " with :PORT behind it or not, and without https:// and path"
    )


class Hosts:
    """Raises Forbidden for a URL that fits no pattern, BadRequest for one without a valid host."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [parse_pattern(text) for text in patterns]

    def __call__(self, url: str) -> None:
        """Whether the patterns allow a URL that `parse_address` or `joined` made."""
        parts = urlsplit(url)
        host, port = _canonical(parts.hostname or ""), parts.port
        port = DEFAULT_PORTS.get(parts.scheme, 0) if port is None else port
        if not any(pattern.fits(host, port) for pattern in self._patterns):
            raise Forbidden(
                f"This server does not fetch from {host} port {port};"
                " its operator allows hosts with --fetch-from"
            )


def _canonical(host: str, names_only: bool = False) -> str:
    """Return the host as patterns compare it: lower case, no final dot, canonical addresses."""
    if ":" in host:
        try:
            return str(IPv6Address("" if names_only or "%" in host else host))
        except ValueError:
            raise BadRequest(
                "The URL's host is not an IPv6 address; write it in full, without a zone"
            ) from None
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > MOST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadRequest("The URL's host is not a name of letters, digits, dots and hyphens")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address("" if names_only else host))
        except ValueError:
            raise Forbidden(
                "The URL's host is an IPv4 address in disguise; write it as four decimal numbers"
            ) from None
    return name
