"""Operation: settings from four places, secure defaults, tokens on every path, a bounded stop,
workers, the log.
"""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
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


# Settings


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(
    serve: Serve, tmp_path: Path
) -> None:
    """One setting in all places: the more specific place wins."""
    (tmp_path / "sluiceway.toml").write_text("max_size = 300\n")
    (tmp_path / "other.toml").write_text("max-size = '400B'\nmemory_budget = '16MiB'\n")
    variable = {"SLUICEWAY_MAX_SIZE": "200"}

    assert limit_of(serve("--max-size", "100", env=variable)) == 100
    assert limit_of(serve(env=variable)) == 200
    assert limit_of(serve()) == 300
    assert limit_of(serve("--config", str(tmp_path / "other.toml"))) == 400
    (tmp_path / "sluiceway.toml").unlink()
    assert requests.put(f"{serve().url}/files/any", data=b"x" * 1000, timeout=10).status_code == 201


BAD = [
    (["--port", "70000"], {}, "", "--port"),
    (["--port", "x"], {}, "", "--port"),
    (["--port", "-1"], {}, "", "--port"),
    (["--max-size", "big"], {}, "", "--max-size"),
    (["--max-size", "-5"], {}, "", "--max-size"),
    (["--max-size", "1.5GiB"], {}, "", "--max-size"),
    (["--memory-budget", "1MiB"], {}, "", "--memory-budget"),
    (["--memory-budget", "8MiB", "--workers", "3"], {}, "", "--memory-budget"),
    (["--digest", "md5"], {}, "", "--digest"),
    (["--digest", ""], {}, "", "--digest"),
    (["--workers", "0"], {}, "", "--workers"),
    (["--workers", "65"], {}, "", "--workers"),
    (["--shutdown-timeout", "-1"], {}, "", "--shutdown-timeout"),
    (["--shutdown-timeout", "nan"], {}, "", "--shutdown-timeout"),
    (["--token", "short"], {}, "", "--token"),
    (["--token", ""], {}, "", "--token"),
    (["--key-template", "{nope}"], {}, "", "{nope}"),
    (["--key-template", "fixed"], {}, "", "{id}"),
    (["--key-template", "{id"], {}, "", "{id"),
    (["--key-template", "../{filename}"], {}, "", "../"),
    (["--key-template", ".sluiceway/drafts/{id}"], {}, "", ".sluiceway"),
    (["--key-template", "/{id}"], {}, "", "/{id}"),
    (["--key-template", "{filename.__class__}"], {}, "", "{filename.__class__}"),
    (["--key-template", "{filename:>99999999}"], {}, "", "{filename:>99999999}"),
    (["--to", "s3://bucket/x"], {}, "", "s3"),
    (["--to", "s3://"], {}, "", "s3://BUCKET/PREFIX"),
    (["--to", "http://"], {}, "", "http://HOST/PATH"),
    (["--to", ""], {}, "", "give a folder"),
    (["--to", "/etc/passwd"], {}, "", "give a folder"),
    (["--to", "/dev/null"], {}, "", "/dev/null"),
    (["--to", "/proc/nothing/here"], {}, "", "/proc/nothing/here"),
    (["--host", "0.0.0.0"], {}, "", "--token"),
    (["--host", "::"], {}, "", "--token"),
    (["--host", "example.org"], {}, "", "--token"),
    (["--host", "300.1.1.1", "--no-auth"], {}, "", "300.1.1.1"),
    (["--no-such-option"], {}, "", "--no-such-option"),
    (["--bogus"], {}, "", "'--bogus'."),
    (["--no-autth"], {}, "", "Did you mean '--no-auth'?"),
    (["--relay-idle", "5"], {}, "", "Did you mean '--relay-idle-timeout'?"),
    ([], {"SLUICEWAY_PORT": "x"}, "", "port"),
    ([], {"SLUICEWAY_WORKERS": "0"}, "", "--workers"),
    ([], {"SLUICEWAY_NO_AUTH": "perhaps"}, "", "no-auth"),
    ([], {}, "nope = 1", "nope"),
    ([], {}, "[serve]\nport = 1", "serve"),
    ([], {}, "port = 'x'", "port"),
    ([], {}, "port = [1]", "port"),
    ([], {}, "to = [['a']]", "to"),
    ([], {}, "max_size = {a = 1}", "max"),
    ([], {}, "port = ", "sluiceway.toml"),
    (["--config", "missing.toml"], {}, "", "missing.toml"),
]
# A secret that is set but empty is never "no secret"
BAD += [
    ([], {"SLUICEWAY_TOKEN": ""}, "", "SLUICEWAY_TOKEN"),
    ([], {"SLUICEWAY_TOKEN": " \n"}, "", "SLUICEWAY_TOKEN"),
    ([], {"SLUICEWAY_TOKEN_FILE": ""}, "", "SLUICEWAY_TOKEN_FILE"),
    ([], {"SLUICEWAY_RELAY_HEADER": ""}, "", "SLUICEWAY_RELAY_HEADER"),
    ([], {"SLUICEWAY_STORE_OPTION": ""}, "", "SLUICEWAY_STORE_OPTION"),
    ([], {}, "token = ''", "--token"),
    ([], {}, "token_file = ''", "--token-file"),
    (["--token", " " * 12], {}, "", "--token"),
    (["--token", "line\nbreaks-in-it"], {}, "", "--token"),
    (["--token-file", "missing"], {}, "", "missing"),
    (["--token-file", "/dev/null"], {}, "", "/dev/null"),
    (["--token-file", "sluiceway.toml", "--token", TOKEN], {}, "port = 0", "--token-file"),
    (["--relay-header", "Authorization: Bearer "], {}, "", "Authorization"),
    (["--relay-header", "Authorization:"], {}, "", "Authorization"),
    (["--relay-header", "X-Api-Key: "], {}, "", "X-Api-Key"),
    (["--store-option", "secret_access_key="], {}, "", "secret_access_key"),
    (["--allowed-host", "*"], {}, "", "--allowed-host"),
    (["--allowed-host", "http://x"], {}, "", "--allowed-host"),
    (["--allowed-host", "x:80"], {}, "", "--allowed-host"),
    (["--allow-origin", "app.example.com"], {}, "", "--allow-origin"),
    (["--allow-origin", "https://app.example.com/page"], {}, "", "--allow-origin"),
    (["--allow-origin", "null"], {}, "", "--allow-origin"),
    (["--allow-origin", "*"], {}, "", "--allow-origin"),
]


