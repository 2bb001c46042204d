"""The files in deploy/ as they are: only ports, paths and the destination differ.

Through each, a raw body and a form stream, progress is reported meanwhile, and a running upload
survives a stop. A test here shows each statement of docs/deploy.md. Each server is ended by its id.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from fix_deploy import (
    DEPLOY,
    HEARD,
    MIB,
    SCRIPTS,
    SERVERS,
    STOP,
    TOKEN,
    Deployed,
    answers,
    ask,
    behind_nginx,
    deployed,
    head,
)
from fix_gateway import takes
from fix_server import START, start_server
from fix_taking import eventually, missing, need, noise
from fork_programs import IN_A_FORK
from raw_http import LAST_CHUNK, Answer, Wire, chunk
from rude_peer import Exchange, Peer

DATA = noise(3_000_017)


@pytest.fixture(scope="module", params=[*SERVERS, pytest.param("nginx", marks=pytest.mark.nginx)])
def one(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    if request.param == "nginx":
        need("nginx")
    with deployed(request.param, tmp_path_factory.mktemp("deployed")) as running:
        yield running


def files_in(exchange: Exchange) -> bytes:
    """The bytes of the file, without the surrounding form."""
    if not exchange.headers.get("content-type", "").startswith("multipart/"):
        return exchange.body
    return exchange.body.rpartition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]


@pytest.mark.parametrize("kind", ["raw", "form"])
def test_an_upload_passes_whole_and_the_backends_answer_comes_back(
    one: Deployed, kind: str
) -> None:
    """More than nginx's default limit of 1 MiB arrives, byte for byte, with its length."""
    if kind == "raw":
        response = ask("put", f"{one.url}/files/a.bin", data=DATA, timeout=30)
    else:
        response = ask(
            "post",
            f"{one.url}/files",
            data={"title": "T"},
            files={"file": ("a.bin", DATA)},
            timeout=30,
        )

    assert (response.status_code, response.json()) == (201, {"ok": True})
    assert files_in(one.peer.seen[-1]) == DATA
    assert "content-length" in one.peer.seen[-1].headers


@pytest.mark.parametrize("kind", ["raw", "form"])
def test_the_backend_sees_an_upload_before_a_twentieth_was_sent(one: Deployed, kind: str) -> None:
    """Nothing is buffered on the way, in memory or in a file."""
    seen, begun = len(one.peer.seen), one.begun(kind, 40 * MIB)[0]
    with Wire(one.port) as wire:
        wire.send(begun + bytes(MIB))
        eventually(
            lambda: len(one.peer.seen) > seen and len(one.peer.seen[seen].body) > 500_000,
            "the backend has bytes of it",
        )
        assert [path for path in one.temporary.rglob("*") if path.is_file()] == []
    assert one.peer.seen[seen].was_cut()


def test_a_chunked_upload_streams_or_is_refused_with_advice(one: Deployed) -> None:
    """Through nginx, too. uWSGI hides the end of a chunked body from apps."""
    seen = len(one.peer.seen)
    with Wire(one.port) as wire:
        wire.send(
            head("PUT", f"{one.prefix}/files/c", "Transfer-Encoding: chunked") + chunk(bytes(MIB))
        )
        if one.name == "uWSGI":
            response = wire.answer()
            assert (response.status, response.code) == (411, "length-required")
            return
        eventually(
            lambda: len(one.peer.seen) > seen and len(one.peer.seen[seen].headers),
            "the backend hears of it",
        )
        wire.send(LAST_CHUNK)
        assert wire.answer().status == 201
    assert one.peer.seen[seen].body == bytes(MIB)


def test_a_refusal_is_read_while_the_client_still_sends(one: Deployed) -> None:
    """Five times out of five, although 32 MiB were announced and the server reads none of them."""
    for _ in range(5):
        response = ask(
            "put",
            f"{one.url}/files/f",
            data=bytes(32 * MIB),
            headers={"Origin": "http://other.example"},
            timeout=20,
        )
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")


