"""Writes text/event-stream (WHATWG server-sent events). Knows nothing of what the events say."""

from __future__ import annotations

import re

from sluiceway.errors import BadRequest

__all__ = ["EVENT_STREAM_TYPE", "format_comment", "format_event"]

EVENT_STREAM_TYPE = "text/event-stream"

_BREAK = re.compile(r"\r\n|\r|\n")


def format_event(event: str, data: str, id: str | None = None) -> bytes:
    """Write one event. `data` may have several lines.

    Raises BadRequest for a line break in `event` or `id`: it would begin another field.
    """
    if _BREAK.search(event + (id or "")) or "\0" in (id or ""):
        raise BadRequest("The name and the id of an event must be one line")
    lines = [f"event: {event}", *([] if id is None else [f"id: {id}"])]
    lines += [f"data: {line}" for line in _BREAK.split(data)]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


def format_comment(text: str = "") -> bytes:
    """Write a heartbeat: readers ignore it, and proxies see that the connection is alive."""
    return ("".join(f": {line}\n" for line in _BREAK.split(text)) + "\n").encode("utf-8", "replace")
