"""text/event-stream (WHATWG server-sent events), written by servers and read by clients, whatever the cuts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sluiceway.errors import BadRequest, PeerFailed

__all__ = [
    "EVENT_STREAM_TYPE",
    "MOST_EVENT_BYTES",
    "EventStreamDecoder",
    "ServerEvent",
    "format_comment",
    "format_event",
]

EVENT_STREAM_TYPE = "text/event-stream"
MOST_EVENT_BYTES = 1 << 16  # what a reader holds of one event; ours have 200

_BREAK = re.compile(r"\r\n|\r|\n")
_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class ServerEvent:
    event: str
    data: str
    id: str  # the last id seen, "" before any


def format_event(event: str, data: str, id: str | None = None) -> bytes:
    """One event. `data` may have several lines; a line break in `event` or `id` is refused: it would start a field."""
    if _BREAK.search(event + (id or "")) or "\0" in (id or ""):
        raise BadRequest("The name and the id of an event must be one line")
    lines = [f"event: {event}", *([] if id is None else [f"id: {id}"])]
    lines += [f"data: {line}" for line in _BREAK.split(data)]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


def format_comment(text: str = "") -> bytes:
    """A heartbeat: readers ignore it, proxies see that the connection lives."""
    return ("".join(f": {line}\n" for line in _BREAK.split(text)) + "\n").encode("utf-8", "replace")


class EventStreamDecoder:
    """feed() bytes, get the events they complete. An event cut off by the end of the stream never comes, as specified."""

    def __init__(self) -> None:
        self._held = bytearray()  # the line under way
        self._begun = False
        self._event = ""
        self._data: list[str] = []
        self._size = 0
        self._id = ""

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Raises PeerFailed when one event is larger than MOST_EVENT_BYTES."""
        events: list[ServerEvent] = []
        searched = max(len(self._held) - 1, 0)
        self._held += data
        at = 0
        while (found := _LINE_END.search(self._held, searched)) is not None:
            if found[0] == b"\r" and found.end() == len(self._held):
                break  # its LF may come with the next bytes
            line = bytes(self._held[at : found.start()])
            at = searched = found.end()
            self._size += len(line)
            self._check_size(0)
            if event := self._take(line):
                events.append(event)
        del self._held[:at]
        self._check_size(len(self._held) - self._held.endswith(b"\r"))
        return events

    def _check_size(self, held: int) -> None:
        if self._size + held > MOST_EVENT_BYTES:
            raise PeerFailed(
                f"An event is larger than {MOST_EVENT_BYTES} bytes; the stream is not read further"
            )

    def _take(self, line: bytes) -> ServerEvent | None:
        text = line.decode("utf-8", "replace")
        if not self._begun:
            self._begun = True
            text = text.removeprefix("\ufeff")
        if not text:
            return self._dispatch()
        field, _, value = text.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
        return None

    def _dispatch(self) -> ServerEvent | None:
        event, data = self._event or "message", self._data
        self._event, self._data, self._size = "", [], 0
        return ServerEvent(event, "\n".join(data), self._id) if data else None
