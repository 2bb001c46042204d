"""The counting over all objects of a copy: what the listing gave, and in which of four ways each of them ended.

Copied, there already, left out by a rule, failed: the four add up to what was listed, which `check` holds the run to.
"""

from __future__ import annotations

from sluiceway.copying.report import Ended
from sluiceway.errors import Miscounted

__all__ = ["MOST_FAILURES", "Tally"]

MOST_FAILURES = 1000  # held with their reasons; further ones are counted


class Tally:
    """Numbers only, and the first failures with their reasons."""

    def __init__(self) -> None:
        self.listed = 0  # counted where the listing gives them, and nowhere else
        self.copied: int = 0
        self.skipped: int = 0
        self.left_out: int = 0
        self.excluded: int = 0
        self.failed: int = 0
        self.bytes: int = 0  # of those copied
        self.failures: list[Ended] = []

    @property
    def done(self) -> int:
        """Objects that ended in whatever way."""
        return self.copied + self.skipped + self.left_out + self.failed

    def count(self, ended: Ended) -> None:
        """One object came to its end."""
        if ended.state == "failed":
            self.failed += 1
            if len(self.failures) < MOST_FAILURES:
                self.failures.append(ended)
        elif ended.state == "left-out":
            self.left_out += 1
            self.excluded += ended.code == "excluded"
        elif ended.state == "skipped":
            self.skipped += 1
        else:
            self.copied += 1
            self.bytes += ended.size or 0

    def check(self) -> None:
        """Raises Miscounted where an object was listed and nothing became of it, or one was counted twice."""
        if self.done != self.listed:
            raise Miscounted(
                f"{self.listed} objects were listed and {self.done} came to an end; this is a fault of this program, and the "
                "copy cannot be relied on"
            )
