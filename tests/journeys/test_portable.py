"""A journey on a system without fcntl, fdatasync, O_DIRECT, sendfile, attributes and uvloop.

What macOS and Windows lack is taken away from a real server and a real copy; `make test-portable`
runs these alone.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fix_taking import eventually, noise
from fork_server import PlainPopen

RUNNER = str(Path(__file__).parents[1] / "without_unix.py")
DATA = noise(3_000_017)
LISTENS = re.compile(r"page +(http://\S+?)/?$", re.MULTILINE)


class PortableServer:
    """`sluiceway serve` in such a Python."""

    def __init__(self, folder: Path, to: str, env: dict[str, str] | None = None) -> None:
        self.log_file = folder / f"log-{os.urandom(4).hex()}"
        with self.log_file.open("w") as log:
            self.process = PlainPopen(
                [sys.executable, RUNNER, "serve", "--to", to, "--port", "0"],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(env or {})},
            )
        try:
            eventually(lambda: LISTENS.search(self.log()), "it listens")
        except BaseException:
            self.process.kill()
            self.process.wait(10)
            raise
        found = LISTENS.search(self.log())
        assert found is not None
        self.url = found[1]

    def log(self) -> str:
        return self.log_file.read_text()

    def stop(self, sig: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("portable")


@pytest.fixture(scope="module", params=["folder", "sqlite"])
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[PortableServer]:
    to = str(folder / "root") if request.param == "folder" else f"sqlite:///{folder}/files.db"
    running = PortableServer(folder, to)
    yield running
    assert running.stop() == 0, running.log()


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, RUNNER, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
    )


def test_files_are_stored_read_listed_and_deleted(server: PortableServer) -> None:
    """Raw and form, ranges, conditions, the zip, the page; a cut upload leaves nothing."""
    url = f"{server.url}/files/a/b.bin"
    stored = requests.put(url, data=DATA, headers={"Content-Type": "image/png"}, timeout=30)
    assert stored.status_code == 201
    got = requests.get(url, timeout=30)
    assert got.content == DATA
    # Metadata is kept beside the object where there are no attributes.
    assert got.headers["Content-Type"] == "image/png"
    part = requests.get(url, headers={"Range": "bytes=1000000-2999999"}, timeout=30)
    assert part.content == DATA[1_000_000:3_000_000]
    taken = requests.put(url, data=b"x", headers={"If-None-Match": "*"}, timeout=10)
    assert taken.status_code == 412
    newer = requests.put(url, data=b"x", headers={"If-Match": got.headers["ETag"]}, timeout=10)
    assert newer.status_code == 200
    files = requests.post(f"{server.url}/files", files={"f": ("1.txt", DATA)}, timeout=30).json()
    assert requests.get(server.url + files["files"][0]["url"], timeout=30).content == DATA
    assert len(requests.get(f"{server.url}/files", timeout=10).json()["files"]) == 2
    assert requests.get(f"{server.url}/files?as=zip", timeout=30).content.startswith(b"PK")
    assert requests.delete(url, timeout=10).status_code == 204
    assert requests.get(f"{server.url}/", timeout=10).status_code == 200
    assert requests.get(f"{server.url}/page/sluice.js", timeout=10).status_code == 200
    assert requests.get(f"{server.url}/readyz", timeout=10).status_code == 200


def test_the_server_says_what_the_system_lacks(server: PortableServer) -> None:
    for what in ("file locks", "sendfile", "O_DIRECT", "fdatasync", "attributes", "uvloop"):
        assert f"this system has no {what}" in server.log().replace("extended ", "")


@pytest.mark.parametrize(
    "server", ["folder", pytest.param("sqlite", marks=pytest.mark.torture)], indirect=True
)
def test_copies_work_in_both_directions(server: PortableServer, tmp_path: Path) -> None:
    """One file, standard output, many with a journal, resumed."""
    (tmp_path / "big.bin").write_bytes(DATA)
    (tmp_path / "many").mkdir()
    for number in range(5):
        (tmp_path / "many" / f"{number}.txt").write_bytes(DATA[:number])
    url = f"{server.url}/files/copied"
    up = run("copy", "big.bin", f"{url}/big.bin", cwd=tmp_path)
    assert up.returncode == 0, up.stderr
    down = run("copy", f"{url}/big.bin", "back.bin", cwd=tmp_path)
    assert down.returncode == 0, down.stderr
    assert (tmp_path / "back.bin").read_bytes() == DATA
    for _ in range(2):
        many = run("copy", "-r", "--journal", "done.db", "many", f"{url}/many/", cwd=tmp_path)
        assert many.returncode == 0, many.stderr
    back = run("copy", "-r", "--preserve", "many", "there", cwd=tmp_path)
    assert back.returncode == 0, back.stderr
    assert (tmp_path / "there" / "4.txt").read_bytes() == DATA[:4]


def test_several_workers_are_refused_in_words(tmp_path: Path) -> None:
    """They share the progress of uploads by locks."""
    refused = run("serve", "--to", "./x", "--port", "0", "--workers", "2", cwd=tmp_path)
    assert refused.returncode != 0
    assert "one worker" in refused.stderr


APPS = """
import io, os, sys
from flask import Flask, request
from sluiceway.flask import Sluiceway, mount

