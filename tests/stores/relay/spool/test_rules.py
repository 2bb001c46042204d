"""Which failures a spool bridges, and when a file may have arrived although its request failed."""

from __future__ import annotations

import pytest

from sluiceway.errors import (
    BadForm,
    NoSpace,
    PeerFailed,
    PeerTimeout,
    PeerUnreachable,
    Refused,
    SluiceError,
)
from sluiceway.stores.contract import Replace, UploadRequest
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.spool.rules import (
    SpoolRules,
    is_passing,
    is_repeatable,
    is_unknown,
    wait_before,
)
from sluiceway.stores.relay.url_template import RelayUrl

RULES = SpoolRules(most_bytes=1000, wait=1, lasts=60, is_idempotent=False)


def refusal(status: int, **headers: str) -> Refused:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Refused("no", status, named, b"", answered=status)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (PeerUnreachable(), True),
        (PeerTimeout(), True),
        (PeerFailed(), True),
        *((refusal(status), True) for status in (408, 425, 429, 500, 502, 503, 504)),
        *((refusal(status), False) for status in (400, 401, 404, 409, 413, 422)),
        (BadForm(), False),
        (NoSpace(), False),
    ],
)
def test_what_may_pass(error: SluiceError, passes: bool) -> None:
    """A backend that is away or busy, and no refusal."""
    assert is_passing(error) is passes


def test_what_is_unknown() -> None:
    """A whole request without an answer, or with that of a proxy that got none; an early 2xx."""
    assert is_unknown(PeerFailed(), is_sent=True)
    assert not is_unknown(PeerFailed(), is_sent=False)
    assert not is_unknown(refusal(503), is_sent=True)
    assert is_unknown(refusal(504), is_sent=True)
    assert not is_unknown(refusal(504), is_sent=False)
    assert is_unknown(PeerFailed(answered=201), is_sent=False)


def test_what_may_be_repeated() -> None:
    """A PUT without a precondition; anything where the operator says so."""
    url = RelayUrl("http://127.0.0.1/books", None)
    put = UploadRequest("a", "a", method="PUT", replace=Replace(allowed=True))
    only_new = UploadRequest("a", "a", method="PUT")
    post = UploadRequest("a", "a")
    backend = Backend(url)
    assert is_repeatable(backend, put, RULES)
    assert not is_repeatable(backend, only_new, RULES)
    assert not is_repeatable(backend, post, RULES)
    assert is_repeatable(Backend(url, method="PUT"), post, RULES)
    assert not is_repeatable(Backend(url, body="form"), put, RULES), "a form is posted"
    agreed = SpoolRules(1000, 1, 60, is_idempotent=True)
    assert is_repeatable(backend, post, agreed)


def test_waits_grow_and_respect_what_was_asked_for() -> None:
    """From half a second to a minute; Retry-After counts, up to an hour."""
    assert 0.25 <= wait_before(1, PeerFailed()) <= 0.5
    assert 30 <= wait_before(50, PeerFailed()) <= 60
    assert wait_before(1, refusal(503, retry_after="7")) == 7
    assert wait_before(1, refusal(503, retry_after="999999")) == 3600
    assert wait_before(1, refusal(503, retry_after="soon")) < 1
