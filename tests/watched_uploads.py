"""Uploads to views that are watched: forms sent in steps, a backend that stops, what is seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import requests

from fix_taking import eventually
from free_ports import free_port
from raw_http import LAST_CHUNK, Wire, form_begun, form_body, form_head
from rude_peer import Exchange, Peer

__all__ = [
    "BEGUN",
    "END",
    "MB",
    "NEAR",
    "SIZE",
    "STOP",
    "WINDOW",
    "AsgiApp",
    "Backend",
    "Sending",
    "Site",
    "Stopping",
    "ended",
    "events",
    "post",
    "running_asgi",
    "seen",
]

TESTS = Path(__file__).parent
MB = 1_000_000
SIZE = 24 * MB
STOP = 8 * MB  # bytes after which the backend reads no more
WINDOW = 128 << 10  # bytes its kernel may hold; it doubles that
# Read by the backend, in its kernel, or a piece that the library has not begun to send.
NEAR = 4 * WINDOW
BEGUN = form_begun(("file", "book.pdf", b""))
END = form_body(("x", "y", b"@@")).partition(b"@@")[2]


class Site(Protocol):
    """A running server."""

    port: int

    @property
    def url(self) -> str: ...


class Stopping:
    """Reads `STOP` bytes of a request, the rest and answers 201, each when the test lets it."""

    def __init__(self) -> None:
        self.taken = 0
        self.goes_on, self.answers = threading.Event(), threading.Event()

    def __call__(self, exchange: Exchange) -> None:
        length = int(exchange.headers.get("content-length", "-1"))
        tail = b""
        while self.taken != length and not tail.endswith(LAST_CHUNK):
            if self.taken >= STOP:
                self.goes_on.wait(30)
            data = exchange.recv(65536)
            assert data
            self.taken += len(data)
            tail = (tail + data)[-len(LAST_CHUNK) :]
        self.answers.wait(30)
        exchange.reply(201)


class Sending:
    """A form with one file that is sent piece by piece, with an id or without."""

    def __init__(self, wire: Wire, path: str, upload: str = "", size: int = SIZE) -> None:
        self.wire, self.left = wire, size
        target = f"{path}{'&' if '?' in path else '?'}upload={upload}" if upload else path
        self.wire.send(form_head(len(BEGUN) + size + len(END), target=target) + BEGUN)

    def send(self, size: int) -> None:
        self.wire.send(bytes(size))
        self.left -= size

    def rest(self) -> int:
        """Send the rest; returns the status of the answer."""
        while self.left:
            self.send(min(self.left, MB))
        self.wire.send(END)
        return self.wire.answer().status


def post(app: Site, path: str, upload: str, size: int = MB) -> int:
    with Wire(app.port) as wire:
        return Sending(wire, path, upload, size).rest()


def seen(app: Site, upload: str, **headers: str) -> dict[str, Any]:
    """What a watcher sees, whichever process it reaches."""
    answer = requests.get(f"{app.url}/uploads/{upload}", headers=headers, timeout=20)
    # Before its request is seen, the path is the app's own, which may answer with JSON, too.
    own = not answer.headers["content-type"].startswith("application/json")
    found = {} if own else answer.json()
    return found if isinstance(found, dict) else {}


def ended(app: Site, upload: str) -> tuple[str, str | None]:
    eventually(lambda: seen(app, upload)["state"] not in ("receiving", "checking"), "it ends")
    found = seen(app, upload)
    return found["state"], found["code"]


class Backend:
    """Does what the test sets next; else it takes everything."""

    def __init__(self) -> None:
        self.act: Callable[[Exchange], object] | None = None

    def __call__(self, exchange: Exchange) -> None:
        if self.act is not None:
            self.act(exchange)
            return
        exchange.read_body()
        exchange.reply(201)

    @contextmanager
    def does(self, act: Stopping) -> Iterator[None]:
        """Within the block it does this; at the end it does all that it waits for."""
        self.act = act
        try:
            yield
        finally:
            act.goes_on.set()
            act.answers.set()
            self.act = None


def events(app: Site, upload: str) -> list[tuple[str, dict[str, Any]]]:
    """The whole event stream of an upload."""
    answer = requests.get(
        f"{app.url}/uploads/{upload}", headers={"Accept": "text/event-stream"}, timeout=60
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in answer.text.split("\n\n") if block[:5] == "event"]
    return [(name[7:], json.loads(data[6:])) for name, data in blocks]


@dataclass
class AsgiApp:
    """A running server with the app, and the folder where it saves."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running_asgi(views: str, folder: Path, backend: Backend, *options: str) -> Iterator[AsgiApp]:
    """uvicorn with these views, in front of the backend; it saves in the folder."""
    port = free_port()
    with Peer(backend, window=WINDOW) as peer, (folder / "printed").open("wb") as printed:
        env = {**os.environ, "FOLDER": str(folder), "BACKEND": f"{peer.url}/book"}
        path = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        env["PYTHONPATH"] = os.pathsep.join(path)
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "--timeout-keep-alive",
            "75",
            "--port",
            str(port),
            *options,
            views,
        ]
        process = subprocess.Popen(command, cwd=TESTS, env=env, stdout=printed, stderr=printed)
        app = AsgiApp(port, folder)

        def answers() -> bool:
            assert process.poll() is None, (folder / "printed").read_text("utf-8")
            try:
                return requests.get(f"{app.url}/nothing", timeout=5).status_code == 404
            except requests.RequestException:
                return False

        try:
            begins = time.monotonic()
            while not answers():  # each worker imports the app, on a busy machine for half a minute
                assert time.monotonic() - begins < 100, "the server answers"
                time.sleep(0.05)
            yield app
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
