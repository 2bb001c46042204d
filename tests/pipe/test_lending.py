"""A lent connection: bursts that end, senders that pause or leave, turns, and the pump's part."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from sluiceway.errors import TooLarge
from sluiceway.pipe import lending
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.hashes import digest_of
from sluiceway.pipe.lending import LentConnection, LentSocket, Update, unseen
from sluiceway.pipe.pump import pump
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.stages import CLIENT, QUEUE, Stages
from sluiceway.testing.store_suite import pattern

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A sender and what it is connected to, which does not block."""
    sender, receiver = socket.socketpair()
    receiver.setblocking(False)
    with sender, receiver:
        yield sender, receiver


@dataclass
class Sink:
    """A destination in memory that draws; blocks have 64 KiB."""

    data: bytearray = field(default_factory=bytearray)
    kept: int = 0
    draws: int = 0
    shown: list[bool] = field(default_factory=list)  # whether taps see what is drawn

    async def write(self, data: Buffer) -> None:
        self.data += data

    async def sync(self) -> int:
        return len(self.data)

    async def draw(self, lent: LentConnection, update: Update) -> bool:
        self.draws += 1
        self.shown.append(update is not unseen)

        def work() -> None:
            while lent.going:
                block = bytearray(64 << 10)
                view = memoryview(block)[: lent.fill(block, 0, len(block))]
                update(view)
                self.data += view

        async with lent.turn():
            await lent.in_thread(work)
        return True


class SocketSource:
    """Bytes of a socket, chunk by chunk in the event loop, or lent."""

    reopenable = False

    def __init__(self, sock: socket.socket, length: int, chunk: int = lending.FAST_CHUNK) -> None:
        self._sock, self.length, self._chunk = sock, length, chunk
        self._left = length
        self.lent: list[int] = []  # bytes of each lending

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        while self._left:
            size = min(self._chunk, self._left)
            data = await asyncio.get_running_loop().sock_recv(self._sock, size)
            if not data:
                return
            self._left -= len(data)
            yield data

    def lend(self) -> LentConnection | None:
        return LentSocket(self._sock.dup(), self._left - 1, self._back) if self._left > 1 else None

    def _back(self, taken: int) -> None:
        self._left -= taken
        self.lent.append(taken)


def sending(sock: socket.socket, data: bytes, close: bool = False) -> threading.Thread:
    def send() -> None:
        with suppress(OSError):
            sock.sendall(data)
            if close:
                sock.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def burst(sock: socket.socket, most: int, size: int, then: Callable[[LentSocket], None]) -> bytes:
    """What one `fill` of `size` bytes gets."""

    async def draw() -> bytes:
        lent = LentSocket(sock.dup(), most, lambda taken: None)
        got = bytearray(size)
        async with lent.turn():
            filled = await lent.in_thread(lambda: lent.fill(got, 0, size))
        then(lent)
        lent.hand_back()
        lent.hand_back()
        return bytes(got[:filled])

    return asyncio.run(draw())


def test_a_burst_takes_no_byte_beyond_what_was_lent(pair: Pair) -> None:
    pair[0].sendall(b"0123456789")
    assert burst(pair[1], 4, 100, lambda lent: none_left(lent, 4)) == b"0123"
    assert pair[1].recv(100) == b"456789"


