"""A gateway that was started again, and an upload whose digest was promised.

A backend that gives the bytes it keeps lets the gateway compare them, before the last byte makes
the file complete.
"""

from __future__ import annotations

import base64
import hashlib
import signal
from pathlib import Path

import pytest
import requests

from fix_taking import noise
from relayed_pieces import PARTIAL, start_gateway
from rude_peer import Exchange, Peer
from tus_backend import TusBackend

DATA = noise(300_000)
HALF = 100_000


def begin(url: str, promised: bytes) -> str:
    """The path of an upload with HALF of DATA."""
    value = base64.b64encode(hashlib.sha256(promised).digest()).decode()
    fields = {"Upload-Complete": "?0", "Repr-Digest": f"sha-256=:{value}:"}
    begun = requests.put(f"{url}/files/a.bin", DATA[:HALF], headers=fields, timeout=20)
    assert begun.status_code == 201, begun.text
    return begun.headers["Location"]


def end(url: str, path: str) -> requests.Response:
    headers = {"Upload-Complete": "?1", "Upload-Offset": str(HALF), "Content-Type": PARTIAL}
    return requests.patch(url + path, DATA[HALF:], headers=headers, timeout=20)


# The first of these goes on in the last one; test_gateway_pieces.py has the second.
LONG = [pytest.param(each, marks=pytest.mark.torture) for each in ("right", "no content")]


@pytest.mark.parametrize("found", [*LONG, "wrong", "breaks off"])
def test_the_digest_is_compared_with_what_the_backend_keeps(tmp_path: Path, found: str) -> None:
    backend = TusBackend()
    backend.gives_content = found != "no content"

    def breaks(exchange: Exchange) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(DATA) - 1}\r\n\r\n"
        exchange.sock.sendall(head.encode() + b"half")
        exchange.reset()

    with Peer(backend) as peer:
        gateway = start_gateway(tmp_path, peer.url, "tus")
        path = begin(gateway.url, b"other" if found == "wrong" else DATA)
        gateway.stop(signal.SIGKILL)
        gateway = start_gateway(tmp_path, peer.url, "tus")
        if found == "breaks off":
            backend.odd = {"GET": [breaks]}
            assert end(gateway.url, path).status_code == 503
            headers = {"Upload-Complete": "?1", "Content-Type": PARTIAL}
            headers["Upload-Offset"] = str(len(DATA))
            done = requests.patch(gateway.url + path, headers=headers, timeout=20)
        else:
            done = end(gateway.url, path)
        gateway.stop()
    statuses = {"right": 204, "breaks off": 204, "wrong": 400, "no content": 410}
    assert done.status_code == statuses[found], done.text
    assert found != "no content" or "does not give back the bytes" in done.json()["detail"]
    whole = done.status_code == 204
    assert bytes(backend.data) == (DATA if whole else DATA[:-1])
    assert ("DELETE" in [each.method for each in backend.seen]) is not whole
