"""Where many objects go: a local folder, or any store. A REST API: see `rest`.

Each appears whole or not at all, and what is there is replaced only when asked to. Knows nothing of where they come from.
"""

from __future__ import annotations

import os
import stat
import time

from sluiceway.client.local.files import LocalFile
from sluiceway.client.local.folders import Folder
from sluiceway.client.local.part_file import PartialFile
from sluiceway.client.local.part_notes import is_part_name
from sluiceway.copying.contract import CopyItem, Reading
from sluiceway.copying.endpoints.folder_walk import version_of
from sluiceway.copying.name_forms import same_name
from sluiceway.copying.sha256_of import counted, promised
from sluiceway.copying.store_copies import Coming, keep_in_store, keep_in_target
from sluiceway.errors import (
    BadName,
    Exists,
    Forbidden,
    NotFound,
    SluiceError,
    SourceFailed,
    StoreFailed,
)
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.receipt import Receipt
from sluiceway.pipe.stages import Stages
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.pipe.wrapped import TimedSource
from sluiceway.stores.contract import Store
from sluiceway.wire.names import check_key, stays_inside

__all__ = ["FolderTarget", "StoreTarget"]


class FolderTarget:
    """A folder of this machine, made where it is missing. A key's names become folders and a file; no link is followed.

    `preserve`: files get the time and the permissions their origin knows.
    """

    repeats = True
    display_name: str

    def __init__(
        self, folder: str, preserve: bool = False, journals: frozenset[str] = frozenset()
    ) -> None:
        """`journals`: keys below the folder that are this copy's own journal."""
        self._folder, self._preserve, self._began = folder, preserve, time.time_ns()
        self._journals = journals
        self.display_name = os.path.abspath(folder)

    async def empty(self) -> bool:
        return await in_thread(lambda: _is_empty(self._folder))

    async def find(self, key: str) -> tuple[CopyItem, str | None] | None:
        found = await in_thread(lambda: self._look(key))
        if found is None:
            return None
        plain = stat.S_ISREG(found.st_mode)
        return CopyItem(
            key,
            found.st_size if plain else None,
            f"{version_of(found)}-{found.st_ino}",
            found.st_mtime,
        ), None

    async def sha256(self, key: str) -> str | None:
        try:
            source = await in_thread(
                lambda: LocalFile(self._path(key), opener=lambda: self._open(key))
            )
        except (OSError, Forbidden, SourceFailed):
            return None
        return await counted(source)

    async def put(self, key: str, reading: Reading, once: str, replace: bool) -> Receipt:
        if key in self._journals:
            raise BadName(f"{key!r} is this copy's own journal; keep that outside the destination")
        path, stages = self._path(key), Stages()
        part = await in_thread(lambda: self._fresh(key, replace))
        try:
            source, item = TimedSource(reading.source, stages), reading.item
            dress = (lambda: part.dress(item.mode, item.modified)) if self._preserve else None
            size, sha256 = await keep_in_target(
                part, source, key, promised(reading), replace, stages, dress=dress
            )
        finally:
            await in_thread(part.close)
        spent = stages.spent()
        return Receipt(size, sha256, path, source=key, seconds=sum(spent.values()), stages=spent)

    async def put_folder(self, item: CopyItem) -> None:
        """A folder with its time and permissions; after all that is in it."""
        await in_thread(lambda: self._dress(item))

    async def aclose(self) -> None:
        """Nothing is held open between two objects."""

    def _path(self, key: str) -> str:
        """For people."""
        return os.path.join(self._folder, *_segments(key))

    def _look(self, key: str) -> os.stat_result | None:
        *folders, name = _segments(key)
        try:
            with Folder(self._folder) as root, root.below(folders) as folder:
                return self._own(folder, name, key)
        except (FileNotFoundError, NotADirectoryError, Forbidden):
            return None
        except OSError as error:
            raise StoreFailed(
                f"{self._path(key)} cannot be looked at: {error.strerror or error}"
            ) from error

    def _own(self, folder: Folder, name: str, key: str) -> os.stat_result:
        """What is there. Where this run made it, under a name that only looks like this one, the folder tells no two apart."""
        found = folder.look(name)
        if found.st_ctime_ns >= self._began and name not in {there for there, _ in folder.scan()}:
            raise same_name(key, self.display_name)
        return found

    def _there(self, folder: Folder, name: str, key: str) -> os.stat_result | None:
        try:
            return self._own(folder, name, key)
        except FileNotFoundError:
            return None
        except (OSError, SluiceError):
            folder.close()
            raise

    def _open(self, key: str) -> int:
        *folders, name = _segments(key)
        with Folder(self._folder) as root, root.below(folders) as folder:
            return folder.open(
                name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            )

    def _fresh(self, key: str, replace: bool) -> PartialFile:
        """Blocking. The part of a file that is not there yet, its folders made."""
        *folders, name = _segments(key)
        path = self._path(key)
        try:
            os.makedirs(self._folder, exist_ok=True)
            with Folder(self._folder) as root:
                folder = root.below(folders, make=True)
            there = self._there(folder, name, key)
        except OSError as error:
            raise StoreFailed(f"{path} cannot be made: {error.strerror or error}") from error
        if there is not None and (not replace or stat.S_ISDIR(there.st_mode)):
            folder.close()
            raise Exists(f"{path} is there already; it was not touched")
        return PartialFile(path, "", folder)

    def _dress(self, item: CopyItem) -> None:
        try:
            os.makedirs(self._folder, exist_ok=True)
            with Folder(self._folder) as root, root.below(_segments(item.key), make=True) as folder:
                folder.dress(item.mode, item.modified)
        except OSError as error:
            raise StoreFailed(
                f"The folder {self._path(item.key)} cannot be made: {error.strerror or error}"
            ) from error


