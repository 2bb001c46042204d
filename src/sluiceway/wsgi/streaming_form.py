"""A form that is read while it arrives: fields as values, files as streams, in the order they were sent. Pulled by one thread.

Nothing is spooled: whoever reads a file reads the socket. So the order matters, and what comes too late in it is told,
with the line to change. Knows no framework.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO

from sluiceway.errors import BadForm, BodyCut, TooLarge, WrongOrder
from sluiceway.pipe.once import Once
from sluiceway.server.forms.costs import FieldReading
from sluiceway.server.forms.digests import WholeBody
from sluiceway.wire.forms.decoder import (
    Event,
    FormDecoder,
    FormLimits,
    PartBegan,
    PartData,
    PartEnded,
)

__all__ = ["MOST_SKIPPED", "LiveField", "LiveFile", "LiveForm"]

MOST_SKIPPED = (
    64 << 20
)  # bytes of a file that nobody read, until the form is given up: reading on costs the sender its time
READ = (
    1 << 20
)  # bytes of one read: gunicorn copies what it has received beyond, 3.0 s of CPU a GB at 64 KiB, 0.9 at 1 MiB
PIECE = 256 << 10  # bytes an iteration gives at most: what sockets like best


@dataclass(frozen=True, slots=True)
class LiveField:
    """A field, whole."""

    name: str
    value: str


class LiveFile:
    """A file of the form, as a binary file whose bytes come from the client. Read it before asking for what follows it."""

    name: str
    filename: str
    content_type: str

    def __init__(self, form: LiveForm, part: PartBegan, size: int | None) -> None:
        self._form = form
        self.name, self.filename, self.content_type = part.name, part.filename or "", part.type
        self.size = size  # bytes if nothing follows it in the form, which nobody knows before its end; None: unknown
        self.taken: int = 0
        self._promised = False  # somebody was told how much is left, and told others
        self._held: list[bytes] = []
        self._at = 0  # bytes of the first one that were read
        self._ended = False
        self._once = Once(f"The file {self.filename!r}")

    @property
    def len(self) -> int:
        """What is left to read, where requests looks for it. Raises AttributeError when nobody knows: then it sends chunks."""
        if self.size is None:
            raise AttributeError("The length of this part is unknown")
        self._promised = True
        return self.size - self.taken

    @property
    def ended(self) -> bool:
        """Whether every byte was read."""
        return self._ended and not self._held

    def read(self, size: int | None = -1) -> bytes:
        """`size` bytes, fewer only at the end; without a size everything, which needs memory for all of it.

        Raises BodyCut when the client sent less than the form, BadForm, and SourceSpent for a large read after the end was told:
        an HTTP client that sends it a second time, which would send nothing.
        """
        if size is None or size < 0:
            return b"".join(iter(self.read1, b""))
        return self._once.read(self._next_bytes(size), size)

    def read1(self, size: int = PIECE) -> bytes:
        """What is there, at least one byte unless it is the end, at most `size`."""
        if not self._held and not self._ended:
            self._form._fill(self)
        if not self._held and self._ended and self._promised and self.taken != self.size:
            what = "Something follows this file in the form, and its length was taken for that of the last part. Send fields before "
            what += "the file and one file in a form"
            raise BadForm(
                f"{what}, or have the view send iter(file), which goes in chunks"
            ).for_operator(what)
        if not self._held or size <= 0:
            return b""
        held = self._held[0]
        piece = held[
            self._at : self._at + size
        ]  # the whole, and no copy, where all of it is asked for
        self._at += len(piece)
        if self._at == len(held):
            del self._held[0]
            self._at = 0
        self.taken += len(piece)
        self._once.mark_read()
        return piece

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """As `read`, into `buffer`."""
        view = memoryview(buffer).cast("B")
        data = self._next_bytes(len(view))
        view[: len(data)] = data
        return len(data)

    def __iter__(self) -> Iterator[bytes]:
        """Pieces as they arrive, none empty; lines they are not. Raises SourceSpent when all of it was read before."""
        self._once.begin()
        while piece := self.read1():
            yield piece
        self._once.mark_ended()

    def save(self, to: str | os.PathLike[str] | BinaryIO) -> None:
        """Write all of it into an open file, or under a path, where it appears when it is whole and not before."""
        if not isinstance(to, str | os.PathLike):
            for piece in self:
                to.write(piece)
            return
        path = os.fspath(to)
        draft = os.path.join(
            os.path.dirname(path), f".sluiceway-{secrets.token_hex(8)}.part"
        )  # copies leave such names out
        try:
            with open(draft, "xb") as file:
                self.save(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(draft)
            raise

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing to do: what is left of the part is skipped when the next one is asked for."""

    def _next_bytes(self, size: int) -> bytes:
        got: list[bytes] = []
        while size > 0 and (piece := self.read1(size)):
            got.append(piece)
            size -= len(piece)
        return b"".join(got)

    def _take(self, event: Event) -> None:
        if isinstance(event, PartData):
            self._held.append(event.data)
        else:
            self._ended = True

    def _skip(self) -> None:
        """Read to the end and forget. Raises TooLarge."""
        skipped = 0
        while piece := self.read1():
            skipped += len(piece)
            if skipped > MOST_SKIPPED:
                raise TooLarge(
                    f"The file {self.filename!r} in {self.name!r} is not wanted here, and too long to be skipped"
                )


