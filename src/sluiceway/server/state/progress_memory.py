"""The memory of the progress table of `sluiceway serve`: a file without a name, which the server's
processes share, and those of the server that takes over from it.

So an upload that an earlier server still receives can be watched and cancelled at the new one, and
counts go on. Elsewhere than on Linux each server has memory of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sluiceway.pipe.file_lock import HAS_LOCKS, try_lock_part
from sluiceway.uploads.progress import SLOTS, ProgressTable, read_totals, table_layout
from sluiceway.uploads.totals import Totals

__all__ = ["ProgressMemory"]

# Servers that may be there at once: one that serves, and those that end after it took over. A
# worker starts before the one that it replaces has ended, and then counts as one of these.
GENERATIONS = 4


@dataclass(frozen=True, slots=True)
class ProgressMemory:
    """`parts` processes share `slots` records; `path` names the memory for all of them."""

    path: str
    parts: int
    slots: int
    descriptor: int = -1  # of the process that made it or took it over
    layout: str = ""

    @classmethod
    def make(cls, workers: int) -> Self | None:
        """None where the system has no memory of this kind."""
        if (
            not HAS_LOCKS
            or not hasattr(os, "memfd_create")
            or not os.access("/proc/self/fd", os.R_OK)
        ):
            return None
        file = os.memfd_create("sluiceway-progress")
        return cls.adopt(file, GENERATIONS * workers, GENERATIONS * SLOTS, table_layout())

    @classmethod
    def adopt(cls, file: int, parts: int, slots: int, layout: str) -> Self:
        """Memory that is open as `file`."""
        return cls(f"/proc/{os.getpid()}/fd/{file}", parts, slots, file, layout)

    def has_room(self, workers: int) -> bool:
        """Whether a server of this version, with so many processes, finds room in it.

        For a process that has no part of it: to close the file would give up its locks.
        """
        if self.layout != table_layout():
            return False
        file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            free = [part for part in range(self.parts) if try_lock_part(file, part)]
        finally:
            os.close(file)
        return len(free) >= (2 * workers if workers > 1 else 1)  # a worker may have to be replaced

    def open(self, is_alone: bool = False) -> ProgressTable:
        """The table, with a part for this process. Raises SluiceError, OSError."""
        return ProgressTable(self.path, self.parts, self.slots, is_alone)

    def read_totals(self) -> Sequence[Totals]:
        """The counts of all processes, for one that has no part. Raises OSError."""
        return read_totals(self.path, self.parts, self.slots)
