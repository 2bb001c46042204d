"""The next server, with a spool before it: what that server does not take now waits on this disk.

`draft` is for uploads of one request, `begin` and `resume` for those that outlive one; `due` says
which wait. Nothing counts as done before that server has said so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

from sluiceway.errors import NoSpace, NotFound, SluiceError, StoreFailed
from sluiceway.stores.contract import (
    Draft,
    Entry,
    ObjectReader,
    Page,
    Replace,
    Traits,
    UploadRequest,
)
from sluiceway.stores.relay.draft import RelayDraft
from sluiceway.stores.relay.errors import keeps_none
from sluiceway.stores.relay.held import HeldRelayDraft, HeldRequests
from sluiceway.stores.relay.spool.draft import SpooledDraft
from sluiceway.stores.relay.spool.identity import spool_identity
from sluiceway.stores.relay.spool.rules import SpoolRules, is_passing
from sluiceway.stores.relay.spool.space import STEP, SpoolSpace, entry_of
from sluiceway.stores.relay.store import RelayStore
from sluiceway.stores.unpublished import (
    AdoptingStore,
    ChecksRoom,
    ListsDrafts,
    ResumableDraft,
    SavedDraft,
)

__all__ = ["SpoolStore"]

log: logging.Logger = logging.getLogger("sluiceway")


class SpoolStore:
    """A relay with a spool. `files` is a store in the folder `root`; `folder` lies in it, and is
    the spool's own."""

    traits: Traits = Traits(
        name="backend",
        durable=True,
        atomic_publish=True,
        create_only=False,
        resumable=True,
        readable=False,
        undoable=False,
        remote=True,
        keeps="whole",
        compare_and_swap=False,
    )

    def __init__(
        self, relay: RelayStore, files: AdoptingStore, root: str, folder: str, rules: SpoolRules
    ) -> None:
        self.root: str = root
        self._folder = folder
        self._relay, self._files, self._rules = relay, files, rules
        self._space = SpoolSpace(relay, files, root, folder, rules)
        self._held = HeldRequests(relay.backend.pause)

    def identity(self) -> str:
        return spool_identity(self._folder)

    async def draft(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> Draft:
        file = await self._file(upload, size, upload_request)
        try:
            live, fault = await self._begin(upload, size, upload_request, file is not None)
        except BaseException:
            if file is not None:
                await file.discard()
                await self._space.release(upload)
            raise
        return SpooledDraft(self._space, upload, upload_request, file, live, fault, lasts=False)

    async def check_room(self, size: int) -> None:
        if size > self._rules.most_bytes:
            full = NoSpace(f"This server can keep {self._rules.most_bytes} bytes for its backend")
            raise full.for_everyone()
        if isinstance(self._files, ChecksRoom):
            await self._files.check_room(size)

    async def begin(
        self, upload: str, size: int | None, upload_request: UploadRequest = UploadRequest()
    ) -> ResumableDraft:
        await self._space.claim(upload, size or STEP, lasts=True, exact=True)
        file = await self._files.begin(upload, size, upload_request)
        held: HeldRelayDraft | None = None
        fault: SluiceError | None = None
        try:
            if self._relay.backend.pause:
                live, fault = await self._begin(upload, size, upload_request, True)
                held = None if live is None else await self._held.begin(upload, live)
        except BaseException:
            await file.discard()
            await self._space.release(upload)
            raise
        return SpooledDraft(self._space, upload, upload_request, file, held, fault, lasts=True)

    async def resume(
        self,
        upload: str,
        saved: SavedDraft,
        offset: int,
        size: int | None,
        upload_request: UploadRequest = UploadRequest(),
        epoch: int = 0,
    ) -> ResumableDraft:
        file = await self._files.resume(upload, saved, offset, size, upload_request, epoch)
        held: HeldRelayDraft | None = None
        with suppress(NotFound):  # it was lost: a later request brings all bytes
            held = await self._held.take_up(upload, offset)
        return SpooledDraft(self._space, upload, upload_request, file, held, lasts=True)

    async def adopt(self, draft: Draft, upload: str) -> ResumableDraft:
        ours = cast("SpooledDraft", draft)
        await ours.last(upload)
        return ours

    async def find_published(self, upload: str, saved: SavedDraft, key: str) -> Entry | None:
        note = await self._space.note_of(upload)
        return None if note is None or not note.status else entry_of(note, key)

    # What waits

    async def expect(self, upload: str, name: str) -> None:
        await self._space.expect(upload, name)

    async def due(self, most: int, *, all_of_them: bool = False) -> list[str]:
        return await self._space.due(most, all_of_them=all_of_them)

    async def postpone(self, upload: str, seconds: float) -> None:
        await self._space.postpone(upload, seconds)

    async def forget(self, upload: str) -> None:
        await self._space.forget(upload)

    @contextmanager
    def unattended(self, upload: str) -> Iterator[None]:
        self._space.unattended.add(upload)
        try:
            yield
        finally:
            self._space.unattended.discard(upload)

    async def count_waiting(self) -> int:
        return await self._space.count()

    # The drafts of the ledger

    def draft_name(self, upload: str) -> str:
        return self._listed.draft_name(upload)

    async def has_draft(self, upload: str) -> bool:
        return await self._listed.has_draft(upload)

    async def draft_names(self, after: str, most: int, older: float) -> list[str]:
        return await self._listed.draft_names(after, most, older)

    async def remove_draft(self, name: str) -> None:
        await self._listed.remove_draft(name)
        await self._space.release_left(name)

    # No object is kept here

    async def stat(self, key: str) -> Entry:
        raise keeps_none()

    async def open(self, key: str) -> ObjectReader:
        raise keeps_none()

    async def list(self, prefix: str = "", after: str = "", limit: int = 1000) -> Page:
        return Page(complete=True)

    async def delete(self, key: str, replace: Replace = Replace(allowed=True)) -> None:
        raise keeps_none()

    async def check(self) -> None:
        """Raises StoreFailed for a folder that cannot be written."""
        free = self._space.check()
        if free < self._rules.most_bytes:
            log.warning(
                "--relay-spool %s: %d bytes are free there, and --relay-spool-size allows %d",
                self.root,
                free,
                self._rules.most_bytes,
            )

    async def probe(self) -> None:
        """Files are taken while the destination answers, or the spool has room."""
        try:
            await self._relay.probe()
        except SluiceError as error:
            await self._space.claim("probe", STEP, lasts=False, exact=True)
            await self._space.release("probe")
            log.warning("The backend is not ready, and files go to the spool: %s", error.for_log)

    async def aclose(self) -> None:
        await self._held.aclose()
        await self._relay.aclose()
        await self._files.aclose()
        await self._space.aclose()

    # Inside

    @property
    def _listed(self) -> ListsDrafts:
        return cast("ListsDrafts", self._files)

    async def _file(self, upload: str, size: int | None, request: UploadRequest) -> Draft | None:
        """The file in the spool; None where there is no room: then all is as without a spool."""
        try:
            await self._space.claim(upload, size or STEP, lasts=False, exact=True)
            try:
                return await self._files.draft(upload, size, request)
            except BaseException:
                await self._space.release(upload)
                raise
        except StoreFailed as error:
            log.warning("Upload %s goes on without the spool: %s", upload, error.for_log)
            return None

    async def _begin(
        self, upload: str, size: int | None, request: UploadRequest, is_spooled: bool
    ) -> tuple[RelayDraft | None, SluiceError | None]:
        """The request that brings the bytes at once, or why there is none."""
        try:
            return await self._relay.draft(upload, size, request), None
        except SluiceError as error:
            if not is_spooled or not is_passing(error):
                raise
            log.warning("Upload %s waits in the spool: %s", upload, error.for_log)
            return None, error
