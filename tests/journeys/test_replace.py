"""A server is replaced, or restarted behind a socket that stays: nothing under way notices."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from fix_replaced import Notes, Replace, activated, can_replace
from fix_server import RunningServer, Serve
from fix_taking import eventually, need
from fork_server import PlainPopen
from free_ports import free_port
from raw_http import Wire, chunk, form_begun, form_body, form_head, head
from tus_by_hand import Tus

pytestmark = can_replace
SIZE = 300_000


def begun(wire: Wire, key: str, upload: str) -> None:
    """Half of an upload."""
    target = f"/files/{key}?upload={upload}"
    wire.send(head("PUT", target, f"Content-Length: {2 * SIZE}") + bytes(SIZE))


def state(url: str, upload: str) -> str:
    response = requests.get(f"{url}/uploads/{upload}", timeout=30)
    return str(response.json().get("state", response.status_code))


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.torture)])
def test_what_is_under_way_ends_at_the_replaced_server(
    serve: Serve, replace: Replace, workers: str
) -> None:
    """Raw body, form, half a head, an idle connection, an upload in pieces: all succeed.

    The successor shows and cancels uploads that the other one receives. Streams that wait end, so
    that their clients ask the successor.
    """
    old = serve("--workers", workers, "--shutdown-timeout", "20")
    with ExitStack() as stack:
        raw, form, half, idle, waiting, unwanted = (
            stack.enter_context(Wire(old.port)) for _ in range(6)
        )
        idle.send(head("GET", "/healthz"))
        assert "connection" not in idle.answer().headers
        begun(raw, "raw", "r" * 25)
        begun(unwanted, "unwanted", "u" * 25)
        first = form_begun(("file", "form", b""))
        last = form_body(("file", "form", b"")).removeprefix(first)
        form.send(form_head(None) + chunk(first + bytes(SIZE)))
        half.send(b"PUT /files/half HTTP/1.1\r\nHost: localh")
        waiting.send(head("GET", "/uploads/" + "w" * 25, "Accept: text/event-stream"))
        ended = waiting.sock.recv(1000)
        tus = Tus(old.url)
        upload = tus.create(2 * SIZE, filename="pieces")
        assert tus.patch(upload, 0, bytes(SIZE)).status_code == 204
        eventually(lambda: len(old.drafts()) >= 3, "all uploads are under way")

        successor = replace(old, "--workers", workers)

        assert state(successor.url, "r" * 25) == "receiving"
        assert tus.patch(urljoin(old.url, upload), SIZE, bytes(SIZE)).status_code == 204
        assert requests.delete(f"{old.url}/uploads/{'u' * 25}", timeout=30).status_code == 204
        eventually(lambda: state(successor.url, "u" * 25) == "cancelled", "it is cancelled")
        while not ended.endswith(b"\r\n0\r\n\r\n"):
            more = waiting.sock.recv(1000)
            assert more
            ended += more
        half.send(b"ost\r\nContent-Length: 3\r\n\r\nabc")
        idle.send(head("PUT", "/files/idle", "Content-Length: 3") + b"abc")
        raw.send(bytes(SIZE))
        form.send(chunk(bytes(SIZE) + last) + b"0\r\n\r\n")
        for wire in (half, idle, raw, form):
            answer = wire.answer()
            assert (answer.status, answer.headers["connection"]) == (201, "close")
        tus.session.close()

    assert old.process.wait(30) == 0
    eventually(lambda: state(successor.url, "r" * 25) == "complete", "its end is known")
    sizes = {key.rpartition("/")[2]: size for key, size in successor.stored().items()}
    whole = dict.fromkeys(("raw", "form", "pieces"), 2 * SIZE)
    assert sizes == {**whole, "half": 3, "idle": 3}
    assert successor.stop() == 0


def test_a_stop_ends_what_a_replaced_server_still_waits_for(serve: Serve, replace: Replace) -> None:
    """SIGTERM leaves it --shutdown-timeout, and not --replace-timeout. The piece of an upload
    that is interrupted by that is kept; the client goes on at the successor."""
    old = serve("--shutdown-timeout", "1")
    tus = Tus(old.url)
    upload = tus.create(2 * SIZE, filename="pieces")
    with Wire(old.port) as wire:
        path = "/" + urljoin(old.url, upload).split("/", 3)[3]
        fields = ("Tus-Resumable: 1.0.0", "Upload-Offset: 0", f"Content-Length: {2 * SIZE}")
        content = "Content-Type: application/offset+octet-stream"
        wire.send(head("PATCH", path, content, *fields) + bytes(SIZE))
        eventually(lambda: _received(old, upload) == SIZE, "it is under way")
        successor = replace(old)
        tus.session.close()
        assert old.process.poll() is None
        assert old.stop() == 0
        assert wire.answer().status >= 500

    assert tus.offset(upload) == SIZE
    assert tus.patch(upload, SIZE, bytes(SIZE)).status_code == 204
    assert list(successor.stored().values()) == [2 * SIZE]
    tus.session.close()


def _received(server: RunningServer, upload: str) -> object:
    found = requests.get(f"{server.url}/uploads/{upload.rpartition('/')[2]}", timeout=30)
    return found.json().get("received")


def test_a_successor_that_cannot_serve_changes_nothing(serve: Serve, tmp_path: Path) -> None:
    """It says why, and the running server goes on; later another one can take over."""
    old = serve()
    (blocked := tmp_path / "file").write_bytes(b"")
    for options, words in (
        (("--to", str(blocked)), "cannot be used"),
        (("--to", "memory:"), "are lost"),
        (("--port", "0"), "needs the --port"),
    ):
        with pytest.raises(AssertionError, match=words):
            serve("--port", str(old.port), "--replace", *options)
    assert requests.put(f"{old.url}/files/a", data=b"a", timeout=30).status_code == 201


def test_a_port_of_another_program_is_not_taken_over(serve: Serve) -> None:
    """The error says what may be the reason. A free port is used as without --replace."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with pytest.raises(AssertionError, match="no server of this user that hands its port over"):
            serve("--port", port, "--replace")
    server = serve("--port", port, "--replace")
    assert requests.get(f"{server.url}/healthz", timeout=30).text == "ok\n"


