"""tus 1.0.0: POST /files creates an upload; HEAD, PATCH and DELETE /uploads/{id} go on with it.

Reads and writes headers; `wire.tus` parses them, `uploads.resumable` has the rules. Each response
names the version, errors included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import (
    BadRequest,
    Forbidden,
    Locked,
    SluiceError,
    Superseded,
    Unsupported,
)
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.intake import put_request
from sluiceway.server.mounted.held_uploads import create_part, create_upload, held_upload
from sluiceway.server.operator_log import log_error
from sluiceway.server.request_body import check_body, content_length
from sluiceway.server.request_headers import joined_headers, query_values
from sluiceway.server.resumable.fields import upload_url
from sluiceway.server.resumable.kept import note_kept
from sluiceway.server.resumable.tus_content import Expected, check_empty, digests_sent, take_body
from sluiceway.server.resumable.tus_responses import (
    DIALECT,
    check_taken,
    described,
    expires,
    final_response,
    refusal,
    stored_at,
    tus_response,
)
from sluiceway.stores.contract import UploadRequest
from sluiceway.uploads.keys import checked_id, id_from
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.resumable.joining import find_parts, join_parts, length_of
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.service import UploadService
from sluiceway.wire.headers.media_types import essence, kept_type
from sluiceway.wire.names import clean_folders, clean_name
from sluiceway.wire.tus import (
    CHECKSUMS,
    EXTENSIONS,
    JOINS_NAMED,
    JOINS_ONCE,
    OFFSET_STREAM,
    ONCE_KEY,
    PART_OF,
    VERSION,
    Concatenation,
    TusCreation,
    check_version,
    name_in,
    parse_creation,
    parse_length,
    parse_offset,
    type_in,
)

__all__ = ["TusHandler", "is_tus", "names_file"]

CREATIONS = ("upload-length", "upload-defer-length", "upload-concat")
OTHERS = ("upload-complete", "upload-incomplete", "upload-draft-interop-version")  # of the IETF
# Headers of the last response: where the file is, and how long it lasts
OF_A_FILE = {"content-location", "x-expires", "x-retained-until"}
PART = "partial"  # of Upload-Concat: bytes of another upload
# Keys of Upload-Metadata: how long the file is to last.
TIMES = ("expires", "retain", "max_downloads")


def is_tus(request: Request) -> bool:
    """Whether the request speaks tus, perhaps without the version that each request must have."""
    headers = request.headers
    if "tus-resumable" in headers:
        return True
    if any(name in headers for name in OTHERS):
        return False  # also with the type of tus: tus-js-client sends it in its first IETF mode
    if "upload-defer-length" in headers or "upload-concat" in headers:
        return True
    announced = headers.get("upload-length", "0").strip() != "0"
    empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
    return (announced and empty) or essence(headers.get("content-type", "")) == OFFSET_STREAM


def names_file(request: Request) -> bool:
    """Whether a PUT is a creation of tus, for the key of its URL."""
    headers = request.headers
    return "tus-resumable" in headers and any(name in headers for name in CREATIONS)


@dataclass(frozen=True, slots=True)
class TusHandler:
    """One request of tus. Each method is a step that `answered` takes, with `refused`."""

    request: Request
    upload_service: UploadService
    uploads: ResumableUploads

    async def refused(self, error: SluiceError) -> Response:
        return await refusal(self.request, self.uploads, error)

    def options(self) -> Response:
        """What this server speaks. Tus-Resumable of the request does not matter here."""
        lacks = set() if PROTOCOL in self.request.scope else {"checksum-trailer"}
        if not self._joins:
            lacks |= {"concatenation", "concatenation-unfinished"}
        headers = {
            "Tus-Version": VERSION,
            "Tus-Extension": ",".join(name for name in EXTENSIONS if name not in lacks),
            "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
        }
        if self._joins:
            headers[JOINS_ONCE] = f"{ONCE_KEY}, {JOINS_NAMED}"
        if self.uploads.max_size is not None:
            headers["Tus-Max-Size"] = str(self.uploads.max_size)
        return tus_response(204, headers)

    async def create(self, key: str | None) -> Response:
        """POST /files: 201 with the URL of the upload; bytes of the body are its first ones.

        `key` is that of a PUT, which may create an upload, too.
        """
        request = self.request
        headers = joined_headers(request)
        check_version(headers)
        check_body(request, may_lack=True)
        creation = parse_creation(headers)
        length, details = creation.length, {"metadata": creation.metadata_text}
        join: str | None = None  # its id, where it has a key
        expected = digests_sent(request)
        check_empty(request, expected)
        if (concatenation := creation.concatenation) is not None:
            ids = self._part_ids(concatenation)
            details["concat"] = concatenation.text
            if concatenation.is_final:
                if once := headers.get(ONCE_KEY):
                    join = id_from(once, *ids)
                    if await self.uploads.look_up(join) is not None:
                        return await self._joined_before(join)
                length, details["parts"] = await self._length_of(ids), " ".join(ids)
        is_part, is_join = details.get("concat") == PART, "parts" in details
        if is_part and PART_OF in headers:
            whole = checked_id(headers[PART_OF])
            record = await create_part(request, self.uploads, DIALECT, whole, length, details)
        else:
            upload_request = await self._upload_request(creation, key)
            record = await create_upload(
                request,
                self.uploads,
                DIALECT,
                upload_request,
                length,
                details,
                upload=join,
                part=is_part,
            )
        note_kept(request.scope, 0)  # a client that gets an error does not learn its URL
        has_bytes = essence(headers.get("content-type", "")) == OFFSET_STREAM and not is_join
        if has_bytes or is_join or length == 0:
            return await self._begin(record.id, expected if has_bytes else None, join)
        return tus_response(201, {"Location": self._place(record.id)} | expires(record))

    async def _begin(self, upload: str, expected: Expected | None, join: str | None) -> Response:
        """The response to a creation that has bytes, with these digests, or is whole without."""
        found = {"Location": self._place(upload)}
        async with held_upload(self.request, self.uploads, upload) as held:
            try:
                if expected is not None:
                    await take_body(self.request, held, expected)
                    found["Upload-Offset"] = str(held.record.offset)
                found |= await self._finished(held)
            except SluiceError as error:
                is_same_join = join is not None and isinstance(error, Superseded)  # once more
                if held.record.state is LedgerState.OPEN and not is_same_join:
                    await held.cancel("cancelled", error)  # its client does not learn its URL
                raise
            return tus_response(201, found | expires(held.record))

    async def _upload_request(self, creation: TusCreation, key: str | None) -> UploadRequest:
        if key is not None:
            return await put_request(self.request, self.upload_service, key, whole=False)
        name, kind = name_in(creation.metadata), type_in(creation.metadata)
        filename = clean_name(name) if name else "unnamed"
        asked = query_values(self.request)
        return UploadRequest(
            filename=filename,
            type=kept_type(kind, filename),
            method="POST",
            folders=clean_folders(name) if name else "",
            # the URL at the next server may name them
            values=_times_asked(creation, asked) if self._joins else {**creation.metadata, **asked},
        )

    async def _joined_before(self, upload: str) -> Response:
        """The response to a join that comes again with its key: no second object."""
        async with held_upload(self.request, self.uploads, upload, looks=True) as held:
            check_taken(held.record)
            found = await self._finished(held)
            place = {"Location": self._place(upload)}
            return tus_response(201, place | found | expires(held.record))

    @property
    def _id(self) -> str:
        return str(self.request.path_params["id"])

    def _place(self, upload: str) -> str:
        """Relative to the URL of a POST: right behind each proxy and mount, whatever they strip."""
        if self.request.method == "PUT":
            return upload_url(self.request, upload)
        sent_to = self.request.scope.get("raw_path", b"").partition(b"?")[0]
        return f"../uploads/{upload}" if sent_to.endswith(b"/") else f"uploads/{upload}"

    @property
    def _joins(self) -> bool:
        """A part that was sent on to another server would be a file of its own there."""
        return self.uploads.store.traits.keeps != "whole"

    def _part_ids(self, concatenation: Concatenation) -> list[str]:
        """The parts that a final upload joins. Raises BadRequest."""
        if not self._joins:
            raise BadRequest(
                "This server sends files on while they arrive, and joins no parts; send the file "
                "as one upload"
            )
        if concatenation.is_final and content_length(self.request) != 0:
            raise BadRequest("A final upload has no bytes of its own")
        return [_part_id(url) for url in concatenation.partials]

    async def _length_of(self, ids: Sequence[str]) -> int | None:
        """Bytes of the parts of a final upload, where all are known. Raises BadRequest."""
        parts = await find_parts(self.uploads, ids)
        if any(part.dialect != DIALECT or not part.is_part or part.whole for part in parts):
            raise BadRequest(
                "A final upload joins uploads that were made with Upload-Concat: partial"
            )
        return length_of(parts)

    async def show(self) -> Response:
        """HEAD /uploads/{id}: the offset. A request that still sends to it is interrupted."""
        request = self.request
        check_version(joined_headers(request))
        try:
            async with held_upload(request, self.uploads, self._id, looks=True) as held:
                check_taken(held.record)
                await self._finished(held)
                return tus_response(200, described(held.record) | {"Cache-Control": "no-store"})
        except SluiceError as error:
            if error.status < 500 and not isinstance(error, Superseded):
                raise
            # Clients ask again after this one; after any other error they begin a new upload. One
            # that finds all of its bytes takes the file for stored: it learns the offset only when
            # that is true.
            log_error(error, request.method)
            raise Locked("The upload cannot be looked at now; ask again") from error

    async def append(self) -> Response:
        """PATCH /uploads/{id}: 204 with the new offset."""
        request = self.request
        headers = joined_headers(request)
        check_version(headers)
        if essence(headers.get("content-type", "")) != OFFSET_STREAM:
            raise await self._wrong_type()
        check_body(request, may_lack=True)
        offset, length = parse_offset(headers), parse_length(headers)
        del headers  # half a KiB, as long as a slow body comes
        expected = digests_sent(request)
        async with held_upload(request, self.uploads, self._id) as held:
            check_taken(held.record)
            _check_takes_bytes(held.record)
            held.check_offset(offset)
            await take_body(request, held, expected, length)
            found = await self._finished(held)
            return tus_response(
                204, {"Upload-Offset": str(held.record.offset)} | found | expires(held.record)
            )

    async def _wrong_type(self) -> SluiceError:
        if (record := await self.uploads.look_up(self._id)) is not None:
            _check_takes_bytes(record)
        text = f"A PATCH of tus needs Content-Type: {OFFSET_STREAM}"
        return Unsupported(text, accept_patch=OFFSET_STREAM)

    async def cancel(self) -> Response:
        """DELETE /uploads/{id}: 204. tus calls it termination."""
        check_version(joined_headers(self.request))
        async with held_upload(self.request, self.uploads, self._id, cancels=True) as held:
            if held.record.state is not LedgerState.DONE or held.record.dialect != DIALECT:
                check_taken(held.record)  # one that was refused can be forgotten, too
            await held.cancel("cancelled")
            return tus_response(204, {})

    async def _finished(self, held: HeldUpload) -> dict[str, str]:
        """Publish a whole upload, where it is one. Returns the headers that say so.

        Raises FinallyRefused.
        """
        request = self.request
        record, response = held.record, held.record.response
        if record.state is LedgerState.OPEN and not record.is_part:
            if "parts" in record.details:
                await join_parts(self.uploads, held, record.details["parts"].split())
            if held.is_whole:
                response = await held.finish(lambda outcome: final_response(request, outcome))
                if held.error is not None:
                    log_error(held.error, request.method)  # clients get FinallyRefused
                check_taken(held.record)
        if response is None and held.record.state is LedgerState.DONE:
            # The process that published it ended before it could write its response down.
            return dict([stored_at(request, held.record.key)])
        found = () if response is None else response.headers
        return {name: value for name, value in found if name.lower() in OF_A_FILE}


def _check_takes_bytes(record: UploadRecord) -> None:
    """Raises Forbidden for a final upload."""
    if "parts" in record.details:
        raise Forbidden("A final upload takes no bytes but those of its parts")


def _part_id(url: str) -> str:
    """The id of a part from its URL, absolute or not. Raises BadRequest."""
    folder, _, upload = url.partition("?")[0].rstrip("/").rpartition("/")
    try:
        if {".", ".."} & {*folder.split("/")}:
            raise BadRequest("A path with dots is not a URL of an upload")
        # A separator of another kind would make one URL, and one part, of several.
        if folder.endswith("uploads") and not {",", ";"} & {*url}:
            return checked_id(upload)
    except BadRequest:
        pass
    raise BadRequest(
        "Upload-Concat is final; and the URLs of this server's uploads with spaces between them"
    )


def _times_asked(creation: TusCreation, asked: Mapping[str, str]) -> dict[str, str]:
    """How long the file is to last: from the headers and the query, `asked`, or the metadata."""
    values = {name: text for name in TIMES if (text := creation.metadata.get(name))}
    named = {name: name.removeprefix("x-").replace("-", "_") for name in asked}
    return values | {name: asked[name] for name, plain in named.items() if plain in TIMES}
