"""An upload in pieces through a gateway, where its connections go round the event loop.

To a backend that takes pieces, and into one request that is held open: with connections that are
never lent, always lent, and handed back at random bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator

import pytest
import requests

from fix_taking import TORTURE, eventually, noise
from lent_ways import OFF, RANDOM, WAYS, lent_bytes, lent_env
from raw_http import Wire
from relayed_pieces import PARTIAL, Pair, start_pair
from tus_by_hand import OFFSET_STREAM

MIB = 1 << 20
DATA = noise(9 * MIB + 4097)
HALF = 5 * MIB + 1
KINDS = [(dialect, RANDOM) for dialect in ("ietf", "off")]
MORE = [(dialect, way) for dialect in ("ietf", "tus", "off") for way in WAYS]


@pytest.fixture(scope="module", params=MORE if TORTURE else KINDS, ids="-".join)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    dialect, way = request.param
    folder = tmp_path_factory.mktemp("pieces")
    pair = start_pair(folder, dialect, env=lent_env(folder, way))
    yield pair
    # the test of the tests: connections were lent, or never
    assert (way == OFF) is (not lent_bytes(pair.gateway))
    pair.stop()


@pytest.fixture
def pair(running: Pair) -> Pair:
    for key in running.backend.stored():
        (running.backend.root / key).unlink()
    return running


def begin_patch(pair: Pair, upload: str, offset: int, data: bytes) -> Wire:
    """A PATCH that promises all the rest of DATA, and brings `data`."""
    wire = Wire(pair.gateway.port)
    wire.send(
        f"PATCH {re.sub('^http://[^/]+', '', upload)} HTTP/1.1\r\nHost: localhost\r\n"
        f"Tus-Resumable: 1.0.0\r\nContent-Type: {OFFSET_STREAM}\r\nUpload-Offset: {offset}\r\n"
        f"Content-Length: {len(DATA) - offset}\r\n\r\n".encode()
        + data
    )
    return wire


def test_the_pieces_are_the_file_and_their_digest_is_checked(pair: Pair) -> None:
    """The running digest goes on from request to request, through threads and the event loop."""
    whole = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    fields = {"Upload-Complete": "?0", "Repr-Digest": f"sha-256=:{whole}:"}
    url = f"{pair.gateway.url}/files/w.bin"
    begun = requests.put(url, DATA[:HALF], headers=fields, timeout=30)
    assert begun.status_code == 201, begun.text
    headers = {"Upload-Complete": "?1", "Upload-Offset": str(HALF), "Content-Type": PARTIAL}
    place = pair.gateway.url + begun.headers["Location"]
    done = requests.patch(place, DATA[HALF:], headers=headers, timeout=30)
    assert done.status_code in (200, 201, 204), done.text
    assert list(pair.stored().values()) == [DATA]


def test_a_client_that_leaves_goes_on_where_the_backend_is(pair: Pair) -> None:
    upload = pair.tus.create(len(DATA), filename="l.bin")
    with begin_patch(pair, upload, 0, DATA[:HALF]):
        eventually(lambda: pair.tus.progress(upload)["received"] == HALF, "the bytes arrived")
    at = pair.tus.offset(upload)
    assert at == HALF
    assert pair.tus.patch(upload, at, DATA[at:]).status_code == 204
    assert list(pair.stored().values()) == [DATA]


def test_a_newer_request_takes_over(pair: Pair) -> None:
    """The older one has all its bytes counted, and writes none later."""
    upload = pair.tus.create(len(DATA), filename="t.bin")
    with begin_patch(pair, upload, 0, DATA[:HALF]) as wire:
        eventually(lambda: pair.tus.progress(upload)["received"] == HALF, "the bytes arrived")
        at = pair.tus.offset(upload)
        assert at == HALF
        wire.send(b"late")
        assert pair.tus.patch(upload, at, DATA[at:]).status_code == 204
    assert list(pair.stored().values()) == [DATA]