def test_a_thread_that_lost_its_processor_brings_what_is_there(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its lending would end: the sender would seem to have paused."""
    monkeypatch.setattr(lending, "LAST_START", 0.0)
    pair[0].sendall(b"some")

    async def draw() -> list[int]:
        lent, got = LentSocket(pair[1].dup(), 8, lambda taken: None), bytearray(4)
        async with lent.turn():
            took = await lent.in_thread(
                lambda: [lent.fill(got, 0, 4) for _ in iter(lambda: lent.going, False)]
            )
        assert not lent.ended
        lent.hand_back()
        return took

    assert asyncio.run(draw()) == [4]


def none_left(lent: LentSocket, taken: int) -> None:
    assert (lent.ended, lent.taken) == (True, taken)


def test_silence_and_the_end_of_the_sender_end_the_lending(pair: Pair) -> None:
    pair[0].sendall(b"some")
    assert burst(pair[1], 100, 100, lambda lent: none_left(lent, 4)) == b"some"
    pair[0].close()
    assert burst(pair[1], 100, 100, lambda lent: none_left(lent, 0)) == b""


def test_a_trickle_holds_no_thread(pair: Pair) -> None:
    """A byte comes before each silence is over: the burst ends all the same, and the lending."""
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(lending.SILENCE / 5):
            pair[0].send(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    began = time.monotonic()
    got = burst(pair[1], 1 << 20, 1 << 20, lambda lent: none_left(lent, lent.taken))
    stop.set()
    thread.join()
    assert 1 <= len(got) < 1000
    assert time.monotonic() - began < 50 * lending.BURST


@pytest.mark.parametrize("algorithms", [("sha-256",), ()])
def test_the_pump_lends_and_goes_on_with_the_last_byte(
    pair: Pair, algorithms: tuple[str, ...]
) -> None:
    """The thread is told where no tap looks at the bytes."""
    data = pattern(3 << 20)
    thread = sending(pair[0], data)

    async def copy() -> tuple[Sink, SocketSource, dict[str, bytes]]:
        sink, source, digests = Sink(), SocketSource(pair[1], len(data)), Digests(algorithms)
        assert await pump(source, sink, taps=[digests]) == len(data)
        return sink, source, await digests.finish()

    sink, source, found = asyncio.run(copy())
    thread.join()
    assert bytes(sink.data) == data
    assert sum(source.lent) > len(data) // 2
    assert found == {name: digest_of(name, data) for name in algorithms}
    assert set(sink.shown) == {bool(algorithms)}


def test_no_byte_beyond_the_limit_is_drawn(pair: Pair) -> None:
    """The limit lies within a block: the sink gets what is before it, then TooLarge is raised."""
    data, limit = pattern(2 << 20), (1 << 20) + 12345
    thread = sending(pair[0], data)

    async def copy(sink: Sink, source: SocketSource) -> None:
        await pump(source, sink, limit=limit)

    sink, source = Sink(), SocketSource(pair[1], len(data))
    with pytest.raises(TooLarge):
        asyncio.run(copy(sink, source))
    pair[1].close()
    thread.join()
    assert sum(source.lent) > 0
    assert bytes(sink.data) == data[:limit]


@dataclass
class Counters:
    watched: bool = False
    received: int = 0
    forwarded: int = 0
    kept: int = 0


def test_what_a_burst_brought_counts_also_if_it_was_cancelled_meanwhile(pair: Pair) -> None:
    """A cancelled sender learns how much arrived: everything that was taken from its connection."""
    meter, cancelled = Counters(), threading.Event()
    data = bytes(lending.FAST_CHUNK + lending.LEAST)

    async def main() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def cancel() -> None:
            assert task is not None
            task.cancel()
            cancelled.set()

        class Cancelling(Sink):
            async def draw(self, lent: LentConnection, update: Update) -> bool:
                def work() -> None:
                    block = bytearray(64 << 10)
                    self.data += memoryview(block)[: lent.fill(block, 0, len(block))]
                    loop.call_soon_threadsafe(cancel)
                    assert cancelled.wait(60)

                async with lent.turn():
                    await lent.in_thread(work)
                return True

        sink = Cancelling()
        with pytest.raises(asyncio.CancelledError):
            await pump(SocketSource(pair[1], len(data)), sink, meter=meter)
        return len(sink.data)

    thread = sending(pair[0], data)
    try:
        came = asyncio.run(main())
    finally:
        pair[1].close()
        thread.join()

    assert cancelled.is_set()
    assert meter.received == came > lending.FAST_CHUNK


def test_slow_chunks_and_chunks_behind_a_lending_come_as_before(pair: Pair) -> None:
    data = pattern(1 << 20)
    thread = sending(pair[0], data)

    async def copy(sink: Sink, source: SocketSource) -> None:
        await pump(source, sink)

    sink, source = Sink(), SocketSource(pair[1], len(data), lending.FAST_CHUNK - 1)
    asyncio.run(copy(sink, source))
    thread.join()
    assert (bytes(sink.data), source.lent) == (data, [])


def test_turns_come_in_order_and_a_cancelled_one_is_passed_on() -> None:
    async def take_turns() -> list[int]:
        sockets = [socket.socketpair() for _ in range(lending.THREADS + 3)]
        order: list[int] = []
        free = asyncio.Event()

        async def turn(number: int) -> None:
            lent = LentSocket(sockets[number][0], 1, lambda taken: None)
            async with lent.turn():
                order.append(number)
                await free.wait()

        tasks = [asyncio.create_task(turn(number)) for number in range(len(sockets))]
        await asyncio.sleep(0.01)
        assert order == list(range(lending.THREADS))
        tasks[lending.THREADS].cancel()
        free.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in sockets:
            each[0].close()
            each[1].close()
        return order

    expected = [*range(lending.THREADS), lending.THREADS + 1, lending.THREADS + 2]
    assert asyncio.run(take_turns()) == expected


def test_where_others_wait_for_a_thread_a_paused_sender_holds_none() -> None:
    """Its burst ends at once; it is waited for without a thread, and not sent back meanwhile."""

    async def take_turns(pairs: list[Pair]) -> tuple[int, bool, int, bool]:
        for _, receiver in pairs:
            receiver.setblocking(False)
        paused, *others = (LentSocket(pair[1], 100, lambda taken: None) for pair in pairs)
        free, got = asyncio.Event(), bytearray(4)

        async def hold(lent: LentSocket) -> None:
            async with lent.turn():
                await free.wait()

        async with paused.turn():
            holding = [asyncio.create_task(hold(lent)) for lent in others]
            await asyncio.sleep(0)
            nothing = await paused.in_thread(lambda: paused.fill(got, 0, 4))
        lent_on = not paused.ended
        free.set()
        await asyncio.gather(*holding)
        later = asyncio.get_running_loop().call_later(0.1, pairs[0][0].sendall, b"late")
        async with paused.turn():
            some = await paused.in_thread(lambda: paused.fill(got, 0, 4))
        later.cancel()
        return nothing, lent_on, some, paused.sender_wait > 0.05

    pairs = [socket.socketpair() for _ in range(lending.THREADS + 1)]
    assert asyncio.run(take_turns(pairs)) == (0, True, 4, True)
    for pair in pairs:
        pair[0].close()
        pair[1].close()


def test_time_moves_between_stages_and_the_sum_stays() -> None:
    stages = Stages()
    time.sleep(0.01)
    stages.move(QUEUE, CLIENT, 0.004)
    stages.move(QUEUE, CLIENT, 1000.0)  # no more than there is
    spent = stages.spent()
    assert spent[CLIENT] >= 0.01
    assert 0 <= spent[QUEUE] < spent[CLIENT]
