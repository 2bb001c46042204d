"""multipart/form-data: any number of files and fields, in any order.

Each file goes from the request through the decoder to its draft while it arrives, without a
temporary file; nothing is published before the form has ended. POST takes any form with a file in
it, PUT a form with exactly one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace as changed
from typing import Self

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import MissingField, TooLarge, Unsupported
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.lending import LentConnection
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import PassingSource
from sluiceway.server.forms.walk import (
    FileBegan,
    FileEnded,
    FormField,
    FormItem,
    FormWalk,
    async_items,
)
from sluiceway.server.intake import PutTarget, begin_upload, publish
from sluiceway.server.request_body import BodySource, check_body, content_length
from sluiceway.server.request_headers import (
    clean_file_name,
    conflict_terms,
    expected_digests,
    query_values,
)
from sluiceway.server.responses import upload_response
from sluiceway.server.resumable.kept import FORM
from sluiceway.server.resumable.whole import note_stored
from sluiceway.server.whole_body import check_whole
from sluiceway.stores.contract import Replace, UploadRequest
from sluiceway.uploads.resumable.adopting import begin_other
from sluiceway.uploads.rules import check_digests
from sluiceway.uploads.service import UploadService
from sluiceway.uploads.session import UploadSession
from sluiceway.wire.forms.decoder import FormLimits
from sluiceway.wire.forms.lent_file import LentFile
from sluiceway.wire.headers.media_types import essence, kept_type
from sluiceway.wire.headers.object_digests import wanted_digest
from sluiceway.wire.names import clean_folders, clean_name

__all__ = ["is_form", "post_form", "put_form"]

BOUNDARY_BYTES = 80  # of one boundary's line: the longest boundary and its dashes
USE_INSTEAD = (
    "Send the file as it is with curl -T FILE, or a form with POST /files. Nothing was stored"
)


def is_form(request: Request) -> bool:
    """Whether the body consists of parts.

    For a PUT only form-data counts: a saved web page is multipart/related, and one file.
    """
    media_type = essence(request.headers.get("content-type", ""))
    if request.method == "PUT":
        return media_type == "multipart/form-data"
    return media_type.startswith("multipart/")


async def post_form(
    request: Request, upload_service: UploadService, limits: FormLimits
) -> Response:
    """POST /files with a form: 201, the entries of its files and the values of its fields."""
    with _FormUpload(request, upload_service, limits) as form:
        async with begin_upload(request, upload_service) as session:
            await form.receive(session)
            if not form.files:
                raise MissingField(
                    "The form has no file: a part is a file if it has a filename (curl -F "
                    "file=@NAME). Nothing was stored"
                )
            entries = await publish(request, upload_service, session)
        note_stored(request.scope, None)
        return upload_response(request, upload_service, session, entries, fields=form.fields)


async def put_form(
    request: Request, upload_service: UploadService, key: str, limits: FormLimits
) -> Response:
    """PUT /files/{key} with a form: the object is its one file, and never the form around it."""
    target = await PutTarget.of(request, upload_service, key)
    with _FormUpload(request, upload_service, limits, target) as form:
        if (uploads := upload_service.resumable) is not None:
            await begin_other(uploads, target.key)
        async with begin_upload(request, upload_service) as session:
            await form.receive(session)
            if not form.files:
                raise MissingField(f"The form has no file, and a PUT stores one. {USE_INSTEAD}")
            entries = await target.publish(request, upload_service, session)
        note_stored(request.scope, None)
        return upload_response(
            request,
            upload_service,
            session,
            entries,
            fields=form.fields,
            replaced=target.replaced(session, entries),
        )


class _FormUpload:
    """One form while it arrives, and the memory that its fields borrow.

    The constructor refuses what can be refused before the first byte.
    """

    def __init__(
        self,
        request: Request,
        upload_service: UploadService,
        limits: FormLimits,
        target: PutTarget | None = None,
    ) -> None:
        check_body(request)
        check_whole(request, form=True)
        self._request, self._upload_service, self._target = request, upload_service, target
        request.scope[FORM] = upload_service.resumable is not None
        length, as_it_is = content_length(request), changed(limits, coded=False)
        self._walk = FormWalk(
            request.headers["content-type"], as_it_is, length, budget=upload_service.budget
        )
        self._check_length(length, limits)
        self._expected = expected_digests(request)
        self._values = query_values(request)
        self._conflict = (Replace(), False)
        if target is None and upload_service.store.traits.readable:
            self._conflict = conflict_terms(request)
        self.fields: list[tuple[str, str]] = []
        self.files: int = 0
        self._body: BodySource | None = None
        self._behind = b""  # what a thread received behind a file

    def _check_length(self, length: int | None, limits: FormLimits) -> None:
        beside_files = (
            limits.max_fields_bytes
            + limits.max_preamble
            + limits.max_epilogue
            + limits.max_parts * BOUNDARY_BYTES
        )
        limit = self._upload_service.max_size
        if limit is not None and length is not None and length > limit + beside_files:
            raise TooLarge(
                f"The form has {length} bytes; this server takes files of at most {limit}",
                limit=limit,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._walk.release()

    async def receive(self, session: UploadSession) -> None:
        """Draft every file and read every field, to the end of the body."""
        digests = Digests(self._expected, self._upload_service.budget)
        items = async_items(self._walk, self._chunks(session, digests), session.stages)
        try:
            async for item in items:
                if isinstance(item, FormField):
                    self.fields.append((item.name, item.value))
                elif isinstance(item, FileBegan):
                    await self._file(session, item, items)
            check_digests(await digests.finish(), self._expected)
        finally:
            await close_stream(items)
            await digests.aclose()

    async def _chunks(self, session: UploadSession, digests: Digests) -> AsyncIterator[bytes]:
        """The body, counted and hashed."""
        body = self._body = BodySource(self._request, session.stages)
        async for chunk in body.open():
            session.record.received += len(chunk)
            await digests.take(chunk)
            yield bytes(chunk)  # the same object: the server sends nothing else
            while self._behind:
                behind, self._behind = self._behind, b""
                yield behind

    async def _file(
        self, session: UploadSession, part: FileBegan, items: AsyncIterator[FormItem]
    ) -> None:
        self.files += 1
        if self._target is not None and self.files > 1:
            raise Unsupported(f"The form has several files, and a PUT stores one. {USE_INSTEAD}")
        await session.take(
            _FileSource(items, lambda: self._lend(session)),
            self._upload_request(part),
            size=part.size,
            counts_received=False,
        )

    def _lend(self, session: UploadSession) -> LentConnection | None:
        """Lend the connection for the file under way, if nothing else need see its bytes."""
        delimiter = self._walk.delimiter
        if delimiter is None or self._expected or self._body is None:
            return None
        if (lent := self._body.lend()) is None:
            return None

        def received(count: int) -> None:
            session.record.received += count

        return LentFile(lent, delimiter, received, self._handed_back)

    def _handed_back(self, taken: int, behind: bytes) -> None:
        self._walk.skip(taken)
        self._behind = behind

    def _upload_request(self, part: FileBegan) -> UploadRequest:
        target, name = self._target, clean_name(part.filename)
        if target is not None:
            given = name if part.filename else clean_name(target.key)
            name = clean_file_name(self._request) or given
        return UploadRequest(
            key="" if target is None else target.key,
            filename=name,
            type=kept_type(part.type, name),
            wanted=wanted_digest(self._request.headers),
            method=self._request.method,
            field=part.name,
            fields=self.fields,
            values=self._values,
            size_is_certain=False,
            replace=self._conflict[0] if target is None else target.replace,
            keeps_both=self._conflict[1],
            folders="" if target is not None else clean_folders(part.filename),
        )


class _FileSource(PassingSource):
    """The file under way. Between two chunks its connection may be lent."""

    def __init__(
        self, items: AsyncIterator[FormItem], lend: Callable[[], LentConnection | None]
    ) -> None:
        super().__init__(_file_bytes(items))
        self.lend: Callable[[], LentConnection | None] = lend


async def _file_bytes(items: AsyncIterator[FormItem]) -> AsyncIterator[bytes]:
    """The bytes of the file under way, up to its end."""
    async for item in items:
        if isinstance(item, FileEnded):
            return
        if isinstance(item, bytes):
            yield item
