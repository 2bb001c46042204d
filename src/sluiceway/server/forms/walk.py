"""One walk over a form for the server and for every framework: fields as values, files as bytes.

Sans-IO: bytes of a body in, parts out, in the order the client sent them. What fields cost, the
digests of the whole body and empty file inputs are dealt with here; `async_items` and the sync
reader in `wsgi/streaming_form.py` only bring the bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sluiceway.errors import TooLarge
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.hashes import new_hash
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.stages import DECODE, Stages
from sluiceway.server.forms.costs import FieldReading
from sluiceway.uploads.rules import check_digests
from sluiceway.wire.forms.decoder import (
    Event,
    FormDecoder,
    FormLimits,
    PartBegan,
    PartData,
    PartEnded,
)

__all__ = [
    "MOST_SKIPPED",
    "FileBegan",
    "FileEnded",
    "FormField",
    "FormItem",
    "FormWalk",
    "async_items",
    "check_skipped",
]

# Bytes of a file that no code read, until the form is given up: to read on costs the sender time.
MOST_SKIPPED = 64 << 20


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form, complete.

    Attributes:
        name: The field's name as the client sent it.
        value: Its text. Bytes that are not UTF-8 are read in the form's charset (RFC 7578 4.6),
            never replaced.
    """

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileBegan:
    """A file of a form; its bytes follow, then FileEnded. `filename` is as sent: no safe path."""

    name: str
    filename: str
    type: str
    size: (
        int | None
    )  # bytes if it is the form's last part, which is known at its end; None: unknown
    lines: tuple[bytes, ...] = field(default=(), compare=False)  # its header lines as sent

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The header lines by name in small letters; the type without what cannot be read of it."""
        parted = [line.partition(b":") for line in self.lines]
        headers = [(name.lower(), value.strip(b" \t")) for name, _, value in parted]
        others = [header for header in headers if header[0] != b"content-type"]
        return [(b"content-type", self.type.encode("latin-1", "replace")), *others]


@dataclass(frozen=True, slots=True)
class FileEnded:
    """All bytes of the file came. For the last part also: the body has the digests promised."""


FormItem = FormField | FileBegan | bytes | FileEnded

_FILE_ENDED = FileEnded()


class FormWalk:
    """Call `wait` before each wait for the client, `feed` with what came, `close` at the end.

    The end of a file is held back until the next part begins or the body has ended, with the
    `expected` digests: code that reads a file to its end has read checked bytes, and not those of a
    form that was cut off behind it. So is the last byte of a file whose size is known: a server
    that gets them all from a view would take them for a whole file. `length` is the body's, where
    it is known. A file input that was left empty gives nothing, unless `keep_empty`.

    Raises, on construction and later, what FormDecoder raises, TooSlow when the fields take too
    long, and DigestMismatch.
    """

    def __init__(
        self,
        content_type: str,
        limits: FormLimits = FormLimits(),
        length: int | None = None,
        expected: Mapping[str, bytes] = MappingProxyType({}),
        budget: Budget | None = None,
        keep_empty: bool = False,
    ) -> None:
        self._keep_empty = keep_empty
        self._decoder = FormDecoder(content_type, limits)
        self._costs = FieldReading(self._decoder, budget)
        self._length, self._expected = length, expected
        self._hashes = {name: new_hash(name) for name in expected}
        self._field: PartBegan | None = None  # the field under way
        self._value: list[bytes] = []  # of it; bounded by the decoder's limits
        self._unnamed: FileBegan | None = None  # a file without a name, until its first byte
        self.unread: int = 0  # items of the last feed that its caller has still to give out
        self._held: list[FormItem] = []  # the end of the part that may be the last
        self._left: int | None = None  # bytes of the file under way, where its size is known

    @property
    def delimiter(self) -> bytes | None:
        """What ends the file under way, if its next bytes may go another way; else None.

        They may not while items of the last feed are to come.
        """
        return None if self.unread or self._hashes else self._decoder.delimiter

    def skip(self, count: int) -> None:
        """`count` bytes of the file under way went another way."""
        self._decoder.skip(count)
        if self._left is not None:
            self._left -= count

    def wait(self) -> None:
        """A wait for the client begins."""
        self._costs.wait()

    def feed(self, data: bytes) -> list[FormItem]:
        """The items that these bytes complete."""
        self._costs.came()
        for running in self._hashes.values():
            running.update(data)
        return self._items(self._decoder.feed(data))

    def close(self, *, maybe_cut: bool = False) -> list[FormItem]:
        """The items that were held back. Raises BadForm before the last boundary, or BodyCut
        where the body `maybe_cut` may not have arrived whole."""
        items = self._items(self._decoder.close(maybe_cut=maybe_cut))
        check_digests({name: one.digest() for name, one in self._hashes.items()}, self._expected)
        return items + self._held

    async def reserve(self) -> None:
        """Borrow memory for the fields so far. Raises Unavailable if there is none for too long."""
        await self._costs.account()

    def release(self) -> None:
        """Return the memory: the fields are no longer needed."""
        self._costs.settle()

    def _items(self, events: Iterable[Event]) -> list[FormItem]:
        items: list[FormItem] = []
        for event in events:
            if isinstance(event, PartData):
                if self._field is not None:
                    self._value.append(event.data)
                    continue
                if self._unnamed is not None:
                    items.append(self._unnamed)
                    self._unnamed = None
                items += self._data(event.data)
            elif isinstance(event, PartBegan):
                items += self._held
                self._held.clear()
                items += self._begin(event)
            elif isinstance(event, PartEnded):
                certain = self._field is not None and not self._hashes
                (items if certain else self._held).extend(self._end())
        return items

    def _data(self, data: bytes) -> list[FormItem]:
        """Bytes of a file, but the last one of its size."""
        held, self._held = self._held, []  # more follows: the size was not right
        if self._left is not None:
            self._left -= len(data)
            if self._left == 0:
                self._held.append(data[-1:])
                data = data[:-1]
        return [*held, data] if data else held

    def _begin(self, part: PartBegan) -> list[FormItem]:
        if part.filename is None:
            self._field = part
            return []
        size = self._decoder.size_if_last(part, self._length)
        began = FileBegan(part.name, part.filename, part.type, size, part.lines)
        self._left = size
        if part.filename or self._keep_empty:
            return [began]
        self._unnamed = began
        return []

    def _end(self) -> list[FormItem]:
        if self._unnamed is not None:  # a browser's file input that was left empty
            self._unnamed = None
            return []
        part, self._field = self._field, None
        if part is None:
            return [_FILE_ENDED]
        raw = b"".join(self._value)
        self._value.clear()
        return [FormField(part.name, self._costs.text(part.text(raw), raw))]


async def async_items(
    walk: FormWalk, chunks: AsyncIterator[bytes], stages: Stages
) -> AsyncIterator[FormItem]:
    """The items of a form whose body is `chunks`. Raises as they and the walk do."""
    walk.wait()
    try:
        async for chunk in chunks:
            before = stages.enter(DECODE)
            items = walk.feed(chunk)
            stages.enter(before)
            await walk.reserve()
            for number, item in enumerate(items, 1):
                walk.unread = len(items) - number
                yield item
            walk.wait()
        for item in walk.close():
            yield item
    finally:
        await close_stream(chunks)


def check_skipped(skipped: int, name: str, filename: str) -> None:
    """Raises TooLarge when so many bytes of a file were skipped that the form is given up."""
    if skipped > MOST_SKIPPED:
        raise TooLarge(
            f"The file {filename!r} in {name!r} is not wanted here, and too long to be skipped"
        )
