"""Copies to buckets, databases and folders that are killed: the next run sends only the rest.

Real servers, real processes killed by SIGKILL, and a proxy that counts what passes to the bucket.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import sluiceway
from cutting_proxy import CuttingProxy
from fix_copies import bookmarks
from fix_postgres import Database
from fix_s3 import PART, Objects
from fix_taking import eventually, noise
from s3_faults import Fault, S3Faults
from sluiceway.errors import Exists, SluiceError

pytestmark = pytest.mark.usefixtures("state")

MIB = 1 << 20
DATA = noise(9 * MIB + 12_345)
SHA = hashlib.sha256(DATA).hexdigest()
RATE = "4MiB"  # a second: two seconds to kill it in
DEADLINE = 120  # seconds


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def table(database: Database) -> Iterator[str]:
    name = database.fresh()
    assert ran("init", f"{database.url}&table={name}")[0] == 0
    yield name
    assert database.leftovers(name) == []
    database.drop(name)


def at(database: Database, table: str, key: str) -> str:
    place, mark, query = database.url.partition("?")
    return f"{place}/{key}{mark}{query}&table={table}"


def started(*words: str | Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sluiceway", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )


def ran(*words: str | Path, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    process = started(*words, env=env)
    output, notes = process.communicate(timeout=DEADLINE)
    return process.returncode, output, notes


def kept(state: Path) -> int:
    """The offset that the only bookmark names."""
    lines = [line for path in bookmarks(state) for line in path.read_text().splitlines()[1:]]
    offsets = [json.loads(line)["offset"] for line in lines if line.endswith("}")]
    return offsets[-1] if offsets else 0


def killed_when(reached: Callable[[], bool], *words: str | Path, env: dict[str, str]) -> None:
    """SIGKILL, as soon as that is reached."""
    process = started(*words, "--limit-rate", RATE, env=env)
    eventually(lambda: reached() or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    _, notes = process.communicate(timeout=DEADLINE)
    assert process.returncode == -signal.SIGKILL, notes


def broken_off(file: Path, place: str) -> list[sluiceway.Progress]:
    """A copy in this process that fails in mid-way."""
    seen: list[sluiceway.Progress] = []

    def stop(now: sluiceway.Progress) -> None:
        seen.append(now)
        if (now.kept or 0) >= MIB:
            raise SluiceError("enough")

    with pytest.raises(SluiceError, match="the same command goes on"):
        sluiceway.copy(file, place, limit_rate="6MiB", on_progress=stop)
    return seen


def again(file: Path, place: str, **options: bool) -> tuple[sluiceway.Receipt, str]:
    """The receipt, and what was said."""
    notes: list[str] = []
    receipt = sluiceway.copy(
        file,
        place,
        on_progress=lambda now: notes.append(now.note),
        force=options.get("force", False),
    )
    return receipt, "\n".join(notes)


def goes_on_at(notes: str) -> int:
    found = re.search(r"goes on at (\d+) of", notes)
    assert found, notes
    return int(found[1])


@pytest.mark.torture
def test_a_killed_copy_to_a_bucket_goes_on_behind_its_parts(
    s3: Objects, file: Path, state: Path
) -> None:
    """Only what was in flight is sent again. Nothing unfinished and no draft stays."""
    bucket, data = s3.fresh(), DATA * 2
    file.write_bytes(data)
    with CuttingProxy(urlsplit(s3.endpoint).port or 0, 1 << 40) as proxy:
        env = s3.env | {"AWS_ENDPOINT_URL": proxy.url}
        place = s3.url(bucket, "big.bin")
        killed_when(lambda: kept(state) >= PART, "copy", file, place, env=env)
        before = kept(state)
        status, output, notes = ran("copy", "--json", file, place, env=env)
        sent = proxy.sent
    assert status == 0, notes
    assert json.loads(output)["sha-256"] == hashlib.sha256(data).hexdigest()
    assert goes_on_at(notes) == before
    assert s3.client.get_object(Bucket=bucket, Key="big.bin")["Body"].read() == data
    own = [key for key in s3.keys(bucket) if not key.startswith(".sluiceway/digests/")]
    assert (s3.unfinished(bucket), own, bookmarks(state)) == ([], ["big.bin"], [])
    assert sent <= len(data) + 3 * 8 * MIB  # parts that were in flight


def test_a_cut_on_the_way_to_a_bucket_is_mended_by_the_same_copy(
    s3: Objects, file: Path, state: Path
) -> None:
    """One part is sent again; the object is whole, and nothing else stays."""
    bucket, faults = s3.fresh(), S3Faults(s3.endpoint)
    fault = faults.script["big.bin"] = Fault("reset", "part", at=2 * MIB)
    options = {"store_option": s3.options | {"endpoint": faults.url}}
    try:
        receipt = sluiceway.copy(file, s3.url(bucket, "big.bin"), **options)  # type: ignore[arg-type]
    finally:
        faults.close()
    assert fault.met == 1
    assert receipt.sha256 == SHA
    assert s3.client.get_object(Bucket=bucket, Key="big.bin")["Body"].read() == DATA
    assert (s3.unfinished(bucket), bookmarks(state)) == ([], [])


def test_a_killed_copy_to_a_database_goes_on_at_what_was_committed(
    database: Database, table: str, file: Path, state: Path
) -> None:
    place = at(database, table, "big.bin")
    killed_when(lambda: kept(state) >= 6 * MIB, "copy", file, place, env={})
    before = kept(state)
    status, _, notes = ran("copy", file, place)
    assert status == 0, notes
    assert goes_on_at(notes) == before
    back = file.parent / "back.bin"
    assert sluiceway.copy(place, back).sha256 == SHA
    assert back.read_bytes() == DATA
    assert bookmarks(state) == []


def test_a_copy_to_a_sqlite_file_goes_on_at_what_was_committed(
    file: Path, tmp_path: Path, state: Path
) -> None:
    place = f"sqlite:///{tmp_path}/files.db/big.bin"
    broken_off(file, place)
    before = kept(state)
    receipt, notes = again(file, place)
    assert goes_on_at(notes) == before >= MIB
    assert (receipt.sha256, bookmarks(state)) == (SHA, [])
    with closing(sqlite3.connect(tmp_path / "files.db")) as db:
        assert db.execute("SELECT count(*) FROM files_drafts").fetchall() == [(0,)]


def test_a_killed_copy_into_a_folder_goes_on_at_its_part(
    database: Database, table: str, file: Path, tmp_path: Path
) -> None:
    """From a store. What is here is read from the disk, and not asked for again."""
    place = at(database, table, "big.bin")
    sluiceway.copy(file, place)
    to = tmp_path / "to"
    to.mkdir()

    def size() -> int:
        return sum(path.stat().st_size for path in to.glob(".sluiceway-*.part"))

    killed_when(lambda: size() >= 5 * MIB, "copy", place, to / "big.bin", env={})
    database.rows(f"DELETE FROM {table}_readers")  # what the killed one held
    left = size()
    status, _, notes = ran("copy", place, to / "big.bin")
    assert status == 0, notes
    assert goes_on_at(notes) == left
    assert (to / "big.bin").read_bytes() == DATA
    assert [path.name for path in to.iterdir()] == ["big.bin"]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("bucket", marks=pytest.mark.torture),
        pytest.param("database", marks=pytest.mark.torture),
        "folder",
    ],
)
def test_a_large_object_among_many_goes_on(
    request: pytest.FixtureRequest,
    state: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """`copy -r` with a journal: what is done stays done, and the one that was cut goes on."""
    folder, journal = tmp_path / "from", tmp_path / "journal.db"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"small")
    data = DATA * 5 if kind == "bucket" else DATA  # several parts of 10 MiB
    (folder / "deep" / "big.bin").write_bytes(data)
    to = tmp_path / "to"
    place = str(to)
    if kind == "bucket":
        s3: Objects = request.getfixturevalue("s3")
        place = s3.url(s3.fresh(), "p/")
        for name, value in s3.env.items():
            monkeypatch.setenv(name, value)
    elif kind == "database":
        table = request.getfixturevalue("table")
        place = at(request.getfixturevalue("database"), table, "p/")

    def far() -> bool:
        parts = (path.stat().st_size for path in to.rglob(".sluiceway-*.part"))
        return kept(state) >= PART or sum(parts) >= PART

    words = ("copy", "-r", "--jobs", "1", "--journal", str(journal), str(folder), place)
    killed_when(far, *words, env={})
    notes: list[str] = []
    report = sluiceway.copy_all(
        folder, place, journal=journal, jobs=1, on_progress=lambda now: notes.append(now.note)
    )
    assert report.ok
    assert goes_on_at("\n".join(notes)) >= PART
    assert bookmarks(state) == []
    back = tmp_path / "back"
    assert sluiceway.copy_all(place, back).ok
    assert (back / "deep" / "big.bin").read_bytes() == data
    assert (back / "a.txt").read_bytes() == b"small"


def test_a_source_that_changed_is_sent_from_its_beginning(
    database: Database, table: str, file: Path, state: Path
) -> None:
    """In words. The draft of the old bytes is gone."""
    place = at(database, table, "big.bin")
    broken_off(file, place)
    changed = DATA[::-1]
    file.write_bytes(changed)
    receipt, said = again(file, place)
    assert "changed since its upload broke off" in said
    assert "goes on" not in said
    assert receipt.sha256 == hashlib.sha256(changed).hexdigest()


def test_a_draft_that_is_gone_begins_anew_in_words(
    database: Database, table: str, file: Path, state: Path
) -> None:
    place = at(database, table, "big.bin")
    broken_off(file, place)
    database.rows(f"DELETE FROM {table}_chunks")
    database.rows(f"DELETE FROM {table}_drafts")
    receipt, said = again(file, place)
    assert "lost the upload" in said
    assert receipt.sha256 == SHA


def test_without_resume_nothing_is_noted_and_nothing_stays(
    database: Database, table: str, file: Path, state: Path
) -> None:
    noted = []

    def stop(now: sluiceway.Progress) -> None:
        noted.extend(bookmarks(state))
        if now.done > 5 * MIB:
            raise SluiceError("enough")

    with pytest.raises(SluiceError, match=r"enough$"):
        sluiceway.copy(file, at(database, table, "big.bin"), resume=False, on_progress=stop)
    assert noted == []
    assert database.leftovers(table) == []


def test_a_copy_that_was_killed_after_its_publish_is_done(
    database: Database, table: str, file: Path, state: Path
) -> None:
    """The object is there and the bookmark, too: the next run finds its own object."""
    place = at(database, table, "big.bin")
    broken_off(file, place)
    (bookmark,) = bookmarks(state)
    text = bookmark.read_bytes()
    again(file, place)
    bookmark.write_bytes(text)
    receipt, _ = again(file, place)
    assert receipt.sha256 == SHA
    assert bookmarks(state) == []
    with pytest.raises(Exists):  # another copy, of which no bookmark tells
        again(file, place)


def test_a_sweep_removes_what_no_bookmark_goes_on_with(
    database: Database, table: str, file: Path, state: Path
) -> None:
    """After a month without a byte; before that no sweep removes it."""
    place = at(database, table, "big.bin")
    root = f"{database.url}&table={table}"
    broken_off(file, place)
    assert ran("sweep", root)[0] == 0
    assert len(database.leftovers(table)) == 1
    database.rows(f"UPDATE {table}_drafts SET seen = now() - interval '31 days'")
    assert ran("sweep", root)[0] == 0
    assert database.leftovers(table) == []


def test_a_failure_keeps_all_that_arrived(
    database: Database, table: str, file: Path, state: Path
) -> None:
    """Not only what was committed last. The bar never goes back behind what is kept."""
    place = at(database, table, "big.bin")
    seen = broken_off(file, place)
    offsets = [one.kept for one in seen if one.kept is not None]
    assert offsets == sorted(offsets)
    before = kept(state)
    assert before >= offsets[-1]
    receipt, said = again(file, place)
    assert goes_on_at(said) == before
    assert receipt.sha256 == SHA


def _moves(process: subprocess.Popen[str], state: Path, begun: int) -> bool:
    return kept(state) > begun or process.poll() is not None


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["bucket", "database"])
def test_killed_at_random_bytes_again_and_again(
    s3: Objects, database: Database, table: str, tmp_path: Path, state: Path, kind: str
) -> None:
    """150 MB, killed up to ten times. What was kept is never lost. A bucket gets the bytes of the
    file, and besides, for each kill, the parts that were in flight."""
    path, size = tmp_path / "large.bin", 150_000_000
    path.write_bytes(os.urandom(size))
    bucket = s3.fresh()
    place = s3.url(bucket, "large.bin") if kind == "bucket" else at(database, table, "large.bin")
    random_kills, offsets = random.Random(14), [0]
    with CuttingProxy(urlsplit(s3.endpoint).port or 0, 1 << 40) as proxy:
        env = s3.env | {"AWS_ENDPOINT_URL": proxy.url}
        again = 0
        for _ in range(10):
            process = started("copy", path, place, "--limit-rate", "20MiB", env=env)
            moves = partial(_moves, process, state, kept(state))
            eventually(moves)
            time.sleep(random_kills.uniform(0, 1))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=DEADLINE)
            again += 1
            if not bookmarks(state):  # all is there: the last one was as quick as its kill
                break
            offsets.append(kept(state))
        else:
            status, _, notes = ran("copy", path, place, env=env)
            assert status == 0, notes
        sent = proxy.sent
    assert offsets == sorted(offsets)
    assert ran("copy", place, tmp_path / "back", env=s3.env)[0] == 0
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    if kind == "bucket":
        assert sent <= 1.02 * size + again * 3 * 8 * MIB
