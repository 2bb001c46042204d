"""A call to the disk that fails is never acknowledged; later the upload goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from fix_server import RunningServer, Serve
from fix_taking import TORTURE, noise
from stores.disk.test_durability import traced
from tus_by_hand import Tus

DATA = noise(2_100_000)
PIECE = 700_001  # bytes of a request
TRIES = 5  # of a client that meets the fault
CALLS = ("pwrite64", "fsync", "fdatasync", "openat", "linkat", "renameat2", "ftruncate")
# The first calls of each thread fail, and each single one of them.
FAULTS = [
    f"{call}:error={error}:when={when}"
    for call in CALLS
    for error in ("EIO", "ENOSPC")
    for when in ("1+", *(str(number) for number in range(1, 13)))
]
QUICK = ["fdatasync:error=EIO:when=1+", "pwrite64:error=ENOSPC:when=2", "fsync:error=EIO:when=1"]

pytestmark = pytest.mark.timeout(600 if TORTURE else 120)


def send_what_can_be_sent(tus: Tus, upload: str) -> int:
    """The highest offset that the server said."""
    told = offset = tries = 0
    while offset < len(DATA) and tries < TRIES:
        try:
            response = tus.patch(upload, offset, DATA[offset : offset + PIECE])
            if response.status_code == 204:
                told = offset = int(response.headers["Upload-Offset"])
                continue
            assert response.status_code in (409, 423) or response.status_code >= 500, response.text
            found = tus.head(upload)
            assert found.status_code in (200, 423) or found.status_code >= 500
        except requests.ConnectionError:
            pass  # an early answer met what was still sent
        else:
            if found.status_code == 200:
                told = offset = int(found.headers["Upload-Offset"])
        tries += 1
    return told


@pytest.mark.parametrize("fault", FAULTS if TORTURE else QUICK)
def test_a_failed_call_is_never_acknowledged(serve: Serve, tmp_path: Path, fault: str) -> None:
    server = serve()
    tus = Tus(server.url)
    upload = tus.create(len(DATA), filename="kept.bin")
    call = fault.partition(":")[0]
    options = ("-e", f"trace={call}", "-e", f"inject={fault}")
    with traced(server, tmp_path / "trace", *options):
        told = send_what_can_be_sent(tus, upload)
    check_goes_on(server, tus, upload, told)
    tus.session.close()


def check_goes_on(server: RunningServer, tus: Tus, upload: str, told: int) -> None:
    """From an offset not below any that was told, to a file with all its bytes."""
    offset = tus.offset(upload)
    assert told <= offset <= len(DATA)
    response = tus.patch(upload, offset, DATA[offset:])
    assert response.status_code == 204, response.text
    stored = requests.get(server.url + response.headers["Content-Location"], timeout=30)
    assert stored.content == DATA
    assert len(server.stored()) == 1
