"""Views of a store: folders, words, orders and pages, compared with the whole listing sorted."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Literal

import pytest

from sluiceway.errors import BadRequest, TooLarge
from sluiceway.stores import browsing
from sluiceway.stores.browsing import BrowsedPage, View, browse
from sluiceway.stores.contract import Entry, Metadata, Page
from sluiceway.stores.memory import MemoryStore
from sluiceway.testing.store_suite import store_bytes
from sluiceway.uploads.keys import new_id, shown_path

pytestmark = pytest.mark.anyio


class CountingStore(MemoryStore):
    """A store in memory that counts the entries it listed."""

    def __init__(self) -> None:
        super().__init__()
        self.listed = 0

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        page = await super().list(prefix, after, limit)
        self.listed += len(page.entries)
        return page


async def filled(*keys: str) -> CountingStore:
    """Each file has one byte more than the one before."""
    store = CountingStore()
    for number, key in enumerate(keys):
        await store_bytes(store, key, b"x" * number)
    return store


async def pages(store: MemoryStore, view: View, limit: int) -> list[BrowsedPage]:
    """All pages, one after the other by their cursors."""
    found, after = list[BrowsedPage](), ""
    while True:
        page = await browse(store, view, after, limit, shown_path)
        assert len(page.folders) + len(page.files) <= limit
        found.append(page)
        if page.next is None:
            return found
        after = page.next


async def test_a_folder_shows_what_is_directly_in_it() -> None:
    """Files and folders, with the id that the server made in front of a key left out."""
    made = [f"{new_id()}/{path}" for path in ("album/a.txt", "album/b/c.txt", "plain.txt")]
    store = await filled(*made, "album/own.txt", "zoo/x.txt", "root.txt")

    async def look(folder: str) -> tuple[list[str], list[str]]:
        (page,) = await pages(store, View(folder, order="name", descending=False), 100)
        return page.folders, [file.path for file in page.files]

    assert await look("") == (["album/", "zoo/"], ["plain.txt", "root.txt"])
    assert await look("album/") == (["album/b/"], ["album/a.txt", "album/own.txt"])
    assert await look("album/b/") == ([], ["album/b/c.txt"])
    assert await look("missing/") == ([], [])


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", ["name", "size", "modified"])
async def test_pages_joined_by_their_cursor_are_the_whole(
    order: Literal["name", "size", "modified"], descending: bool, limit: int
) -> None:
    """Every order, any page size, equal values included; nothing twice and nothing left out."""
    names = [f"d{number % 3}/File {number % 7}-{number}.txt" for number in range(25)]
    random.Random(7).shuffle(names)
    store = await filled(*names)
    for number, key in enumerate(sorted(store.objects)):
        entry, data = store.objects[key]
        store.objects[key] = dataclasses.replace(entry, modified=float(number // 4)), data
    found = [
        file
        for page in await pages(store, View(None, "", order, descending), limit)
        for file in page.files
    ]

    assert sorted(file.path for file in found) == sorted(names)
    values: dict[str, Callable[[browsing.BrowsedFile], object]] = {
        "name": lambda file: browsing._name_order(file.path),
        "size": lambda file: file.entry.size,
        "modified": lambda file: file.entry.modified,
    }
    got = [values[order](file) for file in found]
    assert got == sorted(got, reverse=descending)  # type: ignore[type-var]  # of one type each


async def test_names_sort_as_people_expect() -> None:
    """Numbers by value, whatever the case."""
    store = await filled("b 10.txt", "B 9.txt", "a.txt", "C.txt")
    (page,) = await pages(store, View(None, order="name", descending=False), 10)

    assert [file.path for file in page.files] == ["a.txt", "B 9.txt", "b 10.txt", "C.txt"]


async def test_a_search_finds_all_words_in_the_whole_path() -> None:
    """In any case and spelling, below the folder."""
    store = await filled(
        "photos/Zürich/Lake.JPG", "photos/bern/lake.png", "zürich.txt", "notes/lake.txt"
    )

    async def search(words: str, folder: str | None = None) -> list[str]:
        (page,) = await pages(store, View(folder, words, "name", False), 10)
        assert page.folders == []
        return [file.path for file in page.files]

    assert await search("lake zu\u0308RICH") == ["photos/Zürich/Lake.JPG"]
    assert await search("lake", "photos/") == ["photos/bern/lake.png", "photos/Zürich/Lake.JPG"]
    assert await search("nowhere") == []


async def test_files_that_come_and_go_between_pages_break_nothing() -> None:
    """The next page begins behind the last file, also when that one is deleted."""
    store = await filled(*(f"{number:02}.txt" for number in range(10)))
    view = View(None, order="name", descending=False)
    first = await browse(store, view, "", 4, shown_path)
    await store.delete("03.txt")
    await store_bytes(store, "01b.txt", b"new")
    second = await browse(store, view, first.next or "", 4, shown_path)

    assert [file.path for file in second.files] == ["04.txt", "05.txt", "06.txt", "07.txt"]


async def test_large_folders_are_skipped_and_not_read() -> None:
    """Fifty folders of 400 files: the root reads a part of them."""
    store = await filled()
    for number in range(20_000):
        key = f"f{number // 400:02}/{number}.txt"
        store.objects[key] = Entry(key, 0, "tag", 1.0, Metadata("")), b""
    (page,) = await pages(store, View(""), 100)

    assert (len(page.folders), page.files) == (50, [])
    assert store.listed < 10_000


async def test_too_many_files_are_refused_and_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of the list, sorted, would look like all of it."""
    store = await filled("a.txt", "b.txt", "c/d.txt", "e/f.txt")
    monkeypatch.setattr(browsing, "MOST_READ", 3)
    with pytest.raises(TooLarge, match="more than 3 files"):
        await browse(store, View(None), "", 10, shown_path)
    monkeypatch.undo()
    monkeypatch.setattr(browsing, "MOST_FOLDERS", 1)
    with pytest.raises(TooLarge, match="more than 1 folders"):
        await browse(store, View(""), "", 10, shown_path)


@pytest.mark.parametrize("after", ["x", "!!", "e30=", "WzEsMiwzXQ==", "WyItMSIsImEiLCJiIl0="])
async def test_a_cursor_of_no_page_is_refused(after: str) -> None:
    """Not base64, not JSON, not three texts, not a number."""
    store = await filled("a.txt")
    with pytest.raises(BadRequest):
        await browse(store, View(None, order="size"), after, 10, shown_path)


def test_a_folder_ends_in_a_slash_and_words_are_few() -> None:
    with pytest.raises(BadRequest, match="ends in /"):
        View("a")
    with pytest.raises(BadRequest, match="at most 200"):
        View(None, "x" * 201)
