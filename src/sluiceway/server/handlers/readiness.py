"""GET /healthz and /readyz: liveness; readiness, which says whether an upload would succeed now.

A folder gets one byte that is removed again, a bucket or another server one small request; the
place where uploads are written down is asked too.
Probes that arrive together share one check, and its result holds for a second: any client may
probe, so a flood of probes costs as much as one.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sluiceway.errors import SluiceError
from sluiceway.stores.contract import CompositeStore, HealthChecked, ReadinessProbed, Store
from sluiceway.stores.delivered_later import DeliversLater
from sluiceway.stores.monitored import BestEffortStores, Clocked, InFolder
from sluiceway.uploads.keys import new_id
from sluiceway.uploads.service import UploadService

__all__ = ["Readiness", "probe", "show_liveness"]

log: logging.Logger = logging.getLogger("sluiceway")

CHECK_TIMEOUT = 5.0  # seconds that a destination may take to answer; probes wait no longer
# seconds that a result holds: probes arrive every few seconds, and a check may cost money
RESULT_LIFETIME = 1.0
LATE = f"the destination did not answer within {CHECK_TIMEOUT:g} seconds"


async def show_liveness(_: Request) -> Response:
    """GET /healthz: 200 while the process answers at all."""
    return PlainTextResponse("ok\n")


@dataclass(frozen=True, slots=True)
class _PlaceState:
    """What a probe found at one place. Any client may read it: it names no address or folder."""

    name: str  # its kind, with a number where there are several
    reason: str | None  # why it takes no file now
    required: bool = True
    free: int | None = None  # percent of its disk; a number of bytes would tell strangers more
    skew: float | None = None  # seconds by which its clock is ahead

    def as_json(self) -> dict[str, object]:
        found: dict[str, object] = {"name": self.name, "ready": self.reason is None}
        if self.reason is not None:
            found["reason"] = self.reason
        if not self.required:
            found["best_effort"] = True
        if self.free is not None:
            found["free_percent"] = self.free
        if self.skew is not None:
            found["clock_skew"] = round(self.skew, 1)
        return found


@dataclass(frozen=True, slots=True)
class _ReadyState:
    """What one check found."""

    places: tuple[_PlaceState, ...]
    ledger: str | None = None  # why uploads cannot be written down
    ledger_skew: float | None = None  # seconds by which its clock is ahead
    late: str | None = None

    @property
    def reason(self) -> str | None:
        """None if an upload would succeed, else the reason in a sentence."""
        reasons = [each.reason for each in self.places if each.required]
        return self.late or next((one for one in reasons if one is not None), self.ledger)


class Readiness:
    """The last result, and the check that is running."""

    def __init__(self) -> None:
        self._check: asyncio.Task[_ReadyState] | None = None
        self._valid_until = 0.0

    async def show(self, request: Request, upload_service: UploadService) -> Response:
        """GET /readyz: 200, or 503 with the reason; with Accept: application/json, each place."""
        found = await self._look(upload_service)
        store, count = upload_service.rules.store, 0
        if isinstance(store, DeliversLater):
            count = await store.count_waiting()
        status = 200 if found.reason is None else 503
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse(_as_json(found, count), status)
        uploads = "1 upload waits" if count == 1 else f"{count} uploads wait"
        waiting = f"{uploads} for the backend\n" if count else ""
        head = "ok" if found.reason is None else f"not ready: {found.reason}"
        return PlainTextResponse(f"{head}\n{waiting}", status)

    async def why_not(self, upload_service: UploadService) -> str | None:
        """None if an upload would succeed, else the reason in a sentence."""
        return (await self._look(upload_service)).reason

    async def _look(self, upload_service: UploadService) -> _ReadyState:
        loop, check = asyncio.get_running_loop(), self._check
        if (
            check is None
            or check.get_loop() is not loop
            or (check.done() and loop.time() >= self._valid_until)
        ):
            check = self._check = loop.create_task(self._run_check(upload_service))
        return await asyncio.shield(check)  # a client that leaves does not cancel it for the others

    async def _run_check(self, upload_service: UploadService) -> _ReadyState:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                places = await _look_at_all(upload_service.store)
                ledger = await _reason_of(upload_service.check_ledger())
                return _ReadyState(places, ledger, await upload_service.ledger_skew())
        except TimeoutError:
            return _ReadyState((), late=LATE)
        finally:
            self._valid_until = asyncio.get_running_loop().time() + RESULT_LIFETIME


def _as_json(found: _ReadyState, waiting: int) -> dict[str, object]:
    ledger = _PlaceState("ledger", found.ledger, skew=found.ledger_skew)
    body: dict[str, object] = {
        "ready": found.reason is None,
        "destinations": [each.as_json() for each in found.places],
        "ledger": ledger.as_json(),
    }
    if found.reason is not None:
        body["reason"] = found.reason
    if waiting:
        body["waiting"] = waiting
    return body


async def _look_at_all(store: Store) -> tuple[_PlaceState, ...]:
    if not isinstance(store, CompositeStore):
        return (await _look_at(store, store.traits.name),)
    others = store.best_effort_stores if isinstance(store, BestEffortStores) else ()
    places = [
        *((each, True) for each in store.required_stores),
        *((each, False) for each in others),
    ]
    looks = [
        _look_at(each, f"{each.traits.name} {number}", required)
        for number, (each, required) in enumerate(places, 1)
    ]
    return tuple(await asyncio.gather(*looks))


async def _look_at(store: Store, name: str, required: bool = True) -> _PlaceState:
    if required:
        reason = await _reason_of(probe(store))
    else:  # a copy that may be missing must not make the server wait for it
        try:
            async with asyncio.timeout(CHECK_TIMEOUT / 2):
                reason = await _reason_of(probe(store))
        except TimeoutError:
            reason = LATE
    skew = None
    if reason is None and isinstance(store, Clocked):
        try:
            skew = await store.clock_skew()
        except SluiceError as error:
            log.warning("its clock is not known: %s", error.for_log)
    return _PlaceState(name, reason, required, await _free_percent(store), skew)


async def _free_percent(store: Store) -> int | None:
    if not isinstance(store, InFolder):
        return None
    try:
        usage = await asyncio.to_thread(shutil.disk_usage, store.root)
    except OSError:
        return None
    return usage.free * 100 // max(1, usage.total)


async def _reason_of(check: Awaitable[None]) -> str | None:
    try:
        await check
    except SluiceError as error:
        log.warning("not ready: %s", error.for_log)
        return error.public or error.detail  # any client may read it
    return None


async def probe(store: Store) -> None:
    """Whether a store would take a file now. Raises SluiceError."""
    if isinstance(store, ReadinessProbed):
        await store.probe()
    elif store.traits.remote:
        return  # only a file would show whether that destination takes a file
    elif isinstance(store, HealthChecked) and store.traits.keeps != "bytes":
        await store.check()  # a draft of one byte would stay in this process and prove nothing
    else:
        draft = await store.draft(f"ready-{new_id()}", None)
        try:
            await draft.write(b"r")
            await draft.sync()
        finally:
            await draft.discard()
