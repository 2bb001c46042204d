"""The task of a worker: it copies one object, as the command's own process would.

All tasks of a process share one event loop in a thread of its own, and the sides of their copy. So
the worker's own loop stays free, and connections are used again. Keeps no journal.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from concurrent.futures import wait
from functools import cache

from distributed import Worker, get_worker

from sluiceway.copying.cluster.cluster_job import TOPIC, ClusterJob, own_version
from sluiceway.copying.contract import CopyItem
from sluiceway.copying.object_copier import CopyResult, ObjectCopier
from sluiceway.copying.opened_sides import OpenedSides, opened_sides
from sluiceway.copying.options import CopyOptions
from sluiceway.errors import BadRequest, Cancelled

__all__ = ["copy_one"]

LOOK_EVERY = 0.5  # seconds between two looks whether the client still wants the object
STAYS_OPEN = 30.0  # seconds without a task, after which a process closes the sides of a copy


def copy_one(job: ClusterJob, number: int, item: CopyItem) -> CopyResult:
    """Blocking, in a worker's thread. Raises BadRequest for another version of this package."""
    if job.version != (here := own_version()):
        raise BadRequest(
            f"A worker of the cluster runs sluiceway {here}, and this command is {job.version}; "
            "install the same version on both"
        )
    worker, shown = get_worker(), _Shown(job.id, number)
    key = worker.get_current_task()
    copying = asyncio.run_coroutine_threadsafe(_copy(job, item, shown, worker), _loop())
    while not wait([copying], LOOK_EVERY).done:
        task = worker.state.tasks.get(key)
        if task is not None and task.state == "cancelled":  # by the client, or because it is gone
            copying.cancel()
            raise Cancelled("The copy was interrupted")
        shown.tell(worker)
    return copying.result()


class _Shown:
    """What the client sees of a task. Changed in the event loop, sent by the task's thread."""

    def __init__(self, run: str, number: int) -> None:
        self._run, self._number = run, number
        self._moving, self._sent = 0, 0
        self._notes: list[str] = []

    def moved(self, count: int) -> None:
        self._moving += count

    def note(self, text: str) -> None:
        self._notes.append(text)

    def tell(self, worker: Worker) -> None:
        notes, self._notes = self._notes, []
        moving = self._moving
        if moving == self._sent and not notes:
            return
        self._sent = moving
        for note in notes or [""]:
            worker.log_event(TOPIC, (self._run, self._number, moving, note))


_first = threading.Lock()  # the first tasks of a process come at once, in several threads


def _loop() -> asyncio.AbstractEventLoop:
    """Of this process, in a thread that ends with it."""
    with _first:
        return _only_loop()


@cache
def _only_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="sluiceway-copies", daemon=True).start()
    return loop


# In the event loop only. The copies that this process takes part in, by their ids.
_shared: dict[str, _SharedSides] = {}


class _SharedSides:
    """The sides of one copy in this process, open while it has tasks."""

    def __init__(self, job: ClusterJob, tasks: int) -> None:
        self.uses = 0
        self.opened: asyncio.Future[OpenedSides] = asyncio.get_running_loop().create_future()
        self._job, self._tasks = job, tasks
        self._owner = asyncio.create_task(self._own())

    async def _own(self) -> None:
        job = self._job
        try:
            options = CopyOptions.for_many(job.source, job.target, **job.keywords)
            # As the client does: places with their options.
            source, target = options.source, options.target
            async with opened_sides(source, target, options, self._tasks) as sides:
                self.opened.set_result(sides)
                unused = 0.0
                while unused < STAYS_OPEN:
                    await asyncio.sleep(LOOK_EVERY)
                    unused = 0.0 if self.uses else unused + LOOK_EVERY
                del _shared[job.id]
        except Exception as error:
            _shared.pop(job.id, None)
            if self.opened.done():
                raise  # while they were closed: for the loop's own log
            self.opened.set_exception(error)


async def _copy(job: ClusterJob, item: CopyItem, shown: _Shown, worker: Worker) -> CopyResult:
    shared = _shared.get(job.id)
    if shared is None:
        shared = _shared[job.id] = _SharedSides(job, worker.state.nthreads)
    shared.uses += 1
    try:
        sides = await asyncio.shield(shared.opened)
        copier = ObjectCopier(
            sides.source,
            sides.target,
            dataclasses.replace(sides.rules, one_piece=""),  # the client says that, once
            job.job_id,
            job.find_first,
            shown.moved,
            shown.note,
            met=True,  # by the client
        )
        return await copier.copy(item)
    finally:
        shared.uses -= 1
