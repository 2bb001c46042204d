"""A gateway in front of a tus server that we did not write: @tus/server.

Both are killed between the pieces; the file arrives, and each offset is the backend's.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from fix_npm import npm_package
from fix_server import start_server
from fix_taking import noise
from tus_by_hand import Tus

DATA = noise(700_000)
HALF = 300_000
SCRIPT = Path(__file__).parents[1] / "npm" / "tus_server.mjs"


class ForeignServer:
    """@tus/server in a process of its own; `folder` is where it stores."""

    def __init__(self, folder: Path) -> None:
        npm_package("@tus/server")
        npm_package("@tus/file-store")
        folder.mkdir()
        self.folder, self.port = folder, 0
        self.start()

    def start(self) -> None:
        command = ["node", str(SCRIPT), str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def files(self) -> list[bytes]:
        return [path.read_bytes() for path in self.folder.iterdir() if path.suffix != ".json"]


@contextmanager
def gateway_to(backend: ForeignServer, folder: Path) -> Iterator[Tus]:
    """Killed at the end of the block."""
    server = start_server(
        folder / "none",
        "--state",
        str(folder / "state"),
        to=f"http://127.0.0.1:{backend.port}/files",
    )
    tus = Tus(server.url)
    try:
        yield tus
    finally:
        tus.session.close()
        server.stop(signal.SIGKILL)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[ForeignServer]:
    server = ForeignServer(tmp_path / "stored")
    yield server
    server.kill()


def here(tus: Tus, upload: str) -> str:
    """The upload's URL at the gateway that runs now."""
    return re.sub(r"^http://[^/]+", tus.url, upload)


def test_a_file_arrives_although_both_servers_are_killed(
    backend: ForeignServer, tmp_path: Path
) -> None:
    wrong = {"Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="}
    with gateway_to(backend, tmp_path) as tus:
        upload = tus.create(len(DATA), filename="ä b.bin", filetype="text/x-a", shelf="7")
        assert tus.patch(upload, 0, DATA[:HALF]).status_code == 204
        assert tus.patch(upload, HALF, DATA[HALF:], **wrong).status_code == 460
    with gateway_to(backend, tmp_path) as tus:
        assert tus.offset(here(tus, upload)) == HALF
        assert tus.patch(here(tus, upload), HALF, DATA[HALF : HALF + 9]).status_code == 204
        backend.kill()
        backend.start()
        assert tus.offset(here(tus, upload)) == HALF + 9
        done = tus.patch(here(tus, upload), HALF + 9, DATA[HALF + 9 :])
        assert done.status_code == 204, done.text
        assert str(backend.port) not in str(done.headers)
        assert tus.offset(here(tus, upload)) == len(DATA)
    assert backend.files() == [DATA]
    (notes,) = backend.folder.glob("*.json")
    for text in ('"filename":"ä b.bin"', '"filetype":"text/x-a"', '"shelf":"7"'):
        assert text in notes.read_text()


def test_a_put_and_a_length_that_comes_last_arrive_and_a_cancelled_upload_ends_there(
    backend: ForeignServer, tmp_path: Path
) -> None:
    with gateway_to(backend, tmp_path) as tus:
        cancelled = tus.create(len(DATA))
        assert tus.patch(cancelled, 0, DATA[:HALF]).status_code == 204
        assert [len(data) for data in backend.files()] == [HALF - 1]
        assert tus.delete(cancelled).status_code == 204
        assert backend.files() == []
        upload = tus.create(None)
        assert tus.patch(upload, 0, DATA[:HALF]).status_code == 204
        length = {"Upload-Length": str(len(DATA))}
        assert tus.patch(upload, HALF, DATA[HALF:], **length).status_code == 204
        assert backend.files() == [DATA]
        url = f"{tus.url}/files/p.bin"
        begun = requests.put(url, DATA[:HALF], headers={"Upload-Complete": "?0"}, timeout=20)
        assert begun.status_code == 201, begun.text
        headers = {
            "Upload-Complete": "?1",
            "Upload-Offset": str(HALF),
            "Content-Type": "application/partial-upload",
        }
        place = tus.url + begun.headers["Location"]
        ended = requests.patch(place, DATA[HALF:], headers=headers, timeout=20)
        assert ended.status_code == 204, ended.text
        assert backend.files() == [DATA, DATA]