def test_a_server_behind_a_socket_of_its_supervisor_restarts_without_a_gap(
    tmp_path: Path, notes: Notes
) -> None:
    """Who connects while no server runs is served by the next one. The supervisor hears when a
    server is ready and when it stops; a token is needed where other machines reach the socket."""
    env = {"NOTIFY_SOCKET": notes.path}
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        first = activated(tmp_path / "root", sock, env=env)
        assert notes.next() == {"READY": "1", "MAINPID": str(first.pid)}
        with Wire(port) as slow, Wire(port) as idle:
            begun(slow, "slow", "s" * 25)
            idle.send(head("GET", "/healthz"))
            idle.answer()
            first.send_signal(signal.SIGTERM)
            assert notes.next() == {"STOPPING": "1"}
            slow.send(bytes(SIZE))
            assert slow.answer().status == 201
        assert first.wait(30) == 0
        with Wire(port) as early:
            early.send(head("PUT", "/files/early", "Content-Length: 3") + b"abc")
            second = activated(tmp_path / "root", sock, "--workers", "1", env=env)
            assert early.answer().status == 201
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        assert activated(tmp_path / "root", everywhere).wait(30) == 2


@pytest.mark.torture
def test_workers_serve_the_sockets_that_systemd_opens(tmp_path: Path) -> None:
    """By systemd's own program, which starts a server at the first connection."""
    need("systemd-socket-activate")
    port = free_port()
    command = [sys.executable, "-m", "sluiceway", "serve", "--to", str(tmp_path / "root")]
    process = PlainPopen(
        ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", *command, "--workers", "2"],
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _put(port), "it is served")
    finally:
        process.terminate()
        assert process.wait(30) == 0


def _put(port: int) -> bool:
    try:
        url = f"http://127.0.0.1:{port}/files/a"
        return requests.put(url, data=b"a", timeout=30).status_code in (200, 201)
    except requests.ConnectionError:
        return False


@pytest.mark.torture
def test_a_server_starts_its_own_successor(tmp_path: Path, notes: Notes) -> None:
    """SIGUSR2: the supervisor hears of the new main process, and the old one ends."""
    port = free_port()
    command = [sys.executable, "-m", "sluiceway", "serve", "--to", str(tmp_path / "root")]
    first = PlainPopen(
        [*command, "--port", str(port)],
        env={**os.environ, "NOTIFY_SOCKET": notes.path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert notes.next()["READY"] == "1"
    first.send_signal(signal.SIGUSR2)
    found = int(notes.next()["MAINPID"])
    try:
        assert found != first.pid
        assert first.wait(30) == 0
        assert _put(port)
    finally:
        os.kill(found, signal.SIGTERM)
    assert notes.next() == {"STOPPING": "1"}
    eventually(lambda: not Path(f"/proc/{found}").exists() or _is_zombie(found), "it has ended")


def _is_zombie(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_an_idle_connection_of_a_replaced_server_is_closed_after_a_while(
    serve: Serve, replace: Replace
) -> None:
    """Half of --replace-timeout at most: the old process ends although a client stays."""
    old = serve("--replace-timeout", "2")
    with Wire(old.port) as idle:
        idle.send(head("GET", "/healthz"))
        idle.answer()
        began = time.monotonic()
        replace(old)
        assert idle.rest() == b""
        assert time.monotonic() - began > 0.5
        assert old.process.wait(30) == 0
