"""`sluiceway copy` into a database and out of it: files, folders, pipes and servers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import sluiceway
from fix_postgres import Database
from fix_server import RunningServer
from fix_taking import noise
from sluiceway.errors import Exists, NotFound

DATA = noise(3_000_017)
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def table(database: Database) -> Iterator[str]:
    name = database.fresh()
    assert run("init", f"{database.url}&table={name}").returncode == 0
    yield name
    assert database.leftovers(name) == []
    database.drop(name)


def run(
    *words: str, given: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "sluiceway", *words],
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
        cwd=cwd,
    )


def at(database: Database, table: str, key: str) -> str:
    """The URL of a key, which follows the database's name."""
    place, mark, query = database.url.partition("?")
    return f"{place}/{key}{mark}{query}&table={table}"


def receipt(done: subprocess.CompletedProcess[bytes]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_file_is_copied_into_a_place_and_back(
    database: Database, table: str, tmp_path: Path
) -> None:
    (tmp_path / "ü.bin").write_bytes(DATA)
    result = receipt(run("copy", "--json", str(tmp_path / "ü.bin"), at(database, table, "in/")))
    assert (result["size"], result["sha-256"]) == (len(DATA), SHA)
    assert result["location"].endswith("/in/ü.bin")
    (tmp_path / "out").mkdir()
    result = receipt(
        run("copy", "--json", at(database, table, "in/%C3%BC.bin"), str(tmp_path / "out"))
    )
    assert result["sha-256"] == SHA
    assert (tmp_path / "out" / "ü.bin").read_bytes() == DATA
    assert run("copy", at(database, table, "in/ü.bin"), "-").stdout == DATA


def test_an_existing_key_is_replaced_only_with_force(
    database: Database, table: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"1")
    place = at(database, table, "k")
    assert sluiceway.copy(tmp_path / "a", place).size == 1
    with pytest.raises(Exists):
        sluiceway.copy(tmp_path / "a", place)
    (tmp_path / "a").write_bytes(b"22")
    assert sluiceway.copy(tmp_path / "a", place, force=True).size == 2
    with pytest.raises(Exists):
        sluiceway.copy(place, tmp_path / "a")
    sluiceway.copy(place, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"22"
    with pytest.raises(NotFound):
        sluiceway.copy(at(database, table, "nothing"), tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_pipe_is_stored_under_a_key(database: Database, table: str) -> None:
    result = receipt(
        run(
            "copy", "--json", "--size", str(len(DATA)), "-", at(database, table, "pipe"), given=DATA
        )
    )
    assert result["sha-256"] == SHA
    short = run("copy", "--size", "5000000", "-", at(database, table, "short"), given=DATA)
    assert short.returncode == 3
    assert run("copy", "-", at(database, table, ""), given=b"1").returncode == 2
    assert database.rows(f"SELECT key FROM {table}") == [("pipe",)]


def test_a_folder_is_stored_file_by_file(database: Database, table: str, tmp_path: Path) -> None:
    for name in ("a.txt", "b/c.txt", "b/d/e.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    assert run("copy", str(tmp_path), at(database, table, "tree/")).returncode == 0
    assert database.rows(f"SELECT key FROM {table} ORDER BY key") == [
        ("tree/a.txt",),
        ("tree/b/c.txt",),
        ("tree/b/d/e.bin",),
    ]


def test_copies_between_a_server_and_a_database(
    database: Database, table: str, taker: RunningServer
) -> None:
    """Both ways, with name, type and digest, and from database to database."""
    url = f"{taker.url}/files/x.png"
    assert (
        requests.put(url, data=DATA, headers={"Content-Type": "image/png"}, timeout=20).status_code
        == 201
    )
    assert sluiceway.copy(url, at(database, table, "from/")).sha256 == SHA
    sluiceway.copy(at(database, table, "from/x.png"), at(database, table, "again.png"))
    back = sluiceway.copy(at(database, table, "again.png"), f"{taker.url}/files/back.png")
    assert back.sha256 == SHA
    got = requests.get(f"{taker.url}/files/back.png", timeout=20)
    assert (got.content, got.headers["Content-Type"]) == (DATA, "image/png")


def test_bytes_that_changed_in_the_database_are_noticed(
    database: Database, table: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(DATA)
    sluiceway.copy(tmp_path / "a", at(database, table, "k"))
    database.rows(
        f"UPDATE {table}_chunks SET data = set_byte(data, 0, (get_byte(data, 0) + 1) % 256) "
        "WHERE start = 0"
    )
    done = run("copy", at(database, table, "k"), "b", cwd=tmp_path)
    assert done.returncode == 5
    assert b"announced sha-256" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_contradictory_options_are_refused(database: Database, table: str, tmp_path: Path) -> None:
    """With exit code 2, and without the password in the text."""
    (tmp_path / "a").write_bytes(b"1")
    for words in (
        ["copy", str(tmp_path / "a"), at(database, table, "../up")],
        ["copy", "--form", "a=b", str(tmp_path / "a"), at(database, table, "k")],
        ["copy", at(database, table, ""), str(tmp_path / "b")],
        ["copy", "--curl", str(tmp_path / "a"), at(database, table, "k")],
        ["copy", str(tmp_path / "a"), "postgresql://u:geheim@h/db/k?table=No"],
    ):
        done = run(*words)
        assert done.returncode == 2, (words, done.stderr)
        assert b"geheim" not in done.stderr
