"""Several `--to`: what one request brings is at every place when it is answered, or at none; best-effort places come second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from fix_gateway import Gateway
from fix_server import RunningServer, Serve
from fix_taking import SMALL_DISK, eventually, noise
from raw_http import Answer, Wire, chunked, form_body, form_head, head, talk
from sluiceway.testing.memory_meter import MemoryMeter

MIB = 1 << 20
DATA = noise(3 * MIB)


@pytest.fixture
def second(serve: Serve, tmp_path: Path) -> RunningServer:
    """The other server, with a folder of its own."""
    return serve(root=tmp_path / "second")


def halfway(first: RunningServer, second: RunningServer, wire: Wire, size: int) -> None:
    """Half of a PUT is under way, at both servers."""
    wire.send(head("PUT", "/files/book", f"Content-Length: {size}"))
    wire.send(noise(size // 2))
    eventually(lambda: first.drafts() and second.drafts(), "both have begun")


# All required


def test_a_put_is_at_both_places_and_each_is_told(serve: Serve, second: RunningServer) -> None:
    """A folder and another server: one request, our own Location, and what became of it where."""
    first = serve("--to", f"{second.url}/files")
    answer = requests.put(f"{first.url}/files/a/book.pdf", data=DATA, timeout=30)
    entry = answer.json()["files"][0]

    assert answer.status_code == 201
    assert answer.headers["Location"] == entry["url"] == "/files/a/book.pdf"
    assert "notes" not in entry
    assert entry["destinations"] == [
        {"to": str(first.root), "required": True},
        {
            "to": f"{second.url}/files",
            "required": True,
            "status": 201,
            "location": f"{second.url}/files/a/book.pdf",
        },
    ]
    for server in (first, second):
        assert requests.get(f"{server.url}/files/a/book.pdf", timeout=30).content == DATA
    again = requests.put(f"{first.url}/files/a/book.pdf", data=b"new", timeout=30)
    assert (again.status_code, again.json()["files"][0]["destinations"][1]["status"]) == (200, 200)
    assert requests.get(f"{second.url}/files/a/book.pdf", timeout=30).content == b"new"


def test_every_file_of_a_form_is_at_both_places(
    serve: Serve, second: RunningServer, tmp_path: Path
) -> None:
    """Two folders and another server; the keys are the same in the folders, the other server makes its own."""
    first = serve("--to", str(tmp_path / "spare"), "--to", f"{second.url}/files")
    body = form_body(("title", None, b"t"), ("one", "1.bin", DATA), ("two", "2.bin", b"small"))
    answer = talk(first.port, form_head(None) + chunked(body, 100_000))

    assert answer.status == 201
    files = answer.json()["files"]
    assert [len(each["destinations"]) for each in files] == [3, 3]
    for each, data in zip(files, (DATA, b"small"), strict=True):
        assert (
            (first.root / each["key"]).read_bytes()
            == (tmp_path / "spare" / each["key"]).read_bytes()
            == data
        )
        assert requests.get(each["destinations"][2]["location"], timeout=30).content == data


def test_two_other_servers_make_a_gateway(
    serve: Serve, gateway: Gateway, second: RunningServer, tmp_path: Path
) -> None:
    """Nothing is kept here: the Location is the first one's, and there is nothing to be read."""
    third = serve(root=tmp_path / "third")
    server = gateway(f"{second.url}/files", "--to", f"{third.url}/files")
    answer = requests.put(f"{server.url}/files/book", data=DATA, timeout=30)

    assert (answer.status_code, answer.headers["Location"]) == (201, f"{second.url}/files/book")
    assert answer.json()["files"][0]["url"] == f"{second.url}/files/book"
    assert second.stored() == third.stored() == {"book": len(DATA)}
    assert requests.get(f"{server.url}/files/book", timeout=30).status_code == 404
    refused = requests.put(
        f"{server.url}/files/book", data=b"x", headers={"If-None-Match": "*"}, timeout=30
    )
    assert refused.status_code == 412


