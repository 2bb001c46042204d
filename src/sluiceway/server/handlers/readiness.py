"""Whether an upload would succeed now, for probes that ask often: each destination is looked at at most once a second.

A folder gets one byte that is taken back, a bucket one small question, another server nothing. Probes that come at once
share one look; anybody may send them, so a flood of them costs what one costs.
"""

from __future__ import annotations

import asyncio
import logging

from sluiceway.errors import SluiceError
from sluiceway.stores.contract import CompositeStore, HealthChecked, ReadinessProbed, Store
from sluiceway.uploads.keys import new_id

__all__ = ["Readiness"]

log: logging.Logger = logging.getLogger("sluiceway")

READY = 5.0  # seconds a destination gets to say that it is there; probes wait no longer
REMEMBERED = (
    1.0  # seconds an answer holds: probes come every few seconds, and what is asked may cost money
)


class Readiness:
    """What was found last, and the look that is under way."""

    def __init__(self) -> None:
        self._look: asyncio.Task[str | None] | None = None
        self._until = 0.0

    async def why_not(self, store: Store) -> str | None:
        """None when an upload would succeed, else why not, in a sentence."""
        loop = asyncio.get_running_loop()
        stale = self._look is None or self._look.get_loop() is not loop
        if self._look is None or stale or (self._look.done() and loop.time() >= self._until):
            self._look = loop.create_task(self._looked(store))
        return await asyncio.shield(
            self._look
        )  # a probe that leaves takes the look from no other one

    async def _looked(self, store: Store) -> str | None:
        try:
            async with asyncio.timeout(READY):
                return await _why_not(store)
        except TimeoutError:
            return f"the destination did not answer within {READY:g} seconds"
        finally:
            self._until = asyncio.get_running_loop().time() + REMEMBERED


async def _why_not(store: Store) -> str | None:
    if isinstance(store, CompositeStore):
        found = await asyncio.gather(*(_why_not(each) for each in store.required_stores))
        return next((why for why in found if why is not None), None)
    if store.traits.remote:
        return None  # whether it would take a file only a file can tell
    try:
        await _probe(store)
    except SluiceError as error:
        log.warning("not ready: %s", error.for_log)
        return error.public or error.detail  # anybody may ask
    return None


async def _probe(store: Store) -> None:
    if isinstance(store, ReadinessProbed):
        await store.probe()
    elif (
        isinstance(store, HealthChecked) and store.traits.keeps != "bytes"
    ):  # a byte would rest here and prove nothing
        await store.check()
    else:
        draft = await store.draft(f"ready-{new_id()}", None)
        try:
            await draft.write(b"r")
            await draft.sync()
        finally:
            await draft.discard()
