"""What a store may be besides, for those who watch over it: a clock of its own, copies that may
fail, a folder whose disk fills up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from sluiceway.stores.contract import Store
from sluiceway.wire.headers.http_dates import parse_http_date

__all__ = ["BestEffortStores", "Clocked", "InFolder", "skew_of_date", "skew_of_time"]


@runtime_checkable
class Clocked(Protocol):
    """A Store at a server that says what time it is there."""

    async def clock_skew(self) -> float | None:
        """Seconds by which its clock is ahead of ours; None where it did not say.

        Raises:
            SluiceError: It does not answer.
        """
        ...


@runtime_checkable
class BestEffortStores(Protocol):
    """A Store with copies that may fail or fall behind without failing an upload."""

    @property
    def best_effort_stores(self) -> Sequence[Store]: ...


@runtime_checkable
class InFolder(Protocol):
    """A Store that keeps bytes in a folder of this machine."""

    @property
    def root(self) -> str: ...


def skew_of_date(value: str | None, asked: float, answered: float) -> float | None:
    """How far a Date header (RFC 9110 6.6.1) is ahead of our clock.

    A Date has whole seconds and was written between the two times: what they explain is not skew.
    """
    date = None if value is None else parse_http_date(value)
    if date is None:
        return None
    if date > answered:
        return date - answered
    return min(0.0, date + 1.0 - asked)


def skew_of_time(now: float, asked: float) -> float:
    """How far a clock is ahead of ours that said `now` in answer to a question of then."""
    answered = time.time()
    return max(0.0, now - answered) + min(0.0, now - asked)
