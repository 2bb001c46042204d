"""Fixture `fetcher`: servers that may fetch from REMOTE, but from no other address of this machine.

server = fetcher("--max-size", "1MiB")
fetch(server, peer.url + "/file")                     # peer = Peer(act, REMOTE)
server = fetcher(setup=["fetch.PACE_WINDOW = 0.5"])        # smaller constants in its process
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from fix_server import RunningServer, Serve, start_server

__all__ = ["REMOTE", "Fetcher", "fetch", "fetcher", "origin"]

REMOTE = "127.0.0.2"  # the address of remote servers; 127.0.0.1 stays internal
NAMES = """
import socket
import aiohttp
import sluiceway.client.guarded_fetch as fetch
import sluiceway.client.http.transport as transport
"""

Fetcher = Callable[..., RunningServer]


@pytest.fixture
def fetcher(serve: Serve, tmp_path: Path) -> Fetcher:
    """Start a server that may fetch. `setup`: lines of Python that its process runs first."""

    def start(
        *options: str,
        setup: list[str] | None = None,
        hosts: tuple[str, ...] = (REMOTE,),
        **env: str,
    ) -> RunningServer:
        if setup is not None:
            folder = tmp_path / "setup"
            folder.mkdir()
            (folder / "sitecustomize.py").write_text("\n".join([NAMES, *setup]))
            env["PYTHONPATH"] = os.pathsep.join(
                [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
            )
        allowed = [word for host in hosts for word in ("--fetch-from", host)]
        return serve(*allowed, "--fetch-internal", f"{REMOTE}/32", *options, env=env)

    return start


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One of our own servers as the remote server, shared by the tests of a module."""
    server = start_server(tmp_path_factory.mktemp("origin") / "root", "--host", REMOTE)
    yield server
    server.stop()


def fetch(server: RunningServer, url: str, method: str = "GET", **more: Any) -> requests.Response:
    """Fetch `url` through the server."""
    return requests.request(
        method,
        f"{server.url}/fetch",
        params={"url": url},
        timeout=30,
        allow_redirects=False,
        **more,
    )
