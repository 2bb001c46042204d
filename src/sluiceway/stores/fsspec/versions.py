"""What fsspec implementations tell of a file: its kind, its size, and what changes with its bytes.

Each protocol has its own names for the same thing; here they become one. Knows no file system.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from sluiceway.errors import StoreFailed

__all__ = ["RecentVersions", "Version", "is_link", "seconds_to_next_tick", "version_of"]

TIMES = (
    "mtime",
    "modified",
    "last_modified",
    "LastModified",
    "updated",
    "modificationTime",
    "last_write_time",
    "modify",
    "created",
)
TAGS = (
    "ETag",
    "etag",
    "e_tag",
    "checksum",
    "md5",
    "md5Hash",
    "sha256",
    "content_hash",
    "ino",
    "fileId",
    "generation",
    "rev",
)
TICK = 1.05  # seconds after which a time in whole seconds differs from the one before
# Seconds that the two clocks may differ: an older file by our clock was not written in this second.
CLOCK_SKEW = 3600.0
MOST_RECENT = 1000  # keys whose last versions are remembered for a tick


@dataclass(frozen=True, slots=True)
class Version:
    """Tells one version of a file from another. `modified` is None without a time."""

    size: int
    modified: float | None  # seconds since the epoch
    tag: str  # other values that change with the bytes, "" for none

    @property
    def etag(self) -> str:
        time = "" if self.modified is None else f"{self.modified:.6f}"
        return hashlib.sha256(f"{self.size} {time} {self.tag}".encode()).hexdigest()[:32]


class RecentVersions:
    """The versions that each key had within the last tick.

    Many protocols tell whole seconds. A file of the same size in the same second would have the
    etag of the one before.
    """

    def __init__(self) -> None:
        self._recent: OrderedDict[str, Sequence[tuple[float, Version]]] = OrderedDict()

    def add(self, key: str, version: Version) -> None:
        now = time.monotonic()
        fresh = [one for one in self._recent.pop(key, []) if now - one[0] < TICK]
        self._recent[key] = [*fresh, (now, version)]
        while self._recent and (
            len(self._recent) > MOST_RECENT or now - next(iter(self._recent.values()))[-1][0] > TICK
        ):
            self._recent.popitem(last=False)

    def before(self, key: str, old: Version | None) -> Sequence[tuple[float, Version]]:
        """The versions a new one must differ from, `old` included.

        Each with the latest time it can have been written, by the monotonic clock.
        """
        found = list(self._recent.get(key, []))
        if old is not None and all(old.etag != version.etag for _, version in found):
            age = max(0.0, time.time() - (old.modified or 0.0) - CLOCK_SKEW)
            found.append((time.monotonic() - age, old))
        return found


def seconds_to_next_tick(size: int, before: Sequence[tuple[float, Version]]) -> float:
    """How long to wait until a new file of `size` bytes gets another time than those before.

    0 where times are finer than a second.
    """
    alike = [
        written
        for written, version in before
        if version.size == size and version.modified is not None and version.modified.is_integer()
    ]
    return max([0.0, *(at + TICK - time.monotonic() for at in alike)]) if size else 0.0


def is_link(info: Mapping[str, Any]) -> bool:
    """Whether it is a symbolic link, even where the other values describe its target."""
    return info.get("type") == "link" or bool(info.get("islink"))


def version_of(info: Mapping[str, Any]) -> Version | None:
    """The version of a regular file, None for anything else. Raises StoreFailed without a size."""
    if info.get("type") != "file":
        return None
    size = info.get("size")
    if not isinstance(size, int):
        raise StoreFailed("The destination does not tell the size of its files; it cannot be used")
    modified, tags = None, [f"{name}={info[name]}" for name in TAGS if info.get(name) is not None]
    for name in TIMES:
        if info.get(name) is not None:
            modified = _seconds(info[name], name == "modificationTime")
            if modified is None:
                tags.append(f"{name}={info[name]}")
            break
    if modified is None and not tags:
        raise StoreFailed(
            "The destination tells neither time nor version of its files; it cannot be used"
        )
    return Version(size, modified, " ".join(tags))


def _seconds(value: Any, milliseconds: bool) -> float | None:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, int | float):
        return value / 1000 if milliseconds else float(value)
    text = str(value)
    for read in (_ftp_time, datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(text)
        except ValueError:
            continue
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return None


def _ftp_time(text: str) -> datetime:
    """RFC 3659, 2.3: 20261121230000, with or without a fraction."""
    return datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
