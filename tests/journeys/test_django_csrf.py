"""Forms that a Django site refuses, and its CSRF protection, before and behind the first byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from fix_django import DATA, FORM_TYPE, GUNICORN, SHA, Site, post, site
from fix_gateway import parts as sent_parts
from raw_http import Wire, form_body, form_head


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(GUNICORN, tmp_path_factory) as running:
        yield running


def test_a_form_is_relayed_without_the_csrf_token(gunicorn: Site) -> None:
    """The token is a secret of the user and this site, not for the next server."""
    before = len(gunicorn.peer.seen)
    fields = [("csrfmiddlewaretoken", None, b"secret"), ("title", None, b"book")]
    answer = post(gunicorn, "/forwarded-as-form", *fields, ("file", "a.bin", DATA))

    assert answer.status_code == 201
    assert [part.partition(b"\r\n\r\n")[2] for part in sent_parts(gunicorn.peer.seen[before])] == [
        b"book",
        DATA,
    ]


@pytest.mark.parametrize("path", ["/headed", "/stored-by-header"])
def test_a_token_in_the_header_is_checked_before_the_form_is_read(
    gunicorn: Site, path: str
) -> None:
    """Without the token the answer is 403, and no byte is stored."""
    kept, token = gunicorn.kept(), "a" * 32
    parts = ("t", None, b"1"), ("f", "a", DATA)
    refused = post(gunicorn, path, *parts, cookie=token)
    wrong = post(gunicorn, path, *parts, cookie=token, token="b" * 32)
    assert (refused.status_code, wrong.status_code) == (403, 403)
    assert gunicorn.kept() == kept

    taken = post(gunicorn, path, *parts, cookie=token, token=token)
    assert taken.ok
    if path == "/headed":
        assert taken.json() == ["t", "f"]


REFUSED = {
    "a CSRF token that is missing": ("/stored-with-token", "", 403),
    "a CSRF token that is wrong": ("/stored-with-token", "b" * 32, 403),
    "a page that does not exist": ("/nowhere", "", 404),
    "a view that refuses": ("/stored?answer=422", "", 422),
    "a view that is not allowed to": ("/stored?answer=403", "", 403),
    "a view that fails": ("/stored?answer=999", "", 500),
    "a view that answers with an error": ("/stored?answer=500", "", 500),
    "a view that sends to a login": ("/behind-a-login", "a" * 32, 302),
}


@pytest.mark.parametrize("why", REFUSED)
def test_nothing_is_left_of_a_form_that_the_site_refuses(gunicorn: Site, why: str) -> None:
    """Neither files nor drafts, for every refusal, early or late."""
    path, token, status = REFUSED[why]
    kept = gunicorn.kept()
    fields = [("csrfmiddlewaretoken", None, token.encode())] if token else []
    body = form_body(*fields, ("f", "a.bin", DATA), ("g", "b.bin", b"small"))
    headers = {"Content-Type": FORM_TYPE, "Cookie": f"csrftoken={'a' * 32}"}
    answer = requests.post(
        gunicorn.url + path, data=body, headers=headers, timeout=30, allow_redirects=False
    )

    assert answer.status_code == status
    assert gunicorn.kept() == kept
    assert gunicorn.threads() == []


def test_another_server_gets_no_form_whose_token_is_a_field(gunicorn: Site) -> None:
    """The file is relayed before the fields behind it are known.

    So the token must be in the header, and is checked first.
    """
    before, token = len(gunicorn.peer.seen), "a" * 32
    fields = (
        ("csrfmiddlewaretoken", None, token.encode()),
        ("title", None, b"book"),
        ("f", "a.bin", DATA),
    )
    refused = post(gunicorn, "/forwarded-with-token", *fields, cookie=token)
    wrong = post(gunicorn, "/forwarded-with-token", *fields, cookie=token, token="b" * 32)

    assert (refused.status_code, wrong.status_code) == (403, 403)
    assert len(gunicorn.peer.seen) == before
    assert (
        post(gunicorn, "/forwarded-with-token", *fields, cookie=token, token=token).status_code
        == 201
    )
    assert gunicorn.peer.seen[before].body == DATA


def test_a_refusal_of_the_view_breaks_the_relayed_request(gunicorn: Site) -> None:
    """The next server gets no complete body."""
    before = len(gunicorn.peer.seen)
    answer = post(
        gunicorn, "/forwarded-as-form?answer=422", ("title", None, b"book"), ("f", "a.bin", DATA)
    )

    assert answer.status_code == 422
    for exchange in gunicorn.peer.seen[before:]:
        assert exchange.was_cut()


def test_a_view_may_publish_before_it_answers(gunicorn: Site) -> None:
    """Then the files stay, whatever it answers."""
    answer = post(gunicorn, "/stored?publish=1&answer=409", ("f", "a.bin", DATA))

    assert answer.status_code == 409
    assert (gunicorn.store / answer.json()["files"][0][4]).read_bytes() == DATA


def test_a_failed_publish_is_the_answer(gunicorn: Site) -> None:
    """The view answers 201, but the destination refuses: the client gets the refusal."""
    taken = post(gunicorn, "/stored-under-one-key", ("f", "a.bin", DATA))
    again = post(gunicorn, "/stored-under-one-key", ("f", "a.bin", b"other"))

    assert (taken.status_code, again.status_code, again.json()["code"]) == (201, 409, "exists")
    assert (gunicorn.store / taken.json()["files"][0][4]).read_bytes() == DATA


def test_errors_during_the_csrf_check_are_answered_as_problems(gunicorn: Site) -> None:
    """It reads the form outside of the view, where Django calls no exception middleware."""
    body = form_body(("csrfmiddlewaretoken", None, b"a" * 32), ("f", "a", DATA))
    with Wire(gunicorn.port) as wire:
        wire.send(
            form_head(len(body), f"Cookie: csrftoken={'a' * 32}", target="/stored-with-token")
            + body[:-9000]
        )
        wire.half_close()
        answer = wire.answer()
    assert (answer.status, answer.code) == (400, "body-cut")

    whole = post(
        gunicorn,
        "/stored-with-token",
        ("csrfmiddlewaretoken", None, b"a" * 32),
        ("f", "a", DATA),
        cookie="a" * 32,
    )
    assert (whole.status_code, whole.json()["files"][0][5]) == (201, SHA)
