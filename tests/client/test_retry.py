"""The retry policy: which errors are transient, how long to wait, how many attempts."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from sluiceway.client.retry import (
    ANSWERED,
    BUSY,
    FIRST_WAIT,
    MOST_ATTEMPTS,
    MOST_WAIT,
    UNREACHED,
    RetryPolicy,
    is_transient,
    may_ask_again,
    may_repeat,
    reached,
)
from sluiceway.errors import (
    DigestMismatch,
    Exists,
    NoSpace,
    PeerFailed,
    PeerTimeout,
    PeerUnreachable,
    SluiceError,
    SourceChanged,
    SourceFailed,
    Unavailable,
)

BROKEN = PeerFailed("the connection broke")


def test_waits_double_and_end() -> None:
    """The random part is half of each wait; after MOST_ATTEMPTS attempts there is none."""
    bound = FIRST_WAIT
    for attempt in range(1, MOST_ATTEMPTS):
        wait = RetryPolicy().wait(BROKEN, attempt)
        assert wait is not None
        assert bound / 2 <= wait <= bound
        bound *= 2

    assert RetryPolicy().wait(BROKEN, MOST_ATTEMPTS) is None


def test_a_policy_may_allow_fewer_or_more_attempts() -> None:
    """One attempt means no retry; with many, the waits stop growing at the longest."""
    many = RetryPolicy(2000, first_wait=0.1, longest_wait=3.0)

    assert RetryPolicy(1).wait(BROKEN, 1) is None
    for attempt in (6, 100, 1999):
        assert 1.5 <= (many.wait(BROKEN, attempt) or 0) <= 3.0
    assert many.wait(BROKEN, 2000) is None


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("3", 3.0, 3.0),
        ("0", 0.25, 0.5),
        ("soon", 0.25, 0.5),
        ("-1", 0.25, 0.5),
        (str(int(MOST_WAIT)), MOST_WAIT, MOST_WAIT),
    ],
)
def test_retry_after_is_never_shortened(value: str, least: float, most: float) -> None:
    """A value that cannot be read does not count."""
    wait = RetryPolicy().wait(Unavailable("", retry_after=value), 1)

    assert wait is not None
    assert least <= wait <= most


def test_retry_after_may_be_a_date() -> None:
    """The other form of the header; dates have whole seconds."""
    date = formatdate(time.time() + 30, usegmt=True)

    assert 20 < (RetryPolicy().wait(Unavailable("", retry_after=date), 1) or 0) <= 30


def test_a_retry_after_that_is_too_long_is_left_to_people() -> None:
    """One second more than the longest wait gives up."""
    assert RetryPolicy().wait(Unavailable("", retry_after="61"), 1) is None
    assert RetryPolicy(longest_wait=5.0).wait(Unavailable("", retry_after="6"), 1) is None


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (BROKEN, True),
        (PeerFailed("answered 501", **{ANSWERED: 501}), False),
        (PeerFailed("answered 500", **{ANSWERED: 500}), True),
        (Unavailable("answered 503", **{ANSWERED: 503}), True),
        (DigestMismatch("other bytes"), False),
        (Unavailable("out of descriptors"), False),
    ],
)
def test_a_request_is_repeated_after_a_broken_connection_or_a_busy_server(
    error: SluiceError, again: bool
) -> None:
    """Any other response, also a 5xx that means no, is final."""
    assert may_ask_again(error) is again


def test_fewer_statuses_allow_to_send_again() -> None:
    """A 500 may come after the file was stored; a 503 does not."""
    assert not may_ask_again(PeerFailed("", **{ANSWERED: 500}), BUSY)
    assert may_ask_again(Unavailable("", **{ANSWERED: 503}), BUSY)


def test_transient_errors_of_any_kind_of_work() -> None:
    """By what the error says: a full disk or a changed source is not cured by waiting."""
    broken_source = SourceFailed("the source broke off")
    broken_source.__cause__ = BROKEN

    assert is_transient(BROKEN)
    assert is_transient(Unavailable())
    assert is_transient(broken_source)
    assert is_transient(PeerFailed("", **{ANSWERED: 200}))
    assert not is_transient(PeerFailed("", **{ANSWERED: 418}))
    for error in (Exists(), NoSpace(), SourceChanged(), SourceFailed()):
        assert not is_transient(error)


def test_a_server_that_was_never_reached() -> None:
    """Refused connections, unknown hosts and a connect that took too long."""
    assert not reached(PeerUnreachable())
    assert not reached(PeerTimeout("", **{UNREACHED: True}))
    assert reached(PeerTimeout())
    assert reached(BROKEN)


async def test_run_repeats_transient_errors_only() -> None:
    """It returns the first success, and raises the last error."""
    errors: list[SluiceError] = [BROKEN, Unavailable()]

    async def work() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    quick = RetryPolicy(3, first_wait=0.01)
    assert await quick.run(work) == "done"
    errors = [BROKEN, BROKEN, BROKEN]
    with pytest.raises(PeerFailed):
        await quick.run(work)
    assert errors == []
    errors = [Exists(), BROKEN]
    with pytest.raises(Exists):
        await quick.run(work)
    assert errors == [BROKEN]


@pytest.mark.parametrize(
    ("method", "complete", "may"),
    [
        ("PUT", False, True),
        ("PUT", True, True),
        ("POST", False, True),
        ("POST", True, False),
        ("PATCH", True, False),
    ],
)
def test_requests_that_may_have_been_carried_out_are_not_repeated(
    method: str, complete: bool, may: bool
) -> None:
    """A PUT twice is a PUT; a POST whose last byte was let go may have stored the file."""
    assert may_repeat(method, complete) is may
