"""The ids by which one request is found in the logs of all servers that it passes.

X-Request-ID, and traceparent and tracestate of W3C Trace Context. What a client sent is taken if it
is well formed, and else made anew. Sans-IO; the ids of the request that runs are in a context
variable, for the code that asks other servers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple

__all__ = [
    "NO_TRACE",
    "RequestTrace",
    "current_trace",
    "id_number",
    "read_trace",
    "trace_headers",
]

MOST_ID = 128  # characters of an X-Request-ID that is taken
MOST_STATE = 512  # characters of a tracestate that is passed on (Trace Context 3.3.1.5)

# No quote, space or control byte: an id stands in logs as it is.
_ID = re.compile(rf"[A-Za-z0-9._~+/=:@-]{{1,{MOST_ID}}}")
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_ODD = "13579bdf"  # digits of flags whose bit "sampled" is set
_STATE = re.compile(rf"[\x20-\x7e]{{1,{MOST_STATE}}}")


class RequestTrace(NamedTuple):
    """The ids of one request. `parent` and `state` are the values of the headers that go on;
    `caller` is the span that the request came from, "" for none."""

    request_id: str
    parent: str
    state: str = ""
    caller: str = ""

    @property
    def trace_id(self) -> str:
        return self.parent[3:35]


NO_TRACE = RequestTrace("", "")  # of work that no request asked for

current_trace: ContextVar[RequestTrace] = ContextVar("sluiceway.trace", default=NO_TRACE)


def read_trace(
    random: int,
    request_id: str | None = None,
    parent: str | None = None,
    state: str | None = None,
) -> RequestTrace:
    """The ids of a request with these headers.

    `random` has 192 bits. A request without an id gets that of its trace, so that one search finds
    both.
    """
    bits = f"{random:048x}"
    trace, flags = bits[:32], "00"
    if parent is None and request_id is None:
        return RequestTrace(trace, f"00-{trace}-{bits[32:]}-00")
    kept_state = caller = ""
    if parent is not None and (found := _read_parent(parent)) is not None:
        trace, caller, flags = found
        if state is not None and _STATE.fullmatch(state):
            kept_state = state
    ours = request_id if request_id is not None and _ID.fullmatch(request_id) else trace
    return RequestTrace(ours, f"00-{trace}-{bits[32:]}-{flags}", kept_state, caller)


def id_number(text: str) -> int:
    """A trace id, span id or flags, which were checked to be hexadecimal, as a number."""
    return int.from_bytes(bytes.fromhex(text))


def _read_parent(text: str) -> tuple[str, str, str] | None:
    """Trace id, span id and flags; None for what Trace Context 2.2.2 calls invalid."""
    found = _PARENT.fullmatch(text)
    if found is None:
        return None
    version, trace, span, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest) or not trace.strip("0") or not span.strip("0"):
        return None
    return (
        trace,
        span,
        "01" if flags[1] in _ODD else "00",
    )  # of later versions only this bit is known


def trace_headers() -> Mapping[str, str]:
    """The headers of a request to another server that the current request causes."""
    trace = current_trace.get()
    if trace is NO_TRACE:
        return {}
    headers = {"x-request-id": trace.request_id, "traceparent": trace.parent}
    return {**headers, "tracestate": trace.state} if trace.state else headers