@pytest.mark.parametrize(
    ("options", "env", "config", "named"), BAD, ids=[f"{o or e or c}" for o, e, c, _ in BAD]
)
def test_an_unusable_setting_is_reported_and_nothing_starts(
    tmp_path: Path, options: list[str], env: dict[str, str], config: str, named: str
) -> None:
    """Exit code 2 and its name in the last line; no traceback, no address."""
    if config:
        (tmp_path / "sluiceway.toml").write_text(config)
    ended = run(*options, cwd=tmp_path, env=env)
    lines = ended.stderr.strip().splitlines()

    assert ended.returncode == 2, ended.stderr
    assert named in lines[-1], ended.stderr
    assert "Traceback" not in ended.stderr
    assert "http://" not in ended.stdout
    if not lines[0].startswith("Usage"):
        assert len(lines) == 1, ended.stderr


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
@pytest.mark.parametrize("name", ["sluiceway.toml", "token"])
def test_a_file_that_others_can_write_to_sets_nothing(tmp_path: Path, name: str, mode: int) -> None:
    """Another user could open the server, or send its files elsewhere."""
    path = tmp_path / name
    path.write_text("port = 0" if name == "sluiceway.toml" else TOKEN)
    path.chmod(mode)
    ended = run(*(["--token-file", str(path)] if name == "token" else []), cwd=tmp_path)
    assert (ended.returncode, "chmod go-w" in ended.stderr) == (2, True)


