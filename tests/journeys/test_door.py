"""What the server decides from a request's head alone, before routing.

The spelling of the URL, the host name, and the origin of the page.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually
from raw_http import Answer, Wire, head, talk

TOKEN = "s3cret-token-nobody-knows"
PAGE = "https://app.example.com"
METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]
PATHS = [
    "/",
    "/page/sluice.js",
    "/files",
    "/files/a",
    "/fetch?url=http://x/",
    "/uploads/" + "x" * 22,
    "/healthz",
    "/readyz",
    "/none",
]


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


def ask(
    server: RunningServer,
    method: str,
    target: str,
    *fields: str,
    body: bytes = b"",
    host: str | None = "localhost",
) -> Answer:
    with Wire(server.port) as wire:
        wire.send(
            head(
                method,
                target,
                f"Content-Length: {len(body)}",
                "Connection: close",
                *fields,
                host=host,
            )
            + body
        )
        return wire.answer(to_head=method == "HEAD")


# Under which name


EVIL = [
    "evil.example",
    "evil.example:{port}",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "0.0.0.0:{port}",
    "192.168.0.5",
]
EVIL += [
    "",
    "[::2]",
    "[::ffff:7f00:1]",
    "127.1",
    "2130706433",
    "localhost:99999999",
    "x@localhost",
    "a b",
    "localhost/",
    "xlocalhost",
]
OURS = [
    "localhost",
    "LOCALHOST:{port}",
    "localhost.",
    "files.localhost",
    "127.0.0.1:{port}",
    "127.3.2.1",
    "[::1]:{port}",
    "[0:0::1]",
]
OURS += ["nas.lan.example", "NAS.lan.example.:{port}"]


@pytest.mark.parametrize("host", EVIL)
def test_a_rebound_name_reaches_nothing(shut: RunningServer, host: str) -> None:
    """The page's own name resolves to this machine, so its Origin equals its Host.

    Only the host name reveals it.
    """
    name = host.replace("{port}", str(shut.port))
    for path in PATHS:
        for method in METHODS:
            response = ask(
                shut,
                method,
                path,
                f"Host: {name}",
                f"Origin: http://{name}",
                "Sec-Fetch-Site: same-origin",
                host=None,
            )
            assert response.status == 403, (method, path)
    assert shut.stored() == {}


@pytest.mark.parametrize("host", OURS)
def test_the_machines_own_names_and_allowed_ones_are_answered(
    shut: RunningServer, host: str
) -> None:
    name = host.replace("{port}", str(shut.port))
    assert ask(shut, "GET", "/files", f"Host: {name}", host=None).status == 200


def test_the_host_of_an_absolute_target_counts_as_well(shut: RunningServer) -> None:
    assert ask(shut, "GET", "http://evil.example/files").status == 403
    assert ask(shut, "GET", "http://localhost/files", host="evil.example").status == 403
    assert ask(shut, "GET", "http://LOCALHOST:81/files").status == 200


def test_a_request_without_host_is_served(shut: RunningServer) -> None:
    assert talk(shut.port, b"GET /healthz HTTP/1.0\r\n\r\n").status == 200


def test_with_a_token_or_no_auth_any_host_name_is_served(serve: Serve) -> None:
    """A rebound page does not know the token; --no-auth is the operator's explicit choice."""
    for options in (["--token", TOKEN], ["--no-auth"]):
        server = serve(*options)
        headers = {"Host": "files.example.com", "Authorization": f"Bearer {TOKEN}"}
        assert requests.get(f"{server.url}/files", headers=headers, timeout=10).status_code == 200
        assert "without a token" not in server.log()


def test_allowed_hosts_are_checked_with_a_token_too(serve: Serve) -> None:
    server = serve("--token", TOKEN, "--allowed-host", "files.example.com")
    auth = {"Authorization": f"Bearer {TOKEN}"}
    for host, status in (("files.example.com", 200), ("other.example.com", 403)):
        assert (
            requests.get(
                f"{server.url}/files", headers={"Host": host, **auth}, timeout=10
            ).status_code
            == status
        )


def test_a_start_without_a_token_prints_who_has_access(
    shut: RunningServer,
) -> None:
    assert "every user and program of this machine" in shut.log()
    ask(shut, "GET", "/files", host="evil.example")
    eventually(lambda: "--allowed-host" in shut.log(), "the log says so")