def test_progress_is_reported_while_the_upload_waits(one: Deployed) -> None:
    """The event about the first half arrives before the second half is sent.

    No part of the chain buffers events.
    """
    upload = f"progress-of-{one.name}-at-a-stop"
    seen: list[dict[str, Any]] = []

    def watch() -> None:
        accept = {"Accept": "text/event-stream"}
        with ask(
            "get", f"{one.url}/uploads/{upload}", headers=accept, stream=True, timeout=30
        ) as events:
            seen.extend(
                json.loads(line[6:])
                for line in events.iter_lines(chunk_size=1)
                if line.startswith(b"data: ")
            )

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with Wire(one.port) as wire:
            wire.send(
                head("PUT", f"{one.prefix}/files/w?upload={upload}", f"Content-Length: {2 * MIB}")
                + bytes(MIB)
            )
            eventually(
                lambda: any(0 < event["kept"] <= MIB for event in seen),
                "the first half is reported",
            )
            wire.send(bytes(MIB))
            assert wire.answer().status == 201
    finally:
        watcher.join(30)
    assert (seen[-1]["state"], seen[-1]["kept_by"]) == ("complete", "destination")


def test_a_page_may_write_and_a_page_of_another_site_may_not(one: Deployed) -> None:
    """Origin is compared with Host including the port: a proxy has to pass both on unchanged."""
    own = f"http://127.0.0.1:{one.port}"
    statuses = [
        ask(
            "put", f"{one.url}/files/o", data=b"1", headers={"Origin": origin}, timeout=10
        ).status_code
        for origin in (own, "http://127.0.0.1", "http://other.example")
    ]
    assert statuses == [201, 403, 403]


def test_many_more_uploads_than_cores_are_under_way_at_once(one: Deployed) -> None:
    """Thirty clients pause in the middle. Another client is served, and then they finish."""
    begun = one.begun("raw", 2000)[0]
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(one.port)) for _ in range(30)]
        for wire in wires:
            wire.send(begun + bytes(1000))
        assert ask("put", f"{one.url}/files/b", data=b"1", timeout=20).status_code == 201
        for wire in wires:
            wire.send(bytes(1000))
        assert {wire.answer().status for wire in wires} == {201}


def test_a_client_may_pause_for_longer_than_uwsgi_allows_by_default(one: Deployed) -> None:
    """Five seconds without a byte in the middle of a body; uWSGI's default ends it after four."""
    if one.name != "uWSGI":
        pytest.skip("the others wait for longer anyway")
    with Wire(one.port) as wire:
        wire.send(one.begun("raw", 2 * MIB)[0] + bytes(MIB))
        time.sleep(5)
        wire.send(bytes(MIB))
        assert wire.answer().status == 201


@pytest.mark.parametrize("name", [*SERVERS, pytest.param("nginx", marks=pytest.mark.nginx)])
def test_a_running_upload_finishes_when_the_server_stops(name: str, tmp_path: Path) -> None:
    """SIGTERM (SIGQUIT for nginx) arrives in the middle, the client sends the rest and gets 201.

    Then the server ends by itself.
    """
    if name == "nginx":
        need("nginx")
    response: list[Answer] = []
    with deployed(name, tmp_path) as one:
        begun, rest = one.begun("form", 2 * MIB)
        with Wire(one.port) as wire:
            wire.send(begun + bytes(MIB))
            eventually(lambda: one.peer.seen and one.peer.seen[0].body, "it is under way")
            one.process.send_signal(signal.SIGQUIT if name == "nginx" else signal.SIGTERM)
            time.sleep(HEARD)
            wire.send(bytes(MIB) + rest)
            response.append(wire.answer())
        one.process.wait(STOP)

    assert response[0].status == 201
    assert len(files_in(one.peer.seen[0])) == 2 * MIB


@pytest.mark.nginx
def test_nginx_ends_an_upload_that_pauses_for_too_long(tmp_path: Path) -> None:
    """With a short limit.

    The client gets 408 or the end, and the server behind it drops the draft.
    """
    need("nginx")
    (tmp_path / "temporary").mkdir()
    server = start_server(tmp_path / "root")
    with ExitStack() as stack:
        process, port = behind_nginx(tmp_path, server, stack, patience="1s")
        one = Deployed(
            "nginx", port, process, stack.enter_context(Peer(takes)), tmp_path / "temporary"
        )
        eventually(lambda: answers(one, process), "nginx answers")
        with Wire(port) as wire:
            wire.send(head("PUT", "/files/paused", f"Content-Length: {2 * MIB}") + bytes(MIB))
            eventually(server.drafts, "the server has the first half")
            response = wire.rest()
        eventually(lambda: server.drafts() == [], "the server has dropped it")

    assert response == b"" or response.startswith(b"HTTP/1.1 408 ")
    assert server.stored() == {}


