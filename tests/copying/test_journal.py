"""The journal: an acknowledged row survives a kill, and one run of one job has it at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from sluiceway.copying.contract import CopyItem
from sluiceway.copying.journals import sqlite as journal_module
from sluiceway.copying.journals.journal import once_key
from sluiceway.copying.journals.sqlite import SqliteJournal
from sluiceway.errors import BadRequest, NoSpace, StoreFailed
from sluiceway.pipe.receipt import Receipt

ITEMS = [CopyItem(f"k{n}", n, f"v{n}") for n in range(50)]


async def filled(path: Path, items: list[CopyItem]) -> str:
    journal = SqliteJournal(str(path), "a", "b")
    await asyncio.gather(
        *(
            journal.done(item, Receipt(item.size or 0, (("sha-256", "0" * 64),), "x"))
            for item in items
        )
    )
    journal.close()
    return journal.id


async def test_the_next_run_knows_finished_objects(tmp_path: Path) -> None:
    """By key and version; another version of the same key is not done."""
    run = await filled(tmp_path / "j", ITEMS)
    journal = SqliteJournal(str(tmp_path / "j"), "a", "b")

    assert journal.id == run
    assert len(journal) == len(ITEMS)
    assert all(journal.has(item) for item in ITEMS)
    assert not journal.has(CopyItem("k1", 1, "v2"))
    assert not journal.has(CopyItem("k99", 1, "v1"))
    journal.close()
    assert os.listdir(tmp_path) == ["j"]  # nothing stays beside it


async def test_without_versions_the_size_counts(tmp_path: Path) -> None:
    await filled(tmp_path / "j", [CopyItem("k", 7)])
    journal = SqliteJournal(str(tmp_path / "j"), "a", "b")

    assert journal.has(CopyItem("k", 7))
    assert not journal.has(CopyItem("k", 8))
    journal.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the run locks the database")
async def test_other_programs_can_query_it_while_it_is_used(tmp_path: Path) -> None:
    """The documented table, by SQL, from another connection in the middle of a run."""
    journal = SqliteJournal(str(tmp_path / "j"), "a", "b")
    await journal.done(CopyItem("a\udcff", 1, "v"), Receipt(1, (), "x"))
    digests = (("crc64nvme", "1" * 16), ("sha-256", "0" * 64))
    await journal.done(CopyItem("k", 7, "v"), Receipt(7, digests, "https://host/k"))
    with closing(sqlite3.connect(f"file:{tmp_path / 'j'}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT key, version, size, digest, location FROM objects").fetchall()
        finished = db.execute("SELECT finished FROM objects WHERE key = 'k'").fetchone()[0]
    journal.close()

    digest = f"crc64nvme:{'1' * 16} sha-256:{'0' * 64}"
    assert rows == [("a\\udcff", "v", 1, None, "x"), ("k", "v", 7, digest, "https://host/k")]
    assert time.strptime(finished, "%Y-%m-%dT%H:%M:%SZ")


WRITER = """# in a fork
import asyncio, sys
from sluiceway.copying.journals import sqlite as journal_module
from sluiceway.copying.contract import CopyItem
from sluiceway.copying.journals.sqlite import SqliteJournal
from sluiceway.pipe.receipt import Receipt

async def work(journal, numbers):
    for n in numbers:
        await journal.done(CopyItem(f"k{n}", n, "v"), Receipt(n, (), "x"))
        print(n, flush=True)

async def main():
    journal, numbers = SqliteJournal(sys.argv[1], "a", "b"), iter(range(len_before, 10**9))
    await asyncio.gather(*(work(journal, numbers) for _ in range(4)))

