"""Starts the service on uvicorn with our protocol: one process or several, listening, logging, and a bounded stop.

The only module that names uvicorn, uvloop and the allocator; everything else runs on any ASGI server.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from sluiceway.errors import SluiceError
from sluiceway.server.app import Sluiceway
from sluiceway.server.destinations import display_name
from sluiceway.server.http1.connection_limit import Crowd
from sluiceway.server.http1.protocol import SluiceProtocol
from sluiceway.server.settings import BadSetting, Settings
from sluiceway.stores.contract import HealthChecked
from sluiceway.uploads.progress import ProgressTable
from sluiceway.wire.names import readable_line

__all__ = ["serve", "tune_process", "worker_app"]

_WORKER = "SLUICEWAY_WORKER_SETTINGS"  # names the file from which a worker process learns the settings and the board

log: logging.Logger = logging.getLogger("sluiceway")

KEEP_ALIVE = 30  # seconds an idle connection stays open: a browser's queue of files uses it again
BACKLOG = 2048
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
LARGE = 64 << 20  # bytes; below it glibc shall keep and reuse what is freed


def serve(settings: Settings, ready: Callable[[str], None]) -> None:
    """Listen and serve until SIGTERM or SIGINT; `ready` gets the address once it is bound. Raises BadSetting."""
    tune_process()
    _log_to_stderr()
    app = Sluiceway(settings)
    _open_destination(app)
    _say_what_is_not_promised(app)
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
        backlog=Crowd().backlog(BACKLOG),
        timeout_keep_alive=KEEP_ALIVE,
        # uvicorn takes whole seconds; without a number a stop would wait for the longest upload
        timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout)),
    )
    host, port = sock.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    if settings.workers == 1:
        server = _Server(config, lambda: ready(address))
        server.run(sockets=[sock])
        if not server.started:
            raise SluiceError("The server could not start; the lines above say why")
        return
    asyncio.run(app.aclose())  # the workers open it each for itself
    with (
        tempfile.NamedTemporaryFile(prefix="sluiceway-board-") as progress_table,
        tempfile.NamedTemporaryFile("w", prefix="sluiceway-settings-", encoding="utf-8") as told,
    ):
        json.dump({"settings": asdict(settings), "board": progress_table.name}, told)
        told.flush()
        os.environ[_WORKER] = (
            told.name
        )  # the file is its owner's alone; a variable would show the token to more programs
        supervisor = Multiprocess(config, sockets=[sock])  # from here on it heeds signals
        ready(address)
        supervisor.run()


class _Server(uvicorn.Server):
    """Told to stop and stopped is success: stock uvicorn would then kill itself by the same signal, for the exit code."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()  # not before: who reads the address may send a signal at once

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def worker_app() -> Sluiceway:
    """What each of several worker processes serves."""
    told = json.loads(Path(os.environ[_WORKER]).read_text("utf-8"))
    tune_process()
    _log_to_stderr()
    settings = Settings(**told["settings"])
    return Sluiceway(
        settings, progress_table=ProgressTable(told["board"], 2 * settings.workers)
    )  # twice: a new worker starts before its old one ends


def tune_process() -> None:
    """Tell glibc to keep large chunks (0.6 -> 1.3 GB/s received and stored), and allow as many files as the system does."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        libc.mallopt(M_TRIM_THRESHOLD, LARGE)
    except (AttributeError, OSError):
        pass  # another C library: slower, nothing else
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _open_destination(app: Sluiceway) -> None:
    """Before anybody is told an address: a destination that cannot be used is a setting that cannot be used."""
    try:
        store = app.upload_service.store
        if isinstance(store, HealthChecked):
            asyncio.run(store.check())
    except BadSetting:
        raise
    except (SluiceError, OSError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise BadSetting(f"--to {display_name(app.settings)} cannot be used: {said}") from None


def _say_what_is_not_promised(app: Sluiceway) -> None:
    """Once, at start, in the log: what people should know of their destination before they rely on it."""
    for words in app.upload_service.store.traits.caveats():
        log.warning("%s: %s", display_name(app.settings), words)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError as error:
        sock.close()
        raise BadSetting(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}. Use another --port (0 takes a free one)"
        ) from None
    sock.listen(Crowd().backlog(BACKLOG))  # before anybody is told the address
    sock.set_inheritable(True)
    return sock


class _Readable(logging.Formatter):
    """Log lines as text. Messages may quote what clients and backends sent: control characters of it are written as escapes."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        return readable_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's own name
        return "\n".join(map(readable_line, super().formatException(ei).split("\n")))


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Readable("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
