"""A file of a form that rests in a draft of its storage until a FileField saves it.

To all code it is what Django gives for a large file: it can be read, sought in and, where a program
wants a path, has one. Knows drafts and stored bytes, not how a form is parsed.
"""

from __future__ import annotations

import io
import os
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from django.conf import settings
from django.core.files import temp
from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile

from sluiceway.django.blocking_draft import BlockingDraft
from sluiceway.django.files.stored_bytes import DraftBytes

__all__ = ["UnsavedFile"]

READ_BUFFER = 64 << 10  # bytes read ahead for code that reads line by line
COPIED = 1 << 20  # bytes copied at once into a temporary file


class _Opens(Protocol):
    def open(self, name: str, mode: str = "rb") -> Any: ...


class UnsavedFile(TemporaryUploadedFile):
    """A file of `request.FILES`. What nothing saves is discarded at the end of the request.

    Attributes:
        draft: Its bytes where no reader sees them; None when it was saved, closed or written to.
        expected_name: The name it will be saved under, as far as that can be known; or "".
        field_name: The form's field; None for a raw body.
    """

    expected_name: str
    field_name: str | None

    def __init__(
        self,
        draft: BlockingDraft,
        name: str,
        content_type: str | None,
        charset: str | None = None,
        content_type_extra: dict[str, Any] | None = None,
        *,
        field_name: str | None = None,
        expected_name: str = "",
    ) -> None:
        self._file: Any = None
        self._closed = False
        # not TemporaryUploadedFile's own, which makes a temporary file
        UploadedFile.__init__(self, None, name, content_type, 0, charset, content_type_extra)
        self._draft, self.field_name, self.expected_name = draft, field_name, expected_name
        self._saved: tuple[_Opens, str] | None = None
        self._path: str | None = None
        self._as_written: tuple[int, int] | None = None  # of the file at the path
        # for a file whose request is never closed
        self._finalizer = weakref.finalize(self, draft.discard_soon)
        self._finalizer.atexit = False

    # While the form is parsed

    def receive(self, data: bytes) -> None:
        """Take the next bytes. Raises what `BlockingDraft.write` raises."""
        self._draft.write(data)

    def complete(self, size: int) -> None:
        """All bytes are there. Raises as `receive`."""
        self._draft.finish()
        self.size = size

    @property
    def received(self) -> int:
        """Bytes taken from the client so far."""
        return self._draft.written

    @property
    def kept(self) -> int:
        """Bytes of them that the store has acknowledged."""
        return self._draft.written if self._saved is not None else self._draft.kept

    # Its two endings

    @property
    def draft(self) -> BlockingDraft | None:
        return None if self._draft.ended or self._was_changed() else self._draft

    def mark_saved(self, storage: _Opens, name: str) -> None:
        """The draft is the storage's file `name` now: what is read from here on is that file."""
        self._saved = storage, name

    def discard(self) -> None:
        """Remove the draft, unless it was saved."""
        self._draft.discard()

    def close(self) -> None:
        """As Django's: an unsaved file is gone then."""
        self._closed = True
        try:
            if self._file is not None:
                super().close()
        finally:
            self.discard()

    # Reading it back

    @property
    def file(self) -> Any:
        """The binary file that Django's classes read from; opened when it is first asked for."""
        if self._file is None and not self._closed:
            self._file = self._open()
        return self._file if self._file is not None else _closed_file()

    @file.setter
    def file(self, file: Any) -> None:
        self._file = file

    @property
    def closed(self) -> bool:
        return self._closed

    def temporary_file_path(self) -> str:
        """The path of a file with its bytes: the draft's own in a folder, else a copy of it."""
        if self._path is None:
            copy = self._temporary_copy()
            at = 0 if self._file is None else self._file.tell()
            if self._file is not None:
                self._file.close()
            copy.seek(at)
            self._file, self._path = copy, copy.name
        return self._path

    def _open(self) -> Any:
        if self._saved is not None:
            storage, name = self._saved
            return storage.open(name).file
        if (path := self._draft.file_path()) is not None:
            file = open(path, "r+b")  # noqa: SIM115 - closed by close()
            status = os.fstat(file.fileno())
            self._path, self._as_written = path, (status.st_size, status.st_mtime_ns)
            return file
        raw = DraftBytes(self.name or "", self._draft.written, self._draft.read)
        return io.BufferedReader(raw, READ_BUFFER)

    def _temporary_copy(self) -> Any:
        source = self._open()
        if self._path is not None:  # a file of this machine
            return source
        _, extension = os.path.splitext(self.name or "")
        copy = temp.NamedTemporaryFile(
            suffix=".upload" + extension, dir=settings.FILE_UPLOAD_TEMP_DIR
        )
        with source:
            while data := source.read(COPIED):
                copy.write(data)
        copy.flush()
        return copy

    def _was_changed(self) -> bool:
        """Whether somebody wrote to the draft's file: then its bytes are saved as any others."""
        if self._as_written is None or self._file is None or self._closed:
            return False
        self._file.flush()
        status = os.fstat(self._file.fileno())
        return (status.st_size, status.st_mtime_ns) != self._as_written


def _closed_file() -> io.BytesIO:
    closed = io.BytesIO()
    closed.close()
    return closed


if TYPE_CHECKING:
    _: type[UploadedFile[Any]] = UnsavedFile
