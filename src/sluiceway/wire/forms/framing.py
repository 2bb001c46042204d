"""Finds where the parts of a multipart body begin and end (RFC 2046 5.1.1), however the bytes are
cut.

A boundary line is `--BOUNDARY`, perhaps white space, and CRLF; the last one has `--` behind the
boundary. It begins at the start of a line, also right behind the blank line of a part's head: such
a part has no bytes. Knows no names and no types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from sluiceway.errors import BadForm, TooLarge

__all__ = ["MOST_PADDING", "Framing", "HeaderLine", "Mark", "over_limit"]

# bytes of white space behind a boundary; mail adds them, in its lines (RFC 5322 2.1.1)
MOST_PADDING = 998

_CRLF = b"\r\n"
_PADDING = re.compile(rb"[ \t]*")
_WHITE = re.compile(rb"[ \t\r\n]*")


class Mark(Enum):
    HEAD_ENDED = 1
    PART_ENDED = 2
    FORM_ENDED = 3


class HeaderLine(bytes):
    """A header line of a part, without its CRLF, never empty."""


class _State(Enum):
    START = 1  # before the first boundary
    BOUNDARY = 2  # behind `--BOUNDARY`
    HEAD = 3
    FIRST = 4  # behind a head: a boundary may follow without a CRLF of its own
    PAYLOAD = 5
    EPILOGUE = 6  # behind the last boundary


class Framing:
    """`feed` yields payload as bytes, header lines and marks, in their order.

    A chunk that is payload as a whole is yielded as the same object. Raises BadForm, and TooLarge
    for a header line of more than `max_header_bytes`.
    """

    def __init__(
        self, boundary: bytes, max_header_bytes: int, max_preamble: int, max_epilogue: int
    ) -> None:
        self._line = b"--" + boundary
        self._delimiter = _CRLF + self._line
        self._max_header_bytes, self._max_preamble, self._max_epilogue = (
            max_header_bytes,
            max_preamble,
            max_epilogue,
        )
        self._state = _State.START
        self._in_part = False
        self._held = b""  # bytes that need more to be judged: less than a header line or a boundary
        self._epilogue = bytearray()  # at most max_epilogue
        self._base = 0  # offset in the body of the first byte that is held or arrives next
        self.at: int = 0  # at HEAD_ENDED: the offset in the body of the part's first byte

    @property
    def delimiter(self) -> bytes | None:
        """What ends the payload under way; None outside of payload, and while bytes are held."""
        return self._delimiter if self._state is _State.PAYLOAD and not self._held else None

    def skip(self, count: int) -> None:
        """`count` bytes of the payload under way went another way."""
        self._base += count

    @property
    def ended(self) -> bool:
        """Whether the last boundary has arrived."""
        return self._state is _State.EPILOGUE

    def feed(self, data: bytes) -> Iterator[bytes | HeaderLine | Mark]:
        """Yield what these bytes complete."""
        buffer, at = self._held + data if self._held else data, 0
        while True:
            before = self._state
            match before:
                case _State.PAYLOAD:
                    found = buffer.find(self._delimiter, at)
                    end = self._certain(buffer, at) if found < 0 else found
                    if end > at:
                        yield buffer[at:end]
                    at = end
                    if found >= 0:
                        at, self._state = found + len(self._delimiter), _State.BOUNDARY
                case _State.FIRST:
                    at = self._first_line(buffer, at)
                case _State.HEAD:
                    end = buffer.find(_CRLF, at)
                    if end < 0:
                        self._check_line(buffer[at:], whole=False)
                        break
                    line, begun = buffer[at:end], at
                    at = end + 2
                    if end > begun:
                        self._check_line(line, whole=True)
                        yield HeaderLine(line)
                        continue
                    self.at, self._state, self._in_part = self._base + at, _State.FIRST, True
                    yield Mark.HEAD_ENDED
                case _State.BOUNDARY:
                    at = self._behind_boundary(buffer, at)
                    if self._state is not before:
                        if self._in_part:
                            self._in_part = False
                            yield Mark.PART_ENDED
                        if self._state is _State.EPILOGUE:
                            yield Mark.FORM_ENDED
                case _State.START:
                    at = self._behind_preamble(buffer, at)
                case _State.EPILOGUE:
                    self._pass_epilogue(buffer[at:])
                    at = len(buffer)
            if self._state is before:
                break
        self._base += at
        self._held = buffer[at:]

    def _certain(self, buffer: bytes, at: int) -> int:
        """Return the end of the sure payload in a `buffer` without a delimiter."""
        tail = buffer.rfind(b"\r", max(at, len(buffer) - len(self._delimiter) + 1))
        return tail if tail >= 0 and self._delimiter.startswith(buffer[tail:]) else len(buffer)

    def _first_line(self, buffer: bytes, at: int) -> int:
        """Whether the head's own CRLF is the boundary's: App Engine writes empty parts in this
        way."""
        begun = buffer[at : at + len(self._line)]
        if begun == self._line:
            self._state = _State.BOUNDARY
            return at + len(begun)
        if not self._line.startswith(begun):
            self._state = _State.PAYLOAD
        return at

    def _behind_boundary(self, buffer: bytes, at: int) -> int:
        if buffer.startswith(b"--", at):
            self._state = _State.EPILOGUE
            return at + 2
        end = _end_of(_PADDING, buffer, at)
        rest = buffer[end : end + 2]
        if end - at > MOST_PADDING or not (_CRLF.startswith(rest) or (end == at and rest == b"-")):
            raise BadForm(
                "A boundary of the form is not followed by the end of its line or by --,"
                " or header and body name different "
                "boundaries; let a form library write both"
            )
        if rest != _CRLF:
            return at
        self._state = _State.HEAD
        return end + 2

    def _behind_preamble(self, buffer: bytes, at: int) -> int:
        """Refuse text before the first boundary.

        RFC 2046 lets mail write a sentence there. In a form it is a part whose boundary was
        misspelled, and it would be lost.
        """
        begin = _end_of(_WHITE, buffer, at)
        begun = buffer[begin : begin + len(self._line)]
        starts_line = begin == at or buffer.endswith(_CRLF, at, begin)
        if (
            begin - at > self._max_preamble
            or not self._line.startswith(begun)
            or (begun and not starts_line)
        ):
            raise BadForm(
                "The form does not begin with the boundary that its Content-Type names:"
                " header and body name different "
                "boundaries, or the first one is misspelled; let a form library write both"
            )
        if begun != self._line:
            return at
        self._state = _State.BOUNDARY
        return begin + len(begun)

    def _pass_epilogue(self, more: bytes) -> None:
        known = max(0, len(self._epilogue) - len(self._delimiter) - 1)
        self._epilogue += more
        if self._epilogue.find(self._delimiter + _CRLF, known) >= 0:
            raise BadForm(
                "Parts follow the last boundary of the form, and would be lost;"
                " write -- behind the last one only"
            )
        if len(self._epilogue) > self._max_epilogue:
            raise BadForm(
                f"More than {self._max_epilogue} bytes follow the last boundary; end the body there"
            )

    def _check_line(self, line: bytes, whole: bool) -> None:
        """Judge a line, whole or not, as it is judged when it arrives byte by byte."""
        most, feed = self._max_header_bytes, line.find(b"\n")
        # One more while it is not whole: its last byte may be the CR of its end.
        if (feed if feed >= 0 else len(line) if whole else len(line) - 1) > most:
            raise over_limit(
                most, "max_header_bytes", "A header line of the form is too long; shorten the names"
            )
        if feed >= 0 or (whole and (b"\r" in line or b"\0" in line)):
            raise BadForm(
                "A header of a part holds a NUL or a lone CR or LF;"
                " end each line with CRLF, write %0D and %0A in names"
            )
        if whole and line.startswith(self._line):
            raise BadForm(
                "A boundary of the form is followed by another;"
                ' each part needs Content-Disposition: form-data; name="…"'
            )


def over_limit(limit: int, limit_name: str, text: str) -> TooLarge:
    """Return the refusal of a form that costs more than it may."""
    return TooLarge(f"{text} (limit: {limit})", limit=limit, limit_name=limit_name)


def _end_of(white: re.Pattern[bytes], buffer: bytes, at: int) -> int:
    found = white.match(buffer, at)
    return at if found is None else found.end()
