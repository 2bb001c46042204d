"""Starts the service on uvicorn with our protocol: listening, logging, one process or several, and
a stop that ends.

The only module that names uvicorn, uvloop and the allocator; all others run on any ASGI server.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import ssl
from collections.abc import Callable

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

import uvicorn

from sluiceway.errors import SluiceError
from sluiceway.pipe.file_lock import HAS_LOCKS
from sluiceway.server.app import Sluiceway
from sluiceway.server.destinations import display_name
from sluiceway.server.door.platform_gaps import platform_gaps
from sluiceway.server.handlers.readiness import Readiness
from sluiceway.server.http1.connection_limit import ConnectionLimit
from sluiceway.server.http1.protocol import SluiceProtocol
from sluiceway.server.http1.serving_tls import ServingTls
from sluiceway.server.listening.port import Port
from sluiceway.server.listening.serving import (
    KEEP_ALIVE,
    SluiceServer,
    Supervisor,
    shutdown_seconds,
)
from sluiceway.server.listening.sockets import BACKLOG, shown_address
from sluiceway.server.listening.successor import start_successor
from sluiceway.server.log.formats import log_to_stderr
from sluiceway.server.metrics.endpoint import check_metrics
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.server.state.ledgers import no_ledger_reason
from sluiceway.server.state.worker_files import WORKER, read_worker_file, worker_file
from sluiceway.stores.contract import HealthChecked
from sluiceway.uploads.service import UploadService
from sluiceway.wire.urls import redact_url

__all__ = ["serve", "tune_process", "worker_app"]

log: logging.Logger = logging.getLogger("sluiceway")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
KEPT_CHUNK = 64 << 20  # bytes; glibc keeps and reuses freed chunks that are smaller


def serve(settings: Settings, ready: Callable[[str], None]) -> None:
    """Listen and serve until SIGTERM or SIGINT, or until another server takes over.

    `ready` gets the address once it is served. Raises BadSetting.
    """
    if settings.workers > 1 and not HAS_LOCKS:
        raise BadSetting("--workers: this system has no file locks; serve with one worker")
    tune_process()
    log_to_stderr(settings.log_format)
    check_metrics(settings)
    port = Port(settings)
    app = Sluiceway(settings, progress_table=port.open_table() if settings.workers == 1 else None)
    _open_destination(app, probe=port.is_taken_over)
    _log_caveats(app)
    for gap in platform_gaps():
        log.info("this system has %s", gap)
    tls = _tls(settings)
    port.open()
    config = uvicorn.Config(
        "sluiceway.server.run:worker_app" if settings.workers > 1 else app,
        factory=settings.workers > 1,
        http=SluiceProtocol,
        ws="none",
        loop="auto",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        workers=settings.workers,
        backlog=ConnectionLimit().backlog(BACKLOG),
        timeout_keep_alive=KEEP_ALIVE,
        ssl_context_factory=_choose_tls(settings, tls),
        timeout_graceful_shutdown=shutdown_seconds(settings.shutdown_timeout),
    )
    address = shown_address(port.sockets[0], "http" if tls is None else "https")
    if settings.workers == 1:
        _on_signals(app, tls, port)
        _serve_here(app, config, port, lambda: ready(address))
    else:
        asyncio.run(app.aclose())  # each worker opens the destination itself
        _serve_in_workers(config, settings, port, lambda: ready(address))


def _serve_here(
    app: Sluiceway, config: uvicorn.Config, port: Port, ready: Callable[[], None]
) -> None:
    table = app.progress_table

    def leave() -> None:
        server.run_in_loop(table.share)  # the successor looks for our uploads from now on
        server.leave()

    def started() -> None:
        port.serve(leave, lambda: table.all_totals)
        ready()

    server = SluiceServer(config, app.settings, started, port.is_activated)
    server.run(sockets=port.sockets)
    if server.failure is not None:
        raise server.failure
    if not server.started:
        raise SluiceError("The server could not start; the lines above say why")


def _serve_in_workers(
    config: uvicorn.Config, settings: Settings, port: Port, ready: Callable[[], None]
) -> None:
    with worker_file(settings, port.memory) as path:
        # Only the file's owner can read it; a variable would show the token to more programs.
        os.environ[WORKER] = path
        totals = read_worker_file(path)[1].read_totals()

        def started() -> None:
            port.serve(supervisor.leave, lambda: totals)
            ready()

        supervisor = Supervisor(  # handles signals from here on
            config, port.sockets, started, lambda: start_successor(port.address)
        )
        supervisor.run()
    if supervisor.failure is not None:
        raise supervisor.failure


def _on_signals(app: Sluiceway, tls: ServingTls | None, port: Port) -> None:
    """SIGHUP reads files again, SIGUSR2 starts a successor. Neither exists on Windows."""

    def reload(*_: object) -> None:
        app.reload()
        if tls is not None:
            tls.look_again()

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, reload)
        signal.signal(signal.SIGUSR2, lambda *_: start_successor(port.address))


def _tls(settings: Settings) -> ServingTls | None:
    """Raises BadSetting."""
    return None if settings.tls_cert is None else ServingTls(settings.tls_cert, settings.tls_key)


ContextFactory = Callable[[uvicorn.Config, Callable[[], ssl.SSLContext]], ssl.SSLContext]


def _choose_tls(settings: Settings, tls: ServingTls | None) -> ContextFactory | None:
    """What uvicorn asks for the context. A worker process makes its own: none can be sent."""
    if tls is None:
        return None
    return _worker_context if settings.workers > 1 else lambda *_: tls.context


def _worker_context(*_: object) -> ssl.SSLContext:
    settings, _table = read_worker_file(os.environ[WORKER])
    return ServingTls(settings.tls_cert or "", settings.tls_key).context


def worker_app() -> Sluiceway:
    """The app of one of several worker processes."""
    settings, memory = read_worker_file(os.environ[WORKER])
    tune_process()
    log_to_stderr(settings.log_format)
    return Sluiceway(settings, progress_table=memory.open())


def tune_process() -> None:
    """Make glibc keep large chunks, and raise the limit of open files to the system's.

    The chunks raise the rate of an upload to disk from 0.6 to 1.3 GB/s.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_CHUNK)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_CHUNK)
    except (AttributeError, OSError):
        pass  # another C library: slower, but correct
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _open_destination(app: Sluiceway, probe: bool) -> None:
    """Open it before the address is printed: an unusable destination is an unusable setting.

    With `probe` it must take files now, as for /readyz: a running server may do better.
    """
    try:
        store = app.upload_service.store
        if isinstance(store, HealthChecked):
            asyncio.run(store.check())
        if probe and (reason := asyncio.run(Readiness().why_not(app.upload_service))):
            raise SluiceError(f"{reason}. The running server goes on")
    except BadSetting:
        raise
    except OSError as error:
        raise BadSetting(
            f"--to {display_name(app.settings)} cannot be used: {_folder_problem(error)}"
        ) from None
    except SluiceError as error:
        raise BadSetting(f"--to {display_name(app.settings)} cannot be used: {error}") from None
    if app.settings.ledger is not None:
        _check_ledger(app.upload_service, redact_url(app.settings.ledger))


def _check_ledger(upload_service: UploadService, place: str) -> None:
    try:
        asyncio.run(upload_service.check_ledger())
    except SluiceError as error:
        raise BadSetting(f"--ledger {place} cannot be used: {error}") from None


def _folder_problem(error: OSError) -> str:
    """Why a folder cannot be used, and what to do."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "there is a file of that name; give a folder"
    return f"{error.strerror}; give a folder that this user can create and write to"


def _log_caveats(app: Sluiceway) -> None:
    """Log once, at the start, what operators should know of their destination."""
    store = app.upload_service.store
    for text in store.traits.caveats():
        log.warning("%s: %s", display_name(app.settings), text)
    if reason := no_ledger_reason(app.settings, store):
        log.info("%s: %s", display_name(app.settings), reason)
