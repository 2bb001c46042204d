"""A client that vanishes without a sign: the next request takes its upload over at once.

The client is in a network namespace of its own, and its link goes down: no FIN, no RST comes.
"""

from __future__ import annotations

import sys
import time
from urllib.parse import urlsplit

import pytest

from fix_link import HERE, Link
from fix_server import RunningServer, Serve
from fix_taking import TORTURE, eventually
from tus_by_hand import Tus

RUNS = 100 if TORTURE else 2
LENGTH, SENT = 3_000_000, 300_000  # bytes that the client announces, and that it sends
LONGEST = 15.0  # seconds; a quarter of one is usual on a machine with nothing else to do
CLIENT = f"""
import socket, sys, time
with socket.create_connection(("{HERE}", int(sys.argv[1]))) as wire:
    wire.sendall(
        f"PATCH {{sys.argv[2]}} HTTP/1.1\\r\\nHost: {HERE}\\r\\nTus-Resumable: 1.0.0\\r\\n"
        "Content-Type: application/offset+octet-stream\\r\\n"
        f"Upload-Offset: {{sys.argv[3]}}\\r\\nContent-Length: {LENGTH}\\r\\n\\r\\n".encode()
        + b"x" * {SENT}
    )
    time.sleep(600)
"""

pytestmark = [pytest.mark.root, pytest.mark.timeout(3600 if TORTURE else 120)]


def take_over(server: RunningServer, link: Link) -> float:
    """Seconds until a HEAD answers, while another client is silent."""
    tus = Tus(server.url)
    upload = tus.create(LENGTH + 1, filename="silent.bin")
    path = urlsplit(upload).path
    client = link.start(sys.executable, "-c", CLIENT, str(server.port), path, "0")
    try:
        eventually(lambda: tus.progress(upload)["received"] == SENT, "the bytes are there")
        link.turn("down")
        began = time.monotonic()
        assert tus.offset(upload) == SENT
        took = time.monotonic() - began
        rest = b"x" * (LENGTH + 1 - SENT)
        assert tus.patch(upload, SENT, rest).status_code == 204
    finally:
        client.kill()
        client.wait(10)
        link.turn("up")
        tus.session.close()
    return took


def test_an_upload_of_a_silent_client_is_taken_over(serve: Serve, link: Link) -> None:
    server = serve("--host", "0.0.0.0", "--no-auth", "--allowed-host", HERE)  # here
    taken = sorted(take_over(server, link) for _ in range(RUNS))
    print(f"seconds: median {taken[len(taken) // 2]:.3f}, worst {taken[-1]:.3f}")
    assert taken[-1] < LONGEST
