"""multipart/form-data bodies to events. The framing is the `multipart` package's; header lines, limits, the bytes before
the first boundary and behind the last are ours, so that the outcome never depends on how the bytes were cut.

Knows bytes only: who feeds it, where parts go and whether names are safe is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from multipart import _COMPLETE, MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from sluiceway.errors import BadForm, BodyCut, DigestMismatch, SluiceError, TooLarge
from sluiceway.pipe.hashes import CHECKED
from sluiceway.wire.encodings import TransferDecoder
from sluiceway.wire.partheads import form_boundary, read_part_head

__all__ = ["PART_COST", "Event", "FormDecoder", "FormEnded", "FormLimits", "PartBegan", "PartData", "PartEnded"]

PART_COST = 256  # bytes a part is charged besides its header lines: what Python needs to remember it exists


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What one form may cost. Files are not limited here; fields and headers are what a server must hold in memory."""

    max_parts: int = 1000  # Werkzeug's and Starlette's default; beyond it the cost is in objects, not bytes
    max_headers: int = 16  # header lines in a part; RFC 7578 knows three
    max_header_bytes: int = 8192  # one header line; nginx's and Apache's size, a 255-letter name encoded twice fits
    max_field_bytes: int = 1 << 20  # one field as sent; more is a file: send it with a filename
    max_fields_bytes: int = 4 << 20  # all fields, all header lines and PART_COST for each part together
    max_preamble: int = 4096  # RFC 2046 allows text before the first boundary; mail wrote a sentence, browsers nothing
    max_epilogue: int = 4096  # and behind the last; a CRLF is usual


@dataclass(frozen=True, slots=True)
class PartBegan:
    """`filename` None is a field; "" is a browser's file input left empty. Names are as sent, not yet safe."""

    name: str
    filename: str | None
    type: str
    at: int | None = field(default=None, compare=False)  # offset of its bytes in the body; None where they are coded


@dataclass(frozen=True, slots=True)
class PartData:
    """Bytes of the part that began last, never empty; the very object that was fed where all of it is payload."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnded:
    """All bytes of the part are out."""


@dataclass(frozen=True, slots=True)
class FormEnded:
    """The last boundary came. Only `close` without an error says that the whole body was right."""


Event = PartBegan | PartData | PartEnded | FormEnded

_PART_ENDED = PartEnded()


class _Framing(PushMultipartParser):  # type: ignore[misc]  # the package ships no types
    """Boundaries from the package; header lines go to us, unread: its reading of them is lenient, and not linear."""

    def __init__(self, boundary: bytes, max_header_bytes: int, take_line: Callable[[bytes], None]) -> None:
        # One more than the limit: the package counts the CR of a line whose LF has not come yet.
        super().__init__(boundary, max_header_size=max_header_bytes + 1)
        self._take_line = take_line

    def _on_segment_headerline(self, line: bytes) -> None:
        self._take_line(line)

    def _create_segment(self, headerlist: object) -> MultipartSegment:
        return MultipartSegment([])

    @property
    def held(self) -> bytes:
        """Bytes fed and not yet understood; once complete, those behind the last boundary."""
        held: bytes = self._buffer
        return held

    @property
    def complete(self) -> bool:
        return self._state is _COMPLETE


class _Part:
    """The part under way."""

    __slots__ = ("checks", "decoder", "is_field", "left", "size")

    def __init__(self, is_field: bool, decoder: TransferDecoder | None, left: int | None, expected: Mapping[str, bytes]) -> None:
        self.is_field = is_field
        self.decoder = decoder
        self.left = left  # raw bytes its Content-Length still allows
        self.size = 0  # raw bytes, counted for fields
        self.checks = [(name, value, CHECKED[name]()) for name, value in expected.items()]

    def check(self, data: bytes) -> bytes:
        """Decoded bytes on their way out."""
        for _, _, running in self.checks:
            running.update(data)
        return data

    def check_end(self) -> None:
        """Raises DigestMismatch unless the part's bytes have the digests that its own head names."""
        wrong = [name for name, value, running in self.checks if running.digest() != value]
        if wrong:
            raise DigestMismatch(
                f"A part of the form does not have the {wrong[0]} digest in its head; nothing was stored. Send it again",
                mismatched_digests=[{"algorithm": name} for name in wrong],
            )


