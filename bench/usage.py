"""Processor time: of one process, of this bench with all it started, and of everything else.

A process's clock counts in nanoseconds and knows its ended threads; /proc's ticks are 10 ms. What
is neither ours nor the kernel's own threads counts as others, stolen time included. Linux only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["CALM", "Others", "cpu_of", "descendants", "wait_for_calm"]

CALM = 0.12  # share of the machine that others may use while something is timed
WINDOW = 0.5  # seconds: one look at what others use
TICK = 1 / os.sysconf("SC_CLK_TCK")
KERNEL_THREAD = 0x00200000  # PF_KTHREAD in a process's flags


class ProcessStat(NamedTuple):
    """What /proc says of one process; times are in seconds."""

    parent: int
    kernel: bool
    own: float
    ended_children: float


def _stat(pid: int) -> ProcessStat | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None  # it ended meanwhile
    user, system, children_user, children_system = map(int, fields[11:15])
    kernel = bool(int(fields[6]) & KERNEL_THREAD)
    ended = (children_user + children_system) * TICK
    return ProcessStat(int(fields[1]), kernel, (user + system) * TICK, ended)


def _processes() -> dict[int, ProcessStat]:
    names = (entry.name for entry in os.scandir("/proc"))
    found = {int(name): _stat(int(name)) for name in names if name.isdigit()}
    return {pid: stat for pid, stat in found.items() if stat is not None}


def descendants(pid: int, processes: dict[int, ProcessStat] | None = None) -> list[int]:
    """The process and all below it."""
    known = _processes() if processes is None else processes
    found = [pid]
    for one in found:
        found.extend(child for child, stat in known.items() if stat.parent == one)
    return found


def cpu_of(pids: Iterable[int]) -> float:
    """Processor seconds so far, user and system, of these processes and their ended children."""
    total = 0.0
    for pid in pids:
        stat = _stat(pid)
        if stat is None:
            continue
        try:
            # The kernel's number for the clock of a whole process: CPUCLOCK_SCHED.
            own = time.clock_gettime((~pid << 3) | 2)
        except OSError:
            own = stat.own
        total += own + stat.ended_children
    return total


class Others:
    """What others use from here on, as a share of all processors."""

    def __init__(self) -> None:
        self._began, self._idle, self._own = self._look()

    def share(self) -> float:
        """Between 0 and 1, since this object was made."""
        now, idle, own = self._look()
        whole = (now - self._began) * (os.cpu_count() or 1)
        used = whole - (idle - self._idle) - (own - self._own)
        return min(1.0, max(0.0, used / whole)) if whole else 0.0

    @staticmethod
    def _look() -> tuple[float, float, float]:
        """The time, idle seconds of all processors, and seconds of ours and of the kernel."""
        processes = _processes()
        ours = cpu_of(descendants(os.getpid(), processes))
        kernel = sum(stat.own for stat in processes.values() if stat.kernel)
        first = Path("/proc/stat").read_text().partition("\n")[0].split()
        return time.monotonic(), (int(first[4]) + int(first[5])) * TICK, ours + kernel


def wait_for_calm(most: float) -> None:
    """Return when others leave the machine to us, at the latest after `most` seconds."""
    until = time.monotonic() + most
    while (left := until - time.monotonic()) > 0:
        others = Others()
        time.sleep(min(WINDOW, left))
        if others.share() <= CALM:
            return
