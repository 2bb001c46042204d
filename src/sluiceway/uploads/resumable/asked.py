"""Whether the app and the operator's hook let the bytes pass: written down with the upload.

A file that waits for its destination is published later, by no request. It is not asked for again.
"""

from __future__ import annotations

from collections.abc import Mapping

from sluiceway.stores.contract import Draft, Pairs
from sluiceway.uploads.hooks.around import AppAround, ask_app
from sluiceway.uploads.ledger.record import UploadRecord
from sluiceway.uploads.rules import UploadRules

__all__ = ["ASKED", "asked_details"]

ASKED: Mapping[str, str] = {"asked": "1"}  # of the details of a record


async def asked_details(
    rules: UploadRules,
    app: AppAround | None,
    record: UploadRecord,
    key: str,
    digests: Pairs,
    draft: Draft,
) -> Mapping[str, str]:
    """The details of an upload that may be published.

    Raises UploadRefused, HookUnavailable, and what the app's function raises.
    """
    is_asked = rules.asker is not None or (app is not None and app.asks_kept)
    if not is_asked or ASKED.keys() <= record.details.keys():
        return record.details
    metadata = record.request.metadata(digests)
    await ask_app(app, record.id, key, metadata, draft)
    await rules.ask_kept(record.id, f"{record.id}:{record.created}", key, metadata, draft)
    return {**record.details, **ASKED}
