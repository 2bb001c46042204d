"""From what the probes brought to findings. Pure: no I/O, no clock.

Each verdict looks at one kind of fault. Times are compared with each other, never with a number:
a busy machine may make everything late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from sluiceway.client.doctor.diagnosis import Diagnosis
from sluiceway.client.doctor.evidence import Evidence
from sluiceway.client.doctor.exchange import ProbeResponse
from sluiceway.client.doctor.hops import PROXIES, Hop, author_of
from sluiceway.client.doctor.probes import LARGE, SlowBody
from sluiceway.client.doctor.remedies import diagnose
from sluiceway.wire.headers.http_dates import parse_http_date

__all__ = ["came_at_once", "events_at_once", "judge"]

LIVE_SHARE = 0.4  # of the time that sending took; a body that is passed on takes nearly all of it
LEAST_EVENTS = 2
EVENTS_TAKE = 1.2  # seconds between the first and the last event of /doctor?as=events
SILENT_SHARE = 0.75  # of that; between two of five events passes a quarter of it
SKEW = 30.0  # seconds
SOON = 14.0  # days
LEAST_WINDOW = 256 << 10  # bytes: 2.5 MB/s at a round trip of 100 ms
UNFINISHED = (0, 408, 499, 500, 502, 503, 504)


def judge(evidence: Evidence) -> tuple[Diagnosis, ...]:
    """All findings, one for each kind of fault at most."""
    found: dict[str, Diagnosis] = {}
    for verdict in VERDICTS:
        for one in verdict(evidence):
            found.setdefault(one.code, one)
    return tuple(found.values())


def came_at_once(body: SlowBody) -> bool:
    """Whether a body that was sent slowly reached the server all at once."""
    first, last = _first_and_last(body)
    return last is not None and first is not None and last - first < LIVE_SHARE * body.spread


def events_at_once(events: ProbeResponse) -> bool:
    """Whether the events of a stream, sent one after the other, came together."""
    if events.status != 200 or not events.times:
        return False
    if events.body.count(b"event:") < LEAST_EVENTS:
        return False
    times = events.times
    longest = max((late - early for early, late in pairwise(times)), default=0.0)
    # or the first comes with the head, and the others together
    return times[-1] - times[0] < LIVE_SHARE * EVENTS_TAKE or longest > SILENT_SHARE * EVENTS_TAKE


def _first_and_last(body: SlowBody) -> tuple[float | None, float | None]:
    arrivals = _body_of(body.response).get("arrivals")
    pairs = arrivals if isinstance(arrivals, list) else []
    times = [
        float(pair[0])
        for pair in pairs
        if isinstance(pair, list) and pair and isinstance(pair[0], int | float)
    ]
    return (times[0], times[-1]) if times else (None, None)


def _body_of(response: ProbeResponse) -> Mapping[str, object]:
    found = (response.echo or {}).get("body")
    return found if isinstance(found, dict) else {}


def _is_whole(body: SlowBody) -> bool:
    seen = _body_of(body.response)
    return seen.get("bytes") == body.size and seen.get("ended") == "whole"


def _said(response: ProbeResponse) -> str:
    return f"status {response.status}" if response.status else f"{response.failure}"


def _storing_hop(evidence: Evidence) -> Hop | None:
    """waitress stores each body, whatever stands in front of it."""
    return Hop.WAITRESS if evidence.server is Hop.WAITRESS else evidence.culprit()


def _buffering(evidence: Evidence) -> Iterator[Diagnosis]:
    slow, chunked = evidence.slow, evidence.chunked
    hop = _storing_hop(evidence)
    if slow is not None and came_at_once(slow):
        seen = f"{slow.size >> 10} KiB, sent over {slow.spread:.1f} s, arrived all at once"
        yield diagnose("request-buffered", seen, hop)
    elif chunked is not None and came_at_once(chunked):
        seen = f"a chunked body, sent over {chunked.spread:.1f} s, arrived all at once"
        yield diagnose("chunked-buffered", seen, hop)
    outside = evidence.outside
    if outside is not None and not outside.early and _is_ours(outside.response):
        seen = "a refusal came only after the whole body, although the server refuses by the head"
        yield diagnose("request-buffered", seen, hop)
    cut = evidence.cut
    if cut is not None and cut.offset == 0 and slow is not None and not came_at_once(slow):
        seen = f"of {cut.sent >> 10} KiB that were sent before a cut, none was kept"
        yield diagnose("offset-lost", seen, hop)


def _is_ours(response: ProbeResponse) -> bool:
    return author_of(response) is Hop.SLUICEWAY


def _chunked(evidence: Evidence) -> Iterator[Diagnosis]:
    chunked = evidence.chunked
    if chunked is None or (evidence.slow is not None and not _is_whole(evidence.slow)):
        return
    response = chunked.response
    by = None if _is_ours(response) else author_of(response)
    hop = by or evidence.server or evidence.front
    if response.status in (411, 501) or (response.status == 400 and response.echo is None):
        yield diagnose("chunked-refused", f"a chunked body got {_said(response)}", hop)
    elif response.echo is not None and not _is_whole(chunked):
        count = _body_of(response).get("bytes", 0)
        seen = f"of {chunked.size} bytes in chunks, {count} arrived"
        yield diagnose("chunked-emptied", seen, evidence.server or evidence.culprit())


def _caps(evidence: Evidence) -> Iterator[Diagnosis]:
    cap, large = evidence.cap, evidence.large
    if cap is not None and not _is_ours(cap[1]):
        most, response = cap
        seen = f"a body of {2 * most:,} bytes is refused with {response.status}, {most:,} are not"
        yield diagnose("body-cap", seen, evidence.culprit(response))
    elif large is not None and large.status == 413 and not _is_ours(large):
        yield diagnose("body-cap", "2 MiB were refused with 413", evidence.culprit(large))
    elif large is not None and _is_cut_large(evidence, large):
        seen = f"96 KiB pass and 2 MiB do not: {_said(large)}"
        yield diagnose("body-cap", seen, evidence.culprit(large))


def _is_cut_large(evidence: Evidence, large: ProbeResponse) -> bool:
    small = evidence.slow
    is_whole = _body_of(large).get("bytes") == LARGE
    return small is not None and _is_whole(small) and not is_whole and not _is_ours(large)


def _timeouts(evidence: Evidence) -> Iterator[Diagnosis]:
    slow, paused, waited = evidence.slow, evidence.paused, evidence.waited
    total = slow is not None and _is_unfinished(slow)
    if slow is not None and total:
        seen = f"a body that came steadily was broken off after {slow.spread:.1f} s: "
        hop = evidence.culprit(slow.response)
        yield diagnose("total-timeout", seen + _said(slow.response), hop)
    elif paused is not None and _is_unfinished(paused) and not _gave_up_both(paused, waited):
        seen = f"a body that paused for {paused.spread:g} s was broken off: "
        hop = evidence.culprit(paused.response)
        yield diagnose("idle-timeout", seen + _said(paused.response), hop)
    if waited is not None and waited.status in UNFINISHED and not total:
        hop = evidence.culprit(waited)
        seen = f"a response that took its time did not come: {_said(waited)}"
        yield diagnose("response-timeout", seen, hop)


def _gave_up_both(paused: SlowBody, waited: ProbeResponse | None) -> bool:
    """Whether it is the server that the hop does not wait for, and not the client."""
    return paused.response.status == 504 and waited is not None and waited.status == 504


def _is_unfinished(body: SlowBody) -> bool:
    """The server may have seen the cut and said so."""
    if body.response.echo is not None:
        return _body_of(body.response).get("ended") != "whole"
    return body.response.status in UNFINISHED


def _expect(evidence: Evidence) -> Iterator[Diagnosis]:
    if evidence.expect is None:
        return
    first, final = evidence.expect
    if first == 417 or final.status == 417:
        by = author_of(final)
        yield diagnose("expect-refused", "Expect: 100-continue got 417", by or evidence.culprit())
    elif final.echo is not None:
        proxy = evidence.front if evidence.front in PROXIES else None
        if first == 0:
            seen = "neither 100 nor a final response came before the body"
            yield diagnose("expect-unanswered", seen, proxy or evidence.server or evidence.front)
        elif proxy is not None and not _has_field(final.echo, "expect"):
            yield diagnose("expect-swallowed", "100 came, and Expect did not arrive", proxy)


def _has_field(echo: Mapping[str, object], name: str) -> bool:
    fields = echo.get("headers")
    return isinstance(fields, list) and any(
        isinstance(field, list) and field[:1] == [name] for field in fields
    )


def _interim(evidence: Evidence) -> Iterator[Diagnosis]:
    seen, greeting = evidence.interim, evidence.greeting.echo
    if seen is None or greeting is None or evidence.front not in PROXIES:
        return
    # nginx sends 104 as the final response, and what follows as its body, without its own Server
    is_passed_by = seen.all("server") != evidence.greeting.all("server")
    if seen.echo is not None and not seen.echo.get("interim_sent"):
        return
    if seen.echo is not None and 104 in seen.interim and not is_passed_by:
        return
    text = f"the server sent 104 and then 200; the client got {_said(seen)}"
    if seen.echo is not None:
        text = "the server sent 104, and the client did not see it"
    if seen.echo is not None and is_passed_by:
        text = "104 was passed on as the final response, and the final one as its body"
    chokes = seen.echo is None or is_passed_by
    breaks = chokes and bool(greeting.get("interim_allowed"))
    yield diagnose("interim-breaks" if breaks else "interim-lost", text, evidence.culprit())


def _events(evidence: Evidence) -> Iterator[Diagnosis]:
    if evidence.events is not None and events_at_once(evidence.events):
        seen = "five events, sent 0.3 s apart, came all at once"
        yield diagnose("events-buffered", seen, evidence.culprit())


def _cors(evidence: Evidence) -> Iterator[Diagnosis]:
    preflight, shared, origin = evidence.preflight, evidence.shared, evidence.origin
    if preflight is None or not origin:
        return
    allowed = [_allows(one, origin) for one in (preflight, shared) if one is not None]
    if all(allowed) and preflight.status // 100 == 2:
        return
    known = shared.echo if shared is not None else None
    says = known is not None and known.get("origin_allowed") is True
    what = "to OPTIONS" if not allowed[0] or preflight.status // 100 != 2 else "to a GET"
    seen = f"the response {what} ({preflight.status}) does not allow {origin}"
    hop = evidence.culprit() if says else _answering(evidence)
    yield diagnose("cors-missing", seen, hop)


def _allows(response: ProbeResponse, origin: str) -> bool:
    return response.get("access-control-allow-origin") in ("*", origin)


def _answering(evidence: Evidence) -> Hop | None:
    """The service itself, by the place where it says what it allows."""
    return Hop.SLUICEWAY if evidence.server in (None, Hop.SLUICEWAY) else Hop.UNKNOWN


def _host(evidence: Evidence) -> Iterator[Diagnosis]:
    echo = evidence.greeting.echo
    if echo is not None and str(echo.get("host", "")).lower() != evidence.authority.lower():
        seen = f"Host {evidence.authority} was sent, and {echo.get('host')!s} arrived"
        yield diagnose("host-rewritten", seen, evidence.culprit())


def _clock(evidence: Evidence) -> Iterator[Diagnosis]:
    there = _time_there(evidence.greeting)
    if there is None:
        return
    early, late = evidence.asked_at - there, there - evidence.greeted_at
    skew = max(early, late)
    if skew > SKEW:
        word = "behind" if early > late else "ahead"
        seen = f"the server's clock is {skew:.0f} s {word} of this machine's"
        yield diagnose("clock-skew", seen, evidence.server)


def _time_there(greeting: ProbeResponse) -> float | None:
    if greeting.echo is not None:
        value = greeting.echo.get("time")
        return float(value) if isinstance(value, int | float) else None
    return parse_http_date(greeting.get("date"))


def _tls(evidence: Evidence) -> Iterator[Diagnosis]:
    if evidence.is_secret_in_clear:
        yield diagnose("tls-absent", "the URL begins with http://", evidence.front)
    tls, front = evidence.tls, evidence.front
    if tls is None:
        return
    if tls.problem:
        yield diagnose("tls-untrusted", f"TLS failed: {tls.problem}", front)
        return
    if tls.days < SOON:
        yield diagnose("tls-expires", f"it ends in {tls.days:.0f} days", front)
    if tls.takes_old:
        yield diagnose("tls-old", "TLS 1.1 was accepted", front)
    if tls.window is not None and tls.window < LEAST_WINDOW:
        seen = f"a stream begins with a window of {tls.window:,} bytes"
        yield diagnose("http2-window", seen, front)


VERDICTS: tuple[Callable[[Evidence], Iterator[Diagnosis]], ...] = (
    _tls,
    _caps,
    _buffering,
    _chunked,
    _timeouts,
    _expect,
    _interim,
    _events,
    _cors,
    _host,
    _clock,
)
