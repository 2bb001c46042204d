"""The lines of a server with `--log-format json`.

uploads = upload_lines(server)      # each line of an upload that has ended
"""

from __future__ import annotations

import json
from typing import Any

from fix_server import RunningServer

__all__ = ["json_lines", "upload_lines"]


def json_lines(server: RunningServer, event: str | None = None) -> list[dict[str, Any]]:
    """Its whole log, or the lines of one event. What it prints at the start is not of the log."""
    found = [json.loads(line) for line in list(server.lines) if line.startswith("{")]
    return [line for line in found if event is None or line.get("event") == event]


def upload_lines(server: RunningServer) -> list[dict[str, Any]]:
    return json_lines(server, "upload")
