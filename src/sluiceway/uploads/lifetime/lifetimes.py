"""How long files last: when each is deleted, and until when it must stay.

Both times stand in the user metadata beside the file, so every server and every sweep goes by the
same. What a client asks is limited by the operator.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sluiceway.errors import BadRequest, NotFound, PreconditionFailed, Retained
from sluiceway.stores.contract import Entry, Replace, Store, UploadRequest
from sluiceway.stores.values import DOWNLOADS, EXPIRES, RETAINED, Pairs
from sluiceway.uploads.keys import new_id
from sluiceway.uploads.lifetime.ages import parse_end
from sluiceway.wire.headers.http_dates import http_date
from sluiceway.wire.numbers import ascii_uint

__all__ = [
    "DOWNLOADS_HEADER",
    "EXPIRES_HEADER",
    "MOST_DOWNLOADS",
    "RETAIN_HEADER",
    "Lifetimes",
    "check_deletable",
    "check_none_asked",
    "is_over",
    "remove",
    "remove_if_over",
]

EXPIRES_HEADER, RETAIN_HEADER, DOWNLOADS_HEADER = "x-expires", "x-retain", "x-max-downloads"
_ASKED_BY = {EXPIRES: EXPIRES_HEADER, RETAINED: RETAIN_HEADER, DOWNLOADS: DOWNLOADS_HEADER}
# of forms, queries and tus metadata
_FIELDS = {EXPIRES: "expires", RETAINED: "retain", DOWNLOADS: "max_downloads"}
MOST_DOWNLOADS = 1000  # of one file: each is a line of 46 bytes that a download reads


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """What an operator decided.

    Args:
        expire: Seconds after which each file is deleted, the most that a client may ask; None:
            files last unless their client asks for an end.
        may_expire: Whether files are deleted at all.
        retain: Seconds for which each file must stay; 0 for none.
        most_retained: Seconds that a client may ask for, and at least `retain`.
        downloads: Downloads after which each file is deleted, the most that a client may ask; 0:
            only those of files whose client asks are counted; None: none are.
    """

    expire: int | None = None
    may_expire: bool = False
    retain: int = 0
    most_retained: int = 0
    downloads: int | None = None

    async def admit(self, request: UploadRequest, store: Store, signed: Pairs) -> UploadRequest:
        """The request with the times of its file; what it may replace is looked up.

        `signed`: fields of the link, which count more than what its holder asks. Raises BadRequest
        for an end that cannot be, Retained for a file that must stay.
        """
        now, fields = time.time(), dict(signed)
        times = {
            EXPIRES: self._expires(request, _asked(request, fields, EXPIRES), now),
            RETAINED: self._retained(request, _asked(request, fields, RETAINED), now),
            DOWNLOADS: self._downloads(request, _asked(request, fields, DOWNLOADS)),
        }
        user = {name: value for name, value in request.user if name not in times}
        user |= {name: value for name, value in times.items() if value is not None}
        request = dataclasses.replace(request, user=tuple(sorted(user.items())))
        return await self._checked(request, store, now)

    async def _checked(self, request: UploadRequest, store: Store, now: float) -> UploadRequest:
        """What it may replace: no file that must stay, and none that is stored meanwhile."""
        if not request.key:
            return request
        try:
            existing: Entry | None = await store.stat(request.key)
        except NotFound:
            existing = None
        if existing is not None and await remove_if_over(store, existing, now):
            existing = None
        replace = request.replace
        if existing is not None and replace.allowed:
            check_deletable(existing, "replaced")
        if not self.most_retained or not replace.allowed or replace.etag is not None:
            return request
        # A file that another client stores meanwhile may have to stay.
        seen = Replace() if existing is None else Replace(allowed=True, etag=existing.etag)
        return dataclasses.replace(request, replace=seen)

    def _expires(self, request: UploadRequest, asked: str | None, now: float) -> str | None:
        """As in metadata; `+SECONDS` counts from the moment when the file has arrived."""
        if not self.may_expire:
            if EXPIRES_HEADER in request.values:
                raise BadRequest(
                    "This server keeps files until somebody deletes them; leave X-Expires out"
                )
            return None
        if asked is None:
            return None if self.expire is None else f"+{self.expire}"
        age, end = parse_end(asked, "expires", now)
        if self.expire is not None and (age or 0) >= self.expire:
            return f"+{self.expire}"
        if self.expire is not None and end is not None and end >= now + self.expire:
            return f"+{self.expire}"
        return f"+{age}" if end is None else str(end)

    def _retained(self, request: UploadRequest, asked: str | None, now: float) -> str | None:
        if asked is None:
            return f"+{self.retain}" if self.retain else None
        if not self.most_retained:
            if RETAIN_HEADER in request.values:
                raise BadRequest("This server decides how long files must stay; leave X-Retain out")
            return f"+{self.retain}" if self.retain else None
        age, end = parse_end(asked, "retain", now)
        seconds = (age or 0) if end is None else end - now
        if seconds > self.most_retained:
            raise BadRequest(f"retain must be at most {self.most_retained} seconds")
        if seconds < self.retain:
            return f"+{self.retain}"
        return f"+{age}" if end is None else str(end)

    def _downloads(self, request: UploadRequest, asked: str | None) -> str | None:
        if self.downloads is None:
            if DOWNLOADS_HEADER in request.values:
                raise BadRequest("This server counts no downloads; leave X-Max-Downloads out")
            return None
        most = self.downloads
        if asked is not None:
            wanted = ascii_uint(asked, "max_downloads", MOST_DOWNLOADS)
            if not wanted:
                raise BadRequest("max_downloads must be at least 1")
            most = min(wanted, most or wanted)
        return f"{most}.{new_id()}" if most else None


def _asked(request: UploadRequest, signed: Mapping[str, str], name: str) -> str | None:
    """From the link, a header, a field in front of the file, the query, or tus metadata."""
    header, field = _ASKED_BY[name], _FIELDS[name]
    found = signed.get(field) or request.values.get(header) or dict(request.fields).get(field)
    return found or request.values.get(field) or None


def check_none_asked(request: UploadRequest) -> None:
    """Raises BadRequest where a header asks for what this server does not do."""
    for header in _ASKED_BY.values():
        if header in request.values:
            raise BadRequest(
                f"This server keeps files until somebody deletes them; leave {header.title()} out"
            )


def is_over(entry: Entry, now: float) -> bool:
    """Whether the file's time is over. One that must stay is not."""
    expires, retained = entry.metadata.expires, entry.metadata.retained
    return expires is not None and expires <= now and (retained is None or retained <= now)


def check_deletable(entry: Entry, what: str = "deleted") -> None:
    """Raises Retained for a file that must stay."""
    retained = entry.metadata.retained
    if retained is not None and retained > time.time():
        raise Retained(
            f"The file {entry.key!r} must stay until {http_date(retained)} and cannot be {what}",
            until=round(retained),
        )


async def remove_if_over(store: Store, entry: Entry, now: float) -> bool:
    """Delete a file whose time is over; only this version of it."""
    return is_over(entry, now) and await remove(store, entry, now)


async def remove(store: Store, entry: Entry, now: float) -> bool:
    """Delete this version of a file, unless it must stay. Returns whether it is gone."""
    retained = entry.metadata.retained
    if retained is not None and retained > now:
        return False
    try:
        await store.delete(entry.key, Replace(allowed=True, etag=entry.etag))
    except NotFound:
        return True
    except PreconditionFailed:  # replaced meanwhile
        return False
    return True
