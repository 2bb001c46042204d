"""A file at another server as a source.

Its first response gives length, name, type and digest; its body flows past. Where the server names
a strong validator, a broken connection is continued in place by Range and If-Range, and the reader
does not notice. Keeps nothing; knows nothing of where the bytes go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from sluiceway.client.download_plan import (
    Known,
    Step,
    length_of,
    next_step,
    range_headers,
    validator_of,
)
from sluiceway.client.http.error_responses import FROM_TOKEN, refusal
from sluiceway.client.http.exchange import Head
from sluiceway.client.http.redirects import follow_redirects
from sluiceway.client.local.bookmarks import SourceIdentity
from sluiceway.client.local.download_target import served_name
from sluiceway.client.retry import DEFAULT_POLICY, RetryPolicy, may_ask_again, reached
from sluiceway.errors import (
    DigestMismatch,
    PeerFailed,
    SluiceError,
    SourceChanged,
    SourceFailed,
)
from sluiceway.pipe import lending
from sluiceway.pipe.hashes import digest_of
from sluiceway.pipe.lending import LentConnection
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer, SourceSpent
from sluiceway.wire.headers.digests import Promise
from sluiceway.wire.headers.object_digests import announced_digests
from sluiceway.wire.names import clean_name
from sluiceway.wire.urls import redact_url

if TYPE_CHECKING:  # the transport loads the HTTP library
    from sluiceway.client.http.transport import OpenResponse, Transport

__all__ = ["RemoteSource"]

# Bytes at the end that come the ordinary way: a request withholds the last piece until all is
# right, and a lent connection leaves none.
LAST = 1 << 20


class RemoteSource:
    """One file at a server. Call `meet` before anything else, and `aclose` at the end.

    An early end is noticed by the length or the missing last chunk. A response with neither ends
    where its connection does, and HTTP cannot tell that from a break.

    `on_retry` gets the reason for each retry in words. `retry_policy` counts connections that
    brought nothing.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        headers: Mapping[str, str],
        *,
        retry_policy: RetryPolicy = DEFAULT_POLICY,
        on_retry: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._transport, self._url, self._headers = transport, url, headers
        self._retry_policy, self._on_retry = retry_policy, on_retry
        self._first: OpenResponse | None = None  # the response that `meet` got, its body unread
        self._stack = AsyncExitStack()  # keeps that response open
        self._validator: str | None = None
        self._opened = False
        self._reading: OpenResponse | None = None  # whose bytes are yielded just as they come
        self._lent: LentConnection | None = None  # it, behind the piece that was yielded last
        self._left: int | None = None  # bytes that are wanted behind that piece
        self.length: int | None = None
        self.name: str = ""  # the server's name for it, made harmless
        self.type: str | None = None
        self.promises: tuple[Promise, ...] = ()

    @property
    def reopenable(self) -> bool:
        return self._validator is not None

    @property
    def validator(self) -> str | None:
        """The version that the first response named: a strong ETag with its quotes, or a date."""
        return self._validator

    @property
    def identity(self) -> SourceIdentity | None:
        """What names its bytes in another process; None without a strong validator."""
        if self._validator is None or self.length is None:
            return None
        return SourceIdentity(self._url, f"{self._validator} {self.length}")

    async def meet(self) -> None:
        """Ask, and learn what the file is.

        Raises the server's refusal, PeerFailed, DigestMismatch for an empty file.
        """
        attempt = 0
        while self._first is None:
            attempt += 1
            try:
                await self._ask()
            except SluiceError as error:
                again = may_ask_again(error) and reached(error)
                wait = self._retry_policy.wait(error, attempt) if again else None
                if wait is None:
                    raise
                await self._pause(error, wait)

    async def _ask(self) -> None:
        async with AsyncExitStack() as stack:
            response = await stack.enter_async_context(
                follow_redirects(self._transport, self._url, self._headers)
            )
            if next_step(Known(), response.head) is not Step.FRESH:
                raise refusal(response.head, await response.text(), FROM_TOKEN)
            self._learn(response.head)
            self._first, self._stack = response, stack.pop_all()

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        """Yield the bytes from `start` to `stop`.

        Raises SourceFailed when the server breaks off and does not send the rest, SourceChanged
        when the file is another one now.
        """
        if self._opened and not self.reopenable:
            raise SourceSpent("This stream can be read only once, and from its beginning")
        self._opened = True
        at, attempt = start, 0
        while stop is None or at < stop:
            attempt += 1
            try:
                async with AsyncExitStack() as stack:
                    response, skip = await self._response_at(stack, at)
                    if response is None:
                        return
                    self._reading = response
                    chunks = response.chunks()
                    stack.push_async_callback(close_stream, chunks)
                    async for chunk in chunks:
                        piece = memoryview(chunk)[skip:][: None if stop is None else stop - at]
                        skip -= min(skip, len(chunk))
                        if len(piece):
                            # Progress: a bad connection gets as many attempts as it needs.
                            at, attempt = at + len(piece), 1
                            end = self.length if stop is None else stop
                            self._left = None if skip or end is None else end - at
                            yield piece
                            at += self._taken()
                        if at == stop:
                            return
                if self.length is None or at >= self.length:
                    return
                raise PeerFailed(f"{redact_url(self._url)} ended after {at} of {self.length} bytes")
            except SluiceError as error:
                if not isinstance(error, PeerFailed) and not may_ask_again(error):
                    raise
                await self._recover(error, attempt)

    async def read_small(self) -> Buffer:
        """All bytes of a small file whose length is known. Raises as `open`."""
        first, self._first = self._first, None
        if first is not None and self.length is not None:
            async with self._stack.pop_all():
                try:
                    data = await first.exactly(self.length)
                    self._opened = True
                    return data
                except PeerFailed:
                    pass  # it broke off: `open` asks once more
        return b"".join([bytes(piece) async for piece in self.open()])

    def lend(self) -> LentConnection | None:
        """The connection behind the piece that was yielded last, but for the last bytes."""
        most = 0 if self._left is None else self._left - LAST
        if self._reading is None or most < max(1, lending.LEAST):
            return None
        self._lent = self._reading.lend()
        if self._lent is not None:
            self._lent.limit(most)
        return self._lent

    def _taken(self) -> int:
        """Bytes that were taken beside `open` since the last piece."""
        lent, self._lent = self._lent, None
        return 0 if lent is None else lent.taken

    async def aclose(self) -> None:
        self._first = None
        await self._stack.aclose()

    def _learn(self, head: Head) -> None:
        self._validator, self.length = validator_of(head), length_of(head)
        self.name = clean_name(served_name(head, self._url))
        self.type = head.headers.get("content-type")
        self.promises = announced_digests(head.headers)
        if self.length != 0:
            return
        # A request of no bytes is complete with its head: nothing could be withheld later.
        for promise in self.promises:
            if digest_of(promise.algorithm, b"") != promise.value:
                raise DigestMismatch(
                    f"{redact_url(self._url)} is empty, and its {promise.algorithm} "
                    "is not that of an empty file"
                )

    async def _response_at(self, stack: AsyncExitStack, at: int) -> tuple[OpenResponse | None, int]:
        """A response whose body has the bytes from `at` on, and how many bytes before to skip.

        None when no bytes are left.
        """
        first, self._first = self._first, None
        if first is not None:
            stack.push_async_exit(self._stack.pop_all())
            if at == 0:
                return first, 0
        known = Known(have=at, validator=self._validator, total=self.length)
        response = await stack.enter_async_context(
            follow_redirects(self._transport, self._url, self._headers, range_headers(known))
        )
        head, step = response.head, next_step(known, response.head)
        if step is Step.COMPLETE:
            return None, 0
        if step is Step.APPEND:
            return response, 0
        same = validator_of(head) == self._validator and length_of(head) == self.length
        if step is Step.FRESH and same:
            return response, at  # the server knows no ranges: the bytes before are skipped
        if step in (Step.FRESH, Step.AGAIN):
            raise SourceChanged(
                f"{redact_url(self._url)} changed while it was read, or sends no fitting rest; "
                "nothing was stored"
            )
        error = refusal(head, await response.text(), FROM_TOKEN)
        if step is Step.WAIT:
            raise error
        raise SourceFailed(
            f"The rest of the source cannot be had: {error.detail}; nothing was stored"
        )

    async def _recover(self, trouble: SluiceError, attempt: int) -> None:
        """Wait until it makes sense to ask for the rest. Raises SourceFailed when it never will."""
        again = self.reopenable and may_ask_again(trouble)
        wait = self._retry_policy.wait(trouble, attempt) if again else None
        if wait is None:
            why = " (it names no strong ETag, so the rest cannot be asked for)"
            raise SourceFailed(
                f"The source broke off: {trouble.detail}{'' if self.reopenable else why}; "
                "nothing was stored"
            ) from trouble
        await self._pause(trouble, wait)

    async def _pause(self, trouble: SluiceError, wait: float) -> None:
        self._on_retry(f"{trouble.detail}; trying again in {wait:.0f} s")
        await asyncio.sleep(wait)
