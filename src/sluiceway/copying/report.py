"""What a copy of many objects reports: Overall, an ObjectResult for each object, a Report.

`Tally` counts. Copied, skipped, left out, failed: the four add up to the number of listed objects,
and `Tally.check` enforces it. Knows nothing of sources, targets or screens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sluiceway.errors import Miscounted
from sluiceway.pipe.hashes import named_digests
from sluiceway.stores.contract import Pairs

__all__ = [
    "MOST_FAILURES",
    "ObjectResult",
    "ObjectState",
    "OnOverall",
    "Overall",
    "Report",
    "Tally",
]

MOST_FAILURES = 1000  # kept with their reasons; further ones are only counted

ObjectState = Literal["copied", "skipped", "failed", "left-out", "would-copy", "would-replace"]


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """The result of copying one object.

    Args:
        key: its path below the source.
        state: "copied", "skipped" (it was there already), "failed", "left-out" (by a rule), or in
            a dry run "would-copy" and "would-replace".
        size: bytes; None where unknown.
        digests: pairs of an algorithm and hexadecimal digits; () where unknown.
        location: URL or path of the copy.
        attempts: how often it was tried; 0 if it was not even opened.
        code: of the error (docs/errors.md) or of the rule (docs/many.md).
        detail: the reason, one sentence, for a failure or a rule.

    Example:
        `if result.state == "failed": print(result.key, result.code, result.detail)`
    """

    key: str
    state: ObjectState
    size: int | None = None
    digests: Pairs = ()
    location: str = ""
    attempts: int = 0
    code: str = ""
    detail: str = ""

    def as_dict(self) -> dict[str, object]:
        """JSON values under the names that `--json` prints; unknown values are left out."""
        values = {
            "key": self.key,
            "state": self.state,
            "size": self.size,
            **named_digests(self.digests),
            "location": self.location,
            "attempts": self.attempts,
            "code": self.code,
            "detail": self.detail,
        }
        return {name: value for name, value in values.items() if value not in (None, "")}


@dataclass(frozen=True, slots=True)
class Report:
    """A copy of many objects, finished or interrupted.

    Args:
        copied: number of objects; in a dry run those that would be copied.
        skipped: were there already with the same size and digest, or stood in the journal.
        failed: could not be copied.
        left_out: by a rule: links, pipes, folder markers, keys that the patterns do not select.
        bytes: of the copied objects.
        seconds: of the whole copy.
        failures: the first 1000; `failed` counts all.
        complete: the listing came to its end and nothing interrupted the copy.
        dry_run: whether nothing was changed because of `dry_run`.
        listed: objects the listing gave; the four numbers add up to it if `complete`.
        excluded: of those left out, by include and exclude.

    Example:
        `report = sluiceway.copy_all("photos", "s3://bucket/photos/"); assert report.ok`
    """

    copied: int
    skipped: int
    failed: int
    left_out: int
    bytes: int
    seconds: float
    failures: tuple[ObjectResult, ...] = ()
    complete: bool = True
    dry_run: bool = False
    listed: int = 0
    excluded: int = 0

    @property
    def ok(self) -> bool:
        """Whether every object that was meant is at the destination."""
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
    """A copy of many objects at one moment. Unless `listed`, the totals are lower bounds.

    Args:
        done: objects that ended, in whatever state.
        total: objects listed so far.
        failed: of those done.
        bytes: of objects whose destination confirmed them.
        moving: bytes of the objects under way.
        total_bytes: of listed objects whose size is known, without those that were skipped.
        listed: whether the listing came to its end.
        rate: bytes a second since the beginning.
        note: why something is retried.
        result: of the object that has just ended.
        report: at the very end, also of an interrupted copy.

    Example:
        `sluiceway.copy_all(src, dst, on_progress=lambda now: print(now.done, now.total))`
    """

    done: int
    total: int
    failed: int
    bytes: int
    moving: int
    total_bytes: int
    listed: bool
    rate: float
    note: str = ""
    result: ObjectResult | None = None
    report: Report | None = None

    @property
    def seconds_left(self) -> float | None:
        """At this rate; None while unknown. Unless `listed`, it takes at least that long."""
        if self.rate <= 0:
            return None
        return max(0, self.total_bytes - self.bytes - self.moving) / self.rate


OnOverall = Callable[[Overall], None]


class Tally:
    """The numbers, and the first failures with their reasons."""

    def __init__(self) -> None:
        self.listed = 0  # counted where the listing gives objects, and nowhere else
        self.copied: int = 0
        self.skipped: int = 0
        self.left_out: int = 0
        self.excluded: int = 0
        self.failed: int = 0
        self.bytes: int = 0  # of the copied objects
        self.failures: list[ObjectResult] = []

    @property
    def done(self) -> int:
        """Objects that ended, in whatever state."""
        return self.copied + self.skipped + self.left_out + self.failed

    def count(self, result: ObjectResult) -> None:
        """One object has ended."""
        if result.state == "failed":
            self.failed += 1
            if len(self.failures) < MOST_FAILURES:
                self.failures.append(result)
        elif result.state == "left-out":
            self.left_out += 1
            self.excluded += result.code == "excluded"
        elif result.state == "skipped":
            self.skipped += 1
        else:
            self.copied += 1
            self.bytes += result.size or 0

    def check(self) -> None:
        """Raises Miscounted where a listed object did not end, or ended twice."""
        if self.done != self.listed:
            raise Miscounted(
                f"{self.listed} objects were listed and {self.done} ended; this is a fault of this "
                "program, and the copy cannot be relied on"
            )
