"""What the probes brought, for the verdicts: values alone. None means that a probe was not sent."""

from __future__ import annotations

from dataclasses import dataclass

from sluiceway.client.doctor.cut_probe import CutUpload
from sluiceway.client.doctor.exchange import ProbeResponse
from sluiceway.client.doctor.hops import PROXIES, Hop, author_of, by_name
from sluiceway.client.doctor.probes import SlowBody
from sluiceway.client.doctor.tls_probe import TlsFacts

__all__ = ["Evidence"]


@dataclass(frozen=True)
class Evidence:
    """`authority` is the Host that was sent, `origin` that of the page to allow.

    `front` takes the connections. `greeting` is the response to the first request, `asked_at` and
    `greeted_at` the local time around it. `cap` is the largest size that may be announced, with a
    refusal. `expect` has the status before the body and the final response.
    """

    authority: str
    front: Hop | None
    greeting: ProbeResponse
    asked_at: float = 0.0
    greeted_at: float = 0.0
    is_secret_in_clear: bool = False
    tls: TlsFacts | None = None
    slow: SlowBody | None = None
    chunked: SlowBody | None = None
    paused: SlowBody | None = None
    waited: ProbeResponse | None = None
    large: ProbeResponse | None = None
    cap: tuple[int, ProbeResponse] | None = None
    expect: tuple[int, ProbeResponse] | None = None
    interim: ProbeResponse | None = None
    events: ProbeResponse | None = None
    origin: str = ""
    preflight: ProbeResponse | None = None
    shared: ProbeResponse | None = None
    cut: CutUpload | None = None
    outside: SlowBody | None = None

    @property
    def server(self) -> Hop | None:
        """The program that runs the service, as far as it is known."""
        echo = self.greeting.echo
        named = by_name(str(echo.get("app_server", ""))) if echo is not None else None
        if named is not None:
            return named
        names = [by_name(value) for value in self.greeting.all("server")]
        behind = [hop for hop in names if hop is not None and hop not in PROXIES]
        return behind[-1] if behind else None

    @property
    def hops(self) -> tuple[Hop, ...]:
        """From the client on, those that were recognised."""
        found = [hop for hop in (self.front, self.server) if hop is not None]
        return tuple(dict.fromkeys(found))

    def culprit(self, response: ProbeResponse | None = None) -> Hop | None:
        """Who wrote this refusal; else the proxy in front; else the server."""
        author = None if response is None else author_of(response)
        proxy = self.front if self.front in PROXIES else None
        return author or proxy or self.server or self.front
