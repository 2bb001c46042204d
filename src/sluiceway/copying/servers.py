"""The servers of a copy: their addresses and credentials, and the transport that reaches them.

Values and one factory; text is checked in `options`. Knows no request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sluiceway.client.http.exchange import Deadlines
from sluiceway.client.http.tls import Trust
from sluiceway.errors import BadRequest
from sluiceway.wire.urls import origin

if TYPE_CHECKING:
    from sluiceway.client.http.transport import Transport

__all__ = ["Network", "RemoteServer"]

MOST_TIMEOUT = 24 * 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class RemoteServer:
    """One server: its URL without credentials, and the headers it gets (names in lower case)."""

    url: str
    headers: Mapping[str, str]
    auth_from: Literal["", "url", "token", "header"] = ""  # where its Authorization came from
    user: str = ""  # the URL's own, without the password
    # User and password, where they are sent in response to a challenge only.
    login: tuple[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Network:
    """How servers are reached; see `sluiceway.copy` for the fields."""

    timeout: float | None = None  # seconds
    ca_file: str | None = None
    client_cert: str | None = None
    auth: str | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not 0 < self.timeout <= MOST_TIMEOUT:
            raise BadRequest(
                f"The timeout is a number of seconds above 0, at most {MOST_TIMEOUT:.0f}"
            )
        if self.auth not in (None, "basic", "digest"):
            raise BadRequest("Authentication is basic or digest")

    def transport(self, reads: RemoteServer | None, writes: RemoteServer | None) -> Transport:
        """The client certificate, like --token, is for the destination where both are servers.

        Raises BadRequest for certificates that cannot be used.
        """
        # Late: a copy between stores needs no HTTP library.
        from sluiceway.client.http.digest_auth import DigestLogin
        from sluiceway.client.http.transport import Transport

        main = writes or reads
        trusted = () if main is None else (origin(main.url),)
        logins = {
            origin(server.url): DigestLogin(*server.login)
            for server in (reads, writes)
            if server is not None and server.login is not None
        }
        trust = Trust(self.ca_file, self.client_cert, trusted)
        return Transport(self.deadlines, trust=trust, logins=logins)

    @property
    def deadlines(self) -> Deadlines:
        default, timeout = Deadlines(), self.timeout
        if timeout is None:
            return default
        return Deadlines(min(default.connect, timeout), timeout, timeout)
