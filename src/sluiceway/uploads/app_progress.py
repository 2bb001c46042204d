"""The progress of an app's own views, for all processes of the app on this machine.

The table is opened at the first upload that is watched: until then nothing is spent. Knows no
framework.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from sluiceway.errors import BadRequest, Exists
from sluiceway.uploads.keys import checked_id
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.progress_record import ProgressRecord
from sluiceway.uploads.view_progress import FileProgress, ViewProgress

__all__ = ["AppProgress"]

log: logging.Logger = logging.getLogger("sluiceway")

LOOK_EVERY = 0.1  # seconds between looks at what other servers have acknowledged

_of_names: dict[str, AppProgress] = {}


class AppProgress:
    """The progress of one app; `of` gives the one that this process has. Any thread may use it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._table: ProgressTable | None = None
        self._pid = 0
        self._followed: set[FileProgress] = set()
        self._looking = False

    @classmethod
    def of(cls, name: str) -> AppProgress:
        """`name` is the same in all processes of the app, and in no other app."""
        return _of_names.setdefault(name, cls(name))

    def begin(self, upload: str, length: int | None) -> ViewProgress | None:
        """Begin a watched request. `length` is its body's, in bytes.

        None if the id could be guessed, or another request has it or had it: an app's outcome does
        not depend on its bar, and nobody changes what another one's watchers see.
        """
        try:
            checked_id(upload)
            with self._lock:
                record = self._opened().begin(upload, length)
        except (BadRequest, Exists) as error:
            log.debug("An upload is not watched: %s", error.detail)
            return None
        return ViewProgress(record, self._end, self._follow)

    def find(self, upload: str) -> ProgressRecord | None:
        """The record of a request that runs, or ended a while ago, in any process of the app."""
        with self._lock:
            return self._opened().find(upload)

    def end_if_orphan(self, record: ProgressRecord) -> None:
        """A request whose process has died has failed."""
        with self._lock:
            self._opened().end_if_orphan(record)

    def is_here(self, record: ProgressRecord) -> bool:
        """Whether this process has the request."""
        with self._lock:
            return self._opened().is_here(record)

    def close(self) -> None:
        """The server stops. A request that comes nevertheless opens the table anew."""
        with self._lock:
            if self._table is not None and self._pid == os.getpid():
                from sluiceway.uploads.shared_table import close_shared_table

                close_shared_table(self._table)
                self._table = None

    def _end(self, record: ProgressRecord) -> None:
        with self._lock:
            self._opened().end(record)

    def _opened(self) -> ProgressTable:
        """The table. A process that was forked since opens it anew."""
        if self._table is None or self._pid != os.getpid():
            from sluiceway.uploads.shared_table import open_shared_table

            if self._table is not None:
                self._table.close()
                self._followed, self._looking = set(), False
            self._table, self._pid = open_shared_table(self._name), os.getpid()
        return self._table

    def _follow(self, file: FileProgress) -> None:
        """Look at a file that is sent on, while its view waits for the other server."""
        with self._lock:
            self._followed.add(file)
            if self._looking:
                return
            self._looking = True
        threading.Thread(target=self._look, name="sluiceway-progress", daemon=True).start()

    def _look(self) -> None:
        while True:
            with self._lock:
                files = list(self._followed)
                if not files:
                    self._looking = False
                    return
            over = {file for file in files if not file.look()}
            with self._lock:
                self._followed -= over
            time.sleep(LOOK_EVERY)
