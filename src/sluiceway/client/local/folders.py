"""Folders of this machine held open, so that what is below them is reached at every depth and through no link.

A path longer than the system's limit (4096 bytes on Linux) cannot be named, but it can be walked to. Blocking calls, for a
thread. Where the system has no such calls (Windows), paths are joined instead.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from sluiceway.errors import Forbidden

__all__ = ["Folder"]

_BY_DESCRIPTOR = (
    os.open in os.supports_dir_fd
    and os.mkdir in os.supports_dir_fd
    and os.scandir in os.supports_fd
)
_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


class Folder:
    """One folder, open until `close`. The first may be a link, for its user named it; no other one is."""

    path: str  # for people, and for systems without descriptors

    def __init__(self, path: str, fd: int | None = None) -> None:
        self.path = path
        self._fd = -1
        if _BY_DESCRIPTOR:
            self._fd = os.open(path or ".", _FLAGS) if fd is None else fd
        elif not os.path.isdir(path or "."):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    @property
    def fd(self) -> int | None:
        """For calls with `dir_fd`; None where the system has none."""
        return self._fd if _BY_DESCRIPTOR else None

    def at(self, name: str) -> str:
        """What such a call is told of a name in this folder."""
        return name if _BY_DESCRIPTOR else os.path.join(self.path, name)

    def step(self, name: str, make: bool = False) -> Folder:
        """The folder below, made where `make` says so. Raises OSError, Forbidden where a link or a file is in the way."""
        path = os.path.join(self.path, name)
        if make:
            with suppress(FileExistsError):
                os.mkdir(self.at(name), dir_fd=self.fd)
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
        """The folder some steps below; this one stays open."""
        here = Folder(self.path, os.dup(self._fd)) if _BY_DESCRIPTOR else Folder(self.path)
        for name in names:
            try:
                further = here.step(name, make)
            finally:
                here.close()
            here = further
        return here

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        """A descriptor; no link is followed."""
        return os.open(
            self.at(name), flags | _NO_FOLLOW | getattr(os, "O_CLOEXEC", 0), mode, dir_fd=self.fd
        )

    def look(self, name: str) -> os.stat_result:
        """What is there under the name, itself and not what it leads to."""
        return os.stat(self.at(name), dir_fd=self.fd, follow_symlinks=False)

    def rename(self, name: str, to: str) -> None:
        """Replaces what is there."""
        os.replace(self.at(name), self.at(to), src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def link(self, name: str, to: str) -> None:
        """A second name. Raises FileExistsError."""
        os.link(self.at(name), self.at(to), src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        os.unlink(self.at(name), dir_fd=self.fd)

    def scan(self) -> list[tuple[str, bool]]:
        """The names in it, each with whether it is a folder itself."""
        with os.scandir(self._fd if _BY_DESCRIPTOR else self.path) as found:
            return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]

    def status(self) -> os.stat_result:
        """Of the folder itself."""
        return os.fstat(self._fd) if _BY_DESCRIPTOR else os.stat(self.path)

    def dress(self, mode: int | None, modified: float | None) -> None:
        """Permissions and time of the folder itself; None leaves them."""
        here = self._fd if _BY_DESCRIPTOR else self.path
        if mode is not None:
            os.chmod(here, mode & 0o777)
        if modified is not None:
            os.utime(here, (modified, modified))

    def sync(self) -> None:
        """Its names survive a power cut."""
        if _BY_DESCRIPTOR:
            os.fsync(self._fd)