class FormDecoder:
    """feed() bytes as they come, close() at the end of the body; after an error both raise it again.

    Raises on construction and later: BadForm, BodyCut (close before the last boundary), TooLarge (members `limit` and
    `limit_name`, a field of FormLimits), Unsupported. Events found in the feed that raises are lost with it.
    """

    def __init__(self, content_type: str, limits: FormLimits = FormLimits()) -> None:
        boundary = form_boundary(content_type)
        self._limits = limits
        self._first = b"--" + boundary
        self._at = len(self._first) + 2  # offset in the body behind the last line, boundary or payload that was understood
        self._front: bytearray | None = bytearray()  # what came before the first boundary; None once it was found
        self._framing = _Framing(boundary, limits.max_header_bytes, self._take_line)
        self._lines: list[bytes] = []
        self._parts = 0
        self._left = limits.max_fields_bytes
        self._part: _Part | None = None
        self._epilogue: int | None = None  # bytes behind the last boundary; None before it
        self._failure: SluiceError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events these bytes complete. An empty feed is nothing."""
        if self._failure:
            raise self._failure
        held = self._framing.held
        try:
            return self._events(data) if data else []
        except MultipartError as error:
            self._failure = self._meaning_of(error, held + data)
            raise self._failure from error
        except SluiceError as error:
            self._failure = error
            raise

    def close(self) -> list[Event]:
        """The body is over. Raises BodyCut unless the last boundary came; returns nothing more today."""
        if self._failure:
            raise self._failure
        if self._epilogue is None:
            where = "inside a part" if self._part else "between two parts" if self._parts else "before its first part"
            self._failure = BodyCut(f"The form ended {where}, without its last boundary; send it again")
            raise self._failure
        return []

    def size_if_last(self, part: PartBegan, total: int | None) -> int | None:
        """Bytes a part of a form of `total` bytes has when no other part follows it and the form ends as they all end."""
        if total is None or part.at is None:
            return None
        size = total - part.at - len(b"\r\n%s--\r\n" % self._first)
        return size if size >= 0 else None

    def _events(self, data: bytes) -> list[Event]:
        if self._epilogue is not None:
            self._pass_epilogue(len(data))
            return []
        if self._front is not None:
            data = self._behind_preamble(self._front, data)
            if not data:
                return []
        events: list[Event] = []
        for item in self._framing.parse(data):
            if type(item) is bytes:
                payload = self._payload(item)
                if payload:
                    events.append(PartData(payload))
            elif item is None:
                rest = self._end_part()
                if rest:
                    events.append(PartData(rest))
                events.append(_PART_ENDED)
            else:
                events.append(self._begin_part())
        if self._framing.complete:
            self._epilogue = 0
            self._pass_epilogue(len(self._framing.held))
            events.append(FormEnded())
        return events

    def _behind_preamble(self, front: bytearray, data: bytes) -> bytes:
        """Everything from the first boundary on, empty while it has not come.

        The package forgets a preamble as it goes, and would then take a boundary in the middle of a line for the first.
        """
        first = self._first
        if not front and data.startswith(first):
            self._front = None
            return data  # the usual form: nothing before its first boundary
        searched = max(len(front) - len(first) - 1, 0)
        front += data
        at = 0 if front.startswith(first) else front.find(b"\r\n" + first, searched)
        earliest = len(front) - len(first) + 1  # where it may still begin when it has not come
        if at >= 0:
            at = earliest = 0 if front.startswith(first) else at + 2
        if earliest > self._limits.max_preamble:
            raise BadForm(
                f"The boundary named in Content-Type does not come in the first {self._limits.max_preamble} bytes; "
                "let the form library write both"
            )
        if at < 0:
            return b""
        if front[:at].strip(b" \t\r\n"):
            # RFC 2046 lets mail write a sentence there. In a form it is a part whose boundary was misspelled.
            raise BadForm(
                "Something stands before the first boundary of the form, and would be lost; is that boundary misspelled? "
                "Let a form library write the body"
            )
        self._front = None
        self._at += at
        return bytes(front[at:])

    def _pass_epilogue(self, size: int) -> None:
        self._epilogue = (self._epilogue or 0) + size
        if self._epilogue > self._limits.max_epilogue:
            raise BadForm(f"More than {self._limits.max_epilogue} bytes follow the last boundary; end the body there")

    def _take_line(self, line: bytes) -> None:
        limits = self._limits
        self._check_line_end(line)
        if len(self._lines) >= limits.max_headers:
            raise _too_large(limits.max_headers, "max_headers", "A part of the form has too many header lines")
        self._spend(len(line) + 2)
        self._at += len(line) + 2
        self._lines.append(line)

    def _check_line_end(self, line: bytes) -> None:
        """Says the same of a line, whole or not, that the package says when it sees it byte by byte."""
        most = self._limits.max_header_bytes
        feed = line.find(b"\n")
        if (len(line) if feed < 0 else feed) > most:
            raise _too_large(most, "max_header_bytes", "A header line of the form is too long; shorten the names")
        if feed >= 0 or b"\r" in line or b"\0" in line:
            raise BadForm(
                "A header of a part holds a NUL or a lone CR or LF; end each line with CRLF, write %0D and %0A in names"
            )

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise self._fields_too_large()

    def _begin_part(self) -> PartBegan:
        limits = self._limits
        self._parts += 1
        if self._parts > limits.max_parts:
            raise _too_large(limits.max_parts, "max_parts", "The form has too many parts; send several forms")
        lines, self._lines = self._lines, []
        head = read_part_head(lines)
        self._spend(PART_COST)
        is_field = head.filename is None
        if is_field and head.length is not None and head.length > min(limits.max_field_bytes, self._left):
            raise self._field_too_large(0)
        self._part = _Part(is_field, head.decoder, head.length, head.expected)
        self._at += 2
        return PartBegan(head.name, head.filename, head.type, None if head.decoder else self._at)

    def _payload(self, raw: bytes) -> bytes:
        part = self._part
        if part is None:  # the package yields payload only inside a part
            raise BadForm("Bytes of a part came outside of any part")
        self._at += len(raw)
        if part.left is not None:
            part.left -= len(raw)
            if part.left < 0:
                raise BadForm("A part is longer than its own Content-Length; leave that header out")
        if not part.is_field:
            return part.check(part.decoder.feed(raw) if part.decoder else raw)
        # What lies within the limit is looked at first: byte by byte, its faults would have been found first.
        allowed = min(self._limits.max_field_bytes - part.size, self._left)
        taken = raw[:allowed]
        part.size += len(taken)
        self._left -= len(taken)
        decoded = part.decoder.feed(taken) if part.decoder else taken
        if len(raw) > allowed:
            raise self._field_too_large(part.size)
        return part.check(decoded)

    def _end_part(self) -> bytes:
        part, self._part = self._part, None
        if part is None:
            return b""
        self._at += len(self._first) + 4
        if part.left:
            raise BadForm("A part is shorter than its own Content-Length; leave that header out")
        rest = part.check(part.decoder.close() if part.decoder else b"")
        part.check_end()
        return rest

    def _field_too_large(self, size: int) -> TooLarge:
        most = self._limits.max_field_bytes
        if most - size <= self._left:
            return _too_large(most, "max_field_bytes", "A field of the form is too long; send it as a file, with a filename")
        return self._fields_too_large()

    def _fields_too_large(self) -> TooLarge:
        most = self._limits.max_fields_bytes
        return _too_large(most, "max_fields_bytes", "The form's fields and headers are too long together; send files or less")

    def _meaning_of(self, error: MultipartError, unread: bytes) -> SluiceError:
        """The package's error in our words. `unread` is what it held and what it was fed, with the fault inside."""
        if isinstance(error, ParserLimitReached):
            return _too_large(
                self._limits.max_header_bytes,
                "max_header_bytes",
                "A header line of the form is too long; shorten the names",
            )
        if "line break in segment header" in str(error):
            # No CRLF follows the line at fault, so it begins behind the last one.
            try:
                self._check_line_end(unread[unread.rfind(b"\r\n") + 2 :] if b"\r\n" in unread else unread)
            except SluiceError as meaning:
                return meaning
        return BadForm("A boundary of the form is not followed by CRLF or --; let a form library write the body")


def _too_large(limit: int, limit_name: str, text: str) -> TooLarge:
    return TooLarge(f"{text} (limit: {limit})", limit=limit, limit_name=limit_name)
