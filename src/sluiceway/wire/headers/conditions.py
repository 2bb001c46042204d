"""Preconditions (RFC 9110 13): does a request still hold for the object as it is now?

`headers` is any mapping with names in lower case and repeated lines joined (`join_fields`). Knows
validators, not objects: the caller reads them from a store's Entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from sluiceway.errors import BadRequest
from sluiceway.wire.headers.http_dates import http_date, parse_http_date

__all__ = [
    "ETag",
    "PutTerms",
    "Verdict",
    "evaluate",
    "format_etag",
    "has_conditions",
    "http_date",
    "if_range_holds",
    "join_fields",
    "parse_etags",
    "parse_http_date",
    "put_replace",
]

MOST_CONDITION_HEADER = 8192  # characters; a cache revalidating a hundred variants fits

_ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_GAP = re.compile(r"[ \t,]*")
_CONDITIONS = frozenset(
    [b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"]
)


class Verdict(Enum):
    """GO: do it. NOT_MODIFIED: 304. FAILED: 412."""

    GO = "go"
    NOT_MODIFIED = "not-modified"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ETag:
    tag: str  # without quotes
    weak: bool = False

    def matches_strongly(self, etag: str) -> bool:
        return not self.weak and self.tag == etag

    def matches_weakly(self, etag: str) -> bool:
        return self.tag == etag


@dataclass(frozen=True, slots=True)
class PutTerms:
    """What a PUT or DELETE asks of the existing object; the store checks it in one step with the
    act."""

    create_only: bool = False  # If-None-Match: *  the key must be free
    any_existing: bool = False  # If-Match: *       some object must be there
    # If-Match: "a", "b"  it must carry one of these; () can never hold: 412
    etags: tuple[str, ...] | None = None


def has_conditions(lines: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a condition is among the field lines, whose names are in lower case."""
    return not _CONDITIONS.isdisjoint(name for name, _ in lines)


def join_fields(lines: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return field lines by name in lower case; lines of one name are joined by a comma (RFC 9110
    5.3).

    In one pass, because a peer chooses how many there are.
    """
    found: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    for raw_name, raw_value in lines:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in found:
            repeated.setdefault(name, [found[name]]).append(value)
        else:
            found[name] = value
    for name, values in repeated.items():
        found[name] = ", ".join(values)
    return found


def parse_etags(value: str) -> list[ETag] | Literal["*"]:
    """Return the entity tags of If-Match or If-None-Match; quotes may hold commas. Raises
    BadRequest."""
    if value.strip(" \t") == "*":
        return "*"
    if len(value) > MOST_CONDITION_HEADER:
        raise BadRequest(
            f"A list of entity tags is longer than {MOST_CONDITION_HEADER} characters; send fewer"
        )
    tags: list[ETag] = []
    at = _past_gap(value, 0)
    while at < len(value):
        found = _ETAG.match(value, at)
        behind = _past_gap(value, found.end()) if found else at
        if not found or (behind < len(value) and "," not in value[found.end() : behind]):
            raise BadRequest(
                'Entity tags must be quoted and separated by commas, as in "a1b2", W/"c3"'
            )
        tags.append(ETag(found[2], weak=found[1] is not None))
        at = behind
    if not tags:
        raise BadRequest('A list of entity tags must hold at least one, as in "a1b2", or be *')
    return tags


def format_etag(etag: str) -> str:
    """Return a strong entity tag as a header value."""
    return f'"{etag}"'


def evaluate(
    method: str, headers: Mapping[str, str], etag: str | None, modified: float | None, exists: bool
) -> Verdict:
    """Return the verdict, in the order of RFC 9110 13.2.2.

    `etag` is strong and without quotes, `modified` in seconds since the epoch. `if_range_holds` is
    for If-Range. A malformed date counts as absent; malformed tags raise BadRequest.
    """
    reads = method in ("GET", "HEAD")
    current = etag if exists else None
    # dates on the wire have no fraction
    second = modified // 1 if exists and modified is not None else None
    if (value := headers.get("if-match")) is not None:
        if not _any_match(value, current, exists, weakly=False):
            return Verdict.FAILED
    elif (
        (since := _date(headers, "if-unmodified-since")) is not None
        and second is not None
        and second > since
    ):
        return Verdict.FAILED
    if (value := headers.get("if-none-match")) is not None:
        if _any_match(value, current, exists, weakly=True):
            return Verdict.NOT_MODIFIED if reads else Verdict.FAILED
    elif (
        reads and (since := _date(headers, "if-modified-since")) is not None and second is not None
    ):
        return Verdict.NOT_MODIFIED if second <= since else Verdict.GO
    return Verdict.GO


def if_range_holds(value: str | None, etag: str | None) -> bool:
    """Whether Range counts: there is no If-Range, or one strong tag equal to the object's.

    A date never holds: two changes within one second would join halves of different versions
    (RFC 9110 8.8.2.2), and every object here has a strong tag.
    """
    if value is None:
        return True
    found = _ETAG.fullmatch(value.strip(" \t"))
    return found is not None and found[1] is None and found[2] == etag


def put_replace(headers: Mapping[str, str]) -> PutTerms:
    """Return the terms that a store must check in one step with the act.

    `evaluate` checks dates, and If-None-Match with tags. Raises BadRequest.
    """
    match = headers.get("if-match")
    given = None if match is None else parse_etags(match)
    none_match = headers.get("if-none-match")
    return PutTerms(
        create_only=none_match is not None and parse_etags(none_match) == "*",
        any_existing=given == "*",
        etags=None
        if given is None or given == "*"
        else tuple(tag.tag for tag in given if not tag.weak),
    )


def _any_match(value: str, current: str | None, exists: bool, *, weakly: bool) -> bool:
    tags = parse_etags(value)
    if tags == "*":
        return exists
    if current is None:
        return False
    return any(
        tag.matches_weakly(current) if weakly else tag.matches_strongly(current) for tag in tags
    )


def _date(headers: Mapping[str, str], name: str) -> float | None:
    value = headers.get(name)
    return None if value is None else parse_http_date(value.strip(" \t"))


def _past_gap(value: str, at: int) -> int:
    found = _GAP.match(value, at)
    return found.end() if found else at
