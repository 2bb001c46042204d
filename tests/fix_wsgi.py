"""WSGI servers as processes: the usual commands, a backend that discards bodies, open files.

with running("uwsgi", folder, Backend()) as app:
    ...  # app.port, app.backend, app.spools(): each server is ended by its id
"""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from fix_taking import eventually
from free_ports import free_port
from raw_http import LAST_CHUNK
from rude_peer import Exchange, Peer

__all__ = ["SERVERS", "Backend", "Passed", "WsgiApp", "running"]

TESTS = Path(__file__).parent
COMMANDS = Path(sysconfig.get_path("scripts"))
STOP = 20.0  # seconds a server may take to end before it is killed

SERVERS = {  # the usual commands; the first word is a program in this environment
    "flask run": "flask --app {views} run --port {port}",
    # A busy machine may stop a client for longer than idle connections live by default.
    "gunicorn gthread": "gunicorn -k gthread --threads 4 --keep-alive 75"
    " -b 127.0.0.1:{port} {views}",
    "gunicorn gevent": "gunicorn -k gevent -b 127.0.0.1:{port} {views}",
    "uWSGI": "pyuwsgi --http-socket 127.0.0.1:{port} --module {views}"
    " --master --threads 4 --need-app --die-on-term",
    "cheroot": "cheroot {views} --bind 127.0.0.1:{port}",
    "granian": "granian --interface wsgi --host 127.0.0.1 --port {port}"
    " --blocking-threads 4 {views}",
    "waitress": "waitress-serve --listen 127.0.0.1:{port} --threads 4 {views}",
}


@dataclass
class Passed:
    """The part of one request that has reached the backend so far."""

    exchange: Exchange
    size: int = 0  # bytes of the body on the wire, with the framing of chunks
    whole: bool = False


class Backend:
    """Reads all bodies and discards them; answers 201 to complete ones."""

    def __init__(self) -> None:
        self.passed: list[Passed] = []

    def __call__(self, exchange: Exchange) -> None:
        passed, tail = Passed(exchange), b""
        self.passed.append(passed)
        length = int(exchange.headers.get("content-length", "-1"))
        while not passed.whole and (data := exchange.recv_or_cut(256 << 10)):
            passed.size += len(data)
            tail = (tail + data)[-len(LAST_CHUNK) :]
            passed.whole = tail == LAST_CHUNK if length < 0 else passed.size == length
        if passed.whole:
            exchange.reply(201, body=b"taken")


@dataclass
class WsgiApp:
    """A running server with the app, its backend and its folders."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    peer: Peer
    folder: Path  # where the app saves
    temporary: Path  # its TMPDIR
    printed: Path
    _open_at_rest: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pids(self) -> list[int]:
        """Of the server and of all processes it started."""
        found = [self.process.pid]
        for pid in found:
            with suppress(FileNotFoundError):  # it ended meanwhile
                found += [
                    int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                ]
        return found

    def spools(self) -> set[str]:
        """Returns the files in TMPDIR and the unnamed open files that the first upload caused."""
        return self._spooled() - self._open_at_rest

    def rest(self) -> None:
        """Note the files that are open now: the server's own, such as gunicorn's heartbeat file."""
        self._open_at_rest = self._spooled()

    def _spooled(self) -> set[str]:
        found = {str(path) for path in self.temporary.rglob("*")}
        for pid in self.pids:
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    target = os.readlink(link)
                    if target.endswith(" (deleted)") and not target.startswith(
                        ("/dev/", "/memfd:")
                    ):
                        found.add(target)
        return found


@contextmanager
def running(
    name: str,
    base: Path,
    act: Callable[[Exchange], object],
    views: str = "flask_views:app",
    window: int = 0,
    /,
    **more: str,
) -> Iterator[WsgiApp]:
    """The server `name` with these views, in front of a backend that does `act`.

    The backend's kernel holds `window` bytes, as `Peer` says. `more` goes into the server's
    environment.
    """
    folder, temporary = base / "saved", base / "temporary"
    folder.mkdir()
    temporary.mkdir()
    port = free_port()
    program, *options = SERVERS[name].format(port=port, views=views).split()
    with Peer(act, window=window) as peer, (base / "printed").open("wb") as printed:
        env = {
            **os.environ,
            "BACKEND": f"{peer.url}/book",
            "FOLDER": str(folder),
            "TMPDIR": str(temporary),
            **more,
        }
        env["PYTHONPATH"] = os.pathsep.join(
            [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        process = subprocess.Popen(
            [str(COMMANDS / program), *options], cwd=TESTS, env=env, stdout=printed, stderr=printed
        )
        app = WsgiApp(name, port, process, peer, folder, temporary, base / "printed")
        try:
            eventually(lambda: _answers(app), f"{name} answers")
            app.rest()
            yield app
        finally:
            _end(app)


def _answers(app: WsgiApp) -> bool:
    assert app.process.poll() is None, app.printed.read_text("utf-8", "replace")
    try:
        return requests.get(f"{app.url}/nothing", timeout=5).status_code == 404
    except requests.RequestException:
        return False


def _end(app: WsgiApp) -> None:
    """End the server by its id; then its child processes by theirs, if they still run."""
    pids = app.pids
    app.process.send_signal(signal.SIGTERM)
    try:
        app.process.wait(STOP)
    except subprocess.TimeoutExpired:
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        app.process.wait(STOP)
