"""One large object in several parts at once: to servers that join parts, to buckets, from ranges.

Real servers, real processes killed by SIGKILL, and a proxy that cuts connections and counts bytes.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from cutting_proxy import CuttingProxy
from fix_copies import bookmarks, copying, stored
from fix_s3 import Objects
from fix_server import RunningServer, start_server
from fix_taking import eventually, noise
from losing_proxy import LosingProxy
from sluiceway import SluiceError, copy, copy_all
from sluiceway.pipe.receipt import Progress

pytestmark = pytest.mark.usefixtures("state")

MIB = 1 << 20
DATA = noise(5 * MIB + 4321)  # four parts, above the least of a download
SHA = hashlib.sha256(DATA).hexdigest()
DEADLINE = 120  # seconds
PARALLEL = ("--parallel", "4")
SOCKET = 512 << 10  # bytes that may wait in a connection


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("server") / "root")
    yield running
    running.stop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(DATA)
    return path


def test_a_file_is_sent_in_parts_and_joined(server: RunningServer, file: Path, state: Path) -> None:
    """Over connections that are cut: each part goes on alone. A cut costs what the server has not
    read when it is asked for the offset: at most what fits in a socket."""
    seen: list[Progress] = []
    with CuttingProxy(server.port, 800_000) as proxy:
        receipt = copy(file, f"{proxy.url}/files", parallel=4, on_progress=seen.append)
    assert stored(server, receipt.location) == DATA
    assert receipt.location.endswith("big.bin")
    assert receipt.sha256 == SHA
    assert proxy.cuts >= 4
    assert proxy.sent <= 1.02 * len(DATA) + proxy.cuts * SOCKET
    kept = [one.kept for one in seen if one.kept is not None]
    assert kept == sorted(kept)
    assert kept[-1] == len(DATA)
    assert all(one.done <= len(DATA) for one in seen)
    assert bookmarks(state) == []


def test_parts_of_a_killed_copy_go_on(server: RunningServer, file: Path, state: Path) -> None:
    with CuttingProxy(server.port, 1 << 40) as proxy:
        first = copying(*PARALLEL, file, f"{proxy.url}/files", "--limit-rate", "4MiB")
        eventually(lambda: proxy.sent > 2 * MIB)
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=DEADLINE)
        assert len(bookmarks(state)) == 1
        output, notes = copying(*PARALLEL, file, f"{proxy.url}/files").communicate(timeout=DEADLINE)
    assert "goes on at" in notes
    assert stored(server, output.split()[0]) == DATA
    assert proxy.sent <= 1.02 * len(DATA)
    assert bookmarks(state) == []


def test_a_join_whose_response_gets_lost_makes_one_object(
    server: RunningServer, file: Path, state: Path
) -> None:
    """The server is asked once more, and names the object that it made."""
    before = server.stored()
    notes: list[str] = []
    with LosingProxy(server.port, b"upload-concat: final") as proxy:
        receipt = copy(
            file, f"{proxy.url}/files", parallel=3, on_progress=lambda now: notes.append(now.note)
        )
    assert proxy.lost == 1
    assert stored(server, receipt.location) == DATA
    assert len(server.stored()) == len(before) + 1
    assert any("trying again" in note for note in notes)
    assert bookmarks(state) == []


def test_a_copy_that_gave_up_at_the_join_finds_its_object_in_the_next_run(
    server: RunningServer, file: Path, state: Path
) -> None:
    before = server.stored()
    with LosingProxy(server.port, b"upload-concat: final") as proxy:
        with pytest.raises(SluiceError, match="the same command goes on"):
            copy(file, f"{proxy.url}/files", parallel=3, retries=0)
        eventually(lambda: len(server.stored()) == len(before) + 1)
        receipt = copy(file, f"{proxy.url}/files", parallel=3)
    assert stored(server, receipt.location) == DATA
    assert len(server.stored()) == len(before) + 1
    assert bookmarks(state) == []


def test_a_file_gets_its_name_from_the_url_also_in_parts(
    server: RunningServer, file: Path, state: Path
) -> None:
    """Over connections that are cut. A name that is taken is refused before any byte, and a file
    that replaces another one does so at the join."""
    notes: list[str] = []
    key = "named/a b/100 % Größe.bin"
    with CuttingProxy(server.port, 800_000) as proxy:
        url = f"{proxy.url}/files/{quote(key)}"
        receipt = copy(file, url, parallel=4, on_progress=lambda now: notes.append(now.note))
        assert not any("in one piece" in note for note in notes)
        assert receipt.location == url
        assert (server.root / key).read_bytes() == DATA
        assert proxy.cuts >= 4
        assert proxy.sent <= 1.02 * len(DATA) + proxy.cuts * SOCKET
        proxy.sent = 0
        with pytest.raises(SluiceError) as refused:
            copy(file, url, parallel=4)
        assert refused.value.code == "precondition-failed"
        assert "goes on" not in str(refused.value)
        assert bookmarks(state) == []
        assert proxy.sent < 100_000
        file.write_bytes(DATA[::-1])
        copy(file, url, parallel=4, force=True)
    assert (server.root / key).read_bytes() == DATA[::-1]
    assert bookmarks(state) == []


def test_named_parts_of_a_killed_copy_go_on(server: RunningServer, file: Path, state: Path) -> None:
    with CuttingProxy(server.port, 1 << 40) as proxy:
        url = f"{proxy.url}/files/killed/big.bin"
        first = copying(file, url, "--limit-rate", "4MiB")
        eventually(lambda: proxy.sent > 2 * MIB)
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=DEADLINE)
        assert len(bookmarks(state)) == 1
        output, notes = copying(file, url).communicate(timeout=DEADLINE)
    assert "goes on at" in notes
    assert output.split()[0] == url
    assert (server.root / "killed/big.bin").read_bytes() == DATA
    assert proxy.sent <= 1.02 * len(DATA)
    assert bookmarks(state) == []


def test_a_join_under_a_name_whose_response_gets_lost_is_asked_for_again(
    server: RunningServer, file: Path, state: Path
) -> None:
    """The object that it made is not taken for another one that has the name."""
    with LosingProxy(server.port, b"upload-concat: final") as proxy:
        url = f"{proxy.url}/files/lost/big.bin"
        receipt = copy(file, url, parallel=3)
    assert proxy.lost == 1
    assert receipt.location == url
    assert (server.root / "lost/big.bin").read_bytes() == DATA
    assert bookmarks(state) == []


def test_the_large_files_of_many_go_in_parts(server: RunningServer, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "big").write_bytes(DATA)
    (folder / "small").write_bytes(b"small")
    moved: list[int] = []
    report = copy_all(
        folder,
        f"{server.url}/files",
        parallel=3,
        on_progress=lambda now: moved.append(now.bytes + now.moving),
    )
    assert report.ok
    assert report.bytes == len(DATA) + 5
    assert max(moved) <= len(DATA) + 5


def test_a_file_is_fetched_in_ranges(server: RunningServer, file: Path, tmp_path: Path) -> None:
    """Also into a folder, where the server's name counts. The bar adds up."""
    url = copy(file, f"{server.url}/files").location
    seen: list[Progress] = []
    (tmp_path / "to").mkdir()
    receipt = copy(url, tmp_path / "to", parallel=4, on_progress=seen.append)
    assert (tmp_path / "to" / "big.bin").read_bytes() == DATA
    assert receipt.sha256 == SHA
    done = [one.done for one in seen if one.stage == "receiving"]
    assert done == sorted(done)
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["big.bin"]


