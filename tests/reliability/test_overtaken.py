"""With several workers: what was sent last has the key, and required copies are the same.

Long series of races, which the kernel and the scheduler decide.
"""

from __future__ import annotations

from functools import partial

import pytest

from fix_server import RunningServer, Serve
from fix_taking import eventually
from put_pieces import kept, piece, put
from raw_http import Answer, Wire, chunk, head

pytestmark = pytest.mark.torture

OLD, NEW, ASKED, SENT = b"1" * 300_000, b"2" * 300_000, 150_000, 200_000


def leave(server: RunningServer, key: str, way: str) -> None:
    """A PUT whose client is gone as soon as it has written."""
    with Wire(server.port) as wire:
        if way == "chunked":
            sent = head("PUT", f"/files/{key}", "Transfer-Encoding: chunked") + chunk(NEW[:SENT])
        elif way == "small":
            sent = head("PUT", f"/files/{key}", "Content-Length: 60000") + NEW[:30_000]
        else:
            sent = head("PUT", f"/files/{key}", "Content-Length: 300000") + NEW[:SENT]
        wire.send(sent)


def ask(server: RunningServer, key: str) -> Answer:
    return put(server, key, b"", "Content-Range: bytes */300000")


def _has_asked(server: RunningServer, key: str) -> bool:
    return kept(server, key) == ASKED


@pytest.mark.parametrize("way", ["known", "chunked", "small"])
def test_a_question_at_once_leads_to_no_mix(serve: Serve, way: str) -> None:
    server = serve("--workers", "3")
    for number in range(40):
        key = f"{way}{number}"
        piece(server, key, OLD, 0, ASKED)
        eventually(partial(_has_asked, server, key))
        leave(server, key, way)
        answer = ask(server, key)
        assert answer.status == 308
        offset = int(answer.headers["upload-offset"])
        if piece(server, key, NEW, offset, len(NEW)).status == 201:
            assert (server.root / key).read_bytes() == NEW, offset
