"""A plain PUT that runs in one process, and the question about it that comes to another one."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import requests

from fix_postgres import Database
from fix_server import RunningServer, Serve
from fix_taking import eventually, noise
from raw_http import Answer, Wire, head, talk

SIZE = 3_000_000


def ask(server: RunningServer, key: str) -> int:
    asking = head("PUT", f"/files/{key}", "Content-Length: 0", "Content-Range: bytes */*")
    answer = talk(server.port, asking)
    assert answer.status == 308
    return int(answer.headers["upload-offset"])


def go_on(server: RunningServer, key: str, whole: bytes, offset: int) -> Answer:
    rest = whole[offset:]
    lines = [f"Content-Length: {len(rest)}", f"Upload-Offset: {offset}"]
    return talk(server.port, head("PUT", f"/files/{key}", *lines) + rest)


def announced(server: RunningServer) -> list[str]:
    """What the ledger knows of plain PUTs that run."""
    path = server.root / ".sluiceway" / "uploads.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as ledger:
        try:
            rows = ledger.execute("SELECT id FROM uploads WHERE code = 'running' AND holder > ''")
            return [upload for (upload,) in rows]
        except sqlite3.OperationalError:  # it is just being made
            return []


def begin(wire: Wire, key: str, data: bytes, query: str = "") -> None:
    wire.send(head("PUT", f"/files/{key}{query}", f"Content-Length: {SIZE}") + data)


@pytest.mark.parametrize("ledger", ["", pytest.param("postgresql", marks=pytest.mark.torture)])
def test_a_put_whose_line_is_dead_is_kept_for_who_asks_elsewhere(
    serve: Serve, tmp_path: Path, ledger: str, request: pytest.FixtureRequest
) -> None:
    """No end of its connection tells that its client is gone: it only brings nothing any more."""
    options: tuple[str, ...] = ()
    if ledger:
        database: Database = request.getfixturevalue("database")
        options = ("--ledger", f"{database.url}&table={database.fresh()}")
    one, two = (serve(*options, root=tmp_path / "root") for _ in range(2))
    whole = noise(SIZE)
    with Wire(one.port) as wire:
        begin(wire, "silent", whole[:2_000_000], "?upload=silent-0123456789abcdef")
        snapshot = f"{one.url}/uploads/silent-0123456789abcdef"
        eventually(lambda: requests.get(snapshot, timeout=9).json().get("received") == 2_000_000)
        assert ask(two, "silent") == 2_000_000  # also before the PUT has run for a second
        assert wire.answer().headers["upload-offset"] == "2000000"
    assert go_on(two, "silent", whole, 2_000_000).status == 201
    stored = (one.root / "silent").read_bytes()
    assert hashlib.sha256(stored).digest() == hashlib.sha256(whole).digest()
    if not ledger:
        eventually(lambda: announced(one) == [])


@pytest.mark.torture
def test_a_put_that_moves_is_not_ended_by_a_question(serve: Serve, tmp_path: Path) -> None:
    """Here or elsewhere: another client may send it."""
    one, two = (serve(root=tmp_path / "root") for _ in range(2))
    done, whole = threading.Event(), noise(SIZE)
    with Wire(one.port) as wire:
        begin(wire, "moves", whole[:1_000_000])

        def drip() -> None:
            for at in range(1_000_000, SIZE - 1000, 100):
                wire.send(whole[at : at + 100])
                if done.wait(0.02):
                    wire.send(whole[at + 100 :])
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        eventually(lambda: len(announced(one)) == 1)
        assert ask(two, "moves") == 0
        assert ask(one, "moves") == 0
        assert len(announced(one)) == 1
        done.set()
        dripping.join()
        assert wire.answer().status == 201
    assert (one.root / "moves").read_bytes() == whole
    eventually(lambda: announced(one) == [])


@pytest.mark.torture
def test_a_process_that_was_killed_answers_nothing(serve: Serve, tmp_path: Path) -> None:
    """What it brought is lost, and the question says so at once."""
    one, two = (serve(root=tmp_path / "root") for _ in range(2))
    with Wire(one.port) as wire:
        begin(wire, "killed", noise(2_000_000))
        eventually(lambda: len(announced(one)) == 1)
        one.stop(signal.SIGKILL)
    assert ask(two, "killed") == 0
    assert announced(two) == []
