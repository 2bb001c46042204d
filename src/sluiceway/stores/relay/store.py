"""The next HTTP server as a store: drafts are requests to it, and no object is kept here."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace as changed
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from sluiceway.client.http.transport import Transport
from sluiceway.client.retry import UNREADABLE
from sluiceway.errors import Gone, PeerFailed
from sluiceway.pipe.budget import Budget, Reservation
from sluiceway.stores.contract import (
    Entry,
    ObjectReader,
    Page,
    Replace,
    Traits,
    UploadRequest,
)
from sluiceway.stores.monitored import skew_of_date
from sluiceway.stores.relay.backend import Backend
from sluiceway.stores.relay.backend_uploads import BackendUploads
from sluiceway.stores.relay.draft import FIRST, FormFiles, RelayDraft
from sluiceway.stores.relay.errors import addresses_hidden, keeps_none
from sluiceway.stores.relay.held import HeldRequests
from sluiceway.stores.relay.request import check_repeated_fields
from sluiceway.stores.relay.upload_state import is_at_backend
from sluiceway.stores.unpublished import ResumableDraft, SavedDraft
from sluiceway.wire.urls import origin, redact_url

__all__ = ["RelayStore"]

UNDO_TIMEOUT = 10.0  # seconds the destination gets to delete the object it has just made


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
        self._skew: float | None = None
        self._held = HeldRequests(backend.pause)
        self._transport: Transport | None = None
        self._kept: Transport | None = None  # for requests that may be repeated
        self._pieces = BackendUploads(backend, self._open_kept, budget)
        if backend.pause or self._pieces.may_be:
            self.traits = changed(self.traits, resumable=True)
        self._files: WeakValueDictionary[str, FormFiles] = WeakValueDictionary()

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> RelayDraft:
        return await self._begin(upload, size, upload_request)

    async def begin(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> ResumableDraft:
        draft = await self._pieces.begin(upload, size, upload_request)
        if draft is not None:
            return draft
        if not self.backend.pause and size != 0:
            raise Gone("This file can only be sent on as a whole; send it in one request")
        return await self._held.begin(upload, await self._begin(upload, size, upload_request))

    async def resume(
        self,
        upload: str,
        saved: SavedDraft,
        offset: int,
        size: int | None,
        upload_request: UploadRequest = UploadRequest(),
        epoch: int = 0,
    ) -> ResumableDraft:
        if is_at_backend(saved.state):
            return await self._pieces.resume(upload, saved, offset, size)
        return await self._held.take_up(upload, offset)

    def holds(self, upload: str) -> bool:
        return self._held.holds(upload)

    def is_elsewhere(self, state: str) -> bool:
        return is_at_backend(state)

    async def takes_pieces(self) -> bool:
        return bool(self.backend.pause) or await self._pieces.offer() is not None

    async def find_published(self, upload: str, saved: SavedDraft, key: str) -> Entry | None:
        """Of a request that was held open nobody knows but the destination: its URLs are its own,
        and it is not asked."""
        if is_at_backend(saved.state):
            return await self._pieces.find_published(upload, saved, key)
        return None

    async def _begin(
        self, upload: str, size: int | None, upload_request: UploadRequest
    ) -> RelayDraft:
        key = _idempotency_key(upload) if self.backend.keyed else ""
        upload = upload.rpartition(".")[0] or upload  # "ID.2" is the second file of a form
        files = self._files.setdefault(upload, FormFiles(upload))
        files.count += 1
        check_repeated_fields(self.backend, upload_request, files.count)
        reservation = Reservation(self.budget, FIRST if files.count == 1 else 0)
        draft = RelayDraft(
            self.backend,
            await self._open(),
            files,
            reservation,
            self.budget,
            size,
            upload_request,
            key,
        )
        with addresses_hidden():
            await draft.begin()
        return draft

    async def stat(self, key: str) -> Entry:
        raise keeps_none()

    async def open(self, key: str) -> ObjectReader:
        raise keeps_none()

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        return Page(complete=True)

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        raise keeps_none()

    async def undo_publish(self, entry: Entry) -> bool:
        """Ask the destination to delete what it has just made; returns whether it is gone.

        Only the object that its 201 names as created, and only at the host that the operator's
        headers are for. Never the URL that files are sent to nor one above it: some servers name
        those instead.
        """
        reply, to = entry.reply, self.backend.url.address.url
        place = reply.location if reply is not None and reply.status == 201 else None
        if reply is None or place is None or origin(place) != origin(to) or _covers(place, to):
            return False
        headers = dict(self.backend.headers)
        if (tag := reply.headers.get("etag", "")).startswith('"'):
            headers["if-match"] = tag  # another client may have replaced the object meanwhile
        transport = await self._open()
        try:
            async with (
                asyncio.timeout(UNDO_TIMEOUT),
                transport.ask("DELETE", place, headers) as answer,
            ):
                return 200 <= answer.head.status < 300 or answer.head.status in (404, 410)
        except (PeerFailed, TimeoutError):
            return False

    async def probe(self) -> None:
        """Ask the destination: its health URL, which must answer 2xx, else HEAD of its own URL.

        Without a health URL every answer below 500 will do: the server is there, and only a file
        would show more. Raises PeerFailed, Unavailable; clients learn no address.
        """
        backend, health = self.backend, self.backend.health
        url = backend.url.probed if health is None else health
        headers = backend.headers if origin(url) == origin(backend.url.address.url) else {}
        transport = await self._open()
        with addresses_hidden():
            try:
                asked = time.time()
                async with transport.ask(
                    "HEAD" if health is None else "GET", url, headers
                ) as response:
                    status = response.head.status
                    date = response.head.headers.get("date")
                    self._skew = skew_of_date(date, asked, time.time())
            except PeerFailed as error:
                # Some servers send a body with their answer to HEAD; they are there all the same.
                if health is None and UNREADABLE in error.members:
                    return
                raise
            if status >= (500 if health is None else 300):
                raise PeerFailed(f"{redact_url(url)} answered {status}, and is not ready")

    async def clock_skew(self) -> float | None:
        """By the last answer to `probe`."""
        return self._skew

    async def aclose(self) -> None:
        await self._held.aclose()
        transports = (self._transport, self._kept)
        self._transport = self._kept = None
        for transport in transports:
            if transport is not None:
                await transport.__aexit__()

    async def _open(self) -> Transport:
        if self._transport is None:
            # A kept connection may be dead already, and would cost an upload that cannot be
            # repeated: each request gets a fresh one.
            self._transport = await Transport(
                self.backend.deadlines, keep=False, trust=self.backend.trust
            ).__aenter__()
        return self._transport

    async def _open_kept(self) -> Transport:
        if self._kept is None:
            backend = self.backend
            self._kept = await Transport(backend.deadlines, trust=backend.trust).__aenter__()
        return self._kept


def _idempotency_key(upload: str) -> str:
    """It hides the upload's id, which is a secret of its client."""
    return hashlib.sha256(f"idempotency {upload}".encode()).hexdigest()[:32]


def _covers(place: str, other: str) -> bool:
    """Whether `place` is the same URL as `other`, or one of the folders around it."""
    one, two = (urlsplit(url).path.rstrip("/") + "/" for url in (place, other))
    return two.startswith(one)
