"""GET /uploads: an admin sees what runs in any process, how fast, where it waits, and ends it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from fix_server import Serve
from fix_taking import eventually
from raw_http import head
from token_names import Client, secret_of, token_file
from tus_by_hand import OFFSET_STREAM, coded

UPLOAD = "an-upload-that-waits-0123456789"
TUS = {"Tus_Resumable": "1.0.0"}


def test_an_admin_sees_what_runs_and_ends_it(serve: Serve, tmp_path: Path) -> None:
    """Of two processes; the key, whose it is, the bytes, the stage. An upload that is over, or
    that no request brings bytes to, does not run."""
    tokens = str(token_file(tmp_path / "tokens"))
    server = serve("--workers", "2", "--token-file", tokens)
    boss = Client(server.url, "boss")

    def running() -> dict[str, Any]:
        return {one["id"]: one for one in boss("GET", "/uploads").json()["uploads"]}

    assert running() == {}
    clients = []
    try:
        for at in range(2):
            clients.append(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            fields = (f"Authorization: Bearer {secret_of('acme')}", "Content-Length: 1000")
            request = head("PUT", f"/files/acme/f{at}?upload={UPLOAD}{at}", *fields)
            clients[at].sendall(request + bytes(300))
        eventually(lambda: len(running()) == 2, "both are shown")
        eventually(
            lambda: all(one["received"] == 300 for one in running().values()), "with their bytes"
        )
        for at in range(2):
            shown = running()[f"{UPLOAD}{at}"]
            assert (shown["key"], shown["name"]) == (f"acme/f{at}", "acme")
            assert (shown["length"], shown["state"]) == (1000, "receiving")
            assert shown["seconds"] >= 0
        eventually(
            lambda: {one["stage"] for one in running().values()} == {"wait-for-client"},
            "they wait for the client",
        )
        assert boss("GET", "/uploads?limit=1").json()["truncated"] is True
        assert Client(server.url, "acme")("GET", "/uploads").status_code == 403
        assert boss("DELETE", f"/uploads/{UPLOAD}0").status_code == 204
        eventually(lambda: list(running()) == [f"{UPLOAD}1"], "one has ended")
    finally:
        for client in clients:
            client.close()
    eventually(lambda: running() == {}, "both have ended")
    made = boss("POST", "/files", **TUS, Upload_Length="9", Upload_Metadata=coded(filename="rests"))
    path = "/uploads/" + made.headers["Location"].rsplit("/", 1)[1]
    boss("PATCH", path, b"123", **TUS, Upload_Offset="0", Content_Type=OFFSET_STREAM)
    assert running() == {}
