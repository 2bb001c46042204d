"""Several `--to`: at the response a file is at every required destination or at none; best-effort
ones may lack it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
    """Half of a PUT is under way at both servers."""
    wire.send(head("PUT", "/files/book", f"Content-Length: {size}"))
    wire.send(noise(size // 2))
    eventually(lambda: first.drafts() and second.drafts(), "both have begun")


# All required


def test_a_put_is_at_both_destinations_and_the_response_names_each(
    serve: Serve, second: RunningServer
) -> None:
    """A folder and a server: one request, our own Location, and a result for each."""
    first = serve("--to", f"{second.url}/files", "--relay-show-backend")
    response = requests.put(f"{first.url}/files/a/book.pdf", data=DATA, timeout=30)
    entry = response.json()["files"][0]

    assert response.status_code == 201
    assert response.headers["Location"] == entry["url"] == "/files/a/book.pdf"
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


def test_every_file_of_a_form_is_at_all_destinations(
    serve: Serve, second: RunningServer, tmp_path: Path
) -> None:
    """Two folders have the same keys; the other server makes its own."""
    first = serve(
        "--to", str(tmp_path / "spare"), "--to", f"{second.url}/files", "--relay-show-backend"
    )
    body = form_body(("title", None, b"t"), ("one", "1.bin", DATA), ("two", "2.bin", b"small"))
    response = talk(first.port, form_head(None) + chunked(body, 100_000))

    assert response.status == 201
    files = response.json()["files"]
    assert [len(each["destinations"]) for each in files] == [3, 3]
    for each, data in zip(files, (DATA, b"small"), strict=True):
        assert (
            (first.root / each["key"]).read_bytes()
            == (tmp_path / "spare" / each["key"]).read_bytes()
            == data
        )
        assert requests.get(each["destinations"][2]["location"], timeout=30).content == data


def test_two_servers_as_destinations_make_a_gateway(
    serve: Serve, gateway: Gateway, second: RunningServer, tmp_path: Path
) -> None:
    """This server keeps nothing: the Location is the first server's."""
    third = serve(root=tmp_path / "third")
    server = gateway(f"{second.url}/files", "--to", f"{third.url}/files", "--relay-show-backend")
    response = requests.put(f"{server.url}/files/book", data=DATA, timeout=30)

    assert (response.status_code, response.headers["Location"]) == (201, f"{second.url}/files/book")
    assert response.json()["files"][0]["url"] == f"{second.url}/files/book"
    assert second.stored() == third.stored() == {"book": len(DATA)}
    assert requests.get(f"{server.url}/files/book", timeout=30).status_code == 404
    refused = requests.put(
        f"{server.url}/files/book", data=b"x", headers={"If-None-Match": "*"}, timeout=30
    )
    assert refused.status_code == 412


def test_a_destination_that_dies_leaves_nothing_here(serve: Serve, second: RunningServer) -> None:
    """SIGKILL while bytes come: the client reads a 502; there is neither file nor draft here."""
    first = serve("--to", f"{second.url}/files")
    with Wire(first.port) as wire:
        halfway(first, second, wire, 20 * MIB)
        second.process.kill()
        response = _to_its_end(wire, 20 * MIB)

    assert (response.status, response.code) == (502, "peer-failed"), first.log()
    assert second.url.encode() not in response.body
    eventually(lambda: f"destination {second.url}/files" in first.log(), "the log names it")
    eventually(lambda: first.drafts() == [], "the draft is gone")
    assert first.stored() == {}
    assert (
        requests.put(f"{first.url}/files/next", data=b"x", timeout=30).json()["code"]
        == "peer-unreachable"
    )
    assert first.stored() == {}


def test_a_destination_that_dies_while_the_client_pauses_is_noticed(
    serve: Serve, second: RunningServer
) -> None:
    """Although nothing is written to it then; the log names it."""
    first = serve("--to", f"{second.url}/files")
    with Wire(first.port) as wire:
        halfway(first, second, wire, 20 * MIB)
        time.sleep(0.5)
        second.process.kill()
        response = wire.answer()

    assert (response.status, response.code) == (502, "peer-failed"), first.log()
    assert second.url.encode() not in response.body
    eventually(lambda: f"destination {second.url}/files" in first.log(), "the log names it")
    eventually(lambda: first.drafts() == [], "the draft is gone")


def test_a_destinations_refusal_is_passed_on(serve: Serve, tmp_path: Path) -> None:
    """It wants a token: the client gets its 401 early, and nothing is stored here."""
    closed = serve("--token", "x" * 20, root=tmp_path / "closed")
    first = serve("--to", f"{closed.url}/files")
    response = requests.put(f"{first.url}/files/book", data=DATA, timeout=30)

    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
    assert first.stored() == {}
    assert first.drafts() == []


