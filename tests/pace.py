"""How fast this machine is for one process, while others use it too.

with Pace() as pace:
    began = time.monotonic()
    …
    pace.seconds(began, time.monotonic())   # what a quiet machine would have needed, about
"""

from __future__ import annotations

import subprocess
import sys
import threading
from types import TracebackType
from typing import Self

__all__ = ["Pace"]

# A process of its own: threads of one wait for each other. It works a tenth of the time.
YARDSTICK = """
import sys, time
while True:
    began, cpu = time.monotonic(), time.process_time()
    while time.process_time() - cpu < 0.02:
        pass
    now = time.monotonic()
    try:
        print(began, now, min(1.0, (time.process_time() - cpu) / (now - began)), flush=True)
    except BrokenPipeError:
        break
    time.sleep(0.18)
"""


class Pace:
    """The share of a processor that a process gets, again and again."""

    def __init__(self) -> None:
        self._shares: list[tuple[float, float, float]] = []  # from, to (monotonic), share

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", YARDSTICK], stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(10)

    def seconds(self, began: float, ended: float) -> float:
        """The time from `began` to `ended`, each part of it as long as the share allowed.

        A stretch between two measurements counts as the one before it.
        """
        found, at, share = 0.0, began, 1.0
        for start, end, measured in list(self._shares):
            if end <= began:
                share = measured
                continue
            if start >= ended:
                break
            found += max(0.0, min(start, ended) - at) * share
            at = max(at, start)
            found += (min(end, ended) - at) * measured
            at, share = min(end, ended), measured
        return found + max(0.0, ended - at) * share

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                began, ended, share = map(float, line.split())
                self._shares.append((began, ended, share))
