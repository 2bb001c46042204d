"""Bookmarks of uploads: found again, locked, private, bounded."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sluiceway.client.local import bookmarks
from sluiceway.client.local.bookmarks import EXPIRES, Bookmark, BookmarkNotes, take_bookmark
from sluiceway.pipe.file_lock import HAS_LOCKS

pytestmark = pytest.mark.skipif(not HAS_LOCKS, reason="bookmarks need locks")

NOTES = BookmarkNotes("https://host/uploads/1", "tus", "v1", 10)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "sluiceway" / "uploads"


def taken(*names: str) -> Bookmark:
    bookmark = take_bookmark(*names)
    assert bookmark is not None
    return bookmark


def left(name: str) -> None:
    """A bookmark that an earlier run left."""
    bookmark = taken(name)
    bookmark.write(NOTES)
    bookmark.close()


def test_a_later_run_finds_what_an_earlier_one_wrote(folder: Path) -> None:
    left("a")
    bookmark = taken("a")
    assert bookmark.notes == NOTES
    assert taken("a", "to another place").notes is None
    bookmark.clear()
    bookmark.close()
    assert taken("a").notes is None


def test_only_the_user_may_read_it(folder: Path) -> None:
    left("a")
    assert folder.stat().st_mode & 0o77 == 0
    assert all(path.stat().st_mode & 0o77 == 0 for path in folder.iterdir())


def test_a_bookmark_in_use_is_nobody_elses() -> None:
    bookmark = taken("a")
    assert take_bookmark("a") is None
    bookmark.close()
    bookmark.close()
    assert taken("a").notes is None


def test_one_without_notes_leaves_no_file(folder: Path) -> None:
    taken("a").close()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b'{"url": 1}', b"\xff" * 100, b"[" * 70_000]
)
def test_what_is_no_bookmark_of_ours_counts_as_none(folder: Path, text: bytes) -> None:
    left("a")
    (path,) = folder.iterdir()
    path.write_bytes(text)
    assert taken("a").notes is None


def test_expired_ones_and_the_oldest_of_too_many_go(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookmarks, "MOST_BOOKMARKS", 3)
    for name in "abcde":
        left(name)
        newest = max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (time.time() - 1000 + ord(name), time.time() - 1000 + ord(name)))
    taken("other").close()
    assert len(list(folder.iterdir())) == 3
    for path in folder.iterdir():
        os.utime(path, (time.time() - EXPIRES - 60, time.time() - EXPIRES - 60))
    taken("other").close()
    assert list(folder.iterdir()) == []


def test_a_state_folder_that_cannot_be_made_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"no folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert take_bookmark("a") is None
