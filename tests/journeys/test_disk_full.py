"""A full disk is a 507, at once for a known length; the draft is removed and the server still
works.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import SMALL_DISK, eventually, noise
from raw_http import Wire, chunk, form_begun, form_head, head

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture
def cramped(small_disk: Path, serve: Serve) -> RunningServer:
    """A server whose disk has 8 MiB."""
    return serve(root=small_disk)


def zeros(size: int) -> Iterator[bytes]:
    for _ in range(size // 65536):
        yield bytes(65536)


def free(server: RunningServer) -> int:
    """Free bytes of the server's disk."""
    status = os.statvfs(server.root)
    return status.f_bavail * status.f_bsize


def test_a_known_length_without_room_is_refused_before_the_body(cramped: RunningServer) -> None:
    """507 before any byte of the body; nothing is reserved on the disk."""
    before = free(cramped)
    with Wire(cramped.port) as wire:
        wire.send(head("PUT", "/files/large", f"Content-Length: {SMALL_DISK * 2}"))
        response = wire.answer()

        assert (response.status, response.code) == (507, "no-space")
        assert "room" in response.json()["detail"]
    assert cramped.drafts() == []
    eventually(lambda: free(cramped) == before, "its room is free")


@pytest.mark.parametrize("form", [False, True], ids=["raw", "form"])
def test_a_disk_that_becomes_full_is_507(cramped: RunningServer, form: bool) -> None:
    """A body of unknown length: 507 while the client sends; the draft and its room are freed."""
    before = free(cramped)
    with Wire(cramped.port) as wire:
        wire.send(
            form_head(None) if form else head("PUT", "/files/x", "Transfer-Encoding: chunked")
        )
        if form:
            wire.send(chunk(form_begun(("f", "whole.bin", noise(MIB)), ("f", "x", b""))))
        try:
            for piece in zeros(SMALL_DISK * 2):
                wire.send(chunk(piece))
        except ConnectionError:
            pass  # the server has closed: its response can still be read
        response = wire.answer()

        assert (response.status, response.code, response.headers["connection"]) == (
            507,
            "no-space",
            "close",
        )
    eventually(lambda: cramped.drafts() == [], "the draft is gone")
    assert cramped.stored() == {}
    eventually(lambda: free(cramped) == before, "its room is free")


def test_requests_reads_the_early_507(cramped: RunningServer) -> None:
    """An ordinary client reads it as a response."""
    response = requests.put(f"{cramped.url}/files/x", data=zeros(64 * MIB), timeout=30)

    assert (response.status_code, response.json()["code"]) == (507, "no-space")


def test_a_full_server_is_not_ready_and_still_works(cramped: RunningServer) -> None:
    """Downloads work, small uploads are 507; with free room it is ready again. An upload of which
    nothing came can be ended where no room for it would be."""
    small = requests.put(f"{cramped.url}/files/small", data=b"small", timeout=10)
    tus = {"Tus-Resumable": "1.0.0"}
    length = {"Upload-Length": str(6 * MIB)}
    begun = requests.post(f"{cramped.url}/files", headers={**tus, **length}, timeout=10)
    upload = f"{cramped.url}/{begun.headers['Location'].lstrip('/')}"
    (cramped.root / "filler").write_bytes(b"")
    with (cramped.root / "filler").open("wb", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)):
                pass
        except OSError:
            pass  # full

    assert small.status_code == 201
    eventually(
        lambda: requests.get(f"{cramped.url}/readyz", timeout=10).status_code == 503,
        "readiness is checked again",
    )
    assert requests.get(f"{cramped.url}/healthz", timeout=10).status_code == 200
    assert requests.get(f"{cramped.url}/files/small", timeout=10).content == b"small"
    refused = requests.put(f"{cramped.url}/files/more", data=noise(10_000), timeout=10)
    assert (refused.status_code, refused.json()["code"]) == (507, "no-space")
    kept = requests.delete(upload, headers=tus, timeout=10)
    assert kept.status_code == 507, kept.text
    assert "nothing was changed" in kept.json()["detail"]
    os.truncate(cramped.root / "filler", (cramped.root / "filler").stat().st_size - 2 * MIB)
    assert requests.head(upload, headers=tus, timeout=10).headers["Upload-Offset"] == "0"
    assert requests.delete(upload, headers=tus, timeout=10).status_code == 204
    assert requests.head(upload, headers=tus, timeout=10).status_code == 410
    assert requests.delete(f"{cramped.url}/files/filler", timeout=10).status_code == 204
    eventually(
        lambda: requests.get(f"{cramped.url}/readyz", timeout=10).status_code == 200,
        "and once more",
    )
    assert (
        requests.put(f"{cramped.url}/files/more", data=noise(10_000), timeout=10).status_code == 201
    )
    assert cramped.drafts() == []


def test_an_old_version_survives_a_full_disk(cramped: RunningServer) -> None:
    """A replacement without room leaves the old object."""
    data = noise(5 * MIB)
    requests.put(f"{cramped.url}/files/x", data=data, timeout=10)
    refused = requests.put(f"{cramped.url}/files/x", data=noise(5 * MIB, 2), timeout=10)

    assert refused.status_code == 507
    assert (cramped.root / "x").read_bytes() == data
