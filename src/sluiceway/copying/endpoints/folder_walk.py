"""Walks a folder of this machine: every file in sorted order, at every depth.

Files are reached by descriptors of their folders; only the names of the folders on the way are
held. An entry that cannot be read, or is not a plain file, comes with the reason: nothing is left
out in silence. Blocking calls, for a thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from sluiceway.client.local.believed_sizes import doubtful, measured
from sluiceway.client.local.folders import Folder
from sluiceway.client.local.part_notes import is_part_name
from sluiceway.copying.contract import RULES, CopyItem
from sluiceway.errors import Forbidden, SourceFailed
from sluiceway.stores.contract import FOLDER_MARKER, Omitted
from sluiceway.wire.names import is_text, stays_inside

__all__ = ["STORE_FOLDER", "omitted_key", "version_of", "walk"]

STORE_FOLDER = ".sluiceway"  # where a server keeps unfinished uploads, beside its files
# Folders on the way that stay open; one above them is opened again when the walk returns to it.
MOST_OPEN = 64


@dataclass(slots=True)
class _Level:
    """One folder on the way down."""

    folder: Folder | None  # None while it is closed
    before: str  # its key and a /; "" for the first
    itself: CopyItem | None  # yielded after everything in it, if that was asked for
    names: Iterator[tuple[str, bool]]


def walk(
    path: str, journals: frozenset[str] = frozenset(), folders: bool = False
) -> Generator[CopyItem, None, None]:
    """`journals`: keys of this copy's own journal. `folders`: each folder too, after its entries.

    Raises SourceFailed.
    """
    try:
        root = Folder(path)
    except OSError as error:
        raise SourceFailed(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        names = iter(_names(root))
    except OSError as error:
        root.close()
        raise SourceFailed(f"{path} cannot be read: {error.strerror or error}") from error
    levels = [_Level(root, "", None, names)]
    try:
        while levels:
            level = levels[-1]
            found = next(level.names, None)
            if found is None:
                _close(levels.pop(), root)
                if folders and level.itself is not None:
                    yield level.itself
                continue
            name, is_folder = found
            key = level.before + name
            if (omitted := _omitted(key, name, journals)) is not None:
                yield CopyItem(key, None, omitted=omitted, folder=is_folder)
            elif is_folder:
                below = _enter(root, level, key, name)
                if isinstance(below, CopyItem):
                    yield below
                    continue
                levels.append(below)
                if len(levels) > MOST_OPEN and (far := levels[-MOST_OPEN]).folder not in (
                    None,
                    root,
                ):
                    _close(far, root)
            else:
                yield _file(root, level, key, name)
    finally:
        for level in levels:
            _close(level, root)
        root.close()


def _enter(root: Folder, level: _Level, key: str, name: str) -> _Level | CopyItem:
    """The folder below with its names; or an item that says why it cannot be read."""
    try:
        folder = _folder_of(root, level).step(name)
    except (OSError, Forbidden) as error:
        return _unreadable(key, error)
    try:
        found = folder.status()
        names = _names(folder)
    except OSError as error:
        folder.close()
        return _unreadable(key, error)
    itself = CopyItem(
        key, None, modified=found.st_mtime, mode=stat.S_IMODE(found.st_mode), folder=True
    )
    return _Level(folder, f"{key}/", itself, iter(names))


def _folder_of(root: Folder, level: _Level) -> Folder:
    """The folder of a level, opened again if it was closed."""
    if level.folder is None:
        level.folder = root.below(level.before.rstrip("/").split("/"))
    return level.folder


def _close(level: _Level, root: Folder) -> None:
    if level.folder is not None and level.folder is not root:
        level.folder.close()
        level.folder = None


def _names(folder: Folder) -> list[tuple[str, bool]]:
    return sorted(folder.scan())


def _unreadable(key: str, error: OSError | Forbidden) -> CopyItem:
    if isinstance(error, FileNotFoundError):
        omitted = Omitted(key, "not-found", "the folder existed a moment ago and is gone")
    elif isinstance(error, Forbidden):
        omitted = Omitted(key, "source-changed", "the folder was replaced while it was read")
    else:
        omitted = Omitted(
            key, "source-failed", f"the folder cannot be read: {error.strerror or error}"
        )
    return CopyItem(key, None, omitted=omitted, folder=True)


def _file(root: Folder, level: _Level, key: str, name: str) -> CopyItem:
    try:
        found = _folder_of(root, level).lstat(name)
        size = _real_size(_folder_of(root, level), name) if doubtful(found) else found.st_size
    except FileNotFoundError:
        return CopyItem(
            key, None, omitted=Omitted(key, "not-found", "it existed a moment ago and is gone")
        )
    except (OSError, Forbidden) as error:
        why = error.detail if isinstance(error, Forbidden) else error.strerror or str(error)
        return CopyItem(
            key, None, omitted=Omitted(key, "source-failed", f"its status cannot be read: {why}")
        )
    if stat.S_ISLNK(found.st_mode):
        return CopyItem(key, None, omitted=Omitted(key, "link", RULES["link"]))
    if not stat.S_ISREG(found.st_mode):
        return CopyItem(key, None, omitted=Omitted(key, "special-file", RULES["special-file"]))
    version = "" if size is None else version_of(found)
    return CopyItem(key, size, version, found.st_mtime, mode=stat.S_IMODE(found.st_mode))


def _real_size(folder: Folder, name: str) -> int | None:
    """The size of a file that the system generates on reading; None where only its end shows."""
    try:
        fd = folder.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return 0  # the error is reported when it is opened for the copy
    try:
        return measured(fd)[1]
    except OSError:
        return None
    finally:
        os.close(fd)


def version_of(found: os.stat_result) -> str:
    """Changes whenever a file's bytes may have."""
    return f"{found.st_size}-{found.st_mtime_ns}"


def _omitted(key: str, name: str, journals: frozenset[str]) -> Omitted | None:
    if key in journals:
        return Omitted(key, "own-journal", RULES["own-journal"])
    if is_part_name(name) or key == STORE_FOLDER:
        return Omitted(key, "own-file", RULES["own-file"])
    return omitted_key(key)


def omitted_key(key: str, size: int | None = None) -> Omitted | None:
    """Why no object with this key can be copied; None if it can."""
    if stays_inside(key):
        return None
    if size == 0 and (not key or (key.endswith("/") and stays_inside(key[:-1]))):
        return Omitted(key, FOLDER_MARKER, RULES[FOLDER_MARKER])
    if not is_text(key):
        why = "its name is not UTF-8"
    elif key.partition("/")[0] == STORE_FOLDER:
        why = f"its key begins with {STORE_FOLDER}, as this program's own files do"
    else:
        why = "its key has an empty segment, . or .., or a NUL"
    return Omitted(key, "bad-name", why)
