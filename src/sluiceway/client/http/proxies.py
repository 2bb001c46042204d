"""Which proxy leads to a URL, as the environment says: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, lower case first.

A server that was started by CGI ignores HTTP_PROXY: there it is a header of the client's ("httpoxy", CVE-2016-1000110).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from sluiceway.errors import BadRequest
from sluiceway.wire.urls import parse_address

__all__ = ["Proxies", "Proxy"]


@dataclass(frozen=True, slots=True)
class Proxy:
    """`url` without user and password; those became `authorization`."""

    url: str
    authorization: str | None = None


class Proxies:
    """What the environment says now. Loopback and private addresses are no exception, unless NO_PROXY names them."""

    def __init__(self, told: Mapping[str, str] | None = None) -> None:
        self._told = dict(getproxies_environment() if told is None else told)

    def of(self, url: str) -> Proxy | None:
        """Raises BadRequest for a proxy that cannot be used."""
        parts = urlsplit(url)
        text = self._told.get(parts.scheme) or self._told.get("all")
        if (
            not text
            or not parts.hostname
            or self._bypassed(parts.hostname, parts.netloc.rpartition("@")[2])
        ):
            return None
        if text.lower().startswith("socks"):
            raise BadRequest(
                "The environment names a SOCKS proxy, and only HTTP proxies can be used; set NO_PROXY to go without"
            )
        try:
            address = parse_address(text if "://" in text else f"http://{text}")
        except BadRequest:  # its text may hold a password
            raise BadRequest(
                f"The proxy that the environment names for {parts.scheme}:// is no URL of a server"
            ) from None
        return Proxy(address.url, address.authorization)

    def _bypassed(self, host: str, place: str) -> bool:
        """As curl reads NO_PROXY: names and all below them, with a port or without; addresses and networks; * for all."""
        names = [name.strip().lower() for name in self._told.get("no", "").split(",")]
        return any(
            name == "*" or _fits(name.strip("[]"), host) or _fits(name, place.lower())
            for name in names
            if name
        )


def _fits(name: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except (ValueError, TypeError):  # a name, or an address of the other kind
        return host == name.lstrip(".") or host.endswith(f".{name.lstrip('.')}")
