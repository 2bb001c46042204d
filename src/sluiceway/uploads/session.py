"""An upload under way: its files are drafted and checked, and published when all of them are right.

The only code that moves an upload from state to state. It knows sources, stores and its progress
record, never HTTP or forms.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

from sluiceway.errors import (
    AwaitsBackend,
    Cancelled,
    Exists,
    SluiceError,
    Superseded,
    TooLarge,
)
from sluiceway.pipe.cancellation import cancel_task, finish_then_cancel, shield_until_done
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.hashes import digest_pairs
from sluiceway.pipe.pump import pump
from sluiceway.pipe.source import Source
from sluiceway.pipe.stages import ANSWER, DESTINATION, QUEUE, Stages
from sluiceway.stores.contract import (
    Draft,
    Entry,
    Metadata,
    Pausable,
    Replace,
    UploadRequest,
)
from sluiceway.stores.delivered_later import DeliveredLater
from sluiceway.stores.unpublished import TellsReplaced
from sluiceway.uploads.hooks.around import AppAround, ask_app
from sluiceway.uploads.keys import new_id
from sluiceway.uploads.progress_record import ProgressRecord
from sluiceway.uploads.publishing.all_or_none import AllOrNone, partly
from sluiceway.uploads.rules import UploadRules, check_digests
from sluiceway.uploads.states import ENDED, State, after
from sluiceway.wire.names import check_key

__all__ = ["STOPPED", "UploadSession"]

STOPPED: str = "The server is stopping; nothing was stored. Send it again"


@dataclass(slots=True)
class _DraftedFile:
    """A file that has arrived whole and waits for the others."""

    draft: Draft
    key: str
    metadata: Metadata
    replace: Replace
    request: UploadRequest


# An empty set holds 216 bytes.
NONE_REPLACED: frozenset[str] = frozenset()


class UploadSession:
    """One upload, of one or several files. Leaving the block without `publish` discards everything.

    `at_end` is called once, when the block has been left.
    """

    def __init__(
        self, rules: UploadRules, record: ProgressRecord, at_end: Callable[[UploadSession], None]
    ) -> None:
        self.record = record
        self._state = State.RECEIVING  # that of the record, which only this code moves
        self.id: str = record.id
        self.stages: Stages = Stages()
        record.stages, record.owner_name = self.stages, rules.grant.owner
        self.task: asyncio.Task[object] | None = asyncio.current_task()
        # Whether the client has left; set by the code that speaks with the client.
        self.client_left: Callable[[], bool] = lambda: False
        self.app: AppAround | None = None  # what an app around the service decides
        self._rules, self._quota, self._at_end = rules, rules.quota, at_end
        self._drafted: list[_DraftedFile] = []
        self._reserved: list[str] = []  # the names of what is reserved for its files
        self._filling: Draft | None = None
        self._reason: SluiceError | None = None
        self._leaving = False  # the drafts are being discarded already
        self.is_handed_over: bool = False  # uploads of the ledger go on with it
        # Whether the store knows what it replaced: then `replaced` says it after `publish`.
        self.tells_replaced: bool = rules.store.traits.tells_replaced
        self.replaced: frozenset[str] = NONE_REPLACED  # keys of those objects
        self.keys: list[str] = []  # of its files, in order, as soon as they are known
        self.left: int = 0  # bytes of a cut file with which an upload of the ledger goes on
        self._taken = 0  # bytes of files so far: the limit is for the request, not for each file

    @property
    def drafted(self) -> list[tuple[str, Metadata, int]]:
        """Key, metadata and bytes of each file that was taken, in order."""
        return [(file.key, file.metadata, file.draft.written) for file in self._drafted]

    def stop(self, reason: SluiceError) -> None:
        """End the upload from outside: the handler sees `reason` raised where it waits."""
        if self._reason is None and not self._leaving and self.task is not None:
            self._reason = reason
            cancel_task(self.task, self._is_to_end)

    def _is_to_end(self) -> bool:
        return not self._leaving and self.record.state is State.RECEIVING

    def failure(self) -> SluiceError | None:
        """Return the error that a destination gave before it had everything."""
        # Not isinstance of EarlyFailure: it takes ten times as long, and many are asked often.
        error: SluiceError | None = getattr(self._filling, "failure", None)
        for file in self._drafted:
            error = error or getattr(file.draft, "failure", None)
        if error is None or self.record.state is not State.RECEIVING:
            return None  # publishing raises it
        return error

    def release_cut(self) -> Draft | None:
        """The draft of a file that did not arrive whole: it is the caller's to end then."""
        draft, self._filling = self._filling, None
        return draft

    @property
    def reserved(self) -> str:
        """The name of what is reserved for the file that came last, "" for nothing."""
        return self._reserved[-1] if self._reserved else ""

    @property
    def leaves_rest(self) -> bool:
        """Whether a client may go on with what was cut here, where this task was cancelled: the
        server ends, or a newer request asks."""
        reason = self._reason
        return reason is None or reason.detail == STOPPED or isinstance(reason, Superseded)

    def count_kept(self) -> None:
        """Count what another machine has acknowledged: at most all bytes but one.

        The last byte counts when that machine has answered.
        """
        kept = sum(min(each.kept, each.written - 1) for each in self._drafts() if each.written)
        if self.record.state not in ENDED and kept > self.record.kept:
            self.record.kept = kept

    async def take(
        self,
        source: Source,
        request: UploadRequest,
        *,
        size: int | None = None,
        counts_received: bool = True,
    ) -> None:
        """Draft one file and check it.

        `size` is the length, as far as it can be known, of a source that cannot be sure of it.
        Raises BodyCut, TooLarge, DigestMismatch, NoSpace and whatever source and destination raise.
        """
        rules = self._rules
        if source.length is not None:
            size = source.length
        if self.app is not None:
            request = await self.app.start(self.id, request, size)
            if request.key:
                check_key(request.key, rules.store.traits.max_key_bytes)
        request = await rules.admit(request, size)
        folders = "" if rules.flatten else request.folders
        key = request.key or await rules.free_key(request, [file.key for file in self._drafted])
        self.keys.append(key)
        self.record.key = key
        if (key, folders) != (request.key, request.folders):
            request = dataclasses.replace(request, key=key, folders=folders)
        if rules.asker is not None:
            await rules.ask_start(self.id, request, size)
        asked = (request.wanted, *rules.store.traits.counts)
        names = rules.digests.to_count(request.expected, asked)
        digests = Digests(names, rules.budget) if names else None
        before = self.stages.enter(DESTINATION)
        if self._drafted and isinstance(waiting := self._drafted[-1].draft, Pausable):
            await waiting.pause()
        name = f"{self.id}.{len(self._drafted)}"
        self._reserved.append(name)
        announced = size if request.size_is_certain else None
        await self._quota.hold(name, request, announced or 0)
        draft = self._filling = await rules.store.draft(name, size, request)
        # Only another machine may take a file later; on others the check would cost as much as all
        # the states of an upload.
        if rules.store.traits.remote and isinstance(draft, DeliveredLater):
            draft.watch(self.record.set_waiting)
        self.stages.enter(QUEUE)
        source = self._quota.metered(name, request, source, announced)
        try:
            self._taken += await self._pump(source, draft, digests, counts_received)
            found = {} if digests is None else await digests.finish()
        finally:
            if digests is not None:
                await digests.aclose()
        if request.expected:
            check_digests(found, request.expected)
        if announced != draft.written:
            await self._quota.hold(name, request, draft.written)
        metadata = request.metadata(digest_pairs(found) if found else ())
        self._drafted.append(_DraftedFile(draft, key, metadata, request.replace, request))
        self._filling = None
        self.stages.enter(before)

    async def publish(self) -> list[Entry]:
        """Make every file visible; all or, after an error, none.

        Raises Exists, PreconditionFailed, NoSpace, Forbidden, and what the app and the operator's
        hook raise.
        """
        if self._rules.grant.count is None:
            return await self._publish()
        async with self._rules.counted(len(self._drafted)):
            return await self._publish()

    async def _publish(self) -> list[Entry]:
        self._move("whole")
        self.stages.enter(ANSWER)
        if self.app is not None or self._rules.asker is not None:
            await self._ask_kept()
        app, waiting, kept, number = self.app, list[Entry](), 0, 0
        together = AllOrNone(
            self._rules,
            self.id,
            [(file.draft, file.key, file.replace) for file in self._drafted],
            may_fail_later=app is not None and app.asks_published,
        )
        outbox = self._rules.outbox
        events = [] if outbox is None else await outbox.expect(self.id, self.drafted)
        try:
            for number in await together.begin():
                file = self._drafted[number]
                try:
                    entry = await self._publish_file(number, file, together)
                except AwaitsBackend:
                    waiting = await self._hand_over(number)
                    break
                if self.tells_replaced and cast("TellsReplaced", file.draft).replaced:
                    self.replaced |= {file.key}
                kept += entry.size
                if kept > self.record.kept:  # the counter never goes back
                    self.record.kept = kept
            entries = [entry for _, entry in sorted(together.entries.items())]
            if app is not None:
                for entry in entries:
                    await app.published(entry)
        except BaseException as error:
            stay = await finish_then_cancel(together.roll_back())
            is_sure = isinstance(error, SluiceError)
            if outbox is not None:
                await outbox.settle(events, stay, is_sure=is_sure)
            if isinstance(error, Exists):
                error.members.setdefault("key", self._drafted[number].key)
            if isinstance(error, SluiceError) and stay:
                undoable = self._rules.store.traits.undoable
                keys = [self._drafted[each].key for each in stay]
                raise partly(error, keys, is_undoable=undoable) from error
            raise
        await together.settle()
        if outbox is not None:
            await shield_until_done(outbox.settle(events, list(together.entries)))
        if waiting:
            return entries + waiting
        self.record.by_kernel = False
        self._move("published")
        self.stages.enter(QUEUE)
        return entries

    async def _ask_kept(self) -> None:
        """The app and the operator's hook decide on each file."""
        for file in self._drafted:
            await ask_app(self.app, self.id, file.key, file.metadata, file.draft)
            if self._rules.asker is not None:
                await self._rules.ask_kept(self.id, new_id(), file.key, file.metadata, file.draft)

    async def _publish_file(self, number: int, file: _DraftedFile, together: AllOrNone) -> Entry:
        reserved, size = self._reserved[number], file.draft.written
        async with self._quota.publishing(reserved, file.key, file.request, size) as change:
            entry = await together.publish(number, file.metadata)
            change.has(file.key, entry)
        self._reserved[number] = ""  # it became the file
        return entry

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
            try:
                await self._discard()
            finally:  # a draft that cannot be discarded takes no room of the quota
                if reserved := list(filter(None, self._reserved)):
                    await self._quota.release(reserved)
        finally:
            stopped = isinstance(error, asyncio.CancelledError) and self._reason is not None
            outcome = self._reason if stopped else error
            if self._state is not State.COMPLETE and not self.is_handed_over:
                self._note(outcome)
            self._at_end(self)
        if stopped and self._reason is not None:
            if self.task is not None:
                self.task.uncancel()
            raise self._reason from None

    async def _pump(
        self, source: Source, draft: Draft, digests: Digests | None, counts_received: bool
    ) -> int:
        max_size = self._rules.max_size
        limit = None if max_size is None else max_size - self._taken
        try:
            return await pump(
                source,
                draft,
                taps=[] if digests is None else [digests],
                meter=self.record,
                limit=limit,
                counts_received=counts_received,
                stages=self.stages,
                budget=self._rules.budget,
            )
        except TooLarge as error:
            text = f"More than {max_size} bytes arrived"
            if self._taken:
                text = f"The files of this form have more than {max_size} bytes together"
            raise self._rules.in_full(error, limit, text) from None

    async def _hand_over(self, number: int) -> list[Entry]:
        """The files from this one on wait in the spool, and the client learns that.

        Raises AwaitsBackend where an app still has to decide: nobody could ask it later.
        """
        hand_over, rest = self._rules.hand_over, self._drafted[number:]
        if hand_over is None or self.app is not None:
            raise AwaitsBackend("The backend does not answer now; nothing was stored")
        entries = await hand_over(self.id, [(f.draft, f.key, f.metadata, f.replace) for f in rest])
        del self._drafted[number:]
        self.is_handed_over = True
        return entries

    def _drafts(self) -> list[Draft]:
        drafts = [file.draft for file in self._drafted]
        return drafts if self._filling is None else [*drafts, self._filling]

    async def _discard(self) -> None:
        """Discard what was not published. Every draft is tried, whatever the others raise."""
        failed: BaseException | None = None
        for draft in self._drafts():
            try:
                await draft.discard()
            except (SluiceError, OSError, asyncio.CancelledError) as error:
                failed = failed or error
        self._drafted, self._filling = [], None
        if failed is not None:
            raise failed

    def _note(self, error: BaseException | None) -> None:
        if isinstance(error, SluiceError):
            self.record.code = error.code
        self._move("cancel" if isinstance(error, Cancelled | asyncio.CancelledError) else "fail")

    def _move(self, event: str) -> None:
        self._state = self.record.state = after(self._state, event)
