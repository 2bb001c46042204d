"""The next HTTP server as a store: what is drafted here is a request under way, what is published is that server's yes.

Every draft withholds the end of its body until the whole was checked, the last bytes of a known length or the last chunk: a
cut upload never looks complete over there.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from dataclasses import replace as changed
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from sluiceway.client.http.error_responses import refusal
from sluiceway.client.http.redirects import (
    SEE_OTHER,
    follow_redirects,
    redirect_target,
    without_body_headers,
)
from sluiceway.client.http.streaming_request import (
    MOST_RESPONSE,
    EarlyResponse,
    Response,
    StreamingRequest,
)
from sluiceway.client.http.tls import Trust
from sluiceway.client.http.transport import Deadlines, Transport
from sluiceway.errors import (
    BadForm,
    BadRequest,
    NotFound,
    PeerFailed,
    Refused,
    SluiceError,
    StoreFailed,
)
from sluiceway.pipe.budget import Budget, Reservation
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import (
    Draft,
    Entry,
    Metadata,
    ObjectReader,
    Page,
    Replace,
    Traits,
    UploadRequest,
)
from sluiceway.stores.relay.request import (
    Envelope,
    OneUpload,
    build_request,
    fields_size,
    goes_as_form,
)
from sluiceway.stores.relay.response import passable
from sluiceway.stores.relay.url_template import RelayUrl
from sluiceway.wire.urls import origin, redact_url

__all__ = ["Backend", "RelayDraft", "RelayStore"]

FIRST = (
    64 << 10
)  # bytes gathered before a length that is not certain is spoken: what ends before has a sure one
UNDO = 10.0  # seconds the destination gets to delete what it has just made
TAIL = 4 << 10  # bytes withheld of a known length; one would do, a few more cost nothing


@dataclass(frozen=True, slots=True)
class Backend:
    """Where files go and how, as the operator said it."""

    url: RelayUrl
    method: str | None = None  # None: the client's own
    body: str = "same"  # same | raw | form
    form_field: str | None = None  # the file's field in a form; None: as it came, else "file"
    fields: tuple[tuple[str, str], ...] = ()  # sent in every form, before what the client sent
    headers: Mapping[str, str] = field(default_factory=dict)
    answer_headers: frozenset[str] = (
        frozenset()
    )  # of its answers, in lower case, that pass besides the usual ones
    expect: bool = False
    chunked: bool = False  # no guess of a file's length from its form's
    deadlines: Deadlines = field(default_factory=Deadlines)
    trust: Trust = field(default_factory=Trust)


class RelayStore:
    """Passes every object on and keeps none."""

    traits: Traits = Traits(
        name="backend",
        durable=False,
        atomic_publish=True,
        create_only=False,
        resumable=False,
        readable=False,
        undoable=False,
        remote=True,
        keeps="whole",
        compare_and_swap=False,
    )

    def __init__(self, backend: Backend, budget: Budget | None = None) -> None:
        self.backend: Backend = backend
        self.budget: Budget | None = budget
        self._transport: Transport | None = None
        self._uploads: WeakValueDictionary[str, OneUpload] = WeakValueDictionary()

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        name = upload.rpartition(".")[0] or upload
        one = self._uploads.setdefault(name, OneUpload(name))
        one.files += 1
        one.check(self.backend, upload_request)
        reservation = Reservation(self.budget, FIRST if one.files == 1 else 0)
        draft = RelayDraft(self.backend, await self._open(), one, reservation, size, upload_request)
        with _addresses_hidden():
            await draft.begin()
        return draft

    async def stat(self, key: str) -> Entry:
        raise _keeps_none()

    async def open(self, key: str) -> ObjectReader:
        raise _keeps_none()

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        return Page(complete=True)

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        raise _keeps_none()

    async def undo_publish(self, entry: Entry) -> bool:
        """Ask the destination to delete what it made a moment ago; whether it did.

        Only what its 201 says it created, where it says that is, and at the host the operator's headers are for; never the
        place files go to, or what stands above it, which some servers name instead.
        """
        reply, to = entry.reply, self.backend.url.address.url
        place = reply.headers.get("location") if reply is not None and reply.status == 201 else None
        if reply is None or place is None or origin(place) != origin(to) or _covers(place, to):
            return False
        headers = dict(self.backend.headers)
        if (tag := reply.headers.get("etag", "")).startswith('"'):
            headers["if-match"] = tag  # somebody may have put something else there meanwhile
        transport = await self._open()
        try:
            async with asyncio.timeout(UNDO), transport.ask("DELETE", place, headers) as answer:
                return 200 <= answer.head.status < 300 or answer.head.status in (404, 410)
        except (PeerFailed, TimeoutError):
            return False

    async def aclose(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.__aexit__()

    async def _open(self) -> Transport:
        if self._transport is None:
            # A connection that died while it waited would cost an upload that nobody can repeat: each gets a fresh one.
            self._transport = await Transport(
                self.backend.deadlines, keep=False, trust=self.backend.trust
            ).__aenter__()
        return self._transport


class RelayDraft:
    """One request to the next server. `size` is the file's length, as certain as the label says, or None.

    `loan` is for what is held until it has gone on: a file that is gathered first, and the fields in front of it.
    """

    def __init__(
        self,
        backend: Backend,
        transport: Transport,
        upload: OneUpload,
        reservation: Reservation,
        size: int | None,
        upload_request: UploadRequest,
    ) -> None:
        self._backend, self._transport, self._upload, self._reservation, self._label = (
            backend,
            transport,
            upload,
            reservation,
            upload_request,
        )
        self._certain = size is not None and upload_request.certain
        self._size = size if self._certain or not backend.chunked else None
        self._request: StreamingRequest | None = None
        self._envelope: Envelope | None = None  # without its head once that has gone on
        self._head = 0  # bytes of its head
        self._gathered: list[Buffer] = []
        self._seen = 0  # bytes of the file that were passed on or are withheld
        self._tail = b""
        self._sent_fields = 0  # of the label: a form may go on after the file
        self._ended = False
        self.written: int = 0

    async def begin(self) -> None:
        """Where nothing more can be learned about the file, the destination hears of it before its first byte is read.

        Not of an empty one: its head is all of it, and nothing could be withheld until it was checked.
        """
        if self._size != 0 and (self._certain or self._backend.expect):
            await self._open()

    @property
    def kept(self) -> int:
        """Bytes of the file that the destination's kernel has acknowledged."""
        if self._request is None or self._envelope is None:
            return 0
        return max(0, min(self.written, self._request.acknowledged - self._head))

    @property
    def failure(self) -> SluiceError | None:
        """What the destination said while it waited for bytes, or why it cannot be reached any more."""
        try:
            said = None if self._request is None else self._request.said
        except SluiceError as reason:
            return reason.for_operator()
        return None if said is None else self._verdict(said).for_operator()

    async def write(self, data: Buffer) -> None:
        self._check()
        self.written += len(data)
        with _addresses_hidden():
            if self._request is not None:
                await self._send(data)
                return
            self._gathered.append(data)
            await self._reservation.grow_to(self.written)
            if self.written > FIRST:
                await self._open()

    async def sync(self) -> int:
        """Nothing can be asked of another server before its answer; this is what its kernel acknowledged."""
        return self.kept

    async def truncate(self, offset: int) -> None:
        raise BadRequest("What was passed on cannot be taken back; send the file again")

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        self._check()
        self._upload.check(self._backend, self._label)
        with _addresses_hidden():
            return self._entry(key, metadata, await self._finish())

    async def discard(self) -> None:
        self._ended = True
        self._gathered.clear()
        self._reservation.release()
        request, self._request = self._request, None
        if request is not None:
            await request.abort()

    # Inside

    async def _told_elsewhere(self, said: Response, envelope: Envelope) -> Response:
        """The destination has the file and names the place that tells what came of it (RFC 9110 15.4.4)."""
        target = redirect_target(said.head, 0, sends_body=False, repeatable=True)
        if target is None:
            return said
        headers = envelope.headers_across(said.head.url, target)
        kept = without_body_headers(headers)
        async with follow_redirects(self._transport, target, kept) as answer:
            return Response(answer.head, await answer.whole(MOST_RESPONSE))

    def _check(self) -> None:
        if self._ended:
            raise StoreFailed("This draft has ended already")

    async def _finish(self) -> Response:
        """What was withheld, and the destination's yes to all of it. Raises whatever it says instead."""
        if self._request is None:
            self._size, self._certain = self.written, True
            await self._open()
        request, envelope = self._request, self._envelope
        if request is None or envelope is None:
            raise PeerFailed("The request to the destination was broken off already")
        if self._size not in (None, self.written):
            raise _more_follows()
        later = list(self._label.fields)[self._sent_fields :]
        alone = (
            envelope.encoder is None and self._backend.body == "same"
        )  # it went on without what came with it now
        if later and (alone or self._size is not None):
            raise _more_follows()
        try:
            if self._tail:
                await request.write(self._tail)
            if end := envelope.end(later):
                await request.write(end)
            said = await request.finish()
        except EarlyResponse as early:
            raise self._verdict(early.said) from None
        if said.head.status == SEE_OTHER:
            said = await self._told_elsewhere(said, envelope)
        if not 200 <= said.head.status < 300:
            raise self._verdict(said)
        await request.abort()
        self._request, self._ended = None, True
        return said

    async def _open(self) -> None:
        """Speak to the destination, following where it points as long as nothing of the file is gone."""
        fields = list(self._label.fields)
        self._sent_fields = len(fields)
        if goes_as_form(self._backend, self._label, fields):
            await self._reservation.grow_to(self.written + fields_size(fields))
        envelope = build_request(self._backend, self._label, fields, secrets.token_bytes(16))
        url, headers, hops = self._address(fields, envelope), envelope.headers, 0
        length = None if self._size is None else envelope.length(self._size)
        while True:
            request = StreamingRequest(
                self._transport, envelope.method, url, headers, length, expect=self._backend.expect
            )
            try:
                await request.open()
                break
            except EarlyResponse as early:
                target = redirect_target(early.said.head, hops, sends_body=True, repeatable=True)
                if target is None:
                    raise self._verdict(early.said) from None
                kept = envelope.headers_across(url, target)  # what one hop lost, no later one gets
                headers = {name: value for name, value in headers.items() if name in kept}
                url, hops = target, hops + 1
            except BaseException:
                await request.abort()
                raise
        self._request, self._head, self._envelope = (
            request,
            len(envelope.head),
            changed(envelope, head=b""),
        )
        if envelope.head:
            await self._passed(envelope.head)
        del envelope  # with its head: the fields of a form would be held once for each of its files
        gathered, self._gathered = self._gathered, []
        for data in gathered:
            await self._send(data)
        del gathered
        self._reservation.release()

    async def _send(self, data: Buffer) -> None:
        """All but the file's tail. In chunks it needs no tail of its own: what says that the body is whole is the last chunk."""
        if self._size is None:
            await self._passed(data)
            return
        if self.written > self._size:
            raise _more_follows()
        free = self._size - TAIL - self._seen  # bytes until the tail begins
        self._seen += len(data)
        if free >= len(data):
            await self._passed(data)
            return
        view = memoryview(data)
        if free > 0:
            await self._passed(view[:free])
        self._tail += view[max(0, free) :]

    async def _passed(self, data: Buffer) -> None:
        if self._request is None:
            raise PeerFailed("The request to the destination was broken off already")
        try:
            await self._request.write(data)
        except EarlyResponse as early:
            raise self._verdict(early.said) from None

    def _address(self, fields: list[tuple[str, str]], envelope: Envelope) -> str:
        upload_request = self._label
        values = {
            "id": self._upload.name,
            **upload_request.values,
            **dict(fields),
            "key": upload_request.key,
            "filename": upload_request.filename,
        }
        url = self._backend.url.fill(values)
        if upload_request.method == envelope.method == "PUT" and not self._backend.url.exact:
            url = self._backend.url.below(upload_request.key)
        return url

    def _verdict(self, said: Response) -> SluiceError:
        """What an answer that is no success means: the destination's own word, unless only a gateway can understand it."""
        head, place = said.head, redact_url(said.head.url)
        if 200 <= head.status < 300:
            return PeerFailed(
                f"{place} answered {head.status} before it had everything; nothing is certain"
            )
        if not 300 <= head.status < 600:  # nobody could read it from us, either
            return PeerFailed(
                f"{place} answered {head.status}, which is no status of HTTP for an upload"
            )
        if 300 <= head.status < 400:
            try:
                redirect_target(head, 0, sends_body=True, repeatable=False)
            except PeerFailed as reason:
                return reason
            return PeerFailed(f"{place} answered {head.status}, which is no answer to an upload")
        words = refusal(head, (said.body or b"").decode("utf-8", "replace")).detail
        reply = passable(head, said.body or b"", self._backend.answer_headers)
        return Refused(words, head.status, reply.headers, reply.body, answered=head.status)

    def _entry(self, key: str, metadata: Metadata, said: Response) -> Entry:
        etag = said.head.headers.get("etag", "").removeprefix("W/").strip('"')
        reply = (
            None
            if said.body is None
            else passable(said.head, said.body, self._backend.answer_headers)
        )
        notes = ("The destination's answer was too long to be passed on",) if reply is None else ()
        return Entry(
            key, self.written, etag or metadata.sha256 or "", time.time(), metadata, reply, notes
        )


@contextmanager
def _addresses_hidden() -> Iterator[None]:
    """Errors inside may name where the backend is: that is for the log, not for clients."""
    try:
        yield
    except PeerFailed as error:
        error.for_operator()
        raise


def _more_follows() -> SluiceError:
    what = "Something follows the file in this form, and its length was taken for that of the last part"
    cure = "Send fields before the file and one file in a form"
    return BadForm(f"{what}. {cure}, or start this server with --relay-chunked").for_operator(
        f"{what}. {cure}"
    )


def _covers(place: str, other: str) -> bool:
    """Whether a URL is another one, or one of the folders around it."""
    one, two = (urlsplit(url).path.rstrip("/") + "/" for url in (place, other))
    return two.startswith(one)


def _keeps_none() -> SluiceError:
    return NotFound("This server passes files on and keeps none; ask the server they go to")
