"""Stopping within bounds, restarting, workers: uploads finish or fail visibly."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import eventually
from journeys.test_operation import PIECE
from raw_http import Wire, head, talk
from resumable_requests import append_fields, ask, create
from tus_by_hand import OFFSET_STREAM, Tus

# A folder of a network whose server does not answer any more, just when a file is to get its name.
HANGS = """
import os, time
import sluiceway.server.listening.serving as serving
import sluiceway.uploads.resumable.service as service

serving.CLOSE_TIMEOUT, service.STOP_TIMEOUT = 3.0, 0.5
os.link = lambda *_, **__: time.sleep(3600)
"""

FIRST_WORKER_DIES = """
import os, signal, sys
if "spawn_main" in " ".join(sys.orig_argv):
    try:
        os.close(os.open(__file__ + ".died", os.O_CREAT | os.O_EXCL))
        os.kill(os.getpid(), signal.SIGKILL)
    except FileExistsError:
        pass
"""


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

    Nothing is stored, no draft stays, the exit code is 0. Nor does it after a second signal: the
    first may come twice within a second.
    """
    server = serve("--shutdown-timeout", "60")
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/never", "Content-Length: 100000000") + bytes(PIECE))
        eventually(server.drafts, "the upload is under way")
        began = time.monotonic()
        for _ in range(2):
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: "Stopping; requests under way: 1, for up to 60 s" in server.log())
        assert server.process.poll() is None
        eventually(lambda: time.monotonic() - began > 1.1)
        assert server.stop() == 0
        assert time.monotonic() - began < 20
        response = wire.answer()

    assert (response.status, response.code) == (503, "unavailable")
    assert server.stored() == {}
    assert server.drafts() == []
    assert "Traceback" not in server.log()
    assert "A second signal: " in server.log()
    assert "1 requests have not ended in time and are cut" in server.log()
    assert "ERROR" not in server.log()


def test_what_a_stop_cuts_is_kept(serve: Serve, tmp_path: Path) -> None:
    """Each client learns how much, in a PUT and in a PATCH; the server that comes next has it."""
    root = tmp_path / "kept"
    server = serve("--shutdown-timeout", "1", root=root)
    url = create(server, 8).headers["location"]
    fields = [*append_fields(8, 0, True), "Content-Length: 100000000"]
    name = "a-put-that-is-stopped-0123456789"
    target = f"/files/late?upload={name}"
    with Wire(server.port) as put, Wire(server.port) as patch:
        put.send(head("PUT", target, "Content-Length: 100000000") + bytes(2 * PIECE))
        patch.send(head("PATCH", url, *fields) + bytes(PIECE))
        eventually(lambda: _received(server, f"/uploads/{name}") == 2 * PIECE, "the PUT")
        eventually(lambda: _received(server, url) == PIECE, "the PATCH")
        assert server.stop() == 0
        answers = [put.answer(), patch.answer()]

    assert [answer.status for answer in answers] == [503, 503]
    told = [int(answer.json()["detail"].split("; ")[1].split()[0]) for answer in answers]
    again = serve(root=root)
    question = ["Content-Length: 0", "Content-Range: bytes */*"]
    offsets = [
        int(answer.headers["upload-offset"])
        for answer in (talk(again.port, head("PUT", "/files/late", *question)), ask(again, 8, url))
    ]
    assert told == offsets == [2 * PIECE, PIECE]


def test_an_upload_that_a_hung_place_publishes_is_left(serve: Serve, tmp_path: Path) -> None:
    """The log says which; the next server goes on with it."""
    (tmp_path / "sitecustomize.py").write_text(HANGS)
    root = tmp_path / "hung"
    options = ("--shutdown-timeout", "1", "--key-template", "{filename}")
    hung = serve(*options, root=root, env={"PYTHONPATH": str(tmp_path)})
    upload = Tus(hung.url).create(PIECE, filename="a")
    fields = ["Tus-Resumable: 1.0.0", f"Content-Type: {OFFSET_STREAM}", "Upload-Offset: 0"]
    path = upload.removeprefix(hung.url)
    with Wire(hung.port) as wire:
        wire.send(head("PATCH", path, *fields, f"Content-Length: {PIECE}") + bytes(PIECE))
        name = path.rpartition("/")[2]
        eventually(lambda: _state(hung, name) == "checking", "it is published")
        assert hung.stop() == -signal.SIGKILL
    assert f"Upload {name}: its place has not answered" in hung.log()
    assert "A place hangs" in hung.log()
    again = Tus(serve(root=root).url)
    found = upload.replace(hung.url, again.url)
    assert again.offset(found) == PIECE
    eventually(lambda: again.patch(found, PIECE, b"").status_code == 204)
    assert (root / "a").read_bytes() == bytes(PIECE)


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


def test_a_killed_worker_is_replaced_and_its_uploads_fail_visibly(
    serve: Serve, tmp_path: Path
) -> None:
    """--workers 2: one dies before it is ready, one during an upload.

    The other continues, a new one starts, and the watcher sees the failure. The workers are not
    forked here (tests/fork_workers.py), but started as usual.
    """
    (tmp_path / "sitecustomize.py").write_text(FIRST_WORKER_DIES)
    server = serve("--workers", "2", env={"PYTHONHASHSEED": "1", "PYTHONPATH": str(tmp_path)})
    eventually(lambda: "was killed before it was ready; another one starts" in server.log())
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
    """Its workers' settings hold the token. What a living server uses stays.

    Only the parent is killed; its workers see that, and end.
    """
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    env = {"TMPDIR": str(temporary)}
    killed, living = (serve("--workers", "2", env=env) for _ in range(2))
    folders = set(temporary.iterdir())
    assert len(folders) == 2
    workers = psutil.Process(killed.pid).children()  # forks: tests/fork_workers.py
    assert len(workers) >= 2
    killed.stop(signal.SIGKILL)
    eventually(lambda: not any(map(_runs, workers)), "the workers end with their parent")
    assert _refused(killed.port)
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


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _serves(process: psutil.Process, port: int) -> bool:
    return any(conn.raddr and conn.raddr[1] == port for conn in process.net_connections("tcp"))


def _received(server: RunningServer, path: str) -> int:
    found: int = requests.get(f"{server.url}{path}", timeout=10).json().get("received", 0)
    return found


def _state(server: RunningServer, upload: str) -> str:
    try:
        return str(requests.get(f"{server.url}/uploads/{upload}", timeout=10).json().get("state"))
    except requests.ConnectionError:
        return "no answer"  # the connection was given to the worker that died
