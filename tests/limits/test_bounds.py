"""Bounds of docs/limits.md that no other test needs to know of.

Each holds at its edge, or ends what goes beyond.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

import sluiceway
from fix_server import Serve
from fix_taking import eventually
from sluiceway.client.http.cookies import MOST, MOST_COOKIE, ChainCookies
from sluiceway.client.http.exchange import Head
from sluiceway.client.http.transport import MOST_HEADERS
from sluiceway.copying.endpoints.http_source import MOST_PAGE
from sluiceway.copying.options import MOST_JOBS, MOST_RETRIES
from sluiceway.errors import BadRequest, PeerFailed, SluiceError, TooLarge
from sluiceway.pipe.budget import Budget
from sluiceway.server.forms.walk import MOST_SKIPPED
from sluiceway.server.handlers.progress import event_stream
from sluiceway.server.log.access import MOST_LOGGED
from sluiceway.server.progress import watch
from sluiceway.server.remote import MOST_URL
from sluiceway.stores.contract import MOST_METADATA, Metadata
from sluiceway.stores.disk.store import DiskStore
from sluiceway.testing.store_suite import store_bytes
from sluiceway.uploads.progress import ProgressTable
from sluiceway.wire.forms.charsets import MOST_CHARSET, known_charset
from sluiceway.wsgi.streaming_form import LiveForm

STARTED = (
    "import sys, sluiceway.server.run as run; run.KEEP_ALIVE = 1;"
    " from sluiceway.cli.main import main; sys.exit(main())"
)


def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    """After as many seconds as the constant has; here one, for the test's sake."""
    command = [
        sys.executable,
        "-c",
        STARTED,
        "serve",
        "--to",
        str(tmp_path / "root"),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        try:
            assert server.stdout is not None
            port = next(
                int(line.rstrip("/\n").rpartition(":")[2])
                for line in server.stdout
                if "page " in line
            )
            with socket.create_connection(("127.0.0.1", port), timeout=15) as idle:
                idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                response = b""
                while piece := idle.recv(4096):  # until the server closes
                    response += piece
        finally:
            server.terminate()

    assert response.startswith(b"HTTP/1.1 200")


def test_a_long_path_is_cut_in_the_log(serve: Serve) -> None:
    """A line of the log is no place to fill a disk by."""
    server = serve()
    requests.get(f"{server.url}/{'x' * 5000}", timeout=10)

    eventually(lambda: "x" * 100 in server.log(), "the request is in the log")
    assert "x" * (MOST_LOGGED + 1) not in server.log()


def test_a_charset_with_a_long_name_is_none() -> None:
    """Not looked up at all."""
    assert known_charset("utf-8" + " " * (MOST_CHARSET - 5)) == "utf-8"
    assert known_charset("utf-8" + " " * (MOST_CHARSET - 4)) is None


def test_a_file_that_nobody_reads_is_not_read_for_ever() -> None:
    """A view that asks for the field behind an unwanted file waits for MOST_SKIPPED bytes."""
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n'
    sent = 0

    def body(size: int = -1) -> bytes:
        nonlocal sent
        sent += 1 << 20
        return head if sent == 1 << 20 else bytes(1 << 20)

    form = LiveForm(body, "multipart/form-data; boundary=b", None)
    parts = iter(form)
    next(parts)
    with pytest.raises(TooLarge):
        next(parts)

    assert MOST_SKIPPED <= sent <= MOST_SKIPPED + (4 << 20)


async def test_metadata_beyond_its_bound_is_refused(tmp_path: Path) -> None:
    """At the edge it comes back; one byte more is refused, and nothing is stored without it."""
    store = DiskStore(str(tmp_path), Budget(64 << 20))
    longest = Metadata("x", user=(("name", "v" * (MOST_METADATA - 4)),))
    try:
        await store_bytes(store, "fits", b"1", longest)
        with pytest.raises(TooLarge):
            await store_bytes(
                store, "too-long", b"1", Metadata("x", user=(("name", "v" * (MOST_METADATA - 3)),))
            )

        assert (await store.stat("fits")).metadata == longest
        assert [entry.key for entry in (await store.list()).entries] == ["fits"]
    finally:
        await store.aclose()


async def test_a_watcher_of_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that nobody uploads under: the stream ends by itself."""
    monkeypatch.setattr(watch, "BEGIN_TIMEOUT", 0.3)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async def send(message: Any) -> None:
        sent.append(dict(message))

    stream = event_stream(ProgressTable(), "w" * 25)
    await asyncio.wait_for(
        stream({"type": "http", "method": "GET", "headers": []}, receive, send), 20
    )

    assert json.loads(sent[1]["body"].partition(b"data: ")[2])["state"] == "waiting"
    assert sent[-1]["more_body"] is False


def test_a_url_to_fetch_has_a_length(serve: Serve) -> None:
    """One character more is a 400 that says how many there may be."""
    server = serve("--fetch-from", "files.example")
    url = "https://files.example/" + "x" * MOST_URL
    response = requests.get(f"{server.url}/fetch", params={"url": url}, timeout=10)

    assert response.status_code == 400
    assert str(MOST_URL) in response.text


def test_cookies_have_a_number_and_a_size() -> None:
    """Beyond either a cookie is not kept."""
    many = tuple(f"n{number}=v" for number in range(MOST + 10))
    cookies, large = ChainCookies(), ChainCookies()
    cookies.learn(Head(200, {}, "https://a.example/", cookies=many))
    large.learn(
        Head(200, {}, "https://a.example/", cookies=(f"big={'v' * MOST_COOKIE}", "small=v"))
    )

    assert cookies.added({}, "https://a.example/x")["cookie"].count("=") == MOST
    assert large.added({}, "https://a.example/x")["cookie"] == "small=v"


@contextmanager
def answering(headers: int = 0, size: int = 0) -> Iterator[str]:
    """A server whose every response has so many headers and bytes."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            for number in range(headers):
                self.send_header(f"x-{number}", "v")
            self.send_header("Content-Length", str(size))
            self.end_headers()
            with suppress(OSError):
                for _ in itertools.repeat(None, size >> 16):
                    self.wfile.write(bytes(1 << 16))

        do_HEAD = do_GET  # noqa: N815 - the standard library's names

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_an_answer_with_too_many_headers_is_not_read(tmp_path: Path) -> None:
    """Below the bound it is."""
    with answering(headers=MOST_HEADERS - 10) as url:
        sluiceway.copy(f"{url}/few", tmp_path / "few")
    with answering(headers=MOST_HEADERS + 10) as url, pytest.raises(PeerFailed):
        sluiceway.copy(f"{url}/many", tmp_path / "many", retries=0)

    assert not (tmp_path / "many").exists()


def test_a_listing_of_another_server_has_a_size(tmp_path: Path) -> None:
    """A page that does not end is given up, and the copy with it."""
    began = time.monotonic()
    with answering(size=4 * MOST_PAGE) as url:
        try:
            report = sluiceway.copy_all(f"{url}/files/", tmp_path / "to", retries=0)
        except SluiceError as error:
            message = error.detail
        else:
            message = str(report)

    assert f"{MOST_PAGE >> 20} MiB" in message
    assert time.monotonic() - began < 60


def test_a_copy_has_a_number_of_jobs_and_retries(tmp_path: Path) -> None:
    """One more than there may be is refused before anything is done."""
    (tmp_path / "from").mkdir()
    for jobs, retries in ((MOST_JOBS + 1, 1), (0, 1), (1, MOST_RETRIES + 1)):
        with pytest.raises(BadRequest):
            sluiceway.copy_all(tmp_path / "from", tmp_path / "to", jobs=jobs, retries=retries)
    sluiceway.copy_all(tmp_path / "from", tmp_path / "to", jobs=MOST_JOBS, retries=MOST_RETRIES)
