"""What to do next: from what is known and the last answer's head to a next step. Pure functions and two tables.

Downloads resume by it, redirects and retries follow it. Knows nothing of sockets, files or clocks: time comes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from sluiceway.errors import BadRequest, PeerFailed, PeerUnreachable, SluiceError
from sluiceway.wire.headers.http_dates import parse_http_date
from sluiceway.wire.headers.ranges import parse_content_range, parse_unsatisfied_range
from sluiceway.wire.numbers import clipped_uint
from sluiceway.wire.urls import located, origin, redact_url

__all__ = [
    "ANSWERED",
    "BUSY",
    "FIRST_WAIT",
    "HARMLESS",
    "MOST_ATTEMPTS",
    "MOST_REDIRECTS",
    "MOST_WAIT",
    "REPEATABLE",
    "RETRYABLE",
    "UNREACHED",
    "UNREADABLE",
    "Head",
    "Known",
    "Step",
    "backoff",
    "headers_across",
    "length_of",
    "may_repeat",
    "may_retry",
    "next_step",
    "range_headers",
    "reached",
    "redirected",
    "retry_after",
    "validator_of",
]

ANSWERED = "answered"  # the member of an error that holds the server's status: it was made there, not on the way
UNREADABLE = "unreadable"  # the member of an error for an answer that came and could not be read: it will come again
UNREACHED = "unreached"  # the member of an error for a connection that took too long to be made

MOST_REDIRECTS = 5  # sign-in plus storage needs two or three; a loop shows itself soon enough
MOST_ATTEMPTS = 5  # in a row without one new byte: half a minute of trying with the waits below
FIRST_WAIT = 0.5  # seconds before the second attempt, doubled each time
MOST_DOUBLINGS = 7  # of that wait: 64 seconds, for those who ask for many attempts
MOST_WAIT = 60.0  # seconds; a server that asks for more is told to people instead of waited for
SETTLED = 60.0  # seconds: a Last-Modified this much older than Date is a strong validator (RFC 9110 8.8.2.2)

# What may follow a redirect to another host. A short list of what is harmless: what proves who one is has too many names.
# Conditions are on it because without them another host would overwrite what it should not.
HARMLESS = frozenset(
    {
        "accept",
        "accept-language",
        "content-digest",
        "content-language",
        "content-type",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
        "repr-digest",
        "user-agent",
    }
)
RETRYABLE = frozenset(
    {408, 425, 429, 500, 502, 503, 504}
)  # for reading again: nothing at the server changes by it
BUSY = frozenset(
    {408, 429, 502, 503, 504}
)  # for sending again: the server, or a proxy before it, could not take it now
REPEATABLE = frozenset(
    {"PUT", "GET", "HEAD", "DELETE", "OPTIONS", "TRACE"}
)  # twice is as good as once (RFC 9110 9.2.2)


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer. Header names in lower case, values as ISO-8859-1 text, repeated ones joined by a comma."""

    status: int
    headers: Mapping[str, str]
    url: str  # which request it answers
    cookies: tuple[str, ...] = ()  # each Set-Cookie: they hold commas of their own


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a download under way."""

    have: int = 0  # bytes on this side
    validator: str | None = None  # as If-Range takes it: a strong ETag with quotes, or an HTTP date
    total: int | None = None  # bytes of the whole


class Step(Enum):
    """What an answer's body is good for."""

    FRESH = "the body is the whole: write it from the start"
    APPEND = "the body is the rest: write it behind what is here"
    COMPLETE = "everything is here already"
    AGAIN = "this body does not fit what is here: ask for the whole"
    WAIT = "not now: ask again later"
    REFUSED = "no: say why"


# Status -> step, for a request with a Range and one without. A missing entry is REFUSED.
ASKED_REST = {206: Step.APPEND, 200: Step.FRESH, 416: Step.COMPLETE, 412: Step.AGAIN}
ASKED_WHOLE = {200: Step.FRESH, 203: Step.FRESH}


def range_headers(known: Known) -> dict[str, str]:
    """The headers that ask for the rest; nothing when the whole is wanted."""
    if not known.have or known.validator is None:
        return {}
    return {"range": f"bytes={known.have}-", "if-range": known.validator}


def next_step(known: Known, head: Head) -> Step:
    """What to do with the answer to a request that carried `range_headers(known)`."""
    asked_rest = bool(range_headers(known))
    if head.status in RETRYABLE:
        return Step.WAIT
    step = (ASKED_REST if asked_rest else ASKED_WHOLE).get(head.status, Step.REFUSED)
    if step is Step.APPEND and not _continues(known, head):
        return Step.AGAIN
    if step is Step.COMPLETE and not _whole(known, head):
        return Step.AGAIN
    return step


def _whole(known: Known, head: Head) -> bool:
    """Whether a 416 means that all is here: its size is what is here, and what was told before. Another size is another file."""
    return parse_unsatisfied_range(
        head.headers.get("content-range", "")
    ) == known.have and known.total in (None, known.have)


