"""sluiceway.starlette on plain uvicorn, in Starlette and FastAPI.

Views read parts as they arrive, without temporary files. A truncated body is an error.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

import sluiceway
from fix_taking import eventually, noise
from free_ports import free_port
from raw_http import Wire, chunk, form_begun, form_body, form_head
from sluiceway.testing.memory_meter import MemoryMeter

TESTS = Path(__file__).parent.parent
MIB = 1 << 20
DATA = noise(2_000_003)
FORM_TYPE = form_head(1).decode().partition("Content-Type: ")[2].partition("\r\n")[0]


@dataclass
class App:
    """A running server with the app and its folders."""

    port: int
    pid: int
    folder: Path
    temporary: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module", params=["starlette", "fastapi"])
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder, store, temporary = (
        tmp_path_factory.mktemp(name) for name in ("saved", "store", "temporary")
    )
    port = free_port()
    env = {**os.environ, "FOLDER": str(folder), "STORE": str(store), "TMPDIR": str(temporary)}
    env["PYTHONPATH"] = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--timeout-keep-alive",
        "75",
        "--port",
        str(port),
        f"{request.param}_views:app",
    ]
    process = subprocess.Popen(
        command, cwd=TESTS, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually(listens, "the server listens")
        yield App(port, process.pid, folder, temporary)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def post(
    app: App, path: str, *parts: tuple[str, str | None, bytes], framing: str = "length"
) -> requests.Response:
    body = form_body(*parts)
    data = (
        body
        if framing == "length"
        else iter([body[at : at + 50_000] for at in range(0, len(body), 50_000)])
    )
    return requests.post(
        f"{app.url}{path}", data=data, headers={"Content-Type": FORM_TYPE}, timeout=30
    )


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_parts_come_in_order_and_unread_files_are_skipped(app: App, framing: str) -> None:
    parts = [
        ("t", None, b"v"),
        ("f", "a", DATA),
        ("g", "b", DATA),
        ("e", "", b""),
        ("u", None, b"w"),
        ("h", "c", b"123"),
    ]
    answer = post(app, "/walk", *parts, framing=framing)

    seen = answer.json()
    assert seen[:2] == [["t", "v"], ["f", "a", hashlib.sha256(DATA).hexdigest()]]
    assert seen[2][:2] == ["g", "b"]
    assert seen[3:] == [["u", "w"], ["h", "c", 3 if framing == "length" else None]]


def test_a_large_file_costs_no_memory_and_no_temporary_file(app: App) -> None:
    peaks = {}
    for size in (4 * MIB, 4 * MIB, 64 * MIB):
        meter = MemoryMeter(app.pid)
        meter.reset()
        form = sluiceway.Form({"title": "x"}).file(
            "file", (bytes(MIB) for _ in range(size // MIB)), size=size
        )
        answer = requests.post(f"{app.url}/save", data=form, headers=form.headers, timeout=60)
        assert (answer.status_code, answer.json()) == (201, [["title", "x"]])
        assert (app.folder / "saved.bin").stat().st_size == size
        peaks[size] = meter.peak()
        assert not list(app.temporary.iterdir())

    assert peaks[64 * MIB] - peaks[4 * MIB] <= 8 * MIB


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_truncated_form_saves_nothing(app: App, framing: str) -> None:
    """The client hangs up in the middle of the file."""
    for left in app.folder.iterdir():
        left.unlink()
    data = form_begun(("title", None, b"T"), ("file", "a.bin", b"")) + DATA
    with Wire(app.port) as wire:
        if framing == "length":
            wire.send(form_head(len(data) * 2, target="/save") + data)
        else:
            wire.send(form_head(None, target="/save") + chunk(data))
        eventually(lambda: list(app.folder.iterdir()), "the draft exists")
    eventually(lambda: not list(app.folder.iterdir()), "the draft is removed")


def test_a_body_that_is_not_a_form_is_unsupported(app: App) -> None:
    answer = requests.post(f"{app.url}/walk", json={}, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported")


def test_the_service_can_be_mounted(app: App) -> None:
    """Page and links work below the prefix, although a mounted app gets no lifespan."""
    assert "<!doctype html>" in requests.get(f"{app.url}/drop/", timeout=10).text
    assert requests.get(f"{app.url}/drop/page/sluice.js", timeout=10).status_code == 200
    stored = requests.post(f"{app.url}/drop/files", files={"f": ("a ü.bin", DATA)}, timeout=30)
    assert stored.status_code == 201
    url = stored.json()["files"][0]["url"]
    assert url.startswith("/drop/files/")
    assert requests.get(app.url + url, timeout=10).content == DATA
    assert (
        requests.get(app.url + url, headers={"Range": "bytes=1-3"}, timeout=10).content == DATA[1:4]
    )
    assert requests.delete(app.url + url, timeout=10).status_code == 204
