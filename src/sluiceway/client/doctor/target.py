"""The deployed server as its users reach it: its URL, what is sent with each request, its TLS.

A secret goes to a server whose certificate is trusted, or in the clear where the URL says http.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from sluiceway.client.http.tls import Trust
from sluiceway.errors import BadRequest
from sluiceway.wire.urls import origin, parse_address

__all__ = ["Target", "parse_target"]

AGENT = "sluiceway-doctor"


@dataclass(frozen=True)
class Target:
    """A server below a URL.

    `authorization` is the value of that header, or None. `context` is for https, with a path
    without a `/` at its end.
    """

    scheme: str
    host: str
    port: int
    path: str
    authorization: str | None
    context: ssl.SSLContext | None

    @property
    def authority(self) -> str:
        """The value of Host."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme]
        return name if self.port == usual else f"{name}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the URL names this machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def path_of(self, path: str) -> str:
        """The target of a request to a path of the service, or an absolute path itself."""
        return f"{self.path}{path}" or "/"

    def fields(self) -> list[tuple[str, str]]:
        """The header of each request."""
        found = [("Host", self.authority), ("User-Agent", AGENT), ("Connection", "close")]
        if self.authorization is not None:
            found.append(("Authorization", self.authorization))
        return found

    def without_secret(self) -> Target:
        """The same for a stranger."""
        return replace(self, authorization=None)

    def connect(self, timeout: float, context: ssl.SSLContext | None = None) -> socket.socket:
        """A connection, after TLS for https. Raises OSError; ssl.SSLError is one."""
        plain = socket.create_connection((self.host, self.port), timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            chosen = context or self.context
            if chosen is None:
                return plain
            return chosen.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


def parse_target(url: str, token: str | None = None, ca_file: str | None = None) -> Target:
    """The server at a URL. Raises BadRequest.

    Args:
        url: Where the service is: with the path it is mounted at, without /files.
        token: Sent as a Bearer token; a name and password in the URL are sent instead.
        ca_file: A file (PEM) with authorities to trust beside the system's.
    """
    address = parse_address(url)
    parts = urlsplit(address.url)
    if parts.query:
        raise BadRequest("Give the URL of the service, without a query")
    scheme, host, port = origin(address.url)
    bearer = None if token is None else f"Bearer {token}"
    if bearer is not None and not (bearer.isascii() and bearer.isprintable()):
        raise BadRequest("The token has characters that no header can carry")
    context = None
    if scheme == "https":
        context = Trust(ca_file).contexts().with_ca_file or ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
    path = parts.path.rstrip("/")
    return Target(scheme, host, port, path, address.authorization or bearer, context)
