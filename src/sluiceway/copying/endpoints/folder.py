"""A folder of this machine as a side of a copy of many objects.

Each object is opened in exactly the version its listing gave; a version "" means any. Each appears
whole or not at all, and is replaced only if asked. No link is followed. Knows no other side.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice

from sluiceway.client.local.files import LocalFile
from sluiceway.client.local.folders import Folder, FoldersBelow
from sluiceway.client.local.part_claim import remove_published
from sluiceway.client.local.part_file import PartialFile
from sluiceway.client.local.part_notes import is_part_name
from sluiceway.copying.contract import SMALL, CopyItem, Reading
from sluiceway.copying.endpoints.folder_publishing import FSYNCS, FolderPublisher, SmallFile
from sluiceway.copying.endpoints.folder_walk import omitted_key, version_of, walk
from sluiceway.copying.endpoints.verified_put import (
    ProgressTap,
    digest_of_source,
    is_small,
    notes_place,
    put_into_file,
    put_small,
)
from sluiceway.copying.name_forms import same_name
from sluiceway.errors import (
    BadName,
    Exists,
    Forbidden,
    NotFound,
    SourceChanged,
    SourceFailed,
    StoreFailed,
)
from sluiceway.pipe.receipt import Receipt
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.worker_thread import in_thread, open_in_thread
from sluiceway.stores.contract import Metadata, Pairs
from sluiceway.stores.group_commit import RUNNERS, GroupCommit
from sluiceway.wire.headers.media_types import guess_type
from sluiceway.wire.names import check_key, stays_inside

__all__ = ["FolderSource", "FolderTarget"]

WALK_BATCH = 256  # files that one call in a thread lists
READERS = 4  # threads that open files: a network drive answers each after a while
READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class FolderSource:
    """A folder, walked in sorted order; see `folder_walk`. Links are left out by rule."""

    rereadable = True
    display_name: str

    def __init__(self, folder: str, journals: frozenset[str] = frozenset()) -> None:
        """`journals`: keys below the folder that are this copy's own journal."""
        self.folder: str = folder
        self._journals = journals
        self._threads = ThreadPoolExecutor(READERS, "sluiceway-open")
        self._group = GroupCommit(partial(_open_files, folder), self._threads, READERS)
        self.display_name = os.path.abspath(folder)

    async def items(self) -> AsyncIterator[CopyItem]:
        walking = walk(self.folder, self._journals)
        try:
            while batch := await in_thread(lambda: list(islice(walking, WALK_BATCH))):
                for item in batch:
                    yield item
        finally:
            await in_thread(walking.close)

    @asynccontextmanager
    async def open(self, item: CopyItem) -> AsyncIterator[Reading]:
        if (bad := omitted_key(item.key)) is not None:
            raise SourceFailed(f"{item.key!r} cannot be read: {bad.detail}")
        path = os.path.join(self.folder, *item.key.split("/"))
        opening = _Opening(item.key, path)
        await self._group.run(opening)
        if (source := opening.source) is None:
            raise opening.error or NotFound(f"{path} is gone")
        if item.version and source.length is not None and source.version != item.version:
            raise SourceChanged(f"{path} changed since it was listed")
        found = CopyItem(item.key, source.length, source.version, item.modified, mode=item.mode)
        metadata = Metadata(os.path.basename(path), guess_type(path))
        # A file that was read at once is too small to be resumed.
        identity = source.identity if source.content is None else None
        yield Reading(found, source, metadata, content=source.content, identity=identity)

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False)


@dataclass(slots=True, eq=False)
class _Opening:
    """A file to open; in the end it has a source or an error."""

    key: str
    path: str  # for people
    source: LocalFile | None = None
    error: Exception | None = None


def _open_files(root: str, group: Sequence[_Opening]) -> None:
    """Blocking. Those that are asked for at the same time share a thread and open folders."""
    with FoldersBelow(root) as folders:
        for one in group:
            try:
                one.source = _open_file(folders, root, one.key, one.path)
            except Exception as error:  # of one file only
                one.error = error


def _open_file(folders: FoldersBelow, root: str, key: str, path: str) -> LocalFile:
    """Blocking. A path that has become a link is something else than what was listed."""
    *names, name = key.split("/")
    first = True

    def opener() -> int:
        nonlocal first
        if first:
            first = False
            return folders.open(names).open(name, READ_FLAGS)
        with Folder(root) as top, top.below(names) as folder:  # later, to be read
            return folder.open(name, READ_FLAGS)

    try:
        return LocalFile(path, opener=opener, at_once=SMALL)
    except (FileNotFoundError, Forbidden) as error:
        raise NotFound(f"{path} is gone") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SourceChanged(f"{path} is not a plain file any more") from error
        raise SourceFailed(f"{path} cannot be read: {error.strerror or error}") from error


