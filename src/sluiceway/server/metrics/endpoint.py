"""GET /metrics: the totals of all processes of this server, for a name with the admin right.

With `--metrics-port` the same on a port of its own, without a token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.server.destinations import display_name
from sluiceway.server.metrics.exposition import ReadTotals, make_registry, write_metrics
from sluiceway.server.metrics.gauges import GaugeWriter
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.totals import Totals

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["Metrics", "check_metrics", "serve_metrics"]


log: logging.Logger = logging.getLogger("sluiceway")


class Metrics:
    """What one process answers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry: CollectorRegistry | None = None

    def show(self, request: Request, table: ProgressTable, gauges: GaugeWriter) -> Response:
        """Raises NotFound where the extra `metrics` is not installed."""
        gauges.write()
        if self._registry is None:

            def read() -> Sequence[Totals]:
                return table.all_totals

            self._registry = make_registry(read, display_name(self._settings))
        text, media_type = write_metrics(self._registry, request.headers.get("accept", ""))
        headers = {"Cache-Control": "no-store", "Content-Type": media_type}
        return Response(text, headers=headers)


def check_metrics(settings: Settings) -> None:
    """Raises BadSetting for a port of its own that cannot have any metrics."""
    if settings.metrics_address is None:
        return
    try:
        import prometheus_client  # noqa: F401  # whether it is there
    except ImportError:
        raise BadSetting(
            "--metrics-port needs the package prometheus-client; install it with: "
            "pip install 'sluiceway[metrics]'"
        ) from None


def serve_metrics(settings: Settings, read: ReadTotals) -> Callable[[], None]:
    """Answer on the port of the settings, where they have one, until this process ends or calls
    what is returned.

    Raises BadSetting.
    """
    if settings.metrics_address is None:
        return lambda: None
    from prometheus_client import start_http_server

    host, port = settings.metrics_address
    try:
        server, _ = start_http_server(port, host, make_registry(read, display_name(settings)))
    except OSError as error:
        raise BadSetting(
            f"Cannot listen on {host} port {port} for metrics: {error.strerror}. Use another "
            "--metrics-port (0 takes a free one)"
        ) from None
    shown = f"[{host}]" if ":" in host else host
    log.info("metrics at http://%s:%d/metrics", shown, server.server_port)

    def close() -> None:
        server.shutdown()
        server.server_close()

    return close
