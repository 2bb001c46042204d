"""--max-size: the server accepts exactly the limit, and refuses more as soon as it knows."""

from __future__ import annotations

import pytest

from fix_server import RunningServer, Serve
from fix_taking import eventually, noise
from raw_http import Wire, chunk, chunked, form_begun, form_body, form_head, head, talk

LIMIT = 3_000_000


@pytest.fixture
def limited(serve: Serve) -> RunningServer:
    return serve("--max-size", str(LIMIT))


def test_exactly_the_limit_passes(limited: RunningServer) -> None:
    """Of known length, chunked, as one file of a form and as the sum of several."""
    data = noise(LIMIT)
    forms = [
        form_body(("f", "x", data)),
        form_body(("f", "x", data[:1_000_000]), ("t", None, b"x"), ("g", "y", data[1_000_000:])),
    ]
    responses = [
        talk(limited.port, head("PUT", "/files/known", f"Content-Length: {LIMIT}") + data),
        talk(
            limited.port,
            head("PUT", "/files/chunked", "Transfer-Encoding: chunked") + chunked(data, 70_000),
        ),
        *(talk(limited.port, form_head(len(form)) + form) for form in forms),
        *(talk(limited.port, form_head(None) + chunked(form, 70_000)) for form in forms),
    ]

    assert [response.status for response in responses] == [201] * 6


def test_a_known_length_over_the_limit_is_refused_before_the_body(limited: RunningServer) -> None:
    """413 names the limit before one byte of the body is sent."""
    for target in ("/files/x", "/files?name=x"):
        with Wire(limited.port) as wire:
            wire.send(
                head(
                    "PUT" if target == "/files/x" else "POST",
                    target,
                    f"Content-Length: {LIMIT + 1}",
                )
            )
            response = wire.answer()

            assert (response.status, response.code, response.json()["limit"]) == (
                413,
                "too-large",
                LIMIT,
            )
    assert limited.stored() == {}


def test_one_byte_over_the_limit_fails(limited: RunningServer) -> None:
    """Chunked, or in one or two files of a form.

    The error names the limit, and nothing is stored.
    """
    data = noise(LIMIT + 1)
    forms = [
        form_body(("f", "x", data)),
        form_body(("f", "x", data[:1_000_000]), ("g", "y", data[1_000_000:])),
    ]
    requests = [
        head("PUT", "/files/x", "Transfer-Encoding: chunked") + chunked(data, 70_000),
        *(form_head(len(form)) + form for form in forms),
        *(form_head(None) + chunked(form, 70_000) for form in forms),
    ]
    for request in requests:
        response = talk(limited.port, request)

        assert (response.status, response.code, response.json()["limit"]) == (
            413,
            "too-large",
            LIMIT,
        )
    assert limited.stored() == {}
    assert limited.drafts() == []


@pytest.mark.parametrize("form", [False, True])
def test_a_body_without_length_is_refused_midway(limited: RunningServer, form: bool) -> None:
    """The response arrives while the client still sends, and the draft is removed."""
    begin = form_begun(("f", "x", b"")) if form else b""
    with Wire(limited.port) as wire:
        wire.send(
            form_head(None) if form else head("PUT", "/files/x", "Transfer-Encoding: chunked")
        )
        if begin:
            wire.send(chunk(begin))
        for _ in range(LIMIT // 100_000 + 1):
            wire.send(chunk(bytes(100_000)))
        response = wire.answer()  # the body has not ended

        assert (response.status, response.code, response.headers["connection"]) == (
            413,
            "too-large",
            "close",
        )
    eventually(lambda: limited.drafts() == [], "the draft is gone")
    assert limited.stored() == {}


def test_a_limit_of_zero_accepts_empty_files(serve: Serve) -> None:
    """0 is a limit like any other."""
    server = serve("--max-size", "0")

    assert talk(server.port, head("PUT", "/files/empty", "Content-Length: 0")).status == 201
    assert talk(server.port, head("PUT", "/files/one", "Content-Length: 1") + b"x").status == 413
    assert server.stored() == {"empty": 0}
