"""Reads text/event-stream (WHATWG), however it is cut, for tests that watch progress."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class ServerEvent:
    event: str
    data: str
    id: str  # the last id seen, "" before any


class EventStreamDecoder:
    """`feed` bytes, get the events they complete.

    An event that is cut off never comes, as specified.
    """

    def __init__(self) -> None:
        self._held = bytearray()  # the unfinished line
        self._event, self._id, self._data = "", "", list[str]()

    def feed(self, data: bytes) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        self._held += data
        at = 0
        while (found := _LINE_END.search(self._held, at)) is not None:
            if found[0] == b"\r" and found.end() == len(self._held):
                break  # its LF may arrive with the next bytes
            line = self._held[at : found.start()].decode("utf-8", "replace")
            at = found.end()
            if event := self._take(line):
                events.append(event)
        del self._held[:at]
        return events

    def _take(self, line: str) -> ServerEvent | None:
        if not line:
            event, data = self._event or "message", self._data
            self._event, self._data = "", []
            return ServerEvent(event, "\n".join(data), self._id) if data else None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._event = value
        elif field == "data":
            self._data.append(value)
        elif field == "id":
            self._id = value
        return None
