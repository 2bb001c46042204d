"""The journal of a copy: one row for each finished object, kept before the object counts as done.

Rows that arrive while a commit runs share the next one. One run at a time uses a journal, and only
for the two sides it was begun with. Knows no database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from sluiceway.copying.contract import CopyItem
from sluiceway.copying.fingerprint_set import FingerprintSet, fingerprint
from sluiceway.errors import BadRequest
from sluiceway.pipe.receipt import Receipt

__all__ = ["FinishedObject", "Journal", "not_alone", "of_other_sides", "once_key"]


@dataclass(frozen=True, slots=True)
class FinishedObject:
    """A row: what was copied where."""

    key: str
    version: str
    size: int
    digest: str | None
    location: str
    finished: str  # UTC, as 2026-11-28T20:15:00Z

    @property
    def columns(self) -> tuple[str | int | None, ...]:
        """In this order."""
        return astuple(self)


def once_key(run: str, item: CopyItem) -> str:
    """The idempotency key of one version of an object in one job: the same after a restart."""
    return fingerprint(run, "a", item.key, item.version).hex()


class Journal:
    """Open, and no other run's. A kind of journal sets `id` and implements `_keep` and `aclose`."""

    id: str  # random; the same for this job however often it is started
    path: str  # for people: without passwords

    def __init__(self, path: str) -> None:
        self.path = path
        self._done = FingerprintSet()
        self._rows: list[FinishedObject] = []
        self._commits: asyncio.Task[None] | None = None
        self._next_commit: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        """The number of objects that were done when the journal was opened."""
        return len(self._done)

    def has(self, item: CopyItem) -> bool:
        """Whether an earlier run finished this version of the object."""
        return len(self._done) > 0 and _mark(item.key, item.version, item.size) in self._done

    async def done(self, item: CopyItem, receipt: Receipt) -> None:
        """Returns when the row is kept. Raises NoSpace, StoreFailed, Unavailable."""
        finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        key, version, location = map(_text, (item.key, item.version, receipt.location))
        digest = " ".join(f"{name}:{digits}" for name, digits in receipt.digests) or None
        self._rows.append(FinishedObject(key, version, receipt.size, digest, location, finished))
        if self._next_commit is None:
            self._next_commit = asyncio.get_running_loop().create_future()
        commit = self._next_commit
        if self._commits is None:
            self._commits = asyncio.create_task(self._commit_all())
        await asyncio.shield(commit)

    async def settle(self) -> None:
        """Wait until every row is kept, those of cancelled callers too."""
        while self._commits is not None:
            await asyncio.wait([self._commits])

    async def aclose(self) -> None:
        """Another run may use it from now on."""
        raise NotImplementedError

    async def _keep(self, rows: Sequence[FinishedObject]) -> None:
        """Returns when they survive whatever happens to this process."""
        raise NotImplementedError

    def _knows(self, key: str, version: str, size: int) -> None:
        """An earlier run kept this row."""
        self._done.add(_mark(key, version, size))

    async def _commit_all(self) -> None:
        """One transaction for all rows that are here, again and again until there are none."""
        try:
            while self._rows:
                rows, self._rows = self._rows, []
                commit, self._next_commit = self._next_commit, None
                try:
                    await self._keep(rows)
                except BaseException as error:
                    if commit is not None and not commit.done():
                        commit.set_exception(error)
                        commit.exception()  # retrieved, also where every caller was cancelled
                    if not isinstance(error, Exception):
                        raise
                else:
                    if commit is not None and not commit.done():
                        commit.set_result(None)
        finally:
            self._commits = None


def _mark(key: str, version: str, size: int | None) -> bytes:
    """Stands for an object in its version; where no version is known, in its size."""
    return fingerprint(key, "v", version) if version else fingerprint(key, "s", str(size))


def _text(text: str) -> str:
    """As every database can hold it: a lone surrogate and a NUL are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def not_alone(path: str) -> BadRequest:
    """Another run uses the journal."""
    return BadRequest(f"Another copy uses the journal {path} at this moment; wait for it")


def of_other_sides(path: str) -> BadRequest:
    """It was begun with another source or destination."""
    return BadRequest(
        f"The journal {path} is of another source or destination; each pair needs its own"
    )
