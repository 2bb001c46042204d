"""Folders of this machine, held open: the files below are reached at every depth, through no link.

A path longer than the system's limit (4096 bytes on Linux) cannot be named, but it can be walked
to. The calls block; run them in a thread. Where the system has no such calls (Windows), paths are
joined instead.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from sluiceway.errors import Forbidden

__all__ = ["Folder", "FoldersBelow"]

_BY_DESCRIPTOR = (
    os.open in os.supports_dir_fd
    and os.mkdir in os.supports_dir_fd
    and os.scandir in os.supports_fd
)
_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


class Folder:
    """One folder, open until `close`.

    The first may be a link, because its user named it; none below it is.
    """

    path: str  # for people, and for systems without such calls

    def __init__(self, path: str, fd: int | None = None) -> None:
        self.path = path
        self._fd = -1
        if _BY_DESCRIPTOR:
            self._fd = os.open(path or ".", _FLAGS) if fd is None else fd
        elif not os.path.isdir(path or "."):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)

    @classmethod
    def make(cls, path: str) -> Folder:
        """Open a folder; it and those above it are created where they are missing.

        Raises OSError, Forbidden.
        """
        if os.path.isdir(path or "."):
            return cls(path)
        above, name = os.path.split(path.rstrip(os.sep))
        with cls.make(above) as folder:
            return folder.step(name, make=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    @property
    def fd(self) -> int | None:
        """For calls with `dir_fd`; None where the system lacks them."""
        return self._fd if _BY_DESCRIPTOR else None

    def at(self, name: str) -> str:
        """Return a name in this folder as a call with `dir_fd` takes it."""
        return name if _BY_DESCRIPTOR else os.path.join(self.path, name)

    def again(self) -> Folder:
        """Open the same folder once more."""
        return Folder(self.path, os.dup(self._fd)) if _BY_DESCRIPTOR else Folder(self.path)

    def step(self, name: str, make: bool = False) -> Folder:
        """Open the folder below; `make` creates a missing one, which survives a power cut then.

        Raises OSError, Forbidden where a link or a file is in the way.
        """
        path = os.path.join(self.path, name)
        if make:
            with suppress(FileExistsError):
                os.mkdir(self.at(name), dir_fd=self.fd)
                self.sync()
        try:
            if _BY_DESCRIPTOR:
                return Folder(path, os.open(name, _FLAGS | _NO_FOLLOW, dir_fd=self.fd))
            if stat.S_ISLNK(os.lstat(path).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            return Folder(path)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise Forbidden(
                    f"{path} is in the way: a link or a file where a folder is needed"
                ) from error
            raise

    def below(self, names: Sequence[str], make: bool = False) -> Folder:
        """Open the folder some steps below; this one stays open."""
        folder = self.again()
        for name in names:
            try:
                below = folder.step(name, make)
            finally:
                folder.close()
            folder = below
        return folder

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        """Open a file; returns its descriptor. A link is not followed."""
        flags |= _NO_FOLLOW | getattr(os, "O_CLOEXEC", 0)
        return os.open(self.at(name), flags, mode, dir_fd=self.fd)

    def lstat(self, name: str) -> os.stat_result:
        """Describe the file of this name; a link is described itself."""
        return os.stat(self.at(name), dir_fd=self.fd, follow_symlinks=False)

    def rename(self, name: str, to: str) -> None:
        """Rename; a file under the new name is replaced."""
        os.replace(self.at(name), self.at(to), src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def link(self, name: str, to: str) -> None:
        """Give a file a second name. Raises FileExistsError."""
        os.link(self.at(name), self.at(to), src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        os.unlink(self.at(name), dir_fd=self.fd)

    def scan(self) -> list[tuple[str, bool]]:
        """List the names in it, each with whether it is a folder and no link."""
        with os.scandir(self._fd if _BY_DESCRIPTOR else self.path) as found:
            return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]

    def status(self) -> os.stat_result:
        """Describe the folder itself."""
        return os.fstat(self._fd) if _BY_DESCRIPTOR else os.stat(self.path)

    def set_attributes(self, mode: int | None, modified: float | None) -> None:
        """Set permissions and time of the folder itself; None leaves them."""
        folder = self._fd if _BY_DESCRIPTOR else self.path
        if mode is not None:
            os.chmod(folder, mode & 0o777)
        if modified is not None:
            os.utime(folder, (modified, modified))

    def sync(self) -> None:
        """Make its names survive a power cut."""
        if _BY_DESCRIPTOR:
            os.fsync(self._fd)


class FoldersBelow:
    """Folders at any depth below one, each opened once. Use with `with`, which closes them."""

    def __init__(self, root: str, make: bool = False) -> None:
        """`make` creates missing ones, with `root` itself."""
        self._root, self._make = root, make
        self._open: dict[tuple[str, ...], Folder] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for folder in self._open.values():
            folder.close()

    def open(self, names: Sequence[str]) -> Folder:
        """Raises OSError, Forbidden. The folder is closed with the others."""
        key = tuple(names)
        if (found := self._open.get(key)) is None:
            with (Folder.make if self._make else Folder)(self._root) as root:
                found = self._open[key] = root.below(key, self._make)
        return found
