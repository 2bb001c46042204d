"""The journal: what it says is done survives a kill, what a kill tore is forgotten, and it serves one job at a time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sluiceway.copying.contract import CopyItem
from sluiceway.copying.journal import Journal, once_key
from sluiceway.errors import BadRequest, StoreFailed
from sluiceway.pipe.receipt import Receipt

ITEMS = [CopyItem(f"k{n}", n, f"v{n}") for n in range(50)]


async def filled(path: Path, items: list[CopyItem]) -> str:
    book = Journal(str(path), "a", "b")
    await asyncio.gather(
        *(book.done(item, Receipt(item.size or 0, "0" * 64, "x")) for item in items)
    )
    book.close()
    return book.id


async def test_what_is_done_is_known_by_the_next_run(tmp_path: Path) -> None:
    """By key and version; another version of the same key is not done."""
    run = await filled(tmp_path / "j", ITEMS)
    book = Journal(str(tmp_path / "j"), "a", "b")

    assert book.id == run
    assert len(book) == len(ITEMS)
    assert all(book.has(item) for item in ITEMS)
    assert not book.has(CopyItem("k1", 1, "v2"))
    assert not book.has(CopyItem("k99", 1, "v1"))
    book.close()


async def test_where_nobody_knows_versions_the_size_counts(tmp_path: Path) -> None:
    await filled(tmp_path / "j", [CopyItem("k", 7)])
    book = Journal(str(tmp_path / "j"), "a", "b")

    assert book.has(CopyItem("k", 7))
    assert not book.has(CopyItem("k", 8))
    book.close()


async def test_a_torn_end_is_forgotten_and_written_over(tmp_path: Path) -> None:
    """Cut at every byte of the last line: all before it counts, and the file is whole again afterwards."""
    await filled(tmp_path / "j", ITEMS[:5])
    whole = (tmp_path / "j").read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(last, len(whole)):
        (tmp_path / "j").write_bytes(whole[:cut])
        book = Journal(str(tmp_path / "j"), "a", "b")
        assert len(book) == 4
        await book.done(ITEMS[9], Receipt(9, None, "x"))
        book.close()
        assert [json.loads(line)["key"] for line in (tmp_path / "j").read_bytes().splitlines()[1:]][
            -1
        ] == "k9"


async def test_a_torn_head_begins_anew(tmp_path: Path) -> None:
    """Nothing was counted before the head was whole."""
    await filled(tmp_path / "j", [])
    whole = (tmp_path / "j").read_bytes()
    for cut in range(len(whole)):
        (tmp_path / "j").write_bytes(whole[:cut])
        Journal(str(tmp_path / "j"), "a", "b").close()
        assert len((tmp_path / "j").read_bytes()) == len(whole)


@pytest.mark.parametrize(
    "text",
    [b"precious\n", b"precious", b"{}\n", b"\0" * 5000, b'{"sluiceway-journal": 99, "id": "x"}\n'],
)
def test_another_file_is_refused_and_not_touched(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "j").write_bytes(text)
    with pytest.raises(BadRequest):
        Journal(str(tmp_path / "j"), "a", "b")
    assert (tmp_path / "j").read_bytes() == text


async def test_other_sides_are_refused(tmp_path: Path) -> None:
    await filled(tmp_path / "j", ITEMS)
    for sides in (("a", "c"), ("c", "b"), ("b", "a")):
        with pytest.raises(BadRequest, match="another source or destination"):
            Journal(str(tmp_path / "j"), *sides)


def test_two_processes_cannot_share_one(tmp_path: Path) -> None:
    """The second is refused while the first lives, and welcome afterwards."""
    opens = f"from sluiceway.copying.journal import Journal; book = Journal({str(tmp_path / 'j')!r}, 'a', 'b')"
    line = f"{opens}; print('open', flush=True); input()"
    first = subprocess.Popen(
        [sys.executable, "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "open\n"
    with pytest.raises(BadRequest, match="Another copy uses"):
        Journal(str(tmp_path / "j"), "a", "b")
    first.kill()
    first.communicate()
    Journal(str(tmp_path / "j"), "a", "b").close()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="cannot be written"):
        Journal(str(tmp_path / "no" / "j"), "a", "b")


def test_the_key_of_an_object_follows_from_run_key_and_version() -> None:
    """The same after a restart; other for anything else."""
    keys = {
        once_key("r", CopyItem("k", 1, "v")),
        once_key("s", CopyItem("k", 1, "v")),
        once_key("r", CopyItem("k", 1, "w")),
        once_key("r", CopyItem("l", 1, "v")),
    }

    assert len(keys) == 4
    assert once_key("r", CopyItem("k", 2, "v", 3.0)) in keys
    assert all(len(key) == 32 for key in keys)
