"""The records of uploads that may outlive a request: written down, and found, without being held.

Each is admitted by the rules before anything is durable. Knows no draft, no dialect and no HTTP.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from sluiceway.errors import BadRequest, NotFound
from sluiceway.stores.contract import Replace, Store, UploadRequest
from sluiceway.uploads.access.grant import Grant, Right
from sluiceway.uploads.keys import new_id
from sluiceway.uploads.ledger.contract import Ledger
from sluiceway.uploads.ledger.expiry import Expiry
from sluiceway.uploads.ledger.record import PART, WHOLE, UploadRecord
from sluiceway.uploads.ledger.states import LedgerState
from sluiceway.uploads.quota.uploading import UploadQuota
from sluiceway.uploads.rules import UploadRules

__all__ = ["UploadRecords"]


class UploadRecords:
    """What a ledger knows of the uploads of one service, as the name of `rules` may know it."""

    def __init__(self, ledger: Ledger, rules: UploadRules, expiry: Expiry) -> None:
        self.ledger: Ledger = ledger
        self.expiry: Expiry = expiry
        self.rules: UploadRules = rules

    @property
    def grant(self) -> Grant:
        return self.rules.grant

    @property
    def quota(self) -> UploadQuota:
        return self.rules.quota

    @property
    def store(self) -> Store:
        return self.rules.store

    @property
    def max_size(self) -> int | None:
        return self.rules.max_size

    async def create(
        self,
        dialect: str,
        request: UploadRequest,
        length: int | None = None,
        details: Mapping[str, str] | None = None,
        upload: str | None = None,
        *,
        is_part: bool = False,
        asks: bool = False,
    ) -> UploadRecord:
        """Write a new upload down. It is durable, and has no byte yet.

        `is_part`: it will be bytes of another one, and never an object with a key. `asks`: no byte
        of its file was taken yet, and the operator's hook may refuse it. Raises TooLarge, BadName
        for a key that its name would not give, Exists for a taken id, and for a taken name before
        its bytes are sent; Forbidden; UploadRefused, HookUnavailable.
        """
        await self.rules.check_fits(length)
        request = await self.rules.admit(request)
        if is_part:  # the whole gets the key; who may not have it has learned that
            request = dataclasses.replace(request, key="", replace=Replace())
        upload, key = upload or new_id(), request.key
        if not request.key and not is_part:
            key = await self.rules.free_key(request)
            traits = self.rules.store.traits
            # What a hook learns at the beginning is the key at the end.
            early = traits.key_first or (asks and self.rules.asker is not None)
            if (early and self.rules.keeps_key(request)) or traits.keeps == "whole":
                request = dataclasses.replace(request, key=key)
        if asks:
            await self.rules.ask_start(upload, dataclasses.replace(request, key=key), length)
        marked = {**(details or {}), **({PART: "1"} if is_part else {})}
        return await self._write_down(upload, dialect, request, length, marked)

    async def create_part(
        self, dialect: str, whole: str, length: int | None, details: Mapping[str, str]
    ) -> UploadRecord:
        """As `create`: last bytes of an upload that is under way, which come beside it.

        What is asked of an upload was asked of the whole, and its quota has these bytes already.
        Raises NotFound, Forbidden, and BadRequest for more bytes than it has.
        """
        self.grant.require(Right.UPLOAD)
        beside = await self.find(whole)
        if beside.state is not LedgerState.OPEN or beside.is_part:
            raise NotFound("The upload that this is to be a part of has ended")
        if length is None or beside.length is None or length > beside.length:
            raise BadRequest("A part has a length, and no more bytes than the upload it is of")
        request = dataclasses.replace(beside.request, key="", replace=Replace(), expected={})
        marked = {**details, PART: "1", WHOLE: whole}
        return await self._write_down(new_id(), dialect, request, length, marked)

    async def _write_down(
        self,
        upload: str,
        dialect: str,
        request: UploadRequest,
        length: int | None,
        details: Mapping[str, str],
    ) -> UploadRecord:
        now = self.ledger.now()
        record = UploadRecord(
            id=upload,
            dialect=dialect,
            request=request,
            created=now,
            length=length,
            details=details,
            expires=self.expiry.begun(now),
        )
        async with self.rules.quota.begun(record, self.ledger):
            await self.ledger.create(record)
        return record

    async def look_up(self, upload: str) -> UploadRecord | None:
        """Read an upload without taking it up; None for none that this name may know."""
        record = await self.ledger.find(upload)
        if record is None or not self.grant.owns(record.request.owner):
            return None
        return record

    async def find(self, upload: str) -> UploadRecord:
        """As `look_up`. Raises NotFound."""
        record = await self.look_up(upload)
        if record is None:
            raise NotFound("There is no such upload, or it ended long ago")
        return record
