"""A lent connection whose bytes are one file of a form: the thread finds where the file ends.

The whole delimiter is searched in each block, where it was received: a prefix of it would be four
times slower. What may begin the delimiter is held until more has come. What stands
behind the file goes back to the form's decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from sluiceway.pipe.budget import Block
from sluiceway.pipe.lending import LentConnection
from sluiceway.wire.forms.search import find

__all__ = ["LentFile"]

T = TypeVar("T")


class LentFile:
    """The file's bytes of `lent`, up to `delimiter`.

    `received` gets the bytes of each burst, whatever they are. `handed_back` gets the number of the
    file's bytes that were taken, and those that were received behind them.
    """

    __slots__ = (
        "_delimiter",
        "_found",
        "_handed_back",
        "_held",
        "_left",
        "_lent",
        "_received",
        "_watch",
        "taken",
    )

    def __init__(
        self,
        lent: LentConnection,
        delimiter: bytes,
        received: Callable[[int], None],
        handed_back: Callable[[int, bytes], None],
    ) -> None:
        self._lent, self._delimiter = lent, delimiter
        self._received = received
        self._handed_back: Callable[[int, bytes], None] | None = handed_back
        self._held = b""  # received and not given: less than two delimiters while none is found
        self._found = False  # all bytes of the file were given
        self._left: int | None = None
        self._watch: Callable[[int], None] | None = None
        self.taken: int = 0

    @property
    def ended(self) -> bool:
        return self._found or self._left == 0 or self._lent.ended

    @property
    def sender_wait(self) -> float:
        return self._lent.sender_wait

    @property
    def destination_wait(self) -> float:
        return self._lent.destination_wait

    @destination_wait.setter
    def destination_wait(self, seconds: float) -> None:
        self._lent.destination_wait = seconds

    def turn(self) -> AbstractAsyncContextManager[None]:
        return self._lent.turn()

    async def in_thread(self, work: Callable[[], T]) -> T:
        before, of_file = self._lent.taken, self.taken
        try:
            return await self._lent.in_thread(work)
        finally:
            self._received(self._lent.taken - before)
            if self._watch is not None:
                self._watch(self.taken - of_file)

    def limit(self, most: int) -> None:
        self._left = most if self._left is None else min(self._left, most)

    def watch(self, count: Callable[[int], None]) -> None:
        self._watch = count

    def hand_back(self) -> None:
        self._lent.hand_back()
        handed_back, self._handed_back = self._handed_back, None
        if handed_back is not None:
            handed_back(self.taken, self._held)

    @property
    def alone(self) -> bool:
        return self._lent.alone

    @property
    def crowded(self) -> bool:
        return self._lent.crowded

    @property
    def going(self) -> bool:
        return not self.ended and self._lent.going

    @property
    def seconds_left(self) -> float:
        return self._lent.seconds_left

    def fill(self, buffer: Block | bytearray, start: int, stop: int) -> int:
        if self._left is not None:
            stop = min(stop, start + self._left)
        filled = 0
        while start + filled < stop and not self._found:
            more = self._fill(buffer, start + filled, stop)
            filled += more
            if not more or not self._lent.going:
                break
        self.taken += filled
        if self._left is not None:
            self._left -= filled
        return filled

    def _fill(self, buffer: Block | bytearray, start: int, stop: int) -> int:
        """Give what is sure to be the file's; returns the number of bytes, 0 if none came."""
        if stop - start < 2 * len(self._delimiter):
            return self._fill_little(buffer, start, stop)
        begin = start + len(self._held)
        buffer[start:begin] = self._held
        end = begin + self._lent.fill(buffer, begin, stop)
        sure = self._find(buffer, start, end)
        self._held = bytes(buffer[sure:end])
        return sure - start

    def _fill_little(self, buffer: Block | bytearray, start: int, stop: int) -> int:
        """As `_fill`, where a delimiter might not fit: by way of a buffer in which it does."""
        end, room = len(self._held), bytearray(self._held)
        if end < len(self._delimiter):
            room += bytes(len(self._delimiter))
            end += self._lent.fill(room, end, len(room))
        sure = self._find(room, 0, end)
        size = min(sure, stop - start)
        buffer[start : start + size] = room[:size]
        self._found = self._found and size == sure
        self._held = bytes(room[size:end])
        return size

    def _find(self, buffer: Block | bytearray, start: int, end: int) -> int:
        """The end of what is sure to be the file's: where the delimiter begins, or may begin."""
        found = find(buffer, self._delimiter, start, end)
        if found >= 0:
            self._found = True
            return found
        tail = buffer.rfind(b"\r", max(start, end - len(self._delimiter) + 1), end)
        if tail >= 0 and self._delimiter.startswith(bytes(buffer[tail:end])):
            return tail
        return end
