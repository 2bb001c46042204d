"""What is done, in a file that survives a kill: a head, then one JSON line for each finished object, only ever appended.

A line counts when it is on the disk (`done` returns then); those that come meanwhile share one fsync. A torn last line is
forgotten. One run at a time has it, and only for the two sides it began with.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from sluiceway.copying.contract import CopyItem
from sluiceway.copying.fingerprint_set import FingerprintSet, fingerprint
from sluiceway.errors import BadRequest, NoSpace, StoreFailed
from sluiceway.pipe.receipt import Receipt
from sluiceway.pipe.worker_thread import in_thread

__all__ = ["Journal", "once_key"]

FORMAT = 1
MOST_LINE = 256 << 10  # bytes; a path of 4096, escaped, is 24 KiB, a location about the same
_BEGIN = b'{"sluiceway-journal"'
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def once_key(run: str, item: CopyItem) -> str:
    """The idempotency key of one version of one object in one run: the same after a restart with the run's journal."""
    return (
        fingerprint(run, "a", item.key, item.version)
        + fingerprint(run, "b", item.key, item.version)
    ).hex()[:32]


class Journal:
    """Open and locked. Call `close` at the end."""

    id: str  # random, written in the head: what belongs to this job, however often it is started
    path: str

    def __init__(self, path: str, source: str, destination: str) -> None:
        """Blocking. `source` and `destination` name the sides. Raises BadRequest, StoreFailed."""
        self.path = path
        self._sides = fingerprint(source, destination).hex()
        self._seen = FingerprintSet()
        self._lines: list[bytes] = []
        self._syncing: asyncio.Task[None] | None = None
        self._waiting: asyncio.Future[None] | None = None
        with _named(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_FOLLOW, 0o600)
        self._file: BinaryIO = os.fdopen(fd, "r+b", buffering=0)
        try:
            self._lock()
            with _named(path):
                self.id = self._read()
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        """Objects that were done when it was opened."""
        return len(self._seen)

    def has(self, item: CopyItem) -> bool:
        """Whether this version of the object was done by an earlier run."""
        return len(self._seen) > 0 and _mark(item.key, item.version, item.size) in self._seen

    async def done(self, item: CopyItem, receipt: Receipt) -> None:
        """Returns when the line is on the disk. Raises NoSpace, StoreFailed."""
        line = {
            "key": item.key,
            "version": item.version,
            "size": receipt.size,
            "sha256": receipt.sha256,
            "location": receipt.location,
        }
        self._lines.append(json.dumps(line).encode("ascii") + b"\n")
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
        waiting = self._waiting
        if self._syncing is None:
            self._syncing = asyncio.create_task(self._sync())
        await asyncio.shield(waiting)

    async def settle(self) -> None:
        """Everything told so far is on the disk, also of those who do not wait any more."""
        while self._syncing is not None:
            await asyncio.wait([self._syncing])

    def close(self) -> None:
        """Let go; safe to call twice."""
        self._file.close()

    async def _sync(self) -> None:
        """One write and one fsync for all lines that are here, again and again until there are none."""
        try:
            while self._lines:
                lines, self._lines = self._lines, []
                waiting, self._waiting = self._waiting, None
                try:
                    await in_thread(lambda lines=lines: self._append(b"".join(lines)))  # type: ignore[misc]
                except BaseException as error:
                    if waiting is not None and not waiting.done():
                        waiting.set_exception(error)
                        waiting.exception()  # seen, also where nobody waits any more
                    if not isinstance(error, Exception):
                        raise
                else:
                    if waiting is not None and not waiting.done():
                        waiting.set_result(None)
        finally:
            self._syncing = None

    def _append(self, data: bytes) -> None:
        with _named(self.path):
            left = memoryview(data)
            while len(left):
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:
            return  # Windows: two runs with one journal are the caller's affair there
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise BadRequest(
                    f"Another copy uses the journal {self.path} at this moment; wait for it"
                ) from None
            raise StoreFailed(
                f"The journal {self.path} cannot be locked: {error.strerror or error}"
            ) from error

    def _read(self) -> str:
        """Take in what is there and cut off a torn end; write the head of a new one. The journal's id."""
        good, run = 0, ""
        for line in _lines(self._file):
            if not line.endswith(b"\n"):
                if not good and not line.startswith(_BEGIN[: len(line)]):
                    raise BadRequest(f"{self.path} is no journal of a copy; name another file")
                break  # torn by a kill: what it would have said was never counted
            told = _told(line)
            if not good:
                run = self._head(told)
            elif isinstance(told.get("key"), str) and isinstance(told.get("version"), str):
                self._seen.add(_mark(str(told["key"]), str(told["version"]), told.get("size")))
            good += len(line)
        os.ftruncate(self._file.fileno(), good)
        if good:
            return run
        fresh = secrets.token_hex(16)
        head = {"sluiceway-journal": FORMAT, "id": fresh, "sides": self._sides}
        self._append(json.dumps(head).encode("ascii") + b"\n")
        _sync_folder(os.path.dirname(self.path))
        return fresh

    def _head(self, told: dict[str, object]) -> str:
        """The id. Nothing is changed in a file that is no journal of this job."""
        run = told.get("id")
        if "sluiceway-journal" not in told or not isinstance(run, str):
            raise BadRequest(f"{self.path} is no journal of a copy; name another file")
        if told["sluiceway-journal"] != FORMAT:
            raise BadRequest(
                f"The journal {self.path} was written by another version of this program; begin a new one"
            )
        if told.get("sides") != self._sides:
            raise BadRequest(
                f"The journal {self.path} is of another source or destination; each pair needs its own"
            )
        return run


def _mark(key: str, version: str, size: object) -> bytes:
    """What makes an object the same one: its version, or its size where nobody knows versions."""
    return fingerprint(key, "v", version) if version else fingerprint(key, "s", str(size))


def _lines(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    with open(file.fileno(), "rb", closefd=False) as reader:
        while line := reader.readline(MOST_LINE):
            yield line


def _told(line: bytes) -> dict[str, object]:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _sync_folder(folder: str) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there
    fd = os.open(folder or ".", os.O_RDONLY)
    with suppress(OSError):
        os.fsync(fd)
    os.close(fd)


@contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"No space for the journal {path}; make room and run the same command to go on"
            ) from error
        raise StoreFailed(
            f"The journal {path} cannot be written: {error.strerror or error}"
        ) from error
