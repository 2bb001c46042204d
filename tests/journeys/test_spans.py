"""Spans of OpenTelemetry: a collector gets one of each request, as a child of its caller."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from fix_server import Serve
from fix_taking import eventually
from sluiceway.server.log.spans import open_spans

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    raise AssertionError("not asked for")
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, exported: Any) -> None:
        for resource in exported.resource_spans:
            attributes = values(resource.resource.attributes)
            self.services.add(str(attributes["service.name"]))
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)


def values(attributes: Any) -> dict[str, object]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in attributes}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    threading.Thread(target=collector.server.serve_forever, args=(0.05,), daemon=True).start()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


def test_each_request_is_a_span_of_its_callers_trace(serve: Serve, collector: Collector) -> None:
    """Through two servers: the second one's span is a child of the first one's. The first one
    sends its spans when it stops."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    fast = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_SERVICE_NAME": "behind"}
    behind = serve(env={**env, **fast})
    front = serve(env=env, to=f"{behind.url}/files/")
    traced = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    sent = requests.put(f"{front.url}/files/a", data=b"abc", headers=traced, timeout=60)
    assert sent.status_code == 201
    unsampled = {"traceparent": f"00-{TRACE[::-1]}-{CALLER}-00"}
    requests.get(f"{front.url}/healthz", headers=unsampled, timeout=60)
    alone = requests.get(f"{front.url}/uploads/an-upload-0123456789012345", timeout=60)
    assert alone.status_code == 404
    front.stop()
    eventually(lambda: len(collector.spans) >= 3, "all are collected")
    assert collector.services == {"sluiceway", "behind"}
    by_parent = {span.parent_span_id.hex(): span for span in collector.spans}
    first = by_parent[CALLER]
    second = by_parent[first.span_id.hex()]
    assert {first.trace_id.hex(), second.trace_id.hex()} == {TRACE}
    assert sent.headers["traceparent"].split("-")[2] == first.span_id.hex()
    assert (first.name, first.kind) == ("PUT /files", first.SPAN_KIND_SERVER)
    found = values(first.attributes)
    assert found["http.response.status_code"] == 201
    assert found["url.path"] == "/files/a"
    assert found["sluiceway.upload.received"] == 3
    assert found["sluiceway.upload.state"] == "complete"
    assert "destination" in {event.name for event in first.events}
    assert first.start_time_unix_nano <= second.start_time_unix_nano + 50_000_000
    last = by_parent[""]
    assert values(last.attributes)["url.path"] == "/uploads/..."
    assert values(last.attributes)["error.type"] == "not-found"
    assert alone.headers["traceparent"].endswith("-01")  # the trace that begins here is kept


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "files"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "True"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_the_variables_there_are_none(environ: dict[str, str]) -> None:
    assert open_spans(environ) is None
