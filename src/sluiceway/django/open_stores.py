"""The stores of a process, used from any thread: one event loop in a thread of its own runs them.

Servers fork after they have loaded a site, so everything is opened when it is first needed, once in
each process. Knows nothing of Django.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from sluiceway.errors import StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.server.destinations import open_destination
from sluiceway.server.settings.checked import Settings
from sluiceway.stores.contract import Store
from sluiceway.stores.disk.store import DiskStore

__all__ = ["OpenStore", "open_store"]

T = TypeVar("T")

CLOSE_TIMEOUT = 5.0  # seconds in which a store lets go of its drafts when the process ends

_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process
_stores: dict[tuple[int, tuple[str, ...], tuple[str, ...], int], OpenStore] = {}


class OpenStore:
    """A store and the event loop that it lives in.

    Args:
        settings: Its destination, its options and its memory.

    Raises:
        BadSetting: The destination cannot be used.
        StoreFailed: Its folder cannot be made.
    """

    store: Store
    budget: Budget

    def __init__(self, settings: Settings) -> None:
        self._loop = _event_loop()
        self._ended = False  # the process ends, and the loop's thread with it
        self.budget = Budget(settings.budget)
        self.store = self.run(self._open(settings))
        self._identity = self._drafts_folder()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the event loop. Returns or raises what it does.

        It has to end in every case: each of a store's waits has a deadline.

        Raises StoreFailed as `check_waiting` does.
        """
        try:
            self.check_waiting()
        except StoreFailed:
            work.close()
            raise
        return self.start(work).result()

    def check_waiting(self) -> None:
        """Raises StoreFailed where waiting for the event loop would never end.

        The garbage collector may close a file that nobody closed in the loop's own thread, or
        after that thread has ended.
        """
        if self._ended or _runs_here(self._loop):
            raise StoreFailed("A file of a storage was not closed; use `with` to close it")

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """As `run`, without waiting for its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    @property
    def is_current(self) -> bool:
        """False for a folder that was removed or replaced since: tests do that between two runs."""
        return self._identity == self._drafts_folder()

    def close(self) -> None:
        # The process ends in any case; leftovers are swept at the next start.
        with suppress(Exception):
            self.start(self.store.aclose()).result(CLOSE_TIMEOUT)

    async def _open(self, settings: Settings) -> Store:
        try:
            return open_destination(settings, self.budget)
        except OSError as error:
            raise StoreFailed(
                f"The destination cannot be opened ({error.strerror}); check that its folder can "
                "be created"
            ).for_operator() from error

    def _drafts_folder(self) -> tuple[int, int] | None:
        if not isinstance(self.store, DiskStore):
            return None
        try:
            status = os.stat(os.path.join(self.store.root, ".sluiceway", "drafts"))
        except FileNotFoundError:
            return (0, 0)
        return status.st_dev, status.st_ino


def open_store(settings: Settings) -> OpenStore:
    """The store of these settings in this process, opened once.

    Args:
        settings: `to`, `store_option` and `memory_budget` count.

    Raises:
        BadSetting: The destination cannot be used.
        StoreFailed: Its folder cannot be made.
    """
    key = (os.getpid(), settings.to, settings.store_option, settings.budget)
    with _lock:
        found = _stores.get(key)
        if found is not None and found.is_current:
            return found
    # Outside of the lock: opening takes a while, and starts the loop under the same lock.
    opened = OpenStore(settings)
    outdated: OpenStore | None
    with _lock:
        first = _stores.get(key)
        if first is not None and first is not found:  # another thread was quicker
            outdated, opened = opened, first
        else:
            _stores[key], outdated = opened, first
            atexit.register(_close_here, os.getpid(), opened)
    if outdated is not None:
        outdated.close()
    return opened


def _close_here(process: int, opened: OpenStore) -> None:
    if process == os.getpid():  # a fork inherits what its parent registered, not its thread
        opened.close()
        opened._ended = True


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _event_loop() -> asyncio.AbstractEventLoop:
    with _lock:
        if os.getpid() not in _loops:
            _loops[os.getpid()] = loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="sluiceway-storage", daemon=True).start()
        return _loops[os.getpid()]
