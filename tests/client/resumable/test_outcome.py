"""What a failed step means for the next one."""

from __future__ import annotations

import pytest

from sluiceway.client.resumable.outcome import Next, after_error
from sluiceway.client.retry import ANSWERED
from sluiceway.errors import PeerFailed, PeerTimeout, SluiceError, SourceChanged


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (404, Next.ANEW),
        (410, Next.ANEW),
        (409, Next.AGAIN),
        (423, Next.AGAIN),
        (429, Next.AGAIN),
        (500, Next.AGAIN),
        (502, Next.AGAIN),
        (503, Next.AGAIN),
        (200, Next.AGAIN),  # before it had everything
        (413, Next.SMALLER),
        (401, Next.STOP),
        (403, Next.STOP),
        (507, Next.STOP),
        (400, Next.NEVER),
        (412, Next.NEVER),
        (415, Next.NEVER),
        (501, Next.NEVER),
    ],
)
def test_a_status_decides(status: int, step: Next) -> None:
    assert after_error(PeerFailed("answered", **{ANSWERED: status}), created=True) is step


def test_a_broken_connection_is_tried_again_and_a_broken_source_is_not() -> None:
    assert after_error(PeerFailed("cut"), created=True) is Next.AGAIN
    assert after_error(PeerTimeout("silent"), created=False) is Next.AGAIN
    assert after_error(SourceChanged("changed"), created=True) is Next.STOP


@pytest.mark.parametrize(
    ("status", "step"),
    [(503, Next.AGAIN), (429, Next.AGAIN), (409, Next.STOP), (412, Next.STOP), (413, Next.STOP)],
)
def test_a_creation_that_is_refused_is_the_servers_last_word(status: int, step: Next) -> None:
    error: SluiceError = PeerFailed("answered", **{ANSWERED: status})
    assert after_error(error, created=False) is step
