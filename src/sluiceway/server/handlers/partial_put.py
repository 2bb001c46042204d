"""PUT /files/{key} in pieces, found again by the key: curl -C, Content-Range, Upload-Offset.

Every piece begins where the kept bytes end, else 409 says where that is. 308 asks for more, as
Google's resumable uploads do; the last piece is answered as a PUT of the whole file.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import (
    BadRequest,
    InconsistentLength,
    NotFound,
    OffsetMismatch,
    Superseded,
)
from sluiceway.server.door.counted_send import MORE_HEADERS
from sluiceway.server.intake import check_length, put_request
from sluiceway.server.mounted.held_uploads import decided, held_upload
from sluiceway.server.operator_log import answered_with
from sluiceway.server.request_body import check_body, content_length
from sluiceway.server.request_headers import content_digests, file_digests, joined_headers
from sluiceway.server.responses import problem_response
from sluiceway.server.resumable.content import finish, repeated_response, take_body
from sluiceway.server.resumable.fields import replayed
from sluiceway.server.resumable.kept import kept_offset
from sluiceway.server.resumable.repeated import check_stored, is_last_append
from sluiceway.server.streaming import raw_headers
from sluiceway.stores.contract import UploadRequest
from sluiceway.uploads.ledger.record import BASE, UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.by_key import (
    REPLACED,
    base_of,
    is_outdated,
    make_by_key,
    upload_of,
)
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.service import UploadService
from sluiceway.wire.names import check_key
from sluiceway.wire.partial_put import FilePiece, is_piece, kept_range, parse_piece
from sluiceway.wire.resumable import Announcement

__all__ = ["is_partial", "put_piece"]

RESUME_INCOMPLETE = 308
GRACE = 0.1  # seconds
BEGIN_AGAIN = 20  # times that an upload is begun which another request ends meanwhile
ASK_AGAIN = 5  # times that a question is asked again which a newer request interrupted


def is_partial(request: Request) -> bool:
    """Whether a PUT brings a piece of its file, or asks how much of it is there."""
    return is_piece(request.headers)


async def put_piece(request: Request, upload_service: UploadService, key: str) -> Response:
    """Raises BadRequest where this destination keeps no pieces."""
    uploads = await upload_service.resumable_now()
    if uploads is None:
        raise BadRequest(
            "This request brings a piece of a file, and this server keeps whole files only here; "
            "send the whole file in one request"
        )
    return await _PiecePut(request, upload_service, uploads, key).respond()


class _PiecePut:
    def __init__(
        self,
        request: Request,
        upload_service: UploadService,
        uploads: ResumableUploads,
        key: str,
    ) -> None:
        self._request, self._upload_service, self._uploads = request, upload_service, uploads
        self._key = check_key(key, upload_service.store.traits.max_key_bytes)
        self._piece: FilePiece = parse_piece(joined_headers(request), content_length(request))

    @property
    def _upload(self) -> str:
        return upload_of(self._key, self._uploads.grant.owner)

    @property
    def _is_empty_file(self) -> bool:
        """Whether the question is about one, of which it brings all bytes."""
        return self._piece.start is None and self._piece.length == 0

    async def respond(self) -> Response:
        try:
            if self._piece.start == 0:
                return await self._begin()
            found = await self._find()
            if found is None and await self._may_come():
                found = await self._find()
            return found if found is not None else await self._nothing_kept()
        except OffsetMismatch as error:
            answered_with(self._request.scope, error)
            response = problem_response(error)
            for name, value in kept_range(kept_offset(error) or 0).items():
                response.headers[name] = value
            return response
        except Superseded as error:
            if (offset := kept_offset(error)) is not None:
                self._request.scope.setdefault(MORE_HEADERS, raw_headers(kept_range(offset)))
            raise

    async def _find(self) -> Response | None:
        """None where nothing is kept."""
        upload = self._upload
        for _ in range(ASK_AGAIN if self._piece.start is None else 0):
            with suppress(Superseded):  # a newer request has it just now
                return await self._find_once(upload)
        return await self._find_once(upload)

    async def _find_once(self, upload: str) -> Response | None:
        puts, asks = self._uploads.plain_puts, self._piece.start is None
        await puts.settle(upload)
        if await self._uploads.look_up(upload) is None:
            return None
        if asks and (puts.small or await self._uploads.ledger.may_be_shared()):
            # Another process may not have begun with a PUT that came before the question, and a
            # small one has not looked yet. What is here belongs to an older one then.
            await asyncio.sleep(GRACE)
            await puts.settle(upload)
        async with AsyncExitStack() as stack:
            taken = held_upload(self._request, self._uploads, upload, brief=asks)
            try:
                held = await stack.enter_async_context(taken)
            except NotFound:  # it has just gone
                return None
            return await self._go_on(held)

    async def _may_come(self) -> bool:
        """Whether another process may have bytes of which nothing is known here yet."""
        if self._is_empty_file:
            return False
        return await self._uploads.plain_puts.has_new_elsewhere(self._upload)

    async def _begin(self) -> Response:
        upload_request = await put_request(
            self._request, self._upload_service, self._key, whole=False
        )
        check_length(self._request, self._upload_service)
        expected = content_digests(self._request)
        length = self._piece.length
        upload_request = await decided(
            self._request, self._uploads, self._upload, upload_request, length
        )
        await self._uploads.plain_puts.overtake(self._upload)
        for _ in range(BEGIN_AGAIN):
            if (response := await self._begin_once(upload_request, expected)) is not None:
                return response
        raise Superseded("", offset=0)

    async def _begin_once(
        self, upload_request: UploadRequest, expected: dict[str, bytes]
    ) -> Response | None:
        """None where another request ended the upload before this one had it."""
        uploads, length = self._uploads, self._piece.length
        upload = await make_by_key(uploads, self._key, upload_request, length)
        async with AsyncExitStack() as stack:
            try:
                taken = held_upload(self._request, uploads, upload)
                held = await stack.enter_async_context(taken)
            except NotFound:
                return None
            if held.record.state is LedgerState.GONE:
                return None
            await held.restart(
                upload_request, length, {BASE: await base_of(uploads, upload_request.key)}
            )
            return await self._take(held, expected)

    async def _go_on(self, held: HeldUpload) -> Response | None:
        piece = self._piece
        if held.record.state is not LedgerState.GONE and await is_outdated(
            self._uploads, held.record
        ):
            await held.cancel(REPLACED)
        record = held.record
        if record.state is LedgerState.GONE:
            return None
        if record.state is LedgerState.DONE and record.offset and self._is_empty_file:
            return None  # it begins here, as that of another length would
        if piece.length is not None and record.length not in (None, piece.length):
            raise InconsistentLength(
                f"The file was said to have {record.length} bytes before, and now {piece.length}; "
                "send it from its beginning"
            )
        if record.state is LedgerState.DONE:
            return await self._repeated(held.record)
        if piece.start is None:
            return await self._show(held)
        if piece.start != record.offset:
            raise _mismatch(record.offset, piece.start)
        check_body(self._request)
        expected = content_digests(self._request)
        return await self._take(held, expected)

    async def _take(self, held: HeldUpload, expected: dict[str, bytes]) -> Response:
        """With all of its own digests checked, or nothing of the piece counts."""
        store = self._upload_service.store
        piece = self._piece
        await take_body(self._request, held, store, None, expected, piece.length, piece.stop)
        if piece.last:
            return replayed(await finish(self._request, held, store), {})
        return _incomplete(held.record.offset)

    async def _show(self, held: HeldUpload) -> Response:
        """How much is kept. Where that is all, the client's last response was lost."""
        length = self._piece.length
        if length is not None and length < held.record.offset:
            raise InconsistentLength(
                f"{held.record.offset} bytes of the file are kept, and it is now said to have "
                f"{length}; send it from its beginning"
            )
        if held.record.offset == (held.record.length if length is None else length):
            return replayed(await finish(self._request, held, self._upload_service.store), {})
        return _incomplete(held.record.offset)

    async def _repeated(self, record: UploadRecord) -> Response:
        """The question or the piece once more that ended the upload."""
        piece, request = self._piece, self._request
        await check_stored(self._uploads, record, file_digests(request))
        if piece.start is not None:
            said = Announcement(None, piece.start, piece.length)
            sent = content_digests(request)
            if not await is_last_append(request, self._uploads, record, said, sent):
                raise _mismatch(record.offset, piece.start)
        store = self._upload_service.store
        return replayed(await repeated_response(self._request, store, record), {})

    async def _nothing_kept(self) -> Response:
        if self._is_empty_file:
            return await self._begin()
        if self._piece.start is None:
            return _incomplete(0)
        raise _mismatch(0, self._piece.start)


def _incomplete(offset: int) -> Response:
    headers = {"Cache-Control": "no-store", "Upload-Complete": "?0", **kept_range(offset)}
    return Response(status_code=RESUME_INCOMPLETE, headers=headers)


def _mismatch(offset: int, provided: int) -> OffsetMismatch:
    return OffsetMismatch(
        f"{offset} bytes of the file are kept, and this piece begins at {provided}; send it from "
        f"byte {offset} on",
        **{"expected-offset": offset, "provided-offset": provided},
    )
