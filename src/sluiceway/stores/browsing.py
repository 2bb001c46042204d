"""A store's objects as people look for them: by folder, by words, sorted by name, size or time.

Stores list by key alone, so a view reads the listing and keeps one page of it. Whole folders that
a view does not look into are skipped, not read. What is too long to sort is refused, never cut.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sluiceway.errors import BadRequest, TooLarge
from sluiceway.stores.contract import Entry, Omitted, Store
from sluiceway.wire.names import compose
from sluiceway.wire.numbers import ascii_uint

__all__ = ["ORDERS", "BrowsedFile", "BrowsedPage", "View", "browse", "walk_view"]

MOST_READ = 100_000  # objects that one page of a view reads: 3 s on a disk
MOST_FOLDERS = 10_000  # folders of a view, which are held in memory; 2.5 MB of longest names
MOST_SEARCH = 200  # characters of the words that are looked for
MOST_OMITTED = 1000  # names of a view that are not objects; the plain listing has all
LISTED = 1000  # objects asked of the store at a time
LISTED_IN_LARGE_FOLDER = 64  # the same, while most of them are in a folder that is skipped
_LAST_IN_FOLDER = "\ufffd"  # sorts after nearly every name; a name after it is read and skipped

Order = Literal["name", "size", "modified"]
ORDERS: Mapping[str, Order] = {"name": "name", "size": "size", "modified": "modified"}
_DIGITS = re.compile("([0-9]+)")


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at, and in which order.

    Args:
        folder: "" or a path that ends in `/`: only what is directly in it. None: everything.
        search: Words that must all be in a path. Then the folders below `folder` are searched, too.
        order: What files are sorted by; folders come first, by name.
        descending: From the largest, the newest, or the end of the alphabet.

    Raises:
        BadRequest: The folder does not end in `/`, or the words are too long.
    """

    folder: str | None = None
    search: str = ""
    order: Order = "modified"
    descending: bool = True

    def __post_init__(self) -> None:
        if self.folder and not self.folder.endswith("/"):
            raise BadRequest("folder is the path of a folder and ends in /: photos/2024/")
        if len(self.search) > MOST_SEARCH:
            raise BadRequest(f"search takes at most {MOST_SEARCH} characters")

    @property
    def is_flat(self) -> bool:
        """Whether files of folders further down belong to the view, and folders do not."""
        return self.folder is None or bool(self.search)


@dataclass(frozen=True, slots=True)
class BrowsedFile:
    """An object, and its path as people know it."""

    path: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class BrowsedPage:
    """One page of a view.

    Attributes:
        folders: Paths of the folders in it, each with its `/`.
        files: The files of this page, in order.
        next: The cursor of the next page; None on the last one.
        omitted: What stands there and is not an object; on the first page only.
    """

    folders: list[str]
    files: list[BrowsedFile]
    next: str | None
    omitted: list[Omitted]


@dataclass(frozen=True, slots=True)
class _Descending:
    """A value that sorts the other way round."""

    value: Any

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.value < self.value)


@dataclass(frozen=True, slots=True)
class _Item:
    """A folder or a file of a view, by its place in the order."""

    place: tuple[Any, ...]
    path: str
    entry: Entry | None = None

    def __lt__(self, other: _Item) -> bool:
        return self.place < other.place


@dataclass(slots=True)
class _FirstItems:
    """The first `most` of the items that were added; hardly more than them in memory."""

    most: int
    items: list[_Item] = field(default_factory=list)

    def add(self, item: _Item) -> None:
        self.items.append(item)
        if len(self.items) > 4 * self.most:
            self.items = heapq.nsmallest(self.most, self.items)

    def sorted(self) -> list[_Item]:
        return heapq.nsmallest(self.most, self.items)


async def browse(
    store: Store, view: View, after: str, limit: int, path_of: Callable[[str], str]
) -> BrowsedPage:
    """One page of a view.

    Args:
        store: Where the objects are.
        view: What is looked at.
        after: The cursor of the page before, or "".
        limit: The most folders and files of the page.
        path_of: The path of a key as people know it.

    Raises:
        BadRequest: The cursor is none of this view.
        TooLarge: There are too many objects or folders to sort.
        StoreFailed: The listing broke off.
    """
    behind = _place_of_cursor(view, after) if after else None
    first, omitted, folders = _FirstItems(limit + 1), list[Omitted](), set[str]()
    async for path, found in walk_view(store, view, path_of):
        if isinstance(found, Omitted):
            if not after and len(omitted) < MOST_OMITTED:
                omitted.append(found)
            continue
        if found is None and path in folders:
            continue
        if found is None:
            folders.add(path)
            _check_count(len(folders), MOST_FOLDERS, "folders")
        item = _Item(_place(view, path, found), path, found)
        if behind is None or behind < item.place:
            first.add(item)
    items = first.sorted()
    more, items = len(items) > limit, items[:limit]
    return BrowsedPage(
        [item.path for item in items if item.entry is None],
        [BrowsedFile(item.path, item.entry) for item in items if item.entry is not None],
        _cursor(view, items[-1]) if more else None,
        omitted,
    )


