"""One span of OpenTelemetry for each request, with the stages of its upload as events.

Off unless a standard variable of OpenTelemetry asks for it and the extra is installed. The ids are
those that the request has anyway (`wire/request_trace.py`): servers behind this one are its
children. A span holds what the access log does, and nothing secret.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.types import Scope

from sluiceway.server.access.entering import unlinked
from sluiceway.server.access.identity import owner_in
from sluiceway.server.log.access import STAGES, UPLOAD, client_of, shown_path
from sluiceway.uploads.summary import summary_of
from sluiceway.wire.request_trace import RequestTrace, current_trace, id_number

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["RequestSpans", "open_spans"]

log: logging.Logger = logging.getLogger("sluiceway")

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
CLOSE_TIMEOUT = 5.0  # seconds for the last spans, when the server stops
# Names of spans are few: the first part of a path, where it is one of these.
METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "MOVE")
ROUTES = ("files", "uploads", "fetch", "links", "page", "metrics", "doctor", "healthz", "readyz")


def open_spans(environ: Mapping[str, str] = os.environ) -> RequestSpans | None:
    """What sends spans to the collector that the variables name; None where none does."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter not in ("", "otlp") or not (exporter or any(map(environ.get, ENDPOINTS))):
        return None
    try:
        # Late: the libraries are an extra, and take time to load.
        from sluiceway.server.log.span_provider import make_provider
    except ImportError:
        log.warning("No spans are sent: pip install 'sluiceway[otel]'")
        return None
    return RequestSpans(make_provider(environ))


class RequestSpans:
    """The spans of one process."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.trace.sampling import Decision

        self._provider, self._trace, self._dropped = provider, trace, Decision.DROP
        self._tracer = provider.get_tracer("sluiceway")

    def begin(self, trace: RequestTrace) -> RequestTrace:
        """The ids of a request that begins, which say whether its trace is kept."""
        if trace.caller:
            return trace  # the caller has decided
        found = self._provider.sampler.should_sample(None, id_number(trace.trace_id), "request")
        flags = "00" if found.decision is self._dropped else "01"
        return trace._replace(parent=trace.parent[:-2] + flags)

    def end(self, scope: Scope, status: int, seconds: float, code: str) -> None:
        """Send the span of the current request, which took so many seconds."""
        end, trace = time.time_ns(), current_trace.get()
        context = None
        if trace.caller:
            flags = self._trace.TraceFlags(id_number(trace.parent[-2:]))
            caller = self._trace.SpanContext(
                id_number(trace.trace_id),
                id_number(trace.caller),
                is_remote=True,
                trace_flags=flags,
            )
            context = self._trace.set_span_in_context(self._trace.NonRecordingSpan(caller))
        path = shown_path(scope)
        span = self._tracer.start_span(
            _name(scope, path),
            context,
            self._trace.SpanKind.SERVER,
            {**_request_values(scope, status, code, path), **_upload_values(scope)},
            start_time=end - round(seconds * 1e9),
        )
        if STAGES in scope:
            for stage, took in scope[STAGES][0].spent().items():
                span.add_event(stage, {"seconds": round(took, 6)}, end)
        if status >= 500 or not status:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(end)

    async def aclose(self) -> None:
        """Send what waits, for a few seconds at most."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await asyncio.to_thread(self._provider.shutdown)
        except TimeoutError:
            log.warning("The last spans were not sent: their collector does not answer")


def _name(scope: Scope, path: str) -> str:
    """One of a few: a client chooses paths and methods."""
    mounted = unlinked(scope, str(scope.get("root_path", "")))
    route = path.removeprefix(mounted).lstrip("/").partition("/")[0]
    method = scope["method"] if scope["method"] in METHODS else "HTTP"
    return f"{method} /{route}" if route in ROUTES else str(method)


def _request_values(scope: Scope, status: int, code: str, path: str) -> dict[str, str | int]:
    """By OpenTelemetry's names for HTTP."""
    values: dict[str, str | int] = {
        "http.request.method": scope["method"],
        "url.path": path,
        "url.scheme": scope.get("scheme", "http"),
        "sluiceway.request_id": current_trace.get().request_id,
    }
    if status:
        values["http.response.status_code"] = status
    if scope.get("client"):
        values["client.address"] = client_of(scope)
    if owner := owner_in(scope):
        values["enduser.id"] = owner
    if code:
        values["error.type"] = code
    return values


def _upload_values(scope: Scope) -> dict[str, str | int]:
    """Of an upload that goes on the id is left out: it is enough to cancel it."""
    if (upload := scope.get(UPLOAD)) is None:
        return {}
    found = summary_of(upload)
    if not found.has_ended:
        return {"sluiceway.upload.received": found.received}
    return {
        "sluiceway.upload.id": found.id,
        "sluiceway.upload.key": found.keys[0] if found.keys else "",
        "sluiceway.upload.files": len(found.keys),
        "sluiceway.upload.received": found.received,
        "sluiceway.upload.kept": found.kept,
        "sluiceway.upload.state": found.state,
    }