class LiveForm:
    """Walk it with `for part in form`, or ask for what is needed: `file(name)`, `field(name)`.

    `read(size)` gives the next bytes of the body, none at its end. `length` is the body's, where it is known. `kind`: what
    files become, in the words of a framework. `expected`: digests of the whole body.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        content_type: str,
        length: int | None,
        limits: FormLimits = FormLimits(),
        kind: type[LiveFile] = LiveFile,
        expected: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        self._read, self._length, self._kind, self._expected = read, length, kind, expected
        self._decoder = FormDecoder(content_type, limits)
        self._events: Iterator[Event] = self._walk()
        self._part: LiveFile | None = None  # the file whose turn it is
        self.ended: bool = False
        self.fields: list[tuple[str, str]] = []  # so far
        self.files: list[LiveFile] = []  # so far

    def __iter__(self) -> Iterator[LiveField | LiveFile]:
        """The parts that are still to come. A file that was not read is skipped when the next part is asked for."""
        while (part := self._next()) is not None:
            yield part

    def file(self, name: str) -> LiveFile | None:
        """The file in field `name`: the one whose turn it is, or the next to come; None when the form has no such file.

        Raises WrongOrder when another file stands before it and was not read.
        """
        for known in self.files:
            if known.name == name:
                return known
        while not self.ended:
            self._check_turn(f"the file {name!r}")
            part = self._next()
            if isinstance(part, LiveFile) and part.name == name:
                return part
        return None

    def field(self, name: str) -> str | None:
        """The first value of a field that came, or comes before the next file; None when the form has no such field.

        Raises WrongOrder when a file stands before it and was not read.
        """
        while True:
            for known, value in self.fields:
                if known == name:
                    return value
            if self.ended:
                return None
            self._check_turn(f"the field {name!r}")
            self._next()

    def begin(self, *needed: str) -> list[str]:
        """Read the fields that stand before the first file, or, where some are `needed`, on to the last of these. Those that
        are missing."""
        missing = list(needed)
        while not (self.ended or self.files or (needed and not missing)):
            part = self._next()
            missing = [
                name for name in missing if not isinstance(part, LiveField) or name != part.name
            ]
        return [name for name in missing if all(name != known for known, _ in self.fields)]

    def _check_turn(self, wanted: str) -> None:
        part = self._part
        if part is not None and not part.ended:
            what = f"{wanted} is needed first, and the file {part.filename!r} in field {part.name!r} stands before it in the form"
            raise WrongOrder(
                f"{what} and was not read to its end. Read that file first, or have the client send fields before files"
            ).for_operator(f"{what}; send fields before files")

    def _next(self) -> LiveField | LiveFile | None:
        if self._part is not None:
            self._part._skip()
            self._part = None
        for event in self._events:
            if not isinstance(event, PartBegan):
                continue
            if event.filename is None:
                field = LiveField(event.name, event.text(self._value()))
                self.fields.append((field.name, field.value))
                return field
            file = self._kind(self, event, self._decoder.size_if_last(event, self._length))
            if not event.filename:
                self._fill(file)
                if file.ended:
                    continue  # a browser's file input that was left empty
            self._part = file
            self.files.append(file)
            return file
        self.ended = True
        return None

    def _value(self) -> bytes:
        pieces: list[bytes] = []  # bounded by the decoder's limits
        for event in self._events:
            if isinstance(event, PartData):
                pieces.append(event.data)
            elif isinstance(event, PartEnded):
                break
        return b"".join(pieces)

    def _fill(self, file: LiveFile) -> None:
        """One more piece for the file under way. Raises what the body does, each time it is asked again."""
        try:
            file._take(next(self._events))
        except StopIteration:
            raise BodyCut("The form was broken off inside a file; send it again") from None

    def _walk(self) -> Iterator[Event]:
        reading, whole = FieldReading(self._decoder), WholeBody(self._expected)
        reading.wait()
        while data := self._read(READ):
            reading.came()
            whole.came(data)
            yield from whole.passing(self._decoder.feed(data))
            reading.wait()
        yield from whole.passing(self._decoder.close())
        yield from whole.ended()
