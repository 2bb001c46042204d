"""Large bodies go round the event loop: the same bytes, answers and errors as those that do not.

Each journey runs with connections that are never lent, always lent, and handed back at random
bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from fix_server import RunningServer, start_server
from fix_taking import noise
from lent_ways import OFF, WAYS, lent_bytes, lent_env
from raw_http import Wire, head

MIB = 1 << 20


@pytest.fixture(scope="module", params=WAYS)
def lender(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp(request.param)
    server = start_server(folder / "root", env=lent_env(folder, request.param))
    yield server
    # the test of the tests: connections were lent, or never
    assert (request.param == OFF) is (not lent_bytes(server))
    server.stop()


@pytest.mark.parametrize("size", [1, 4095, 4097, 300_000, 2 * MIB + 1, 11 * MIB + 4097])
def test_all_bytes_arrive_and_the_next_request_too(lender: RunningServer, size: int) -> None:
    """Two uploads in one go: the second head stands right behind the first body."""
    body, key = noise(size), f"bytes-{size}"
    with Wire(lender.port) as wire:
        for name in ("first", "second"):
            wire.send(head("PUT", f"/files/{key}-{name}", f"Content-Length: {size}") + body)
        for name in ("first", "second"):
            response = wire.answer()
            assert response.status == 201
            assert response.json()["files"][0]["sha-256"] == hashlib.sha256(body).hexdigest()
            assert (lender.root / f"{key}-{name}").read_bytes() == body
