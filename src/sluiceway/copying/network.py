"""How the servers of one copy are reached, as people said it, and the transport that does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluiceway.client.http.digest_auth import DigestLogin
from sluiceway.client.http.exchange import Deadlines
from sluiceway.client.http.tls import Trust
from sluiceway.errors import BadRequest
from sluiceway.wire.urls import origin

if TYPE_CHECKING:
    from sluiceway.client.http.transport import Transport
    from sluiceway.copying.options import Side

__all__ = ["USUAL", "Network"]

MOST_TIMEOUT = 24 * 3600.0  # seconds; whoever waits longer for one byte waits for nothing


@dataclass(frozen=True, slots=True)
class Network:
    """`timeout`: seconds in which a server sends or takes nothing, also before its answer. The files: see `Trust`."""

    timeout: float | None = None
    ca_file: str | None = None
    client_cert: str | None = None
    auth: str | None = (
        None  # how user and password of a URL are told: "basic" with each request, "digest" to a challenge
    )

    def __post_init__(self) -> None:
        if self.timeout is not None and not 0 < self.timeout <= MOST_TIMEOUT:
            raise BadRequest(
                f"The timeout is a number of seconds above 0, at most {MOST_TIMEOUT:.0f}"
            )

        if self.auth not in (None, "basic", "digest"):
            raise BadRequest("Authentication is basic or digest")

    def transport(self, reads: Side | None, writes: Side | None) -> Transport:
        """Our own certificate, as --token, is for the destination where both sides are servers. Raises BadRequest."""
        from sluiceway.client.http.transport import (
            Transport,
        )  # late: a copy between places needs no HTTP library

        side = writes or reads
        shown_to = () if side is None else (origin(side.url),)
        logins = {
            origin(one.url): DigestLogin(*one.login)
            for one in (reads, writes)
            if one is not None and one.login is not None
        }
        return Transport(
            self.deadlines, trust=Trust(self.ca_file, self.client_cert, shown_to), logins=logins
        )

    @property
    def deadlines(self) -> Deadlines:
        usual, wait = Deadlines(), self.timeout
        return usual if wait is None else Deadlines(min(usual.connect, wait), wait, wait)


USUAL = Network()
