"""Walks below a root by directory descriptors, one segment at a time, so that no symbolic link is ever followed.

Blocking calls only: callers run them in a worker thread. A key's segments arrive checked (`wire.names.check_key` at the
door); here the file system itself is the second guard: O_NOFOLLOW on every step, no path is ever joined.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from sluiceway.errors import BadName, Exists, Forbidden, NoSpace, NotFound, SluiceError, StoreFailed, Unavailable
from sluiceway.stores.contract import Omitted
from sluiceway.wire.names import is_text, readable_name

__all__ = ["NO_ROOM", "PRIVATE", "Tree", "store_error", "unreadable"]

PRIVATE = ".sluiceway"  # our own folder below the root: drafts, attributes of file systems that have none

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def store_error(error: OSError, what: str) -> SluiceError:
    """The word for what a file system said, with what to do about it."""
    if error.errno in NO_ROOM:
        return NoSpace(f"The disk is full: {what} was not stored. Make room or use another --to, then send it again")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return Unavailable("The server has too many files open; try again, or raise its limit (ulimit -n)")
    if error.errno == errno.ENAMETOOLONG:
        return BadName(f"The file system cannot take a name this long: {what}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreFailed(f"The server may not write here ({os.strerror(error.errno or 0)}): {what}")
    return StoreFailed(f"The disk failed ({os.strerror(error.errno or 0)}): {what}")


class Tree:
    """The folders below a root. The root itself may be a symbolic link: it is the operator's choice, not a client's."""

    def __init__(self, root: str) -> None:
        os.makedirs(root, exist_ok=True)
        self.root: str = os.path.abspath(root)
        self.fd: int = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self.fd)

    @contextmanager
    def folder(self, segments: list[str], *, make: bool = False) -> Iterator[int]:
        """A descriptor of the folder `segments` below the root, closed at the end of the block.

        With `make`, missing folders are made, and made durable when the block ends well. Raises NotFound, Forbidden (a link is in
        the way),
        Exists (a file is where a folder is needed).
        """
        fds, made = [os.dup(self.fd)], []
        try:
            for segment in segments:
                below, new = self._step(fds[-1], segment, make)
                fds.append(below)
                if new:
                    made.append(fds[-2])
                else:  # a deep folder takes no descriptor for each of those above
                    os.close(fds.pop(-2))
            yield fds[-1]
            # Last, because one commit of the file system's journal then serves the object and its folders.
            for fd in made:
                os.fsync(fd)
        finally:
            for fd in fds:
                os.close(fd)

    def _step(self, fd: int, segment: str, make: bool) -> tuple[int, bool]:
        """The folder below, and whether it was made just now."""
        try:
            return os.open(segment, _FOLDER, dir_fd=fd), False
        except FileNotFoundError:
            if not make:
                raise NotFound(f"There is no folder {segment!r}") from None
        except OSError as error:
            raise self._blocked(fd, segment, error) from None
        try:
            os.mkdir(segment, dir_fd=fd)
        except FileExistsError:
            pass  # somebody else made it meanwhile, and may not have made it durable yet
        except FileNotFoundError:
            raise  # the folder we stand in became empty and was removed: the caller begins again
        except OSError as error:
            raise store_error(error, segment) from None
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
            return Forbidden(f"{segment!r} is a symbolic link; objects are never stored or read through one")
        if error.errno == errno.ENOTDIR:
            return Exists(f"{segment!r} is a file, so nothing can be stored below it")
        return store_error(error, segment)

    @staticmethod
    def split(key: str) -> tuple[list[str], str]:
        """The folders of a key and its last segment. Raises BadName for a key that leads out of the tree or into our folder."""
        segments = key.split("/")
        if "\0" in key or segments[0] == PRIVATE or any(segment in ("", ".", "..") for segment in segments):
            raise BadName(f"There can be no object {key!r}")
        return segments[:-1], segments[-1]

    def open_file(self, key: str) -> tuple[int, os.stat_result]:
        """A read-only descriptor of a regular file and its status. Raises NotFound, Forbidden."""
        folders, name = self.split(key)
        try:
            with self.folder(folders) as fd:
                # O_NONBLOCK: opening a FIFO somebody put there must not hang the thread
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
        except (FileNotFoundError, NotFound, Exists):
            raise NotFound(f"There is no object {key!r}") from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Forbidden(f"{key!r} is a symbolic link; it is never followed") from None
            if error.errno in (errno.ENAMETOOLONG, errno.ENXIO):
                raise NotFound(f"There is no object {key!r}") from None
            raise store_error(error, key) from None
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            os.close(file)
            raise NotFound(f"There is no object {key!r}")
        return file, status

    def walk(self, prefix: str, after: str) -> Iterator[tuple[str, Omitted | None]]:
        """Keys below `prefix` in order of their characters, from `after` (exclusive) on; with what is no file, why it is none.

        Of each folder on the way its names are held, and no descriptor: a folder of any depth can be walked.
        """
        top = [name for name in prefix.rpartition("/")[0].split("/") if name]
        if prefix.startswith("/") or "//" in prefix:
            return  # no key begins so
        ways = [self._names(top)]
        while ways:
            key, why, is_folder = next(ways[-1], ("", None, False))
            if not key:
                ways.pop()
            elif is_folder:
                if (key.startswith(prefix) or prefix.startswith(key)) and (key > after or after.startswith(key)):
                    ways.append(self._names(key[:-1].split("/")))
            elif key > after and (key.startswith(prefix) or (key.endswith("/") and prefix.startswith(key))):
                yield key, why  # a folder that cannot be read may hold what was asked for

    def _names(self, folders: list[str]) -> Iterator[tuple[str, Omitted | None, bool]]:
        """What is in a folder: key, why it is no object, and whether it is a folder, whose key ends in `/`."""
        at = "".join(f"{name}/" for name in folders)
        found: list[tuple[str, Omitted | None, bool]] = []
        try:
            with self.folder(folders) as fd, os.scandir(fd) as items:
                for item in items:
                    if item.name == PRIVATE and not folders:
                        continue
                    is_folder, key = item.is_dir(follow_symlinks=False), at + item.name
                    why = _why_omitted(key, item, is_folder)
                    # A folder sorts as "name/", so that keys come out in order although folders and files are mixed.
                    found.append((f"{key}/" if is_folder and why is None else key, why, is_folder and why is None))
        except (NotFound, Exists):
            return iter(())  # removed, or replaced by a file, while we walked
        except (SluiceError, OSError) as error:
            if not folders:
                raise
            return iter([(at, unreadable(at, error), False)])
        return iter(sorted(found))

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


def _why_omitted(key: str, item: os.DirEntry[str], is_folder: bool) -> Omitted | None:
    name = readable_name(key)
    if not is_text(key):
        return Omitted(name, "bad-name", "Its name is no UTF-8, so it has no key")
    if item.name == PRIVATE:
        return Omitted(name, "own-file", "It is the folder in which another store below this one keeps what is no object")
    if is_folder or item.is_file(follow_symlinks=False):
        return None
    if item.is_symlink():
        return Omitted(name, "link", "It is a symbolic link; what it shows may stand outside, and would come twice")
    return Omitted(name, "special-file", "It is no file, but a pipe, a socket or a device")


def unreadable(key: str, error: SluiceError | OSError) -> Omitted:
    """What is there and cannot be looked at, as a listing tells of it."""
    if isinstance(error, SluiceError):
        return Omitted(readable_name(key), error.code, error.detail)
    code = "forbidden" if error.errno in (errno.EACCES, errno.EPERM) else "store-failed"
    return Omitted(readable_name(key), code, f"It cannot be read: {os.strerror(error.errno or 0)}")
