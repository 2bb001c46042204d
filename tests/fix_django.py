"""The site of tests/django_site.py on gunicorn, runserver or uvicorn, with a backend of its own."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from fix_gateway import takes
from fix_taking import eventually, noise
from free_ports import free_port
from raw_http import form_body, form_head
from rude_peer import Exchange, Peer

__all__ = [
    "DATA",
    "FORM_TYPE",
    "GUNICORN",
    "MIB",
    "RUNSERVER",
    "SHA",
    "Site",
    "post",
    "site",
]


TESTS = Path(__file__).parent


MIB = 1 << 20


DATA = noise(2_000_003)


SHA = hashlib.sha256(DATA).hexdigest()


FORM_TYPE = form_head(1).decode().partition("Content-Type: ")[2].partition("\r\n")[0]


GUNICORN = [
    "-m",
    "gunicorn",
    "-k",
    "gthread",
    "--threads",
    "8",
    "--keep-alive",  # a busy machine may stop a client for longer than the default
    "75",
    "-b",
    "127.0.0.1:{port}",
    "django_site:application",
]


RUNSERVER = ["django_site.py", "runserver", "--noreload", "--skip-checks", "127.0.0.1:{port}"]


@dataclass
class Site:
    """A running server with the site, its backend and its folders."""

    port: int
    pids: list[int]
    peer: Peer
    folder: Path
    store: Path
    temporary: Path
    reads_all_first: bool  # Django's development server, before it answers

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kept(self) -> list[str]:
        """Published files, and leftovers of others, if there are any. Files that only lock stay."""
        return sorted(
            str(path.relative_to(self.store))
            for path in self.store.rglob("*")
            if path.is_file() and path.parent.name != "locks"
        )

    def threads(self) -> list[str]:
        """Our threads that still run in the server."""
        names: list[str] = requests.get(f"{self.url}/threads", timeout=10).json()
        return [
            name
            for name in names
            if name.startswith(("sluiceway-request", "sluiceway-disk", "asyncio"))
        ]


def backend(exchange: Exchange) -> None:
    """Keeps every body, but only counts those with the title "forget".

    Refuses a request to /refuse at its first byte.
    """
    if exchange.target.startswith("/refuse"):
        exchange.wait()
        exchange.reply(409, {"Content-Type": "text/plain"}, b"not this one")
    elif exchange.headers.get("x-title") == "forget":
        left = int(exchange.headers["content-length"])
        while left and (data := exchange.recv_or_cut(65536)):
            left -= len(data)
        exchange.reply(201)
    else:
        takes(exchange)


@contextmanager
def site(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    # For this site alone: its tests look at every file in it.
    base = tmp_path_factory.mktemp("site")
    folder, store, temporary = (base / name for name in ("saved", "store", "temporary"))
    for place in (folder, store, temporary):
        place.mkdir()
    port = free_port()
    with Peer(backend) as peer:
        env = {
            **os.environ,
            "BACKEND": f"{peer.url}/book",
            "FOLDER": str(folder),
            "STORE": str(store),
            "TMPDIR": str(temporary),
        }
        env["PYTHONPATH"] = os.pathsep.join(
            [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        words = [sys.executable, *(word.format(port=port) for word in command)]
        process = subprocess.Popen(
            words, cwd=TESTS, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            eventually(lambda: answers(port), "the server listens")
            pids, first = [process.pid, *children(process.pid)], "runserver" in command
            yield Site(port, pids, peer, folder, store, temporary, first)
            assert not list(temporary.iterdir())
        finally:
            process.send_signal(signal.SIGINT if "runserver" in command else signal.SIGTERM)
            process.wait(20)


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/threads", timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):  # a worker may still import the site
        return False


def post(
    to: Site,
    path: str,
    *parts: tuple[str, str | None, bytes],
    chunks: bool = False,
    cookie: str = "",
    token: str = "",
) -> requests.Response:
    body = form_body(*parts)
    data = iter([body[at : at + 50_000] for at in range(0, len(body), 50_000)]) if chunks else body
    headers = {
        "Content-Type": FORM_TYPE,
        "Cookie": f"csrftoken={cookie}",
        **({"X-CSRFToken": token} if token else {}),
    }
    return requests.post(f"{to.url}{path}", data=data, headers=headers, timeout=30)
