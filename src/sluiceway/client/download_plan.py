"""A download's next step: from what is here and the head of a response. Pure functions, two tables.

Knows nothing of sockets, files or clocks. Redirects are in `http/redirects`, retries in `retry`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sluiceway.client.http.exchange import Head
from sluiceway.client.retry import RETRYABLE
from sluiceway.errors import SluiceError
from sluiceway.wire.headers.http_dates import parse_http_date
from sluiceway.wire.headers.ranges import parse_content_range, parse_unsatisfied_range
from sluiceway.wire.numbers import clipped_uint

__all__ = [
    "Known",
    "Step",
    "length_of",
    "next_step",
    "range_headers",
    "validator_of",
]

# Seconds. A Last-Modified that is this much older than Date is a strong validator
# (RFC 9110 8.8.2.2).
STRONG_AGE = 60.0


@dataclass(frozen=True, slots=True)
class Known:
    """The state of a download."""

    have: int = 0  # bytes on this side
    validator: str | None = None  # as If-Range takes it: a strong ETag with quotes, or an HTTP date
    total: int | None = None  # bytes of the whole


class Step(Enum):
    """What to do with a response."""

    FRESH = "the body is the whole: write it from the start"
    APPEND = "the body is the rest: append it"
    COMPLETE = "everything is here already"
    AGAIN = "the body does not fit what is here: ask for the whole"
    WAIT = "the server is busy: ask again later"
    REFUSED = "the server refuses: report it"


# Status -> step, for a request with a Range and one without. A missing entry is REFUSED.
ASKED_REST = {206: Step.APPEND, 200: Step.FRESH, 416: Step.COMPLETE, 412: Step.AGAIN}
ASKED_WHOLE = {200: Step.FRESH, 203: Step.FRESH}


def range_headers(known: Known) -> dict[str, str]:
    """Return the headers that ask for the rest; none to ask for the whole."""
    if not known.have or known.validator is None:
        return {}
    return {"range": f"bytes={known.have}-", "if-range": known.validator}


def next_step(known: Known, head: Head) -> Step:
    """Return the step after a response to a request with `range_headers(known)`."""
    if head.status in RETRYABLE:
        return Step.WAIT
    asked_rest = bool(range_headers(known))
    step = (ASKED_REST if asked_rest else ASKED_WHOLE).get(head.status, Step.REFUSED)
    if step is Step.APPEND and not _continues(known, head):
        return Step.AGAIN
    if step is Step.COMPLETE and not _is_whole(known, head):
        return Step.AGAIN
    return step


def _is_whole(known: Known, head: Head) -> bool:
    """Whether a 416 means that everything is here.

    Its size must be that of the bytes here, and the one announced before: another size is another
    file.
    """
    size = parse_unsatisfied_range(head.headers.get("content-range", ""))
    return size == known.have and known.total in (None, known.have)


def _continues(known: Known, head: Head) -> bool:
    """Whether a 206 is exactly the rest of what is here (RFC 9110 15.3.7.3).

    It has one range, and its start, total and validator fit.
    """
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
    """Return what a later If-Range may carry; None when there is nothing.

    It is a strong ETag, else a Last-Modified that is old enough to be strong.
    """
    tag = head.headers.get("etag", "")
    if len(tag) >= 2 and tag[0] == tag[-1] == '"':
        return tag
    changed, now = (
        parse_http_date(head.headers.get(name, "")) for name in ("last-modified", "date")
    )
    if tag or changed is None or now is None or now - changed < STRONG_AGE:
        return None
    return head.headers["last-modified"]


def length_of(head: Head) -> int | None:
    """Return the bytes of the whole file according to this head; None when it does not say."""
    if head.status == 206:
        try:
            return parse_content_range(head.headers.get("content-range", ""))[2]
        except SluiceError:
            return None
    return clipped_uint(head.headers.get("content-length", ""))
