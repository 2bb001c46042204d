"""The files of one form at their destination, before and after they are published.

Reads the form in the thread of the request; an event loop in a thread of its own stores the files.
Knows Django's types of files only: which view gets them is decided in `upload_views.py`.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NoReturn, cast

from django.core.files.uploadedfile import UploadedFile
from django.utils.datastructures import MultiValueDict

from sluiceway.errors import BadOrder, StoreFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.source import PassingSource
from sluiceway.server.destinations import open_destination, open_undo_locks
from sluiceway.server.settings.checked import Settings
from sluiceway.stores.contract import Entry, Metadata, Pairs, UploadRequest
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.service import UploadService
from sluiceway.wire.headers.media_types import kept_type
from sluiceway.wire.names import clean_folders, clean_name
from sluiceway.wsgi.request_thread import RequestThread
from sluiceway.wsgi.streaming_form import LiveFile, LiveForm

__all__ = ["DraftedFiles", "RequestFiles", "StoredFile"]

CSRF_FIELD = "csrfmiddlewaretoken"

if TYPE_CHECKING:  # generic in the stubs only
    _UploadedFile = UploadedFile[Any]
    _FileDict = MultiValueDict[str, UploadedFile[Any]]
else:
    _UploadedFile, _FileDict = UploadedFile, MultiValueDict


class StoredFile(_UploadedFile):
    """A file of `request.FILES` in a view with @uploads. It is at its destination already.

    Its bytes cannot be read here: `read` and `chunks` raise BadOrder. Nothing shows it at the
    destination before it is published, by `publish(request)` or when the view has answered.

    Attributes:
        field_name: The field it came in.
        key: Its name at the destination; what a FileField of that storage takes.
        name: The cleaned name that the client sent.
        size: Its bytes.
        sha256: Its SHA-256 in hexadecimal; None if the setting `digest` leaves it out.
        digests: All its digests: pairs of an algorithm and hexadecimal digits.
        entry: The destination's description of it; None until it is published.
        url: Where another server says that it is (Location); None until it is published, or if
            there is no other server.
    """

    field_name: str
    key: str
    sha256: str | None
    digests: Pairs
    entry: Entry | None
    url: str | None

    def __init__(self, field_name: str, key: str, metadata: Metadata, size: int) -> None:
        super().__init__(cast("Any", _NoBytes(key)), metadata.filename, metadata.type, size)
        self.field_name, self.key = field_name, key
        self.sha256, self.digests = metadata.sha256, metadata.digests
        self.entry, self.url = None, None

    def _mark_published(self, entry: Entry) -> None:
        locations = [] if entry.reply is None else [entry.reply.location]
        locations += [copy.own_location for copy in entry.copies if copy.required]
        self.entry, self.key = entry, entry.key
        self.url = next((location for location in locations if location), None)


class _NoBytes(io.RawIOBase):
    """The inside of a file whose bytes are at the destination."""

    def __init__(self, key: str) -> None:
        self._key = key

    def readinto(self, buffer: object) -> NoReturn:
        raise BadOrder(
            f"This file is at its destination already, as {self._key!r}; read it there"
        ).for_operator()


class DraftedFiles:
    """The files of one form as drafts at their destination. `publish` and `discard` end them."""

    def __init__(
        self, form: LiveForm, settings: Settings, query: Mapping[str, str], length: int | None
    ) -> None:
        """Returns when the form was read to its end.

        Raises what reading and drafting raise; then nothing is left.
        """
        self.looked_at = False  # by the view, as request.FILES
        self.entries: list[Entry] = []
        self._thread = RequestThread()
        self._publishes: Future[bool] = Future()  # the view's decision
        self._drafted: Future[list[StoredFile]] = Future()
        self._outcome = self._thread.start(self._store(form, settings, query, length))
        self._outcome.add_done_callback(self._pass_on_failure)
        self.files: list[StoredFile] = self._thread.wait(self._drafted)

    def publish(self) -> list[Entry]:
        """Publish all of the files or, after an error, none. A second call does nothing."""
        if not self._publishes.done():
            self._publishes.set_result(True)
            self.entries = self._thread.wait(self._outcome)
            for file, entry in zip(self.files, self.entries, strict=True):
                file._mark_published(entry)
        return self.entries

    def discard(self) -> None:
        """Remove what was not published."""
        if not self._publishes.done():
            self._publishes.set_result(False)
            self._thread.wait(self._outcome)

    def _pass_on_failure(self, outcome: Future[list[Entry]]) -> None:
        if not self._drafted.done():
            self._drafted.set_exception(
                outcome.exception() or StoreFailed("The form was not read to its end")
            )

    async def _store(
        self, form: LiveForm, settings: Settings, query: Mapping[str, str], length: int | None
    ) -> list[Entry]:
        upload_service = _upload_service(settings)
        names: list[str] = []  # of the files' fields
        fields: list[tuple[str, str]] = []  # grows while the form arrives
        walk = iter(form)
        try:
            async with upload_service.receive(length=length) as session:
                while (part := await self._thread.call(next, walk, None)) is not None:
                    if isinstance(part, LiveFile):
                        names.append(part.name)
                        await session.take(
                            PassingSource(_pieces(self._thread, part)),
                            _upload_request(part, fields, query),
                            size=part.size,
                        )
                    elif part.name != CSRF_FIELD:  # the token is between this site and its user
                        fields.append((part.name, part.value))
                self._drafted.set_result(
                    [
                        StoredFile(name, *draft)
                        for name, draft in zip(names, session.drafted, strict=True)
                    ]
                )
                if not await asyncio.wrap_future(self._publishes):
                    return []  # to leave is to discard
                return await session.publish()
        finally:
            await upload_service.aclose()


class RequestFiles(_FileDict):
    """`request.FILES`, which notes that a view looked at it: files it overlooked are discarded."""

    def __init__(self, drafted: DraftedFiles) -> None:
        super().__init__()
        for file in drafted.files:
            self.appendlist(file.field_name, file)
        self._drafted = drafted

    def __getitem__(self, key: str) -> Any:
        self._drafted.looked_at = True
        return super().__getitem__(key)

    def _getlist(self, key: str, default: Any = None, force_list: bool = False) -> Any:
        if "_drafted" in vars(self):
            self._drafted.looked_at = True
        # what getlist calls in Django; the stubs leave it out
        return super()._getlist(key, default, force_list)  # type: ignore[misc]

    def lists(self) -> Any:
        self._drafted.looked_at = True
        return super().lists()


def _upload_service(settings: Settings) -> UploadService:
    budget = Budget(settings.budget)
    try:
        store = open_destination(settings, budget)
    except OSError as error:
        raise StoreFailed(
            f"The destination cannot be opened ({error.strerror}); check that its folder can be "
            "created"
        ) from error
    return UploadService(
        store,
        budget,
        ProgressTable(),
        template=KeyTemplate(settings.key_template),
        digests=settings.digests,
        max_size=settings.max_upload_bytes,
        undo_locks=open_undo_locks(settings, store),
    )


async def _pieces(thread: RequestThread, file: LiveFile) -> AsyncIterator[bytes]:
    while piece := await thread.call(file.read1):
        yield piece


def _upload_request(
    part: LiveFile, fields: list[tuple[str, str]], query: Mapping[str, str]
) -> UploadRequest:
    name = clean_name(part.filename)
    return UploadRequest(
        filename=name,
        type=kept_type(part.content_type, name),
        field=part.name,
        fields=fields,
        values=query,
        size_is_certain=False,
        folders=clean_folders(part.filename),
    )
