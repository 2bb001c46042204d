"""Pages of other origins: allowed ones may do everything, all others nothing (CORS)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fix_server import RunningServer, Serve, start_server
from journeys.test_door import PAGE, PATHS, TOKEN, ask
from raw_http import form_body, form_head, talk
from sluiceway.server.door.sites import MOST_ASKED


@pytest.fixture(scope="module")
def shut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server as users start it on their own machine, with one more host name and one allowed
    origin.
    """
    server = start_server(
        tmp_path_factory.mktemp("door") / "root",
        *("--allowed-host", "*.lan.example", "--allow-origin", PAGE),
    )  # fmt: skip
    yield server
    server.stop()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = start_server(tmp_path_factory.mktemp("plain") / "root")
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("localhost:80", "http://localhost", True),
        ("localhost", "http://localhost:80", True),
        ("LOCALHOST", "http://localhost", True),
        ("localhost", "HTTP://LocalHost", True),
        ("localhost.", "http://localhost", True),
        ("localhost:443", "https://localhost", True),
        ("localhost", "https://localhost", True),
        ("[::1]:8000", "http://[0:0:0:0:0:0:0:1]:8000", True),
        ("[::1]", "http://[::1]:80", True),
        ("localhost:8000", "http://localhost", False),
        ("localhost:443", "http://localhost", False),
        ("localhost", "http://127.0.0.1", False),
        ("localhost", "http://localhost.evil.example", False),
        ("localhost", "chrome-extension://localhost", False),
        ("localhost", "null", False),
    ],
)
def test_origin_and_host_are_compared_as_names_not_as_text(
    plain: RunningServer, host: str, origin: str, allowed: bool
) -> None:
    response = ask(
        plain,
        "PUT",
        "/files/from-a-page",
        f"Host: {host}",
        f"Origin: {origin}",
        body=b"1",
        host=None,
    )
    assert response.status in ((200, 201) if allowed else (403,))


@pytest.mark.parametrize(
    "origin",
    [
        "http://[",
        "http://",
        "x",
        "http://a:b",
        "http://a/",
        "http://[::g]",
        "http://a, http://b",
        "",
    ],
)
def test_an_invalid_origin_is_refused_readably(plain: RunningServer, origin: str) -> None:
    response = ask(plain, "PUT", "/files/odd-origin", f"Origin: {origin}", body=b"1")
    assert (response.status, response.code) == (400, "bad-request")
    assert "Traceback" not in plain.log()