class FolderTarget:
    """A folder, created where it is missing. A key becomes folders and a file in it."""

    repeats = True
    display_name: str

    def __init__(
        self,
        folder: str,
        preserve: bool = False,
        journals: frozenset[str] = frozenset(),
        resume: bool = True,
    ) -> None:
        """`preserve`: files get the time and permissions of their source, where known.

        `resume`: whether large objects go on where an earlier run was cut.

        `journals`: keys below the folder that are this copy's own journal.
        """
        self._folder, self._preserve, self._began = folder, preserve, time.time_ns()
        self._journals, self._resume = journals, resume
        self._threads = ThreadPoolExecutor(RUNNERS + FSYNCS, "sluiceway-publish")
        publisher = FolderPublisher(folder, self._existing_small, self._threads)
        self._group = GroupCommit(publisher.publish, self._threads)
        self.display_name = os.path.abspath(folder)

    async def empty(self) -> bool:
        return await in_thread(lambda: _is_empty(self._folder))

    async def find(self, key: str) -> tuple[CopyItem, Pairs] | None:
        found = await in_thread(lambda: self._stat(key))
        if found is None:
            return None
        size = found.st_size if stat.S_ISREG(found.st_mode) else None
        version = f"{version_of(found)}-{found.st_ino}"
        return CopyItem(key, size, version, found.st_mtime), ()

    async def digest(self, key: str, algorithm: str) -> str | None:
        try:
            source = await in_thread(
                lambda: LocalFile(self._path(key), opener=lambda: self._open(key))
            )
        except (OSError, Forbidden, SourceFailed):
            return None
        return await digest_of_source(source, algorithm)

    async def put(self, key: str, reading: Reading, once: str, replace: bool) -> Receipt:
        if key in self._journals:
            raise BadName(f"{key!r} is this copy's own journal; keep that outside the destination")
        progress = ProgressTap(reading, "receiving")

        def new_part() -> PartialFile:
            return self._new_part(key, replace, notes_place(reading, self._resume))

        def set_attributes(part: PartialFile) -> None:
            if self._preserve:
                part.set_attributes(reading.item.mode, reading.item.modified)

        if is_small(reading.source):
            return await put_small(
                reading, lambda data: self._publish(key, data, reading, replace), progress
            )
        part = await open_in_thread(new_part, PartialFile.close)
        try:
            return await put_into_file(
                part, reading, replace, progress, lambda: set_attributes(part)
            )
        finally:
            await in_thread(part.close)

    async def _publish(self, key: str, data: Buffer, reading: Reading, replace: bool) -> str:
        segments = _segments(key)
        small = SmallFile(os.path.join(self._folder, *segments), segments, data, replace)
        if self._preserve:
            small.mode, small.modified = reading.item.mode, reading.item.modified
        await self._group.run(small)
        if small.error is not None:
            raise small.error
        return small.path

    async def put_folder(self, item: CopyItem) -> None:
        """A folder with its time and permissions; call it after everything in it is stored."""
        await in_thread(lambda: self._make_folder(item))

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False)

    def _path(self, key: str) -> str:
        """For people."""
        return os.path.join(self._folder, *_segments(key))

    def _stat(self, key: str) -> os.stat_result | None:
        *folders, name = _segments(key)
        try:
            with Folder(self._folder) as root, root.below(folders) as folder:
                return self._stat_in(folder, name, key)
        except (FileNotFoundError, NotADirectoryError, Forbidden):
            return None
        except OSError as error:
            raise StoreFailed(
                f"{self._path(key)} cannot be looked at: {error.strerror or error}"
            ) from error

    def _stat_in(self, folder: Folder, name: str, key: str) -> os.stat_result:
        """Raises SameName where this run created the file under a name that only looks the same.

        The folder does not tell two such names apart.
        """
        found = folder.lstat(name)
        remove_published(folder, name)
        if found.st_ctime_ns >= self._began and name not in {entry for entry, _ in folder.scan()}:
            raise same_name(key, self.display_name)
        return found

    def _existing(self, folder: Folder, name: str, key: str) -> os.stat_result | None:
        try:
            return self._stat_in(folder, name, key)
        except FileNotFoundError:
            return None

    def _existing_small(self, folder: Folder, one: SmallFile) -> os.stat_result | None:
        return self._existing(folder, one.segments[-1], "/".join(one.segments))

    def _open(self, key: str) -> int:
        *folders, name = _segments(key)
        with Folder(self._folder) as root, root.below(folders) as folder:
            return folder.open(name, READ_FLAGS)

    def _new_part(self, key: str, replace: bool, place: str) -> PartialFile:
        """Blocking. The temporary part of a file, in its folder, which is created if missing.

        `place` names the source of a part that may stay for a later run.
        """
        *folders, name = _segments(key)
        path = self._path(key)
        try:
            with Folder.make(self._folder) as root:
                folder = root.below(folders, make=True)
            try:
                existing = self._existing(folder, name, key)
                if existing is not None and (not replace or stat.S_ISDIR(existing.st_mode)):
                    raise Exists(f"{path} exists already; it was not touched")
            except BaseException:
                folder.close()
                raise
        except OSError as error:
            raise StoreFailed(f"{path} cannot be created: {error.strerror or error}") from error
        return PartialFile(path, place, folder)

    def _make_folder(self, item: CopyItem) -> None:
        try:
            with (
                Folder.make(self._folder) as root,
                root.below(_segments(item.key), make=True) as folder,
            ):
                folder.set_attributes(item.mode, item.modified)
        except OSError as error:
            raise StoreFailed(
                f"The folder {self._path(item.key)} cannot be created: {error.strerror or error}"
            ) from error


def _segments(key: str) -> list[str]:
    if not stays_inside(key):
        raise Forbidden(f"{key!r} leads out of the folder, or is not a plain name")
    if os.name == "nt":
        check_key(key)
    segments = key.split("/")
    if is_part_name(segments[-1]):
        raise BadName(f"{key!r} is a name of this program's own temporary files")
    return segments


def _is_empty(folder: str) -> bool:
    try:
        with os.scandir(folder) as found:
            return next(found, None) is None
    except FileNotFoundError:
        return True
    except OSError as error:
        raise StoreFailed(f"{folder} cannot be listed: {error.strerror or error}") from error
