"""Asks the operator's hooks about a file: before its first byte, and before readers can see it.

A hook that cannot be asked refuses, unless the operator wants it otherwise. Knows no HTTP and no
processes: the hooks do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from sluiceway.errors import HookUnavailable, UploadRefused
from sluiceway.stores.contract import Draft, Metadata, UploadRequest
from sluiceway.stores.unpublished import FileBackedDraft
from sluiceway.uploads.access.grant import Grant
from sluiceway.uploads.hooks.contract import Hook, HookCall, HookResponse, HookWhen
from sluiceway.uploads.hooks.events import EventWriter
from sluiceway.uploads.keys import new_id
from sluiceway.uploads.totals import Totals

__all__ = ["MOST_WORDS", "HookAsker", "ServiceHooks"]

log: logging.Logger = logging.getLogger("sluiceway")

MOST_WORDS = 300  # characters of a hook's words that a client gets
# What a client gets where the hook says nothing: 422 is of what is inside a file (RFC 9110 15.5.21)
STATUS = {HookWhen.START: 403, HookWhen.KEPT: 422}
NO_WORDS = "The rules of this server refuse this file; nothing was stored"


@dataclass(frozen=True, slots=True)
class _AskedHook:
    """A hook, and how many may call it at the same time."""

    hook: Hook
    free: asyncio.Semaphore


class HookAsker:
    """The hooks that may refuse, for the uploads of one service.

    Args:
        hooks: By when they are called.
        events: Writes what they get.
        timeout: Seconds for one call, and for the wait until it can be made.
        fails_open: Whether a file is taken where a hook cannot be asked.
        totals: Counts what came of it.
    """

    def __init__(
        self,
        hooks: Mapping[HookWhen, Hook],
        events: EventWriter,
        timeout: float,
        fails_open: bool,
        totals: Totals,
    ) -> None:
        self._places = {
            when: _AskedHook(hook, asyncio.Semaphore(hook.at_once)) for when, hook in hooks.items()
        }
        self._events, self._timeout = events, timeout
        self._fails_open, self._totals = fails_open, totals

    async def start(
        self, upload: str, request: UploadRequest, size: int | None, grant: Grant
    ) -> None:
        """Ask before the first byte of a file. Raises UploadRefused, HookUnavailable."""
        if HookWhen.START in self._places:
            call = self._events.started(upload, new_id(), request, size, grant)
            await self._ask(HookWhen.START, call)

    async def kept(
        self, upload: str, seed: str, key: str, metadata: Metadata, draft: Draft, grant: Grant
    ) -> None:
        """Ask when all bytes are kept and none can be read. Raises as `start`."""
        if HookWhen.KEPT not in self._places:
            return
        call = self._events.kept(upload, seed, key, metadata, draft.written, grant)
        path = await draft.file_path() if isinstance(draft, FileBackedDraft) else None
        await self._ask(HookWhen.KEPT, HookCall(call.id, call.body, path))

    async def aclose(self) -> None:
        """Close what the calls have opened."""
        for place in self._places.values():
            await place.hook.aclose()

    async def _ask(self, when: HookWhen, call: HookCall) -> None:
        response = await self._call(self._places[when], call)
        self._totals.count_hook(when, response.outcome)
        if response.outcome == "accepted":
            return
        if response.outcome == "refused":
            log.info("--%s refuses the file of event %s: %s", when, call.id, response.why)
            words = response.words[:MOST_WORDS] or NO_WORDS
            raise UploadRefused(words, response.status or STATUS[when])
        if self._fails_open:
            log.warning(
                "--%s failed, the file of event %s is taken: %s", when, call.id, response.why
            )
            return
        error = HookUnavailable(f"--{when} failed for event {call.id}: {response.why}")
        raise error.for_operator()

    async def _call(self, place: _AskedHook, call: HookCall) -> HookResponse:
        try:
            async with asyncio.timeout(self._timeout):
                await place.free.acquire()
        except TimeoutError:
            return HookResponse("failed", why="too many calls run, and none ended in time")
        try:
            async with asyncio.timeout(self._timeout):
                return await place.hook.call(call)
        except TimeoutError:
            return HookResponse("failed", why=f"no answer within {self._timeout:g} s")
        finally:
            place.free.release()


@dataclass(frozen=True, slots=True)
class ServiceHooks:
    """What one service calls.

    Args:
        asker: Asks about files; it may be that of other services, too.
        finish: Gets the events of finished files; it is the service's own, which closes it.
        events: Writes them.
        timeout: Seconds for one call.
    """

    asker: HookAsker | None = None
    finish: Hook | None = None
    events: EventWriter = field(default_factory=EventWriter)
    timeout: float = 10.0
