"""tus 1.0.0 by hand: each request as its text has it, for tests of each rule.

tus = Tus(server.url)
upload = tus.create(10)                 # the URL of the upload
tus.patch(upload, 0, b"0123456789")     # a response of `requests`
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import urljoin

import requests

__all__ = ["OFFSET_STREAM", "Tus", "coded", "creation"]

OFFSET_STREAM = "application/offset+octet-stream"
SECONDS = 30.0  # of any request


def coded(**pairs: str) -> str:
    """Upload-Metadata."""
    return ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items()
    )


def creation(length: int | None, **pairs: str) -> dict[str, str]:
    """The headers that say how many bytes will come, None: not known yet."""
    found = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
    return found | ({"Upload-Metadata": coded(**pairs)} if pairs else {})


@dataclass
class Tus:
    """A client of the server at `url`, on one connection. `path` is where uploads are created."""

    url: str
    path: str = "/files"
    session: requests.Session = field(default_factory=requests.Session)

    def send(
        self, method: str, url: str, data: object = b"", version: str | None = "1.0.0", **more: str
    ) -> requests.Response:
        """`more` are headers, with `_` for `-`."""
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        if version is not None:
            headers["Tus-Resumable"] = version
        return self.session.request(
            method,
            urljoin(self.url, url),
            data=data or None,  # type: ignore[arg-type]  # bytes or a generator
            headers=headers,
            timeout=SECONDS,
            allow_redirects=False,
        )

    def post(
        self, headers: dict[str, str], data: object = b"", version: str | None = "1.0.0"
    ) -> requests.Response:
        return self.send("POST", self.url + self.path, data, version, **headers)

    def create(self, length: int | None, **pairs: str) -> str:
        response = self.post(creation(length, **pairs))
        assert response.status_code == 201, response.text
        return urljoin(self.url + self.path, response.headers["Location"])

    def head(self, upload: str) -> requests.Response:
        return self.send("HEAD", upload)

    def offset(self, upload: str) -> int:
        response = self.head(upload)
        assert response.status_code == 200, (response.status_code, response.headers)
        return int(response.headers["Upload-Offset"])

    def patch(
        self, upload: str, offset: int | str, data: object = b"", **more: str
    ) -> requests.Response:
        headers = {"Content-Type": OFFSET_STREAM, "Upload-Offset": str(offset)} | more
        return self.send("PATCH", upload, data, **headers)

    def delete(self, upload: str) -> requests.Response:
        return self.send("DELETE", upload)

    def progress(self, upload: str) -> dict[str, object]:
        """What GET says of it to any watcher."""
        found: dict[str, object] = self.send("GET", upload, version=None).json()
        return found
