"""A request under way to the next server, as a draft: published means that server's success.

The end of the body is withheld until the whole file was checked: the last bytes of a known length,
or the last chunk. So a cut upload never looks complete over there.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace as changed

from sluiceway.client.http.exchange import Response
from sluiceway.client.http.redirects import (
    SEE_OTHER,
    follow_redirects,
    redirect_target,
    without_body_headers,
)
from sluiceway.client.http.request import MOST_RESPONSE, EarlyResponse, StreamingRequest
from sluiceway.client.http.transport import Transport
from sluiceway.errors import BadRequest, PeerFailed, SluiceError, StoreFailed
from sluiceway.pipe.budget import Budget, Reservation
from sluiceway.pipe.lending import LentConnection, Update
from sluiceway.pipe.source import Buffer
from sluiceway.stores.contract import Entry, Metadata, Replace, UploadRequest
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.errors import addresses_hidden, map_response, more_follows
from sluiceway.stores.relay.request import (
    RelayRequest,
    build_request,
    check_repeated_fields,
    fields_size,
    goes_as_form,
)
from sluiceway.stores.relay.response import relayed_entry

__all__ = ["LARGE", "FormFiles", "RelayDraft"]

# Bytes gathered before a length that is not certain is announced: a file that ends before has a
# certain one.
FIRST = 64 << 10
LARGE = 256 << 10  # bytes; no chunk of an event loop is larger, so what is comes from a thread
TAIL = 4 << 10  # bytes withheld of a known length; one would do, a few more cost nothing


@dataclass(slots=True, weakref_slot=True)
class FormFiles:
    """The upload that a draft is a file of. Every file is sent in a request of its own."""

    upload: str  # its id
    count: int = 0  # of files so far


class RelayDraft:
    """One request to the next server. `size` is the file's length in bytes or None.

    `upload_request` says whether `size` is certain. `reservation` is for what is held until it is
    sent: a file that is gathered first, and the fields in front of it. `budget` has a
    block for the thread that sends, if one does.
    """

    def __init__(
        self,
        backend: Backend,
        transport: Transport,
        files: FormFiles,
        reservation: Reservation,
        budget: Budget | None,
        size: int | None,
        upload_request: UploadRequest,
        idempotency_key: str = "",
    ) -> None:
        self._backend, self._transport, self._files = backend, transport, files
        self._reservation, self._budget = reservation, budget
        self._upload_request = upload_request
        self._certain = size is not None and upload_request.size_is_certain
        self._size = size if self._certain or not backend.chunked else None
        self._request: StreamingRequest | None = None
        self._plan: RelayRequest | None = None  # without its head once that was sent
        self._head_size = 0  # bytes
        self._gathered: list[Buffer] = []
        self._seen = 0  # bytes of the file that were sent or are withheld
        self._tail = b""
        self._sent_fields = 0  # number of fields in front of the file; a form may go on behind it
        self._ended = False
        self._idempotency_key = idempotency_key
        self.written: int = 0
        # Whether the last byte may have left: without an answer nobody knows what came of it.
        self.is_sent: bool = False
        self.before_end: Callable[[], Awaitable[None]] | None = None  # called before it leaves

    async def begin(self) -> None:
        """Send the head before the first byte of the file, if nothing more can be learned about it.

        Not for an empty file: the head is all of its request, and could not be withheld until the
        upload was checked.
        """
        if self._size != 0 and (self._certain or self._backend.expect):
            await self._open()

    @property
    def kept(self) -> int:
        """Bytes of the file that the destination's kernel has acknowledged."""
        if self._request is None or self._plan is None:
            return 0
        return max(0, min(self.written, self._request.acknowledged - self._head_size))

    @property
    def is_open(self) -> bool:
        """Whether what is written goes to the destination, and is gathered no more."""
        return self._request is not None

    @property
    def failure(self) -> SluiceError | None:
        """What the destination answered while it waited for bytes, or why it is unreachable now."""
        try:
            response = None if self._request is None else self._request.response
        except SluiceError as reason:
            return reason.for_operator()
        return None if response is None else self._error(response).for_operator()

    async def write(self, data: Buffer) -> None:
        self._check()
        self.written += len(data)
        with addresses_hidden():
            if self._request is not None:
                await self._send(data)
                return
            self._gathered.append(data)
            await self._reservation.grow_to(self.written)
            if self.written > FIRST:
                await self._open()

    async def draw(self, lent: LentConnection, update: Update) -> bool:
        """One burst of a lent connection, sent on by the thread; the tail is left to `write`."""
        self._check()
        if self._request is None or self._budget is None:
            return False
        before = lent.taken
        if self._size is not None:
            lent.limit(self._size - TAIL - self._seen)
        with addresses_hidden():
            try:
                return not lent.ended and await self._request.draw(lent, update, self._budget)
            except EarlyResponse as early:
                raise self._error(early.response) from None
            finally:
                self._seen += lent.taken - before
                self.written += lent.taken - before

    async def sync(self) -> int:
        """What the destination's kernel acknowledged: its server says nothing before its answer."""
        return self.kept

    async def flush(self) -> None:
        """Send what the last burst left. An early response shows in `failure`."""
        if self._request is not None:
            with addresses_hidden(), suppress(EarlyResponse):
                await self._request.flush()

    async def settle(self) -> None:
        """Wait until the destination's kernel has all that was sent, or its server has answered."""
        if self._request is not None:
            with addresses_hidden():
                await self._request.until_acknowledged()

    async def truncate(self, offset: int) -> None:
        raise BadRequest("What was passed on cannot be taken back; send the file again")

    async def publish(self, key: str, metadata: Metadata, replace: Replace = Replace()) -> Entry:
        self._check()
        check_repeated_fields(self._backend, self._upload_request, self._files.count)
        with addresses_hidden():
            response = await self._finish()
            return relayed_entry(self._backend, key, self.written, metadata, response)

    async def discard(self) -> None:
        self._ended = True
        self._gathered.clear()
        self._reservation.release()
        request, self._request = self._request, None
        if request is not None:
            await request.abort()

    # Inside

    def _check(self) -> None:
        if self._ended:
            raise StoreFailed("This draft has ended already")

    async def _open(self) -> None:
        """Send the head, and follow redirects as long as no byte of the file was sent."""
        fields = list(self._upload_request.fields)
        self._sent_fields = len(fields)
        if goes_as_form(self._backend, self._upload_request, fields):
            await self._reservation.grow_to(self.written + fields_size(fields))
        plan = build_request(self._backend, self._upload_request, fields, secrets.token_bytes(16))
        if self._idempotency_key:
            key = {"idempotency-key": f'"{self._idempotency_key}"'}
            plan = changed(plan, headers=key | dict(plan.headers))
        url = self._backend.url_of(self._upload_request, plan.method, self._files.upload, fields)
        headers, hops = plan.headers, 0
        length = None if self._size is None else plan.length(self._size)
        while True:
            request = StreamingRequest(
                self._transport, plan.method, url, headers, length, expect=self._backend.expect
            )
            try:
                await request.open()
                break
            except EarlyResponse as early:
                target = redirect_target(
                    early.response.head, hops, sends_body=True, repeatable=True
                )
                if target is None:
                    raise self._error(early.response) from None
                kept = plan.headers_across(url, target)  # what one hop lost, no later one gets
                headers = {name: value for name, value in headers.items() if name in kept}
                url, hops = target, hops + 1
            except BaseException:
                await request.abort()
                raise
        self._request, self._head_size = request, len(plan.head)
        self._plan = changed(plan, head=b"")
        if plan.head:
            await self._push(plan.head)
        del plan  # with its head: the fields of a form would be held once for each of its files
        gathered, self._gathered = self._gathered, []
        for data in gathered:
            await self._send(data)
        del gathered
        self._reservation.release()

    async def _send(self, data: Buffer) -> None:
        """Send all but the tail of the file.

        A chunked body is incomplete without its last chunk.
        """
        if self._size is None:
            await self._push(data)
            return
        if self.written > self._size:
            raise more_follows()
        free = self._size - TAIL - self._seen  # bytes until the tail begins
        self._seen += len(data)
        if free >= len(data):
            await self._push(data)
            return
        view = memoryview(data)
        if free > 0:
            await self._push(view[:free])
        self._tail += view[max(0, free) :]

    async def _push(self, data: Buffer) -> None:
        if self._request is None:
            raise PeerFailed("The request to the destination was broken off already")
        large = len(data) > LARGE  # a block of the budget, which is filled again afterwards
        try:
            await (self._request.write_block(data) if large else self._request.write(data))
        except EarlyResponse as early:
            raise self._error(early.response) from None

    async def _finish(self) -> Response:
        """Send what was withheld; returns the destination's success or raises its refusal."""
        if self._request is None:
            self._size, self._certain = self.written, True
            if not self.written:  # the head is all of its request
                await self._mark_sent()
            await self._open()
        request, plan = self._request, self._plan
        if request is None or plan is None:
            raise PeerFailed("The request to the destination was broken off already")
        if self._size not in (None, self.written):
            raise more_follows()
        later = list(self._upload_request.fields)[self._sent_fields :]
        # the file was sent raw because nothing came with it, and now something does
        raw = plan.encoder is None and self._backend.body == "same"
        if later and (raw or self._size is not None):
            raise more_follows()
        await self._mark_sent()
        try:
            if self._tail:
                await request.write(self._tail)
            if end := plan.end(later):
                await request.write(end)
            response = await request.finish()
        except EarlyResponse as early:
            raise self._error(early.response) from None
        if response.head.status == SEE_OTHER:
            response = await self._see_other(response, plan)
        if response.error is not None and response.head.status < 400:
            raise response.error  # a truncated 2xx is not a success
        if not 200 <= response.head.status < 300:
            raise self._error(response)
        await request.abort()
        self._request, self._ended = None, True
        return response

    async def _mark_sent(self) -> None:
        if not self.is_sent and self.before_end is not None:
            await self.before_end()
        self.is_sent = True

    async def _see_other(self, response: Response, plan: RelayRequest) -> Response:
        """The destination has the file and names another URL for the result (RFC 9110 15.4.4)."""
        target = redirect_target(response.head, 0, sends_body=False, repeatable=True)
        if target is None:
            return response
        headers = without_body_headers(plan.headers_across(response.head.url, target))
        async with follow_redirects(self._transport, target, headers) as answer:
            return await answer.read(MOST_RESPONSE)

    def _error(self, response: Response) -> SluiceError:
        return map_response(response, self._backend)