@pytest.mark.parametrize("parallel", ["4", pytest.param("1", marks=pytest.mark.torture)])
def test_ranges_of_a_killed_copy_go_on(
    server: RunningServer, file: Path, tmp_path: Path, parallel: str
) -> None:
    """Each at its place; without --parallel the beginning counts."""
    url = copy(file, f"{server.url}/files").location
    to = tmp_path / "back.bin"
    slow = copying(*PARALLEL, url, to, "--limit-rate", "2MiB")

    def noted() -> int:
        for path in tmp_path.glob(".sluiceway-*.part.json"):
            return sum(size for _, size in json.loads(path.read_text())["pieces"])
        return 0

    eventually(lambda: noted() >= MIB)
    slow.send_signal(signal.SIGKILL)
    slow.communicate(timeout=DEADLINE)
    before = noted()
    again = copying(*PARALLEL, url, to, "--parallel", parallel)
    _, notes = again.communicate(timeout=DEADLINE)
    assert again.returncode == 0, notes
    assert to.read_bytes() == DATA
    if parallel == "4":
        assert f"goes on at {before} of" in notes
    assert not list(tmp_path.glob(".sluiceway-*"))


class _Odd(http.server.BaseHTTPRequestHandler):
    """A server whose ranges are missing, or break, or change: `kind`."""

    protocol_version = "HTTP/1.1"
    kind = "none"
    asked = 0

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        cls = type(self)
        cls.asked += 1
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        tag = '"b"' if self.kind == "changes" and cls.asked > 3 else '"a"'
        ranges = found and self.kind != "none"
        if ranges and self.headers.get("if-range", tag) != tag:
            ranges = False
        start, stop = 0, len(DATA)
        if found and ranges:
            start = int(found[1])
            stop = int(found[2]) + 1 if found[2] else len(DATA)
        self.send_response(206 if ranges else 200)
        self.send_header("ETag", tag)
        if ranges:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(DATA)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        body = DATA[start:stop]
        breaks = False
        if self.kind == "breaks" and len(body) > MIB and cls.asked < 9 and start:
            body, breaks = body[: MIB // 2], True
        self.wfile.write(body)
        if breaks:
            self.close_connection = True


@pytest.fixture
def odd(request: pytest.FixtureRequest) -> Iterator[tuple[str, type[_Odd]]]:
    handler = type("Handler", (_Odd,), {"kind": request.param, "asked": 0})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}/odd.bin", handler
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize("odd", ["none", "breaks", "changes"], indirect=True)
def test_ranges_that_are_missing_break_or_change(
    odd: tuple[str, type[_Odd]], tmp_path: Path
) -> None:
    """One piece where there are none; a broken one is asked for again alone; never a mixture."""
    url, handler = odd
    notes: list[str] = []
    receipt = copy(url, tmp_path / "x", parallel=4, on_progress=lambda now: notes.append(now.note))
    assert (tmp_path / "x").read_bytes() == DATA
    assert receipt.sha256 == SHA
    said = "\n".join(notes)
    if handler.kind == "none":
        assert "in one piece" in said
    if handler.kind == "changes":
        assert "changed while it was fetched" in said
    if handler.kind == "breaks":
        assert "trying again" in said


