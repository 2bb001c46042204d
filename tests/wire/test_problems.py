"""sluiceway.wire.problems: every error has its page of JSON."""

from __future__ import annotations

import json

import pytest

from sluiceway import errors
from sluiceway.errors import BadDigest, DigestMismatch, PeerFailed, Refused, SluiceError, TooLarge
from sluiceway.wire.problems import PROBLEM_TYPE, problem

NAMED = [getattr(errors, name) for name in errors.__all__]
# Refused needs no page of ours: the client reads the destination's own.
EVERY = [
    kind
    for kind in NAMED
    if isinstance(kind, type) and issubclass(kind, SluiceError) and kind is not Refused
]


@pytest.mark.parametrize("kind", EVERY, ids=[kind.__name__ for kind in EVERY])
def test_every_error_can_be_told(kind: type[SluiceError]) -> None:
    """The six members RFC 9457 and our programs look for, as JSON."""
    told = json.loads(json.dumps(problem(kind("Do this.", extra=1), "/files/x")))

    assert told == {
        "type": "about:blank",
        "title": kind.title,
        "status": kind.status,
        "detail": "Do this.",
        "code": kind.code,
        "instance": "/files/x",
        "extra": 1,
    }


def test_digest_problems_have_registered_types() -> None:
    """The member tells which."""
    base = "https://iana.org/assignments/http-problem-types#digest-"
    assert problem(BadDigest("x", invalid_digests=[]))["type"] == base + "invalid-values"
    assert (
        problem(BadDigest("x", unsupported_algorithms=[]))["type"]
        == base + "unsupported-algorithms"
    )
    assert problem(DigestMismatch("x", mismatched_digests=[]))["type"] == base + "mismatched-values"


def test_what_is_for_the_operator_is_not_told_to_clients() -> None:
    """Addresses, paths and options stand in the log."""
    error = PeerFailed("http://10.0.0.1/secret broke off", answered=500).for_operator()
    error.private["destination"] = "/srv/files"
    told = problem(error)

    assert "10.0.0.1" not in str(told)
    assert "/srv/files" not in str(told)
    assert told["detail"] == "The other server failed; try again later"
    assert error.for_log == "http://10.0.0.1/secret broke off (destination /srv/files)"


def test_members_cannot_change_what_is_told() -> None:
    """A member named like one of ours loses."""
    told = problem(TooLarge("x", limit=5, code="other", type="other"))
    assert told["limit"] == 5
    assert told["code"] == "too-large"
    assert told["type"] == "about:blank"
    assert "instance" not in told
    assert PROBLEM_TYPE == "application/problem+json"
