"""Decodes multipart/form-data to events: the parts, what they cost, and whether the whole body was
right.

The outcome never depends on how the bytes were cut. Knows bytes only: its caller decides where
parts go and whether names are safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sluiceway.errors import BadForm, BodyCut, DigestMismatch, SluiceError, TooLarge
from sluiceway.pipe.hashes import new_hash
from sluiceway.wire.forms.charsets import CHARSET_FIELD, MOST_CHARSET, field_text, form_charset
from sluiceway.wire.forms.framing import Framing, HeaderLine, Mark, over_limit
from sluiceway.wire.forms.part_headers import form_boundary, read_part_head, refuse_coding
from sluiceway.wire.forms.transfer_encodings import TransferDecoder
from sluiceway.wire.headers.digests import mismatched_digest

__all__ = [
    "PART_COST",
    "Event",
    "FormDecoder",
    "FormEnded",
    "FormLimits",
    "PartBegan",
    "PartData",
    "PartEnded",
]

PART_COST = 256  # bytes that a part costs besides its header lines: the Python objects of it


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What one form may cost. A server holds fields and headers in memory; files are not limited
    here."""

    # Werkzeug's and Starlette's default; beyond it the cost is in objects, not bytes
    max_parts: int = 1000
    max_headers: int = 16  # header lines in a part; RFC 7578 knows three
    # one header line; nginx's and Apache's size, a 255-letter name encoded twice fits
    max_header_bytes: int = 8192
    # one field as sent; a larger one is a file: send it with a filename
    max_field_bytes: int = 1 << 20
    # all fields, all header lines and PART_COST for each part together
    max_fields_bytes: int = 4 << 20
    max_preamble: int = 4096  # white space before the first boundary; browsers write none
    max_epilogue: int = 4096  # bytes behind the last one; a CRLF is usual
    # What frameworks count besides; None where they set no limit.
    max_fields: int | None = None
    max_files: int | None = None
    # names and values of all fields as Django counts them: two bytes more for each
    max_values_bytes: int | None = None
    # Whether a part may have a Content-Encoding. Who keeps bytes alone forgets it, and the file
    # would be another one.
    coded: bool = True

    @classmethod
    def of(cls, max_parts: int, max_field_bytes: int) -> FormLimits:
        """Return the limits for two settings; the total of all fields and heads grows with them."""
        usual = cls()
        more_parts = max(0, max_parts - usual.max_parts) * (
            PART_COST + 256
        )  # a usual part's head has 100 to 200 bytes
        fields = max(usual.max_fields_bytes, 4 * max_field_bytes)
        return cls(
            max_parts=max_parts,
            max_field_bytes=max_field_bytes,
            max_fields_bytes=fields + more_parts,
        )


@dataclass(frozen=True, slots=True)
class PartBegan:
    """A part begins. `filename` None is a field; "" is a file input that was left empty.

    Names are as sent, not yet safe.
    """

    name: str
    filename: str | None
    type: str
    at: int | None = field(
        default=None, compare=False
    )  # offset of its bytes in the body; None where they are coded
    charset: str | None = field(
        default=None, compare=False
    )  # the codec of the form, where an earlier part named it
    lines: tuple[bytes, ...] = field(default=(), compare=False)  # its header lines as sent

    def text(self, value: bytes) -> str:
        """Return the value of a field. Every byte of it is text: no replacement characters."""
        return field_text(value, self.type, self.charset)


@dataclass(frozen=True, slots=True)
class PartData:
    """Bytes of the part that began last, never empty.

    A chunk that is payload as a whole is the same object that was fed.
    """

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnded:
    """The part is complete."""


@dataclass(frozen=True, slots=True)
class FormEnded:
    """The last boundary has arrived. Only `close` without an error means a complete body."""


Event = PartBegan | PartData | PartEnded | FormEnded

_PART_ENDED = PartEnded()


