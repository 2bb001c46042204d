"""Makes finished drafts durable and gives them their names; several at once share what they can.

Only this order survives a power cut on every file system: the bytes and metadata of each file,
fsync of each file, all names, fsync of each folder once. A file that fails fails alone; a folder
that fails fails the files named in it. Blocking calls, for a worker thread.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, suppress
from typing import TypeVar

from sluiceway.errors import Exists, Forbidden, SluiceError
from sluiceway.stores.contract import Entry, Metadata, Replace
from sluiceway.stores.disk.drafts.file import AS_USUAL, DraftFile
from sluiceway.stores.disk.drafts.replaced import ReplacedFiles
from sluiceway.stores.disk.metadata import entry_of, sidecar
from sluiceway.stores.disk.tree import OpenFolders, Tree, UndurableFolders
from sluiceway.stores.group_commit import FsyncPace

__all__ = ["Keeping", "Publication", "Publisher"]

# How often another process may remove the folder, because it is empty, before the file is in it:
# about a second. One that does nothing else, on a busy machine, won 500 times in a row.
ATTEMPTS = 20_000
MOST_FOLDERS = 64  # descriptors of folders after which they are synchronised and closed

_T = TypeVar("_T", bound="Keeping | Publication")


class Keeping:
    """A draft that is to survive a power cut as far as it came; in the end it may have an error.

    `write` puts into the file what its draft still holds.
    """

    __slots__ = ("error", "file", "write")

    def __init__(self, file: DraftFile, write: Callable[[], None]) -> None:
        self.file: DraftFile = file
        self.write: Callable[[], None] = write
        self.error: Exception | None = None

    def seal(self) -> None:
        self.file.make()
        self.write()

    def synchronise(self) -> None:
        self.file.synchronise()


class Publication:
    """A draft that is to become visible under `key`; in the end it has an entry or an error.

    `write` puts into the file what its draft still holds. `aside` is the name under which the file
    that it replaces is kept; "" keeps none.
    """

    __slots__ = (
        "aside",
        "entry",
        "error",
        "file",
        "identity",
        "is_kept",
        "is_named",
        "key",
        "metadata",
        "note",
        "replace",
        "replaced",
        "size",
        "write",
    )

    def __init__(
        self,
        file: DraftFile,
        write: Callable[[], None],
        size: int,
        key: str,
        metadata: Metadata,
        replace: Replace,
        aside: str = "",
    ) -> None:
        self.file: DraftFile = file
        self.write: Callable[[], None] = write
        self.size: int = size
        self.key: str = key
        self.metadata: Metadata = metadata
        self.replace: Replace = replace
        self.note: bytes | None = None  # for a file of its own, where there are no attributes
        self.entry: Entry | None = None
        self.replaced: bool = False
        self.aside: str = aside
        self.is_kept: bool = False  # what it replaced
        self.is_named: bool = False  # it has the name of its key, perhaps not durably
        self.identity: tuple[int, int] = (0, 0)  # device and inode
        self.error: Exception | None = None

    def seal(self) -> None:
        self.file.make(AS_USUAL)
        self.write()
        status, self.note = self.file.seal(self.size, self.metadata)
        self.identity = status.st_dev, status.st_ino
        self.entry = entry_of(self.metadata, status, self.key)

    def synchronise(self) -> None:
        self.file.fsync_and_close()


class Publisher:
    """`exclusive` is the lock for replacing; `check` compares an object with the wanted version."""

    def __init__(
        self,
        tree: Tree,
        threads: Executor,
        exclusive: Callable[[], AbstractContextManager[None]],
        check: Callable[[str, Replace], bool],
        replaced_files: ReplacedFiles,
    ) -> None:
        self._tree, self._threads = tree, threads
        self._exclusive, self._check = exclusive, check
        self._replaced_files = replaced_files
        self._undurable = UndurableFolders()
        self._fsync_pace = FsyncPace()

    def commit(self, group: Sequence[Keeping | Publication]) -> None:
        """Keep or publish all of them. Raises nothing: each has its own outcome."""
        _each(group, lambda each: each.seal())
        self._synchronise(group)
        _keep_names([each for each in group if isinstance(each, Keeping)])
        self._publish([each for each in group if isinstance(each, Publication)])

    def _publish(self, group: Sequence[Publication]) -> None:
        waiting = [each for each in reversed(group) if each.error is None]
        while waiting:
            with OpenFolders(self._tree, self._undurable) as folders:
                named: list[Publication] = []
                while waiting and folders.count < MOST_FOLDERS:
                    named.append(waiting.pop())
                    _each(named[-1:], lambda each: self._name(each, folders))
                failed = folders.synchronise()
                for each in named:
                    each.error = each.error or failed(each.key)

    def _synchronise(self, group: Sequence[Keeping | Publication]) -> None:
        """The fsync of each file, side by side where the disk is slow."""
        if self._fsync_pace.is_slow and len(group) > 1:
            for _ in self._threads.map(lambda each: _each([each], self._fsync), group):
                pass
            return
        if len(group) > 1:
            # All at once: the commit of the journal that the first fsync waits for has the others'
            # bytes, too.
            _each(group, lambda each: each.file.begin_writing())
        _each(group[:1], self._fsync)
        _each(group[1:], lambda each: each.synchronise())  # its time says nothing

    def _fsync(self, each: Keeping | Publication) -> None:
        began = time.monotonic()
        each.synchronise()
        self._fsync_pace.note(time.monotonic() - began)

    # The name

    def _name(self, each: Publication, folders: OpenFolders) -> None:
        """Give the draft its name. Creating is one step; a replacement is compared first."""
        segments, last = self._tree.split_new(each.key)
        if each.note is None:
            self._place(each, folders, segments, last)
            return
        with sidecar(self._tree, each.file.folder, each.file.name, each.key, each.note):
            self._place(each, folders, segments, last)
            folders.synchronise_now(segments)  # the note gets its name behind it, durably

    def _place(
        self, each: Publication, folders: OpenFolders, segments: list[str], last: str
    ) -> None:
        for attempt in range(ATTEMPTS):
            try:
                self._move(each, folders.open(segments), last)
                each.is_named = True
                return
            except FileNotFoundError:
                folders.forget(segments)
                if attempt == ATTEMPTS - 1:
                    raise
            except (FileExistsError, IsADirectoryError, NotADirectoryError):
                raise Exists(
                    f"There is already something at {each.key!r}; it was not touched"
                ) from None
            except (SluiceError, OSError):
                self._tree.prune(segments)
                raise

    def _move(self, each: Publication, folder: int, last: str) -> None:
        replace = each.replace
        if replace.etag is None and self._take_free(folder, each.file, last, replace):
            return
        with self._exclusive():
            each.replaced = self._check(each.key, replace)
            if each.replaced:
                _refuse_other_kinds(folder, last, each.key)
                draft, there = (each.file.folder, each.file.name), (folder, last)
                if each.aside:
                    each.is_kept = self._replaced_files.replace(draft, there, each.key, each.aside)
                else:
                    os.rename(draft[1], last, src_dir_fd=draft[0], dst_dir_fd=folder)
        # The object whose owner was to be compared is gone, or was none. What another client may
        # create there now takes no lock, and was not compared: it is not replaced.
        if not each.replaced:
            self._take_free(folder, each.file, last, Replace())

    def _take_free(self, folder: int, file: DraftFile, last: str, replace: Replace) -> bool:
        """Take the name in one step and without the lock, if it is free.

        Returns False when it is taken and may be replaced. Raises FileExistsError otherwise.
        """
        try:
            self._link(folder, file, last)
        except FileExistsError:
            if replace.allowed:
                return False
            raise
        return True

    def _link(self, folder: int, file: DraftFile, last: str) -> None:
        try:
            os.link(
                file.name, last, src_dir_fd=file.folder, dst_dir_fd=folder, follow_symlinks=False
            )
        except PermissionError:  # a file system without hard links (FAT, some network mounts)
            with self._exclusive():
                if _exists(folder, last):
                    raise FileExistsError from None
                os.rename(file.name, last, src_dir_fd=file.folder, dst_dir_fd=folder)
            return
        os.unlink(file.name, dir_fd=file.folder)


def _keep_names(group: Sequence[Keeping]) -> None:
    """Drafts that last are all in one folder, and one fsync makes their names durable."""
    nameless = [each for each in group if each.error is None and each.file.wants_name]
    synchronised = set[int]()

    def keep(each: Keeping) -> None:
        if each.file.folder not in synchronised:
            os.fsync(each.file.folder)
            synchronised.add(each.file.folder)
        each.file.has_name()

    _each(nameless, keep)


def _each(group: Iterable[_T], step: Callable[[_T], object]) -> None:
    """Take a step with each one that has not failed."""
    for each in group:
        if each.error is None:
            try:
                step(each)
            except Exception as error:  # of one file only
                each.error = error


def _refuse_other_kinds(folder: int, last: str, key: str) -> None:
    """Raises Forbidden for a link, pipe, socket or device: a rename would replace it."""
    with suppress(FileNotFoundError):
        mode = os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            raise Forbidden(f"{key!r} is a symbolic link; it is never written through nor replaced")
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise Forbidden(
                f"{key!r} is a pipe, socket or device; it is never written to nor replaced"
            )


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
