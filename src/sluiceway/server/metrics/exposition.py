"""The totals as Prometheus and OpenMetrics read them. The one module that names prometheus_client.

Labels have few values: states, stages, error codes, and the destinations of the settings. No name,
no key and no address of a client is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, cast

from sluiceway.errors import NotFound
from sluiceway.uploads.totals import (
    ASKED_HOOKS,
    BUCKETS,
    CODES,
    COUNTED_STAGES,
    HOOK_OUTCOMES,
    STATES,
    Totals,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

__all__ = ["make_registry", "write_metrics"]

ReadTotals = Callable[[], Sequence[Totals]]

# Name without the prefix and the suffix `_total` -> field of the totals, help
COUNTS = {
    "published_bytes": ("published", "Bytes of uploads that are complete."),
    "requests": ("requests", "Requests that were answered."),
    "sweeps": ("sweeps", "Sweeps that removed what is over."),
    "swept_uploads": ("swept", "Uploads that sweeps ended or forgot."),
    "outbox_sent": ("events_sent", "Events of finished uploads that their receiver took."),
    "outbox_failed_tries": ("events_failed", "Tries to send an event that were in vain."),
    "outbox_given_up": ("events_given_up", "Events that are not tried any more."),
}
GAUGES = {
    "uploads_running": ("running", "Uploads that requests bring bytes of now."),
    "connections_open": ("connections", "Connections of clients that are open."),
    "descriptors_open": ("descriptors", "Descriptors of the server's processes in use."),
    "descriptors_limit": ("most_descriptors", "Descriptors that the processes may have together."),
    "memory_budget_bytes": ("budget", "Memory that all transfers may hold together."),
    "memory_used_bytes": ("budget_used", "Memory that transfers hold now."),
    "memory_pool_bytes": ("pool", "Memory of blocks that lie ready for transfers."),
}
FINISH_OUTCOMES = {
    "accepted": "events_sent",
    "retried": "events_failed",
    "given-up": "events_given_up",
}
NOT_INSTALLED = (
    "This server was installed without metrics; install it with: pip install 'sluiceway[metrics]'"
)


class _TotalsCollector:
    """Makes the metrics at each scrape, from the totals of all processes."""

    def __init__(self, read: ReadTotals, destination: str) -> None:
        self._read, self._destination = read, destination

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are ours alone."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The metrics of now."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        parts = self._read()
        for name, (field, text) in COUNTS.items():
            count = sum(getattr(part, field) for part in parts)
            yield CounterMetricFamily(f"sluiceway_{name}", text, value=count)
        yield from self._uploads(parts)
        refusals = CounterMetricFamily(
            "sluiceway_refusals", "Requests that were answered with an error.", labels=["code"]
        )
        for at, code in enumerate(CODES):
            refusals.add_metric([code], sum(part.refused[at] for part in parts))
        yield refusals
        yield _hooks(parts)
        alive = [part for part in parts if part.is_alive]
        for name, (field, text) in GAUGES.items():
            yield GaugeMetricFamily(
                f"sluiceway_{name}", text, value=sum(getattr(part, field) for part in alive)
            )
        yield GaugeMetricFamily("sluiceway_processes", "Processes that serve.", value=len(alive))
        yield GaugeMetricFamily(
            "sluiceway_last_sweep_timestamp_seconds",
            "When the last sweep was; 0 for never.",
            value=max(part.swept_at for part in parts),
        )

    def _uploads(self, parts: Sequence[Totals]) -> Iterable[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily

        where = self._destination
        ended = CounterMetricFamily(
            "sluiceway_uploads", "Uploads that have ended.", labels=["destination", "state"]
        )
        for at, state in enumerate(STATES):
            ended.add_metric([where, state.word], sum(part.ended[at] for part in parts))
        yield ended
        moved = CounterMetricFamily(
            "sluiceway_upload_bytes",
            "Bytes of uploads: received from clients, forwarded to the destination, kept by it.",
            labels=["destination", "stage"],
        )
        for stage in ("received", "forwarded", "kept"):
            moved.add_metric([where, stage], sum(getattr(part, stage) for part in parts))
        yield moved
        spent = CounterMetricFamily(
            "sluiceway_upload_stage_seconds",
            "Where the time of uploads went.",
            labels=["destination", "stage"],
        )
        for at, stage in enumerate(COUNTED_STAGES):
            spent.add_metric([where, stage], sum(part.stages[at] for part in parts))
        yield spent
        took = HistogramMetricFamily(
            "sluiceway_upload_seconds",
            "Seconds of requests that brought bytes of an upload.",
            labels=["destination"],
        )
        below, buckets = 0, []
        for at, bound in enumerate([*map(str, BUCKETS), "+Inf"]):
            below += sum(part.durations[at] for part in parts)
            buckets.append((bound, below))
        took.add_metric([where], buckets, sum_value=sum(part.seconds for part in parts))
        yield took


def _hooks(parts: Sequence[Totals]) -> Metric:
    """Calls of the operator's hooks. Those of --on-finish are what the outbox counts."""
    from prometheus_client.metrics_core import CounterMetricFamily

    calls = CounterMetricFamily(
        "sluiceway_hook_calls", "Calls of hooks.", labels=["hook", "outcome"]
    )
    for hook, outcome in product(ASKED_HOOKS, HOOK_OUTCOMES):
        calls.add_metric([hook, outcome], sum(part.hook_calls(hook, outcome) for part in parts))
    for outcome, field in FINISH_OUTCOMES.items():
        calls.add_metric(["on-finish", outcome], sum(getattr(part, field) for part in parts))
    return calls


def make_registry(read: ReadTotals, destination: str) -> CollectorRegistry:
    """What a scrape asks. Raises NotFound where prometheus_client is not installed."""
    try:
        from prometheus_client import CollectorRegistry
    except ImportError:
        raise NotFound(NOT_INSTALLED).for_operator("This server has no metrics") from None
    registry = CollectorRegistry(auto_describe=False)
    # It has what a Collector has; its class cannot be one where the package is absent.
    registry.register(cast("Any", _TotalsCollector(read, destination)))
    return registry


def write_metrics(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The text and its media type: OpenMetrics for who accepts it, else Prometheus's own."""
    from prometheus_client.exposition import choose_encoder

    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type
