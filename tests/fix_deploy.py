"""The servers of deploy/, started by the files there: behind nginx or alone, ended by their ids."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from fix_gateway import takes
from fix_server import RunningServer, start_server
from fix_taking import eventually
from free_ports import free_port
from raw_http import form_begun, form_body
from raw_http import form_head as bare_form_head
from raw_http import head as bare_head
from rude_peer import Exchange, Peer

__all__ = [
    "DEPLOY",
    "HEARD",
    "MIB",
    "SCRIPTS",
    "SERVERS",
    "STOP",
    "TOKEN",
    "Deployed",
    "answers",
    "ask",
    "behind_nginx",
    "deployed",
    "head",
]


ROOT = Path(__file__).parents[1]


DEPLOY = ROOT / "deploy"


SCRIPTS = Path(sysconfig.get_path("scripts"))


MIB = 1 << 20


STOP = 20.0  # seconds


HEARD = 1.0  # seconds after which a server surely has heeded a signal


SERVERS = {  # what people type, with another port at the end
    "gunicorn": "gunicorn -c {deploy}/gunicorn.conf.py -b 127.0.0.1:{port}",
    "uWSGI": "pyuwsgi --ini {folder}/uwsgi.ini",
    "granian": "{deploy}/granian.sh --port {port}",
}


TOKEN = "what-clients-of-these-must-carry"


BELOW = {"gunicorn": "/up", "uWSGI": "/up"}  # where the app has the service


def ask(
    method: str, url: str, headers: dict[str, str] | None = None, **more: Any
) -> requests.Response:
    return requests.request(
        method, url, headers={"Authorization": f"Bearer {TOKEN}", **(headers or {})}, **more
    )


def head(method: str, target: str, *fields: str) -> bytes:
    return bare_head(method, target, f"Authorization: Bearer {TOKEN}", *fields)


def form_head(length: int | None, target: str) -> bytes:
    return bare_form_head(length, f"Authorization: Bearer {TOKEN}", target=target)


@dataclass
class Deployed:
    """A server with a configuration from deploy/, and the backend that it passes files on to."""

    name: str
    port: int
    process: subprocess.Popen[Any]  # the one that gets the stop signal
    peer: Peer
    temporary: Path

    @property
    def prefix(self) -> str:
        return BELOW.get(self.name, "")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def begun(self, kind: str, size: int) -> tuple[bytes, bytes]:
        """A request of `size` bytes of file, up to the file's first byte, and what stands behind
        its last one."""
        if kind == "raw":
            return head("PUT", f"{self.prefix}/files/a.bin", f"Content-Length: {size}"), b""
        begun = form_begun(("title", None, b"T"), ("file", "a.bin", b""))
        end = form_body(("title", None, b"T"), ("file", "a.bin", b"")).removeprefix(begun)
        return form_head(len(begun) + size + len(end), target=f"{self.prefix}/files") + begun, end


@contextmanager
def deployed(
    name: str, folder: Path, act: Callable[[Exchange], object] = takes
) -> Iterator[Deployed]:
    temporary = folder / "temporary"
    temporary.mkdir()
    with Peer(act) as peer, ExitStack() as stack:
        if name == "nginx":
            process, port = behind_nginx(
                folder, start_server(folder / "none", to=f"{peer.url}/books"), stack
            )
        else:
            process, port = started(name, folder, peer, stack)
        one = Deployed(name, port, process, peer, temporary)
        eventually(lambda: answers(one, process), f"{name} answers")
        yield one


def started(
    name: str, folder: Path, peer: Peer, stack: ExitStack
) -> tuple[subprocess.Popen[Any], int]:
    port = free_port()
    ini = (
        (DEPLOY / "uwsgi.ini")
        .read_text("utf-8")
        .replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        .replace("%d", f"{DEPLOY}/")
    )
    (folder / "uwsgi.ini").write_text(ini)
    command = SERVERS[name].format(deploy=DEPLOY, folder=folder, port=port).split()
    path = os.pathsep.join([str(SCRIPTS), os.environ["PATH"]])
    env = {
        **os.environ,
        "PATH": path,
        "DESTINATION": f"{peer.url}/books",
        "TOKEN": TOKEN,
        "TMPDIR": str(folder / "temporary"),
    }
    command[0] = shutil.which(command[0], path=path) or command[0]
    printed = stack.enter_context((folder / "printed").open("wb"))
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=printed, stderr=printed)
    stack.callback(end, process)
    return process, port


def behind_nginx(
    folder: Path, server: RunningServer, stack: ExitStack, patience: str = "60s"
) -> tuple[subprocess.Popen[Any], int]:
    """The site's file with two addresses replaced, inside the main file of a usual system.

    `patience` is nginx's timeout for clients.
    """
    stack.callback(server.stop)
    port = free_port()
    site = (DEPLOY / "nginx.conf").read_text("utf-8")
    assert site.count("127.0.0.1:8000") == site.count("listen 80;") == 1
    site = site.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}").replace(
        "listen 80;", f"listen 127.0.0.1:{port};"
    )
    site = site.replace("client_body_timeout 60s", f"client_body_timeout {patience}")
    (folder / "site.conf").write_text(site)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/temporary/{kind}; " for kind in kinds)
    user = "user root; " if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off; worker_processes 1; pid {folder}/pid;\n"
        f"events {{ worker_connections 128; }}\n"
        f"http {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
    )
    log = str(folder / "error.log")
    process = subprocess.Popen(
        ["nginx", "-c", str(folder / "nginx.conf"), "-e", log], stderr=subprocess.DEVNULL
    )
    stack.callback(end, process, signal.SIGQUIT)
    return process, port


def answers(one: Deployed, process: subprocess.Popen[Any]) -> bool:
    folder = one.temporary.parent
    output = "".join(
        path.read_text("utf-8", "replace")
        for path in (folder / "printed", folder / "error.log")
        if path.exists()
    )
    assert process.poll() is None, output
    with suppress(requests.RequestException):
        return ask("get", f"{one.url}/healthz", timeout=5).status_code == 200
    return False


def end(process: subprocess.Popen[Any], sig: int = signal.SIGTERM) -> None:
    """End a process by its id. If it does not end, kill it and its children by their ids."""
    if process.poll() is not None:
        return
    children = [
        int(pid)
        for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]
    process.send_signal(sig)
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        for pid in [*children, process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(STOP)
