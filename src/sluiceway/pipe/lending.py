"""A sender's connection, lent to worker threads for the middle of a body: bytes go round the loop.

A source that can lends it (`Lender`), a sink that can draws from it (`Borrower`), in bursts of at
most `BURST` seconds. Between bursts the event loop counts, cancels and lets others have the thread.
Where others wait for a thread, no thread waits. A sender that falls silent goes back to the event
loop. Knows nothing of HTTP, or of who owns it.
"""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Protocol, TypeVar, runtime_checkable
from weakref import WeakKeyDictionary

from sluiceway.pipe.budget import Block
from sluiceway.pipe.worker_thread import Turns, in_thread

__all__ = [
    "SILENCE",
    "Borrower",
    "FileSending",
    "Lender",
    "LentConnection",
    "LentSocket",
    "Receiver",
    "Update",
    "readiness",
    "unseen",
]

LEAST = 4 << 20  # bytes that must be missing: below them a thread gains nothing
FAST_CHUNK = 64 << 10  # bytes; a chunk of this size marks a sender that a thread would not wait for
APART = 4 << 20  # bytes that come the ordinary way between two times that a connection is lent
BURST = 0.1  # seconds until a burst has ended, whatever the sender does
LAST_START = 0.06  # seconds after which `going` is false: a block that has begun becomes full
SHARE = 4 << 20  # bytes of a burst while others wait for the thread: turns are fair by bytes
SILENCE = 0.05  # seconds without a byte after which the connection goes back
SLOW_RATE = 2.5e6  # bytes a second while the thread waits; a slower sender needs no thread
PAUSE = 0.5  # seconds of silence where no thread waits for it: a sender may lack a processor, too
THREADS = 16

T = TypeVar("T")
Update = Callable[[memoryview], None]  # shows bytes to the taps, in the thread that drew them


def unseen(view: memoryview) -> None:
    """The `Update` of bytes that no tap looks at: they need not come into this process."""


_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sluiceway-lent")


class LentConnection(Protocol):
    """The connection of a sender, for some bytes. What a sink calls.

    The event loop's side is `turn` and, within it, `in_thread`; the thread calls `fill` while it is
    `going`.
    """

    # Seconds of the last burst in which the thread waited. A sink adds its own waits.
    destination_wait: float

    @property
    def sender_wait(self) -> float: ...

    @property
    def taken(self) -> int:
        """Bytes so far."""

    @property
    def ended(self) -> bool:
        """Nothing more comes this way: it is handed back."""

    # The event loop's side

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait until a thread is free; it is kept free until the end. First come, first served.

        Whatever else the burst needs is acquired before: who has a turn waits for nobody.
        """

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run one burst, within a turn. A caller that is cancelled waits for its end."""

    def limit(self, most: int) -> None:
        """Take at most `most` bytes more."""

    def watch(self, count: Callable[[int], None]) -> None:
        """Have `count` called after each burst, with the bytes that it took."""

    def hand_back(self) -> None:
        """The owner reads on behind what was taken. May be called twice, never during a burst."""

    # The thread's side

    @property
    def alone(self) -> bool:
        """Whether no other thread works: then a second one may help this one."""

    @property
    def crowded(self) -> bool:
        """Whether others wait for the thread: then it waits for no destination, either."""

    @property
    def going(self) -> bool:
        """Whether this burst may begin another block."""

    @property
    def seconds_left(self) -> float:
        """Seconds until this burst has to end: the bound of every wait in the thread."""

    def fill(self, buffer: Block | bytearray, start: int, stop: int) -> int:
        """Receive into `buffer[start:stop]` until it is full, and return the number of bytes.

        They are fewer when the burst is over. `ended` says that the sender paused or left, or has
        sent all that was lent.
        """


@runtime_checkable
class FileSending(LentConnection, Protocol):
    """A file as a lent connection: the kernel can send its bytes."""

    def send_to(self, sock: socket.socket) -> int:
        """In the thread, instead of `fill`: send what the socket takes now. Returns the bytes.

        Raises OSError, of the socket or the file, and where the system cannot do it.
        """


class Receiver(Protocol):
    """A socket, or a file that is read as one."""

    def fileno(self) -> int: ...

    def recv_into(self, view: memoryview, /) -> int: ...

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None: ...


