"""From one real server to another: the stored object, breaks on the way, kills."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sluiceway
from fix_server import Serve
from fix_taking import noise
from sluiceway.errors import DigestMismatch, NotFound, SourceFailed, Unauthorized

DATA = noise(20_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
DEADLINE = 60  # seconds


def copying(*arguments: str | Path, **env: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "sluiceway", "copy", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **env},
    )


class Line:
    """A proxy that breaks the connection after a number of bytes, and slows it down."""

    def __init__(self, port: int, after: int, times: int, pause: float = 0.0) -> None:
        self._to, self._after, self._left, self._pause = port, after, times, pause
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:  # the server is gone
                client.close()
                continue
            threading.Thread(target=self._carry, args=(client, server, None), daemon=True).start()
            breaks, self._left = self._left > 0, self._left - 1
            threading.Thread(
                target=self._carry,
                args=(server, client, self._after if breaks else None),
                daemon=True,
            ).start()

    def _carry(self, a: socket.socket, b: socket.socket, most: int | None) -> None:
        try:
            while most is None or most > 0:
                data = a.recv(65536 if most is None else min(65536, most))
                if not data:
                    break
                most = None if most is None else most - len(data)
                b.sendall(data)
                time.sleep(self._pause)
        except OSError:
            pass
        for sock in (a, b):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    made: list[Line] = []
    yield made
    for line in made:
        line.close()


def test_a_file_is_copied_between_servers(serve: Serve) -> None:
    """Bytes, name and type; raw and as a form; a token for each."""
    one, two = serve("--token", "the-first-token"), serve("--token", "the-second-token")
    (one.root / "a b.webp").write_bytes(DATA)
    tokens: Any = {"from_token": "the-first-token", "token": "the-second-token"}
    raw = sluiceway.copy(f"{one.url}/files/a%20b.webp", f"{two.url}/files/d/", **tokens)
    form = sluiceway.copy(
        f"{one.url}/files/a%20b.webp", f"{two.url}/files", form={"id": "1"}, **tokens
    )
    responses = [receipt.answer for receipt in (raw, form)]

    assert (two.root / "d" / "a b.webp").read_bytes() == DATA
    assert [
        response["files"][0]["type"] for response in responses if isinstance(response, dict)
    ] == ["image/webp"] * 2
    assert [receipt.sha256 for receipt in (raw, form)] == [DIGEST] * 2
    assert raw.location == f"{two.url}/files/d/a%20b.webp"


def test_each_refusal_names_its_server(serve: Serve) -> None:
    """A missing token on either side, a missing file."""
    one, two = serve("--token", "the-first-token"), serve("--token", "the-second-token")
    (one.root / "a").write_bytes(DATA)
    with pytest.raises(Unauthorized, match=r"--from-token") as caught:
        sluiceway.copy(f"{one.url}/files/a", f"{two.url}/files/a", token="the-second-token")
    assert one.url in caught.value.detail
    with pytest.raises(Unauthorized, match=r"--token") as caught:
        sluiceway.copy(f"{one.url}/files/a", f"{two.url}/files/a", from_token="the-first-token")
    assert two.url in caught.value.detail
    with pytest.raises(NotFound):
        sluiceway.copy(
            f"{one.url}/files/b",
            f"{two.url}/files/b",
            from_token="the-first-token",
            token="the-second-token",
        )

    assert two.stored() == {}


def test_a_broken_source_connection_is_resumed_in_one_upload(
    serve: Serve, lines: list[Line]
) -> None:
    """The source breaks five times; the target sees one complete upload."""
    one, two = serve(), serve()
    (one.root / "a").write_bytes(DATA)
    lines.append(Line(one.port, after=3_000_000, times=5))
    receipt = sluiceway.copy(f"{lines[0].url}/files/a", f"{two.url}/files/a")

    assert receipt.sha256 == DIGEST
    assert (two.root / "a").read_bytes() == DATA
    assert lines[0].connections == 6
    end = time.monotonic() + DEADLINE
    while "PUT /files/a" not in two.log():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert two.log().count("PUT /files/a") == 1


def test_a_broken_target_connection_is_retried(serve: Serve, lines: list[Line]) -> None:
    """The target breaks before its response: the file is sent again, and stored once."""
    one, two = serve(), serve()
    (one.root / "a").write_bytes(DATA)
    lines.append(Line(two.port, after=40, times=2))
    receipt = sluiceway.copy(f"{one.url}/files/a", f"{lines[0].url}/files/a")

    assert receipt.sha256 == DIGEST
    assert two.stored() == {"a": len(DATA)}
    assert two.drafts() == []


def test_a_source_that_dies_leaves_nothing_at_the_target(serve: Serve, lines: list[Line]) -> None:
    """Killed in the middle of one request: exit code 3, no object, no draft."""
    one, two = serve(), serve()
    (one.root / "a").write_bytes(DATA)
    lines.append(Line(one.port, after=10**12, times=1, pause=0.01))
    urls = f"{lines[0].url}/files/a", f"{two.url}/files/a"
    process = copying("--no-resume", "--retries", "1", *urls)
    end = time.monotonic() + DEADLINE
    while not two.drafts():
        assert time.monotonic() < end
        time.sleep(0.01)
    one.stop(signal.SIGKILL)
    _, error = process.communicate(timeout=DEADLINE)
    while two.drafts():
        assert time.monotonic() < end
        time.sleep(0.01)

    assert process.returncode == 3, error
    assert b"broke off" in error
    assert two.stored() == {}


def test_a_source_that_died_goes_on_at_the_target_in_the_next_run(
    serve: Serve, lines: list[Line], tmp_path: Path
) -> None:
    """What the target keeps meanwhile is no object; the same command takes only the rest."""
    one, two = serve(), serve()
    (one.root / "a").write_bytes(DATA)
    lines.append(Line(one.port, after=10_000_000, times=1))
    urls = f"{lines[0].url}/files/a", f"{two.url}/files/a"
    process = copying("--retries", "0", *urls, XDG_STATE_HOME=str(tmp_path))
    _, error = process.communicate(timeout=DEADLINE)
    assert process.returncode == 3, error
    assert two.stored() == {}
    process = copying(*urls, XDG_STATE_HOME=str(tmp_path))
    output, notes = process.communicate(timeout=DEADLINE)

    assert process.returncode == 0, notes
    assert b"goes on at" in notes
    assert DIGEST.encode() in output
    assert (two.root / "a").read_bytes() == DATA
    assert "OPTIONS" not in one.log()


def test_a_killed_copy_leaves_nothing_at_the_target(
    serve: Serve, lines: list[Line], tmp_path: Path
) -> None:
    """SIGKILL in the middle of one request: no object, the draft is removed, and no local file was
    created."""
    one, two = serve(), serve()
    (one.root / "a").write_bytes(DATA)
    lines.append(Line(one.port, after=10**12, times=1, pause=0.01))
    (tmp_path / "tmp").mkdir()
    urls = f"{lines[0].url}/files/a", f"{two.url}/files/a"
    process = copying("--no-resume", *urls, TMPDIR=str(tmp_path / "tmp"))
    end = time.monotonic() + DEADLINE
    while not two.drafts():
        assert time.monotonic() < end
        time.sleep(0.01)
    files = {
        os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")
    }
    process.kill()
    process.communicate(timeout=DEADLINE)
    while two.drafts():
        assert time.monotonic() < end
        time.sleep(0.01)

    assert two.stored() == {}
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not any(str(tmp_path / "tmp") in file for file in files)


def test_a_file_that_changes_during_the_copy_is_not_mixed(serve: Serve, lines: list[Line]) -> None:
    """The source got another version before it was resumed: an error, and no object."""
    one, two = serve(), serve()
    (one.root / "a").write_bytes(DATA)
    lines.append(Line(one.port, after=3_000_000, times=1))
    changed = threading.Event()

    def change(now: sluiceway.Progress) -> None:
        if now.stage == "retrying" and not changed.is_set():
            changed.set()
            sluiceway.copy(__file__, f"{one.url}/files/a", headers={"If-Match": "*"})

    with pytest.raises((SourceFailed, DigestMismatch), match="changed"):
        sluiceway.copy(
            f"{lines[0].url}/files/a",
            f"{two.url}/files/a",
            on_progress=lambda now: _elsewhere(change, now),
        )

    assert changed.is_set()
    assert two.stored() == {}


def _elsewhere(work: object, now: sluiceway.Progress) -> None:
    """In a thread: copy() must not run inside an event loop."""
    thread = threading.Thread(target=work, args=(now,))  # type: ignore[arg-type]
    thread.start()
    thread.join(DEADLINE)


def test_the_receipt_as_json(serve: Serve) -> None:
    """Both sides, the digest, the stages and the verdict."""
    one, two = serve(), serve()
    (one.root / "a").write_bytes(DATA)
    process = copying("--json", f"{one.url}/files/a", f"{two.url}/files/b")
    out, error = process.communicate(timeout=DEADLINE)
    receipt = json.loads(out)

    assert (process.returncode, error) == (0, b"")
    assert (receipt["source"], receipt["location"], receipt["sha-256"]) == (
        f"{one.url}/files/a",
        f"{two.url}/files/b",
        DIGEST,
    )
    assert sum(receipt["stages"].values()) == pytest.approx(receipt["seconds"], rel=0.02)
    assert set(receipt["stages"]) <= {"wait-for-source", "queue", "destination", "wait-for-answer"}
    assert receipt["verdict"].split(" % ")[1] in ("source", "destination", "sluiceway")
