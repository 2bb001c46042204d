"""Runs `sluiceway`, or a program, in a Python without what only some systems have.

python without_unix.py serve --to ./uploads
python without_unix.py program.py

No fcntl, termios, resource, uvloop; no os.fdatasync, O_DIRECT, sendfile, extended attributes.
With FOLD_NAMES=1 names that differ in case only are one.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from typing import Any

__all__ = ["fold_names", "take_away"]

MODULES = ("fcntl", "termios", "resource", "uvloop")
ABILITIES = (
    "fdatasync",
    "O_DIRECT",
    "sendfile",
    "getxattr",
    "setxattr",
    "listxattr",
    "removexattr",
    "posix_fallocate",
    "posix_fadvise",
    "copy_file_range",
    "splice",
)


def take_away() -> None:
    """Before anything else is imported."""
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]  # importing it raises ImportError
    for name in ABILITIES:
        if hasattr(os, name):
            delattr(os, name)


def fold_names() -> None:
    """Names that differ in case only are one file, as on macOS, Windows and FAT."""

    def there(path: Any, folder: int | None) -> Any:
        """The name as it is stored."""
        if not isinstance(path, str):
            return path
        head, tail = os.path.split(path)
        try:
            names = os.listdir(folder if folder is not None and not head else head or ".")
        except OSError:
            return path
        found = [name for name in names if name.casefold() == tail.casefold()]
        return os.path.join(head, found[0]) if found else path

    # A real disk looks for the name and takes it in one step; two calls at once are two steps here.
    lock = threading.RLock()

    def one(function: Any) -> Any:
        def call(path: Any, *rest: Any, dir_fd: int | None = None, **more: Any) -> Any:
            with lock:
                return function(there(path, dir_fd), *rest, dir_fd=dir_fd, **more)

        os.supports_dir_fd.add(call)
        return call

    def two(function: Any) -> Any:
        def call(src: Any, dst: Any, **more: Any) -> Any:
            folders = more.get("src_dir_fd"), more.get("dst_dir_fd")
            with lock:
                return function(there(src, folders[0]), there(dst, folders[1]), **more)

        os.supports_dir_fd.add(call)
        return call

    for name in ("open", "stat", "lstat", "unlink", "mkdir", "rmdir"):
        setattr(os, name, one(getattr(os, name)))
    for name in ("link", "rename", "replace"):
        setattr(os, name, two(getattr(os, name)))


if __name__ == "__main__":
    take_away()
    if os.environ.get("FOLD_NAMES"):
        fold_names()
    del sys.argv[0]
    if sys.argv[0].endswith(".py"):
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        sys.argv.insert(0, "sluiceway")
        runpy.run_module("sluiceway", run_name="__main__", alter_sys=True)
