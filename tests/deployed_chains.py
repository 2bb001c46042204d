"""Servers as people deploy them, each with at most one fault: for the tests of `sluiceway doctor`.

with chain(CHAINS["nginx: bodies are buffered"], folder) as url:
    ...  # the service behind the proxy; each process is ended by its id
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fix_deploy import DEPLOY, TOKEN, end
from fix_nginx import listens
from fix_server import start_server
from fix_taking import eventually
from free_ports import free_port

__all__ = ["CHAINS", "ORIGIN", "Chain", "chain"]

ORIGIN = "https://app.example.com"
SCRIPTS = Path(sysconfig.get_path("scripts"))
MODULES = Path("/usr/lib/apache2/modules")

NGINX_MAIN = """
{user}daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 128; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port}{listen};
    {tls}
    location / {{
      proxy_pass http://127.0.0.1:{behind};
      {lines}
    }}
  }}
}}
"""
NGINX = {
    "body": "proxy_request_buffering off;",
    "cap": "client_max_body_size 0;",
    "version": "proxy_http_version 1.1;",
    "response": "proxy_buffering off;",
    "host": "proxy_set_header Host $http_host;",
    "for": "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    "preread": "",
    "options": "",
}
APACHE_MAIN = """
ServerRoot {folder}
PidFile {folder}/pid
DefaultRuntimeDir {folder}
Listen 127.0.0.1:{port}
ServerName localhost
ErrorLog {folder}/error.log
User www-data
Group www-data
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule env_module {modules}/mod_env.so
LoadModule reqtimeout_module {modules}/mod_reqtimeout.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
ProxyPass / http://127.0.0.1:{behind}/
{lines}
"""
APACHE = {
    "env": "",
    "host": "ProxyPreserveHost On",
    "rate": "RequestReadTimeout body=60,MinRate=1",
    "timeout": "Timeout 60",
    "answer": "ProxyTimeout 660",
}
HAPROXY_MAIN = """
global
  maxconn 100
defaults
  mode http
  timeout connect 5s
  {lines}
frontend front
  bind 127.0.0.1:{port}
  {rule}
  default_backend service
backend service
  server one 127.0.0.1:{behind}
"""
HAPROXY = {
    "client": "timeout client 60s",
    "server": "timeout server 660s",
    "for": "option forwardfor",
}
CADDY_MAIN = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  {site}
  reverse_proxy 127.0.0.1:{behind} {{
    {lines}
  }}
}}
"""


@dataclass(frozen=True)
class Chain:
    """A set-up, and what the doctor must find: code, hop, and a word of the directive."""

    kind: str
    changed: dict[str, str] = field(default_factory=dict)
    found: tuple[tuple[str, str, str], ...] = ()


def _one(code: str, hop: str, directive: str) -> tuple[tuple[str, str, str], ...]:
    return ((code, hop, directive),)


