"""The socket on which an HTTP library sends the body that it is just reading.

No library tells its bodies where they go. But it reads them from a method of its connection, which
has the socket: so the callers' frames lead to it. Knows the connections of http.client (urllib3,
requests, boto3), httpcore (httpx) and aiohttp; for others it finds nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from sluiceway.client.http.socket_progress import SocketLike

__all__ = ["sending_socket"]

# Frames between a body and its connection. boto3 has eight: its wrappers for retries and checksums.
MOST_FRAMES = 24


def sending_socket() -> SocketLike | None:
    """Return the socket, or None if the caller is not read by a connection that is known."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(MOST_FRAMES):
        if frame is None:
            return None
        find = _KNOWN.get((frame.f_globals.get("__name__", ""), frame.f_code.co_name))
        if find is not None:
            return _checked(find(frame.f_locals))
        frame = frame.f_back
    return None


def _checked(found: Any) -> SocketLike | None:
    """TLS of urllib3 inside of TLS has an object without a descriptor of its own."""
    return found if callable(getattr(found, "fileno", None)) else None


def _of_http_client(variables: dict[str, Any]) -> Any:
    return getattr(variables.get("self"), "sock", None)


def _of_httpcore(variables: dict[str, Any]) -> Any:
    stream = getattr(variables.get("self"), "_network_stream", None)
    return stream.get_extra_info("socket") if stream is not None else None


def _of_aiohttp(variables: dict[str, Any]) -> Any:
    transport = getattr(variables.get("conn"), "transport", None)
    return transport.get_extra_info("socket") if transport is not None else None


# module and function that read a body and send it -> its socket
_KNOWN: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
    ("http.client", "send"): _of_http_client,
    ("http.client", "_send_output"): _of_http_client,
    ("urllib3.connection", "request"): _of_http_client,
    ("urllib3.connection", "request_chunked"): _of_http_client,  # urllib3 1
    ("httpcore._sync.http11", "_send_request_body"): _of_httpcore,
    ("httpcore._async.http11", "_send_request_body"): _of_httpcore,
    ("aiohttp.client_reqrep", "write_bytes"): _of_aiohttp,
    ("aiohttp.client_reqrep", "_write_bytes"): _of_aiohttp,
}
