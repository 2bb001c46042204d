"""Whether the operator's hook has let the bytes of an upload pass: written down with the upload.

A file that waits for its destination is published later, by no request. It is not asked for again.
"""

from __future__ import annotations

from collections.abc import Mapping

from sluiceway.stores.contract import Draft, Pairs
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.rules import UploadRules

__all__ = ["ASKED", "asked_details"]

ASKED: Mapping[str, str] = {"asked": "1"}  # of the details of a record


async def asked_details(
    rules: UploadRules, record: UploadRecord, key: str, digests: Pairs, draft: Draft
) -> Mapping[str, str]:
    """The details of an upload that may be published. Raises UploadRefused, HookUnavailable."""
    if rules.asker is None or ASKED.keys() <= record.details.keys():
        return record.details
    metadata = record.request.metadata(digests)
    await rules.ask_kept(record.id, f"{record.id}:{record.created}", key, metadata, draft)
    return {**record.details, **ASKED}
