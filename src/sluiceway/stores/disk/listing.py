"""A listing of a root in key order, with one open folder a level and a few names of each in memory.

A page costs one pass over each folder it enters, at any depth. Every file that is not an object is
reported with the reason. Blocking calls only.
"""

from __future__ import annotations

import errno
import heapq
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from sluiceway.errors import BadName, Exists, NotFound, SluiceError, Unavailable
from sluiceway.stores.contract import Entry, Omitted, Page
from sluiceway.stores.disk.errors import map_error
from sluiceway.stores.disk.metadata import read_entry
from sluiceway.stores.disk.tree import PRIVATE, Tree
from sluiceway.wire.names import is_text, readable_name, stays_inside

__all__ = ["Found", "page", "walk"]

BATCH = 1024  # names of a folder held at a time: enough for a page in one pass
# Folders open at a time, as many as a key of ours has. One of a longer path is opened again later.
MOST_OPEN = 32
MOST_OMITTED = 1000  # names of a page that are not objects; more are only counted


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file. `folder` is open until the next item of the walk."""

    key: str
    folder: int
    name: str


class _ListedFolder:
    """A folder of the walk, and its names that are still to come."""

    def __init__(self, tree: Tree, before: str, folder: int) -> None:
        self.before = before  # prefix of the keys in it: "" or "a/b/"
        self.names: list[tuple[str, Omitted | None]] = []  # of this batch, the next one last
        # The last name of this batch. Folders end in `/`, so that they sort as their keys do.
        self.after = ""
        self.done = False  # there is no further batch
        self._tree, self._folder = tree, folder

    @property
    def folder(self) -> int:
        if self._folder < 0:
            with self._tree.folder(self.before.split("/")[:-1]) as fd:
                self._folder = os.dup(fd)
        return self._folder

    def close(self) -> None:
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1


def page(tree: Tree, prefix: str, after: str, limit: int) -> Page:
    """One page of a listing. Omitted names behind its last entry are reported on the next page."""
    entries: list[Entry] = []
    omitted: list[Omitted] = []
    unnamed = 0  # number of those beyond MOST_OMITTED
    at_last = 0, 0  # both, at the last entry
    with closing(walk(tree, prefix, after)) as walking:
        for one in walking:
            if isinstance(one, Found) and len(entries) == limit:
                count, more = at_last
                return Page(
                    entries,
                    entries[-1].key,
                    complete=False,
                    omitted=_with_rest(omitted[:count], more),
                )
            found = _entry(tree, one) if isinstance(one, Found) else one
            if isinstance(found, Entry):
                entries.append(found)
                at_last = len(omitted), unnamed
            elif found is not None and len(omitted) < MOST_OMITTED:
                omitted.append(found)
            elif found is not None:
                unnamed += 1
    return Page(entries, complete=True, omitted=_with_rest(omitted, unnamed))


def _with_rest(omitted: list[Omitted], unnamed: int) -> tuple[Omitted, ...]:
    more = (
        [Omitted("…", omitted[-1].code, f"{unnamed} more names that are not objects")]
        if unnamed
        else []
    )
    return (*omitted, *more)


def _entry(tree: Tree, found: Found) -> Entry | Omitted | None:
    """None when it was deleted meanwhile. One unreadable file does not hide the others."""
    try:
        fd, status = tree.open_in(found.folder, found.name, found.key)
        try:
            return read_entry(tree, fd, status, found.key)
        finally:
            os.close(fd)
    except NotFound:
        return None
    except (SluiceError, OSError) as error:
        return _unreadable(found.key, error)


def walk(tree: Tree, prefix: str, after: str) -> Generator[Found | Omitted, None, None]:
    """The files below `prefix` and after `after` (exclusive). May be closed early.

    Raises Unavailable, StoreFailed.
    """
    start = prefix.rpartition("/")[0]
    if "/" in prefix and (not stays_inside(start) or PRIVATE in start.split("/")):
        return  # no key begins so
    levels: list[_ListedFolder] = []
    try:
        try:
            with tree.folder(start.split("/") if start else []) as fd:
                levels.append(_ListedFolder(tree, f"{start}/" if start else "", os.dup(fd)))
        except (NotFound, Exists, BadName):
            return
        except SluiceError as error:
            if not start:
                raise
            yield _unreadable(f"{start}/", error)
            return
        while levels:
            yield from _step(tree, levels, prefix, after)
    finally:
        for level in levels:
            level.close()


def _step(
    tree: Tree, levels: list[_ListedFolder], prefix: str, after: str
) -> Iterator[Found | Omitted]:
    """The next name of the innermost folder; at its end, leave it."""
    level = levels[-1]
    if not level.names and not level.done:
        try:
            _read(level, prefix, after)
        except (SluiceError, OSError) as error:
            if len(levels) == 1:
                raise
            yield _unreadable(level.before, error)
    if not level.names:
        levels.pop().close()
        return
    name, omitted = level.names.pop()
    key = level.before + name
    try:
        if omitted is not None:
            yield omitted
        elif not name.endswith("/"):
            yield Found(key, level.folder, name)
        else:
            _enter(tree, levels, key, name[:-1])
    except (NotFound, Exists):
        return  # removed, or replaced by a file, while we walked
    except (SluiceError, OSError) as error:
        yield _unreadable(key, error)


def _enter(tree: Tree, levels: list[_ListedFolder], key: str, name: str) -> None:
    levels.append(_ListedFolder(tree, key, tree.step(levels[-1].folder, name)))
    if len(levels) > MOST_OPEN:
        levels[-1 - MOST_OPEN].close()


def _read(level: _ListedFolder, prefix: str, after: str) -> None:
    """The next names of a folder, in one pass over it."""
    level.done = True  # also when it cannot be read
    with os.scandir(level.folder) as found:
        chosen = (one for item in found if (one := _chosen(level, item, prefix, after)) is not None)
        batch = heapq.nsmallest(BATCH, chosen, key=lambda one: one[0])
    level.done = len(batch) < BATCH
    level.after = batch[-1][0] if batch else level.after
    level.names = [
        (name, None if why is None else _omitted(level.before + name, why))
        for name, why in reversed(batch)
    ]


def _chosen(
    level: _ListedFolder, item: os.DirEntry[str], prefix: str, after: str
) -> tuple[str, str | None] | None:
    """The name as it sorts, with a code if it cannot be an object; None if it is not asked for."""
    if not level.before and item.name == PRIVATE:
        return None
    why = _why(item)
    folder = why is None and item.is_dir(follow_symlinks=False)
    name = item.name + "/" if folder else item.name
    key = level.before + name
    if name <= level.after or not (key.startswith(prefix) or (folder and prefix.startswith(key))):
        return None
    if key <= after and not (folder and after.startswith(key)):
        return None
    return name, why


def _why(item: os.DirEntry[str]) -> str | None:
    if not is_text(item.name):
        return "bad-name"
    if item.is_dir(follow_symlinks=False):
        return "own-file" if item.name == PRIVATE else None
    if item.is_symlink():
        return "link"
    return None if item.is_file(follow_symlinks=False) else "special-file"


_WHY = {
    "bad-name": "Its name is not UTF-8, so it has no key",
    "own-file": "It is the private folder of another store below this one",
    "link": "It is a symbolic link; its target may be outside of the store, or be listed twice",
    "special-file": "It is not a file but a pipe, a socket or a device",
}


def _omitted(key: str, why: str) -> Omitted:
    return Omitted(readable_name(key), why, _WHY[why])


def _unreadable(key: str, error: SluiceError | OSError) -> Omitted:
    """A name that cannot be looked at.

    Raises Unavailable when no file can be opened any more: the listing would be wrong.
    """
    mapped = map_error(error, "the listing")
    if isinstance(mapped, Unavailable):
        raise mapped
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM):
        return Omitted(readable_name(key), "forbidden", "The server has no right to read it")
    return Omitted(readable_name(key), mapped.code, mapped.public or mapped.detail)
