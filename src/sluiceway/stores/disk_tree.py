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

__all__ = ["NO_ROOM", "PRIVATE", "Tree", "store_error"]

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
                if new:
                    made.append(fds[-1])
                fds.append(below)
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

    def walk(self, prefix: str, after: str) -> Iterator[str]:
        """Keys of regular files in order of their characters, from `after` (exclusive) on, below `prefix`."""
        yield from self._walk([], prefix, after)

    def _walk(self, folders: list[str], prefix: str, after: str) -> Iterator[str]:
        at = "".join(f"{name}/" for name in folders)
        try:
            with self.folder(folders) as fd, os.scandir(fd) as found:
                # A folder sorts as "name/", so that keys come out in order although folders and files are mixed.
                names = sorted(
                    item.name + "/" if item.is_dir(follow_symlinks=False) else item.name
                    for item in found
                    if item.name != PRIVATE and not item.is_symlink()
                )
        except (NotFound, Forbidden, Exists):
            return  # removed, or replaced by a link, while we walked
        for name in names:
            key = at + name
            if name.endswith("/"):
                inside = key.startswith(prefix) or prefix.startswith(key)
                if inside and (key > after or after.startswith(key)):
                    yield from self._walk([*folders, name[:-1]], prefix, after)
            elif key > after and key.startswith(prefix) and _is_text(key):
                yield key

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


def _is_text(key: str) -> bool:
    """File names that are not UTF-8 have no key and cannot be listed."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
