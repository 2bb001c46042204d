"""Where the bytes of one request end, so that what a client sent behind it stays unparsed until its answer is complete.

Sans-IO: it counts and searches, the HTTP parser decides. Were the two ever to differ, the parser would meet a second request
while one is under way, and the connection is refused.
"""

from __future__ import annotations

__all__ = ["MessageEnd"]

_END = b"\r\n\r\n"  # of a head, of a last chunk, of trailers; the parser takes no bare LF
_HEAD, _CHUNKS = -1, -2


class MessageEnd:
    """Told what a request's head says; asked how many of the bytes at hand may be parsed before somebody looks again."""

    __slots__ = ("_missing", "_tail")

    def __init__(self) -> None:
        self._missing = _HEAD  # bytes of a body of known length; or what is being read
        self._tail = b""  # the last bytes that were passed on: an end may begin in one read and end in the next

    @property
    def in_head(self) -> bool:
        return self._missing == _HEAD

    def expect_head(self) -> None:
        self._missing, self._tail = _HEAD, b""

    def expect_body(self, length: int | None) -> None:
        """None: it comes in chunks. A body of 0 bytes is none: the next is a head."""
        self._missing = _CHUNKS if length is None else length or _HEAD
        self._tail = b""

    def within(self, data: bytes | bytearray, start: int) -> int:
        """Up to where `data` may be parsed from `start` on. It is never beyond the end of the request's head or body."""
        if self._missing >= 0:
            stop = min(len(data), start + self._missing)
            self._missing = self._missing - (stop - start) or _HEAD
            return stop
        stop = self._next_end(data, start)
        self._tail = (self._tail + data[max(start, stop - 3) : stop])[-3:]
        return stop

    def _next_end(self, data: bytes | bytearray, start: int) -> int:
        early = (self._tail + data[start : start + 3]).find(_END)
        if early >= 0:
            return start + early + len(_END) - len(self._tail)
        first = data.find(_END, start)
        if first < 0:
            return len(data)
        if self._missing == _HEAD or start == 0:  # how the line before it began may have been in an earlier read
            return first + len(_END)
        # Chunks end with a line that begins with 0, trailers and an empty line. To stop at every empty line would be right as
        # well, but slow for a text that has many.
        last = data.find(b"\n0", start - 1)
        behind = data.find(b"\n", last + 2) if last >= 0 else -1
        end = data.find(_END, behind - 1) if behind >= 0 else -1
        return end + len(_END) if end >= 0 else len(data)
