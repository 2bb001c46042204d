"""A download on its way to a file: `.NAME.part` beside the target and what is known of it in `.NAME.part.json`.

Nothing appears under the target's own name before `publish`. Links in the way are never followed. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from sluiceway.client.address import shown
from sluiceway.errors import Exists, NoSpace, StoreFailed
from sluiceway.pipe.source import Buffer

__all__ = ["Notes", "Part", "part_paths", "settled"]

T = TypeVar("T")

_fdatasync = getattr(os, "fdatasync", os.fsync)  # the size is synced with the data, only the times are not

SYNC_EVERY = 64 << 20  # bytes between syncs: what a power cut may cost, and no gigabytes of dirty pages at the end
MOST_NOTES = 64 << 10  # bytes of a sidecar; ours have 500
MOST_PLAIN_NAME = 230  # bytes: with ".", ".part.json.new" and 255 as the file system's limit

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})


@dataclass(frozen=True, slots=True)
class Notes:
    """The sidecar: what was fetched, how to ask for the rest, and how much of it surely survived."""

    url: str  # for people, without secrets
    key: str  # sha-256 of the whole URL: a signed or changed query is another thing
    validator: str  # what If-Range takes
    total: int | None = None  # bytes of the whole
    digest: str = ""  # the Repr-Digest header that came with it
    boot: str = ""  # this machine since it was started: within it, what was written is there
    kept: int = 0  # bytes that were synced; all that counts after a power cut

    @staticmethod
    def of(url: str, validator: str, total: int | None, digest: str) -> Notes:
        return Notes(shown(url), _key(url), validator, total, digest, _boot())


class Part:
    """The part file, open and locked. `have` bytes of it are good; `notes` is None when they cannot be continued."""

    path: str

    def __init__(self, target: str, url: str) -> None:
        """Blocking. Takes up what an earlier run left, if it was of the same URL. Raises StoreFailed."""
        self.target = target
        self._url = url
        self._syncing: asyncio.Future[None] | None = None
        self.path, self._notes_path = part_paths(target)
        with _local(target):
            self._fd = _open_own(self.path)
        self.notes = self._read_notes()
        self.have: int = self._good_bytes() if self.notes else 0
        self.kept: int = self.have
        with _local(target):
            os.ftruncate(self._fd, self.have)
            os.lseek(self._fd, self.have, os.SEEK_SET)

    async def write(self, data: Buffer) -> None:
        """Append. Raises NoSpace, StoreFailed."""
        await settled(lambda: self._write(memoryview(data)))
        idle = self._syncing is None or self._syncing.done()
        if idle and self.have - self.kept >= SYNC_EVERY:
            self._raise_sync_error()
            self._syncing = asyncio.get_running_loop().run_in_executor(None, self._sync)  # the network need not wait

    async def sync(self) -> int:
        """What is written survives a power cut; the offset."""
        await self.settle()
        await settled(self._sync)
        return self.kept

    async def settle(self) -> None:
        """Wait for a sync under way; before anything else is done with the file. Raises what it met."""
        if self._syncing is not None:
            await asyncio.wait([self._syncing])
            self._raise_sync_error()

    def _raise_sync_error(self) -> None:
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.result()

    def restart(self, notes: Notes | None) -> None:
        """Blocking. Forget the bytes; from now on the part is of `notes`, or of nothing that could be continued."""
        with _local(self.target):
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
        self.have = self.kept = 0
        self.notes = notes
        self._write_notes()

    def publish(self, force: bool) -> None:
        """Blocking. The part becomes the target, durably. Raises Exists when the name was taken and not `force`."""
        with _local(self.target):
            _fdatasync(self._fd)
            if os.name == "nt":
                self.close()  # Windows renames no open file; elsewhere the lock is held until the name has changed
            if force:
                os.replace(self.path, self.target)
            else:
                _rename_to_free(self.path, self.target)
            _sync_folder(os.path.dirname(self.target))
        with suppress(OSError):
            os.unlink(self._notes_path)

    def discard(self) -> None:
        """Blocking. Nothing remains."""
        for path in (self.path, self._notes_path):
            with suppress(OSError):
                os.unlink(path)

    def close(self) -> None:
        """Let go. Bytes that can be continued stay; others are removed."""
        if self._fd < 0:
            return
        if self.notes is None and _is_same(self._fd, self.path):
            self.discard()
        os.close(self._fd)
        self._fd = -1

    def _write(self, data: memoryview) -> None:
        with _local(self.target):
            while len(data):
                written = os.write(self._fd, data)
                self.have += written
                data = data[written:]

    def _sync(self) -> None:
        reached = self.have
        with _local(self.target):
            _fdatasync(self._fd)
        self.kept = reached
        self._write_notes()

    def _good_bytes(self) -> int:
        size = os.fstat(self._fd).st_size
        if self.notes is None:
            return 0
        return size if self.notes.boot and self.notes.boot == _boot() else min(size, self.notes.kept)

    def _read_notes(self) -> Notes | None:
        try:
            fd = os.open(self._notes_path, os.O_RDONLY | NO_FOLLOW)
            with open(fd, "rb") as file:
                told = json.loads(file.read(MOST_NOTES))
            notes = Notes(**told)
            fits = (
                notes.key == _key(self._url)
                and isinstance(notes.validator, str)
                and notes.validator.isascii()
                and notes.validator.isprintable()
                and isinstance(notes.digest, str)
                and isinstance(notes.kept, int)
                and (notes.total is None or isinstance(notes.total, int))
            )
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        return notes if fits else None

    def _write_notes(self) -> None:
        with _local(self.target):
            if self.notes is None:
                with suppress(FileNotFoundError):
                    os.unlink(self._notes_path)
                return
            self.notes = replace(self.notes, kept=self.kept)
            fresh = self._notes_path + ".new"
            with suppress(FileNotFoundError):
                os.unlink(fresh)
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o600)
            with open(fd, "w", encoding="ascii") as file:
                json.dump(asdict(self.notes), file)
            os.replace(fresh, self._notes_path)


def part_paths(target: str) -> tuple[str, str]:
    """The part file's and the sidecar's path for a target; long names are cut and told apart by a digest."""
    folder, name = os.path.split(target)
    if len(os.fsencode(name)) > MOST_PLAIN_NAME:
        name = os.fsencode(name)[:100].decode("utf-8", "ignore") + "-" + _key(name)[:16]
    part = os.path.join(folder, f".{name}.part")
    return part, part + ".json"


async def settled(work: Callable[[], T]) -> T:
    """Do blocking work in a thread; when cancelled, the end of the work is waited for before its file may be closed."""
    doing = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        raise


def _open_own(path: str) -> int:
    """The part file, locked: the one left behind when it is a plain file of ours, else a new one. Follows no link."""
    for _ in range(2):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o666)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            os.unlink(path)  # the link itself, not what it leads to
            continue
        found = os.fstat(fd)
        # Another owner's file or a second name of some file: not written to, whoever put it there.
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and _is_ours(found):
            _lock(fd, path)
            return fd
        os.close(fd)
        os.unlink(path)
    raise StoreFailed(f"{path} is in the way; remove it")


def _is_ours(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def _lock(fd: int, path: str) -> None:
    try:
        import fcntl
    except ImportError:
        return  # Windows: an open file cannot be renamed over there
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise StoreFailed(f"Another copy is writing {path} already; wait for it") from None
        raise
    if not _is_same(fd, path):  # published or removed between opening and locking: it is no part any more
        os.close(fd)
        raise StoreFailed(f"Another copy finished {path} just now; try again")


def _is_same(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except OSError:
        return False


def _rename_to_free(path: str, target: str) -> None:
    """Rename that never replaces: a link fails where the name is taken, a rename would not."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in NO_LINKS or os.path.lexists(target):
            raise
        os.rename(path, target)
    else:
        os.unlink(path)


def _sync_folder(folder: str) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there; NTFS journals names
    fd = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _local(target: str) -> Iterator[None]:
    """OS errors under our names, with the target's path instead of the part's."""
    try:
        yield
    except FileExistsError as error:
        raise Exists(f"{target} is there already; use --force to replace it") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(f"No space for {target}; make room and run the same command to go on") from error
        raise StoreFailed(f"{target} cannot be written: {error.strerror or error}") from error


def _key(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def _boot() -> str:
    """The kernel's name for the time since this machine was started; "" where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(64).strip()
    except OSError:
        return ""
