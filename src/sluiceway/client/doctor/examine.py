"""Sends the probes one after the other, so that a server with one worker can follow, and judges.

What depends on time alone is tried a second time before it counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from sluiceway.client.doctor import probes
from sluiceway.client.doctor.cut_probe import cut_upload
from sluiceway.client.doctor.diagnosis import DoctorReport
from sluiceway.client.doctor.evidence import Evidence
from sluiceway.client.doctor.exchange import ProbeResponse
from sluiceway.client.doctor.hops import Hop, author_of, front_of
from sluiceway.client.doctor.probes import SlowBody
from sluiceway.client.doctor.target import Target
from sluiceway.client.doctor.tls_probe import TlsFacts, look_at_tls
from sluiceway.client.doctor.verdicts import came_at_once, events_at_once, judge
from sluiceway.errors import SourceFailed

__all__ = ["HOLD", "examine"]

HOLD = 6.0  # seconds: uWSGI's own timeout of 4 is found
CHUNKED_SECONDS = 2.0
OUTSIDE_SECONDS = 2.0

T = TypeVar("T")
_Step = tuple[str, str, Callable[[], Any]]  # field of Evidence, words, probe


def examine(
    target: Target,
    *,
    hold: float = HOLD,
    origin: str = "",
    show: Callable[[str], None] = lambda _: None,
) -> DoctorReport:
    """Send the probes to a deployed server.

    Args:
        target: The server, with what may be sent to it.
        hold: Seconds that a body takes, that it pauses, and that a response waits: shorter timeouts
            of hops are found, longer ones are not.
        origin: The origin of pages that must be able to upload; without it CORS is not checked.
        show: Called with the name of each probe before it is sent.

    Returns:
        The findings, the hops, and what could not be checked.

    Raises:
        SourceFailed: the server cannot be reached. When it is lost later, the report says so.

    Example:
        report = examine(parse_target("https://files.example.com", token="…"))
    """
    try:
        return _examine(target, hold, origin, show)
    except OSError as error:
        raise SourceFailed(f"{target.authority} cannot be reached: {_reason(error)}") from None


def _examine(target: Target, hold: float, origin: str, show: Callable[[str], None]) -> DoctorReport:
    tls: TlsFacts | None = None
    if target.scheme == "https":
        show("TLS")
        tls = look_at_tls(target)
        if tls.problem:
            nothing = Evidence(target.authority, None, ProbeResponse(), tls=tls)
            return _report(target, nothing, ["nothing else: no request was sent without trust"])
    show("who is there")
    asked_at = time.time()
    greeting = probes.greet(target)
    greeted_at = time.time()
    is_clear = target.scheme == "http" and not target.is_loopback
    evidence = Evidence(
        target.authority,
        front_of(probes.send_malformed(target), [greeting]),
        greeting,
        asked_at,
        greeted_at,
        is_secret_in_clear=is_clear and target.authorization is not None,
        tls=tls,
    )
    if greeting.echo is None:
        return _from_outside(target, evidence, origin, show)
    return _with_echo(target, evidence, hold, origin, show)


def _with_echo(
    target: Target, evidence: Evidence, hold: float, origin: str, show: Callable[[str], None]
) -> DoctorReport:
    short, late = min(hold, CHUNKED_SECONDS), f"/doctor?wait={math.ceil(hold)}"

    def send_chunked() -> SlowBody:
        return probes.send_slowly(target, short, chunked=True)

    steps: list[_Step] = [
        *_steps_of_origin(target, origin),
        ("slow", "a slow body", _again(came_at_once, lambda: probes.send_slowly(target, hold))),
        ("chunked", "a chunked body", _again(came_at_once, send_chunked)),
        ("paused", "a body that pauses", lambda: probes.send_paused(target, hold)),
        ("waited", "a late response", lambda: probes.ask(target, late, wait=hold)),
        ("cap", "large bodies", lambda: probes.find_cap(target)),
        ("large", "a large body", lambda: probes.send_large(target)),
        ("expect", "Expect: 100-continue", _again(_unanswered, lambda: probes.ask_expect(target))),
        ("events", "an event stream", _again(events_at_once, lambda: probes.ask_events(target))),
        ("cut", "a cut upload", lambda: cut_upload(target)),
        ("interim", "104", lambda: probes.ask_interim(target)),
    ]
    evidence, broke = _gathered(evidence, steps, show)
    not_seen = [f"timeouts of more than {hold:g} seconds (--hold SECONDS looks further)"]
    if not origin:
        not_seen.append("CORS (--origin URL says which pages must be able to upload)")
    if evidence.cut is None and not broke:
        not_seen.append("the offset of a cut upload: none could be begun here")
    return _report(target, evidence, not_seen, broke)


def _from_outside(
    target: Target, evidence: Evidence, origin: str, show: Callable[[str], None]
) -> DoctorReport:
    """What can be seen without /doctor: sizes, early refusals, TLS, clock."""
    ours = author_of(evidence.greeting) is Hop.SLUICEWAY
    path = "/files" if ours else ""
    stranger = target.without_secret()

    def send() -> SlowBody:
        return probes.send_slowly(stranger, OUTSIDE_SECONDS, path)

    steps: list[_Step] = [
        *_steps_of_origin(target, origin),
        ("outside", "a body that is refused", _again(lambda sent: not sent.early, send)),
        ("cap", "large bodies", lambda: probes.find_cap(stranger, path)),
    ]
    evidence, broke = _gathered(evidence, steps, show)
    return _report(target, evidence, _why_outside(evidence, ours), broke)


def _steps_of_origin(target: Target, origin: str) -> list[_Step]:
    if not origin:
        return []
    shared = ("Origin", origin)
    return [
        ("preflight", "what a page may do", lambda: probes.ask_preflight(target, origin)),
        ("shared", "what a page may read", lambda: probes.ask(target, "/doctor", shared)),
        ("origin", "", lambda: origin),
    ]


def _again(is_odd: Callable[[T], bool], probe: Callable[[], T]) -> Callable[[], T]:
    """A probe that is sent a second time where time may have been at fault."""

    def twice() -> T:
        found = probe()
        return probe() if is_odd(found) else found

    return twice


def _unanswered(expect: tuple[int, ProbeResponse]) -> bool:
    return expect[0] == 0


def _gathered(
    evidence: Evidence, steps: Iterable[_Step], show: Callable[[str], None]
) -> tuple[Evidence, str]:
    """What the probes found, and why they ended early, "" where they did not."""
    found: dict[str, Any] = {}
    for field, words, probe in steps:
        if words:
            show(words)
        try:
            found[field] = probe()
        except OSError as error:
            broke = f"{words}, and what comes behind it: the server was lost ({_reason(error)})"
            return replace(evidence, **found), broke
    return replace(evidence, **found), ""


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _why_outside(evidence: Evidence, ours: bool) -> list[str]:
    status, location = evidence.greeting.status, evidence.greeting.get("location")
    if 300 <= status < 400 and location:
        return [f"this URL redirects to {location}: give that one"]
    if ours:
        why = f"/doctor got {status}; with the secret of a name with the right `admin` it shows all"
        return [f"timeouts, chunked bodies, Expect, events, 104 and Host: {why}"]
    why = f"this is not Sluiceway, or it is not at this path (status {status})"
    outside = evidence.outside
    early = outside is not None and outside.early
    buffering = [] if early else ["whether bodies are buffered: no response came before the end"]
    return [f"what arrives at the server: {why}", *buffering]


def _report(
    target: Target, evidence: Evidence, not_seen: list[str], broke: str = ""
) -> DoctorReport:
    url = f"{target.scheme}://{target.authority}{target.path}"
    if broke:
        not_seen = [broke, *not_seen]
    return DoctorReport(url, evidence.hops, judge(evidence), tuple(not_seen), not broke)