CHAINS: dict[str, Chain] = {
    "sluiceway serve": Chain("serve"),
    "nginx": Chain("nginx"),
    "nginx with TLS and HTTP/2": Chain("nginx tls", {"preread": "http2_body_preread_size 1m;"}),
    "Apache": Chain("apache"),
    "haproxy": Chain("haproxy"),
    # It cuts off no client that pauses within a body, however long; `timeout server` does.
    "haproxy: a short timeout of clients": Chain("haproxy", {"client": "timeout client 1s"}),
    "Caddy": Chain("caddy"),
    "gunicorn": Chain("gunicorn"),
    "granian": Chain("granian"),
    "nginx: bodies are buffered": Chain(
        "nginx", {"body": ""}, _one("request-buffered", "nginx", "proxy_request_buffering")
    ),
    "nginx: a cap on bodies": Chain(
        "nginx", {"cap": ""}, _one("body-cap", "nginx", "client_max_body_size")
    ),
    "nginx: HTTP/1.0 to the server": Chain(
        "nginx", {"version": ""}, _one("chunked-buffered", "nginx", "proxy_http_version")
    ),
    "nginx: a pause is cut off": Chain(
        "nginx",
        {"cap": "client_max_body_size 0; client_body_timeout 1s;"},
        _one("idle-timeout", "nginx", "client_body_timeout"),
    ),
    "nginx: a late response is given up": Chain(
        "nginx",
        {"response": "proxy_buffering off; proxy_read_timeout 1s;"},
        _one("response-timeout", "nginx", "proxy_read_timeout"),
    ),
    "nginx: events are buffered": Chain(
        "nginx",
        {
            "response": "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"
            " gzip on; gzip_types text/event-stream;"
        },
        _one("events-buffered", "nginx", "proxy_buffering"),
    ),
    "nginx: the server does not know of it": Chain(
        "nginx", {"for": ""}, _one("interim-breaks", "nginx", "X-Forwarded-For")
    ),
    "nginx: another Host": Chain(
        "nginx", {"host": ""}, _one("host-rewritten", "nginx", "proxy_set_header Host")
    ),
    "nginx: it responds to OPTIONS": Chain(
        "nginx",
        {"options": "if ($request_method = OPTIONS) { return 204; }"},
        _one("cors-missing", "nginx", "OPTIONS"),
    ),
    "nginx: a small window of HTTP/2": Chain(
        "nginx tls", {}, _one("http2-window", "nginx", "http2_body_preread_size")
    ),
    "Apache: chunked bodies are stored": Chain(
        "apache",
        {"env": "SetEnv proxy-sendcl 1"},
        _one("chunked-buffered", "Apache", "proxy-sendcl"),
    ),
    "Apache: a time for the whole body": Chain(
        "apache",
        {"rate": "RequestReadTimeout body=1"},
        _one("total-timeout", "Apache", "RequestReadTimeout"),
    ),
    "Apache: another Host": Chain(
        "apache", {"host": ""}, _one("host-rewritten", "Apache", "ProxyPreserveHost")
    ),
    "haproxy: a cap on bodies": Chain(
        "haproxy",
        {"rule": "http-request deny deny_status 413 if { req.hdr_val(content-length) gt 1048576 }"},
        _one("body-cap", "haproxy", "http-request deny"),
    ),
    "haproxy: another Host": Chain(
        "haproxy",
        {"rule": "http-request set-header Host files.internal"},
        _one("host-rewritten", "haproxy", "set-header Host"),
    ),
    "haproxy: a late response is given up": Chain(
        "haproxy",
        {"server": "timeout server 1s"},
        _one("response-timeout", "haproxy", "timeout server"),
    ),
    "Caddy: a cap on bodies": Chain(
        "caddy",
        {"site": "request_body {\n max_size 1MB\n }"},
        _one("body-cap", "Caddy", "max_size"),
    ),
    "Caddy: bodies are buffered": Chain(
        "caddy", {"lines": "buffer_requests"}, _one("request-buffered", "Caddy", "request_buffers")
    ),
    "Caddy: another Host": Chain(
        "caddy",
        {"lines": "header_up Host {upstream_hostport}"},
        _one("host-rewritten", "Caddy", "header_up Host"),
    ),
    "gunicorn: a worker that is killed": Chain(
        "gunicorn", {"worker": "sync"}, _one("total-timeout", "gunicorn", "worker_class")
    ),
    "uWSGI: a pause is cut off": Chain(
        "uWSGI",
        {"timeout": "1"},
        (
            ("chunked-refused", "uWSGI", "server itself"),
            ("idle-timeout", "uWSGI", "socket-timeout"),
        ),
    ),
    "uWSGI: no chunks": Chain(
        "uWSGI",
        {},
        (
            ("chunked-refused", "uWSGI", "server itself"),
            ("expect-unanswered", "uWSGI", "Expect"),
        ),
    ),
    "waitress: bodies are buffered": Chain(
        "waitress", {}, _one("request-buffered", "waitress", "server itself")
    ),
    "granian: no chunks by WSGI": Chain(
        "granian wsgi", {}, _one("chunked-refused", "granian", "--interface")
    ),
}


@contextmanager
def chain(one: Chain, folder: Path, tls: Path | None = None) -> Iterator[str]:
    """Runs the set-up; gives the URL of the service. `tls` is a certificate with its key."""
    with ExitStack() as stack:
        kind = one.kind.partition(" ")[0]
        if kind in APPS:
            yield _start_app(one, folder, stack)
            return
        server = start_server(folder / "root", "--token", TOKEN, "--allow-origin", ORIGIN)
        stack.callback(server.stop)
        if kind == "serve":
            yield server.url
            return
        port = free_port()
        command = PROXIES[kind](one, folder, port, server.port, tls)
        _start(command, folder, port, stack, {"HOME": str(folder)})
        yield f"http{'s' if 'tls' in one.kind else ''}://127.0.0.1:{port}"


