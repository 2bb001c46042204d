"""Operation: settings from four places, secure defaults, tokens on every path, a bounded stop,
workers, the log.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from fix_filesystems import Mount, fill
from fix_server import RunningServer, Serve
from fix_taking import eventually
from raw_http import Wire, head

TOKEN = "s3cret-token-of-some-length"
PIECE = 60_000


def run(
    *options: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, for starts that must fail."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLUICEWAY_")}
    command = [sys.executable, "-m", "sluiceway", "serve", *options]
    return subprocess.run(
        command, cwd=cwd, env={**clean, **(env or {})}, capture_output=True, text=True, timeout=30
    )


def limit_of(server: RunningServer) -> int:
    """The --max-size of a server, from its error response to a client above it."""
    response = requests.put(f"{server.url}/files/over", data=b"x" * 1000, timeout=10)
    assert response.status_code == 413
    limit: int = response.json()["limit"]
    return limit


# Closed by default


def test_access_without_a_token_must_be_explicit(serve: Serve) -> None:
    """Beyond loopback the server needs a token or --no-auth, which it prints."""
    secured = serve("--host", "0.0.0.0", "--token", TOKEN)
    assert requests.get(f"http://127.0.0.1:{secured.port}/files", timeout=10).status_code == 401
    opened = serve("--host", "0.0.0.0", "--no-auth")
    assert requests.get(f"http://127.0.0.1:{opened.port}/files", timeout=10).status_code == 200
    assert "without authentication" in opened.log()


def test_a_random_token_is_printed_and_is_needed(serve: Serve) -> None:
    """For containers: closed by default, and the log shows how to get in."""
    server = serve("--host", "0.0.0.0", "--random-token")
    token = next(line for line in server.log().splitlines() if "  token  " in line).split()[1]
    url = f"http://127.0.0.1:{server.port}/files"

    assert len(token) >= 32
    assert requests.get(url, timeout=10).status_code == 401
    assert requests.get(url, auth=("", token), timeout=10).status_code == 200
    assert f"http://localhost:{server.port}/" in server.log()


@pytest.mark.parametrize("chosen", [["--token", TOKEN], ["--no-auth"]])
def test_a_chosen_way_in_is_not_replaced_by_a_random_token(serve: Serve, chosen: list[str]) -> None:
    """The image asks for a random token; its user may decide otherwise."""
    assert "  token  " not in serve("--random-token", *chosen).log()


PATHS = [
    "/",
    "/files",
    "/files/a",
    "/files/missing",
    "/uploads/" + "x" * 22,
    "/page/sluice.js",
    "/nowhere",
    "/healthz/",
    "/HEALTHZ",
]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> object:
    from fix_server import start_server

    server = start_server(
        tmp_path_factory.mktemp("locked") / "root", env={"SLUICEWAY_TOKEN": TOKEN}
    )
    requests.put(
        f"{server.url}/files/a", data=b"1", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10
    )
    yield server
    server.stop()


@pytest.mark.parametrize("path", PATHS)
def test_every_path_and_method_requires_the_token(locked: RunningServer, path: str) -> None:
    """No token, a wrong one, a broken header: 401 with both ways to send it, and no effect."""
    basic = base64.b64encode(b"user:wrong").decode()
    for method in METHODS:
        for given in (
            None,
            "Bearer wrong",
            "Bearer ",
            "Basic !!!",
            f"Basic {basic}",
            f"Digest {TOKEN}",
            TOKEN,
            f"bearer{TOKEN}",
        ):
            with Wire(locked.port) as wire:
                fields = [
                    "Connection: close",
                    "Content-Length: 0",
                    *([f"Authorization: {given}"] if given else []),
                ]
                wire.send(head(method, path, *fields))
                response = wire.answer(to_head=method == "HEAD")
            assert response.status == 401, (method, path, given)
            assert "Bearer realm=" in response.headers["www-authenticate"]
            assert "Basic realm=" in response.headers["www-authenticate"]
            if method != "HEAD":
                assert response.code == "unauthorized"
    assert list(locked.stored()) == ["a"]


@pytest.mark.parametrize("given", ["bearer", "basic", "basic-no-user", "BEARER"])
def test_the_token_opens_every_path(locked: RunningServer, given: str) -> None:
    """As a bearer token, or as a password with any user name."""
    secret = {
        "bearer": f"Bearer {TOKEN}",
        "BEARER": f"BEARER {TOKEN}",
        "basic": "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode(),
        "basic-no-user": "Basic " + base64.b64encode(f":{TOKEN}".encode()).decode(),
    }[given]
    headers = {"Authorization": secret}

    assert requests.get(f"{locked.url}/", headers=headers, timeout=10).status_code == 200
    assert requests.get(f"{locked.url}/files/a", headers=headers, timeout=10).content == b"1"
    assert requests.put(
        f"{locked.url}/files/{given}", data=b"1", headers=headers, timeout=10
    ).status_code in (200, 201)
    assert (
        requests.delete(f"{locked.url}/files/{given}", headers=headers, timeout=10).status_code
        == 204
    )
    assert (
        requests.get(f"{locked.url}/uploads/{'x' * 22}", headers=headers, timeout=10).status_code
        == 404
    )


def test_a_missing_token_is_refused_before_the_body(locked: RunningServer) -> None:
    """Without the token, no client can make the server read a body."""
    with Wire(locked.port) as wire:
        wire.send(head("PUT", "/files/x", "Content-Length: 1000000000", "Expect: 100-continue"))
        response = wire.answer()

    assert (response.status, response.interim) == (401, [])


def test_probes_need_no_token(locked: RunningServer) -> None:
    """/healthz and /readyz need no token."""
    for path in ("/healthz", "/readyz"):
        response = requests.get(locked.url + path, timeout=10)
        assert (response.status_code, response.text) == (200, "ok\n")
    assert locked.drafts() == []


@pytest.mark.root
def test_a_server_that_could_not_store_is_not_ready(
    serve: Serve, mount: Mount, tmp_path: Path
) -> None:
    """On a full disk the server is alive and not ready."""
    root = mount("tmpfs", tmp_path / "full", "size=1m")
    server = serve(root=root)
    assert requests.get(f"{server.url}/readyz", timeout=10).status_code == 200
    fill(root)

    eventually(
        lambda: requests.get(f"{server.url}/readyz", timeout=10).status_code == 503,
        "a new look is taken",
    )
    assert requests.get(f"{server.url}/healthz", timeout=10).status_code == 200
    (root / "filler").unlink()
    eventually(
        lambda: requests.get(f"{server.url}/readyz", timeout=10).status_code == 200,
        "and another one",
    )
    server.stop()


def test_a_folder_that_was_removed_is_not_an_empty_one(serve: Serve) -> None:
    """503 for all, also when it was made again: the log names it, and the restart that cures it."""
    server = serve()
    shutil.rmtree(server.root)
    server.root.mkdir()
    asked = (("GET", "/files"), ("GET", "/files/a"), ("PUT", "/files/a"), ("GET", "/readyz"))
    for method, path in asked:
        data = b"a" if method == "PUT" else None
        response = requests.request(method, f"{server.url}{path}", data=data, timeout=10)
        assert response.status_code == 503, response.text
        assert str(server.root) not in response.text
    assert f"{server.root} was removed while the server ran" in server.log()
    server.stop()
    assert requests.put(f"{serve().url}/files/a", data=b"a", timeout=10).status_code == 201


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "{own}"}, True),
    ],
    ids=str,
)
def test_pages_of_other_sites_cannot_write_here(
    taker: RunningServer, headers: dict[str, str], allowed: bool
) -> None:
    """A page must not misuse a browser that is logged in.

    Programs are not affected.
    """
    sent = {name: value.replace("{own}", taker.url) for name, value in headers.items()}
    key = f"csrf/{abs(hash(str(headers)))}"
    put = requests.put(f"{taker.url}/files/{key}", data=b"1", headers=sent, timeout=10)
    post = requests.post(
        f"{taker.url}/files", files={"f": ("csrf.txt", b"1")}, headers=sent, timeout=10
    )
    delete = requests.delete(f"{taker.url}/files/{key}", headers=sent, timeout=10)

    assert [put.status_code, post.status_code, delete.status_code] == (
        [201, 201, 204] if allowed else [403, 403, 403]
    )
    assert requests.get(f"{taker.url}/files", headers=sent, timeout=10).status_code == 200


# The log


def test_the_access_log_has_no_secrets(serve: Serve) -> None:
    """Client, method, path, status, bytes, seconds and their parts.

    No query, no token, no raw control byte.
    """
    server = serve("--token", TOKEN)
    auth = {"Authorization": f"Bearer {TOKEN}"}
    requests.put(
        f"{server.url}/files/logged.bin",
        params={"upload": "q" * 22, "name": "sig=hidden"},
        data=b"12345",
        headers=auth,
        timeout=10,
    )
    requests.get(f"{server.url}/files/logged.bin?token={TOKEN}", headers=auth, timeout=10)
    requests.get(
        f"{server.url}/files/%1b%5b31m%0d%0aforged%20line%22%5c%e2%80%ae", headers=auth, timeout=10
    )
    requests.get(f"{server.url}/files/{'l' * 3000}", headers=auth, timeout=10)
    requests.get(
        f"{server.url}/files", headers={"Authorization": "Bearer wrong-secret"}, timeout=10
    )
    eventually(lambda: server.log().count(" sluiceway.access ") == 5, "five lines")
    log = server.log()
    lines = [line for line in log.splitlines() if " sluiceway.access " in line]

    stages = r"( [a-z-]+=[0-9.]+s)+ \([0-9]+ % [a-z]+\)"
    upload = ' upload=q{22} key="logged.bin" in=5 kept=5 state=complete request=[0-9a-f]{32}$'
    assert re.search(
        r'127\.0\.0\.1 "PUT /files/logged\.bin" 201 [0-9]+ [0-9.]+s' + stages + upload, lines[0]
    )
    assert log.count("q" * 22) == 1  # the upload has ended: its id opens nothing any more
    assert re.search(r'"GET /files/logged\.bin" 200 5 [0-9.]+s$', lines[1])
    assert r"\x1b[31m\r\nforged line\"\\\u202e" in lines[2]
    assert len(lines[3]) < 700
    assert '" 401 ' in lines[4]
    assert all(line.isprintable() and line.isascii() for line in lines)
    for secret in (TOKEN, "wrong-secret", "sig=hidden", "Bearer"):
        assert secret not in log.replace("-u :TOKEN", "")
