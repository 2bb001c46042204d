"""The kernel sends a file: from the page cache to the socket, without a copy in this process.

In worker threads, because a file that is not in the page cache blocks the thread that sends it.
Knows sockets and descriptors only.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from sluiceway.errors import StoreFailed, TooSlow
from sluiceway.pipe.cancellation import finish_all

__all__ = ["READER_TIMEOUT", "ZEROCOPY", "Sending", "reader_deadline", "until_written"]

# ASGI's name for it: of the message, and in a scope's "extensions".
ZEROCOPY = "http.response.zerocopysend"
READER_TIMEOUT = 300.0  # seconds a reader may take nothing at all
THREADS = 16
# Bytes of one system call at most, and of a turn when there are more readers than threads.
SEND_CHUNK = 64 << 20
# Milliseconds a thread waits for room in the socket. Slower readers wait on the event loop, where
# it costs no thread.
ROOM_WAIT = 20

_senders = ThreadPoolExecutor(THREADS, thread_name_prefix="sluiceway-send")
# Errors of some network and user-space file systems that have no sendfile.
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


@asynccontextmanager
async def reader_deadline() -> AsyncIterator[None]:
    """A deadline around a wait for the reader. Raises TooSlow."""
    try:
        async with asyncio.timeout(READER_TIMEOUT):
            yield
    except TimeoutError:
        raise TooSlow(f"The reader took nothing for {READER_TIMEOUT:g} seconds") from None


async def until_written(
    transport: asyncio.WriteTransport, drain: Callable[[], Awaitable[None]]
) -> None:
    """Wait until the transport holds nothing of what was written before.

    `drain` waits while the transport says that it holds too much. Raises TooSlow.
    """
    if not transport.get_write_buffer_size():
        return
    transport.set_write_buffer_limits(0)
    async with reader_deadline():
        await drain()
    if not transport.is_closing():
        transport.set_write_buffer_limits()


class Sending:
    """A part of a file on its way to a reader.

    The socket does not block, and nothing else writes to it.
    """

    asked: int = 0  # sendings of this process that have a thread or wait for one

    def __init__(self, sock: socket.socket, file: int, at: int, count: int) -> None:
        self._sock, self._file, self._at, self._end = sock, file, at, at + count

    def stop(self) -> None:
        """End it and the connection at once: `run` raises ConnectionError."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes the thread and the event loop alike

    async def run(self) -> None:
        """Send all of it.

        Raises ConnectionError when the reader is gone, TooSlow when it takes nothing any more,
        StoreFailed when the file has become shorter or cannot be read.
        """
        loop = asyncio.get_running_loop()
        self._cork(True)
        while True:
            Sending.asked += 1
            job = loop.run_in_executor(_senders, self._push)
            try:
                await asyncio.shield(job)
            except asyncio.CancelledError:
                self.stop()
                try:
                    await finish_all([job])  # the thread still uses both descriptors
                finally:
                    job.exception()
                raise
            finally:
                Sending.asked -= 1
            if self._at == self._end:
                self._cork(False)
                return
            await self._room()

    def _cork(self, full: bool) -> None:
        """Whether only full segments go out.

        That is a fifth more bytes a second, because a call of sendfile rarely ends with one.
        """
        if hasattr(socket, "TCP_CORK"):
            with suppress(OSError):  # no TCP
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, full)

    def _push(self) -> None:
        """In a thread: send until all is sent, the reader lags, or others wait for the thread."""
        room = select.poll()
        room.register(self._sock, select.POLLOUT)
        while self._at < self._end:
            try:
                sent = self._send(min(SEND_CHUNK, self._end - self._at))
                if not sent:
                    raise StoreFailed(
                        "A file became shorter while it was sent; its reader got no whole answer"
                    )
                self._at += sent
                if Sending.asked > THREADS:
                    return
            except BlockingIOError:
                if Sending.asked > THREADS or not room.poll(ROOM_WAIT):
                    return

    def _send(self, size: int) -> int:
        try:
            return os.sendfile(self._sock.fileno(), self._file, self._at, size)
        except (BlockingIOError, ConnectionError, TimeoutError):
            raise
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise _unreadable(error) from None
        try:
            data = os.pread(self._file, min(size, 64 << 10), self._at)
        except OSError as error:
            raise _unreadable(error) from None
        return self._sock.send(data) if data else 0

    async def _room(self) -> None:
        """Wait until the socket takes more. Raises TooSlow."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_writer(self._sock.fileno(), ready.set)
        try:
            async with reader_deadline():
                await ready.wait()
        finally:
            loop.remove_writer(self._sock.fileno())


def _unreadable(error: OSError) -> StoreFailed:
    return StoreFailed(
        f"A file could not be read ({error.strerror}); its reader got no whole answer"
    )
