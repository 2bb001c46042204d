"""A client closes its connection and asks at once how much is kept: all that it sent is read first.

Into a database, which takes longer than the client to send.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fix_postgres import Database
from fix_server import start_server
from raw_http import Wire, head
from tus_by_hand import OFFSET_STREAM, Tus

WHOLE, SENT = 10 << 20, (7 << 20) + 3
TRIES = 20  # without a moment for what still comes, five of them lost up to 3 MB

pytestmark = pytest.mark.torture


def test_what_was_sent_before_the_end_counts(database: Database, tmp_path: Path) -> None:
    files, ledger = (f"{database.url}&table={database.fresh()}" for _ in range(2))
    init = [sys.executable, "-m", "sluiceway", "init", files]
    subprocess.run(init, check=True, capture_output=True, timeout=60)
    server = start_server(tmp_path / "none", "--ledger", ledger, to=files)
    tus = Tus(server.url)
    try:
        for _ in range(TRIES):
            upload = tus.create(WHOLE)
            fields = [f"Content-Type: {OFFSET_STREAM}", f"Content-Length: {WHOLE}"]
            asked = ["Tus-Resumable: 1.0.0", "Upload-Offset: 0", *fields]
            with Wire(server.port) as wire:
                path = "/uploads/" + upload.rpartition("/")[2]
                wire.send(head("PATCH", path, *asked) + b"x" * SENT)
            assert tus.offset(upload) == SENT
    finally:
        tus.session.close()
        server.stop()