def test_the_other_server_dies_midway_and_nothing_is_left(
    serve: Serve, second: RunningServer
) -> None:
    """SIGKILL while bytes come: 502 that the client reads, and the folder here has neither file nor draft."""
    first = serve("--to", f"{second.url}/files")
    with Wire(first.port) as wire:
        halfway(first, second, wire, 20 * MIB)
        second.process.kill()
        answer = _to_its_end(wire, 20 * MIB)

    assert (answer.status, answer.code) == (502, "peer-failed"), first.log()
    assert second.url.encode() not in answer.body
    eventually(lambda: f"destination {second.url}/files" in first.log(), "the log names it")
    eventually(lambda: first.drafts() == [], "the draft is gone")
    assert first.stored() == {}
    assert (
        requests.put(f"{first.url}/files/next", data=b"x", timeout=30).json()["code"]
        == "peer-unreachable"
    )
    assert first.stored() == {}


def test_the_other_server_dies_while_the_client_pauses(serve: Serve, second: RunningServer) -> None:
    """Nothing is written to it then: the death is noticed all the same, and named in the log."""
    first = serve("--to", f"{second.url}/files")
    with Wire(first.port) as wire:
        halfway(first, second, wire, 20 * MIB)
        time.sleep(0.5)
        second.process.kill()
        answer = wire.answer()

    assert (answer.status, answer.code) == (502, "peer-failed"), first.log()
    assert second.url.encode() not in answer.body
    eventually(lambda: f"destination {second.url}/files" in first.log(), "the log names it")
    eventually(lambda: first.drafts() == [], "the draft is gone")


def test_the_other_servers_refusal_is_the_answer(serve: Serve, tmp_path: Path) -> None:
    """It wants a token: its 401 comes through, early, and nothing is stored here."""
    closed = serve("--token", "x" * 20, root=tmp_path / "closed")
    first = serve("--to", f"{closed.url}/files")
    answer = requests.put(f"{first.url}/files/book", data=DATA, timeout=30)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert first.stored() == {}
    assert first.drafts() == []


def test_a_client_that_leaves_leaves_nothing_anywhere(serve: Serve, second: RunningServer) -> None:
    """Hung up in the middle: no file, no draft, at neither place; the next upload is well."""
    first = serve("--to", f"{second.url}/files")
    with Wire(first.port) as wire:
        halfway(first, second, wire, 20 * MIB)
        wire.reset()
    eventually(lambda: first.drafts() == second.drafts() == [], "the drafts are gone")

    assert first.stored() == second.stored() == {}
    assert requests.put(f"{first.url}/files/book", data=DATA, timeout=30).status_code == 201
    assert first.stored() == second.stored() == {"book": len(DATA)}


@pytest.mark.root
def test_a_full_folder_is_507_and_the_others_have_nothing(
    small_disk: Path, serve: Serve, second: RunningServer
) -> None:
    """Before the body where its length is known, in the middle where it is not; the other server sees no whole file."""
    first = serve("--to", str(small_disk), "--to", f"{second.url}/files")
    known = requests.put(f"{first.url}/files/book", data=bytes(2 * SMALL_DISK), timeout=30)
    unknown = requests.put(
        f"{first.url}/files/book", data=(bytes(MIB) for _ in range(16)), timeout=30
    )

    for answer in (known, unknown):
        assert (answer.status_code, answer.json()["code"]) == (507, "no-space")
        assert str(small_disk) not in answer.text
    eventually(lambda: f"destination {small_disk}" in first.log(), "the log names it")
    eventually(lambda: first.drafts() == second.drafts() == [], "the drafts are gone")
    assert first.stored() == second.stored() == {}
    assert [name for name in os.listdir(small_disk) if name != ".sluiceway"] == []


# Best-effort


def test_a_best_effort_server_that_dies_midway_is_a_note(
    serve: Serve, second: RunningServer
) -> None:
    """SIGKILL while bytes come: the upload goes on, is stored here, and the receipt says what is missing where."""
    first = serve("--to", f"best-effort:{second.url}/files")
    with Wire(first.port) as wire:
        halfway(first, second, wire, 20 * MIB)
        second.process.kill()
        answer = _to_its_end(wire, 20 * MIB)

    entry = answer.json()["files"][0]
    assert answer.status == 201
    assert len(entry["notes"]) == 1
    assert f"best-effort destination {second.url}/files was given up: " in entry["notes"][0]
    assert entry["destinations"][1] == {
        "to": f"{second.url}/files",
        "required": False,
        "note": entry["notes"][0],
    }
    assert first.stored() == {"book": 20 * MIB}