def test_a_port_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    """The line names the port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("--port", str(port), cwd=tmp_path)

    assert ended.returncode == 2
    assert f"port {port}" in ended.stderr
    assert "--port" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


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


@pytest.mark.parametrize("place", [".", "best-effort:."])
def test_settings_that_an_upload_could_replace_are_refused(tmp_path: Path, place: str) -> None:
    """`PUT /files/sluiceway.toml` would choose the settings of the next start."""
    (tmp_path / "sluiceway.toml").write_text("port = 0")
    ended = run("--to", place, *(["--to", "memory:"] if place != "." else []), cwd=tmp_path)
    assert (ended.returncode, "folder for uploads" in ended.stderr) == (2, True)


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


# Stopping


def test_a_running_upload_finishes_after_sigterm(serve: Serve) -> None:
    """Within --shutdown-timeout the sender gets its response, and new connections are refused.

    The exit code is 0.
    """
    server = serve("--shutdown-timeout", "20")
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/late", f"Content-Length: {2 * PIECE}") + bytes(PIECE))
        eventually(server.drafts, "the upload is under way")
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: _refused(server.port), "no new connections")
        wire.send(bytes(PIECE))
        assert wire.answer().status == 201

    assert server.process.wait(15) == 0
    assert server.stored() == {"late": 2 * PIECE}
    assert server.drafts() == []


def test_uploads_beyond_the_shutdown_timeout_are_discarded(serve: Serve) -> None:
    """A sender that never ends does not delay the stop for ever.

    Nothing is stored, no draft stays, the exit code is 0.
    """
    server = serve("--shutdown-timeout", "1")
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/never", "Content-Length: 100000000") + bytes(PIECE))
        eventually(server.drafts, "the upload is under way")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10
        response = wire.answer()

    assert (response.status, response.code) == (503, "unavailable")
    assert server.stored() == {}
    assert server.drafts() == []
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("workers", [1, 2])
def test_idle_connections_and_watchers_do_not_delay_a_stop(serve: Serve, workers: int) -> None:
    """Idle keep-alive connections, half a head, watchers of an upload that has not begun.

    They end at once, for any --shutdown-timeout.
    """
    server = serve("--shutdown-timeout", "25", "--workers", str(workers))
    with Wire(server.port) as idle, Wire(server.port) as half, Wire(server.port) as watcher:
        idle.send(head("GET", "/healthz"))
        assert idle.answer().status == 200
        watcher.send(head("GET", "/uploads/" + "x" * 22, "Accept: text/event-stream"))
        assert watcher.sock.recv(100)
        half.send(b"PUT /files/x HTTP/1.1\r\nHost:")
        began = time.monotonic()
        assert server.stop() == 0

    assert time.monotonic() - began < 15


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_an_idle_server_stops_at_once(serve: Serve, sig: int) -> None:
    """Ctrl-C and SIGTERM alike: exit code 0, no error output."""
    server = serve("--shutdown-timeout", "25")

    assert server.stop(sig, timeout=10) == 0
    assert "Traceback" not in server.log()


# Processes


def test_a_restart_removes_leftovers_of_a_killed_server(serve: Serve, tmp_path: Path) -> None:
    """kill -9 in the middle of an upload leaves nothing visible.

    The next start removes the orphan, and no live draft of another server.
    """
    root = tmp_path / "shared"
    killed, living = serve(root=root), serve(root=root)
    with Wire(killed.port) as lost, Wire(living.port) as going_on:
        for wire, key in ((lost, "lost"), (going_on, "going-on")):
            wire.send(
                head("PUT", f"/files/{key}", f"Content-Length: {2 * PIECE + 100_000}")
                + bytes(PIECE + 100_000)
            )
        eventually(lambda: len(living.drafts()) == 2, "both are under way")
        killed.stop(signal.SIGKILL)
        assert len(living.drafts()) == 2

        started = serve(root=root)
        assert len(started.drafts()) == 1
        going_on.send(bytes(PIECE))
        assert going_on.answer().status == 201

    assert list(started.stored()) == ["going-on"]
    assert started.drafts() == []


def test_two_servers_share_a_root(serve: Serve, tmp_path: Path) -> None:
    """Each serves what the other stores. A key is created once, by either server.

    No update is lost.
    """
    root = tmp_path / "shared"
    servers = [serve(root=root), serve(root=root)]
    created: list[int] = []

    def create(number: int) -> None:
        url = f"{servers[number % 2].url}/files/deep/one"
        created.append(
            requests.put(
                url, data=b"%d" % number, headers={"If-None-Match": "*"}, timeout=20
            ).status_code
        )

    threads = [threading.Thread(target=create, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(created) == [201, *[412] * 11]

    etag = requests.get(f"{servers[1].url}/files/deep/one", timeout=10).headers["ETag"]
    updates = [
        requests.put(f"{s.url}/files/deep/one", data=b"new", headers={"If-Match": etag}, timeout=10)
        for s in servers
    ]
    assert sorted(update.status_code for update in updates) == [200, 412]
    assert requests.delete(f"{servers[1].url}/files/deep/one", timeout=10).status_code == 204
    assert requests.get(f"{servers[0].url}/files/deep/one", timeout=10).status_code == 404


def test_a_killed_worker_is_replaced_and_its_uploads_fail_visibly(serve: Serve) -> None:
    """--workers 2: one dies during an upload.

    The other continues, a new one starts, and the watcher sees the failure.
    """
    server = serve("--workers", "2")
    upload = "w" * 30
    with Wire(server.port) as wire:
        wire.send(
            head("PUT", f"/files/lost?upload={upload}", "Content-Length: 1000000") + bytes(100_000)
        )
        eventually(
            lambda: requests.get(f"{server.url}/uploads/{upload}", timeout=10).status_code == 200,
            "it began",
        )
        ours = wire.sock.getsockname()[1]
        workers = [child for child in psutil.Process(server.pid).children() if _serves(child, ours)]
        assert len(workers) == 1
        workers[0].kill()
        wire.rest()
    eventually(lambda: _state(server, upload) == "failed", "the watcher gets it")

    eventually(
        lambda: sum(map(_is_worker, psutil.Process(server.pid).children())) == 2, "a new worker"
    )
    for number in range(10):
        assert (
            requests.put(f"{server.url}/files/{number}", data=b"1", timeout=10).status_code == 201
        )
    assert "lost" not in server.stored()
    assert server.stop() == 0


def test_what_a_killed_server_left_is_removed_by_the_next_one(serve: Serve, tmp_path: Path) -> None:
    """Its workers' settings hold the token. What a living server uses stays."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    env = {"TMPDIR": str(temporary)}
    killed, living = (serve("--workers", "2", env=env) for _ in range(2))
    folders = set(temporary.iterdir())
    assert len(folders) == 2
    processes = [psutil.Process(killed.pid), *psutil.Process(killed.pid).children()]
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, 20)
    killed.process.wait(20)
    for folder in folders:
        assert folder.stat().st_mode & 0o777 == 0o700
        os.utime(folder, (0, 0))  # a server locks its folder at once

    following = serve("--workers", "2", env=env)

    assert len(folders & set(temporary.iterdir())) == 1
    for server in (living, following):
        assert requests.put(f"{server.url}/files/a", data=b"1", timeout=60).status_code == 201
        assert server.stop() == 0
    assert list(temporary.iterdir()) == []


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:
        return False  # the one that died


def _serves(process: psutil.Process, port: int) -> bool:
    return any(conn.raddr and conn.raddr[1] == port for conn in process.net_connections("tcp"))


def _state(server: RunningServer, upload: str) -> str:
    try:
        return str(requests.get(f"{server.url}/uploads/{upload}", timeout=10).json().get("state"))
    except requests.ConnectionError:
        return "no answer"  # the connection was given to the worker that died


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
    assert re.search(
        r'127\.0\.0\.1 "PUT /files/logged\.bin" 201 [0-9]+ [0-9.]+s' + stages + "$", lines[0]
    )
    assert re.search(r'"GET /files/logged\.bin" 200 5 [0-9.]+s$', lines[1])
    assert r"\x1b[31m\r\nforged line\"\\\u202e" in lines[2]
    assert len(lines[3]) < 700
    assert '" 401 ' in lines[4]
    assert all(line.isprintable() and line.isascii() for line in lines)
    for secret in (TOKEN, "wrong-secret", "sig=hidden", "q" * 22, "Bearer"):
        assert secret not in log.replace("-u :TOKEN", "")
