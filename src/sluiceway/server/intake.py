"""What every handler that takes files does around their bytes: begin an upload, publish its files.

Knows no format of a body.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from sluiceway.errors import (
    BadRequest,
    BodyCut,
    Exists,
    NotFound,
    PreconditionFailed,
    SluiceError,
    Unsupported,
)
from sluiceway.server.door.counted_send import MORE_HEADERS
from sluiceway.server.door.indexed_request import is_ordinary
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.log.access import STAGES, UPLOAD
from sluiceway.server.mounted.hooks import HOOKS
from sluiceway.server.operator_log import log_error
from sluiceway.server.request_body import check_body, content_length
from sluiceway.server.request_headers import (
    clean_file_name,
    conflict_terms,
    expected_digests,
    file_digests,
    file_name,
    file_type,
    query_values,
    relayed_replace,
    replace_for,
)
from sluiceway.server.resumable.kept import note_kept
from sluiceway.server.streaming import on_client_leaving, raw_headers
from sluiceway.stores.contract import Entry, Replace, UploadRequest
from sluiceway.uploads.keys import checked_id
from sluiceway.uploads.resumable.adopting import SmallPut, adopt
from sluiceway.uploads.resumable.by_key import version_of
from sluiceway.uploads.resumable.plain_puts import PlainPut
from sluiceway.uploads.service import UploadService
from sluiceway.uploads.session import UploadSession
from sluiceway.wire.headers.conditions import has_conditions
from sluiceway.wire.headers.media_types import MOST_TYPE, essence, kept_type
from sluiceway.wire.headers.object_digests import wanted_digest
from sluiceway.wire.names import check_key, clean_folders, clean_name

__all__ = [
    "PutTarget",
    "begin_upload",
    "check_length",
    "keep_cut",
    "named_request",
    "posted_request",
    "publish",
    "put_request",
]

URL_ENCODED = "application/x-www-form-urlencoded"
# Bytes. Before a larger body the key is looked up, so that a refusal saves its client the sending.
# For a smaller one the look would be a fifth of its time, and publishing finds out the same.
LOOK_FROM = 1 << 20


def begin_upload(request: Request, upload_service: UploadService) -> UploadSession:
    """Begin an upload under the id from ?upload=, or a fresh one."""
    chosen = request.query_params.get("upload")
    upload = None if chosen is None else checked_id(chosen)
    session = upload_service.receive(upload, content_length(request))
    if (protocol := request.scope.get(PROTOCOL)) is not None:
        session.client_left = protocol.client_left
    if (hooks := request.scope.get(HOOKS)) is not None:
        hooks.watch(session)
    request.scope[STAGES] = session.stages, upload_service.store.traits.name
    request.scope[UPLOAD] = session
    return session


async def publish(
    request: Request, upload_service: UploadService, session: UploadSession
) -> list[Entry]:
    """Make the files visible.

    Where another server has to accept them and the client leaves meanwhile, the request to that
    server is ended too.
    """
    if not upload_service.store.traits.remote:
        return await session.publish()
    gone = BodyCut("The client left before the destination had answered")
    with on_client_leaving(request.receive, lambda: session.stop(gone)):
        return await session.publish()


async def keep_cut(
    request: Request,
    upload_service: UploadService,
    session: UploadSession,
    upload_request: UploadRequest,
    put: PlainPut | SmallPut | None,
) -> None:
    """Keep what a cut PUT brought, where the destination can: a client may go on by the key. A
    small one is never kept."""
    uploads, draft = upload_service.resumable, session.release_cut()
    if draft is None:
        return
    # An app's on_start may have chosen another key for this request, and for the next one again.
    if uploads is None or put is None or session.app is not None:
        await draft.discard()
        return
    try:
        if isinstance(put, SmallPut):
            await draft.discard()
            await put.forget_older()
            return
        length = content_length(request)
        offset = await adopt(uploads, draft, upload_request, length, put, session.reserved)
    except SluiceError as error:
        log_error(error, request.method)  # the client learns that its body was cut
        return
    if offset:
        session.left = offset
        note_kept(request.scope, offset)
        fields = {"upload-offset": str(offset), "upload-complete": "?0"}
        request.scope.setdefault(MORE_HEADERS, raw_headers(fields))


@dataclass(frozen=True, slots=True)
class PutTarget:
    """The object that a PUT names: its key, whether it was seen, and whether it may be replaced.

    `base` is its version, None where nobody looked.
    """

    key: str
    exists: bool
    replace: Replace
    base: str | None = None

    @classmethod
    async def of(cls, request: Request, upload_service: UploadService, key: str) -> PutTarget:
        """An object that exists is replaced unless a condition forbids it.

        Raises BadName, BadRequest, PreconditionFailed.
        """
        store = upload_service.store
        key = check_key(key, store.traits.max_key_bytes)
        if not store.traits.readable:  # only the destination can check the condition
            return cls(key, False, relayed_replace(request))
        if store.traits.tells_replaced and not _is_worth_a_look(request):
            return cls(key, False, Replace(allowed=True))
        try:
            existing = await store.stat(key)
        except NotFound:
            existing = None
        replace = replace_for(request, existing)
        return cls(key, existing is not None, replace, version_of(existing))

    def replaced(self, session: UploadSession, entries: list[Entry]) -> bool:
        """Whether an object was replaced; an app may have chosen another key."""
        keys = [entry.key for entry in entries]
        if session.tells_replaced:
            return not session.replaced.isdisjoint(keys)
        return self.exists and keys == [self.key]

    async def publish(
        self, request: Request, upload_service: UploadService, session: UploadSession
    ) -> list[Entry]:
        """As `publish` of this module. Raises PreconditionFailed if another client was faster."""
        try:
            return await publish(request, upload_service, session)
        except Exists as error:
            if self.replace.allowed:
                raise
            raise PreconditionFailed(error.detail) from None  # If-None-Match: * still fails


def named_request(request: Request, target: PutTarget, *, whole: bool = True) -> UploadRequest:
    """What a PUT asks for whose body is one file, or with `whole` False a piece of it.

    Raises BadRequest, BadDigest, Unsupported, LengthRequired.
    """
    name = clean_file_name(request) or clean_name(target.key)
    return _upload_request(request, name, target.key, target.replace, whole=whole)


async def put_request(
    request: Request, upload_service: UploadService, key: str, *, whole: bool
) -> UploadRequest:
    """What a PUT asks for whose object is looked up now. As `PutTarget.of` and `named_request`
    raise."""
    target = await PutTarget.of(request, upload_service, key)
    return named_request(request, target, whole=whole)


def posted_request(
    request: Request, upload_service: UploadService, *, whole: bool = True
) -> UploadRequest:
    """The same of a POST: the server makes the key, and a name is optional."""
    _refuse_form_without_files(request)
    name = clean_file_name(request) or "unnamed"
    replace, keeps_both = Replace(), False
    if upload_service.store.traits.readable:  # else ?conflict= is a value for the next server
        replace, keeps_both = conflict_terms(request)
    return _upload_request(request, name, "", replace, keeps_both, whole=whole)


def _upload_request(
    request: Request,
    filename: str,
    key: str,
    replace: Replace,
    keeps_both: bool = False,
    *,
    whole: bool,
) -> UploadRequest:
    check_body(request, may_lack=not whole)
    expected: dict[str, bytes] = {}
    values: dict[str, str] = {}
    wanted = folders = ""
    ordinary = is_ordinary(request)
    if not ordinary:
        expected = expected_digests(request) if whole else file_digests(request)
        wanted = wanted_digest(request.headers)
    if not ordinary or request.scope.get("query_string"):
        values = query_values(request)
        folders = "" if key else clean_folders(file_name(request) or "")
    content_type = file_type(request)
    if len(content_type) > MOST_TYPE:
        raise BadRequest(f"Content-Type has more than {MOST_TYPE} characters; shorten it")
    return UploadRequest(
        key=key,
        filename=filename,
        type=kept_type(content_type, filename),
        expected=expected,
        wanted=wanted,
        method=request.method,
        values=values,
        replace=replace,
        folders=folders,
        keeps_both=keeps_both,
    )


def _refuse_form_without_files(request: Request) -> None:
    """Raises Unsupported for a form without enctype.

    Such a form sends the names of its files and no bytes; stored, it would look like a file. Only
    browsers send Sec-Fetch-Mode: navigate; over plain http they leave it out, but they accept
    text/html. curl --data-binary labels every file as URL-encoded: with a name, it is a file.
    """
    kind = essence(request.headers.get("content-type", ""))
    if kind not in (URL_ENCODED, "text/plain"):
        return
    mode = request.headers.get("sec-fetch-mode", "")
    accepts_page = "text/html" in request.headers.get("accept", "").lower()
    is_page = mode == "navigate" or (not mode and accepts_page)
    if is_page or (kind == URL_ENCODED and clean_file_name(request) is None):
        raise Unsupported(
            "This form cannot carry files, and nothing was stored: add "
            'enctype="multipart/form-data" to the form; with curl use -F. '
            "A body that is the file itself needs its name (?name=) or another Content-Type"
        )


def check_length(request: Request, upload_service: UploadService) -> None:
    """Raises TooLarge for a body whose length says that it is."""
    upload_service.rules.check_size(content_length(request), "body")


def _is_worth_a_look(request: Request) -> bool:
    """Whether the object is looked up before the body comes, and not only when it is replaced."""
    length, headers = content_length(request), request.headers
    if length is None or length >= LOOK_FROM:
        return True
    return not is_ordinary(request) and ("expect" in headers or has_conditions(headers.raw))
