"""The progress table that processes share which do not know each other: workers of an app.

They meet at a file whose name follows from the app. The last one that ends removes it. Knows files
and locks, nothing of apps.
"""

from __future__ import annotations

import atexit
import glob
import hashlib
import logging
import os
import stat
import tempfile
import time
from contextlib import suppress

from sluiceway.errors import SluiceError, StoreFailed
from sluiceway.pipe.file_lock import HAS_LOCKS, try_lock_part
from sluiceway.uploads.progress import ProgressTable

__all__ = ["close_shared_table", "open_shared_table"]

log: logging.Logger = logging.getLogger("sluiceway")

# A folder in memory; elsewhere the folder of temporary files. `_make_private` looks at the file.
SHARED_MEMORY = "/dev/shm"  # noqa: S108
MOST_PROCESSES = 64  # of one app that can receive watched uploads
# Uploads that each of them remembers, live and ended. All together are 3.3 MiB, touched only as far
# as used.
EACH_REMEMBERS = 512
TRIES = 20  # of a file that its last process is just removing
RETRY_AFTER = 0.05  # seconds


_opened_paths: dict[int, str] = {}  # by descriptor
_own_paths: set[str] = set()  # that this process opens, or opened once


def open_shared_table(name: str) -> ProgressTable:
    """The table that all processes of this user share under `name`; else one of our own.

    A process must open a name once only: to close one descriptor of a file gives up all its locks.
    """
    if not HAS_LOCKS:
        return ProgressTable()
    try:
        path = _path(name)
        _own_paths.add(path)
        _remove_leftovers(os.path.dirname(path))
        return _opened(path)
    except (OSError, SluiceError) as error:
        log.warning(
            "Other processes of this app cannot show the progress of uploads that this one takes: "
            "%s",
            error,
        )
        return ProgressTable()


def close_shared_table(table: ProgressTable) -> None:
    """For a process that a signal will end: then nothing runs at its exit."""
    path = _opened_paths.pop(table.descriptor, None)
    if path is not None:
        _remove_if_last(path, table, os.getpid())


def _opened(path: str) -> ProgressTable:
    """Raises OSError, SluiceError."""
    for tries_left in reversed(range(TRIES)):
        _make_private(path)
        try:
            table = ProgressTable(path, MOST_PROCESSES, MOST_PROCESSES * EACH_REMEMBERS)
        except (SluiceError, FileNotFoundError):
            if not tries_left:
                raise
        else:
            if _is_at(path, table):
                _opened_paths[table.descriptor] = path
                atexit.register(_remove_if_last, path, table, os.getpid())
                return table
            table.close()  # its last process has just removed it
        time.sleep(RETRY_AFTER)
    raise StoreFailed(f"{path} is made and removed again and again")


def _path(name: str) -> str:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
    folder = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else tempfile.gettempdir()
    return os.path.join(folder, _prefix() + digest)


def _make_private(path: str) -> None:
    """Make the file, or check that it is ours: others may write into the folder."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (
        status.st_uid != os.geteuid()
        or not stat.S_ISREG(status.st_mode)
        or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ):
        raise StoreFailed(f"{path} is not a file that only this user can open; remove it")


def _remove_leftovers(folder: str) -> None:
    """Remove the files of this user's apps whose processes were all killed: none holds a part."""
    for path in glob.glob(os.path.join(folder, f"{_prefix()}*")):
        # Closing a descriptor of a file that this process holds would give up its part.
        if path in _own_paths:
            continue
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                status = os.fstat(descriptor)
                ours = status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode)
                if ours and try_lock_part(descriptor, 0, MOST_PROCESSES):
                    os.unlink(path)  # a process that opens it meanwhile notices, and makes another
            finally:
                os.close(descriptor)


def _prefix() -> str:
    return f"sluiceway-{os.geteuid()}-"


def _is_at(path: str, table: ProgressTable) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(table.descriptor))
    except FileNotFoundError:
        return False


def _remove_if_last(path: str, table: ProgressTable, pid: int) -> None:
    """No process is the last one while another holds a part."""
    if os.getpid() != pid or table.descriptor < 0:
        return  # a process that was forked since has a table of its own
    if try_lock_part(table.descriptor, 0, MOST_PROCESSES):
        with suppress(OSError):
            os.unlink(path)
    table.close()