class _Part:
    """The part under way."""

    __slots__ = ("charset", "checks", "decoder", "is_field", "left", "size")

    def __init__(
        self,
        is_field: bool,
        decoder: TransferDecoder | None,
        left: int | None,
        expected: Mapping[str, bytes],
        charset: bytearray | None,
    ) -> None:
        self.is_field = is_field
        self.decoder = decoder
        self.left = left  # raw bytes its Content-Length still allows
        self.size = 0  # raw bytes, counted for fields
        self.charset = charset  # the beginning of what `_charset_` holds; None in any other part
        self.checks = [(name, value, new_hash(name)) for name, value in expected.items()]

    def check(self, data: bytes) -> bytes:
        """Decode payload, count it, and return its events."""
        for _, _, running in self.checks:
            running.update(data)
        if self.charset is not None:
            self.charset += data[: MOST_CHARSET - len(self.charset)]
        return data

    def check_end(self) -> None:
        """Raises DigestMismatch unless the part's bytes have the digests that its head names."""
        wrong = [(name, value) for name, value, running in self.checks if running.digest() != value]
        if wrong:
            raise DigestMismatch(
                f"A part of the form does not have the {wrong[0][0]} digest in its head;"
                " nothing was stored. Send it again",
                mismatched_digests=[mismatched_digest(*each) for each in wrong],
            )


