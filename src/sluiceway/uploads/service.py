"""The upload service: the only code that moves an upload from state to state. One request brings one upload, of one or many files.

Everything is drafted first; only when the whole body has come and its digests are right is anything published. The upload service
knows sources, stores and the board, never HTTP or forms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as changed
from types import TracebackType
from typing import Self

from sluiceway.errors import (
    BadName,
    BodyCut,
    Cancelled,
    DigestMismatch,
    PeerFailed,
    Refused,
    SluiceError,
    TooLarge,
    Unavailable,
)
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.pump import pump
from sluiceway.pipe.source import Source
from sluiceway.pipe.stages import ANSWER, DESTINATION, QUEUE, Stages
from sluiceway.stores.contract import (
    Draft,
    EarlyFailure,
    Entry,
    Metadata,
    Pausable,
    Replace,
    Store,
    UploadRequest,
)
from sluiceway.uploads.keys import KeyTemplate, new_id
from sluiceway.uploads.progress import ProgressRecord, ProgressTable
from sluiceway.uploads.states import ENDED, State, after
from sluiceway.wire.names import check_key

__all__ = ["UploadService", "UploadSession", "Wish", "check_digests"]

LEAVING = 10.0  # seconds cut uploads may take to put their drafts away when the server stops
LOOK_EVERY = 0.1  # seconds between looks at what another machine has acknowledged, and for a cancel asked of another process


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants of one file. All of it is checked before the first byte is read."""

    filename: str  # cleaned
    type: str = "application/octet-stream"
    key: str | None = None  # None: the template decides
    replace: Replace = field(default_factory=Replace)
    expected: Mapping[str, bytes] = field(
        default_factory=dict
    )  # digests by algorithm the bytes must have
    upload_request: UploadRequest = field(
        default_factory=UploadRequest
    )  # what else the client said; the upload service fills in key, name, type and replace


@dataclass(slots=True)
class _Drafted:
    """A file that has come whole and waits for the others."""

    draft: Draft
    key: str
    metadata: Metadata
    replace: Replace


class UploadService:
    """Takes uploads for one store."""

    store: Store
    budget: Budget
    progress_table: ProgressTable

    def __init__(
        self,
        store: Store,
        budget: Budget,
        progress_table: ProgressTable,
        *,
        template: KeyTemplate | None = None,
        digests: Iterable[str] = ("sha-256",),
        max_size: int | None = None,
        flatten: bool = False,
    ) -> None:
        self.store, self.budget, self.progress_table = store, budget, progress_table
        self.template: KeyTemplate = template or KeyTemplate()
        self.digests: tuple[str, ...] = tuple(digests)
        self.max_size = max_size
        self.flatten = flatten  # folders that clients tell are dropped
        self._live: dict[str, UploadSession] = {}
        self._looking: asyncio.Task[None] | None = None

    def receive(self, upload: str | None = None, length: int | None = None) -> UploadSession:
        """Begin an upload: `async with upload_service.receive(id, length) as session`. `length` is the request's, in bytes.

        Raises Exists when the chosen id is taken.
        """
        record = self.progress_table.begin(upload or new_id(), length)
        record.by_kernel = (
            self.store.traits.remote
        )  # until the destination itself says that it has everything
        incoming = UploadSession(self, record)
        self._live[record.id] = incoming
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
        return incoming

    def made_key(self, filename: str) -> str:
        """The key of a file whose client named none. Raises BadName: of a name that was clean a template can make any key."""
        try:
            return check_key(self.template.key(filename), self.store.traits.max_key_bytes)
        except BadName as error:
            raise BadName(
                f"This server makes no safe key of the name {filename!r}: {error.detail}",
                **error.members,
            ) from None

    async def aclose(self) -> None:
        """Cut uploads under way and wait until they have put their drafts away; then close store and board."""
        live = [
            incoming
            for incoming in self._live.values()
            if incoming.task is not asyncio.current_task()
        ]
        for incoming in live:
            incoming.stop(Unavailable("The server is stopping; nothing was stored. Send it again"))
        tasks = [incoming.task for incoming in live if incoming.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=LEAVING)
        await self.store.aclose()
        self.progress_table.close()

    def cancel(self, upload: str) -> bool:
        """Ask for the end of an upload of any process of this server; False when there is none, or it is too late.

        An upload that is being published is not stopped: what its store makes visible cannot be unsaid.
        """
        record = self.progress_table.find(upload)
        if record is None or record.state is not State.RECEIVING:
            return False
        record.ask_cancel()
        if upload in self._live:
            self._live[upload].stop(Cancelled("The upload was cancelled; nothing was stored"))
        return True

    def end(self, incoming: UploadSession) -> None:
        """Called by the upload itself at its end."""
        del self._live[incoming.record.id]
        self.progress_table.end(incoming.record)

    async def _look(self) -> None:
        while self._live:
            await asyncio.sleep(LOOK_EVERY)
            for incoming in list(self._live.values()):
                if self.store.traits.remote:
                    incoming.count_kept()
                    if incoming.client_left():
                        incoming.stop(
                            BodyCut(
                                "The client left while the destination took nothing; nothing was stored"
                            )
                        )
                if (failure := incoming.failure()) is not None:
                    incoming.stop(failure)
                if incoming.record.cancel_asked and incoming.record.state is State.RECEIVING:
                    incoming.stop(Cancelled("The upload was cancelled; nothing was stored"))


