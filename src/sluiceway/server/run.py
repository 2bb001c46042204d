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
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

import uvicorn
from uvicorn.supervisors import Multiprocess

from sluiceway.errors import SluiceError
from sluiceway.pipe.file_lock import HAS_LOCKS
from sluiceway.server.app import Sluiceway
from sluiceway.server.destinations import display_name
from sluiceway.server.door.platform_gaps import platform_gaps
from sluiceway.server.http1.connection_limit import ConnectionLimit
from sluiceway.server.http1.protocol import SluiceProtocol
from sluiceway.server.http1.serving_tls import ServingTls
from sluiceway.server.log.formats import log_to_stderr
from sluiceway.server.metrics.endpoint import check_metrics, serve_metrics
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.server.state.ledgers import no_ledger_reason
from sluiceway.server.state.worker_files import read_worker_file, worker_file
from sluiceway.stores.contract import HealthChecked
from sluiceway.uploads.progress import ProgressTable, read_totals
from sluiceway.uploads.service import UploadService
from sluiceway.wire.urls import redact_url

__all__ = ["serve", "tune_process", "worker_app"]

# Names the file from which a worker process reads its settings
_WORKER = "SLUICEWAY_WORKER_SETTINGS"

log: logging.Logger = logging.getLogger("sluiceway")

# Parts of the table of progress: a new worker starts before the one it replaces has ended.
PARTS_PER_WORKER = 2
KEEP_ALIVE = 30  # seconds that an idle connection stays open: browsers use it for their next file
BACKLOG = 2048
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
KEPT_CHUNK = 64 << 20  # bytes; glibc keeps and reuses freed chunks that are smaller


def serve(settings: Settings, ready: Callable[[str], None]) -> None:
    """Listen and serve until SIGTERM or SIGINT. `ready` gets the address once it is bound.

    Raises BadSetting.
    """
    if settings.workers > 1 and not HAS_LOCKS:
        raise BadSetting("--workers: this system has no file locks; serve with one worker")
    tune_process()
    log_to_stderr(settings.log_format)
    check_metrics(settings)
    app = Sluiceway(settings)
    _open_destination(app)
    _log_caveats(app)
    for gap in platform_gaps():
        log.info("this system has %s", gap)
    tls = _tls(settings)
    sock = _listen(settings)
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
        # uvicorn takes whole seconds; without a number a stop would wait for the longest upload
        timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout)),
    )
    host, port = sock.getsockname()[:2]
    scheme = "http" if tls is None else "https"
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"
    if settings.workers == 1:
        _reload_on_hangup(app, tls)
        _serve_here(app, config, sock, lambda: ready(address))
    else:
        asyncio.run(app.aclose())  # each worker opens the destination itself
        _serve_in_workers(config, sock, settings, lambda: ready(address))


def _serve_here(
    app: Sluiceway, config: uvicorn.Config, sock: socket.socket, ready: Callable[[], None]
) -> None:
    table = app.progress_table
    serve_metrics(app.settings, lambda: table.all_totals)
    server = _Server(config, ready)
    server.run(sockets=[sock])
    if not server.started:
        raise SluiceError("The server could not start; the lines above say why")


def _serve_in_workers(
    config: uvicorn.Config, sock: socket.socket, settings: Settings, ready: Callable[[], None]
) -> None:
    with worker_file(settings) as path:
        # Only the file's owner can read it; a variable would show the token to more programs.
        os.environ[_WORKER] = path
        if settings.metrics_address is not None:
            totals = read_totals(read_worker_file(path)[1], PARTS_PER_WORKER * settings.workers)
            serve_metrics(settings, lambda: totals)
        supervisor = _Supervisor(config, sockets=[sock])  # handles signals from here on
        ready()
        supervisor.run()


class _Supervisor(Multiprocess):
    """The parent of worker processes."""

    def handle_hup(self) -> None:
        """Stock uvicorn would replace the workers, and end the uploads that take too long.

        Each worker looks at the files itself, within a second.
        """
        log.info("SIGHUP: the workers read again what has changed")


def _reload_on_hangup(app: Sluiceway, tls: ServingTls | None) -> None:
    def reload(*_: object) -> None:
        app.reload()
        if tls is not None:
            tls.look_again()

    if hasattr(signal, "SIGHUP"):  # not on Windows
        signal.signal(signal.SIGHUP, reload)


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
    settings, _table = read_worker_file(os.environ[_WORKER])
    return ServingTls(settings.tls_cert or "", settings.tls_key).context


class _Server(uvicorn.Server):
    """A server for which a stop by a signal is a success.

    Stock uvicorn would kill itself by the same signal, for the exit code.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()  # not earlier: who reads the address may send a signal at once

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def worker_app() -> Sluiceway:
    """The app of one of several worker processes."""
    settings, progress_table = read_worker_file(os.environ[_WORKER])
    tune_process()
    log_to_stderr(settings.log_format)
    table = ProgressTable(progress_table, PARTS_PER_WORKER * settings.workers)
    return Sluiceway(settings, progress_table=table)


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


def _open_destination(app: Sluiceway) -> None:
    """Open it before the address is printed: an unusable destination is an unusable setting."""
    try:
        store = app.upload_service.store
        if isinstance(store, HealthChecked):
            asyncio.run(store.check())
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


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError as error:
        sock.close()
        raise BadSetting(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}. Use another "
            "--port (0 takes a free one)"
        ) from None
    sock.listen(ConnectionLimit().backlog(BACKLOG))  # before the address is printed
    sock.set_inheritable(True)
    return sock