len_before = int(sys.argv[2])
asyncio.run(main())
"""


def test_an_acknowledged_row_survives_kill_9(tmp_path: Path) -> None:
    """Killed again and again between two rows, at any moment: what was acknowledged is there."""
    acknowledged: set[int] = set()
    for _ in range(5):
        begin = max(acknowledged, default=-1) + 1
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "j"), str(begin)],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            for _ in range(20):
                acknowledged.add(int(writer.stdout.readline()))
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read()
            acknowledged |= {int(line) for line in rest.splitlines(keepends=True) if "\n" in line}
        journal = SqliteJournal(str(tmp_path / "j"), "a", "b")
        missing = [n for n in acknowledged if not journal.has(CopyItem(f"k{n}", n, "v"))]
        journal.close()

        assert missing == []


def test_a_creation_that_was_cut_off_begins_anew(tmp_path: Path) -> None:
    """An empty file is what a kill leaves before the first transaction is on the disk."""
    (tmp_path / "j").touch()
    first = SqliteJournal(str(tmp_path / "j"), "a", "b")
    first.close()
    second = SqliteJournal(str(tmp_path / "j"), "a", "b")
    second.close()

    assert first.id == second.id


def other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE precious (x)")
        db.commit()


def test_another_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    other_database(tmp_path / "j")
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(BadRequest, match="not a journal of a copy"):
        SqliteJournal(str(tmp_path / "j"), "a", "b")
    assert (tmp_path / "j").read_bytes() == before
    assert os.listdir(tmp_path) == ["j"]


@pytest.mark.parametrize("text", [b"precious\n", b"precious", b"{}\n", b"\0" * 5000])
def test_another_file_is_refused_and_not_touched(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "j").write_bytes(text)
    with pytest.raises(BadRequest, match="not a journal of a copy"):
        SqliteJournal(str(tmp_path / "j"), "a", "b")
    assert (tmp_path / "j").read_bytes() == text


async def test_a_damaged_journal_is_refused_with_advice(tmp_path: Path) -> None:
    """A file that was cut: the text says what to do, and the exit code is that of a wrong call."""
    path = tmp_path / "j"
    await filled(path, [CopyItem(f"{'k' * 200}{n}", n, f"v{n}") for n in range(200)])
    path.write_bytes(path.read_bytes()[:9000])

    with pytest.raises(BadRequest, match="damaged; name a new file"):
        SqliteJournal(str(path), "a", "b")


def test_a_journal_of_the_text_format_is_refused_with_advice(tmp_path: Path) -> None:
    text = b'{"sluiceway-journal": 1, "id": "x", "sides": "y"}\n'
    (tmp_path / "j").write_bytes(text)
    with pytest.raises(BadRequest, match=r"older format .* compared and skipped"):
        SqliteJournal(str(tmp_path / "j"), "a", "b")
    assert (tmp_path / "j").read_bytes() == text


def test_a_journal_of_a_later_version_is_refused(tmp_path: Path) -> None:
    SqliteJournal(str(tmp_path / "j"), "a", "b").close()
    with closing(sqlite3.connect(tmp_path / "j")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(BadRequest, match="another version of this program"):
        SqliteJournal(str(tmp_path / "j"), "a", "b")


async def test_other_sides_are_refused(tmp_path: Path) -> None:
    await filled(tmp_path / "j", ITEMS)
    for sides in (("a", "c"), ("c", "b"), ("b", "a")):
        with pytest.raises(BadRequest, match="another source or destination"):
            SqliteJournal(str(tmp_path / "j"), *sides)


@pytest.mark.parametrize("flock", [True, False], ids=["flock", "SQLite's lock"])
def test_two_processes_cannot_share_one(
    tmp_path: Path, flock: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is refused while the first lives, and may open it afterwards."""
    if flock and sys.platform != "linux":
        pytest.skip("flock is used on Linux only")
    monkeypatch.setattr(journal_module, "USES_FLOCK", flock)
    monkeypatch.setattr(journal_module, "BUSY_TIMEOUT", 0.1)
    program = (
        "# in a fork\n"
        "from sluiceway.copying.journals import sqlite as journal\n"
        f"journal.USES_FLOCK = {flock}\n"
        f"opened = journal.SqliteJournal({str(tmp_path / 'j')!r}, 'a', 'b')\n"
        "print('open', flush=True)\n"
        "input()\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "open\n"
    with pytest.raises(BadRequest, match="Another copy uses"):
        SqliteJournal(str(tmp_path / "j"), "a", "b")
    first.kill()
    first.communicate()
    SqliteJournal(str(tmp_path / "j"), "a", "b").close()


def test_a_path_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="cannot be written"):
        SqliteJournal(str(tmp_path / "no" / "j"), "a", "b")


async def test_a_full_disk_is_an_error_of_its_own(tmp_path: Path) -> None:
    """The run ends with the advice to make room; rows that were acknowledged stay."""
    journal = SqliteJournal(str(tmp_path / "j"), "a", "b")
    await journal.done(ITEMS[0], Receipt(0, (), "x"))
    assert journal._db is not None
    journal._db.execute("PRAGMA max_page_count = 1")  # SQLite's own "disk is full"
    with pytest.raises(NoSpace, match="make room"):
        await journal.done(CopyItem("k", 1), Receipt(1, (), "x" * 100_000))
    await journal.settle()
    journal.close()

    journal = SqliteJournal(str(tmp_path / "j"), "a", "b")
    assert journal.has(ITEMS[0])
    assert len(journal) == 1
    journal.close()


def test_the_once_key_follows_from_run_key_and_version() -> None:
    """The same after a restart; another one for anything else."""
    keys = {
        once_key("r", CopyItem("k", 1, "v")),
        once_key("s", CopyItem("k", 1, "v")),
        once_key("r", CopyItem("k", 1, "w")),
        once_key("r", CopyItem("l", 1, "v")),
    }

    assert len(keys) == 4
    assert once_key("r", CopyItem("k", 2, "v", 3.0)) in keys
    assert all(len(key) == 32 for key in keys)
