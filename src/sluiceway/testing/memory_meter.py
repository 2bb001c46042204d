"""A memory meter: how much a process holds, and the most since the meter was reset.

Reads /proc, so it needs Linux. Knows nothing of what the process does.
"""

from __future__ import annotations

import os
from pathlib import Path

from sluiceway.errors import SluiceError

__all__ = ["MemoryMeter"]

RESET_PEAK = "5"  # proc(5), clear_refs: the peak becomes what is resident now


class MemoryMeter:
    """Measures a process. All figures are bytes of resident memory.

    Args:
        pid: The process; None is this one.

    Raises:
        SluiceError: There is no such process, or no /proc.

    Example:
        >>> meter = MemoryMeter()
        >>> meter.reset()
        >>> meter.peak() - meter.now()
    """

    def __init__(self, pid: int | None = None) -> None:
        self._folder = Path("/proc") / str(os.getpid() if pid is None else pid)
        if not self._folder.exists():
            raise SluiceError(
                f"There is no {self._folder}: the meter needs Linux and a running process"
            )

    def now(self) -> int:
        """Return what is resident now."""
        return self._read("VmRSS")

    def peak(self) -> int:
        """Return the most that was resident since the process began, or since `reset`."""
        return self._read("VmHWM")

    def reset(self) -> None:
        """Forget the peak. The process's own user may do that."""
        (self._folder / "clear_refs").write_text(RESET_PEAK)

    def _read(self, name: str) -> int:
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) << 10  # in KiB
        raise SluiceError(f"{self._folder}/status has no {name}; has the process ended?")
