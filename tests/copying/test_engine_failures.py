"""Transient failures are retried, within limits; the others are kept up to a bound and counted."""

from __future__ import annotations

from copying.engine_sides import ONCE, UnreliableSource, bytes_of, ran, stocked, target_of
from sluiceway.client.retry import RetryPolicy, is_transient
from sluiceway.copying.endpoints.store import StoreSource
from sluiceway.copying.report import MOST_FAILURES
from sluiceway.errors import (
    Exists,
    PeerFailed,
    SourceChanged,
    SourceFailed,
    Unavailable,
)
from sluiceway.stores.memory import MemoryStore


async def test_transient_errors_are_retried_and_others_are_reported() -> None:
    """A source that broke once, one that changed, one that never works, and one that works."""
    busy: list[Exception] = [PeerFailed("cut"), Unavailable("busy")]
    never: list[Exception] = [SourceFailed("no right to read it")] * 9
    source = UnreliableSource(
        stocked({"busy": b"1234567", "never": b"2345678", "calm": b"3"}), busy=busy, never=never
    )
    store = MemoryStore()
    report, ended = await ran(source, target_of(store))

    assert (report.copied, report.failed) == (2, 1)
    assert (ended["busy"].attempts, ended["never"].attempts, ended["calm"].attempts) == (3, 1, 1)
    assert (ended["never"].code, ended["never"].detail) == ("source-failed", "no right to read it")
    assert bytes_of(store) == {"busy": b"1234567", "calm": b"3"}


async def test_retries_are_limited() -> None:
    source = UnreliableSource(stocked({"a": b"1234567"}), a=[PeerFailed("cut")] * 9)
    report, ended = await ran(source, target_of(MemoryStore()), retries=2)

    assert (report.failed, ended["a"].attempts, ended["a"].code) == (1, 3, "peer-failed")


async def test_failures_are_kept_up_to_a_bound_and_then_counted() -> None:
    objects = {f"{n:05}": b"x" for n in range(MOST_FAILURES + 50)}
    store = stocked(dict.fromkeys(objects, b"y"))
    report, _ = await ran(StoreSource(stocked(objects), "", "o", ONCE), target_of(store))

    assert (report.failed, len(report.failures)) == (len(objects), MOST_FAILURES)
    assert report.as_dict()["failed"] == len(objects)


def test_transient_errors_are_recognised() -> None:
    """By the response if there was one, otherwise by the kind of error."""
    may_pass = is_transient
    assert may_pass(PeerFailed("", answered=500))
    assert may_pass(PeerFailed("broke"))
    assert may_pass(Unavailable())
    assert not may_pass(PeerFailed("", answered=418))
    assert not may_pass(Exists())
    assert not may_pass(SourceChanged())
    assert not may_pass(SourceFailed())
    for status in (408, 425, 429, 500, 502, 503, 504):
        assert may_pass(Unavailable("", answered=status))


def test_a_retry_after_of_more_than_a_minute_gives_up() -> None:
    assert RetryPolicy(5).wait(Unavailable("", retry_after="61"), 1) is None
    assert (RetryPolicy(5).wait(Unavailable("", retry_after="60"), 1) or 0) >= 60
    assert RetryPolicy(5).wait(Unavailable("", retry_after="soon"), 1) is not None
    assert RetryPolicy(5).wait(Unavailable(), 6) is None