class UploadSession:
    """An upload under way. Leaving the block without `publish` discards everything."""

    def __init__(self, upload_service: UploadService, record: ProgressRecord) -> None:
        self.record = record
        self.stages: Stages = Stages()
        self._upload_service = upload_service
        self._drafted: list[_Drafted] = []
        self._filling: Draft | None = None
        self._reason: SluiceError | None = None
        self.task: asyncio.Task[object] | None = asyncio.current_task()
        self.client_left: Callable[[], bool] = (
            _nobody_knows  # whoever speaks with the client may know
        )
        self._leaving = False  # it puts its drafts away already
        self._taken = 0  # bytes of files so far: the limit is for the request, not for each file

    @property
    def id(self) -> str:
        return self.record.id

    def stop(self, reason: SluiceError) -> None:
        """End the upload from outside; the handler sees `reason` raised at the await it stands at."""
        if self._reason is None and not self._leaving and self.task is not None:
            self._reason = reason
            self.task.cancel()

    def failure(self) -> SluiceError | None:
        """What a destination said already, before it had everything."""
        if self.record.state is not State.RECEIVING:
            return None  # whoever publishes hears it
        drafts = [
            *(file.draft for file in self._drafted),
            *([self._filling] if self._filling else []),
        ]
        return next(
            (
                draft.failure
                for draft in drafts
                if isinstance(draft, EarlyFailure) and draft.failure is not None
            ),
            None,
        )

    def count_kept(self) -> None:
        """What another machine has acknowledged so far; a byte less than all, for the last word is its answer."""
        drafts = [
            *(file.draft for file in self._drafted),
            *([self._filling] if self._filling else []),
        ]
        kept = sum(min(draft.kept, draft.written - 1) for draft in drafts if draft.written)
        if self.record.state not in ENDED and kept > self.record.kept:
            self.record.kept = kept

    async def take(
        self, source: Source, wish: Wish, *, size: int | None = None, counts_received: bool = True
    ) -> None:
        """Draft one file and check it. `size` is what can be said of the length where the source cannot be sure of it.

        Raises BodyCut, TooLarge, DigestMismatch, NoSpace and whatever source and destination raise.
        """
        upload_service = self._upload_service
        folders = "" if upload_service.flatten else wish.upload_request.folders
        key = wish.key if wish.key is not None else upload_service.made_key(folders + wish.filename)
        promised = wish.expected["sha-256"].hex() if "sha-256" in wish.expected else None
        upload_request = changed(
            wish.upload_request,
            key=key,
            folders=folders,
            filename=wish.filename,
            type=wish.type,
            sha256=promised,
            replace=wish.replace,
        )
        digests = Digests(
            tuple(dict.fromkeys((*upload_service.digests, *wish.expected))), upload_service.budget
        )
        before = self.stages.enter(DESTINATION)
        if self._drafted and isinstance(waiting := self._drafted[-1].draft, Pausable):
            await waiting.pause()
        length = source.length if source.length is not None else size
        draft = self._filling = await upload_service.store.draft(
            f"{self.id}.{len(self._drafted)}", length, upload_request
        )
        self.stages.enter(QUEUE)
        try:
            limit = (
                None if upload_service.max_size is None else upload_service.max_size - self._taken
            )
            self._taken += await pump(
                source,
                draft,
                taps=[digests],
                meter=self.record,
                limit=limit,
                counts_received=counts_received,
                stages=self.stages,
                budget=upload_service.budget,
            )
            found = await digests.finish()
        except TooLarge as error:  # the pump knows what was left for this file; the sender wants to know the whole limit
            if (
                self._taken
                and upload_service.max_size is not None
                and error.members.get("limit") == limit
            ):
                most = f"The files of this form have more than {upload_service.max_size} bytes together; the server takes at most that"
                raise TooLarge(most, limit=upload_service.max_size) from None
            raise
        finally:
            await digests.aclose()
        check_digests(found, wish.expected)
        metadata = Metadata(
            filename=wish.filename,
            type=wish.type,
            sha256=found["sha-256"].hex() if "sha-256" in found else None,
        )
        self._drafted.append(_Drafted(draft, key, metadata, wish.replace))
        self._filling = None
        self.stages.enter(before)

    @property
    def drafted(self) -> list[tuple[str, Metadata, int]]:
        """Key, what is known and bytes of each file that was taken, in order."""
        return [(file.key, file.metadata, file.draft.written) for file in self._drafted]

    async def publish(self) -> list[Entry]:
        """Make every file visible; all or, after an error, none. Raises Exists, PreconditionFailed, NoSpace."""
        self._move("whole")
        self.stages.enter(ANSWER)
        entries: list[Entry] = []
        try:
            for file in self._drafted:
                entries.append(await file.draft.publish(file.key, file.metadata, file.replace))
                self.record.kept = max(
                    self.record.kept, sum(entry.size for entry in entries)
                )  # it never goes back
        except BaseException as error:
            await self._take_back(entries)
            if (
                isinstance(error, SluiceError)
                and not self._upload_service.store.traits.undoable
                and entries
            ):
                raise _partly(error, [entry.key for entry in entries]) from error
            raise
        self.record.by_kernel = False
        self._move("published")
        self.stages.enter(QUEUE)
        return entries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leaving = True
        try:
            await self._discard()
        finally:
            stopped = isinstance(error, asyncio.CancelledError) and self._reason is not None
            outcome = self._reason if stopped else error
            if self.record.state is not State.COMPLETE:
                self._note(outcome)
            self._upload_service.end(self)
        if stopped and self._reason is not None:
            if self.task is not None:
                self.task.uncancel()
            raise self._reason from None

    async def _discard(self) -> None:
        """Drafts that were not published. Every one is tried, whatever the others say."""
        failed: BaseException | None = None
        for draft in [
            *(file.draft for file in self._drafted),
            *([self._filling] if self._filling else []),
        ]:
            try:
                await draft.discard()
            except (SluiceError, OSError, asyncio.CancelledError) as error:
                failed = failed or error
        self._drafted, self._filling = [], None
        if failed is not None:
            raise failed

    async def _take_back(self, entries: list[Entry]) -> None:
        """A later file could not be published: those that were go again, unless somebody replaced them meanwhile."""
        for entry in entries if self._upload_service.store.traits.undoable else ():
            try:
                await self._upload_service.store.delete(
                    entry.key, Replace(allowed=True, etag=entry.etag)
                )
            except SluiceError:
                continue  # gone or replaced: no longer ours

    def _note(self, error: BaseException | None) -> None:
        if isinstance(error, SluiceError):
            self.record.code = error.code
        self._move("cancel" if isinstance(error, Cancelled | asyncio.CancelledError) else "fail")

    def _move(self, happened: str) -> None:
        self.record.state = after(self.record.state, happened)


def _partly(error: SluiceError, taken: list[str]) -> SluiceError:
    """What another server has, it has: the client is told, also where that server's refusal would have been its answer."""
    if isinstance(error, Refused):
        what, status = "the files before it in the form are there already", error.status
        error = PeerFailed(f"{error.detail}; {what}", answered=status)
        error.for_operator(f"The destination answered {status}; {what}")
    error.members.setdefault("already_taken", taken)
    return error


def _nobody_knows() -> bool:
    return False


def check_digests(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> None:
    """Raises DigestMismatch unless every expected digest was found."""
    wrong = [name for name, value in expected.items() if found[name] != value]
    if wrong:
        raise DigestMismatch(
            f"The bytes that arrived do not have the {wrong[0]} digest sent along; nothing was stored. Send it again",
            mismatched_digests=[{"algorithm": name} for name in wrong],
        )
