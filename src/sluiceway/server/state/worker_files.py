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

__all__ = ["read_worker_file", "worker_file"]

PREFIX = "sluiceway-workers-"
YOUNG = 60.0  # seconds; a younger folder may be one that its server has not locked yet


@contextmanager
def worker_file(settings: Settings) -> Iterator[str]:
    """The path of the file with the settings, until the server ends. Only its owner reads it."""
    _remove_leftovers(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            lock_file(lock)
            table = Path(folder, "progress")
            table.touch()
            path = Path(folder, "settings.json")
            values = {"settings": asdict(settings), "progress_table": str(table)}
            path.write_text(json.dumps(values), "utf-8")
            yield str(path)
        finally:
            os.close(lock)


def read_worker_file(path: str) -> tuple[Settings, str]:
    """The settings, and the path of the progress table."""
    values = json.loads(Path(path).read_text("utf-8"))
    return Settings(**values["settings"]), values["progress_table"]


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
