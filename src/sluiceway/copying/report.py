"""What a copy of many objects tells: Overall on the way, Ended of each object, a Report at the end. Values only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Ended", "OnOverall", "Overall", "Report", "State"]

State = Literal["copied", "skipped", "failed", "left-out", "would-copy", "would-replace"]


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of one object. `attempts` is 0 for one that was not even opened."""

    key: str
    state: State
    size: int | None = None  # bytes
    sha256: str | None = None
    location: str = ""
    attempts: int = 0
    code: str = ""  # of the error that counts, or of the rule (`copying.contract.RULES`)
    detail: str = ""  # why: of a failure, or of what a rule leaves out

    def as_dict(self) -> dict[str, object]:
        """JSON values under the names that `--json` prints; what nothing is known of is left away."""
        told = {
            "key": self.key,
            "state": self.state,
            "size": self.size,
            "sha-256": self.sha256,
            "location": self.location,
            "attempts": self.attempts,
            "code": self.code,
            "detail": self.detail,
        }
        return {name: value for name, value in told.items() if value not in (None, "")}


@dataclass(frozen=True, slots=True)
class Report:
    """A finished copy of many objects, or as far as it came. `ok` is whether everything that was meant is there."""

    copied: int  # objects; with dry_run: that would be
    skipped: int  # were there already, with the same size and sha-256, or stood in the journal
    failed: int
    left_out: int  # by a rule: links, pipes, folder markers, what the patterns do not choose
    bytes: int  # of those copied
    seconds: float
    failures: tuple[Ended, ...] = ()  # the first of them; `failed` counts all
    complete: bool = True  # the listing came to its end, and nobody interrupted
    dry_run: bool = False
    listed: int = 0  # what the listing gave; the four numbers add up to it, or `complete` is False
    excluded: int = 0  # of those left out: by --include and --exclude

    @property
    def ok(self) -> bool:
        return self.complete and not self.failed

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.bytes / self.seconds if self.seconds > 0 else 0.0

    def as_dict(self) -> dict[str, object]:
        """JSON values under the names that `--json` prints."""
        return {
            "ok": self.ok,
            "copied": self.copied,
            "skipped": self.skipped,
            "failed": self.failed,
            "left_out": self.left_out,
            "excluded": self.excluded,
            "listed": self.listed,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 6),
            "rate": round(self.rate, 3),
            "complete": self.complete,
            "dry_run": self.dry_run,
            "failures": [failure.as_dict() for failure in self.failures],
        }


@dataclass(frozen=True, slots=True)
class Overall:
    """One look at a copy of many objects. Where `listed` is False, `total` and `total_bytes` are at least that."""

    done: int  # objects that ended in whatever way
    total: int  # objects known so far
    failed: int
    bytes: int  # of objects that are over there, confirmed
    moving: int  # bytes of those under way
    total_bytes: int  # of objects known so far whose size is known, without those that were there
    listed: bool  # the listing came to its end
    rate: float  # bytes a second since the beginning
    note: str = ""  # why something is tried again
    ended: Ended | None = None  # the object that has just come to its end
    report: Report | None = None  # at the very end, also of a copy that was interrupted

    @property
    def seconds_left(self) -> float | None:
        """At this rate; None while nobody can tell. While not `listed`, it takes at least that long."""
        return (
            max(0, self.total_bytes - self.bytes - self.moving) / self.rate
            if self.rate > 0
            else None
        )


OnOverall = Callable[[Overall], None]
