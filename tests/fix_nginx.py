"""Fixture `proxied`: a real nginx in front of a server, without buffering, ended by its process id.

url = proxied(server)          # http://127.0.0.1:PORT
url = proxied(server, "on")    # with buffering of each body, as nginx does by default
url = proxied(peer, proxy_path="/")   # forwards the decoded path
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fix_server import RunningServer
from fix_taking import eventually
from free_ports import free_port
from rude_peer import Peer

__all__ = ["listens", "proxied"]

Proxied = Callable[..., str]

# As a site configures it: no limit of its own, no buffering, HTTP/1.1 to the server.
CONFIG = """
{user}daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 128; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{behind}{proxy_path};
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_request_buffering {buffering}; proxy_buffering off;
      client_max_body_size 0;
    }}
  }}
}}
"""


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Proxied]:
    """Start an nginx for a server; returns its URL."""
    running: list[subprocess.Popen[bytes]] = []

    def start(server: RunningServer | Peer, buffering: str = "off", proxy_path: str = "") -> str:
        folder = tmp_path / f"nginx{len(running)}"
        folder.mkdir()
        user = (
            "user root; " if os.geteuid() == 0 else ""
        )  # otherwise its workers could not write below our folder
        port = free_port()
        config = folder / "nginx.conf"
        text = CONFIG.format(
            user=user,
            folder=folder,
            port=port,
            behind=server.url.rpartition(":")[2],
            buffering=buffering,
            proxy_path=proxy_path,
        )
        config.write_text(text)
        process = subprocess.Popen(
            ["nginx", "-c", str(config), "-e", str(folder / "error.log")], stderr=subprocess.DEVNULL
        )
        running.append(process)
        eventually(lambda: process.poll() is not None or listens(port), "nginx listens")
        assert process.poll() is None, (folder / "error.log").read_text()
        return f"http://127.0.0.1:{port}"

    yield start
    for process in running:
        process.send_signal(signal.SIGQUIT)  # SIGQUIT ends its workers too
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(10)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
