"""Redirects: where they lead, which are refused, and which headers go along."""

from __future__ import annotations

import pytest

from sluiceway.client.http.exchange import Head
from sluiceway.client.http.redirects import MOST_REDIRECTS, headers_across, redirect_target
from sluiceway.client.retry import connection_broke
from sluiceway.errors import PeerFailed

URL = "https://host/file"


def head(status: int, **headers: str) -> Head:
    return Head(status, headers, URL)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_download_follows_every_redirect(status: int) -> None:
    """Relative and absolute targets, without fragment and credentials."""
    assert (
        redirect_target(head(status, location="/b#part"), 0, sends_body=False, repeatable=True)
        == "https://host/b"
    )
    assert (
        redirect_target(
            head(status, location="https://me:pw@other/b"), 0, sends_body=False, repeatable=True
        )
        == "https://other/b"
    )


@pytest.mark.parametrize("status", [200, 300, 304, 404])
def test_other_answers_are_no_redirects(status: int) -> None:
    """A Location on a 201 or 300 is information, not an instruction."""
    assert (
        redirect_target(head(status, location="/b"), 0, sends_body=False, repeatable=True) is None
    )


@pytest.mark.parametrize(
    ("response", "hops", "sends_body", "repeatable"),
    [
        (head(301, location="/b"), 0, True, True),
        (head(302, location="/b"), 0, True, True),
        (head(303, location="/b"), 0, True, True),
        (head(307, location="/b"), 0, True, False),
        (head(307, location="/b"), MOST_REDIRECTS, True, True),
        (head(302, location="/b"), MOST_REDIRECTS, False, True),
        (head(302, location="http://host/b"), 0, False, True),
        (head(302, location="file:///etc/passwd"), 0, False, True),
        (head(302, location="gopher://x/"), 0, False, True),
        (head(302, location="https://[::1"), 0, False, True),
    ],
)
def test_some_redirects_are_refused(
    response: Head, hops: int, sends_body: bool, repeatable: bool
) -> None:
    """An upload turned into a GET, a spent stream, a loop, https to http, other protocols."""
    with pytest.raises(PeerFailed) as caught:
        redirect_target(response, hops, sends_body=sends_body, repeatable=repeatable)

    assert not connection_broke(caught.value)


def test_the_last_allowed_redirect_is_followed() -> None:
    """Exactly at the limit it still goes on."""
    assert (
        redirect_target(
            head(307, location="/b"), MOST_REDIRECTS - 1, sends_body=True, repeatable=True
        )
        == "https://host/b"
    )


@pytest.mark.parametrize(
    ("new", "kept"),
    [
        ("https://host/other", True),
        ("https://host:443/other", True),
        ("https://host:444/other", False),
        ("https://evil/other", False),
        ("https://host.evil/other", False),
    ],
)
def test_credentials_stay_with_their_origin(new: str, kept: bool) -> None:
    """Scheme, host and port must be the same; other origins get the harmless headers only."""
    secret = {
        "Authorization": "Bearer s",
        "cookie": "a=b",
        "X-Api-Key": "k",
        "PRIVATE-TOKEN": "t",
        "X-Note": "n",
    }
    harmless = {
        "Accept": "*/*",
        "accept-language": "de",
        "Content-Type": "text/plain",
        "If-None-Match": "*",
    }

    assert headers_across(secret | harmless, URL, new) == (secret | harmless if kept else harmless)
