"""A plain PUT that is cut after a younger request began on its key: it must not come back."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests

from fix_postgres import Database
from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually
from put_pieces import cut, piece, put
from raw_http import Answer, Wire, head
from sluiceway.uploads.resumable.adopting import LEAST_ADOPTED

SMALL = 61_440  # bytes
SIZE, OLD_SENT, NEW_SENT = 300_000, 200_000, 250_000
OLD, NEW = b"A" * SIZE, b"B" * SIZE

TORTURE = pytest.mark.torture
Younger = Callable[[RunningServer, str], object]


def ask(server: RunningServer, key: str, total: int | str = "*") -> Answer:
    return put(server, key, b"", f"Content-Range: bytes */{total}")


def received(server: RunningServer, upload: str) -> object:
    return requests.get(f"{server.url}/uploads/{upload}", timeout=10).json().get("received")


@contextmanager
def begun(server: RunningServer, key: str, data: bytes, sent: int) -> Iterator[Wire]:
    """A plain PUT of which the server has read so much."""
    upload = f"old-put-0123456789-{key}"
    with Wire(server.port) as wire:
        wire.send(head("PUT", f"/files/{key}?upload={upload}", f"Content-Length: {len(data)}"))
        wire.send(data[:sent])
        eventually(lambda: received(server, upload) == sent)
        yield wire


def pieces(server: RunningServer, key: str) -> None:
    assert piece(server, key, NEW, 0, NEW_SENT).headers["upload-offset"] == str(NEW_SENT)


def all_pieces(server: RunningServer, key: str) -> None:
    pieces(server, key)
    assert piece(server, key, NEW, NEW_SENT, SIZE).status == 201


def stored(server: RunningServer, key: str) -> None:
    assert put(server, key, NEW).status == 201


def delete(server: RunningServer, key: str) -> None:
    stored(server, key)
    assert requests.delete(f"{server.url}/files/{key}", timeout=10).status_code == 204


# What the younger request does, and how much of it is kept when the older one has ended.
YOUNGER: dict[str, tuple[Younger, int]] = {
    "a piece": (pieces, NEW_SENT),
    "all pieces": (all_pieces, SIZE),
    "a plain PUT": (stored, 0),
    "a plain PUT that was cut": (lambda server, key: cut(server, key, NEW, NEW_SENT), NEW_SENT),
    "a PUT and DELETE": (delete, 0),
    "a small PUT": (lambda server, key: put(server, key, b"small"), 0),
    "a piece of another length": (lambda server, key: piece(server, key, NEW * 2, 0, 99), 99),
}


def check_younger_counts(server: RunningServer, key: str, kept: int, end: Answer) -> None:
    """The older one is told nothing that it could go on with; the younger one goes on."""
    assert end.status in (400, 408)
    assert "upload-offset" not in end.headers
    if kept == SIZE:  # it has its response already
        assert ask(server, key, SIZE).status == 201
        assert (server.root / key).read_bytes() == NEW
        return
    asked = ask(server, key)
    assert (asked.status, asked.headers["upload-offset"]) == (308, str(kept))
    wrong = piece(server, key, NEW, OLD_SENT, SIZE)
    assert wrong.status == (400 if kept == 99 else 409)
    if kept == NEW_SENT:
        assert piece(server, key, NEW, kept, SIZE).status == 201
        assert (server.root / key).read_bytes() == NEW


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(Path(tmp_path_factory.mktemp("races")) / "root")
    yield running
    running.stop()


@pytest.mark.parametrize("case", YOUNGER)
def test_an_old_put_does_not_come_back(server: RunningServer, case: str) -> None:
    younger, kept = YOUNGER[case]
    key = f"race-{list(YOUNGER).index(case)}"
    with begun(server, key, OLD, OLD_SENT) as wire:
        younger(server, key)
        wire.half_close()
        end = wire.answer()
    check_younger_counts(server, key, kept, end)


def is_announced(server: RunningServer) -> bool:
    """Whether the ledger knows of a plain PUT that runs."""
    path = server.root / ".sluiceway" / "uploads.sqlite"
    if not path.exists():
        return False
    with closing(sqlite3.connect(path)) as ledger:
        try:
            return bool(
                ledger.execute(
                    "SELECT 1 FROM uploads WHERE code = 'running' AND holder > ''"
                ).fetchall()
            )
        except sqlite3.OperationalError:  # it is just being made
            return False


@pytest.mark.parametrize(
    "case",
    [
        name if name == "a plain PUT that was cut" else pytest.param(name, marks=TORTURE)
        for name in YOUNGER
    ],
)
def test_an_old_put_of_another_process_does_not_come_back(
    server: RunningServer, serve: Serve, case: str
) -> None:
    other = serve(root=server.root)
    younger, kept = YOUNGER[case]
    key = f"elsewhere-{list(YOUNGER).index(case)}"
    with begun(server, key, OLD, OLD_SENT) as wire:
        eventually(lambda: is_announced(server))
        younger(other, key)
        wire.half_close()
        end = wire.answer()
    check_younger_counts(server, key, kept, end)


@pytest.mark.parametrize("sent", [30_000, pytest.param(NEW_SENT, marks=TORTURE)])
def test_a_cut_put_is_not_told_that_an_older_one_was_stored(
    server: RunningServer, sent: int
) -> None:
    """They have the same length, and the older one came in pieces: its response is remembered."""
    key = f"told-{sent}"
    assert piece(server, key, OLD, 0, SIZE).status == 201
    cut(server, key, NEW, sent)
    asked = ask(server, key, SIZE)
    kept = sent if sent >= LEAST_ADOPTED else 0
    assert (asked.status, asked.headers["upload-offset"]) == (308, str(kept))
    assert (server.root / key).read_bytes() == OLD


@contextmanager
def small_begun(server: RunningServer, key: str, sent: int = 1000) -> Iterator[Wire]:
    """One of which nothing is kept when it is cut. With its first bytes it ends what is older."""
    with Wire(server.port) as wire:
        fields = [f"Content-Length: {SMALL}", "Expect: 100-continue"]
        wire.send(head("PUT", f"/files/{key}", *fields))
        assert wire.interim() == 100
        wire.send(OLD[:sent])
        yield wire


@pytest.mark.parametrize("case", ["a piece", "all pieces", "the rest"])
def test_a_small_old_put_ends_no_younger_upload(server: RunningServer, case: str) -> None:
    key = f"small-{case[-4:]}"
    if case == "the rest":
        pieces(server, key)
    with small_begun(server, key, 0 if case == "the rest" else 1000) as wire:
        if case == "the rest":
            assert piece(server, key, NEW, NEW_SENT, SIZE - 1).headers["upload-offset"]
        else:
            YOUNGER[case][0](server, key)
        wire.half_close()
        assert wire.answer().status == 400
    kept = {"a piece": NEW_SENT, "the rest": SIZE - 1}.get(case, SIZE)
    asked = ask(server, key)
    assert asked.headers.get("upload-offset", str(SIZE)) == str(kept)
    assert asked.status == (201 if kept == SIZE else 308)


def test_a_small_old_put_does_not_interrupt_a_running_piece(server: RunningServer) -> None:
    with small_begun(server, "runs") as old, Wire(server.port) as wire:
        span = f"Content-Range: bytes 0-{SIZE - 1}/{SIZE}"
        wire.send(head("PUT", "/files/runs", f"Content-Length: {SIZE}", span) + NEW[:NEW_SENT])
        upload = f"put-{hashlib.sha256(b'runs').hexdigest()[:40]}"
        eventually(lambda: received(server, upload) == NEW_SENT)
        old.half_close()
        assert old.answer().status == 400
        wire.send(NEW[NEW_SENT:])
        assert wire.answer().status == 201


def test_a_small_cut_put_gets_no_bytes_of_an_older_upload(server: RunningServer) -> None:
    """Of the same length: who asks would go on with it."""
    assert piece(server, "older", NEW[:SMALL], 0, 5000).status == 308
    with small_begun(server, "older") as wire:
        wire.half_close()
        assert wire.answer().status == 400
    assert ask(server, "older", SMALL).headers["upload-offset"] == "0"


@TORTURE
def test_a_small_cut_put_is_younger_by_the_clock_of_the_ledger(
    serve: Serve, tmp_path: Path, database: Database
) -> None:
    """The older upload was written down by a server whose clock is an hour ahead."""
    ahead = "import time\nreal = time.time\ntime.time = lambda: real() + 3600.0\n"
    (tmp_path / "sitecustomize.py").write_text(ahead)
    options, root = ("--ledger", f"{database.url}&table={database.fresh()}"), tmp_path / "root"
    one = serve(*options, root=root, env={"PYTHONPATH": str(tmp_path)})
    two = serve(*options, root=root)
    assert piece(one, "older", NEW[:SMALL], 0, 5000).status == 308
    with small_begun(two, "older") as wire:
        wire.half_close()
        assert wire.answer().status == 400
    assert ask(two, "older", SMALL).headers["upload-offset"] == "0"


def test_a_piece_begins_whatever_others_end_meanwhile(server: RunningServer) -> None:
    """A cut PUT ends the upload between the moment it is written down and the one it is held."""
    with ThreadPoolExecutor(1) as beside:
        for _ in range(15):
            cutting = beside.submit(cut, server, "busy", OLD, 70_000)
            answers = [piece(server, "busy", NEW, 0, 100_000) for _ in range(2)]
            assert {answer.status for answer in answers} <= {308, 409}
            assert cutting.result().status in (400, 408)


def test_an_empty_file_is_finished_by_the_question(server: RunningServer) -> None:
    """All of its bytes are there, whatever became of the request that should have brought it."""
    assert ask(server, "empty", 0).status == 201
    assert (server.root / "empty").read_bytes() == b""
    assert ask(server, "empty", 0).status == 201  # the same response again
    assert piece(server, "not-empty", OLD, 0, 10).status == 308
    assert ask(server, "not-empty", 0).status == 400
    all_pieces(server, "was-full")
    assert ask(server, "was-full", 0).status == 200
    assert (server.root / "was-full").read_bytes() == b""


def test_an_interrupted_piece_is_told_where_to_go_on(server: RunningServer) -> None:
    with Wire(server.port) as wire:
        span = f"Content-Range: bytes 0-{SIZE - 1}/{SIZE}"
        wire.send(head("PUT", "/files/interrupted", f"Content-Length: {SIZE}", span))
        wire.send(NEW[:NEW_SENT])
        upload = f"put-{hashlib.sha256(b'interrupted').hexdigest()[:40]}"
        eventually(lambda: received(server, upload) == NEW_SENT)
        assert ask(server, "interrupted").headers["upload-offset"] == str(NEW_SENT)
        answer = wire.answer()
    assert (answer.code, answer.headers["upload-offset"]) == ("superseded", str(NEW_SENT))
