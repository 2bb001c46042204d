"""The uploads at a backend that takes pieces, of tus or in the form of the IETF.

The backend is asked by OPTIONS, before the first upload and now and then. What it does not take in
pieces, the store sends in one request that it holds open. An upload's URL stays in the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace as changed

from sluiceway.client.file_request import FileRequest
from sluiceway.client.http.error_responses import refusal
from sluiceway.client.http.transport import Transport
from sluiceway.client.resumable.dialects import DIALECTS, write_metadata
from sluiceway.client.resumable.offers import Offer, Offers
from sluiceway.client.resumable.steps import UploadSteps
from sluiceway.client.upload_job import Resuming
from sluiceway.errors import Gone, PeerFailed, Refused, SluiceError, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.stores.contract import Entry, Metadata, UploadRequest
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.backend_upload import BackendUpload, Position
from sluiceway.stores.relay.errors import addresses_hidden, map_response
from sluiceway.stores.relay.request import RelayRequest, build_request, goes_as_form
from sluiceway.stores.relay.response import relayed_entry
from sluiceway.stores.relay.upload_draft import MOST_PIECE, BackendDraft
from sluiceway.stores.relay.upload_state import MOST_URL, UploadState
from sluiceway.stores.unpublished import SavedDraft
from sluiceway.wire.headers.digests import STANDARD, WANTED, format_digest
from sluiceway.wire.request_trace import trace_headers
from sluiceway.wire.urls import redact_url

__all__ = ["BackendUploads"]

log: logging.Logger = logging.getLogger("sluiceway")

ASKED_EVERY = 3600.0  # seconds: a backend may be replaced by one that offers something else
# Seconds, of one that could not say it: it may be starting. One that keeps silent would make
# uploads wait each time, so it is asked less often than it makes them wait.
ASKED_AGAIN, WAITS_SHARE = 5.0, 6
NOT_HERE = frozenset({404, 405, 501})  # of a creation: pieces are offered, but not for this URL
CHECKSUMS = ("sha256", "sha1")  # of tus, the first that the backend knows


class BackendUploads:
    """`resume` of the backend says which dialects may be used."""

    def __init__(
        self, backend: Backend, connect: Callable[[], Awaitable[Transport]], budget: Budget | None
    ) -> None:
        self._backend, self._connect, self._budget = backend, connect, budget
        self._lock = asyncio.Lock()
        self._offers: Offers | None = None
        self._valid_until = 0.0  # of what the backend said, by the monotonic clock

    @property
    def may_be(self) -> bool:
        """Whether the backend may be asked at all."""
        return self._backend.resume != "off" and self._backend.body != "form"

    async def offer(self, url: str = "") -> Offer | None:
        """What the backend takes. Raises Unavailable where it cannot be asked now."""
        backend = self._backend
        if not self.may_be:
            return None
        async with self._lock:
            if self._offers is None or time.monotonic() > self._valid_until:
                only = None if backend.resume == "auto" else backend.resume
                self._offers = Offers(await self._connect(), only)
                self._valid_until = time.monotonic() + ASKED_EVERY
            offers, probed, began = self._offers, backend.url.probed, time.monotonic()
            found = await offers.ask(url or probed, probed, backend.headers)
            if not offers.is_known:
                asked = time.monotonic()
                again = asked + max(ASKED_AGAIN, WAITS_SHARE * (asked - began))
                self._valid_until = min(self._valid_until, again)
                raise Unavailable("The destination does not say now what it takes; try again later")
            return found

    async def begin(
        self, upload: str, size: int | None, request: UploadRequest
    ) -> BackendDraft | None:
        """Create the upload at the backend. None where this one goes there in one request.

        Raises the backend's refusal, and Unavailable.
        """
        if not self.may_be or size == 0 or goes_as_form(self._backend, request, request.fields):
            return None  # an empty upload of tus is complete at its creation, before its check
        plan = build_request(self._backend, request, [], secrets.token_bytes(16))
        try:
            offer = await self.offer(self._backend.url_of(request, plan.method, upload))
        except Unavailable:
            if not self._backend.pause:
                raise
            return None  # a server that knows no OPTIONS may be silent, and take the file
        if offer is None or not _takes(offer, size, plan):
            return None
        steps = await self._creating_steps(offer.protocol, plan, upload, request)
        try:
            with addresses_hidden():
                if not await finish_then_cancel(self._create(steps, offer, size, request)):
                    return None
        except asyncio.CancelledError:
            await steps.cancel()  # else it would wait there for its expiry
            raise
        state = UploadState(
            offer.protocol,
            steps.url,
            size is None,
            min(MOST_PIECE, offer.max_append or MOST_PIECE),
            next((name for name in CHECKSUMS if name in offer.checksums), ""),
            request.filename,
            request.type,
        )
        at_backend = BackendUpload(self._backend, steps, state, upload, size)
        return BackendDraft(self._backend, at_backend, state, self._budget, size)

    async def resume(
        self, upload: str, saved: SavedDraft, offset: int, size: int | None
    ) -> BackendDraft:
        """Take it up where the backend is. Raises Gone, Unavailable."""
        state, at_backend = await self._known(upload, saved, size)
        with addresses_hidden():
            position = await at_backend.position()
        state, kept = _agreed(state, position, offset, size, at_backend)
        return BackendDraft(
            self._backend, at_backend, state, self._budget, size, kept, position.complete
        )

    async def find_published(self, upload: str, saved: SavedDraft, key: str) -> Entry | None:
        """The entry of an upload that is complete, and was not refused. Raises Unavailable."""
        state, at_backend = await self._known(upload, saved, None)
        try:
            with addresses_hidden():
                position = await at_backend.position()
                if not position.complete:
                    return None
                response = await at_backend.final_response(position, state.tail)
        except (Gone, Refused):
            return None
        metadata = Metadata(state.filename, state.type)
        return relayed_entry(self._backend, key, position.offset, metadata, response)

    # Inside

    async def _create(
        self, steps: UploadSteps, offer: Offer, size: int | None, request: UploadRequest
    ) -> bool:
        """False where this URL takes whole files only. Raises the backend's refusal."""
        extra = {}
        if offer.protocol == "tus":
            extra["upload-metadata"] = write_metadata(_metadata(self._backend, request))
        elif members := [
            format_digest(name, value)
            for name, value in request.expected.items()
            if name in STANDARD
        ]:
            extra["repr-digest"] = ", ".join(members)
            extra["want-repr-digest"] = WANTED  # its last response shows that it compared them
        try:
            response = await steps.ask_creation(size, extra)
        except PeerFailed as error:
            raise _unavailable(error) from error
        head = response.head
        if head.status in NOT_HERE:
            return False
        if head.status >= 500 or head.status == 429:
            raise _unavailable(refusal(head, response.text))
        if not steps.url:
            raise map_response(response, self._backend)
        if len(steps.url) > MOST_URL:
            raise PeerFailed(f"{redact_url(head.url)} gives an upload a URL that is too long")
        return True

    async def _creating_steps(
        self, protocol: str, plan: RelayRequest, upload: str, request: UploadRequest
    ) -> UploadSteps:
        headers = {name.lower(): value for name, value in plan.headers.items()}
        kind = headers.get("content-type", request.type)
        if protocol == "tus":  # its creations have no content, and say in metadata what comes
            for name in {"content-type", "content-disposition"} - plan.secret:
                headers.pop(name, None)
        transport, backend = await self._connect(), self._backend
        place = backend.url_of(request, "POST", upload)  # a server of tus chooses the URL
        url = backend.url_of(request, plan.method, upload)
        file_request = FileRequest(plan.method, url, kind)
        resuming = Resuming(Offers(transport), place, file_request, request.filename)
        return UploadSteps(transport, DIALECTS[protocol], resuming, headers, lambda _: None)

    async def _known(
        self, upload: str, saved: SavedDraft, size: int | None
    ) -> tuple[UploadState, BackendUpload]:
        """The operator's headers go to the host that they were given for, as ever."""
        backend = self._backend
        if (state := UploadState.read(saved.state)) is None:
            log.warning("Upload %s: what was written down of it is of another version", upload)
            raise Gone("The upload cannot go on here; send the file again")
        transport, url = await self._connect(), backend.url.probed
        resuming = Resuming(Offers(transport), url, FileRequest("POST", url, ""), "")
        headers = {**trace_headers(), **backend.headers}
        steps = UploadSteps(transport, DIALECTS[state.protocol], resuming, headers, lambda _: None)
        return state, BackendUpload(backend, steps, state, upload, size)


