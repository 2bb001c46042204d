"""A memory meter: how much a process holds, and the most it held since the meter was set back. Linux, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

from sluiceway.errors import SluiceError

__all__ = ["MemoryMeter"]

RESET_PEAK = "5"  # proc(5), clear_refs: the peak becomes what is resident now


class MemoryMeter:
    """Measures the process `pid`, this one when None. All figures are bytes of resident memory."""

    def __init__(self, pid: int | None = None) -> None:
        self._folder = Path("/proc") / str(os.getpid() if pid is None else pid)
        if not self._folder.exists():
            raise SluiceError(
                f"There is no {self._folder}: the meter needs Linux and a process that lives"
            )

    def now(self) -> int:
        """What is resident now."""
        return self._told("VmRSS")

    def peak(self) -> int:
        """The most that was resident since the process began, or since `reset`."""
        return self._told("VmHWM")

    def reset(self) -> None:
        """Forget the peak. Needs the right to write to the process's clear_refs: its own user has it."""
        (self._folder / "clear_refs").write_text(RESET_PEAK)

    def _told(self, name: str) -> int:
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) << 10  # told in KiB
        raise SluiceError(f"{self._folder}/status has no {name}; has the process ended?")
