"""Where many objects go: a local folder, or any store. A REST API: see `rest`.

Each appears whole or not at all, and what is there is replaced only when asked to. Knows nothing of where they come from.
"""

from __future__ import annotations

import os
import stat

from sluiceway.client.local import LocalFile
from sluiceway.client.part import Part, settled
from sluiceway.errors import BadName, Exists, Forbidden, NotFound, StoreFailed
from sluiceway.many.proof import counted, promised
from sluiceway.many.sides import Item, Reading
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.receipt import Receipt
from sluiceway.pipe.stages import Stages
from sluiceway.pipe.timed import TimedSource
from sluiceway.stores.contract import Store
from sluiceway.transfer_places import Coming, keep_in_store, keep_in_target
from sluiceway.wire.names import check_key, stays_inside

__all__ = ["FolderGoal", "StoreGoal"]


class FolderGoal:
    """A folder of this machine, made where it is missing. A key's names become folders and a file; no link is followed."""

    repeats = True
    called: str

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.called = os.path.abspath(folder)

    async def empty(self) -> bool:
        return await settled(lambda: _is_empty(self._folder))

    async def find(self, key: str) -> tuple[Item, str | None] | None:
        found = await settled(lambda: _looked_at(self._path(key)))
        if found is None:
            return None
        plain = stat.S_ISREG(found.st_mode)
        return Item(key, found.st_size if plain else None, f"{found.st_size}-{found.st_mtime_ns}", found.st_mtime), None

    async def sha256(self, key: str) -> str | None:
        try:
            source = await settled(lambda: LocalFile(self._path(key)))
        except OSError:
            return None
        return await counted(source)

    async def put(self, key: str, reading: Reading, once: str, replace: bool) -> Receipt:
        path, stages = self._path(key), Stages()
        part = await settled(lambda: _fresh(self._folder, path, replace))
        try:
            source = TimedSource(reading.source, stages)
            size, sha256 = await keep_in_target(part, source, key, promised(reading), replace, stages)
        finally:
            await settled(part.close)
        spent = stages.spent()
        return Receipt(size, sha256, path, source=key, seconds=sum(spent.values()), stages=spent)

    async def aclose(self) -> None:
        """Nothing is held open between two objects."""

    def _path(self, key: str) -> str:
        if not stays_inside(key):
            raise Forbidden(f"{key!r} leads out of the folder, or is no plain name")
        if os.name == "nt":
            check_key(key)
        return os.path.join(self._folder, *key.split("/"))


def _is_empty(folder: str) -> bool:
    try:
        with os.scandir(folder) as found:
            return next(found, None) is None
    except FileNotFoundError:
        return True
    except OSError as error:
        raise StoreFailed(f"{folder} cannot be looked into: {error.strerror or error}") from error


def _looked_at(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreFailed(f"{path} cannot be looked at: {error.strerror or error}") from error


def _fresh(root: str, path: str, replace: bool) -> Part:
    """Blocking. The part of a file that is not there yet, its folders made."""
    try:
        os.makedirs(root, exist_ok=True)
        folder = root
        for name in os.path.relpath(os.path.dirname(path), root).split(os.sep):
            folder = os.path.join(folder, name)
            try:
                os.mkdir(folder)
            except FileExistsError:
                pass
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                raise Forbidden(f"{folder} is in the way: a link or a file where a folder is needed")
        there = _looked_at(path)
    except OSError as error:
        raise StoreFailed(f"{path} cannot be made: {error.strerror or error}") from error
    if there is not None and (not replace or stat.S_ISDIR(there.st_mode)):
        raise Exists(f"{path} is there already; it was not touched")
    return Part(path, "")


class StoreGoal:
    """Below a prefix of a store. Closes the store at the end."""

    repeats = True
    called: str

    def __init__(self, store: Store, prefix: str, called: str, budget: Budget) -> None:
        self._store, self._prefix, self._budget = store, prefix, budget
        self.called = called

    async def empty(self) -> bool:
        if not self._store.traits.readable:
            return False
        page = await self._store.list(self._prefix, "", 1)
        return page.complete and not page.entries and not page.omitted

    async def find(self, key: str) -> tuple[Item, str | None] | None:
        try:
            entry = await self._store.stat(self._prefix + key)
        except NotFound:
            return None
        return Item(key, entry.size, entry.etag, entry.modified), entry.about.sha256

    async def sha256(self, key: str) -> str | None:
        try:
            opened = await self._store.open(self._prefix + key)
        except (NotFound, Forbidden):
            return None
        try:
            return await counted(opened)
        finally:
            await opened.aclose()

    async def put(self, key: str, reading: Reading, once: str, replace: bool) -> Receipt:
        if not stays_inside(key) or len((whole := self._prefix + key).encode()) > self._store.traits.max_key_bytes:
            raise BadName(f"{key!r} is no key for {self.called}: too long, or with an empty segment, . or ..")
        about, stages = reading.about, Stages()
        coming = Coming(reading.source, key, about.filename, about.type, promised(reading), about.headers, about.user)
        size, kept, entry = await keep_in_store(self._store, whole, coming, replace, self._budget, stages)
        spent = stages.spent()
        location = f"{self.called}{entry.key[len(self._prefix) :]}"
        return Receipt(size, kept.sha256, location, source=key, seconds=sum(spent.values()), stages=spent)

    async def aclose(self) -> None:
        await self._store.aclose()
