"""What a transfer tells: Progress on the way, a Receipt at the end. Values only; they know nothing of HTTP or screens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sluiceway.pipe.stages import verdict

__all__ = ["OnProgress", "Progress", "Receipt", "Stage"]

Stage = Literal[
    "connecting", "sending", "waiting", "receiving", "checking", "retrying", "left-out", "done"
]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A finished transfer. What stands here is what the destination said it keeps, not what was handed to it.

    A folder's receipt holds one receipt for each file in `parts`; its size is their sum and it has no sha-256.
    """

    size: int  # bytes of the file itself
    sha256: str | None  # 64 hexadecimal digits, counted on this side
    location: str  # URL or path where the bytes are now; "-" for standard output
    source: str = ""  # what was copied, as it was named; without passwords
    status: int | None = None  # the HTTP status of the last answer
    answer: object = None  # what the destination answered, when that was JSON
    seconds: float = 0.0  # the whole transfer
    stages: Mapping[str, float] = field(
        default_factory=dict
    )  # where the time went, seconds by name (see pipe/stages.py)
    parts: tuple[Receipt, ...] = ()

    @property
    def verdict(self) -> str:
        """Who took the most of the time, in words: "91 % destination"; "" where no time was taken."""
        return verdict(self.stages, "destination") if self.stages else ""

    def to_json(self) -> dict[str, object]:
        """The receipt as JSON values, under the names `sluiceway copy --json` prints."""
        told: dict[str, object] = {
            "source": self.source,
            "location": self.location,
            "size": self.size,
            "sha-256": self.sha256,
            "status": self.status,
            "answer": self.answer,
            "seconds": round(self.seconds, 6),
            "stages": {name: round(seconds, 6) for name, seconds in self.stages.items()},
            "verdict": self.verdict,
        }
        if self.parts:
            told["parts"] = [part.to_json() for part in self.parts]
        return told


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a transfer under way. `done` may reach `total` before the end: only stage "done" is success.

    While sending, `done` counts bytes of the file that the peer's kernel acknowledged (where the system does not tell: that
    the socket took), and starts again when a try does; while receiving, bytes written to the target.
    """

    name: str
    stage: Stage
    done: int  # bytes
    total: int | None  # bytes, None while nobody knows
    note: str = ""  # why, for stages that are not the plain way: "retrying", "left-out"
    receipt: Receipt | None = None  # at stage "done": of this one file


OnProgress = Callable[[Progress], None]
