"""One upload at a backend that takes pieces: its requests, each repeated where that helps.

After a break the backend is asked how far it came; no byte is sent twice blindly. An offset that
nothing explains ends the upload: it is never continued wrongly.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from sluiceway.client.http.exchange import Head, Response
from sluiceway.client.http.request import EarlyResponse, StreamingRequest
from sluiceway.client.resumable.dialects import DIALECTS
from sluiceway.client.resumable.outcome import LOST_STATUSES, PASSING_STATUSES
from sluiceway.client.resumable.steps import UploadSteps
from sluiceway.client.retry import ANSWERED, RetryPolicy
from sluiceway.errors import Gone, NoSpace, NotFound, PeerFailed, SluiceError, Unavailable
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.errors import map_response
from sluiceway.stores.relay.upload_state import UploadState
from sluiceway.wire.headers.digests import format_digest
from sluiceway.wire.numbers import clipped_uint
from sluiceway.wire.urls import redact_url

__all__ = ["BackendUpload", "Position"]

log: logging.Logger = logging.getLogger("sluiceway")

# A restart of the backend takes a moment; a client that waits for longer repeats its own request.
RETRIES = RetryPolicy(attempts=4, first_wait=0.2, longest_wait=2.0)
LARGE = 64 << 10  # bytes; a block of the budget, which the next piece fills again, is larger
SMALLEST_PIECE = 256 << 10  # bytes; a proxy that takes less in one request has refused the upload
CHECKSUM_MISMATCH = 460  # of tus
CONFLICT, TOO_LARGE, NO_SPACE = 409, 413, 507
LOST_WORDS = "The destination has lost the upload; send the file again"
UNCERTAIN = "The destination has other bytes of the upload than were sent on; send the file again"


@dataclass(frozen=True, slots=True)
class Position:
    """How far the upload is, as the backend says: `offset` in bytes, `complete` once it ended."""

    offset: int
    complete: bool
    length: int | None
    response: Response


class BackendUpload:
    """`size`: bytes of the whole, where known. `upload` names it in the log."""

    def __init__(
        self,
        backend: Backend,
        steps: UploadSteps,
        state: UploadState,
        upload: str,
        size: int | None,
    ) -> None:
        self._backend, self._steps, self._upload, self._size = backend, steps, upload, size
        self._dialect = DIALECTS[state.protocol]
        self._state = state
        self._most = state.most
        steps.url = state.url

    async def position(self) -> Position:
        """Ask how far it is. Raises Gone, Unavailable, Refused."""
        attempts = 0
        while True:
            try:
                return await self._ask()
            except PeerFailed as error:
                attempts += 1
                await self._wait(error, attempts)

    async def append(self, piece: Sequence[Buffer], start: int, checked: bool) -> None:
        """Append bytes behind the first `start`. All of them are acknowledged afterwards.

        `checked`: with a digest of each request's bytes. Raises Gone, Refused, NoSpace, Unavailable
        and leaves an unknown number of them there.
        """
        stop = start + sum(len(data) for data in piece)
        at, attempts, broke = start, 0, False
        while at < stop:
            try:
                if broke:
                    at, broke = self._between(await self._ask(), at, stop), False
                    continue
                end = min(stop, at + self._most)
                part = _cut(piece, at - start, end - start)
                body, extra = _Body(part), await self._digest(part, checked)
                response = await self._steps.append(
                    body, at, last=False, expect=self._backend.expect, extra=extra
                )
                self._check(response, body, end)
                at, attempts = end, 0
            except _TooLarge:
                self._most = max(SMALLEST_PIECE, body.length // 2)
                broke = True
            except PeerFailed as error:
                attempts += 1
                if error.members.get(ANSWERED) == CONFLICT and attempts == 1:
                    raise self.lost("it goes on at another offset") from error
                await self._wait(error, attempts)
                broke = True

    async def finish(self, tail: bytes, start: int, extra: dict[str, str]) -> Response:
        """Append the last bytes; returns the final response. Raises as `append`."""
        stop = start + len(tail)
        attempts, broke = 0, False
        while True:
            try:
                position = await self._ask() if broke else None
                if position is not None and position.complete:
                    return await self._ended(position, tail, start)
                if position is not None and self._between(position, start, stop) != start:
                    tail, start = b"", stop
                body = _Body([tail] if tail else [])
                length = stop if self._state.declares else None
                response = await self._steps.append(
                    body, start, last=True, expect=self._backend.expect, length=length, extra=extra
                )
                self._check_final(response, body, stop)
                return response
            except PeerFailed as error:
                attempts += 1
                if error.members.get(ANSWERED) == CONFLICT and not broke:
                    raise self.lost("it goes on at another offset") from error
                await self._wait(error, attempts)
                broke = True

    async def final_response(self, position: Position, tail: bytes) -> Response:
        """The last response of a complete upload once more. Raises its refusal of the file."""
        try:
            return await self._ended(position, tail, position.offset - len(tail))
        except PeerFailed as error:
            raise self._unavailable(error) from error

    async def read_back(self, count: int) -> AsyncGenerator[bytes]:
        """Yield the first `count` bytes, of a server that gives what it keeps of an upload that is
        not complete: tusd does. Raises NotFound, Unavailable."""
        try:
            async with self._steps.content() as response:
                head = response.head
                is_json = "json" in head.headers.get("content-type", "")  # a status, as ours gives
                length = clipped_uint(head.headers.get("content-length", ""))
                if head.status != 200 or length != count or is_json:
                    raise NotFound("The destination does not give the bytes of the upload")
                async for chunk in response.chunks():
                    yield chunk
        except PeerFailed as error:
            raise self._unavailable(error) from error

    async def terminate(self) -> None:
        """Let the backend forget it. That it fails is logged: the upload expires there."""
        try:
            head = await self._steps.terminate()
        except SluiceError as error:
            log.warning("Upload %s is left at the destination: %s", self._upload, error.for_log)
            return
        if not 200 <= head.status < 300 and head.status not in LOST_STATUSES:
            place = redact_url(head.url)
            log.warning(
                "Upload %s is left at %s, which answered %d", self._upload, place, head.status
            )

    def lost(self, reason: str, words: str = UNCERTAIN) -> Gone:
        """The error of an upload that cannot go on. The log has the reason, the client `words`."""
        place = redact_url(self._steps.url)
        log.warning("Upload %s is lost at %s: %s", self._upload, place, reason)
        return Gone(words)

    # Inside

    async def _ask(self) -> Position:
        """Raises PeerFailed where it is worth to ask again."""
        dialect = self._dialect
        head = await self._steps.offset_response()
        complete = dialect.is_final(head)
        if not 200 <= head.status < 300 and not complete:
            raise self._refusal(Response(head, b""))
        offset = dialect.offset(head)
        if offset is None:
            raise self.lost("it was asked how far it is, and does not say it")
        length = clipped_uint(head.headers.get("upload-length", ""))
        size = self._size if length is None else length
        complete = complete or (size is not None and dialect.ended(head, size))
        return Position(offset, complete, length, Response(head, b""))

    async def _ended(self, position: Position, tail: bytes, start: int) -> Response:
        """A backend that keeps responses gives the last one again; of tus there is none."""
        shown = position.response
        if self._dialect.repeats_final:
            response = await self._steps.append(_Body([tail]), start, last=True, expect=False)
            if self._dialect.is_final(response.head) or 200 <= response.head.status < 300:
                shown = response
        if not 200 <= shown.head.status < 300:
            raise map_response(shown, self._backend)
        return shown

    def _between(self, position: Position, start: int, stop: int) -> int:
        if position.complete or not start <= position.offset <= stop:
            raise self.lost(
                f"it has {position.offset} bytes, and {start} to {stop} were sent to it"
            )
        return position.offset

    def _check(self, response: Response, body: _Body, stop: int) -> None:
        """Raises unless the backend has acknowledged everything up to `stop`, and waits for more.

        Raises PeerFailed where it is worth to ask and to go on.
        """
        head, dialect = response.head, self._dialect
        if not 200 <= head.status < 300:
            if head.status == TOO_LARGE and body.length > SMALLEST_PIECE:
                raise _TooLarge
            raise self._refusal(response)
        if dialect.is_final(head):
            raise self.lost("it took the upload for complete before its end")
        if not body.written or dialect.offset(head) not in (None, stop):
            raise self._passing(head, "before it had everything")

    def _check_final(self, response: Response, body: _Body, stop: int) -> None:
        head, dialect = response.head, self._dialect
        if not 200 <= head.status < 300:
            if dialect.is_final(head):
                raise map_response(response, self._backend)
            raise self._refusal(response)
        if response.error is not None:
            raise response.error  # a truncated 2xx is not a success
        offset = dialect.offset(head)
        if not body.written or dialect.goes_on(head) or offset not in (None, stop):
            raise self._passing(head, "to the last bytes, and waits for more")

    def _refusal(self, response: Response) -> SluiceError:
        """The error for a response that is not a success. PeerFailed: it may pass."""
        head = response.head
        if head.status in LOST_STATUSES:
            return self.lost(f"it answered {head.status}", LOST_WORDS)
        if head.status == NO_SPACE:
            return NoSpace(f"{redact_url(head.url)} is full").for_operator()
        passes = head.status in PASSING_STATUSES or head.status == CHECKSUM_MISMATCH
        if passes or (head.status >= 500 and head.status not in (501, 505)):
            return self._passing(head, "to a piece")
        return map_response(response, self._backend)

    def _passing(self, head: Head, when: str) -> PeerFailed:
        place = redact_url(head.url)
        return PeerFailed(f"{place} answered {head.status} {when}", **{ANSWERED: head.status})

    async def _wait(self, error: PeerFailed, attempts: int) -> None:
        wait = RETRIES.wait(error, attempts)
        if wait is None:
            raise self._unavailable(error) from error
        await asyncio.sleep(wait)

    def _unavailable(self, error: SluiceError) -> SluiceError:
        """A client may come back: what was kept stays."""
        return Unavailable(f"Upload {self._upload}: {error.detail}").for_operator(
            "The destination cannot be reached now; what was kept stays, go on later"
        )

    async def _digest(self, piece: list[Buffer], checked: bool) -> dict[str, str]:
        """The header with a digest of a request's bytes, where the backend checks it."""
        tus = self._state.protocol == "tus"
        if not checked or (tus and not self._state.checksum):
            return {}
        name = self._state.checksum if tus else "sha256"

        def compute() -> bytes:
            found = hashlib.new(name, usedforsecurity=False)
            for data in piece:
                found.update(data)
            return found.digest()

        digest = await in_thread(compute)
        if tus:
            return {"upload-checksum": f"{name} {base64.b64encode(digest).decode()}"}
        return {"content-digest": format_digest("sha-256", digest)}


class _TooLarge(Exception):
    """The backend, or a proxy in front of it, takes less in one request."""


class _Body:
    """Some bytes as the content of an append."""

    def __init__(self, piece: list[Buffer]) -> None:
        self._piece = piece
        self.length: int = sum(len(data) for data in piece)
        self.written: bool = False  # all of it: a 2xx can mean all

    async def send(self, request: StreamingRequest) -> Response:
        self.written = False
        try:
            await request.open()
            for data in self._piece:
                await (request.write if len(data) < LARGE else request.write_block)(data)
            self.written = True
            return await request.finish()
        except EarlyResponse as early:
            return early.response
        finally:
            await request.abort()


def _cut(piece: Sequence[Buffer], start: int, stop: int) -> list[Buffer]:
    """The bytes from `start` to `stop` of the piece, without a copy."""
    found: list[Buffer] = []
    at = 0
    for data in piece:
        low, high = max(start, at), min(stop, at + len(data))
        if low < high:
            found.append(memoryview(data)[low - at : high - at])
        at += len(data)
    return found
