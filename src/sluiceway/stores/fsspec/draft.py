"""An upload under way to a place behind fsspec: blocks of a file below `.sluiceway/drafts/`.

A faster client gets larger blocks. The last bytes are withheld until the draft is published, so
that the time of its file is the time of its publishing. Knows nothing of readers.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import Any

from sluiceway.errors import Exists, PreconditionFailed, SluiceError, StoreFailed, Unavailable
from sluiceway.pipe.cancellation import shield_until_done
from sluiceway.pipe.source import Buffer
from sluiceway.stores.block_buffer import BlockBuffer
from sluiceway.stores.contract import Entry, Metadata, Replace
from sluiceway.stores.fsspec.connections import CALL_TIMEOUT, PooledConnection
from sluiceway.stores.fsspec.place import FsspecPlace, entry_of
from sluiceway.stores.fsspec.versions import Version, seconds_to_next_tick

__all__ = ["FsspecDraft"]

log: logging.Logger = logging.getLogger("sluiceway")

LARGEST_BLOCK = 1 << 20  # bytes
# Seconds after which a slow draft writes what it has: the time of its file shows that it is alive.
WRITE_EVERY = 600.0
SFTP_REQUEST = 32 << 10  # bytes that an SFTP server takes in one request
# Bytes a second below which an implementation that sends all at the end is given up.
SLOWEST_SEND = 256 << 10
OWN_BUFFER = 256 << 10  # bytes an implementation may gather itself, where that can be set
# Seconds for note and move together, which are a dozen calls on a distant server.
PUBLISH_TIMEOUT = 180.0


class FsspecDraft:
    """One block travels while the next one gathers."""

    def __init__(self, place: FsspecPlace, connection: PooledConnection) -> None:
        self._place, self._connection = place, connection
        self._name = uuid.uuid4().hex
        self._path = f"{place.tree.drafts}/{self._name}"
        self._file: Any = None  # used in the connection's thread only
        self._may_exist = True  # whether a file may be there
        self._block = BlockBuffer(place.budget, LARGEST_BLOCK, blocks=2)
        self._sent = 0
        self._kept = 0
        self._in_flight: asyncio.Task[None] | None = None
        self._failure: SluiceError | None = None  # of a block; every later call raises it
        self._ended = False
        place.drafts[self._name] = self
        connection.acquire()

    @property
    def written(self) -> int:
        return self._sent + self._block.size

    @property
    def kept(self) -> int:
        return self._kept

    @property
    def failure(self) -> SluiceError | None:
        """Why a block was not written: a sender that pauses learns it too."""
        return None if self._ended else self._failure

    async def begin(self) -> None:
        """Make the file, so that the destination can refuse before the first byte."""
        try:
            await self._connection.call(self._open)
        except SluiceError:
            self._may_exist = False
            raise

    async def write(self, data: Buffer) -> None:
        self._check()
        self._block.append(data)
        if self._block.is_full or (self._block.age > WRITE_EVERY and self._block.size > 1):
            await self._flush()

    async def sync(self) -> int:
        """Nothing is kept before it is published."""
        self._check()
        return self._kept

    async def truncate(self, offset: int) -> None:
        raise StoreFailed(
            "Bytes sent to this destination cannot be taken back in part; send the file again"
        )

    async def pause(self) -> None:
        """Hold one byte and give back the memory, while other files of the form arrive."""
        self._check()
        if self._block.size > 1:
            await self._flush()
        await self._wait_for_block()
        self._block.release()

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        """After Exists, PreconditionFailed or BadName nothing has become visible."""
        self._check()
        await self._wait_for_block()
        async with self._place.locks.acquire(key):
            found = await self._publish(key, metadata, replace)
        self._kept = self.written
        self._end()
        return entry_of(key, found, metadata)

    async def discard(self) -> None:
        if self._ended:
            return
        if self._in_flight is not None:
            await asyncio.wait([self._in_flight])
        broken = self._connection.broken
        self._end()
        if not self._may_exist:
            return
        try:
            if broken:  # the open file broke with it; closing it could wait for ever
                drop = self._place.connections.call(self._delete_file, repeatable=True)
            else:  # on its own connection, in whose order it comes last
                drop = self._connection.call(self._close_and_delete)
            await shield_until_done(drop)
        except SluiceError as error:
            log.warning("A draft stays until it is swept: %s", error.detail)

    async def _publish(self, key: str, metadata: Metadata, replace: Replace) -> Version:
        """The version that the object has. Called with the key's lock."""
        old = await self._place.version(key)
        if replace.etag is not None and (old is None or old.etag != replace.etag):
            raise PreconditionFailed(f"{key!r} is not the version you named; read it again")
        if old is not None and not replace.allowed:
            raise Exists(f"There is already an object {key!r}; it was not touched")
        before = self._place.recent.before(key, old)
        await asyncio.sleep(seconds_to_next_tick(self.written, before))
        version = await self._finish()
        if version.size and any(version.etag == earlier.etag for _, earlier in before):
            raise Unavailable(
                f"{key!r} was replaced too shortly after it was written to tell both apart; "
                "try again"
            )
        found = await shield_until_done(self._make_visible(key, version, metadata, old))
        self._place.recent.add(key, found)
        return found

    async def _finish(self) -> Version:
        """Write the rest and close the file. Raises StoreFailed where it is not whole there."""
        await self._wait_for_block()
        rest = self._block.take()

        def close(fs: Any) -> Version | None:
            if rest:
                _write(self._file, rest)
            if self._file is not None:
                self._file.close()
                self._file = None
            return self._place.tree.version_at(fs, self._path)

        self._sent += len(rest)
        # Some implementations send all of it only now.
        version = await self._connection.call(close, CALL_TIMEOUT + self._sent / SLOWEST_SEND)
        if version is None or version.size != self._sent:
            there = "none" if version is None else version.size
            raise StoreFailed(
                f"The destination has {there} of {self._sent} bytes; nothing was stored. "
                "Send it again"
            )
        return version

    async def _make_visible(
        self, key: str, version: Version, metadata: Metadata, old: Version | None
    ) -> Version:
        tree = self._place.tree
        try:
            return await self._connection.call(
                lambda fs: tree.publish(fs, self._path, key, version, metadata, old),
                PUBLISH_TIMEOUT,
            )
        except SluiceError:
            # Perhaps only the answer was lost.
            if self._connection.broken and await self._is_visible(key, version):
                return version
            raise

    async def _is_visible(self, key: str, version: Version) -> bool:
        """Whether this draft has become the object of the key."""
        tree, path = self._place.tree, self._place.tree.path(key)
        try:
            there, left = await self._place.connections.call(
                lambda fs: (tree.version_at(fs, path), tree.version_at(fs, self._path)),
                repeatable=True,
            )
        except SluiceError:
            return False
        return there is not None and there.etag == version.etag and left is None

    def _open(self, fs: Any) -> None:
        def create() -> Any:
            return fs.open(self._path, "wb", block_size=_own_buffer(fs))

        try:
            self._file = create()
            # Such a file would learn only at its end that its folder is missing.
            if isinstance(self._file, SpooledTemporaryFile):
                self._place.tree.prepare(fs)
        except FileNotFoundError:
            self._place.tree.prepare(fs)
            self._file = create()

    def _close_and_delete(self, fs: Any) -> None:
        file, self._file = self._file, None
        with suppress(Exception):  # bytes it can no longer write are not wanted
            if isinstance(file, SpooledTemporaryFile) and hasattr(file, "discard"):
                file.discard()  # sends nothing; its close would send all
            elif file is not None:
                file.close()
        self._delete_file(fs)

    def _delete_file(self, fs: Any) -> None:
        self._place.tree.drop_draft(fs, self._name)

    async def _flush(self) -> None:
        """Send what has gathered except its last byte, after the block before has arrived."""
        await self._wait_for_block()
        data = self._block.take(keep=1)
        self._sent += len(data)
        self._in_flight = asyncio.get_running_loop().create_task(self._send(data))

    async def _send(self, data: memoryview) -> None:
        try:
            await self._connection.call(lambda _: _write(self._file, data))
        except SluiceError as error:
            self._failure = error

    async def _wait_for_block(self) -> None:
        """Wait until no block is in flight. Raises the failure of a block."""
        if self._in_flight is not None:
            await asyncio.shield(self._in_flight)
            self._in_flight = None
        self._check()

    def _end(self) -> None:
        self._ended = True
        self._block.clear()
        self._connection.release()
        self._place.drafts.pop(self._name, None)

    def _check(self) -> None:
        if self._ended:
            raise StoreFailed("This draft has ended already")
        if self._failure is not None:
            raise self._failure


def _own_buffer(fs: Any) -> int | None:
    """None makes SFTP unbuffered. Others would gather megabytes that no budget counts."""
    return None if "sftp" in fs.protocol else OWN_BUFFER


def _write(file: Any, data: memoryview) -> None:
    """Write all of it."""
    set_pipelined: Callable[[bool], object] | None = getattr(file, "set_pipelined", None)
    if set_pipelined is None:
        while data:
            taken = file.write(data)
            data = data[taken if isinstance(taken, int) else len(data) :]
        return
    # SFTP: no request waits for the answer to the one before, but all answers are in before
    # anything else is asked. The client mixes up the answers for two files it waits for at once.
    set_pipelined(True)
    for at in range(0, len(data), SFTP_REQUEST):
        if at + SFTP_REQUEST >= len(data):
            set_pipelined(False)
        file.write(bytes(data[at : at + SFTP_REQUEST]))
