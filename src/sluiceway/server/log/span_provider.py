"""OpenTelemetry's own part of the spans: its provider, its exporter, our ids.

The library reads its standard variables itself: endpoint, headers, sampler, resource, delays.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator

from sluiceway.wire.request_trace import current_trace, id_number

__all__ = ["make_provider"]


class _RequestIds(IdGenerator):
    """The ids that the current request has already, and has sent on to other servers."""

    def generate_span_id(self) -> int:
        return id_number(current_trace.get().parent[36:52])

    def generate_trace_id(self) -> int:
        return id_number(current_trace.get().trace_id)


def make_provider(environ: Mapping[str, str]) -> TracerProvider:
    """A provider that exports in batches, from a thread of its own. No other code gets it."""
    named = "OTEL_SERVICE_NAME" in environ or "service.name" in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    resource = Resource.create({} if named else {"service.name": "sluiceway"})
    provider = TracerProvider(resource=resource, id_generator=_RequestIds())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
