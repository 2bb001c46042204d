"""Walks below a root by directory descriptors, segment by segment: no link is ever followed.

Keys arrive checked (`wire.names.check_key`); here the file system is the second guard: O_NOFOLLOW
at every step, and no path is ever joined. Blocking calls only, for a worker thread.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sluiceway.errors import BadName, Exists, Forbidden, NotFound, SluiceError, Unavailable
from sluiceway.stores.disk.errors import map_error
from sluiceway.stores.disk.permissions import process_umask
from sluiceway.wire.names import MOST_SEGMENTS

__all__ = ["PRIVATE", "OpenFolders", "Tree", "UndurableFolders"]

# Our own folder below the root: drafts, and the metadata of file systems without attributes.
PRIVATE = ".sluiceway"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """The folders below a root.

    The root itself may be a symbolic link: the operator chose it, not a client.
    """

    def __init__(self, root: str) -> None:
        os.makedirs(root, exist_ok=True)
        self.root: str = os.path.abspath(root)
        self.fd: int = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.umask: int = process_umask()

    def close(self) -> None:
        os.close(self.fd)

    def check_there(self) -> None:
        """A root that was removed while it is open looks empty, also when it is made again.

        Raises Unavailable.
        """
        if os.fstat(self.fd).st_nlink == 0:
            raise Unavailable(
                f"The folder {self.root} was removed while the server ran; make it or mount it "
                "again, then restart the server"
            ).for_operator("The destination's folder is gone; the server's log says what to do")

    @contextmanager
    def folder(self, segments: list[str], *, make: bool = False) -> Iterator[int]:
        """A descriptor of the folder `segments` below the root, closed at the end of the block.

        With `make`, missing folders are made, and become durable when the block succeeds. Raises
        NotFound, Forbidden (a link is in the way), Exists (a file is where a folder is needed).
        """
        self.check_there()
        here, made = os.dup(self.fd), []
        try:
            for segment in segments:
                below, new = self.step_into(here, segment, make=make)
                if new:
                    made.append(here)  # at most as many as a new key may have segments
                else:
                    os.close(here)
                here = below
            yield here
            # Last: one commit of the file system's journal then serves the object and its folders.
            for fd in made:
                os.fsync(fd)
        finally:
            for fd in (here, *made):
                os.close(fd)

    def step(self, fd: int, segment: str) -> int:
        """A descriptor of a folder in the folder `fd`.

        Raises NotFound, Forbidden, Exists, StoreFailed, Unavailable.
        """
        return self.step_into(fd, segment, make=False)[0]

    def step_into(self, fd: int, segment: str, *, make: bool) -> tuple[int, bool]:
        """As `step`, and whether the folder was made (or may be not durable yet)."""
        try:
            return os.open(segment, _FOLDER, dir_fd=fd), False
        except FileNotFoundError:
            if not make:
                raise NotFound(f"There is no folder {segment!r}") from None
        except OSError as error:
            raise self._blocked(fd, segment, error) from None
        try:
            # the umask narrows the latter
            os.mkdir(segment, 0o700 if segment == PRIVATE else 0o777, dir_fd=fd)
        except FileExistsError:
            pass  # another process made it meanwhile, perhaps not yet durably
        except FileNotFoundError:
            raise  # the parent folder became empty and was removed: the caller begins again
        except OSError as error:
            raise map_error(error, segment) from None
        try:
            return os.open(segment, _FOLDER, dir_fd=fd), True
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._blocked(fd, segment, error) from None

    @staticmethod
    def _blocked(fd: int, segment: str, error: OSError) -> SluiceError:
        try:
            mode = os.stat(segment, dir_fd=fd, follow_symlinks=False).st_mode
        except OSError:
            mode = 0
        if stat.S_ISLNK(mode):
            return Forbidden(
                f"{segment!r} is a symbolic link; objects are never stored or read through one"
            )
        if error.errno == errno.ENOTDIR:
            return Exists(f"{segment!r} is a file, so nothing can be stored below it")
        return map_error(error, segment)

    @staticmethod
    def split(key: str) -> tuple[list[str], str]:
        """The folders of a key and its last segment.

        Raises BadName for a key that leads out of the tree or into our own folder.
        """
        segments = key.split("/")
        if (
            "\0" in key
            or PRIVATE in segments
            or any(segment in ("", ".", "..") for segment in segments)
        ):
            raise BadName(f"There can be no object {key!r}")
        return segments[:-1], segments[-1]

    @classmethod
    def split_new(cls, key: str) -> tuple[list[str], str]:
        """As `split`, of a key that will be made. Raises BadName also for too many folders."""
        folders, last = cls.split(key)
        if len(folders) >= MOST_SEGMENTS:
            raise BadName(
                f"A key has at most {MOST_SEGMENTS} segments between /; use fewer folders",
                limit=MOST_SEGMENTS,
            )
        return folders, last

    def open_file(self, key: str) -> tuple[int, os.stat_result]:
        """A read-only descriptor of a regular file and its status. Raises NotFound, Forbidden."""
        folders, name = self.split(key)
        try:
            with self.folder(folders) as fd:
                return self.open_in(fd, name, key)
        except (NotFound, Exists):
            raise NotFound(f"There is no object {key!r}") from None

    @staticmethod
    def open_in(folder: int, name: str, key: str) -> tuple[int, os.stat_result]:
        """As `open_file`, in a folder that is open.

        Raises NotFound, Forbidden, StoreFailed, Unavailable.
        """
        try:
            # O_NONBLOCK: opening a FIFO that is there must not block the thread
            file = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
            )
        except FileNotFoundError:
            raise NotFound(f"There is no object {key!r}") from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Forbidden(f"{key!r} is a symbolic link; it is never followed") from None
            if error.errno in (errno.ENAMETOOLONG, errno.ENXIO):
                raise NotFound(f"There is no object {key!r}") from None
            raise map_error(error, key) from None
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            os.close(file)
            raise NotFound(f"There is no object {key!r}")
        return file, status

    def prune(self, segments: list[str]) -> None:
        """Remove folders that became empty, innermost first, up to the root."""
        for depth in range(len(segments), 0, -1):
            try:
                with self.folder(segments[: depth - 1]) as fd:
                    os.rmdir(segments[depth - 1], dir_fd=fd)
            except (FileNotFoundError, SluiceError):
                continue  # this one was never made, or is gone already
            except OSError:
                return  # not empty


class UndurableFolders:
    """Folders with a new folder in them that is not durable yet; one for all threads of a store.

    Whoever names a file below it has to wait for the disk as well.
    """

    def __init__(self) -> None:
        self.making: list[tuple[str, ...]] = []  # by threads that will synchronise it
        self.failed: set[tuple[str, ...]] = set()  # that could not be synchronised

    def __contains__(self, path: object) -> bool:
        return path in self.making or path in self.failed


class OpenFolders:
    """Folders in which several names are made: each is opened once and synchronised once.

    Those that are missing are made. At the end of the block all are closed.
    """

    def __init__(self, tree: Tree, undurable: UndurableFolders) -> None:
        self._tree, self._undurable = tree, undurable
        self._ours: list[tuple[str, ...]] = []  # those of `undurable` that this one added
        self._open: dict[tuple[str, ...], int] = {(): tree.fd}
        # Opened again since: another process may have removed them.
        self._stale: list[tuple[tuple[str, ...], int]] = []
        self._changed: set[tuple[str, ...]] = set()  # they have new names, not durable yet

    @property
    def count(self) -> int:
        """Descriptors that are held."""
        return len(self._open) + len(self._stale) - 1

    def open(self, segments: Sequence[str]) -> int:
        """A descriptor of the folder, in which a name will be made. Raises what `Tree.folder` does,
        and FileNotFoundError where another process has removed a folder: `forget` it then."""
        path: tuple[str, ...] = ()
        here = self._open[path]
        for segment in segments:
            parent, path = path, (*path, segment)
            if path in self._open:
                here = self._open[path]
                continue
            here = self._open[path] = self._step(here, parent, segment)
            if parent in self._undurable:
                self._changed.add(parent)
        self._changed.add(path)
        return here

    def _step(self, here: int, parent: tuple[str, ...], segment: str) -> int:
        try:
            return self._tree.step(here, segment)
        except NotFound:
            # Before the folder is there: no other thread may find it and not find this.
            if parent not in self._ours:
                self._undurable.making.append(parent)
                self._ours.append(parent)
            return self._tree.step_into(here, segment, make=True)[0]

    def forget(self, segments: Sequence[str]) -> None:
        """Open the folder and those above it anew the next time."""
        for depth in range(1, len(segments) + 1):
            path = tuple(segments[:depth])
            if path in self._open:
                fd = self._open.pop(path)
                if os.fstat(fd).st_nlink:
                    self._stale.append((path, fd))
                else:  # it was removed: there is nothing in it to make durable
                    os.close(fd)

    def synchronise(self) -> Callable[[str], OSError | None]:
        """Make the names durable. Returns a function: the error for the object of a key, if any."""
        failed: dict[tuple[str, ...], OSError] = {}
        # The deepest first: one commit of the file system's journal then serves most of them.
        folders = [*self._open.items(), *self._stale]
        for path, fd in sorted(folders, key=lambda each: len(each[0]), reverse=True):
            if path in self._changed:
                failed_before = path in self._undurable.failed
                try:
                    os.fsync(fd)
                except OSError as error:
                    failed[path] = error
                    self._undurable.failed.add(path)
                else:
                    if failed_before:
                        self._undurable.failed.discard(path)

        if not failed:
            return lambda _: None

        def error_of(key: str) -> OSError | None:
            folders = tuple(key.split("/")[:-1])
            paths = (folders[:depth] for depth in range(len(folders), -1, -1))
            return next((failed[path] for path in paths if path in failed), None)

        return error_of

    def synchronise_now(self, segments: Sequence[str]) -> None:
        """Make the names in one folder durable, and the folder's own. Raises OSError."""
        for depth in range(len(segments), -1, -1):
            path = tuple(segments[:depth])
            if path in self._changed:
                os.fsync(self._open[path])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for path in self._ours:
            self._undurable.making.remove(path)
        for path, fd in [*self._open.items(), *self._stale]:
            if path:  # the root stays open
                os.close(fd)
