"""What uploads are held against, the fresh disk, and clients of many connections."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # bench/ stands beside src/, it is not installed

from bench.at_once import fairness  # noqa: E402
from bench.crowd import SCENES, Crowd, crowd_row  # noqa: E402
from bench.direct import write  # noqa: E402
from bench.groups import groups_of  # noqa: E402
from bench.journaled import fresh_disk, why_no_image  # noqa: E402
from bench.machine import journal, processor  # noqa: E402
from bench.peers.receiver import serve  # noqa: E402
from bench.process import free_port, serving  # noqa: E402
from bench.relay import sinking  # noqa: E402
from bench.rounds import Bench  # noqa: E402
from bench.stored import MIB, make_source, sha256_of  # noqa: E402

SIZE = 3 * MIB + 17


def test_direct_writes_store_every_byte(tmp_path: Path) -> None:
    """A size that is no multiple of a block is exact, too."""
    try:
        os.close(os.open(tmp_path / "probe", os.O_WRONLY | os.O_CREAT | os.O_DIRECT))
    except OSError as error:
        pytest.skip(f"no direct writes here: {error}")
    write(tmp_path / "file", SIZE)

    facts = (tmp_path / "file").stat()
    assert facts.st_size == SIZE
    assert facts.st_blocks * 512 >= SIZE


def test_the_limit_of_hashing_tells_the_digest_of_what_came() -> None:
    """Head and body may come in any pieces."""
    ours, theirs = socket.socketpair()
    data = os.urandom(100_000)
    with ours, theirs:
        ours.sendall(b"PUT /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        serve(theirs)

        assert ours.recv(1000).endswith(hashlib.sha256(data).hexdigest().encode())


def test_a_fresh_disk_has_a_journal_or_a_reason(tmp_path: Path) -> None:
    """It is empty, writable, and gone afterwards."""
    bench = Bench(tmp_path, tmp_path, MIB, 1, lambda _: None, quick=True)
    with ExitStack() as stack:
        folder, where = stack.enter_context(fresh_disk(bench))
        (folder / "file").write_bytes(b"x")
        if why_no_image() is None and folder.is_mount():
            assert journal(folder) == "ext4, with a journal"
            assert where == "a fresh ext4 with a journal (loop image)"
        else:
            assert "(" in where

    assert not folder.is_mount()
    assert not list(tmp_path.rglob("image"))
    assert " x " in processor()


def client(module: str, *words: str) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True, input="",
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_uploads_at_once_are_all_sent_and_timed(tmp_path: Path) -> None:
    """Each has its own part of the source, its own seconds, and its own answer."""
    source = make_source(tmp_path / "source", 2 * MIB)
    with sinking() as sink:
        sink.tell("hash")
        words = ("--source", str(source), "--count", "3", "--size", str(MIB), "--step", "4096")
        [told] = client("bench.send_many", "--port", str(sink.port), "--path", "/{name}", *words)
        taken = {sink.report()["sha-256"] for _ in range(3)}

    each = told["each"]
    assert isinstance(each, list)
    assert (len(each), told["refused"]) == (3, [])
    assert fairness(each) >= 1
    data = source.read_bytes()
    assert taken == {
        hashlib.sha256(data[start : start + MIB]).hexdigest() for start in (0, 4096, 8192)
    }


def test_idle_connections_and_uploads_are_counted_while_they_live(tmp_path: Path) -> None:
    """Connections have had one response each; uploads have sent one piece, and hold."""
    (tmp_path / "page").write_bytes(b"x")
    with sinking() as sink:
        one = client("bench.trickle", "--port", str(sink.port), "--path", "/{name}", "--count", "5",
                     "--once", "--declared", "65536")  # fmt: skip
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port), "-d",
               str(tmp_path), "--protocol", "HTTP/1.1"]  # fmt: skip
    with serving(command, {}, tmp_path / "place", port):
        idle = client("bench.idle", "--port", str(port), "--path", "/page", "--count", "4")

    assert [line["alive"] for line in one] == [5]
    assert [line["alive"] for line in idle] == [4, 4]


@pytest.mark.parametrize(
    ("cpu", "loaded", "alive", "met"),
    [(0.001, 24 << 10, 1, True), (0.02, 24 << 10, 1, False), (0.001, 25 << 10, 1, False),
     (0.001, 24 << 10, 0, False)],
)  # fmt: skip
def test_a_crowd_is_held_to_memory_processor_time_and_life(
    cpu: float, loaded: int, alive: int, met: bool
) -> None:
    """10,000 idle ones: at most 24 KiB each, at most 1 % of a processor, none lost."""
    scene = SCENES[1].fitting(65536, quick=False)
    crowd = Crowd(MIB, MIB + loaded * 10_000, 10_000, 9_999 + alive, cpu, 0.0, 0.0, "a disk")
    row = crowd_row(scene, scene.title(2), crowd, crowd)

    assert (row.row, row.met) == ("10,000 idle connections, 2 processes", met)
    assert row.goal == "<= 24 KiB each, <= 1%"
    assert SCENES[3].fitting(20_000, quick=False).count < 5_000


@pytest.mark.torture
def test_each_digest_has_a_row_of_processor_seconds(bench: Bench) -> None:
    """Every stored file is checked; no goal, and each is held against none in the same round."""
    result = groups_of(0)["digests"](replace(bench, size=MIB, quick=True), lambda peers: ())

    assert not result.failed
    assert [row.row.split(":")[0].rpartition(" ")[2] for row in result.rows] == [
        "none", "crc64nvme", "blake3", "sha-256"
    ]  # fmt: skip
    assert all("s/GB" in row.ours and row.goal == "reported" for row in result.rows)
    assert [row.ratio == "-" for row in result.rows] == [True, False, False, False]


# The goals of each group; the torture test looks whether every one has its row.
SHOWN = {
    "upload": {"<= 0.45 s/GB", "<= 1.15 s/GB", ">= 0.95x", ">= 0.85x", ">= 3x"},
    "form": {">= 0.95x", ">= 3x"},
    "relay": {">= 1x", ">= 0.6x", ">= 0.9x"},
    "at-once": {">= 3x", "<= 0.50 s/GB"},
    "download": {">= 1x"},
    "small": {">= 0.8x", ">= 1x", ">= 0.9x"},
    "crowd": {"<= 24 KiB each, <= 1%", "<= 2x"},
}
GROUPS = ("upload", "form", "download", "small", "at-once", "relay-at-once", "crowd", "relay")


@pytest.mark.torture
@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", GROUPS)
def test_each_group_runs_with_little(tmp_path: Path, group: str) -> None:
    """With the peers of .venv-bench where the bench was made already, without them elsewhere."""
    made = ROOT / ".venv-bench" / "bin"
    binaries = made if (made / "sluiceway").exists() else Path(sys.executable).parent
    said: list[str] = []
    bench = Bench(tmp_path / "work", binaries, 4 * MIB, 1, said.append, quick=True)
    bench.work.mkdir()
    result = groups_of(0.5)[group](bench, lambda peers: peers if binaries is made else ())

    assert not result.failed, said
    assert all(row.ours != "not measured" for row in result.rows), result.rows
    assert {row.goal for row in result.rows} >= SHOWN.get(group, set())
    assert sha256_of(bench.source(MIB))
