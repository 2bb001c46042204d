"""The events of uploads: what each says of a file, of who brings it, and of the request.

Nothing secret: no token, no header, no path of this machine. Makes JSON; sends nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sluiceway.stores.contract import Metadata, UploadRequest
from sluiceway.stores.values import DOWNLOADS, EXPIRES, OWNER, RETAINED
from sluiceway.uploads.access.grant import Grant
from sluiceway.uploads.hooks.contract import HookCall, HookWhen
from sluiceway.wire.events.cloud_events import cloud_event
from sluiceway.wire.request_trace import NO_TRACE, current_trace

__all__ = ["EVENT_TYPES", "EventWriter"]

EVENT_TYPES: Mapping[HookWhen, str] = {
    HookWhen.START: "sluiceway.upload.started",
    HookWhen.KEPT: "sluiceway.upload.kept",
    HookWhen.FINISH: "sluiceway.upload.finished",
}

# What this server writes beside a file by itself: `data.owner` has the first, the others are not
# for people.
OURS = {OWNER, EXPIRES, RETAINED, DOWNLOADS}


@dataclass(frozen=True, slots=True)
class EventWriter:
    """Writes the events of one service. `source` is the attribute of that name."""

    source: str = "/files"

    def started(
        self, upload: str, seed: str, request: UploadRequest, size: int | None, grant: Grant
    ) -> HookCall:
        """A file of which no byte was taken. `seed` is the same for the same event only."""
        return self._event(
            HookWhen.START,
            upload,
            seed,
            request.key,
            Metadata(request.filename, request.type, request.digests, user=request.user),
            size,
            {"field": request.field, "method": request.method, **_by(grant)},
            request.owner or grant.owner,
        )

    def kept(
        self, upload: str, seed: str, key: str, metadata: Metadata, size: int, grant: Grant
    ) -> HookCall:
        """A file whose bytes are all kept."""
        owner = metadata.owner or grant.owner
        facts = _by(grant)
        return self._event(HookWhen.KEPT, upload, seed, key, metadata, size, facts, owner)

    def finished(self, upload: str, seed: str, key: str, metadata: Metadata, size: int) -> HookCall:
        """A file that is published."""
        return self._event(HookWhen.FINISH, upload, seed, key, metadata, size, {}, metadata.owner)

    def _event(
        self,
        when: HookWhen,
        upload: str,
        seed: str,
        key: str,
        metadata: Metadata,
        size: int | None,
        facts: dict[str, object],
        owner: str,
    ) -> HookCall:
        trace = current_trace.get()  # NO_TRACE where no request asked for it
        name = f"evt_{hashlib.sha256(f'{when}:{seed}'.encode()).hexdigest()[:32]}"
        data = {
            "upload": upload,
            "key": key,
            "size": size,
            "digests": dict(metadata.digests),
            "filename": metadata.filename,
            "type": metadata.type,
            "metadata": {name: text for name, text in metadata.user if name not in OURS},
            "owner": owner,
            "request_id": trace.request_id,
            **facts,
        }
        extensions = {"traceparent": trace.parent, "tracestate": trace.state}
        kind, now = EVENT_TYPES[when], time.time()
        return HookCall(name, cloud_event(name, kind, self.source, key, now, data, extensions))


def _by(grant: Grant) -> dict[str, object]:
    """What the name may do that brings a file: only while its request is there."""
    if current_trace.get() is NO_TRACE:
        return {}
    rights = [str(right) for right in grant.rights]
    return {"rights": sorted(rights), "link": grant.link}
