"""GET /healthz and /readyz: liveness; readiness, which says whether an upload would succeed now.

A folder gets one byte that is removed again, a bucket or another server one small request; the
place where uploads are written down is asked too.
Probes that arrive together share one check, and its result holds for a second: any client may
probe, so a flood of probes costs as much as one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sluiceway.errors import SluiceError
from sluiceway.stores.contract import CompositeStore, HealthChecked, ReadinessProbed, Store
from sluiceway.stores.delivered_later import DeliversLater
from sluiceway.uploads.keys import new_id
from sluiceway.uploads.service import UploadService

__all__ = ["Readiness", "show_liveness"]

log: logging.Logger = logging.getLogger("sluiceway")

CHECK_TIMEOUT = 5.0  # seconds that a destination may take to answer; probes wait no longer
# seconds that a result holds: probes arrive every few seconds, and a check may cost money
RESULT_LIFETIME = 1.0


async def show_liveness(_: Request) -> Response:
    """GET /healthz: 200 while the process answers at all."""
    return PlainTextResponse("ok\n")


class Readiness:
    """The last result, and the check that is running."""

    def __init__(self) -> None:
        self._check: asyncio.Task[str | None] | None = None
        self._valid_until = 0.0

    async def show(self, upload_service: UploadService) -> Response:
        """GET /readyz: 200, or 503 with the reason."""
        reason, waiting = await self.why_not(upload_service), ""
        store = upload_service.rules.store
        if isinstance(store, DeliversLater) and (count := await store.count_waiting()):
            uploads = "1 upload waits" if count == 1 else f"{count} uploads wait"
            waiting = f"{uploads} for the backend\n"
        if reason is None:
            return PlainTextResponse(f"ok\n{waiting}")
        return PlainTextResponse(f"not ready: {reason}\n{waiting}", 503)

    async def why_not(self, upload_service: UploadService) -> str | None:
        """None if an upload would succeed, else the reason in a sentence."""
        loop, check = asyncio.get_running_loop(), self._check
        if (
            check is None
            or check.get_loop() is not loop
            or (check.done() and loop.time() >= self._valid_until)
        ):
            check = self._check = loop.create_task(self._run_check(upload_service))
        return await asyncio.shield(check)  # a client that leaves does not cancel it for the others

    async def _run_check(self, upload_service: UploadService) -> str | None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                reason = await _why_not(upload_service.store)
                return reason or await _reason_of(upload_service.check_ledger())
        except TimeoutError:
            return f"the destination did not answer within {CHECK_TIMEOUT:g} seconds"
        finally:
            self._valid_until = asyncio.get_running_loop().time() + RESULT_LIFETIME


async def _why_not(store: Store) -> str | None:
    if isinstance(store, CompositeStore):
        found = await asyncio.gather(*(_why_not(each) for each in store.required_stores))
        return next((reason for reason in found if reason is not None), None)
    return await _reason_of(_probe(store))


async def _reason_of(check: Awaitable[None]) -> str | None:
    try:
        await check
    except SluiceError as error:
        log.warning("not ready: %s", error.for_log)
        return error.public or error.detail  # any client may read it
    return None


async def _probe(store: Store) -> None:
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
