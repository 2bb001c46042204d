"""Django's upload handler that lets a file stream into a draft of its storage.

Django's own parser calls it, so all its limits hold. Small forms stay in memory, as with Django's
handlers. Knows requests and files, no stores.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import BadRequest
from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import HttpRequest

from sluiceway.django.expected_saves import ExpectedSave, expect_save
from sluiceway.django.files.unsaved_file import UnsavedFile
from sluiceway.errors import BodyCut
from sluiceway.uploads.view_progress import FileProgress
from sluiceway.wsgi.watched import file_progress

__all__ = ["UploadHandler"]


class _CutBody(BodyCut, BadRequest): ...


class UploadHandler(MemoryFileUploadHandler):
    """A file of a form becomes a draft of the site's storage while it arrives.

    It takes the place of Django's two handlers. A form of at most FILE_UPLOAD_MAX_MEMORY_SIZE bytes
    stays in memory. A file of a larger one is an `UnsavedFile`: saving it publishes the draft, and
    what is not saved is discarded at the end of the request. Where no storage of the site is ours,
    or its drafts cannot be read back, it is a temporary file as with Django's own handler.

    Attributes:
        files: The drafts of this request so far, of which the last one may still arrive. Each has
            `received` and `kept`, in bytes.

    Example:
        FILE_UPLOAD_HANDLERS = ["sluiceway.django.UploadHandler"]
    """

    files: list[UnsavedFile]

    # Bytes that the parser reads at once: its cost a GiB falls from 64 KiB on.
    chunk_size = 1 << 20

    def __init__(self, request: HttpRequest | None = None) -> None:
        super().__init__(request)
        self.file: Any  # the one under way; Django closes it when it gives up
        self.files = []
        self._progress: FileProgress | None = None  # of the file under way, if it is watched

    def expect_save(self, field_name: str | None, file_name: str) -> ExpectedSave:
        """Which storage a file will be saved in, and under which name. Override it to say so.

        Args:
            field_name: The form's field; None for a raw body.
            file_name: The name that the client sent, without folders.

        Returns:
            By default, what the site's models tell: see `ExpectedSave`.
        """
        return expect_save(field_name, file_name)

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)  # raises StopFutureHandlers for a form in memory
        name = self.file_name or ""
        expected = self.expect_save(self.field_name, name)
        if expected.storage is None:
            self.file = TemporaryUploadedFile(
                name, self.content_type or "", 0, self.charset, self.content_type_extra
            )
            return
        size = self.content_length if self.field_name is None else None
        draft = expected.storage.begin_draft(name, self.content_type, expected.name, size)
        self.file = UnsavedFile(
            draft,
            name,
            self.content_type,
            self.charset,
            self.content_type_extra,
            field_name=self.field_name,
            expected_name=expected.wanted,
        )
        self._discard_at_end(self.file)
        watched = None if self.request is None else file_progress(self.request.META)
        self._progress = None if watched is None else watched()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        if self.activated:
            super().receive_data_chunk(raw_data, start)
        elif isinstance(self.file, UnsavedFile):
            self.file.receive(raw_data)
            if self._progress is not None:
                self._progress.take(self.file.received)
                self._progress.hand_on(self.file.received, self.file.kept)
        else:
            self.file.write(raw_data)
        return None

    def file_complete(self, file_size: int) -> UploadedFile[Any] | None:
        if self.activated:
            return super().file_complete(file_size)
        self._check_whole(file_size)
        file: UploadedFile[Any] = self.file
        if isinstance(file, UnsavedFile):
            file.complete(file_size)
        else:
            file.seek(0)
            file.size = file_size
        return file

    def upload_interrupted(self) -> None:
        """The client hung up inside a file."""
        if not self.activated and hasattr(self, "file"):
            self.file.close()

    def _check_whole(self, file_size: int) -> None:
        """Raises BodyCut for a raw body, which a client that hung up must not make a file of."""
        if self.field_name is None and self.content_length and file_size < self.content_length:
            raise _CutBody(
                f"The body ended after {file_size} of {self.content_length} bytes; send it again"
            )

    def _discard_at_end(self, file: UnsavedFile) -> None:
        """Django closes the request when it has answered; some files it does not know of."""
        if not self.files and self.request is not None:
            close = _closing(self.request.close, self.files)
            self.request.close = close  # type: ignore[method-assign]
        self.files.append(file)


def _closing(close: Any, files: list[UnsavedFile]) -> Any:
    def close_and_discard() -> None:
        try:
            close()
        finally:
            for file in files:
                file.close()

    return close_and_discard
