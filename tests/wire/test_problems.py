"""sluiceway.wire.problems: every error becomes a JSON response."""

from __future__ import annotations

import json

import pytest

from sluiceway import errors
from sluiceway.errors import BadDigest, DigestMismatch, PeerFailed, Refused, SluiceError, TooLarge
from sluiceway.wire.problems import PROBLEM_TYPE, problem, write_problem

NAMED = [getattr(errors, name) for name in errors.__all__]
# Refused needs none: the client gets the destination's own response.
EVERY = [
    kind
    for kind in NAMED
    if isinstance(kind, type) and issubclass(kind, SluiceError) and kind is not Refused
]
# draft-ietf-httpbis-resumable-upload; what the members decide is further below
REGISTERED = {
    "completed-upload": "https://iana.org/assignments/http-problem-types#completed-upload",
    "inconsistent-length": (
        "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"
    ),
}


@pytest.mark.parametrize("kind", EVERY, ids=[kind.__name__ for kind in EVERY])
def test_every_error_can_be_written(kind: type[SluiceError]) -> None:
    """The six members that RFC 9457 and our programs read, as JSON."""
    values = json.loads(json.dumps(problem(kind("Do this.", extra=1), "/files/x")))
    after = "try again later" if kind.retryable else "the server's log has the reason"

    assert values == {
        "type": REGISTERED.get(kind.code, "about:blank"),
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}; {after}" if kind.fault == "destination" else "Do this.",
        "code": kind.code,
        "instance": "/files/x",
        "extra": 1,
    }


def test_digest_problems_have_registered_types() -> None:
    """The member decides which."""
    base = "https://iana.org/assignments/http-problem-types#digest-"
    assert problem(BadDigest("x", invalid_digests=[]))["type"] == base + "invalid-values"
    assert (
        problem(BadDigest("x", unsupported_algorithms=[]))["type"]
        == base + "unsupported-algorithms"
    )
    assert problem(DigestMismatch("x", mismatched_digests=[]))["type"] == base + "mismatched-values"


def test_details_for_the_operator_are_left_out() -> None:
    """Addresses, paths and options are for the log."""
    error = PeerFailed("http://10.0.0.1/secret broke off", answered=500).for_operator()
    error.private["destination"] = "/srv/files"
    values = problem(error)

    assert "10.0.0.1" not in str(values)
    assert "/srv/files" not in str(values)
    assert values["detail"] == "The other server failed; try again later"
    assert error.for_log == "http://10.0.0.1/secret broke off (destination /srv/files)"


def test_members_cannot_replace_the_standard_ones() -> None:
    """A member with one of the standard names is dropped."""
    values = problem(TooLarge("x", limit=5, code="other", type="other"))
    assert values["limit"] == 5
    assert values["code"] == "too-large"
    assert values["type"] == "about:blank"
    assert "instance" not in values
    made = problem(TooLarge(), "/l//eyJpIjoiMSJ9.c2ln/files")
    assert made["instance"] == "/l//.../files"
    assert PROBLEM_TYPE == "application/problem+json"


def test_a_response_has_the_headers_of_its_status() -> None:
    """RFC 9110: WWW-Authenticate, Allow, Content-Range, Retry-After."""

    def headers(error: SluiceError) -> dict[str, list[str]]:
        written = write_problem(error, "/files/x")
        assert written.status == error.status
        assert json.loads(written.body) == problem(error, "/files/x")
        found: dict[str, list[str]] = {}
        for name, value in written.headers:
            found.setdefault(name, []).append(value)
        assert found["Content-Type"] == [PROBLEM_TYPE]
        assert found["Cache-Control"] == ["no-store"]
        assert found["X-Content-Type-Options"] == ["nosniff"]
        return found

    assert len(headers(errors.Unauthorized())["WWW-Authenticate"]) == 2
    assert headers(errors.MethodNotAllowed("x", allow="GET, PUT"))["Allow"] == ["GET, PUT"]
    assert headers(errors.RangeUnsatisfiable("x", size=5))["Content-Range"] == ["bytes */5"]
    found = headers(errors.Unsupported("x", accept_encoding="identity", accept_patch="a/b"))
    assert (found["Accept-Encoding"], found["Accept-Patch"]) == (["identity"], ["a/b"])
    assert headers(errors.Unavailable())["Retry-After"] == ["5"]
    assert "Retry-After" not in headers(errors.NotFound())


def test_a_response_is_written_for_any_text_and_member() -> None:
    """Half a character becomes a question mark, and other values become text."""
    written = write_problem(TooLarge("größe \ud800", path=errors))

    assert "größe ?" in written.body.decode()
    assert "module" in json.loads(written.body)["path"]
