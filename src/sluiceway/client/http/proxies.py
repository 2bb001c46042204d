"""The proxy for a URL, from the environment: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

Lower case comes first. Under CGI, HTTP_PROXY is ignored: there it is a header of the client
("httpoxy", CVE-2016-1000110).
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
    """`url` has no user and password: they are in `authorization`."""

    url: str
    authorization: str | None = None


class Proxies:
    """The proxies of the environment, read once.

    They are used for loopback and private addresses as well, unless NO_PROXY names those.
    `variables` has the names in lower case without `_proxy`; None reads the environment.
    """

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = dict(getproxies_environment() if variables is None else variables)

    def of(self, url: str) -> Proxy | None:
        """Return the proxy for a URL. Raises BadRequest for a proxy that cannot be used."""
        if not self._variables:
            return None
        parts = urlsplit(url)
        text = self._variables.get(parts.scheme) or self._variables.get("all")
        if not text or not parts.hostname:
            return None
        if self._bypassed(parts.hostname, parts.netloc.rpartition("@")[2]):
            return None
        if text.lower().startswith("socks"):
            raise BadRequest(
                "The environment names a SOCKS proxy, and only HTTP proxies can be used; "
                "set NO_PROXY to go without"
            )
        try:
            address = parse_address(text if "://" in text else f"http://{text}")
        except BadRequest:  # its text may hold a password
            raise BadRequest(
                f"The proxy that the environment names for {parts.scheme}:// is not a server's URL"
            ) from None
        return Proxy(address.url, address.authorization)

    def _bypassed(self, host: str, host_and_port: str) -> bool:
        """Whether NO_PROXY names the host, read as curl does.

        It holds names, which cover all names below them, with a port or without; addresses and
        networks; or * for all.
        """
        names = [name.strip().lower() for name in self._variables.get("no", "").split(",")]
        return any(
            name == "*" or _fits(name.strip("[]"), host) or _fits(name, host_and_port.lower())
            for name in names
            if name
        )


def _fits(name: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except (ValueError, TypeError):  # a name, or an address of the other kind
        return host == name.lstrip(".") or host.endswith(f".{name.lstrip('.')}")