def test_an_aborted_upload_leaves_nothing_anywhere(serve: Serve, second: RunningServer) -> None:
    """No file and no draft at either server; the next upload succeeds."""
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
    """Before the body if its length is known; the other server gets no complete request."""
    first = serve("--to", str(small_disk), "--to", f"{second.url}/files")
    known = requests.put(f"{first.url}/files/book", data=bytes(2 * SMALL_DISK), timeout=30)
    unknown = requests.put(
        f"{first.url}/files/book", data=(bytes(MIB) for _ in range(16)), timeout=30
    )

    for response in (known, unknown):
        assert (response.status_code, response.json()["code"]) == (507, "no-space")
        assert str(small_disk) not in response.text
    eventually(lambda: f"destination {small_disk}" in first.log(), "the log names it")
    eventually(lambda: first.drafts() == second.drafts() == [], "the drafts are gone")
    assert first.stored() == second.stored() == {}
    assert [name for name in os.listdir(small_disk) if name != ".sluiceway"] == []


# Best-effort


def test_a_best_effort_server_that_dies_becomes_a_note(serve: Serve, second: RunningServer) -> None:
    """SIGKILL while bytes come: the upload is stored here, and the response says what is
    missing.
    """
    first = serve("--to", f"best-effort:{second.url}/files", "--relay-show-backend")
    with Wire(first.port) as wire:
        halfway(first, second, wire, 20 * MIB)
        second.process.kill()
        response = _to_its_end(wire, 20 * MIB)

    entry = response.json()["files"][0]
    assert response.status == 201
    assert len(entry["notes"]) == 1
    assert f"best-effort destination {second.url}/files was given up: " in entry["notes"][0]
    assert entry["destinations"][1] == {
        "to": f"{second.url}/files",
        "required": False,
        "note": entry["notes"][0],
    }
    assert first.stored() == {"book": 20 * MIB}


def test_a_best_effort_server_that_reads_nothing_costs_no_memory(
    serve: Serve, second: RunningServer
) -> None:
    """SIGSTOP: 100 MiB are stored, it is given up, and the process stays within its budget."""
    first = serve("--to", f"best-effort:{second.url}/files", "--memory-budget", "16MiB")
    requests.put(f"{first.url}/files/warm", data=DATA, timeout=30)
    meter = MemoryMeter(first.pid)
    second.process.send_signal(signal.SIGSTOP)
    try:
        before = meter.now()
        meter.reset()
        response = requests.put(
            f"{first.url}/files/book", data=(bytes(MIB) for _ in range(100)), timeout=60
        )
        grown = meter.peak() - before
    finally:
        second.process.send_signal(signal.SIGCONT)

    assert response.status_code == 201
    assert "it fell behind" in response.json()["files"][0]["notes"][0]
    assert first.stored() == {"book": 100 * MIB, "warm": len(DATA)}
    assert grown < 32 * MIB
    eventually(lambda: second.drafts() == [], "the draft there is removed too")
    assert "book" not in second.stored()


def test_a_best_effort_server_that_answers_has_the_file(
    serve: Serve, second: RunningServer
) -> None:
    """No note; the file is at both."""
    first = serve("--to", f"best-effort:{second.url}/files")
    entry = requests.put(f"{first.url}/files/book", data=DATA, timeout=30).json()["files"][0]

    assert "notes" not in entry
    assert entry["destinations"][1]["status"] == 201
    assert second.stored() == {"book": len(DATA)}


def test_several_folders_are_ready_listed_and_deleted_as_one(serve: Serve, tmp_path: Path) -> None:
    """Two required folders and a best-effort one: the same listing, and DELETE clears all three.

    Two PUTs at once that the second folder refuses leave the old file in the first one.
    """
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

    (spare / "taken/x").mkdir(parents=True)
    (first.root / "taken").write_bytes(b"old")
    with ThreadPoolExecutor(2) as threads:
        put = partial(requests.put, f"{first.url}/files/taken", timeout=30)
        assert [each.status_code for each in threads.map(put, (DATA, DATA[1:]))] == [409, 409]
    assert (first.root / "taken").read_bytes() == b"old"


# Checked at start


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
def test_impossible_destinations_are_refused_at_start(
    tmp_path: Path, places: list[str], words: str
) -> None:
    """Exit code 2, one line with the reason and without passwords; no folder is made."""
    options = [part for place in places for part in ("--to", place.format(here=tmp_path))]
    command = [sys.executable, "-m", "sluiceway", "serve", "--port", "0", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=tmp_path)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert words in ended.stderr
    assert "secret" not in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_first_line_names_every_destination_without_passwords(serve: Serve) -> None:
    """The best-effort one too."""
    server = serve("--to", "best-effort:http://me:secret@backend.example/files")

    assert f"{server.root} and best-effort http://backend.example/files" in server.log()
    assert "secret" not in server.log()


def _to_its_end(wire: Wire, size: int) -> Answer:
    """Send the other half, as far as the server reads it; return the response."""
    try:
        wire.send(noise(size // 2, 2))
    except ConnectionError:
        pass  # an early response: it can still be read
    return wire.answer()