@pytest.mark.torture
def test_parts_to_a_bucket_travel_at_once(
    s3: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the right order, with the digest of the whole."""
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    path, bucket = tmp_path / "big.bin", s3.fresh()
    data = DATA * 8
    path.write_bytes(data)
    place = s3.url(bucket, "big.bin")
    receipt = copy(path, place, parallel=6)
    assert receipt.sha256 == hashlib.sha256(data).hexdigest()
    assert s3.client.get_object(Bucket=bucket, Key="big.bin")["Body"].read() == data
    assert s3.unfinished(bucket) == []


@pytest.mark.parametrize("number", [0, -1, 17, 2.5, "4"])
def test_a_number_of_parts_that_cannot_be_is_refused(file: Path, number: object) -> None:
    with pytest.raises(SluiceError, match="parallel parts is a whole number from 1 to 16"):
        copy(file, "https://host.example/files", parallel=number)  # type: ignore[arg-type]


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_150_mb_in_parts_over_a_line_that_cuts_after_20(
    server: RunningServer, tmp_path: Path
) -> None:
    path, size = tmp_path / "large.bin", 150_000_000
    path.write_bytes(os.urandom(size))
    with CuttingProxy(server.port, 20_000_000) as proxy:
        receipt = copy(path, f"{proxy.url}/files", parallel=4)
    assert receipt.sha256 == hashlib.sha256(stored(server, receipt.location)).hexdigest()
    assert proxy.cuts >= 4
    assert proxy.sent <= 1.02 * size