def _segments(key: str) -> list[str]:
    if not stays_inside(key):
        raise Forbidden(f"{key!r} leads out of the folder, or is no plain name")
    if os.name == "nt":
        check_key(key)
    segments = key.split("/")
    if is_part_name(segments[-1]):
        raise BadName(f"{key!r} is what this program calls its temporary files")
    return segments


def _is_empty(folder: str) -> bool:
    try:
        with os.scandir(folder) as found:
            return next(found, None) is None
    except FileNotFoundError:
        return True
    except OSError as error:
        raise StoreFailed(f"{folder} cannot be looked into: {error.strerror or error}") from error


class StoreTarget:
    """Below a prefix of a store. Closes the store at the end."""

    repeats = True
    display_name: str

    def __init__(self, store: Store, prefix: str, display_name: str, budget: Budget) -> None:
        self._store, self._prefix, self._budget = store, prefix, budget
        self.display_name = display_name

    async def empty(self) -> bool:
        if not self._store.traits.readable:
            return False
        page = await self._store.list(self._prefix, "", 1)
        return page.complete and not page.entries and not page.omitted

    async def find(self, key: str) -> tuple[CopyItem, str | None] | None:
        try:
            entry = await self._store.stat(self._prefix + key)
        except NotFound:
            return None
        return CopyItem(key, entry.size, entry.etag, entry.modified), entry.metadata.sha256

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
        if (
            not stays_inside(key)
            or len((whole := self._prefix + key).encode()) > self._store.traits.max_key_bytes
        ):
            raise BadName(
                f"{key!r} is no key for {self.display_name}: too long, or with an empty segment, . or .."
            )
        metadata, stages = reading.metadata, Stages()
        coming = Coming(
            reading.source,
            key,
            metadata.filename,
            metadata.type,
            promised(reading),
            metadata.headers,
            metadata.user,
        )
        size, kept, entry = await keep_in_store(
            self._store, whole, coming, replace, self._budget, stages
        )
        spent = stages.spent()
        location = f"{self.display_name}{entry.key[len(self._prefix) :]}"
        return Receipt(
            size, kept.sha256, location, source=key, seconds=sum(spent.values()), stages=spent
        )

    async def aclose(self) -> None:
        await self._store.aclose()
