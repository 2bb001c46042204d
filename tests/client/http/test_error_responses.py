"""A server's refusal in our words."""

from __future__ import annotations

import json

import pytest

from sluiceway import errors
from sluiceway.client.http.error_responses import refusal
from sluiceway.client.http.exchange import Head

URL = "https://me:secret@host/a?X-Signature=secret"


def refused(status: int, text: str = "", **headers: str) -> errors.SluiceError:
    return refusal(
        Head(status, {name.replace("_", "-"): value for name, value in headers.items()}, URL), text
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest),
        (401, errors.Unauthorized),
        (404, errors.NotFound),
        (409, errors.Exists),
        (413, errors.TooLarge),
        (418, errors.BadRequest),
        (500, errors.PeerFailed),
        (503, errors.Unavailable),
        (507, errors.NoSpace),
        (204, errors.PeerFailed),
        (304, errors.PeerFailed),
    ],
)
def test_the_status_decides_the_error(status: int, kind: type[errors.SluiceError]) -> None:
    """One class for each meaning, and the status as a member."""
    error = refused(status)

    assert type(error) is kind
    assert error.members["answered"] == status


def test_a_problems_own_words_and_code_are_passed_on() -> None:
    """What the server explains is what people read."""
    text = json.dumps({"code": "digest-mismatch", "title": "T", "detail": "other bytes"})
    error = refused(400, text, content_type="application/problem+json")

    assert type(error) is errors.DigestMismatch
    assert error.detail == "https://host/a answered 400: other bytes"
    assert error.members["answer_code"] == "digest-mismatch"


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"detail": 7}', '{"code": []}', "[" * 100_000, "\x00"]
)
def test_a_broken_problem_is_still_a_refusal(text: str) -> None:
    """Whatever stands in the body, the status counts."""
    error = refused(413, text, content_type="application/problem+json")

    assert error.detail == "https://host/a answered 413: the server takes nothing that large"


def test_a_peers_text_cannot_steer_a_terminal_or_fill_it() -> None:
    """Control characters are gone, line ends too, and it ends."""
    error = refused(500, "a\x1b[2Jb\r\nc\u202e" + "x" * 10_000, content_type="text/plain")

    assert error.detail.isprintable()
    assert error.detail.startswith("https://host/a answered 500: a [2Jb c ")
    assert len(error.detail) < 400


def test_secrets_are_not_in_the_text_or_the_members() -> None:
    """Neither the URL's password nor its signature."""
    error = refused(403)

    assert "secret" not in error.detail + repr(error.members)


def test_a_401_says_how_to_give_a_token() -> None:
    """Also beside the server's own words."""
    assert "--token" in refused(401).detail
    assert "--token" in refused(401, '{"detail": "no"}', content_type="application/json").detail
    ours = '{"detail": "send a token", "code": "unauthorized"}'
    told = refused(401, ours, content_type="application/problem+json").detail
    assert told.endswith("send a token (here: --token or SLUICEWAY_TOKEN)"), told


def test_a_retry_after_is_in_the_text() -> None:
    """So that people know when to come back."""
    assert refused(503, retry_after="120").detail.endswith("(it asks to come back in 120 s)")
