"""What the server decides from a request's head alone, before routing.

The spelling of the URL, the host name, and the origin of the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually
from raw_http import Answer, Wire, form_body, form_head, head, talk
from sluiceway.server.door.sites import MOST_ASKED

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


# How a URL is spelled


@pytest.mark.parametrize(
    "name",
    ["caf%E9.txt", "caf%E8.txt", "%ff", "a/%c0%ae%c0%ae/b", "%ed%a0%80", "%f5%80%80%80", "x%80/y"],
)
def test_a_key_that_is_not_utf_8_is_refused_for_every_method(
    plain: RunningServer, name: str
) -> None:
    """Two names that differ in such bytes must not become one object."""
    for method in ("PUT", "GET", "DELETE", "POST", "PATCH"):
        response = ask(plain, method, f"/files/{name}", body=b"1" if method == "PUT" else b"")
        assert (response.status, response.code) == (400, "bad-name"), method
    assert [key for key in plain.stored() if "\ufffd" in key] == []


@pytest.mark.parametrize(
    "target", ["/caf%E9", "/page/%E9.js", "/uploads/%E9", "/%E9/files", "/healthz%ff"]
)
def test_a_path_that_is_not_utf_8_is_refused_everywhere(plain: RunningServer, target: str) -> None:
    assert ask(plain, "GET", target).code == "bad-name"


QUERIES = [
    "/files?prefix=%E9",
    "/files?after=%E9",
    "/files?as=zip&prefix=%E9",
    "/files?limit=1&%E9=1",
]
QUERIES += ["/fetch?url=http://x/%25E9%E9"]


@pytest.mark.parametrize("target", QUERIES)
def test_a_query_that_is_not_utf_8_is_refused(plain: RunningServer, target: str) -> None:
    assert ask(plain, "GET", target).code == "bad-name"


def test_a_name_or_upload_id_that_is_not_utf_8_is_refused(plain: RunningServer) -> None:
    """Raw bodies and forms; also names that a gateway would put into its backend's URL."""
    body = form_body(("f", "x", b"x"))
    for query in (
        "name=caf%E9.txt",
        "upload=%E9" + "x" * 22,
        "book=%E9",
        "%E9=1",
        "name=a&name=%ff",
    ):
        assert ask(plain, "POST", f"/files?{query}", body=b"x").code == "bad-name", query
        assert ask(plain, "PUT", f"/files/queried?{query}", body=b"x").code == "bad-name", query
        assert (
            talk(plain.port, form_head(len(body), target=f"/files?{query}") + body).code
            == "bad-name"
        ), query
    assert "queried" not in plain.stored()


def test_a_sent_u_fffd_is_an_ordinary_character(plain: RunningServer) -> None:
    assert ask(plain, "PUT", "/files/fffd%EF%BF%BD", body=b"1").status == 201
    assert ask(plain, "GET", "/files/fffd%EF%BF%BD").body == b"1"


@pytest.mark.parametrize(
    "control", ["%0A", "%0D", "%00", "%09", "%1F", "%7F", "%C2%85", "%C2%9F", "%0D%0A"]
)
def test_a_control_character_in_a_key_never_means_another_object(
    plain: RunningServer, control: str
) -> None:
    """At its end, in its middle, at its beginning.

    400 for every method, and the key without it stays unchanged.
    """
    assert ask(plain, "PUT", "/files/r", body=b"first").status in (200, 201)
    for key in (f"r{control}", f"{control}r", f"a{control}b", f"r/{control}"):
        for method in ("PUT", "GET", "DELETE"):
            response = ask(
                plain, method, f"/files/{key}", body=b"other" if method == "PUT" else b""
            )
            assert (response.status, response.code) == (400, "bad-name"), (method, key)
    assert ask(plain, "GET", "/files/r").body == b"first"


@pytest.mark.parametrize(
    "path",
    ["/", "/page/sluice.js", "/files", "/fetch", "/healthz", "/readyz", "/uploads/" + "x" * 22],
)
def test_a_control_character_ends_no_path(plain: RunningServer, path: str) -> None:
    """`/healthz%0A` is not `/healthz`."""
    for control in ("%0A", "%0D", "%00", "%C2%85"):
        assert ask(plain, "GET", path + control).code == "bad-name"


def test_a_nul_in_prefix_or_cursor_is_refused(plain: RunningServer) -> None:
    for query in ("prefix=%00", "after=a%00", "prefix=a%00b&as=zip"):
        assert ask(plain, "GET", f"/files?{query}").code == "bad-name"


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


# From which page


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
    """Behind a proxy on this machine only addresses are logged, and "-" for any other text.

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
    assert clients == ["-", "-", "-", "-", "192.0.2.7", "192.0.2.8", "2001:db8::1", "2001:db8::2"]
    assert all(line.rstrip("\n").isprintable() and "forged" not in line for line in lines())


# Tokens in files


def test_a_token_from_a_file_is_not_in_the_process_list(serve: Serve, tmp_path: Path) -> None:
    """Also with several workers: each gets it, but not in its command line or environment."""
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    for workers in ("1", "2"):
        server = serve("--token-file", str(secret), "--workers", workers)
        processes = [
            psutil.Process(server.pid),
            *psutil.Process(server.pid).children(recursive=True),
        ]
        for process in processes:
            assert TOKEN not in " ".join(process.cmdline())
            assert TOKEN not in Path(f"/proc/{process.pid}/environ").read_text("latin-1")
        assert requests.get(f"{server.url}/files", timeout=10).status_code == 401
        assert (
            requests.get(
                f"{server.url}/files", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10
            ).status_code
            == 200
        )


def test_the_settings_file_in_use_is_named_at_the_start(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "sluiceway.toml").write_text("max_size = 300\n")
    server = serve()
    eventually(lambda: str(tmp_path / "sluiceway.toml") in server.log(), "the path is printed")
