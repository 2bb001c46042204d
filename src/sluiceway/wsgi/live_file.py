"""A file of a form that still arrives, read by one thread: to read it is to read the socket.

Knows a part and the form it belongs to, no framework.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from sluiceway.errors import BadForm
from sluiceway.pipe.once import Once
from sluiceway.server.forms.saved_file import SavedFile
from sluiceway.server.forms.walk import FileBegan, FileEnded, FormItem, check_skipped
from sluiceway.uploads.view_progress import FileProgress

__all__ = ["ITERATION_SIZE", "ArrivingForm", "LiveFile"]

ITERATION_SIZE = 256 << 10  # bytes an iteration gives at most: what sockets like best


class ArrivingForm(Protocol):
    """What a file knows of its form."""

    watched: Callable[[], FileProgress] | None

    def fill(self, file: LiveFile) -> None:
        """Give the file one more piece, or its end."""
        ...


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
        header_lines: The header lines of the part as they were sent.
    """

    name: str
    filename: str
    content_type: str
    size: int | None
    taken: int
    forward_only = True  # code that only needs its bytes should not ask for its length

    def __init__(self, form: ArrivingForm, began: FileBegan) -> None:
        self._form = form
        self.name, self.filename, self.content_type = began.name, began.filename, began.type
        self.header_lines: tuple[bytes, ...] = began.lines
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
        return self.expected_size() - self.taken

    def expected_size(self) -> int:
        """Bytes of the whole file. From then on it is an error if something follows the file.

        Raises AttributeError if the size is unknown.
        """
        if self.size is None:
            raise AttributeError("The length of this part is unknown")
        self._length_asked = True
        return self.size

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
        self.begin_read()
        return self._once.read(self._read_exactly(size), size)

    def read1(self, size: int = ITERATION_SIZE) -> bytes:
        """Read what is there: at most `size` bytes, at least one unless the file has ended."""
        self.begin_read()
        return self.read_piece(size)

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

    def read_piece(self, size: int) -> bytes:
        """As `read1`, of a reader that goes on with what it began."""
        self._await_piece()
        if not self._held or size <= 0:
            return b""
        first = self._held[0]
        # the bytes object itself, not a copy, where all of it is asked for
        data = first[self._at : self._at + size]
        self._consume(len(data))
        return data

    def read_line(self, size: int = ITERATION_SIZE) -> bytes:
        """Read what is there of a line: up to a line feed, at most `size` bytes."""
        self._await_piece()
        if not self._held:
            return b""
        found = self._held[0].find(b"\n", self._at, self._at + size)
        return self.read_piece(size if found < 0 else found + 1 - self._at)

    def at_end(self) -> bool:
        """Whether every byte was read. May wait for what follows the last one."""
        self._await_piece()
        return not self._held

    def _await_piece(self) -> None:
        """Raises BadForm at the end of a file whose length other code relies on wrongly."""
        if not self._held and not self._ended:
            self._form.fill(self)
        if not self._held and self._ended and self._length_asked and self.taken != self.size:
            what = (
                "Something follows this file in the form, and its length was taken for that of "
                "the last part. Send fields before the file and one file in a form"
            )
            raise BadForm(
                f"{what}, or have the view send file.chunks(), which goes in chunks"
            ).for_operator(what)

    def _consume(self, size: int) -> None:
        self._at += size
        if self._at == len(self._held[0]):
            del self._held[0]
            self._at = 0
        self.taken += size
        if self.progress is not None:
            self.progress.take(self.taken)
        self._once.mark_read()

    def begin_read(self, position: int | None = None) -> None:
        """A reader asks for more, behind `position` if it went back: what it got before is on its
        way, for those who watch."""
        if self.progress is not None:
            self.progress.begin_read(self.taken if position is None else position)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Read into `buffer`, as `read`; returns the number of bytes."""
        self.begin_read()
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
            saved.open()
            for data in self:
                if saved.write(data, self.progress is not None):
                    self.kept()
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
        while size > 0 and (data := self.read_piece(size)):
            got.append(data)
            size -= len(data)
        return b"".join(got)

    def take(self, item: FormItem) -> None:
        """The form's next item, which is of this file."""
        if isinstance(item, bytes):
            self._held.append(item)
        else:
            self._ended = isinstance(item, FileEnded)

    def skip(self) -> None:
        """Read to the end and forget. Raises TooLarge."""
        skipped = 0
        while data := self.read_piece(ITERATION_SIZE):
            skipped += len(data)
            check_skipped(skipped, self.name, self.filename)
