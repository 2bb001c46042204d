"""The site `django_shop` as running servers, with Django's own storage or with ours.

with shop(folder, STOCK) as site:
    site.post("form/book", {"title": "x"}, {"file": ("a.bin", DATA)})
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from fix_taking import eventually
from free_ports import free_port

__all__ = ["OURS", "STOCK", "UVICORN", "Shop", "Upload", "shop"]

TESTS = Path(__file__).parent
Upload = tuple[str, bytes] | tuple[str, bytes, str]

# A busy machine may stop a client for longer than their idle connections live by default.
GUNICORN = (
    "-m gunicorn -k gthread --threads 8 --keep-alive 75 -b 127.0.0.1:{port}"
    " django_shop.serve:application"
)
UVICORN = "-m uvicorn --timeout-keep-alive 75 --port {port} django_shop.serve:asgi"

STOCK: dict[str, Any] = {}
OURS: dict[str, Any] = {
    "FILE_UPLOAD_HANDLERS": ["sluiceway.django.UploadHandler"],
    "STORAGES": {"default": {"BACKEND": "sluiceway.django.Storage"}},
}


@dataclass
class Shop:
    """A running site. `session` is a browser's."""

    port: int
    pid: int
    folder: Path
    temporary: Path
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def media(self) -> Path:
        return self.folder / "media"

    def pids(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def token(self) -> str:
        """A CSRF token that goes with the session's cookie."""
        return self.session.get(self.url + "token", timeout=30).text

    def post(
        self,
        path: str,
        fields: Mapping[str, Any],
        files: Mapping[str, Upload] | Sequence[tuple[str, Upload]],
        *,
        csrf: str = "field",
        method: str = "POST",
    ) -> requests.Response:
        """A form with the session's CSRF token as a field, in the header, or neither."""
        headers, data = {"Referer": self.url}, dict(fields)
        if csrf == "field":
            data["csrfmiddlewaretoken"] = self.token()
        elif csrf == "header":
            headers["X-CSRFToken"] = self.token()
        return self.session.request(
            method, self.url + path, data=data, files=files, headers=headers, timeout=60
        )

    def outcome(self, response: requests.Response) -> object:
        """Status and answer without what is random in it."""
        kind = response.headers.get("content-type", "")
        text = steady(response.text).replace(self.url, "/")
        return [response.status_code, json.loads(text) if "json" in kind else ""]

    def state(self) -> object:
        """Rows and files of the site."""
        found = json.loads(steady(self.session.get(self.url + "state", timeout=30).text))
        return [found["rows"], sorted(found["files"])]

    def empty(self) -> None:
        self.session.cookies.clear()
        assert self.session.get(self.url + "empty", timeout=30).text == "empty"

    def drafts(self) -> list[str]:
        """Names of files that no reader sees."""
        return [one.name for one in (self.media / ".sluiceway" / "drafts").glob("*")]


def steady(text: str) -> str:
    """Django's seven random letters of a name that was taken, in one spelling."""
    return re.sub(r"_[A-Za-z0-9]{7}(?=\.(?:bin|txt|png|gif))", "_RANDOM", text)


@contextmanager
def shop(
    folder: Path, settings: Mapping[str, Any], env: Mapping[str, str] = {}, command: str = GUNICORN
) -> Iterator[Shop]:
    """The site in a folder of its own. Fails if it leaves a temporary file."""
    temporary = folder / "temporary"
    for each in (folder / "media", folder / "other", temporary):
        each.mkdir(parents=True)
    port = free_port()
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    words = [sys.executable, *(word.format(port=port) for word in command.split())]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env={
                **os.environ,
                **env,
                "SHOP_FOLDER": str(folder),
                "SHOP_SETTINGS": json.dumps(settings),
                "TMPDIR": str(temporary),
                "PYTHONPATH": os.pathsep.join(paths),
            },
            stdout=log,
            stderr=log,
        )
    site = Shop(port, process.pid, folder, temporary)
    try:
        eventually(lambda: _answers(site), "the site answers")
        yield site
        assert not list(temporary.iterdir())
    finally:
        site.session.close()
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _answers(site: Shop) -> bool:
    try:
        return site.session.get(site.url + "token", timeout=10).ok
    except (requests.ConnectionError, requests.Timeout):
        return False