def _start(
    command: list[str], folder: Path, port: int, stack: ExitStack, more: dict[str, str]
) -> None:
    path = os.pathsep.join([str(SCRIPTS), os.environ["PATH"], "/usr/sbin"])
    program = shutil.which(command[0], path=path)
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    printed = stack.enter_context((folder / "printed").open("wb"))
    process = subprocess.Popen(
        [program, *command[1:]],
        cwd=folder,
        env={**os.environ, "PATH": path, **more},
        stdout=printed,
        stderr=printed,
    )
    stack.callback(end, process)
    eventually(lambda: process.poll() is not None or listens(port), f"{command[0]} listens")
    assert process.poll() is None, (folder / "printed").read_text("utf-8", "replace")


def _nginx(one: Chain, folder: Path, port: int, behind: int, tls: Path | None) -> list[str]:
    lines = {**NGINX, **one.changed}
    certificate = f"ssl_certificate {tls}; ssl_certificate_key {tls};"
    preread = lines.pop("preread")
    text = NGINX_MAIN.format(
        user="user root; " if os.geteuid() == 0 else "",
        folder=folder,
        port=port,
        behind=behind,
        listen=" ssl http2" if "tls" in one.kind else "",
        tls=f"{certificate} {preread}" if "tls" in one.kind else "",
        lines="\n      ".join(lines.values()),
    )
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def _apache(one: Chain, folder: Path, port: int, behind: int, _: Path | None) -> list[str]:
    lines = "\n".join({**APACHE, **one.changed}.values())
    text = APACHE_MAIN.format(folder=folder, port=port, behind=behind, modules=MODULES, lines=lines)
    (folder / "apache.conf").write_text(text)
    return ["apache2", "-f", str(folder / "apache.conf"), "-DFOREGROUND"]


def _haproxy(one: Chain, folder: Path, port: int, behind: int, _: Path | None) -> list[str]:
    changed = {"rule": "", **HAPROXY, **one.changed}
    rule = changed.pop("rule")
    lines = "\n  ".join(changed.values())
    text = HAPROXY_MAIN.format(port=port, behind=behind, lines=lines, rule=rule)
    (folder / "haproxy.cfg").write_text(text)
    return ["haproxy", "-f", str(folder / "haproxy.cfg")]


def _caddy(one: Chain, folder: Path, port: int, behind: int, _: Path | None) -> list[str]:
    places = {"site": "", "lines": "", **one.changed}
    (folder / "Caddyfile").write_text(CADDY_MAIN.format(port=port, behind=behind, **places))
    config = str(folder / "Caddyfile")
    return ["caddy", "run", "--config", config, "--adapter", "caddyfile"]


PROXIES: dict[str, Callable[[Chain, Path, int, int, Path | None], list[str]]] = {
    "nginx": _nginx,
    "apache": _apache,
    "haproxy": _haproxy,
    "caddy": _caddy,
}
APPS = {
    "gunicorn": "gunicorn -k {worker} --timeout {timeout} --threads 4 -b 127.0.0.1:{port} {app}",
    "uWSGI": "pyuwsgi --http-socket 127.0.0.1:{port} --module {app} --master --enable-threads"
    " --threads 4 --need-app --die-on-term --socket-timeout {timeout}",
    "waitress": "waitress-serve --listen 127.0.0.1:{port} --threads 4 {app}",
    "granian": "granian --interface {interface} --http 1 --host 127.0.0.1 --port {port} {app}",
}


def _start_app(one: Chain, folder: Path, stack: ExitStack) -> str:
    kind, _, interface = one.kind.partition(" ")
    port = free_port()
    asgi = kind == "granian" and not interface
    changed = {"worker": "gthread", "timeout": "60", **one.changed}
    if changed["worker"] == "sync":
        changed["timeout"] = "2"  # seconds; the command looks once a second
    command = APPS[kind].format(
        port=port,
        app="asgi_app:app" if asgi else "flask_app:app",
        interface="asgi" if asgi else "wsgi",
        **changed,
    )
    if changed["worker"] == "sync":
        command = command.replace("--threads 4", "--threads 1")
    more = {
        "DESTINATION": str(folder / "saved"),
        "TOKEN": TOKEN,
        "TMPDIR": str(folder),
        "PYTHONPATH": os.pathsep.join([str(DEPLOY), os.environ.get("PYTHONPATH", "")]),
    }
    _start(command.split(), folder, port, stack, more)
    return f"http://127.0.0.1:{port}" + ("" if asgi else "/up")
