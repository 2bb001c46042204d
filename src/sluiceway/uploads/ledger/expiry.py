"""How long an upload lives that may outlive a request, and how long its end is remembered.

Pure: the caller has the clock.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Expiry"]


@dataclass(frozen=True, slots=True)
class Expiry:
    """The rules of one service.

    Args:
        after: Seconds from an upload's last byte to its removal; None keeps it for ever.
        fixed: Count `after` from its creation instead.
        remembered: Seconds for which an upload that ended is remembered.
    """

    after: float | None = None
    fixed: bool = False
    remembered: float = 24 * 3600.0

    def begun(self, now: float) -> float | None:
        """When an upload expires that begins now. Seconds since the epoch, as `now`."""
        return None if self.after is None else now + self.after

    def moved(self, expires: float | None, now: float) -> float | None:
        """When an upload expires that got bytes now; `expires` was its time before."""
        return expires if self.fixed else self.begun(now)

    def ended(self, now: float) -> float:
        """When an upload that ends now is forgotten."""
        return now + self.remembered

    def last_moved(self, created: float, expires: float | None, *, ended: bool) -> float:
        """When an upload got its last bytes, or ended; its creation where nobody wrote that down.
        `expires` is its time now."""
        after = self.remembered if ended else None if self.fixed else self.after
        return created if expires is None or after is None else max(created, expires - after)
