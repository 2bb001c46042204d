"""One upload and one download: the shortest path through every room."""

from __future__ import annotations

import hashlib

import requests

from fix_server import Serve


def test_a_stored_file_comes_back_byte_for_byte(serve: Serve) -> None:
    """PUT, then GET: the same bytes, and the server's digest matches them."""
    server = serve()
    data = bytes(range(256)) * 5000
    put = requests.put(f"{server.url}/files/a/b.bin", data=data, timeout=10)

    assert put.status_code == 201, put.text
    assert put.json()["files"][0]["sha-256"] == hashlib.sha256(data).hexdigest()
    assert requests.get(server.url + put.headers["Location"], timeout=10).content == data
    assert server.drafts() == []
