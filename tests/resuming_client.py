"""A client of resumable uploads that remembers each offset it was told, until the server dies.

with ResumingClient(server, dialect, seed) as client:
    ...                               # kill the server, or cut its power
client.check(another_server)          # no offset went back; each upload goes on and is whole
"""

from __future__ import annotations

import base64
import hashlib
import random
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import requests

from fix_server import RunningServer
from fix_taking import eventually, noise

__all__ = ["DIALECTS", "ResumingClient", "Tried"]

SIZES = (1, 70_001, 900_000, 2_100_000)  # bytes of an upload
CHUNKS = (1, 4_096, 65_537, 300_000, 1_000_000)  # bytes of a request
DIALECTS = ("tus", "resumable")
TUS = {"Tus-Resumable": "1.0.0"}


@dataclass(slots=True)
class Tried:
    """One upload: what was sent, and what the server said of it."""

    path: str
    data: bytes
    told: int = 0  # the highest offset of any response
    kept_at: str = ""  # where the whole file is, once the server said it
    is_cancelling: bool = False  # from its DELETE on, whose response may never come
    is_cancelled: bool = False


class ResumingClient:
    """Uploads one file after the other, in pieces, in one dialect."""

    def __init__(self, server: RunningServer, dialect: str, seed: int) -> None:
        self.uploads: list[Tried] = []
        self._url, self._dialect = server.url, dialect
        self._chance, self._number = random.Random(seed), seed % 1000
        self._stop, self._is_cut = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._until_the_end)
        self._fault: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self.told or not self._thread.is_alive(), "a first offset is told")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(60)
        if self._fault is not None:
            raise self._fault

    @property
    def told(self) -> int:
        return sum(upload.told for upload in self.uploads)

    def count_no_more(self) -> None:
        """What the server says from now on is not counted: a power cut sends no responses."""
        self._is_cut.set()

    def check(self, server: RunningServer) -> None:
        """Raises AssertionError where an offset went back, or a whole file is not what was sent."""
        self._url = server.url
        self._is_cut.clear()
        for upload in self.uploads:
            self._check(upload)

    def _check(self, upload: Tried) -> None:
        found = self._head(upload)
        if upload.is_cancelled:
            assert found.status_code in (404, 410), found.status_code
            return
        if upload.is_cancelling and found.status_code == 410:
            return
        assert found.ok, (found.status_code, found.text)
        offset = int(found.headers["Upload-Offset"])
        assert upload.told <= offset <= len(upload.data), (upload.told, offset)
        if not upload.kept_at:
            self._append(upload, offset, len(upload.data) - offset)
        assert upload.kept_at, upload
        stored = requests.get(self._url + upload.kept_at, timeout=30)
        assert stored.ok, (upload.kept_at, stored.status_code)
        same = hashlib.sha256(stored.content).digest() == hashlib.sha256(upload.data).digest()
        assert same, (upload.path, len(stored.content), len(upload.data))

    def _until_the_end(self) -> None:
        try:
            while not self._stop.is_set():
                self._upload()
        except (requests.RequestException, OSError):
            pass  # the server has gone
        except BaseException as error:  # told to the test at the end
            self._fault = error

    def _upload(self) -> None:
        size = self._chance.choice(SIZES)
        upload = self._create(noise(size, self._number % 50))
        self._number += 1
        while upload.told < size and not self._stop.is_set():
            self._append(upload, upload.told, self._chance.choice(CHUNKS))
            if self._chance.random() < 0.2:
                found = self._head(upload)
                self._check_counted()
                offset = int(found.headers["Upload-Offset"])
                assert offset >= upload.told, (offset, upload.told)
                upload.told = offset
        if not upload.kept_at and self._chance.random() < 0.2:
            self._cancel(upload)

    def _create(self, data: bytes) -> Tried:
        if self._dialect == "tus":
            name = base64.b64encode(b"kept.bin").decode()
            fields = TUS | {
                "Upload-Length": str(len(data)),
                "Upload-Metadata": f"filename {name}",
            }
        else:
            fields = {"Upload-Complete": "?0", "Upload-Length": str(len(data))}
        response = requests.post(f"{self._url}/files", headers=fields, timeout=30)
        self._check_counted()
        assert response.status_code == 201, (response.status_code, response.text)
        upload = Tried(urlsplit(urljoin(response.url, response.headers["Location"])).path, data)
        self.uploads.append(upload)
        return upload

    def _append(self, upload: Tried, offset: int, size: int) -> None:
        piece = upload.data[offset : offset + size]
        end = offset + len(piece)
        if self._dialect == "tus":
            fields = TUS | {"Content-Type": "application/offset+octet-stream"}
        else:
            fields = {
                "Content-Type": "application/partial-upload",
                "Upload-Complete": "?1" if end == len(upload.data) else "?0",
            }
        response = requests.patch(
            self._url + upload.path,
            data=piece,
            headers=fields | {"Upload-Offset": str(offset)},
            timeout=30,
        )
        self._check_counted()
        assert response.ok, (response.status_code, response.text)
        upload.told = end
        if end == len(upload.data):
            place = response.headers.get("Content-Location") or response.headers["Location"]
            upload.kept_at = urlsplit(place).path

    def _head(self, upload: Tried) -> requests.Response:
        fields = TUS if self._dialect == "tus" else {}
        return requests.head(self._url + upload.path, headers=fields, timeout=30)

    def _cancel(self, upload: Tried) -> None:
        fields = TUS if self._dialect == "tus" else {}
        upload.is_cancelling = True
        response = requests.delete(self._url + upload.path, headers=fields, timeout=30)
        self._check_counted()
        upload.is_cancelled = response.ok

    def _check_counted(self) -> None:
        if self._is_cut.is_set():
            raise ConnectionError("the power is off")
