"""An upload to a bucket survives its server: what was said to be kept is there, byte for byte."""

from __future__ import annotations

import hashlib
import signal
import time
from pathlib import Path

import pytest

from fix_s3 import Objects
from fix_server import RunningServer, start_server
from fix_taking import noise
from raw_http import Wire
from tus_by_hand import OFFSET_STREAM, Tus

MIB = 1 << 20
DATA = noise(19 * MIB + 5)
DEADLINE = 60.0  # seconds until something is kept, on a busy machine


def start(s3: Objects, bucket: str, state: Path) -> RunningServer:
    return start_server(
        state / "none",
        "--state",
        str(state),
        "--memory-budget",
        "32MiB",  # parts of 8 MiB
        env=s3.env,
        to=s3.url(bucket, "up"),
    )


def send_until_kept(server: RunningServer, tus: Tus, upload: str, offset: int, least: int) -> int:
    """Send slowly, and kill the server in the middle. Returns the bytes that it said to keep."""
    path = upload.removeprefix(server.url)
    kept, until = 0, time.monotonic() + DEADLINE
    with Wire(server.port) as wire:
        wire.send(
            f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nTus-Resumable: 1.0.0\r\n"
            f"Content-Type: {OFFSET_STREAM}\r\nUpload-Offset: {offset}\r\n"
            f"Content-Length: {len(DATA) - offset}\r\n\r\n".encode()
        )
        wire.send(DATA[offset : least + MIB])
        at = least + MIB
        while kept < least and time.monotonic() < until:
            wire.send(DATA[at : at + 10_000])
            at += 10_000
            time.sleep(0.2)
            kept = int(str(tus.progress(upload)["kept"]))
        server.stop(signal.SIGKILL)
    assert kept >= least
    return kept


@pytest.mark.parametrize(
    "kills", [(10 * MIB,), pytest.param((3 * MIB, 10 * MIB), marks=pytest.mark.torture)]
)
def test_a_killed_server_loses_nothing_that_it_said_to_keep(
    s3: Objects, tmp_path: Path, kills: tuple[int, ...]
) -> None:
    """In the middle of a part, and behind one; the object is whole, and nothing else remains."""
    bucket = s3.fresh()
    server = start(s3, bucket, tmp_path)
    tus = Tus(server.url)
    try:
        upload = tus.create(len(DATA), filename="tape.bin")
        assert tus.patch(upload, 0, DATA[:100_000]).headers["Upload-Offset"] == "100000"
        offset = 100_000
        for least in kills:
            kept = send_until_kept(server, tus, upload, offset, least)
            before, server = server.url, start(s3, bucket, tmp_path)
            upload = upload.replace(before, server.url)
            tus = Tus(server.url)
            offset = tus.offset(upload)
            assert kept <= offset < len(DATA)
        assert s3.keys(bucket, "up/") != []
        done = tus.patch(upload, offset, DATA[offset:])
        assert done.status_code == 204, done.text
        assert done.headers["Upload-Offset"] == str(len(DATA))
    finally:
        server.stop()
        tus.session.close()
    (key,) = s3.keys(bucket)
    assert key.endswith("/tape.bin")
    stored = s3.client.get_object(Bucket=bucket, Key=key)["Body"].read()
    assert hashlib.sha256(stored).digest() == hashlib.sha256(DATA).digest()
    assert s3.unfinished(bucket) == []