app = Flask(__name__)
Sluiceway(app)
mount(app, "/drop", to=sys.argv[1])

@app.post("/up")
def up():
    return str(len(request.files["file"].read()))

client = app.test_client()
sent = client.post("/up", data={"file": (io.BytesIO(b"x" * 100_000), "a.bin")})
assert sent.data == b"100000", sent.data
assert client.put("/drop/files/a.txt", data=b"hello").status_code == 201
assert client.get("/drop/files/a.txt").data == b"hello"

import django
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 50)
django.setup()
import sluiceway.django
import sluiceway.starlette
from sluiceway import Sluiceway as Service
Service(to=sys.argv[1])
print("fine")
"""


def test_adapters_work(tmp_path: Path) -> None:
    """Flask's live files and the mounted service; Django and Starlette load."""
    (tmp_path / "apps.py").write_text(APPS)
    done = run("apps.py", str(tmp_path / "root"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "fine\n"


@pytest.fixture(params=["simulated", "FAT"])
def folding(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PortableServer]:
    """A server on a disk where names that differ in case only are one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if request.param == "simulated":
        server = PortableServer(tmp_path, str(disk / "root"), {"FOLD_NAMES": "1"})
        yield server
        server.stop()
        return
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    for command in (
        ["mkfs.vfat", str(image)],
        ["mount", "-o", "loop", "-t", "vfat", str(image), str(disk)],
    ):
        made = shutil.which(command[0]) and subprocess.run(
            command, capture_output=True, check=False
        )
        if not made or made.returncode:
            pytest.skip(f"{command[0]} makes no FAT here")
    server = PortableServer(tmp_path, str(disk / "root"))
    try:
        yield server
    finally:
        server.stop()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_of_names_that_differ_in_case_only_the_second_is_told(
    folding: PortableServer, tmp_path: Path
) -> None:
    """One file, which nothing replaces unasked; in a copy of many the second one fails by name."""
    url = f"{folding.url}/files"
    assert requests.put(f"{url}/Book.txt", data=b"one", timeout=10).status_code == 201
    guard = {"If-None-Match": "*"}
    second = requests.put(f"{url}/book.TXT", data=b"two", headers=guard, timeout=10)
    assert second.status_code in (409, 412)
    assert requests.get(f"{url}/Book.txt", timeout=10).content == b"one"
    copied = run("copy", "-r", "both", f"{url}/both/", cwd=_two_cases(tmp_path))
    assert copied.returncode == 6, copied.stderr
    assert "1 failed" in copied.stdout + copied.stderr
    listed = requests.get(f"{url}?prefix=both/", timeout=10).json()["files"]
    assert [one["size"] for one in listed] == [3]


def _two_cases(folder: Path) -> Path:
    (folder / "both").mkdir()
    (folder / "both" / "A.txt").write_bytes(b"one")
    (folder / "both" / "a.txt").write_bytes(b"two")
    return folder
