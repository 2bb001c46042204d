"""The values that describe a transfer: Progress on the way, a Receipt at the end.

Know nothing of HTTP or screens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sluiceway.pipe.hashes import SHA256, named_digests
from sluiceway.pipe.stages import verdict

__all__ = ["OnProgress", "Progress", "Receipt", "Stage"]

Stage = Literal[
    "connecting",
    "sending",
    "waiting",
    "receiving",
    "checking",
    "retrying",
    "resuming",
    "left-out",
    "done",
]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A finished transfer: what the destination has confirmed, not what was handed to it.

    The receipt of a folder has one receipt for each file in `parts`; its size is their sum, and it
    has no digest.

    Args:
        size: Bytes of the file.
        digests: Of the bytes, counted on this side: pairs of an algorithm, by the names of
            `--digest`, and hexadecimal digits. () for a folder, and with `--digest none`.
        location: The URL or path where the bytes are now; "-" for standard output.
        source: What was copied, as the caller named it, without passwords.
        status: The HTTP status of the last response; None where there was none.
        answer: The destination's response body, where that was JSON.
        seconds: The duration of the whole transfer.
        stages: Where the time went: seconds by stage (`sluiceway.pipe.stages`).
        parts: The receipts of a folder's files.

    Example:
        >>> receipt = sluiceway.copy("report.pdf", "https://example.org/files/")
        >>> receipt.size, receipt.location
        (48213, 'https://example.org/files/report.pdf')
    """

    size: int
    digests: tuple[tuple[str, str], ...]
    location: str
    source: str = ""
    status: int | None = None
    answer: object = None
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    parts: tuple[Receipt, ...] = ()

    @property
    def sha256(self) -> str | None:
        """64 hexadecimal digits; None where it was not counted."""
        return dict(self.digests).get(SHA256)

    @property
    def verdict(self) -> str:
        """The side that took most of the time: "91 % destination"; "" where no time was
        measured."""
        return verdict(self.stages, "destination") if self.stages else ""

    def to_json(self) -> dict[str, object]:
        """Return the receipt as JSON values, under the names that `sluiceway copy --json`
        prints."""
        values: dict[str, object] = {
            "source": self.source,
            "location": self.location,
            "size": self.size,
            **named_digests(self.digests),
            "status": self.status,
            "answer": self.answer,
            "seconds": round(self.seconds, 6),
            "stages": {name: round(seconds, 6) for name, seconds in self.stages.items()},
            "verdict": self.verdict,
        }
        if self.parts:
            values["parts"] = [part.to_json() for part in self.parts]
        return values


@dataclass(frozen=True, slots=True)
class Progress:
    """A transfer under way, as a progress callback gets it.

    `done` may reach `total` before the end: only stage "done" is success. While sending, `done`
    counts bytes of the file that the peer's kernel acknowledged (where the system cannot know them:
    that the socket took), and starts again with each try: from 0, or from what the server keeps of
    an upload that can be resumed. While receiving, it counts bytes written to the target.

    Args:
        name: The file's name, for people.
        stage: What happens now: "connecting", "sending", "waiting" for the response, "receiving",
            "checking" what an earlier run left, "retrying", "resuming" an upload that broke off,
            "left-out" or "done".
        done: Bytes.
        total: Bytes; None while it is unknown.
        note: Why, at the stages "retrying", "resuming" and "left-out".
        receipt: At stage "done": the receipt of this file.
        kept: Bytes that the server has said it keeps, in an upload that can be resumed: a cut costs
            none of them. None in other transfers.

    Example:
        >>> def show(progress: sluiceway.Progress) -> None:
        ...     print(progress.name, progress.stage, progress.done, progress.total)
        >>> sluiceway.copy("report.pdf", "https://example.org/files/", on_progress=show)
    """

    name: str
    stage: Stage
    done: int
    total: int | None
    note: str = ""
    receipt: Receipt | None = None
    kept: int | None = None


OnProgress = Callable[[Progress], None]
