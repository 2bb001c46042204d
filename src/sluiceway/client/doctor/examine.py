"""Sends the probes one after the other, so that a server with one worker can follow, and judges.

What depends on time alone is tried a second time before it counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from sluiceway.client.doctor import probes
from sluiceway.client.doctor.cut_probe import cut_upload
from sluiceway.client.doctor.diagnosis import DoctorReport
from sluiceway.client.doctor.evidence import Evidence
from sluiceway.client.doctor.exchange import ProbeResponse
from sluiceway.client.doctor.hops import Hop, author_of, front_of
from sluiceway.client.doctor.target import Target
from sluiceway.client.doctor.tls_probe import TlsFacts, look_at_tls
from sluiceway.client.doctor.verdicts import came_at_once, events_at_once, judge
from sluiceway.errors import SourceFailed

__all__ = ["HOLD", "examine"]

HOLD = 6.0  # seconds: uWSGI's own timeout of 4 is found
CHUNKED_SECONDS = 2.0
OUTSIDE_SECONDS = 2.0


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
        SourceFailed: the server cannot be reached.

    Example:
        report = examine(parse_target("https://files.example.com", token="…"))
    """
    try:
        return _examine(target, hold, origin, show)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise SourceFailed(f"{target.authority} cannot be reached: {reason}") from None


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
    show("a slow body")
    slow = probes.send_slowly(target, hold)
    if came_at_once(slow):
        slow = probes.send_slowly(target, hold)
    show("a chunked body")
    chunked = probes.send_slowly(target, min(hold, CHUNKED_SECONDS), chunked=True)
    if came_at_once(chunked):
        chunked = probes.send_slowly(target, min(hold, CHUNKED_SECONDS), chunked=True)
    show("a body that pauses")
    paused = probes.send_paused(target, hold)
    show("a late response")
    waited = probes.ask(target, f"/doctor?wait={math.ceil(hold)}", wait=hold)
    show("large bodies")
    cap, large = probes.find_cap(target), probes.send_large(target)
    show("Expect: 100-continue")
    expect = probes.ask_expect(target)
    if expect[0] == 0:
        expect = probes.ask_expect(target)
    show("an event stream")
    events = probes.ask_events(target)
    if events_at_once(events):
        events = probes.ask_events(target)
    show("a cut upload")
    cut = cut_upload(target)
    show("104")
    evidence = replace(
        _with_origin(target, evidence, origin),
        slow=slow,
        chunked=chunked,
        paused=paused,
        waited=waited,
        cap=cap,
        large=large,
        expect=expect,
        events=events,
        cut=cut,
        interim=probes.ask_interim(target),
    )
    not_seen = [f"timeouts of more than {hold:g} seconds (--hold SECONDS looks further)"]
    if not origin:
        not_seen.append("CORS (--origin URL says which pages must be able to upload)")
    if cut is None:
        not_seen.append("the offset of a cut upload: none could be begun here")
    return _report(target, evidence, not_seen)


def _from_outside(
    target: Target, evidence: Evidence, origin: str, show: Callable[[str], None]
) -> DoctorReport:
    """What can be seen without /doctor: sizes, early refusals, TLS, clock."""
    ours = author_of(evidence.greeting) is Hop.SLUICEWAY
    path = "/files" if ours else ""
    stranger = target.without_secret()
    show("a body that is refused")
    outside = probes.send_slowly(stranger, OUTSIDE_SECONDS, path)
    if not outside.early:
        outside = probes.send_slowly(stranger, OUTSIDE_SECONDS, path)
    show("large bodies")
    evidence = replace(
        _with_origin(target, evidence, origin),
        outside=outside,
        cap=probes.find_cap(stranger, path),
    )
    return _report(target, evidence, _why_outside(evidence, ours))


def _why_outside(evidence: Evidence, ours: bool) -> list[str]:
    status, location = evidence.greeting.status, evidence.greeting.get("location")
    if 300 <= status < 400 and location:
        return [f"this URL redirects to {location}: give that one"]
    if ours:
        why = f"/doctor got {status}; with the secret of a name with the right `admin` it shows all"
        return [f"timeouts, chunked bodies, Expect, events, 104 and Host: {why}"]
    why = f"this is no Sluiceway, or it is not at this path (status {status})"
    outside = evidence.outside
    early = outside is not None and outside.early
    buffering = [] if early else ["whether bodies are buffered: no response came before the end"]
    return [f"what arrives at the server: {why}", *buffering]


def _with_origin(target: Target, evidence: Evidence, origin: str) -> Evidence:
    if not origin:
        return evidence
    preflight = probes.ask_preflight(target, origin)
    shared = probes.ask(target, "/doctor", ("Origin", origin))
    return replace(evidence, origin=origin, preflight=preflight, shared=shared)


def _report(target: Target, evidence: Evidence, not_seen: list[str]) -> DoctorReport:
    url = f"{target.scheme}://{target.authority}{target.path}"
    return DoctorReport(url, evidence.hops, judge(evidence), tuple(not_seen))