def test_pages_of_an_allowed_origin_may_do_everything(shut: RunningServer) -> None:
    """The whole life of a file, with answers the page can read."""
    page = (f"Origin: {PAGE}", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors")
    put = ask(shut, "PUT", "/files/page/one", *page, body=b"1")
    form = form_body(("f", "x", b"x"))
    post = talk(shut.port, form_head(len(form), *page) + form)
    responses = [
        put,
        post,
        ask(shut, "GET", "/files/page/one", *page),
        ask(shut, "HEAD", "/files/page/one", *page),
    ]
    responses += [
        ask(shut, "GET", path, *page)
        for path in ("/", "/page/sluice.js", "/files", "/healthz", "/readyz")
    ]
    responses += [
        ask(shut, "GET", "/files/none", *page),
        ask(shut, "PATCH", "/files/page/one", *page),
        ask(shut, "GET", "/%ff", *page),
    ]
    responses += [
        ask(shut, "GET", "/fetch?url=http://x/", *page),
        ask(shut, "GET", "/files", *page, host="evil.example"),
    ]
    responses += [ask(shut, "DELETE", "/files/page/one", *page)]

    assert [response.status for response in responses] == [
        201,
        201,
        200,
        200,
        200,
        200,
        200,
        200,
        200,
        404,
        405,
        400,
        403,
        403,
        204,
    ]
    for response in responses:
        assert response.headers["access-control-allow-origin"] == PAGE
        assert response.headers["access-control-allow-credentials"] == "true"
        assert "Origin" in response.headers["vary"]
        exposed = {
            name.strip().lower()
            for name in response.headers["access-control-expose-headers"].split(",")
        }
        assert {
            "location",
            "etag",
            "repr-digest",
            "upload-id",
            "content-range",
            "retry-after",
            "server-timing",
        } <= exposed
        assert set(response.headers) - exposed <= PLAIN | {
            name for name in response.headers if name.startswith("access-control-")
        }


# Readable without being listed (Fetch 3.3.2), and those that speak to the browser alone
PLAIN = {"cache-control", "content-length", "content-type", "last-modified", "connection", "vary"}


PLAIN |= {
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "referrer-policy",
}


PLAIN |= {"x-content-type-options", "transfer-encoding"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST", "GET"])
def test_a_preflight_of_an_allowed_page_is_answered_for_every_path(
    shut: RunningServer, path: str, method: str
) -> None:
    asked = (
        f"Access-Control-Request-Method: {method}",
        "Access-Control-Request-Headers: authorization,if-match,x-any",
    )
    response = ask(shut, "OPTIONS", path, f"Origin: {PAGE}", *asked)

    assert (response.status, response.headers["access-control-allow-origin"]) == (204, PAGE)
    assert method in response.headers["access-control-allow-methods"].split(", ")
    assert response.headers["access-control-allow-headers"] == "authorization,if-match,x-any"
    assert "Origin" in response.headers["vary"]


def test_a_preflight_may_ask_for_so_many_header_names(shut: RunningServer) -> None:
    """The server does not allow more, instead of repeating them."""
    for length, allowed in ((MOST_ASKED, True), (MOST_ASKED + 1, False)):
        names = "x" * length
        asked = ("Access-Control-Request-Method: PUT", f"Access-Control-Request-Headers: {names}")
        response = ask(shut, "OPTIONS", "/files/a", f"Origin: {PAGE}", *asked)
        assert (response.headers.get("access-control-allow-headers") == names) == allowed


def test_pages_of_other_origins_get_no_cors_headers(
    shut: RunningServer, plain: RunningServer
) -> None:
    """Also near misses. A server without the setting sends no CORS headers at all."""
    asked = ("Access-Control-Request-Method: PUT",)
    for origin in (
        "https://evil.example",
        "http://app.example.com",
        PAGE + ":444",
        PAGE + ".evil.example",
        "null",
        f"{PAGE}, {PAGE}",
    ):
        for response in (
            ask(shut, "OPTIONS", "/files/a", f"Origin: {origin}", *asked),
            ask(shut, "GET", "/files", f"Origin: {origin}"),
        ):
            assert [name for name in response.headers if name.startswith("access-control")] == []
            assert "Origin" in response.headers["vary"]
        assert ask(shut, "PUT", "/files/evil", f"Origin: {origin}", body=b"1").status in (400, 403)
    assert (
        "access-control-allow-origin" not in ask(plain, "GET", "/files", f"Origin: {PAGE}").headers
    )


def test_preflights_need_no_token_and_refusals_are_readable(serve: Serve) -> None:
    """A preflight carries no token; a 401 without CORS would be a network error to the page."""
    server = serve("--token", TOKEN, "--allow-origin", PAGE + "/")
    page = f"Origin: {PAGE}"
    assert (
        ask(server, "OPTIONS", "/files/a", page, "Access-Control-Request-Method: PUT").status == 204
    )
    assert ask(server, "OPTIONS", "/files/a", page).status == 401
    refused = ask(server, "PUT", "/files/a", page, body=b"1")
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, PAGE)
    assert (
        ask(server, "PUT", "/files/a", page, f"Authorization: Bearer {TOKEN}", body=b"1").status
        == 201
    )


def test_credentials_are_never_allowed_for_every_origin(serve: Serve) -> None:
    server = serve("--token", TOKEN, "--allow-origin", "*")
    response = ask(
        server,
        "PUT",
        "/files/a",
        "Origin: https://any.example",
        f"Authorization: Bearer {TOKEN}",
        body=b"1",
    )
    assert (response.status, response.headers["access-control-allow-origin"]) == (201, "*")
    assert "access-control-allow-credentials" not in response.headers
