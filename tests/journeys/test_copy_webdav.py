"""Many objects to WebDAV: missing folders are created. WsgiDAV over TLS, and nginx."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server
from wsgidav.wsgidav_app import WsgiDAVApp

import sluiceway
from fix_nginx import listens
from fix_taking import eventually, noise
from fix_tls import Certificates
from free_ports import free_port
from rude_peer import Exchange, Peer
from sluiceway.errors import BadRequest, SluiceError, Unauthorized

FILES = {
    "a": noise(10),
    "d/b": noise(2_000_000),
    "d/e/f/c ü": noise(70_000),
    "d/e/f/d": noise(1),
    "g/h": b"",
    "g/i": noise(300),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for key, data in FILES.items():
        path = tmp_path / "from" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "from"


def found(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def dav(tmp_path: Path, tls: Certificates) -> Iterator[tuple[str, Path]]:
    """WsgiDAV on cheroot, with a password, behind TLS."""
    root = tmp_path / "dav"
    root.mkdir()
    users = {"user_mapping": {"*": {"me": {"password": "secret"}}}}
    logger = {"enable": False, "enable_loggers": []}
    config = {
        "provider_mapping": {"/": str(root)},
        "simple_dc": users,
        "logging": logger,
        "verbose": 0,
        "lock_storage": False,
    }
    logging.getLogger("wsgidav").setLevel(logging.CRITICAL)
    server = Server(("127.0.0.1", 0), WsgiDAVApp(config), numthreads=8)
    server.ssl_adapter = BuiltinSSLAdapter(str(tls.server), str(tls.server))
    server.prepare()
    serving = threading.Thread(target=server.serve)
    serving.start()
    yield f"https://me:secret@127.0.0.1:{server.bind_addr[1]}", root
    server.stop()
    serving.join(20)


def test_folders_are_created_over_https(
    dav: tuple[str, Path], folder: Path, tls: Certificates
) -> None:
    """The root folder too; a second run skips the objects, and they come back unchanged."""
    url, root = dav
    report = sluiceway.copy_all(folder, f"{url}/backups/monday/", ca_file=str(tls.ca))
    assert (report.copied, report.failed) == (len(FILES), 0), report
    assert found(root / "backups" / "monday") == FILES
    again = sluiceway.copy_all(folder, f"{url}/backups/monday/", ca_file=str(tls.ca))
    assert (again.copied, again.skipped, again.failed) == (0, len(FILES), 0), again


def test_a_server_that_asks_for_digests_gets_them(
    dav: tuple[str, Path], folder: Path, tls: Certificates, tmp_path: Path
) -> None:
    """One file, standard input, many, and back; a wrong password fails after two requests."""
    url, root = dav
    options = ["--auth", "digest", "--ca-file", str(tls.ca)]
    with (folder / "d" / "b").open("rb") as file:
        command = [
            sys.executable,
            "-m",
            "sluiceway",
            "copy",
            "-",
            f"{url}/piped",
            *options,
            "--size",
            "2000000",
        ]
        piped = subprocess.run(command, input=file.read(), capture_output=True, timeout=60)
    assert piped.returncode == 0, piped.stderr
    sluiceway.copy(folder / "a", f"{url}/one?a=b", auth="digest", ca_file=str(tls.ca))
    report = sluiceway.copy_all(folder, f"{url}/many/", auth="digest", ca_file=str(tls.ca))
    assert (report.copied, report.failed) == (len(FILES), 0), report
    assert found(root) == {
        "piped": FILES["d/b"],
        "one": FILES["a"],
        **{f"many/{key}": data for key, data in FILES.items()},
    }
    sluiceway.copy(f"{url}/one", tmp_path / "back", auth="digest", ca_file=str(tls.ca))
    assert (tmp_path / "back").read_bytes() == FILES["a"]
    with pytest.raises(Unauthorized):
        sluiceway.copy(
            folder / "a",
            f"{url.replace('secret', 'wrong')}/one",
            auth="digest",
            ca_file=str(tls.ca),
        )
    with pytest.raises(BadRequest, match="user and password"):
        sluiceway.copy(folder / "a", "https://127.0.0.1:1/one", auth="digest")


@contextmanager
def nginx_dav(folder: Path) -> Iterator[tuple[str, Path]]:
    root = folder / "root"
    root.mkdir(parents=True)
    port = free_port()
    user = "user root; " if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(
        f"{user}daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{ }} http {{ access_log off; client_body_temp_path {folder}/b;\n"
        f"proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;\n"
        f"scgi_temp_path {folder}/s; server {{ listen 127.0.0.1:{port}; root {root};\n"
        "client_max_body_size 0; location / { dav_methods PUT DELETE MKCOL; }\n"
        "location /shut/ { dav_methods PUT; } } }\n"
    )
    process = subprocess.Popen(
        ["nginx", "-c", str(config), "-e", str(folder / "error.log")], stderr=subprocess.DEVNULL
    )
    try:
        eventually(lambda: process.poll() is not None or listens(port), "nginx listens")
        assert process.poll() is None, (folder / "error.log").read_text()
        yield f"http://127.0.0.1:{port}", root
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(20)


@pytest.mark.nginx
def test_folders_are_created_at_nginx(folder: Path, tmp_path: Path) -> None:
    """Where none may be created, each object fails with the reason."""
    with nginx_dav(tmp_path / "nginx") as (url, root):
        report = sluiceway.copy_all(folder, f"{url}/new/place/", retries=1)
        assert (report.copied, report.failed) == (len(FILES), 0), report
        assert found(root / "new" / "place") == FILES
        shut = sluiceway.copy_all(folder, f"{url}/shut/", retries=0)
        assert (shut.copied, shut.failed) == (0, len(FILES)), shut


def test_one_file_is_refused_without_its_folder(
    dav: tuple[str, Path], folder: Path, tls: Certificates
) -> None:
    with pytest.raises(SluiceError, match="folder it goes to is not there"):
        sluiceway.copy(folder / "a", f"{dav[0]}/nowhere/yet/a", ca_file=str(tls.ca))


@pytest.mark.parametrize("status", [404, 409])
def test_an_api_without_folders_is_asked_once(folder: Path, status: int) -> None:
    """The response to the PUT counts."""

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply({"PUT": status, "MKCOL": 501}.get(exchange.method, 404))

    with Peer(act) as peer:
        report = sluiceway.copy_all(folder, f"{peer.url}/api/", retries=0, jobs=1)
        assert report.failed == len(FILES)
        assert all(str(status) in (failed.detail or "") for failed in report.failures)
        methods = [exchange.method for exchange in peer.seen]
        assert (methods.count("PUT"), methods.count("MKCOL")) == (len(FILES), 1)
