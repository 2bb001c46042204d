"""Where the bytes of one request end, so that the next stays unparsed until the response is out.

Sans-IO: it counts and searches, the HTTP parser decides. If the two differ, the parser meets a
second request while one is under way, and `limits.py` refuses the connection.
"""

from __future__ import annotations

import re

__all__ = ["MessageEnd"]

_END = b"\r\n\r\n"  # of a head, of a last chunk, of trailers; the parser takes no bare LF
_HEAD, _CHUNKS = -1, -2
_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]{1,15})(?:;[^\r\n]{0,40})?\r\n")
MOST_LINE = 64  # bytes of a chunk's line; a longer one is searched with the rest
MOST_WALKED = 32  # chunks of one read whose sizes are followed; the rest is searched


class MessageEnd:
    """Gets what a request's head says; says how many of the next bytes may be parsed at once."""

    __slots__ = ("_chunk", "_line", "_missing", "_tail")

    def __init__(self) -> None:
        self._missing = _HEAD  # bytes of a body of known length; or what is being read
        self._chunk: int | None = None  # bytes up to the next chunk's line, None if unknown
        self._line = b""  # the beginning of that line, if a read ended within it
        # The last bytes that were passed on: an end may begin in one read and end in the next.
        self._tail = b""

    @property
    def missing(self) -> int | None:
        """Bytes of a body of known length; None where there is none, or it comes in chunks."""
        return self._missing if self._missing >= 0 else None

    def skip(self, count: int) -> None:
        """`count` bytes of the body went another way; at least one is left."""
        self._missing -= count

    def expect_head(self) -> None:
        self._missing, self._tail = _HEAD, b""

    def expect_body(self, length: int | None) -> None:
        """None: the body comes in chunks. With 0 bytes a head comes next."""
        self._missing = _CHUNKS if length is None else length or _HEAD
        self._chunk, self._line, self._tail = 0, b"", b""

    def within(self, data: bytes | bytearray, start: int) -> int:
        """Up to where `data` may be parsed from `start` on.

        Never beyond the end of the request's head or body.
        """
        if self._missing >= 0:
            stop = min(len(data), start + self._missing)
            self._missing = self._missing - (stop - start) or _HEAD
            return stop
        known = (
            start
            if self._missing == _HEAD or self._chunk is None
            else self._past_chunks(data, start, self._chunk)
        )
        stop = (
            len(data)
            if known == len(data)
            else self._next_end(data, known, self._tail if known == start else b"")
        )
        self._tail = (self._tail + data[max(start, stop - 3) : stop])[-3:]
        return stop

    def _past_chunks(self, data: bytes | bytearray, start: int, chunk: int) -> int:
        """Past all chunks whose sizes can be read: no end is within. A search costs 1 ns a byte."""
        at = start
        for _ in range(MOST_WALKED):
            at += chunk
            if at >= len(data):
                self._chunk = at - len(data)
                return len(data)
            line = self._line + data[at : at + MOST_LINE]
            found = _CHUNK_LINE.match(line)
            if b"\n" not in line and len(line) < MOST_LINE and at + MOST_LINE > len(data):
                self._chunk, self._line = 0, line
                return len(data)
            size = (
                0
                if found is None
                else int.from_bytes(bytes.fromhex(found[1].decode().zfill(16)), "big")
            )
            if found is None or not size:
                break
            at += found.end() - len(self._line)
            self._line, chunk = b"", size + 2
        self._chunk, self._line = None, b""
        return at

    def _next_end(self, data: bytes | bytearray, start: int, tail: bytes) -> int:
        early = (tail + data[start : start + 3]).find(_END)
        if early >= 0:
            return start + early + len(_END) - len(tail)
        first = data.find(_END, start)
        if first < 0:
            return len(data)
        # At 0 the beginning of the line before it may have been in an earlier read.
        if self._missing == _HEAD or start == 0:
            return first + len(_END)
        # Chunks end with a line that begins with 0, trailers and an empty line. To stop at every
        # empty line would be right as well, but slow for a text that has many.
        last = data.find(b"\n0", start - 1)
        behind = data.find(b"\n", last + 2) if last >= 0 else -1
        end = data.find(_END, behind - 1) if behind >= 0 else -1
        return end + len(_END) if end >= 0 else len(data)