# What every response says


def test_every_answer_keeps_other_sites_out(plain: RunningServer) -> None:
    """Pages, files, refusals, probes and 404s have opener, resource and content policies."""
    ask(plain, "PUT", "/files/there", body=b"1")
    for path in [*PATHS, "/files/there", "/%ff", "/files?as=zip", "/files?as=tar"]:
        for method in METHODS[:2]:
            headers = ask(plain, method, path).headers
            assert headers["cross-origin-opener-policy"] == "same-origin", path
            assert headers["cross-origin-resource-policy"] == "same-origin", path
            assert "default-src 'none'" in headers["content-security-policy"], path
            assert headers["x-content-type-options"] == "nosniff", path


def test_the_refusal_of_an_invalid_request_has_safe_headers_too(
    plain: RunningServer,
) -> None:
    response = talk(plain.port, b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert response.status == 400
    assert (
        response.headers["cross-origin-opener-policy"]
        == response.headers["cross-origin-resource-policy"]
        == "same-origin"
    )
    assert "default-src 'none'" in response.headers["content-security-policy"]


RUN = [
    f"Sec-Fetch-Dest: {dest}"
    for dest in ("script", "style", "worker", "sharedworker", "serviceworker", "SCRIPT")
]


@pytest.mark.parametrize("field", [*RUN, "Service-Worker: script"])
def test_an_uploaded_file_is_never_run(plain: RunningServer, field: str) -> None:
    ask(plain, "PUT", "/files/evil.js", body=b"alert(1)")
    for path in ("/files/evil.js", "/fetch?url=http://x/evil.js"):
        assert ask(plain, "GET", path, field, "Sec-Fetch-Site: same-origin").status == 403
    if field != "Service-Worker: script":
        assert ask(plain, "GET", "/page/sluice.js", field).status == 200


def test_a_forged_client_does_not_forge_the_log(plain: RunningServer) -> None:
    """Behind a proxy on this machine only addresses are logged, and the proxy for any other text.

    The log stays one line a request.
    """
    logged = len(plain.lines)
    forged = [
        '1.2.3.4 "GET /forged" 200',
        "\x85next",
        "\x9b31m",
        "evil",
        "192.0.2.7",
        "192.0.2.8:1234",
        "[2001:db8::1]:5",
        "2001:DB8::2",
    ]
    for text in forged:
        ask(plain, "GET", "/healthz", f"X-Forwarded-For: {text}")

    def lines() -> list[str]:
        return [line for line in plain.lines[logged:] if "/healthz" in line]

    eventually(lambda: len(lines()) >= len(forged), "the log has the requests")

    clients = [line.split(" sluiceway.access ")[1].split(" ")[0] for line in lines()]
    assert clients == ["127.0.0.1"] * 4 + ["192.0.2.7", "192.0.2.8", "2001:db8::1", "2001:db8::2"]
    assert all(line.rstrip("\n").isprintable() and "forged" not in line for line in lines())


# Tokens in files


def test_a_token_from_a_file_is_not_in_the_process_list(serve: Serve, tmp_path: Path) -> None:
    """Each of several workers gets it, but not in its command line or environment; a hangup
    replaces none of them."""
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    server = serve("--token-file", str(secret), "--workers", "2")
    # The address is printed before the workers have started: seconds on a busy machine.
    assert requests.get(f"{server.url}/files", timeout=120).status_code == 401
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert requests.get(f"{server.url}/files", headers=headers, timeout=120).status_code == 200
    parent = psutil.Process(server.pid)
    children = parent.children(recursive=True)
    assert len(children) >= 2
    for process in [parent, *children]:
        assert TOKEN not in " ".join(process.cmdline())
        assert TOKEN not in Path(f"/proc/{process.pid}/environ").read_text("latin-1")
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "SIGHUP" in server.log(), "the parent says it")
    assert {child.pid for child in children} <= {one.pid for one in parent.children(True)}


def test_the_settings_file_in_use_is_named_at_the_start(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "sluiceway.toml").write_text("max_size = 300\n")
    server = serve()
    eventually(lambda: str(tmp_path / "sluiceway.toml") in server.log(), "the path is printed")