async def walk_view(
    store: Store, view: View, path_of: Callable[[str], str]
) -> AsyncIterator[tuple[str, Entry | Omitted | None]]:
    """The files of a view with their paths, unsorted; a folder comes with None, perhaps twice.

    Raises TooLarge, StoreFailed.
    """
    words = _folded(view.search).split()
    after: str | None = ""
    read, size = 0, LISTED
    while after is not None:
        page = await store.list("", after, size)
        _check_count(read := read + len(page.entries), MOST_READ, "files")
        skipped, passed = "", 0  # a folder that is not looked into, and how many were in it
        for entry in page.entries:
            if skipped and entry.key.startswith(skipped):
                passed += 1
                continue
            path = path_of(entry.key)
            below = _below(path, view)
            skipped, passed = (below if path == entry.key else ""), 0
            if not path.startswith(view.folder or ""):
                continue
            if below:
                yield below, None
            elif not words or _has(path, words):
                yield path, entry
        for one in page.omitted:
            yield one.name, one
        after = page.next
        if after is not None and skipped and after.startswith(skipped):
            after = max(after, skipped + _LAST_IN_FOLDER)
        size = LISTED_IN_LARGE_FOLDER if 2 * passed > LISTED_IN_LARGE_FOLDER else LISTED


def _below(path: str, view: View) -> str:
    """The outermost folder of a path that the view does not look into; "" where it looks."""
    looked_at = view.folder or ""
    if view.is_flat and path.startswith(looked_at):
        return ""
    at = path.find("/")
    while at >= 0:
        if not looked_at.startswith(path[: at + 1]):
            return path[: at + 1]
        at = path.find("/", at + 1)
    return ""


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise TooLarge(
            f"There are more than {most} {what} here, too many to sort or search at once;"
            " look into a folder, or list by key",
            limit=most,
        )


def _folded(text: str) -> str:
    return compose(text).casefold()


def _has(path: str, words: list[str]) -> bool:
    folded = compose(path).casefold()
    return all(word in folded for word in words)


def _place(view: View, path: str, entry: Entry | None) -> tuple[Any, ...]:
    """Folders first, by name; files in the order of the view, and by name where they are equal."""
    if entry is None:
        return 0, 0, _name_order(path), ""
    return _file_place(view, _value(view, entry), path, entry.key)


def _file_place(view: View, value: int, path: str, key: str) -> tuple[Any, ...]:
    name = _name_order(path)
    if view.order == "name":
        return 1, 0, _Descending(name) if view.descending else name, key
    return 1, -value if view.descending else value, name, key


def _value(view: View, entry: Entry) -> int:
    """What the view sorts by, as a whole number: bytes, or microseconds."""
    if view.order == "size":
        return entry.size
    return max(0, round(entry.modified * 1e6)) if view.order == "modified" else 0


def _name_order(path: str) -> tuple[str | int, ...]:
    """As people sort names: whatever the case, and 9 before 10."""
    pieces = _DIGITS.split(path.casefold())
    return tuple(int(piece) if at % 2 else piece for at, piece in enumerate(pieces))


def _cursor(view: View, item: _Item) -> str:
    """The last item of a page as text: what it is sorted by, as it was then."""
    entry = item.entry
    place = ["", item.path, ""]
    if entry is not None:
        place = [str(_value(view, entry)), item.path, entry.key]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _place_of_cursor(view: View, cursor: str) -> tuple[Any, ...]:
    try:
        value, path, key = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        if not (isinstance(value, str) and isinstance(path, str) and isinstance(key, str)):
            raise ValueError
    except (binascii.Error, ValueError, RecursionError):
        raise BadRequest("after is not the cursor of a page of this list; begin anew") from None
    if not key:
        return 0, 0, _name_order(path), ""
    return _file_place(view, ascii_uint(value, "the cursor"), path, key)
