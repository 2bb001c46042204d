"""Lines for those who ask later who changed what: deletes, renames, links, tokens.

They go to the logger `sluiceway.audit`. Nothing secret is logged.
"""

from __future__ import annotations

import logging

from starlette.requests import Request

from sluiceway.server.access.identity import owner_in
from sluiceway.uploads.log_event import LogEvent
from sluiceway.wire.names import readable_name
from sluiceway.wire.request_trace import current_trace
from sluiceway.wire.urls import hide_links

__all__ = ["audit", "audit_change", "quoted"]

log: logging.Logger = logging.getLogger("sluiceway.audit")


def audit(request: Request, action: str, text: str, **values: str) -> None:
    """Log what the sender of a request has done, after it was done.

    Args:
        request: The request.
        action: What was done, for programs: "delete", "rename", "make-link", "revoke-link".
        text: The same for people: "link abc made". Names of clients in it are `quoted`.
        **values: What it was done to, by name.
    """
    who, trace = owner_in(request.scope), current_trace.get()
    found = {**values, "name": who, "request_id": trace.request_id, "trace_id": trace.trace_id}
    audit_change(action, f"{text} by {who or 'the admin'} request={trace.request_id}", **found)


def audit_change(action: str, text: str, **values: str) -> None:
    """Log what this server found changed, without a request that did it: "reload-tokens"."""
    shown = {name: hide_links(value) for name, value in values.items()}
    log.info(LogEvent(hide_links(text), {"event": "audit", "action": action, **shown}))


def quoted(name: str) -> str:
    """A key or name of a client for a text."""
    return '"' + readable_name(name).replace('"', '\\"') + '"'
