"""The URL of a SQLite database: file, table, key; what it refuses, and with which words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluiceway.errors import BadRequest
from sluiceway.stores.registry import place_identity, split_place
from sluiceway.stores.sqlite.place import SqlitePlace


@pytest.mark.parametrize(
    ("url", "path", "table", "key"),
    [
        ("sqlite:///files.db", "files.db", "files", ""),
        ("sqlite:///files.db/", "files.db", "files", ""),
        ("SQLite:///files.DB?table=kept", "files.DB", "kept", ""),
        ("sqlite:////srv/data/files.sqlite3?table=files", "/srv/data/files.sqlite3", "files", ""),
        ("sqlite:///data/files.sqlite/a/b.txt", "data/files.sqlite", "files", "a/b.txt"),
        ("sqlite:///files.db/a/b/?table=t", "files.db", "t", "a/b/"),
        ("sqlite:///files.db/%C3%A4%20b", "files.db", "files", "ä b"),
        ("sqlite:///files.db/copy.db", "files.db", "files", "copy.db"),
        ("sqlite:///old%2Edb/files.db/k", "old.db/files.db", "files", "k"),
        ("sqlite:///what%3F%23.db", "what?#.db", "files", ""),
        ("sqlite:///C:/data/files.db/k", "C:/data/files.db", "files", "k"),
        ("sqlite:///folder/library", "folder/library", "files", ""),
        ("sqlite:///../files.db3", "../files.db3", "files", ""),
    ],
)
def test_a_url_names_file_table_and_key(url: str, path: str, table: str, key: str) -> None:
    place = SqlitePlace.parse(url)
    assert (place.path, place.table, place.key) == (path, table, key)
    whole = SqlitePlace.parse(place.root)
    assert (whole.path, whole.table, whole.key) == (path, table, "")
    assert split_place(url) == (key, place.root)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "is on no host"),
        ("sqlite://files.db", "sqlite:///FILE.db"),
        ("sqlite://host/files.db", "is on no host"),
        ("sqlite:///", "names no database file"),
        ("sqlite:////", "names no database file"),
        ("sqlite:///folder/", "names no database file"),
        ("sqlite:///:memory:", "memory:"),
        ("sqlite:///file:x.db", "memory:"),
        ("sqlite:///files.db#x", "%23"),
        ("sqlite:///files.db?", None),
        ("sqlite:///files.db?tabel=x", r"\?table=NAME and nothing else"),
        ("sqlite:///files.db?table=a&table=b", "twice"),
        ("sqlite:///files.db?table=a&", "nothing else"),
        ("sqlite:///files.db?table=", "lower-case"),
        ("sqlite:///files.db?table=Files", "lower-case"),
        ("sqlite:///files.db?table=a%22b", "lower-case"),
        ("sqlite:///files.db?table=sqlite_x", "sqlite_"),
        ("sqlite:///files%00.db", "control characters"),
        ("sqlite:///files.db/a%0Ab", "control characters"),
        ("sqlite:///files%FF.db", "UTF-8"),
    ],
)
def test_other_urls_are_refused_with_what_to_write(url: str, words: str | None) -> None:
    if words is None:
        assert SqlitePlace.parse(url).table == "files"
        return
    with pytest.raises(BadRequest, match=words):
        SqlitePlace.parse(url)


def test_two_spellings_of_one_file_are_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative and absolute, through a link, with and without the default table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files.db").touch()
    (tmp_path / "link.db").symlink_to("files.db")
    spellings = ("sqlite:///files.db", f"sqlite:///{tmp_path}/files.db?table=files")
    found = {place_identity(url) for url in (*spellings, "sqlite:///./link.db")}
    assert len(found) == 1
    assert place_identity("sqlite:///files.db?table=other") not in found


def test_on_windows_a_backslash_parts_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    place = SqlitePlace.parse("sqlite:///C:\\data\\files.db\\a/b")
    assert (place.path, place.key) == ("C:/data/files.db", "a/b")
