"""Keys of very many segments are refused before a byte is stored, in every dialect."""

from __future__ import annotations

import pytest
import requests

from fix_server import Serve
from sluiceway.wire.names import MOST_SEGMENTS


@pytest.mark.parametrize("over", [1, 400])
def test_a_key_of_too_many_segments_is_a_bad_name(serve: Serve, over: int) -> None:
    """400 with its code; one segment fewer is stored and listed."""
    server = serve()
    deepest = "/".join(["d"] * MOST_SEGMENTS)
    refused = requests.put(f"{server.url}/files/{deepest}{'/d' * over}", data=b"1", timeout=10)
    taken = requests.put(f"{server.url}/files/{deepest}", data=b"1", timeout=10)

    assert (refused.status_code, refused.json()["code"]) == (400, "bad-name")
    assert taken.status_code == 201
    assert list(server.stored()) == [deepest]
    listed = requests.get(f"{server.url}/files", timeout=10).json()
    assert [file["key"] for file in listed["files"]] == [deepest]
