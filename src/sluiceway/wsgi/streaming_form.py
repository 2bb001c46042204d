"""A form that is read while it arrives, by one thread: fields as values, files as binary files.

Nothing is spooled: to read a file is to read the socket. So the order of the parts matters, and
code that asks for a part too late gets an error that names the line to change. It must not know
any framework.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import BinaryIO

from sluiceway.errors import BadForm, BodyCut, WrongOrder
from sluiceway.pipe.once import Once
from sluiceway.server.forms.saved_file import SavedFile
from sluiceway.server.forms.walk import (
    FileBegan,
    FileEnded,
    FormField,
    FormItem,
    FormWalk,
    check_skipped,
)
from sluiceway.uploads.view_progress import FileProgress
from sluiceway.wire.forms.decoder import FormLimits

__all__ = ["LiveFile", "LiveForm"]

# Bytes of one read of the body. gunicorn copies what it has received beyond each read: 3.0 s of
# CPU a GB at 64 KiB, 0.9 at 1 MiB.
READ_SIZE = 1 << 20
ITERATION_SIZE = 256 << 10  # bytes an iteration gives at most: what sockets like best
KEPT_EVERY = 0.25  # seconds between synchronisations of a file that is saved and watched


class LiveFile:
    """A file of a form, as a binary file whose bytes come from the client while it is read.

    Read it before you ask for the part behind it: a file that was not read is skipped then.

    Attributes:
        name: The field's name.
        filename: The name of the file as the client sent it. It is not a safe path.
        content_type: Its media type as the client sent it, with parameters.
        size: Its bytes if it is the form's last part, which is known only at its end; None if the
            length of the form is unknown.
        taken: Bytes that were read.
        progress: What watchers see of it; None unless the request is watched.
    """

    name: str
    filename: str
    content_type: str
    size: int | None
    taken: int

    def __init__(self, form: LiveForm, began: FileBegan) -> None:
        self._form = form
        self.name, self.filename, self.content_type = began.name, began.filename, began.type
        self.size, self.taken = began.size, 0
        self._length_asked = False  # other code relies on `size` now
        self._held: list[bytes] = []
        self._at = 0  # bytes of the first one that were read
        self._ended = False
        self._once = Once(f"The file {self.filename!r}")
        # Of a request that is watched; `Form` and `Sized` look for it.
        self.progress: FileProgress | None = None if form.watched is None else form.watched()

    @property
    def len(self) -> int:
        """Bytes that are left to read. `requests` looks for it, and sends chunks without it.

        Raises:
            AttributeError: The size is unknown.
        """
        if self.size is None:
            raise AttributeError("The length of this part is unknown")
        self._length_asked = True
        return self.size - self.taken

    @property
    def ended(self) -> bool:
        """Whether every byte was read."""
        return self._ended and not self._held

    def read(self, size: int | None = -1) -> bytes:
        """Read exactly `size` bytes, fewer only at the end.

        Args:
            size: Bytes; None or negative for everything, which needs memory for all of it.

        Raises:
            BodyCut: The client sent less than the whole form.
            BadForm: The form is malformed.
            DigestMismatch: The body does not have the digest that the request promised.
            SourceSpent: A large read after the end. An HTTP client that sends the file a second
                time does that, and would send nothing.
        """
        if size is None or size < 0:
            return b"".join(iter(self.read1, b""))
        self._begin_read()
        return self._once.read(self._read_exactly(size), size)

    def read1(self, size: int = ITERATION_SIZE) -> bytes:
        """Read what is there: at most `size` bytes, at least one unless the file has ended."""
        self._begin_read()
        return self._read_piece(size)

    def kept(self, size: int | None = None) -> None:
        """Say how much of the file is kept, for those who watch its upload.

        The bar follows it, and is full when the view has answered with a success. `save`,
        `sluiceway.copy`, and an HTTP library that sends the file on, say it themselves.

        Args:
            size: Bytes from the file's beginning; None for all that was read.

        Example:
            while data := f.read(1 << 20):
                table.insert(data)
                f.kept()
        """
        if self.progress is not None:
            self.progress.keep(self.taken if size is None else size)

    def _read_piece(self, size: int) -> bytes:
        if not self._held and not self._ended:
            self._form._fill(self)
        if not self._held and self._ended and self._length_asked and self.taken != self.size:
            what = (
                "Something follows this file in the form, and its length was taken for that of "
                "the last part. Send fields before the file and one file in a form"
            )
            raise BadForm(
                f"{what}, or have the view send iter(file), which goes in chunks"
            ).for_operator(what)
        if not self._held or size <= 0:
            return b""
        first = self._held[0]
        # the bytes object itself, not a copy, where all of it is asked for
        data = first[self._at : self._at + size]
        self._at += len(data)
        if self._at == len(first):
            del self._held[0]
            self._at = 0
        self.taken += len(data)
        if self.progress is not None:
            self.progress.take(len(data))
        self._once.mark_read()
        return data

    def _begin_read(self) -> None:
        if self.progress is not None:
            self.progress.begin_read()

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Read into `buffer`, as `read`; returns the number of bytes."""
        self._begin_read()
        view = memoryview(buffer).cast("B")
        data = self._read_exactly(len(view))
        view[: len(data)] = data
        return len(data)

    def __iter__(self) -> Iterator[bytes]:
        """The bytes as they arrive, in pieces that are neither empty nor lines.

        Raises as `read`, and SourceSpent when all of the file was read before.
        """
        self._once.begin()
        while data := self.read1():
            yield data
        self._once.mark_ended()

    def save(self, to: str | os.PathLike[str] | BinaryIO) -> None:
        """Write the rest of the file.

        Args:
            to: A path, where the file appears when it is complete and synchronised with the disk,
                not before; or a binary file that is open for writing.

        Raises:
            OSError: It cannot be written there. Otherwise as `read`.
        """
        if not isinstance(to, str | os.PathLike):
            for data in self:
                to.write(data)
            return
        saved = SavedFile(to)
        try:
            draft, synchronised = saved.open(), time.monotonic()
            for data in self:
                draft.write(data)
                if self.progress is not None and time.monotonic() - synchronised > KEPT_EVERY:
                    saved.synchronise()
                    self.kept()
                    synchronised = time.monotonic()
            saved.publish()
            self.kept()
        except BaseException:
            saved.discard()
            raise

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Does nothing: the rest of the file is skipped when the next part is asked for."""

    def _read_exactly(self, size: int) -> bytes:
        got: list[bytes] = []
        while size > 0 and (data := self._read_piece(size)):
            got.append(data)
            size -= len(data)
        return b"".join(got)

    def _take(self, item: FormItem) -> None:
        if isinstance(item, bytes):
            self._held.append(item)
        else:
            self._ended = isinstance(item, FileEnded)

    def _skip(self) -> None:
        """Read to the end and forget. Raises TooLarge."""
        skipped = 0
        while data := self._read_piece(ITERATION_SIZE):
            skipped += len(data)
            check_skipped(skipped, self.name, self.filename)


class LiveForm:
    """A form while it arrives: walk it with `for part in form`, or ask for `file(name)` and
    `field(name)`.

    Args:
        read: Gives at most so many next bytes of the body, none at its end.
        content_type: The request's Content-Type, with its boundary.
        length: Bytes of the body; None if unknown.
        limits: What the form may cost.
        kind: The class of its files.
        expected: Digests that the whole body must have, by algorithm.
        watched: Makes the progress of a file; None unless the request is watched.

    Attributes:
        fields: Names and values of the fields that came so far.
        files: The files that came so far.
        ended: Whether the form was read to its end.

    Raises:
        BadForm: The form is malformed. So do all methods that read.
        Unsupported: The content type is not that of a form.
    """

    ended: bool
    fields: list[tuple[str, str]]
    files: list[LiveFile]

    def __init__(
        self,
        read: Callable[[int], bytes],
        content_type: str,
        length: int | None,
        limits: FormLimits = FormLimits(),
        kind: type[LiveFile] = LiveFile,
        expected: Mapping[str, bytes] = MappingProxyType({}),
        watched: Callable[[], FileProgress] | None = None,
    ) -> None:
        self._read, self._kind, self.watched = read, kind, watched
        self._items: Iterator[FormItem] = self._walk(
            FormWalk(content_type, limits, length, expected)
        )
        self._part: LiveFile | None = None  # the file whose turn it is
        self.ended = False
        self.fields, self.files = [], []

    def __iter__(self) -> Iterator[FormField | LiveFile]:
        """The parts that are still to come.

        A file that was not read is skipped when the next part is asked for; TooLarge if it is
        longer than 64 MiB.
        """
        while (part := self._next()) is not None:
            yield part

    def file(self, name: str) -> LiveFile | None:
        """The file in field `name`: one that came already, or the next to come.

        Returns:
            None if the form has no such file.

        Raises:
            WrongOrder: Another file stands before it and was not read.
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
        """The first value of a field that came, or that comes before the next file.

        Returns:
            None if the form has no such field.

        Raises:
            WrongOrder: A file stands before it and was not read.
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
        """Read on to the first file or, if fields are `needed`, to the last of these.

        Returns:
            The names of needed fields that did not come before the first file.
        """
        missing = list(needed)
        while not (self.ended or self.files or (needed and not missing)):
            part = self._next()
            missing = [
                name for name in missing if not isinstance(part, FormField) or name != part.name
            ]
        return [name for name in missing if all(name != known for known, _ in self.fields)]

    def _check_turn(self, wanted: str) -> None:
        part = self._part
        if part is not None and not part.ended:
            what = (
                f"{wanted} is needed first, and the file {part.filename!r} in field {part.name!r} "
                "stands before it in the form"
            )
            raise WrongOrder(
                f"{what} and was not read to its end. Read that file first, or have the client "
                "send fields before files"
            ).for_operator(f"{what}; send fields before files")

    def _next(self) -> FormField | LiveFile | None:
        if self._part is not None:
            self._part._skip()
            self._part = None
        for item in self._items:
            if isinstance(item, FormField):
                self.fields.append((item.name, item.value))
                return item
            if isinstance(item, FileBegan):
                self._part = file = self._kind(self, item)
                self.files.append(file)
                return file
        self.ended = True
        return None

    def _fill(self, file: LiveFile) -> None:
        """One more piece for the file under way. Raises what the body does, each time again."""
        try:
            file._take(next(self._items))
        except StopIteration:
            raise BodyCut("The form was broken off inside a file; send it again") from None

    def _walk(self, walk: FormWalk) -> Iterator[FormItem]:
        walk.wait()
        while data := self._read(READ_SIZE):
            yield from walk.feed(data)
            walk.wait()
        yield from walk.close()
