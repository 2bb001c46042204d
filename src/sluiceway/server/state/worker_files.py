"""The files that the worker processes of one server share: settings and progress table.

They lie in a folder of their own, which is locked while the server lives. What a killed server
left is removed by the next one.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from sluiceway.pipe.file_lock import lock_file, try_lock_file
from sluiceway.server.settings.checked import Settings
from sluiceway.server.state.progress_memory import GENERATIONS, ProgressMemory
from sluiceway.uploads.progress import SLOTS

__all__ = ["WORKER", "read_worker_file", "worker_file"]

# Names the file from which a worker process reads its settings
WORKER = "SLUICEWAY_WORKER_SETTINGS"

PREFIX = "sluiceway-workers-"
YOUNG = 60.0  # seconds; a younger folder may be one that its server has not locked yet


@contextmanager
def worker_file(settings: Settings, memory: ProgressMemory | None) -> Iterator[str]:
    """The path of the file with the settings, until the server ends. Only its owner reads it."""
    _remove_leftovers(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            lock_file(lock)
            if memory is None:
                table = Path(folder, "progress")
                table.touch()
                memory = ProgressMemory(str(table), GENERATIONS * settings.workers, SLOTS)
            path = Path(folder, "settings.json")
            values = {"settings": asdict(settings), "progress": asdict(memory)}
            path.write_text(json.dumps(values), "utf-8")
            yield str(path)
        finally:
            os.close(lock)


def read_worker_file(path: str) -> tuple[Settings, ProgressMemory]:
    """The settings, and the memory of the progress table."""
    values = json.loads(Path(path).read_text("utf-8"))
    return Settings(**values["settings"]), ProgressMemory(**values["progress"])


def _remove_leftovers(parent: str) -> None:
    """Folders of this user whose lock is free: their servers were killed."""
    for folder in Path(parent).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another server is removing it, or it is not ours
            lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                status = os.fstat(lock)
                ours = status.st_uid == os.geteuid() and not status.st_mode & stat.S_IRWXO
                if ours and time.time() - status.st_mtime > YOUNG and try_lock_file(lock):
                    shutil.rmtree(folder)
            finally:
                os.close(lock)
