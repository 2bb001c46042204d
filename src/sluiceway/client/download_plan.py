"""What to do next: from what is known and the last answer's head to a next step. Pure functions and two tables.

Downloads resume by it, redirects and retries follow it. Knows nothing of sockets, files or clocks: time comes in.
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

SETTLED = 60.0  # seconds: a Last-Modified this much older than Date is a strong validator (RFC 9110 8.8.2.2)


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
