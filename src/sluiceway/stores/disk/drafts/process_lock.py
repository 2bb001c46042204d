"""Which drafts belong to a living process: a store holds one lock and names its drafts by it.

    root/.sluiceway/servers/NAME       locked while its process lives
    root/.sluiceway/drafts/NAME.HASH   its drafts
    root/.sluiceway/lasting/HASH       drafts that outlive their process; a ledger knows them

One lock serves all drafts of a store: a draft that waits needs no open file. Blocking calls only.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import os
import time
from contextlib import suppress

from sluiceway.pipe.file_lock import ProcessName
from sluiceway.stores.disk.tree import PRIVATE, Tree

__all__ = ["DRAFTS", "LASTING", "ProcessLock", "lasting_name"]

DRAFTS = [PRIVATE, "drafts"]
SERVERS = [PRIVATE, "servers"]
LASTING = [PRIVATE, "lasting"]


class ProcessLock:
    """The folder of drafts, and the lock that protects this store's drafts from sweeps."""

    def __init__(self, tree: Tree) -> None:
        # Another user who shares the root may own the folder: then its mode stays.
        with tree.folder([PRIVATE], make=True) as fd, suppress(OSError):
            os.fchmod(fd, 0o700)  # one that an earlier version made is open to every user
        with tree.folder(DRAFTS, make=True) as fd:
            self.drafts: int = os.dup(fd)
        with tree.folder(LASTING, make=True) as fd:
            self.lasting: int = os.dup(fd)
        with tree.folder(SERVERS, make=True) as fd:
            self._servers = os.dup(fd)
        self._process = ProcessName(self._servers)

    def draft_name(self, upload: str) -> str:
        """The name of a draft's file.

        It hides the upload's id: with the id anyone may cancel the upload.
        """
        return f"{self._process.name}.{lasting_name(upload)}"

    def sweep(self) -> None:
        """Remove the drafts of processes that ended.

        A lock is older than its drafts, so drafts are listed first.
        """
        drafts = self._files(self.drafts)
        living = {name for name in self._files(self._servers) if self._process.is_alive(name)}
        for draft in drafts:
            if draft.partition(".")[0] not in living:
                with suppress(OSError):  # another process sweeps too
                    os.unlink(draft, dir_fd=self.drafts)

    def lasting_names(self, after: str, most: int, older: float) -> list[str]:
        """Names of drafts that outlive their process. See `ListsDrafts`."""
        before = time.time() - older
        names = (name for name in self._files(self.lasting) if name > after)
        return heapq.nsmallest(most, (name for name in names if self._changed(name) <= before))

    def has_lasting(self, name: str) -> bool:
        return self._changed(name) < math.inf

    def remove_lasting(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.lasting)

    def _changed(self, name: str) -> float:
        """Seconds since the epoch; infinite for a draft that is gone."""
        try:
            return os.stat(name, dir_fd=self.lasting, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return math.inf

    def close(self) -> None:
        """Release the lock. Call it after the last draft has ended."""
        with suppress(OSError):
            self._process.close()
        for fd in (self._servers, self.drafts, self.lasting):
            os.close(fd)

    @staticmethod
    def _files(folder: int) -> list[str]:
        with os.scandir(folder) as found:
            return [item.name for item in found if item.is_file(follow_symlinks=False)]


def lasting_name(upload: str) -> str:
    """The name of a draft that outlives its process. It hides the upload's id as well."""
    return hashlib.sha256(upload.encode()).hexdigest()[:32]