class LentSocket:
    """A socket as a lent connection, for up to `most` bytes. The socket does not block.

    `handed_back` gets the number of bytes that were taken.
    """

    __slots__ = (
        "_before",
        "_begun",
        "_brought",
        "_dry",
        "_first",
        "_handed_back",
        "_left",
        "_over",
        "_poll",
        "_sock",
        "_turn_wait",
        "_turns",
        "_waited",
        "_watch",
        "busy",
        "destination_wait",
        "ended",
        "sender_wait",
        "taken",
    )

    def __init__(self, sock: Receiver, most: int, handed_back: Callable[[int], None]) -> None:
        self._sock, self._left, self._handed_back = sock, most, handed_back
        self._turns = _turns_of_loop()
        self._begun, self._before, self._over = 0.0, 0, False  # of the last burst
        self._first = True  # no block of the burst has begun
        self._poll: Callable[[float], object] | None = None
        self._watch: Callable[[int], None] | None = None
        self._turn_wait = 0.0  # seconds before the last burst, because of destinations
        self._dry = False  # the thread left, because others waited and no byte was there
        self._waited, self._brought = 0.0, 0  # for the sender, and meanwhile; of some bursts
        self.taken: int = 0
        self.busy: bool = False  # a thread draws from it now
        self.ended: bool = False
        self.sender_wait: float = 0.0
        self.destination_wait: float = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        self.sender_wait = 0.0
        if self._dry:
            await self._wait_without_thread()
        self._turn_wait = await self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release()

    async def in_thread(self, work: Callable[[], T]) -> T:
        def burst() -> T:
            self._begun = time.monotonic()  # now: on a busy machine the thread starts late
            return work()

        self.busy, self._first, self._over = True, True, False
        self._before, self.destination_wait = self.taken, 0.0
        try:
            return await in_thread(burst, _threads)
        finally:
            self.busy = False
            brought = self.taken - self._before
            if self._watch is not None:
                self._watch(brought)
            self._judge(brought)
            self._turns.note(time.monotonic() - self._begun, self.destination_wait)
            self.destination_wait += self._turn_wait

    def _judge(self, brought: int) -> None:
        """After a burst: end the lending where the sender is too slow for a thread."""
        self._waited += self.sender_wait
        self._brought += brought
        if self._waited > SILENCE:
            self.ended = self.ended or self._brought < SLOW_RATE * self._waited
            self._waited, self._brought = 0.0, 0
        if not (brought or self._dry or self.destination_wait):
            self.ended = True

    async def _wait_without_thread(self) -> None:
        """The sender had nothing when others waited for the thread: wait for it here."""
        began, self._dry = time.monotonic(), False
        if not await _readable(self._sock, PAUSE):
            self.ended = True
        self._waited_since(began)

    def limit(self, most: int) -> None:
        self._left = min(self._left, most)
        self.ended = self.ended or self._left <= 0

    def watch(self, count: Callable[[int], None]) -> None:
        self._watch = count

    def stop(self) -> None:
        """The owner has lost the connection: end the burst under way. From the event loop."""
        self.ended = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # else it would stay open while this one is

    def hand_back(self) -> None:
        self.ended = True
        if self._sock.fileno() >= 0:
            self._sock.close()
            self._handed_back(self.taken)

    @property
    def alone(self) -> bool:
        return self._turns.taken == 1

    @property
    def crowded(self) -> bool:
        return bool(self._turns.waiting)

    @property
    def going(self) -> bool:
        if self.ended or self._over:
            return False
        if self._first:  # a thread that lost its processor meanwhile brings what is there
            self._first = False
            return True
        if self.crowded and self.taken - self._before >= SHARE:
            return False
        return time.monotonic() - self._begun < LAST_START

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._begun + BURST - time.monotonic())

    def fill(self, buffer: Block | bytearray, start: int, stop: int) -> int:
        with memoryview(buffer) as whole, whole[start : min(stop, start + self._left)] as view:
            return self._fill(view)

    def _fill(self, view: memoryview) -> int:
        filled, most = 0, len(view)
        while filled < most and not self.ended:
            try:
                size = self._sock.recv_into(view[filled:])
            except BlockingIOError:
                if not self._wait():
                    break
                continue
            except OSError:  # a reset: the owner hears of it by its next read
                size = 0
            if not size:
                self.ended = True
                break
            filled += size
            self.taken += size
        self._left -= filled
        self.ended = self.ended or not self._left
        return filled

    def _waited_since(self, began: float) -> None:
        self.sender_wait += time.monotonic() - began

    def _wait(self) -> bool:
        """Wait for bytes. False: the burst is over."""
        if self._poll is None:
            self._poll = readiness(self._sock)
        bound = min(SILENCE, self.seconds_left)
        if not bound or self.crowded:
            self._over, self._dry = True, self.crowded
            return False
        began = time.monotonic()
        ready = self._poll(bound)
        self._waited_since(began)
        if not ready:
            self._over, self.ended = True, self.ended or bound == SILENCE
        return bool(ready)


@runtime_checkable
class Lender(Protocol):
    """A source whose bytes come from a connection that it may lend."""

    def lend(self) -> LentConnection | None:
        """Lend the connection behind the chunk that was yielded last; None where that cannot be.

        No chunk may be asked for before it is handed back.
        """


@runtime_checkable
class Borrower(Protocol):
    """A sink that can draw from a connection."""

    async def draw(self, lent: LentConnection, update: Update) -> bool:
        """Take the bytes of one burst, and show them to `update` in the thread, in order.

        Returns False when there is no memory for it: the ordinary way goes on. Raises as `write`
        does.
        """


_all_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


def _turns_of_loop() -> Turns:
    return _all_turns.setdefault(asyncio.get_running_loop(), Turns(THREADS))


async def _readable(sock: Receiver, seconds: float) -> bool:
    """Wait in the event loop until bytes are there. False: none came."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(sock.fileno(), ready.set)
    except NotImplementedError:  # Windows' own event loop: the thread waits
        return True
    try:
        async with asyncio.timeout(seconds):
            return await ready.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(sock.fileno())


def readiness(sock: Receiver, *, to_send: bool = False) -> Callable[[float], object]:
    """Return a wait of so many seconds for bytes, or for room to send some.

    It returns something true once the socket is ready. By poll: select knows 1024 descriptors.
    """
    if not hasattr(select, "poll"):  # Windows
        reads, writes = ([], [sock]) if to_send else ([sock], [])
        return lambda seconds: any(select.select(reads, writes, [], seconds))
    poll = select.poll()
    poll.register(sock, select.POLLOUT if to_send else select.POLLIN)
    return lambda seconds: poll.poll(seconds * 1000)
