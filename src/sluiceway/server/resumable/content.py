"""The content of a creation or an append: how long it says the upload is, its bytes, its end.

Used by the requests of every version; knows no fields of responses but those of its errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import InconsistentLength, SluiceError, TooLarge
from sluiceway.pipe.source import Source
from sluiceway.pipe.stages import Stages
from sluiceway.server.log.access import STAGES
from sluiceway.server.operator_log import CODE, answered_with
from sluiceway.server.request_body import BodySource, content_length
from sluiceway.server.request_headers import file_digests
from sluiceway.server.responses import problem_response, receipt
from sluiceway.server.resumable.interim import Interim
from sluiceway.server.resumable.said_length import said_length
from sluiceway.server.resumable.up_to import UpTo
from sluiceway.stores.contract import Entry, Store
from sluiceway.uploads.ledger.record import FinalResponse, UploadRecord
from sluiceway.uploads.resumable.held import HeldUpload
from sluiceway.uploads.rules import check_no_bytes
from sluiceway.wire.headers.object_digests import wanted_digest, wished_headers
from sluiceway.wire.resumable import Announcement

__all__ = [
    "agreed_length",
    "as_final",
    "finish",
    "repeated_response",
    "settled_length",
    "take_body",
]

OF_THE_BODY = (b"content-type", b"content-encoding", b"content-digest", b"content-md5")


def agreed_length(
    request: Request, announcement: Announcement, offset: int, complete: bool
) -> int | None:
    """The length of the whole upload, as far as this request says it.

    Raises InconsistentLength where it says two, or brings more than it says.
    """
    size, length = content_length(request), announcement.length
    end = None if size is None else offset + size
    if complete and end is not None:
        if length is not None and length != end:
            raise InconsistentLength(
                f"Upload-Length is {length}, and the content of this request ends at {end}"
            )
        return end
    if length is not None and length < (offset if end is None else end):
        raise InconsistentLength(f"Upload-Length is {length}; the upload has more bytes than that")
    return length


async def settled_length(
    held: HeldUpload, request: Request, announcement: Announcement, complete: bool
) -> int | None:
    """The length of the upload as this request tells it, too; None where it does not.

    Raises InconsistentLength where another one is known. An upload with more bytes than it was
    said to have ends: what its client sends is not what it announced.
    """
    record, size = held.record, content_length(request)
    if record.length is not None and size is not None and record.offset + size > record.length:
        await _spoil(held)
    length = agreed_length(request, announcement, record.offset, complete)
    if length is not None and record.length not in (None, length):
        raise InconsistentLength(
            f"The upload has {record.length} bytes, as it was said before, and not {length}"
        )
    return length


async def take_body(
    request: Request,
    held: HeldUpload,
    store: Store,
    interim: Interim | None,
    expected: Mapping[str, bytes],
    length: int | None = None,
    stop: int | None = None,
) -> None:
    """Append the content, whose digests are `expected`. The `length` of the upload is written down
    unless the content is refused. `stop`: where the content was said to end.

    Raises what `append`, `expect` and `set_length` raise, and InconsistentLength as above.
    """
    await held.expect(whole := file_digests(request), later=True)
    request.scope[STAGES] = held.stages, store.traits.name
    async with said_length(held, length):
        if content_length(request) == 0:
            check_no_bytes(expected)
            return
        if held.record.offset == 0 and (wish := wanted_digest(request.headers)):
            await held.want(wish)
        try:
            await held.append(
                _source(request, held, stop),
                expected,
                None if interim is None else interim.progress,
            )
        except TooLarge:
            if held.record.length is None:
                raise
            await _spoil(held)
    await held.expect(whole)


async def finish(
    request: Request, held: HeldUpload, store: Store, interim: Interim | None = None
) -> FinalResponse:
    """The client has said that these were all bytes. Raises InconsistentLength if they are not."""
    if held.record.length is None:
        await held.set_length(held.record.offset)
    if not held.is_whole:
        raise InconsistentLength(
            f"{held.record.offset} bytes have arrived and the upload has {held.record.length}; "
            "append the rest"
        )

    await held.expect(file_digests(request))
    if wish := wanted_digest(request.headers):
        await held.want(wish)

    def respond(outcome: Entry | SluiceError) -> FinalResponse:
        if isinstance(outcome, SluiceError):
            return as_final(problem_response(outcome), {})
        response = receipt(
            request, store.traits, held.record.id, held.stages, [outcome], replaced=held.replaced
        )
        wanted = held.record.request.wanted
        if wanted and outcome.reply is None:  # some request asked
            named = wished_headers(outcome.metadata.digests, request.headers, wanted)
            for name, value in named.items():
                response.headers[name] = value
        return as_final(response, {})

    async with nullcontext() if interim is None else interim.waiting(held.record.offset):
        response = await held.finish(respond)
    if held.error is not None:  # of another kind, it would have been raised
        answered_with(request.scope, held.error)
    return response


async def repeated_response(request: Request, store: Store, record: UploadRecord) -> FinalResponse:
    """What the last request of a finished upload got.

    Where the process that published died before it could write it down, it is made anew. Raises
    NotFound where the file has gone since.
    """
    request.scope[CODE] = record.code  # of a refusal
    if record.response is not None:
        return record.response
    entry = await store.stat(record.key)
    return as_final(receipt(request, store.traits, record.id, Stages(), [entry]), {})


def as_final(response: Response, more: dict[str, str]) -> FinalResponse:
    """A response in the form in which it is written down. Of another server's body, only text."""
    try:
        body = bytes(response.body).decode()
    except UnicodeDecodeError:
        body = ""
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in response.raw_headers
        if name != b"content-length" and (body or name not in OF_THE_BODY)
    ]
    return FinalResponse(response.status_code, (*headers, *more.items()), body)


def _source(request: Request, held: HeldUpload, stop: int | None) -> Source:
    source = BodySource(request, held.stages)
    if stop is None or source.length is not None:
        return source
    text = "The request has more content than its Content-Range says; what is beyond is not kept"
    return UpTo(source, stop - held.record.offset, InconsistentLength(text))


async def _spoil(held: HeldUpload) -> None:
    length = held.record.length
    await held.cancel("inconsistent-length")
    raise InconsistentLength(
        f"The upload was said to have {length} bytes and got more; it has ended. Begin a new one"
    )
