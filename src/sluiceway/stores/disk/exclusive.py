"""The lock for replacing, moving and deleting in a folder: one at a time, in all processes.

It is held for a few system calls. Who stops meanwhile, as in a debugger, must hold up nobody for
ever. Blocking calls, for a worker thread.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from sluiceway.errors import Unavailable
from sluiceway.pipe.file_lock import HAS_LOCKS, lock_file, try_lock_file
from sluiceway.stores.disk.tree import PRIVATE, Tree

__all__ = ["ExclusiveLock"]

log: logging.Logger = logging.getLogger("sluiceway")

LOCK_TIMEOUT = 10.0  # seconds until another process is given up
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


class ExclusiveLock:
    """Called, it is a context that holds the lock."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._here = threading.RLock()  # between the threads of this process
        self._left: threading.Thread | None = None  # it waits still, for nobody

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Raises Unavailable where another process does not let go."""
        with self._here:  # for systems without locks of files
            lock = self._take()
            try:
                yield
            finally:
                os.close(lock)  # this releases the lock

    def _take(self) -> int:
        if self._left is not None and self._left.is_alive():
            raise self._unavailable()  # those behind it have waited for it, too
        self._left = None
        lock = os.open(PRIVATE, _FLAGS, dir_fd=self._tree.fd)
        try:
            is_held = not HAS_LOCKS or try_lock_file(lock)
        except BaseException:
            os.close(lock)
            raise
        if not is_held:
            self._wait(lock)
        return lock

    def _wait(self, lock: int) -> None:
        """In the kernel's queue, which is fair: who only looks now and then would starve. So a
        thread stands there; it closes `lock` where nobody wants it any more."""
        taken = Future[None]()
        thread = threading.Thread(target=_stand, args=(lock, taken), daemon=True)
        try:
            thread.start()
        except BaseException:
            os.close(lock)
            raise
        try:
            taken.result(LOCK_TIMEOUT)
        except TimeoutError:
            if taken.cancel():
                self._left = thread
                log.warning("Another process holds the lock of %s and hangs", self._tree.root)
                raise self._unavailable() from None
            taken.result()  # just now

    @staticmethod
    def _unavailable() -> Unavailable:
        return Unavailable("Another process is changing files here; try again later")


def _stand(lock: int, taken: Future[None]) -> None:
    failure = None
    try:
        lock_file(lock)
    except OSError as error:
        failure = error
    if not taken.set_running_or_notify_cancel():
        os.close(lock)
    elif failure is None:
        taken.set_result(None)
    else:
        os.close(lock)
        taken.set_exception(failure)
