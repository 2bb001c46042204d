"""Uploads by copy that break off: they go on at what the server keeps, also in another process.

Real servers, real processes, and a proxy that cuts connections and counts what passes.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cutting_proxy import CuttingProxy
from fix_copies import bookmarks, copying, stored
from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually, noise
from sluiceway import SluiceError, copy, copy_all
from sluiceway.pipe.receipt import Progress

pytestmark = pytest.mark.usefixtures("state")

DATA = noise(3 << 20)
CUT = 2 << 20
DEADLINE = 120  # seconds


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


@pytest.mark.parametrize("path", ["/files", "/files/cut/big.bin", "/files/cut/"])
def test_a_cut_costs_nothing_that_was_kept(
    server: RunningServer, file: Path, state: Path, path: str
) -> None:
    """The proxy cuts each connection after 2 MiB of 3. The bar never shows more than was sent, and
    after the cut goes on where the server does."""
    seen: list[Progress] = []
    with CuttingProxy(server.port, CUT) as proxy:
        receipt = copy(file, f"{proxy.url}{path}", on_progress=seen.append, force=True)
    assert stored(server, receipt.location) == DATA
    assert receipt.location.partition("/files/")[2].endswith("big.bin")
    assert receipt.sha256 == hashlib.sha256(DATA).hexdigest()
    assert proxy.cuts == 1
    assert proxy.sent <= 1.02 * len(DATA)
    resumed = [one for one in seen if one.stage == "resuming"]
    assert len(resumed) == 1
    kept = [one.kept for one in seen if one.kept is not None]
    assert kept == sorted(kept)
    behind = seen[seen.index(resumed[0]) + 1 :]
    assert min(one.done for one in behind) >= CUT - (64 << 10)
    assert all(one.done < len(DATA) or one.stage in ("waiting", "done") for one in seen)
    assert bookmarks(state) == []


def test_a_small_file_goes_on_once_it_broke_off(server: RunningServer, tmp_path: Path) -> None:
    """One request as long as no line breaks; a line that always breaks gets it all the same. So
    does each of many."""
    path = tmp_path / "small" / "small.bin"
    path.parent.mkdir()
    path.write_bytes(DATA[: 1 << 20])
    with CuttingProxy(server.port, 600_000) as proxy:
        receipt = copy(path, f"{proxy.url}/files/small/")
        assert stored(server, receipt.location) == DATA[: 1 << 20]
        assert proxy.cuts == 2
        proxy.cuts = 0
        report = copy_all(path.parent, f"{proxy.url}/files/of-many/")
        assert report.ok, report
        assert (server.root / "of-many" / "small.bin").read_bytes() == DATA[: 1 << 20]
        assert proxy.cuts == 2


def test_without_resume_a_large_file_is_one_request(server: RunningServer, file: Path) -> None:
    """A PUT: it is repeated wherever it broke, a form only where its end was surely not sent."""
    with CuttingProxy(server.port, CUT) as proxy, pytest.raises(SluiceError):
        copy(file, f"{proxy.url}/files/whole.bin", resume=False, retries=1)
    assert proxy.cuts == 2


def test_a_killed_copy_goes_on_in_the_next_run(
    server: RunningServer, file: Path, state: Path
) -> None:
    """SIGKILL in mid-way: the same command sends only the rest, and says so."""
    with CuttingProxy(server.port, 1 << 40) as proxy:
        url = f"{proxy.url}/files"
        first = copying(file, url, "--limit-rate", "1MiB")
        eventually(lambda: proxy.sent > 1 << 20)
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=DEADLINE)
        assert len(bookmarks(state)) == 1
        output, notes = copying(file, url).communicate(timeout=DEADLINE)
    assert stored(server, output.split()[0]) == DATA
    assert hashlib.sha256(DATA).hexdigest() in output
    assert "goes on at" in notes
    assert proxy.sent <= 1.02 * len(DATA)
    assert bookmarks(state) == []


def test_a_file_that_changed_is_sent_from_its_beginning(
    server: RunningServer, file: Path, state: Path
) -> None:
    """A copy that gave up leaves a bookmark. What it kept is of no use to another version."""
    with CuttingProxy(server.port, CUT) as proxy:
        with pytest.raises(SluiceError, match="the same command goes on"):
            copy(file, f"{proxy.url}/files", retries=0)
        assert len(bookmarks(state)) == 1
        changed = DATA[::-1]
        file.write_bytes(changed)
        proxy.cut = None
        notes: list[str] = []
        receipt = copy(file, f"{proxy.url}/files", on_progress=lambda now: notes.append(now.note))
    assert stored(server, receipt.location) == changed
    assert any("changed since its upload broke off" in note for note in notes)
    assert not any("goes on" in note for note in notes)


def test_two_copies_of_one_file_do_not_disturb_each_other(
    server: RunningServer, file: Path, state: Path
) -> None:
    with CuttingProxy(server.port, 1 << 40) as proxy:
        url = f"{proxy.url}/files"
        slow = copying(file, url, "--limit-rate", "1MiB")
        eventually(lambda: proxy.sent > 1 << 20)
        other = copy(file, url)
        output, _ = slow.communicate(timeout=DEADLINE)
    assert slow.returncode == 0
    assert stored(server, output.split()[0]) == stored(server, other.location) == DATA
    assert other.location != output.split()[0]
    assert bookmarks(state) == []


def test_an_upload_that_the_server_has_lost_begins_anew(
    server: RunningServer, file: Path, state: Path
) -> None:
    """In words, once, and with all bytes."""
    with CuttingProxy(server.port, CUT) as proxy:
        with pytest.raises(SluiceError):
            copy(file, f"{proxy.url}/files", retries=0)
        (bookmark,) = bookmarks(state)
        text = bookmark.read_text()
        bookmark.write_text(re.sub(r"/uploads/\w+", "/uploads/00000000000000000000000000", text))
        proxy.cut = None
        notes: list[str] = []
        receipt = copy(file, f"{proxy.url}/files", on_progress=lambda now: notes.append(now.note))
    assert stored(server, receipt.location) == DATA
    assert any("lost the upload" in note for note in notes)


def test_each_large_file_of_a_folder_goes_on(
    server: RunningServer, tmp_path: Path, state: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_bytes(DATA)
    with CuttingProxy(server.port, CUT) as proxy:
        report = copy_all(folder, f"{proxy.url}/files")
    assert report.ok
    assert proxy.sent <= 1.02 * 2 * len(DATA)
    assert bookmarks(state) == []


def test_a_killed_server_costs_only_what_it_did_not_keep(serve: Serve, file: Path) -> None:
    """SIGKILL of the server in mid-way: another one on the same folder and port takes the rest."""
    server = serve()
    slow = copying(
        file, f"{server.url}/files", "--limit-rate", "1MiB", "--retries", "100", "--timeout", "20"
    )
    ledger = server.root / ".sluiceway" / "lasting"
    eventually(lambda: any(path.stat().st_size > 1 << 20 for path in ledger.rglob("*")))
    server.stop(signal.SIGKILL)
    again = serve("--port", str(server.port), root=server.root)
    output, notes = slow.communicate(timeout=DEADLINE)
    assert slow.returncode == 0, notes
    assert "goes on at" in notes
    assert stored(again, output.split()[0]) == DATA


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_150_mb_over_a_line_that_cuts_after_100(server: RunningServer, tmp_path: Path) -> None:
    path, size = tmp_path / "large.bin", 150_000_000
    path.write_bytes(os.urandom(size))
    with CuttingProxy(server.port, 100_000_000) as proxy:
        receipt = copy(path, f"{proxy.url}/files")
    assert receipt.sha256 == hashlib.sha256(stored(server, receipt.location)).hexdigest()
    assert proxy.sent <= 1.02 * size
