"""A server without free descriptors answers readably, names the limit in its log, and recovers."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from fix_server import RunningServer, Serve, start_server
from fix_taking import eventually
from sluiceway.stores.disk.drafts.live_drafts import MOST_WAITING_OPEN
from sluiceway.stores.disk.store import WRITERS

KEY = "a/file.bin"


@pytest.fixture
def backend() -> Iterator[str]:
    """Accepts any PUT and closes each connection."""

    class Takes(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Takes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/files"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["disk", "fsspec", "relay"])
def server(request: pytest.FixtureRequest, tmp_path: Path, backend: str) -> Iterator[RunningServer]:
    root = tmp_path / "root"
    root.mkdir()
    places = {"disk": None, "fsspec": f"fsspec+file://{root}", "relay": backend}
    running = start_server(root, to=places[request.param])
    yield running
    running.stop()


def limit_descriptors(server: RunningServer, more: int | None) -> None:
    """Allow `more` descriptors than are open now; None: the system's own limit."""
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    open_now = max(int(fd) for fd in os.listdir(f"/proc/{server.pid}/fd")) + 1
    resource.prlimit(
        server.pid, resource.RLIMIT_NOFILE, (hard if more is None else open_now + more, hard)
    )


def test_out_of_descriptors_is_unavailable_and_the_log_names_the_limit(
    server: RunningServer,
) -> None:
    """503 with its code and no word of limits; the same request succeeds later."""
    with requests.Session() as client:
        url = f"{server.url}/files/{KEY}"
        assert client.put(url, data=bytes(300_000), timeout=20).status_code < 300
        eventually(
            lambda: len(os.listdir(f"/proc/{server.pid}/fd")) < 60,
            "what the first request opened is closed again",
        )
        limit_descriptors(server, 0)
        refused = client.put(url, data=bytes(300_000), timeout=20)
        limit_descriptors(server, None)
        taken = client.put(url, data=bytes(300_000), timeout=20)

    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert "ulimit" not in refused.text
    eventually(lambda: "ulimit -n" in server.log(), "the log names the limit")
    assert taken.status_code < 300


@pytest.mark.parametrize("what", ["/files", "/files?as=zip", f"/files/{KEY}"])
def test_without_descriptors_nothing_looks_missing(serve: Serve, what: str) -> None:
    """A listing, a zip and a download: 503, not an empty list and not 404."""
    server = serve()
    with requests.Session() as client:
        client.put(f"{server.url}/files/{KEY}", data=b"1", timeout=20)
        assert client.get(server.url + what, timeout=20).status_code == 200
        limit_descriptors(server, 0)
        refused = client.get(server.url + what, timeout=20)
        limit_descriptors(server, None)

    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")


def test_the_files_of_many_forms_wait_without_descriptors(serve: Serve) -> None:
    """Forms that lack only their last byte: few open files, and all are stored in the end."""
    server = serve()
    before = len(os.listdir(f"/proc/{server.pid}/fd"))
    gate = threading.Event()
    forms, files = 4, 60
    line = (
        "--b\r\nContent-Disposition: form-data; name=f; filename=x{}\r\n\r\n"
        + "data {}" * 900
        + "\r\n"
    )

    def body() -> Iterator[bytes]:
        yield "".join(line.replace("{}", str(number)) for number in range(files)).encode()
        gate.wait(60)
        yield b"--b--\r\n"

    responses: list[requests.Response] = []

    def send() -> None:
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        responses.append(
            requests.post(f"{server.url}/files", data=body(), headers=kind, timeout=60)
        )

    senders = [threading.Thread(target=send) for _ in range(forms)]
    for sender in senders:
        sender.start()
    try:
        eventually(lambda: len(server.drafts()) >= forms * (files - 1), "all files have come")
        most = before + MOST_WAITING_OPEN + 2 * forms + WRITERS
        eventually(
            lambda: len(os.listdir(f"/proc/{server.pid}/fd")) <= most, "those that wait are closed"
        )
    finally:
        gate.set()
        for sender in senders:
            sender.join()

    assert [response.status_code for response in responses] == [201] * forms
    assert len(server.stored()) == forms * files
    assert server.drafts() == []


@pytest.mark.parametrize("place", ["disk", "relay"])
def test_a_large_body_goes_on_where_no_descriptor_is_left(
    place: str, tmp_path: Path, backend: str
) -> None:
    """It cannot be lent to a thread, which needs one more; it goes round by the event loop."""
    server = start_server(tmp_path, to=backend if place == "relay" else None)
    data = os.urandom(12 << 20)
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            head = f"PUT /files/{KEY} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}"
            client.sendall(head.encode() + b"\r\n\r\n" + data[: 1 << 20])
            looks = list[int]()  # a silent sender's connection is given back after 50 ms

            def has_settled() -> bool:
                looks.append(open_files(server))
                return len(looks) > 20 and len(set(looks[-20:])) == 1

            eventually(has_settled, "the first bytes are on their way")
            limit_descriptors(server, 0)
            client.sendall(data[1 << 20 :])
            assert client.recv(1000).startswith(b"HTTP/1.1 201")
        limit_descriptors(server, None)
        if place == "disk":
            found = requests.get(f"{server.url}/files/{KEY}", timeout=20).content
            assert found == data
    finally:
        server.stop()


def open_files(server: RunningServer) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))