def test_a_best_effort_server_that_stands_still_costs_no_memory(
    serve: Serve, second: RunningServer
) -> None:
    """SIGSTOP: 200 MiB arrive all the same, it is dropped for being behind, and the process stays within its budget."""
    first = serve("--to", f"best-effort:{second.url}/files", "--memory-budget", "16MiB")
    requests.put(f"{first.url}/files/warm", data=DATA, timeout=30)
    meter = MemoryMeter(first.pid)
    second.process.send_signal(signal.SIGSTOP)
    try:
        before = meter.now()
        meter.reset()
        answer = requests.put(
            f"{first.url}/files/book", data=(bytes(MIB) for _ in range(200)), timeout=60
        )
        grown = meter.peak() - before
    finally:
        second.process.send_signal(signal.SIGCONT)

    assert answer.status_code == 201
    assert "it fell behind" in answer.json()["files"][0]["notes"][0]
    assert first.stored() == {"book": 200 * MIB, "warm": len(DATA)}
    assert grown < 32 * MIB
    eventually(lambda: second.drafts() == [], "what was broken off is gone there, too")
    assert "book" not in second.stored()


def test_a_best_effort_server_that_answers_has_the_file(
    serve: Serve, second: RunningServer
) -> None:
    """Nothing to note; read here, and found there."""
    first = serve("--to", f"best-effort:{second.url}/files")
    entry = requests.put(f"{first.url}/files/book", data=DATA, timeout=30).json()["files"][0]

    assert "notes" not in entry
    assert entry["destinations"][1]["status"] == 201
    assert second.stored() == {"book": len(DATA)}


def test_folders_side_by_side_are_ready_read_and_deleted_together(
    serve: Serve, tmp_path: Path
) -> None:
    """A second folder and a best-effort one: ready, the same listing, and DELETE clears all three."""
    spare, third = tmp_path / "spare", tmp_path / "third"
    first = serve("--to", f"required:{spare}", "--to", f"best-effort:{third}")
    assert requests.get(f"{first.url}/readyz", timeout=10).status_code == 200
    requests.put(f"{first.url}/files/a/book", data=DATA, timeout=30)

    assert [(place / "a/book").read_bytes() == DATA for place in (first.root, spare, third)] == [
        True
    ] * 3
    assert [
        each["key"] for each in requests.get(f"{first.url}/files", timeout=10).json()["files"]
    ] == ["a/book"]
    assert requests.delete(f"{first.url}/files/a/book", timeout=10).status_code == 204
    assert [(place / "a").exists() for place in (first.root, spare, third)] == [False] * 3


# Told at start


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (["best-effort:{here}/a"], "at least one must be required"),
        (["best-effort:memory:", "best-effort:{here}/a"], "at least one must be required"),
        (["{here}/a", "{here}/b/../a/"], "twice"),
        (["{here}/a", "best-effort:{here}/a"], "twice"),
        (["http://h.example/x", "HTTP://me:secret@H.example/x/"], "twice"),
        (["memory:", "memory:"], "twice"),
    ],
)
def test_places_that_cannot_be_are_told_at_start(
    tmp_path: Path, places: list[str], words: str
) -> None:
    """Exit code 2, one line that says why and shows no password; no folder is made."""
    options = [part for place in places for part in ("--to", place.format(here=tmp_path))]
    command = [sys.executable, "-m", "sluiceway", "serve", "--port", "0", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=tmp_path)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert words in ended.stderr
    assert "secret" not in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_first_line_names_all_places_without_passwords(serve: Serve) -> None:
    """Also that of a best-effort one."""
    server = serve("--to", "best-effort:http://me:secret@backend.example/files")

    assert f"{server.root} and best-effort http://backend.example/files" in server.log()
    assert "secret" not in server.log()


def _to_its_end(wire: Wire, size: int) -> Answer:
    """Send the other half, as far as anybody takes it, and read the answer."""
    try:
        wire.send(noise(size // 2, 2))
    except ConnectionError:
        pass  # an early answer: it is here nevertheless
    return wire.answer()
