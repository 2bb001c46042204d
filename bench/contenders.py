"""The contenders as data: command, environment, paths, promises. It starts nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.peers.nginx import NGINX_CONF
from bench.process import Server, free_port, serving

__all__ = [
    "DOWNLOADS",
    "FORMS",
    "OURS_FORM",
    "OURS_FORM_SHA",
    "OURS_NONE",
    "OURS_SHA",
    "RAWS",
    "UVICORN",
    "Contender",
    "ours_raw",
    "start",
    "with_folder_fsync",
    "with_fsync",
]

PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True, slots=True)
class Contender:
    """A server, and how to send requests to it.

    {bin} {port} {sink} {to} {place} {tmp} {peers} are filled in at the start.
    """

    name: str
    command: tuple[str, ...]
    how: str  # raw | form | get
    path: str  # {name} is the file's name
    writes: str  # how bytes reach the file, as text
    fsync: bool  # is fsync called before the response
    digest: str = "none"
    method: str = "PUT"
    ours: bool = False
    can_fsync: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)  # files written before the start

    @property
    def label(self) -> str:
        return f"{self.name} + fsync" if self.fsync and not self.ours else self.name


def _ours(how: str, digest: str) -> Contender:
    name = {"raw": "Sluiceway", "form": "Sluiceway form", "get": "Sluiceway"}[how]
    return Contender(
        name=f"{name}, digest {digest}" if how != "get" else name,
        command=(
            "{bin}/sluiceway",
            "serve",
            "--to",
            "{to}",
            "--host",
            "127.0.0.1",
            "--port",
            "{port}",
            "--digest",
            digest,
        ),
        how=how,
        path="/files" if how == "form" else "/files/{name}",
        method="POST" if how == "form" else "PUT",
        writes="its own blocks (2 MiB, direct where the file system can)",
        fsync=True,
        digest=digest,
        ours=True,
    )


def ours_raw(digest: str) -> Contender:
    """Our server for raw uploads, with this digest."""
    return _ours("raw", digest)


UVICORN = (
    "{bin}/uvicorn", "--app-dir", "{peers}", "starlette_app:app", "--host", "127.0.0.1", "--port",
    "{port}",
    "--workers", "1", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level",
    "warning",
)  # fmt: skip
GUNICORN = (
    "{bin}/gunicorn", "--chdir", "{peers}", "flask_app:app", "--bind", "127.0.0.1:{port}",
    "--workers", "1",
    "--worker-class", "gthread", "--threads", "4", "--timeout", "600", "--log-level", "warning",
    "--no-control-socket",
)  # fmt: skip
AIOHTTP = ("{bin}/python", "{peers}/aiohttp_app.py", "{port}")
NGINX = ("nginx", "-p", "{place}", "-c", "{place}/nginx.conf", "-e", "{place}/nginx.log")
NGINX_FILES = {"nginx.conf": NGINX_CONF}

OURS_NONE = _ours("raw", "none")
OURS_SHA = _ours("raw", "sha-256")
OURS_FORM = _ours("form", "none")
OURS_FORM_SHA = _ours("form", "sha-256")

RAWS = (
    Contender("uvicorn + Starlette request.stream()", UVICORN, "raw", "/raw/{name}",
    "chunks as they come", fsync=False),
    Contender("gunicorn gthread + Flask request.stream", GUNICORN, "raw", "/raw/{name}",
    "1 MiB reads", fsync=False),
    Contender("aiohttp request.content", AIOHTTP, "raw", "/raw/{name}", "chunks as they come",
    fsync=False),
    Contender(
        "nginx DAV PUT", NGINX, "raw", "/raw/{name}", "1 MiB body buffer, temp file, rename",
        fsync=False,
        can_fsync=False, files=NGINX_FILES,
    ),
)  # fmt: skip
FORMS = (
    Contender(
        "uvicorn + Starlette request.form()", UVICORN, "form", "/form",
        "spooled, then 1 MiB copies", fsync=False,
        method="POST",
    ),
    Contender(
        "gunicorn gthread + Flask request.files", GUNICORN, "form", "/form",
        "spooled, then 1 MiB copies", fsync=False,
        method="POST",
    ),
    Contender("aiohttp multipart()", AIOHTTP, "form", "/form", "256 KiB part reads", fsync=False,
    method="POST"),
)  # fmt: skip
DOWNLOADS = (
    replace(OURS_NONE, name="Sluiceway", how="get", method="GET"),
    Contender(
        "nginx sendfile", NGINX, "get", "/{name}", "-", fsync=False, method="GET", files=NGINX_FILES
    ),
    Contender("Starlette FileResponse", UVICORN, "get", "/{name}", "-", fsync=False, method="GET"),
)


def with_fsync(peers: tuple[Contender, ...]) -> tuple[Contender, ...]:
    """The same peers with fsync of the file before the response (ours syncs the folder, too)."""
    return tuple(
        replace(peer, fsync=True, env={**peer.env, "FSYNC": "1"})
        for peer in peers
        if peer.can_fsync
    )


def with_folder_fsync(peer: Contender) -> Contender:
    """The peer with fsync of file and folder before the response, as ours does."""
    name = f"{peer.name} + fsync of file and folder"
    return replace(peer, name=name, env={**peer.env, "FSYNC": "folder"})


@contextmanager
def start(
    contender: Contender, binaries: Path, place: Path, sink: int = 0
) -> Iterator[tuple[Server, Path]]:
    """A fresh server process in `place`; yields it and the folder it stores into (place/to).

    `sink` is where a relay sends to.
    """
    to = place / "to"
    to.mkdir(parents=True, exist_ok=True)
    port = free_port()
    words = {
        "bin": str(binaries), "port": str(port), "to": str(to), "place": str(place),
        "tmp": str(place / "tmp"),
        "peers": str(PEERS), "sink": str(sink), "user": "user root;" if os.geteuid() == 0 else "",
    }  # fmt: skip
    for name, text in contender.files.items():
        (place / name).touch(0o600)  # a file of tokens is refused if others can read it
        (place / name).write_text(text.format(**words))
    command = [word.format(**words) for word in contender.command]
    env = {
        **contender.env,
        "BENCH_TO": str(to),
        "BENCH_SINK": str(sink),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with serving(command, env, place, port) as server:
        yield server, to