@pytest.mark.nginx
def test_nginx_does_not_buffer_downloads(tmp_path: Path) -> None:
    """A reader that stops after a KiB makes the server wait.

    The response ends when the reader continues. The log shows the reader's address.
    """
    need("nginx")
    (tmp_path / "temporary").mkdir()
    server = start_server(tmp_path / "root")
    with ExitStack() as stack:
        process, port = behind_nginx(tmp_path, server, stack)
        one = Deployed(
            "nginx", port, process, stack.enter_context(Peer(takes)), tmp_path / "temporary"
        )
        eventually(lambda: answers(one, process), "nginx answers")
        assert (
            ask("put", f"{server.url}/files/large", data=bytes(64 * MIB), timeout=30).status_code
            == 201
        )
        with ask(
            "get",
            f"{one.url}/files/large",
            headers={"X-Forwarded-For": "192.0.2.7"},
            stream=True,
            timeout=30,
        ) as response:
            size = len(next(response.iter_content(1024)))
            time.sleep(HEARD)
            assert "GET /files/large" not in server.log()
            size += sum(len(piece) for piece in response.iter_content(MIB))
        eventually(lambda: '"GET /files/large" 200' in server.log(), "the answer has ended")

    assert size == 64 * MIB
    assert re.search(r'192\.0\.2\.7 "GET /files/large"', server.log())


def test_the_systemd_unit_is_valid(tmp_path: Path) -> None:
    """systemd reports no problem with it, with the path of the program replaced."""
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze is not installed")
    unit = (DEPLOY / "sluiceway.service").read_text("utf-8")
    assert unit.count("/opt/sluiceway/bin/sluiceway") == 1
    (tmp_path / "sluiceway.service").write_text(unit.replace("/opt/sluiceway/bin", str(SCRIPTS)))
    command = ["systemd-analyze", "verify", str(tmp_path / "sluiceway.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_command_in_the_systemd_unit_starts(tmp_path: Path) -> None:
    """Its command, with a folder, a port and a credential of the test, serves clients with the
    token.

    TimeoutStopSec is above --shutdown-timeout.
    """
    unit = (DEPLOY / "sluiceway.service").read_text("utf-8")
    (tmp_path / "token").write_text(TOKEN + "\n")
    words = re.findall(r"^ExecStart=\S+ serve (.+)$", unit, re.MULTILINE)[0].split()
    words = [word.replace("${CREDENTIALS_DIRECTORY}", str(tmp_path)) for word in words]
    assert words[:4] == ["--to", "/var/lib/sluiceway", "--port", "8000"]
    assert re.search(r"^LoadCredential=token:/\S+$", unit, re.MULTILINE)
    server = start_server(tmp_path / "root", *words[4:])
    try:
        assert requests.put(f"{server.url}/files/a", data=b"1", timeout=10).status_code == 401
        assert ask("put", f"{server.url}/files/a", data=b"1", timeout=10).status_code == 201
    finally:
        server.stop()
    drain = int(words[words.index("--shutdown-timeout") + 1])
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]) > drain


@pytest.mark.parametrize("app", ["asgi_app", "flask_app"])
@pytest.mark.parametrize("given", ["nothing", "empty", "empty file", "file"])
def test_the_apps_start_with_a_token_only(app: str, given: str, tmp_path: Path) -> None:
    """They refuse a missing and an empty token; a token file works."""
    env = {name: value for name, value in os.environ.items() if name not in ("TOKEN", "TOKEN_FILE")}
    env["DESTINATION"] = str(tmp_path / "root")
    (tmp_path / "token").write_text(TOKEN if given == "file" else "\n")
    env |= {"empty": {"TOKEN": ""}, "nothing": {}}.get(
        given, {"TOKEN_FILE": str(tmp_path / "token")}
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{IN_A_FORK}import {app}"],
        cwd=DEPLOY,
        env=env,
        capture_output=True,
        text=True,
        timeout=START,
        check=False,
    )
    assert (done.returncode == 0) == (given == "file"), done.stderr
    assert given == "file" or "token" in done.stderr.lower()