def _continues(known: Known, head: Head) -> bool:
    """Whether a 206 is exactly the rest of what is here (RFC 9110 15.3.7.3): one range, its start, total and validator."""
    try:
        start, stop, total = parse_content_range(head.headers.get("content-range", ""))
    except SluiceError:
        return False
    if start != known.have or (total is not None and stop != total):
        return False
    if known.total is not None and total is not None and total != known.total:
        return False
    tag = head.headers.get("etag")
    if (known.validator or "").startswith('"'):
        return tag == known.validator
    return head.headers.get("last-modified") == known.validator


def validator_of(head: Head) -> str | None:
    """What If-Range may carry later: a strong ETag, else a Last-Modified that has settled; None when neither is there."""
    tag = head.headers.get("etag", "")
    if len(tag) >= 2 and tag[0] == tag[-1] == '"':
        return tag
    changed, now = (
        parse_http_date(head.headers.get(name, "")) for name in ("last-modified", "date")
    )
    if tag or changed is None or now is None or now - changed < SETTLED:
        return None
    return head.headers["last-modified"]


def length_of(head: Head) -> int | None:
    """Bytes of the whole representation as this head tells, None when it does not."""
    if head.status == 206:
        try:
            return parse_content_range(head.headers.get("content-range", ""))[2]
        except SluiceError:
            return None
    return clipped_uint(head.headers.get("content-length", ""))


def may_retry(error: SluiceError) -> bool:
    """Whether asking again may help: the way broke. An error that tells of an answer is that answer, and stays so."""
    return (
        isinstance(error, PeerFailed)
        and ANSWERED not in error.members
        and UNREADABLE not in error.members
    )


def reached(error: SluiceError) -> bool:
    """Whether there was a connection: else the URL is wrong, most likely, and asking again will not help."""
    return not isinstance(error, PeerUnreachable) and UNREACHED not in error.members


def may_repeat(method: str, complete: bool) -> bool:
    """Whether a request that broke off may be sent again. `complete`: its whole body may have reached the server.

    A POST whose end was never let go has changed nothing at a server that waits for whole bodies; one that was complete may
    have been carried out, and a second one could store the file twice.
    """
    return method in REPEATABLE or not complete


def backoff(
    attempt: int, head: Head | None, now: float, jitter: float, most: int = MOST_ATTEMPTS
) -> float | None:
    """Seconds to wait before attempt number `attempt` (2 is the first retry) of `most`; None: give up.

    `jitter` from 0 to 1 spreads clients that failed together. A Retry-After is kept to, and never shortened.
    """
    if attempt > most:
        return None
    wait = FIRST_WAIT * 2.0 ** min(attempt - 2, MOST_DOUBLINGS) * (0.5 + jitter / 2)
    asked = retry_after(head, now) if head else None
    if asked is not None and asked > MOST_WAIT:
        return None
    return max(wait, asked or 0.0)


def retry_after(head: Head, now: float) -> float | None:
    """Seconds, from either form of the header (RFC 9110 10.2.3)."""
    value = head.headers.get("retry-after", "")
    seconds = clipped_uint(value)
    if seconds is not None:
        return float(seconds)
    date: float | None = parse_http_date(value)
    return None if date is None else max(0.0, date - now)


def redirected(head: Head, hops: int, *, sends: bool, again: bool) -> str | None:
    """The URL to go on with, None when this is no redirect. `sends`: the request has a body; `again`: it can be sent anew.

    Raises PeerFailed for a redirect that must not be followed, with the reason.
    """
    if head.status not in (301, 302, 303, 307, 308) or not head.headers.get("location"):
        return None  # an empty one would lead to the same place for ever
    reason = ""
    try:
        target = located(head.url, head.headers["location"])
    except BadRequest as error:
        target, reason = "", f"something that is no web address: {error}"
    place = redact_url(target)
    if reason:
        pass
    elif hops >= MOST_REDIRECTS:
        reason = f"{place}, the {hops + 1}th place in a row; check the URL"
    elif origin(head.url)[0] == "https" and origin(target)[0] == "http":
        reason = (
            f"{place}, where anyone could read what is sent; ask its operator for an https address"
        )
    elif sends and head.status not in (307, 308):
        reason = f"{place} with a {head.status}, which drops what is sent; if files go there, use that URL"
    elif sends and not again:
        reason = f"{place}, and what was read from the stream cannot be sent twice; use that URL"
    if reason:
        raise PeerFailed(f"{redact_url(head.url)} redirects to {reason}", **{ANSWERED: head.status})
    return target


def headers_across(headers: Mapping[str, str], old: str, new: str) -> dict[str, str]:
    """The headers for the next hop: to another origin only what is harmless goes along, whatever it is called."""
    if origin(old) == origin(new):
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() in HARMLESS}
