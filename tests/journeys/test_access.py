"""Access control.

Every method needs the token, pages of other sites cannot write, and the log holds no secrets and no
control characters.
"""

from __future__ import annotations

import base64

import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import eventually
from raw_http import Wire, form_body, form_head, head, talk

TOKEN = "s3cret-token-nobody-knows"


@pytest.fixture
def closed(serve: Serve) -> RunningServer:
    return serve("--token", TOKEN)


def basic(password: str, user: str = "anyone") -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


WRONG = [
    "Authorization: Bearer wrong-token-of-length",
    "Authorization: Bearer",
    f"Authorization: Bearer {TOKEN}x",
    f"Authorization: {TOKEN}",
]
WRONG += [
    f"Authorization: Bearer {TOKEN[:-1]}",
    basic("wrong"),
    basic("", TOKEN),
    "Authorization: Basic !!!!",
    "Authorization: Basic",
]
WRONG += [
    f"Authorization: Digest {TOKEN}",
    "Authorization: Bearer \u00fc",
    f"X-Authorization: Bearer {TOKEN}",
    f"Cookie: token={TOKEN}",
]


PATHS = [
    "/files",
    "/files/x",
    "/uploads/" + "x" * 22,
    "/",
    "/page/sluice.js",
    "/nowhere",
    "/healthz/",
    "//healthz",
    "/files/../healthz",
]


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE"]
)
def test_no_method_works_without_the_token(closed: RunningServer, method: str) -> None:
    """Every method on every path except the probes.

    401 names both ways to sign in, before the server checks anything else.
    """
    for path in PATHS:
        for wrong in [[], *([line] for line in WRONG)]:
            with Wire(closed.port) as wire:
                wire.send(head(method, path, "Connection: close", *wrong))
                response = wire.answer(to_head=method == "HEAD")

            assert response.status == 401, (path, wrong)
            assert "Bearer" in response.headers["www-authenticate"]
            assert "Basic" in response.headers["www-authenticate"]
    assert closed.stored() == {}


def test_the_token_opens_as_bearer_and_as_password(closed: RunningServer) -> None:
    """Either scheme, in upper or lower case, with any user name."""
    for number, line in enumerate(
        [
            f"Authorization: Bearer {TOKEN}",
            f"authorization: bearer {TOKEN}",
            basic(TOKEN),
            basic(TOKEN, ""),
        ]
    ):
        assert (
            talk(
                closed.port, head("PUT", f"/files/{number}", "Content-Length: 1", line) + b"x"
            ).status
            == 201
        )
    assert requests.get(f"{closed.url}/healthz", timeout=10).status_code == 200
    assert requests.get(f"{closed.url}/readyz", timeout=10).status_code == 200


def test_a_token_in_the_query_is_ignored(closed: RunningServer) -> None:
    """URLs end up in logs and browser histories."""
    assert (
        requests.get(
            f"{closed.url}/files?token={TOKEN}&access_token={TOKEN}", timeout=10
        ).status_code
        == 401
    )


def test_no_secret_reaches_the_log(closed: RunningServer) -> None:
    """Neither a right or nearly right token, nor any part of a query or a body but a file's name,
    which stands beside its upload.
    """
    secrets = [
        TOKEN,
        "wrong-but-secret",
        base64.b64encode(f"u:{TOKEN}".encode()).decode(),
        "query-secret",
        "body-secret",
    ]
    body = form_body(("password", None, b"body-secret"), ("f", "name.txt", b"body-secret"))
    talk(
        closed.port,
        head("GET", f"/files?x=query-secret&token={TOKEN}", f"Authorization: Bearer {TOKEN}"),
    )
    talk(
        closed.port,
        head(
            "GET",
            "/files",
            "Authorization: Bearer wrong-but-secret",
            "Referer: http://x/?query-secret",
        ),
    )
    talk(closed.port, head("GET", "/files", basic(TOKEN, "u"), "Cookie: a=query-secret"))
    talk(closed.port, form_head(len(body), f"Authorization: Bearer {TOKEN}") + body)
    talk(
        closed.port,
        form_head(len(body), f"Authorization: Bearer {TOKEN}") + body[:-4],
        half_close=True,
    )
    eventually(lambda: closed.log().count('"POST /files"') == 2, "the log has the requests")

    assert [secret for secret in secrets if secret in closed.log()] == []


def test_control_bytes_are_escaped_in_the_log(taker: RunningServer) -> None:
    """A decoded path may contain any byte.

    The log still has one line for each request, without an escape sequence for the terminal.
    """
    requests.get(f"{taker.url}/healthz", timeout=10)
    eventually(lambda: "GET /healthz" in taker.log(), "the log is past its first lines")
    logged = len(taker.lines)
    for key in (
        "a%0d%0aFORGED%20LINE",
        "%1b[31mred%1b[0m",
        "%00",
        "a%7f",
        "%c2%85next",
        "%e2%80%ae",
        'quote"here',
        "x" * 3000,
    ):
        requests.get(f"{taker.url}/files/{key}", timeout=10)
        talk(
            taker.port,
            head("PUT", f"/files/{key}", "Content-Length: 1", "Connection: close") + b"x",
        )
    eventually(lambda: len(taker.lines) - logged >= 16, "the log has the requests")
    lines = taker.lines[logged:]

    assert len(lines) == 16
    assert all(line.isprintable() for line in (line.rstrip("\n") for line in lines))
    assert all("sluiceway.access" in line and len(line) < 700 for line in lines)


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ([], True),
        (["Sec-Fetch-Site: same-origin", "Origin: http://localhost"], True),
        (["Sec-Fetch-Site: none"], True),
        (["Origin: http://localhost"], True),
        (["Sec-Fetch-Site: cross-site"], False),
        (["Sec-Fetch-Site: same-site"], False),
        (["Sec-Fetch-Site: cross-site", "Origin: http://localhost"], False),
        (["Origin: http://evil.example"], False),
        (["Origin: http://localhost.evil.example"], False),
        (["Origin: http://localhost:81"], False),
        (["Origin: null"], False),
    ],
)
def test_a_page_of_another_site_cannot_write(
    taker: RunningServer, fields: list[str], allowed: bool
) -> None:
    """PUT, POST, a form and DELETE: 403 for pages of other sites, even when the browser is logged
    in.
    """
    body = form_body(("f", "x", b"x"))
    (taker.root / "there").write_text("x")
    statuses = [
        talk(taker.port, head("PUT", "/files/mine", "Content-Length: 1", *fields) + b"x").status,
        talk(taker.port, head("POST", "/files", "Content-Length: 1", *fields) + b"x").status,
        talk(taker.port, form_head(len(body), *fields) + body).status,
        talk(taker.port, head("DELETE", "/files/there", *fields)).status,
    ]

    if allowed:
        assert all(status < 300 for status in statuses), statuses
    else:
        assert statuses == [403] * 4
        assert (taker.root / "there").exists()


def test_the_log_contains_no_upload_ids(serve: Serve) -> None:
    """A reader of the log must not be able to watch or cancel uploads.

    The log leaves out their ids.
    """
    server = serve()
    upload = "an-id-nobody-guesses-0123456789"
    requests.get(f"{server.url}/uploads/{upload}", timeout=10)
    requests.get(f"{server.url}/files/photos/uploads/a.jpg", timeout=10)
    server.stop()

    assert '"GET /uploads/..." 404' in server.log()
    assert '"GET /files/photos/uploads/a.jpg" 404' in server.log()
    assert upload not in server.log()
