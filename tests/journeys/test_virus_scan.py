"""The two recipes of docs/hooks.md against viruses: what is refused is never published.

With a real clamd and clamdscan, and a signature of our own for the test file of EICAR, where ClamAV
is installed. Elsewhere with a stand-in, named so, that looks for the same bytes: it proves the
recipes and not ClamAV.
"""

from __future__ import annotations

import base64
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer

import pytest
import requests

from fix_server import Serve
from fix_taking import eventually
from free_ports import free_port
from tus_by_hand import Tus

# In base64, so that no scanner takes this file for a virus
EICAR = base64.b64decode(
    "WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FSLVNUQU5EQVJELUFOVElWSVJVUy1URVNULUZJTEUhJEgrSCo="
)
ROOT = Path(__file__).parents[2]
HAS_CLAMAV = shutil.which("clamd") is not None and shutil.which("clamdscan") is not None

CONFIG = """
DatabaseDirectory {folder}/signatures
LocalSocket {folder}/clamd.ctl
Foreground yes
MaxThreads 2
User {user}
"""
REAL_SCAN = """#!/bin/sh
exec {clamdscan} --config-file={folder}/clamd.conf "$@"
"""
STAND_IN_SCAN = """#!/bin/sh
for file; do :; done
if grep -q EICAR-STANDARD "$file"; then exit 1; fi
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="clamd listens on a Unix socket")


@dataclass(frozen=True)
class Scanner:
    """A clamd that listens, and a folder for PATH with the clamdscan that asks it."""

    socket: str
    programs: str
    name: str  # of what it finds


class StandIn(StreamRequestHandler):
    """Speaks INSTREAM as clamd does, with any number of clients."""

    def handle(self) -> None:
        with suppress(OSError):
            data, _ = b"", self.rfile.read(len(b"zINSTREAM\0"))
            while size := int.from_bytes(self.rfile.read(4), "big"):
                data += self.rfile.read(size)
            self.wfile.write(b"stream: %s\0" % (b"Stand.In FOUND" if EICAR in data else b"OK"))


@contextmanager
def standing_in(path: str) -> Iterator[None]:
    with ThreadingUnixStreamServer(path, StandIn) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(path)
            asked.sendall(b"zPING\0")
            return asked.recv(16) == b"PONG\0"
        except OSError:
            return False


def listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scanner]:
    folder = tmp_path_factory.mktemp("scan")  # short: the path of a Unix socket has 108 bytes
    programs, path = folder / "bin", str(folder / "clamd.ctl")
    programs.mkdir()
    scan = programs / "clamdscan"
    if not HAS_CLAMAV:
        scan.write_text(STAND_IN_SCAN)
        scan.chmod(0o755)
        with standing_in(path):
            yield Scanner(path, str(programs), "Stand.In")
        return
    (folder / "signatures").mkdir()
    (folder / "signatures" / "own.ndb").write_text(f"Own.Eicar:0:*:{EICAR.hex()}\n")
    user = pwd.getpwuid(os.getuid()).pw_name
    (folder / "clamd.conf").write_text(CONFIG.format(folder=folder, user=user))
    scan.write_text(REAL_SCAN.format(folder=folder, clamdscan=shutil.which("clamdscan")))
    scan.chmod(0o755)
    command = ["clamd", "-c", str(folder / "clamd.conf")]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        eventually(lambda: answers(path), "clamd answers")
        yield Scanner(path, str(programs), "Own.Eicar.UNOFFICIAL")
    finally:
        process.terminate()
        process.wait(20)


def recipe(folder: Path) -> Path:
    """The script of the page."""
    page = (ROOT / "docs" / "hooks.md").read_text("utf-8")
    (found,) = re.findall(r"```sh\n(#!/bin/sh\n.*?)```", page, re.DOTALL)
    path = folder / "scan"
    path.write_text(found)
    path.chmod(0o755)
    return path


def infected() -> bytes:
    return b"a letter\n" * 50_000 + EICAR


def harmless() -> bytes:
    return infected().replace(b"EICAR", b"OTHER")


def brought(url: str) -> dict[str, Callable[[bytes], requests.Response]]:
    """Each way to bring a file; the last one of a form decides."""

    def form(data: bytes) -> requests.Response:
        files = [("f", (name, body)) for name, body in (("a", b"clean"), ("b", data))]
        return requests.post(f"{url}/files", files=files, timeout=60)

    def tus(data: bytes) -> requests.Response:
        client = Tus(url)
        upload = client.create(len(data), filename="t")
        client.patch(upload, 0, data[:1000])
        return client.patch(upload, 1000, data[1000:])

    def put(data: bytes) -> requests.Response:
        return requests.put(f"{url}/files/p", data, timeout=60)

    return {"put": put, "form": form, "tus": tus}


def test_a_hook_scans_each_file_before_it_can_be_seen(
    serve: Serve, scanner: Scanner, tmp_path: Path
) -> None:
    server = serve(
        *("--on-kept", f"{recipe(tmp_path)} {{path}}", "--hook-timeout", "60"),
        env={"PATH": f"{scanner.programs}:{os.environ['PATH']}"},
    )
    for bring in brought(server.url).values():
        refused = bring(infected())
        assert refused.status_code == 422, refused.text
        assert refused.json()["detail"] == "This file has a virus, and was not stored"
    assert server.stored() == {}
    for bring in brought(server.url).values():
        assert bring(harmless()).ok
    assert len(server.stored()) == 4
    eventually(lambda: not server.drafts(), "nothing else is left")


@pytest.mark.torture  # a process of the gate, one of clamd and one server; the hook's scan is quick
def test_a_second_destination_scans_while_the_bytes_arrive(serve: Serve, scanner: Scanner) -> None:
    """Nothing of a refused file remains, and a file that it was to replace is there again."""
    port = free_port()
    gate = subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "clamd_gate.py"), str(port), scanner.socket]
    )
    try:
        eventually(lambda: listens(port), "the gate listens")
        options = ("--to", f"http://127.0.0.1:{port}/", "--relay-body", "raw")
        server = serve(*options, "--relay-method", "PUT")
        ways = brought(server.url)
        assert ways["put"](b"before").ok
        refused = ways["put"](infected())
        assert refused.status_code == 422, refused.text
        assert refused.json()["detail"] == f"This file has a virus: {scanner.name}"
        assert server.stored() == {"p": 6}
        partly = ways["form"](infected())  # its first file is clean, and was scanned already
        assert partly.status_code == 502, partly.text
        [clean] = server.stored().keys() - {"p"}
        assert clean.endswith("/a")
        assert partly.json()["already_taken"] == [clean]
    finally:
        gate.terminate()
        gate.wait(20)
