"""How the log of the server is written: lines of text, or a JSON object for each line.

Both escape what clients and backends sent, and hide links. Knows no event by name.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from sluiceway.uploads.log_event import LogEvent
from sluiceway.wire.names import readable_line
from sluiceway.wire.urls import hide_links

__all__ = ["FORMATS", "log_event", "log_to_stderr"]


class _LogHandler(logging.StreamHandler[TextIO]):
    """Writes each line once: standard error is flushed at the end of a line by itself."""

    def __init__(self, stream: TextIO, line: Callable[[float, str, str, object], str]) -> None:
        super().__init__(stream)
        self.line = line

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.stream.write(self.format(record) + self.terminator)
        except Exception:  # as logging does: a log that fails stops nothing
            self.handleError(record)

    def write_event(self, name: str, event: LogEvent) -> None:
        """As `emit` of an INFO record. To make the record, and to pass it from hand to hand, takes
        as long as to write the line."""
        try:
            self.stream.write(self.line(time.time(), "INFO", name, event) + self.terminator)
        except Exception:
            self.handleError(logging.makeLogRecord({"name": name, "msg": event}))


class _TextFormatter(logging.Formatter):
    """Escapes control characters: messages may quote what clients and backends sent."""

    _second, _time = -1, ""  # the last one that was written: each has many lines

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info or record.exc_text or record.stack_info:
            return super().format(record)
        return self.line(record.created, record.levelname, record.name, record.getMessage())

    def line(self, created: float, level: str, name: str, message: object) -> str:
        """The line without an exception."""
        if (second := math.floor(created)) != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        thousandth = math.floor((created - second) * 1000)
        text = f"{self._time},{thousandth:03d} {level} {name} {message}"
        return readable_line(hide_links(text))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        return readable_line(hide_links(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's own name
        return "\n".join(map(readable_line, hide_links(super().formatException(ei)).split("\n")))


_to_json = json.JSONEncoder(separators=(",", ":"), default=str).encode  # ASCII: no byte escapes


class _JsonFormatter(logging.Formatter):
    """One object a line: time (RFC 3339, UTC), level, logger, and the values or the message."""

    _second, _time = -1, ""

    def format(self, record: logging.LogRecord) -> str:
        event = record.msg if isinstance(record.msg, LogEvent) else record.getMessage()
        exception = self.formatException(record.exc_info) if record.exc_info else None
        return self.line(record.created, record.levelname, record.name, event, exception)

    def line(
        self, created: float, level: str, name: str, event: object, exception: str | None = None
    ) -> str:
        if (second := math.floor(created)) != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        written: dict[str, object] = {
            "time": f"{self._time}.{math.floor((created - second) * 1000):03d}Z",
            "level": level,
            "logger": name,
        }
        if isinstance(event, LogEvent):
            written |= event.values()
        else:
            written["message"] = event
        if exception is not None:
            written["exception"] = exception
        return hide_links(_to_json(written))


FORMATS: Mapping[str, type[_TextFormatter | _JsonFormatter]] = {
    "text": _TextFormatter,
    "json": _JsonFormatter,
}


def log_event(log: logging.Logger, event: LogEvent) -> None:
    """As `log.info(event)` of an enabled log, in half the time where this process has the log of
    `log_to_stderr` and nothing else."""
    handlers = logging.root.handlers
    if len(handlers) == 1 and isinstance(handlers[0], _LogHandler) and not log.handlers:
        handlers[0].write_event(log.name, event)
    else:
        log.info(event)


def log_to_stderr(name: str) -> None:
    """Send the log of this process to standard error, in the format of this name."""
    formatter = FORMATS[name]()
    handler = _LogHandler(sys.stderr, formatter.line)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # No line shows these, and each costs every line of the access log.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    # One line for each try to reach a database that is away; our own lines say it once.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
