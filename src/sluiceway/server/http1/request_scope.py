"""The ASGI scope of a request, from what the parser found in its head.

Sans-IO. The rules are uvicorn's, which begins a scope before it knows the head.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote

from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.http1.sendfile import ZEROCOPY

__all__ = ["request_scope"]

# One dictionary for all requests: a thousand slow uploads have a scope each.
EXTENSIONS: dict[str, dict[str, object]] = {ZEROCOPY: {}}
SPEC_VERSION = "2.3"  # of ASGI's HTTP messages
_HAS_SENDFILE = hasattr(os, "sendfile")


def request_scope(protocol: Any, target: Any, method: bytes, version: str) -> dict[str, Any]:
    """The scope of the request whose fields a SluiceProtocol has; `target` has `path` and
    `query`."""
    raw_path: bytes = target.path
    root: str = protocol.root_path
    path = raw_path.decode("ascii")
    scope = {
        "type": "http",
        "asgi": {"version": protocol.asgi_version, "spec_version": SPEC_VERSION},
        "http_version": version,
        "server": protocol.server,
        "client": protocol.client,
        "scheme": protocol.scheme,
        "root_path": root,
        "headers": protocol.headers,
        "state": protocol.app_state.copy(),
        "method": method.decode("ascii"),
        "path": root + (unquote(path) if "%" in path else path),
        "raw_path": root.encode("ascii") + raw_path if root else raw_path,
        "query_string": target.query or b"",
        PROTOCOL: protocol,
    }
    if _HAS_SENDFILE and protocol.scheme == "http":  # not below TLS
        scope["extensions"] = EXTENSIONS
    return scope
