"""How the log of the server is written: lines of text, or a JSON object for each line.

Both escape what clients and backends sent. Knows no event by name.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from sluiceway.uploads.log_event import LogEvent
from sluiceway.wire.names import readable_line

__all__ = ["FORMATS", "log_to_stderr"]


class _LogHandler(logging.StreamHandler[TextIO]):
    """Writes each line once: standard error is flushed at the end of a line by itself."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.stream.write(self.format(record) + self.terminator)
        except Exception:  # as logging does: a log that fails stops nothing
            self.handleError(record)


class _TextFormatter(logging.Formatter):
    """Escapes control characters: messages may quote what clients and backends sent."""

    _second, _time = -1, ""  # the last one that was written: each has many lines

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info or record.exc_text or record.stack_info:
            return super().format(record)
        if (second := math.floor(record.created)) != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._second))
        head = f"{self._time},{math.floor(record.msecs):03d} {record.levelname} {record.name}"
        return readable_line(f"{head} {record.getMessage()}")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        return readable_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's own name
        return "\n".join(map(readable_line, super().formatException(ei).split("\n")))


_to_json = json.JSONEncoder(separators=(",", ":"), default=str).encode  # ASCII: no byte escapes


class _JsonFormatter(logging.Formatter):
    """One object a line: time (RFC 3339, UTC), level, logger, and the values or the message."""

    _second, _time = -1, ""

    def format(self, record: logging.LogRecord) -> str:
        if (second := math.floor(record.created)) != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._second))
        written: dict[str, object] = {
            "time": f"{self._time}.{math.floor(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
        }
        event: object = record.msg
        if isinstance(event, LogEvent):
            written |= event.values()
        else:
            written["message"] = record.getMessage()
        if record.exc_info:
            written["exception"] = self.formatException(record.exc_info)
        return _to_json(written)


FORMATS: Mapping[str, type[logging.Formatter]] = {"text": _TextFormatter, "json": _JsonFormatter}


def log_to_stderr(name: str) -> None:
    """Send the log of this process to standard error, in the format of this name."""
    handler = _LogHandler(sys.stderr)
    handler.setFormatter(FORMATS[name]())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # No line shows these, and each costs every line of the access log.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    # One line for each try to reach a database that is away; our own lines say it once.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
