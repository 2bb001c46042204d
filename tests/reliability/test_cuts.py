"""An upload that is cut at any byte leaves nothing.

Each prefix of a small upload is sent, in each framing; then the client hangs up.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from fix_server import RunningServer, Serve
from fix_taking import TORTURE, eventually, noise
from raw_http import Wire, chunked, form_body, form_head, head

BODY = 4096 if TORTURE else 120  # bytes of payload
AT_ONCE = 8

FORM = form_body(
    ("t", None, b"field"), ("f", "first", noise(BODY // 2)), ("g", "second", noise(BODY // 2))
)
UPLOADS = {
    "length": head("PUT", "/files/cut", f"Content-Length: {BODY}") + noise(BODY),
    "chunked": head("PUT", "/files/cut", "Transfer-Encoding: chunked")
    + chunked(noise(BODY), BODY // 3),
    "form": form_head(len(FORM)) + FORM,
    "chunked form": form_head(None) + chunked(FORM, len(FORM) // 5),
}
WAYS: dict[str, Callable[[Wire], None]] = {
    "close": Wire.close,
    "reset": Wire.reset,
    "half-close": Wire.half_close,
}


@pytest.mark.timeout(3600 if TORTURE else 120)
@pytest.mark.parametrize("upload", UPLOADS)
def test_an_upload_cut_at_any_byte_is_never_seen(serve: Serve, upload: str) -> None:
    """Every proper prefix, several at once, in turn in each way of hanging up.

    In the long proofs in all of them. Nothing is ever visible.
    """
    server = serve()
    eventually((server.root / ".sluiceway").exists, "the folder is made")
    data = UPLOADS[upload]
    ways = list(WAYS)
    cuts = [
        (at, way)
        for at in range(len(data))
        for way in (ways if TORTURE else [ways[at % len(ways)]])
    ]
    random.Random(1).shuffle(cuts)  # so that all kinds are under way at once
    visible: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.001):  # what is published stays: no look is missed
            visible.extend(name for name in os.listdir(server.root) if name != ".sluiceway")

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = set(pool.map(lambda cut: cut_off(server, data[: cut[0]], WAYS[cut[1]]), cuts))
    eventually(lambda: server.drafts() == [], "no draft stays")
    done.set()
    watcher.join()

    assert visible == []
    assert os.listdir(server.root) == [".sluiceway"]
    assert statuses <= {None, 400}
    assert 400 in statuses  # sent to a client that still reads
    with Wire(server.port) as wire:  # the complete upload does succeed
        wire.send(data)
        assert wire.answer().status == 201
    assert len(server.stored()) == data.count(b"filename=") + (b"/files/cut" in data)


def cut_off(server: RunningServer, beginning: bytes, hang_up: Callable[[Wire], None]) -> int | None:
    """Send this prefix and hang up. Returns the status of the response, if one came."""
    with Wire(server.port) as wire:
        wire.send(beginning)
        hang_up(wire)
        if hang_up is Wire.half_close:
            response = wire.rest()
            return int(response.split(b" ")[1]) if response else None
    return None
