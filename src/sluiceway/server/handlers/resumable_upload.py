"""HEAD, PATCH and DELETE /uploads/{id}: the offset, more bytes, the end.

A new request for an upload interrupts the one that still runs. Of another protocol's upload it
says that there is none, and interrupts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import BadRequest, CompletedUpload, SluiceError, Unsupported
from sluiceway.server.mounted.held_uploads import held_upload
from sluiceway.server.operator_log import CODE
from sluiceway.server.request_body import check_body, content_length
from sluiceway.server.request_headers import content_digests, file_digests, joined_headers
from sluiceway.server.resumable.content import finish, repeated_response, settled_length, take_body
from sluiceway.server.resumable.fields import (
    check_active,
    check_dialect,
    fields_of,
    limits_of,
    no_limits,
    offset_mismatch,
    refusal,
    replayed,
    version_or_final,
)
from sluiceway.server.resumable.interim import Interim
from sluiceway.server.resumable.repeated import check_stored, is_last_append
from sluiceway.uploads.keys import checked_id
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.resumable.joining import join_tail
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.rules import check_no_bytes
from sluiceway.uploads.service import UploadService
from sluiceway.wire.headers.media_types import essence
from sluiceway.wire.resumable import (
    PARTIAL_UPLOAD,
    Announcement,
    ProtocolVersion,
    UploadLimits,
    check_creation,
    parse_announcement,
    parse_version,
)
from sluiceway.wire.tus import MOST_PARTIALS, PARTS

__all__ = ["ResumableHandler", "limits_here", "show_limits"]

_OF_UPLOADS = ("upload-offset", "upload-complete", "upload-incomplete")


def limits_here(uploads: ResumableUploads | None, max_size: int | None) -> UploadLimits:
    """What any upload may have here, at most `max_size` bytes."""
    return no_limits(max_size) if uploads is None else limits_of(uploads)


def show_limits(
    request: Request, uploads: ResumableUploads | None, max_size: int | None
) -> dict[str, str]:
    """The headers of OPTIONS: what an upload may have here, at most `max_size` bytes."""
    version = version_or_final(request)
    limits = limits_here(uploads, max_size).write(version)
    fields = {"Upload-Limit": limits, "Accept-Patch": PARTIAL_UPLOAD}
    if version.number is not None:
        fields["Upload-Draft-Interop-Version"] = str(version.number)
    return fields


@dataclass(frozen=True, slots=True)
class ResumableHandler:
    """One request to an upload. Each method is a step that `answered` takes, with `refused`."""

    request: Request
    upload_service: UploadService
    uploads: ResumableUploads
    interim: str = ""  # the setting, for an append

    async def refused(self, error: SluiceError) -> Response:
        return await refusal(self.request, self.uploads, error)

    async def show(self) -> Response:
        """204 with the offset, from which an append is accepted."""
        version = self._bodiless_version()
        record = await self.uploads.at_rest((await self._find(version)).id)
        check_active(version, record)
        fields = fields_of(version, self.uploads, record) | {"Cache-Control": "no-store"}
        if record.code and record.response is not None:
            self.request.scope[CODE] = record.code
            return replayed(record.response, fields)  # refused for good: nothing is stored
        return Response(status_code=204, headers=fields)

    async def append(self) -> Response:
        """204 (or 201) with the new offset, or the final response."""
        headers = joined_headers(self.request)
        version = parse_version(headers)
        check_creation(version, headers)
        announcement = parse_announcement(version, headers)
        offset = _offset(version, announcement, headers.get("content-type", ""))
        check_body(self.request, may_lack=True)
        expected = content_digests(self.request)
        complete = announcement.complete is not False
        record = await self._find(version)
        async with held_upload(self.request, self.uploads, record.id) as held:
            check_active(version, held.record)
            if held.record.state is LedgerState.DONE:
                return await self._repeated(version, held.record, announcement, expected)
            if offset != held.record.offset:
                raise offset_mismatch(held.record, offset)
            store = self.upload_service.store
            if PARTS in headers:
                await self._join(held, complete, headers[PARTS], expected)
                response = await finish(self.request, held, store)
                return replayed(response, fields_of(version, self.uploads, held.record))
            length = await settled_length(held, self.request, announcement, complete)
            interims = Interim(self.request, version, self.interim)
            await take_body(self.request, held, store, interims, expected, length)
            if complete:
                response = await finish(self.request, held, store, interims)
                return replayed(response, fields_of(version, self.uploads, held.record))
            fields = fields_of(version, self.uploads, held.record)
        return Response(status_code=version.unfinished_append, headers=fields)

    async def _join(
        self, held: HeldUpload, complete: bool, text: str, expected: Mapping[str, bytes]
    ) -> None:
        """The missing bytes are partial uploads of tus that came beside this one.

        Raises BadRequest.
        """
        ids = [checked_id(each) for each in text.split()]
        is_list = 0 < len(ids) == len(set(ids)) <= MOST_PARTIALS
        if not complete or content_length(self.request) != 0 or not is_list:
            raise BadRequest(
                f"Upload-Parts has 1 to {MOST_PARTIALS} different ids, and stands in a last append "
                "without bytes of its own"
            )
        check_no_bytes(expected)
        await join_tail(self.uploads, held, ids)

    async def _repeated(
        self,
        version: ProtocolVersion,
        record: UploadRecord,
        announcement: Announcement,
        expected: Mapping[str, bytes],
    ) -> Response:
        """The last append once more: its response was lost. Raises for any other one."""
        await check_stored(self.uploads, record, file_digests(self.request))
        if not await is_last_append(self.request, self.uploads, record, announcement, expected):
            complete_text = "The upload is complete; its file is stored, or was refused"
            if version.knows_completed:
                raise CompletedUpload(complete_text)
            offset = announcement.offset or 0
            if offset == record.offset:  # a 409 that names this offset would be sent in circles
                raise BadRequest(f"{complete_text}, and takes no more bytes")
            raise offset_mismatch(record, offset)
        response = await repeated_response(self.request, self.upload_service.store, record)
        return replayed(response, fields_of(version, self.uploads, record))

    async def cancel(self) -> Response:
        """204."""
        version = self._bodiless_version()
        record = await self._find(version)
        async with held_upload(self.request, self.uploads, record.id, cancels=True) as held:
            check_active(version, held.record)
            await held.cancel("cancelled")
        return Response(status_code=204)

    def _bodiless_version(self) -> ProtocolVersion:
        """Of HEAD and DELETE. Raises BadRequest for fields that only an append has."""
        version = version_or_final(self.request)
        if version.refuses_extra_fields:
            known = (*_OF_UPLOADS, "upload-length") if version.has_limits else _OF_UPLOADS
            extra = [field for field in known if field in self.request.headers]
            if extra:
                raise BadRequest(f"{extra[0]} stands in requests with content; leave it out")
        return version

    async def _find(self, version: ProtocolVersion) -> UploadRecord:
        record = await self.uploads.find(str(self.request.path_params["id"]))
        check_dialect(record)
        check_active(version, record)
        return record


def _offset(version: ProtocolVersion, announcement: Announcement, content_type: str) -> int:
    """Raises Unsupported, and BadRequest for an append that lacks a field."""
    if version.partial_type and essence(content_type) != PARTIAL_UPLOAD:
        text = f"An append needs Content-Type: {PARTIAL_UPLOAD}"
        raise Unsupported(text, accept_patch=PARTIAL_UPLOAD)
    if announcement.offset is None:
        raise BadRequest("An append needs Upload-Offset, a number of bytes")
    if announcement.complete is None and version.must_say_complete:
        raise BadRequest("An append needs Upload-Complete: ?1 with the last bytes, else ?0")
    return announcement.offset
