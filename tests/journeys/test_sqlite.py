"""A database without a server: a file as destination of `serve`, and as both sides of `copy`."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import sluiceway
from fix_server import RunningServer, start_server
from fix_taking import eventually, noise
from raw_http import Wire, head

DATA = noise(3_000_017)


def command(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sluiceway", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sqlite") / "files.db"


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[RunningServer]:
    """No init: the file and its tables are made at the start. The path is relative."""
    running = start_server(file.parent / "none", to="sqlite:///files.db?table=kept")
    yield running
    running.stop()


def drafts(file: Path) -> list[str]:
    db = sqlite3.connect(file, timeout=30)
    try:
        return [row[0] for row in db.execute("SELECT id FROM kept_drafts")]
    finally:
        db.close()


def test_files_are_stored_read_listed_and_deleted(server: RunningServer) -> None:
    """Raw and form, whole and in ranges, with conditions."""
    assert "Sluiceway stores into sqlite:" in server.log()
    url = f"{server.url}/files/a/ä b.bin"
    assert requests.put(url, data=DATA, timeout=30).status_code == 201
    got = requests.get(url, timeout=30)
    assert got.content == DATA
    for start, stop in ((0, 1), (524_287, 524_290), (1_000_000, 2_500_000), (3_000_016, 3_000_017)):
        part = requests.get(url, headers={"Range": f"bytes={start}-{stop - 1}"}, timeout=10)
        assert part.content == DATA[start:stop]
    taken = requests.put(url, data=b"x", headers={"If-None-Match": "*"}, timeout=10)
    assert taken.status_code == 412
    newer = requests.put(url, data=b"x", headers={"If-Match": got.headers["ETag"]}, timeout=10)
    assert newer.status_code == 200
    assert requests.get(url, timeout=10).content == b"x"
    stored = requests.post(
        f"{server.url}/files", files=[("f", ("1.txt", b"1")), ("f", ("2.bin", DATA))], timeout=30
    ).json()["files"]
    assert requests.get(server.url + stored[1]["url"], timeout=30).content == DATA
    keys = {one["key"] for one in requests.get(f"{server.url}/files", timeout=10).json()["files"]}
    assert keys >= {"a/ä b.bin", stored[0]["key"]}
    assert requests.delete(url, timeout=10).status_code == 204
    assert requests.get(url, timeout=10).status_code == 404
    assert requests.get(f"{server.url}/readyz", timeout=10).status_code == 200


def test_a_cut_upload_leaves_no_row(server: RunningServer, file: Path) -> None:
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/cut", f"Content-Length: {2 * len(DATA)}") + DATA)
        eventually(lambda: drafts(file), "a draft exists")
    eventually(lambda: not drafts(file), "the draft is gone")
    assert requests.get(f"{server.url}/files/cut", timeout=10).status_code == 404


def test_a_sweep_removes_the_leftovers_of_a_killed_server(
    server: RunningServer, file: Path
) -> None:
    """Another server on the same file is killed. The one that lives keeps its own upload."""
    place = f"sqlite:///{file}?table=kept"
    victim = start_server(file.parent / "none", to=place)
    wires = [Wire(victim.port) for _ in range(4)]
    try:
        for number, wire in enumerate(wires):
            begun = head("PUT", f"/files/killed-{number}", f"Content-Length: {2 * len(DATA)}")
            wire.send(begun + DATA)
        eventually(lambda: len(drafts(file)) == 4, "four drafts")
    finally:
        victim.stop(signal.SIGKILL)
        for wire in wires:
            wire.close()
    dead = drafts(file)
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/alive", f"Content-Length: {2 * len(DATA)}") + DATA)
        eventually(lambda: len(drafts(file)) == 5, "one more draft")
        assert ": 0 leftovers removed\n" in command("sweep", place).stdout
        db = sqlite3.connect(file, timeout=30)
        with db:
            db.executemany(
                "UPDATE kept_drafts SET seen = seen - 7200 WHERE id = ?", [(one,) for one in dead]
            )
        db.close()
        assert ": 4 leftovers removed" in command("sweep", place).stdout
        wire.send(DATA)
        assert wire.answer().status == 201
    assert requests.get(f"{server.url}/files/alive", timeout=30).content == DATA + DATA
    assert requests.get(f"{server.url}/files/killed-0", timeout=10).status_code == 404


def test_one_object_is_copied_in_both_directions(tmp_path: Path) -> None:
    """In, out, and refused without --force where the key is taken."""
    (tmp_path / "big.bin").write_bytes(DATA)
    into = command("copy", "big.bin", "sqlite:///x.db/2026/", "--json", cwd=tmp_path)
    assert into.returncode == 0, into.stderr
    assert json.loads(into.stdout)["location"] == "sqlite:///x.db/2026/big.bin"
    again = command("copy", "big.bin", "sqlite:///x.db/2026/big.bin", cwd=tmp_path)
    assert again.returncode == 4
    assert "already" in again.stderr
    assert (
        command("copy", "big.bin", "sqlite:///x.db/2026/", "--force", cwd=tmp_path).returncode == 0
    )
    out = command("copy", "sqlite:///x.db/2026/big.bin", "out.bin", cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    assert (tmp_path / "out.bin").read_bytes() == DATA
    missing = command("copy", "sqlite:///typo.db/a", "out2.bin", cwd=tmp_path)
    assert missing.returncode != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.bin", "out.bin", "x.db"]


def test_many_objects_are_copied_in_both_directions(tmp_path: Path) -> None:
    """A folder and back, from table to table; a mistyped file is no empty success."""
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    for number in range(12):
        (source / ("deep" if number % 2 else "") / f"{number}.bin").write_bytes(
            DATA[: number * 999]
        )
    file = f"sqlite:///{tmp_path}/x.db"
    assert sluiceway.copy_all(source, f"{file}?table=one").ok
    report = sluiceway.copy_all(f"{file}/deep/?table=one", f"{file}/d/?table=two")
    assert (report.ok, report.copied) == (True, 6)
    assert sluiceway.copy_all(f"{file}?table=one", tmp_path / "back").ok
    for path in source.rglob("*.bin"):
        back = tmp_path / "back" / path.relative_to(source)
        assert back.read_bytes() == path.read_bytes()
    with pytest.raises(sluiceway.SluiceError, match="holds no file"):
        sluiceway.copy_all(f"sqlite:///{tmp_path}/typo.db", tmp_path / "none")


def test_a_copy_does_not_touch_the_databases_own_file(tmp_path: Path) -> None:
    """A folder that holds the file is no other side for it, nor is the same table."""
    file = f"sqlite:///{tmp_path}/x.db"
    sluiceway.copy(__file__, f"{file}/a/me.py")
    for source, target in ((str(tmp_path), file), (file, str(tmp_path)), (file, f"{file}/b/")):
        with pytest.raises(sluiceway.SluiceError, match="overlap"):
            sluiceway.copy_all(source, target)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("sqlite://", "sqlite:///FILE.db"),
        ("sqlite://files.db", "sqlite:///FILE.db"),
        ("sqlite:///files.db/key", "names a key"),
        ("sqlite:///files.db?tabel=x", "?table=NAME and nothing else"),
        ("sqlite:///none/files.db", "its folder is missing"),
    ],
)
def test_a_wrong_place_is_refused_at_the_start(tmp_path: Path, place: str, words: str) -> None:
    refused = command("serve", "--port", "0", "--to", place, cwd=tmp_path)
    assert refused.returncode != 0
    assert words in refused.stderr
    assert list(tmp_path.iterdir()) == []
