"""Fixture `gateway`: real gateways in front of a test's server, and readers of what it received.

server = gateway(peer.url + "/files", "--relay-expect")
requests.put(server.url + "/files/a", data=b"…")
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Self

import pytest
import requests

from fix_server import RunningServer, start_server
from rude_peer import Exchange

__all__ = [
    "Gateway",
    "Program",
    "fds",
    "fresh",
    "gateway",
    "parts",
    "says",
    "sent_fields",
    "snapshot",
    "takes",
]

Gateway = Callable[..., RunningServer]

SAME_EACH_TIME = frozenset(
    ["host", "accept-encoding", "accept", "user-agent", "connection"]
)  # the same with each request


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Start `sluiceway serve --to URL` with more options; stopped at the end of the test."""
    running: list[RunningServer] = []

    def start(to: str, *options: str, env: dict[str, str] | None = None) -> RunningServer:
        server = start_server(tmp_path / "none", *options, to=to, env=env)
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()
        assert not (tmp_path / "none").exists(), "a gateway keeps nothing"


def takes(exchange: Exchange) -> None:
    """A backend that accepts everything with 201."""
    exchange.read_body()
    if not exchange.cut:
        exchange.reply(
            201, {"Content-Type": "application/json", "Location": "/files/7"}, b'{"ok": true}'
        )


def sent_fields(exchange: Exchange) -> dict[str, str]:
    """Returns the header fields that the gateway itself adds to a request, without its ids."""
    assert exchange.headers["x-request-id"]
    assert exchange.headers["traceparent"].startswith("00-")
    ours = {*SAME_EACH_TIME, "x-request-id", "traceparent"}
    return {name: value for name, value in exchange.headers.items() if name not in ours}


def parts(exchange: Exchange) -> list[bytes]:
    """The parts of a form between its boundaries, heads included; the frame around them must be
    exact.
    """
    boundary = (
        exchange.headers["content-type"].removeprefix("multipart/form-data; boundary=").encode()
    )
    assert exchange.body.startswith(b"--" + boundary + b"\r\n")
    assert exchange.body.endswith(b"\r\n--" + boundary + b"--\r\n")
    inside = exchange.body[len(boundary) + 4 : -len(boundary) - 8]
    return inside.split(b"\r\n--" + boundary + b"\r\n")


def fds(pid: int) -> int:
    """Returns the number of open files of a process, sockets included."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def fresh() -> str:
    """Returns an upload id."""
    return secrets.token_urlsafe(20)


class Program:
    """A backend in a process of its own: a Python file beside this one that prints its port
    first.
    """

    def __init__(self, name: str, *arguments: str) -> None:
        path = Path(__file__).with_name(name)
        self.process = Popen(
            [sys.executable, str(path), *arguments], stdout=PIPE, stderr=DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()


def snapshot(server: RunningServer, upload: str) -> dict[str, object]:
    """Returns the snapshot of an upload."""
    response = requests.get(f"{server.url}/uploads/{upload}", timeout=10)
    state: dict[str, object] = response.json()
    return state


def says(status: int, kind: str, body: bytes, **headers: str) -> Callable[[Exchange], None]:
    """A backend that reads everything and sends this answer."""

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        sent_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        exchange.reply(status, {**({"Content-Type": kind} if kind else {}), **sent_headers}, body)

    return act