class FormDecoder:
    """feed() bytes as they arrive, close() at the end of the body; after an error both raise it
    again.

    Raises, on construction and later: BadForm (also by `close` before the last boundary),
    Unsupported, and TooLarge with the members `limit` and `limit_name`, a field of FormLimits.
    Events in the feed that raises are lost.
    """

    def __init__(self, content_type: str, limits: FormLimits = FormLimits()) -> None:
        boundary = form_boundary(content_type)
        self._limits = limits
        self._framing = Framing(
            boundary, limits.max_header_bytes, limits.max_preamble, limits.max_epilogue
        )
        self._end = len(b"\r\n--%s--\r\n" % boundary)
        self._lines: list[bytes] = []
        self._parts = self._fields = self._files = 0
        self._left = limits.max_fields_bytes
        self._values_left = (
            limits.max_fields_bytes if limits.max_values_bytes is None else limits.max_values_bytes
        )
        self._part: _Part | None = None
        self._charset: str | None = None  # what a field `_charset_` named
        self._failure: SluiceError | None = None

    @property
    def cost(self) -> int:
        """Bytes of fields and heads so far, with PART_COST for each part: the memory of the
        fields."""
        return self._limits.max_fields_bytes - self._left

    @property
    def in_file(self) -> bool:
        """Whether the next bytes are a file's, as far as is known."""
        return self._part is not None and not self._part.is_field

    @property
    def delimiter(self) -> bytes | None:
        """What ends the file under way, if its next bytes need no look but for that; else None."""
        part = self._part
        if part is None or part.is_field or part.decoder or part.left is not None or part.checks:
            return None
        return self._framing.delimiter

    def skip(self, count: int) -> None:
        """`count` bytes of the file under way went another way, its delimiter not among them."""
        self._framing.skip(count)

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that these bytes complete. An empty feed changes nothing."""
        if self._failure:
            raise self._failure
        try:
            return self._events(data) if data else []
        except SluiceError as error:
            self._failure = error
            raise

    def close(self, *, maybe_cut: bool = False) -> list[Event]:
        """End the body. Raises BadForm unless the last boundary has arrived, or BodyCut where the
        body is `maybe_cut` itself. Returns no events today."""
        if self._failure:
            raise self._failure
        if not self._framing.ended:
            where = "between two parts" if self._parts else "before its first part"
            self._failure = _endless("inside a part" if self._part else where, maybe_cut)
            raise self._failure
        return []

    def size_if_last(self, part: PartBegan, total: int | None) -> int | None:
        """Return the size of a part, if it is the last one of a form of `total` bytes.

        It holds where the form ends as all known clients end theirs.
        """
        if total is None or part.at is None:
            return None
        size = total - part.at - self._end
        return size if size >= 0 else None

    def _events(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        for item in self._framing.feed(data):
            if type(item) is bytes:
                payload = self._payload(item)
                if payload:
                    events.append(PartData(payload))
            elif isinstance(item, HeaderLine):
                self._take_line(item)
            elif item is Mark.HEAD_ENDED:
                events.append(self._begin_part())
            elif item is Mark.PART_ENDED:
                rest = self._end_part()
                if rest:
                    events.append(PartData(rest))
                events.append(_PART_ENDED)
            else:
                events.append(FormEnded())
        return events

    def _take_line(self, line: bytes) -> None:
        if len(self._lines) >= self._limits.max_headers:
            raise over_limit(
                self._limits.max_headers,
                "max_headers",
                "A part of the form has too many header lines",
            )
        self._spend(len(line) + 2)
        self._lines.append(line)

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise self._fields_too_large()

    def _begin_part(self) -> PartBegan:
        limits = self._limits
        self._parts += 1
        if self._parts > limits.max_parts:
            raise over_limit(
                limits.max_parts, "max_parts", "The form has too many parts; send several forms"
            )
        lines, self._lines = self._lines, []
        head = read_part_head(lines, self._charset)
        if not limits.coded:
            refuse_coding(lines)
        self._spend(PART_COST)
        is_field = head.filename is None
        self._count(is_field, head.name)
        if (
            is_field
            and head.length is not None
            and head.length > min(limits.max_field_bytes, self._left, self._values_left)
        ):
            raise self._field_too_large(0)
        names_charset = is_field and head.name == CHARSET_FIELD and self._charset is None
        self._part = _Part(
            is_field,
            head.decoder,
            head.length,
            head.expected,
            bytearray() if names_charset else None,
        )
        at = None if head.decoder else self._framing.at
        return PartBegan(head.name, head.filename, head.type, at, self._charset, tuple(lines))

    def _count(self, is_field: bool, name: str) -> None:
        limits = self._limits
        if is_field:
            self._fields += 1
            if limits.max_values_bytes is not None:
                self._values_left -= len(name.encode("utf-8", "surrogatepass")) + 2
                if self._values_left < 0:
                    raise self._values_too_large()
        else:
            self._files += 1
        if limits.max_fields is not None and self._fields > limits.max_fields:
            raise over_limit(
                limits.max_fields, "max_fields", "The form has too many fields; send several forms"
            )
        if limits.max_files is not None and self._files > limits.max_files:
            raise over_limit(
                limits.max_files, "max_files", "The form has too many files; send several forms"
            )

    def _payload(self, raw: bytes) -> bytes:
        part = self._part
        if part is None:  # the framing yields payload only inside a part
            raise BadForm("Bytes of a part came outside of any part")
        if part.left is not None:
            part.left -= len(raw)
            if part.left < 0:
                raise BadForm("A part is longer than its own Content-Length; leave that header out")
        if not part.is_field:
            return part.check(part.decoder.feed(raw) if part.decoder else raw)
        # The bytes within the limit are judged first: byte by byte, their faults would be found
        # first.
        allowed = min(self._limits.max_field_bytes - part.size, self._left, self._values_left)
        taken = raw[:allowed]
        part.size += len(taken)
        self._left -= len(taken)
        if self._limits.max_values_bytes is not None:
            self._values_left -= len(taken)
        decoded = part.decoder.feed(taken) if part.decoder else taken
        if len(raw) > allowed:
            raise self._field_too_large(part.size)
        return part.check(decoded)

    def _end_part(self) -> bytes:
        part, self._part = self._part, None
        if part is None:
            return b""
        if part.left:
            raise BadForm("A part is shorter than its own Content-Length; leave that header out")
        rest = part.check(part.decoder.close() if part.decoder else b"")
        part.check_end()
        if part.charset is not None:
            self._charset = form_charset(part.charset.decode("latin-1"))
        return rest

    def _field_too_large(self, size: int) -> TooLarge:
        most = self._limits.max_field_bytes
        if most - size <= min(self._left, self._values_left):
            return over_limit(
                most,
                "max_field_bytes",
                "A field of the form is too long; send it as a file, with a filename",
            )
        return (
            self._values_too_large() if self._values_left < self._left else self._fields_too_large()
        )

    def _values_too_large(self) -> TooLarge:
        most = self._limits.max_values_bytes or 0
        return over_limit(
            most, "max_values_bytes", "The form's fields are too long together; send files, or less"
        )

    def _fields_too_large(self) -> TooLarge:
        most = self._limits.max_fields_bytes
        return over_limit(
            most,
            "max_fields_bytes",
            "The form's fields and headers are too long together; send files or less",
        )


def _endless(where: str, maybe_cut: bool) -> SluiceError:
    if maybe_cut:
        return BodyCut(f"The form ended {where}, without its last boundary; send it again")
    return BadForm(
        f"The body arrived whole, but its form ended {where}: the closing delimiter "
        "(--BOUNDARY--) is missing; nothing was stored. End the form with it"
    )
