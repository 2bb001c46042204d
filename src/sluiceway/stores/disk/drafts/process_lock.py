"""Which drafts belong to a living process: a store holds one lock and names its drafts by it.

    root/.sluiceway/servers/NAME       locked while its process lives
    root/.sluiceway/drafts/NAME.HASH   its drafts

One lock serves all drafts of a store: a draft that waits needs no open file. Blocking calls only.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress

from sluiceway.pipe.file_lock import lock_file, try_lock_file
from sluiceway.stores.disk.tree import PRIVATE, Tree

__all__ = ["DRAFTS", "ProcessLock"]

DRAFTS = [PRIVATE, "drafts"]
SERVERS = [PRIVATE, "servers"]


class ProcessLock:
    """The folder of drafts, and the lock that protects this store's drafts from sweeps."""

    def __init__(self, tree: Tree) -> None:
        # Another user who shares the root may own the folder: then its mode stays.
        with tree.folder([PRIVATE], make=True) as fd, suppress(OSError):
            os.fchmod(fd, 0o700)  # one that an earlier version made is open to every user
        with tree.folder(DRAFTS, make=True) as fd:
            self.drafts: int = os.dup(fd)
        with tree.folder(SERVERS, make=True) as fd:
            self._servers = os.dup(fd)
        self._name, self._lock = self._take_lock()

    def draft_name(self, upload: str) -> str:
        """The name of a draft's file.

        It hides the upload's id: with the id anyone may cancel the upload.
        """
        return f"{self._name}.{hashlib.sha256(upload.encode()).hexdigest()[:32]}"

    def sweep(self) -> None:
        """Remove the drafts of processes that ended.

        A lock is older than its drafts, so drafts are listed first.
        """
        drafts, living, ended = self._files(self.drafts), set[str](), dict[str, int]()
        try:
            for name in self._files(self._servers):
                with suppress(FileNotFoundError):
                    lock = os.open(
                        name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._servers
                    )
                    if self._is_held(lock):
                        living.add(name)
                        os.close(lock)
                    else:
                        ended[name] = lock
            for draft in drafts:
                if draft.partition(".")[0] not in living:
                    with suppress(OSError):  # another process sweeps too
                        os.unlink(draft, dir_fd=self.drafts)
            for name in ended:
                with suppress(OSError):
                    os.unlink(name, dir_fd=self._servers)
        finally:
            for lock in ended.values():
                os.close(lock)

    def close(self) -> None:
        """Release the lock. Call it after the last draft has ended."""
        with suppress(OSError):
            os.unlink(self._name, dir_fd=self._servers)
        for fd in (self._lock, self._servers, self.drafts):
            os.close(fd)

    def _take_lock(self) -> tuple[str, int]:
        while True:
            name = secrets.token_hex(8)
            lock = os.open(
                name,
                os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
                dir_fd=self._servers,
            )
            lock_file(lock)
            if os.fstat(lock).st_nlink:
                return name, lock
            os.close(lock)  # another process's sweep was faster than the lock

    @staticmethod
    def _is_held(lock: int) -> bool:
        return not try_lock_file(lock)

    @staticmethod
    def _files(folder: int) -> list[str]:
        with os.scandir(folder) as found:
            return [item.name for item in found if item.is_file(follow_symlinks=False)]