def _takes(offer: Offer, size: int | None, plan: RelayRequest) -> bool:
    """Whether the offer is for such an upload."""
    if size is not None and not offer.takes(size):
        return False
    if offer.protocol == "tus":
        conditional = {"if-match", "if-none-match"} & {name.lower() for name in plan.headers}
        return not conditional and (size is not None or "creation-defer-length" in offer.extensions)
    return True


def _metadata(backend: Backend, request: UploadRequest) -> Mapping[str, str]:
    """Upload-Metadata: what came with the file, and the operator's fields."""
    given = {**request.values, **dict(request.fields), **dict(backend.fields)}
    return {**given, "filename": request.folders + request.filename, "filetype": request.type}


def _agreed(
    state: UploadState, position: Position, offset: int, size: int | None, at: BackendUpload
) -> tuple[UploadState, int]:
    """The state and the offset from which the upload goes on. Raises Gone.

    The backend may have more than was written down: this process, or the one before, ended after
    the bytes were acknowledged there. They came from this upload's client and in order, unless the
    request that brought them had a digest, which was not compared yet.
    """
    there, sent = position.offset, offset - len(state.tail)
    length = position.length
    if length is not None and size is not None and length != size:
        raise at.lost(f"it has a length of {length} bytes, and not of {size}")
    if position.complete:  # it is published, as `find_published` will find
        if there != offset:
            raise at.lost(f"it is complete with {there} bytes, and {offset} were sent")
        return state, offset
    if there < sent:
        raise at.lost(f"it has {there} bytes, and acknowledged {sent}")
    if there > sent and state.unchecked:
        raise at.lost("it has bytes whose digest was not compared")
    if there > sent:
        return changed(state, tail=b"", unchecked=False), there
    return changed(state, unchecked=False), offset


def _unavailable(error: SluiceError) -> Unavailable:
    return Unavailable(error.detail).for_operator(
        "The destination cannot be reached now; try again later"
    )
