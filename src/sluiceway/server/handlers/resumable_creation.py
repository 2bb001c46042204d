"""POST /files and PUT /files/{key} with Upload-Complete: an upload that may come in pieces.

The whole file at once (?1), of which a cut loses nothing when the client got the URL by a 104; a
first piece; or no byte, to learn the URL. `intake` reads what any upload says of its file.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import BadRequest
from sluiceway.server.intake import check_length, posted_request, put_request
from sluiceway.server.mounted.held_uploads import create_upload, held_upload
from sluiceway.server.request_headers import content_digests, joined_headers
from sluiceway.server.resumable.content import agreed_length, finish, settled_length, take_body
from sluiceway.server.resumable.fields import (
    DIALECT,
    fields_of,
    limits_of,
    refusal,
    replayed,
    upload_url,
)
from sluiceway.server.resumable.interim import Interim
from sluiceway.server.resumable.kept import answered, note_kept
from sluiceway.server.resumable.whole import WholeFields
from sluiceway.server.whole_body import check_said_length
from sluiceway.stores.contract import UploadRequest
from sluiceway.uploads.keys import checked_id
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.service import UploadService
from sluiceway.wire.resumable import (
    FINAL_FORM,
    Announcement,
    ProtocolVersion,
    UploadLimits,
    check_creation,
    parse_announcement,
    parse_version,
)

__all__ = ["Creation"]


class Creation:
    """A request that creates an upload. Raises BadRequest for one that cannot be understood."""

    def __init__(self, request: Request, interim: str) -> None:
        headers = joined_headers(request)
        self._request = request
        self.version: ProtocolVersion = _version(headers)
        check_creation(self.version, headers)
        self._announcement: Announcement = parse_announcement(self.version, headers)
        if self._announcement.offset:
            raise BadRequest("A creation has no Upload-Offset; append with PATCH to the upload")
        self.complete: bool = self._announcement.complete is not False
        self._interim = Interim(request, self.version, interim)

    @property
    def may_announce(self) -> bool:
        """Whether the client can learn where to go on while it sends."""
        return self._interim.allowed

    def is_whole(self, limits: UploadLimits) -> None:
        """The request brings the whole file and creates no upload: its response comes from the
        target, and nothing can be resumed."""
        WholeFields(self.version, limits).begin(self._request.scope)

    async def respond(
        self, upload_service: UploadService, uploads: ResumableUploads | None, key: str | None
    ) -> Response:
        """The response; `key` is that of a PUT. `uploads`: None where none is resumable now."""
        if uploads is None:
            raise BadRequest(
                "This server stores whole files here, and no pieces; send the whole file in one "
                "request"
            )
        refused = partial(refusal, self._request, uploads)
        step = self._create(upload_service, uploads, key)
        return await answered(self._request.scope, step, refused)

    async def _create(
        self, upload_service: UploadService, uploads: ResumableUploads, key: str | None
    ) -> Response:
        request, store = self._request, upload_service.store
        upload_request = await self._upload_request(upload_service, key)
        check_length(request, upload_service)
        if self.complete:
            check_said_length(request)
        length = agreed_length(request, self._announcement, 0, self.complete)
        expected = {} if self.complete else content_digests(request)
        chosen = request.query_params.get("upload")
        upload = None if chosen is None else checked_id(chosen)
        record = await create_upload(
            request, uploads, DIALECT, upload_request, length, upload=upload
        )
        url = upload_url(request, record.id)
        self._interim.created(url, limits_of(uploads, record).write(self.version))
        if not self.may_announce:
            note_kept(request.scope, 0)  # a client that gets an error does not learn its URL
        async with held_upload(request, uploads, record.id) as held:
            length = await settled_length(held, request, self._announcement, self.complete)
            await take_body(request, held, store, self._interim, expected, length)
            if self.complete:
                response = await finish(request, held, store, self._interim)
                return replayed(response, fields_of(self.version, uploads, held.record))
            fields = fields_of(self.version, uploads, held.record)
        return Response(status_code=201, headers={"Location": url, **fields})

    async def _upload_request(
        self, upload_service: UploadService, key: str | None
    ) -> UploadRequest:
        if key is None:
            return posted_request(self._request, upload_service, whole=self.complete)
        return await put_request(self._request, upload_service, key, whole=self.complete)


def _version(headers: Mapping[str, str]) -> ProtocolVersion:
    """Raises BadRequest for a version that is not known here, if the request may bring a piece."""
    try:
        return parse_version(headers)
    except BadRequest:
        if parse_announcement(FINAL_FORM, headers).complete:
            return FINAL_FORM
        raise
