"""An existing Dask cluster, whose workers copy the objects; listing and journal stay here.

A task that its worker did not end is run again by another one; a key is published once, so it makes
no duplicate. Knows no kind of source or target.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import distributed

from sluiceway.copying.arguments.keywords import CopyAllKeywords
from sluiceway.copying.cluster.cluster_job import (
    TOPIC,
    ClusterJob,
    own_version,
    worker_keywords,
)
from sluiceway.copying.cluster.on_worker import copy_one
from sluiceway.copying.contract import CopyItem
from sluiceway.copying.object_copier import CopyResult
from sluiceway.copying.report import ObjectResult
from sluiceway.errors import BadRequest, PeerFailed, PeerUnreachable, SluiceError
from sluiceway.pipe.cancellation import end_task
from sluiceway.wire.urls import is_place, is_url, redact_url

__all__ = ["ClusterCopier", "DaskCluster"]

CONNECT_TIMEOUT = 15.0  # seconds until a scheduler has answered
CHECK_TIMEOUT = 30.0  # seconds for all workers to tell their version
CLOSE_TIMEOUT = 5.0
LOOK_EVERY = 2.0  # seconds between two looks whether the scheduler answers and has workers
# Seconds for which tasks wait for a worker. Clusters that grow by demand begin with none.
WORKERS_WITHIN = 300.0


@dataclass(slots=True)
class _RunningTask:
    """A task as the client sees it."""

    on_moved: Callable[[int], None]
    on_note: Callable[[str], None]
    moving: int = 0

    def move_to(self, moving: int) -> None:
        self.on_moved(moving - self.moving)
        self.moving = moving


class DaskCluster:
    """A connection to a scheduler, for one copy. Use `connected`."""

    def __init__(self, client: Any, name: str) -> None:
        """`client`: a `distributed.Client`. `name` of the scheduler, for people."""
        self._client, self._name = client, name
        self.run: str = secrets.token_hex(8)
        self._tasks: dict[int, _RunningTask] = {}
        self._count = 0
        self._lost: asyncio.Future[SluiceError] = asyncio.get_running_loop().create_future()

    @classmethod
    @asynccontextmanager
    async def connected(cls, address: str) -> AsyncIterator[DaskCluster]:
        """Raises PeerUnreachable, and BadRequest for workers with another version of this
        package."""
        name = redact_url(address)
        with _quiet_logs():
            client = await _connect(address, name)
            cluster = cls(client, name)
            try:
                await cluster._check_versions()
                # What other people's tasks print is not output of this program.
                client.unsubscribe_topic("print")
                client.subscribe_topic(TOPIC, cluster._hear)
                watching = asyncio.create_task(cluster._watch())
                try:
                    yield cluster
                finally:
                    await end_task(watching)
            finally:
                with suppress(Exception):  # the scheduler may be gone; it drops our tasks itself
                    await asyncio.wait_for(client.close(timeout=CLOSE_TIMEOUT), 2 * CLOSE_TIMEOUT)

    async def copy(self, job: ClusterJob, item: CopyItem, running: _RunningTask) -> CopyResult:
        """A failure of the object is a result. Raises what ends the whole copy."""
        self._count += 1
        number = self._count
        self._tasks[number] = running
        future = self._client.submit(
            copy_one,
            job,
            number,
            item,
            key=f"sluiceway-copy-{self.run}-{number}",  # no object's key, which may be private
            pure=False,
            retries=0,  # the copier's own count
        )
        result = asyncio.ensure_future(_result(future, item))
        try:
            ends: set[asyncio.Future[Any]] = {result, self._lost}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._lost.done():
                raise self._lost.result()
            return result.result()
        finally:
            future.release()  # the worker sees that it is not wanted any more
            await end_task(result)
            running.move_to(0)
            del self._tasks[number]

    async def _check_versions(self) -> None:
        def installed() -> str:
            # Travels as code, not as a name: it runs also where this package is missing.
            from importlib.metadata import PackageNotFoundError, version

            try:
                return version("sluiceway")
            except PackageNotFoundError:
                return ""

        ask, mine = self._client, own_version()
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                found = {"The scheduler": await ask.run_on_scheduler(installed)}
                workers = await ask.run(installed, on_error="return")
        except TimeoutError:
            raise PeerUnreachable(
                f"The workers of the scheduler {self._name} did not answer within "
                f"{CHECK_TIMEOUT:.0f} s"
            ) from None
        found |= {f"The worker {address}": text for address, text in workers.items()}
        for who, text in found.items():
            if isinstance(text, str) and text != mine:
                runs = f"runs sluiceway {text}" if text else "has no sluiceway"
                raise BadRequest(
                    f"{who} {runs}, and this command is sluiceway {mine}; install the same version "
                    "on the client, the scheduler and all workers"
                )

    def _hear(self, event: tuple[float, tuple[str, int, int, str]]) -> None:
        run, number, moving, note = event[1]
        running = self._tasks.get(number)
        if run != self.run or running is None:
            return  # another copy's, or of a task that ended
        running.move_to(moving)
        if note:
            running.on_note(note)

    async def _watch(self) -> None:
        """Sets `_lost` where tasks would wait for ever."""
        loop = asyncio.get_running_loop()
        had_workers = loop.time()
        while not self._lost.done():
            await asyncio.sleep(LOOK_EVERY)
            try:
                async with asyncio.timeout(CHECK_TIMEOUT):
                    workers = await self._client.nthreads()
            except Exception:  # of the library: whatever it is, the scheduler did not answer
                self._lose(_scheduler_lost(self._name))
                return
            if workers or not self._tasks:
                had_workers = loop.time()
            elif loop.time() - had_workers > WORKERS_WITHIN:
                self._lose(
                    PeerUnreachable(
                        f"The scheduler {self._name} had no worker for {WORKERS_WITHIN:.0f} s"
                    )
                )

    def _lose(self, error: SluiceError) -> None:
        if not self._lost.done():
            self._lost.set_result(error)


class ClusterCopier:
    """Copies objects as `ObjectCopier` does, by tasks of a cluster."""

    def __init__(
        self,
        cluster: DaskCluster,
        sides: tuple[str, str],
        options: CopyAllKeywords,
        job_id: str,
        find_first: bool,
        on_moved: Callable[[int], None],
        on_note: Callable[[str], None],
    ) -> None:
        """`sides` are the source and the target, `options` those of `copy_all`."""
        keywords = worker_keywords(options)
        source, target = sides
        if not (is_url(source) or is_place(source)):
            source = os.path.abspath(source)  # a worker runs in another folder
        self._job = ClusterJob(
            cluster.run, job_id, find_first, own_version(), source, target, keywords
        )
        self._copy = cluster.copy
        self._running = partial(_RunningTask, on_moved, on_note)

    async def copy(self, item: CopyItem) -> CopyResult:
        """A failure of this object is a result. Raises PeerUnreachable, BadRequest."""
        return await self._copy(self._job, item, self._running())


async def _connect(address: str, name: str) -> Any:
    connect: Any = distributed.Client  # has no types
    try:
        return await connect(
            address,
            asynchronous=True,
            set_as_default=False,
            timeout=CONNECT_TIMEOUT,
            name="sluiceway-copy",
        )
    except ValueError as error:
        raise BadRequest(f"{name} is not an address of a scheduler: {error}") from None
    except OSError as error:
        raise PeerUnreachable(
            f"The Dask scheduler {name} did not answer within {CONNECT_TIMEOUT:.0f} s; is the "
            "address right, and does it run?"
        ) from error


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """What the library logs on its own becomes errors of ours."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


async def _result(future: Any, item: CopyItem) -> CopyResult:
    try:
        copied: CopyResult = await future
    except distributed.KilledWorker as error:
        return _failed(
            item,
            PeerFailed(
                f"{error.allowed_failures + 1} workers of the cluster died while they copied it, "
                "one after the other"
            ),
        )
    except distributed.client.FutureCancelledError as error:
        raise PeerUnreachable(
            f"The cluster dropped the copy of {item.key} ({error.reason}); run the same command "
            "again to go on"
        ) from None
    except SluiceError:
        raise
    except Exception as error:  # unexpected, of the worker or the library: of this object alone
        return _failed(item, PeerFailed(f"A worker failed: {type(error).__name__}: {error}"))
    return copied


def _failed(item: CopyItem, error: SluiceError) -> CopyResult:
    result = ObjectResult(
        item.key, "failed", item.size, attempts=1, code=error.code, detail=error.detail
    )
    return CopyResult(result, item)


def _scheduler_lost(name: str) -> PeerUnreachable:
    return PeerUnreachable(
        f"The scheduler {name} does not answer any more; what is in the journal is done. Run the "
        "same command again to go on"
    )
