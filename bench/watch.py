"""A server's peaks while it works.

A thread looks at its process tree every tenth of a second, and once more at the end.

Temporary files and second processes are gone when the response is there, so one look afterwards
would miss them. Looking costs about a hundredth of one processor; it is the same for every
contender of a row.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.process import Server

__all__ = ["Peaks", "watching"]

EVERY = 0.1  # seconds


@dataclass(slots=True)
class Peaks:
    """Bytes: each process's own peak of resident memory, summed, and all open temporary files.

    The most of all looks.
    """

    rss: int = 0
    temp: int = 0

    def look(self, server: Server) -> None:
        self.rss = max(self.rss, server.peak())
        self.temp = max(self.temp, server.temp_bytes())


@contextmanager
def watching(server: Server) -> Iterator[Peaks]:
    """Looks until the block ends; the peaks are whole then."""
    peaks, stop = Peaks(), threading.Event()

    def watch() -> None:
        while not stop.wait(EVERY):
            peaks.look(server)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        stop.set()
        watcher.join()
        peaks.look(server)
