"""Names with tokens for the tests of access: a token file, and requests that each of them sends."""

from __future__ import annotations

import hashlib
from pathlib import Path

import requests

__all__ = ["NAMES", "Client", "secret_of", "token_file"]

# name -> rights and limits
NAMES = {
    "drop": "upload-only",
    "reader": "read-only",
    "blind": "read",
    "lister": "list",
    "cleaner": "delete",
    "acme": "upload,read,list,delete prefix=acme/",
    "boss": "admin",
    "late": "admin expires=2020-01-01",
}


def secret_of(name: str) -> str:
    return f"secret-of-{name}-0123456789"


def token_file(path: Path, names: dict[str, str] | None = None) -> Path:
    """A file that holds the secrets' hashes."""
    lines = [
        f"{name} sha256:{hashlib.sha256(secret_of(name).encode()).hexdigest()} {rights}\n"
        for name, rights in (names or NAMES).items()
    ]
    path.touch(mode=0o600)
    path.write_text("".join(lines))
    return path


class Client:
    """Requests of one name; "" sends no secret."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url, name

    def __call__(
        self, method: str, path: str, data: bytes | str | None = None, **fields: str
    ) -> requests.Response:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        if self.name:
            headers["Authorization"] = f"Bearer {secret_of(self.name)}"
        return requests.request(
            method, self.url + path, data=data, headers=headers, timeout=60, allow_redirects=False
        )
